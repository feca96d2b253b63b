// Zstandard frames (RFC 8878), by the fzstd library.
import { decompress } from 'fzstd';
import { DecompressError, type Decompressor } from './format.ts';

export const zstd: Decompressor = (input) => {
  try {
    return decompress(input);
  } catch (e) {
    throw new DecompressError(`zstd: ${e instanceof Error ? e.message : String(e)}`);
  }
};
