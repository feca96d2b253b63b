import { describe, expect, it } from 'vitest';
import type { Lin } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { CS, DS, EFLAGS, GS, RSP, SS, STATE } from '../state.ts';
import { EXC } from './bits.ts';
import type { Delivery } from './deliver.ts';
import { combineExceptions, deliver, deliverFault, deliverInterrupt, interruptible } from './deliver.ts';
import type { FakeCpu } from './fake-cpu.ts';
import { CODE, IDT, INNER_STACK, longCpu, protectedCpu, realCpu, SEL, STACK } from './fake-cpu.ts';

const HANDLER = 0x6000;
const stack = (c: FakeCpu, count: number, size: 2 | 4 | 8) =>
  Array.from({ length: count }, (_, i) => Number(c.read(c.regLin(RSP) + i * size, size)));

/** Interrupt gates for all exceptions, trap gates from 128 on (DPL 3). */
function withGates(c: FakeCpu, long: boolean): FakeCpu {
  for (let v = 0; v < 256; v++) {
    c.gate(IDT + v * (long ? 16 : 8), SEL.code0, HANDLER + v * 16, v < 128 ? 14 : 15, v < 128 ? 0 : 3);
  }
  return c;
}
const exception = (vector: number, errorCode = -1): Delivery => ({ vector, errorCode, kind: 'fault', returnRip: CODE as Lin });

describe('long mode (SDM Vol 3A, 6.14)', () => {
  it('from level 3: RSP0, a null SS, five quadwords and the error code', () => {
    const c = withGates(longCpu(3), true);
    c.rflags = 0x302;
    c.setRegLin(RSP, STACK + 1);
    expect(deliver(c, exception(EXC.GP, 0x18))).toBe('done');
    expect([c.cpl, c.rip, c.selector(CS), c.selector(SS), c.regLin(RSP)]).toEqual([0, HANDLER + 13 * 16, SEL.code0, 0, INNER_STACK - 48]);
    expect(stack(c, 6, 8)).toEqual([0x18, CODE, SEL.code3, 0x10302, STACK + 1, SEL.data3]);
    // IF and TF are clear behind an interrupt gate.
    expect(c.rflags).toBe(2);
  });
  it('at level 0 aligns RSP to 16 and keeps SS', () => {
    const c = withGates(longCpu(0), true);
    c.setRegLin(RSP, STACK - 8);
    expect(deliverInterrupt(c, 0x80)).toBe('done');
    expect([c.regLin(RSP), c.selector(SS)]).toEqual([STACK - 16 - 40, SEL.data0]);
    expect(stack(c, 5, 8)).toEqual([CODE, SEL.code0, 2, STACK - 8, SEL.data0]);
  });
  it('IST switches stacks even at level 0', () => {
    const c = withGates(longCpu(0), true);
    c.gate(IDT + 2 * 16, SEL.code0, HANDLER, 14, 0, 1);
    expect(deliverInterrupt(c, EXC.NMI)).toBe('done');
    expect(c.regLin(RSP)).toBe(INNER_STACK + 0x2000 - 40);
    expect(c.thread.nmiBlocked).toBe(true);
  });
  it('a trap gate leaves IF', () => {
    const c = withGates(longCpu(3), true);
    c.rflags = 0x202;
    expect(c.execute(0xcd, 0x90)).toBe(true);
    expect([c.rip, c.rflags, c.cpl]).toEqual([HANDLER + 0x900, 0x202, 0]);
    expect(stack(c, 2, 8)).toEqual([CODE + 2, SEL.code3]);
  });
  it('a handler in compatibility code is #GP with its selector, which is delivered in its turn', () => {
    const c = withGates(longCpu(0), true);
    c.gate(IDT + EXC.UD * 16, SEL.code16, HANDLER, 14, 0);
    expect(deliver(c, exception(EXC.UD))).toBe('done');
    expect(c.rip).toBe(HANDLER + EXC.GP * 16);
    expect(stack(c, 2, 8)).toEqual([SEL.code16 | 1, CODE]);
  });
});

describe('software interrupts (SDM Vol 2A, INT n)', () => {
  it('check the gate: DPL below CPL is #GP with the IDT bit and without EXT, at the INT', () => {
    const c = withGates(longCpu(3), true);
    expect(c.execute(0xcd, 0x20)).toBe(true);
    expect(c.rip).toBe(HANDLER + EXC.GP * 16);
    expect(stack(c, 2, 8)).toEqual([0x20 * 8 + 2, CODE]);
  });
  it('INT1 needs no DPL', () => {
    const c = withGates(longCpu(3), true);
    expect(c.execute(0xf1)).toBe(true);
    expect(c.rip).toBe(HANDLER + 16);
  });
  it('INTO traps only with OF', () => {
    const c = withGates(protectedCpu(0), false);
    expect(c.outcome(0xce)).toBe('ok');
    expect(c.rip).toBe(CODE + 1);
    c.rflags |= EFLAGS.OF;
    expect(c.outcome(0xce)).toBe('ok');
    expect(c.rip).toBe(HANDLER + 4 * 16);
  });
  it('leave the run loop in host delivery, RIP at the instruction', () => {
    for (const [bytes, vector] of [
      [[0xcd, 0x82], 0x82],
      [[0xcc], 3],
      [[0xf1], 1],
    ] as const) {
      const c = longCpu(3);
      c.delivery = 'host';
      expect(c.execute(...bytes)).toBe(true);
      expect([c.exit, c.event.vector, c.event.length, c.event.errorCode, c.rip]).toEqual([RunExit.softInt, vector, bytes.length, -1, CODE]);
    }
  });
});

describe('32-bit protected mode (SDM Vol 3A, 6.12)', () => {
  it('from level 3 switches to SS0:ESP0', () => {
    const c = withGates(protectedCpu(3), false);
    c.rflags = 0x202;
    c.event.vector = EXC.PF;
    c.event.errorCode = 6;
    expect(deliverFault(c)).toBe('done');
    expect([c.cpl, c.selector(SS), c.regLin(RSP), c.rip]).toEqual([0, SEL.data0, INNER_STACK - 24, HANDLER + 14 * 16]);
    expect(stack(c, 6, 4)).toEqual([6, CODE, SEL.code3, 0x10202, STACK, SEL.data3]);
  });
  it('a 16-bit gate pushes words', () => {
    const c = withGates(protectedCpu(0), false);
    c.gate(IDT + 6 * 8, SEL.code0, 0x7000, 6, 0);
    expect(deliver(c, exception(EXC.UD))).toBe('done');
    expect(stack(c, 3, 2)).toEqual([CODE & 0xffff, SEL.code0, 2]);
  });
  it('from vm86 pushes the data segments and clears them', () => {
    const c = withGates(protectedCpu(3), false);
    c.rflags = 0x20202;
    c.setSegment(CS, 0x1000, 0xf3, 0xffff, 0x10000);
    c.setSegment(SS, 0x2000, 0xf3, 0xffff, 0x20000);
    c.setSegment(DS, 0x3000, 0xf3, 0xffff, 0x30000);
    c.setSegment(GS, 0x4000, 0xf3, 0xffff, 0x40000);
    expect(deliver(c, { vector: EXC.GP, errorCode: 0, kind: 'fault', returnRip: 0x123 as Lin })).toBe('done');
    expect(stack(c, 10, 4)).toEqual([0, 0x123, 0x1000, 0x30202, STACK, 0x2000, SEL.data3, 0x3000, SEL.data3, 0x4000]);
    expect([c.selector(DS), c.lo(STATE.eflags) & EFLAGS.VM, c.cpl]).toEqual([0, 0, 0]);
  });
  it('an absent gate is #NP with its index', () => {
    const c = withGates(protectedCpu(0), false);
    c.write(IDT + 6 * 8 + 5, 1, 0x0e);
    expect(deliver(c, exception(EXC.UD))).toBe('done');
    expect(stack(c, 2, 4)).toEqual([6 * 8 + 2 + 1, CODE]);
    expect(c.rip).toBe(HANDLER + EXC.NP * 16);
  });
});

describe('real mode', () => {
  it('goes through the IVT and pushes no error code', () => {
    const c = realCpu();
    c.write(13 * 4, 2, 0x5678);
    c.write(13 * 4 + 2, 2, 0x0300);
    c.rflags = 0x202;
    expect(deliver(c, { vector: 13, errorCode: 0, kind: 'fault', returnRip: 0x44 as Lin })).toBe('done');
    expect([c.rip, c.segBase(CS), c.rflags]).toEqual([0x5678, 0x3000, 2]);
    expect(stack(c, 3, 2)).toEqual([0x44, CODE >> 4, 0x202]);
  });
});

describe('double faults (SDM Vol 3A, Table 6-5)', () => {
  const { DB, DE, DF, GP, MC, NM, PF, SS: SSX, TS } = EXC;
  const cases: [string, number, number, 'second' | 'doubleFault' | 'shutdown'][] = [
    ['benign, then contributory', DB, GP, 'second'],
    ['benign, then page fault', NM, PF, 'second'],
    ['contributory, then benign', GP, DB, 'second'],
    ['contributory, then contributory', DE, TS, 'doubleFault'],
    ['contributory, then page fault', SSX, PF, 'second'],
    ['page fault, then contributory', PF, GP, 'doubleFault'],
    ['page fault, then page fault', PF, PF, 'doubleFault'],
    ['page fault, then benign', PF, MC, 'second'],
    ['double fault, then contributory', DF, GP, 'shutdown'],
    ['double fault, then page fault', DF, PF, 'shutdown'],
  ];
  for (const [name, first, second, expected] of cases) {
    it(`${name}: ${expected}`, () => {
      expect(combineExceptions(first, second)).toBe(expected);
    });
  }
  it('#GP while delivering #GP gives #DF with error code 0', () => {
    const c = withGates(longCpu(0), true);
    c.gate(IDT + EXC.GP * 16, 0, HANDLER, 14, 0);
    expect(deliver(c, exception(EXC.GP, 0x50))).toBe('done');
    expect(c.rip).toBe(HANDLER + EXC.DF * 16);
    expect(stack(c, 2, 8)).toEqual([0, CODE]);
  });
  it('no stack at all is a shutdown', () => {
    const c = withGates(longCpu(3), true);
    c.pages.set((INNER_STACK - 1) >> 12, 'absent');
    expect(deliver(c, exception(EXC.UD))).toBe('shutdown');
    expect(c.cpl).toBe(3);
  });
  it('an external interrupt with a bad gate is #GP with EXT', () => {
    const c = withGates(longCpu(0), true);
    c.setU32(STATE.idtrLimit, 0x7f * 16 + 15);
    expect(deliverInterrupt(c, 0x80)).toBe('done');
    expect(stack(c, 1, 8)).toEqual([0x80 * 8 + 3]);
  });
});

describe('interruptible', () => {
  it('needs IF, and no shadow of STI or MOV SS', () => {
    const c = longCpu(0);
    expect(interruptible(c)).toBe(false);
    c.execute(0xfb);
    expect(interruptible(c)).toBe(false);
    c.thread.interruptShadow = false;
    expect(interruptible(c)).toBe(true);
  });
});
