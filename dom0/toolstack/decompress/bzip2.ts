// bzip2 (format: Joe Tsai, "BZIP2: Format Specification", 2016): blocks of up to 900,000 bytes, run lengths, Burrows-Wheeler,
// move to front, run lengths again, and up to six Huffman tables. Kernels of old distributions use it; speed is secondary.
import { DecompressError, type Decompressor, GrowingOutput } from './format.ts';

const bad = (why: string): never => {
  throw new DecompressError(`bzip2: ${why}`);
};

const MAX_BITS = 20;
const GROUP = 50;

/** Most significant bit first. */
class BitReader {
  private readonly bytes: Uint8Array;
  private at: number;
  private hold = 0;
  private held = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  bit(): number {
    if (this.held === 0) {
      if (this.at >= this.bytes.length) bad('data ends too soon');
      this.hold = this.bytes[this.at++]!;
      this.held = 8;
    }
    this.held--;
    return (this.hold >> this.held) & 1;
  }

  bits(n: number): number {
    let value = 0;
    for (let i = 0; i < n; i++) value = value * 2 + this.bit();
    return value;
  }

  /** The offset of the next whole byte. */
  align(): number {
    this.held = 0;
    return this.at;
  }
}

/** A canonical Huffman code: for each length its first code and where its symbols start. */
class HuffmanTable {
  private readonly limit = new Int32Array(MAX_BITS + 2).fill(-1);
  private readonly base = new Int32Array(MAX_BITS + 2);
  private readonly symbols: number[] = [];

  constructor(lengths: readonly number[]) {
    let code = 0;
    for (let length = 1; length <= MAX_BITS; length++) {
      this.base[length] = this.symbols.length - code;
      for (let s = 0; s < lengths.length; s++) {
        if (lengths[s] !== length) continue;
        this.symbols.push(s);
        code++;
      }
      this.limit[length] = code - 1;
      code <<= 1;
    }
  }

  read(r: BitReader): number {
    let code = 0;
    for (let length = 1; length <= MAX_BITS; length++) {
      code = (code << 1) | r.bit();
      if (code <= this.limit[length]!) {
        const symbol = this.symbols[code + this.base[length]!];
        if (symbol !== undefined) return symbol;
      }
    }
    return bad('a code that no table has');
  }
}

function readTables(r: BitReader, count: number, symbols: number): HuffmanTable[] {
  return Array.from({ length: count }, () => {
    let length = r.bits(5);
    const lengths = Array.from({ length: symbols }, () => {
      while (r.bit() === 1) length += r.bit() === 0 ? 1 : -1;
      if (length < 1 || length > MAX_BITS) bad(`a code length of ${length}`);
      return length;
    });
    return new HuffmanTable(lengths);
  });
}

function readSelectors(r: BitReader, tables: number): Uint8Array {
  const count = r.bits(15);
  if (count === 0) bad('no selectors');
  const order = Array.from({ length: tables }, (_, i) => i);
  return Uint8Array.from({ length: count }, () => {
    let at = 0;
    while (r.bit() === 1) if (++at >= tables) bad('a selector that no table has');
    const [table] = order.splice(at, 1);
    order.unshift(table!);
    return table!;
  });
}

/** The last column of the sorted rotations, with symbols moved back from the front: `tt` filled from 0, its length returned. */
function readColumn(r: BitReader, tt: Uint32Array): number {
  const used = r.bits(16);
  const mtf: number[] = [];
  for (let i = 0; i < 16; i++) {
    if ((used & (0x8000 >> i)) === 0) continue;
    const row = r.bits(16);
    for (let j = 0; j < 16; j++) if (row & (0x8000 >> j)) mtf.push(i * 16 + j);
  }
  if (mtf.length === 0) bad('a block that uses no byte');
  const endOfBlock = mtf.length + 1;
  const tableCount = r.bits(3);
  if (tableCount < 2 || tableCount > 6) bad(`${tableCount} Huffman tables`);
  const selectors = readSelectors(r, tableCount);
  const tables = readTables(r, tableCount, endOfBlock + 1);
  let n = 0;
  let run = 0;
  let weight = 1;
  const flush = () => {
    if (n + run > tt.length) bad('a block larger than its stream allows');
    tt.fill(mtf[0]!, n, n + run);
    n += run;
    run = 0;
    weight = 1;
  };
  for (let i = 0; ; i++) {
    const table = tables[selectors[Math.floor(i / GROUP)] ?? 255] ?? bad('more symbols than selectors');
    const symbol = table.read(r);
    if (symbol <= 1) {
      // RUNA and RUNB: the digits 1 and 2 of a bijective base-2 number.
      run += weight << symbol;
      weight *= 2;
      if (run > tt.length) bad('a run larger than its block');
      continue;
    }
    if (run > 0) flush();
    if (symbol === endOfBlock) return n;
    const [byte] = mtf.splice(symbol - 1, 1);
    mtf.unshift(byte!);
    if (n >= tt.length) bad('a block larger than its stream allows');
    tt[n++] = byte!;
  }
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, b) => {
  let c = b << 24;
  for (let i = 0; i < 8; i++) c = c < 0 ? (c << 1) ^ 0x04c11db7 : c << 1;
  return c;
});

function decodeBlock(r: BitReader, tt: Uint32Array, output: GrowingOutput): void {
  const storedCrc = r.bits(32);
  if (r.bit() === 1) bad('a randomised block (bzip2 before 0.9.5)');
  const origin = r.bits(24);
  const n = readColumn(r, tt);
  if (origin >= n) bad('a block starts outside itself');
  // Inverse Burrows-Wheeler: low byte = the column, upper bits = where the next row is.
  const starts = new Uint32Array(257);
  for (let i = 0; i < n; i++) starts[(tt[i]! & 0xff) + 1]!++;
  for (let b = 0; b < 256; b++) starts[b + 1]! += starts[b]!;
  for (let i = 0; i < n; i++) {
    const slot = starts[tt[i]! & 0xff]!++;
    tt[slot] = (tt[slot]! & 0xff) | (i << 8);
  }
  let crc = -1;
  let row = tt[origin]! >>> 8;
  let previous = -1;
  let same = 0;
  for (let i = 0; i < n; i++) {
    const entry = tt[row]!;
    row = entry >>> 8;
    const byte = entry & 0xff;
    // After four equal bytes comes how often the byte is to be repeated.
    const repeat = same === 4 ? byte : 1;
    const value = same === 4 ? previous : byte;
    const out = output.reserve(repeat);
    for (let k = 0; k < repeat; k++) {
      out[output.length++] = value;
      crc = (crc << 8) ^ CRC_TABLE[(crc >>> 24) ^ value]!;
    }
    if (same === 4) {
      same = 0;
      previous = -1;
    } else if (byte === previous) same++;
    else {
      previous = byte;
      same = 1;
    }
  }
  if (~crc >>> 0 !== storedCrc) bad('a block does not match its CRC');
}

export const bzip2: Decompressor = (input, sizeHint) => {
  const output = new GrowingOutput(sizeHint);
  let at = 0;
  do {
    const level = (input[at + 3] ?? 0) - 0x30;
    if (input[at] !== 0x42 || input[at + 1] !== 0x5a || input[at + 2] !== 0x68 || level < 1 || level > 9) bad('not a bzip2 stream');
    const r = new BitReader(input, at + 4);
    const tt = new Uint32Array(level * 100_000);
    for (;;) {
      const magic = r.bits(48);
      if (magic === 0x177245385090) break;
      if (magic !== 0x314159265359) bad('bad block header');
      decodeBlock(r, tt, output);
    }
    r.bits(32);
    at = r.align();
  } while (input.length - at > 4 && input[at] === 0x42);
  return output.finish();
};
