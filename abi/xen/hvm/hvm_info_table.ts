// hvm/hvm_info_table.h: what hvmloader learns from the domain builder, in a page of low memory.
import { bytes, chars } from '../../layout/array.ts';
import { u8, u32 } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';

export const HVM_INFO_PFN = 0x09f;
export const HVM_INFO_OFFSET = 0x800;
export const HVM_INFO_PADDR = (HVM_INFO_PFN << 12) + HVM_INFO_OFFSET;

export const HVM_MAX_VCPUS = 128;

/** The bytes of it add up to 0. Fields named *_pgend and *_pgstart are page numbers. */
export const hvm_info_table = struct('hvm_info_table', {
  signature: chars(8),
  length: u32,
  checksum: u8,
  apic_mode: u8,
  nr_vcpus: u32,
  low_mem_pgend: u32,
  reserved_mem_pgstart: u32,
  high_mem_pgend: u32,
  vcpu_online: bytes(HVM_MAX_VCPUS / 8),
});
