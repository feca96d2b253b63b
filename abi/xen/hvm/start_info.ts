// start_info.h: what a PVH domain finds at EBX when it starts.

import { u32, u64, u64_number } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';

export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
export const XEN_HVM_MEMMAP_TYPE_RAM = 1;
export const XEN_HVM_MEMMAP_TYPE_RESERVED = 2;
export const XEN_HVM_MEMMAP_TYPE_ACPI = 3;
export const XEN_HVM_MEMMAP_TYPE_NVS = 4;
export const XEN_HVM_MEMMAP_TYPE_UNUSABLE = 5;
export const XEN_HVM_MEMMAP_TYPE_DISABLED = 6;
export const XEN_HVM_MEMMAP_TYPE_PMEM = 7;

export const hvm_start_info = struct('hvm_start_info', {
  magic: u32,
  version: u32,
  flags: u32,
  nr_modules: u32,
  modlist_paddr: u64_number,
  cmdline_paddr: u64_number,
  rsdp_paddr: u64_number,
  memmap_paddr: u64_number,
  memmap_entries: u32,
  reserved: u32,
});

export const hvm_modlist_entry = struct('hvm_modlist_entry', {
  paddr: u64_number,
  size: u64_number,
  cmdline_paddr: u64_number,
  reserved: u64,
});

export const hvm_memmap_table_entry = struct('hvm_memmap_table_entry', {
  addr: u64_number,
  size: u64_number,
  type: u32,
  reserved: u32,
});
