// HVM guests on VT-x: how a VMCS is set up, entered, and what each exit means (xen/arch/x86/hvm/vmx/vmcs.c, vmx.c).

import { XEN_ENOMEM } from '@ringworld/abi';
import type { HvmEvent } from '../core/hvm-hooks.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Mfn, mfnToMaddr } from '../core/ids.ts';
import type { Lin } from '../machine/addresses.ts';
import { EFLAGS, RSP, STATE } from '../machine/state.ts';
import { CR0, CR4, EXC } from '../machine/system/bits.ts';
import { readMsr } from '../machine/system/msr.ts';
import { REQUEST, type SystemCpu } from '../machine/system/ports.ts';
import { ENTRY, EXIT, PIN, PRIMARY, SECONDARY } from '../machine/vmx/controls.ts';
import {
  CR_ACCESS_TYPE,
  decodeBits,
  EXIT_NAMES,
  INTERRUPTION_HAS_ERROR,
  INTERRUPTION_VALID,
  VMX_EXIT,
  type VmxExitName,
} from '../machine/vmx/exits.ts';
import { VMCS } from '../machine/vmx/fields.ts';
import { savePdptes, saveRegisters } from '../machine/vmx/guest-state.ts';
import { VM_SUCCEED, type VmResult } from '../machine/vmx/results.ts';
import { Vmcs } from '../machine/vmx/vmcs.ts';
import { INVEPT, INVVPID } from '../machine/vmx/vmx.ts';
import { stateOf } from './domain.ts';
import * as body from './intercepts.ts';
import { FREE_MSRS } from './msr.ts';
import { Tags } from './tags.ts';
import type { HvmVcpu } from './vcpu.ts';
import { needsReinjection, type VirtOps } from './virt-ops.ts';

/** A VMCS, and the page that says which MSRs a guest may use by itself. */
interface VmxVcpu {
  readonly vmcs: Vmcs;
  readonly msrBitmap: Mfn;
  readonly vpid: number;
}
const states = new WeakMap<HvmVcpu, VmxVcpu>();
const vmxOf = (h: HvmVcpu): VmxVcpu => states.get(h)!;

/** Quarters of the bitmap: reads of low and high MSRs, writes of low and high ones (SDM Vol 3C, 24.6.9). */
const HIGH_MSRS = 0xc000_0000;

/** The controls that a capability MSR allows: its low half must be 1, its high half may be (appendix A). */
function adjust(cpu: SystemCpu, capability: number, wanted: number): number {
  const v = readMsr(cpu, capability) ?? 0n;
  return ((wanted | Number(v & 0xffff_ffffn)) & Number(v >> 32n)) >>> 0;
}
const CAPABILITY = {
  pin: 0x481,
  primary: 0x482,
  exit: 0x483,
  entry: 0x484,
  secondary: 0x48b,
  truePin: 0x48d,
  truePrimary: 0x48e,
  trueExit: 0x48f,
  trueEntry: 0x490,
  basic: 0x480,
};
const hasTrueControls = (cpu: SystemCpu): boolean => ((readMsr(cpu, CAPABILITY.basic) ?? 0n) >> 55n) % 2n === 1n;

/** What an EPT pointer says beside the root: write-back, four levels. */
const EPTP_FLAGS = 6 | (3 << 3);
/** A host that passes the checks: exits to a hypervisor in TypeScript load none of it. */
const HOST_SELECTORS = { cs: 0x08, data: 0x10, tr: 0x18 };
const HOST_RIP = 0xffff_8000_0000_0000n;

export class VmxOps implements VirtOps {
  readonly name = 'vmx';
  readonly cr0Fixed = CR0.NE;
  readonly cr4Fixed = CR4.VMXE;
  readonly hypercallOpcode = [0x0f, 0x01, 0xc1] as const;
  readonly hasHap: boolean;
  private readonly boot: SystemCpu;
  private readonly region: Mfn[] = [];
  private readonly vpids = new Tags(0xffff);

  /** `cpu`: any of the machine's; all are alike. */
  constructor(cpu: SystemCpu) {
    this.boot = cpu;
    const secondary = (readMsr(cpu, CAPABILITY.secondary) ?? 0n) >> 32n;
    this.hasHap = (Number(secondary) & SECONDARY.enableEpt) !== 0;
  }

  createVcpu(hv: Hypervisor, h: HvmVcpu): number {
    const control = hv.frames.allocXen();
    const msrBitmap = hv.frames.allocXen();
    const vpid = this.vpids.take();
    if (control === INVALID_MFN || msrBitmap === INVALID_MFN || vpid < 0) {
      if (control !== INVALID_MFN) hv.frames.freeXen(control);
      if (msrBitmap !== INVALID_MFN) hv.frames.freeXen(msrBitmap);
      if (vpid > 0) this.vpids.give(vpid);
      return -XEN_ENOMEM;
    }
    h.control = control;
    const vmcs = new Vmcs(hv.ram, mfnToMaddr(control));
    vmcs.format(Number((readMsr(this.boot, CAPABILITY.basic) ?? 0n) & 0x7fff_ffffn));
    const bitmap = new Uint8Array(4096).fill(0xff);
    for (const n of FREE_MSRS) {
      const bit = n % HIGH_MSRS;
      const quarter = n >= HIGH_MSRS ? 1024 : 0;
      for (const at of [quarter, quarter + 2048]) bitmap[at + (bit >>> 3)]! &= ~(1 << (bit & 7));
    }
    hv.ram.writeBytes(mfnToMaddr(msrBitmap), bitmap);
    const x = { vmcs, msrBitmap, vpid };
    states.set(h, x);
    this.construct(h, x);
    return 0;
  }
  destroyVcpu(hv: Hypervisor, h: HvmVcpu): void {
    const x = states.get(h);
    if (x === undefined) return;
    hv.frames.freeXen(h.control);
    hv.frames.freeXen(x.msrBitmap);
    this.vpids.give(x.vpid);
    states.delete(h);
    h.control = INVALID_MFN;
  }

  /** construct_vmcs(): what stays the same as long as the vCPU lives. */
  private construct(h: HvmVcpu, { vmcs, msrBitmap, vpid }: VmxVcpu): void {
    const cpu = this.boot;
    const { tables } = stateOf(h.vcpu.domain);
    const hap = tables !== null;
    const exact = hasTrueControls(cpu);
    const pin = adjust(cpu, exact ? CAPABILITY.truePin : CAPABILITY.pin, PIN.externalInterruptExiting | PIN.nmiExiting | PIN.virtualNmis);
    const primary = adjust(
      cpu,
      exact ? CAPABILITY.truePrimary : CAPABILITY.primary,
      PRIMARY.hltExiting |
        PRIMARY.unconditionalIoExiting |
        PRIMARY.useMsrBitmaps |
        PRIMARY.cr8LoadExiting |
        PRIMARY.cr8StoreExiting |
        PRIMARY.mwaitExiting |
        PRIMARY.monitorExiting |
        PRIMARY.rdpmcExiting |
        PRIMARY.activateSecondaryControls |
        (hap ? 0 : PRIMARY.invlpgExiting | PRIMARY.cr3LoadExiting | PRIMARY.cr3StoreExiting),
    );
    const secondary = adjust(
      cpu,
      CAPABILITY.secondary,
      SECONDARY.enableVpid |
        SECONDARY.enableRdtscp |
        SECONDARY.enableXsaves |
        (hap ? SECONDARY.enableEpt | SECONDARY.unrestrictedGuest | SECONDARY.enableInvpcid : 0),
    );
    const exit = adjust(
      cpu,
      exact ? CAPABILITY.trueExit : CAPABILITY.exit,
      EXIT.saveDebugControls | EXIT.hostAddressSpaceSize | EXIT.saveEfer | EXIT.loadEfer,
    );
    vmcs.write32(VMCS.PIN_BASED_VM_EXEC_CONTROL, pin);
    vmcs.write32(VMCS.CPU_BASED_VM_EXEC_CONTROL, hap ? primary & ~(PRIMARY.cr3LoadExiting | PRIMARY.cr3StoreExiting) : primary);
    if (primary & PRIMARY.activateSecondaryControls) vmcs.write32(VMCS.SECONDARY_VM_EXEC_CONTROL, secondary);
    vmcs.write32(VMCS.VM_EXIT_CONTROLS, exit);
    vmcs.write32(VMCS.VM_ENTRY_CONTROLS, this.entryControls(false));
    vmcs.write32(VMCS.EXCEPTION_BITMAP, (1 << EXC.MC) | (hap ? 0 : 1 << EXC.PF));
    vmcs.writeLin(VMCS.MSR_BITMAP, msrBitmap * 4096);
    if (hap) vmcs.writeLin(VMCS.EPT_POINTER, tables.root * 4096 + EPTP_FLAGS);
    vmcs.write32(VMCS.VIRTUAL_PROCESSOR_ID, vpid);
    vmcs.writeLin(VMCS.VMCS_LINK_POINTER, -1);
    vmcs.writeLin(VMCS.CR0_GUEST_HOST_MASK, -1);
    vmcs.writeLin(VMCS.CR4_GUEST_HOST_MASK, -1);
    this.constructHost(vmcs);
  }
  private constructHost(vmcs: Vmcs): void {
    vmcs.writeLin(VMCS.HOST_CR0, (CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG) >>> 0);
    vmcs.writeLin(VMCS.HOST_CR4, CR4.PAE | CR4.VMXE | CR4.OSFXSR | CR4.PGE);
    vmcs.writeLin(VMCS.HOST_CR3, 0x1000);
    vmcs.setBig(VMCS.HOST_EFER, 0xd01n);
    vmcs.write32(VMCS.HOST_CS_SELECTOR, HOST_SELECTORS.cs);
    for (const s of [VMCS.HOST_SS_SELECTOR, VMCS.HOST_DS_SELECTOR, VMCS.HOST_ES_SELECTOR]) vmcs.write32(s, HOST_SELECTORS.data);
    vmcs.write32(VMCS.HOST_TR_SELECTOR, HOST_SELECTORS.tr);
    vmcs.setBig(VMCS.HOST_RIP, HOST_RIP);
  }
  private entryControls(isLong: boolean): number {
    const cpu = this.boot;
    const wanted = ENTRY.loadDebugControls | ENTRY.loadEfer | (isLong ? ENTRY.ia32eModeGuest : 0);
    return adjust(cpu, hasTrueControls(cpu) ? CAPABILITY.trueEntry : CAPABILITY.entry, wanted);
  }

  load(h: HvmVcpu, cpu: SystemCpu): void {
    const vmx = cpu.vmx!;
    vmx.host = 'typescript';
    if (!vmx.isOn) {
      const region = stateOf(h.vcpu.domain).hv.frames.allocXen();
      this.region[cpu.id] = region;
      new Vmcs(cpu.ram, mfnToMaddr(region)).format(vmxOf(h).vmcs.revision);
      must(vmx.vmxon(mfnToMaddr(region)), 'VMXON');
    }
    must(vmx.vmclear(mfnToMaddr(h.control)), 'VMCLEAR');
    must(vmx.vmptrld(mfnToMaddr(h.control)), 'VMPTRLD');
    h.isLaunched = false;
    h.isDirty = true;
  }
  unload(h: HvmVcpu, cpu: SystemCpu): void {
    must(cpu.vmx!.vmclear(mfnToMaddr(h.control)), 'VMCLEAR');
  }

  enter(h: HvmVcpu, cpu: SystemCpu): string | undefined {
    const vmx = cpu.vmx!;
    const { vmcs } = vmxOf(h);
    if (h.isDirty) this.writeState(h, cpu, vmcs);
    else {
      vmcs.writeLin(VMCS.GUEST_RIP, cpu.rip);
      vmcs.writeLin(VMCS.GUEST_RSP, cpu.regLin(RSP));
      vmcs.writeLin(VMCS.GUEST_RFLAGS, cpu.rflags);
    }
    if (h.event !== null) {
      this.writeEvent(vmcs, h.event, cpu);
      h.event = null;
    }
    const primary = vmcs.read32(VMCS.CPU_BASED_VM_EXEC_CONTROL);
    const wanted = h.wantsWindow ? primary | PRIMARY.interruptWindowExiting : primary & ~PRIMARY.interruptWindowExiting;
    if (wanted >>> 0 !== primary) vmcs.write32(VMCS.CPU_BASED_VM_EXEC_CONTROL, wanted);
    const result = h.isLaunched ? vmx.vmresume() : vmx.vmlaunch();
    h.isLaunched = true;
    return result === VM_SUCCEED ? undefined : `VM entry failed (${result}): ${vmx.failedRule ?? 'no rule'}`;
  }
  private writeState(h: HvmVcpu, cpu: SystemCpu, vmcs: Vmcs): void {
    h.isDirty = false;
    saveRegisters(cpu, vmcs, cpu.rflags);
    savePdptes(cpu, vmcs);
    vmcs.writeLin(VMCS.CR0_READ_SHADOW, h.cr0 >>> 0);
    vmcs.writeLin(VMCS.CR4_READ_SHADOW, h.cr4 >>> 0);
    const efer = cpu.u32(STATE.efer);
    vmcs.writeLin(VMCS.GUEST_EFER, efer);
    vmcs.writeLin(VMCS.GUEST_DR7, cpu.u32(STATE.dr + 56) | 0x400);
    vmcs.write32(VMCS.VM_ENTRY_CONTROLS, this.entryControls((efer & LMA) !== 0));
  }
  /** __vmx_inject_exception(). */
  private writeEvent(vmcs: Vmcs, e: HvmEvent, cpu: SystemCpu): void {
    const hasError = e.errorCode >= 0;
    vmcs.write32(VMCS.VM_ENTRY_INTR_INFO, (INTERRUPTION_VALID | (e.type << 8) | (hasError ? INTERRUPTION_HAS_ERROR : 0) | e.vector) >>> 0);
    if (hasError) vmcs.write32(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE, e.errorCode);
    vmcs.write32(VMCS.VM_ENTRY_INSTRUCTION_LEN, e.insnLen);
    if (e.type === HARDWARE_EXCEPTION && e.vector === EXC.PF) cpu.setBig(STATE.cr2, e.cr2);
  }

  forceExit(_h: HvmVcpu, cpu: SystemCpu): void {
    cpu.nonRoot?.boundary(cpu, REQUEST.intr);
  }
  isShadowed(h: HvmVcpu): boolean {
    return (vmxOf(h).vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & SHADOWS) !== 0;
  }
  isNmiBlocked(h: HvmVcpu): boolean {
    return (vmxOf(h).vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & NMI_BLOCKED) !== 0;
  }
  flush(h: HvmVcpu, cpu: SystemCpu): void {
    const { vmcs, vpid } = vmxOf(h);
    if (h.shadow === null) cpu.vmx!.invept(INVEPT.singleContext, vmcs.readLin(VMCS.EPT_POINTER));
    cpu.vmx!.invvpid(INVVPID.singleContext, vpid, 0 as Lin);
  }
  advance(h: HvmVcpu): void {
    const { vmcs } = vmxOf(h);
    const { regs } = h.vcpu;
    regs.rip = (regs.rip + vmcs.read32(VMCS.VM_EXIT_INSTRUCTION_LEN)) as typeof regs.rip;
    vmcs.write32(VMCS.GUEST_INTERRUPTIBILITY_INFO, vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & ~SHADOWS);
    // A step over the instruction is a step (update_guest_eip).
    if (regs.u32(STATE.eflags) & EFLAGS.TF) body.inject(h, EXC.DB);
  }

  handleExit(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
    const { vmcs } = vmxOf(h);
    const reason = vmcs.read32(VMCS.VM_EXIT_REASON);
    const name = EXIT_NAMES[reason & 0xffff];
    h.vcpu.domain.count(`exit: ${name ?? reason}`);
    if (reason & ENTRY_FAILED) {
      body.crash(
        hv,
        h,
        `VM entry failed: ${name ?? reason}, qualification ${vmcs.lo(VMCS.EXIT_QUALIFICATION)}${cpu.vmx?.failedRule ? `: ${cpu.vmx.failedRule}` : ''}`,
      );
      return;
    }
    const vectoring = vmcs.read32(VMCS.IDT_VECTORING_INFO);
    if (vectoring & INTERRUPTION_VALID && needsReinjection((vectoring >>> 8) & 7, vectoring & 0xff)) h.event = again(vmcs, vectoring, cpu);
    if (name === undefined) body.crash(hv, h, `unknown VM exit ${reason}`);
    else HANDLERS[name]({ hv, h, cpu, vmcs });
  }
}

const LMA = 1 << 10;
const ENTRY_FAILED = 0x8000_0000;
/** Blocking by STI and by MOV SS. */
const SHADOWS = 3;
const NMI_BLOCKED = 8;
const HARDWARE_EXCEPTION = 3;

/** An event whose delivery was under way when the exit came is injected again (vmx_idtv_reinject). */
function again(vmcs: Vmcs, info: number, cpu: SystemCpu): HvmEvent {
  const type = (info >>> 8) & 7;
  const errorCode = info & INTERRUPTION_HAS_ERROR ? vmcs.read32(VMCS.IDT_VECTORING_ERROR_CODE) : -1;
  // CR2 was set when it was injected first.
  return { vector: info & 0xff, type, errorCode, insnLen: 0, cr2: cpu.big(STATE.cr2) };
}

function must(result: VmResult, what: string): void {
  if (result !== VM_SUCCEED) throw new Error(`${what} of the hypervisor failed: ${result}`);
}

interface ExitContext {
  readonly hv: Hypervisor;
  readonly h: HvmVcpu;
  readonly cpu: SystemCpu;
  readonly vmcs: Vmcs;
}
type ExitHandler = (x: ExitContext) => void;

const ud: ExitHandler = ({ h }) => body.inject(h, EXC.UD);
const nothing: ExitHandler = () => {};
const unexpected =
  (name: string): ExitHandler =>
  ({ hv, h }) =>
    body.crash(hv, h, `unexpected VM exit ${name}`);
const skip: ExitHandler = ({ h }) => stateOf(h.vcpu.domain).ops.advance(h);

function crAccess({ hv, h, cpu, vmcs }: ExitContext): void {
  const q = decodeBits(VMX_EXIT.CR_ACCESS.qualification, vmcs.lo(VMCS.EXIT_QUALIFICATION));
  switch (q.type) {
    case CR_ACCESS_TYPE.toCr:
      body.movToCr(hv, h, cpu, q.cr, q.gpr);
      return;
    case CR_ACCESS_TYPE.fromCr:
      body.movFromCr(h, cpu, q.cr, q.gpr);
      return;
    case CR_ACCESS_TYPE.clts:
      body.clts(hv, h, cpu);
      return;
    default:
      body.lmsw(hv, h, cpu, q.lmswSource);
      return;
  }
}
function eptViolation({ hv, h, cpu, vmcs }: ExitContext): void {
  const q = vmcs.lo(VMCS.EXIT_QUALIFICATION);
  const gpa = vmcs.hi(VMCS.GUEST_PHYSICAL_ADDRESS) * 0x1_0000_0000 + vmcs.lo(VMCS.GUEST_PHYSICAL_ADDRESS);
  body.nestedFault(hv, h, cpu, gpa, (q & 2) !== 0, (q & 4) !== 0);
}

function exceptionOrNmi({ hv, h, cpu, vmcs }: ExitContext): void {
  const vector = vmcs.read32(VMCS.VM_EXIT_INTR_INFO) & 0xff;
  if (vector === EXC.PF) body.shadowFault(hv, h, cpu, vmcs.readLin(VMCS.EXIT_QUALIFICATION), vmcs.read32(VMCS.VM_EXIT_INTR_ERROR_CODE));
  else body.crash(hv, h, `unexpected exception ${vector}`);
}

/** vmx_vmexit_handler(): every exit has its line. */
const HANDLERS: Readonly<Record<VmxExitName, ExitHandler>> = {
  EXCEPTION_NMI: exceptionOrNmi,
  EXTERNAL_INTERRUPT: nothing,
  TRIPLE_FAULT: ({ hv, h }) => body.tripleFault(hv, h),
  INIT: unexpected('INIT'),
  SIPI: unexpected('SIPI'),
  PENDING_VIRT_INTR: nothing,
  PENDING_VIRT_NMI: nothing,
  TASK_SWITCH: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  CPUID: ({ hv, h, cpu }) => body.cpuid(hv, h, cpu),
  HLT: ({ hv, h, cpu }) => body.hlt(hv, h, cpu),
  INVD: skip,
  INVLPG: ({ h, vmcs }) => body.invlpg(h, vmcs.readLin(VMCS.EXIT_QUALIFICATION)),
  RDPMC: ({ h }) => body.inject(h, EXC.GP, 0),
  RDTSC: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  VMCALL: ({ hv, h, cpu }) => body.hypercall(hv, h, cpu),
  VMCLEAR: ud,
  VMLAUNCH: ud,
  VMPTRLD: ud,
  VMPTRST: ud,
  VMREAD: ud,
  VMRESUME: ud,
  VMWRITE: ud,
  VMXOFF: ud,
  VMXON: ud,
  CR_ACCESS: crAccess,
  DR_ACCESS: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  IO_INSTRUCTION: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  MSR_READ: ({ h, cpu }) => body.rdmsr(h, cpu),
  MSR_WRITE: ({ hv, h, cpu }) => body.wrmsr(hv, h, cpu),
  INVALID_GUEST_STATE: unexpected('INVALID_GUEST_STATE'),
  MSR_LOADING: unexpected('MSR_LOADING'),
  MWAIT_INSTRUCTION: ud,
  MONITOR_TRAP_FLAG: nothing,
  MONITOR_INSTRUCTION: ud,
  PAUSE_INSTRUCTION: skip,
  MCE_DURING_VMENTRY: unexpected('MCE_DURING_VMENTRY'),
  TPR_BELOW_THRESHOLD: nothing,
  APIC_ACCESS: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  EOI_INDUCED: nothing,
  ACCESS_GDTR_OR_IDTR: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  ACCESS_LDTR_OR_TR: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  EPT_VIOLATION: eptViolation,
  EPT_MISCONFIG: unexpected('EPT_MISCONFIG'),
  INVEPT: ud,
  RDTSCP: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  VMX_PREEMPTION_TIMER_EXPIRED: nothing,
  INVVPID: ud,
  WBINVD: skip,
  XSETBV: ({ h, cpu }) => body.xsetbv(h, cpu),
  APIC_WRITE: nothing,
  RDRAND: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  INVPCID: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  VMFUNC: ud,
  RDSEED: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  PML_FULL: nothing,
  XSAVES: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
  XRSTORS: ({ hv, h, cpu }) => body.emulate(hv, h, cpu),
};
