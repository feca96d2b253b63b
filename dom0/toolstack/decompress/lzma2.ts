// LZMA2: LZMA (or stored bytes) in chunks, each with its sizes and with what is to be reset before it
// (xz-file-format.txt 5.3.1 names the filter; the chunk layout is that of liblzma lzma2_decoder.c and LzmaSDK Lzma2Dec.c).
import { DecompressError, type GrowingOutput } from './format.ts';
import { LzmaDecoder } from './lzma-decoder.ts';

const bad = (why: string): never => {
  throw new DecompressError(`xz: ${why}`);
};

/** Appends the chunks from input[at...] up to their end marker; returns the offset behind it. */
export function decodeLzma2(input: Uint8Array, at: number, output: GrowingOutput): number {
  const lzma = new LzmaDecoder();
  let dictStart = -1;
  let haveProperties = false;
  let i = at;
  for (;;) {
    if (i >= input.length) bad('data ends between LZMA2 chunks');
    const control = input[i++]!;
    if (control === 0) return i;
    const resetsDict = control === 1 || control >= 0xe0;
    if (resetsDict) dictStart = output.length;
    else if (dictStart < 0) bad('the first LZMA2 chunk does not reset the dictionary');
    if (i + 5 > input.length) bad('data ends inside an LZMA2 chunk header');
    if (control < 0x80) {
      if (control > 2) bad(`LZMA2 control byte 0x${control.toString(16)}`);
      const size = ((input[i]! << 8) | input[i + 1]!) + 1;
      i += 2;
      if (i + size > input.length) bad('data ends inside a stored chunk');
      output.reserve(size).set(input.subarray(i, i + size), output.length);
      output.length += size;
      i += size;
      continue;
    }
    const size = (((control & 0x1f) << 16) | (input[i]! << 8) | input[i + 1]!) + 1;
    const packed = ((input[i + 2]! << 8) | input[i + 3]!) + 1;
    i += 4;
    if (control >= 0xc0) {
      lzma.setProperties(input[i++]!);
      haveProperties = true;
    } else if (!haveProperties) bad('an LZMA2 chunk comes before any properties');
    if (control >= 0xa0) lzma.resetState();
    if (i + packed > input.length) bad('data ends inside an LZMA2 chunk');
    if (!lzma.rc.start(input, i, i + packed)) bad('an LZMA2 chunk starts with bad range coder bytes');
    const out = output.reserve(size);
    const end = lzma.decode(out, dictStart, output.length, output.length + size);
    lzma.rc.normalize();
    if (end !== output.length + size || lzma.rc.pos !== i + packed || lzma.rc.code !== 0) bad('an LZMA2 chunk is corrupt');
    output.length = end;
    i += packed;
  }
}
