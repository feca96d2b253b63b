// The shape of every decompressor, and the table that tells formats apart by their first bytes. The magics are those that
// Linux's lib/decompress.c and Xen's xg_dom_bzimageloader.c look for.

/** Wrong or truncated input: the message says what is wrong with the data, the caller knows whose data it is. */
export class DecompressError extends Error {
  override readonly name = 'DecompressError';
}

/** Whole input to whole output. `sizeHint` is what the container says the output measures (0: not known): only a hint. */
export type Decompressor = (input: Uint8Array, sizeHint: number) => Uint8Array;

export type FormatName = 'gzip' | 'xz' | 'lzma' | 'lz4' | 'zstd' | 'bzip2' | 'lzo';

const MAGICS: readonly { readonly name: FormatName; readonly magic: readonly number[] }[] = [
  { name: 'gzip', magic: [0x1f, 0x8b] },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'lzo', magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00] },
];

/** Which format the bytes are in; null where none fits (they may be plain). */
export const formatOf = (bytes: Uint8Array): FormatName | null =>
  MAGICS.find(({ magic }) => magic.every((b, i) => bytes[i] === b))?.name ?? null;

/** Output whose size is not known beforehand: doubles, and keeps what was written. */
export class GrowingOutput {
  bytes: Uint8Array;
  length = 0;

  constructor(sizeHint: number) {
    this.bytes = new Uint8Array(Math.max(sizeHint, 65_536));
  }

  /** Makes room for `more` bytes behind `length`; the array may be another one afterwards. */
  reserve(more: number): Uint8Array {
    const needed = this.length + more;
    if (needed > this.bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.bytes.length * 2));
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    return this.bytes;
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}
