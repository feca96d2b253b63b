// The arithmetic flags, kept so that setting them is cheap and every reading is branch-free, whatever instruction set them.
//
// Two words (the scheme of Bochs's lazy flags, cpu/lazy_flags.h, in our own formulas):
//   res  the result, sign-extended to 64 bits         ZF = (res == 0)   SF = bit 63 of res ^ bit 0 of aux   PF = even parity of (res ^ aux>>8) & 0xff
//   aux  bit 31 CF, bit 30 CF^OF, bit 3 AF, bits 15:8 a correction to the parity byte, bit 0 a correction to the sign
// For an addition or subtraction aux is the vector of carries (borrows), shifted so that the operand's top bit lands on bit 31.

import type { Builder, Size } from './builder.ts';

const TOP = 0xc0000000;

/** Moves bits top and top-1 of a carry vector to 31 and 30, and keeps bit 3. */
function carriesToAux<V>(b: Builder<V>, carries: V, s: Size): V {
  const af = b.and(carries, b.k(8));
  const placed = s === 8 ? b.shr(carries, b.k(32)) : s === 4 ? carries : b.shl(carries, b.k(32 - s * 8));
  return b.or(b.and(placed, b.k(TOP)), af);
}

/** res and aux. */
export type FlagPair<V> = readonly [res: V, aux: V];

/** What ADD and ADC set: r = x + y (+ carry), all of size s and zero-extended. SDM Vol 1, 3.4.3.1. */
export function pairOfAdd<V>(b: Builder<V>, x: V, y: V, r: V, s: Size): FlagPair<V> {
  const carries = b.or(b.and(x, y), b.and(b.or(x, y), b.not(r)));
  return [b.sext(r, s), carriesToAux(b, carries, s)];
}

/** What SUB and SBB set: r = x - y (- borrow). */
export function pairOfSub<V>(b: Builder<V>, x: V, y: V, r: V, s: Size): FlagPair<V> {
  const nx = b.not(x);
  const borrows = b.or(b.and(nx, y), b.and(b.or(nx, y), r));
  return [b.sext(r, s), carriesToAux(b, borrows, s)];
}

/** What INC and DEC set: as ADD and SUB by one, CF (0 or 1) as given. */
export function pairOfIncDec<V>(b: Builder<V>, x: V, r: V, s: Size, dec: boolean, cf: V): FlagPair<V> {
  const sign = s * 8 - 1;
  const of = dec ? b.and(b.shr(b.and(x, b.not(r)), b.k(sign)), b.k(1)) : b.and(b.shr(b.and(b.not(x), r), b.k(sign)), b.k(1));
  const af = b.and(b.shr(b.xor(b.xor(x, r), b.k(1)), b.k(1)), b.k(8));
  return [b.sext(r, s), b.or(cfOfToAux(b, cf, of), af)];
}

/** After r = x + y: ADD, XADD. */
export function flagsAdd<V>(b: Builder<V>, x: V, y: V, r: V, s: Size): void {
  if (b.lazyFlags) b.lazyFlags.set('add', x, y, r, s);
  else b.setFlags(...pairOfAdd(b, x, y, r, s));
}
/** After r = x + y + carry: ADC. */
export function flagsAdc<V>(b: Builder<V>, x: V, y: V, r: V, s: Size): void {
  b.setFlags(...pairOfAdd(b, x, y, r, s));
}

/** After r = x - y: SUB, CMP, NEG and comparisons inside other instructions. */
export function flagsSub<V>(b: Builder<V>, x: V, y: V, r: V, s: Size): void {
  if (b.lazyFlags) b.lazyFlags.set('sub', x, y, r, s);
  else b.setFlags(...pairOfSub(b, x, y, r, s));
}
/** After r = x - y - borrow: SBB. */
export function flagsSbb<V>(b: Builder<V>, x: V, y: V, r: V, s: Size): void {
  b.setFlags(...pairOfSub(b, x, y, r, s));
}

/** AND, OR, XOR, TEST: CF and OF are cleared; AF is undefined and cleared here. */
export function flagsLogic<V>(b: Builder<V>, r: V, s: Size): void {
  if (b.lazyFlags) b.lazyFlags.set('logic', r, r, r, s);
  else b.setFlags(b.sext(r, s), b.k(0));
}

/** INC and DEC: CF is kept. */
export function flagsIncDec<V>(b: Builder<V>, x: V, r: V, s: Size, dec: boolean): void {
  const cf = flagCF(b);
  if (b.lazyFlags) b.lazyFlags.set(dec ? 'dec' : 'inc', x, cf, r, s);
  else b.setFlags(...pairOfIncDec(b, x, r, s, dec, cf));
}

/** aux bits for CF and OF given as 0 or 1. */
export function cfOfToAux<V>(b: Builder<V>, cf: V, of: V): V {
  return b.or(b.shl(cf, b.k(31)), b.shl(b.xor(cf, of), b.k(30)));
}

/** Result flags from r, CF and OF (0 or 1) given, AF cleared: shifts, multiplications. */
export function flagsResult<V>(b: Builder<V>, r: V, s: Size, cf: V, of: V): void {
  b.setFlags(b.sext(r, s), cfOfToAux(b, cf, of));
}

/** CF and OF replaced, all others kept: rotates, STC, CLC, CMC. */
export function setCfOf<V>(b: Builder<V>, cf: V, of: V): void {
  b.setFlags(b.flagRes(), b.or(b.and(b.flagAux(), b.k(0x3fffffff)), cfOfToAux(b, cf, of)));
}

/** All six from a value in EFLAGS layout: POPF, SAHF, IRET. */
export function setFromEflags<V>(b: Builder<V>, f: V): void {
  const bit = (n: number) => b.and(b.shr(f, b.k(n)), b.k(1));
  // With ZF set res is 0: sign 0, parity even. Otherwise res is 1: sign 0, parity odd. SF and PF are put right by the corrections.
  const zf = bit(6);
  const res = b.xor(zf, b.k(1));
  const parityFix = b.shl(b.xor(bit(2), zf), b.k(8));
  const aux = b.or(b.or(cfOfToAux(b, bit(0), bit(11)), b.shl(bit(4), b.k(3))), b.or(parityFix, bit(7)));
  b.setFlags(res, aux);
}

const one = <V>(b: Builder<V>, v: V): V => b.and(v, b.k(1));
export const flagCF = <V>(b: Builder<V>): V => b.lazyFlags?.carry() ?? one(b, b.shr(b.flagAux(), b.k(31)));
export const flagOF = <V>(b: Builder<V>): V => one(b, b.shr(b.add(b.and(b.flagAux(), b.k(TOP)), b.k(0x40000000)), b.k(31)));
export const flagAF = <V>(b: Builder<V>): V => one(b, b.shr(b.flagAux(), b.k(3)));
export const flagZF = <V>(b: Builder<V>): V => b.eqz(b.flagRes());
export const flagSF = <V>(b: Builder<V>): V => one(b, b.xor(b.shr(b.flagRes(), b.k(63)), b.flagAux()));
export const flagPF = <V>(b: Builder<V>): V => {
  const byte = b.and(b.xor(b.flagRes(), b.shr(b.flagAux(), b.k(8))), b.k(0xff));
  return b.eqz(one(b, b.popcnt(byte)));
};

/** The six flags in EFLAGS layout: PUSHF, LAHF. */
export function toEflags<V>(b: Builder<V>): V {
  const put = (v: V, n: number) => b.shl(v, b.k(n));
  const low = b.or(b.or(flagCF(b), put(flagPF(b), 2)), b.or(put(flagAF(b), 4), put(flagZF(b), 6)));
  return b.or(low, b.or(put(flagSF(b), 7), put(flagOF(b), 11)));
}

/** Condition code cc, 0..15 in encoding order: O NO B NB Z NZ BE A S NS P NP L GE LE G (SDM Vol 1, Appendix B). */
export function condition<V>(b: Builder<V>, cc: number): V {
  const direct = b.lazyFlags?.condition(cc);
  if (direct !== undefined) return direct;
  const base = (): V => {
    switch (cc >> 1) {
      case 0:
        return flagOF(b);
      case 1:
        return flagCF(b);
      case 2:
        return flagZF(b);
      case 3:
        return b.or(flagCF(b), flagZF(b));
      case 4:
        return flagSF(b);
      case 5:
        return flagPF(b);
      case 6:
        return b.xor(flagSF(b), flagOF(b));
      default:
        return b.or(flagZF(b), b.xor(flagSF(b), flagOF(b)));
    }
  };
  const c = base();
  return cc & 1 ? b.xor(c, b.k(1)) : c;
}
