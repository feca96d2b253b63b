// VMX as operations of one processor: what the opcodes do, and what a hypervisor in TypeScript calls (SDM Vol 3C, chapters 23 and 30).
//
// Whoever calls has the privilege: #UD and #GP are the opcodes' business (instructions.ts). Each operation answers as the SDM's
// conventions have it (30.2): VMsucceed, VMfailInvalid, or VMfailValid with an error number, which then stands in the VM-instruction error
// field too.

import { isCanonical, type Lin, type Maddr } from '../addresses.ts';
import type { PhysicalMap } from '../mmu/physical.ts';
import type { SystemCpu } from '../system/ports.ts';
import { capabilitiesOf, EPT_CAP, type VmxCapabilities, VPID_CAP } from './capabilities.ts';
import { EntryContext } from './checks.ts';
import { SECONDARY, VMFUNC } from './controls.ts';
import { enterGuest } from './entry.ts';
import { EPTP, Ept } from './ept.ts';
import { ExitCause } from './exit.ts';
import { EXIT_NAMES } from './exits.ts';
import { type Field, fieldOf, VMCS } from './fields.ts';
import { VmxGuest } from './non-root.ts';
import { VM_ERROR, VM_FAIL_INVALID, VM_SUCCEED, type VmResult } from './results.ts';
import { GuestSpaces } from './spaces.ts';
import { Vmcs } from './vmcs.ts';

export * from './results.ts';

/** INVEPT and INVVPID types (30.3). */
export const INVEPT = { singleContext: 1, allContext: 2 } as const;
export const INVVPID = { individualAddress: 0, singleContext: 1, allContext: 2, singleContextRetainingGlobals: 3 } as const;

const NO_VMCS = -1;

export class Vmx {
  readonly cpu: SystemCpu;
  readonly physical: PhysicalMap;
  readonly capabilities: VmxCapabilities;
  /**
   * Who gets VM exits. 'code': the host-state area is loaded and code goes on there. 'typescript': run() returns RunExit.vmexit, the guest's
   * state stands in the VMCS, the general registers stay in the CPU and nothing of the host state is loaded.
   */
  host: 'code' | 'typescript';
  readonly guest: VmxGuest;
  readonly ept: Ept;
  readonly cause = new ExitCause();
  /** What the checks of an entry look at. */
  readonly context: EntryContext;
  readonly spaces = new GuestSpaces();
  /** Exits since the beginning, by basic reason. */
  readonly exits = new Float64Array(EXIT_NAMES.length);
  /** VM entries that were tried, and the rule that the last one broke, by its name; undefined when it broke none. */
  entries = 0;
  failedRule: string | undefined = undefined;

  private vmxonAt = NO_VMCS;
  private currentAt = NO_VMCS;
  private currentVmcs: Vmcs | undefined = undefined;
  /** Regions seen, so that switching between them allocates nothing. */
  private readonly regions = new Map<number, Vmcs>();

  constructor(cpu: SystemCpu, physical: PhysicalMap, host: Vmx['host'] = 'code') {
    const capabilities = capabilitiesOf(cpu.profile);
    if (capabilities === undefined) throw new RangeError(`the processor '${cpu.profile.name}' has no VMX`);
    this.cpu = cpu;
    this.physical = physical;
    this.capabilities = capabilities;
    this.host = host;
    this.ept = new Ept(physical, capabilities);
    this.guest = new VmxGuest(this);
    // Until the first entry there is no VMCS; the checks see the one that is entered.
    this.context = new EntryContext(capabilities, physical, new Vmcs(cpu.ram, 0 as Maddr));
  }

  /** Between VMXON and VMXOFF. */
  get isOn(): boolean {
    return this.vmxonAt !== NO_VMCS;
  }
  /** The current VMCS; undefined for none. Reads and writes of its fields by a hypervisor go straight to it. */
  get current(): Vmcs | undefined {
    return this.currentVmcs;
  }
  /** The current-VMCS pointer, -1 for none. */
  get pointer(): number {
    return this.currentAt;
  }

  /** The region at a physical address; undefined where there is no RAM. */
  vmcsAt(at: number): Vmcs | undefined {
    let v = this.regions.get(at);
    if (v !== undefined) return v;
    const maddr = this.physical.locate(at);
    if (maddr < 0) return undefined;
    v = new Vmcs(this.cpu.ram, maddr as Maddr);
    this.regions.set(at, v);
    return v;
  }
  private isRegion(at: number): boolean {
    return at >= 0 && at % 4096 === 0 && at < 2 ** this.capabilities.physicalBits;
  }

  /** VMfailValid with an error number, VMfailInvalid without a current VMCS. */
  failWith(error: number): VmResult {
    if (this.currentVmcs === undefined) return VM_FAIL_INVALID;
    this.currentVmcs.write32(VMCS.VM_INSTRUCTION_ERROR, error);
    return error;
  }

  /** Enters VMX operation; `at` is the physical address of the VMXON region, which begins with the revision identifier. */
  vmxon(at: number): VmResult {
    if (this.isOn) return this.failWith(VM_ERROR.vmxonInRoot);
    const region = this.isRegion(at) ? this.vmcsAt(at) : undefined;
    if (region === undefined || region.isShadow || region.revision !== this.capabilities.revision) return VM_FAIL_INVALID;
    this.vmxonAt = at;
    this.setCurrent(NO_VMCS);
    return VM_SUCCEED;
  }
  vmxoff(): VmResult {
    this.vmxonAt = NO_VMCS;
    this.setCurrent(NO_VMCS);
    return VM_SUCCEED;
  }

  private setCurrent(at: number): void {
    this.currentAt = at;
    this.currentVmcs = at === NO_VMCS ? undefined : this.vmcsAt(at);
  }

  /** Makes a region's launch state "clear". What VMCLEAR would write back lies in memory already. */
  vmclear(at: number): VmResult {
    if (!this.isRegion(at)) return this.failWith(VM_ERROR.vmclearAddress);
    if (at === this.vmxonAt) return this.failWith(VM_ERROR.vmclearVmxonPointer);
    const region = this.vmcsAt(at);
    if (region !== undefined) region.launched = false;
    if (at === this.currentAt) this.setCurrent(NO_VMCS);
    return VM_SUCCEED;
  }
  vmptrld(at: number): VmResult {
    if (!this.isRegion(at)) return this.failWith(VM_ERROR.vmptrldAddress);
    if (at === this.vmxonAt) return this.failWith(VM_ERROR.vmptrldVmxonPointer);
    const region = this.vmcsAt(at);
    const shadows = this.capabilities.has('secondary.vmcsShadowing');
    if (region === undefined || region.revision !== this.capabilities.revision || (region.isShadow && !shadows))
      return this.failWith(VM_ERROR.vmptrldRevision);
    this.setCurrent(at);
    return VM_SUCCEED;
  }

  /** The field that VMREAD or VMWRITE names, by any 64-bit value. */
  field(encoding: number): Field | undefined {
    return fieldOf(encoding, this.capabilities.fields);
  }
  /** Reads any field that the processor has; undefined and the error field set, where it has not, or there is no current VMCS. */
  vmread(encoding: number): bigint | undefined {
    const f = this.field(encoding);
    if (f === undefined || this.currentVmcs === undefined) {
      this.failWith(VM_ERROR.unsupportedField);
      return undefined;
    }
    return (BigInt(this.currentVmcs.fieldHi(f)) << 32n) | BigInt(this.currentVmcs.fieldLo(f));
  }
  /** Writes any field: the bits that it has room for. */
  vmwrite(encoding: number, value: bigint): VmResult {
    const { currentVmcs: vmcs } = this;
    if (vmcs === undefined) return VM_FAIL_INVALID;
    const f = this.field(encoding);
    if (f === undefined) return this.failWith(VM_ERROR.unsupportedField);
    if (f.class === 'readonly' && !this.capabilities.vmwriteAny) return this.failWith(VM_ERROR.readOnlyField);
    vmcs.setField(f, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
    return VM_SUCCEED;
  }

  /** VM entry by the current VMCS. VM_SUCCEED: the CPU is in non-root operation, and run() runs the guest. */
  vmlaunch(): VmResult {
    return this.enter(true);
  }
  vmresume(): VmResult {
    return this.enter(false);
  }
  private enter(isLaunch: boolean): VmResult {
    const vmcs = this.currentVmcs;
    if (vmcs === undefined) return VM_FAIL_INVALID;
    // A shadow VMCS cannot be entered (30.3).
    if (vmcs.isShadow) return VM_FAIL_INVALID;
    const { thread, rip } = this.cpu;
    if (thread.shadowedBySs && thread.shadowedRip === rip) return this.failWith(VM_ERROR.blockedByMovSs);
    if (vmcs.launched === isLaunch) return this.failWith(isLaunch ? VM_ERROR.vmlaunchNotClear : VM_ERROR.vmresumeNotLaunched);
    this.entries++;
    const outcome = enterGuest(this, vmcs);
    if (outcome > 0) return this.failWith(outcome);
    if (outcome === VM_SUCCEED) vmcs.launched = true;
    return outcome;
  }

  /** The INIT signal reaches the processor: false where it resets it, as outside VMX operation. In root operation it is blocked (23.8). */
  init(): boolean {
    if (!this.isOn) return false;
    if (this.cpu.nonRoot === this.guest) this.guest.pendInit();
    return true;
  }
  /** A start-up IPI: false where the processor is to take it itself. */
  startup(vector: number): boolean {
    if (!this.isOn) return false;
    if (this.cpu.nonRoot === this.guest) this.guest.pendSipi(vector);
    return true;
  }
  /** RESET: out of VMX operation. */
  reset(): void {
    this.vmxoff();
    if (this.cpu.nonRoot === this.guest) this.cpu.setNonRoot(null);
  }

  /** Drops translations made under an EPT pointer, or all guest-physical ones. The EPT pointer matters as far as its address. */
  invept(type: number, eptp: number): VmResult {
    const { ept } = this.capabilities;
    const allowed =
      (type === INVEPT.singleContext && ept & EPT_CAP.inveptSingleContext) ||
      (type === INVEPT.allContext && ept & EPT_CAP.inveptAllContext);
    if (!allowed) return this.failWith(VM_ERROR.invalidOperand);
    if (type === INVEPT.allContext) this.spaces.each((s) => this.cpu.flushSpace(s.space));
    else {
      if (!this.isEptPointer(eptp % 0x1_0000_0000, Math.floor(eptp / 0x1_0000_0000))) return this.failWith(VM_ERROR.invalidOperand);
      const frame = Math.floor(eptp / 4096);
      this.spaces.each((s) => {
        if (s.ept === frame) this.cpu.flushSpace(s.space);
      });
    }
    return VM_SUCCEED;
  }

  /** Drops translations made under a VPID. `lin` for type 0: all of the VPID's translations go then too. */
  invvpid(type: number, vpid: number, lin: Lin): VmResult {
    const bit = INVVPID_CAPS[type];
    if (bit === undefined || !(this.capabilities.vpid & bit)) return this.failWith(VM_ERROR.invalidOperand);
    if (type !== INVVPID.allContext && (vpid === 0 || vpid > 0xffff)) return this.failWith(VM_ERROR.invalidOperand);
    if (type === INVVPID.individualAddress && !isCanonical(lin)) return this.failWith(VM_ERROR.invalidOperand);
    this.spaces.each((s) => {
      if (s.vpid !== 0 && (type === INVVPID.allContext || s.vpid === vpid)) this.cpu.flushSpace(s.space);
    });
    return VM_SUCCEED;
  }

  /** Whether VM entry would take an EPT pointer, given as halves (26.2.1.1). */
  isEptPointer(lo: number, hi: number): boolean {
    const { ept, physicalBits } = this.capabilities;
    const type = lo & EPTP.memoryType;
    const typeOk = (type === 0 && ept & EPT_CAP.memoryTypeUc) || (type === 6 && ept & EPT_CAP.memoryTypeWb);
    const walkOk = (lo & EPTP.walkLength) >>> EPTP.walkLengthShift === 3;
    const marksOk = !(lo & EPTP.accessedDirty) || (ept & EPT_CAP.accessedDirty) !== 0;
    return !!typeOk && walkOk && marksOk && (lo & 0xf80) === 0 && hi >>> 0 < 2 ** (physicalBits - 32);
  }

  /**
   * VMFUNC in non-root operation (25.5.6): false where it is to make a VM exit. Function 0 takes the EPT pointer from entry `index` of the
   * EPTP list; a valid one is in force at once, and nothing is flushed.
   */
  vmfunc(leaf: number, index: number): boolean {
    const { guest, cpu } = this;
    const { vmcs } = guest;
    if (leaf !== 0 || !(vmcs.lo(VMCS.VM_FUNCTION_CONTROL) & VMFUNC.eptpSwitching) || index >>> 0 >= 512) return false;
    const at = this.physical.locate(vmcs.readLin(VMCS.EPTP_LIST_ADDR) + 8 * index);
    if (at < 0) return false;
    const lo = cpu.ram.read32(at as Maddr);
    const hi = cpu.ram.read32((at + 4) as Maddr);
    if (!this.isEptPointer(lo, hi)) return false;
    vmcs.setHalves(VMCS.EPT_POINTER, lo, hi);
    guest.useEpt();
    cpu.setNonRoot(guest);
    // Without a VPID translations of this EPT pointer may still be there from before the last entry.
    if (!(guest.secondary & SECONDARY.enableVpid)) cpu.flushSpace(guest.space);
    return true;
  }
}

const INVVPID_CAPS: readonly (number | undefined)[] = [
  VPID_CAP.individualAddress,
  VPID_CAP.singleContext,
  VPID_CAP.allContext,
  VPID_CAP.singleContextRetainingGlobals,
];
