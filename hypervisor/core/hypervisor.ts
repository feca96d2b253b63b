// The hypervisor as one object: the machine it runs on, its domains, its clock and its log. Parts that decide something live in their
// own files (scheduler, event channels, frame table, timers, domain-create and -destroy); this one ties them together.

import { HypercallContext, type HypercallResult, PREEMPT_AFTER, PREEMPTED } from '../hypercalls/context.ts';
import type { Context } from '../machine/context.ts';
import type { Cpu } from '../machine/cpu-api.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import { Clock, SECONDS } from './clock.ts';
import type { Domain } from './domain.ts';
import { reapDomain } from './domain-destroy.ts';
import type { FrameTable } from './frame-table.ts';
import type { GuestHooks } from './guest-hooks.ts';
import type { HostTasks } from './host-tasks.ts';
import type { HvmHooks } from './hvm-hooks.ts';
import { type Domid, INVALID_MFN, type Lin, type Mfn } from './ids.ts';
import { HypervisorLog } from './log.ts';
import { noHvm } from './no-hvm.ts';
import { Pcpu } from './pcpu.ts';
import type { PvHooks } from './pv-hooks.ts';
import { type RunEnd, RunLoop, type RunOptions } from './run-loop.ts';
import { Scheduler } from './scheduler.ts';
import { Timers } from './timers.ts';
import type { Runstate, Vcpu } from './vcpu.ts';

/** What the hypervisor needs of machine/index.ts's Machine. */
export interface MachinePort {
  readonly ram: Ram;
  readonly cpus: readonly Cpu[];
  /** A fresh register block outside RAM. */
  allocContext(): Context;
  freeContext(c: Context): void;
}

/** Called after each hypercall when set: for `ringworld trace` and tests. */
export type TraceHook = (vcpu: Vcpu, number: number, c: HypercallContext, result: HypercallResult) => void;

/** Called when a vCPU is about to enter another runstate, at system time `now` (ns): for `ringworld trace`. */
export type RunstateHook = (vcpu: Vcpu, state: Runstate, now: number) => void;

export interface HypervisorOptions {
  machine: MachinePort;
  frames: FrameTable;
  pv: PvHooks;
  /** None: HVM domains cannot be made. */
  hvm?: HvmHooks;
  /** hypercalls/index.ts: executes hypercall `number` with the arguments in `c`. */
  dispatch: (c: HypercallContext, number: number) => HypercallResult;
  tscHz?: number;
  /** Wall-clock time at boot, seconds since 1970. Never read from the host unless the user asks for it: runs are to be repeatable. */
  bootEpoch?: number;
  commandLine?: string;
}

/** 2026-01-01 00:00:00 UTC. */
const DEFAULT_EPOCH = 1_767_225_600;

export class Hypervisor {
  readonly machine: MachinePort;
  readonly ram: Ram;
  readonly frames: FrameTable;
  readonly pv: PvHooks;
  readonly hvm: HvmHooks;
  readonly domains = new Map<Domid, Domain>();
  readonly console = new HypervisorLog();
  readonly pcpus: Pcpu[];
  readonly clock: Clock;
  readonly timers = new Timers();
  readonly scheduler: Scheduler;
  /** Wall-clock time at system time 0. */
  readonly wallclock: { sec: number; nsec: number };
  readonly commandLine: string;
  trace: TraceHook | null = null;
  traceRunstate: RunstateHook | null = null;
  readonly dispatch: HypervisorOptions['dispatch'];

  /** The CPU whose guest is being served, null between windows. */
  active: Pcpu | null = null;
  /** Cycles that all CPUs have reached. */
  baseCycles = 0;
  /** vcpu_info of vCPUs beyond XEN_LEGACY_MAX_VCPUS until they register one: nobody reads it. */
  dummyVcpuInfo: Mfn = INVALID_MFN;
  /** The id at which the search for a free one begins (domctl's rover). */
  nextDomid = 1;
  readonly hostTasks: HostTasks[] = [];
  /** Asks for hostTasks to be run before guests go on. */
  hasHostWork = false;
  /** A dead domain waits for others to let go of its frames. */
  private hasDying = false;
  private readonly loop: RunLoop;
  /** The one context for hypercalls from registers; handlers never nest except through multicall, which makes its own. */
  private readonly callContext: HypercallContext;
  private stamp = { second: 0, tsc: 0, ns: 0 };

  constructor(options: HypervisorOptions) {
    this.machine = options.machine;
    this.ram = options.machine.ram;
    this.frames = options.frames;
    this.pv = options.pv;
    this.hvm = options.hvm ?? noHvm;
    this.dispatch = options.dispatch;
    this.pcpus = options.machine.cpus.map((cpu, i) => new Pcpu(i, cpu));
    this.clock = new Clock(options.tscHz);
    const epoch = options.bootEpoch ?? DEFAULT_EPOCH;
    this.wallclock = { sec: Math.floor(epoch), nsec: Math.floor((epoch % 1) * SECONDS) };
    this.commandLine = options.commandLine ?? '';
    this.scheduler = new Scheduler(this);
    this.loop = new RunLoop(this);
    this.callContext = new HypercallContext(this);
  }

  /** Virtual cycles since boot, as the CPU that is being served counts them. */
  cycles(): number {
    return this.active?.cpu.cycles ?? this.baseCycles;
  }
  /** System time: ns since boot. */
  now(): number {
    return this.clock.toNs(this.cycles());
  }
  /** The last whole second of system time, from which guests count on (local_time_calibration takes one a second). */
  timeStamp(): { readonly tsc: number; readonly ns: number } {
    const second = Math.floor(this.now() / SECONDS);
    if (second !== this.stamp.second) {
      const tsc = this.clock.toCycles(second * SECONDS);
      this.stamp = { second, tsc, ns: this.clock.toNs(tsc) };
    }
    return this.stamp;
  }

  /** What carries this kind of guest. */
  hooksOf(vcpu: Vcpu): GuestHooks {
    return vcpu.hvm === null ? this.pv : this.hvm;
  }

  domain(id: number): Domain | undefined {
    return this.domains.get(id as Domid);
  }
  /** The domain that gets global VIRQs. */
  get hardwareDomain(): Domain | undefined {
    return this.domain(0);
  }

  /** Runs guests until nothing is left to do without the host, or as options say. */
  run(options: RunOptions = {}): RunEnd {
    return this.loop.run(options);
  }

  /** vcpu_kick: something became pending for it. */
  kick(vcpu: Vcpu): void {
    if (!vcpu.isHosted) {
      this.scheduler.unblock(vcpu);
      return;
    }
    vcpu.isKicked = true;
    this.hasHostWork = true;
  }

  sendGlobalVirq(virq: number): void {
    this.hardwareDomain?.evtchn.raiseGlobalVirq(virq);
  }

  /** Runs host tasks until all are quiet. */
  runHostTasks(): void {
    do {
      this.hasHostWork = false;
      for (const task of this.hostTasks) if (task.run()) this.hasHostWork = true;
    } while (this.hasHostWork);
    if (this.hasDying) this.reapDomains();
  }
  /** Takes the CPU from a vCPU that may no longer run; not from the one that is being served. */
  vacate(pcpu: Pcpu): void {
    this.loop.vacate(pcpu);
  }
  /** Forgets dead domains whose last frame has come back. */
  reapDomains(): void {
    this.hasDying = false;
    for (const d of [...this.domains.values()]) if (d.isDying && !reapDomain(this, d)) this.hasDying = true;
  }
  get isHeld(): boolean {
    return this.hostTasks.some((t) => t.isHeld);
  }

  /**
   * A hypercall from a vCPU's registers: 64-bit number in rax and arguments in rdi rsi rdx r10 r8 r9, compat in eax and
   * ebx ecx edx esi edi ebp. Sets rax unless the handler said NO_RETURN. To be called by the entry paths of pv/ and hvm/.
   */
  // TOUR hypercall 50: The number is in rax and up to six arguments in rdi, rsi, rdx, r10, r8, r9 (a 32-bit guest: eax and ebx, ecx, edx,
  // esi, edi, ebp). They are copied once, as halves, and the registers are not looked at again.
  hypercall(vcpu: Vcpu): HypercallResult {
    const c = this.callContext;
    const { regs, hvm } = vcpu;
    c.vcpu = vcpu;
    c.work = 0;
    const is32bit = hvm === null ? vcpu.domain.is32bit : hvm.callsAs32bit;
    if (hvm !== null) hvm.callAbi = is32bit ? 'x86_32' : 'x86_64';
    const order = is32bit ? COMPAT_ARGS : ARGS;
    for (let i = 0; i < 6; i++) c.setArg(i, regs.regLo(order[i]!), is32bit ? 0 : regs.regHi(order[i]!));
    const number = is32bit || regs.regHi(0) === 0 ? regs.regLo(0) >>> 0 : 0xffff_ffff;
    const result = this.dispatch(c, number);
    if (hvm !== null) hvm.callAbi = null;
    if (result === PREEMPTED) {
      for (let i = 0; i < 6; i++) vcpu.regs.setRegHalves(order[i]!, c.argLo(i), is32bit ? 0 : c.argHi(i));
      // Back to the SYSCALL or INT 0x82, both of two bytes. (An HVM guest's RIP has not left the VMCALL yet.)
      if (hvm === null) vcpu.regs.rip = (vcpu.regs.rip - 2) as Lin;
      if (vcpu.cpu !== null) vcpu.cpu.cycles += PREEMPT_AFTER * CYCLES_PER_ELEMENT;
    }
    if (typeof result === 'number') vcpu.regs.setRegHalves(0, result | 0, is32bit ? 0 : Math.floor(result / 0x1_0000_0000));
    return result;
  }
}

/** What an element costs a guest that makes overlong lists: near to what it costs on hardware, so that its time slice ends. */
const CYCLES_PER_ELEMENT = 200;
/** rdi rsi rdx r10 r8 r9. */
const ARGS = [7, 6, 2, 10, 8, 9] as const;
/** ebx ecx edx esi edi ebp. */
const COMPAT_ARGS = [3, 1, 2, 6, 7, 5] as const;
