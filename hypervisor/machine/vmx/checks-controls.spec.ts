// Every check on the controls of a VM entry is violated once, and reported by its own name.

import { describe } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { PROFILES } from '../system/cpuid.ts';
import { eachViolation, everything, p4, type State, skylake, type Table, TOO_HIGH, VAPIC, v } from '../testing/vmx-entry.ts';
import { capabilitiesOf, type VmxCapabilities } from './capabilities.ts';
import { ENTRY, EXIT, PIN, PRIMARY, SECONDARY } from './controls.ts';
import { type Encoding, type Narrow, VMCS, type Wide } from './fields.ts';

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

describe('VM entry', () => eachViolation('control', /^26\.2\.1\.[123]$/, CONTROL));
