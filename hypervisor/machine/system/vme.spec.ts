// Virtual-8086 mode with and without VME, and protected-mode virtual interrupts (SDM Vol 3B, 20.2 to 20.4).

import { describe, expect, it } from 'vitest';
import { CS, EFLAGS, RSP, SS, STATE } from '../state.ts';
import { CR4 } from './bits.ts';
import type { FakeCpu } from './fake-cpu.ts';
import { enterLevel, IDT, INNER_STACK, longCpu, protectedCpu, SEL, TSS } from './fake-cpu.ts';

const CS_BASE = 0x1000;
const SS_BASE = 0x2000;
const SP = 0x800;
const IVT_HANDLER = 0x0300_0040;
const { IF, VIF, VIP, TF, IOPL, VM, NT } = EFLAGS;

/** In vm86 at 1000:0, with an I/O map base of 0x88 and the redirection bit map below it. */
function vm86(iopl: number, vme: boolean, flags = 0): FakeCpu {
  const c = protectedCpu(3);
  c.setHalves(STATE.cr4, vme ? CR4.VME : 0, 0);
  c.rflags = 2 | VM | (iopl << 12) | flags;
  for (const [seg, selector] of [
    [CS, CS_BASE],
    [SS, SS_BASE],
  ] as const)
    c.setSegment(seg, selector, 0xf3, 0xffff, selector << 4);
  c.setRegLin(RSP, SP);
  c.rip = 0 as never;
  c.write(TSS + 0x66, 2, 0x88);
  for (let v = 0; v < 256; v++) c.gate(IDT + v * 8, SEL.code0, 0x6000, 14, 3);
  c.write(0x21 * 4, 4, IVT_HANDLER);
  return c;
}
const redirect = (c: FakeCpu, vector: number, bit: 0 | 1) => c.write(TSS + 0x68 + (vector >> 3), 1, bit << (vector & 7));
const system = (c: FakeCpu): number => c.rflags & (IF | VIF | VIP | TF | IOPL | NT);
const stackWord = (c: FakeCpu, n: number): number => Number(c.read((SS_BASE << 4) + c.regLin(RSP) + 2 * n, 2));

describe('CLI and STI (Vol 2, CLI: Table 3-7; STI: Table 4-20)', () => {
  const I3 = 3 << 12;
  const cases: [string, () => FakeCpu, number, string, number][] = [
    // what, CPU, opcode, outcome, system flags after
    ['CLI in vm86 with IOPL 3', () => vm86(3, true, IF), 0xfa, 'ok', I3],
    ['CLI in vm86 without VME', () => vm86(0, false, IF), 0xfa, '#GP(0)', IF],
    ['CLI in vm86 with VME', () => vm86(0, true, IF | VIF), 0xfa, 'ok', IF],
    ['STI in vm86 with VME', () => vm86(0, true), 0xfb, 'ok', VIF],
    ['STI in vm86 with VME and an interrupt pending', () => vm86(0, true, VIP), 0xfb, '#GP(0)', VIP],
    ['STI in vm86 with IOPL 3 and an interrupt pending', () => vm86(3, true, VIP), 0xfb, 'ok', VIP | IF | I3],
    ['STI in vm86 without VME', () => vm86(2, false), 0xfb, '#GP(0)', 2 << 12],
  ];
  for (const [what, make, opcode, outcome, flags] of cases) {
    it(`${what}: ${outcome}`, () => {
      const c = make();
      expect(c.outcome(opcode)).toBe(outcome);
      expect(system(c)).toBe(flags);
    });
  }
  const pvi: [string, number, number, number, number, string, number][] = [
    // what, CPL, IOPL, flags before, opcode, outcome, system flags after
    ['CLI at CPL 3', 3, 0, IF | VIF, 0xfa, 'ok', IF],
    ['STI at CPL 3', 3, 0, 0, 0xfb, 'ok', VIF],
    ['STI at CPL 3 with an interrupt pending', 3, 0, VIP, 0xfb, '#GP(0)', VIP],
    ['CLI at CPL 1, which PVI does not help', 1, 0, IF, 0xfa, '#GP(0)', IF],
    ['CLI at CPL 3 with IOPL 3', 3, 3, IF, 0xfa, 'ok', 3 << 12],
  ];
  for (const mode of ['protected', 'long'] as const)
    for (const [what, cpl, iopl, before, opcode, outcome, after] of pvi) {
      it(`PVI, ${mode} mode, ${what}: ${outcome}`, () => {
        const c = mode === 'long' ? longCpu(cpl) : protectedCpu(cpl);
        enterLevel(c, cpl);
        c.setHalves(STATE.cr4, c.lo(STATE.cr4) | CR4.PVI, 0);
        c.rflags = 2 | (iopl << 12) | before;
        expect(c.outcome(opcode)).toBe(outcome);
        expect(system(c)).toBe(after);
      });
    }
});

describe('PUSHF and POPF (Vol 2B)', () => {
  const PUSHF = [0x9c];
  const PUSHFD = [0x66, 0x9c];
  const POPF = [0x9d];
  it('PUSHF with VME shows VIF as IF and IOPL 3', () => {
    for (const [flags, seen] of [
      [IF, IOPL | 2],
      [VIF, IOPL | IF | 2],
    ] as const) {
      const c = vm86(1, true, flags);
      expect(c.outcome(...PUSHF)).toBe('ok');
      expect(stackWord(c, 0)).toBe(seen);
    }
  });
  it('PUSHF without VME, and PUSHFD with it, are #GP(0) below IOPL 3', () => {
    expect(vm86(1, false).outcome(...PUSHF)).toBe('#GP(0)');
    expect(vm86(1, true).outcome(...PUSHFD)).toBe('#GP(0)');
    expect(vm86(3, false).outcome(...PUSHFD)).toBe('ok');
  });
  const cases: [string, number, boolean, number, number, string, number][] = [
    // what, IOPL, VME, flags before, popped, outcome, system flags after
    ['IF goes to VIF', 0, true, 0, IF, 'ok', VIF],
    ['IF clear clears VIF and leaves IF', 0, true, IF | VIF, 0, 'ok', IF],
    ['IOPL stays', 1, true, 0, IOPL | NT, 'ok', NT | (1 << 12)],
    ['IF with an interrupt pending', 0, true, VIP, IF, '#GP(0)', VIP],
    ['no IF with an interrupt pending', 0, true, VIP | VIF, 0, 'ok', VIP],
    ['TF', 0, true, 0, TF, '#GP(0)', 0],
    ['without VME', 0, false, 0, 0, '#GP(0)', 0],
    ['IOPL 3 pops IF and TF', 3, true, 0, IF | TF, 'ok', IF | TF | IOPL],
    ['IOPL 3 keeps IOPL', 3, false, 0, 0, 'ok', IOPL],
  ];
  for (const [what, iopl, vme, before, popped, outcome, after] of cases) {
    for (const [name, bytes, words] of [
      ['POPF', POPF, [popped]],
      ['IRET', [0xcf], [0x44, 0x1234, popped]],
    ] as const)
      it(`${name}, ${what}: ${outcome}`, () => {
        const c = vm86(iopl, vme, before);
        words.forEach((w, i) => {
          c.write((SS_BASE << 4) + SP + 2 * i, 2, w);
        });
        expect(c.outcome(...bytes)).toBe(outcome);
        expect(system(c)).toBe(after);
        expect(c.lo(STATE.eflags) & VM).toBe(VM);
        if (outcome !== 'ok') return expect([c.rip, c.regLin(RSP)]).toEqual([0, SP]);
        expect(c.regLin(RSP)).toBe(SP + 2 * words.length);
        if (name === 'IRET') expect([c.rip, c.segBase(CS)]).toEqual([0x44, 0x12340]);
      });
  }
});

describe('INT n (Vol 3B, Table 20-2)', () => {
  const cases: [string, number, boolean, 0 | 1, number, 'protected' | '#GP(0)' | 'table'][] = [
    ['method 1: VME 0, IOPL 3', 3, false, 0, 0, 'protected'],
    ['method 2: VME 0, IOPL below 3', 2, false, 0, 0, '#GP(0)'],
    ['method 3: VME 1, IOPL below 3, bit 1', 2, true, 1, 0, '#GP(0)'],
    ['method 4: VME 1, IOPL 3, bit 1', 3, true, 1, 0, 'protected'],
    ['method 5: VME 1, IOPL 3, bit 0', 3, true, 0, IF | TF, 'table'],
    ['method 6: VME 1, IOPL below 3, bit 0', 0, true, 0, VIF | IF | TF, 'table'],
  ];
  for (const [what, iopl, vme, bit, flags, how] of cases) {
    it(`${what}: ${how}`, () => {
      const c = vm86(iopl, vme, flags);
      redirect(c, 0x21, bit);
      expect(c.outcome(0xcd, 0x21)).toBe(how === '#GP(0)' ? '#GP(0)' : 'ok');
      if (how === '#GP(0)') return expect(c.rip).toBe(0);
      if (how === 'protected') {
        // GS FS DS ES SS ESP EFLAGS CS EIP on the inner stack.
        expect([c.cpl, c.rip, c.regLin(RSP)]).toEqual([0, 0x6000, INNER_STACK - 36]);
        return expect(c.read(c.regLin(RSP), 4)).toBe(2n);
      }
      expect([c.rip, c.segBase(CS), c.lo(STATE.eflags) & VM]).toEqual([IVT_HANDLER & 0xffff, (IVT_HANDLER >>> 16) << 4, VM]);
      expect([stackWord(c, 0), stackWord(c, 1)]).toEqual([2, CS_BASE]);
      if (iopl === 3) {
        expect(stackWord(c, 2)).toBe(2 | IOPL | IF | TF);
        expect(system(c)).toBe(IOPL);
      } else {
        expect(stackWord(c, 2)).toBe(2 | IOPL | IF | TF);
        // IF itself is the monitor's.
        expect(system(c)).toBe(IF);
      }
    });
  }
  it('is #GP(0) when the bit lies past the limit of the TSS', () => {
    const c = vm86(3, true);
    c.write(TSS + 0x66, 2, 0x3000);
    expect(c.outcome(0xcd, 0x21)).toBe('#GP(0)');
  });
  it('INT3 and INTO go to protected mode whatever IOPL is', () => {
    for (const [bytes, flags] of [
      [[0xcc], 0],
      [[0xce], EFLAGS.OF],
    ] as const) {
      const c = vm86(0, true, flags);
      expect(c.outcome(...bytes)).toBe('ok');
      expect([c.cpl, c.rip]).toEqual([0, 0x6000]);
    }
  });
});

describe('VIF and VIP both set when an IRET arrives (Vol 3B, 20.3.2)', () => {
  const frame = (c: FakeCpu, flags: number) => {
    const words = [0x10, CS_BASE, flags, SP, SS_BASE, 0, 0, 0, 0];
    c.setRegLin(RSP, 0x9000);
    words.forEach((w, i) => {
      c.write(0x9000 + 4 * i, 4, w);
    });
  };
  for (const [what, vme, flags, outcome] of [
    ['with VME', true, VM | VIF | VIP, '#GP(0)'],
    ['without VME', false, VM | VIF | VIP, 'ok'],
    ['with VME and IOPL 3', true, VM | VIF | VIP | IOPL, 'ok'],
    ['with VIP alone', true, VM | VIP, 'ok'],
  ] as const) {
    it(`${what}: ${outcome}, in the task`, () => {
      const c = protectedCpu(0);
      c.setHalves(STATE.cr4, vme ? CR4.VME : 0, 0);
      frame(c, flags);
      expect(c.outcome(0xcf)).toBe(outcome);
      expect([c.rip, c.cpl, c.lo(STATE.eflags) & VM]).toEqual([0x10, 3, VM]);
    });
  }
});
