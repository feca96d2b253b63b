// What a hypercall handler gets: the caller and its arguments, as registers held them or as a multicall entry did.

import type { Domain } from '../core/domain.ts';
import type { GuestMemory } from '../core/guest-memory.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Abi } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';

/** The handler has set all registers itself (iret): rax gets no result. */
export const NO_RETURN = Symbol('no return value');

/** 0 or more for success, -XEN_Exxx for failure. */
export type HypercallResult = number | typeof NO_RETURN;
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
  get abi(): Abi {
    return this.vcpu.domain.abi;
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
