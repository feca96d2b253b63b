// Carry-less multiplication: PCLMULQDQ, and the product of polynomials over GF(2) for whoever needs one (CRC32).

import type { Builder } from '../stage/builder.ts';
import { packedImm } from './sse-common.ts';

/**
 * The low 64 bits of the carry-less product. Integer multiplication does it where carries have room: of each factor every fourth bit is
 * taken, so that at most 15 products of bits meet at one place and their carries stay in the three bits above it, which are masked away.
 * (Sixteen meet only where the carry leaves the 64 bits.)
 */
export function carrylessLow<V>(b: Builder<V>, x: V, y: V): V {
  const every = (n: number): V => b.k(0x1111111111111111n << BigInt(n));
  const parts = (v: V): V[] => [0, 1, 2, 3].map((n) => b.and(v, every(n)));
  const xs = parts(x);
  const ys = parts(y);
  const sums: (V | undefined)[] = [];
  xs.forEach((p, i) => {
    ys.forEach((q, j) => {
      const at = (i + j) & 3;
      const product = b.mul(p, q);
      const sum = sums[at];
      sums[at] = sum === undefined ? product : b.xor(sum, product);
    });
  });
  return sums.map((sum, n) => b.and(sum ?? b.k(0), every(n))).reduce((all, part) => b.or(all, part));
}

/** Four bits reversed, as the low and as the high half of a byte. */
const REVERSED_LOW = [0x0e060a020c040800n, 0x0f070b030d050901n] as const;
const REVERSED_HIGH = [0xe060a020c0408000n, 0xf070b030d0509010n] as const;
const REVERSE_BYTES = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];

/** The bits of each 64-bit half in reverse order. */
function reverseHalves<V, X>(b: Builder<V, X>, x: X): X {
  const nibble = b.x.constant(0x0f0f0f0f0f0f0f0fn, 0x0f0f0f0f0f0f0f0fn);
  const low = b.x.op2('v128.and', x, nibble);
  const high = b.x.op2('v128.and', b.x.shift('i16x8', 'shr_u', x, b.k(4)), nibble);
  const bytes = b.x.op2(
    'v128.or',
    b.x.op2('i8x16.swizzle', b.x.constant(...REVERSED_HIGH), low),
    b.x.op2('i8x16.swizzle', b.x.constant(...REVERSED_LOW), high),
  );
  return b.x.shuffle(bytes, bytes, REVERSE_BYTES);
}

/** imm8 bit 0 chooses the destination's half, bit 4 the source's. */
export const PCLMULQDQ = packedImm(
  'PCLMULQDQ',
  '66 0F 3A 44 /r Vx,Wx,Ib',
  (b, d, s, imm) => {
    const x = b.select(b.and(imm, b.k(0x01)), b.x.lane(d, 1), b.x.lane(d, 0));
    const y = b.select(b.and(imm, b.k(0x10)), b.x.lane(s, 1), b.x.lane(s, 0));
    const low = carrylessLow(b, x, y);
    // The product of the reversed factors is the product reversed: of 127 bits, so that its lowest 64 are bits 126 to 63.
    const reversed = reverseHalves(b, b.x.make(x, y));
    const top = carrylessLow(b, b.x.lane(reversed, 0), b.x.lane(reversed, 1));
    const high = b.shr(b.x.lane(reverseHalves(b, b.x.make(top, top)), 0), b.k(1));
    return b.x.make(low, high);
  },
  'pclmulqdq',
);
