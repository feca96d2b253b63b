// The hypervisor's own descriptors: the page that every PV guest's GDT ends with (xen/arch/x86/boot/x86_64.S, gdt and compat_gdt).

import type { Maddr } from '../machine/addresses.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import { FIRST_RESERVED_GDT_BYTE } from './selectors.ts';

export const TSS_SELECTOR = FIRST_RESERVED_GDT_BYTE + 0x40;
export const LDT_SELECTOR = FIRST_RESERVED_GDT_BYTE + 0x50;
export const PER_CPU_SELECTOR = FIRST_RESERVED_GDT_BYTE + 0x60;

/** High words, from 0xe000 up; the low word is 0x0000ffff for each that exists. */
const NATIVE = [
  0,
  0x00af9b00, // 0xe008 ring 0 code, 64-bit
  0x00cf9300, // 0xe010 ring 0 data
  0, //          0xe018
  0x00cffb00, // 0xe023 FLAT_RING3_CS32
  0x00cff300, // 0xe02b FLAT_RING3_DS32, FLAT_RING3_SS
  0x00affb00, // 0xe033 FLAT_RING3_CS64
  0x00cf9b00, // 0xe038 ring 0 code, compatibility
] as const;
const COMPAT = [
  0,
  0x00af9b00, // 0xe008 ring 0 code, 64-bit
  0x00cf9300, // 0xe010 ring 0 data
  0x00cfbb00, // 0xe019 FLAT_RING1_CS
  0x00cfb300, // 0xe021 FLAT_RING1_DS
  0x00cffb00, // 0xe02b FLAT_RING3_CS
  0x00cff300, // 0xe033 FLAT_RING3_DS
  0x00cf9b00, // 0xe038 ring 0 code, compatibility
] as const;

const words = { lo: 0, hi: 0 };

/** The entry, or undefined where the page has none that a guest could load. Filled in place. */
export function reservedDescriptor(is32bit: boolean, selector: number): { readonly lo: number; readonly hi: number } | undefined {
  if ((selector & 0xfff8) === PER_CPU_SELECTOR) {
    words.lo = 0;
    words.hi = PER_CPU_HI;
    return words;
  }
  const hi = (is32bit ? COMPAT : NATIVE)[((selector & 0xfff8) - FIRST_RESERVED_GDT_BYTE) >>> 3];
  if (!hi) return undefined;
  words.lo = 0xffff;
  words.hi = hi;
  return words;
}

/** Per-CPU descriptor whose limit is the CPU's number (LSL reads it): ring 0 data. */
const PER_CPU_HI = 0x00409000;

/** Fills a frame with the page. */
export function writeReservedGdt(ram: Ram, is32bit: boolean, frame: Maddr): void {
  ram.fill(frame, 0, 4096);
  const table = is32bit ? COMPAT : NATIVE;
  table.forEach((hi, i) => {
    if (hi === 0) return;
    ram.write32((frame + i * 8) as Maddr, 0xffff);
    ram.write32((frame + i * 8 + 4) as Maddr, hi);
  });
  ram.write32((frame + (PER_CPU_SELECTOR - FIRST_RESERVED_GDT_BYTE) + 4) as Maddr, PER_CPU_HI);
}
