// kexec.h: kexec_op numbers and images.
import { array } from '../layout/array.ts';
import { handle, s32, u8, u16, u32, u64, u64_number, ulong_number, vaddr_t } from '../layout/scalars.ts';
import { struct, union } from '../layout/struct.ts';

export const KEXEC_XEN_NO_PAGES = 17;
export const KEXEC_TYPE_DEFAULT = 0;
export const KEXEC_TYPE_CRASH = 1;

export const xen_kexec_image = struct('xen_kexec_image', {
  page_list: array(17, ulong_number),
  indirection_page: ulong_number,
  start_address: vaddr_t,
});

export const KEXEC_CMD_kexec = 0;

export const xen_kexec_exec = struct('xen_kexec_exec', {
  type: s32,
});

export const KEXEC_CMD_kexec_load_v1 = 1;
export const KEXEC_CMD_kexec_unload_v1 = 2;

export const xen_kexec_load_v1 = struct('xen_kexec_load_v1', {
  type: s32,
  image: xen_kexec_image,
});

export const KEXEC_RANGE_MA_CRASH = 0;
export const KEXEC_RANGE_MA_XEN = 1;
export const KEXEC_RANGE_MA_CPU = 2;
export const KEXEC_RANGE_MA_XENHEAP = 3;
export const KEXEC_RANGE_MA_BOOT_PARAM = 4;
export const KEXEC_RANGE_MA_EFI_MEMMAP = 5;
export const KEXEC_RANGE_MA_VMCOREINFO = 6;
export const KEXEC_CMD_kexec_get_range = 3;

export const xen_kexec_range = struct('xen_kexec_range', {
  range: s32,
  nr: s32,
  size: ulong_number,
  start: ulong_number,
});

export const xen_kexec_segment = struct('xen_kexec_segment', {
  buf: union('', {
    h: handle('void'),
    _pad: u64,
  }),
  buf_size: u64_number,
  dest_maddr: u64,
  dest_size: u64_number,
});

export const KEXEC_CMD_kexec_load = 4;

export const xen_kexec_load = struct('xen_kexec_load', {
  type: u8,
  _pad: u8,
  arch: u16,
  nr_segments: u32,
  segments: union('', {
    h: handle('xen_kexec_segment_t'),
    _pad: u64,
  }),
  entry_maddr: u64,
});

export const KEXEC_CMD_kexec_unload = 5;

export const xen_kexec_unload = struct('xen_kexec_unload', {
  type: u8,
});

export const KEXEC_CMD_kexec_status = 6;

export const xen_kexec_status = struct('xen_kexec_status', {
  type: u8,
});
