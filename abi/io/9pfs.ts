// 9pfs.h: the transport of 9P: byte rings of several pages (ring.h, DEFINE_XEN_FLEX_RING_AND_INTF). One page holds the indices and the
// grants of the data pages; of these the first half is `in` (to the frontend), the second half `out`.
import { bytes } from '../layout/array.ts';
import { u32 } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

/** The grant references of the 2^ring_order data pages follow at once (`ref[]`). */
export const xen_9pfs_data_intf = struct('xen_9pfs_data_intf', {
  in_cons: u32,
  in_prod: u32,
  pad1: bytes(56),
  out_cons: u32,
  out_prod: u32,
  pad2: bytes(56),
  ring_order: u32,
});

/** XEN_FLEX_RING_SIZE: bytes of one of the two rings. */
export const flexRingSize = (order: number): number => 2 ** (order + 12 - 1);
