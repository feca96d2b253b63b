// The Internet checksum (RFC 1071): one's complement sums over parts of a frame.

/** Sums up to 64 KiB lie well within a double. */
const fold = (sum: number): number => {
  let s = sum;
  while (s > 0xffff) s = (s % 0x1_0000) + Math.floor(s / 0x1_0000);
  return s;
};

/** One's complement sum of the 16-bit big-endian words in [start, end), an odd last byte taken with a zero after it; not complemented. */
export function sum16(bytes: Uint8Array, start: number, end: number): number {
  const at = bytes.byteOffset + start;
  const length = end - start;
  if (length <= 0) return 0;
  if (at % 2 !== 0 || length < 64) return sumBytes(bytes, start, end);
  // The sum of words in the host's order is the swapped sum (RFC 1071, 2(B)), and a word of 32 bits counts as its two halves.
  const head = at % 4 === 2 ? 2 : 0;
  const words = new Uint32Array(bytes.buffer, at + head, (length - head) >>> 2);
  let sum = head === 2 ? bytes[start]! | (bytes[start + 1]! << 8) : 0;
  for (let i = 0; i < words.length; i++) sum += words[i]!;
  const folded = fold(sum);
  const swapped = ((folded & 0xff) << 8) | (folded >>> 8);
  return fold(swapped + sumBytes(bytes, start + head + words.length * 4, end));
}

function sumBytes(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  let i = start;
  for (; i + 1 < end; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (i < end) sum += bytes[i]! << 8;
  return fold(sum);
}

export const addSums = (...sums: readonly number[]): number => fold(sums.reduce((a, b) => a + b, 0));

/** What goes into a checksum field that must not be 0 (skb_checksum_help: CSUM_MANGLED_0). */
export const finish = (sum: number): number => (sum ^ 0xffff) & 0xffff || 0xffff;

export const be16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
export const be32 = (bytes: Uint8Array, at: number): number => ((be16(bytes, at) << 16) | be16(bytes, at + 2)) >>> 0;

export function putBe16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
export function putBe32(bytes: Uint8Array, at: number, value: number): void {
  putBe16(bytes, at, value >>> 16);
  putBe16(bytes, at + 2, value & 0xffff);
}
