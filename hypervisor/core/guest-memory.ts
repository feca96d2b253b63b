// What DESIGN calls copy-guest: the only way in which hypervisor code reaches memory by an address that a guest gave.
//
// Every accessor translates page by page and checks what the page tables (or the p2m) allow; a failure is a value, never a throw, and
// becomes -XEN_EFAULT. Callers copy a structure once, check the private copy and act on it (XSA-155: no double fetch).

import type { Codec } from '@ringworld/abi';
import type { Abi, Maddr } from './ids.ts';

export interface GuestMemory {
  /** Layout of the structures that this guest passes. */
  readonly abi: Abi;
  /** Machine address of the byte at `handle`, or -1. The answer holds up to the end of that page only. */
  translate(handle: number, write: boolean): Maddr | -1;
  /** guest_handle_okay(): whether a structure may lie there at all, mapped or not. Copies check for themselves. */
  isAccessible(handle: number, length: number): boolean;
  /** A private copy, or null when any byte of it cannot be read. */
  copyFrom(handle: number, length: number): Uint8Array | null;
  /** False when any byte could not be written (the bytes before it may have been). */
  copyTo(handle: number, bytes: Uint8Array): boolean;
  /** Fills with zeroes. */
  clear(handle: number, length: number): boolean;

  /** Unsigned, or -1 on a fault. */
  read32(handle: number): number;
  write32(handle: number, value: number): boolean;
  /** A 64-bit value in halves into `lo` and `hi` of this object; false on a fault. */
  read64(handle: number): boolean;
  lo: number;
  hi: number;
  write64(handle: number, lo: number, hi: number): boolean;

  /** One structure by its codec, in this guest's layout; null on a fault. `index` counts elements of an array at `handle`. */
  readStruct<T, W>(codec: Codec<T, W>, handle: number, index?: number): T | null;
  writeStruct<T, W>(codec: Codec<T, W>, handle: number, value: W, index?: number): boolean;
}
