// memory_op: a domain's memory reservation, its physical map, and what it may know of the machine's memory. The low six bits of the
// first argument are the command; the rest says how many extents an earlier call did (xen/common/memory.c, do_memory_op).

import {
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XENMEM_access_op,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_claim_pages,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_get_pod_target,
  XENMEM_get_sharing_freed_pages,
  XENMEM_get_sharing_shared_pages,
  XENMEM_get_vnumainfo,
  XENMEM_increase_reservation,
  XENMEM_machine_memory_map,
  XENMEM_machphys_compat_mfn_list,
  XENMEM_machphys_mapping,
  XENMEM_machphys_mfn_list,
  XENMEM_maximum_gpfn,
  XENMEM_maximum_ram_page,
  XENMEM_maximum_reservation,
  XENMEM_memory_map,
  XENMEM_paging_op,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  XENMEM_reserved_device_memory_map,
  XENMEM_set_memory_map,
  XENMEM_set_pod_target,
  XENMEM_sharing_op,
  xen_reserved_device_memory_map,
} from '@ringworld/abi';
import type { HypercallContext, HypercallHandler, HypercallResult } from './context.ts';
import { exchange } from './memory-exchange.ts';
import { acquireResource, addToPhysmap, addToPhysmapBatch, removeFromPhysmap } from './memory-physmap.ts';
import {
  claimPages,
  domainLimit,
  machineMemoryMap,
  machphysMapping,
  machphysMfnList,
  memoryMap,
  podTarget,
  setMemoryMap,
} from './memory-queries.ts';
import { adjustReservation, MEMOP_EXTENT_SHIFT } from './memory-reservation.ts';

const CMD_MASK = (1 << MEMOP_EXTENT_SHIFT) - 1;

export const memory_op: HypercallHandler = (c) => {
  const op = c.argU32(0) & CMD_MASK;
  const start = c.argU32(0) >>> MEMOP_EXTENT_SHIFT;
  const arg = c.arg(1);
  // hvm_memory_op(): of the machine an HVM guest sees nothing.
  if (c.domain.isHvm && (op === XENMEM_machine_memory_map || op === XENMEM_machphys_mapping)) return -XEN_ENOSYS;
  switch (op) {
    case XENMEM_increase_reservation:
    case XENMEM_decrease_reservation:
    case XENMEM_populate_physmap:
      return adjustReservation(c, op, start, arg);
    case XENMEM_add_to_physmap:
      return addToPhysmap(c, start, arg);
    case XENMEM_add_to_physmap_batch:
      return addToPhysmapBatch(c, start, arg);
    case XENMEM_acquire_resource:
      return acquireResource(c, start, arg);
    default:
      // The others are not continued, so they have no extents to start from.
      return start === 0 ? query(c, op, arg) : -XEN_EINVAL;
  }
};

function query(c: HypercallContext, op: number, arg: number): HypercallResult {
  switch (op) {
    case XENMEM_exchange:
      return exchange(c, arg);
    case XENMEM_maximum_ram_page:
      return c.hv.frames.size;
    case XENMEM_current_reservation:
    case XENMEM_maximum_reservation:
    case XENMEM_maximum_gpfn:
      return domainLimit(c, op, arg);
    case XENMEM_memory_map:
      return memoryMap(c, arg);
    case XENMEM_set_memory_map:
      return setMemoryMap(c, arg);
    case XENMEM_machine_memory_map:
      return machineMemoryMap(c, arg);
    case XENMEM_machphys_mfn_list:
      return machphysMfnList(c, arg, c.domain.is32bit);
    case XENMEM_machphys_compat_mfn_list:
      return machphysMfnList(c, arg, true);
    case XENMEM_machphys_mapping:
      return machphysMapping(c, arg);
    case XENMEM_remove_from_physmap:
      return removeFromPhysmap(c, arg);
    case XENMEM_set_pod_target:
    case XENMEM_get_pod_target:
      return podTarget(c, op, arg);
    case XENMEM_get_sharing_freed_pages:
    case XENMEM_get_sharing_shared_pages:
      return 0;
    case XENMEM_claim_pages:
      return claimPages(c, arg);
    case XENMEM_reserved_device_memory_map: {
      // No devices, no reserved memory.
      const x = c.guest.readStruct(xen_reserved_device_memory_map, arg);
      if (x === null) return -XEN_EFAULT;
      return c.guest.writeStruct(xen_reserved_device_memory_map, arg, { ...x, nr_entries: 0 }) ? 0 : -XEN_EFAULT;
    }
    case XENMEM_get_vnumainfo:
    case XENMEM_paging_op:
    case XENMEM_sharing_op:
    case XENMEM_access_op:
      return -XEN_EOPNOTSUPP;
    default:
      return -XEN_ENOSYS;
  }
}
