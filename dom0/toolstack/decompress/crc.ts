// CRC-32 (IEEE 802.3) and CRC-64 (ECMA-182), reflected, as .xz files carry them (xz-file-format.txt, section 6).
//
// Eight tables, eight bytes a step (slicing-by-8): a kernel of 50 MB is checked in a few tens of milliseconds. A 64-bit value
// is a pair of 32-bit halves, so that no BigInt is on the way.

const SLICES = 8;

/** tables[k][b]: what byte b does to the register when it lies k bytes before the end of the step; lo and hi interleaved. */
function makeTables(polyLo: number, polyHi: number): Int32Array {
  const t = new Int32Array(SLICES * 512);
  for (let b = 0; b < 256; b++) {
    let lo = b;
    let hi = 0;
    for (let i = 0; i < 8; i++) {
      const carry = lo & 1;
      lo = (lo >>> 1) | (hi << 31);
      hi >>>= 1;
      if (carry) {
        lo ^= polyLo;
        hi ^= polyHi;
      }
    }
    t[b * 2] = lo;
    t[b * 2 + 1] = hi;
  }
  for (let k = 1; k < SLICES; k++) {
    for (let b = 0; b < 256; b++) {
      const lo = t[(k - 1) * 512 + b * 2]!;
      const hi = t[(k - 1) * 512 + b * 2 + 1]!;
      const first = lo & 0xff;
      t[k * 512 + b * 2] = ((lo >>> 8) | (hi << 24)) ^ t[first * 2]!;
      t[k * 512 + b * 2 + 1] = (hi >>> 8) ^ t[first * 2 + 1]!;
    }
  }
  return t;
}

let tables32: Int32Array | undefined;
let tables64: Int32Array | undefined;

export function crc32(bytes: Uint8Array): number {
  tables32 ??= makeTables(0xedb88320, 0).filter((_, i) => i % 2 === 0);
  const t = tables32;
  let crc = -1;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      t[1792 + (crc & 0xff)]! ^
      t[1536 + ((crc >>> 8) & 0xff)]! ^
      t[1280 + ((crc >>> 16) & 0xff)]! ^
      t[1024 + (crc >>> 24)]! ^
      t[768 + bytes[i + 4]!]! ^
      t[512 + bytes[i + 5]!]! ^
      t[256 + bytes[i + 6]!]! ^
      t[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}

/** Low half first. */
export function crc64(bytes: Uint8Array): readonly [number, number] {
  tables64 ??= makeTables(0xd7870f42, 0xc96c5795);
  const t = tables64;
  let lo = -1;
  let hi = -1;
  let i = 0;
  for (const end = bytes.length - 3; i < end; i += 4) {
    const x = lo ^ (bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
    const a = 1536 + (x & 0xff) * 2;
    const b = 1024 + ((x >>> 8) & 0xff) * 2;
    const c = 512 + ((x >>> 16) & 0xff) * 2;
    const d = (x >>> 24) * 2;
    lo = hi ^ t[a]! ^ t[b]! ^ t[c]! ^ t[d]!;
    hi = t[a + 1]! ^ t[b + 1]! ^ t[c + 1]! ^ t[d + 1]!;
  }
  for (; i < bytes.length; i++) {
    const at = ((lo ^ bytes[i]!) & 0xff) * 2;
    lo = ((lo >>> 8) | (hi << 24)) ^ t[at]!;
    hi = (hi >>> 8) ^ t[at + 1]!;
  }
  return [~lo >>> 0, ~hi >>> 0];
}
