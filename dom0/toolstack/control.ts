// What is done to a domain that runs, as libxl does it: pausing, the requests in its control/ directory, its name, its share of the
// CPUs (libxl_domain.c, libxl_sched.c). Where libxl refuses, so does this, in libxl's words.
import {
  type Domid,
  guestHandle,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_SCHEDOP_getinfo,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_sendtrigger,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_DOMCTL_unpausedomain,
  XEN_SCHEDULER_CREDIT,
  XEN_VCPUAFFINITY_HARD,
  xen_domctl_scheduler_op,
  xen_domctl_sendtrigger,
  xen_domctl_vcpuaffinity,
} from '@ringworld/abi';
import type { Privcmd } from '../kernel/privcmd.ts';
import type { XsClient } from '../xenstored/index.ts';
import { domainInfo, listDomains } from './domain-info.ts';

/** The user asked for something that cannot be: libxl's ERROR_INVAL and its like. */
export class ToolstackError extends Error {
  override readonly name = 'ToolstackError';
}

/** A paused domain stays paused once, however often it is asked for (libxl's domctl counts; xl's users do not). */
export function pauseDomain(privcmd: Privcmd, xs: XsClient, dom: Domid): void {
  if (domainInfo(privcmd, xs, dom)?.paused === false) privcmd.domctl(XEN_DOMCTL_pausedomain, dom);
}
export function unpauseDomain(privcmd: Privcmd, xs: XsClient, dom: Domid): void {
  if (domainInfo(privcmd, xs, dom)?.paused === true) privcmd.domctl(XEN_DOMCTL_unpausedomain, dom);
}

export type PvControl = 'poweroff' | 'reboot' | 'suspend';

/** libxl__domain_pvcontrol: the guest's kernel watches the node and clears it when it has taken the request. */
export function pvControl(xs: XsClient, dom: Domid, request: PvControl): void {
  xs.write(`/local/domain/${dom}/control/shutdown`, request);
}

/** One letter for Linux's magic SysRq handler. */
export function sendSysrq(xs: XsClient, dom: Domid, letter: string): void {
  xs.write(`/local/domain/${dom}/control/sysrq`, letter);
}

export function sendTrigger(privcmd: Privcmd, dom: Domid, trigger: number, vcpu: number): void {
  privcmd.domctlWith(XEN_DOMCTL_sendtrigger, dom, xen_domctl_sendtrigger, { trigger, vcpu });
}

/** libxl__domain_rename. */
export function renameDomain(privcmd: Privcmd, xs: XsClient, dom: Domid, name: string): void {
  checkNewName(privcmd, xs, name);
  const vm = xs.read(`/local/domain/${dom}/vm`);
  xs.transaction((t) => {
    t.write(`/local/domain/${dom}/name`, name);
    if (vm !== null) t.write(`${vm}/name`, name);
  });
}

export function checkNewName(privcmd: Privcmd, xs: XsClient, name: string): void {
  if (name === '') throw new ToolstackError('a domain needs a name');
  if (/[/\0]/.test(name)) throw new ToolstackError(`"${name}" cannot be a domain's name`);
  if (listDomains(privcmd, xs).some((d) => d.name === name)) throw new ToolstackError(`domain with name "${name}" already exists.`);
}

export interface CreditParameters {
  readonly weight: number;
  readonly cap: number;
}

export function creditOf(privcmd: Privcmd, dom: Domid): CreditParameters {
  const { out } = privcmd.domctlWith(XEN_DOMCTL_scheduler_op, dom, xen_domctl_scheduler_op, {
    sched_id: XEN_SCHEDULER_CREDIT,
    cmd: XEN_DOMCTL_SCHEDOP_getinfo,
  });
  return { weight: out.u.credit.weight, cap: out.u.credit.cap };
}

/** CSCHED_DOMCTL: what is null stays. */
export function setCredit(privcmd: Privcmd, dom: Domid, weight: number | null, cap: number | null): void {
  if (weight !== null && (weight < 1 || weight > 65535))
    throw new ToolstackError(`Cpu weight out of range, valid values are within range from 1 to 65535`);
  if (cap !== null && (cap < 0 || cap > 6400))
    throw new ToolstackError(`Cpu cap out of range, valid range is from 0 to 6400 for specified number of vcpus`);
  privcmd.domctlWith(XEN_DOMCTL_scheduler_op, dom, xen_domctl_scheduler_op, {
    sched_id: XEN_SCHEDULER_CREDIT,
    cmd: XEN_DOMCTL_SCHEDOP_putinfo,
    u: { credit: { weight: weight ?? 0, cap: cap ?? 0xffff } },
  });
}

/** Hard affinity of one vCPU. */
export function pinVcpu(privcmd: Privcmd, dom: Domid, vcpu: number, cpus: readonly number[], cpuCount: number): void {
  privcmd.xen.memory.withArguments((args) => {
    const map = new Uint8Array(Math.ceil(cpuCount / 8));
    for (const cpu of cpus) map[cpu >> 3]! |= 1 << (cpu & 7);
    const cpumap_hard = { bitmap: guestHandle<number>(args.put(map)), nr_bits: cpuCount };
    privcmd.domctlWith(XEN_DOMCTL_setvcpuaffinity, dom, xen_domctl_vcpuaffinity, { vcpu, flags: XEN_VCPUAFFINITY_HARD, cpumap_hard });
  });
}

/** libxl_set_vcpuonline for a PV domain: its kernel watches cpu/N/availability. */
export function setVcpus(privcmd: Privcmd, xs: XsClient, dom: Domid, count: number): void {
  const info = domainInfo(privcmd, xs, dom);
  if (info === null) throw new ToolstackError(`Domain ${dom} does not exist.`);
  const max = info.vcpuMaxId + 1;
  if (count > max) throw new ToolstackError(`Requested ${count} VCPUs, however maxcpus is ${max}!`);
  if (count < 1) throw new ToolstackError('a domain keeps at least one VCPU');
  xs.transaction((t) => {
    for (let i = 0; i < max; i++) t.write(`/local/domain/${dom}/cpu/${i}/availability`, i < count ? 'online' : 'offline');
  });
}
