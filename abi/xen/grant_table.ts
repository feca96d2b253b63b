// grant_table.h: grant tables: entries of both versions as they lie in shared pages, and the operations on them.
import { array } from '../layout/array.ts';
import { address64, domid_t, grant_handle_t, grant_ref_t, handle, s16, u16, u32, u64_number, xen_pfn_t } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';

export const grant_entry_v1 = struct('grant_entry_v1', {
  flags: u16,
  domid: domid_t,
  frame: u32,
});

export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

export const GTF_invalid = 0;
export const GTF_permit_access = 1 << 0;
export const GTF_accept_transfer = 2;
export const GTF_transitive = 3;
export const GTF_type_mask = 3;

export const _GTF_readonly = 2;
export const GTF_readonly = 1 << _GTF_readonly;
export const _GTF_reading = 3;
export const GTF_reading = 1 << _GTF_reading;
export const _GTF_writing = 4;
export const GTF_writing = 1 << _GTF_writing;
export const _GTF_PWT = 5;
export const GTF_PWT = 1 << _GTF_PWT;
export const _GTF_PCD = 6;
export const GTF_PCD = 1 << _GTF_PCD;
export const _GTF_PAT = 7;
export const GTF_PAT = 1 << _GTF_PAT;
export const _GTF_sub_page = 8;
export const GTF_sub_page = 1 << _GTF_sub_page;

export const _GTF_transfer_committed = 2;
export const GTF_transfer_committed = 1 << _GTF_transfer_committed;
export const _GTF_transfer_completed = 3;
export const GTF_transfer_completed = 1 << _GTF_transfer_completed;

export const grant_entry_header = struct('grant_entry_header', {
  flags: u16,
  domid: domid_t,
});

/** `flags` and `domid` lead in every form (hdr). */
export const grant_entry_v2 = union('grant_entry_v2', {
  hdr: grant_entry_header,
  full_page: inline({
    hdr: grant_entry_header,
    pad0: u32,
    frame: u64_number,
  }),
  sub_page: inline({
    hdr: grant_entry_header,
    page_off: u16,
    length: u16,
    frame: u64_number,
  }),
  transitive: inline({
    hdr: grant_entry_header,
    trans_domid: domid_t,
    pad0: u16,
    gref: grant_ref_t,
  }),
  __spacer: array(4, u32),
});

export const GNTTABOP_map_grant_ref = 0;
export const GNTTABOP_unmap_grant_ref = 1;
export const GNTTABOP_setup_table = 2;
export const GNTTABOP_dump_table = 3;
export const GNTTABOP_transfer = 4;
export const GNTTABOP_copy = 5;
export const GNTTABOP_query_size = 6;
export const GNTTABOP_unmap_and_replace = 7;
export const GNTTABOP_set_version = 8;
export const GNTTABOP_get_status_frames = 9;
export const GNTTABOP_get_version = 10;
export const GNTTABOP_swap_grant_ref = 11;
export const GNTTABOP_cache_flush = 12;

/** host_addr is a linear address, a machine address of a PTE under GNTMAP_contains_pte, or a guest-physical one. */
export const gnttab_map_grant_ref = struct('gnttab_map_grant_ref', {
  host_addr: address64,
  flags: u32,
  ref: grant_ref_t,
  dom: domid_t,
  status: s16,
  handle: grant_handle_t,
  dev_bus_addr: u64_number,
});

export const gnttab_unmap_grant_ref = struct('gnttab_unmap_grant_ref', {
  host_addr: address64,
  dev_bus_addr: u64_number,
  handle: grant_handle_t,
  status: s16,
});

export const gnttab_setup_table = struct('gnttab_setup_table', {
  dom: domid_t,
  nr_frames: u32,
  status: s16,
  frame_list: handle('xen_pfn_t'),
});

export const gnttab_dump_table = struct('gnttab_dump_table', {
  dom: domid_t,
  status: s16,
});

export const gnttab_transfer = struct('gnttab_transfer', {
  mfn: xen_pfn_t,
  domid: domid_t,
  ref: grant_ref_t,
  status: s16,
});

export const _GNTCOPY_source_gref = 0;
export const GNTCOPY_source_gref = 1 << _GNTCOPY_source_gref;
export const _GNTCOPY_dest_gref = 1;
export const GNTCOPY_dest_gref = 1 << _GNTCOPY_dest_gref;

export const gnttab_copy_ptr = struct('gnttab_copy_ptr', {
  u: union('', {
    ref: grant_ref_t,
    gmfn: xen_pfn_t,
  }),
  domid: domid_t,
  offset: u16,
});

export const gnttab_copy = struct('gnttab_copy', {
  source: gnttab_copy_ptr,
  dest: gnttab_copy_ptr,
  len: u16,
  flags: u16,
  status: s16,
});

export const gnttab_query_size = struct('gnttab_query_size', {
  dom: domid_t,
  nr_frames: u32,
  max_nr_frames: u32,
  status: s16,
});

export const gnttab_unmap_and_replace = struct('gnttab_unmap_and_replace', {
  host_addr: address64,
  new_addr: address64,
  handle: grant_handle_t,
  status: s16,
});

export const gnttab_set_version = struct('gnttab_set_version', {
  version: u32,
});

export const gnttab_get_status_frames = struct('gnttab_get_status_frames', {
  nr_frames: u32,
  dom: domid_t,
  status: s16,
  frame_list: handle('uint64_t'),
});

export const gnttab_get_version = struct('gnttab_get_version', {
  dom: domid_t,
  pad: u16,
  version: u32,
});

export const gnttab_swap_grant_ref = struct('gnttab_swap_grant_ref', {
  ref_a: grant_ref_t,
  ref_b: grant_ref_t,
  status: s16,
});

export const gnttab_cache_flush = struct('gnttab_cache_flush', {
  a: union('', {
    dev_bus_addr: u64_number,
    ref: grant_ref_t,
  }),
  offset: u16,
  length: u16,
  op: u32,
});

export const GNTTAB_CACHE_CLEAN = 1 << 0;
export const GNTTAB_CACHE_INVAL = 1 << 1;
export const GNTTAB_CACHE_SOURCE_GREF = 0x80000000;

export const _GNTMAP_device_map = 0;
export const GNTMAP_device_map = 1 << _GNTMAP_device_map;
export const _GNTMAP_host_map = 1;
export const GNTMAP_host_map = 1 << _GNTMAP_host_map;
export const _GNTMAP_readonly = 2;
export const GNTMAP_readonly = 1 << _GNTMAP_readonly;
export const _GNTMAP_application_map = 3;
export const GNTMAP_application_map = 1 << _GNTMAP_application_map;
export const _GNTMAP_contains_pte = 4;
export const GNTMAP_contains_pte = 1 << _GNTMAP_contains_pte;
export const _GNTMAP_guest_avail0 = 16;
export const GNTMAP_guest_avail_mask = 0xffff0000;

// Status values in the structures: negative is failure.
export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_bad_dev_addr = -6;
export const GNTST_no_device_space = -7;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;
export const GNTST_address_too_big = -11;
export const GNTST_eagain = -12;
export const GNTST_no_space = -13;
