// Every check of a VM entry is violated once, and reported by its own name. For each: a state that passes (`given`, by default a 64-bit
// guest of a Skylake), then the one change that must not.

import { describe, expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { PhysicalMap } from '../mmu/physical.ts';
import { Ram } from '../mmu/ram.ts';
import { CS, DS, ES, FS, GS, LDTR, SS, TR } from '../state.ts';
import { PROFILES } from '../system/cpuid.ts';
import { MSR } from '../system/msr.ts';
import { ACTIVITY, capabilitiesOf, type VmxCapabilities } from './capabilities.ts';
import {
  ENTRY_CHECKS,
  EntryContext,
  type EntryRule,
  failingControl,
  failingGuest,
  failingHost,
  failingMsr,
  MSR_LOAD_CHECKS,
} from './checks.ts';
import { CONTROLS, type ControlWord, ENTRY, EXIT, PIN, PRIMARY, SECONDARY } from './controls.ts';
import { type Encoding, GUEST_SEGMENTS, type Narrow, VMCS, type Wide } from './fields.ts';
import { Vmcs } from './vmcs.ts';

const skylake = capabilitiesOf(PROFILES['skylake-sp']!)!;
const p4 = capabilitiesOf(PROFILES['p4-672']!)!;
/** Offers every control that has a name, of every generation. */
const everything: VmxCapabilities = {
  ...skylake,
  has: () => true,
  allowed: Object.fromEntries(
    Object.entries(skylake.allowed).map(([w, a]) => [
      w,
      { zero: a.zero, one: Object.values(CONTROLS[w as ControlWord]).reduce((all, b) => all | b, a.one) },
    ]),
  ) as VmxCapabilities['allowed'],
};

const AT = 0x1000 as Maddr;
const PAGE_TABLES = 0x2000;
const OTHER_VMCS = 0x3000;
const VAPIC = 0x4000;
/** Beyond 46 bits of physical address. */
const TOO_HIGH = 0x4000;
const NOT_CANONICAL = 0x8000_0000_0000;

class State {
  readonly ram = new Ram(0x10000, 0);
  readonly vmcs = new Vmcs(this.ram, AT);
  readonly context: EntryContext;
  inIa32e = true;

  constructor(caps: VmxCapabilities) {
    this.context = new EntryContext(caps, new PhysicalMap(this.ram), this.vmcs);
    this.vmcs.format(caps.revision);
  }
  set(e: Narrow, v: number): void {
    this.vmcs.write32(e, v);
  }
  on(e: Narrow, bits: number): void {
    this.set(e, this.vmcs.read32(e) | bits);
  }
  off(e: Narrow, bits: number): void {
    this.set(e, this.vmcs.read32(e) & ~bits);
  }
  lin(e: Wide, v: number): void {
    this.vmcs.writeLin(e, v);
  }
  high(e: Wide, v: number): void {
    this.vmcs.setHalves(e, this.vmcs.lo(e), v);
  }
  onLow(e: Wide, bits: number): void {
    this.vmcs.setHalves(e, this.vmcs.lo(e) | bits, this.vmcs.hi(e));
  }
  offLow(e: Wide, bits: number): void {
    this.vmcs.setHalves(e, this.vmcs.lo(e) & ~bits, this.vmcs.hi(e));
  }
  pin(bits: number): void {
    this.on(VMCS.PIN_BASED_VM_EXEC_CONTROL, bits);
  }
  primary(bits: number): void {
    this.on(VMCS.CPU_BASED_VM_EXEC_CONTROL, bits);
  }
  secondary(bits: number): void {
    this.primary(PRIMARY.activateSecondaryControls);
    this.on(VMCS.SECONDARY_VM_EXEC_CONTROL, bits);
  }
  exit(bits: number): void {
    this.on(VMCS.VM_EXIT_CONTROLS, bits);
  }
  entry(bits: number): void {
    this.on(VMCS.VM_ENTRY_CONTROLS, bits);
  }
  segment(s: number, selector: number, access: number, limit: number, base = 0): void {
    const f = GUEST_SEGMENTS[s]!;
    this.set(f.selector, selector);
    this.set(f.access, access);
    this.set(f.limit, limit);
    this.lin(f.base, base);
  }
  access(s: number, v: number): void {
    this.set(GUEST_SEGMENTS[s]!.access, v);
  }
  inject(type: number, vector: number, error?: number): void {
    this.set(VMCS.VM_ENTRY_INTR_INFO, 0x8000_0000 | (type << 8) | vector | (error === undefined ? 0 : 0x800));
    this.set(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE, error ?? 0);
  }
  ept(): void {
    this.secondary(SECONDARY.enableEpt);
    this.lin(VMCS.EPT_POINTER, 0x5000 + 0x1e);
  }
  unrestricted(): void {
    this.ept();
    this.secondary(SECONDARY.unrestrictedGuest);
  }
  /** A 32-bit guest with PAE paging. */
  to32(): void {
    this.off(VMCS.VM_ENTRY_CONTROLS, ENTRY.ia32eModeGuest);
    this.access(CS, 0xc09b);
    this.offLow(VMCS.GUEST_EFER, 0x500);
    this.offLow(VMCS.GUEST_CR4, 1 << 17);
    this.lin(VMCS.GUEST_RIP, 0x1000);
  }
  toVirtual8086(): void {
    this.to32();
    this.onLow(VMCS.GUEST_RFLAGS, 1 << 17);
    for (const s of [ES, CS, SS, DS, FS, GS]) this.segment(s, 0x1230 + s, 0xf3, 0xffff, 0x12300 + 16 * s);
  }
  /** Real mode, as unrestricted guests can be in it. */
  toReal(): void {
    this.unrestricted();
    this.to32();
    this.offLow(VMCS.GUEST_CR0, 0x8000_0001);
    for (const s of [ES, CS, SS, DS, FS, GS]) this.segment(s, 0x1003, 0x93, 0xffff, 0x10030);
  }
  /** A 32-bit host, without IA-32e mode. */
  from32(): void {
    this.to32();
    this.inIa32e = false;
    this.off(VMCS.VM_EXIT_CONTROLS, EXIT.hostAddressSpaceSize);
    this.offLow(VMCS.HOST_EFER, 0x500);
    this.lin(VMCS.HOST_RIP, 0x1000);
    this.set(VMCS.HOST_SS_SELECTOR, 0x10);
  }
  link(isShadow: boolean): void {
    this.lin(VMCS.VMCS_LINK_POINTER, OTHER_VMCS);
    new Vmcs(this.ram, OTHER_VMCS as Maddr).format(this.context.caps.revision, isShadow);
  }

  failure(): [where: string, rule: EntryRule | undefined] {
    this.context.use(this.vmcs, this.inIa32e);
    const control = failingControl(this.context);
    if (control) return ['control', control];
    const host = failingHost(this.context);
    if (host) return ['host', host];
    return ['guest', failingGuest(this.context)];
  }
}

/** A 64-bit guest of a 64-bit host. */
function baseline(caps: VmxCapabilities): State {
  const s = new State(caps);
  const { allowed } = caps;
  s.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, allowed.pin.zero | PIN.externalInterruptExiting | PIN.nmiExiting);
  s.set(VMCS.CPU_BASED_VM_EXEC_CONTROL, allowed.primary.zero | PRIMARY.hltExiting);
  s.set(VMCS.VM_EXIT_CONTROLS, allowed.exit.zero | EXIT.hostAddressSpaceSize);
  s.set(VMCS.VM_ENTRY_CONTROLS, allowed.entry.zero | ENTRY.ia32eModeGuest);
  s.lin(VMCS.VMCS_LINK_POINTER, -1);
  for (const [cr0, cr3, cr4] of [
    [VMCS.HOST_CR0, VMCS.HOST_CR3, VMCS.HOST_CR4],
    [VMCS.GUEST_CR0, VMCS.GUEST_CR3, VMCS.GUEST_CR4],
  ] as const) {
    s.vmcs.setHalves(cr0, 0x8005_0033, 0);
    s.lin(cr3, PAGE_TABLES);
    s.lin(cr4, 0x26f0);
  }
  for (const e of [VMCS.HOST_PAT, VMCS.GUEST_PAT]) s.vmcs.setHalves(e, 0x0007_0406, 0x0007_0406);
  for (const e of [VMCS.HOST_EFER, VMCS.GUEST_EFER]) s.lin(e, 0xd01);
  for (const e of [VMCS.HOST_ES_SELECTOR, VMCS.HOST_SS_SELECTOR, VMCS.HOST_DS_SELECTOR]) s.set(e, 0);
  s.set(VMCS.HOST_CS_SELECTOR, 8);
  s.set(VMCS.HOST_TR_SELECTOR, 0x40);
  s.lin(VMCS.HOST_RIP, -0x7fff_0000);
  s.segment(CS, 0x10, 0xa09b, 0xffff_ffff);
  for (const r of [SS, DS, ES, FS, GS]) s.segment(r, 0x18, 0xc093, 0xffff_ffff);
  s.segment(LDTR, 0x28, 0x82, 0xffff);
  s.segment(TR, 0x30, 0x8b, 0x67, -0x1_0000);
  s.set(VMCS.GUEST_GDTR_LIMIT, 0x7f);
  s.set(VMCS.GUEST_IDTR_LIMIT, 0xfff);
  s.lin(VMCS.GUEST_RFLAGS, 0x202);
  s.lin(VMCS.GUEST_RIP, -0x7fff_0000);
  return s;
}

interface Violation {
  readonly caps?: VmxCapabilities;
  readonly given?: (s: State) => void;
  readonly break: (s: State) => void;
}
type Table = Record<string, Violation>;

const v = (change: (s: State) => void, given?: (s: State) => void, caps?: VmxCapabilities): Violation => ({
  break: change,
  ...(given && { given }),
  ...(caps && { caps }),
});

/** An address that must be aligned and within the physical-address width. */
const address = (what: string, e: Wide, given: (s: State) => void, alignment = 4096, caps?: VmxCapabilities): Table => {
  const valid = (s: State): void => {
    given(s);
    s.vmcs.setHalves(e, 0x1_0000 - alignment, 0x3fff);
  };
  return {
    [`${what} is aligned to ${alignment} bytes`]: v((s) => s.onLow(e, alignment / 2), valid, caps),
    [`${what} is within the physical-address width`]: v((s) => s.high(e, TOO_HIGH), valid, caps),
  };
};
const msrArea = (what: string, at: Encoding<64, 'control'>, count: Encoding<32, 'control'>): Table => ({
  ...address(`${what} address`, at, (s) => s.set(count, 1), 16),
  [`${what} ends within the physical-address width`]: v(
    (s) => s.set(count, 3),
    (s) => {
      s.set(count, 2);
      s.vmcs.setHalves(at, 0xffff_ffe0, 0x3fff);
    },
  ),
});
const words = (what: string, e: Narrow, mustBe1: number, mustBe0: number, given?: (s: State) => void): Table => ({
  ...(mustBe1 && { [`${what}: controls that must be 1 are 1`]: v((s) => s.off(e, mustBe1), given) }),
  [`${what}: controls that must be 0 are 0`]: v((s) => s.on(e, mustBe0), given),
});

const CONTROL: Table = {
  ...words('pin-based controls', VMCS.PIN_BASED_VM_EXEC_CONTROL, 2, PIN.processPostedInterrupts),
  ...words('primary processor-based controls', VMCS.CPU_BASED_VM_EXEC_CONTROL, 1 << 26, PRIMARY.activateTertiaryControls),
  ...words('secondary processor-based controls', VMCS.SECONDARY_VM_EXEC_CONTROL, 0, SECONDARY.useTscScaling, (s) => s.secondary(0)),
  // No secondary control must be 1 on any processor.
  'secondary processor-based controls: controls that must be 1 are 1': v(
    (s) => s.off(VMCS.SECONDARY_VM_EXEC_CONTROL, SECONDARY.wbinvdExiting),
    (s) => s.secondary(SECONDARY.wbinvdExiting),
    { ...skylake, allowed: { ...skylake.allowed, secondary: { zero: SECONDARY.wbinvdExiting, one: -1 } } },
  ),
  'the CR3-target count is one that the processor supports': v(
    (s) => s.set(VMCS.CR3_TARGET_COUNT, 5),
    (s) => s.set(VMCS.CR3_TARGET_COUNT, 4),
  ),
  ...address('the address of I/O bitmap A', VMCS.IO_BITMAP_A, (s) => s.primary(PRIMARY.useIoBitmaps)),
  ...address('the address of I/O bitmap B', VMCS.IO_BITMAP_B, (s) => s.primary(PRIMARY.useIoBitmaps)),
  ...address('the MSR-bitmap address', VMCS.MSR_BITMAP, (s) => s.primary(PRIMARY.useMsrBitmaps)),
  ...address('the virtual-APIC address', VMCS.VIRTUAL_APIC_PAGE_ADDR, (s) => s.primary(PRIMARY.useTprShadow)),
  'bits 31:4 of the TPR threshold are 0 without virtual-interrupt delivery': v(
    (s) => s.set(VMCS.TPR_THRESHOLD, 0x10),
    (s) => s.primary(PRIMARY.useTprShadow),
  ),
  'the TPR threshold is not above the virtual TPR': v(
    (s) => s.set(VMCS.TPR_THRESHOLD, 5),
    (s) => {
      s.primary(PRIMARY.useTprShadow);
      s.lin(VMCS.VIRTUAL_APIC_PAGE_ADDR, VAPIC);
      s.ram.write32((VAPIC + 0x80) as Maddr, 0x4f);
      s.set(VMCS.TPR_THRESHOLD, 4);
    },
  ),
  'without a TPR shadow x2APIC mode is not virtualized': v((s) => s.secondary(SECONDARY.virtualizeX2apicMode)),
  'without a TPR shadow APIC registers are not virtualized': v(
    (s) => s.secondary(SECONDARY.apicRegisterVirtualization),
    undefined,
    everything,
  ),
  'without a TPR shadow virtual interrupts are not delivered': v(
    (s) => s.secondary(SECONDARY.virtualInterruptDelivery),
    undefined,
    everything,
  ),
  'virtual NMIs need NMI exiting': v(
    (s) => s.off(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.nmiExiting),
    (s) => s.pin(PIN.virtualNmis),
  ),
  'NMI-window exiting needs virtual NMIs': v(
    (s) => s.off(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.virtualNmis),
    (s) => {
      s.pin(PIN.virtualNmis);
      s.primary(PRIMARY.nmiWindowExiting);
    },
  ),
  ...address('the APIC-access address', VMCS.APIC_ACCESS_ADDR, (s) => s.secondary(SECONDARY.virtualizeApicAccesses)),
  'x2APIC mode and APIC accesses are not both virtualized': v(
    (s) => s.secondary(SECONDARY.virtualizeApicAccesses),
    (s) => {
      s.primary(PRIMARY.useTprShadow);
      s.secondary(SECONDARY.virtualizeX2apicMode);
    },
  ),
  'virtual-interrupt delivery needs external-interrupt exiting': v(
    (s) => s.off(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.externalInterruptExiting),
    (s) => {
      s.primary(PRIMARY.useTprShadow);
      s.secondary(SECONDARY.virtualInterruptDelivery);
    },
    everything,
  ),
  ...((): Table => {
    const posted = (s: State): void => {
      s.primary(PRIMARY.useTprShadow);
      s.secondary(SECONDARY.virtualInterruptDelivery);
      s.exit(EXIT.acknowledgeInterruptOnExit);
      s.pin(PIN.processPostedInterrupts);
    };
    return {
      'posted interrupts need virtual-interrupt delivery': v(
        (s) => s.off(VMCS.SECONDARY_VM_EXEC_CONTROL, SECONDARY.virtualInterruptDelivery),
        posted,
        everything,
      ),
      'posted interrupts need acknowledgment on exit': v(
        (s) => s.off(VMCS.VM_EXIT_CONTROLS, EXIT.acknowledgeInterruptOnExit),
        posted,
        everything,
      ),
      'the posted-interrupt notification vector is 0 to 255': v(
        (s) => s.set(VMCS.POSTED_INTR_NOTIFICATION_VECTOR, 256),
        posted,
        everything,
      ),
      ...address('the posted-interrupt descriptor address', VMCS.PI_DESC_ADDR, posted, 64, everything),
    };
  })(),
  'the VPID is not 0': v(
    (s) => s.set(VMCS.VIRTUAL_PROCESSOR_ID, 0),
    (s) => {
      s.secondary(SECONDARY.enableVpid);
      s.set(VMCS.VIRTUAL_PROCESSOR_ID, 1);
    },
  ),
  'the EPT memory type is one that the processor supports': v(
    (s) => s.lin(VMCS.EPT_POINTER, 0x501c),
    (s) => s.ept(),
  ),
  'the EPT page-walk length is 4': v(
    (s) => s.lin(VMCS.EPT_POINTER, 0x5026),
    (s) => s.ept(),
  ),
  'EPT accessed and dirty flags are supported where they are enabled': v(
    (s) => s.onLow(VMCS.EPT_POINTER, 0x40),
    (s) => s.ept(),
    capabilitiesOf(PROFILES.nehalem!)!,
  ),
  'bits 11:7 of the EPT pointer are 0': v(
    (s) => s.onLow(VMCS.EPT_POINTER, 0x80),
    (s) => {
      s.ept();
      s.onLow(VMCS.EPT_POINTER, 0x40);
    },
  ),
  'the EPT pointer is within the physical-address width': v(
    (s) => s.high(VMCS.EPT_POINTER, TOO_HIGH),
    (s) => s.ept(),
  ),
  'PML needs EPT': v((s) => s.secondary(SECONDARY.enablePml)),
  ...address('the PML address', VMCS.PML_ADDRESS, (s) => {
    s.ept();
    s.secondary(SECONDARY.enablePml);
  }),
  'an unrestricted guest needs EPT': v((s) => s.secondary(SECONDARY.unrestrictedGuest)),
  'mode-based execute control needs EPT': v((s) => s.secondary(SECONDARY.modeBasedExecuteForEpt), undefined, everything),
  'sub-page write permissions need EPT': v((s) => s.secondary(SECONDARY.subPageWritePermissions), undefined, everything),
  ...address(
    'the sub-page-permission-table pointer',
    VMCS.SPP_TABLE_POINTER,
    (s) => {
      s.ept();
      s.secondary(SECONDARY.subPageWritePermissions);
    },
    4096,
    everything,
  ),
  'VM functions that the processor lacks are off': v(
    (s) => s.lin(VMCS.VM_FUNCTION_CONTROL, 2),
    (s) => s.secondary(SECONDARY.enableVmFunctions),
  ),
  'EPTP switching needs EPT': v(
    (s) => s.lin(VMCS.VM_FUNCTION_CONTROL, 1),
    (s) => s.secondary(SECONDARY.enableVmFunctions),
  ),
  ...address('the EPTP-list address', VMCS.EPTP_LIST_ADDR, (s) => {
    s.ept();
    s.secondary(SECONDARY.enableVmFunctions);
    s.lin(VMCS.VM_FUNCTION_CONTROL, 1);
  }),
  ...address('the VMREAD-bitmap address', VMCS.VMREAD_BITMAP, (s) => s.secondary(SECONDARY.vmcsShadowing)),
  ...address('the VMWRITE-bitmap address', VMCS.VMWRITE_BITMAP, (s) => s.secondary(SECONDARY.vmcsShadowing)),
  ...address(
    'the virtualization-exception information address',
    VMCS.VIRT_EXCEPTION_INFO,
    (s) => s.secondary(SECONDARY.eptViolationVe),
    4096,
    everything,
  ),
  'processor trace in guest-physical addresses needs EPT': v(
    (s) => s.secondary(SECONDARY.ptUsesGuestPhysicalAddresses),
    undefined,
    everything,
  ),
  'processor trace in guest-physical addresses needs RTIT_CTL loaded and cleared': v(
    (s) => s.off(VMCS.VM_EXIT_CONTROLS, EXIT.clearRtitCtl),
    (s) => {
      s.ept();
      s.secondary(SECONDARY.ptUsesGuestPhysicalAddresses);
      s.entry(ENTRY.loadRtitCtl);
      s.exit(EXIT.clearRtitCtl);
    },
    everything,
  ),
  'the TSC multiplier is not 0': v(
    (s) => s.lin(VMCS.TSC_MULTIPLIER, 0),
    (s) => {
      s.secondary(SECONDARY.useTscScaling);
      s.vmcs.setHalves(VMCS.TSC_MULTIPLIER, 0, 1);
    },
    everything,
  ),
  ...words('VM-exit controls', VMCS.VM_EXIT_CONTROLS, 1 << 17, EXIT.loadPerfGlobalCtrl),
  'the preemption timer is saved only if it is active': v((s) => s.exit(EXIT.savePreemptionTimer)),
  ...msrArea('the VM-exit MSR-store area', VMCS.VM_EXIT_MSR_STORE_ADDR, VMCS.VM_EXIT_MSR_STORE_COUNT),
  ...msrArea('the VM-exit MSR-load area', VMCS.VM_EXIT_MSR_LOAD_ADDR, VMCS.VM_EXIT_MSR_LOAD_COUNT),
  ...words('VM-entry controls', VMCS.VM_ENTRY_CONTROLS, 1 << 12, ENTRY.entryToSmm),
  'the type of the injected event is not a reserved one': v((s) => s.inject(1, 32)),
  'the vector of an injected NMI is 2': v(
    (s) => s.inject(2, 3),
    (s) => s.inject(2, 2),
  ),
  'the vector of an injected hardware exception is at most 31': v(
    (s) => s.inject(3, 32),
    (s) => s.inject(3, 31),
  ),
  'the vector of an injected MTF exit is 0': v(
    (s) => s.inject(7, 1),
    (s) => s.inject(7, 0),
  ),
  'an injected exception that has an error code delivers it': v(
    (s) => s.inject(3, 13),
    (s) => s.inject(3, 13, 0),
  ),
  'an injected event that has no error code delivers none': v(
    (s) => s.inject(3, 6, 0),
    (s) => s.inject(3, 6),
  ),
  'bits 30:12 of the interruption information are 0': v(
    (s) => s.on(VMCS.VM_ENTRY_INTR_INFO, 1 << 12),
    (s) => s.inject(0, 32),
  ),
  'the injected error code has 16 bits': v(
    (s) => s.inject(3, 14, 0x1_0000),
    (s) => s.inject(3, 14, 0x8000),
  ),
  'the length of the instruction behind an injected event is at most 15': v(
    (s) => s.set(VMCS.VM_ENTRY_INSTRUCTION_LEN, 16),
    (s) => {
      s.inject(4, 0x80);
      s.set(VMCS.VM_ENTRY_INSTRUCTION_LEN, 15);
    },
  ),
  'the length of the instruction behind an injected event is 0 only where the processor allows it': v(
    (s) => s.set(VMCS.VM_ENTRY_INSTRUCTION_LEN, 0),
    (s) => {
      s.inject(6, 3);
      s.set(VMCS.VM_ENTRY_INSTRUCTION_LEN, 1);
    },
    p4,
  ),
  ...msrArea('the VM-entry MSR-load area', VMCS.VM_ENTRY_MSR_LOAD_ADDR, VMCS.VM_ENTRY_MSR_LOAD_COUNT),
  'entry to SMM is for SMM': v((s) => s.entry(ENTRY.entryToSmm), undefined, everything),
  'dual-monitor treatment is deactivated in SMM only': v((s) => s.entry(ENTRY.deactivateDualMonitor), undefined, everything),
};

const HOST: Table = {
  'host CR0 has the bits that VMX operation fixes': v((s) => s.offLow(VMCS.HOST_CR0, 0x20)),
  'host CR4 has the bits that VMX operation fixes': v((s) => s.onLow(VMCS.HOST_CR4, 1 << 14)),
  'host CR3 is within the physical-address width': v((s) => s.high(VMCS.HOST_CR3, TOO_HIGH)),
  'host IA32_SYSENTER_ESP is canonical': v((s) => s.lin(VMCS.HOST_SYSENTER_ESP, NOT_CANONICAL)),
  'host IA32_SYSENTER_EIP is canonical': v((s) => s.lin(VMCS.HOST_SYSENTER_EIP, NOT_CANONICAL)),
  'host IA32_PAT holds memory types': v(
    (s) => s.high(VMCS.HOST_PAT, 0x0200_0000),
    (s) => s.exit(EXIT.loadPat),
  ),
  'host IA32_EFER has no reserved bits': v(
    (s) => s.onLow(VMCS.HOST_EFER, 1 << 12),
    (s) => s.exit(EXIT.loadEfer),
  ),
  'host IA32_EFER.LMA is the host address-space size': v(
    (s) => s.offLow(VMCS.HOST_EFER, 0x400),
    (s) => s.exit(EXIT.loadEfer),
  ),
  'host IA32_EFER.LME is the host address-space size': v(
    (s) => s.onLow(VMCS.HOST_EFER, 0x100),
    (s) => {
      s.from32();
      s.exit(EXIT.loadEfer);
    },
  ),
  ...Object.fromEntries(
    (['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'TR'] as const).map((r, i): [string, Violation] => [
      `the host ${r} selector has RPL and TI 0`,
      v((s) => s.set(VMCS[`HOST_${r}_SELECTOR`], 0x48 | (i % 2 === 0 ? 4 : 3))),
    ]),
  ),
  'the host CS selector is not 0': v((s) => s.set(VMCS.HOST_CS_SELECTOR, 0)),
  'the host TR selector is not 0': v((s) => s.set(VMCS.HOST_TR_SELECTOR, 0)),
  'the host SS selector is not 0 for a 32-bit host': v(
    (s) => s.set(VMCS.HOST_SS_SELECTOR, 0),
    (s) => s.from32(),
  ),
  ...Object.fromEntries(
    (['FS', 'GS', 'TR', 'GDTR', 'IDTR'] as const).map((r): [string, Violation] => [
      `the host ${r} base is canonical`,
      v(
        (s) => s.lin(VMCS[`HOST_${r}_BASE`], NOT_CANONICAL),
        (s) => s.lin(VMCS[`HOST_${r}_BASE`], -NOT_CANONICAL),
      ),
    ]),
  ),
  'a guest in IA-32e mode has a 64-bit host': v(
    (s) => s.entry(ENTRY.ia32eModeGuest),
    (s) => s.from32(),
  ),
  'a 32-bit host has CR4.PCIDE 0': v(
    (s) => s.onLow(VMCS.HOST_CR4, 1 << 17),
    (s) => s.from32(),
  ),
  'a 32-bit host has a 32-bit RIP': v(
    (s) => s.lin(VMCS.HOST_RIP, 0x1_0000_0000),
    (s) => s.from32(),
  ),
  'a 64-bit host has CR4.PAE 1': v((s) => s.offLow(VMCS.HOST_CR4, 0x20)),
  'a 64-bit host has a canonical RIP': v((s) => s.lin(VMCS.HOST_RIP, NOT_CANONICAL)),
  'a guest is entered in IA-32e mode only from IA-32e mode': v((s) => {
    s.inIa32e = false;
  }),
  'exits go to 64-bit mode only if the entry came from IA-32e mode': v(
    (s) => s.exit(EXIT.hostAddressSpaceSize),
    (s) => s.from32(),
  ),
  'exits go to 64-bit mode if the entry came from IA-32e mode': v(
    (s) => {
      s.inIa32e = true;
    },
    (s) => s.from32(),
  ),
};

/** The rules that are alike for every segment register that holds a segment. */
const common = (name: string, s: number): Table => {
  const rights = (x: State): number => x.vmcs.read32(GUEST_SEGMENTS[s]!.access);
  return {
    [`${name} is present`]: v((x) => x.access(s, rights(x) & ~0x80)),
    [`bits 11:8 of the access rights of ${name} are 0`]: v((x) => x.access(s, rights(x) | 0x400)),
    [`bits 31:17 of the access rights of ${name} are 0`]: v((x) => x.access(s, rights(x) | 0x8000_0000)),
    [`${name} has G 0 if its limit does not end in FFF`]: v(
      (x) => x.set(GUEST_SEGMENTS[s]!.limit, 0x1_0ffe),
      (x) => {
        x.access(s, rights(x) | 0x8000);
        x.set(GUEST_SEGMENTS[s]!.limit, 0x1_0fff);
      },
    ),
    [`${name} has G 1 if its limit is above FFFFF`]: v(
      (x) => x.set(GUEST_SEGMENTS[s]!.limit, 0x10_0fff),
      (x) => {
        x.access(s, rights(x) & ~0x8000);
        x.set(GUEST_SEGMENTS[s]!.limit, 0xf_ffff);
      },
    ),
  };
};
const data = (name: string, s: number): Table => ({
  [`${name} is accessed`]: v((x) => x.access(s, 0xc092)),
  [`${name} is readable if it is code`]: v(
    (x) => x.access(s, 0xc099),
    (x) => x.access(s, 0xc09b),
  ),
  [`${name} is a code or data segment`]: v((x) => x.access(s, 0xc083)),
  [`the DPL of ${name} is not below its RPL unless it is conforming code or the guest is unrestricted`]: v(
    (x) => x.access(s, 0xc093),
    // Conforming code may be.
    (x) => x.segment(s, 0x1b, 0xc09f, 0xffff_ffff),
  ),
  ...common(name, s),
});
const virtual8086 = (name: string, s: number): Table => {
  const given = (x: State): void => x.toVirtual8086();
  return {
    [`in virtual-8086 mode the base of ${name} is its selector times 16`]: v((x) => x.lin(GUEST_SEGMENTS[s]!.base, 0x12000), given),
    [`in virtual-8086 mode the limit of ${name} is FFFF`]: v((x) => x.set(GUEST_SEGMENTS[s]!.limit, 0xfffe), given),
    [`in virtual-8086 mode the access rights of ${name} are F3`]: v((x) => x.access(s, 0x93), given),
  };
};
const lowBase = (name: string, s: number): Table => ({
  [`bits 63:32 of the base of ${name} are 0`]: v((x) => x.high(GUEST_SEGMENTS[s]!.base, 1)),
});

const pae = (s: State): void => s.to32();
const paeWithEpt = (s: State): void => {
  s.ept();
  s.to32();
};
const blockedBySti = (s: State): void => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 1);
const linked = (s: State): void => {
  s.secondary(SECONDARY.vmcsShadowing);
  s.link(true);
};

const GUEST: Table = {
  'CR0 has the bits that VMX operation fixes, but for PE and PG of an unrestricted guest': v(
    (s) => s.offLow(VMCS.GUEST_CR0, 0x20),
    (s) => s.toReal(),
  ),
  'CR0.PG needs CR0.PE': v(
    (s) => s.onLow(VMCS.GUEST_CR0, 0x8000_0000),
    (s) => s.toReal(),
  ),
  'CR4 has the bits that VMX operation fixes': v((s) => s.offLow(VMCS.GUEST_CR4, 0x2000)),
  'IA-32e mode needs CR0.PG': v(
    (s) => s.offLow(VMCS.GUEST_CR0, 0x8000_0000),
    (s) => s.unrestricted(),
  ),
  'IA-32e mode needs CR4.PAE': v((s) => s.offLow(VMCS.GUEST_CR4, 0x20)),
  'CR4.PCIDE needs IA-32e mode': v((s) => s.onLow(VMCS.GUEST_CR4, 1 << 17), pae),
  'CR3 is within the physical-address width': v((s) => s.high(VMCS.GUEST_CR3, TOO_HIGH)),
  'IA32_SYSENTER_ESP is canonical': v((s) => s.lin(VMCS.GUEST_SYSENTER_ESP, NOT_CANONICAL)),
  'IA32_SYSENTER_EIP is canonical': v((s) => s.lin(VMCS.GUEST_SYSENTER_EIP, NOT_CANONICAL)),
  'IA32_DEBUGCTL has no reserved bits': v(
    (s) => s.lin(VMCS.GUEST_IA32_DEBUGCTL, 4),
    (s) => {
      s.entry(ENTRY.loadDebugControls);
      s.lin(VMCS.GUEST_IA32_DEBUGCTL, 3);
    },
  ),
  'bits 63:32 of DR7 are 0': v(
    (s) => s.high(VMCS.GUEST_DR7, 1),
    (s) => s.entry(ENTRY.loadDebugControls),
  ),
  'IA32_PAT holds memory types': v(
    (s) => s.onLow(VMCS.GUEST_PAT, 0x0800_0000),
    (s) => s.entry(ENTRY.loadPat),
  ),
  'IA32_EFER has no reserved bits': v(
    (s) => s.high(VMCS.GUEST_EFER, 1),
    (s) => s.entry(ENTRY.loadEfer),
  ),
  'IA32_EFER.LMA is the control "IA-32e mode guest"': v(
    (s) => s.offLow(VMCS.GUEST_EFER, 0x400),
    (s) => s.entry(ENTRY.loadEfer),
  ),
  'IA32_EFER.LME is LMA if paging is on': v(
    (s) => s.onLow(VMCS.GUEST_EFER, 0x100),
    (s) => {
      s.to32();
      s.entry(ENTRY.loadEfer);
    },
  ),
  'TR has TI 0': v((s) => s.set(VMCS.GUEST_TR_SELECTOR, 0x34)),
  'the base of TR is canonical': v((s) => s.lin(VMCS.GUEST_TR_BASE, NOT_CANONICAL)),
  'the base of FS is canonical': v((s) => s.lin(VMCS.GUEST_FS_BASE, NOT_CANONICAL)),
  'the base of GS is canonical': v((s) => s.lin(VMCS.GUEST_GS_BASE, NOT_CANONICAL)),
  ...lowBase('CS', CS),
  ...lowBase('SS', SS),
  ...lowBase('DS', DS),
  ...lowBase('ES', ES),
  ...virtual8086('CS', CS),
  ...virtual8086('SS', SS),
  ...virtual8086('DS', DS),
  ...virtual8086('ES', ES),
  ...virtual8086('FS', FS),
  ...virtual8086('GS', GS),
  'CS has a type of code': v(
    (s) => s.access(CS, 0xc093),
    (s) => s.to32(),
  ),
  'CS is a code or data segment': v((s) => s.access(CS, 0xa08b)),
  'the DPL of CS fits its type and the DPL of SS': v(
    (s) => s.access(CS, 0xa0db),
    // Conforming code may be more privileged than the stack says.
    (s) => {
      s.segment(SS, 0x1b, 0xc0f3, 0xffff_ffff);
      s.segment(CS, 0x13, 0xa0df, 0xffff_ffff);
    },
  ),
  'CS in 64-bit mode has D 0': v((s) => s.access(CS, 0xe09b)),
  ...common('CS', CS),
  'the RPL of SS is that of CS unless the guest is unrestricted': v((s) => s.set(VMCS.GUEST_CS_SELECTOR, 0x11)),
  'the DPL of SS is its RPL unless the guest is unrestricted': v((s) => {
    s.access(SS, 0xc0f3);
    s.access(CS, 0xa0fb);
  }),
  'the DPL of SS is 0 in real mode, and with data in CS': v(
    (s) => {
      s.access(SS, 0xd3);
      s.access(CS, 0x93);
    },
    (s) => s.toReal(),
  ),
  'SS is writable data, accessed': v((s) => s.access(SS, 0xc091)),
  'SS is a code or data segment': v((s) => s.access(SS, 0xc083)),
  ...common('SS', SS),
  ...data('DS', DS),
  ...data('ES', ES),
  ...data('FS', FS),
  ...data('GS', GS),
  'TR is a busy TSS that fits the mode': v((s) => s.access(TR, 0x83)),
  'TR is a system segment': v((s) => s.access(TR, 0x9b)),
  'TR is usable': v((s) => s.access(TR, 0x1_008b)),
  ...common('TR', TR),
  'LDTR has TI 0': v((s) => s.set(VMCS.GUEST_LDTR_SELECTOR, 0x2c)),
  'the base of LDTR is canonical': v((s) => s.lin(VMCS.GUEST_LDTR_BASE, NOT_CANONICAL)),
  'LDTR is an LDT': v((s) => s.access(LDTR, 0x83)),
  'LDTR is a system segment': v((s) => s.access(LDTR, 0x92)),
  ...common('LDTR', LDTR),
  'the base of GDTR is canonical': v((s) => s.lin(VMCS.GUEST_GDTR_BASE, NOT_CANONICAL)),
  'the base of IDTR is canonical': v((s) => s.lin(VMCS.GUEST_IDTR_BASE, NOT_CANONICAL)),
  'the limit of GDTR has 16 bits': v((s) => s.set(VMCS.GUEST_GDTR_LIMIT, 0x1_0000)),
  'the limit of IDTR has 16 bits': v((s) => s.set(VMCS.GUEST_IDTR_LIMIT, 0x1_0000)),
  'outside 64-bit mode bits 63:32 of RIP are 0': v(
    (s) => s.lin(VMCS.GUEST_RIP, 0x1_0000_0000),
    // Compatibility mode.
    (s) => {
      s.access(CS, 0xc09b);
      s.lin(VMCS.GUEST_RIP, 0x1000);
    },
  ),
  'in 64-bit mode bits 63:48 of RIP are identical': v(
    (s) => s.lin(VMCS.GUEST_RIP, 0x1_0000_0000_0000),
    // Not canonical, and yet entered.
    (s) => s.lin(VMCS.GUEST_RIP, NOT_CANONICAL),
  ),
  'reserved bits of RFLAGS are what they must be': v((s) => s.offLow(VMCS.GUEST_RFLAGS, 2)),
  'RFLAGS.VM is 0 in IA-32e mode and in real mode': v(
    (s) => s.entry(ENTRY.ia32eModeGuest),
    (s) => s.toVirtual8086(),
  ),
  'RFLAGS.IF is 1 where an external interrupt is injected': v(
    (s) => s.offLow(VMCS.GUEST_RFLAGS, 0x200),
    (s) => s.inject(0, 0x30),
  ),
  'the activity state is one that the processor supports': v((s) => s.set(VMCS.GUEST_ACTIVITY_STATE, 4)),
  'the guest halts at CPL 0 only': v(
    (s) => s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt),
    (s) => {
      s.segment(CS, 0x13, 0xa0fb, 0xffff_ffff);
      s.segment(SS, 0x1b, 0xc0f3, 0xffff_ffff);
    },
  ),
  'the guest is active while STI or MOV SS blocks': v(
    (s) => s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt),
    (s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 2),
  ),
  'what is injected into a halted guest wakes it': v(
    (s) => s.inject(3, 6),
    (s) => {
      s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt);
      s.inject(3, 1);
    },
  ),
  'what is injected into a guest in shutdown is an NMI or #MC': v(
    (s) => s.inject(0, 0x30),
    (s) => {
      s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.shutdown);
      s.inject(3, 18);
    },
  ),
  'nothing is injected into a guest that waits for a SIPI': v(
    (s) => s.inject(2, 2),
    (s) => s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.waitForSipi),
  ),
  'bits 31:5 of the interruptibility state are 0': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 0x20)),
  'STI and MOV SS do not both block': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 3), blockedBySti),
  'STI blocks only where RFLAGS.IF is 1': v((s) => s.offLow(VMCS.GUEST_RFLAGS, 0x200), blockedBySti),
  'neither STI nor MOV SS blocks where an external interrupt is injected': v((s) => s.inject(0, 0x30), blockedBySti),
  'MOV SS does not block where an NMI is injected': v(
    (s) => s.inject(2, 2),
    (s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 2),
  ),
  'SMIs are not blocked outside SMM': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 4)),
  'NMIs are not blocked where one is injected with virtual NMIs': v(
    (s) => s.pin(PIN.virtualNmis),
    (s) => {
      s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 8);
      s.inject(2, 2);
    },
  ),
  'there is no enclave interruption without SGX': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 16)),
  'STI does not block where an NMI is injected': v((s) => s.inject(2, 2), blockedBySti),
  'reserved bits of the pending debug exceptions are 0': v(
    (s) => s.lin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x1_0000),
    (s) => s.lin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x500f),
  ),
  'a single step is pending behind a blocked instruction that was single-stepped': v(
    (s) => s.onLow(VMCS.GUEST_RFLAGS, 0x100),
    blockedBySti,
  ),
  'no single step is pending behind a blocked instruction that was not single-stepped': v(
    (s) => s.lin(VMCS.GUEST_IA32_DEBUGCTL, 2),
    (s) => {
      s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt);
      s.onLow(VMCS.GUEST_RFLAGS, 0x100);
      s.lin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x4000);
    },
  ),
  'the VMCS link pointer is aligned to 4096 bytes': v((s) => s.onLow(VMCS.VMCS_LINK_POINTER, 0x800), linked),
  'the VMCS link pointer is within the physical-address width': v((s) => s.high(VMCS.VMCS_LINK_POINTER, TOO_HIGH), linked),
  'the VMCS link pointer is not the current VMCS': v((s) => s.lin(VMCS.VMCS_LINK_POINTER, AT), linked),
  'the linked VMCS has the revision of the processor': v(
    (s) => new Vmcs(s.ram, OTHER_VMCS as Maddr).format(s.context.caps.revision + 1, true),
    linked,
  ),
  'the linked VMCS is a shadow VMCS with VMCS shadowing, and none without': v((s) => s.link(false), linked),
  ...Object.fromEntries(
    [0, 1, 2, 3].flatMap((n): [string, Violation][] => [
      [
        `PDPTE ${n} has no reserved bits`,
        v((s) => s.lin(([VMCS.GUEST_PDPTE0, VMCS.GUEST_PDPTE1, VMCS.GUEST_PDPTE2, VMCS.GUEST_PDPTE3] as const)[n]!, 3), paeWithEpt),
      ],
      [
        `PDPTE ${n} at CR3 has no reserved bits`,
        v(
          (s) => s.ram.write32((PAGE_TABLES + 8 * n + 4) as Maddr, TOO_HIGH),
          (s) => {
            s.to32();
            s.ram.write32((PAGE_TABLES + 8 * n) as Maddr, 0x8001);
          },
        ),
      ],
    ]),
  ),
};

describe('VM entry', () => {
  it('passes a sound state on every processor', () => {
    for (const p of Object.values(PROFILES)) {
      const caps = capabilitiesOf(p);
      if (caps) expect([p.name, baseline(caps).failure()]).toEqual([p.name, ['guest', undefined]]);
    }
  });
  for (const [where, table] of Object.entries({ control: CONTROL, host: HOST, guest: GUEST })) {
    const rules = ENTRY_CHECKS[where as keyof typeof ENTRY_CHECKS].flatMap((b) => b.rules);
    it(`has one violation for each check on ${where} state, and names are unique`, () => {
      expect(rules.map((r) => r.name).sort()).toEqual(Object.keys(table).sort());
    });
    for (const [name, { caps = skylake, given, break: change }] of Object.entries(table))
      it(`${where}: ${name}`, () => {
        const s = baseline(caps);
        given?.(s);
        expect(s.failure()[1]?.name).toBeUndefined();
        change(s);
        const [at, rule] = s.failure();
        expect([at, rule?.name]).toEqual([where, name]);
        const qualification = name.includes('PDPTE') ? 2 : name.startsWith('STI does not') ? 3 : /link/.test(name) ? 4 : undefined;
        expect(rule?.qualification).toBe(qualification);
        expect(rule?.section).toMatch(where === 'guest' ? /^26\.3\.1\.[1-6]$/ : where === 'host' ? /^26\.2\.[234]$/ : /^26\.2\.1\.[123]$/);
      });
  }
  it('lets an unrestricted guest run in real mode, and lets others be in virtual-8086 mode', () => {
    const real = baseline(skylake);
    real.toReal();
    expect(real.failure()[1]).toBeUndefined();
    const v8086 = baseline(p4);
    v8086.toVirtual8086();
    expect(v8086.failure()[1]).toBeUndefined();
  });
  it('takes an unrestricted guest for what it is: no error codes in real mode', () => {
    const real = baseline(skylake);
    real.toReal();
    real.inject(3, 13);
    expect(real.failure()[1]).toBeUndefined();
    real.inject(3, 13, 0);
    expect(real.failure()[1]?.name).toBe('an injected event that has no error code delivers none');
  });
  it('does not look at unusable segment registers', () => {
    const s = baseline(skylake);
    for (const r of [SS, DS, ES, FS, GS, LDTR]) s.segment(r, r === SS ? 0 : 0x17, 0x1_0000, 0x1234_5678, 0x1_0000_0000);
    expect(s.failure()[1]).toBeUndefined();
  });
});

describe('MSRs that an entry loads (SDM Vol 3C, 26.4)', () => {
  const cases: readonly [rule: string, index: number, reserved: number][] = [
    ['IA32_FS_BASE is not loaded from a list', MSR.IA32_FS_BASE, 0],
    ['IA32_GS_BASE is not loaded from a list', MSR.IA32_GS_BASE, 0],
    ['x2APIC registers are not loaded from a list', 0x8ff, 0],
    ['MSRs for SMM only are not loaded', 0x9b, 0],
    ['IA32_BIOS_UPDT_TRIG is not loaded from a list', 0x79, 0],
    ['IA32_BIOS_SIGN_ID is not loaded from a list', 0x8b, 0],
    ['bits 63:32 of a list entry are 0', MSR.IA32_PAT, 1],
  ];
  it('each rule once', () => {
    expect(cases.map(([rule]) => rule)).toEqual(MSR_LOAD_CHECKS.map((r) => r.name));
    for (const [rule, index, reserved] of cases) expect(failingMsr(index, reserved)?.name).toBe(rule);
    for (const n of [MSR.IA32_PAT, MSR.IA32_KERNEL_GS_BASE, 0x7ff, 0x900]) expect(failingMsr(n, 0)).toBeUndefined();
  });
});
