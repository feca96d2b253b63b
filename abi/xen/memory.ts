// memory.h: memory_op: a domain's memory reservation and its physical map.
import { array } from '../layout/array.ts';
import {
  domid_t,
  handle,
  handle64,
  u8,
  u16,
  u32,
  u64,
  u64_aligned,
  u64_aligned_number,
  u64_number,
  vaddr_t,
  xen_pfn_t,
  xen_ulong_number,
} from '../layout/scalars.ts';
import { struct, union } from '../layout/struct.ts';
import { physdev_pci_device } from './physdev.ts';

export const XENMEM_increase_reservation = 0;
export const XENMEM_decrease_reservation = 1;
export const XENMEM_populate_physmap = 6;

export const XENMEMF_populate_on_demand = 1 << 16;
export const XENMEMF_exact_node_request = 1 << 17;
export const XENMEMF_vnode = 1 << 18;

export const xen_memory_reservation = struct('xen_memory_reservation', {
  extent_start: handle('xen_pfn_t'),
  nr_extents: xen_ulong_number,
  extent_order: u32,
  mem_flags: u32,
  domid: domid_t,
});

export const XENMEM_exchange = 11;

/** Read and written in the middle of the operation: nr_exchanged says how far it came. */
export const xen_memory_exchange = struct('xen_memory_exchange', {
  in: xen_memory_reservation,
  out: xen_memory_reservation,
  nr_exchanged: xen_ulong_number,
});

export const XENMEM_maximum_ram_page = 2;

export const xen_memory_domain = struct('xen_memory_domain', {
  domid: domid_t,
});

export const XENMEM_current_reservation = 3;
export const XENMEM_maximum_reservation = 4;
export const XENMEM_maximum_gpfn = 14;
export const XENMEM_machphys_mfn_list = 5;

export const xen_machphys_mfn_list = struct('xen_machphys_mfn_list', {
  max_extents: u32,
  extent_start: handle('xen_pfn_t'),
  nr_extents: u32,
});

export const XENMEM_machphys_compat_mfn_list = 25;
export const XENMEM_machphys_mapping = 12;

export const xen_machphys_mapping = struct('xen_machphys_mapping', {
  v_start: vaddr_t,
  v_end: vaddr_t,
  max_mfn: xen_ulong_number,
});

export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;
export const XENMAPSPACE_dev_mmio = 5;

export const XENMEM_add_to_physmap = 7;

export const xen_add_to_physmap = struct('xen_add_to_physmap', {
  domid: domid_t,
  size: u16,
  space: u32,
  idx: xen_ulong_number,
  gpfn: xen_pfn_t,
});

export const XENMAPIDX_grant_table_status = 0x80000000;

export const XENMEM_add_to_physmap_batch = 23;

export const xen_add_to_physmap_batch_extra = union('xen_add_to_physmap_batch_extra', {
  foreign_domid: domid_t,
  res0: u16,
});

export const xen_add_to_physmap_batch = struct('xen_add_to_physmap_batch', {
  domid: domid_t,
  space: u16,
  size: u16,
  u: xen_add_to_physmap_batch_extra,
  idxs: handle('xen_ulong_t'),
  gpfns: handle('xen_pfn_t'),
  errs: handle('int'),
});

export const XENMEM_remove_from_physmap = 15;

export const xen_remove_from_physmap = struct('xen_remove_from_physmap', {
  domid: domid_t,
  gpfn: xen_pfn_t,
});

export const XENMEM_memory_map = 9;

export const xen_memory_map = struct('xen_memory_map', {
  nr_entries: u32,
  buffer: handle('void'),
});

export const XENMEM_machine_memory_map = 10;
export const XENMEM_set_memory_map = 13;

export const xen_foreign_memory_map = struct('xen_foreign_memory_map', {
  domid: domid_t,
  map: xen_memory_map,
});

export const XENMEM_set_pod_target = 16;
export const XENMEM_get_pod_target = 17;

export const xen_pod_target = struct('xen_pod_target', {
  target_pages: u64_number,
  tot_pages: u64_number,
  pod_cache_pages: u64_number,
  pod_entries: u64_number,
  domid: domid_t,
});

export const XENMEM_get_sharing_freed_pages = 18;
export const XENMEM_get_sharing_shared_pages = 19;
export const XENMEM_paging_op = 20;
export const XENMEM_paging_op_nominate = 0;
export const XENMEM_paging_op_evict = 1;
export const XENMEM_paging_op_prep = 2;

export const xen_mem_paging_op = struct('xen_mem_paging_op', {
  op: u8,
  domain: domid_t,
  buffer: handle64('uint8'),
  gfn: u64_aligned_number,
});

export const XENMEM_access_op = 21;
export const XENMEM_access_op_set_access = 0;
export const XENMEM_access_op_get_access = 1;
export const XENMEM_access_op_set_access_multi = 4;
export const XENMEM_access_n = 0;
export const XENMEM_access_r = 1;
export const XENMEM_access_w = 2;
export const XENMEM_access_rw = 3;
export const XENMEM_access_x = 4;
export const XENMEM_access_rx = 5;
export const XENMEM_access_wx = 6;
export const XENMEM_access_rwx = 7;
export const XENMEM_access_rx2rw = 8;
export const XENMEM_access_n2rwx = 9;
export const XENMEM_access_default = 10;

export const xen_mem_access_op = struct('xen_mem_access_op', {
  op: u8,
  access: u8,
  domid: domid_t,
  nr: u32,
  pfn: u64_aligned_number,
  pfn_list: handle('uint64'),
  access_list: handle('uint8'),
});

export const XENMEM_sharing_op = 22;
export const XENMEM_sharing_op_nominate_gfn = 0;
export const XENMEM_sharing_op_nominate_gref = 1;
export const XENMEM_sharing_op_share = 2;
export const XENMEM_sharing_op_debug_gfn = 3;
export const XENMEM_sharing_op_debug_mfn = 4;
export const XENMEM_sharing_op_debug_gref = 5;
export const XENMEM_sharing_op_add_physmap = 6;
export const XENMEM_sharing_op_audit = 7;
export const XENMEM_sharing_op_range_share = 8;
export const XENMEM_sharing_op_fork = 9;
export const XENMEM_sharing_op_fork_reset = 10;

export const XENMEM_SHARING_OP_S_HANDLE_INVALID = -10;
export const XENMEM_SHARING_OP_C_HANDLE_INVALID = -9;
export const XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG = 0x4000000000000000n;

export const mem_sharing_op_nominate = struct('mem_sharing_op_nominate', {
  u: union('', {
    gfn: u64_aligned_number,
    grant_ref: u32,
  }),
  handle: u64_aligned,
});

export const mem_sharing_op_share = struct('mem_sharing_op_share', {
  source_gfn: u64_aligned_number,
  source_handle: u64_aligned,
  client_gfn: u64_aligned_number,
  client_handle: u64_aligned,
  client_domain: domid_t,
});

export const mem_sharing_op_range = struct('mem_sharing_op_range', {
  first_gfn: u64_aligned_number,
  last_gfn: u64_aligned_number,
  opaque: u64_aligned,
  client_domain: domid_t,
  _pad: array(3, u16),
});

export const mem_sharing_op_debug = struct('mem_sharing_op_debug', {
  u: union('', {
    gfn: u64_aligned_number,
    mfn: u64_aligned_number,
    gref: u32,
  }),
});

export const mem_sharing_op_fork = struct('mem_sharing_op_fork', {
  parent_domain: domid_t,
  flags: u16,
  pad: u32,
});

export const xen_mem_sharing_op = struct('xen_mem_sharing_op', {
  op: u8,
  domain: domid_t,
  u: union('', {
    nominate: mem_sharing_op_nominate,
    share: mem_sharing_op_share,
    range: mem_sharing_op_range,
    debug: mem_sharing_op_debug,
    fork: mem_sharing_op_fork,
  }),
});

export const XENMEM_FORK_WITH_IOMMU_ALLOWED = 1 << 0;
export const XENMEM_FORK_BLOCK_INTERRUPTS = 1 << 1;
export const XENMEM_FORK_RESET_STATE = 1 << 2;
export const XENMEM_FORK_RESET_MEMORY = 1 << 3;
export const XENMEM_claim_pages = 24;
export const XENMEM_reserved_device_memory_map = 27;

export const xen_reserved_device_memory = struct('xen_reserved_device_memory', {
  start_pfn: xen_pfn_t,
  nr_pages: xen_ulong_number,
});

export const xen_reserved_device_memory_map = struct('xen_reserved_device_memory_map', {
  flags: u32,
  nr_entries: u32,
  buffer: handle('xen_reserved_device_memory_t'),
  dev: union('', {
    pci: physdev_pci_device,
  }),
});

export const XENMEM_RDM_ALL = 1;
export const XENMEM_acquire_resource = 28;

export const xen_mem_acquire_resource = struct('xen_mem_acquire_resource', {
  domid: domid_t,
  type: u16,
  id: u32,
  nr_frames: u32,
  pad: u32,
  frame: u64_number,
  frame_list: handle('xen_pfn_t'),
});

export const XENMEM_resource_ioreq_server = 0;
export const XENMEM_resource_grant_table = 1;
export const XENMEM_resource_vmtrace_buf = 2;
export const XENMEM_resource_grant_table_id_shared = 0;
export const XENMEM_resource_grant_table_id_status = 1;
export const XENMEM_resource_ioreq_server_frame_bufioreq = 0;
export const XENMEM_get_vnumainfo = 26;

export const xen_vmemrange = struct('xen_vmemrange', {
  start: u64,
  end: u64,
  flags: u32,
  nid: u32,
});

export const xen_vnuma_topology_info = struct('xen_vnuma_topology_info', {
  domid: domid_t,
  pad: u16,
  nr_vnodes: u32,
  nr_vcpus: u32,
  nr_vmemranges: u32,
  vdistance: union('', {
    h: handle('uint'),
    pad: u64,
  }),
  vcpu_to_vnode: union('', {
    h: handle('uint'),
    pad: u64,
  }),
  vmemrange: union('', {
    h: handle('xen_vmemrange_t'),
    pad: u64,
  }),
});
