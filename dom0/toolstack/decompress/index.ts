// Decompression by format name. A set is passed around rather than imported, because gzip comes from the host.

import { bzip2 } from './bzip2.ts';
import { DecompressError, type Decompressor, type FormatName } from './format.ts';
import { lz4Legacy } from './lz4.ts';
import { lzmaAlone } from './lzma-alone.ts';
import { xz } from './xz.ts';
import { zstd } from './zstd.ts';

export { DecompressError, type Decompressor, type FormatName, formatOf } from './format.ts';

export type Decompressors = { readonly [F in FormatName]: Decompressor };

/** All formats; `gzip` is what the host offers (gzip-node.ts under Node). */
export const decompressorsWith = (gzip: Decompressor): Decompressors => ({
  gzip,
  xz,
  lzma: lzmaAlone,
  lz4: lz4Legacy,
  zstd,
  bzip2,
  lzo: () => {
    throw new DecompressError('lzo: this compression is not supported (gzip, xz, lzma, lz4, zstd and bzip2 are)');
  },
});
