// Loads and stores of all types, constants, exchanges and conditional moves (SDM Vol 1, 8.3.3, 8.3.4).

import type { Decoded } from '../../isa/decoded.ts';
import { EFLAGS } from '../../state.ts';
import { fromBcd, toBcd, toFloat, toInt } from './convert.ts';
import type { F80 } from './float80.ts';
import { INDEFINITE, kindOf, ONE, quieted, zero } from './float80.ts';
import type { X87Handler } from './operations.ts';
import { loadBits, loadFloat, loadInteger, memorySize, operation, stackIndex, storeBits } from './operations.ts';
import { EX, roundF80 } from './round.ts';
import type { Fpu } from './unit.ts';

/** Pushes what `read` gives, unless that is invalid; on a full stack its exceptions do not count. False after a memory fault. */
function load(f: Fpu, read: () => F80 | undefined): boolean {
  const v = read();
  if (v === undefined) return false;
  // An empty source is reported before a full stack.
  const underflow = (f.env.flags & EX.SF) !== 0;
  if (f.isFull && !underflow) f.env.flags = 0;
  else if (f.unmasked(EX.IE)) return true;
  f.push(v, underflow);
  return true;
}

const fld = operation((f, d) => {
  const size = memorySize(d, 0);
  if (size === 0) {
    const i = stackIndex(d, 0);
    return load(f, () => (f.require(i) ? f.get(i) : INDEFINITE));
  }
  return load(f, () => {
    const v = loadFloat(f, d, 0);
    if (v === undefined || size === 10 || kindOf(v) !== 'snan') return v;
    f.env.flags |= EX.IE;
    return quieted(v);
  });
});

/** Exceptions that keep a store to memory from being done when unmasked. */
const NO_STORE = EX.IE | EX.OE | EX.UE;

/** Stores ST0 in the form that `convert` makes; `empty` is the masked answer to an empty register. */
function storeMemory(f: Fpu, d: Decoded, size: number, empty: bigint, convert: (v: F80) => bigint, pop: boolean): boolean {
  const bits = f.require(0) ? convert(f.get(0)) : empty;
  if (f.unmasked(NO_STORE)) return true;
  if (!storeBits(f, d, 0, size, bits)) return false;
  if (pop) f.pop();
  return true;
}

const pattern = (v: F80): bigint => (BigInt(v.se) << 64n) | v.sig;

const fst = (pop: boolean, checks = true): X87Handler =>
  operation((f, d) => {
    const size = memorySize(d, 0);
    if (size === 0) {
      const present = checks ? f.require(0) : !f.isEmpty(0);
      if (f.stopped) return true;
      if (present || checks) f.set(stackIndex(d, 0), present ? f.get(0) : INDEFINITE);
      if (pop) f.pop();
      return true;
    }
    const convert = (v: F80) => (size === 10 ? pattern(v) : toFloat(v, size === 4 ? 4 : 8, f.env));
    return storeMemory(f, d, size, convert(INDEFINITE), convert, pop);
  });

const fist = (pop: boolean, truncate = false): X87Handler =>
  operation((f, d) => {
    const size = memorySize(d, 0);
    return storeMemory(f, d, size, 1n << BigInt(size * 8 - 1), (v) => toInt(v, size, truncate, f.env), pop);
  });

/** Packed BCD indefinite. */
const BCD_INDEFINITE = 0xffff_c000_0000_0000_0000n;

const fxch = operation((f, d) => {
  const i = stackIndex(d, 1);
  f.require(0, i);
  if (f.stopped) return true;
  const a = f.isEmpty(0) ? INDEFINITE : f.get(0);
  const b = f.isEmpty(i) ? INDEFINITE : f.get(i);
  f.set(0, b);
  f.set(i, a);
  return true;
});

const fcmov = (mask: number, wanted: boolean): X87Handler =>
  operation((f, d) => {
    const i = stackIndex(d, 1);
    const present = f.require(0, i);
    if (f.stopped) return true;
    if (!present) f.set(0, INDEFINITE);
    else if (((f.cpu.rflags & mask) !== 0) === wanted) f.set(0, f.get(i));
    return true;
  });

/** Constants to 128 bits, the first of which is the integer bit: they round under RC, without PE (SDM Vol 1, 8.3.4). */
const constant = (m: bigint, exponent: number): X87Handler =>
  operation((f) =>
    load(f, () => {
      const quiet = { ...f.env, flags: 0, masks: 0x3f };
      return roundF80({ sign: 0, m, e: exponent - 127, sticky: true }, quiet, 64);
    }),
  );
const exactly = (v: F80): X87Handler => operation((f) => load(f, () => v));

export const moveHandlers: Readonly<Record<string, X87Handler>> = {
  FLD: fld,
  FST: fst(false),
  FSTP: fst(true),
  FSTPNCE: fst(true, false),
  FILD: operation((f, d) => load(f, () => loadInteger(f, d, 0))),
  FIST: fist(false),
  FISTP: fist(true),
  FISTTP: fist(true, true),
  FBLD: operation((f, d) =>
    load(f, () => {
      const bits = loadBits(f, d, 0, 10);
      return bits === undefined ? undefined : fromBcd(bits);
    }),
  ),
  FBSTP: operation((f, d) => storeMemory(f, d, 10, BCD_INDEFINITE, (v) => toBcd(v, f.env), true)),
  FXCH: fxch,
  FCMOVB: fcmov(EFLAGS.CF, true),
  FCMOVE: fcmov(EFLAGS.ZF, true),
  FCMOVBE: fcmov(EFLAGS.CF | EFLAGS.ZF, true),
  FCMOVU: fcmov(EFLAGS.PF, true),
  FCMOVNB: fcmov(EFLAGS.CF, false),
  FCMOVNE: fcmov(EFLAGS.ZF, false),
  FCMOVNBE: fcmov(EFLAGS.CF | EFLAGS.ZF, false),
  FCMOVNU: fcmov(EFLAGS.PF, false),
  FLD1: exactly(ONE),
  FLDZ: exactly(zero(0)),
  FLDPI: constant(0xc90fdaa22168c234_c4c6628b80dc1cd1n, 1),
  FLDL2T: constant(0xd49a784bcd1b8afe_492bf6ff4dafdb4cn, 1),
  FLDL2E: constant(0xb8aa3b295c17f0bb_be87fed0691d3e88n, 0),
  FLDLG2: constant(0x9a209a84fbcff798_8f8959ac0b7c9178n, -2),
  FLDLN2: constant(0xb17217f7d1cf79ab_c9e3b39803f2f6afn, -1),
};
