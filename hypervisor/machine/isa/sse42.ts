// SSE4.2 without its string comparisons, which are in sse42-string.ts: PCMPGTQ and CRC32.

import { insn } from './insn.ts';
import { sz } from './operand.ts';
import { carrylessLow } from './pclmul.ts';
import { packed } from './sse-common.ts';

export const PCMPGTQ = packed('PCMPGTQ', '66 0F 38 37 /r Vx,Wx', (b, d, s) => b.x.op2('i64x2.gt_s', d, s), 'sse4_2');

/** CRC-32C's polynomial 11EDC6F41H with its bits in the order in which data come, lowest first: all but the first, which is 1. */
const POLYNOMIAL = 0x82f63b78n;
/** The bits of POLYNOMIAL that are set. */
const TAPS = Array.from({ length: 32 }, (_, i) => i).filter((i) => (POLYNOMIAL >> BigInt(i)) & 1n);
/** The inverse of 1 + x * POLYNOMIAL as a power series, to 64 places: what the quotient of a division from the low end is made with. */
const INVERSE = ((): bigint => {
  const divisor = (POLYNOMIAL << 1n) | 1n;
  let rest = 1n;
  let inverse = 0n;
  for (let i = 0n; i < 64n; i++) {
    if (((rest >> i) & 1n) === 0n) continue;
    inverse |= 1n << i;
    rest ^= divisor << i;
  }
  return inverse;
})();

/**
 * The remainder of 64 bits: the quotient is what clears them all from the low end, and the remainder what it leaves above them. Shorter data
 * are 64 bits that begin with zeroes, and leave the rest of the old remainder to be added. No part of MMX or SSE: CR0 and CR4 do not matter.
 */
export const CRC32 = insn('CRC32', {
  sdm: 'Vol 2A, CRC32',
  forms: 'F2 0F 38 F0 /r Gy,Eb | F2 0F 38 F1 /r Gy,Ev',
  operands: { dst: 'rw', src: 'r' },
  cpuid: 'sse4_2',
  sem(b, { dst, src }) {
    const bits = sz(src) * 8;
    const data = b.read(src);
    const crc = b.zext(b.read(dst), 4);
    const taken = b.shl(b.xor(crc, data), b.k(64 - bits));
    const quotient = carrylessLow(b, taken, b.k(INVERSE));
    const above = TAPS.map((i) => b.shr(quotient, b.k(63 - i))).reduce((x, y) => b.xor(x, y));
    b.write(dst, bits >= 32 ? above : b.xor(above, b.shr(crc, b.k(bits))));
  },
});
