// sysctl: the machine as the toolstack sees it. For the privileged domain alone (xen/common/sysctl.c, xen/arch/x86/sysctl.c).

import {
  type Codec,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_SCHEDULER_CREDIT,
  XEN_SYSCTL_availheap,
  XEN_SYSCTL_cputopoinfo,
  XEN_SYSCTL_debug_keys,
  XEN_SYSCTL_getcpuinfo,
  XEN_SYSCTL_getdomaininfolist,
  XEN_SYSCTL_INTERFACE_VERSION,
  XEN_SYSCTL_numainfo,
  XEN_SYSCTL_PHYSCAP_gnttab_v1,
  XEN_SYSCTL_PHYSCAP_gnttab_v2,
  XEN_SYSCTL_PHYSCAP_pv,
  XEN_SYSCTL_physinfo,
  XEN_SYSCTL_readconsole,
  XEN_SYSCTL_sched_id,
  xen_domctl_getdomaininfo,
  xen_sysctl,
  xen_sysctl_availheap,
  xen_sysctl_cpuinfo,
  xen_sysctl_cputopo,
  xen_sysctl_cputopoinfo,
  xen_sysctl_getcpuinfo,
  xen_sysctl_getdomaininfolist,
  xen_sysctl_meminfo,
  xen_sysctl_numainfo,
  xen_sysctl_physinfo,
  xen_sysctl_readconsole,
  xen_sysctl_sched_id,
} from '@ringworld/abi';
import { domainInfo } from '../core/domain-info.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { control } from './control-op.ts';

type SysctlOp = (c: HypercallContext, at: number) => number;

/** Copies an array out, as many elements as the caller has room for; false on a fault. */
function copyArray<T, W>(c: HypercallContext, codec: Codec<T, W>, at: number, elements: readonly W[]): boolean {
  return elements.every((e, i) => c.guest.writeStruct(codec, at, e, i));
}

const physinfo: SysctlOp = (c, at) =>
  control(c, xen_sysctl_physinfo, at, () => {
    const n = c.hv.pcpus.length;
    return {
      threads_per_core: 1,
      cores_per_socket: n,
      nr_cpus: n,
      max_cpu_id: n - 1,
      nr_nodes: 1,
      max_node_id: 0,
      cpu_khz: Math.floor(c.hv.clock.tscHz / 1000),
      capabilities: XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_gnttab_v1 | XEN_SYSCTL_PHYSCAP_gnttab_v2,
      arch_capabilities: 0,
      pad: 0,
      total_pages: c.hv.frames.size,
      free_pages: c.hv.frames.heap.freeFrames,
      scrub_pages: 0,
      outstanding_pages: 0,
      max_mfn: c.hv.frames.size - 1,
      hw_cap: [0, 0, 0, 0, 0, 0, 0, 0],
    };
  });

const domainInfoList: SysctlOp = (c, at) =>
  control(c, xen_sysctl_getdomaininfolist, at, (a) => {
    const from = [...c.hv.domains.values()].filter((d) => d.id >= a.first_domain).sort((x, y) => x.id - y.id);
    const infos = from.slice(0, a.max_domains).map((d) => domainInfo(c.hv, d));
    return copyArray(c, xen_domctl_getdomaininfo, a.buffer, infos) ? { ...a, num_domains: infos.length } : -XEN_EFAULT;
  });

/** read_console_ring: from `index` on when incremental, else from the oldest character. */
const readConsole: SysctlOp = (c, at) =>
  control(c, xen_sysctl_readconsole, at, (a) => {
    const { text, next } = c.hv.console.read(a.incremental ? a.index : 0, a.count);
    const bytes = Uint8Array.from(text, (ch) => ch.charCodeAt(0) & 0xff);
    if (!c.guest.copyTo(a.buffer, bytes)) return -XEN_EFAULT;
    if (a.clear) c.hv.console.clear();
    return { ...a, count: bytes.length, index: next };
  });

const cpuInfo: SysctlOp = (c, at) =>
  control(c, xen_sysctl_getcpuinfo, at, (a) => {
    const infos = c.hv.pcpus.slice(0, a.max_cpus).map((p) => ({ idletime: c.hv.clock.toNs(p.idleCycles) }));
    return copyArray(c, xen_sysctl_cpuinfo, a.info, infos) ? { ...a, nr_cpus: infos.length } : -XEN_EFAULT;
  });

/** A null handle asks how many there are. */
const topology: SysctlOp = (c, at) =>
  control(c, xen_sysctl_cputopoinfo, at, (a) => {
    const cpus = c.hv.pcpus.map((p) => ({ core: p.id, socket: 0, node: 0 }));
    if (a.cputopo !== 0 && !copyArray(c, xen_sysctl_cputopo, a.cputopo, cpus.slice(0, a.num_cpus))) return -XEN_EFAULT;
    return { ...a, num_cpus: cpus.length };
  });

const numa: SysctlOp = (c, at) =>
  control(c, xen_sysctl_numainfo, at, (a) => {
    const node = { memsize: c.hv.frames.size * 4096, memfree: c.hv.frames.heap.freeFrames * 4096 };
    if (a.meminfo !== 0 && a.num_nodes > 0 && !c.guest.writeStruct(xen_sysctl_meminfo, a.meminfo, node)) return -XEN_EFAULT;
    if (a.distance !== 0 && a.num_nodes > 0 && !c.guest.write32(a.distance, 10)) return -XEN_EFAULT;
    return { ...a, num_nodes: 1 };
  });

const OPS: Record<number, SysctlOp | undefined> = {
  [XEN_SYSCTL_physinfo]: physinfo,
  [XEN_SYSCTL_getdomaininfolist]: domainInfoList,
  [XEN_SYSCTL_readconsole]: readConsole,
  [XEN_SYSCTL_getcpuinfo]: cpuInfo,
  [XEN_SYSCTL_cputopoinfo]: topology,
  [XEN_SYSCTL_numainfo]: numa,
  [XEN_SYSCTL_sched_id]: (c, at) => control(c, xen_sysctl_sched_id, at, () => ({ sched_id: XEN_SCHEDULER_CREDIT })),
  [XEN_SYSCTL_availheap]: (c, at) =>
    control(c, xen_sysctl_availheap, at, (a) => ({ ...a, avail_bytes: c.hv.frames.heap.freeFrames * 4096 })),
  [XEN_SYSCTL_debug_keys]: () => 0,
};

export const sysctl: HypercallHandler = (c) => {
  const op = c.arg(0);
  const head = c.guest.copyFrom(op, xen_sysctl.size(c.abi));
  if (head === null) return -XEN_EFAULT;
  const view = new DataView(head.buffer);
  if (view.getUint32(4, true) !== XEN_SYSCTL_INTERFACE_VERSION) return -XEN_EACCES;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  return OPS[view.getUint32(0, true)]?.(c, op + xen_sysctl.offset('u', c.abi)) ?? -XEN_ENOSYS;
};
