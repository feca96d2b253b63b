// The jump cache finds the decoded block for a computed RIP without leaving threaded code. The slots for one linear page lie
// together, so that a page's entries can be dropped when its translation or its code changes.
//
// An entry is good for one context (address space, privilege, mode). Most code is the same in all address spaces, though: an entry that
// another context left is taken over when the TLB says that its page lies in the same frame here, and the mode is the same. That is
// what the `home` word is for, and the handler of STOP.lookup does it (a fork and exec meets some 10,000 blocks in a new space).

import { type Lin, linHi, linLo } from '../addresses.ts';
import type { Ram } from '../mmu/ram.ts';
import { HARDWARE, JUMP_CACHE_ENTRIES, JUMP_CACHE_GROUP, STATE } from '../state.ts';

const GROUPS = JUMP_CACHE_ENTRIES / JUMP_CACHE_GROUP;
const GROUP_BYTES = JUMP_CACHE_GROUP * 16;

const groupOffset = (lin: Lin): number => {
  const page = Math.floor(lin / 4096) | 0;
  return ((page ^ (page >>> 6)) & (GROUPS - 1)) * GROUP_BYTES;
};

/** Offset of the slot for a RIP, relative to HARDWARE.jumpCache of a CPU; the same hash as WasmBuilder.jump(). */
export function jumpSlot(rip: Lin): number {
  const offset = linLo(rip) & 0xfff;
  return groupOffset(rip) | (((offset ^ (offset >>> 8)) & (JUMP_CACHE_GROUP - 1)) << 4);
}

/** Modes and frames that an entry can be taken over for: their numbers must fit the word. */
const MODE_BITS = 12;
/** HARDWARE.modeKey that matches no entry. */
const NO_MODE = (1 << MODE_BITS) - 1;
/** HARDWARE.modeKey for a mode; one that matches no entry where RIP is not the linear address. */
export const modeKey = (mode: { readonly id: number; readonly csBase: number }): number =>
  mode.csBase === 0 && mode.id + 1 < NO_MODE ? mode.id + 1 : NO_MODE;
/** The home of a block: its host page and its mode; 0 for one that nobody may take over. */
export const homeOf = (hostPage: number, key: number): number => (key === NO_MODE ? 0 : ((hostPage & ~((1 << MODE_BITS) - 1)) | key) >>> 0);

/** rip must run in the current context of the CPU at `base`. */
export function putJump(ram: Ram, base: number, rip: Lin, record: number, home: number): void {
  const slot = (base + HARDWARE.jumpCache + jumpSlot(rip)) >>> 2;
  const ctx = (base + HARDWARE.ctx) >>> 2;
  ram.u32[slot] = linLo(rip) ^ ram.u32[ctx]!;
  ram.u32[slot + 1] = linHi(rip) ^ ram.u32[ctx + 1]!;
  ram.u32[slot + 2] = record;
  ram.u32[slot + 3] = home;
}

/** The record that the cache holds for the RIP of the CPU at `base` in its current context, or 0. */
export function jumpAtRip(ram: Ram, base: number): number {
  const { u32 } = ram;
  const rip = (base + STATE.rip) >>> 2;
  const lo = u32[rip]!;
  const hi = u32[rip + 1]!;
  const page = (lo >>> 12) | (hi << 20);
  const offset = lo & 0xfff;
  const group = ((page ^ (page >>> 6)) & (GROUPS - 1)) * GROUP_BYTES;
  const slot = (base + HARDWARE.jumpCache + (group | (((offset ^ (offset >>> 8)) & (JUMP_CACHE_GROUP - 1)) << 4))) >>> 2;
  const ctx = (base + HARDWARE.ctx) >>> 2;
  // One that is not canonical could match another context's entry.
  if ((hi << 16) >> 16 !== (hi | 0)) return 0;
  return (u32[slot]! ^ lo ^ u32[ctx]!) === 0 && (u32[slot + 1]! ^ hi ^ u32[ctx + 1]!) === 0 ? u32[slot + 2]! : 0;
}

/** Drops all entries for a linear page (and those that share its slots). An empty slot holds RIP 0 in context 0, which is never used. */
export function dropJumps(ram: Ram, base: number, page: Lin): void {
  const at = base + HARDWARE.jumpCache + groupOffset(page);
  ram.u8.fill(0, at, at + GROUP_BYTES);
}

export function dropAllJumps(ram: Ram, base: number): void {
  ram.u8.fill(0, base + HARDWARE.jumpCache, base + HARDWARE.jumpCache + JUMP_CACHE_ENTRIES * 16);
}
