// The XSAVE feature set (SDM Vol 1, chapter 13): what each instruction writes and reads, in both formats, and every refusal of a header.

import { beforeEach, describe, expect, it } from 'vitest';
import { RAX, RBX, RCX, RDX, STATE } from '../state.ts';
import { CR0, CR4, EFER } from './bits.ts';
import { PROFILES } from './cpuid.ts';
import { inUse } from './extended-state.ts';
import { DATA, enterLevel, type FakeCpu, longCpu, SEL } from './fake-cpu.ts';

const AREA = DATA;
const HEADER = AREA + 512;
const PKRU = 0xa80;
const X87 = 1;
const SSE = 2;
const KEYS = 0x200;
const ALL = X87 | SSE | KEYS;

// All with [rbx].
const XSAVE64 = [0x48, 0x0f, 0xae, 0x23];
const XRSTOR64 = [0x48, 0x0f, 0xae, 0x2b];
const XSAVEOPT64 = [0x48, 0x0f, 0xae, 0x33];
const XSAVEC64 = [0x48, 0x0f, 0xc7, 0x23];
const XSAVES64 = [0x48, 0x0f, 0xc7, 0x2b];
const XRSTORS64 = [0x48, 0x0f, 0xc7, 0x1b];
const XGETBV = [0x0f, 0x01, 0xd0];
const XSETBV = [0x0f, 0x01, 0xd1];

let c: FakeCpu;
beforeEach(() => {
  c = prepared();
});
function prepared(cpl = 0): FakeCpu {
  const made = longCpu(cpl);
  made.setU32(STATE.cr4, made.u32(STATE.cr4) | CR4.OSXSAVE | CR4.PKE);
  made.setBig(STATE.xcr0, BigInt(ALL));
  made.setU16(STATE.fcw, 0x37f);
  made.setU16(STATE.ftw, 0xffff);
  made.setU32(STATE.mxcsr, 0x1f80);
  made.setReg(RBX, BigInt(AREA));
  made.setReg(RAX, BigInt(ALL));
  made.setReg(RDX, 0n);
  return made;
}
/** x87 with a word, XMM3 and PKRU that are not initial. */
function use(what: number): void {
  if (what & X87) c.setU16(STATE.fcw, 0x27f);
  if (what & SSE) c.setBig(STATE.xmm + 3 * 16, 0x1122_3344_5566_7788n);
  if (what & KEYS) c.setU32(STATE.pkru, 0x5555_5554);
}
const clearArea = (byte = 0) => c.ram.fill(AREA as never, byte, 0xb00);
const header = () => [c.read(HEADER, 8), c.read(HEADER + 8, 8)];

describe('XINUSE', () => {
  it('is exact for each component', () => {
    for (const what of [0, X87, SSE, KEYS, ALL]) {
      c = prepared();
      use(what);
      expect(inUse(c)).toBe(what);
    }
  });
  it('is what XGETBV with ECX 1 gives, under XCR0', () => {
    use(SSE | KEYS);
    c.setReg(RCX, 1n);
    expect(c.outcome(...XGETBV)).toBe('ok');
    expect(c.reg(RAX)).toBe(BigInt(SSE | KEYS));
    c.setReg(RCX, 2n);
    expect(c.outcome(...XGETBV)).toBe('#GP(0)');
  });
});

describe('XSAVE (13.7)', () => {
  it('writes all that is asked for, and in XSTATE_BV what is in use', () => {
    use(SSE);
    clearArea(0xee);
    c.write(HEADER, 8, 0);
    expect(c.outcome(...XSAVE64)).toBe('ok');
    expect(c.read(HEADER, 8)).toBe(BigInt(SSE));
    expect([c.read(AREA, 2), c.read(AREA + 24, 4), c.read(AREA + 160 + 48, 8), c.read(AREA + PKRU, 4)]).toEqual([
      0x37fn,
      0x1f80n,
      0x1122_3344_5566_7788n,
      0n,
    ]);
    // Not XCOMP_BV, nor what software may use.
    expect([c.read(HEADER + 8, 8), c.read(AREA + 464, 8)]).toEqual([0xeeee_eeee_eeee_eeeen, 0xeeee_eeee_eeee_eeeen]);
  });
  it('keeps the bits of components that are not asked for', () => {
    use(ALL);
    c.write(HEADER, 8, 0xff00);
    c.setReg(RAX, BigInt(X87));
    expect(c.outcome(...XSAVE64)).toBe('ok');
    expect(c.read(HEADER, 8)).toBe(0xff01n);
    expect(c.read(AREA + 160 + 48, 8)).toBe(0n);
  });
  it('counts SSE as in use when MXCSR is not initial', () => {
    c.setU32(STATE.mxcsr, 0x1f00);
    c.outcome(...XSAVE64);
    expect(c.read(HEADER, 8)).toBe(BigInt(SSE));
  });
  it('XSAVEOPT leaves out what is initial', () => {
    use(KEYS);
    clearArea(0xee);
    c.write(HEADER, 8, 0);
    expect(c.outcome(...XSAVEOPT64)).toBe('ok');
    expect([c.read(HEADER, 8), c.read(AREA, 2), c.read(AREA + PKRU, 4)]).toEqual([BigInt(KEYS), 0xeeeen, 0x5555_5554n]);
  });
  it('outside 64-bit mode has eight XMM registers', () => {
    c.setBig(STATE.xmm + 9 * 16, 1n);
    clearArea(0xee);
    enterLevel(c, 3);
    c.setSegment(1, SEL.compat3, 0xc0fb, 0xffffffff, 0);
    expect(c.outcome(0x0f, 0xae, 0x23)).toBe('ok');
    expect(c.read(AREA + 160 + 8 * 16, 8)).toBe(0xeeee_eeee_eeee_eeeen);
  });
});

describe('XSAVEC and XSAVES (13.10, 13.11)', () => {
  for (const [name, code] of [
    ['XSAVEC', XSAVEC64],
    ['XSAVES', XSAVES64],
  ] as const)
    it(`${name} packs what is in use: XSTATE_BV, and XCOMP_BV with bit 63`, () => {
      use(KEYS);
      clearArea(0xee);
      expect(c.outcome(...code)).toBe('ok');
      expect(header()).toEqual([BigInt(KEYS), (1n << 63n) | BigInt(ALL)]);
      expect([c.read(AREA + 576, 4), c.read(AREA, 2)]).toEqual([0x5555_5554n, 0xeeeen]);
    });
  it('XSAVES and XRSTORS need level 0', () => {
    c = prepared(3);
    expect([c.outcome(...XSAVES64), c.outcome(...XRSTORS64)]).toEqual(['#GP(0)', '#GP(0)']);
    expect(c.outcome(...XSAVEC64)).toBe('ok');
  });
  it('what they save, XRSTOR and XRSTORS restore', () => {
    for (const back of [XRSTOR64, XRSTORS64]) {
      c = prepared();
      use(ALL);
      expect(c.outcome(...XSAVEC64)).toBe('ok');
      const other = c;
      other.setU16(STATE.fcw, 0);
      other.setBig(STATE.xmm + 48, 0n);
      other.setU32(STATE.pkru, 0);
      expect(c.outcome(...back)).toBe('ok');
      expect([c.u16(STATE.fcw), c.big(STATE.xmm + 48), c.u32(STATE.pkru)]).toEqual([0x27f, 0x1122_3344_5566_7788n, 0x5555_5554]);
    }
  });
});

describe('XRSTOR (13.8)', () => {
  it('initializes what is asked for and not in XSTATE_BV; MXCSR is loaded all the same in standard format', () => {
    use(ALL);
    clearArea();
    c.write(AREA + 24, 4, 0x1fa0);
    expect(c.outcome(...XRSTOR64)).toBe('ok');
    expect([c.u16(STATE.fcw), c.big(STATE.xmm + 48), c.u32(STATE.pkru), c.u32(STATE.mxcsr)]).toEqual([0x37f, 0n, 0, 0x1fa0]);
  });
  it('in compacted format MXCSR is part of SSE', () => {
    c.setU32(STATE.mxcsr, 0x1fa0);
    clearArea();
    c.write(AREA + 24, 4, 0x1f00);
    c.write(HEADER + 8, 8, (1n << 63n) | BigInt(ALL));
    expect(c.outcome(...XRSTOR64)).toBe('ok');
    expect(c.u32(STATE.mxcsr)).toBe(0x1f80);
  });
  const headers: [string, bigint, bigint, bigint, string][] = [
    // what, XSTATE_BV, XCOMP_BV, bytes 23:16, outcome
    ['a component that XCR0 has not', 4n, 0n, 0n, '#GP(0)'],
    ['a high component', 1n << 40n, 0n, 0n, '#GP(0)'],
    ['standard format with XCOMP_BV', 1n, 1n, 0n, '#GP(0)'],
    ['standard format with bytes 23:16', 1n, 0n, 1n, '#GP(0)'],
    ['compacted format', 1n, (1n << 63n) | 3n, 0n, 'ok'],
    ['compacted format with a component that XCR0 has not', 1n, (1n << 63n) | 7n, 0n, '#GP(0)'],
    ['compacted format with XSTATE_BV beyond XCOMP_BV', 3n, (1n << 63n) | 1n, 0n, '#GP(0)'],
    ['compacted format with bytes 23:16', 1n, (1n << 63n) | 1n, 1n, '#GP(0)'],
    ['compacted format with bit 62', 1n, (3n << 62n) | 1n, 0n, '#GP(0)'],
  ];
  for (const [what, bv, comp, reserved, outcome] of headers)
    it(`${what}: ${outcome}, and nothing is loaded`, () => {
      use(ALL);
      clearArea();
      c.write(AREA, 2, 0x37f);
      c.write(HEADER, 8, bv);
      c.write(HEADER + 8, 8, comp);
      c.write(HEADER + 16, 8, reserved);
      expect(c.outcome(...XRSTOR64)).toBe(outcome);
      if (outcome !== 'ok') expect(inUse(c)).toBe(ALL);
    });
  it('compacted bytes 63:24 are reserved, standard ones are not', () => {
    for (const [comp, outcome] of [
      [0n, 'ok'],
      [(1n << 63n) | 1n, '#GP(0)'],
    ] as const) {
      clearArea();
      c.write(HEADER + 8, 8, comp);
      c.write(HEADER + 56, 8, 1);
      expect(c.outcome(...XRSTOR64)).toBe(outcome);
    }
  });
  it('XRSTORS takes the compacted format only', () => {
    clearArea();
    expect(c.outcome(...XRSTORS64)).toBe('#GP(0)');
  });
  it('without XSAVEC there is no compacted format', () => {
    c.profile = { ...c.profile, features: new Set([...c.profile.features].filter((f) => f !== 'xsavec')) };
    clearArea();
    c.write(HEADER + 8, 8, 1n << 63n);
    expect(c.outcome(...XRSTOR64)).toBe('#GP(0)');
  });
  it('reserved bits of MXCSR are #GP(0) when SSE is asked for', () => {
    clearArea();
    c.write(AREA + 24, 4, 0x1_0000);
    expect(c.outcome(...XRSTOR64)).toBe('#GP(0)');
    c.setReg(RAX, BigInt(X87));
    expect(c.outcome(...XRSTOR64)).toBe('ok');
  });
});

describe('conditions of all (13.6)', () => {
  const all: [string, number[]][] = [
    ['XSAVE', XSAVE64],
    ['XRSTOR', XRSTOR64],
    ['XSAVEOPT', XSAVEOPT64],
    ['XSAVEC', XSAVEC64],
    ['XSAVES', XSAVES64],
    ['XRSTORS', XRSTORS64],
  ];
  for (const [name, code] of all) {
    it(`${name} is #UD without CR4.OSXSAVE, #NM with CR0.TS, #GP(0) when misaligned`, () => {
      c.setU32(STATE.cr0, c.u32(STATE.cr0) | CR0.TS);
      expect(c.outcome(...code)).toBe('#NM');
      c.setU32(STATE.cr4, c.u32(STATE.cr4) & ~CR4.OSXSAVE);
      expect(c.outcome(...code)).toBe('#UD');
      c = prepared();
      c.setReg(RBX, BigInt(AREA + 32));
      expect(c.outcome(...code)).toBe('#GP(0)');
    });
  }
  it('a page that is absent in the middle of the area leaves memory as it was', () => {
    use(ALL);
    c.setReg(RBX, BigInt(AREA + 0x1000 - 0x140));
    c.pages.set((AREA >> 12) + 1, 'absent');
    expect(c.outcome(...XSAVEC64)).toBe('#PF(2)');
    expect(c.read(AREA + 0x1000 - 0x140, 2)).toBe(0n);
  });
});

describe('XSETBV (Vol 2D)', () => {
  const cases: [string, bigint, bigint, bigint, string][] = [
    // what, ECX, EDX, EAX, outcome
    ['x87 alone', 0n, 0n, 1n, 'ok'],
    ['x87, SSE and PKRU', 0n, 0n, BigInt(ALL), 'ok'],
    ['no x87', 0n, 0n, 2n, '#GP(0)'],
    ['AVX, which is not there', 0n, 0n, 7n, '#GP(0)'],
    ['a high bit', 0n, 1n, 1n, '#GP(0)'],
    ['another register', 1n, 0n, 1n, '#GP(0)'],
  ];
  for (const [what, ecx, edx, eax, outcome] of cases)
    it(`${what}: ${outcome}`, () => {
      c.setReg(RCX, ecx);
      c.setReg(RDX, edx);
      c.setReg(RAX, eax);
      expect(c.outcome(...XSETBV)).toBe(outcome);
    });
  it('PKRU needs a profile with protection keys, and the instruction level 0', () => {
    c.profile = PROFILES.zen!;
    c.setReg(RCX, 0n);
    expect(c.outcome(...XSETBV)).toBe('#GP(0)');
    c = prepared(3);
    c.setReg(RCX, 0n);
    c.setReg(RAX, 1n);
    expect(c.outcome(...XSETBV)).toBe('#GP(0)');
  });
});

describe('FXSAVE with EFER.FFXSR (APM Vol 2, 11.4.4)', () => {
  for (const [cpl, fast] of [
    [0, true],
    [3, false],
  ] as const)
    it(`${fast ? 'leaves out' : 'saves'} the XMM registers at level ${cpl}`, () => {
      c = prepared(cpl);
      c.profile = PROFILES.zen!;
      c.setU32(STATE.efer, c.u32(STATE.efer) | EFER.FFXSR);
      use(SSE);
      clearArea(0xee);
      expect(c.outcome(0x48, 0x0f, 0xae, 0x03)).toBe('ok');
      expect(c.read(AREA + 160 + 48, 8)).toBe(fast ? 0xeeee_eeee_eeee_eeeen : 0x1122_3344_5566_7788n);
      expect(c.read(AREA + 24, 4)).toBe(0x1f80n);
    });
});
