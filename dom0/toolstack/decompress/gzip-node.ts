// gzip (RFC 1952) by Node's zlib. The one decompressor that stands on the host: a browser build puts another in its place.
import { gunzipSync } from 'node:zlib';
import { DecompressError, type Decompressor } from './format.ts';

export const gzipNode: Decompressor = (input) => {
  try {
    // Kernel payloads are followed by padding: zlib ignores what comes after the end of the member unless it looks like one.
    return gunzipSync(input);
  } catch (e) {
    throw new DecompressError(`gzip: ${e instanceof Error ? e.message : String(e)}`);
  }
};
