// The local APIC against SDM Vol 3A, chapter 10; each group names its section.

import { describe, expect, it } from 'vitest';
import { REQUEST } from '../system/ports.ts';
import { type ApicMessage, BROADCAST, DELIVERY } from './apic-message.ts';
import { FakeTimeline } from './fake-board.ts';
import { APIC, Lapic } from './lapic.ts';

const MSR = { base: 0x1b, deadline: 0x6e0, x2: 0x800 };
const EN = 0x800;
const EXTD = 0x400;

interface Rig {
  readonly apic: Lapic;
  readonly time: FakeTimeline;
  readonly sent: ApicMessage[];
  readonly events: string[];
  reg(n: number): number;
  set(n: number, v: number): void;
  /** A fixed interrupt for this APIC. */
  fixed(vector: number, level?: boolean): void;
}

/** Cycles are nanoseconds here; a tick of the timer is 4 of them. The APIC has been enabled by software. */
function rig(options: { id?: number; bsp?: boolean; tscOffset?: number } = {}): Rig {
  const time = new FakeTimeline();
  const sent: ApicMessage[] = [];
  const events: string[] = [];
  const { id = 0 } = options;
  const apic: Lapic = new Lapic({
    id,
    isBsp: options.bsp ?? true,
    clock: {
      get cycle() {
        return time.now;
      },
      at: (cycle, run) => time.schedule(cycle, run),
    },
    timerRatio: 4,
    tscOffset: () => options.tscOffset ?? 0,
    hasFeature: () => true,
    physicalBits: 46,
    send: (m) => {
      sent.push(m);
      if (apic.matches(m)) apic.accept(m);
      return true;
    },
    broadcast: (m, except) => {
      sent.push({ ...m, destination: except ? -1 : BROADCAST });
      if (!except) apic.accept(m);
    },
    eoi: (v) => events.push(`eoi ${v.toString(16)}`),
    acknowledgeExternal: () => {
      apic.setLint(0, false);
      return 0x08;
    },
    init: () => events.push('init'),
    startup: (v) => events.push(`startup ${v.toString(16)}`),
    wake: () => {},
  });
  apic.write(APIC.svr * 16, 4, 0x1ff);
  return {
    apic,
    time,
    sent,
    events,
    reg: (n) => apic.read(n * 16, 4),
    set: (n, v) => apic.write(n * 16, 4, v),
    fixed: (vector, level = false) => apic.accept({ destination: id, logical: false, delivery: DELIVERY.fixed, vector, level }),
  };
}
const asks = (r: Rig): boolean => (r.apic.requests & REQUEST.intr) !== 0;

describe('after RESET (10.4.7.1)', () => {
  it.each([
    ['ID', APIC.id, 0x0500_0000],
    ['version: integrated, six LVT entries', APIC.version, 0x0005_0014],
    ['TPR', APIC.tpr, 0],
    ['PPR', APIC.ppr, 0],
    ['LDR', APIC.ldr, 0],
    ['DFR: flat', APIC.dfr, 0xffff_ffff],
    ['SVR: disabled by software', APIC.svr, 0xff],
    ['LVT timer: masked', APIC.lvtTimer, 0x1_0000],
    ['LVT LINT0: masked', APIC.lvtLint0, 0x1_0000],
    ['LVT error: masked', APIC.lvtError, 0x1_0000],
    ['initial count', APIC.initialCount, 0],
    ['ICR', APIC.icr, 0],
  ])('%s', (_what, n, value) => {
    const r = rig({ id: 5 });
    r.apic.reset();
    expect(r.reg(n)).toBe(value);
  });

  it.each([
    [true, 0xfee0_0900n],
    [false, 0xfee0_0800n],
  ])('IA32_APIC_BASE enables it at 0xfee00000; bootstrap processor: %s', (bsp, value) => {
    expect(rig({ bsp }).apic.readMsr(MSR.base)).toBe(value);
    expect(rig({ bsp }).apic.page).toBe(0xfee0_0000);
  });

  it('registers are 32 bits on boundaries of 16; narrower reads take a part, other offsets read zero (10.4.1)', () => {
    const r = rig({ id: 5 });
    expect([r.apic.read(0x23, 1), r.apic.read(0x22, 2), r.apic.read(0x24, 4)]).toEqual([5, 0x0500, 0]);
  });
});

describe('disabled by software (10.4.7.2)', () => {
  it('masks all LVT entries and keeps them masked', () => {
    const r = rig();
    r.set(APIC.lvtTimer, 0x40);
    r.set(APIC.svr, 0xff);
    expect(r.reg(APIC.lvtTimer)).toBe(0x1_0040);
    r.set(APIC.lvtTimer, 0x41);
    expect(r.reg(APIC.lvtTimer)).toBe(0x1_0041);
  });
  it('takes no fixed interrupt, keeps what it had, and still takes INIT, NMI and start-up', () => {
    const r = rig();
    r.fixed(0x41);
    r.set(APIC.svr, 0xff);
    r.fixed(0x51);
    expect(r.reg(APIC.irr + 2)).toBe(0x2);
    for (const delivery of [DELIVERY.nmi, DELIVERY.startup])
      r.apic.accept({ destination: 0, logical: false, delivery, vector: 9, level: false });
    expect([r.apic.requests & REQUEST.nmi, r.events]).toEqual([REQUEST.nmi, ['startup 9']]);
  });
});

describe('acceptance and priority (10.8.3, 10.8.4)', () => {
  it('keeps one request of a vector in IRR and one in ISR', () => {
    const r = rig();
    for (let i = 0; i < 3; i++) r.fixed(0x45);
    expect(r.apic.acknowledge()).toBe(0x45);
    expect(asks(r)).toBe(false);
    r.fixed(0x45);
    r.fixed(0x45);
    r.set(APIC.eoi, 0);
    expect(r.apic.acknowledge()).toBe(0x45);
    r.set(APIC.eoi, 0);
    expect(asks(r)).toBe(false);
  });

  it('gives the highest vector first, and none of the class in service', () => {
    const r = rig();
    for (const v of [0x31, 0x62, 0x45]) r.fixed(v);
    expect(r.apic.acknowledge()).toBe(0x62);
    r.fixed(0x6f);
    expect(asks(r)).toBe(false);
    r.fixed(0x70);
    expect(r.apic.acknowledge()).toBe(0x70);
    r.set(APIC.eoi, 0);
    r.set(APIC.eoi, 0);
    expect(r.apic.acknowledge()).toBe(0x6f);
  });

  it.each([
    // TPR, highest in service, PPR
    [0x00, 0, 0x00],
    [0x35, 0, 0x35],
    [0x35, 0x42, 0x40],
    [0x42, 0x45, 0x42],
    [0x52, 0x45, 0x52],
  ])('PPR of TPR %i with vector %i in service is %i (Figure 10-18)', (tpr, serving, ppr) => {
    const r = rig();
    if (serving) {
      r.fixed(serving);
      r.apic.acknowledge();
    }
    r.set(APIC.tpr, tpr);
    expect(r.reg(APIC.ppr)).toBe(ppr);
  });

  it('a TPR holds back its own class and those below; CR8 is its high half (10.8.6)', () => {
    const r = rig();
    r.fixed(0x4f);
    r.apic.setCr8(4);
    expect([r.reg(APIC.tpr), asks(r)]).toEqual([0x40, false]);
    r.set(APIC.tpr, 0x3f);
    expect([r.apic.getCr8(), asks(r)]).toEqual([3, true]);
  });

  it('a request that the TPR has overtaken is the spurious vector, and not in service (10.9)', () => {
    const r = rig();
    r.fixed(0x41);
    r.apic.state.tpr = 0xff;
    expect(r.apic.acknowledge()).toBe(0xff);
    expect(r.reg(APIC.isr + 2)).toBe(0);
  });

  it('TMR follows the trigger mode, and an EOI of a level goes to the I/O APICs (10.8.5)', () => {
    const r = rig();
    r.fixed(0x41, true);
    expect(r.reg(APIC.tmr + 2)).toBe(2);
    r.apic.acknowledge();
    r.set(APIC.eoi, 0);
    r.fixed(0x41);
    r.apic.acknowledge();
    r.set(APIC.eoi, 0);
    expect([r.reg(APIC.tmr + 2), r.events]).toEqual([0, ['eoi 41']]);
  });

  it('an EOI with nothing in service does nothing', () => {
    const r = rig();
    r.set(APIC.eoi, 0);
    expect(r.events).toEqual([]);
  });
});

describe('destinations (10.6.2)', () => {
  const m = (destination: number, logical: boolean): ApicMessage => ({ destination, logical, delivery: 0, vector: 0x40, level: false });
  it.each([
    ['physical: its ID', 0, 0, 5, false, true],
    ['physical: another', 0, 0, 4, false, false],
    ['physical: everybody', 0, 0, BROADCAST, false, true],
    ['flat: its bit', 0xffff_ffff, 0x2000_0000, 0x30, true, true],
    ['flat: others', 0xffff_ffff, 0x2000_0000, 0xdf, true, false],
    ['cluster: its cluster and bit', 0x0fff_ffff, 0x3200_0000, 0x36, true, true],
    ['cluster: another cluster', 0x0fff_ffff, 0x3200_0000, 0x22, true, false],
    ['cluster: another member', 0x0fff_ffff, 0x3200_0000, 0x3d, true, false],
    ['cluster: all clusters', 0x0fff_ffff, 0x3200_0000, 0xf2, true, true],
  ])('%s', (_what, dfr, ldr, destination, logical, expected) => {
    const r = rig({ id: 5 });
    r.set(APIC.dfr, dfr);
    r.set(APIC.ldr, ldr);
    expect(r.apic.matches(m(destination, logical))).toBe(expected);
  });

  it.each([
    [0x0002_0020, true],
    [0x0002_0010, false],
    [0x0001_0020, false],
    [BROADCAST, true],
  ])('x2APIC, ID 0x25: LDR is cluster 2, bit 5; logical %i: %s (10.12.10)', (destination, expected) => {
    const r = rig({ id: 0x25 });
    r.apic.writeMsr(MSR.base, BigInt(0xfee0_0000 + EN + EXTD));
    expect(r.apic.readMsr(MSR.x2 + APIC.ldr)).toBe(0x0002_0020n);
    expect(r.apic.matches(m(destination, true))).toBe(expected);
  });
});

describe('inter-processor interrupts (10.6.1)', () => {
  it('carry what ICR says, destination from its high half', () => {
    const r = rig();
    r.set(APIC.icrHigh, 0x0700_0000);
    r.set(APIC.icr, 0x0000_08fd);
    expect(r.sent).toEqual([{ destination: 7, logical: true, delivery: DELIVERY.fixed, vector: 0xfd, level: false }]);
  });
  it.each([
    ['self', 0x4_0041, true, 0],
    ['all', 0x8_0041, true, 1],
    ['all but self', 0xc_0041, false, 1],
  ])('shorthand %s', (_what, icr, mine, sent) => {
    const r = rig();
    r.set(APIC.icr, icr);
    expect([asks(r), r.sent.length]).toEqual([mine, sent]);
  });
  it('INIT resets the APIC but for its ID and base; the level de-assert is ignored', () => {
    const r = rig({ id: 3 });
    r.set(APIC.tpr, 0x20);
    r.apic.accept({ destination: 3, logical: false, delivery: DELIVERY.init, vector: 0, level: false });
    expect([r.reg(APIC.id), r.reg(APIC.tpr), r.reg(APIC.svr), r.events]).toEqual([0x0300_0000, 0, 0xff, ['init']]);
    r.set(APIC.icr, 0x8_8500);
    expect(r.sent).toEqual([]);
  });
  it('with an illegal vector are an error, sent or received (10.5.3)', () => {
    const r = rig();
    r.set(APIC.lvtError, 0xe0);
    r.set(APIC.icr, 0x4_000f);
    r.fixed(0x0f);
    expect([r.reg(APIC.esr), r.apic.acknowledge()]).toEqual([0, 0xe0]);
    r.set(APIC.esr, 0);
    expect(r.reg(APIC.esr)).toBe(0x60);
    r.set(APIC.esr, 0);
    expect(r.reg(APIC.esr)).toBe(0);
  });
  it('an access to a register that is not there is an error', () => {
    const r = rig();
    r.reg(0x3c);
    r.set(APIC.esr, 0);
    expect(r.reg(APIC.esr)).toBe(0x80);
  });
});

describe('pins (10.5.1)', () => {
  it('LINT0 as ExtINT lets the 8259s through and asks them for the vector', () => {
    const r = rig();
    r.set(APIC.lvtLint0, 0x700);
    r.apic.setLint(0, true);
    expect(asks(r)).toBe(true);
    expect(r.apic.acknowledge()).toBe(0x08);
    expect([asks(r), r.reg(APIC.isr)]).toEqual([false, 0]);
  });
  it('masked, it does not; hardware-disabled, the pin is the processor INTR (10.4.3)', () => {
    const r = rig();
    r.apic.setLint(0, true);
    expect(asks(r)).toBe(false);
    r.apic.writeMsr(MSR.base, 0xfee0_0000n);
    expect(asks(r)).toBe(true);
  });
  it('LINT1 as NMI is one for each edge', () => {
    const r = rig();
    r.apic.virtualWire();
    r.apic.setLint(1, true);
    expect(r.apic.requests).toBe(REQUEST.nmi);
    r.apic.acknowledgeNmi();
    r.apic.setLint(1, true);
    expect(r.apic.requests).toBe(0);
  });
  it('LINT0 fixed and level-triggered asks again after EOI while it is up', () => {
    const r = rig();
    r.set(APIC.lvtLint0, 0x8041);
    r.apic.setLint(0, true);
    expect([r.apic.acknowledge(), r.reg(APIC.lvtLint0)]).toEqual([0x41, 0xc041]);
    r.set(APIC.eoi, 0);
    expect(r.apic.acknowledge()).toBe(0x41);
    r.apic.setLint(0, false);
    r.set(APIC.eoi, 0);
    expect([asks(r), r.reg(APIC.lvtLint0)]).toEqual([false, 0x8041]);
  });
});

describe('timer (10.5.4)', () => {
  it('counts down once from the initial count, at the divided rate', () => {
    const r = rig();
    r.set(APIC.lvtTimer, 0x50);
    r.set(APIC.divide, 0x1); // by 4: 16 cycles a count
    r.set(APIC.initialCount, 100);
    r.time.pass(160);
    expect([r.reg(APIC.currentCount), asks(r)]).toEqual([90, false]);
    r.time.pass(1439);
    expect(asks(r)).toBe(false);
    r.time.pass(1);
    expect([r.apic.acknowledge(), r.reg(APIC.currentCount), r.time.pending]).toEqual([0x50, 0, 0]);
  });
  it.each([
    [0b0000, 2],
    [0b0001, 4],
    [0b0010, 8],
    [0b0011, 16],
    [0b1000, 32],
    [0b1001, 64],
    [0b1010, 128],
    [0b1011, 1],
  ])('divide configuration %i divides by %i (Figure 10-10)', (dcr, by) => {
    const r = rig();
    r.set(APIC.divide, dcr);
    r.set(APIC.initialCount, 1000);
    r.time.pass(by * 4 * 10);
    expect(r.reg(APIC.currentCount)).toBe(990);
  });
  it('in periodic mode starts over by itself, in step', () => {
    const r = rig();
    r.set(APIC.lvtTimer, 0x2_0050);
    r.set(APIC.divide, 0xb);
    r.set(APIC.initialCount, 10);
    let fired = 0;
    for (let t = 0; t < 1000; t += 10) {
      r.time.pass(10);
      if (asks(r)) {
        r.apic.acknowledge();
        r.set(APIC.eoi, 0);
        fired++;
      }
    }
    expect(fired).toBe(25);
  });
  it('a count of zero stops it; a masked one counts and does not interrupt', () => {
    const r = rig();
    r.set(APIC.divide, 0xb);
    r.set(APIC.initialCount, 10);
    r.set(APIC.initialCount, 0);
    expect(r.time.pending).toBe(0);
    r.set(APIC.initialCount, 10);
    r.time.pass(40);
    expect([asks(r), r.reg(APIC.currentCount)]).toEqual([false, 0]);
  });
  it('with a new divisor goes on from the count where it is', () => {
    const r = rig();
    r.set(APIC.divide, 0xb);
    r.set(APIC.initialCount, 100);
    r.time.pass(200);
    r.set(APIC.divide, 0);
    r.time.pass(80);
    expect(r.reg(APIC.currentCount)).toBe(40);
  });
  it('in TSC-deadline mode fires when the TSC reaches IA32_TSC_DEADLINE, which is then zero (10.5.4.1)', () => {
    const r = rig({ tscOffset: 1000 });
    r.set(APIC.lvtTimer, 0x4_0050);
    r.set(APIC.initialCount, 5);
    r.apic.writeMsr(MSR.deadline, 1500n);
    expect([r.reg(APIC.currentCount), r.apic.readMsr(MSR.deadline)]).toEqual([0, 1500n]);
    r.time.runTo(499);
    expect(asks(r)).toBe(false);
    r.time.runTo(500);
    expect([asks(r), r.apic.readMsr(MSR.deadline)]).toEqual([true, 0n]);
  });
  it('a deadline that has passed fires at once; zero disarms; other modes ignore the MSR', () => {
    const r = rig();
    r.time.runTo(100);
    r.apic.writeMsr(MSR.deadline, 200n);
    expect(r.time.pending).toBe(0);
    r.set(APIC.lvtTimer, 0x4_0050);
    r.apic.writeMsr(MSR.deadline, 200n);
    r.apic.writeMsr(MSR.deadline, 0n);
    expect(r.time.pending).toBe(0);
    r.apic.writeMsr(MSR.deadline, 50n);
    expect(asks(r)).toBe(true);
  });
});

describe('x2APIC (10.12)', () => {
  const x2 = (id = 0): Rig => {
    const r = rig({ id });
    r.apic.writeMsr(MSR.base, BigInt(0xfee0_0000 + EN + EXTD));
    return r;
  };
  it.each([
    ['xAPIC to x2APIC', [EN + EXTD], true],
    ['disabled to xAPIC', [0, EN], true],
    ['x2APIC to disabled', [EN + EXTD, 0], true],
    ['disabled to x2APIC', [0, EN + EXTD], false],
    ['x2APIC to xAPIC', [EN + EXTD, EN], false],
    ['EXTD without EN', [EXTD], false],
    ['a reserved bit', [EN + 1], false],
  ])('%s: allowed %s (Figure 10-27)', (_what, steps, expected) => {
    const { apic } = rig();
    const results = steps.map((bits) => apic.writeMsr(MSR.base, BigInt(0xfee0_0000 + bits)));
    expect(results.at(-1)).toBe(expected);
  });
  it('takes the registers out of memory', () => {
    expect(x2().apic.page).toBeUndefined();
  });
  it('is not there as MSRs in xAPIC mode', () => {
    const { apic } = rig();
    expect([apic.readMsr(MSR.x2 + APIC.id), apic.writeMsr(MSR.x2 + APIC.tpr, 0n)]).toEqual([undefined, false]);
  });
  it.each([
    // Table 10-6: number, readable, writable with zero
    ['ID', APIC.id, true, false],
    ['version', APIC.version, true, false],
    ['TPR', APIC.tpr, true, true],
    ['arbitration priority', APIC.apr, false, false],
    ['PPR', APIC.ppr, true, false],
    ['EOI', APIC.eoi, false, true],
    ['LDR', APIC.ldr, true, false],
    ['DFR', APIC.dfr, false, false],
    ['SVR', APIC.svr, true, true],
    ['ISR', APIC.isr, true, false],
    ['ESR', APIC.esr, true, true],
    ['ICR high', APIC.icrHigh, false, false],
    ['current count', APIC.currentCount, true, false],
    ['initial count', APIC.initialCount, true, true],
    ['divide', APIC.divide, true, true],
    ['self IPI', APIC.selfIpi, false, true],
  ])('%s: readable %s, writable %s (Table 10-6)', (_what, n, readable, writable) => {
    const { apic } = x2();
    expect([apic.readMsr(MSR.x2 + n) !== undefined, apic.writeMsr(MSR.x2 + n, 0n)]).toEqual([readable, writable]);
  });
  it.each([
    [APIC.tpr, 0x100n],
    [APIC.eoi, 1n],
    [APIC.esr, 1n],
    [APIC.svr, 0x1000n],
    [APIC.lvtTimer, 0x80_0000n],
    [APIC.lvtLint0, 0x2_0000n],
    [APIC.divide, 4n],
    [APIC.tpr, 1n << 32n],
    [APIC.icr, 1n << 20n],
    [APIC.selfIpi, 0x100n],
  ])('register %i refuses reserved bits %i (10.12.1.3)', (n, value) => {
    expect(x2().apic.writeMsr(MSR.x2 + n, value)).toBe(false);
  });
  it('ICR is one register of 64 bits; a self IPI is a fixed interrupt', () => {
    const r = x2(0x123);
    expect(r.apic.readMsr(MSR.x2 + APIC.id)).toBe(0x123n);
    r.apic.writeMsr(MSR.x2 + APIC.icr, (0x1_0000n << 32n) | 0x45n);
    expect(r.sent[0]).toMatchObject({ destination: 0x1_0000, vector: 0x45 });
    expect(r.apic.readMsr(MSR.x2 + APIC.icr)).toBe((0x1_0000n << 32n) | 0x45n);
    r.apic.writeMsr(MSR.x2 + APIC.selfIpi, 0x66n);
    expect(r.apic.acknowledge()).toBe(0x66);
  });
});
