// hvm/dm_op.h: what a device model asks of Xen about the domain that it serves. The hypercall passes a list of buffers, the first of which
// holds struct xen_dm_op; here each operation's argument stands alone, to be read behind `op` and `pad` (8 bytes).
import { array } from '../../layout/array.ts';
import { evtchn_port_t, handle, u8, u16, u32, u64, u64_aligned, u64_aligned_number, xen_ulong_number } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';

const ioservid_t = { ...u16, ctype: 'ioservid_t' };

export const XEN_DMOP_create_ioreq_server = 1;
/** handle_bufioreq: HVM_IOREQSRV_BUFIOREQ_*. */
export const xen_dm_op_create_ioreq_server = struct('xen_dm_op_create_ioreq_server', {
  handle_bufioreq: u8,
  pad: array(3, u8),
  id: ioservid_t,
});

export const XEN_DMOP_get_ioreq_server_info = 2;
export const _XEN_DMOP_no_gfns = 0;
export const XEN_DMOP_no_gfns = 1 << _XEN_DMOP_no_gfns;
export const xen_dm_op_get_ioreq_server_info = struct('xen_dm_op_get_ioreq_server_info', {
  id: ioservid_t,
  flags: u16,
  bufioreq_port: evtchn_port_t,
  ioreq_gfn: u64_aligned_number,
  bufioreq_gfn: u64_aligned_number,
});

export const XEN_DMOP_map_io_range_to_ioreq_server = 3;
export const XEN_DMOP_unmap_io_range_from_ioreq_server = 4;
export const XEN_DMOP_IO_RANGE_PORT = 0;
export const XEN_DMOP_IO_RANGE_MEMORY = 1;
export const XEN_DMOP_IO_RANGE_PCI = 2;
/** start and end are both inside. */
export const xen_dm_op_ioreq_server_range = struct('xen_dm_op_ioreq_server_range', {
  id: ioservid_t,
  pad: u16,
  type: u32,
  start: u64_aligned_number,
  end: u64_aligned_number,
});
/** XEN_DMOP_PCI_SBDF(): how a range of type PCI names a function. */
export const xenDmopPciSbdf = (segment: number, bus: number, device: number, fn: number): number =>
  (((segment & 0xffff) << 16) | ((bus & 0xff) << 8) | ((device & 0x1f) << 3) | (fn & 7)) >>> 0;

export const XEN_DMOP_set_ioreq_server_state = 5;
export const xen_dm_op_set_ioreq_server_state = struct('xen_dm_op_set_ioreq_server_state', { id: ioservid_t, enabled: u8, pad: u8 });

export const XEN_DMOP_destroy_ioreq_server = 6;
export const xen_dm_op_destroy_ioreq_server = struct('xen_dm_op_destroy_ioreq_server', { id: ioservid_t, pad: u16 });

export const XEN_DMOP_track_dirty_vram = 7;
/** The second buffer gets the bitmap. */
export const xen_dm_op_track_dirty_vram = struct('xen_dm_op_track_dirty_vram', { nr: u32, pad: u32, first_pfn: u64_aligned_number });

export const XEN_DMOP_set_pci_intx_level = 8;
export const xen_dm_op_set_pci_intx_level = struct('xen_dm_op_set_pci_intx_level', {
  domain: u16,
  bus: u8,
  device: u8,
  intx: u8,
  level: u8,
});

export const XEN_DMOP_set_isa_irq_level = 9;
export const xen_dm_op_set_isa_irq_level = struct('xen_dm_op_set_isa_irq_level', { isa_irq: u8, level: u8 });

export const XEN_DMOP_set_pci_link_route = 10;
export const xen_dm_op_set_pci_link_route = struct('xen_dm_op_set_pci_link_route', { link: u8, isa_irq: u8 });

export const XEN_DMOP_modified_memory = 11;
export const xen_dm_op_modified_memory = struct('xen_dm_op_modified_memory', { nr_extents: u32, opaque: u32 });
/** The second buffer holds nr_extents of these. */
export const xen_dm_op_modified_memory_extent = struct('xen_dm_op_modified_memory_extent', {
  nr: u32,
  pad: u32,
  first_pfn: u64_aligned_number,
});

export const XEN_DMOP_set_mem_type = 12;
/** mem_type: HVMMEM_*. */
export const xen_dm_op_set_mem_type = struct('xen_dm_op_set_mem_type', {
  nr: u32,
  mem_type: u16,
  pad: u16,
  first_pfn: u64_aligned_number,
});

export const XEN_DMOP_inject_event = 13;
export const XEN_DMOP_EVENT_ext_int = 0;
export const XEN_DMOP_EVENT_nmi = 2;
export const XEN_DMOP_EVENT_hw_exc = 3;
export const XEN_DMOP_EVENT_sw_int = 4;
export const XEN_DMOP_EVENT_pri_sw_exc = 5;
export const XEN_DMOP_EVENT_sw_exc = 6;
/** error_code of all ones: none. */
export const xen_dm_op_inject_event = struct('xen_dm_op_inject_event', {
  vcpuid: u32,
  vector: u8,
  type: u8,
  insn_len: u8,
  pad0: u8,
  error_code: u32,
  pad1: u32,
  cr2: u64_aligned,
});

export const XEN_DMOP_inject_msi = 14;
export const xen_dm_op_inject_msi = struct('xen_dm_op_inject_msi', { data: u32, pad: u32, addr: u64_aligned });

export const XEN_DMOP_map_mem_type_to_ioreq_server = 15;
export const XEN_DMOP_IOREQ_MEM_ACCESS_READ = 1 << 0;
export const XEN_DMOP_IOREQ_MEM_ACCESS_WRITE = 1 << 1;
export const xen_dm_op_map_mem_type_to_ioreq_server = struct('xen_dm_op_map_mem_type_to_ioreq_server', {
  id: ioservid_t,
  type: u16,
  flags: u32,
  opaque: u64,
});

export const XEN_DMOP_remote_shutdown = 16;
export const xen_dm_op_remote_shutdown = struct('xen_dm_op_remote_shutdown', { reason: u32 });

export const XEN_DMOP_relocate_memory = 17;
export const xen_dm_op_relocate_memory = struct('xen_dm_op_relocate_memory', {
  size: u32,
  pad: u32,
  src_gfn: u64_aligned_number,
  dst_gfn: u64_aligned_number,
});

export const XEN_DMOP_pin_memory_cacheattr = 18;
export const XEN_DMOP_MEM_CACHEATTR_UC = 0;
export const XEN_DMOP_MEM_CACHEATTR_WC = 1;
export const XEN_DMOP_MEM_CACHEATTR_WT = 4;
export const XEN_DMOP_MEM_CACHEATTR_WP = 5;
export const XEN_DMOP_MEM_CACHEATTR_WB = 6;
export const XEN_DMOP_MEM_CACHEATTR_UCM = 7;
export const XEN_DMOP_DELETE_MEM_CACHEATTR = 0xffffffff;
export const xen_dm_op_pin_memory_cacheattr = struct('xen_dm_op_pin_memory_cacheattr', {
  start: u64_aligned_number,
  end: u64_aligned_number,
  type: u32,
  pad: u32,
});

export const XEN_DMOP_set_irq_level = 19;
export const xen_dm_op_set_irq_level = struct('xen_dm_op_set_irq_level', { irq: u32, level: u8, pad: array(3, u8) });

export const XEN_DMOP_nr_vcpus = 20;
export const xen_dm_op_nr_vcpus = struct('xen_dm_op_nr_vcpus', { vcpus: u32 });

/** One of the hypercall's buffers. */
export const xen_dm_op_buf = struct('xen_dm_op_buf', { h: handle(), size: xen_ulong_number });
