import { describe, expect, it } from 'vitest';
import type { Lin } from '../addresses.ts';
import { CS, DS, EFLAGS, FS, GS, LDTR, RAX, RBX, RSP, SS, STATE, TR } from '../state.ts';
import { CR4 } from './bits.ts';
import { DATA, enterLevel, GDT, LDT, longCpu, protectedCpu, realCpu, SEL, STACK, TSS } from './fake-cpu.ts';

/** MOV Sreg, AX. */
const MOV_DS_AX = [0x8e, 0xd8];
const MOV_SS_AX = [0x8e, 0xd0];

describe('loading data segments (SDM Vol 2B, MOV; Vol 3A, 5.6)', () => {
  const cases: [string, number, number, string][] = [
    // what, CPL, selector, outcome
    ['data of the same level', 3, SEL.data3, 'ok'],
    ['a null selector, whatever its RPL', 3, 3, 'ok'],
    ['data of a more privileged level', 3, SEL.data0, '#GP(10)'],
    ['data of the same level through a weaker RPL', 0, SEL.data0 | 3, '#GP(10)'],
    ['data of an outer level', 0, SEL.data3, 'ok'],
    ['read-only data', 3, SEL.readOnly3, 'ok'],
    ['readable code', 3, SEL.code3, 'ok'],
    ['execute-only code', 3, SEL.executeOnly3, '#GP(78)'],
    ['conforming code from an outer level', 3, SEL.conforming0 | 3, 'ok'],
    ['a segment that is not present', 3, SEL.absentData3, '#NP(68)'],
    ['a system descriptor', 0, SEL.tss, '#GP(28)'],
    ['a selector past the GDT limit', 0, 0x1000, '#GP(1000)'],
    ['a selector in a null LDT', 0, 0x0c, '#GP(c)'],
  ];
  for (const [what, cpl, selector, outcome] of cases) {
    it(`${what} at CPL ${cpl} gives ${outcome}`, () => {
      const c = protectedCpu(cpl);
      c.setReg(RAX, BigInt(selector));
      expect(c.outcome(...MOV_DS_AX)).toBe(outcome);
      expect(c.selector(DS)).toBe(outcome === 'ok' ? selector : SEL.data3);
    });
  }
  it('sets the accessed bit in the descriptor', () => {
    const c = protectedCpu(3);
    c.gdt(SEL.scratch, 0x1234000, 0xfff, 0x40f2);
    c.setReg(RAX, BigInt(SEL.scratch | 3));
    expect(c.outcome(...MOV_DS_AX)).toBe('ok');
    expect(c.read(GDT + SEL.scratch + 5, 1)).toBe(0xf3n);
    expect([c.segBase(DS), c.segLimit(DS), c.segAttributes(DS)]).toEqual([0x1234000, 0xfff, 0x40f3]);
  });
  it('changes nothing when the page of the descriptor is absent', () => {
    const c = protectedCpu(3);
    c.pages.set(GDT >> 12, 'absent');
    c.setReg(RAX, BigInt(SEL.data3));
    expect(c.outcome(...MOV_DS_AX)).toBe('#PF(0)');
    expect(c.rip).toBe(0x10000);
  });
  it('reads descriptors as a supervisor even at CPL 3', () => {
    const c = protectedCpu(3);
    c.pages.set(GDT >> 12, 'supervisor');
    c.setReg(RAX, BigInt(SEL.data3));
    expect(c.outcome(...MOV_DS_AX)).toBe('ok');
  });
});

describe('loading SS (SDM Vol 2B, MOV)', () => {
  const cases: [string, number, number, string][] = [
    ['writable data of this level', 3, SEL.data3, 'ok'],
    ['an RPL other than CPL', 3, SEL.data3 & ~3, '#GP(20)'],
    ['a DPL other than CPL', 0, SEL.data3 & ~3, '#GP(20)'],
    ['read-only data', 3, SEL.readOnly3, '#GP(70)'],
    ['code', 3, SEL.code3, '#GP(18)'],
    ['a segment that is not present', 3, SEL.absentData3, '#SS(68)'],
    ['null', 0, 0, '#GP(0)'],
  ];
  for (const [what, cpl, selector, outcome] of cases) {
    it(`${what} at CPL ${cpl} gives ${outcome}`, () => {
      const c = protectedCpu(cpl);
      c.setReg(RAX, BigInt(selector));
      expect(c.outcome(...MOV_SS_AX)).toBe(outcome);
    });
  }
  it('takes null in 64-bit mode below level 3, with RPL = CPL (SDM Vol 3A, 5.4.1.1)', () => {
    for (const [cpl, selector, outcome] of [
      [0, 0, 'ok'],
      [1, 1, 'ok'],
      [0, 1, '#GP(0)'],
      [3, 3, '#GP(0)'],
    ] as const) {
      const c = longCpu(cpl);
      c.setReg(RAX, BigInt(selector));
      expect(c.outcome(...MOV_SS_AX)).toBe(outcome);
    }
  });
  it('holds interrupts off for one instruction', () => {
    const c = protectedCpu(0);
    c.setReg(RAX, BigInt(SEL.data0));
    c.execute(...MOV_SS_AX);
    expect(c.thread.interruptShadow).toBe(true);
  });
});

describe('real-mode loads', () => {
  it('set base to selector * 16 and keep limit and attributes', () => {
    const c = realCpu();
    c.setSegment(DS, 0, 0xc093, 0xffffffff, 0);
    c.setReg(RAX, 0x1234n);
    expect(c.outcome(...MOV_DS_AX)).toBe('ok');
    expect([c.selector(DS), c.segBase(DS), c.segLimit(DS)]).toEqual([0x1234, 0x12340, 0xffffffff]);
  });
});

describe('POP, MOV from, and far-pointer loads', () => {
  it('POP FS takes eight bytes in 64-bit mode and moves RSP', () => {
    const c = longCpu(3);
    c.write(STACK, 8, 0xffff_0000_0000_0000n | BigInt(SEL.data3));
    expect(c.outcome(0x0f, 0xa1)).toBe('ok');
    expect([c.selector(FS), c.regLin(RSP)]).toEqual([SEL.data3, STACK + 8]);
  });
  it('a faulting POP leaves RSP', () => {
    const c = longCpu(3);
    c.write(STACK, 8, SEL.data0);
    expect(c.outcome(0x0f, 0xa1)).toBe('#GP(10)');
    expect(c.regLin(RSP)).toBe(STACK);
  });
  it('MOV from DS zero-extends into a register', () => {
    const c = longCpu(3);
    c.setReg(RAX, -1n & 0xffffffffffffffffn);
    expect(c.outcome(0x8c, 0xd8)).toBe('ok');
    expect(c.reg(RAX)).toBe(BigInt(SEL.data3));
  });
  it('LSS loads SS and the register, or neither', () => {
    const c = protectedCpu(0);
    c.write(DATA, 4, 0x12345678);
    c.write(DATA + 4, 2, SEL.data0);
    expect(c.outcome(0x0f, 0xb2, 0x25, 0, 0, 2, 0)).toBe('ok');
    expect([c.regLo(RSP), c.selector(SS)]).toEqual([0x12345678, SEL.data0]);
    c.write(DATA + 4, 2, SEL.data3);
    c.setReg(RSP, 0n);
    expect(c.outcome(0x0f, 0xb2, 0x25, 0, 0, 2, 0)).toBe('#GP(20)');
    expect(c.reg(RSP)).toBe(0n);
  });
});

describe('LDTR and TR', () => {
  it('LLDT loads an LDT, whose selectors then work', () => {
    const c = protectedCpu(0);
    c.setReg(RAX, BigInt(SEL.ldt));
    expect(c.outcome(0x0f, 0x00, 0xd0)).toBe('ok');
    expect([c.selector(LDTR), c.segBase(LDTR), c.segLimit(LDTR)]).toEqual([SEL.ldt, LDT, 0xff]);
    c.descriptor(LDT + 8, 0x5000, 0xff, 0x40f3);
    c.setReg(RAX, 0x0cn);
    expect(c.outcome(...MOV_DS_AX)).toBe('ok');
    expect(c.segBase(DS)).toBe(0x5000);
  });
  it('LTR marks the TSS busy, and refuses a busy one', () => {
    const c = protectedCpu(0);
    c.setReg(RAX, BigInt(SEL.tss));
    expect(c.outcome(0x0f, 0x00, 0xd8)).toBe('ok');
    expect(c.read(GDT + SEL.tss + 5, 1)).toBe(0x8bn);
    expect(c.outcome(0x0f, 0x00, 0xd8)).toBe('#GP(28)');
  });
  it('takes sixteen bytes of descriptor in long mode', () => {
    const c = longCpu(0);
    c.write(GDT + SEL.tss + 8, 8, 0xffff8000);
    c.setReg(RAX, BigInt(SEL.tss));
    expect(c.outcome(0x0f, 0x00, 0xd8)).toBe('ok');
    expect(c.segBase(TR)).toBe(-0x8000_0000_0000 + TSS);
    c.write(GDT + SEL.tss + 5, 1, 0x89);
    c.write(GDT + SEL.tss + 12, 4, 0x1f00);
    expect(c.outcome(0x0f, 0x00, 0xd8)).toBe('#GP(28)');
  });
  it('LLDT is #GP(0) above level 0, and #UD in real mode', () => {
    expect(protectedCpu(3).outcome(0x0f, 0x00, 0xd0)).toBe('#GP(0)');
    expect(realCpu().outcome(0x0f, 0x00, 0xd0)).toBe('#UD');
  });
});

describe('descriptor tables', () => {
  it('LGDT then SGDT gives back what was loaded, ten bytes in 64-bit mode', () => {
    const c = longCpu(0);
    c.write(DATA, 2, 0x7f);
    c.write(DATA + 2, 8, 0xffff_8000_1234_5678n);
    expect(c.outcome(0x0f, 0x01, 0x14, 0x25, 0, 0, 2, 0)).toBe('ok');
    expect(c.outcome(0x0f, 0x01, 0x04, 0x25, 0x10, 0, 2, 0)).toBe('ok');
    expect([c.read(DATA + 16, 2), c.read(DATA + 18, 8)]).toEqual([0x7fn, 0xffff_8000_1234_5678n]);
    c.write(DATA + 2, 8, 0x8000_0000_0000n);
    expect(c.outcome(0x0f, 0x01, 0x14, 0x25, 0, 0, 2, 0)).toBe('#GP(0)');
  });
  it('LIDT with a 16-bit operand takes 24 bits of base', () => {
    const c = realCpu();
    c.write(0x100, 2, 0x3ff);
    c.write(0x102, 4, 0xaabbccdd);
    expect(c.outcome(0x0f, 0x01, 0x1e, 0x00, 0x01)).toBe('ok');
    expect([c.lin(STATE.idtrBase), c.u32(STATE.idtrLimit)]).toEqual([0xbbccdd, 0x3ff]);
  });
});

describe('LAR, LSL, VERR, VERW, ARPL (SDM Vol 2)', () => {
  const cases: [string, number[], number, number, boolean, bigint][] = [
    // name, bytes, CPL, selector in BX, ZF, EAX after
    ['LAR of data', [0x0f, 0x02, 0xc3], 3, SEL.data3, true, 0xc0f300n],
    ['LAR of something more privileged', [0x0f, 0x02, 0xc3], 3, SEL.data0, false, 0x99n],
    ['LAR of a TSS', [0x0f, 0x02, 0xc3], 0, SEL.tss, true, 0x8900n],
    ['LAR of null', [0x0f, 0x02, 0xc3], 0, 0, false, 0x99n],
    ['LSL of flat data', [0x0f, 0x03, 0xc3], 3, SEL.data3, true, 0xffffffffn],
    ['LSL of an LDT', [0x0f, 0x03, 0xc3], 0, SEL.ldt, true, 0xffn],
    ['VERR of execute-only code', [0x0f, 0x00, 0xe3], 3, SEL.executeOnly3, false, 0x99n],
    ['VERR of data', [0x0f, 0x00, 0xe3], 3, SEL.readOnly3, true, 0x99n],
    ['VERW of read-only data', [0x0f, 0x00, 0xeb], 3, SEL.readOnly3, false, 0x99n],
    ['VERW of data', [0x0f, 0x00, 0xeb], 3, SEL.data3, true, 0x99n],
  ];
  for (const [name, bytes, cpl, selector, zf, eax] of cases) {
    it(`${name} at CPL ${cpl}: ZF ${zf ? 1 : 0}`, () => {
      const c = protectedCpu(cpl);
      c.setReg(RAX, 0x99n);
      c.setReg(RBX, BigInt(selector));
      expect(c.outcome(...bytes)).toBe('ok');
      expect((c.rflags & EFLAGS.ZF) !== 0).toBe(zf);
      expect(c.reg(RAX)).toBe(eax);
    });
  }
  it('ARPL raises the RPL', () => {
    const c = protectedCpu(0);
    c.setReg(RAX, 0x10n);
    c.setReg(RBX, 0x3n);
    expect(c.outcome(0x63, 0xd8)).toBe('ok');
    expect([c.reg(RAX), c.rflags & EFLAGS.ZF]).toEqual([0x13n, EFLAGS.ZF]);
  });
});

describe('bases of FS and GS', () => {
  it('SWAPGS exchanges with KERNEL_GS_BASE, at level 0 only', () => {
    const c = longCpu(0);
    c.setSegBase(GS, 0x1000);
    c.setBig(STATE.kernelGsBase, 0xffff_8880_0000_0000n);
    expect(c.outcome(0x0f, 0x01, 0xf8)).toBe('ok');
    expect([c.big(STATE.seg + GS * 16 + 8), c.big(STATE.kernelGsBase)]).toEqual([0xffff_8880_0000_0000n, 0x1000n]);
    enterLevel(c, 3);
    expect(c.outcome(0x0f, 0x01, 0xf8)).toBe('#GP(0)');
  });
  it('WRGSBASE works at level 3, refuses a non-canonical base, and is #UD without CR4.FSGSBASE', () => {
    const c = longCpu(3);
    c.setReg(RAX, 0x7fff_0000_1000n);
    expect(c.outcome(0xf3, 0x48, 0x0f, 0xae, 0xd8)).toBe('ok');
    expect(c.segBase(GS)).toBe(0x7fff_0000_1000);
    c.setReg(RAX, 0x8000_0000_0000n);
    expect(c.outcome(0xf3, 0x48, 0x0f, 0xae, 0xd8)).toBe('#GP(0)');
    c.setHalves(STATE.cr4, c.lo(STATE.cr4) & ~CR4.FSGSBASE, 0);
    expect(c.outcome(0xf3, 0x48, 0x0f, 0xae, 0xd8)).toBe('#UD');
  });
  it('a null selector in GS clears the base', () => {
    const c = longCpu(3);
    c.setSegBase(GS, 0x1234);
    c.setReg(RAX, 0n);
    expect(c.outcome(0x8e, 0xe8)).toBe('ok');
    expect([c.segBase(GS), c.selector(GS)]).toEqual([0, 0]);
  });
});

describe('segment checks of memory operands (SDM Vol 3A, 5.3)', () => {
  it('a limit violation is #GP(0), through SS #SS(0)', () => {
    const c = protectedCpu(0);
    c.setSegment(DS, SEL.data3, 0x40f3, 0xfff, DATA);
    c.setSegment(SS, SEL.data0, 0x4093, 0xfff, DATA);
    expect(c.outcome(0x0f, 0x01, 0x05, 0xfa, 0x0f, 0, 0)).toBe('ok');
    expect(c.outcome(0x0f, 0x01, 0x05, 0xfb, 0x0f, 0, 0)).toBe('#GP(0)');
    expect(c.outcome(0x36, 0x0f, 0x01, 0x05, 0xfb, 0x0f, 0, 0)).toBe('#SS(0)');
  });
  it('an expand-down segment has its limit below', () => {
    const c = protectedCpu(0);
    c.setSegment(DS, SEL.data3, 0x40f7, 0xfff, DATA);
    expect(c.outcome(0x0f, 0x01, 0x05, 0xff, 0x0f, 0, 0)).toBe('#GP(0)');
    expect(c.outcome(0x0f, 0x01, 0x05, 0x00, 0x10, 0, 0)).toBe('ok');
  });
  it('writes to code and to read-only data are #GP(0); so is a null segment', () => {
    const c = protectedCpu(0);
    expect(c.outcome(0x2e, 0x0f, 0x01, 0x05, 0, 0, 2, 0)).toBe('#GP(0)');
    c.setSegment(DS, 0, 0, 0, 0);
    expect(c.outcome(0x0f, 0x01, 0x05, 0, 0, 2, 0)).toBe('#GP(0)');
    c.rip = 0x10000 as Lin;
    expect(c.selector(CS)).toBe(SEL.code0);
  });
  it('64-bit mode asks only for a canonical address', () => {
    const c = longCpu(0);
    c.setSegment(DS, 0, 0, 0, 0x999999);
    c.setReg(RAX, BigInt(DATA));
    expect(c.outcome(0x0f, 0x01, 0x00)).toBe('ok');
    c.setReg(RAX, 0x7fff_ffff_fffan);
    expect(c.outcome(0x0f, 0x01, 0x00)).toBe('#GP(0)');
    c.setReg(RSP, 0x7fff_ffff_fffan);
    expect(c.outcome(0x0f, 0x01, 0x04, 0x24)).toBe('#SS(0)');
  });
});
