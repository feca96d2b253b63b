// The .xz container (xz-file-format.txt 1.2): streams of blocks, each LZMA2 behind an optional x86 branch filter, with a check
// of the plain data. What Linux's XZ Embedded reads, and the other check types besides.
import { bcjX86Decode } from './bcj-x86.ts';
import { crc32, crc64 } from './crc.ts';
import { DecompressError, type Decompressor, GrowingOutput } from './format.ts';
import { decodeLzma2 } from './lzma2.ts';
import { sha256 } from './sha256.ts';

const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
/** Size of the check by its type (table in section 2.1.1.2). */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
const CHECK_SHA256 = 10;

const bad = (why: string): never => {
  throw new DecompressError(`xz: ${why}`);
};

const u32 = (b: Uint8Array, at: number): number => (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0;

/** Variable-length integers (section 1.2), up to 2^53 here. */
class Cursor {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  integer(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++];
      if (byte === undefined || scale > 2 ** 49) bad('a number runs past its end');
      value += (byte! & 0x7f) * scale;
      if (byte! < 0x80) return value;
    }
  }
}

interface BlockHeader {
  readonly size: number;
  /** Start offset of the x86 filter; null where there is none. */
  readonly x86Start: number | null;
  readonly uncompressedSize: number | null;
}

function readBlockHeader(input: Uint8Array, at: number): BlockHeader {
  const size = (input[at]! + 1) * 4;
  if (at + size > input.length) bad('data ends inside a block header');
  const header = input.subarray(at, at + size);
  if (crc32(header.subarray(0, size - 4)) !== u32(header, size - 4)) bad('a block header is corrupt (CRC32)');
  const flags = header[1]!;
  const cursor = new Cursor(header, 2);
  if (flags & 0x40) cursor.integer();
  const uncompressedSize = flags & 0x80 ? cursor.integer() : null;
  let x86Start: number | null = null;
  const count = (flags & 3) + 1;
  for (let i = 0; i < count; i++) {
    const id = cursor.integer();
    const properties = cursor.integer();
    const at = cursor.at;
    cursor.at += properties;
    const isLast = i === count - 1;
    if (isLast !== (id === FILTER_LZMA2)) bad(`unsupported filter 0x${id.toString(16)}${isLast ? ' as the last of its chain' : ''}`);
    if (!isLast) {
      if (id !== FILTER_X86 || x86Start !== null) bad(`unsupported filter 0x${id.toString(16)} (only x86 is known)`);
      x86Start = properties === 4 ? u32(header, at) : 0;
    }
  }
  return { size, x86Start, uncompressedSize };
}

function verify(type: number, stored: Uint8Array, plain: Uint8Array): void {
  const wrong = (name: string): never => bad(`the data does not match its ${name}`);
  if (type === CHECK_CRC32 && crc32(plain) !== u32(stored, 0)) wrong('CRC32');
  if (type === CHECK_CRC64) {
    const [lo, hi] = crc64(plain);
    if (lo !== u32(stored, 0) || hi !== u32(stored, 4)) wrong('CRC64');
  }
  if (type === CHECK_SHA256 && sha256(plain).some((b, i) => b !== stored[i])) wrong('SHA-256');
}

/** One stream; returns the offset behind its footer. */
function decodeStream(input: Uint8Array, start: number, output: GrowingOutput): number {
  const flags = input.subarray(start + 6, start + 8);
  if (flags[0] !== 0 || flags[1]! > 15) bad('unknown stream flags');
  if (crc32(flags) !== u32(input, start + 8)) bad('the stream header is corrupt (CRC32)');
  const checkType = flags[1]!;
  const checkSize = CHECK_SIZES[checkType]!;
  let at = start + 12;
  let blocks = 0;
  while (at < input.length && input[at] !== 0) {
    const header = readBlockHeader(input, at);
    const from = output.length;
    const end = decodeLzma2(input, at + header.size, output);
    const plain = output.bytes.subarray(from, output.length);
    if (header.x86Start !== null) bcjX86Decode(plain, header.x86Start);
    if (header.uncompressedSize !== null && header.uncompressedSize !== plain.length) bad('a block has another size than it says');
    at += Math.ceil((end - at) / 4) * 4;
    if (at + checkSize > input.length) bad('data ends inside a check');
    verify(checkType, input.subarray(at, at + checkSize), plain);
    at += checkSize;
    blocks++;
  }
  // The index repeats sizes that are known by now; its count and CRC tell a file cut short from a whole one.
  const index = new Cursor(input, at + 1);
  if (index.integer() !== blocks) bad('the index does not match the blocks');
  for (let i = 0; i < blocks; i++) {
    index.integer();
    index.integer();
  }
  const indexEnd = at + Math.ceil((index.at - at) / 4) * 4;
  if (indexEnd + 16 > input.length) bad('data ends inside the index');
  if (crc32(input.subarray(at, indexEnd)) !== u32(input, indexEnd)) bad('the index is corrupt (CRC32)');
  if (input[indexEnd + 14] !== 0x59 || input[indexEnd + 15] !== 0x5a) bad('the stream has no footer');
  return indexEnd + 16;
}

const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];

export const xz: Decompressor = (input, sizeHint) => {
  const output = new GrowingOutput(sizeHint);
  let at = 0;
  do {
    if (input.length - at < 12 || MAGIC.some((b, i) => input[at + i] !== b)) bad('not an xz stream');
    at = decodeStream(input, at, output);
    // Streams may be followed by zero padding in multiples of four, and by further streams.
    while (at + 4 <= input.length && u32(input, at) === 0) at += 4;
  } while (at < input.length);
  return output.finish();
};
