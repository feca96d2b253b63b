import { describe, expect, it } from 'vitest';
import type { Lin } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { CS, EFLAGS, RAX, RBX, RCX, RDI, RDX, RSI, RSP, SS, STATE } from '../state.ts';
import { CR0, CR4, EFER } from './bits.ts';
import { PROFILES } from './cpuid.ts';
import { checkExecuteBreakpoint, matchData, matchExecute, singleStep } from './debug.ts';
import type { FakeCpu } from './fake-cpu.ts';
import { CODE, DATA, longCpu, protectedCpu, realCpu, SEL, STACK, TSS } from './fake-cpu.ts';
import { isPat, MSR } from './msr.ts';

const R11 = 11;

describe('SYSCALL and SYSRET (SDM Vol 2B)', () => {
  it('SYSCALL saves RIP and RFLAGS, masks flags and loads flat segments from STAR', () => {
    const c = longCpu(3);
    c.setBig(STATE.star, 0x0023_0010_0000_0000n);
    c.setBig(STATE.lstar, 0xffff_ffff_8100_0000n);
    c.setBig(STATE.fmask, 0x700n);
    c.rflags = 0x303;
    expect(c.outcome(0x0f, 0x05)).toBe('ok');
    expect([c.reg(RCX), c.reg(R11)]).toEqual([BigInt(CODE + 2), 0x303n]);
    expect([c.rip, c.rflags, c.cpl, c.selector(CS), c.selector(SS)]).toEqual([-0x7f000000, 3, 0, 0x10, 0x18]);
    expect(c.outcome(0x48, 0x0f, 0x07)).toBe('ok');
    expect([c.rip, c.rflags, c.cpl, c.selector(CS), c.selector(SS)]).toEqual([CODE + 2, 0x303, 3, 0x33, 0x2b]);
    expect(c.segAttributes(CS) & 0x2000).toBe(0x2000);
  });
  it('SYSRET to a non-canonical RCX is #GP(0) at level 0', () => {
    const c = longCpu(0);
    c.setReg(RCX, 0x8000_0000_0000n);
    expect(c.outcome(0x48, 0x0f, 0x07)).toBe('#GP(0)');
    expect(c.cpl).toBe(0);
  });
  it('is #UD without EFER.SCE, and in compatibility mode', () => {
    const c = longCpu(3);
    c.setHalves(STATE.efer, EFER.LMA | EFER.LME, 0);
    expect(c.outcome(0x0f, 0x05)).toBe('#UD');
    const compat = longCpu(3);
    compat.setSegment(CS, SEL.compat3, 0xc0fb, 0xffffffff, 0);
    expect(compat.outcome(0x0f, 0x05)).toBe('#UD');
  });
  it('in host delivery leaves the run loop, registers untouched', () => {
    const c = longCpu(3);
    c.delivery = 'host';
    c.setReg(RCX, 7n);
    expect(c.outcome(0x0f, 0x05)).toBe('ok');
    expect([c.exit, c.rip, c.reg(RCX), c.cpl]).toEqual([RunExit.syscall, CODE + 2, 7n, 3]);
  });
});

describe('SYSENTER and SYSEXIT', () => {
  it('go to SYSENTER_CS and back', () => {
    const c = protectedCpu(3);
    c.setBig(STATE.sysenterCs, 0x08n);
    c.setBig(STATE.sysenterEip, 0x5000n);
    c.setBig(STATE.sysenterEsp, 0xa000n);
    c.rflags = 0x202;
    expect(c.outcome(0x0f, 0x34)).toBe('ok');
    expect([c.cpl, c.rip, c.regLin(RSP), c.selector(CS), c.selector(SS), c.rflags]).toEqual([0, 0x5000, 0xa000, 8, 0x10, 2]);
    c.setReg(RDX, 0x1234n);
    c.setReg(RCX, 0x8000n);
    expect(c.outcome(0x0f, 0x35)).toBe('ok');
    expect([c.cpl, c.rip, c.regLin(RSP), c.selector(CS), c.selector(SS)]).toEqual([3, 0x1234, 0x8000, 0x1b, 0x23]);
  });
  it('are #GP(0) with a null SYSENTER_CS', () => {
    expect(protectedCpu(3).outcome(0x0f, 0x34)).toBe('#GP(0)');
  });
});

describe('system flags', () => {
  const IF = EFLAGS.IF;
  const cases: [string, number, number, number[], string, boolean][] = [
    // what, CPL, IOPL, bytes, outcome, IF after (it starts set)
    ['CLI at level 0', 0, 0, [0xfa], 'ok', false],
    ['CLI at level 3 with IOPL 0', 3, 0, [0xfa], '#GP(0)', true],
    ['CLI at level 1 with IOPL 1', 1, 1, [0xfa], 'ok', false],
    ['CLI at level 3 with IOPL 3', 3, 3, [0xfa], 'ok', false],
    ['STI at level 3 with IOPL 0', 3, 0, [0xfb], '#GP(0)', true],
  ];
  for (const [what, cpl, iopl, bytes, outcome, on] of cases) {
    it(`${what}: ${outcome}`, () => {
      const c = longCpu(cpl);
      c.rflags = 2 | IF | (iopl << 12);
      expect(c.outcome(...bytes)).toBe(outcome);
      expect((c.rflags & IF) !== 0).toBe(on);
    });
  }
  it('POPF changes IF and IOPL only with the right to', () => {
    const all = 0x3f7fd7;
    for (const [cpl, iopl, expected] of [
      [0, 0, 0x247fd7],
      [3, 0, 0x244dd7],
      [3, 3, 0x247fd7],
      [1, 2, 0x246fd7],
    ] as const) {
      const c = longCpu(cpl);
      c.rflags = 2 | (iopl << 12);
      c.write(STACK, 8, all);
      expect(c.outcome(0x9d)).toBe('ok');
      expect(c.rflags.toString(16)).toBe(expected.toString(16));
      expect(c.regLin(RSP)).toBe(STACK + 8);
    }
  });
  it('HLT stops at level 0 and is #GP(0) above', () => {
    const c = longCpu(0);
    expect(c.outcome(0xf4)).toBe('ok');
    expect([c.exit, c.rip]).toEqual([RunExit.halt, CODE + 1]);
    expect(longCpu(1).outcome(0xf4)).toBe('#GP(0)');
  });
});

/** 32-bit protected mode with paging. */
function outsideLong(c: FakeCpu): void {
  c.setBig(STATE.efer, 0n);
  c.setBig(STATE.cr4, 0n);
  inCompatibility(c);
}
function inCompatibility(c: FakeCpu): void {
  c.setSegment(CS, SEL.code0, 0xc09b, 0xffffffff, 0);
}
/** Protected mode without paging, EFER.LME set. */
function beforeLong(c: FakeCpu, cr4: bigint): void {
  c.setBig(STATE.cr0, BigInt(CR0.PE | CR0.ET | CR0.NE));
  c.setBig(STATE.efer, BigInt(EFER.LME));
  c.setBig(STATE.cr4, cr4);
  inCompatibility(c);
}

describe('control registers (SDM Vol 3A, 2.5)', () => {
  /** MOV CRn, RAX. */
  const movCr = (c: FakeCpu, n: number, v: bigint) => {
    c.setReg(RAX, v);
    return n === 8 ? c.outcome(0x44, 0x0f, 0x22, 0xc0) : c.outcome(0x0f, 0x22, 0xc0 | (n << 3));
  };
  const cases: [string, number, bigint, string][] = [
    ['CR0 with a high bit', 0, 0x1_8001_0031n, '#GP(0)'],
    ['CR0 with PG and no PE', 0, 0x8000_0030n, '#GP(0)'],
    ['CR0 with NW and no CD', 0, 0xa001_0031n, '#GP(0)'],
    ['CR0 losing PG in 64-bit mode', 0, 0x0001_0031n, '#GP(0)'],
    ['CR0 gaining TS', 0, 0x8001_0039n, 'ok'],
    ['CR1, which the decoder refuses', 1, 0n, 'ud'],
    ['CR3 past the physical address width', 3, 1n << 46n, '#GP(0)'],
    ['CR3', 3, 0x123000n, 'ok'],
    ['CR4 without PAE in long mode', 4, 0x200n, '#GP(0)'],
    ['CR4 with a feature that is not offered', 4, 0x220n | BigInt(CR4.LA57), '#GP(0)'],
    ['CR4 with PGE', 4, 0x2a0n, 'ok'],
    ['CR8 past 15', 8, 16n, '#GP(0)'],
  ];
  for (const [what, n, v, outcome] of cases) {
    it(`${what}: ${outcome}`, () => {
      expect(movCr(longCpu(0), n, v)).toBe(outcome);
    });
  }

  const states: [string, (c: FakeCpu) => void, number, bigint, string][] = [
    // what, the state before, register, value, outcome; all from 64-bit mode (SDM Vol 2B, MOV-Move to/from Control Registers)
    ['CR4.PCIDE with a PCID in CR3', (c) => c.setBig(STATE.cr3, 0x1001n), 4, 0x220n | BigInt(CR4.PCIDE), '#GP(0)'],
    ['CR4.PCIDE with CR3[11:0] zero', (c) => c.setBig(STATE.cr3, 0x1000n), 4, 0x220n | BigInt(CR4.PCIDE), 'ok'],
    ['CR4.PCIDE outside IA-32e mode', outsideLong, 4, 0x220n | BigInt(CR4.PCIDE), '#GP(0)'],
    ['CR3 bit 63 without PCIDE', () => {}, 3, (1n << 63n) | 0x1000n, '#GP(0)'],
    ['CR3 bit 63 with PCIDE', (c) => c.setBig(STATE.cr4, 0x220n | BigInt(CR4.PCIDE)), 3, (1n << 63n) | 0x1005n, 'ok'],
    ['CR3 bit 62 with PCIDE', (c) => c.setBig(STATE.cr4, 0x220n | BigInt(CR4.PCIDE)), 3, (1n << 62n) | 0x1005n, '#GP(0)'],
    ['CR0.PG cleared in compatibility mode', inCompatibility, 0, 0x31n, 'ok'],
    [
      'CR0.PG cleared with PCIDE',
      (c) => {
        inCompatibility(c);
        c.setBig(STATE.cr4, 0x220n | BigInt(CR4.PCIDE));
      },
      0,
      0x31n,
      '#GP(0)',
    ],
    ['CR0.PG set with LME and without PAE', (c) => beforeLong(c, 0n), 0, 0x8000_0031n, '#GP(0)'],
    ['CR0.PG set with LME and PAE', (c) => beforeLong(c, 0x20n), 0, 0x8000_0031n, 'ok'],
    [
      'CR0.PG set with LME while CS is 64-bit code',
      (c) => {
        beforeLong(c, 0x20n);
        c.setSegment(CS, SEL.code0, 0xa09b, 0xffffffff, 0);
      },
      0,
      0x8000_0031n,
      '#GP(0)',
    ],
    [
      'CR0.PG set with LME while TR holds a 16-bit TSS',
      (c) => {
        beforeLong(c, 0x20n);
        c.setSegment(7, SEL.tss, 0x83, 0x2b, TSS);
      },
      0,
      0x8000_0031n,
      '#GP(0)',
    ],
    [
      'CR0.PG set for PAE paging with bad page-directory pointers',
      (c) => {
        beforeLong(c, 0x20n);
        c.setBig(STATE.efer, 0n);
        c.pdptesValid = false;
      },
      0,
      0x8000_0031n,
      '#GP(0)',
    ],
    [
      'CR4.PAE set under paging with bad page-directory pointers',
      (c) => {
        outsideLong(c);
        c.pdptesValid = false;
      },
      4,
      0x220n,
      '#GP(0)',
    ],
    [
      'CR4.PGE changed under PAE paging with bad page-directory pointers',
      (c) => {
        outsideLong(c);
        c.setBig(STATE.cr4, 0x20n);
        c.pdptesValid = false;
      },
      4,
      0xa0n,
      '#GP(0)',
    ],
    [
      'CR3 under PAE paging with bad page-directory pointers',
      (c) => {
        outsideLong(c);
        c.setBig(STATE.cr4, 0x20n);
        c.pdptesValid = false;
      },
      3,
      0x5000n,
      '#GP(0)',
    ],
    ['CR4 with bit 63', () => {}, 4, (1n << 63n) | 0x220n, '#GP(0)'],
    ['CR4.VME and PVI', () => {}, 4, 0x223n, 'ok'],
    ['CR4.VMXE where there is VMX', () => {}, 4, 0x220n | BigInt(CR4.VMXE), 'ok'],
    [
      'CR4.VMXE while there is no VMX',
      (c) => {
        c.profile = PROFILES.baseline!;
      },
      4,
      0x220n | BigInt(CR4.VMXE),
      '#GP(0)',
    ],
  ];
  for (const [what, prepare, n, v, outcome] of states) {
    it(`${what}: ${outcome}`, () => {
      const c = longCpu(0);
      prepare(c);
      const before = [c.big(STATE.cr0), c.big(STATE.cr3), c.big(STATE.cr4), c.big(STATE.efer)];
      expect(movCr(c, n, v)).toBe(outcome);
      if (outcome !== 'ok') expect([c.big(STATE.cr0), c.big(STATE.cr3), c.big(STATE.cr4), c.big(STATE.efer)]).toEqual(before);
    });
  }
  it('are #GP(0) above level 0', () => {
    expect(movCr(longCpu(3), 3, 0n)).toBe('#GP(0)');
    expect(longCpu(3).outcome(0x0f, 0x20, 0xc0)).toBe('#GP(0)');
  });
  it('paging with EFER.LME enters long mode, and leaves it', () => {
    const c = protectedCpu(0);
    c.setHalves(STATE.efer, EFER.LME, 0);
    expect(movCr(c, 0, 0x8000_0031n)).toBe('#GP(0)');
    c.setHalves(STATE.cr4, CR4.PAE, 0);
    expect(movCr(c, 0, 0x8000_0031n)).toBe('ok');
    expect(c.lo(STATE.efer)).toBe(EFER.LME | EFER.LMA);
    expect(movCr(c, 0, 0x31n)).toBe('ok');
    expect(c.lo(STATE.efer)).toBe(EFER.LME);
  });
  it('LMSW sets PE and cannot clear it', () => {
    const c = realCpu();
    c.setReg(RAX, 1n);
    expect(c.outcome(0x0f, 0x01, 0xf0)).toBe('ok');
    expect(c.lo(STATE.cr0) & CR0.PE).toBe(1);
    c.setReg(RAX, 0n);
    expect(c.outcome(0x0f, 0x01, 0xf0)).toBe('ok');
    expect(c.lo(STATE.cr0) & CR0.PE).toBe(1);
  });
});

describe('MSRs', () => {
  const write = (c: FakeCpu, n: number, v: bigint) => {
    c.setReg(RCX, BigInt(n));
    c.setReg(RAX, v & 0xffffffffn);
    c.setReg(RDX, v >> 32n);
    return c.outcome(0x0f, 0x30);
  };
  const cases: [string, number, bigint, string][] = [
    ['LSTAR canonical', MSR.IA32_LSTAR, 0xffff_8000_0000_0000n, 'ok'],
    ['LSTAR non-canonical', MSR.IA32_LSTAR, 0x8000_0000_0000n, '#GP(0)'],
    ['an unknown MSR', 0x4000_0000, 0n, '#GP(0)'],
    ['EFER with a reserved bit', MSR.IA32_EFER, 0x1d01n, '#GP(0)'],
    ['EFER losing LME under paging', MSR.IA32_EFER, 0x801n, '#GP(0)'],
    ['EFER losing SCE', MSR.IA32_EFER, 0x900n, 'ok'],
    ['PAT with type 2', MSR.IA32_PAT, 2n, '#GP(0)'],
    ['MTRRCAP, read-only', MSR.IA32_MTRRCAP, 0n, '#GP(0)'],
  ];
  for (const [what, n, v, outcome] of cases) {
    it(`WRMSR of ${what}: ${outcome}`, () => {
      expect(write(longCpu(0), n, v)).toBe(outcome);
    });
  }
  it('RDMSR gives back what was written, in EDX:EAX, and LMA stays', () => {
    const c = longCpu(0);
    write(c, MSR.IA32_EFER, 0x900n);
    expect(c.outcome(0x0f, 0x32)).toBe('ok');
    expect([c.reg(RAX), c.reg(RDX)]).toEqual([0xd00n, 0n]);
  });
  it('the TSC counts cycles from where it was set', () => {
    const c = longCpu(0);
    write(c, MSR.IA32_TIME_STAMP_COUNTER, 0x1_0000_0000n);
    c.cycles += 5;
    expect(c.outcome(0x0f, 0x31)).toBe('ok');
    expect([c.reg(RDX), c.reg(RAX)]).toEqual([1n, 5n]);
  });
  it('knows the memory types of PAT', () => {
    expect([isPat(0x0007040600070406n), isPat(0x0000000000000003n)]).toEqual([true, false]);
  });
  it('RDTSC above level 0 obeys CR4.TSD', () => {
    const c = longCpu(3);
    c.setHalves(STATE.cr4, c.lo(STATE.cr4) | CR4.TSD, 0);
    expect(c.outcome(0x0f, 0x31)).toBe('#GP(0)');
  });
});

describe('ports (SDM Vol 1, "I/O Privilege Level", "I/O Permission Bit Map")', () => {
  const cases: [string, number, number, number, string][] = [
    // what, CPL, IOPL, bit map byte for ports 0x60-0x67, outcome of IN EAX, 0x62
    ['level 0', 0, 0, 0xff, 'ok'],
    ['level 3 with IOPL 3', 3, 3, 0xff, 'ok'],
    ['level 3 and clear bits', 3, 0, 0xc3, 'ok'],
    ['level 3 and one bit set', 3, 0, 0x20, '#GP(0)'],
  ];
  for (const [what, cpl, iopl, map, outcome] of cases) {
    it(`${what}: ${outcome}`, () => {
      const c = longCpu(cpl);
      c.rflags = 2 | (iopl << 12);
      c.write(TSS + 0x68 + 12, 1, map);
      c.portInput = 0xffffffff;
      c.setReg(RAX, 0x1111_2222_3333_4444n);
      expect(c.outcome(0xe5, 0x62)).toBe(outcome);
      expect(c.reg(RAX)).toBe(outcome === 'ok' ? 0xffffffffn : 0x1111_2222_3333_4444n);
    });
  }
  it('OUT sends the accumulator, to a port in the instruction or in DX', () => {
    const c = longCpu(0);
    c.setReg(RAX, 0x1234_5678_9abc_def0n);
    c.setReg(RDX, 0x3f8n);
    for (const bytes of [[0xe6, 0x80], [0xee], [0x66, 0xef], [0xef], [0x48, 0xef]]) expect(c.outcome(...bytes)).toBe('ok');
    expect(c.portLog).toEqual(['out 80/1=f0', 'out 3f8/1=f0', 'out 3f8/2=def0', 'out 3f8/4=9abcdef0', 'out 3f8/4=9abcdef0']);
  });
  it('a bit map past the limit of the TSS forbids', () => {
    const c = longCpu(3);
    c.write(TSS + 0x66, 2, 0xffff);
    expect(c.outcome(0xec)).toBe('#GP(0)');
  });
  it('REP OUTS writes all and leaves the registers behind the last', () => {
    const c = longCpu(0);
    c.write(DATA, 4, 0x44332211);
    c.setReg(RSI, BigInt(DATA));
    c.setReg(RCX, 2n);
    c.setReg(RDX, 0x80n);
    expect(c.outcome(0x66, 0xf3, 0x6f)).toBe('ok');
    expect(c.portLog).toEqual(['out 80/2=2211', 'out 80/2=4433']);
    expect([c.reg(RCX), c.reg(RSI), c.rip]).toEqual([0n, BigInt(DATA + 4), CODE + 3]);
  });
  it('INS does not read the port when its page is absent', () => {
    const c = longCpu(0);
    c.setReg(RDI, 0x500000n);
    c.pages.set(0x500, 'absent');
    expect(c.outcome(0x6c)).toBe('#PF(2)');
    expect(c.portLog).toEqual([]);
  });
});

describe('debug registers (SDM Vol 3B, 17.2)', () => {
  const DR = (n: number) => STATE.dr + 8 * n;
  it('data breakpoints match by overlap, length and kind of access', () => {
    const c = longCpu(0);
    c.setBig(DR(1), 0x1006n);
    // DR1: enabled locally, writes, 4 bytes: covers 0x1004..0x1007.
    c.setBig(DR(7), 0x400n | 0x4n | (0xdn << 20n));
    expect([
      matchData(c, 0x1000 as Lin, 4, true),
      matchData(c, 0x1003 as Lin, 2, true),
      matchData(c, 0x1007 as Lin, 1, true),
      matchData(c, 0x1007 as Lin, 1, false),
      matchData(c, 0x1008 as Lin, 8, true),
    ]).toEqual([0, 2, 2, 0, 0]);
  });
  it('instruction breakpoints are faults, and RF lets one instruction by', () => {
    const c = longCpu(0);
    c.setBig(DR(0), BigInt(CODE));
    c.setBig(DR(7), 0x402n);
    expect(matchExecute(c, CODE as Lin)).toBe(1);
    expect(checkExecuteBreakpoint(c)).toBe(false);
    expect([c.lastFault, c.lo(DR(6)) & 0xf]).toEqual(['#DB', 1]);
    c.rflags |= EFLAGS.RF;
    expect(checkExecuteBreakpoint(c)).toBe(true);
  });
  it('single step sets BS', () => {
    const c = longCpu(0);
    singleStep(c);
    expect(c.u32(DR(6))).toBe(0xffff4ff0);
  });
  it('MOV DR7 forces reserved bits, faults on high ones, and GD guards all', () => {
    const c = longCpu(0);
    c.setReg(RAX, 0xffff_ffffn);
    expect(c.outcome(0x0f, 0x23, 0xf8)).toBe('ok');
    expect(c.u32(DR(7))).toBe(0xffff2fff);
    expect(c.outcome(0x0f, 0x21, 0xf8)).toBe('#DB');
    expect([c.lo(DR(6)) & (1 << 13), c.lo(DR(7)) & (1 << 13)]).toEqual([1 << 13, 0]);
    c.setReg(RAX, 0x1_0000_0000n);
    expect(c.outcome(0x0f, 0x23, 0xf8)).toBe('#GP(0)');
  });
  it('DR4 is DR6 unless CR4.DE', () => {
    const c = longCpu(0);
    c.setBig(DR(6), 0xffff0ff0n);
    expect(c.outcome(0x0f, 0x21, 0xe0)).toBe('ok');
    expect(c.reg(RAX)).toBe(0xffff0ff0n);
    c.setHalves(STATE.cr4, c.lo(STATE.cr4) | CR4.DE, 0);
    expect(c.outcome(0x0f, 0x21, 0xe0)).toBe('#UD');
  });
});

describe('CPUID', () => {
  const cpuid = (c: FakeCpu, leaf: number, sub = 0) => {
    c.setReg(RAX, BigInt(leaf));
    c.setReg(RCX, BigInt(sub));
    expect(c.outcome(0x0f, 0xa2)).toBe('ok');
    return [RAX, RBX, RCX, RDX].map((r) => Number(c.reg(r)));
  };
  const words = (...w: number[]) => Buffer.from(Uint32Array.from(w).buffer).toString('latin1');
  it('names vendor and processor', () => {
    const c = longCpu(3);
    const [, b, cx, d] = cpuid(c, 0) as [number, number, number, number];
    expect(words(b, d, cx)).toBe('GenuineIntel');
    const brand = [2, 3, 4].map((n) => words(...cpuid(c, 0x8000_0000 + n))).join('');
    expect(brand.replaceAll('\0', '')).toBe('Intel(R) Xeon(R) Gold 6154 CPU @ 3.00GHz');
  });
  it('promises long mode, NX, SSE2, SMEP and VMX, and no AVX', () => {
    const c = longCpu(3);
    const one = cpuid(c, 1);
    expect(one[3]! & ((1 << 26) | (1 << 25) | (1 << 6))).toBe((1 << 26) | (1 << 25) | (1 << 6));
    expect(one[2]! & (1 << 28)).toBe(0);
    expect(one[2]! & (1 << 5)).toBe(1 << 5);
    expect(cpuid(c, 7)[1]! & (1 << 7)).toBe(1 << 7);
    expect(cpuid(c, 0x8000_0001)[3]! & 0x20100800).toBe(0x20100800);
  });
  it('hides SYSCALL from compatibility mode, as Intel does', () => {
    const c = longCpu(3);
    c.setSegment(CS, SEL.compat3, 0xc0fb, 0xffffffff, 0);
    expect(cpuid(c, 0x8000_0001)[3]! & (1 << 11)).toBe(0);
  });
  it('mirrors CR4.OSXSAVE and faults at level 3 when told to', () => {
    const c = longCpu(3);
    c.setHalves(STATE.cr4, c.lo(STATE.cr4) | CR4.OSXSAVE, 0);
    expect(cpuid(c, 1)[2]! & (1 << 27)).not.toBe(0);
    c.thread.cpuidFaulting = true;
    expect(c.outcome(0x0f, 0xa2)).toBe('#GP(0)');
  });
  it('a leaf past the last answers as the last basic one', () => {
    const c = longCpu(3);
    expect(cpuid(c, 0x1000)).toEqual(cpuid(c, 0x16));
  });
});

describe('FXSAVE and FXRSTOR (SDM Vol 1, 10.5.1)', () => {
  /** FXSAVE64 / FXRSTOR64 [RBX]. */
  const FXSAVE64 = [0x48, 0x0f, 0xae, 0x03];
  const FXRSTOR64 = [0x48, 0x0f, 0xae, 0x0b];
  const filled = () => {
    const c = longCpu(3);
    c.setReg(RBX, BigInt(DATA));
    c.setU16(STATE.fcw, 0x37f);
    c.setU16(STATE.fsw, 0x3000);
    // TOP is 6: R6 holds pi, R7 is zero, the rest empty.
    c.setU16(STATE.ftw, 0x4fff);
    c.setBig(STATE.fpr + 16 * 6, 0xc90f_daa2_2168_c235n);
    c.setU16(STATE.fpr + 16 * 6 + 8, 0x4000);
    c.setBig(STATE.fip, 0x1234_5678_9abcn);
    c.setU32(STATE.mxcsr, 0x1fa0);
    c.setBig(STATE.xmm + 16 * 15, 0xdead_beefn);
    return c;
  };
  it('save by distance from TOP, with one tag bit per physical register', () => {
    const c = filled();
    expect(c.outcome(...FXSAVE64)).toBe('ok');
    expect([c.read(DATA, 2), c.read(DATA + 2, 2), c.read(DATA + 4, 1)]).toEqual([0x37fn, 0x3000n, 0xc0n]);
    expect([c.read(DATA + 8, 8), c.read(DATA + 24, 4), c.read(DATA + 28, 4)]).toEqual([0x1234_5678_9abcn, 0x1fa0n, 0xffffn]);
    expect([c.read(DATA + 32, 8), c.read(DATA + 40, 2)]).toEqual([0xc90f_daa2_2168_c235n, 0x4000n]);
    expect(c.read(DATA + 160 + 15 * 16, 8)).toBe(0xdead_beefn);
  });
  it('restore what was saved, with the full tag word recomputed', () => {
    const c = filled();
    c.execute(...FXSAVE64);
    c.ram.u8.fill(0, c.base + STATE.fcw, c.base + STATE.ymmHigh);
    expect(c.outcome(...FXRSTOR64)).toBe('ok');
    expect([c.u16(STATE.fcw), c.u16(STATE.fsw), c.u16(STATE.ftw), c.u32(STATE.mxcsr)]).toEqual([0x37f, 0x3000, 0x4fff, 0x1fa0]);
    expect([c.big(STATE.fpr + 96), c.big(STATE.fip), c.big(STATE.xmm + 240)]).toEqual([
      0xc90f_daa2_2168_c235n,
      0x1234_5678_9abcn,
      0xdead_beefn,
    ]);
  });
  it('fault: misaligned #GP(0), CR0.TS #NM, reserved MXCSR bits #GP(0)', () => {
    const c = filled();
    c.setReg(RBX, BigInt(DATA + 8));
    expect(c.outcome(...FXSAVE64)).toBe('#GP(0)');
    c.setReg(RBX, BigInt(DATA));
    c.write(DATA + 24, 4, 0x10000);
    expect(c.outcome(...FXRSTOR64)).toBe('#GP(0)');
    c.setHalves(STATE.cr0, c.lo(STATE.cr0) | CR0.TS, 0);
    expect(c.outcome(...FXSAVE64)).toBe('#NM');
  });
});

describe('random numbers', () => {
  it('repeat with the seed and set CF', () => {
    const draw = () => {
      const c = longCpu(3);
      expect(c.outcome(0x48, 0x0f, 0xc7, 0xf0)).toBe('ok');
      expect(c.rflags & EFLAGS.CF).toBe(1);
      const first = c.reg(RAX);
      c.execute(0x48, 0x0f, 0xc7, 0xf0);
      return [first, c.reg(RAX)];
    };
    const [a, b] = draw();
    expect(a).not.toBe(b);
    expect(draw()).toEqual([a, b]);
  });
});
