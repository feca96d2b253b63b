// The hypervisor: put together from the machine, the core, the hypercall table and PV support.

import { FrameTable } from './core/frame-table.ts';
import { Hypervisor } from './core/hypervisor.ts';
import { hvmHooks } from './hvm/index.ts';
import { dispatch } from './hypercalls/index.ts';
import type { Machine } from './machine/index.ts';
import { pvHooks } from './pv/index.ts';
import { installPageTables } from './pv/mm-install.ts';

export { createDom0, type Dom0Options } from './core/dom0-create.ts';
export type { Domain } from './core/domain.ts';
export { createDomain, createVcpu } from './core/domain-create.ts';
export { destroyDomain } from './core/domain-destroy.ts';
export { openDomainPort } from './core/domain-port.ts';
export { auditHypervisor } from './core/frame-table-audit-holders.ts';
export type { HostTasks } from './core/host-tasks.ts';
export { createHostedDomain, type HostedDomainOptions } from './core/hosted-domain.ts';
export { Hypervisor, type RunstateHook, type TraceHook } from './core/hypervisor.ts';
export type { Maddr, Mfn } from './core/ids.ts';
export type { RunEnd, RunOptions } from './core/run-loop.ts';
export type { Vcpu } from './core/vcpu.ts';
export { hypercallName } from './hypercalls/index.ts';
export * from './machine/bare/index.ts';
export { createMachine, ENGINE_KINDS, type EngineKind, type EngineStatistics, Machine, type MachineOptions } from './machine/index.ts';

export interface CreateHypervisorOptions {
  machine: Machine;
  /** TSC frequency in Hz. */
  tscHz?: number;
  /** Wall-clock time at boot in seconds since 1970; a fixed date unless given. */
  bootEpoch?: number;
  commandLine?: string;
}

/** A hypervisor on a fresh machine, without domains. */
export function createHypervisor(options: CreateHypervisorOptions): Hypervisor {
  const { machine } = options;
  const frames = new FrameTable(machine.ram, () => {
    for (const cpu of machine.cpus) cpu.flushAll();
  });
  const hv = new Hypervisor({ ...options, frames, pv: pvHooks, hvm: hvmHooks, dispatch });
  installPageTables(hv);
  hv.console.xen('Xen version 4.17.7 (ringworld)');
  hv.console.xen(`Detected ${(hv.clock.tscHz / 1e6).toFixed(3)} MHz processor.`);
  hv.console.xen(`System RAM: ${Math.floor(machine.ram.size / 2 ** 20)}MB (${machine.ram.size / 1024}kB)`);
  hv.console.xen(`Brought up ${machine.cpus.length} CPUs`);
  return hv;
}
