// The .lzma file ("LZMA alone"): 13 bytes of header, then one LZMA stream (lzma-file-format.txt; lzma-specification.txt).
import { DecompressError, type Decompressor, GrowingOutput } from './format.ts';
import { LzmaDecoder } from './lzma-decoder.ts';

/** Output is asked for in pieces where the header does not say how much there is. */
const PIECE = 1 << 20;

const bad = (why: string): never => {
  throw new DecompressError(`lzma: ${why}`);
};

export const lzmaAlone: Decompressor = (input, sizeHint) => {
  if (input.length < 18) bad('data ends inside the header');
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const declared = view.getBigUint64(5, true);
  const known = declared !== 0xffff_ffff_ffff_ffffn;
  if (known && declared > 0x7fff_ffffn) bad(`a size of ${declared} bytes`);
  const total = known ? Number(declared) : 0;
  const lzma = new LzmaDecoder();
  lzma.setProperties(input[0]!);
  lzma.resetState();
  if (!lzma.rc.start(input, 13, input.length)) bad('bad range coder bytes');
  const output = new GrowingOutput(known ? total : sizeHint);
  for (;;) {
    const want = known ? total - output.length : PIECE;
    if (want === 0) break;
    const limit = output.length + want;
    const end = lzma.decode(output.reserve(want), 0, output.length, limit);
    output.length = end;
    if (end < limit) break;
  }
  if (known && output.length !== total) bad(`${output.length} bytes came out instead of ${total}`);
  return output.finish();
};
