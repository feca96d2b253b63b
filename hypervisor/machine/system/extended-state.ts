// XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR and XRSTORS (SDM Vol 1, chapter 13): x87, SSE and PKRU in the standard and the compacted format.
//
// Whether a component is in use (XINUSE) is found by looking: one in its initial configuration is not. That is exact, where processors may
// say "in use" of what they have lost track of.

import type { Lin } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { RAX, STATE } from '../state.ts';
import { CR0, CR4, EXC } from './bits.ts';
import { area, initX87, MXCSR_MASK, MXCSR_RESET, restoreX87, restoreXmm, saveX87, saveXmm, xmmCount } from './fpstate.ts';
import { loadBytes, storeBytes } from './linear.ts';
import { next, requireCpl0 } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87, XSAVE_LEGACY, XSAVE_PKRU_AT, XSAVE_PKRU_SIZE } from './xstate.ts';

/** Offsets in the area: MXCSR and its mask, XSTATE_BV, XCOMP_BV, the rest of the header. */
const MXCSR = 24;
const XMM_AT = 160;
const LEGACY_END = 416;
const HEADER = 512;
const COMPACTED = 0x8000_0000;

export function setPkru(cpu: SystemCpu, v: number): void {
  if (v === cpu.u32(STATE.pkru)) return;
  cpu.setU32(STATE.pkru, v);
  if (!(cpu.lo(STATE.cr4) & CR4.PKE)) return;
  // What the TLB lets through was allowed under the old rights.
  cpu.modeChanged();
  cpu.flushTlb();
}

const allZero = (cpu: SystemCpu, field: number, bytes: number): boolean => {
  for (let i = 0; i < bytes; i += 4) if (cpu.u32(field + i) !== 0) return false;
  return true;
};

/** XINUSE: the components that are not in their initial configuration. SSE's is that of the XMM registers, whatever MXCSR holds. */
export function inUse(cpu: SystemCpu): number {
  const x87Initial =
    cpu.u16(STATE.fcw) === 0x37f &&
    cpu.u16(STATE.fsw) === 0 &&
    cpu.u16(STATE.ftw) === 0xffff &&
    cpu.u16(STATE.fop) === 0 &&
    allZero(cpu, STATE.fip, 16) &&
    allZero(cpu, STATE.fpr, 128);
  const xmmInitial = allZero(cpu, STATE.xmm, 256);
  return (x87Initial ? 0 : XCR0_X87) | (xmmInitial ? 0 : XCR0_SSE) | (cpu.u32(STATE.pkru) === 0 ? 0 : XCR0_PKRU);
}

/** #UD, #NM, #GP for a high half that names nothing: what comes before any XSAVE instruction. */
function usable(cpu: SystemCpu): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.OSXSAVE)) return cpu.fault(EXC.UD);
  return !(cpu.lo(STATE.cr0) & CR0.TS) || cpu.fault(EXC.NM);
}

/** Components asked for: EDX:EAX and XCR0 (IA32_XSS is always zero). The high half names none that exist. */
const requested = (cpu: SystemCpu): number => cpu.regLo(RAX) & cpu.lo(STATE.xcr0);

/** Where PKRU lies in an area of this layout. */
const pkruAt = (layout: number, compacted: boolean): number => (compacted ? XSAVE_LEGACY + (layout & XCR0_AVX ? 256 : 0) : XSAVE_PKRU_AT);

function savePart(cpu: SystemCpu, lin: Lin, at: number, bytes: Uint8Array): boolean {
  return bytes.length === 0 || storeBytes(cpu, (lin + at) as Lin, bytes);
}

interface Save {
  /** Components whose data are written. */
  readonly write: number;
  /** New XSTATE_BV. */
  readonly bv: number;
  /** undefined: XCOMP_BV is not written (standard format). */
  readonly xcomp: number | undefined;
  /** Layout for the extended region. */
  readonly compacted: boolean;
  readonly mxcsr: boolean;
  readonly wide: boolean;
}

/** Writes an area. Everything is probed before, so that a fault leaves no half of it. */
function writeArea(cpu: SystemCpu, lin: Lin, s: Save): boolean {
  const pkru = s.write & XCR0_PKRU ? pkruAt(s.xcomp ?? 0, s.compacted) : 0;
  const size = pkru ? pkru + XSAVE_PKRU_SIZE : XSAVE_LEGACY;
  // At most one page border lies inside.
  if (cpu.probe(lin, 1, true) === 0 || cpu.probe((lin + size - 1) as Lin, 1, true) === 0) return false;
  const legacy = new Uint8Array(LEGACY_END);
  const view = new DataView(legacy.buffer);
  if (s.write & XCR0_X87) {
    saveX87(cpu, legacy, s.wide);
    if (!savePart(cpu, lin, 0, legacy.subarray(0, MXCSR)) || !savePart(cpu, lin, 32, legacy.subarray(32, XMM_AT))) return false;
  }
  if (s.mxcsr) {
    view.setUint32(MXCSR, cpu.u32(STATE.mxcsr), true);
    view.setUint32(MXCSR + 4, MXCSR_MASK, true);
    if (!savePart(cpu, lin, MXCSR, legacy.subarray(MXCSR, MXCSR + 8))) return false;
  }
  if (s.write & XCR0_SSE) {
    saveXmm(cpu, legacy);
    if (!savePart(cpu, lin, XMM_AT, legacy.subarray(XMM_AT, XMM_AT + 16 * xmmCount(cpu)))) return false;
  }
  if (pkru) {
    const b = new Uint8Array(XSAVE_PKRU_SIZE);
    new DataView(b.buffer).setUint32(0, cpu.u32(STATE.pkru), true);
    if (!savePart(cpu, lin, pkru, b)) return false;
  }
  const header = new Uint8Array(s.xcomp === undefined ? 8 : 16);
  const h = new DataView(header.buffer);
  h.setUint32(0, s.bv, true);
  if (s.xcomp !== undefined) {
    h.setUint32(8, s.xcomp, true);
    h.setUint32(12, COMPACTED, true);
  }
  return savePart(cpu, lin, HEADER, header);
}

/** XSAVE and XSAVEOPT (13.7, 13.9): the header keeps the bits of components that were not asked for. */
function save(optimized: boolean): (cpu: SystemCpu, d: Decoded) => boolean {
  return (cpu, d) => {
    if (!usable(cpu)) return false;
    const lin = area(cpu, d, XSAVE_LEGACY, 64, true);
    const header = lin === undefined ? undefined : loadBytes(cpu, (lin + HEADER) as Lin, 8);
    if (lin === undefined || !header) return false;
    const rfbm = requested(cpu);
    // SSE counts as in use when MXCSR is not initial (13.7).
    const used = inUse(cpu) | (cpu.u32(STATE.mxcsr) !== MXCSR_RESET ? XCR0_SSE : 0);
    const view = new DataView(header.buffer);
    const old = view.getUint32(0, true);
    const high = view.getUint32(4, true);
    const ok = writeArea(cpu, lin, {
      write: optimized ? rfbm & used : rfbm,
      bv: (old & ~rfbm) | (used & rfbm),
      xcomp: undefined,
      compacted: false,
      mxcsr: (rfbm & (XCR0_SSE | XCR0_AVX)) !== 0,
      wide: d.opSize === 8,
    });
    // The high half of XSTATE_BV names nothing that could have been asked for: it stays.
    return ok && keepHigh(cpu, lin, high) && next(cpu, d);
  };
}
function keepHigh(cpu: SystemCpu, lin: Lin, high: number): boolean {
  if (high === 0) return true;
  const b = new Uint8Array(4);
  new DataView(b.buffer).setUint32(0, high, true);
  return savePart(cpu, lin, HEADER + 4, b);
}

/** XSAVEC and, with IA32_XSS zero, XSAVES (13.10, 13.11). */
function saveCompacted(cpu: SystemCpu, d: Decoded): boolean {
  if (!usable(cpu)) return false;
  const lin = area(cpu, d, XSAVE_LEGACY, 64, true);
  if (lin === undefined) return false;
  const rfbm = requested(cpu);
  const used = (inUse(cpu) | (cpu.u32(STATE.mxcsr) !== MXCSR_RESET ? XCR0_SSE : 0)) & rfbm;
  const ok = writeArea(cpu, lin, {
    write: used,
    bv: used,
    xcomp: rfbm,
    compacted: true,
    mxcsr: (used & XCR0_SSE) !== 0,
    wide: d.opSize === 8,
  });
  return ok && next(cpu, d);
}

/** The checks of the header (13.8, 13.12): XCOMP_BV if the area is compacted, undefined if it is in standard format, null with #GP(0). */
function headerFormat(cpu: SystemCpu, header: Uint8Array, onlyCompacted: boolean): number | undefined | null {
  const v = new DataView(header.buffer);
  const word = (at: number) => v.getUint32(at, true);
  const xcr0 = cpu.lo(STATE.xcr0);
  const gp = (): null => {
    cpu.fault(EXC.GP, 0);
    return null;
  };
  const compacted = (word(12) & COMPACTED) !== 0;
  if (word(0) & ~xcr0 || word(4)) return gp();
  if (!compacted) {
    for (let at = 8; at < 24; at += 4) if (word(at)) return gp();
    return onlyCompacted ? gp() : undefined;
  }
  if (!cpu.profile.features.has('xsavec') || word(8) & ~xcr0 || word(12) & ~COMPACTED || word(0) & ~word(8)) return gp();
  for (let at = 16; at < 64; at += 4) if (word(at)) return gp();
  return word(8);
}

function restore(cpu: SystemCpu, d: Decoded, onlyCompacted: boolean): boolean {
  if (!usable(cpu)) return false;
  const lin = area(cpu, d, XSAVE_LEGACY, 64, false);
  const image = lin === undefined ? undefined : loadBytes(cpu, lin, XSAVE_LEGACY);
  if (lin === undefined || !image) return false;
  const layout = headerFormat(cpu, image.slice(HEADER), onlyCompacted);
  if (layout === null) return false;
  const view = new DataView(image.buffer);
  const rfbm = requested(cpu);
  const present = view.getUint32(HEADER, true) & rfbm;
  const fromPkru = present & XCR0_PKRU ? loadBytes(cpu, (lin + pkruAt(layout ?? 0, layout !== undefined)) as Lin, 4) : null;
  if (fromPkru === undefined) return false;
  // MXCSR: in standard format with SSE or AVX asked for; in compacted format part of SSE.
  const wanted = layout === undefined ? (rfbm & (XCR0_SSE | XCR0_AVX)) !== 0 : (rfbm & XCR0_SSE) !== 0;
  const mxcsr = layout === undefined || present & XCR0_SSE ? view.getUint32(MXCSR, true) : MXCSR_RESET;
  if (wanted && mxcsr & ~MXCSR_MASK) return cpu.fault(EXC.GP, 0);
  if (present & XCR0_X87) restoreX87(cpu, image, d.opSize === 8);
  else if (rfbm & XCR0_X87) initX87(cpu, true);
  if (wanted) cpu.setU32(STATE.mxcsr, mxcsr);
  if (present & XCR0_SSE) restoreXmm(cpu, image);
  else if (rfbm & XCR0_SSE) cpu.ram.u8.fill(0, cpu.base + STATE.xmm, cpu.base + STATE.xmm + 16 * xmmCount(cpu));
  if (fromPkru) setPkru(cpu, new DataView(fromPkru.buffer).getUint32(0, true));
  else if (rfbm & XCR0_PKRU) setPkru(cpu, 0);
  return next(cpu, d);
}

export const extendedStateHandlers = {
  XSAVE: save(false),
  XSAVEOPT: save(true),
  XSAVEC: saveCompacted,
  XSAVES: (cpu: SystemCpu, d: Decoded) => requireCpl0(cpu) && saveCompacted(cpu, d),
  XRSTOR: (cpu: SystemCpu, d: Decoded) => restore(cpu, d, false),
  XRSTORS: (cpu: SystemCpu, d: Decoded) => requireCpl0(cpu) && restore(cpu, d, true),
};
