// The x87 part of an FXSAVE image, which is also MMX's, to and from a CPU's state block (SDM Vol 1, 10.5.1.1): control, status and tag
// word and the registers. Instruction and data pointers are left out: processors differ in when they keep them.

import { STATE } from '../state.ts';
import { abridgeTags, tagOf } from '../system/fpstate.ts';

const REGISTERS = 32;
const REGISTER_SIZE = 16;
/** Bytes of a register that hold something. */
export const X87_BYTES = 10;
const EMPTY = 3;

const topOf = (fsw: number): number => (fsw >> 11) & 7;

/** `state` begins at the state block. */
export function loadX87(state: DataView, image: Uint8Array): void {
  const view = new DataView(image.buffer, image.byteOffset);
  const fsw = view.getUint16(2, true);
  state.setUint16(STATE.fcw, view.getUint16(0, true), true);
  state.setUint16(STATE.fsw, fsw, true);
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    const physical = (topOf(fsw) + i) & 7;
    const to = STATE.fpr + physical * 16;
    for (let n = 0; n < X87_BYTES; n++) state.setUint8(to + n, image[REGISTERS + i * REGISTER_SIZE + n] ?? 0);
    const held = tagOf(state.getUint16(to + 8, true), state.getInt32(to + 4, true), state.getInt32(to, true));
    tags |= ((image[4] ?? 0) & (1 << physical) ? held : EMPTY) << (2 * physical);
  }
  state.setUint16(STATE.ftw, tags, true);
}

export function storeX87(state: DataView, image: Uint8Array): void {
  const view = new DataView(image.buffer, image.byteOffset);
  const fsw = state.getUint16(STATE.fsw, true);
  view.setUint16(0, state.getUint16(STATE.fcw, true), true);
  view.setUint16(2, fsw, true);
  image[4] = abridgeTags(state.getUint16(STATE.ftw, true));
  for (let i = 0; i < 8; i++) {
    const from = STATE.fpr + ((topOf(fsw) + i) & 7) * 16;
    for (let n = 0; n < X87_BYTES; n++) image[REGISTERS + i * REGISTER_SIZE + n] = state.getUint8(from + n);
  }
}
