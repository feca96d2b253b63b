// Operands for the string comparisons of SSE4.2: strings over few letters, so that they have substrings, sets and ranges in common, some
// of them ended by a zero; and lengths in RAX and RDX that are mostly short, zero, negative or just too long.

import type { Decoded } from '../isa/decoded.ts';
import type { Random } from './random.ts';

const RAX = 0;
const RDX = 2;
const XMM = 160;
const XMM_END = 416;

export const comparesStrings = (mnemonic: string): boolean => /^PCMP[EI]STR[IM]$/.test(mnemonic);

function fill(random: Random, bytes: Uint8Array, from: number, to: number, size: 1 | 2): void {
  const letters = Array.from({ length: 1 + random.below(4) }, () =>
    random.chance(0.5) ? random.pick([0x61, 0x7f, 0x80, 0x8000, 0x7fff, 0xffff]) : random.below(0x10000),
  );
  const zeroes = random.pick([0, 0.03, 0.1, 0.3]);
  for (let at = from; at < to; at += size) {
    const letter = random.chance(zeroes) ? 0 : random.pick(letters);
    bytes[at] = letter;
    if (size === 2) bytes[at + 1] = letter >> 8;
  }
}

export function arrangeStrings(random: Random, decoded: Decoded, fxsave: Uint8Array, window: Uint8Array, gpr: bigint[]): void {
  const size = random.pick([1, 2] as const);
  fill(random, fxsave, XMM, XMM_END, size);
  fill(random, window, 0, window.length, size);
  // Half of the registers hold parts of one string, so that one is found in the other.
  if (random.chance(0.5)) {
    for (let at = XMM; at < XMM_END; at += 16) {
      const from = size * random.below(16 / size);
      if (random.chance(0.5)) fxsave.set(fxsave.slice(XMM + from, XMM + from + 16), at);
    }
  }
  const addresses = (n: number): boolean => decoded.operands.some((o) => o.kind === 'mem' && (o.base === n || o.index === n));
  for (const n of [RAX, RDX]) {
    if (addresses(n) || !random.chance(0.8)) continue;
    const length = BigInt(random.below(40) - 20);
    const old = gpr[n] ?? 0n;
    // With anything above 32 bits, which counts only with REX.W.
    gpr[n] = random.chance(0.5) ? BigInt.asUintN(64, length) : (old & ~0xffffffffn) | BigInt.asUintN(32, length);
  }
}
