// The layout library itself: alignment rules of both ABIs, padding, unions, addresses, arrays, dumps.
import { describe, expect, test } from 'vitest';
import { array, bytes, bytesPerAbi, chars } from './array.ts';
import { bits } from './bits.ts';
import { guestVaddr } from './brands.ts';
import { decode, encode } from './codec.ts';
import { dump } from './dump.ts';
import { handle64, s8, u8, u16, u32, u64, u64_aligned, u64_number, ulong, vaddr_t } from './scalars.ts';
import { inline, only, struct, union } from './struct.ts';

const mixed = struct('mixed', { a: u8, b: u64, c: u16, d: u64_aligned });
const view = (size: number): DataView => new DataView(new ArrayBuffer(size));

describe('a struct', () => {
  test('aligns a 64-bit integer to 8 for x86_64 and to 4 for x86_32, an aligned one to 8 for both', () => {
    expect(['a', 'b', 'c', 'd'].map((field) => mixed.offset(field as 'a', 'x86_64'))).toEqual([0, 8, 16, 24]);
    expect(['a', 'b', 'c', 'd'].map((field) => mixed.offset(field as 'a', 'x86_32'))).toEqual([0, 4, 12, 16]);
    expect([mixed.size('x86_64'), mixed.size('x86_32')]).toEqual([32, 24]);
  });

  test.each(['x86_64', 'x86_32'] as const)('reads back what was written for %s, and leaves padding alone', (abi) => {
    const memory = view(mixed.size(abi));
    for (let i = 0; i < memory.byteLength; i++) memory.setUint8(i, 0xaa);
    const value = { a: 1, b: 2n, c: 3, d: (1n << 64n) - 1n };
    mixed.write(memory, 0, abi, value);
    expect(mixed.read(memory, 0, abi)).toEqual(value);
    expect(memory.getUint8(1)).toBe(0xaa);
  });

  test('update() touches only the members that are given; encode() starts from zero', () => {
    const memory = view(32);
    mixed.write(memory, 0, 'x86_64', { a: 1, b: 2n, c: 3, d: 4n });
    mixed.update(memory, 0, 'x86_64', { c: 9 });
    expect(mixed.read(memory, 0, 'x86_64')).toEqual({ a: 1, b: 2n, c: 9, d: 4n });
    expect(mixed.decode('x86_64', mixed.encode('x86_64', { a: 5 }))).toEqual({ a: 5, b: 0n, c: 0, d: 0n });
  });

  test('gives no room, value or effect to a member of the other ABI', () => {
    const s = struct('s', { a: u32, b: only('x86_64', u32), c: u32 });
    expect([s.size('x86_64'), s.size('x86_32'), s.offset('c', 'x86_32')]).toEqual([12, 8, 4]);
    expect(s.decode('x86_32', s.encode('x86_32', { a: 1, b: 2, c: 3 }))).toEqual({ a: 1, b: undefined, c: 3 });
  });

  test('refuses to tell the offset of a member that it does not have', () => {
    expect(() => mixed.offset('z' as 'a', 'x86_64')).toThrow('struct mixed has no member z');
  });
});

describe('a union', () => {
  const u = struct('holder', { pad: u8, u: union('', { number: u32, pair: inline({ lo: u16, hi: u16 }) }) });

  test('is written through one member and read through all of them', () => {
    const bytesOf = u.encode('x86_64', { pad: 1, u: { number: 0x00020001 } });
    expect(u.decode('x86_64', bytesOf).u).toEqual({ number: 0x00020001, pair: { lo: 1, hi: 2 } });
  });
});

describe('a scalar', () => {
  test('unsigned long and pointers take 8 bytes or 4', () => {
    expect([ulong.size('x86_64'), ulong.size('x86_32'), handle64().size('x86_32'), handle64().align('x86_32')]).toEqual([8, 4, 8, 8]);
  });

  test('an address of the upper half is a negative number, exactly, and comes back as it was', () => {
    const memory = view(8);
    memory.setBigUint64(0, 0xffffffff81000123n, true);
    const address = vaddr_t.read(memory, 0, 'x86_64');
    expect(address).toBe(-0x7efffedd);
    memory.setBigUint64(0, 0n, true);
    vaddr_t.write(memory, 0, 'x86_64', guestVaddr(address));
    expect(memory.getBigUint64(0, true)).toBe(0xffffffff81000123n);
  });

  test('a 64-bit number that no double holds stays out of range, and all ones survive', () => {
    const memory = view(8);
    memory.setBigUint64(0, 0xffffffffffffffffn, true);
    const ones = u64_number.read(memory, 0, 'x86_64');
    expect(ones).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
    memory.setBigUint64(0, 0n, true);
    u64_number.write(memory, 0, 'x86_64', ones);
    expect(memory.getBigUint64(0, true)).toBe(0xffffffffffffffffn);
  });

  test('signed bytes are signed', () => {
    expect(decode(s8, 'x86_64', Uint8Array.of(0xff))).toBe(-1);
  });
});

describe('an array', () => {
  test('of bytes is a private copy', () => {
    const memory = view(4);
    const copy = bytes(4).read(memory, 0, 'x86_64');
    memory.setUint8(0, 7);
    expect(copy[0]).toBe(0);
  });

  test('of chars ends at NUL and is refused when it does not fit', () => {
    expect(decode(chars(4), 'x86_64', encode(chars(4), 'x86_64', 'xen'))).toBe('xen');
    expect(() => encode(chars(2), 'x86_64', 'xen')).toThrow(RangeError);
  });

  test('of longs has the stride of the ABI', () => {
    expect(decode(array(2, ulong), 'x86_32', Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0))).toEqual([1n, 2n]);
    expect(bytesPerAbi({ x86_64: 16, x86_32: 8 }).size('x86_32')).toBe(8);
  });
});

test('bit fields of a word read as booleans and numbers, and pack into the same word', () => {
  const word = bits(u32, { PENDING: 31, LINK: [0, 17] });
  expect(word.unpack(0x80000005)).toEqual({ PENDING: true, LINK: 5 });
  expect(word.pack({ PENDING: true, LINK: 0x3ffff })).toBe(0x8001ffff);
  expect(word.show({ PENDING: true, LINK: 5 })).toBe('PENDING LINK=5');
});

test('a dump names every member with its offset, and skips members of the other ABI', () => {
  const s = struct('s', { a: u8, b: inline({ c: u64 }), d: only('x86_32', u8), e: array(2, u16) });
  const memory = view(s.size('x86_64'));
  s.update(memory, 0, 'x86_64', { a: 1, b: { c: 0x10n }, e: [3, 4] });
  expect(dump(s, memory, 0, 'x86_64').split('\n')).toEqual([
    '0x0000  a: 0x1',
    '0x0008  b.c: 0x10',
    '0x0010  e[0]: 0x3',
    '0x0012  e[1]: 0x4',
  ]);
});
