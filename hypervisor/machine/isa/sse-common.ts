// What the SSE families share: the availability check, building blocks on 128-bit values, and the shapes of their instruction records.

import type { Builder, Operand, Readable, Writable } from '../stage/builder.ts';
import { STATE } from '../state.ts';
import { CR0, CR4 } from '../system/bits.ts';
import { type AnyInsn, insn } from './insn.ts';

/** Either keeps x87, MMX and SSE instructions from running. */
export const CR0_EM_TS = CR0.EM | CR0.TS;

/** #NM and #UD conditions of SDM Vol 3A, 13.1: left to TypeScript, which raises what is due (system/fpu-check.ts). */
export function needSse<V>(b: Builder<V>): void {
  const blocked = b.and(b.state(STATE.cr0, 4), b.k(CR0_EM_TS));
  const enabled = b.and(b.state(STATE.cr4, 4), b.k(CR4.OSFXSR));
  b.if(b.or(blocked, b.eqz(enabled)), () => b.slow());
}

/** All ones or all zeros by a condition. */
export const maskOf = <V>(b: Builder<V>, c: V): V => b.sub(b.k(0), c);
export const maskX = <V, X>(b: Builder<V, X>, c: V): X => {
  const m = maskOf(b, c);
  return b.x.make(m, m);
};
/** A byte value in all lanes. */
export const splatByte = <V, X>(b: Builder<V, X>, v: V): X => {
  const m = b.mul(v, b.k(0x0101010101010101n));
  return b.x.make(m, m);
};
export const zeroX = <V, X>(b: Builder<V, X>): X => b.x.constant(0n, 0n);

/** For each byte the number of its lane; and a lane's value in all lanes as a product with it. */
const LANES = {
  1: [0x0706050403020100n, 0x0f0e0d0c0b0a0908n, 0x0101010101010101n],
  2: [0x0303020201010000n, 0x0707060605050404n, 0x0001000100010001n],
  4: [0x0101010100000000n, 0x0303030302020202n, 0x0000000100000001n],
  8: [0n, 0x0101010101010101n, 1n],
} as const;
/** x with lane `index` (of `size` bytes; higher bits of the index do not count) replaced by v, which is of that size. */
export function withLane<V, X>(b: Builder<V, X>, x: X, size: 1 | 2 | 4 | 8, index: V, v: V): X {
  const [low, high, everywhere] = LANES[size];
  const half = size === 8 ? v : b.mul(v, b.k(everywhere));
  const here = b.x.op2('i8x16.eq', b.x.constant(low, high), splatByte(b, b.and(index, b.k(16 / size - 1))));
  return b.x.bitselect(b.x.make(half, half), x, here);
}

/** CPUID features that bring instructions on XMM registers. */
export type SseFeature = 'sse' | 'sse2' | 'sse3' | 'ssse3' | 'sse4_1' | 'sse4_2' | 'aes' | 'pclmulqdq' | 'sha_ni';

type Rw = Operand<'rw'>;
/** Replaces the low 64 or 32 bits of an XMM register, the rest kept. */
export function setLow64<V, X>(b: Builder<V, X>, dst: Rw, v: V): void {
  b.x.write(dst, b.x.insert(b.x.read(dst, false), 8, 0, v), false);
}
export function setLow32<V, X>(b: Builder<V, X>, dst: Rw, v: V): void {
  b.x.write(dst, b.x.insert(b.x.read(dst, false), 4, 0, v), false);
}
/** The low 32 bits of an XMM register or of 4 bytes of memory. */
export const low32 = <V>(b: Builder<V>, o: Readable): V => b.zext(b.read(o), 4);

/** dst = f(dst, src) on whole registers; the memory operand is aligned but for the few that say otherwise. */
export const packed = (
  mnemonic: string,
  forms: string,
  f: <V, X>(b: Builder<V, X>, dst: X, src: X) => X,
  feature: SseFeature = 'sse2',
  aligned = true,
): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const s = b.x.read(src, aligned);
      b.x.write(dst, f(b, b.x.read(dst, false), s), false);
    },
  });

/** dst = f(dst, src, imm8). */
export const packedImm = (
  mnemonic: string,
  forms: string,
  f: <V, X>(b: Builder<V, X>, dst: X, src: X, imm: V) => X,
  feature: SseFeature = 'sse2',
  aligned = true,
): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'rw', src: 'r', imm: 'r' },
    sem(b, { dst, src, imm }) {
      needSse(b);
      const s = b.x.read(src, aligned);
      b.x.write(dst, f(b, b.x.read(dst, false), s, b.read(imm)), false);
    },
  });

/** A move between XMM register and memory or register, 16 bytes whole. */
export const wholeMove = (mnemonic: string, forms: string, aligned: boolean, feature: SseFeature): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      b.x.write(dst as Writable, b.x.read(src, aligned), aligned);
    },
  });
