// PM1, PM timer, GPE0 and the reset ports against ACPI 6.5 (4.8.3, 4.8.4) and the PIIX3/PIIX4 data sheets.

import { describe, expect, it } from 'vitest';
import { AcpiPower, GPE0_BASE, PM_BASE, PM1 } from './acpi-power.ts';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { Oscillator } from './oscillator.ts';
import { PM_TIMER_HERTZ } from './pm-timer.ts';
import { ResetControl } from './reset-control.ts';

const STS = PM_BASE;
const EN = PM_BASE + 2;
const CNT = PM_BASE + 4;
const TMR = PM_BASE + 8;
const clock = new Oscillator(PM_TIMER_HERTZ);

function board(timerBits: 24 | 32 = 24) {
  const timeline = new FakeTimeline();
  const sci = new FakeLine(timeline);
  const bus = new FakeBus();
  const log: string[] = [];
  const power = new AcpiPower({
    timeline,
    sci: sci.drive,
    timerBits,
    powerOff: () => log.push('off'),
    sleep: (type) => log.push(`sleep ${type}`),
    smi: (command) => log.push(`smi ${command.toString(16)}`),
  });
  power.attach(bus);
  power.moveTo(PM_BASE);
  return { timeline, sci, bus, power, log };
}

describe('the timer', () => {
  it.each([
    [24, 2 ** 24],
    [32, 2 ** 32],
  ] as const)('with %i bits wraps at %i', (bits, turn) => {
    const b = board(bits);
    b.timeline.runTo(clock.timeOf(turn - 1));
    expect(b.bus.in(TMR, 4)).toBe(turn - 1);
    b.timeline.runTo(clock.timeOf(turn + 5));
    expect([b.bus.in(TMR, 4), b.bus.in(TMR), b.bus.in(TMR + 1, 2)]).toEqual([5, 5, 0]);
  });
  it('counts 3579545 ticks in a second, and cannot be written', () => {
    const b = board();
    b.bus.out(TMR, 0, 4);
    b.timeline.runTo(1e9);
    expect(b.bus.in(TMR, 4)).toBe(3_579_545);
  });
  it('TMR_STS rises when the top bit changes, either way, and interrupts when enabled', () => {
    const b = board();
    b.bus.out(0xb2, 0xf1);
    b.bus.out(EN, PM1.TMR, 2);
    b.timeline.runTo(clock.timeOf(2 ** 23) - 1);
    expect([b.bus.in(STS, 2), b.sci.level]).toEqual([0, false]);
    b.timeline.runTo(clock.timeOf(2 ** 23));
    expect([b.bus.in(STS, 2), b.sci.level]).toEqual([1, true]);
    b.bus.out(STS, PM1.TMR, 2);
    expect([b.bus.in(STS, 2), b.sci.level]).toEqual([0, false]);
    b.timeline.runTo(20e9);
    expect(b.sci.rises).toEqual([clock.timeOf(2 ** 23), clock.timeOf(2 ** 24)]);
  });
  it('TMR_STS rises without being enabled', () => {
    const b = board();
    b.timeline.runTo(clock.timeOf(2 ** 23));
    expect(b.bus.in(STS, 2)).toBe(PM1.TMR);
  });
});

describe('PM1', () => {
  it('the power button interrupts only while enabled, and only in ACPI mode', () => {
    const b = board();
    b.bus.out(EN, PM1.PWRBTN, 2);
    b.power.pressPowerButton();
    expect([b.bus.in(STS, 2), b.sci.level]).toEqual([PM1.PWRBTN, false]);
    b.bus.out(0xb2, 0xf1);
    expect([b.bus.in(CNT, 2), b.sci.level]).toEqual([1, true]);
    b.bus.out(STS, PM1.PWRBTN, 2);
    expect([b.bus.in(STS, 2), b.sci.level]).toEqual([0, false]);
    b.bus.out(0xb2, 0xf0);
    expect([b.bus.in(CNT, 2), b.log]).toEqual([0, ['smi f1', 'smi f0']]);
  });
  it('status bits are cleared by ones, byte by byte as well, and enable has no reserved bits', () => {
    const b = board();
    b.power.raise(PM1.PWRBTN | PM1.RTC | PM1.GBL);
    b.bus.out(STS + 1, 0x01);
    expect(b.bus.in(STS, 2)).toBe(PM1.RTC | PM1.GBL);
    b.bus.out(STS, 0, 2);
    expect(b.bus.in(STS, 2)).toBe(PM1.RTC | PM1.GBL);
    b.bus.out(STS, 0x0000_ffff | 0xffff_0000, 4);
    expect([b.bus.in(STS, 2), b.bus.in(EN, 2)]).toEqual([0, 0x0721]);
  });
  it.each([
    ['S5', 0, 'off'],
    ['S3', 1, 'sleep 1'],
    ['S4', 2, 'sleep 2'],
  ])('SLP_EN with the type of %s', (_name, type, what) => {
    const b = board();
    // As ACPICA does it: the type first, then the type with the enable bit, by words.
    b.bus.out(CNT, (type << 10) | 1, 2);
    expect(b.log).toEqual([]);
    b.bus.out(CNT, (type << 10) | 0x2001, 2);
    expect(b.log).toEqual([what]);
    expect(b.bus.in(CNT, 2)).toBe(type << 10);
  });
  it('SCI_EN cannot be written directly', () => {
    const b = board();
    b.bus.out(CNT, 1, 2);
    expect(b.bus.in(CNT, 2)).toBe(0);
  });
  it('the block moves with its base address', () => {
    const b = board();
    b.power.moveTo(0xb000);
    b.power.raise(PM1.PWRBTN);
    expect([b.bus.in(STS, 2), b.bus.in(0xb000, 2)]).toEqual([0xffff, PM1.PWRBTN]);
  });
});

it('general purpose events are two bytes of status and two of enable', () => {
  const b = board();
  b.bus.out(0xb2, 0xf1);
  b.bus.out(GPE0_BASE + 3, 0x02);
  b.power.raiseGpe(9);
  b.power.raiseGpe(0);
  expect([b.bus.in(GPE0_BASE, 2), b.bus.in(GPE0_BASE + 2, 2), b.sci.level]).toEqual([0x0201, 0x0200, true]);
  b.bus.out(GPE0_BASE + 1, 0x02);
  expect([b.bus.in(GPE0_BASE, 2), b.sci.level]).toEqual([0x0001, false]);
});

describe('reset control', () => {
  function ports() {
    const bus = new FakeBus();
    const log: string[] = [];
    new ResetControl({ reset: (kind) => log.push(kind), a20: (open) => log.push(`a20 ${open}`) }).attach(bus);
    return { bus, log };
  }
  it.each([
    [[0x02, 0x06], ['hard']],
    [[0x06], ['hard']],
    [[0x00, 0x04], ['init']],
    [[0x02], []],
  ])('0xcf9 written %j gives %j', (values, log) => {
    const p = ports();
    for (const v of values) p.bus.out(0xcf9, v);
    expect(p.log).toEqual(log);
  });
  it('port 0x92 opens A20 and resets on the rising edge of bit 0', () => {
    const p = ports();
    p.bus.out(0x92, p.bus.in(0x92) | 2);
    p.bus.out(0x92, 3);
    p.bus.out(0x92, 3);
    expect([p.log, p.bus.in(0x92)]).toEqual([['a20 true', 'a20 true', 'init', 'a20 true'], 3]);
  });
});
