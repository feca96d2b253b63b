// What a hypercall handler gets: the caller and its arguments, as registers held them or as a multicall entry did.

import type { Domain } from '../core/domain.ts';
import type { GuestMemory } from '../core/guest-memory.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Abi } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';

/** The handler has set all registers itself (iret): rax gets no result. */
export const NO_RETURN = Symbol('no return value');

/** Not done yet: the guest makes the same call again, with the arguments that continueWith() left (hypercall_create_continuation). */
export const PREEMPTED = Symbol('to be continued');

/** 0 or more for success, -XEN_Exxx for failure. */
export type HypercallResult = number | typeof NO_RETURN | typeof PREEMPTED;

/**
 * Elements of a list that one call works through before the guest's other events, and other guests, have their turn. Xen stops when
 * something is pending; a fixed number keeps runs repeatable. No kernel's own lists are as long.
 */
export const PREEMPT_AFTER = 2048;
export type HypercallHandler = (c: HypercallContext) => HypercallResult;

export class HypercallContext {
  readonly hv: Hypervisor;
  vcpu!: Vcpu;
  /** Called from a multicall: iret and the like answer differently there. */
  inMulticall = false;
  private readonly lo = new Int32Array(6);
  private readonly hi = new Int32Array(6);

  constructor(hv: Hypervisor) {
    this.hv = hv;
  }

  get domain(): Domain {
    return this.vcpu.domain;
  }
  get guest(): GuestMemory {
    return this.vcpu.guest;
  }
  /** Layout of what the caller passes. An HVM vCPU's is that of the mode it called in, whatever shared_info has. */
  get abi(): Abi {
    return this.vcpu.guest.abi;
  }
  get is32bit(): boolean {
    return this.vcpu.guest.abi === 'x86_32';
  }

  /** Elements worked through in this call, and in the multicall around it. */
  work = 0;
  /** How many more may be; at least one, so that every call gets on. The privileged domain's own calls come from the host: no end. */
  get workLeft(): number {
    return this.vcpu.isHosted ? Number.POSITIVE_INFINITY : Math.max(PREEMPT_AFTER - this.work, 1);
  }
  /** Sets the first arguments of the call that is to follow. */
  continueWith(...args: readonly number[]): typeof PREEMPTED {
    args.forEach((v, i) => {
      this.setArg(i, v | 0, Math.floor(v / 0x1_0000_0000));
    });
    return PREEMPTED;
  }

  setArg(i: number, lo: number, hi: number): void {
    this.lo[i] = lo;
    this.hi[i] = hi;
  }
  /** Argument as a number: a signed linear address or any value below 2^53; from a 32-bit guest always 0 .. 2^32-1. */
  arg(i: number): number {
    return this.hi[i]! * 0x1_0000_0000 + (this.lo[i]! >>> 0);
  }
  argLo(i: number): number {
    return this.lo[i]!;
  }
  argHi(i: number): number {
    return this.hi[i]!;
  }
  /** Low 32 bits, unsigned: what a handler with an `unsigned int` parameter sees. */
  argU32(i: number): number {
    return this.lo[i]! >>> 0;
  }
}
