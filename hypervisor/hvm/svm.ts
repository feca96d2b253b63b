// HVM guests on SVM: how a VMCB is set up, entered, and what each exit means (xen/arch/x86/hvm/svm/vmcb.c, svm.c).

import { XEN_ENOMEM } from '@ringworld/abi';
import type { HvmEvent } from '../core/hvm-hooks.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Mfn, mfnToMaddr } from '../core/ids.ts';
import type { Lin } from '../machine/addresses.ts';
import { decode } from '../machine/exec/decode.ts';
import { CS, EFLAGS, SEG, STATE } from '../machine/state.ts';
import { IOPM_SIZE, MSRPM_SIZE, msrpmBit } from '../machine/svm/controls.ts';
import { EXIT, type ExitName, exitOf, FAMILY } from '../machine/svm/exits.ts';
import { storeGuest, storeLoaded } from '../machine/svm/state-area.ts';
import { EVENT, NP_ENABLE, TLB_CONTROL, V_INTR, VMCB, Vmcb } from '../machine/svm/vmcb.ts';
import { EFER, EXC } from '../machine/system/bits.ts';
import { REQUEST, type SystemCpu } from '../machine/system/ports.ts';
import { stateOf } from './domain.ts';
import * as body from './intercepts.ts';
import { FREE_MSRS } from './msr.ts';
import { Tags } from './tags.ts';
import type { HvmVcpu } from './vcpu.ts';
import { needsReinjection, type VirtOps } from './virt-ops.ts';

const states = new WeakMap<HvmVcpu, Vmcb>();
const vmcbOf = (h: HvmVcpu): Vmcb => states.get(h)!;

/** What exits (construct_vmcb): exit codes, which are bit numbers of the intercept vectors. */
const INTERCEPTED: readonly ExitName[] = [
  'INTR',
  'NMI',
  'SMI',
  'INIT',
  'CPUID',
  'INVD',
  'HLT',
  'INVLPGA',
  'IOIO',
  'MSR',
  'TASK_SWITCH',
  'SHUTDOWN',
  'VMRUN',
  'VMMCALL',
  'VMLOAD',
  'VMSAVE',
  'STGI',
  'CLGI',
  'SKINIT',
  'RDPMC',
  'MWAIT',
  'MONITOR',
  'WBINVD',
  'XSETBV',
];
/** CR0, CR4 and CR8 both ways. */
const INTERCEPTED_CRS = [0, 4, 8];

/** The permission maps: all ports exit; of MSRs all but FREE_MSRS. One set for all guests. */
interface Maps {
  readonly iopm: Mfn;
  readonly msrpm: Mfn;
}
const maps = new WeakMap<Hypervisor, Maps>();
function mapsOf(hv: Hypervisor): Maps | null {
  const known = maps.get(hv);
  if (known) return known;
  const iopm = hv.frames.allocXen(2);
  const msrpm = hv.frames.allocXen(1);
  if (iopm === INVALID_MFN || msrpm === INVALID_MFN) return null;
  hv.ram.fill(mfnToMaddr(iopm), 0xff, IOPM_SIZE);
  const bits = new Uint8Array(MSRPM_SIZE).fill(0xff);
  for (const n of FREE_MSRS) {
    const bit = msrpmBit(n);
    bits[bit >>> 3]! &= ~(3 << (bit & 7));
  }
  hv.ram.writeBytes(mfnToMaddr(msrpm), bits);
  const made = { iopm, msrpm };
  maps.set(hv, made);
  return made;
}

export class SvmOps implements VirtOps {
  readonly name = 'svm';
  readonly cr0Fixed = 0;
  readonly cr4Fixed = 0;
  readonly hypercallOpcode = [0x0f, 0x01, 0xd9] as const;
  readonly hasHap: boolean;
  private readonly hasNrip: boolean;
  private readonly asids: Tags;

  /** `cpu`: any of the machine's; all are alike. */
  constructor(cpu: SystemCpu) {
    this.hasHap = cpu.svm!.features.nestedPaging;
    this.hasNrip = cpu.svm!.features.nripSave;
    this.asids = new Tags(cpu.svm!.features.asids - 1);
  }

  createVcpu(hv: Hypervisor, h: HvmVcpu): number {
    const m = mapsOf(hv);
    const control = hv.frames.allocXen();
    const asid = this.asids.take();
    if (m === null || control === INVALID_MFN || asid < 0) {
      if (control !== INVALID_MFN) hv.frames.freeXen(control);
      if (asid > 0) this.asids.give(asid);
      return -XEN_ENOMEM;
    }
    h.control = control;
    const v = new Vmcb(hv.ram, mfnToMaddr(control));
    states.set(h, v);
    for (const name of INTERCEPTED) intercept(v, EXIT[name].code);
    for (const n of INTERCEPTED_CRS) {
      intercept(v, FAMILY.CR_READ + n);
      intercept(v, FAMILY.CR_WRITE + n);
    }
    intercept(v, FAMILY.EXCEPTION + EXC.MC);
    const { tables } = stateOf(h.vcpu.domain);
    if (tables === null) {
      intercept(v, FAMILY.EXCEPTION + EXC.PF);
      intercept(v, FAMILY.CR_READ + 3);
      intercept(v, FAMILY.CR_WRITE + 3);
      intercept(v, EXIT.INVLPG.code);
    }
    v.setLin(VMCB.IOPM_BASE_PA[0], m.iopm * 4096);
    v.setLin(VMCB.MSRPM_BASE_PA[0], m.msrpm * 4096);
    v.setU32(VMCB.GUEST_ASID[0], asid);
    v.setU32(VMCB.V_INTR[0], V_INTR.masking);
    if (tables !== null) {
      v.setHalves(VMCB.NESTED_CTL[0], NP_ENABLE, 0);
      v.setLin(VMCB.N_CR3[0], tables.root * 4096);
    }
    v.setHalves(VMCB.G_PAT[0], h.vcpu.regs.lo(STATE.pat), h.vcpu.regs.hi(STATE.pat));
    return 0;
  }
  destroyVcpu(hv: Hypervisor, h: HvmVcpu): void {
    const v = states.get(h);
    if (v === undefined) return;
    this.asids.give(v.u32(VMCB.GUEST_ASID[0]));
    states.delete(h);
    hv.frames.freeXen(h.control);
    h.control = INVALID_MFN;
  }

  load(h: HvmVcpu, cpu: SystemCpu): void {
    cpu.svm!.host = 'typescript';
    h.isDirty = true;
  }
  unload(): void {
    // All there is lies in the VMCB and the register block.
  }

  enter(h: HvmVcpu, cpu: SystemCpu): string | undefined {
    const svm = cpu.svm!;
    const v = vmcbOf(h);
    h.isDirty = false;
    // What the guest's own EFER lacks, the processor wants.
    cpu.setHalves(STATE.efer, cpu.lo(STATE.efer) | SVME, 0);
    storeGuest(cpu, v);
    storeLoaded(cpu, v);
    v.setHalves(VMCB.G_PAT[0], cpu.lo(STATE.pat), cpu.hi(STATE.pat));
    v.setU32(VMCB.EVENTINJ[0], 0);
    if (h.event !== null) {
      writeEvent(v, h.event);
      h.event = null;
    }
    this.setWindow(v, h.wantsWindow);
    const ok = svm.vmrun(v.at);
    v.setU8(VMCB.TLB_CONTROL[0], TLB_CONTROL.nothing);
    return ok ? undefined : `VMRUN: ${svm.violated ?? 'invalid state'}`;
  }
  /** A virtual interrupt that is never delivered: its intercept tells when the guest could take one (svm_enable_intr_window). */
  private setWindow(v: Vmcb, on: boolean): void {
    const word = v.lo(VMCB.V_INTR[0]) & ~(V_INTR.irq | V_INTR.prio);
    v.setU32(VMCB.V_INTR[0], on ? word | V_INTR.irq | V_INTR.prio | V_INTR.ignoreTpr : word);
    const at = (EXIT.VINTR.code >>> 5) * 4;
    const bit = 1 << (EXIT.VINTR.code & 31);
    v.setU32(at, on ? v.lo(at) | bit : v.lo(at) & ~bit);
  }

  forceExit(_h: HvmVcpu, cpu: SystemCpu): void {
    cpu.nonRoot?.boundary(cpu, REQUEST.intr);
  }
  isShadowed(h: HvmVcpu): boolean {
    return (vmcbOf(h).lo(VMCB.INTERRUPT_SHADOW[0]) & 1) !== 0;
  }
  /** Without virtual NMI: an IRET is not watched, so an NMI is taken when it comes. */
  isNmiBlocked(h: HvmVcpu): boolean {
    return (h.vcpu.cpu as SystemCpu | null)?.thread.nmiBlocked === true;
  }
  flush(h: HvmVcpu): void {
    vmcbOf(h).setU8(VMCB.TLB_CONTROL[0], TLB_CONTROL.flushAll);
  }
  advance(h: HvmVcpu): void {
    const v = vmcbOf(h);
    const { regs } = h.vcpu;
    regs.rip = this.hasNrip ? v.lin(VMCB.NRIP[0]) : ((regs.rip + lengthAtRip(h)) as Lin);
    v.setU32(VMCB.INTERRUPT_SHADOW[0], v.lo(VMCB.INTERRUPT_SHADOW[0]) & ~1);
    if (regs.u32(STATE.eflags) & EFLAGS.TF) body.inject(h, EXC.DB);
  }

  handleExit(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void {
    const v = vmcbOf(h);
    const code = v.lo(VMCB.EXITCODE[0]);
    const known = exitOf(code);
    h.vcpu.domain.count(`exit: ${known?.name ?? code}`);
    if (code === -1) {
      body.crash(hv, h, `VMRUN: ${cpu.svm?.violated ?? 'invalid state'}`);
      return;
    }
    const during = v.lo(VMCB.EXITINTINFO[0]);
    if (during & EVENT.valid && needsReinjection((during >>> EVENT.typeShift) & 7, during & 0xff)) h.event = again(v, during);
    if (known === undefined) {
      body.crash(hv, h, `unknown #VMEXIT 0x${code.toString(16)}`);
      return;
    }
    const x = { hv, h, cpu, v };
    if (code < FAMILY.DR_READ) crAccess(x, code);
    else if (code < FAMILY.EXCEPTION) body.emulate(hv, h, cpu);
    else if (code === FAMILY.EXCEPTION + EXC.PF) body.shadowFault(hv, h, cpu, v.lin(VMCB.EXITINFO2[0]), v.lo(VMCB.EXITINFO1[0]));
    else if (code < EXIT.INTR.code) body.crash(hv, h, `unexpected exception ${known.name}`);
    else HANDLERS[known.name as ExitName](x);
  }
}

/** Bytes of the instruction that exited, decoded as the processor of 2006 leaves it to its hypervisor (svm_get_insn_len). */
function lengthAtRip(h: HvmVcpu): number {
  const { vcpu } = h;
  const cpu = vcpu.cpu as SystemCpu;
  const at = cpu.rip + (cpu.lo(STATE.efer) & EFER.LMA && cpu.segAttributes(CS) & SEG.l ? 0 : cpu.segBase(CS));
  const room = 4096 - (((at % 4096) + 4096) % 4096);
  const bytes = vcpu.guest.copyFrom(at, LONGEST) ?? vcpu.guest.copyFrom(at, Math.min(room, LONGEST));
  const d = bytes === null ? 'needBytes' : decode(bytes, 0, bytes.length, cpu.execMode);
  return typeof d === 'string' ? 0 : d.length;
}
const LONGEST = 15;

const SVME = EFER.SVME;

function intercept(v: Vmcb, code: number): void {
  const at = (code >>> 5) * 4;
  v.setU32(at, v.lo(at) | (1 << (code & 31)));
}
function writeEvent(v: Vmcb, e: HvmEvent): void {
  const hasError = e.errorCode >= 0;
  // SVM knows three software kinds as one; INT1's and INT3's are exceptions to it.
  const type = e.type === 5 || e.type === 6 ? 3 : e.type;
  v.setU32(VMCB.EVENTINJ[0], (EVENT.valid | (type << EVENT.typeShift) | (hasError ? EVENT.errorValid : 0) | e.vector) >>> 0);
  v.setU32(VMCB.EVENTINJ_ERROR[0], hasError ? e.errorCode : 0);
  if (e.type === 3 && e.vector === EXC.PF) v.set('CR2', e.cr2);
}
function again(v: Vmcb, info: number): HvmEvent {
  return {
    vector: info & 0xff,
    type: (info >>> EVENT.typeShift) & 7,
    errorCode: info & EVENT.errorValid ? v.u32(VMCB.EXITINTINFO_ERROR[0]) : -1,
    insnLen: 0,
    cr2: v.get('CR2'),
  };
}

interface ExitContext {
  readonly hv: Hypervisor;
  readonly h: HvmVcpu;
  readonly cpu: SystemCpu;
  readonly v: Vmcb;
}
type ExitHandler = (x: ExitContext) => void;
const ud: ExitHandler = ({ h }) => body.inject(h, EXC.UD);
const nothing: ExitHandler = () => {};
const skip: ExitHandler = ({ h }) => stateOf(h.vcpu.domain).ops.advance(h);
const emulate: ExitHandler = ({ hv, h, cpu }) => body.emulate(hv, h, cpu);
const unexpected =
  (name: string): ExitHandler =>
  ({ hv, h }) =>
    body.crash(hv, h, `unexpected #VMEXIT ${name}`);

/** MOV CR with decode assists (bit 63 of EXITINFO1); CLTS, LMSW and SMSW without. */
function crAccess({ hv, h, cpu, v }: ExitContext, code: number): void {
  const isMov = v.hi(VMCB.EXITINFO1[0]) < 0;
  const cr = code & 15;
  const gpr = v.lo(VMCB.EXITINFO1[0]) & 15;
  if (isMov && code >= FAMILY.CR_WRITE) {
    body.movToCr(hv, h, cpu, cr, gpr);
    return;
  }
  if (isMov) {
    body.movFromCr(h, cpu, cr, gpr);
    return;
  }
  body.emulateControl(hv, h, cpu);
}

function npf({ hv, h, cpu, v }: ExitContext): void {
  const error = v.lo(VMCB.EXITINFO1[0]);
  body.nestedFault(hv, h, cpu, v.address(VMCB.EXITINFO2[0]), (error & 2) !== 0, (error & 16) !== 0);
}

/** svm_vmexit_handler(): every exit has its line. */
const HANDLERS: Readonly<Record<ExitName, ExitHandler>> = {
  INTR: nothing,
  NMI: nothing,
  SMI: nothing,
  INIT: unexpected('INIT'),
  VINTR: nothing,
  CR0_SEL_WRITE: ({ hv, h, cpu }) => body.emulateControl(hv, h, cpu),
  IDTR_READ: emulate,
  GDTR_READ: emulate,
  LDTR_READ: emulate,
  TR_READ: emulate,
  IDTR_WRITE: emulate,
  GDTR_WRITE: emulate,
  LDTR_WRITE: emulate,
  TR_WRITE: emulate,
  RDTSC: emulate,
  RDPMC: ({ h }) => body.inject(h, EXC.GP, 0),
  PUSHF: emulate,
  POPF: emulate,
  CPUID: ({ hv, h, cpu }) => body.cpuid(hv, h, cpu),
  RSM: ud,
  IRET: emulate,
  SWINT: emulate,
  INVD: skip,
  PAUSE: skip,
  HLT: ({ hv, h, cpu }) => body.hlt(hv, h, cpu),
  INVLPG: ({ h, cpu, v }) => body.invlpg(h, cpu.svm!.features.decodeAssists ? v.lin(VMCB.EXITINFO1[0]) : undefined),
  INVLPGA: ud,
  IOIO: emulate,
  MSR: ({ hv, h, cpu, v }) => (v.lo(VMCB.EXITINFO1[0]) & 1 ? body.wrmsr(hv, h, cpu) : body.rdmsr(h, cpu)),
  TASK_SWITCH: emulate,
  FERR_FREEZE: nothing,
  SHUTDOWN: ({ hv, h }) => body.tripleFault(hv, h),
  VMRUN: ud,
  VMMCALL: ({ hv, h, cpu }) => body.hypercall(hv, h, cpu),
  VMLOAD: ud,
  VMSAVE: ud,
  STGI: ud,
  CLGI: ud,
  SKINIT: ud,
  RDTSCP: emulate,
  ICEBP: emulate,
  WBINVD: skip,
  MONITOR: ud,
  MWAIT: ud,
  MWAIT_CONDITIONAL: ud,
  XSETBV: ({ h, cpu }) => body.xsetbv(h, cpu),
  NPF: npf,
};
