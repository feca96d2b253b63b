import { describe, expect, it } from 'vitest';
import { crc32, crc64 } from './crc.ts';
import { OF_TEXT, XZ_X86_OF_CODE } from './fixtures.ts';
import { DecompressError, formatOf } from './format.ts';
import { gzipNode } from './gzip-node.ts';
import { decompressorsWith } from './index.ts';
import { sampleCode, sampleText } from './samples.ts';
import { sha256 } from './sha256.ts';

const decompressors = decompressorsWith(gzipNode);
const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));
const ascii = (s: string) => new TextEncoder().encode(s);
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

const plain = (packed: Uint8Array, sizeHint = 0) => {
  const format = formatOf(packed);
  if (format === null) throw new Error('no format');
  return decompressors[format](packed, sizeHint);
};

describe('decompressors', () => {
  for (const [name, base64] of Object.entries(OF_TEXT)) {
    it(`${name} comes out as it went in`, () => {
      expect(hex(plain(bytesOf(base64)))).toBe(hex(sampleText()));
      expect(hex(plain(bytesOf(base64), sampleText().length))).toBe(hex(sampleText()));
    });

    it(`${name}, cut short, is refused`, () => {
      const packed = bytesOf(base64);
      // lz4 has no end mark, so only a cut inside a block shows: 100 bytes is inside every format's data.
      expect(() => plain(packed.subarray(0, packed.length - 100))).toThrow(DecompressError);
    });
  }

  it('xz gives branches their relative operands back', () => {
    expect(hex(plain(bytesOf(XZ_X86_OF_CODE)))).toBe(hex(sampleCode()));
  });

  it('a flipped bit in xz or bzip2 data does not go unnoticed', () => {
    for (const name of ['xz with CRC32', 'xz with CRC64', 'xz with SHA-256', 'bzip2'] as const) {
      const packed = bytesOf(OF_TEXT[name]);
      packed[packed.length >> 1]! ^= 0x10;
      expect(() => plain(packed), name).toThrow(DecompressError);
    }
  });

  it('lzo is refused by name', () => {
    expect(() => decompressors.lzo(new Uint8Array(10), 0)).toThrow(/lzo.*not supported/);
  });
});

describe('checks', () => {
  it('have the check values that their definitions publish', () => {
    expect(crc32(ascii('123456789'))).toBe(0xcbf43926);
    expect(crc64(ascii('123456789'))).toEqual([0xdf1939fa, 0x995dc9bb]);
    expect(hex(sha256(ascii('abc')))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it('of long input agree with a byte-wise definition', () => {
    const bytes = sampleCode();
    let lo = -1;
    for (const b of bytes) {
      lo ^= b;
      for (let i = 0; i < 8; i++) lo = (lo >>> 1) ^ (lo & 1 ? 0xedb88320 : 0);
    }
    expect(crc32(bytes)).toBe(~lo >>> 0);
    let crc = 0xffff_ffff_ffff_ffffn;
    for (const b of bytes) {
      crc ^= BigInt(b);
      for (let i = 0; i < 8; i++) crc = (crc >> 1n) ^ (crc & 1n ? 0xc96c5795d7870f42n : 0n);
    }
    const [low, high] = crc64(bytes);
    expect((BigInt(high) << 32n) | BigInt(low)).toBe(crc ^ 0xffff_ffff_ffff_ffffn);
  });
});
