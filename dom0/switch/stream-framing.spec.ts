// Frames on a stream that arrives in any pieces.
import { expect, test } from 'vitest';
import { frameForStream, MAX_STREAM_FRAME, StreamFrames } from './stream-framing.ts';
import { toHex } from './testing/frames.ts';

const frames = [3, 60, 1514, 65535].map((n, k) => Uint8Array.from({ length: n }, (_, i) => (i + k) & 255));
const stream = Uint8Array.from(frames.flatMap((f) => [...frameForStream(f)]));

test('the length goes first, big endian', () => {
  expect(toHex(frameForStream(new Uint8Array([1, 2, 3])))).toBe('00000003010203');
});

test('frames come out whole, whatever pieces they come in', () => {
  for (const size of [1, 2, 3, 5, 64, 1000, 65536, stream.length]) {
    const reader = new StreamFrames();
    const out: Uint8Array[] = [];
    for (let at = 0; at < stream.length; at += size) out.push(...reader.push(stream.slice(at, at + size))!);
    expect(out.map((f) => f.length)).toEqual([3, 60, 1514, 65535]);
    expect(out.every((f, i) => toHex(f) === toHex(frames[i]!))).toBe(true);
  }
});

test('a length that cannot be ends it; one of nothing is passed over', () => {
  expect(new StreamFrames().push(frameForStream(new Uint8Array(0)))).toEqual([]);
  const wrong = new Uint8Array(4);
  new DataView(wrong.buffer).setUint32(0, MAX_STREAM_FRAME + 1);
  expect(new StreamFrames().push(wrong)).toBeNull();
});
