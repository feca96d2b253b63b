// SSE floating point where the manual is to be seen, or the host cannot be asked: which exception comes, what is written when it does, and
// that ordinary arithmetic stays in staged code. The sweep over operands and modes is host-cpu/sse-float.spec.ts.

import { describe, expect, it } from 'vitest';
import { RunExit } from '../../cpu-api.ts';
import { flat64 } from '../../exec/flat64.ts';
import { STATE } from '../../state.ts';
import { CR4, EXC } from '../bits.ts';
import { HANDLERS, type Handler } from '../execute.ts';

const CODE = 0x10000;
const UD2 = [0x0f, 0x0b];
const DEFAULT = 0x1f80;
const PE = 0x20;
const ADDSD = [0xf2, 0x0f, 0x58, 0xc1];
const SUBSD = [0xf2, 0x0f, 0x5c, 0xc1];
const MULSD = [0xf2, 0x0f, 0x59, 0xc1];
const DIVSD = [0xf2, 0x0f, 0x5e, 0xc1];
const SQRTSD = [0xf2, 0x0f, 0x51, 0xc1];
const DIVPD = [0x66, 0x0f, 0x5e, 0xc1];
const ADDPD = [0x66, 0x0f, 0x58, 0xc1];
const MULPD = [0x66, 0x0f, 0x59, 0xc1];
const UCOMISD = [0x66, 0x0f, 0x2e, 0xc1];
const COMISD = [0x66, 0x0f, 0x2f, 0xc1];
const CVTTSD2SI_RAX = [0xf2, 0x48, 0x0f, 0x2c, 0xc0];
const CVTSI2SD_RAX = [0xf2, 0x48, 0x0f, 0x2a, 0xc0];

const QNAN = 0x7ff8_0000_0000_1234n;
const SNAN = 0x7ff0_0000_0000_5678n;
const INDEFINITE = 0xfff8_0000_0000_0000n;
const INFINITY = 0x7ff0_0000_0000_0000n;
const DENORMAL = 0x0000_0000_0000_0fffn;
const pattern = (v: number): bigint => {
  const d = new DataView(new ArrayBuffer(8));
  d.setFloat64(0, v);
  return d.getBigUint64(0);
};

interface Given {
  readonly mxcsr?: number;
  readonly a: bigint;
  readonly b: bigint;
  readonly high?: readonly [bigint, bigint];
  readonly cr4?: number;
}
function run(code: readonly number[], { mxcsr = DEFAULT, a, b, high = [0n, 0n], cr4 }: Given) {
  const t = flat64();
  t.cpu.setU32(STATE.mxcsr, mxcsr);
  if (cr4 !== undefined) t.cpu.setU32(STATE.cr4, cr4);
  t.cpu.setBig(STATE.xmm, a);
  t.cpu.setBig(STATE.xmm + 8, high[0]);
  t.cpu.setBig(STATE.xmm + 16, b);
  t.cpu.setBig(STATE.xmm + 24, high[1]);
  expect(t.run(CODE, [...code, ...UD2])).toBe(RunExit.exception);
  return {
    // Past the instruction it is the UD2 that stopped.
    vector: t.cpu.rip === CODE ? t.cpu.event.vector : undefined,
    low: t.cpu.big(STATE.xmm),
    high: t.cpu.big(STATE.xmm + 8),
    flags: t.cpu.u32(STATE.mxcsr) & 0x3f,
    rflags: t.cpu.rflags & 0x45,
  };
}

describe('NaNs (SDM Vol 1, Table 4-7)', () => {
  it('the first operand goes before the second, even a quiet one before a signaling one', () => {
    expect(run(ADDSD, { a: QNAN, b: SNAN })).toMatchObject({ low: QNAN, flags: 1 });
    expect(run(ADDSD, { a: SNAN, b: QNAN })).toMatchObject({ low: SNAN | (1n << 51n), flags: 1 });
    expect(run(ADDSD, { a: pattern(1), b: QNAN })).toMatchObject({ low: QNAN, flags: 0 });
    expect(run(SUBSD, { a: pattern(1), b: QNAN })).toMatchObject({ low: QNAN, flags: 0 });
  });
  it('invalid operations give the indefinite one', () => {
    expect(run(SUBSD, { a: INFINITY, b: INFINITY })).toMatchObject({ low: INDEFINITE, flags: 1 });
    expect(run(MULSD, { a: INFINITY, b: 0n })).toMatchObject({ low: INDEFINITE, flags: 1 });
    expect(run(DIVSD, { a: 0n, b: 0n })).toMatchObject({ low: INDEFINITE, flags: 1 });
    expect(run(SQRTSD, { a: 0n, b: pattern(-4) })).toMatchObject({ low: INDEFINITE, flags: 1 });
  });
  it('a quiet one is unordered to UCOMISD, and invalid to COMISD', () => {
    expect(run(UCOMISD, { a: QNAN, b: 0n })).toMatchObject({ rflags: 0x45, flags: 0 });
    expect(run(COMISD, { a: QNAN, b: 0n })).toMatchObject({ rflags: 0x45, flags: 1 });
    expect(run(UCOMISD, { a: SNAN, b: 0n })).toMatchObject({ rflags: 0x45, flags: 1 });
  });
});

describe('denormals', () => {
  it('raise DE, or are zeros with DAZ', () => {
    expect(run(ADDSD, { a: DENORMAL, b: 0n })).toMatchObject({ low: DENORMAL, flags: 2 });
    expect(run(ADDSD, { a: DENORMAL, b: 0n, mxcsr: DEFAULT | 0x40 })).toMatchObject({ low: 0n, flags: 0 });
  });
  it('as results are zeros with FTZ, which raises UE and PE', () => {
    const half = pattern(0.5);
    expect(run(MULSD, { a: 1n << 52n, b: half })).toMatchObject({ low: 1n << 51n, flags: 0 });
    expect(run(MULSD, { a: 1n << 52n, b: half, mxcsr: DEFAULT | 0x8000 })).toMatchObject({ low: 0n, flags: 0x30 });
  });
});

describe('exceptions that are not masked (SDM Vol 1, 11.5.3)', () => {
  const ZM = 0x200;
  const PM = 0x1000;
  it('are #XM with the flag set and nothing written', () => {
    const given = { a: pattern(1), b: 0n, mxcsr: DEFAULT & ~ZM };
    expect(run(DIVSD, given)).toMatchObject({ vector: EXC.XM, low: pattern(1), flags: 4 });
  });
  it('are #UD where the system has not set CR4.OSXMMEXCPT', () => {
    const given = { a: pattern(1), b: 0n, mxcsr: DEFAULT & ~ZM, cr4: CR4.PAE | CR4.OSFXSR };
    expect(run(DIVSD, given)).toMatchObject({ vector: EXC.UD, low: pattern(1), flags: 4 });
  });
  it('found before a result hide those that would come with one, of other elements too', () => {
    const given = { a: pattern(1), b: 0n, high: [pattern(1), pattern(3)] as const };
    expect(run(DIVPD, { ...given, mxcsr: DEFAULT & ~ZM })).toMatchObject({ vector: EXC.XM, flags: 4, high: pattern(1) });
    expect(run(DIVPD, given)).toMatchObject({ vector: undefined, flags: 0x24, low: INFINITY, high: pattern(1 / 3) });
  });
  it('are raised by each inexact result, though its flag is set', () => {
    const given = { a: pattern(1), b: pattern(3), mxcsr: (DEFAULT | PE) & ~PM };
    expect(run(DIVSD, given)).toMatchObject({ vector: EXC.XM, low: pattern(1), flags: PE });
    expect(run(DIVSD, { ...given, b: pattern(4) })).toMatchObject({ vector: undefined, low: pattern(0.25), flags: PE });
  });
});

describe('rounding', () => {
  it.each([
    ['nearest', 0, 1 / 3, 1 / -3],
    ['down', 0x2000, 1 / 3, -0.33333333333333337],
    ['up', 0x4000, 0.33333333333333337, 1 / -3],
    ['toward zero', 0x6000, 1 / 3, 1 / -3],
  ])('%s', (_, rc, positive, negative) => {
    expect(run(DIVSD, { a: pattern(1), b: pattern(3), mxcsr: DEFAULT | rc })).toMatchObject({ low: pattern(positive), flags: PE });
    expect(run(DIVSD, { a: pattern(1), b: pattern(-3), mxcsr: DEFAULT | rc })).toMatchObject({ low: pattern(negative), flags: PE });
  });
  it('a sum that cancels is +0, and -0 rounding down', () => {
    expect(run(SUBSD, { a: pattern(1.5), b: pattern(1.5) })).toMatchObject({ low: 0n, flags: 0 });
    expect(run(SUBSD, { a: pattern(1.5), b: pattern(1.5), mxcsr: DEFAULT | 0x2000 })).toMatchObject({ low: 1n << 63n, flags: 0 });
  });
});

/** How often the TypeScript form of an instruction is asked for while `f` runs. */
function handed(mnemonics: readonly string[], f: () => void): number {
  // SAFE: it is a Map, and what is put there is what was there.
  const handlers = HANDLERS as Map<string, Handler>;
  const saved = mnemonics.map((m) => [m, handlers.get(m)] as const);
  let count = 0;
  for (const [m, handler] of saved) {
    if (handler === undefined) throw new Error(`${m} has no handler`);
    handlers.set(m, (cpu, d) => {
      count++;
      return handler(cpu, d);
    });
  }
  try {
    f();
  } finally {
    for (const [m, handler] of saved) if (handler !== undefined) handlers.set(m, handler);
  }
  return count;
}

describe('staged code', () => {
  const all = ['ADDSD', 'SUBSD', 'MULSD', 'DIVSD', 'SQRTSD', 'ADDPD', 'MULPD', 'DIVPD', 'UCOMISD', 'COMISD', 'CVTTSD2SI', 'CVTSI2SD'];
  const each = (given: Given): number =>
    handed(all, () => {
      for (const code of [ADDSD, SUBSD, MULSD, DIVSD, ADDPD, MULPD, DIVPD, UCOMISD, COMISD]) run(code, given);
    });

  it('keeps doubles that are integers, though PE is clear', () => {
    expect(each({ a: pattern(1e6), b: pattern(64), high: [pattern(12), pattern(-3)] })).toBe(0);
    expect(each({ a: 0n, b: pattern(7), high: [0n, pattern(-3)] })).toBe(0);
    expect(run(SQRTSD, { a: 0n, b: pattern(144) })).toMatchObject({ low: pattern(12), flags: 0 });
    expect(handed(all, () => run(SQRTSD, { a: 0n, b: pattern(144) }))).toBe(0);
    expect(handed(all, () => run([...CVTTSD2SI_RAX, ...CVTSI2SD_RAX], { a: pattern(-123456789), b: 0n }))).toBe(0);
  });
  it('gives the first inexact result up, and keeps the next', () => {
    const given = { a: pattern(1.1), b: pattern(0.3), high: [pattern(1.7), pattern(-3)] as const };
    expect(handed(all, () => run([...ADDSD, ...ADDSD, ...MULSD, ...DIVSD, ...MULPD], given))).toBe(1);
  });
  it('compares with quiet NaNs and infinities itself', () => {
    expect(handed(all, () => run(UCOMISD, { a: QNAN, b: INFINITY }))).toBe(0);
    expect(handed(all, () => run(COMISD, { a: pattern(1), b: INFINITY }))).toBe(0);
  });
});
