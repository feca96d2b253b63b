// One instruction of a guest carried out by the hypervisor, as Xen's x86_emulate() does: an access to memory that is no RAM, port I/O with a
// memory operand, code that VT-x of 2005 cannot run. The CPU of this machine is an interpreter already, so that is what carries it out:
// in a mode of its own in which nothing is intercepted, guest-physical addresses go through the p2m, and what is no RAM comes here.

import { type Gfn, INVALID_MFN } from '../core/ids.ts';
import type { P2m } from '../core/p2m.ts';
import type { Lin } from '../machine/addresses.ts';
import { PF, RunExit } from '../machine/cpu-api.ts';
import type { Outside } from '../machine/mmu/physical.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import type { NonRoot, SecondLevel } from '../machine/virt/non-root.ts';
import type { HvmVcpu } from './vcpu.ts';

/** Guest-physical addresses without RAM appear from here on, where no machine has any. */
const HOLE = 2 ** 48;

/** Memory that is a device's. Sizes are 1, 2 or 4. */
export interface GuestMmio {
  read(h: HvmVcpu, gpa: number, size: number): number;
  write(h: HvmVcpu, gpa: number, size: number, value: number): void;
}

/** The guest's memory as the emulator sees it. */
class EmulatedMemory implements SecondLevel {
  writable = true;
  readonly executable = true;
  readonly shift = 12;
  private readonly p2m: P2m;
  constructor(p2m: P2m) {
    this.p2m = p2m;
  }
  translate(gpa: number, access: number, _lin: Lin | undefined, _isTable: boolean): number {
    const gfn = Math.floor(gpa / 4096) as Gfn;
    const mfn = this.p2m.mfn(gfn);
    if (mfn === INVALID_MFN) return HOLE + gpa;
    this.writable = this.p2m.isWritable(gfn);
    // Writes to read-only memory are a device's as well: it may want to know, and nothing changes.
    if (access & PF.write && !this.writable) return HOLE + gpa;
    return mfn * 4096 + (gpa % 4096);
  }
}

/** Non-root operation in which nothing is intercepted. */
class Emulation implements NonRoot {
  readonly second: SecondLevel;
  readonly space: number;
  readonly trapped = 0;
  readonly virtualTpr = undefined;
  readonly takesInterrupts = false;
  readonly deadline = Number.POSITIVE_INFINITY;
  isShutdown = false;
  constructor(p2m: P2m, space: number) {
    this.second = new EmulatedMemory(p2m);
    this.space = space;
  }
  instruction = () => false;
  io = () => false;
  exception = () => false;
  softInterrupt = () => false;
  taskSwitch = () => false;
  tripleFault(cpu: SystemCpu): boolean {
    this.isShutdown = true;
    return cpu.leave(RunExit.shutdown);
  }
  secondLevelFault(): void {
    throw new Error('the emulator refuses no address');
  }
  boundary = () => false;
}

const emulations = new WeakMap<HvmVcpu, Emulation>();
/** Below root operation's and every VPID's. */
let nextSpace = -1;

function emulationOf(h: HvmVcpu): Emulation {
  let e = emulations.get(h);
  if (e === undefined) {
    e = new Emulation(h.vcpu.domain.p2m, nextSpace--);
    emulations.set(h, e);
  }
  return e;
}

/**
 * Carries out the instruction at RIP, the vCPU being out of the guest and its state in the CPU's registers. One cycle passes. A repeated
 * instruction that meets a device is done element by element, as the guest comes back to it.
 */
export function emulateInstruction(h: HvmVcpu, cpu: SystemCpu): 'done' | 'shutdown' {
  const e = emulationOf(h);
  cpu.setNonRoot(e);
  // What was translated last time may be other memory now.
  cpu.flushSpace(e.space);
  cpu.thread.interruptShadow = false;
  const exit = cpu.run(cpu.cycles + 1);
  cpu.setNonRoot(null);
  h.isDirty = true;
  return exit === RunExit.shutdown ? 'shutdown' : 'done';
}

/** What the machine asks where it has no RAM: the devices of the guest whose instruction is being emulated. */
export const emulatedOutside = (current: (cpu: number) => HvmVcpu | undefined, mmio: GuestMmio): Outside => ({
  read(at, size, cpu) {
    const h = at >= HOLE ? current(cpu) : undefined;
    return h === undefined ? 2 ** (8 * size) - 1 : mmio.read(h, at - HOLE, size);
  },
  write(at, size, value, cpu) {
    const h = at >= HOLE ? current(cpu) : undefined;
    if (h !== undefined) mmio.write(h, at - HOLE, size, value);
  },
});
