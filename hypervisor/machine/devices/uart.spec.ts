// The UART against the PC16550D data sheet: register table, FIFO trigger and timeout, interrupt priorities (table IV), loopback, modem lines;
// and the probes of Linux's 8250 driver (drivers/tty/serial/8250/8250_port.c: autoconfig, the THRE and TXEN tests).

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { MODEM, Uart } from './uart.ts';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff];
const FCR = IIR;

function com1() {
  const timeline = new FakeTimeline();
  const irq = new FakeLine(timeline);
  const bus = new FakeBus();
  const sent: number[] = [];
  const calls: string[] = [];
  const uart = new Uart({
    timeline,
    irq: irq.drive,
    output: (b) => sent.push(b),
    drained: () => calls.push('drained'),
    modemControl: (lines) => calls.push(`modem ${lines}`),
  });
  uart.attach(bus, 0x3f8);
  const text = () => String.fromCharCode(...sent);
  return { timeline, irq, bus, uart, sent, calls, text, in: (p: number) => bus.in(p), out: (p: number, v: number) => bus.out(p, v) };
}
/** 115200 8n1, FIFOs with trigger 8, OUT2. */
function ready() {
  const c = com1();
  c.out(LCR, 0x83);
  c.out(DATA, 1);
  c.out(IER, 0);
  c.out(LCR, 0x03);
  c.out(FCR, 0x81);
  c.out(MCR, 0x0b);
  c.calls.length = 0;
  return c;
}
/** Ten bits at 115200. */
const CHARACTER = 1e10 / 115_200;
const bytes = (s: string) => Uint8Array.from(s, (c) => c.charCodeAt(0));

describe('as Linux probes it', () => {
  it('is a 16550A', () => {
    const c = com1();
    // IER holds four bits.
    c.out(IER, 0);
    expect(c.in(IER)).toBe(0);
    c.out(IER, 0xff);
    expect(c.in(IER)).toBe(0x0f);
    c.out(IER, 0);
    // Loopback: RTS and OUT2 appear as CTS and DCD.
    const mcr = c.in(MCR);
    c.out(MCR, 0x10 | 0x0a);
    expect(c.in(MSR) & 0xf0).toBe(0x90);
    c.out(MCR, mcr);
    // FIFOs enabled show in IIR's top bits; no EFR (16650), no 64-byte FIFO (16750), no scratch-pad trick.
    c.out(FCR, 0x01);
    expect(c.in(IIR) >> 6).toBe(3);
    c.out(LCR, 0x80);
    expect(c.in(IIR)).not.toBe(0);
    c.out(LCR, 0xbf);
    expect(c.in(IIR)).not.toBe(0);
    c.out(LCR, 0x80);
    c.out(FCR, 0x21);
    expect(c.in(IIR) & 0x20).toBe(0);
    c.out(LCR, 0x03);
    c.out(IER, 0x40);
    expect(c.in(IER)).toBe(0);
    for (const v of [0x55, 0xaa]) {
      c.out(SCR, v);
      expect(c.in(SCR)).toBe(v);
    }
  });

  it('needs no workaround: enabling THRI on an empty transmitter interrupts at once, even right after a write', () => {
    const c = ready();
    c.out(DATA, 0x41);
    expect(c.in(LSR) & 0x60).toBe(0x60);
    c.out(IER, 0x02);
    expect(c.in(IIR)).toBe(0xc2);
    c.out(IER, 0);
    c.out(IER, 0x02);
    expect([c.in(LSR) & 0x40, c.in(IIR)]).toEqual([0x40, 0xc2]);
  });
});

describe('sending', () => {
  it('a polled byte leaves at once', () => {
    const c = ready();
    for (const b of bytes('Linux')) {
      expect(c.in(LSR)).toBe(0x60);
      c.out(DATA, b);
    }
    expect([c.text(), c.timeline.pending]).toEqual(['Linux', 0]);
  });
  it('the interrupt of an emptied transmitter comes ten microseconds later', () => {
    const c = ready();
    c.out(IER, 0x02);
    expect([c.in(IIR), c.irq.level]).toEqual([0xc2, false]);
    c.out(DATA, 0x41);
    c.timeline.runTo(9_999);
    expect(c.irq.level).toBe(false);
    c.timeline.runTo(10_000);
    expect([c.irq.level, c.in(IIR), c.irq.level, c.in(IIR)]).toEqual([true, 0xc2, false, 0xc1]);
  });
  it('clearing the transmit FIFO raises it again', () => {
    const c = ready();
    c.out(IER, 0x02);
    c.in(IIR);
    c.out(FCR, 0x85);
    expect(c.in(IIR)).toBe(0xc2);
  });
});

describe('receiving', () => {
  it.each([
    [0x00, 1, 0xc4, 0x01],
    [0x01, 1, 0xc4, 0x01],
    [0x41, 4, 0xc4, 0x41],
    [0x81, 8, 0xc4, 0x81],
    [0xc1, 14, 0xc4, 0xc1],
  ])('with FCR %i it interrupts at %i characters', (fcr, level, iir) => {
    const c = ready();
    c.out(FCR, fcr);
    c.out(IER, 0x01);
    c.uart.receive(bytes('abcdefghijklmnopqrst'));
    c.timeline.runTo(level * CHARACTER + 1);
    expect(c.irq.rises[0]).toBeCloseTo(level * CHARACTER, 3);
    expect(c.in(IIR)).toBe(fcr & 1 ? iir : 0x04);
    for (let i = 0; i < level; i++) expect(String.fromCharCode(c.in(DATA))).toBe('abcdefghijklmn'[i]);
    expect([c.in(LSR), c.irq.level]).toEqual([0x60, false]);
  });
  it('below the trigger it times out after four characters, and reading restarts that', () => {
    const c = ready();
    c.out(IER, 0x01);
    c.uart.receive(bytes('ab'));
    c.timeline.runTo(5.9 * CHARACTER);
    expect(c.irq.level).toBe(false);
    c.timeline.runTo(6.1 * CHARACTER);
    expect([c.irq.level, c.in(IIR)]).toEqual([true, 0xcc]);
    expect([c.in(DATA), c.irq.level, c.in(IIR)]).toEqual([0x61, false, 0xc1]);
    c.timeline.runTo(10.2 * CHARACTER);
    expect(c.in(IIR)).toBe(0xcc);
  });
  it('never overruns: the wire waits while the FIFO is full, and says when it has room', () => {
    const c = ready();
    const much = bytes('x'.repeat(1000));
    expect(c.uart.receive(much)).toBe(256);
    c.timeline.runTo(1e9);
    expect(c.in(LSR)).toBe(0x61);
    let n = 0;
    while (c.in(LSR) & 1) {
      c.in(DATA);
      n++;
      c.timeline.pass(2 * CHARACTER);
    }
    expect([n, c.calls]).toEqual([256, ['drained']]);
  });
  it('a break is a null with BI, and raises the line status interrupt when it is at the head', () => {
    const c = ready();
    c.out(IER, 0x05);
    c.uart.receive(bytes('a'));
    c.uart.receiveBreak();
    c.timeline.runTo(2.5 * CHARACTER);
    expect([c.in(LSR), c.irq.level]).toEqual([0xe1, false]);
    c.in(DATA);
    expect([c.irq.level, c.in(IIR), c.in(LSR), c.in(IIR), c.in(DATA), c.in(LSR)]).toEqual([true, 0xc6, 0xf1, 0xc1, 0, 0x60]);
  });
  it('the buffer keeps the last character when there is no other', () => {
    const c = ready();
    c.uart.receive(bytes('a'));
    c.timeline.runTo(2 * CHARACTER);
    expect([c.in(DATA), c.in(LSR) & 1, c.in(DATA)]).toEqual([0x61, 0, 0x61]);
  });
  it('clearing the FIFO drops what it holds', () => {
    const c = ready();
    c.uart.receive(bytes('abc'));
    c.timeline.runTo(4 * CHARACTER);
    c.out(FCR, 0x83);
    expect(c.in(LSR)).toBe(0x60);
  });
});

describe('loopback', () => {
  it('sends to itself and nowhere else, without the interrupt line', () => {
    const c = ready();
    c.out(IER, 0x01);
    c.out(FCR, 0x01);
    c.out(MCR, 0x1b);
    c.out(DATA, 0x5a);
    expect([c.in(IIR), c.irq.level, c.in(DATA), c.sent]).toEqual([0xc4, false, 0x5a, []]);
  });
  it('without FIFOs a second character overruns the first', () => {
    const c = ready();
    c.out(FCR, 0);
    c.out(MCR, 0x10);
    c.out(DATA, 1);
    c.out(DATA, 2);
    expect([c.in(LSR), c.in(LSR), c.in(DATA)]).toEqual([0x63, 0x61, 2]);
  });
  it('with FIFOs the seventeenth is lost', () => {
    const c = ready();
    c.out(MCR, 0x10);
    for (let i = 1; i <= 17; i++) c.out(DATA, i);
    expect(c.in(LSR)).toBe(0x63);
    const got = Array.from({ length: 16 }, () => c.in(DATA));
    expect([got[0], got[15], c.in(LSR)]).toEqual([1, 16, 0x60]);
  });
  it.each([
    [0x11, MODEM.DSR],
    [0x12, MODEM.CTS],
    [0x14, MODEM.RI],
    [0x18, MODEM.DCD],
  ])('MCR %i shows as MSR %i', (mcr, msr) => {
    const c = com1();
    c.out(MCR, mcr);
    expect(c.in(MSR) & 0xf0).toBe(msr);
  });
});

describe('modem lines', () => {
  it('a change sets its delta until MSR is read; the ring indicator only when it ends', () => {
    const c = ready();
    c.in(MSR);
    c.out(IER, 0x08);
    c.uart.setModem(MODEM.CTS | MODEM.DSR | MODEM.DCD | MODEM.RI);
    expect([c.irq.level, c.in(MSR)]).toEqual([false, 0xf0]);
    c.uart.setModem(MODEM.DSR);
    expect([c.irq.level, c.in(IIR), c.in(MSR), c.in(MSR), c.irq.level]).toEqual([true, 0xc0, 0x2d, 0x20, false]);
  });
  it('OUT2 gates the interrupt', () => {
    const c = ready();
    c.out(IER, 0x02);
    expect(c.irq.level).toBe(true);
    c.out(MCR, 0x03);
    expect(c.irq.level).toBe(false);
    c.out(MCR, 0x0b);
    expect([c.irq.level, c.calls]).toEqual([true, ['modem 3', 'modem 3']]);
  });
});

it('line status comes before data, data before the transmitter, that before the modem', () => {
  const c = ready();
  c.out(FCR, 0x01);
  c.out(IER, 0x0f);
  c.uart.receiveBreak();
  c.uart.setModem(0);
  c.timeline.runTo(2 * CHARACTER);
  expect([c.in(IIR), c.in(LSR) & 0x10, c.in(IIR), c.in(DATA), c.in(IIR), c.in(IIR), c.in(MSR) & 0x0f, c.in(IIR)]).toEqual([
    0xc6, 0x10, 0xc4, 0, 0xc2, 0xc0, 0x0b, 0xc1,
  ]);
});

it('a master reset stops interrupts and empties FIFOs, and leaves divisor and scratch alone', () => {
  const c = ready();
  c.out(SCR, 0x5a);
  c.out(IER, 0x0f);
  c.uart.receive(bytes('abc'));
  c.timeline.runTo(2.5 * CHARACTER);
  c.uart.reset();
  expect([c.irq.level, c.in(IER), c.in(IIR), c.in(LCR), c.in(MCR), c.in(LSR), c.in(SCR)]).toEqual([false, 0, 1, 0, 0, 0x60, 0x5a]);
  c.out(LCR, 0x80);
  expect(c.in(DATA)).toBe(1);
});

it('goes on after its state was replaced by a copy', () => {
  const [a, b] = [ready(), ready()];
  a.out(IER, 0x03);
  a.in(IIR);
  a.uart.receive(bytes('abcdefghij'));
  for (const x of [a, b]) x.timeline.runTo(3.5 * CHARACTER);
  b.uart.state = structuredClone(a.uart.state);
  b.uart.resume();
  for (const x of [a, b]) x.timeline.runTo(20 * CHARACTER);
  expect([b.irq.level, b.uart.state]).toEqual([true, a.uart.state]);
});
