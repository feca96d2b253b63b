// Reads and writes of linear memory by the slow paths, through Cpu.probe(). A value that could not be read, because a fault was recorded,
// is `undefined`, so the compiler makes every caller look.

import { type Lin, linFromHalves } from '../addresses.ts';
import type { Cpu } from '../cpu-api.ts';

/** Unsigned value of 1, 2 or 4 bytes. */
export function load(cpu: Cpu, lin: Lin, size: number, supervisor = false): number | undefined {
  const p = cpu.probe(lin, size, false, supervisor);
  if (p === 0) return undefined;
  const m = cpu.ram.u8;
  if (size === 1) return m[p]!;
  if (size === 2) return m[p]! | (m[p + 1]! << 8);
  return (m[p]! | (m[p + 1]! << 8) | (m[p + 2]! << 16) | (m[p + 3]! << 24)) >>> 0;
}

/** Unsigned value of any size from 1 to 8 bytes. */
export function loadBig(cpu: Cpu, lin: Lin, size: number, supervisor = false): bigint | undefined {
  if (size <= 4) {
    const v = load(cpu, lin, size, supervisor);
    return v === undefined ? undefined : BigInt(v);
  }
  const p = cpu.probe(lin, 8, false, supervisor);
  if (p === 0) return undefined;
  const { ram } = cpu;
  if ((p & 7) === 0) return ram.u64[p >>> 3]!;
  return (BigInt(word(ram.u8, p + 4)) << 32n) | BigInt(word(ram.u8, p));
}

/** Little-endian and unaligned. A function of the module: tsx gives every inner function its name each time it is made, which costs. */
export const word = (m: Uint8Array, p: number): number => (m[p]! | (m[p + 1]! << 8) | (m[p + 2]! << 16) | (m[p + 3]! << 24)) >>> 0;

/** Stores the low `size` bytes. */
export function store(cpu: Cpu, lin: Lin, size: number, value: number, supervisor = false): boolean {
  const p = cpu.probe(lin, size, true, supervisor);
  if (p === 0) return false;
  if (size === 4 && (p & 3) === 0) cpu.ram.u32[p >>> 2] = value;
  else for (let i = 0; i < size; i++) cpu.ram.u8[p + i] = value >>> (8 * i);
  cpu.commit(p);
  return true;
}

/** Stores 8 bytes given as halves. */
export function storeHalves(cpu: Cpu, lin: Lin, lo: number, hi: number, supervisor = false): boolean {
  const p = cpu.probe(lin, 8, true, supervisor);
  if (p === 0) return false;
  const { u8 } = cpu.ram;
  for (let i = 0; i < 4; i++) {
    u8[p + i] = lo >>> (8 * i);
    u8[p + 4 + i] = hi >>> (8 * i);
  }
  cpu.commit(p);
  return true;
}

/** A linear address of 8 bytes: exact when canonical, out of range when not. */
export function loadLin(cpu: Cpu, lin: Lin, supervisor = false): Lin | undefined {
  const p = cpu.probe(lin, 8, false, supervisor);
  if (p === 0) return undefined;
  return linFromHalves(word(cpu.ram.u8, p), word(cpu.ram.u8, p + 4));
}

export function storeBig(cpu: Cpu, lin: Lin, size: number, value: bigint, supervisor = false): boolean {
  const p = cpu.probe(lin, size, true, supervisor);
  if (p === 0) return false;
  let v = value;
  for (let i = 0; i < size; i++, v >>= 8n) cpu.ram.u8[p + i] = Number(v & 0xffn);
  cpu.commit(p);
  return true;
}

const CHUNK = 64;

/** A private copy of any length (descriptors, FXSAVE images, bit maps). */
export function loadBytes(cpu: Cpu, lin: Lin, length: number, supervisor = false): Uint8Array | undefined {
  const out = new Uint8Array(length);
  for (let done = 0; done < length; done += CHUNK) {
    const n = Math.min(CHUNK, length - done);
    const p = cpu.probe((lin + done) as Lin, n, false, supervisor);
    if (p === 0) return undefined;
    out.set(cpu.ram.u8.subarray(p, p + n), done);
  }
  return out;
}

/** All or nothing: every page is probed for writing before the first byte is stored. */
export function storeBytes(cpu: Cpu, lin: Lin, bytes: Uint8Array, supervisor = false): boolean {
  const { length } = bytes;
  const toPageEnd = 4096 - (((lin % 4096) + 4096) % 4096);
  for (let at = 0; at < length; at = at === 0 ? toPageEnd : at + 4096)
    if (cpu.probe((lin + at) as Lin, 1, true, supervisor) === 0) return false;
  for (let done = 0; done < length; done += CHUNK) {
    const n = Math.min(CHUNK, length - done);
    const p = cpu.probe((lin + done) as Lin, n, true, supervisor);
    if (p === 0) return false;
    cpu.ram.u8.set(bytes.subarray(done, done + n), p);
    cpu.commit(p);
  }
  return true;
}
