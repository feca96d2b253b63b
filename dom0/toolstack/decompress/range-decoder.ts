// The LZMA range decoder: adaptive binary decisions, bit trees and direct bits (LZMA specification, Igor Pavlov's
// lzma-specification.txt, "Range Decoder"; xz's file format text for LZMA2).
//
// range and code are kept as signed 32-bit integers, which V8 holds as small integers in fields: no heap number is made.

export const PROB_INIT = 1024;
const TOP = 0x1000000;
const MOVE_BITS = 5;

export class RangeDecoder {
  input: Uint8Array = new Uint8Array(0);
  pos = 0;
  end = 0;
  range = 0;
  code = 0;

  /** The five bytes that start a range-coded chunk; false if they are not there or malformed. */
  start(input: Uint8Array, from: number, to: number): boolean {
    this.input = input;
    this.pos = from + 5;
    this.end = to;
    this.range = -1;
    if (to - from < 5 || input[from] !== 0) return false;
    this.code = (input[from + 1]! << 24) | (input[from + 2]! << 16) | (input[from + 3]! << 8) | input[from + 4]!;
    return true;
  }

  bit(probs: Uint16Array, index: number): number {
    let range = this.range;
    if (range >>> 0 < TOP) {
      range <<= 8;
      this.code = (this.code << 8) | this.input[this.pos++]!;
    }
    const p = probs[index]!;
    const bound = Math.imul(range >>> 11, p);
    if (this.code >>> 0 < bound >>> 0) {
      this.range = bound;
      probs[index] = p + ((2048 - p) >> MOVE_BITS);
      return 0;
    }
    this.range = (range - bound) | 0;
    this.code = (this.code - bound) | 0;
    probs[index] = p - (p >> MOVE_BITS);
    return 1;
  }

  /** Most significant bit first; the tree's probabilities start at `base` (its element 0 is unused). */
  tree(probs: Uint16Array, base: number, bits: number): number {
    let m = 1;
    for (let i = 0; i < bits; i++) m = (m << 1) | this.bit(probs, base + m);
    return m - (1 << bits);
  }

  reverseTree(probs: Uint16Array, base: number, bits: number): number {
    let m = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const b = this.bit(probs, base + m);
      m = (m << 1) | b;
      value |= b << i;
    }
    return value;
  }

  /** Bits of equal probability. */
  direct(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      if (this.range >>> 0 < TOP) {
        this.range <<= 8;
        this.code = (this.code << 8) | this.input[this.pos++]!;
      }
      this.range >>>= 1;
      if (this.code >>> 0 >= this.range >>> 0) {
        this.code = (this.code - this.range) | 0;
        value = (value << 1) | 1;
      } else value <<= 1;
    }
    return value >>> 0;
  }

  /** Brings the decoder to where the encoder left off; after the last symbol of a chunk. */
  normalize(): void {
    if (this.range >>> 0 < TOP) {
      this.range <<= 8;
      this.code = (this.code << 8) | this.input[this.pos++]!;
    }
  }
}
