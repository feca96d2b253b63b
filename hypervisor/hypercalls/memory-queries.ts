// memory_op: what a domain may ask about memory: limits, the e820, where the machine-to-physical table is (xen/common/memory.c,
// xen/arch/x86/mm.c arch_memory_op, xen/arch/x86/x86_64/mm.c subarch_memory_op).

import {
  arch_shared_info,
  shared_info,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XENMEM_current_reservation,
  XENMEM_maximum_reservation,
  XENMEM_set_pod_target,
  xen_foreign_memory_map,
  xen_machphys_mapping,
  xen_machphys_mfn_list,
  xen_memory_domain,
  xen_memory_map,
  xen_memory_reservation,
  xen_pod_target,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import { sharedInfoAt } from '../core/shared-info.ts';
import type { HypercallContext } from './context.ts';
import { domainByAnyId, mayTarget } from './foreign-domain.ts';
import { writeFrame } from './memory-reservation.ts';

/** sizeof(struct e820entry), packed. */
const E820_ENTRY = 20;
/** E820MAX (xen/arch/x86/include/asm/e820.h). */
const E820MAX = 1024;
const E820_RAM = 1;
const E820_RESERVED = 2;
/** Frames that one L2 entry's worth (2 MiB) of table covers. */
const EXTENT_PAGES = 512;

export function domainLimit(c: HypercallContext, op: number, arg: number): number {
  const x = c.guest.readStruct(xen_memory_domain, arg);
  if (x === null) return -XEN_EFAULT;
  const d = domainByAnyId(c, x.domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!mayTarget(c, d.id)) return -XEN_EPERM;
  if (op === XENMEM_current_reservation) return d.totPages;
  if (op === XENMEM_maximum_reservation) return d.maxPages;
  return maximumGpfn(c, d);
}

/** domain_get_maximum_gpfn(): a PV guest states the number of its pfns in shared_info. */
function maximumGpfn(c: HypercallContext, d: Domain): number {
  if (!d.isTranslated) {
    const at = sharedInfoAt(d, shared_info.offset('arch', d.abi) + arch_shared_info.offset('max_pfn', d.abi));
    return Math.max(c.hv.ram.read32(at), 1) - 1;
  }
  let gfn = d.p2m.size - 1;
  while (gfn > 0 && d.p2m.mfn(gfn as Gfn) === INVALID_MFN) gfn--;
  return gfn;
}

export function memoryMap(c: HypercallContext, arg: number): number {
  const x = c.guest.readStruct(xen_memory_map, arg);
  if (x === null) return -XEN_EFAULT;
  const { e820 } = c.domain;
  if (e820 === null) return -XEN_ENOSYS;
  const n = Math.min(x.nr_entries, e820.length / E820_ENTRY);
  if (!c.guest.copyTo(x.buffer, e820.subarray(0, n * E820_ENTRY))) return -XEN_EFAULT;
  return c.guest.writeStruct(xen_memory_map, arg, { ...x, nr_entries: n }) ? 0 : -XEN_EFAULT;
}

export function setMemoryMap(c: HypercallContext, arg: number): number {
  const x = c.guest.readStruct(xen_foreign_memory_map, arg);
  if (x === null) return -XEN_EFAULT;
  if (x.map.nr_entries > E820MAX) return -XEN_EINVAL;
  const d = domainByAnyId(c, x.domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!mayTarget(c, d.id)) return -XEN_EPERM;
  const bytes = c.guest.copyFrom(x.map.buffer, x.map.nr_entries * E820_ENTRY);
  if (bytes === null) return -XEN_EFAULT;
  d.e820 = bytes;
  return 0;
}

/** The machine's own map, for the control domain: RAM with the hole below 1 MiB. */
export function machineMemoryMap(c: HypercallContext, arg: number): number {
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  const x = c.guest.readStruct(xen_memory_map, arg);
  if (x === null) return -XEN_EFAULT;
  const ranges = [
    [0, 0xa_0000, E820_RAM],
    [0xf_0000, 0x1_0000, E820_RESERVED],
    [0x10_0000, c.hv.ram.size - 0x10_0000, E820_RAM],
  ] as const;
  const out = new Uint8Array(ranges.length * E820_ENTRY);
  const view = new DataView(out.buffer);
  ranges.forEach(([addr, size, type], i) => {
    view.setBigUint64(i * E820_ENTRY, BigInt(addr), true);
    view.setBigUint64(i * E820_ENTRY + 8, BigInt(size), true);
    view.setUint32(i * E820_ENTRY + 16, type, true);
  });
  if (x.buffer !== 0) {
    if (x.nr_entries < ranges.length) return -XEN_EINVAL;
    if (!c.guest.copyTo(x.buffer, out)) return -XEN_EFAULT;
  }
  return c.guest.writeStruct(xen_memory_map, arg, { ...x, nr_entries: ranges.length }) ? 0 : -XEN_EFAULT;
}

/** The frames of the machine-to-physical table, one per 2 MiB of it. */
export function machphysMfnList(c: HypercallContext, arg: number, compat: boolean): number {
  const x = c.guest.readStruct(xen_machphys_mfn_list, arg);
  if (x === null) return -XEN_EFAULT;
  const { m2p } = c.hv.frames;
  const first = compat ? m2p.compat : m2p.native;
  const n = Math.min(x.max_extents, Math.ceil((compat ? m2p.compatPages : m2p.nativePages) / EXTENT_PAGES));
  for (let i = 0; i < n; i++) if (!writeFrame(c, x.extent_start, i, (first + i * EXTENT_PAGES) as Mfn)) return -XEN_EFAULT;
  return c.guest.writeStruct(xen_machphys_mfn_list, arg, { ...x, nr_extents: n }) ? 0 : -XEN_EFAULT;
}

/** MACH2PHYS_VIRT_START and its fellows, as signed addresses; 8-byte entries. */
const NATIVE_MAPPING = { v_start: -0x8000_0000_0000, v_end: -0x7fc0_0000_0000, max_mfn: 0x40_0000_0000 / 8 - 1 };
const COMPAT_MAPPING = { v_start: 0xf580_0000, v_end: 0xffe0_0000, max_mfn: (0xffe0_0000 - 0xf580_0000) / 4 - 1 };

export function machphysMapping(c: HypercallContext, arg: number): number {
  const mapping = c.domain.is32bit ? COMPAT_MAPPING : NATIVE_MAPPING;
  return c.guest.writeStruct(xen_machphys_mapping, arg, mapping as never) ? 0 : -XEN_EFAULT;
}

/** Populate-on-demand targets: PV domains have none, so the target is what they own. */
export function podTarget(c: HypercallContext, op: number, arg: number): number {
  const x = c.guest.readStruct(xen_pod_target, arg);
  if (x === null) return -XEN_EFAULT;
  const d = domainByAnyId(c, x.domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  if (op === XENMEM_set_pod_target && (!d.isTranslated || x.target_pages > d.maxPages)) return -XEN_EINVAL;
  const out = { ...x, tot_pages: d.totPages, pod_cache_pages: 0, pod_entries: 0 };
  return c.guest.writeStruct(xen_pod_target, arg, out) ? 0 : -XEN_EFAULT;
}

/** XENMEM_claim_pages: checked, not kept, since one builder at a time takes what it claims. */
export function claimPages(c: HypercallContext, arg: number): number {
  const x = c.guest.readStruct(xen_memory_reservation, arg);
  if (x === null) return -XEN_EFAULT;
  if (x.extent_start !== 0 || x.extent_order !== 0 || x.mem_flags !== 0) return -XEN_EINVAL;
  const d = c.hv.domain(x.domid);
  if (d === undefined) return -XEN_EINVAL;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  if (x.nr_extents === 0) return 0;
  if (x.nr_extents <= d.totPages || x.nr_extents > d.maxPages) return -XEN_EINVAL;
  return x.nr_extents - d.totPages > c.hv.frames.heap.freeFrames ? -XEN_ENOMEM : 0;
}
