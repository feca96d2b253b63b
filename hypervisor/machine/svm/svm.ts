// SVM of one CPU (APM Vol 2, chapter 15): the instructions as operations that opcodes and a hypervisor in TypeScript reach alike, the
// global interrupt flag, and who the host is.

import type { Lin, Maddr } from '../addresses.ts';
import { RunExit, SECOND_LEVEL } from '../cpu-api.ts';
import type { PhysicalMap } from '../mmu/physical.ts';
import { CS, EFLAGS, RAX, RDX, RSP, SS, STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { MSR_AMD } from '../system/msr-vendor.ts';
import type { SystemCpu } from '../system/ports.ts';
import { initContext } from '../system/reset.ts';
import { EVENT_TYPE, type GuestEvent } from '../virt/non-root.ts';
import { type CheckContext, checkContext, PDPE_CHECK, violatedCheck } from './checks.ts';
import { Controls } from './controls.ts';
import { enterGuest, injectPending } from './entry.ts';
import { exitGuest } from './exit.ts';
import { EXIT, FAMILY, VMEXIT_INVALID } from './exits.ts';
import { type SvmFeatures, svmFeatures } from './features.ts';
import { LONG_MODE_TABLES, type NestedMode, NestedPaging } from './nested.ts';
import { ClosedGif, SvmGuest } from './non-root.ts';
import { loadLoaded, storeLoaded, storeSwitched } from './state-area.ts';
import { TLB_CONTROL, VMCB, Vmcb } from './vmcb.ts';

/** Bits of VM_CR (APM Vol 2, 15.30.1). */
export const VM_CR = { DPD: 1, R_INIT: 2, DIS_A20M: 4, LOCK: 8, SVMDIS: 16 } as const;

/** The security exception that INIT is turned into. */
const SX: GuestEvent = { vector: 30, errorCode: 1, type: EVENT_TYPE.exception, length: 0 };

/**
 * Who runs the guests. 'code': the software on this CPU; VMRUN keeps its state in the host save area and #VMEXIT brings it back.
 * 'typescript': a hypervisor outside; #VMEXIT stores the guest's state in the VMCB, and run() returns RunExit.vmexit. General registers
 * other than RAX and RSP stay in the CPU in both.
 */
export type SvmHost = 'code' | 'typescript';

/** What is saved and restored with the CPU, beside its context, its MSRs and `controls`. Plain data. */
export interface SvmState {
  gif: boolean;
  inGuest: boolean;
  /** Of the VMCB that VMRUN named, in RAM. */
  vmcb: Maddr;
  /** RFLAGS.IF of the host at VMRUN: with V_INTR_MASKING it gates physical interrupts. */
  hostIf: boolean;
  /** TSC offset of the host's context, and the one that VMRUN put in its place. */
  hostTscOffset: number;
  guestTscOffset: number;
  /** The address 64 KiB below which SKINIT has protected memory from devices; -1 for none. */
  secureLoader: number;
}

export class Svm {
  readonly cpu: SystemCpu;
  readonly physical: PhysicalMap;
  readonly features: SvmFeatures;
  host: SvmHost = 'code';
  readonly state: SvmState = {
    gif: true,
    inGuest: false,
    vmcb: 0 as Maddr,
    hostIf: true,
    hostTscOffset: 0,
    guestTscOffset: 0,
    secureLoader: -1,
  };
  /** Controls of the guest that runs, as VMRUN read them. */
  readonly controls = new Controls();
  readonly nested: NestedPaging;
  readonly guest: SvmGuest;
  /** Stands in for a guest while the host has GIF = 0: no interrupt reaches the core. */
  readonly closed = new ClosedGif();
  /** VMCB of the guest that runs or ran last. */
  readonly vmcb: Vmcb;
  /** Exits so far, by exit code (VMEXIT_INVALID as -1). */
  readonly exits = new Map<number, number>();
  /** The consistency check that the last VMRUN violated. */
  violated: string | undefined;
  /** SKINIT sends the image to the TPM, and keeps devices off: what a board with such things does about it. */
  onSecureLoader: (slb: Maddr, length: number) => void = () => {};
  /** Guest-physical accesses of another mode than 4-level tables: of a host in TypeScript. */
  hostTables: NestedMode = LONG_MODE_TABLES;

  private readonly context: CheckContext;
  private readonly scratch: Vmcb;
  /** ASIDs that have run since the last flush of all. */
  private readonly asids = new Set<number>();

  constructor(cpu: SystemCpu, physical: PhysicalMap) {
    this.cpu = cpu;
    this.physical = physical;
    this.features = svmFeatures(cpu.profile);
    this.context = checkContext(cpu.profile, this.features);
    this.nested = new NestedPaging(physical, cpu.profile.physicalBits, cpu.profile.features.has('pdpe1gb'));
    this.vmcb = new Vmcb(physical.ram, 0 as Maddr);
    this.scratch = new Vmcb(physical.ram, 0 as Maddr);
    this.guest = new SvmGuest(this);
  }

  get gif(): boolean {
    return this.state.gif;
  }
  get inGuest(): boolean {
    return this.state.inGuest;
  }

  // ------------------------------------------------------------------ registers

  get vmCr(): number {
    return Number(this.cpu.thread.msrs.get(MSR_AMD.VM_CR) ?? 0n);
  }
  /** Physical address of the host save area. */
  get hsave(): number {
    return Number(this.cpu.thread.msrs.get(MSR_AMD.VM_HSAVE_PA) ?? 0n);
  }

  /** RAM of a VMCB or host save area at a physical address, or -1: not aligned, past the last address, or no RAM there. */
  locate(address: number): Maddr | -1 {
    if (address % 4096 !== 0 || address >= 2 ** this.cpu.profile.physicalBits) return -1;
    return this.physical.locate(address);
  }

  // ------------------------------------------------------------------ instructions

  /**
   * VMRUN (APM Vol 3): enters the guest of the VMCB at a physical address, which locate() accepts. `returnRip` is where the host goes on.
   * False: #VMEXIT(VMEXIT_INVALID) has been made, and `violated` says why. An exit, also one that the injected event makes, is complete
   * when this returns; under a host in TypeScript run() then tells of it at once.
   */
  vmrun(address: number, returnRip: Lin = this.cpu.rip): boolean {
    const { cpu, state, controls, features, vmcb } = this;
    const at = this.locate(address);
    if (at < 0) throw new RangeError(`VMRUN: no VMCB can lie at 0x${address.toString(16)}`);
    state.vmcb = at as Maddr;
    vmcb.moveTo(state.vmcb);
    const isCode = this.host === 'code';
    this.context.hostPaging = !isCode || (cpu.lo(STATE.cr0) & CR0.PG) !== 0;
    this.violated = violatedCheck(vmcb, this.context);
    if (isCode) this.storeHost(returnRip);
    state.hostIf = !isCode || (cpu.lo(STATE.eflags) & EFLAGS.IF) !== 0;
    if (this.violated !== undefined) {
      controls.lbr = false;
      controls.nestedPaging = false;
      this.keepTsc();
      exitGuest(this, VMEXIT_INVALID, 0, 0, 0, 0, 0);
      return false;
    }
    const tables = isCode ? nestedModeOf(cpu) : this.hostTables;
    controls.load(vmcb, features);
    if (controls.nestedPaging) this.nested.load(controls.nestedCr3, tables);
    state.inGuest = true;
    enterGuest(this);
    this.flushAsked(vmcb.u8(VMCB.TLB_CONTROL[0]));
    state.gif = true;
    if (!this.loadPdpes()) return false;
    injectPending(this);
    return true;
  }

  /** Ends vmrun()'s loading where PAE paging has its four pointers in registers; false when that made an exit. */
  private loadPdpes(): boolean {
    const { cpu } = this;
    if (!isLegacyPae(cpu) || cpu.loadPdptes(cpu.u32(STATE.cr3))) return true;
    if (this.controls.nestedPaging) {
      // With nested paging they are looked at when they are used (15.25.10): one that is not present faults then.
      if (cpu.event.vector === SECOND_LEVEL) {
        this.guest.secondLevelFault(cpu);
        return false;
      }
      for (let i = 0; i < 4; i++) cpu.setHalves(STATE.pdpte + 8 * i, 0, 0);
      return true;
    }
    this.violated = PDPE_CHECK;
    exitGuest(this, VMEXIT_INVALID, 0, 0, 0, 0, 0);
    return false;
  }

  /** VMLOAD and VMSAVE with a VMCB at a physical address, which locate() accepts. */
  vmload(address: number): void {
    this.scratch.moveTo(this.mustLocate(address));
    loadLoaded(this.cpu, this.scratch);
    this.cpu.modeChanged();
  }
  vmsave(address: number): void {
    this.scratch.moveTo(this.mustLocate(address));
    storeLoaded(this.cpu, this.scratch);
  }
  private mustLocate(address: number): Maddr {
    const at = this.locate(address);
    if (at < 0) throw new RangeError(`no VMCB can lie at 0x${address.toString(16)}`);
    return at as Maddr;
  }

  /** STGI and CLGI: of the guest that runs, where it has a GIF of its own; else the processor's. */
  stgi(): void {
    this.setGif(true);
  }
  clgi(): void {
    this.setGif(false);
  }
  private setGif(on: boolean): void {
    if (this.state.inGuest && this.controls.vGifEnable) {
      this.controls.vGif = on;
      return;
    }
    this.state.gif = on;
    this.applyGif();
  }
  /** The core holds interrupts off while the host has GIF = 0. */
  applyGif(): void {
    if (this.state.inGuest) return;
    const wanted = this.state.gif || this.host === 'typescript' ? null : this.closed;
    if (this.cpu.nonRoot !== wanted) this.cpu.setNonRoot(wanted);
  }

  /** INVLPGA: drops translations of a linear address under an ASID; all of that ASID's, here, unless it is the host's. */
  invlpga(lin: Lin, asid: number): void {
    if (asid === 0 && !this.state.inGuest) this.cpu.invlpg(lin);
    else this.cpu.flushSpace(asid);
  }

  /**
   * SKINIT, the entry part (APM Vol 2, 15.27; Vol 3, SKINIT): the processor as after INIT, then flat 32-bit protected mode at the entry
   * point of the secure loader image at `slb` (64 KiB aligned). Keeping devices off the image and measuring it is onSecureLoader's.
   */
  skinit(slb: Maddr): void {
    const { cpu, state } = this;
    const { ram } = this.physical;
    const at = this.physical.locate(slb);
    const entry = at < 0 ? 0xffff : ram.read16(at as Maddr);
    const length = at < 0 ? 0xffff : ram.read16((at + 2) as Maddr);
    initContext(cpu, cpu.profile.signature);
    cpu.setHalves(STATE.cr0, cpu.lo(STATE.cr0) | CR0.PE, 0);
    cpu.setSegment(CS, 8, 0xc09b, 0xffff_ffff, 0);
    cpu.setSegment(SS, 0x10, 0xc093, 0xffff_ffff, 0);
    cpu.setRegHalves(RAX, slb, 0);
    cpu.setRegHalves(RSP, slb + 0x1_0000, 0);
    // EDX is the signature, as after INIT; the rest is zero.
    cpu.setRegHalves(RDX, cpu.profile.signature, 0);
    const { msrs } = cpu.thread;
    msrs.set(MSR_AMD.VM_CR, BigInt(this.vmCr | VM_CR.DPD | VM_CR.R_INIT | VM_CR.DIS_A20M));
    cpu.rip = (slb + entry) as Lin;
    state.secureLoader = slb;
    cpu.modeChanged();
    cpu.flushAll();
    this.clgi();
    this.onSecureLoader(slb, length === 0 ? 0x1_0000 : length);
  }

  // ------------------------------------------------------------------ what reaches the processor from outside

  /**
   * INIT has come (15.13.4, 15.28). 'held': GIF is 0, it stays pending. 'done': it has made an exit, or with VM_CR.R_INIT become #SX.
   * 'init': whoever brings it goes on and initializes the processor.
   */
  initSignal(): 'held' | 'done' | 'init' {
    const { cpu, controls } = this;
    if (!this.state.gif) return 'held';
    if (this.state.inGuest && controls.isIntercepted(EXIT.INIT.code)) {
      exitGuest(this, EXIT.INIT.code, 0, 0, 0, 0, 0);
      return 'done';
    }
    if (!(this.vmCr & VM_CR.R_INIT)) return 'init';
    const code = FAMILY.EXCEPTION + SX.vector;
    if (this.state.inGuest && controls.isIntercepted(code)) exitGuest(this, code, SX.errorCode, 0, 0, 0, 0);
    else cpu.inject(SX);
    return 'done';
  }
  /** SMI: true when the guest's intercept has taken it; this machine has no system-management mode. */
  smiSignal(): boolean {
    if (!this.state.gif || !this.state.inGuest || !this.controls.isIntercepted(EXIT.SMI.code)) return false;
    exitGuest(this, EXIT.SMI.code, 0, 0, 0, 0, 0);
    return true;
  }
  /** The x87 unit would freeze the processor (CR0.NE = 0, FERR#, IGNNE# not asserted; 15.14.2): true when that is intercepted. */
  ferrFreeze(): boolean {
    if (!this.state.inGuest || !this.controls.isIntercepted(EXIT.FERR_FREEZE.code)) return false;
    exitGuest(this, EXIT.FERR_FREEZE.code, 0, 0, 0, 0, 0);
    return true;
  }
  /** After INIT or RESET of the CPU: no guest runs, GIF is 1. VM_CR.SVMDIS goes unless it is locked. MSRs are the caller's at RESET. */
  reset(): void {
    const at = (this.cpu.base + STATE.tscOffset) >>> 3;
    const { f64 } = this.cpu.ram;
    if (this.state.inGuest && f64[at] === this.state.guestTscOffset) f64[at] = this.state.hostTscOffset;
    this.state.gif = true;
    this.state.inGuest = false;
    if (!(this.vmCr & VM_CR.LOCK)) this.cpu.thread.msrs.set(MSR_AMD.VM_CR, BigInt(this.vmCr & ~VM_CR.SVMDIS));
    if (this.cpu.nonRoot !== null) this.cpu.setNonRoot(null);
  }

  // ------------------------------------------------------------------ parts of VMRUN

  private storeHost(returnRip: Lin): void {
    const { cpu, scratch } = this;
    const at = this.physical.locate(this.hsave);
    if (at < 0) throw new RangeError('VMRUN: VM_HSAVE_PA is not in RAM');
    scratch.moveTo(at as Maddr);
    scratch.touch();
    storeSwitched(cpu, scratch);
    scratch.setLin(VMCB.RIP[0], returnRip);
    scratch.setHalves(VMCB.G_PAT[0], cpu.lo(STATE.pat), cpu.hi(STATE.pat));
  }
  /** The host save area, for the exit. */
  hostArea(): Vmcb {
    const at = this.physical.locate(this.hsave);
    // A guest's host software has moved it away since: what it gets is its own fault.
    this.scratch.moveTo((at < 0 ? 0 : at) as Maddr);
    return this.scratch;
  }

  /** Remembers the host's TSC offset where no guest's takes its place. */
  private keepTsc(): void {
    const { cpu, state } = this;
    state.hostTscOffset = cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3]!;
    state.guestTscOffset = state.hostTscOffset;
  }

  private flushAsked(control: number): void {
    const { asid } = this.controls;
    this.asids.add(asid);
    if (control === TLB_CONTROL.nothing) return;
    if (this.features.flushByAsid && control !== TLB_CONTROL.flushAll) {
      this.cpu.flushSpace(asid);
      return;
    }
    this.cpu.flushSpace(0);
    for (const a of this.asids) this.cpu.flushSpace(a);
    this.asids.clear();
    this.asids.add(asid);
  }

  /** Counts an exit and hands the CPU back to the host: the last step of exitGuest(). */
  leaveGuest(code: number): void {
    const { cpu, state, exits } = this;
    exits.set(code, (exits.get(code) ?? 0) + 1);
    state.inGuest = false;
    state.gif = false;
    cpu.thread.interruptShadow = false;
    cpu.thread.monitor = undefined;
    if (this.host === 'typescript') {
      cpu.setNonRoot(null);
      cpu.leave(RunExit.vmexit);
      return;
    }
    cpu.setNonRoot(this.closed);
    // A host in legacy PAE mode gets its page-directory pointers anew; with reserved bits set, it is shut down (15.6).
    if (isLegacyPae(cpu) && !cpu.loadPdptes(cpu.u32(STATE.cr3))) cpu.leave(RunExit.shutdown);
  }
}

const isLegacyPae = (cpu: SystemCpu): boolean =>
  (cpu.lo(STATE.cr4) & CR4.PAE) !== 0 && (cpu.lo(STATE.cr0) & CR0.PG) !== 0 && (cpu.lo(STATE.efer) & EFER.LMA) === 0;

/** The paging mode of the host, in which the nested tables are read (15.25.3). */
function nestedModeOf(cpu: SystemCpu): NestedMode {
  const cr4 = cpu.lo(STATE.cr4);
  const efer = cpu.lo(STATE.efer);
  return {
    mode: efer & EFER.LMA ? '4level' : cr4 & CR4.PAE ? 'pae' : '32bit',
    nxe: (efer & EFER.NXE) !== 0,
    pse: (cr4 & CR4.PSE) !== 0,
  };
}
