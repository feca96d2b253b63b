// PNG files, decoded again by their chunks.

import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { encodePng } from './png.ts';

describe('a PNG file', () => {
  it('holds the image, in chunks with right checksums', () => {
    const rgba = Uint8Array.from({ length: 3 * 2 * 4 }, (_, i) => (i % 4 === 3 ? 255 : i));
    const file = Buffer.from(encodePng({ width: 3, height: 2, rgba }, deflateSync));
    expect(file.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n');
    const chunks = new Map<string, Buffer>();
    for (let at = 8; at < file.length; ) {
      const length = file.readUInt32BE(at);
      const body = file.subarray(at + 4, at + 8 + length);
      if (typeof crc32 === 'function') expect(file.readUInt32BE(at + 8 + length)).toBe(crc32(body));
      chunks.set(body.toString('latin1', 0, 4), body.subarray(4));
      at += 12 + length;
    }
    expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND']);
    const head = chunks.get('IHDR')!;
    expect([head.readUInt32BE(0), head.readUInt32BE(4), ...head.subarray(8)]).toEqual([3, 2, 8, 2, 0, 0, 0]);
    expect([...inflateSync(chunks.get('IDAT')!)]).toEqual([...[0, 0, 1, 2, 4, 5, 6, 8, 9, 10], ...[0, 12, 13, 14, 16, 17, 18, 20, 21, 22]]);
  });
});
