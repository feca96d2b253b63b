// FXSAVE, FXRSTOR, XSAVE, XRSTOR and MXCSR (SDM Vol 1, 10.5.1 "FXSAVE area", 13.4 "XSAVE area"; pseudo-code in Vol 2).

import type { Lin } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { STATE } from '../state.ts';
import { EFER, EXC } from './bits.ts';
import { fxUsable, mmxUsable, sseUsable } from './fpu-check.ts';
import { load, loadBytes, store, storeBytes } from './linear.ts';
import { is64, next } from './mode.ts';
import { effectiveOffset, operandLinear, segmentLinear } from './operands.ts';
import type { SystemCpu } from './ports.ts';

/** All exceptions masked, flush-to-zero and denormals-are-zero offered. */
export const MXCSR_MASK = 0xffff;
export const MXCSR_RESET = 0x1f80;
/** Bytes of the FXSAVE image that hold state. */
const LEGACY_USED = 416;
/** Outside 64-bit mode XMM8 to 15 are not touched; a fast save has no XMM registers. */
const LEGACY_USED_32 = 288;
const LEGACY_X87 = 160;

export function area(cpu: SystemCpu, d: Decoded, size: number, alignment: number, write: boolean): Lin | undefined {
  const lin = operandLinear(cpu, d, 0, size, write);
  if (lin === undefined) return undefined;
  if (lin % alignment === 0) return lin;
  cpu.fault(EXC.GP, 0);
  return undefined;
}

/** Full tag word to one bit per register: 1 unless empty. */
export const abridgeTags = (ftw: number): number => {
  let r = 0;
  for (let i = 0; i < 8; i++) if (((ftw >>> (2 * i)) & 3) !== 3) r |= 1 << i;
  return r;
};

/** Tag of a register by its contents: valid 0, zero 1, special 2 (SDM Vol 1, 8.1.7). */
export function tagOf(exponent: number, significandHi: number, significandLo: number): number {
  const e = exponent & 0x7fff;
  if (e === 0x7fff) return 2;
  if (e === 0) return (significandHi | significandLo) === 0 ? 1 : 2;
  return significandHi < 0 ? 0 : 2;
}

/** Full tag word from the abridged one and the registers of the context. */
export function expandTags(cpu: SystemCpu, abridged: number): number {
  let ftw = 0;
  for (let i = 0; i < 8; i++) {
    const at = STATE.fpr + 16 * i;
    const tag = abridged & (1 << i) ? tagOf(cpu.u16(at + 8), cpu.hi(at), cpu.lo(at)) : 3;
    ftw |= tag << (2 * i);
  }
  return ftw;
}

/** Writes x87 state into a legacy region. `wide`: 64-bit instruction and data pointers (REX.W); else the selectors read as zero. */
export function saveX87(cpu: SystemCpu, out: Uint8Array, wide: boolean): void {
  const view = new DataView(out.buffer);
  const fsw = cpu.u16(STATE.fsw);
  view.setUint16(0, cpu.u16(STATE.fcw), true);
  view.setUint16(2, fsw, true);
  out[4] = abridgeTags(cpu.u16(STATE.ftw));
  out[5] = 0;
  view.setUint16(6, cpu.u16(STATE.fop), true);
  for (const [at, field] of [
    [8, STATE.fip],
    [16, STATE.fdp],
  ] as const) {
    view.setUint32(at, cpu.u32(field), true);
    view.setUint32(at + 4, wide ? cpu.hi(field) >>> 0 : 0, true);
  }
  const top = (fsw >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const at = STATE.fpr + 16 * ((top + i) & 7);
    const to = 32 + 16 * i;
    view.setUint32(to, cpu.u32(at), true);
    view.setUint32(to + 4, cpu.u32(at + 4), true);
    view.setUint32(to + 8, cpu.u16(at + 8), true);
    view.setUint32(to + 12, 0, true);
  }
}

export function restoreX87(cpu: SystemCpu, from: Uint8Array, wide: boolean): void {
  const view = new DataView(from.buffer);
  const fsw = view.getUint16(2, true);
  // Bits 15:13 and 7 are reserved; bit 6 reads as one.
  const fcw = (view.getUint16(0, true) & 0x1f3f) | 0x40;
  cpu.setU16(STATE.fcw, fcw);
  // ES and B are not taken from the image: they follow the flags that are not masked, as always.
  cpu.setU16(STATE.fsw, (fsw & 0x7f7f) | (fsw & ~fcw & 0x3f ? 0x8080 : 0));
  cpu.setU16(STATE.fop, view.getUint16(6, true) & 0x7ff);
  cpu.setHalves(STATE.fip, view.getUint32(8, true), wide ? view.getUint32(12, true) : 0);
  cpu.setHalves(STATE.fdp, view.getUint32(16, true), wide ? view.getUint32(20, true) : 0);
  const top = (fsw >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const to = STATE.fpr + 16 * ((top + i) & 7);
    const at = 32 + 16 * i;
    cpu.setHalves(to, view.getUint32(at, true), view.getUint32(at + 4, true));
    cpu.setU16(to + 8, view.getUint16(at + 8, true));
  }
  cpu.setU16(STATE.ftw, expandTags(cpu, from[4]!));
}

/** x87 after FNINIT; registers as at reset when `registers`. */
export function initX87(cpu: SystemCpu, registers: boolean): void {
  cpu.setU16(STATE.fcw, 0x37f);
  cpu.setU16(STATE.fsw, 0);
  cpu.setU16(STATE.ftw, 0xffff);
  cpu.setU16(STATE.fop, 0);
  cpu.setHalves(STATE.fip, 0, 0);
  cpu.setHalves(STATE.fdp, 0, 0);
  if (registers) cpu.ram.u8.fill(0, cpu.base + STATE.fpr, cpu.base + STATE.fpr + 128);
}

/** The transition from x87 to MMX, as staged code makes it (isa/mmx.ts): TOP is 0, all registers are valid. */
export function enterMmx(cpu: SystemCpu): void {
  cpu.setU16(STATE.fsw, cpu.u16(STATE.fsw) & ~0x3800);
  cpu.setU16(STATE.ftw, 0);
}

export const xmmCount = (cpu: SystemCpu): number => (is64(cpu) ? 16 : 8);

export function saveXmm(cpu: SystemCpu, out: Uint8Array): void {
  const from = cpu.base + STATE.xmm;
  out.set(cpu.ram.u8.subarray(from, from + 16 * xmmCount(cpu)), 160);
}

export function restoreXmm(cpu: SystemCpu, from: Uint8Array): void {
  cpu.ram.u8.set(from.subarray(160, 160 + 16 * xmmCount(cpu)), cpu.base + STATE.xmm);
}

/** EFER.FFXSR, AMD's: at CPL 0 in 64-bit mode XMM registers are left out (APM Vol 2, 11.4.4). */
const isFast = (cpu: SystemCpu): boolean => (cpu.lo(STATE.efer) & EFER.FFXSR) !== 0 && cpu.cpl === 0 && is64(cpu);

/** With CR4.OSFXSR clear it is the processor's choice whether XMM and MXCSR are saved (SDM Vol 2A, FXSAVE): they are. */
function fxsave(cpu: SystemCpu, d: Decoded): boolean {
  if (!fxUsable(cpu)) return false;
  const lin = area(cpu, d, 512, 16, true);
  if (lin === undefined) return false;
  // Nothing is written from byte 416 on: reserved, or free for software. A fast save ends before the XMM registers.
  const image = new Uint8Array(isFast(cpu) ? LEGACY_X87 : is64(cpu) ? LEGACY_USED : LEGACY_USED_32);
  saveX87(cpu, image, d.opSize === 8);
  const view = new DataView(image.buffer);
  view.setUint32(24, cpu.u32(STATE.mxcsr), true);
  view.setUint32(28, MXCSR_MASK, true);
  if (!isFast(cpu)) saveXmm(cpu, image);
  return storeBytes(cpu, lin, image) && next(cpu, d);
}

function fxrstor(cpu: SystemCpu, d: Decoded): boolean {
  if (!fxUsable(cpu)) return false;
  const lin = area(cpu, d, 512, 16, false);
  const image = lin === undefined ? undefined : loadBytes(cpu, lin, LEGACY_USED);
  if (!image) return false;
  const mxcsr = new DataView(image.buffer).getUint32(24, true);
  if (mxcsr & ~MXCSR_MASK) return cpu.fault(EXC.GP, 0);
  restoreX87(cpu, image, d.opSize === 8);
  cpu.setU32(STATE.mxcsr, mxcsr);
  if (!isFast(cpu)) restoreXmm(cpu, image);
  return next(cpu, d);
}

/** MASKMOVDQU and MASKMOVQ: the bytes of `src` whose mask byte has its top bit set go to memory at rDI, others are not touched. */
function maskedStore(cpu: SystemCpu, d: Decoded, registers: number, size: 8 | 16): boolean {
  const [dst, src, chooser] = d.operands;
  if (dst?.kind !== 'mem' || src?.kind !== 'reg' || chooser?.kind !== 'reg') return cpu.fault(EXC.UD);
  const register = (n: number) => cpu.ram.u8.slice(cpu.base + registers + 16 * n, cpu.base + registers + 16 * n + size);
  const bytes = register(src.index);
  const chosen = register(chooser.index);
  const lin = segmentLinear(cpu, dst.seg, effectiveOffset(cpu, d, dst), size, true);
  // Whether bytes that are not chosen fault is left open (SDM Vol 2B, MASKMOVDQU); an AMD EPYC checks all, and so do we.
  if (lin === undefined || cpu.probe(lin, size, true) === 0) return false;
  for (let i = 0; i < size; i++) {
    if (chosen[i]! & 0x80 && !store(cpu, (lin + i) as Lin, 1, bytes[i]!)) return false;
  }
  return next(cpu, d);
}

const maskmovdqu = (cpu: SystemCpu, d: Decoded): boolean => sseUsable(cpu) && maskedStore(cpu, d, STATE.xmm, 16);

function maskmovq(cpu: SystemCpu, d: Decoded): boolean {
  if (!mmxUsable(cpu) || !maskedStore(cpu, d, STATE.fpr, 8)) return false;
  enterMmx(cpu);
  return true;
}

export const fpStateHandlers = {
  FXSAVE: fxsave,
  FXRSTOR: fxrstor,
  MASKMOVDQU: maskmovdqu,
  MASKMOVQ: maskmovq,
  LDMXCSR(cpu: SystemCpu, d: Decoded) {
    if (!sseUsable(cpu)) return false;
    const lin = operandLinear(cpu, d, 0, 4, false);
    const v = lin === undefined ? undefined : load(cpu, lin, 4);
    if (v === undefined) return false;
    if (v & ~MXCSR_MASK) return cpu.fault(EXC.GP, 0);
    cpu.setU32(STATE.mxcsr, v);
    return next(cpu, d);
  },
  STMXCSR(cpu: SystemCpu, d: Decoded) {
    if (!sseUsable(cpu)) return false;
    const lin = operandLinear(cpu, d, 0, 4, true);
    return lin !== undefined && store(cpu, lin, 4, cpu.u32(STATE.mxcsr)) && next(cpu, d);
  },
};
