// LZMA symbols to bytes: the core that .lzma files and LZMA2 chunks (xz) share. Structure and constants are those of Igor
// Pavlov's lzma-specification.txt. The dictionary is the output itself, which the caller holds whole.
//
// Fast enough without cleverness: all probabilities live in one typed array, the loop allocates nothing, and the literal loop
// (most of the time of a kernel) keeps range and code in locals.
import { DecompressError } from './format.ts';
import { PROB_INIT, RangeDecoder } from './range-decoder.ts';

const STATES = 12;
const POS_STATES_MAX = 16;
/** Layout of one length coder: two choice bits, 16 low and mid trees of 3 bits, one high tree of 8 bits. */
const LEN_CHOICE = 0;
const LEN_CHOICE2 = 1;
const LEN_LOW = 2;
const LEN_MID = LEN_LOW + POS_STATES_MAX * 8;
const LEN_HIGH = LEN_MID + POS_STATES_MAX * 8;
const LEN_SIZE = LEN_HIGH + 256;

const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POS_STATES_MAX;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const POS_SLOT = IS_REP0_LONG + STATES * POS_STATES_MAX;
const POS_SPECIAL = POS_SLOT + 4 * 64;
const POS_ALIGN = POS_SPECIAL + 128;
const MATCH_LEN = POS_ALIGN + 16;
const REP_LEN = MATCH_LEN + LEN_SIZE;
const LITERAL = REP_LEN + LEN_SIZE;
const LITERAL_CODER = 0x300;

const MATCH_MIN = 2;
const END_MARKER = 0xffffffff;

const bad = (why: string): never => {
  throw new DecompressError(`lzma: ${why}`);
};

export class LzmaDecoder {
  readonly rc = new RangeDecoder();
  private probs = new Uint16Array(LITERAL + LITERAL_CODER * 8);
  private lc = 3;
  private lpMask = 0;
  private pbMask = 3;
  private state = 0;
  private rep0 = 0;
  private rep1 = 0;
  private rep2 = 0;
  private rep3 = 0;
  /** A match that the limit of a call cut in two goes on in the next. */
  private pendingLength = 0;

  /** lc/lp/pb from their packed byte, (pb * 5 + lp) * 9 + lc. */
  setProperties(byte: number): void {
    if (byte >= 9 * 5 * 5) bad(`properties byte 0x${byte.toString(16)}`);
    const lc = byte % 9;
    const rest = Math.floor(byte / 9);
    this.lc = lc;
    this.lpMask = (1 << (rest % 5)) - 1;
    this.pbMask = (1 << Math.floor(rest / 5)) - 1;
    const size = LITERAL + (LITERAL_CODER << (lc + (rest % 5)));
    if (this.probs.length < size) this.probs = new Uint16Array(size);
  }

  resetState(): void {
    this.probs.fill(PROB_INIT);
    this.state = 0;
    this.rep0 = this.rep1 = this.rep2 = this.rep3 = 0;
    this.pendingLength = 0;
  }

  /**
   * Decodes until out[limit] would be next, or an end marker. `dictStart` is where the dictionary begins (nothing before it
   * may be referred to). Returns where the output ends: less than limit only after an end marker.
   */
  decode(out: Uint8Array, dictStart: number, from: number, limit: number): number {
    const { rc, probs, lc, lpMask, pbMask } = this;
    const input = rc.input;
    const inputEnd = rc.end;
    let { state, rep0 } = this;
    let o = from;
    let length = this.pendingLength;
    for (;;) {
      if (length > 0) {
        if (rep0 >= o - dictStart) bad('a match reaches before the dictionary');
        const end = Math.min(o + length, limit);
        length -= end - o;
        for (let m = o - rep0 - 1; o < end; ) out[o++] = out[m++]!;
      }
      if (o >= limit) break;
      if (rc.pos > inputEnd) bad('data ends inside a chunk');
      const posState = (o - dictStart) & pbMask;
      if (rc.bit(probs, IS_MATCH + state * POS_STATES_MAX + posState) === 0) {
        const previous = o > dictStart ? out[o - 1]! : 0;
        const base = LITERAL + LITERAL_CODER * ((((o - dictStart) & lpMask) << lc) + (previous >> (8 - lc)));
        let { range, code, pos } = rc;
        let symbol = 1;
        // After a match the literal differs from the byte the match would have continued with, which chooses the tree.
        let matched = 0;
        let treeOffset = 0;
        if (state >= 7) {
          if (rep0 >= o - dictStart) bad('a match reaches before the dictionary');
          matched = out[o - rep0 - 1]!;
          treeOffset = 0x100;
        }
        do {
          matched <<= 1;
          const matchedBit = matched & treeOffset;
          const index = base + treeOffset + matchedBit + symbol;
          if (range >>> 0 < 0x1000000) {
            range <<= 8;
            code = (code << 8) | input[pos++]!;
          }
          const p = probs[index]!;
          const bound = Math.imul(range >>> 11, p);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = p + ((2048 - p) >> 5);
            symbol <<= 1;
            treeOffset &= ~matchedBit;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = p - (p >> 5);
            symbol = (symbol << 1) | 1;
            treeOffset &= matchedBit;
          }
        } while (symbol < 0x100);
        rc.range = range;
        rc.code = code;
        rc.pos = pos;
        out[o++] = symbol;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      if (rc.bit(probs, IS_REP + state) === 0) {
        this.rep3 = this.rep2;
        this.rep2 = this.rep1;
        this.rep1 = rep0;
        length = this.length(MATCH_LEN, posState);
        state = state < 7 ? 7 : 10;
        rep0 = this.distance(length);
        if (rep0 === END_MARKER) {
          length = 0;
          break;
        }
        length += MATCH_MIN;
        continue;
      }
      if (o === dictStart) bad('a repeated match with nothing to repeat');
      if (rc.bit(probs, IS_REP_G0 + state) === 0) {
        if (rc.bit(probs, IS_REP0_LONG + state * POS_STATES_MAX + posState) === 0) {
          state = state < 7 ? 9 : 11;
          length = 1;
          continue;
        }
      } else {
        let distance: number;
        if (rc.bit(probs, IS_REP_G1 + state) === 0) distance = this.rep1;
        else {
          if (rc.bit(probs, IS_REP_G2 + state) === 0) distance = this.rep2;
          else {
            distance = this.rep3;
            this.rep3 = this.rep2;
          }
          this.rep2 = this.rep1;
        }
        this.rep1 = rep0;
        rep0 = distance;
      }
      state = state < 7 ? 8 : 11;
      length = MATCH_MIN + this.length(REP_LEN, posState);
    }
    this.state = state;
    this.rep0 = rep0;
    this.pendingLength = length;
    return o;
  }

  /** A match length without its minimum of two. */
  private length(base: number, posState: number): number {
    const { rc, probs } = this;
    if (rc.bit(probs, base + LEN_CHOICE) === 0) return rc.tree(probs, base + LEN_LOW + posState * 8, 3);
    if (rc.bit(probs, base + LEN_CHOICE2) === 0) return 8 + rc.tree(probs, base + LEN_MID + posState * 8, 3);
    return 16 + rc.tree(probs, base + LEN_HIGH, 8);
  }

  private distance(length: number): number {
    const { rc, probs } = this;
    const slot = rc.tree(probs, POS_SLOT + Math.min(length, 3) * 64, 6);
    if (slot < 4) return slot;
    const directBits = (slot >> 1) - 1;
    const high = ((2 | (slot & 1)) << directBits) >>> 0;
    if (slot < 14) return high + rc.reverseTree(probs, POS_SPECIAL + high - slot, directBits);
    const middle = rc.direct(directBits - 4) * 16;
    return high + middle + rc.reverseTree(probs, POS_ALIGN, 4);
  }
}
