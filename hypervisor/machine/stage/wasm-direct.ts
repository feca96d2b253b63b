// Runs of elements in pages that the TLB holds, for string instructions (Builder.direct): where in the host's memory they are, and how
// many can be reached without another look at TLB, segment limit or address size.

import { PARAM } from '../exec/records.ts';
import { I32, I64, OP } from '../exec/wasm.ts';
import { CS, FS, HARDWARE, STATE, TLB_ENTRIES } from '../state.ts';
import type { Direct, DirectAccess, Size } from './builder.ts';
import type { WasmBuilder } from './wasm-builder.ts';
import type { Val } from './wasm-values.ts';

const PAGE = 4096;

const min = (b: WasmBuilder, x: Val, y: Val): Val => b.select(b.ltU(x, y), x, y);

interface Linear {
  readonly lin: Val;
  /** Bytes to the segment's end, 0 where the access needs the full check; undefined without segmentation. */
  readonly room: Val | undefined;
}

/** As WasmBuilder.linear(), but what does not pass is answered with no room instead of a fault. */
function linear(b: WasmBuilder, { seg, offset, write }: DirectAccess<Val>, flat: boolean): Linear {
  const at = STATE.seg + seg * 16;
  if (b.mode.bits === 64) return { lin: seg < FS ? offset : b.add(b.state(at + 8, 8), offset), room: undefined };
  if (flat && seg < FS && seg !== CS) return { lin: b.zext(offset, 4), room: undefined };
  // Present data (or readable code), expand-up, writable where that is asked.
  const fits = b.eq(b.and(b.state(at + 2, 2), b.k(write ? 0x9e : 0x9c)), b.k(write ? 0x92 : 0x90));
  const limit = b.state(at + 4, 4);
  const room = b.select(b.and(fits, b.leU(offset, limit)), b.add(b.sub(limit, offset), b.k(1)), b.k(0));
  return { lin: b.zext(b.add(b.state(at + 8, 8), offset), 4), room };
}

/** Whether the TLB holds the page of a linear address for the access, and the host address if it does. Tlb.slot() has the same hash. */
export function lookUp(b: WasmBuilder, lin: Val, access: 'read' | 'write' | 'exec'): { readonly hit: Val; readonly host: Val } {
  const page = b.shr(lin, b.k(12));
  const hash = b.and(b.add(page, b.shr(b.zext(page, 4), b.k(Math.log2(TLB_ENTRIES)))), b.k(TLB_ENTRIES - 1));
  const entry = b.shl(hash, b.k(5));
  const tag = b.stateAt(entry, HARDWARE.tlb + (access === 'read' ? 0 : access === 'write' ? 8 : 16), 8);
  const hit = b.eq(tag, b.or(page, b.state(HARDWARE.ctx, 8)));
  b.push32(lin);
  b.get(PARAM.cpu);
  b.push32(entry);
  b.op(OP.i32_add);
  b.mem(OP.i32_load, HARDWARE.tlb + 24);
  b.op(OP.i32_add);
  return { hit, host: b.take(I32, 32) };
}

export function direct(
  b: WasmBuilder,
  flat: boolean,
  size: Size,
  max: Val,
  first: DirectAccess<Val>,
  second?: DirectAccess<Val>,
): Direct<Val> {
  const shift = b.k(Math.log2(size));
  const { addrSize } = b.mode;
  const place = (access: DirectAccess<Val>, most: Val): { readonly count: Val; readonly host: Val } => {
    const { lin, room } = linear(b, access, flat);
    const { hit, host } = lookUp(b, lin, access.write ? 'write' : 'read');
    let bytes = b.sub(b.k(PAGE), b.and(lin, b.k(PAGE - 1)));
    if (room !== undefined) bytes = min(b, bytes, room);
    if (addrSize !== 8) bytes = min(b, bytes, b.sub(b.k(1n << BigInt(addrSize * 8)), access.offset));
    return { count: b.select(hit, min(b, most, b.shr(bytes, shift)), b.k(0)), host };
  };
  const one = place(first, max);
  const two = second === undefined ? one : place(second, one.count);
  return { count: two.count, first: one.host, second: two.host };
}

const FILL = 11;
const COPY = 10;
const BULK = 0xfc;

export function hostCopy(b: WasmBuilder, to: Val, from: Val, bytes: Val): void {
  for (const v of [to, from, bytes]) b.push32(v);
  b.op(BULK, COPY, 0, 0);
}
export function hostFill(b: WasmBuilder, to: Val, byte: Val, bytes: Val): void {
  for (const v of [to, byte, bytes]) b.push32(v);
  b.op(BULK, FILL, 0);
}
export function hostLoad(b: WasmBuilder, at: Val, size: Size): Val {
  b.push32(at);
  b.mem(size === 8 ? OP.i64_load : size === 4 ? OP.i64_load32_u : size === 2 ? OP.i64_load16_u : OP.i64_load8_u, 0);
  return b.take(I64, size * 8);
}
export function hostStore(b: WasmBuilder, at: Val, size: Size, v: Val): void {
  b.push32(at);
  b.push64(v);
  b.mem(size === 8 ? OP.i64_store : size === 4 ? OP.i64_store32 : size === 2 ? OP.i64_store16 : OP.i64_store8, 0);
}
