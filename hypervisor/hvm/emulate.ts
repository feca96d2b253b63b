// One instruction of a guest carried out by the hypervisor, as Xen's x86_emulate() does: an access to memory that is no RAM, port I/O with a
// memory operand, code that VT-x of 2005 cannot run. The CPU of this machine is an interpreter already, so that is what carries it out:
// in a mode of its own in which nothing is intercepted, guest-physical addresses go through the p2m, and what is no RAM comes here.

import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import type { P2m } from '../core/p2m.ts';
import type { Lin } from '../machine/addresses.ts';
import { PF, RunExit } from '../machine/cpu-api.ts';
import type { Decoded } from '../machine/isa/decoded.ts';
import type { Outside } from '../machine/mmu/physical.ts';
import { EFLAGS, RCX, RDI, RSI, STATE } from '../machine/state.ts';
import { next } from '../machine/system/mode.ts';
import { mask, setGpr } from '../machine/system/operands.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import type { NonRoot, SecondLevel } from '../machine/virt/non-root.ts';
import { stateOf } from './domain.ts';
import type { Shadow } from './shadow.ts';
import type { HvmVcpu } from './vcpu.ts';

/** Guest-physical addresses without RAM appear from here on, where no machine has any. */
const HOLE = 2 ** 48;

/** Whether EmulatedMemory found no RAM. */
export const isHole = (address: number): boolean => address >= HOLE;

/** Memory that is a device's. Sizes are 1, 2 or 4. */
export interface GuestMmio {
  read(h: HvmVcpu, gpa: number, size: number): number;
  write(h: HvmVcpu, gpa: number, size: number, value: number): void;
}

/** The guest's memory as the emulator sees it. */
export class EmulatedMemory implements SecondLevel {
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
  readonly virtualTpr: NonRoot['virtualTpr'];
  readonly takesInterrupts = false;
  readonly deadline = Number.POSITIVE_INFINITY;
  isShutdown = false;
  private readonly h: HvmVcpu;
  constructor(h: HvmVcpu, space: number) {
    this.h = h;
    this.second = new EmulatedMemory(h.vcpu.domain.p2m);
    this.virtualTpr = { get: () => h.apic?.getCr8() ?? 0, set: (_cpu, v) => h.apic?.setCr8(v) };
    this.space = space;
  }
  instruction = () => false;
  /** Repeated string I/O with a device model: what is left of the page at once. */
  io(cpu: SystemCpu, d: Decoded, port: number, size: number, isIn: boolean, lin: Lin | undefined): boolean {
    if (!d.rep || lin === undefined || cpu.u32(STATE.eflags) & EFLAGS.DF) return false;
    const { h } = this;
    const room = Math.floor((4096 - (((lin % 4096) + 4096) % 4096)) / size);
    const left = d.addrSize === 2 ? cpu.regLo(RCX) & 0xffff : cpu.regLo(RCX) >>> 0;
    const count = Math.min(left, room);
    // A fault, or memory that is a device's, is for the way of one element.
    const host = count > 1 ? cpu.probe(lin, size, isIn) : 0;
    if (host < cpu.ram.base) return false;
    const { io, hv } = stateOf(h.vcpu.domain);
    const at = host - cpu.ram.base;
    const gfn = hv.frames.m2p.pfn((at >>> 12) as Mfn);
    // A frame of somebody else's has a number of theirs.
    if (gfn < 0 || h.vcpu.domain.p2m.mfn(gfn as Gfn) !== at >>> 12 || !io.portString(h, port, size, isIn, gfn * 4096 + (at & 0xfff), count))
      return false;
    const pointer = isIn ? RDI : RSI;
    setGpr(cpu, RCX, d.addrSize, (cpu.reg(RCX) - BigInt(count)) & mask(d.addrSize));
    setGpr(cpu, pointer, d.addrSize, (cpu.reg(pointer) + BigInt(count * size)) & mask(d.addrSize));
    return left === count ? next(cpu, d) : true;
  }
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
    e = new Emulation(h, nextSpace--);
    emulations.set(h, e);
  }
  return e;
}

/** Under shadow paging the register block has the real control registers: for the emulator it gets the guest's. */
function showGuest(h: HvmVcpu, cpu: SystemCpu, shadow: Shadow): void {
  cpu.setHalves(STATE.cr0, h.cr0, 0);
  cpu.setHalves(STATE.cr4, h.cr4, 0);
  cpu.setHalves(STATE.efer, h.efer, 0);
  cpu.setHalves(STATE.cr3, h.cr3Lo, h.cr3Hi);
  cpu.ram.u8.copyWithin(cpu.base + STATE.pdpte, shadow.own.base + STATE.pdpte, shadow.own.base + STATE.pdpte + 32);
}
/** The real ones come back at the next entry (Shadow.apply); what the instruction has changed is the guest's. */
function hideGuest(h: HvmVcpu, cpu: SystemCpu, shadow: Shadow): void {
  const same = cpu.lo(STATE.efer) === h.efer && cpu.lo(STATE.cr0) === h.cr0 && cpu.lo(STATE.cr4) === h.cr4 && cpu.lo(STATE.cr3) === h.cr3Lo;
  if (same) return;
  h.cr0 = cpu.lo(STATE.cr0);
  h.efer = cpu.lo(STATE.efer);
  h.cr4 = cpu.lo(STATE.cr4);
  h.cr3Lo = cpu.lo(STATE.cr3);
  h.cr3Hi = cpu.hi(STATE.cr3);
  shadow.own.ram.u8.copyWithin(shadow.own.base + STATE.pdpte, cpu.base + STATE.pdpte, cpu.base + STATE.pdpte + 32);
  shadow.flush();
  h.needsFlush = true;
}

/**
 * Carries out the instruction at RIP, the vCPU being out of the guest and its state in the CPU's registers. One cycle passes. A repeated
 * instruction that meets a device is done element by element, as the guest comes back to it.
 */
export function emulateInstruction(h: HvmVcpu, cpu: SystemCpu): 'done' | 'shutdown' {
  const e = emulationOf(h);
  if (h.shadow !== null) showGuest(h, cpu, h.shadow);
  cpu.setNonRoot(e);
  // What was translated last time may be other memory now.
  cpu.flushSpace(e.space);
  cpu.thread.interruptShadow = false;
  const exit = cpu.run(cpu.cycles + 1);
  cpu.setNonRoot(null);
  if (h.shadow !== null) hideGuest(h, cpu, h.shadow);
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
