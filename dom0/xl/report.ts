// What is told about a domain when it is over: counts by name, times, per vCPU. Taken from the hypervisor before the domain goes.
import type { Domain, EngineStatistics, Hypervisor, Machine } from '@ringworld/hypervisor';

export type ExitReason = 'poweroff' | 'reboot' | 'suspend' | 'crash' | 'watchdog' | 'soft-reset' | 'timeout' | 'stuck' | 'left';

export interface VcpuReport {
  readonly id: number;
  /** Seconds of virtual time in each state. */
  readonly running: number;
  readonly runnable: number;
  readonly blocked: number;
  readonly offline: number;
}

export interface DomainReport {
  readonly name: string;
  readonly domid: number;
  readonly exitReason: ExitReason;
  /** SHUTDOWN_* of sched.h; null where the domain was ended from outside. */
  readonly shutdownCode: number | null;
  /** The panic, or why Xen crashed it. */
  readonly crashReason: string | null;
  readonly restarts: number;
  readonly hypercalls: Readonly<Record<string, number>>;
  readonly traps: Readonly<Record<string, number>>;
  readonly vcpus: readonly VcpuReport[];
}

export interface MachineReport {
  readonly virtualCycles: number;
  readonly virtualSeconds: number;
  readonly hostMs: number;
  readonly engine: EngineStatistics;
}

/** Counts of everything that the domain's entries into the hypervisor were, most frequent first. */
export function counts(domain: Domain): Pick<DomainReport, 'hypercalls' | 'traps'> {
  const sorted = [...domain.statistics].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  // Traps and emulations are counted under words, hypercalls under their names.
  const isHypercall = ([name]: [string, number]) => /^(\w+|hypercall \d+)$/.test(name);
  return {
    hypercalls: Object.fromEntries(sorted.filter(isHypercall)),
    traps: Object.fromEntries(sorted.filter((e) => !isHypercall(e))),
  };
}

export function vcpuReports(hv: Hypervisor, domain: Domain): VcpuReport[] {
  const now = hv.now();
  return domain.vcpus.map((v) => {
    const time = v.runstateTime.map((ns, state) => (ns + (state === v.runstate ? now - v.runstateEntry : 0)) / 1e9);
    const [running, runnable, blocked, offline] = time as [number, number, number, number];
    return { id: v.id, running, runnable, blocked, offline };
  });
}

export function machineReport(hv: Hypervisor, machine: Machine): MachineReport {
  return {
    virtualCycles: hv.baseCycles,
    virtualSeconds: hv.now() / 1e9,
    hostMs: Math.round(performance.now()),
    engine: machine.engine.statistics,
  };
}

/** One object: of a single domain its facts stand at the top. */
export function jsonReport(domains: readonly DomainReport[], machine: MachineReport): string {
  const [only] = domains;
  const report = domains.length === 1 && only !== undefined ? { ...only, ...machine } : { domains, ...machine };
  return `${JSON.stringify(report, null, 2)}\n`;
}
