// What the toolstack knows of domains and their vCPUs: Xen's own account of them, with the names that XenStore has (libxl_domain.c:
// libxl_list_domain, libxl_domain_info; libxl_sched.c: libxl_list_vcpu).
import {
  type Domid,
  domid,
  guestHandle,
  type StructOf,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_getvcpuaffinity,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownmask,
  XEN_DOMINF_shutdownshift,
  XEN_INVALID_MAX_VCPU_ID,
  XEN_SYSCTL_getdomaininfolist,
  XEN_VCPUAFFINITY_HARD,
  xen_domctl_getdomaininfo,
  xen_domctl_getvcpuinfo,
  xen_domctl_vcpuaffinity,
  xen_sysctl_getdomaininfolist,
} from '@ringworld/abi';
import { DOM0_ABI } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import type { XsClient } from '../xenstored/index.ts';

/** libxl_dominfo, as far as it is known here. Plain data. */
export interface DomainInfo {
  readonly domid: number;
  readonly name: string;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly memKb: number;
  readonly maxMemKb: number;
  readonly running: boolean;
  readonly blocked: boolean;
  readonly paused: boolean;
  readonly dying: boolean;
  /** SHUTDOWN_*, null while it has not shut down. */
  readonly shutdown: number | null;
  readonly cpuTimeNs: number;
  readonly vcpusOnline: number;
  readonly vcpuMaxId: number;
}

export interface VcpuInfo {
  readonly id: number;
  readonly cpu: number;
  readonly online: boolean;
  readonly running: boolean;
  readonly blocked: boolean;
  readonly timeNs: number;
  /** CPUs that it may run on. */
  readonly hard: readonly number[];
}

/** At most so many domains are asked for in one call. */
const BATCH = 64;

export const domainName = (xs: XsClient, dom: number): string => xs.read(`/local/domain/${dom}/name`) ?? '(null)';

type RawInfo = StructOf<typeof xen_domctl_getdomaininfo.fields>;

function infoOf(xs: XsClient, raw: RawInfo): DomainInfo {
  const has = (flag: number) => (raw.flags & flag) !== 0;
  return {
    domid: raw.domain,
    name: domainName(xs, raw.domain),
    uuid: raw.handle,
    memKb: raw.tot_pages * 4,
    maxMemKb: raw.max_pages * 4,
    running: has(XEN_DOMINF_running),
    blocked: has(XEN_DOMINF_blocked),
    paused: has(XEN_DOMINF_paused),
    dying: has(XEN_DOMINF_dying),
    shutdown: has(XEN_DOMINF_shutdown) ? (raw.flags >>> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask : null,
    cpuTimeNs: raw.cpu_time,
    vcpusOnline: raw.nr_online_vcpus,
    vcpuMaxId: raw.max_vcpu_id === XEN_INVALID_MAX_VCPU_ID ? -1 : raw.max_vcpu_id,
  };
}

/** All domains, by id. */
export function listDomains(privcmd: Privcmd, xs: XsClient): DomainInfo[] {
  const { memory } = privcmd.xen;
  const size = xen_domctl_getdomaininfo.size(DOM0_ABI);
  const found: DomainInfo[] = [];
  for (let first = 0; ; ) {
    const batch = memory.withArguments((args) => {
      const buffer = args.reserve(size * BATCH);
      const { num_domains } = privcmd.sysctlWith(XEN_SYSCTL_getdomaininfolist, xen_sysctl_getdomaininfolist, {
        first_domain: domid(first),
        max_domains: BATCH,
        buffer: guestHandle(buffer),
      });
      return Array.from({ length: num_domains }, (_, i) => xen_domctl_getdomaininfo.decode(DOM0_ABI, memory.read(buffer + i * size, size)));
    });
    found.push(...batch.map((raw) => infoOf(xs, raw)));
    const last = batch.at(-1);
    if (batch.length < BATCH || last === undefined) return found;
    first = last.domain + 1;
  }
}

/** Null where there is no such domain. */
export function domainInfo(privcmd: Privcmd, xs: XsClient, dom: number): DomainInfo | null {
  // getdomaininfo answers with the next domain where there is none of this id.
  return listDomains(privcmd, xs).find((d) => d.domid === dom) ?? null;
}

/** libxl_domain_qualifier_to_domid: digits are an id, anything else a name. Null: there is no such domain. */
export function domainByQualifier(privcmd: Privcmd, xs: XsClient, text: string): DomainInfo | null {
  const all = listDomains(privcmd, xs);
  const isNumber = /^\d+$/.test(text);
  return all.find((d) => (isNumber ? d.domid === Number(text) : d.name === text)) ?? null;
}

/** Bits of a map of CPUs, ascending. */
const bitsOf = (map: Uint8Array, count: number): number[] =>
  Array.from({ length: count }, (_, i) => i).filter((i) => (map[i >> 3]! & (1 << (i & 7))) !== 0);

export function listVcpus(privcmd: Privcmd, dom: Domid, cpus: number): VcpuInfo[] {
  const { memory } = privcmd.xen;
  const { max_vcpu_id } = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, dom, xen_domctl_getdomaininfo, {}).out;
  if (max_vcpu_id === XEN_INVALID_MAX_VCPU_ID) return [];
  return Array.from({ length: max_vcpu_id + 1 }, (_, id) => {
    const info = privcmd.domctlWith(XEN_DOMCTL_getvcpuinfo, dom, xen_domctl_getvcpuinfo, { vcpu: id }).out;
    const hard = memory.withArguments((args) => {
      const bytes = Math.ceil(cpus / 8);
      const map = args.put(new Uint8Array(bytes));
      privcmd.domctlWith(XEN_DOMCTL_getvcpuaffinity, dom, xen_domctl_vcpuaffinity, {
        vcpu: id,
        flags: XEN_VCPUAFFINITY_HARD,
        cpumap_hard: { bitmap: guestHandle(map), nr_bits: cpus },
      });
      return bitsOf(memory.read(map, bytes), cpus);
    });
    return {
      id,
      cpu: info.cpu,
      online: info.online !== 0,
      running: info.running !== 0,
      blocked: info.blocked !== 0,
      timeNs: info.cpu_time,
      hard,
    };
  });
}
