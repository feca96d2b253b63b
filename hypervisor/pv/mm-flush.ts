// TLB flushes that guests ask for. Xen sends them to the CPUs where the domain's vCPUs last ran (dirty_cpumask); here a flush of "all"
// goes to all CPUs, which is a superset. A local flush drops all address spaces of the CPU, since a 64-bit guest has two of them.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Pcpu } from '../core/pcpu.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';

export function flushTlbLocal(hv: Hypervisor, vcpu: Vcpu): void {
  if (vcpu.cpu === null || !flush(hv, hv.pcpus[vcpu.cpu.id]!)) return;
  if (hv.pcpus.length === 1) hv.frames.noteFlushed();
}

export function flushTlbAll(hv: Hypervisor): void {
  let all = true;
  for (const p of hv.pcpus) if (!flush(hv, p)) all = false;
  if (all) hv.frames.noteFlushed();
}

/**
 * Does nothing, and says so, where everything the TLB holds is still true: kernels flush at each switch of processes, and a TCP stream
 * between two makes 80,000 of them for 64 MiB, each of which was followed by two hundred page walks.
 */
function flush(hv: Hypervisor, p: Pcpu): boolean {
  const { tableGeneration } = hv.frames;
  if (p.flushedAt === tableGeneration) return false;
  p.flushedAt = tableGeneration;
  p.cpu.flushAll();
  return true;
}

export function invlpgLocal(vcpu: Vcpu, lin: Lin): void {
  vcpu.cpu?.invlpg(lin);
}

export function invlpgAll(hv: Hypervisor, lin: Lin): void {
  for (const cpu of hv.machine.cpus) cpu.invlpg(lin);
}

/**
 * Whether a guest's bitmap of vCPUs names any (vcpumask_to_pcpumask): 1 or 0, -1 when it cannot be read. Words are 64 or 32 bits wide
 * and the bitmap is as long as the domain has vCPUs.
 */
export function readVcpuMask(vcpu: Vcpu, handle: number): 1 | 0 | -1 {
  const { guest, domain } = vcpu;
  const width = domain.is32bit ? 32 : 64;
  let any = 0;
  for (let bias = 0; bias < domain.maxVcpus; bias += width) {
    const at = handle + bias / 8;
    let lo: number;
    let hi = 0;
    if (domain.is32bit) {
      lo = guest.read32(at);
      if (lo === -1) return -1;
    } else {
      if (!guest.read64(at)) return -1;
      lo = guest.lo;
      hi = guest.hi;
    }
    const left = domain.maxVcpus - bias;
    any |= lo & (left >= 32 ? -1 : (1 << left) - 1);
    if (left > 32) any |= hi & (left >= 64 ? -1 : (1 << (left - 32)) - 1);
  }
  return any ? 1 : 0;
}
