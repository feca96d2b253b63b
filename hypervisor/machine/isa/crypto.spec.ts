// Known answers for the instructions that compute ciphers, hashes and checksums: the examples of their standards, instruction by
// instruction on the emulated CPU. A host that lacks them cannot be asked.

import { describe, expect, it } from 'vitest';
import { flat64 } from '../exec/flat64.ts';
import { RAX, RCX, STATE } from '../state.ts';
import { A_OVER, type Box, INVERSE, INVERSE_S_BOX, multiply, S_BOX, type Table } from './aes-field.ts';

const CODE = 0x10000;
const UD2 = [0x0f, 0x0b];
const U32 = 0xffff_ffffn;

const { cpu, run } = flat64('zen');
const setXmm = (n: number, v: bigint): void => {
  cpu.setBig(STATE.xmm + 16 * n, BigInt.asUintN(64, v));
  cpu.setBig(STATE.xmm + 16 * n + 8, v >> 64n);
};
const xmm = (n: number): bigint => cpu.big(STATE.xmm + 16 * n) | (cpu.big(STATE.xmm + 16 * n + 8) << 64n);
/** XMM1 after an instruction on XMM1 (in ModRM.reg) and XMM2, and XMM0 where it is asked. */
function on(code: readonly number[], first: bigint, second: bigint, zero = 0n): bigint {
  setXmm(0, zero);
  setXmm(1, first);
  setXmm(2, second);
  run(CODE, [...code, ...UD2]);
  expect(cpu.rip).toBe(CODE + code.length);
  return xmm(1);
}
const XMM1_XMM2 = 0xca;

/** Bytes as written, the first in the lowest place of the vector. */
const vector = (hex: string): bigint => (hex.match(/../g) ?? []).reduceRight((v, b) => (v << 8n) | BigInt(`0x${b}`), 0n);
const dword = (v: bigint, i: number): bigint => (v >> BigInt(32 * i)) & U32;
const dwords = (...of: readonly bigint[]): bigint => of.reduceRight((v, d) => (v << 32n) | (d & U32), 0n);

describe('the S-box by its tables', () => {
  const at = ([low, high]: Table, i: number): number => (i > 15 ? 0 : Number(BigInt.asUintN(8, ((high << 64n) | low) >> BigInt(8 * i))));
  const substitute = (box: Box, x: number): number => {
    const pair = at(box.low, x & 15) ^ at(box.high, x >> 4);
    const [k, i] = [pair & 15, pair >> 4];
    const j = i ^ k;
    const u = at(INVERSE, at(INVERSE, i) ^ at(A_OVER, k)) ^ j;
    const v = at(INVERSE, at(INVERSE, j) ^ at(A_OVER, k)) ^ i;
    return at(box.fromU, u) ^ at(box.fromV, v) ^ box.constant;
  };
  const bytes = Array.from({ length: 256 }, (_, n) => n);
  it('is that of FIPS 197, 5.1.1: the inverse, then an affine map', () => {
    const expected = bytes.map((x) => {
      const inverse = bytes.find((y) => multiply(x, y) === 1) ?? 0;
      let v = 0x63;
      for (let n = 0; n < 5; n++) v ^= ((inverse << n) | (inverse >> (8 - n))) & 0xff;
      return v;
    });
    expect(bytes.map((x) => substitute(S_BOX, x))).toEqual(expected);
    expect([0x00, 0x53].map((x) => substitute(S_BOX, x))).toEqual([0x63, 0xed]);
  });
  it('is undone by the inverse one', () => {
    expect(bytes.map((x) => substitute(INVERSE_S_BOX, substitute(S_BOX, x)))).toEqual(bytes);
  });
});

describe('AES-NI', () => {
  const aes = (opcode: number, state: bigint, key: bigint): bigint => on([0x66, 0x0f, 0x38, opcode, XMM1_XMM2], state, key);
  const assist = (key: bigint, constant: number): bigint => on([0x66, 0x0f, 0x3a, 0xdf, XMM1_XMM2, constant], 0n, key);
  /** FIPS 197, 5.2, for 128 bits. */
  const schedule = (key: bigint): bigint[] => {
    const keys = [key];
    let constant = 1;
    let k = key;
    for (let n = 0; n < 10; n++) {
      let last = dword(assist(k, constant), 3);
      k = dwords(
        ...[0, 1, 2, 3].map((i) => {
          last ^= dword(k, i);
          return last;
        }),
      );
      keys.push(k);
      constant = multiply(constant, 2);
    }
    return keys;
  };
  const keys = schedule(vector('2b7e151628aed2a6abf7158809cf4f3c'));
  const plain = vector('3243f6a8885a308d313198a2e0370734');
  const cipher = vector('3925841d02dc09fbdc118597196a0b32');
  const key = (n: number): bigint => keys[n] ?? 0n;

  it('expands the key of FIPS 197, A.1', () => {
    expect(key(1)).toBe(vector('a0fafe1788542cb123a339392a6c7605'));
    expect(key(10)).toBe(vector('d014f9a8c9ee2589e13f0cc8b6630ca6'));
  });
  it('encrypts the example of FIPS 197, B', () => {
    let state = plain ^ key(0);
    for (let n = 1; n < 10; n++) state = aes(0xdc, state, key(n));
    expect(aes(0xdd, state, key(10))).toBe(cipher);
  });
  it('decrypts it, with round keys through AESIMC', () => {
    let state = cipher ^ key(10);
    for (let n = 9; n > 0; n--) state = aes(0xde, state, aes(0xdb, 0n, key(n)));
    expect(aes(0xdf, state, key(0))).toBe(plain);
  });
});

it('PCLMULQDQ multiplies the halves that imm8 names as polynomials over GF(2)', () => {
  const x = 0x7b5b546573745665_63746f725d53475dn;
  const y = 0x4869285368617929_5b477565726f6e5dn;
  const half = (v: bigint, high: number): bigint => BigInt.asUintN(64, high === 0 ? v : v >> 64n);
  const expected = (imm: number): bigint => {
    let product = 0n;
    for (let i = 0n; i < 64n; i++) if ((half(y, imm >> 4) >> i) & 1n) product ^= half(x, imm & 1) << i;
    return product;
  };
  for (const imm of [0x00, 0x01, 0x10, 0x11]) expect(on([0x66, 0x0f, 0x3a, 0x44, XMM1_XMM2, imm], x, y)).toBe(expected(imm));
  expect(expected(0)).toBe(0x1d4d84c85c3440c0_929633d5d36f0451n);
});

describe('CRC32', () => {
  /** RAX after CRC32 of RCX, `size` bytes. */
  const crc = (from: bigint, data: bigint, size: 1 | 2 | 4 | 8): bigint => {
    const prefix = size === 2 ? [0x66, 0xf2] : size === 8 ? [0xf2, 0x48] : [0xf2];
    cpu.setReg(RAX, from);
    cpu.setReg(RCX, data);
    run(CODE, [...prefix, 0x0f, 0x38, size === 1 ? 0xf0 : 0xf1, 0xc1, ...UD2]);
    return cpu.reg(RAX);
  };
  const text = vector('313233343536373839');
  const over = (...sizes: readonly (1 | 2 | 4 | 8)[]): bigint => {
    let value = U32;
    let rest = text;
    for (const s of sizes) {
      value = crc(value, rest & ((1n << BigInt(8 * s)) - 1n), s);
      rest >>= BigInt(8 * s);
    }
    return value ^ U32;
  };
  it('of "123456789" is E3069283, in bytes or in larger pieces', () => {
    expect([over(1, 1, 1, 1, 1, 1, 1, 1, 1), over(2, 2, 4, 1), over(8, 1)]).toEqual([0xe3069283n, 0xe3069283n, 0xe3069283n]);
  });
});

/** The one block of "abc" as sixteen words, big-endian in their bytes (FIPS 180-4, 5.1.1). */
const BLOCK = [0x61626380n, ...new Array<bigint>(14).fill(0n), 24n];
/** SHA-1 has its first word in the highest dword, SHA-256 in the lowest. */
const four = (n: number): readonly bigint[] => BLOCK.slice(4 * n, 4 * n + 4);

it('SHA1RNDS4 and its companions hash "abc" (FIPS 180-4)', () => {
  const sha = (opcode: number, x: bigint, y: bigint): bigint => on([0x0f, 0x38, opcode, XMM1_XMM2], x, y);
  const add = (x: bigint, y: bigint): bigint => dwords(...[0, 1, 2, 3].map((i) => dword(x, i) + dword(y, i)));
  const messages = [0, 1, 2, 3].map((n) => dwords(...[...four(n)].reverse()));
  for (let n = 4; n < 20; n++) {
    const [w0 = 0n, w1 = 0n, w2 = 0n, w3 = 0n] = messages.slice(n - 4, n);
    messages.push(sha(0xca, sha(0xc9, w0, w1) ^ w2, w3));
  }
  const start = dwords(0x10325476n, 0x98badcfen, 0xefcdab89n, 0x67452301n);
  const e = 0xc3d2e1f0n << 96n;
  let abcd = start;
  let before = 0n;
  messages.forEach((w, n) => {
    const withE = n === 0 ? add(e, w) : sha(0xc8, before, w);
    before = abcd;
    abcd = on([0x0f, 0x3a, 0xcc, XMM1_XMM2, Math.floor(n / 5)], abcd, withE);
  });
  expect(sha(0xc8, before, e) >> 96n).toBe(0x9cd0d89dn);
  expect(add(start, abcd)).toBe(dwords(0x7850c26cn, 0xba3e2571n, 0x4706816an, 0xa9993e36n));
});

it('SHA256RNDS2 and its companions hash "abc" (FIPS 180-4)', () => {
  const sha = (opcode: number, x: bigint, y: bigint, zero = 0n): bigint => on([0x0f, 0x38, opcode, XMM1_XMM2], x, y, zero);
  /** The first 32 bits of the fractions of roots of primes: 4.2.2 and 5.3.3. */
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p !== 0)) primes.push(n);
  const root = (v: bigint, power: number): bigint => {
    let r = 0n;
    for (let bit = 1n << 40n; bit > 0n; bit >>= 1n) if ((r + bit) ** BigInt(power) <= v) r += bit;
    return r;
  };
  const k = primes.map((p) => root(BigInt(p) << 96n, 3) & U32);
  const start = primes.slice(0, 8).map((p) => root(BigInt(p) << 64n, 2) & U32);
  const messages = [0, 1, 2, 3].map((n) => dwords(...four(n)));
  for (let n = 4; n < 16; n++) {
    const [w0 = 0n, w1 = 0n, w2 = 0n, w3 = 0n] = messages.slice(n - 4, n);
    // W(t-7) to W(t-4): the end of one group and the beginning of the next (PALIGNR by 4).
    const middle = BigInt.asUintN(128, ((w3 << 128n) | w2) >> 32n);
    const sum = dwords(...[0, 1, 2, 3].map((i) => dword(sha(0xcc, w0, w1), i) + dword(middle, i)));
    messages.push(sha(0xcd, sum, w3));
  }
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n, g = 0n, h = 0n] = start;
  let abef = dwords(f, e, b, a);
  let cdgh = dwords(h, g, d, c);
  messages.forEach((w, n) => {
    const wk = dwords(...[0, 1, 2, 3].map((i) => dword(w, i) + (k[4 * n + i] ?? 0n)));
    cdgh = sha(0xcb, cdgh, abef, wk);
    abef = sha(0xcb, abef, cdgh, wk >> 64n);
  });
  const end = [3, 2]
    .flatMap((i) => [dword(abef, i)])
    .concat([dword(cdgh, 3), dword(cdgh, 2), dword(abef, 1), dword(abef, 0), dword(cdgh, 1), dword(cdgh, 0)]);
  expect(end.map((v, i) => (v + (start[i] ?? 0n)) & U32)).toEqual([
    0xba7816bfn,
    0x8f01cfean,
    0x414140den,
    0x5dae2223n,
    0xb00361a3n,
    0x96177a9cn,
    0xb410ff61n,
    0xf20015adn,
  ]);
});
