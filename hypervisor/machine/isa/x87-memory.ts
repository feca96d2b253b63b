// x87 operands in memory, in staged semantics: singles, doubles and integers to register format, exactly (SDM Vol 1, 4.2, 8.1.2).

import type { Builder, Operand, Readable } from '../stage/builder.ts';
import { sz } from './operand.ts';
import { BIAS, MAX_EXPONENT, SIGN, TOP } from './x87-round.ts';
import type { Float } from './x87-unit.ts';

/** Ordinary numbers, zeros and infinities; denormals, which set DE, and NaNs are TypeScript's. */
function fromFloat<V, X>(b: Builder<V, X>, bits: V, size: 4 | 8): Float<V> {
  const [fraction, bias, maxExponent] = size === 4 ? [23, 127, 0xff] : [52, 1023, 0x7ff];
  const e = b.and(b.shr(bits, b.k(fraction)), b.k(maxExponent));
  const f = b.shl(bits, b.k(64 - fraction));
  const normal = b.ltU(b.sub(e, b.k(1)), b.k(maxExponent - 1));
  b.if(b.and(b.eqz(normal), b.ne(f, b.k(0))), () => b.slow());
  const special = b.select(e, b.k(MAX_EXPONENT), b.k(0));
  const exponent = b.select(normal, b.add(e, b.k(BIAS - bias)), special);
  const sign = b.shl(b.shr(bits, b.k(size * 8 - 1)), b.k(15));
  return { sig: b.select(e, b.or(b.shr(f, b.k(1)), b.k(TOP)), b.k(0)), se: b.or(exponent, sign) };
}

/** From a number of 64 bits with its sign. */
export function fromInteger<V, X>(b: Builder<V, X>, v: V): Float<V> {
  const sign = b.sar(v, b.k(63));
  const magnitude = b.sub(b.xor(v, sign), sign);
  const n = b.clz(magnitude);
  const exponent = b.select(magnitude, b.sub(b.k(BIAS + 63), n), b.k(0));
  return { sig: b.shl(magnitude, n), se: b.or(exponent, b.and(sign, b.k(SIGN))) };
}

export type MemoryKind = 'float' | 'integer';

/** Any memory operand but packed BCD. */
export function fromMemory<V, X>(b: Builder<V, X>, o: Readable, kind: MemoryKind): Float<V> {
  if (o.size === 10) {
    const at = b.address(o);
    const upper = tail(b, at);
    const sig = b.load(b.segment(o), at, 8);
    return { sig, se: b.load(b.segment(o), upper, 2) };
  }
  const bits = b.read(o);
  return kind === 'integer' ? fromInteger(b, b.sext(bits, sz(o))) : fromFloat(b, bits, o.size === 4 ? 4 : 8);
}

/** Where the last two bytes of ten are. Outside 64-bit mode such a value may not wrap around: TypeScript raises what is due. */
function tail<V, X>(b: Builder<V, X>, at: V): V {
  if (b.mode.bits !== 64) b.if(b.ltU(b.k(0xffff_fff6), at), () => b.slow());
  return b.add(at, b.k(8));
}

/** Ten bytes, all or none of them. */
export function storeExtended<V, X>(b: Builder<V, X>, o: Operand, v: Float<V>): void {
  const at = b.address(o);
  const upper = tail(b, at);
  const seg = b.segment(o);
  // Faults in the order of the bytes; the last store cannot.
  b.loadRw(seg, at, 8);
  b.store(seg, upper, 2, v.se);
  b.store(seg, at, 8, v.sig);
}
