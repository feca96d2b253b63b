import { describe, expect, it } from 'vitest';
import { CS, DS, EFLAGS, ES, RAX, RSP, SS, STATE } from '../state.ts';
import type { FakeCpu } from './fake-cpu.ts';
import { CODE, DATA, enterLevel, GDT, INNER_STACK, longCpu, protectedCpu, realCpu, SEL, STACK } from './fake-cpu.ts';

const le = (n: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(n / 2 ** (8 * i)) & 0xff);
const jmpFar = (selector: number, offset: number) => [0xea, ...le(offset, 4), ...le(selector, 2)];
const callFar = (selector: number, offset: number) => [0x9a, ...le(offset, 4), ...le(selector, 2)];
const stack = (c: FakeCpu, count: number, size: 2 | 4 | 8 = 4) =>
  Array.from({ length: count }, (_, i) => Number(c.read(c.regLin(RSP) + i * size, size)));

const BUSY_TSS = 0x98;

/** Pushes so that the first value given lies at RSP. */
function frame(c: FakeCpu, size: 2 | 4 | 8, ...values: number[]): void {
  c.setRegLin(RSP, STACK - values.length * size);
  values.forEach((v, i) => {
    c.write(STACK - (values.length - i) * size, size, v);
  });
}

describe('JMP far to a code segment (SDM Vol 2A, JMP)', () => {
  const cases: [string, number, number, string][] = [
    ['the same level', 0, SEL.code0, 'ok'],
    ['an outer level', 0, SEL.code3, '#GP(18)'],
    ['an inner level', 3, SEL.code0, '#GP(8)'],
    ['an RPL above CPL', 0, SEL.code0 | 3, '#GP(8)'],
    ['conforming code of an inner level', 3, SEL.conforming0 | 3, 'ok'],
    ['a segment that is not present', 0, SEL.absentCode0, '#NP(80)'],
    ['a data segment', 0, SEL.data0, '#GP(10)'],
    ['null', 0, 2, '#GP(0)'],
    ['past the table', 0, 0x7f8, '#GP(7f8)'],
    ['an offset past the limit of the new segment', 0, SEL.code16, '#GP(0)'],
    ['a TSS that is busy', 0, BUSY_TSS, '#GP(98)'],
    ['a TSS of an inner level', 3, SEL.tss, '#GP(28)'],
  ];
  for (const [what, cpl, selector, outcome] of cases) {
    it(`${what} at CPL ${cpl} gives ${outcome}`, () => {
      const c = protectedCpu(cpl);
      c.gdt(BUSY_TSS, 0x5000, 0x67, 0x8b);
      expect(c.outcome(...jmpFar(selector, CODE + 0x20))).toBe(outcome);
      if (outcome !== 'ok') return expect([c.rip, c.selector(CS)]).toEqual([CODE, cpl ? SEL.code3 : SEL.code0]);
      expect(c.rip).toBe(CODE + 0x20);
      expect(c.selector(CS)).toBe((selector & ~3) | cpl);
    });
  }
  it('goes from compatibility to 64-bit mode and refuses L with D', () => {
    const c = longCpu(3);
    c.setSegment(CS, SEL.compat3, 0xc0fb, 0xffffffff, 0);
    expect(c.outcome(...jmpFar(SEL.code3, CODE))).toBe('ok');
    expect(c.segAttributes(CS) & 0x2000).toBe(0x2000);
    c.setSegment(CS, SEL.compat3, 0xc0fb, 0xffffffff, 0);
    c.gdt(SEL.scratch, 0, 0xfffff, 0xe0fb);
    expect(c.outcome(...jmpFar(SEL.scratch | 3, CODE))).toBe('#GP(90)');
  });
  it('takes m16:64 with REX.W, and a non-canonical offset is #GP(0)', () => {
    const c = longCpu(0);
    c.write(DATA, 8, 0xffff_8000_0000_1000n);
    c.write(DATA + 8, 2, SEL.code0);
    expect(c.outcome(0x48, 0xff, 0x2c, 0x25, ...le(DATA, 4))).toBe('ok');
    expect(c.rip).toBe(-0x8000_0000_0000 + 0x1000);
    c.write(DATA, 8, 0x1000_8000_0000_1000n);
    expect(c.outcome(0x48, 0xff, 0x2c, 0x25, ...le(DATA, 4))).toBe('#GP(0)');
  });
});

describe('CALL far and RET far', () => {
  it('CALL pushes CS and the return address; RET n goes back and releases', () => {
    const c = protectedCpu(0);
    c.setRegLin(RSP, STACK);
    expect(c.outcome(...callFar(SEL.code0, 0x3000))).toBe('ok');
    expect(stack(c, 2)).toEqual([CODE + 7, SEL.code0]);
    expect(c.outcome(0xca, 0x08, 0x00)).toBe('ok');
    expect([c.rip, c.regLin(RSP)]).toEqual([CODE + 7, STACK + 8]);
  });
  it('a call gate to level 0 switches stacks and copies parameters; RET n undoes both', () => {
    const c = protectedCpu(3);
    c.gate(GDT + SEL.scratch, SEL.code0, 0x5000, 12, 3, 2);
    c.write(STACK, 4, 0x11);
    c.write(STACK + 4, 4, 0x22);
    expect(c.outcome(...callFar(SEL.scratch | 3, 0xdead))).toBe('ok');
    expect([c.cpl, c.rip, c.selector(CS), c.selector(SS)]).toEqual([0, 0x5000, SEL.code0, SEL.data0]);
    expect(c.regLin(RSP)).toBe(INNER_STACK - 24);
    expect(stack(c, 6)).toEqual([CODE + 7, SEL.code3, 0x11, 0x22, STACK, SEL.data3]);
    c.setSegment(DS, SEL.data0, 0xc093, 0xffffffff, 0);
    expect(c.outcome(0xca, 0x08, 0x00)).toBe('ok');
    expect([c.cpl, c.rip, c.regLin(RSP), c.selector(SS)]).toEqual([3, CODE + 7, STACK + 8, SEL.data3]);
    // DS was of level 0: null now. ES was of level 3: kept.
    expect([c.selector(DS), c.segAttributes(DS), c.selector(ES)]).toEqual([0, 0, SEL.data3]);
  });
  it('a gate whose DPL is below CPL is #GP with its selector', () => {
    const c = protectedCpu(3);
    c.gate(GDT + SEL.scratch, SEL.code0, 0x5000, 12, 0);
    expect(c.outcome(...callFar(SEL.scratch | 3, 0))).toBe('#GP(90)');
  });
  it('a bad SS0 in the TSS is #TS with that selector', () => {
    const c = protectedCpu(3);
    c.gate(GDT + SEL.scratch, SEL.code0, 0x5000, 12, 3);
    c.write(0x3008, 4, SEL.readOnly3);
    expect(c.outcome(...callFar(SEL.scratch | 3, 0))).toBe('#TS(70)');
    expect(c.cpl).toBe(3);
  });
  it('a 64-bit call gate takes RSP0, a null SS, and no parameters', () => {
    const c = longCpu(3);
    c.gate(GDT + SEL.scratch, SEL.code0, 0x5000, 12, 3);
    c.write(DATA, 4, 0);
    c.write(DATA + 4, 2, SEL.scratch | 3);
    expect(c.outcome(0xff, 0x1c, 0x25, ...le(DATA, 4))).toBe('ok');
    expect([c.cpl, c.rip, c.selector(SS), c.regLin(RSP)]).toEqual([0, 0x5000, 0, INNER_STACK - 32]);
    expect(stack(c, 4, 8)).toEqual([CODE + 7, SEL.code3, STACK, SEL.data3]);
  });
  it('RET to an inner level is #GP', () => {
    const c = protectedCpu(3);
    frame(c, 4, 0x1000, SEL.code0);
    expect(c.outcome(0xcb)).toBe('#GP(8)');
  });
  it('in real mode pushes and pops 16 bits', () => {
    const c = realCpu();
    expect(c.outcome(0x9a, 0x34, 0x12, 0x00, 0x20)).toBe('ok');
    expect([c.rip, c.segBase(CS)]).toEqual([0x1234, 0x20000]);
    expect(stack(c, 2, 2)).toEqual([5, CODE >> 4]);
    expect(c.outcome(0xcb)).toBe('ok');
    expect([c.rip, c.segBase(CS), c.regLo(RSP)]).toEqual([5, CODE, STACK]);
    expect(c.modeChanges).toBe(2);
  });
});

const IRETQ = [0x48, 0xcf];
const IRETD = [0xcf];

describe('IRET in long mode (SDM Vol 2A, IRET; Vol 3A, 6.14.3)', () => {
  const cases: [string, number, number, number, number, number, string][] = [
    // what, CPL, RIP, CS, RSP, SS, outcome
    ['to the same level', 0, 0x4000, SEL.code0, 0x8000, SEL.data0, 'ok'],
    ['to user level', 0, 0x4000, SEL.code3, 0x8000, SEL.data3, 'ok'],
    ['to compatibility mode', 0, 0x4000, SEL.compat3, 0x8000, SEL.data3, 'ok'],
    ['to level 0 with a null SS', 0, 0x4000, SEL.code0, 0x8000, 0, 'ok'],
    ['to level 3 with a null SS', 0, 0x4000, SEL.code3, 0x8000, 3, '#GP(0)'],
    ['to compatibility mode with a null SS', 0, 0x4000, SEL.compat3, 0x8000, 0, '#GP(0)'],
    ['to an inner level', 3, 0x4000, SEL.code0, 0x8000, SEL.data0, '#GP(8)'],
    ['to a null CS', 3, 0x4000, 3, 0x8000, SEL.data3, '#GP(0)'],
    ['to data', 3, 0x4000, SEL.data3, 0x8000, SEL.data3, '#GP(20)'],
    ['with an SS of another level', 3, 0x4000, SEL.code3, 0x8000, SEL.data0, '#GP(10)'],
    ['with an SS that is not present', 3, 0x4000, SEL.code3, 0x8000, SEL.absentData3, '#SS(68)'],
    ['to a CS that is not present', 0, 0x4000, SEL.absentCode0, 0x8000, SEL.data0, '#NP(80)'],
    ['to a non-canonical RIP', 3, 0x8000_0000_0000, SEL.code3, 0x8000, SEL.data3, '#GP(0)'],
  ];
  for (const [what, cpl, rip, cs, rsp, ss, outcome] of cases) {
    it(`${what}: ${outcome}`, () => {
      const c = longCpu(cpl);
      frame(c, 8, rip, cs, 0x202, rsp, ss);
      expect(c.outcome(...IRETQ)).toBe(outcome);
      if (outcome !== 'ok') return expect([c.rip, c.cpl, c.regLin(RSP)]).toEqual([CODE, cpl, STACK - 40]);
      expect([c.rip, c.selector(CS), c.regLin(RSP), c.selector(SS), c.cpl]).toEqual([rip, cs, rsp, ss, cs & 3]);
    });
  }
  it('keeps IF and IOPL of a caller without the right to them', () => {
    const c = longCpu(3);
    c.rflags = 0x202;
    frame(c, 8, 0x4000, SEL.code3, 0x3000 | EFLAGS.CF | EFLAGS.DF, 0x8000, SEL.data3);
    expect(c.outcome(...IRETQ)).toBe('ok');
    expect(c.rflags).toBe(0x202 | EFLAGS.CF | EFLAGS.DF);
  });
  it('is #GP(0) with NT set', () => {
    const c = longCpu(0);
    c.rflags = 2 | EFLAGS.NT;
    frame(c, 8, 0x4000, SEL.code0, 2, 0x8000, SEL.data0);
    expect(c.outcome(...IRETQ)).toBe('#GP(0)');
  });
  it('lets NMIs in again', () => {
    const c = longCpu(0);
    c.thread.nmiBlocked = true;
    frame(c, 8, 0x4000, SEL.code0, 2, 0x8000, SEL.data0);
    c.execute(...IRETQ);
    expect(c.thread.nmiBlocked).toBe(false);
  });
  it('loads the whole RSP, canonical or not', () => {
    const c = longCpu(0);
    frame(c, 8, 0x4000, SEL.code3, 2, 0, SEL.data3);
    c.write(STACK - 16, 8, 0x1234_5678_9abc_def1n);
    expect(c.outcome(...IRETQ)).toBe('ok');
    expect(c.reg(RSP)).toBe(0x1234_5678_9abc_def1n);
  });
});

describe('IRET outside long mode', () => {
  it('to the same level pops three doublewords', () => {
    const c = protectedCpu(0);
    frame(c, 4, 0x4000, SEL.code0, 0x3202);
    expect(c.outcome(...IRETD)).toBe('ok');
    expect([c.rip, c.regLin(RSP), c.rflags]).toEqual([0x4000, STACK, 0x3202]);
  });
  it('to level 3 pops five and drops inner data segments', () => {
    const c = protectedCpu(0);
    c.setSegment(DS, SEL.data0, 0xc093, 0xffffffff, 0);
    frame(c, 4, 0x4000, SEL.code3, 0x202, 0x8000, SEL.data3);
    expect(c.outcome(...IRETD)).toBe('ok');
    expect([c.cpl, c.rip, c.regLin(RSP), c.selector(DS), c.selector(ES)]).toEqual([3, 0x4000, 0x8000, 0, SEL.data3]);
  });
  it('to vm86 pops nine', () => {
    const c = protectedCpu(0);
    frame(c, 4, 0x1234, 0x2000, 0x23202, 0xfffe, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000);
    expect(c.outcome(...IRETD)).toBe('ok');
    expect([c.cpl, c.rip, c.segBase(CS), c.segBase(SS), c.segBase(DS)]).toEqual([3, 0x1234, 0x20000, 0x30000, 0x50000]);
    expect(c.lo(STATE.eflags) & EFLAGS.VM).toBe(EFLAGS.VM);
    // From there: INT n without IOPL 3 is #GP(0); with IOPL 3 IRET works and keeps IOPL.
    c.setReg(RAX, 0n);
    expect(c.outcome(0xcf)).toBe('ok');
    expect((c.rflags >>> 12) & 3).toBe(3);
    c.rflags = c.rflags & ~0x3000;
    expect(c.outcome(0xcf)).toBe('#GP(0)');
    expect(c.outcome(0xcd, 0x10)).toBe('#GP(0)');
  });
  it('in real mode loads the low flags, IOPL among them', () => {
    const c = realCpu();
    frame(c, 2, 0x1000, 0x2000, 0x3246);
    expect(c.outcome(0xcf)).toBe('ok');
    expect([c.rip, c.segBase(CS), c.rflags]).toEqual([0x1000, 0x20000, 0x3246]);
  });
  it('at ring 1 keeps working inside its own level', () => {
    const c = protectedCpu(1);
    enterLevel(c, 1);
    frame(c, 4, 0x4000, SEL.code3, 0x202, 0x8000, SEL.data3);
    expect(c.outcome(...IRETD)).toBe('ok');
    expect(c.cpl).toBe(3);
  });
});
