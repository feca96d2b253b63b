// argo.h: Argo, the hypervisor-mediated message rings. Our hypervisor answers -ENOSYS, as a Xen built without it does.
import { bytes } from '../layout/array.ts';
import { domid_t, handle, u16, u32 } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

export const XEN_ARGO_DOMID_ANY = 0x7ff4;
export const XEN_ARGO_MAX_RING_SIZE = 0x1000000;
export const XEN_ARGO_MAXIOV = 8;

export const xen_argo_iov = struct('xen_argo_iov', {
  iov_hnd: handle('uint8'),
  iov_len: u32,
  pad: u32,
});

export const xen_argo_addr = struct('xen_argo_addr', {
  aport: u32,
  domain_id: domid_t,
  pad: u16,
});

export const xen_argo_send_addr = struct('xen_argo_send_addr', {
  src: xen_argo_addr,
  dst: xen_argo_addr,
});

export const xen_argo_ring = struct('xen_argo_ring', {
  rx_ptr: u32,
  tx_ptr: u32,
  reserved: bytes(56),
});

export const xen_argo_register_ring = struct('xen_argo_register_ring', {
  aport: u32,
  partner_id: domid_t,
  pad: u16,
  len: u32,
});

export const xen_argo_unregister_ring = struct('xen_argo_unregister_ring', {
  aport: u32,
  partner_id: domid_t,
  pad: u16,
});

export const XEN_ARGO_MSG_SLOT_SIZE = 0x10;
export const XEN_ARGO_RING_EXISTS = 1 << 0;
export const XEN_ARGO_RING_SHARED = 1 << 1;
export const XEN_ARGO_RING_EMPTY = 1 << 2;
export const XEN_ARGO_RING_SUFFICIENT = 1 << 3;
export const XEN_ARGO_RING_EMSGSIZE = 1 << 4;
export const XEN_ARGO_RING_EBUSY = 1 << 5;

export const xen_argo_ring_data_ent = struct('xen_argo_ring_data_ent', {
  ring: xen_argo_addr,
  flags: u16,
  pad: u16,
  space_required: u32,
  max_message_size: u32,
});

export const xen_argo_ring_data = struct('xen_argo_ring_data', {
  nent: u32,
  pad: u32,
});

export const xen_argo_ring_message_header = struct('xen_argo_ring_message_header', {
  len: u32,
  source: xen_argo_addr,
  message_type: u32,
});

export const XEN_ARGO_OP_register_ring = 1;
export const XEN_ARGO_REGISTER_FLAG_FAIL_EXIST = 1;
export const XEN_ARGO_OP_unregister_ring = 2;
export const XEN_ARGO_OP_sendv = 3;
export const XEN_ARGO_OP_notify = 4;
