// hvm_op.h: hvm_op. Alternate p2m views are not declared.
import { array, bytes } from '../../layout/array.ts';
import { domid_t, u8, u16, u32, u64 } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';

export const HVMOP_set_param = 0;
export const HVMOP_get_param = 1;

export const xen_hvm_param = struct('xen_hvm_param', {
  domid: domid_t,
  pad: u16,
  index: u32,
  value: u64,
});

export const HVMOP_flush_tlbs = 5;

export const HVMMEM_ram_rw = 0;
export const HVMMEM_ram_ro = 1;
export const HVMMEM_mmio_dm = 2;
export const HVMMEM_unused = 3;
export const HVMMEM_ioreq_server = 4;

export const HVMOP_pagetable_dying = 9;

export const xen_hvm_pagetable_dying = struct('xen_hvm_pagetable_dying', {
  domid: domid_t,
  pad: array(3, u16),
  gpa: u64,
});

export const HVMOP_get_time = 10;

export const xen_hvm_get_time = struct('xen_hvm_get_time', {
  now: u64,
});

export const HVMOP_xentrace = 11;

export const xen_hvm_xentrace = struct('xen_hvm_xentrace', {
  event: u16,
  extra_bytes: u16,
  extra: bytes(28),
});

export const HVMOP_set_mem_access = 12;
export const HVMOP_get_mem_access = 13;
export const HVMOP_get_mem_type = 15;

export const xen_hvm_get_mem_type = struct('xen_hvm_get_mem_type', {
  domid: domid_t,
  mem_type: u16,
  pad: array(2, u16),
  pfn: u64,
});

export const HVM_IOREQSRV_BUFIOREQ_OFF = 0;
export const HVM_IOREQSRV_BUFIOREQ_LEGACY = 1;
export const HVM_IOREQSRV_BUFIOREQ_ATOMIC = 2;

export const HVMOP_set_evtchn_upcall_vector = 23;

export const xen_hvm_evtchn_upcall_vector = struct('xen_hvm_evtchn_upcall_vector', {
  vcpu: u32,
  vector: u8,
});

export const HVMOP_guest_request_vm_event = 24;
export const HVMOP_altp2m = 25;
export const HVMOP_ALTP2M_INTERFACE_VERSION = 1;
