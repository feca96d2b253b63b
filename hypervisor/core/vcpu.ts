// A virtual CPU: its registers, its PV state, where its vcpu_info lies, and its scheduling state.

import { NR_VIRQS, RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running } from '@ringworld/abi';
import type { Context } from '../machine/context.ts';
import type { Cpu } from '../machine/cpu-api.ts';
import type { Domain } from './domain.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { HvmVcpuState } from './hvm-domain.ts';
import { type EvtchnPort, INVALID_MFN, type Lin, type Maddr, type Mfn, type VcpuId } from './ids.ts';
import { createPvVcpu, type PvVcpu } from './pv-vcpu.ts';
import type { VcpuTimers } from './vcpu-timers.ts';

/** RUNSTATE_* (public/vcpu.h). */
export const RUNSTATE = {
  running: RUNSTATE_running,
  runnable: RUNSTATE_runnable,
  blocked: RUNSTATE_blocked,
  offline: RUNSTATE_offline,
} as const;
export type Runstate = (typeof RUNSTATE)[keyof typeof RUNSTATE];

/** Vcpu.affinity of a vCPU that may run anywhere. */
export const ALL_CPUS = 0xffff_ffff;

export class Vcpu {
  readonly id: VcpuId;
  readonly domain: Domain;
  /** Register file while the vCPU is not on a CPU. */
  readonly context: Context;
  /** The CPU that the vCPU runs on now, or null. */
  cpu: Cpu | null = null;
  readonly pv: PvVcpu = createPvVcpu();
  /** Of an HVM domain's vCPU; hosted ones (whose kernel is TypeScript) have none. */
  hvm: HvmVcpuState | null = null;
  /** Copies in and out by this vCPU's handles. */
  guest!: GuestMemory;

  /** vCPU has been given a context (VCPUOP_initialise, setvcpucontext). */
  isInitialised = false;
  /** Paused by the shutdown of its domain. */
  isPausedForShutdown = false;
  /** Machine address of its struct vcpu_info: in shared_info, or where VCPUOP_register_vcpu_info put it. */
  vcpuInfo = 0 as Maddr;
  /** Frame of a registered vcpu_info, INVALID_MFN when it lies in shared_info. */
  vcpuInfoMfn: Mfn = INVALID_MFN;

  // --- scheduling (core/scheduler.ts)
  runstate: Runstate = RUNSTATE.offline;
  /** System time (ns) of the last runstate change, and time spent in each state. */
  runstateEntry = 0;
  readonly runstateTime: [number, number, number, number] = [0, 0, 0, 0];
  /** VPF_down: not brought up yet, or taken down. */
  isDown = true;
  isBlocked = false;
  /** Pauses nest: hypervisor's own and toolstack's. */
  pauseCount = 0;
  /** SCHEDOP_poll: 0 not polling, a port, or -1 for more than one port. */
  pollPort: EvtchnPort | 0 | -1 = 0;
  isPolling = false;
  /** SCHEDOP_yield: lets one other go first. */
  isYielding = false;
  /** Its kernel is TypeScript (core/domain-port.ts): it takes no CPU. */
  isHosted = false;
  /** Hosted: an upcall is due. */
  isKicked = false;
  /** ns of running at the default weight that it may still use. */
  credit = 0;
  /** Hard affinity: one bit per physical CPU. */
  affinity = ALL_CPUS;

  // --- guest areas registered by linear address
  runstateGuest: Lin | 0 = 0;
  timeInfoGuest: Lin | 0 = 0;

  timers!: VcpuTimers;

  readonly virqToEvtchn: EvtchnPort[] = new Array<EvtchnPort>(NR_VIRQS).fill(0 as EvtchnPort);

  constructor(id: VcpuId, domain: Domain, context: Context) {
    this.id = id;
    this.domain = domain;
    this.context = context;
  }

  /** The live registers: on the CPU while it runs there, else in the vCPU's own block. */
  get regs(): Context {
    return this.cpu ?? this.context;
  }

  get name(): string {
    return `d${this.domain.id}v${this.id}`;
  }
}
