// The FPU state of a register block as the 512-byte FXSAVE image that vcpu_guest_context carries (SDM Vol 1, 10.5.1).

import type { Context } from '../machine/context.ts';
import { STATE } from '../machine/state.ts';
import { abridgeTags, tagOf } from '../machine/system/fpstate.ts';

const FCW_DEFAULT = 0x37f;
const MXCSR_DEFAULT = 0x1f80;
const MXCSR_MASK = 0xffff;

/** FNINIT and the default MXCSR, registers zero (vcpu_default_fpu). */
export function resetFpu(c: Context): void {
  const { u8 } = c.ram;
  u8.fill(0, c.base + STATE.fcw, c.base + STATE.fpr + 8 * 16);
  u8.fill(0, c.base + STATE.xmm, c.base + STATE.xmm + 16 * 16);
  c.setU16(STATE.fcw, FCW_DEFAULT);
  c.setU16(STATE.ftw, 0xffff);
  c.setU32(STATE.mxcsr, MXCSR_DEFAULT);
}

export function loadFxsave(c: Context, image: Uint8Array): void {
  const v = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const { u8 } = c.ram;
  const fsw = v.getUint16(2, true);
  c.setU16(STATE.fcw, v.getUint16(0, true));
  c.setU16(STATE.fsw, fsw);
  c.setU16(STATE.fop, v.getUint16(6, true));
  c.setHalves(STATE.fip, v.getUint32(8, true), v.getUint32(12, true));
  c.setHalves(STATE.fdp, v.getUint32(16, true), v.getUint32(20, true));
  c.setU32(STATE.mxcsr, v.getUint32(24, true) & MXCSR_MASK);
  const top = (fsw >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const at = c.base + STATE.fpr + ((top + i) & 7) * 16;
    u8.set(image.subarray(32 + i * 16, 32 + i * 16 + 10), at);
  }
  let ftw = 0;
  for (let i = 0; i < 8; i++) {
    const r = STATE.fpr + i * 16;
    const tag = image[4]! & (1 << i) ? tagOf(c.u16(r + 8), c.hi(r), c.lo(r)) : 3;
    ftw |= tag << (2 * i);
  }
  c.setU16(STATE.ftw, ftw);
  u8.set(image.subarray(160, 160 + 256), c.base + STATE.xmm);
}

export function saveFxsave(c: Context): Uint8Array {
  const out = new Uint8Array(512);
  const v = new DataView(out.buffer);
  const { u8 } = c.ram;
  const fsw = c.u16(STATE.fsw);
  v.setUint16(0, c.u16(STATE.fcw), true);
  v.setUint16(2, fsw, true);
  out[4] = abridgeTags(c.u16(STATE.ftw));
  v.setUint16(6, c.u16(STATE.fop), true);
  v.setUint32(8, c.u32(STATE.fip), true);
  v.setInt32(12, c.hi(STATE.fip), true);
  v.setUint32(16, c.u32(STATE.fdp), true);
  v.setInt32(20, c.hi(STATE.fdp), true);
  v.setUint32(24, c.u32(STATE.mxcsr), true);
  v.setUint32(28, MXCSR_MASK, true);
  const top = (fsw >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const from = c.base + STATE.fpr + ((top + i) & 7) * 16;
    out.set(u8.subarray(from, from + 10), 32 + i * 16);
  }
  out.set(u8.subarray(c.base + STATE.xmm, c.base + STATE.xmm + 256), 160);
  return out;
}
