// SSE and SSE2 floating point.
//
// Arithmetic rounds to nearest, as WebAssembly does; MXCSR.RC is honoured where a value becomes an integer. MXCSR's exception flags are
// not raised yet. RCPPS and RSQRTPS, which hardware approximates to 12 bits, are exact here.

import type { Builder, Readable, Size } from '../stage/builder.ts';
import { setFromEflags } from '../stage/flags.ts';
import { STATE } from '../state.ts';
import { type AnyInsn, insn, OSZAPC } from './insn.ts';
import { low32, maskX, needSse, packed, packedImm, setLow32, setLow64, zeroX } from './sse-common.ts';

type Kind = 'f32' | 'f64';
const scalarValue = <V>(b: Builder<V>, k: Kind, o: Readable): V => (k === 'f32' ? low32(b, o) : b.read(o));

/** dst.low = f(dst.low, src.low). */
const scalar = (mnemonic: string, forms: string, k: Kind, f: <V, X>(b: Builder<V, X>, d: V, s: V) => V): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const r = f(b, scalarValue(b, k, dst), scalarValue(b, k, src));
      if (k === 'f32') setLow32(b, dst, r);
      else setLow64(b, dst, r);
    },
  });

/** The four forms PS, PD, SS, SD of one operation. */
function family(
  name: string,
  opcode: string,
  onVector: <V, X>(b: Builder<V, X>, lanes: 'f32x4' | 'f64x2', d: X, s: X) => X,
  onScalar: <V, X>(b: Builder<V, X>, k: Kind, d: V, s: V) => V,
): AnyInsn[] {
  return [
    packed(`${name}PS`, `NP 0F ${opcode} /r Vx,Wx`, (b, d, s) => onVector(b, 'f32x4', d, s), 'sse'),
    packed(`${name}PD`, `66 0F ${opcode} /r Vx,Wx`, (b, d, s) => onVector(b, 'f64x2', d, s)),
    scalar(`${name}SS`, `F3 0F ${opcode} /r Vss,Wss`, 'f32', (b, d, s) => onScalar(b, 'f32', d, s)),
    scalar(`${name}SD`, `F2 0F ${opcode} /r Vsd,Wsd`, 'f64', (b, d, s) => onScalar(b, 'f64', d, s)),
  ];
}
const arithmetic = (name: string, opcode: string, op: 'add' | 'sub' | 'mul' | 'div') =>
  family(
    name,
    opcode,
    (b, lanes, d, s) => b.x.op2(`${lanes}.${op}`, d, s),
    (b, k, d, s) => b.x[k](op, d, s),
  );
/** MIN: dst < src ? dst : src, so that the source is returned for NaNs and equal zeros (SDM Vol 2B, MINPS). */
const extreme = (name: string, opcode: string, min: boolean) =>
  family(
    name,
    opcode,
    (b, lanes, d, s) => b.x.op2(`${lanes}.${min ? 'pmin' : 'pmax'}`, s, d),
    (b, k, d, s) => b.select(min ? b.x.fcmp(k, 'lt', d, s) : b.x.fcmp(k, 'lt', s, d), d, s),
  );
export const ARITHMETIC: readonly AnyInsn[] = [
  ...arithmetic('ADD', '58', 'add'),
  ...arithmetic('MUL', '59', 'mul'),
  ...arithmetic('SUB', '5C', 'sub'),
  ...arithmetic('DIV', '5E', 'div'),
  ...extreme('MIN', '5D', true),
  ...extreme('MAX', '5F', false),
  ...family(
    'SQRT',
    '51',
    (b, lanes, _d, s) => b.x.op1(`${lanes}.sqrt`, s),
    (b, k, _d, s) => b.x[k]('sqrt', s),
  ),
];

const ONE_F32 = 0x3f800000;
const ones = <V, X>(b: Builder<V, X>): X => b.x.constant(0x3f8000003f800000n, 0x3f8000003f800000n);
/** The approximations take denormals for zeros and give zeros for them, whatever MXCSR says (SDM Vol 2B, RCPPS). */
const flush = <V, X>(b: Builder<V, X>, v: V): V => b.select(b.and(v, b.k(0x7f800000)), v, b.and(v, b.k(0x80000000)));
const flushAll = <V, X>(b: Builder<V, X>, v: X): X => {
  const exponent = b.x.op2('v128.and', v, b.x.constant(0x7f8000007f800000n, 0x7f8000007f800000n));
  const sign = b.x.op2('v128.and', v, b.x.constant(0x8000000080000000n, 0x8000000080000000n));
  return b.x.bitselect(sign, v, b.x.op2('i32x4.eq', exponent, b.x.constant(0n, 0n)));
};
export const RECIPROCALS: readonly AnyInsn[] = [
  packed('RCPPS', 'NP 0F 53 /r Vx,Wx', (b, _d, s) => flushAll(b, b.x.op2('f32x4.div', ones(b), flushAll(b, s))), 'sse'),
  scalar('RCPSS', 'F3 0F 53 /r Vss,Wss', 'f32', (b, _d, s) => flush(b, b.x.f32('div', b.k(ONE_F32), flush(b, s)))),
  packed('RSQRTPS', 'NP 0F 52 /r Vx,Wx', (b, _d, s) => b.x.op2('f32x4.div', ones(b), b.x.op1('f32x4.sqrt', flushAll(b, s))), 'sse'),
  scalar('RSQRTSS', 'F3 0F 52 /r Vss,Wss', 'f32', (b, _d, s) => b.x.f32('div', b.k(ONE_F32), b.x.f32('sqrt', flush(b, s)))),
];

const logic = (name: string, opcode: string, f: <V, X>(b: Builder<V, X>, d: X, s: X) => X): AnyInsn[] => [
  packed(`${name}PS`, `NP 0F ${opcode} /r Vx,Wx`, f, 'sse'),
  packed(`${name}PD`, `66 0F ${opcode} /r Vx,Wx`, f),
];
export const LOGIC: readonly AnyInsn[] = [
  ...logic('AND', '54', (b, d, s) => b.x.op2('v128.and', d, s)),
  ...logic('ANDN', '55', (b, d, s) => b.x.op2('v128.andnot', s, d)),
  ...logic('OR', '56', (b, d, s) => b.x.op2('v128.or', d, s)),
  ...logic('XOR', '57', (b, d, s) => b.x.op2('v128.xor', d, s)),
];

/** ZF PF CF: 111 unordered, 001 less, 100 equal, 000 greater; OF SF AF cleared. COMI differs only in raising on a quiet NaN. */
const compareFlags = (mnemonic: string, forms: string, k: Kind): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { a: 'r', c: 'r' },
    flags: { writes: OSZAPC },
    sem(b, { a, c }) {
      needSse(b);
      const x = scalarValue(b, k, a);
      const y = scalarValue(b, k, c);
      const unordered = b.eqz(b.and(b.x.fcmp(k, 'eq', x, x), b.x.fcmp(k, 'eq', y, y)));
      const cf = b.or(unordered, b.x.fcmp(k, 'lt', x, y));
      const zf = b.or(unordered, b.x.fcmp(k, 'eq', x, y));
      setFromEflags(b, b.or(b.or(cf, b.shl(unordered, b.k(2))), b.shl(zf, b.k(6))));
    },
  });
export const COMPARE_FLAGS: readonly AnyInsn[] = [
  compareFlags('UCOMISS', 'NP 0F 2E /r Vss,Wss', 'f32'),
  compareFlags('UCOMISD', '66 0F 2E /r Vsd,Wsd', 'f64'),
  compareFlags('COMISS', 'NP 0F 2F /r Vss,Wss', 'f32'),
  compareFlags('COMISD', '66 0F 2F /r Vsd,Wsd', 'f64'),
];

/** Predicates 0..3 EQ LT LE UNORD, bit 2 negates (SDM Vol 2A, Table 3-1). */
const comparePacked = (lanes: 'f32x4' | 'f64x2') =>
  function compare<V, X>(b: Builder<V, X>, d: X, s: X, imm: V): X {
    const ordered = b.x.op2('v128.and', b.x.op2(`${lanes}.eq`, d, d), b.x.op2(`${lanes}.eq`, s, s));
    const results = [
      b.x.op2(`${lanes}.eq`, d, s),
      b.x.op2(`${lanes}.lt`, d, s),
      b.x.op2(`${lanes}.le`, d, s),
      b.x.op1('v128.not', ordered),
    ];
    const which = b.and(imm, b.k(3));
    let r = zeroX(b);
    results.forEach((x, i) => {
      r = b.x.op2('v128.or', r, b.x.op2('v128.and', x, maskX(b, b.eq(which, b.k(i)))));
    });
    return b.x.op2('v128.xor', r, maskX(b, b.and(b.shr(imm, b.k(2)), b.k(1))));
  };
const compareScalar = (mnemonic: string, forms: string, k: Kind): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { dst: 'rw', src: 'r', imm: 'r' },
    sem(b, { dst, src, imm }) {
      needSse(b);
      const x = scalarValue(b, k, dst);
      const y = scalarValue(b, k, src);
      const p = b.read(imm);
      const which = b.and(p, b.k(3));
      const unordered = b.eqz(b.and(b.x.fcmp(k, 'eq', x, x), b.x.fcmp(k, 'eq', y, y)));
      const pick = (i: number, v: typeof x) => b.and(b.eq(which, b.k(i)), v);
      const hit = b.or(
        b.or(pick(0, b.x.fcmp(k, 'eq', x, y)), pick(1, b.x.fcmp(k, 'lt', x, y))),
        b.or(pick(2, b.x.fcmp(k, 'le', x, y)), pick(3, unordered)),
      );
      const all = b.sub(b.k(0), b.xor(hit, b.and(b.shr(p, b.k(2)), b.k(1))));
      if (k === 'f32') setLow32(b, dst, all);
      else setLow64(b, dst, all);
    },
  });
export const COMPARES: readonly AnyInsn[] = [
  packedImm('CMPPS', 'NP 0F C2 /r Vx,Wx,Ib', comparePacked('f32x4'), 'sse'),
  packedImm('CMPPD', '66 0F C2 /r Vx,Wx,Ib', comparePacked('f64x2')),
  compareScalar('CMPSS', 'F3 0F C2 /r Vss,Wss,Ib', 'f32'),
  compareScalar('CMPSD', 'F2 0F C2 /r Vsd,Wsd,Ib', 'f64'),
];

// --- conversions

/** Rounds by MXCSR.RC (bits 14:13): nearest, down, up, toward zero. */
function roundByMode<V, X>(b: Builder<V, X>, k: Kind, v: V): V {
  const rc = b.and(b.shr(b.state(STATE.mxcsr, 4), b.k(13)), b.k(3));
  const directed = b.select(
    b.eq(rc, b.k(1)),
    b.x.convert(`${k}.floor`, v),
    b.select(b.eq(rc, b.k(2)), b.x.convert(`${k}.ceil`, v), b.x.convert(`${k}.trunc`, v)),
  );
  return b.select(rc, directed, b.x.convert(`${k}.nearest`, v));
}
/** An integral value as a signed integer of `size` bytes; the integer indefinite when it does not fit or is a NaN. */
function toInteger<V, X>(b: Builder<V, X>, k: Kind, v: V, size: Size): V {
  const n = b.x.convert(k === 'f64' ? 's64.trunc.f64' : 's64.trunc.f32', v);
  const nan = b.eqz(b.x.fcmp(k, 'eq', v, v));
  if (size === 8) {
    // No float is 2^63 - 1: that value means that the truncation saturated.
    const over = b.eq(n, b.k(0x7fffffffffffffffn));
    return b.select(b.or(nan, over), b.k(0x8000000000000000n), n);
  }
  const fits = b.eq(b.sext(n, 4), n);
  return b.select(b.or(nan, b.eqz(fits)), b.k(0x80000000), b.zext(n, 4));
}
const toGeneral = (mnemonic: string, forms: string, k: Kind, truncate: boolean): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const v = scalarValue(b, k, src);
      b.write(dst, toInteger(b, k, truncate ? v : roundByMode(b, k, v), dst.size as Size));
    },
  });
const fromGeneral = (mnemonic: string, forms: string, k: Kind): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const r = b.x.convert(src.size === 8 ? `${k}.from.s64` : `${k}.from.s32`, b.read(src));
      if (k === 'f32') setLow32(b, dst, r);
      else setLow64(b, dst, r);
    },
  });
/** Lane i (of four) of 32 bits. */
const dword = <V, X>(b: Builder<V, X>, x: X, i: number): V => {
  const half = b.x.lane(x, i < 2 ? 0 : 1);
  return i & 1 ? b.shr(half, b.k(32)) : b.zext(half, 4);
};
const pair = <V>(b: Builder<V>, lo: V, hi: V): V => b.or(lo, b.shl(hi, b.k(32)));

/** Conversions of vectors, with the bytes of source that they read. */
const convertVector = (mnemonic: string, forms: string, half: boolean, f: <V, X>(b: Builder<V, X>, s: X) => X): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: 'sse2',
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const s = half && !src.isReg ? b.x.make(b.read(src), b.k(0)) : b.x.read(src, true);
      b.x.write(dst, f(b, s), false);
    },
  });
export const floatsToDwords =
  (truncate: boolean) =>
  <V, X>(b: Builder<V, X>, s: X): X => {
    const one = (i: number) => {
      const v = dword(b, s, i);
      return toInteger(b, 'f32', truncate ? v : roundByMode(b, 'f32', v), 4);
    };
    return b.x.make(pair(b, one(0), one(1)), pair(b, one(2), one(3)));
  };
export const doublesToDwords =
  (truncate: boolean) =>
  <V, X>(b: Builder<V, X>, s: X): X => {
    const one = (i: 0 | 1) => {
      const v = b.x.lane(s, i);
      return toInteger(b, 'f64', truncate ? v : roundByMode(b, 'f64', v), 4);
    };
    return b.x.make(pair(b, one(0), one(1)), b.k(0));
  };

export const CONVERSIONS: readonly AnyInsn[] = [
  fromGeneral('CVTSI2SS', 'F3 0F 2A /r Vx,Ey', 'f32'),
  fromGeneral('CVTSI2SD', 'F2 0F 2A /r Vx,Ey', 'f64'),
  toGeneral('CVTTSS2SI', 'F3 0F 2C /r Gy,Wss', 'f32', true),
  toGeneral('CVTTSD2SI', 'F2 0F 2C /r Gy,Wsd', 'f64', true),
  toGeneral('CVTSS2SI', 'F3 0F 2D /r Gy,Wss', 'f32', false),
  toGeneral('CVTSD2SI', 'F2 0F 2D /r Gy,Wsd', 'f64', false),
  insn('CVTSS2SD', {
    sdm: 'Vol 2A, CVTSS2SD',
    forms: 'F3 0F 5A /r Vsd,Wss',
    cpuid: 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      setLow64(b, dst, b.x.convert('f64.from.f32', low32(b, src)));
    },
  }),
  insn('CVTSD2SS', {
    sdm: 'Vol 2A, CVTSD2SS',
    forms: 'F2 0F 5A /r Vss,Wsd',
    cpuid: 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      setLow32(b, dst, b.x.convert('f32.from.f64', b.read(src)));
    },
  }),
  convertVector('CVTPS2PD', 'NP 0F 5A /r Vx,Wq', true, (b, s) => b.x.op1('f64x2.promote_low_f32x4', s)),
  convertVector('CVTPD2PS', '66 0F 5A /r Vx,Wx', false, (b, s) => b.x.op1('f32x4.demote_f64x2_zero', s)),
  convertVector('CVTDQ2PS', 'NP 0F 5B /r Vx,Wx', false, (b, s) => b.x.op1('f32x4.convert_i32x4_s', s)),
  convertVector('CVTDQ2PD', 'F3 0F E6 /r Vx,Wq', true, (b, s) => b.x.op1('f64x2.convert_low_i32x4_s', s)),
  convertVector('CVTPS2DQ', '66 0F 5B /r Vx,Wx', false, floatsToDwords(false)),
  convertVector('CVTTPS2DQ', 'F3 0F 5B /r Vx,Wx', false, floatsToDwords(true)),
  convertVector('CVTPD2DQ', 'F2 0F E6 /r Vx,Wx', false, doublesToDwords(false)),
  convertVector('CVTTPD2DQ', '66 0F E6 /r Vx,Wx', false, doublesToDwords(true)),
];
