// The bodies of intercepts, the same for VT-x and SVM (xen/arch/x86/hvm/hvm.c). The guest's registers are in the CPU; `advance` of the
// vendor's operations steps over the instruction. What is wrong with the guest's request is an exception for it.

import { SHUTDOWN_poweroff, SHUTDOWN_reboot } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import { type Gfn, INVALID_MFN } from '../core/ids.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, EFLAGS, RAX, RBX, RCX, RDX, SEG, STATE } from '../machine/state.ts';
import { CR0, CR4, EFER, EXC } from '../machine/system/bits.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import { XCR0_X87, xcr0Of } from '../machine/system/xstate.ts';
import { guestCr4Bits, hvmProfile } from './cpuid-policy.ts';
import { stateOf } from './domain.ts';
import { emulateInstruction } from './emulate.ts';
import { guestCpuid } from './guest-cpuid.ts';
import { type GuestMode, hvmHypercall } from './hypercall.ts';
import { readGuestMsr, writeGuestMsr } from './msr.ts';
import type { HvmVcpu } from './vcpu.ts';
import { exception } from './virt-ops.ts';

export function inject(h: HvmVcpu, vector: number, errorCode = -1): void {
  // Of two, the first stays: the second comes again when the instruction is run again.
  h.event ??= exception(vector, errorCode);
}
const gp0 = (h: HvmVcpu): void => inject(h, EXC.GP, 0);

export function crash(hv: Hypervisor, h: HvmVcpu, reason: string): void {
  const { domain } = h.vcpu;
  if (domain.isShuttingDown) return;
  const { regs } = h.vcpu;
  hv.console.xen(`domain_crash called: ${reason}`);
  hv.console.xen(
    `Domain ${domain.id} (vcpu#${h.vcpu.id}) crashed at ${hex(regs.selector(CS), 4)}:${hex(BigInt.asUintN(64, BigInt(regs.rip)), 16)}`,
  );
  domain.crash(reason);
}
const hex = (v: number | bigint, digits: number): string => v.toString(16).padStart(digits, '0');

const isLong = (cpu: SystemCpu): boolean => (cpu.lo(STATE.efer) & EFER.LMA) !== 0;
const is64 = (cpu: SystemCpu): boolean => isLong(cpu) && (cpu.segAttributes(CS) & SEG.l) !== 0;

/** The instruction at RIP in the emulator. */
export function emulate(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  h.vcpu.domain.count('emulated instructions');
  if (emulateInstruction(h, cpu) === 'shutdown') tripleFault(hv, h);
}

export function cpuid(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  const r = guestCpuid(hv, h, cpu, cpu.regLo(RAX) >>> 0, cpu.regLo(RCX) >>> 0);
  cpu.setRegHalves(RAX, r[0], 0);
  cpu.setRegHalves(RBX, r[1], 0);
  cpu.setRegHalves(RCX, r[2], 0);
  cpu.setRegHalves(RDX, r[3], 0);
  stateOf(h.vcpu.domain).ops.advance(h);
}

export function rdmsr(h: HvmVcpu, cpu: SystemCpu): void {
  const v = readGuestMsr(h, cpu, cpu.regLo(RCX) >>> 0);
  if (v === undefined) {
    gp0(h);
    return;
  }
  cpu.setReg(RAX, v & 0xffff_ffffn);
  cpu.setReg(RDX, (v >> 32n) & 0xffff_ffffn);
  stateOf(h.vcpu.domain).ops.advance(h);
}
export function wrmsr(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  const v = (BigInt(cpu.regLo(RDX) >>> 0) << 32n) | BigInt(cpu.regLo(RAX) >>> 0);
  if (!writeGuestMsr(hv, h, cpu, cpu.regLo(RCX) >>> 0, v)) {
    gp0(h);
    return;
  }
  stateOf(h.vcpu.domain).ops.advance(h);
}

/** HLT, with the instruction done: sleeps unless something is due (hvm_hlt). */
export function hlt(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  const { ops, platform } = stateOf(h.vcpu.domain);
  ops.advance(h);
  if (h.event !== null) return;
  if (!(cpu.u32(STATE.eflags) & EFLAGS.IF)) {
    if (!platform.isNmiPending(h.vcpu)) vcpuDown(hv, h);
    return;
  }
  if (platform.pendingVector(h.vcpu) < 0) hv.scheduler.block(h.vcpu);
}

/** hvm_vcpu_down(): a vCPU that sleeps with interrupts off is done; with the last one the domain is powered off. */
function vcpuDown(hv: Hypervisor, h: HvmVcpu): void {
  const { vcpu } = h;
  vcpu.isDown = true;
  hv.scheduler.sleep(vcpu);
  if (vcpu.domain.vcpus.every((v) => v.isDown)) {
    hv.console.xen(`d${vcpu.domain.id}: all CPUs offline -- powering off.`);
    vcpu.domain.shutdown(SHUTDOWN_poweroff);
  }
}

/** VMCALL and VMMCALL. */
export function hypercall(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  if (hvmHypercall(hv, h.vcpu, modeOf(h, cpu), cpu.cpl)) stateOf(h.vcpu.domain).ops.advance(h);
}
/** hvm_guest_x86_mode(). */
function modeOf(h: HvmVcpu, cpu: SystemCpu): GuestMode {
  if (!(h.cr0 & CR0.PE)) return 0;
  if (cpu.u32(STATE.eflags) & EFLAGS.VM) return 1;
  return is64(cpu) ? 8 : cpu.segAttributes(CS) & SEG.db ? 4 : 2;
}

export function tripleFault(hv: Hypervisor, h: HvmVcpu): void {
  hv.console.xen(`Triple fault - invoking HVM shutdown action ${SHUTDOWN_reboot}`);
  h.vcpu.domain.shutdown(SHUTDOWN_reboot);
}

export function xsetbv(h: HvmVcpu, cpu: SystemCpu): void {
  const v = cpu.regLo(RAX);
  const { features } = hvmProfile(cpu.profile, h.shadow === null);
  if (cpu.regLo(RCX) !== 0 || cpu.regLo(RDX) !== 0 || v & ~xcr0Of(features) || !(v & XCR0_X87)) {
    gp0(h);
    return;
  }
  cpu.setHalves(STATE.xcr0, v, 0);
  stateOf(h.vcpu.domain).ops.advance(h);
}

// ------------------------------------------------------------------ control registers

/** Reads the page-directory pointers of PAE paging through the p2m; false when one has a reserved bit, or lies in no RAM. */
function loadPdptes(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): boolean {
  if (h.shadow !== null) return h.shadow.loadPdptes(h);
  const gpa = (cpu.u32(STATE.cr3) & ~31) >>> 0;
  const mfn = h.vcpu.domain.p2m.mfn((gpa >>> 12) as Gfn);
  if (mfn === INVALID_MFN) return false;
  const { u32, base } = hv.ram;
  const from = (base + mfn * 4096 + (gpa & 0xfff)) >>> 2;
  for (let i = 0; i < 8; i += 2) if (u32[from + i]! & 1 && u32[from + i]! & 0x1e6) return false;
  u32.copyWithin((cpu.base + STATE.pdpte) >>> 2, from, from + 8);
  return true;
}

const CR0_KNOWN = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;
const PAGING_BITS = CR4.PGE | CR4.PAE | CR4.PSE | CR4.PCIDE | CR4.SMEP | CR4.SMAP | CR4.PKE;

/** The guest's translations are to go, with what a shadow has of them. */
export function flushGuest(h: HvmVcpu): void {
  h.needsFlush = true;
  h.shadow?.flush();
}
const cr3Lo = (h: HvmVcpu): number => (h.shadow === null ? h.vcpu.regs.lo(STATE.cr3) : h.cr3Lo);
const cr3Hi = (h: HvmVcpu): number => (h.shadow === null ? h.vcpu.regs.hi(STATE.cr3) : h.cr3Hi);

/** hvm_set_cr0(). False with #GP(0) due. */
export function setCr0(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, lo: number, hi: number): boolean {
  const v = (lo & CR0_KNOWN) | CR0.ET;
  const paging = (v & CR0.PG) !== 0;
  const changed = v ^ h.cr0;
  let { efer } = h;
  if (hi !== 0 || (paging && !(v & CR0.PE)) || (v & CR0.NW && !(v & CR0.CD))) return false;
  if (changed & CR0.PG) {
    if (paging && efer & EFER.LME) {
      if (!(h.cr4 & CR4.PAE) || cpu.segAttributes(CS) & SEG.l) return false;
      efer |= EFER.LMA;
    } else if (!paging) {
      if (is64(cpu) || h.cr4 & CR4.PCIDE) return false;
      efer &= ~EFER.LMA;
    }
    if (paging && h.cr4 & CR4.PAE && !(efer & EFER.LMA) && !loadPdptes(hv, h, cpu)) return false;
  }
  h.efer = efer;
  cpu.setHalves(STATE.efer, efer, 0);
  h.cr0 = v;
  cpu.setHalves(STATE.cr0, v | stateOf(h.vcpu.domain).ops.cr0Fixed, 0);
  h.isDirty = true;
  if (changed & (CR0.PG | CR0.WP)) flushGuest(h);
  return true;
}

/** hvm_set_cr4(). */
export function setCr4(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, lo: number, hi: number): boolean {
  if (hi !== 0 || lo & ~guestCr4Bits(cpu.profile, h.shadow === null)) return false;
  const changed = lo ^ h.cr4;
  if (isLong(cpu) && !(lo & CR4.PAE)) return false;
  if (changed & lo & CR4.PCIDE && (!isLong(cpu) || cr3Lo(h) & 0xfff)) return false;
  if (changed & CR4.PAE && lo & CR4.PAE && h.cr0 & CR0.PG && !isLong(cpu) && !loadPdptes(hv, h, cpu)) return false;
  h.cr4 = lo;
  cpu.setHalves(STATE.cr4, lo | stateOf(h.vcpu.domain).ops.cr4Fixed, 0);
  h.isDirty = true;
  if (changed & PAGING_BITS) flushGuest(h);
  return true;
}

/** hvm_set_cr3(): only where loads of CR3 are intercepted. */
export function setCr3(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, lo: number, hi: number): boolean {
  const high = isLong(cpu) ? hi & 0x7fff_ffff : 0;
  if (high >>> (cpu.profile.physicalBits - 32)) return false;
  const before = cr3Lo(h);
  putCr3(h, lo, high);
  if (h.cr0 & CR0.PG && h.cr4 & CR4.PAE && !isLong(cpu) && !loadPdptes(hv, h, cpu)) {
    putCr3(h, before, 0);
    return false;
  }
  h.isDirty = true;
  flushGuest(h);
  return true;
}

function putCr3(h: HvmVcpu, lo: number, hi: number): void {
  if (h.shadow === null) h.vcpu.regs.setHalves(STATE.cr3, lo, hi);
  else {
    h.cr3Lo = lo;
    h.cr3Hi = hi;
  }
}

/** MOV to CR0, CR3, CR4 or CR8 from a register. */
export function movToCr(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, cr: number, gpr: number): void {
  const lo = cpu.regLo(gpr);
  const hi = is64(cpu) ? cpu.regHi(gpr) : 0;
  let ok: boolean;
  switch (cr) {
    case 0:
      ok = setCr0(hv, h, cpu, lo, hi);
      break;
    case 3:
      ok = setCr3(hv, h, cpu, lo, hi);
      break;
    case 4:
      ok = setCr4(hv, h, cpu, lo, hi);
      break;
    case 8:
      ok = hi === 0 && lo >>> 4 === 0;
      if (ok) h.apic?.setCr8(lo);
      break;
    default:
      inject(h, EXC.UD);
      return;
  }
  if (!ok) {
    gp0(h);
    return;
  }
  stateOf(h.vcpu.domain).ops.advance(h);
}

export function movFromCr(h: HvmVcpu, cpu: SystemCpu, cr: number, gpr: number): void {
  switch (cr) {
    case 0:
      cpu.setRegHalves(gpr, h.cr0, 0);
      break;
    case 3:
      cpu.setRegHalves(gpr, cr3Lo(h), is64(cpu) ? cr3Hi(h) : 0);
      break;
    case 4:
      cpu.setRegHalves(gpr, h.cr4, 0);
      break;
    case 8:
      cpu.setRegHalves(gpr, h.apic?.getCr8() ?? 0, 0);
      break;
    default:
      inject(h, EXC.UD);
      return;
  }
  h.isDirty = true;
  stateOf(h.vcpu.domain).ops.advance(h);
}

export function clts(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  setCr0(hv, h, cpu, h.cr0 & ~CR0.TS, 0);
  stateOf(h.vcpu.domain).ops.advance(h);
}
/** LMSW sets PE but cannot clear it. */
export function lmsw(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, source: number): void {
  if (!setCr0(hv, h, cpu, (h.cr0 & ~0xe) | (source & 0xf) | (h.cr0 & CR0.PE), 0)) {
    gp0(h);
    return;
  }
  stateOf(h.vcpu.domain).ops.advance(h);
}

/** CLTS, LMSW, SMSW, and MOV CR where the processor does not say which: decoded here, then as above. */
export function emulateControl(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
  const before = cpu.lo(STATE.cr0);
  // The emulator works on the real CR0, which the guest's differs from by bits that it cannot set.
  emulate(hv, h, cpu);
  if (h.shadow !== null) {
    // CR3 may have been loaded with what it held: that is how a TLB is flushed.
    flushGuest(h);
    return;
  }
  const after = cpu.lo(STATE.cr0);
  if (after !== before && !setCr0(hv, h, cpu, after, 0)) gp0(h);
}

// ------------------------------------------------------------------ memory

/** A page fault of a guest with shadow paging (sh_page_fault). */
export function shadowFault(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, lin: Lin, errorCode: number): void {
  const { domain } = h.vcpu;
  const { shadow } = h;
  if (shadow === null) {
    crash(hv, h, 'a page fault exited though the guest has its tables to itself');
    return;
  }
  domain.count('page faults');
  switch (shadow.fault(h, lin, errorCode)) {
    case 'filled':
      domain.count('shadow fills');
      return;
    case 'guest':
      domain.count("guest's own page faults");
      h.event ??= exception(EXC.PF, shadow.errorCode, BigInt.asUintN(64, BigInt(lin)));
      return;
    case 'device':
      domain.count('MMIO');
      emulate(hv, h, cpu);
      return;
    case 'noMemory':
      h.isDirty = true;
      h.needsFlush = true;
  }
}
/** `lin` undefined where the processor does not tell it. */
export function invlpg(h: HvmVcpu, lin: Lin | undefined): void {
  if (lin === undefined) h.shadow?.flush();
  else h.shadow?.drop(h, lin);
  h.needsFlush = true;
  stateOf(h.vcpu.domain).ops.advance(h);
}

/**
 * The second level refused an access to a guest-physical address (hvm_hap_nested_page_fault): RAM that its tables do not have yet, or
 * memory that is a device's.
 */
export function nestedFault(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, gpa: number, isWrite: boolean, isFetch: boolean): void {
  const { domain } = h.vcpu;
  const { tables } = stateOf(domain);
  const gfn = Math.floor(gpa / 4096) as Gfn;
  const isRam = domain.p2m.mfn(gfn) !== INVALID_MFN;
  if (isRam && (!isWrite || domain.p2m.isWritable(gfn))) {
    domain.count('nested page faults');
    if (!tables?.fill(gfn)) crash(hv, h, `no memory for nested page tables (gfn ${gfn.toString(16)})`);
    // What the TLB held of a page that was read-only is out of date.
    else if (isWrite) h.needsFlush = true;
    return;
  }
  if (isFetch && !isRam) {
    crash(hv, h, `instruction fetch from gpa 0x${gpa.toString(16)}, which is no memory`);
    return;
  }
  domain.count('MMIO');
  emulate(hv, h, cpu);
}
