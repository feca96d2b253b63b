// The hypervisor as one object: the machine it runs on, its domains, its clock and its log. Parts that decide something live in their
// own files (scheduler, event channels, frame table, timers); this one ties them together and creates and destroys domains.

import { HypercallContext, type HypercallResult } from '../hypercalls/context.ts';
import type { Context } from '../machine/context.ts';
import type { Cpu } from '../machine/cpu-api.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import type { Domain } from './domain.ts';
import type { FrameTable } from './frame-table.ts';
import type { Domid } from './ids.ts';
import { HypervisorLog } from './log.ts';
import { Pcpu } from './pcpu.ts';
import type { PvHooks } from './pv-hooks.ts';
import type { Vcpu } from './vcpu.ts';

/** What the hypervisor needs of machine/index.ts's Machine. */
export interface MachinePort {
  readonly ram: Ram;
  readonly cpus: readonly Cpu[];
  /** A fresh register block outside RAM. */
  allocContext(): Context;
}

/** Called after each hypercall when set: for `ringworld trace` and tests. */
export type TraceHook = (vcpu: Vcpu, number: number, c: HypercallContext, result: HypercallResult) => void;

export interface HypervisorOptions {
  machine: MachinePort;
  frames: FrameTable;
  pv: PvHooks;
  /** hypercalls/index.ts: executes hypercall `number` with the arguments in `c`. */
  dispatch: (c: HypercallContext, number: number) => HypercallResult;
  tscHz?: number;
}

export class Hypervisor {
  readonly machine: MachinePort;
  readonly ram: Ram;
  readonly frames: FrameTable;
  readonly pv: PvHooks;
  readonly domains = new Map<Domid, Domain>();
  readonly console = new HypervisorLog();
  readonly pcpus: Pcpu[];
  trace: TraceHook | null = null;
  readonly dispatch: HypervisorOptions['dispatch'];
  /** The one context for hypercalls from registers; handlers never nest except through multicall, which makes its own. */
  private readonly callContext: HypercallContext;

  constructor(options: HypervisorOptions) {
    this.machine = options.machine;
    this.ram = options.machine.ram;
    this.frames = options.frames;
    this.pv = options.pv;
    this.dispatch = options.dispatch;
    this.pcpus = options.machine.cpus.map((cpu, i) => new Pcpu(i, cpu));
    this.callContext = new HypercallContext(this);
  }

  /** System time: ns since boot. */
  now(): number {
    return 0;
  }

  domain(id: number): Domain | undefined {
    return this.domains.get(id as Domid);
  }

  /**
   * A hypercall from a vCPU's registers: 64-bit number in rax and arguments in rdi rsi rdx r10 r8 r9, compat in eax and
   * ebx ecx edx esi edi ebp. Sets rax unless the handler said NO_RETURN. To be called by the entry paths of pv/.
   */
  hypercall(vcpu: Vcpu): HypercallResult {
    const c = this.callContext;
    const { regs } = vcpu;
    c.vcpu = vcpu;
    const is32bit = vcpu.domain.is32bit;
    const order = is32bit ? COMPAT_ARGS : ARGS;
    for (let i = 0; i < 6; i++) c.setArg(i, regs.regLo(order[i]!), is32bit ? 0 : regs.regHi(order[i]!));
    const number = is32bit || regs.regHi(0) === 0 ? regs.regLo(0) >>> 0 : 0xffff_ffff;
    const result = this.dispatch(c, number);
    if (typeof result === 'number') vcpu.regs.setRegHalves(0, result | 0, is32bit ? 0 : Math.floor(result / 0x1_0000_0000));
    return result;
  }
}

/** rdi rsi rdx r10 r8 r9. */
const ARGS = [7, 6, 2, 10, 8, 9] as const;
/** ebx ecx edx esi edi ebp. */
const COMPAT_ARGS = [3, 1, 2, 6, 7, 5] as const;
