// VMX non-root operation (SDM Vol 3C, chapter 25): which of the things that a guest does make VM exits, and what becomes of those that do
// not but that the VMCS changes: control registers with masks and shadows, the virtual TPR, the TSC.
//
// The controls are read from the VMCS once, at VM entry. Each function of NonRoot looks at them, fills vmx.cause and ends in makeExit().

import type { Lin, Maddr } from '../addresses.ts';
import { PF, RunExit, SECOND_LEVEL } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { EFLAGS, STATE } from '../state.ts';
import { CR0, EXC } from '../system/bits.ts';
import { DR6, recordDebug } from '../system/debug.ts';
import { deliverFault } from '../system/deliver.ts';
import { REQUEST, type SystemCpu } from '../system/ports.ts';
import { EVENT_TYPE, type GuestEvent, type NonRoot, type SecondLevel, TRAPPED } from '../virt/non-root.ts';
import { ACTIVITY } from './capabilities.ts';
import { EXIT, PIN, PRIMARY, SECONDARY } from './controls.ts';
import { EPT_POINTER_NONE, type EptFault, type PmlIndex, VTPR } from './ept.ts';
import { type ExitCause, interruptionOf, isSoftware, makeExit, PENDING_DEBUG } from './exit.ts';
import { INTERRUPTION_TYPE_SHIFT, INTERRUPTION_VALID, TASK_SWITCH_SOURCE, VMX_EXIT, type VmxExitName } from './exits.ts';
import { VMCS } from './fields.ts';
import { INTERCEPTS } from './intercepts.ts';
import { ioInformation } from './operand-information.ts';
import type { Vmcs } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

const NEVER = Number.POSITIVE_INFINITY;

export class VmxGuest implements NonRoot {
  readonly vmx: Vmx;
  vmcs!: Vmcs;
  second: SecondLevel | undefined = undefined;
  space = 0;
  trapped = 0;
  virtualTpr: NonRoot['virtualTpr'] = undefined;
  takesInterrupts = true;
  deadline = NEVER;

  // The controls.
  pin = 0;
  primary = 0;
  secondary = 0;
  exitControls = 0;
  exceptionBitmap = 0;
  pageFaultMask = 0;
  pageFaultMatch = 0;
  /** Masks and read shadows, as halves. */
  cr0Mask = 0;
  cr0MaskHi = 0;
  cr0Shadow = 0;
  cr0ShadowHi = 0;
  cr4Mask = 0;
  cr4MaskHi = 0;
  cr4Shadow = 0;
  cr4ShadowHi = 0;
  /** Addresses in RAM, -1 where there is none. */
  ioBitmapA = -1;
  ioBitmapB = -1;
  msrBitmap = -1;
  vmreadBitmap = -1;
  vmwriteBitmap = -1;
  private virtualApic = -1;
  private tprThreshold = 0;
  pleGap = 0;
  pleWindow = 0;
  private tscOffset = 0;

  // What goes on between an entry and an exit.
  activity: number = ACTIVITY.active;
  /** Length of the instruction that TypeScript carries out: task switches report it. */
  private length = 0;
  private pendingMtf = false;
  private pendingDebug = 0;
  private pendingTpr = false;
  private pendingInit = false;
  /** Of an instruction that reaches the virtual TPR through memory (passTpr). */
  private tprLin = 0 as Lin;
  private tprWritten = false;
  /** Vector of a start-up IPI, -1 for none. */
  private pendingSipi = -1;
  private mtfAt = NEVER;
  private timerAt = NEVER;
  /** TSC at entry, in units of the preemption timer, and the timer's value then. */
  private timerFrom = 0;
  private timerValue = 0;
  /** TSC of the first and the last PAUSE of a loop. */
  pauseFirst = 0;
  pauseLast = Number.NEGATIVE_INFINITY;
  /** Nothing to look at in boundary() unless there are requests or the deadline has come. */
  private quiet = true;

  private readonly tpr = {
    get: () => this.vmx.cpu.ram.u8[this.vmx.cpu.ram.base + this.virtualApic + VTPR]! >>> 4,
    set: (_cpu: SystemCpu, v: number) => {
      const { ram } = this.vmx.cpu;
      ram.u8[ram.base + this.virtualApic + VTPR] = v << 4;
      this.checkThreshold();
    },
  };
  /** The virtual TPR as a register of the virtual-APIC page, for the x2APIC's MSR (29.5): unsigned. */
  readTprRegister(): number {
    return this.vmx.cpu.ram.read32((this.virtualApic + VTPR) as Maddr);
  }
  writeTprRegister(v: number): void {
    this.vmx.cpu.ram.write32((this.virtualApic + VTPR) as Maddr, v);
    this.checkThreshold();
  }
  private readonly pmlIndex: PmlIndex = {
    get: () => this.vmcs.read32(VMCS.GUEST_PML_INDEX),
    set: (i) => this.vmcs.write32(VMCS.GUEST_PML_INDEX, i),
  };

  constructor(vmx: Vmx) {
    this.vmx = vmx;
  }

  /** Reads the controls of a VMCS that passed the checks of VM entry. */
  use(vmcs: Vmcs): void {
    const { vmx } = this;
    const { physical } = vmx;
    this.vmcs = vmcs;
    this.pin = vmcs.read32(VMCS.PIN_BASED_VM_EXEC_CONTROL) | 0;
    this.primary = vmcs.read32(VMCS.CPU_BASED_VM_EXEC_CONTROL) | 0;
    const { pin, primary } = this;
    const secondary = primary & PRIMARY.activateSecondaryControls ? vmcs.read32(VMCS.SECONDARY_VM_EXEC_CONTROL) | 0 : 0;
    this.secondary = secondary;
    this.exitControls = vmcs.read32(VMCS.VM_EXIT_CONTROLS) | 0;
    this.exceptionBitmap = vmcs.read32(VMCS.EXCEPTION_BITMAP);
    this.pageFaultMask = vmcs.read32(VMCS.PAGE_FAULT_ERROR_CODE_MASK);
    this.pageFaultMatch = vmcs.read32(VMCS.PAGE_FAULT_ERROR_CODE_MATCH);
    this.cr0Mask = vmcs.lo(VMCS.CR0_GUEST_HOST_MASK) | 0;
    this.cr0MaskHi = vmcs.hi(VMCS.CR0_GUEST_HOST_MASK) | 0;
    this.cr0Shadow = vmcs.lo(VMCS.CR0_READ_SHADOW) | 0;
    this.cr0ShadowHi = vmcs.hi(VMCS.CR0_READ_SHADOW) | 0;
    this.cr4Mask = vmcs.lo(VMCS.CR4_GUEST_HOST_MASK) | 0;
    this.cr4MaskHi = vmcs.hi(VMCS.CR4_GUEST_HOST_MASK) | 0;
    this.cr4Shadow = vmcs.lo(VMCS.CR4_READ_SHADOW) | 0;
    this.cr4ShadowHi = vmcs.hi(VMCS.CR4_READ_SHADOW) | 0;
    const usesIo = (primary & PRIMARY.useIoBitmaps) !== 0;
    this.ioBitmapA = usesIo ? physical.locate(vmcs.readLin(VMCS.IO_BITMAP_A)) : -1;
    this.ioBitmapB = usesIo ? physical.locate(vmcs.readLin(VMCS.IO_BITMAP_B)) : -1;
    this.msrBitmap = primary & PRIMARY.useMsrBitmaps ? physical.locate(vmcs.readLin(VMCS.MSR_BITMAP)) : -1;
    const shadows = (secondary & SECONDARY.vmcsShadowing) !== 0;
    this.vmreadBitmap = shadows ? physical.locate(vmcs.readLin(VMCS.VMREAD_BITMAP)) : -1;
    this.vmwriteBitmap = shadows ? physical.locate(vmcs.readLin(VMCS.VMWRITE_BITMAP)) : -1;
    const usesTpr = (primary & PRIMARY.useTprShadow) !== 0;
    this.virtualApic = usesTpr ? physical.locate(vmcs.readLin(VMCS.VIRTUAL_APIC_PAGE_ADDR)) : -1;
    this.virtualTpr = this.virtualApic >= 0 ? this.tpr : undefined;
    this.tprThreshold = usesTpr ? vmcs.read32(VMCS.TPR_THRESHOLD) & 15 : 0;
    const pauseLoops = (secondary & SECONDARY.pauseLoopExiting) !== 0;
    this.pleGap = pauseLoops ? vmcs.read32(VMCS.PLE_GAP) : 0;
    this.pleWindow = pauseLoops ? vmcs.read32(VMCS.PLE_WINDOW) : 0;
    this.trapped = primary & PRIMARY.pauseExiting || pauseLoops ? TRAPPED.PAUSE : 0;
    this.takesInterrupts = (pin & PIN.externalInterruptExiting) === 0;
    this.useEpt();
  }

  /** Takes the EPT pointer, and finds the number for translations under it and the VPID. */
  useEpt(): void {
    const { vmx, vmcs, secondary } = this;
    const vpid = secondary & SECONDARY.enableVpid ? vmcs.read32(VMCS.VIRTUAL_PROCESSOR_ID) : 0;
    const apicPage = secondary & SECONDARY.virtualizeApicAccesses ? vmcs.readLin(VMCS.APIC_ACCESS_ADDR) : -1;
    if (secondary & SECONDARY.enableEpt) {
      const log = secondary & SECONDARY.enablePml ? vmcs.readLin(VMCS.PML_ADDRESS) : -1;
      vmx.ept.use(vmcs.lo(VMCS.EPT_POINTER), vmcs.hi(VMCS.EPT_POINTER), log, this.pmlIndex, apicPage);
      this.second = vmx.ept;
      this.space = vmx.spaces.of(vpid, vmx.ept.rootFrame);
    } else {
      if (apicPage >= 0) vmx.ept.useIdentity(apicPage);
      this.second = apicPage >= 0 ? vmx.ept : undefined;
      this.space = vmx.spaces.of(vpid, EPT_POINTER_NONE);
    }
  }

  /** The guest is about to run: after its state has been loaded, before an event is injected. */
  entered(cpu: SystemCpu, activity: number, pendingDebug: number): void {
    const { vmcs, pin, primary } = this;
    this.activity = activity;
    this.pendingDebug = pendingDebug & (PENDING_DEBUG.bs | PENDING_DEBUG.enabled) ? pendingDebug : 0;
    this.pendingMtf = false;
    this.pendingTpr = false;
    this.pendingInit = false;
    this.pendingSipi = -1;
    this.pauseLast = Number.NEGATIVE_INFINITY;
    this.tscOffset = primary & PRIMARY.useTscOffsetting ? vmcs.readLin(VMCS.TSC_OFFSET) : 0;
    if (pin & PIN.activatePreemptionTimer) {
      const unit = 2 ** this.vmx.capabilities.timerRate;
      this.timerValue = vmcs.read32(VMCS.GUEST_PREEMPTION_TIMER);
      this.timerFrom = Math.floor(this.rootTsc(cpu) / unit);
      this.timerAt = (this.timerFrom + this.timerValue) * unit - tscBase(cpu);
    } else this.timerAt = NEVER;
    if (this.tscOffset !== 0) addTsc(cpu, this.tscOffset);
    this.mtfAt = primary & PRIMARY.monitorTrapFlag ? cpu.cycles + 1 : NEVER;
    // 26.7.7. Without an APIC-access page such an entry is refused instead (26.2.1.1).
    if (this.virtualTpr !== undefined && this.secondary & SECONDARY.virtualizeApicAccesses) this.checkThreshold();
    this.settle();
  }
  /** A VM exit has saved the guest's state: what belongs to non-root operation alone is undone. */
  left(cpu: SystemCpu): void {
    if (this.vmx.ept.tprPage >= 0) {
      this.vmx.ept.tprPage = -1;
      cpu.invlpg(this.tprLin);
    }
    if (this.tscOffset !== 0) addTsc(cpu, -this.tscOffset);
    this.tscOffset = 0;
  }
  /** An injected event made the guest active, and a trap flag that was to come after one instruction comes before it (25.5.2). */
  injected(): void {
    this.activity = ACTIVITY.active;
    if (this.mtfAt !== NEVER) this.pendMtf();
    this.settle();
  }
  pendMtf(): void {
    this.pendingMtf = true;
    this.settle();
  }

  /** INIT, and a start-up IPI, which is lost unless the guest waits for one (25.2). */
  pendInit(): void {
    this.pendingInit = true;
    this.settle();
  }
  pendSipi(vector: number): void {
    if (this.activity !== ACTIVITY.waitForSipi) return;
    this.pendingSipi = vector;
    this.settle();
  }
  /** HLT, where it makes no exit: boundary() wakes the guest. */
  sleep(activity: number): void {
    this.activity = activity;
    this.settle();
  }

  private settle(): void {
    const windows = this.primary & (PRIMARY.interruptWindowExiting | PRIMARY.nmiWindowExiting);
    const pending = this.pendingMtf || this.pendingTpr || this.pendingDebug !== 0 || this.pendingInit || this.pendingSipi >= 0;
    this.quiet = windows === 0 && !pending && this.activity === ACTIVITY.active;
    this.deadline = Math.min(this.timerAt, this.mtfAt);
  }
  private checkThreshold(): void {
    if (this.tpr.get() >= this.tprThreshold) return;
    this.pendingTpr = true;
    this.settle();
  }

  /** TSC of the processor, without the guest's offset. */
  private rootTsc(cpu: SystemCpu): number {
    return Math.floor(cpu.cycles + tscBase(cpu));
  }
  /** What the preemption timer still has. */
  timerLeft(cpu: SystemCpu): number {
    const unit = 2 ** this.vmx.capabilities.timerRate;
    const now = Math.floor((this.rootTsc(cpu) - this.tscOffset) / unit);
    return Math.max(this.timerValue - (now - this.timerFrom), 0);
  }

  // ------------------------------------------------------------------ exits

  begin(reason: number): ExitCause {
    return this.vmx.cause.begin(reason);
  }
  exit(): true {
    return makeExit(this.vmx);
  }
  /** An exit before an instruction, of which nothing but its length is told. RF is saved as 0 (27.3.3). */
  exitBefore(reason: number, d: Decoded): true {
    const c = this.begin(reason);
    c.length = d.length;
    c.rf = false;
    return this.exit();
  }
  /** The event whose delivery the exit at hand interrupts: IDT-vectoring information, and the length of a software interrupt (27.2.4, 27.2.5). */
  private during(cpu: SystemCpu, c: ExitCause): void {
    const e = cpu.delivering;
    if (e === undefined) return;
    c.during = e;
    if (isSoftware(e)) c.length = e.length;
  }

  /**
   * For what an intercept found while it did an instruction's work itself: the exception that was recorded is delivered. Always true: the
   * instruction is dealt with.
   */
  raise(cpu: SystemCpu): true {
    if (cpu.event.vector === SECOND_LEVEL) this.secondLevelFault(cpu);
    else if (deliverFault(cpu) === 'shutdown') cpu.leave(RunExit.shutdown);
    return true;
  }

  instruction(cpu: SystemCpu, d: Decoded): boolean {
    this.length = d.length;
    return INTERCEPTS.get(d.insn.mnemonic)?.(this, cpu, d) ?? false;
  }

  io(_cpu: SystemCpu, d: Decoded, port: number, size: number, isIn: boolean, lin: Lin | undefined): boolean {
    const { primary } = this;
    if (primary & PRIMARY.useIoBitmaps) {
      if (!this.portExits(port, size)) return false;
    } else if (!(primary & PRIMARY.unconditionalIoExiting)) return false;
    const c = this.begin(VMX_EXIT.IO_INSTRUCTION.reason);
    c.length = d.length;
    c.rf = false;
    ioInformation(c, d, port, size, isIn, lin, this.vmx.capabilities.stringIoInformation);
    return this.exit();
  }
  /** 24.6.4, 25.1.3: any of the ports; an access that wraps around the port space exits always. */
  private portExits(port: number, size: number): boolean {
    if (port + size > 0x10000) return true;
    const { ram } = this.vmx.cpu;
    for (let p = port; p < port + size; p++) {
      const map = p < 0x8000 ? this.ioBitmapA : this.ioBitmapB;
      if (map < 0 || (ram.u8[ram.base + map + ((p & 0x7fff) >>> 3)]! >>> (p & 7)) & 1) return true;
    }
    return false;
  }

  exception(cpu: SystemCpu, e: GuestEvent): boolean {
    if (!this.wantsException(e)) return false;
    const c = this.begin(VMX_EXIT.EXCEPTION_NMI.reason);
    c.interruption = interruptionOf(e);
    c.errorCode = e.errorCode;
    // An event whose delivery ended in a double fault is not told of (27.2.4).
    if (e.vector !== EXC.DF) this.during(cpu, c);
    if (isSoftware(e)) c.length = e.length;
    if (e.vector === EXC.PF && e.type === EVENT_TYPE.exception) {
      const at = cpu.faultAddress;
      c.qLo = at % 0x1_0000_0000;
      c.qHi = Math.floor(at / 0x1_0000_0000);
    } else if (e.vector === EXC.DB && e.type === EVENT_TYPE.exception) {
      // DR6 is as it was before: what it would have been told is in the qualification (27.1).
      c.qLo = cpu.thread.debugCause & (DR6.B | DR6.BD | DR6.BS);
      cpu.setHalves(STATE.dr + 48, cpu.thread.dr6Before, cpu.hi(STATE.dr + 48));
    }
    // As in the image that delivery would have pushed: set by faults, but not by #DB.
    if (e.type === EVENT_TYPE.exception && e.vector !== EXC.DB) c.rf = true;
    return this.exit();
  }
  private wantsException(e: GuestEvent): boolean {
    const bit = (this.exceptionBitmap >>> e.vector) & 1;
    if (e.vector !== EXC.PF || e.type !== EVENT_TYPE.exception) return bit !== 0;
    const matches = (e.errorCode & this.pageFaultMask) >>> 0 === this.pageFaultMatch;
    return matches === (bit !== 0);
  }

  /** INT n makes no exit. */
  softInterrupt(): boolean {
    return false;
  }

  taskSwitch(cpu: SystemCpu, selector: number, source: 'jmp' | 'call' | 'int' | 'iret'): boolean {
    const c = this.begin(VMX_EXIT.TASK_SWITCH.reason);
    c.qLo = selector | (TASK_SWITCH_SOURCE[source] << 30);
    c.length = source === 'int' ? 0 : this.length;
    this.during(cpu, c);
    if (cpu.delivering?.type === EVENT_TYPE.exception && cpu.delivering.vector !== EXC.DB) c.rf = true;
    return this.exit();
  }

  tripleFault(): boolean {
    this.begin(VMX_EXIT.TRIPLE_FAULT.reason);
    return this.exit();
  }

  /**
   * An access to the TPR on the APIC-access page: the instruction is run again by itself, with the virtual-APIC page in its place. False
   * where it is another access, or the TPR is not virtual.
   */
  private passTpr(cpu: SystemCpu): boolean {
    const { ept } = this.vmx;
    const isTpr = ept.fault === 'apicAccess' && ept.qualification === VTPR && !ept.isTable && !(ept.access & PF.fetch);
    if (!isTpr || this.virtualTpr === undefined || cpu.delivering !== undefined || ept.tprPage >= 0 || ept.lin === undefined) return false;
    ept.tprPage = this.vmcs.readLin(VMCS.VIRTUAL_APIC_PAGE_ADDR);
    this.tprLin = ept.lin;
    this.tprWritten = (ept.access & PF.write) !== 0;
    this.deadline = cpu.cycles + 1;
    return true;
  }
  /** The instruction is done: the page is the APIC's again, and of what was written only the low byte counts (29.4.3, 29.1.2). */
  private endTpr(cpu: SystemCpu): void {
    this.vmx.ept.tprPage = -1;
    cpu.invlpg(this.tprLin);
    if (this.tprWritten) this.writeTprRegister(this.readTprRegister() & 0xff);
    this.settle();
  }

  secondLevelFault(cpu: SystemCpu): void {
    if (this.passTpr(cpu)) return;
    const { ept } = this.vmx;
    const c = this.begin(VMX_EXIT[SECOND_LEVEL_EXIT[ept.fault]].reason);
    c.qLo = ept.qualification;
    if (ept.fault === 'apicAccess') c.qLo |= apicAccessType(ept.access, ept.isTable, cpu.delivering !== undefined) << 12;
    else c.gpa = ept.gpa;
    if (ept.fault === 'violation') c.lin = ept.lin;
    this.during(cpu, c);
    // 27.3.3: 1, or what delivery of the interrupted event would have pushed.
    const e = cpu.delivering;
    if (e === undefined || (e.type === EVENT_TYPE.exception && e.vector !== EXC.DB)) c.rf = true;
    this.exit();
  }

  // ------------------------------------------------------------------ at instruction boundaries

  // In the order of Table 6-2 with 25.2 and 25.5: TPR threshold, monitor trap flag, debug traps, preemption timer, NMI window, NMI,
  // interrupt window, interrupt.
  boundary(cpu: SystemCpu, requests: number): boolean {
    if (this.vmx.ept.tprPage >= 0 && cpu.cycles >= this.deadline) this.endTpr(cpu);
    // The instruction that was under a shadow is done: an exit here is not its.
    if (!cpu.thread.interruptShadow) cpu.thread.shadowedRip = -1;
    if (this.quiet && requests === 0 && cpu.cycles < this.deadline) return false;
    if (this.pendingInit || this.pendingSipi >= 0) return this.signal();
    if (this.pendingTpr) {
      this.pendingTpr = false;
      this.begin(VMX_EXIT.TPR_BELOW_THRESHOLD.reason);
      return this.exit();
    }
    if (this.pendingMtf || cpu.cycles >= this.mtfAt) {
      this.begin(VMX_EXIT.MONITOR_TRAP_FLAG.reason);
      return this.exit();
    }
    const { thread } = cpu;
    if (this.pendingDebug !== 0 && !thread.debugShadow) return this.debugTrap(cpu);
    if (cpu.cycles >= this.timerAt && this.activity !== ACTIVITY.waitForSipi) {
      this.begin(VMX_EXIT.VMX_PREEMPTION_TIMER_EXPIRED.reason);
      return this.exit();
    }
    const sleepsDeep = this.activity === ACTIVITY.shutdown || this.activity === ACTIVITY.waitForSipi;
    if (!thread.interruptShadow && this.activity !== ACTIVITY.waitForSipi && this.takeNmi(cpu, requests)) return true;
    if (!thread.interruptShadow && !sleepsDeep && this.takeInterrupt(cpu, requests)) return true;
    if (this.activity === ACTIVITY.active) return false;
    if (this.takesInterrupts && this.wakes(cpu, requests)) {
      this.activity = ACTIVITY.active;
      this.settle();
      return false;
    }
    return cpu.leave(RunExit.halt);
  }

  /** Whether a guest that does not run has something to do: boundary() then does it. `requests`: as for boundary(). */
  wakes(cpu: SystemCpu, requests: number): boolean {
    if (this.pendingInit || this.pendingSipi >= 0) return true;
    if (this.activity === ACTIVITY.waitForSipi) return false;
    const { pin, primary } = this;
    const { nmiBlocked } = cpu.thread;
    if (cpu.cycles >= this.timerAt || (primary & PRIMARY.nmiWindowExiting && !nmiBlocked)) return true;
    if (requests & REQUEST.nmi && (!nmiBlocked || pin & PIN.virtualNmis)) return true;
    if (this.activity === ACTIVITY.shutdown) return false;
    const isOpen = (cpu.lo(STATE.eflags) & EFLAGS.IF) !== 0;
    if (primary & PRIMARY.interruptWindowExiting && isOpen) return true;
    return (requests & REQUEST.intr) !== 0 && (isOpen || !this.takesInterrupts);
  }
  private signal(): true {
    const c = this.begin(this.pendingInit ? VMX_EXIT.INIT.reason : VMX_EXIT.SIPI.reason);
    if (!this.pendingInit) c.qLo = this.pendingSipi;
    return this.exit();
  }

  private takeNmi(cpu: SystemCpu, requests: number): boolean {
    const { pin, primary } = this;
    const blocked = cpu.thread.nmiBlocked;
    if (primary & PRIMARY.nmiWindowExiting && !blocked) {
      this.begin(VMX_EXIT.PENDING_VIRT_NMI.reason);
      return this.exit();
    }
    // With virtual NMIs the blocking is the guest's alone: physical ones make exits whatever it is (25.3).
    if (!(requests & REQUEST.nmi) || (blocked && !(pin & PIN.virtualNmis))) return false;
    cpu.apic!.acknowledgeNmi();
    if (!(pin & PIN.nmiExiting)) {
      this.activity = ACTIVITY.active;
      this.settle();
      cpu.inject(NMI_EVENT);
      return true;
    }
    const c = this.begin(VMX_EXIT.EXCEPTION_NMI.reason);
    c.interruption = interruptionOf(NMI_EVENT);
    return this.exit();
  }

  private takeInterrupt(cpu: SystemCpu, requests: number): boolean {
    if (this.primary & PRIMARY.interruptWindowExiting && cpu.lo(STATE.eflags) & EFLAGS.IF) {
      this.begin(VMX_EXIT.PENDING_VIRT_INTR.reason);
      return this.exit();
    }
    if (this.takesInterrupts || !(requests & REQUEST.intr)) return false;
    const c = this.begin(VMX_EXIT.EXTERNAL_INTERRUPT.reason);
    if (this.exitControls & EXIT.acknowledgeInterruptOnExit)
      c.interruption = (cpu.apic!.acknowledge() | (EVENT_TYPE.external << INTERRUPTION_TYPE_SHIFT) | INTERRUPTION_VALID) >>> 0;
    return this.exit();
  }

  /** Pending debug exceptions that came with the entry (26.7.3). */
  private debugTrap(cpu: SystemCpu): true {
    const bits = this.pendingDebug & PENDING_DEBUG.enabled ? this.pendingDebug & PENDING_DEBUG.breakpoints : 0;
    const step = this.pendingDebug & PENDING_DEBUG.bs ? DR6.BS : 0;
    this.pendingDebug = 0;
    this.activity = ACTIVITY.active;
    this.settle();
    recordDebug(cpu, bits | step);
    if (!this.exception(cpu, DEBUG_EVENT)) cpu.inject(DEBUG_EVENT);
    return true;
  }

  /** CR0 as the guest reads it. */
  readCr0(cpu: SystemCpu): number {
    return (cpu.lo(STATE.cr0) & ~this.cr0Mask) | (this.cr0Shadow & this.cr0Mask);
  }
  readCr4(cpu: SystemCpu): number {
    return (cpu.lo(STATE.cr4) & ~this.cr4Mask) | (this.cr4Shadow & this.cr4Mask);
  }
  /** Bits of CR0 that must be set in the guest (25.3; 23.8): not PE and PG where it is unrestricted. */
  get cr0Required(): number {
    const { cr0Fixed0 } = this.vmx.capabilities;
    return this.secondary & SECONDARY.unrestrictedGuest ? cr0Fixed0 & ~(CR0.PE | CR0.PG) : cr0Fixed0;
  }
}

const SECOND_LEVEL_EXIT = {
  violation: 'EPT_VIOLATION',
  misconfiguration: 'EPT_MISCONFIG',
  pmlFull: 'PML_FULL',
  apicAccess: 'APIC_ACCESS',
} as const satisfies Record<EptFault, VmxExitName>;
/** Table 27-6: a linear read, write or fetch, one during event delivery; guest-physical accesses. */
function apicAccessType(access: number, isTable: boolean, isDelivery: boolean): number {
  if (isTable) return isDelivery ? 10 : 15;
  return isDelivery ? 3 : access & PF.fetch ? 2 : access & PF.write ? 1 : 0;
}

const NMI_EVENT: GuestEvent = { vector: EXC.NMI, errorCode: -1, type: EVENT_TYPE.nmi, length: 0 };
const DEBUG_EVENT: GuestEvent = { vector: EXC.DB, errorCode: -1, type: EVENT_TYPE.exception, length: 0 };

/** TSC minus cycles: a double of the context's. */
const tscBase = (cpu: SystemCpu): number => cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3]!;
function addTsc(cpu: SystemCpu, by: number): void {
  cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3]! += by;
}
