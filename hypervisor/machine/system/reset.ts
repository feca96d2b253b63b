// A context after power-up or RESET (SDM Vol 3A, Table 9-1).

import type { Lin } from '../addresses.ts';
import type { Context } from '../context.ts';
import { CONTEXT_SIZE, CS, DS, ES, FS, GS, LDTR, RDX, SS, STATE, TR } from '../state.ts';
import { CR0 } from './bits.ts';
import { MXCSR_RESET } from './fpstate.ts';
import { PAT_RESET } from './msr.ts';

/** Real mode at F000:FFF0, base FFFF0000. `signature` (CPUID leaf 1 EAX) is left in EDX. */
export function resetContext(c: Context, signature: number): void {
  c.clear();
  c.rip = 0xfff0 as Lin;
  c.rflags = 2;
  c.setRegHalves(RDX, signature, 0);
  for (const seg of [ES, SS, DS, FS, GS]) c.setSegment(seg, 0, 0x93, 0xffff, 0);
  c.setSegment(CS, 0xf000, 0x9b, 0xffff, 0xffff0000);
  c.setSegment(LDTR, 0, 0x82, 0xffff, 0);
  c.setSegment(TR, 0, 0x8b, 0xffff, 0);
  c.setU32(STATE.gdtrLimit, 0xffff);
  c.setU32(STATE.idtrLimit, 0xffff);
  c.setHalves(STATE.cr0, 0x60000010, 0);
  c.setBig(STATE.dr + 8 * 6, 0xffff0ff0n);
  c.setBig(STATE.dr + 8 * 7, 0x400n);
  c.setBig(STATE.pat, PAT_RESET);
  c.setBig(STATE.xcr0, 1n);
  c.setU16(STATE.fcw, 0x40);
  c.setU16(STATE.ftw, 0x5555);
  c.setU32(STATE.mxcsr, MXCSR_RESET);
}

/** What INIT leaves as it is (SDM Vol 3A, Table 9-1): x87, MMX and XMM state, XCR0, the TSC, PAT. */
const INIT_KEEPS: readonly (readonly [from: number, to: number])[] = [
  [STATE.fcw, CONTEXT_SIZE],
  [STATE.xcr0, STATE.dr],
  [STATE.tscAux, STATE.cpl],
];

/** A context after INIT: as after RESET, but for what INIT keeps and for CR0.CD and NW. */
export function initContext(c: Context, signature: number): void {
  const kept = INIT_KEEPS.map(([from, to]) => c.ram.u8.slice(c.base + from, c.base + to));
  const caching = c.u32(STATE.cr0) & (CR0.CD | CR0.NW);
  resetContext(c, signature);
  INIT_KEEPS.forEach(([from], i) => {
    c.ram.u8.set(kept[i]!, c.base + from);
  });
  c.setHalves(STATE.cr0, CR0.ET | caching, 0);
}
