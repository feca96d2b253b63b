// LZ4 legacy frames, as `lz4 -l` writes and Linux uses: magic 0x184c2102, then blocks of up to 8 MiB of output, each preceded
// by its compressed size, until the input ends. Format: lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md.
//
// A kernel of 53 MB must come out in well under 300 ms, so the loop copies short runs byte by byte (no call, no view) and
// leaves long ones to copyWithin and set.
import { DecompressError, type Decompressor, GrowingOutput } from './format.ts';

const LEGACY_MAGIC = 0x184c2102;
const BLOCK_OUTPUT = 8 << 20;
/** From this length on a typed-array call beats the byte loop (measured on node 20). */
const LONG_RUN = 48;

const bad = (why: string): never => {
  throw new DecompressError(`lz4: ${why}`);
};

/** One block from input[from..to) to out[at...]; returns where the output ends. */
function decodeBlock(input: Uint8Array, from: number, to: number, out: Uint8Array, at: number, limit: number): number {
  const start = at;
  let i = from;
  let o = at;
  while (i < to) {
    const token = input[i++]!;
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (i >= to) bad('a literal length runs past its block');
        more = input[i++]!;
        literals += more;
      } while (more === 255);
    }
    if (i + literals > to || o + literals > limit) bad('literals run past their block');
    if (literals < LONG_RUN) {
      for (const end = i + literals; i < end; ) out[o++] = input[i++]!;
    } else {
      out.set(input.subarray(i, i + literals), o);
      i += literals;
      o += literals;
    }
    // The last sequence of a block has literals only.
    if (i >= to) break;
    if (i + 2 > to) bad('a block ends inside an offset');
    const offset = input[i]! | (input[i + 1]! << 8);
    i += 2;
    if (offset === 0 || o - offset < start) bad(`a match reaches ${offset} bytes back, before its block`);
    let length = (token & 15) + 4;
    if (length === 19) {
      let more: number;
      do {
        if (i >= to) bad('a match length runs past its block');
        more = input[i++]!;
        length += more;
      } while (more === 255);
    }
    if (o + length > limit) bad('a block is larger than 8 MiB');
    const end = o + length;
    if (length < LONG_RUN || offset < length) {
      for (let m = o - offset; o < end; ) out[o++] = out[m++]!;
    } else {
      out.copyWithin(o, o - offset, o - offset + length);
      o = end;
    }
  }
  return o;
}

export const lz4Legacy: Decompressor = (input, sizeHint) => {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (input.length < 8 || view.getUint32(0, true) !== LEGACY_MAGIC) bad('not a legacy frame');
  const output = new GrowingOutput(sizeHint);
  let at = 4;
  while (at + 4 <= input.length) {
    const size = view.getUint32(at, true);
    at += 4;
    // Frames may follow one another (lz4_Frame_format.md: "multiple legacy frames").
    if (size === LEGACY_MAGIC) continue;
    if (size === 0 || size > input.length - at) bad(`a block of ${size} bytes at offset ${at} is longer than the data`);
    // With an exact size hint nothing is copied again: the last block only needs what is left.
    const room = sizeHint - output.length > 0 ? Math.min(BLOCK_OUTPUT, sizeHint - output.length) : BLOCK_OUTPUT;
    output.reserve(room);
    output.length = decodeBlock(input, at, at + size, output.bytes, output.length, output.length + room);
    at += size;
  }
  if (at !== input.length) bad('data ends inside a block header');
  return output.finish();
};
