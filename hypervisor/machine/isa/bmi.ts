// BMI1 and BMI2: the VEX-encoded instructions on general registers. None exists in real mode or vm86 (SDM Vol 2A, 2.6.4: exception type 13);
// operands have 32 bits, or with VEX.W in 64-bit code 64.

import type { Builder, Size } from '../stage/builder.ts';
import { flagsResult } from '../stage/flags.ts';
import { RDX } from '../state.ts';
import { type AnyInsn, insn, OSZAPC } from './insn.ts';
import { sz } from './operand.ts';

const AF_PF = { writes: OSZAPC, undefined: ['AF', 'PF'] } as const;

export const ANDN = insn('ANDN', {
  sdm: 'Vol 2A, ANDN',
  forms: 'VEX.LZ.0F38 F2 /r Gy,By,Ey',
  operands: { dst: 'w', inverted: 'r', src: 'r' },
  flags: AF_PF,
  cpuid: 'bmi1',
  check: 'protected',
  sem(b, { dst, inverted, src }) {
    const r = b.and(b.not(b.read(inverted)), b.read(src));
    b.write(dst, r);
    flagsResult(b, r, sz(dst), b.k(0), b.k(0));
  },
});

/** Bits 7:0 of the control are where to begin, 15:8 how many bits to take. */
export const BEXTR = insn('BEXTR', {
  sdm: 'Vol 2A, BEXTR',
  forms: 'VEX.LZ.0F38 F7 /r Gy,Ey,By',
  operands: { dst: 'w', src: 'r', control: 'r' },
  flags: { writes: OSZAPC, undefined: ['AF', 'SF', 'PF'] },
  cpuid: 'bmi1',
  check: 'protected',
  sem(b, { dst, src, control }) {
    const bits = sz(dst) * 8;
    const x = b.read(src);
    const c = b.read(control);
    const start = b.and(c, b.k(0xff));
    const length = b.and(b.shr(c, b.k(8)), b.k(0xff));
    const shifted = b.select(b.ltU(start, b.k(bits)), b.shr(x, start), b.k(0));
    const mask = b.sub(b.shl(b.k(1), length), b.k(1));
    const r = b.select(b.ltU(length, b.k(bits)), b.and(shifted, mask), shifted);
    b.write(dst, r);
    flagsResult(b, r, sz(dst), b.k(0), b.k(0));
  },
});

/** BLSI, BLSMSK and BLSR: something with the lowest bit that is set. CF tells whether there is one (BLSI), or none. */
const lowest = (mnemonic: string, digit: number, carryIfZero: boolean, f: <V, X>(b: Builder<V, X>, x: V, s: Size) => V): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms: `VEX.LZ.0F38 F3 /${digit} By,Ey`,
    operands: { dst: 'w', src: 'r' },
    flags: AF_PF,
    cpuid: 'bmi1',
    check: 'protected',
    sem(b, { dst, src }) {
      const s = sz(dst);
      const x = b.read(src);
      const r = f(b, x, s);
      b.write(dst, r);
      const none = b.eqz(x);
      flagsResult(b, r, s, carryIfZero ? none : b.eqz(none), b.k(0));
    },
  });
const minusOne = <V, X>(b: Builder<V, X>, x: V, s: Size): V => b.zext(b.sub(x, b.k(1)), s);
export const LOWEST: readonly AnyInsn[] = [
  lowest('BLSR', 1, true, (b, x, s) => b.and(minusOne(b, x, s), x)),
  lowest('BLSMSK', 2, true, (b, x, s) => b.xor(minusOne(b, x, s), x)),
  lowest('BLSI', 3, false, (b, x, s) => b.and(b.zext(b.sub(b.k(0), x), s), x)),
];

/** CF tells that the index in bits 7:0 lies past the operand. */
export const BZHI = insn('BZHI', {
  sdm: 'Vol 2A, BZHI',
  forms: 'VEX.LZ.0F38 F5 /r Gy,Ey,By',
  operands: { dst: 'w', src: 'r', index: 'r' },
  flags: AF_PF,
  cpuid: 'bmi2',
  check: 'protected',
  sem(b, { dst, src, index }) {
    const x = b.read(src);
    const n = b.and(b.read(index), b.k(0xff));
    const within = b.ltU(n, b.k(sz(dst) * 8));
    const r = b.select(within, b.and(x, b.sub(b.shl(b.k(1), n), b.k(1))), x);
    b.write(dst, r);
    flagsResult(b, r, sz(dst), b.eqz(within), b.k(0));
  },
});

/** rDX times the source; where both destinations are one register it holds the high half. */
export const MULX = insn('MULX', {
  sdm: 'Vol 2B, MULX',
  forms: 'VEX.LZ.F2.0F38 F6 /r Gy,By,Ey',
  operands: { high: 'w', low: 'w', src: 'r' },
  cpuid: 'bmi2',
  check: 'protected',
  sem(b, { high, low, src }) {
    const s = sz(high);
    const x = b.reg(RDX, s);
    const y = b.read(src);
    const product = b.mul(x, y);
    const upper = s === 8 ? b.mulHighU(x, y) : b.shr(product, b.k(32));
    b.write(low, b.zext(product, s));
    b.write(high, upper);
  },
});

/** All ones in the low `run` bits, run from 1 to 64. */
const ones = <V, X>(b: Builder<V, X>, run: V): V => b.shr(b.k(-1n), b.sub(b.k(64), run));

/** Goes through a mask run of ones by run, from the lowest: few rounds for the masks that programs have. */
function eachRun<V, X>(b: Builder<V, X>, mask: V, round: (at: V, ones: V, done: V) => void): void {
  const left = b.var(mask);
  const done = b.var(b.k(0));
  b.while(
    () => left.get(),
    () => {
      const m = left.get();
      const at = b.ctz(m);
      const run = b.ctz(b.not(b.shr(m, at)));
      const all = ones(b, run);
      const before = done.get();
      round(at, all, before);
      left.set(b.and(m, b.not(b.shl(all, at))));
      done.set(b.add(before, run));
    },
  );
}

/** Low bits of the source, in order, to where the mask has ones. */
export const PDEP = insn('PDEP', {
  sdm: 'Vol 2B, PDEP',
  forms: 'VEX.LZ.F2.0F38 F5 /r Gy,By,Ey',
  operands: { dst: 'w', src: 'r', mask: 'r' },
  cpuid: 'bmi2',
  check: 'protected',
  sem(b, { dst, src, mask }) {
    const x = b.read(src);
    const r = b.var(b.k(0));
    eachRun(b, b.read(mask), (at, all, done) => r.set(b.or(r.get(), b.shl(b.and(b.shr(x, done), all), at))));
    b.write(dst, r.get());
  },
});

/** Bits of the source where the mask has ones, side by side. */
export const PEXT = insn('PEXT', {
  sdm: 'Vol 2B, PEXT',
  forms: 'VEX.LZ.F3.0F38 F5 /r Gy,By,Ey',
  operands: { dst: 'w', src: 'r', mask: 'r' },
  cpuid: 'bmi2',
  check: 'protected',
  sem(b, { dst, src, mask }) {
    const x = b.read(src);
    const r = b.var(b.k(0));
    eachRun(b, b.read(mask), (at, all, done) => r.set(b.or(r.get(), b.shl(b.and(b.shr(x, at), all), done))));
    b.write(dst, r.get());
  },
});

/** Shifts and rotations that leave flags alone. */
const shift = (mnemonic: string, prefix: string, f: <V, X>(b: Builder<V, X>, x: V, n: V, s: Size) => V): AnyInsn =>
  insn(mnemonic, {
    sdm: 'Vol 2B, SARX/SHLX/SHRX',
    forms: `VEX.LZ.${prefix}.0F38 F7 /r Gy,Ey,By`,
    operands: { dst: 'w', src: 'r', count: 'r' },
    cpuid: 'bmi2',
    check: 'protected',
    sem(b, { dst, src, count }) {
      const s = sz(dst);
      const x = b.read(src);
      const n = b.and(b.read(count), b.k(s * 8 - 1));
      b.write(dst, b.zext(f(b, x, n, s), s));
    },
  });
export const SHIFTS: readonly AnyInsn[] = [
  shift('SARX', 'F3', (b, x, n, s) => b.sar(b.sext(x, s), n)),
  shift('SHLX', '66', (b, x, n) => b.shl(x, n)),
  shift('SHRX', 'F2', (b, x, n) => b.shr(x, n)),
];

export const RORX = insn('RORX', {
  sdm: 'Vol 2B, RORX',
  forms: 'VEX.LZ.F2.0F3A F0 /r Gy,Ey,Ib',
  operands: { dst: 'w', src: 'r', imm: 'r' },
  cpuid: 'bmi2',
  check: 'protected',
  sem(b, { dst, src, imm }) {
    const s = sz(dst);
    const x = b.read(src);
    const n = b.read(imm);
    if (s === 8) b.write(dst, b.rotr(x, n));
    else {
      const by = b.and(n, b.k(31));
      // Twice the value side by side: the rotated one is in the low half, wherever it begins.
      b.write(dst, b.zext(b.shr(b.or(x, b.shl(x, b.k(32))), by), 4));
    }
  },
});
