// VM entry: checks on the control fields (SDM Vol 3C, 26.2.1). What fails here makes VMLAUNCH and VMRESUME fail with error 7.
//
// Controls that no profile offers are refused by the first rules of each word; for those that the machine may come to offer (virtual
// interrupts, #VE, TSC scaling) the rules stand here all the same.

import { EVENT_TYPE } from '../virt/non-root.ts';
import { EPT_CAP } from './capabilities.ts';
import { block, type EntryContext, EVENT, eventType, type RuleBlock } from './checks-context.ts';
import { type ControlWord, ENTRY, EXIT, PIN, PRIMARY, SECONDARY, VMFUNC as VM_FUNCTION } from './controls.ts';
import { type Encoding, VMCS, type Wide } from './fields.ts';

const PAGE = 4096;
type Predicate = (c: EntryContext) => boolean;

const reserved = (section: string, what: string, word: ControlWord, value: (c: EntryContext) => number, when?: Predicate): RuleBlock =>
  block(section, when, {
    [`${what}: controls that must be 1 are 1`]: (c) => (~value(c) & c.caps.allowed[word].zero) === 0,
    [`${what}: controls that must be 0 are 0`]: (c) => (value(c) & ~c.caps.allowed[word].one) === 0,
  });

const addressRules = (what: string, e: Wide, alignment = PAGE): Record<string, Predicate> => ({
  [`${what} is aligned to ${alignment} bytes`]: (c) => c.isAligned(e, alignment),
  [`${what} is within the physical-address width`]: (c) => c.fits(e),
});

const msrArea = (section: string, what: string, address: Encoding<64, 'control'>, count: Encoding<32, 'control'>): RuleBlock =>
  block(section, (c) => c.vmcs.read32(count) !== 0, {
    ...addressRules(`${what} address`, address, 16),
    [`${what} ends within the physical-address width`]: (c) => c.fitsTo(address, 16 * c.vmcs.read32(count)),
  });

const pin =
  (bit: number): Predicate =>
  (c) =>
    (c.pin & bit) !== 0;
const primary =
  (bit: number): Predicate =>
  (c) =>
    (c.primary & bit) !== 0;
const secondary =
  (bit: number): Predicate =>
  (c) =>
    (c.secondary & bit) !== 0;
const hasEpt = secondary(SECONDARY.enableEpt);

const EXECUTION = '26.2.1.1';
const execution: readonly RuleBlock[] = [
  reserved(EXECUTION, 'pin-based controls', 'pin', (c) => c.pin),
  reserved(EXECUTION, 'primary processor-based controls', 'primary', (c) => c.primary),
  reserved(EXECUTION, 'secondary processor-based controls', 'secondary', (c) => c.secondary, primary(PRIMARY.activateSecondaryControls)),
  block(EXECUTION, undefined, {
    'the CR3-target count is one that the processor supports': (c) => c.vmcs.read32(VMCS.CR3_TARGET_COUNT) <= c.caps.cr3Targets,
  }),
  block(EXECUTION, primary(PRIMARY.useIoBitmaps), {
    ...addressRules('the address of I/O bitmap A', VMCS.IO_BITMAP_A),
    ...addressRules('the address of I/O bitmap B', VMCS.IO_BITMAP_B),
  }),
  block(EXECUTION, primary(PRIMARY.useMsrBitmaps), addressRules('the MSR-bitmap address', VMCS.MSR_BITMAP)),
  block(EXECUTION, primary(PRIMARY.useTprShadow), {
    ...addressRules('the virtual-APIC address', VMCS.VIRTUAL_APIC_PAGE_ADDR),
  }),
  block(EXECUTION, (c) => (c.primary & PRIMARY.useTprShadow) === 0, {
    'without a TPR shadow x2APIC mode is not virtualized': (c) => (c.secondary & SECONDARY.virtualizeX2apicMode) === 0,
    'without a TPR shadow APIC registers are not virtualized': (c) => (c.secondary & SECONDARY.apicRegisterVirtualization) === 0,
    'without a TPR shadow virtual interrupts are not delivered': (c) => (c.secondary & SECONDARY.virtualInterruptDelivery) === 0,
  }),
  block(EXECUTION, undefined, {
    'virtual NMIs need NMI exiting': (c) => (c.pin & PIN.virtualNmis) === 0 || (c.pin & PIN.nmiExiting) !== 0,
    'NMI-window exiting needs virtual NMIs': (c) => (c.primary & PRIMARY.nmiWindowExiting) === 0 || (c.pin & PIN.virtualNmis) !== 0,
  }),
  block(EXECUTION, secondary(SECONDARY.virtualizeApicAccesses), addressRules('the APIC-access address', VMCS.APIC_ACCESS_ADDR)),
  block(EXECUTION, secondary(SECONDARY.virtualizeX2apicMode), {
    'x2APIC mode and APIC accesses are not both virtualized': (c) => (c.secondary & SECONDARY.virtualizeApicAccesses) === 0,
  }),
  block(EXECUTION, secondary(SECONDARY.virtualInterruptDelivery), {
    'virtual-interrupt delivery needs external-interrupt exiting': (c) => (c.pin & PIN.externalInterruptExiting) !== 0,
  }),
  block(EXECUTION, pin(PIN.processPostedInterrupts), {
    'posted interrupts need virtual-interrupt delivery': (c) => (c.secondary & SECONDARY.virtualInterruptDelivery) !== 0,
    'posted interrupts need acknowledgment on exit': (c) => (c.exit & EXIT.acknowledgeInterruptOnExit) !== 0,
    'the posted-interrupt notification vector is 0 to 255': (c) => c.vmcs.read32(VMCS.POSTED_INTR_NOTIFICATION_VECTOR) <= 255,
    ...addressRules('the posted-interrupt descriptor address', VMCS.PI_DESC_ADDR, 64),
  }),
  block(EXECUTION, secondary(SECONDARY.enableVpid), {
    'the VPID is not 0': (c) => c.vmcs.read32(VMCS.VIRTUAL_PROCESSOR_ID) !== 0,
  }),
  block(EXECUTION, hasEpt, {
    'the EPT memory type is one that the processor supports': (c) => {
      const type = c.vmcs.lo(VMCS.EPT_POINTER) & 7;
      return (type === 6 && (c.caps.ept & EPT_CAP.memoryTypeWb) !== 0) || (type === 0 && (c.caps.ept & EPT_CAP.memoryTypeUc) !== 0);
    },
    'the EPT page-walk length is 4': (c) => ((c.vmcs.lo(VMCS.EPT_POINTER) >>> 3) & 7) === 3,
    'EPT accessed and dirty flags are supported where they are enabled': (c) =>
      (c.vmcs.lo(VMCS.EPT_POINTER) & 0x40) === 0 || (c.caps.ept & EPT_CAP.accessedDirty) !== 0,
    'bits 11:7 of the EPT pointer are 0': (c) => (c.vmcs.lo(VMCS.EPT_POINTER) & 0xf80) === 0,
    'the EPT pointer is within the physical-address width': (c) => c.fits(VMCS.EPT_POINTER),
  }),
  block(EXECUTION, secondary(SECONDARY.enablePml), {
    'PML needs EPT': hasEpt,
    ...addressRules('the PML address', VMCS.PML_ADDRESS),
  }),
  block(EXECUTION, secondary(SECONDARY.unrestrictedGuest), { 'an unrestricted guest needs EPT': hasEpt }),
  block(EXECUTION, secondary(SECONDARY.modeBasedExecuteForEpt), { 'mode-based execute control needs EPT': hasEpt }),
  block(EXECUTION, secondary(SECONDARY.subPageWritePermissions), {
    'sub-page write permissions need EPT': hasEpt,
    ...addressRules('the sub-page-permission-table pointer', VMCS.SPP_TABLE_POINTER),
  }),
  block(EXECUTION, secondary(SECONDARY.enableVmFunctions), {
    'VM functions that the processor lacks are off': (c) =>
      (c.vmcs.lo(VMCS.VM_FUNCTION_CONTROL) & ~c.caps.vmFunctions) === 0 && c.isLow(VMCS.VM_FUNCTION_CONTROL),
  }),
  block(
    EXECUTION,
    (c) => (c.secondary & SECONDARY.enableVmFunctions) !== 0 && (c.vmcs.lo(VMCS.VM_FUNCTION_CONTROL) & VM_FUNCTION.eptpSwitching) !== 0,
    { 'EPTP switching needs EPT': hasEpt, ...addressRules('the EPTP-list address', VMCS.EPTP_LIST_ADDR) },
  ),
  block(EXECUTION, secondary(SECONDARY.vmcsShadowing), {
    ...addressRules('the VMREAD-bitmap address', VMCS.VMREAD_BITMAP),
    ...addressRules('the VMWRITE-bitmap address', VMCS.VMWRITE_BITMAP),
  }),
  block(
    EXECUTION,
    secondary(SECONDARY.eptViolationVe),
    addressRules('the virtualization-exception information address', VMCS.VIRT_EXCEPTION_INFO),
  ),
  block(EXECUTION, secondary(SECONDARY.ptUsesGuestPhysicalAddresses), {
    'processor trace in guest-physical addresses needs EPT': hasEpt,
    'processor trace in guest-physical addresses needs RTIT_CTL loaded and cleared': (c) =>
      (c.entry & ENTRY.loadRtitCtl) !== 0 && (c.exit & EXIT.clearRtitCtl) !== 0,
  }),
  block(EXECUTION, secondary(SECONDARY.useTscScaling), {
    'the TSC multiplier is not 0': (c) => (c.vmcs.lo(VMCS.TSC_MULTIPLIER) | c.vmcs.hi(VMCS.TSC_MULTIPLIER)) !== 0,
  }),
];

const EXITING = '26.2.1.2';
const exiting: readonly RuleBlock[] = [
  reserved(EXITING, 'VM-exit controls', 'exit', (c) => c.exit),
  block(EXITING, (c) => (c.exit & EXIT.savePreemptionTimer) !== 0, {
    'the preemption timer is saved only if it is active': pin(PIN.activatePreemptionTimer),
  }),
  msrArea(EXITING, 'the VM-exit MSR-store area', VMCS.VM_EXIT_MSR_STORE_ADDR, VMCS.VM_EXIT_MSR_STORE_COUNT),
  msrArea(EXITING, 'the VM-exit MSR-load area', VMCS.VM_EXIT_MSR_LOAD_ADDR, VMCS.VM_EXIT_MSR_LOAD_COUNT),
];

/** Vectors with an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC. */
const WITH_ERROR = (1 << 8) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 13) | (1 << 14) | (1 << 17);
/** "Other event": the pending MTF exit (Table 24-15). */
const OTHER_EVENT = 7;
const vector = (c: EntryContext): number => c.event & EVENT.vector;
const hasErrorCode = (c: EntryContext): boolean =>
  eventType(c) === EVENT_TYPE.exception &&
  (!c.isUnrestricted || (c.cr0 & 1) !== 0) &&
  vector(c) < 32 &&
  (WITH_ERROR & (1 << vector(c))) !== 0;
const isSoft = (c: EntryContext): boolean =>
  eventType(c) >= EVENT_TYPE.softInterrupt && eventType(c) <= EVENT_TYPE.softException && (c.event & EVENT.valid) !== 0;

const ENTERING = '26.2.1.3';
const entering: readonly RuleBlock[] = [
  reserved(ENTERING, 'VM-entry controls', 'entry', (c) => c.entry),
  msrArea(ENTERING, 'the VM-entry MSR-load area', VMCS.VM_ENTRY_MSR_LOAD_ADDR, VMCS.VM_ENTRY_MSR_LOAD_COUNT),
  // The machine has no SMM: it is always outside.
  block(ENTERING, undefined, {
    'entry to SMM is for SMM': (c) => (c.entry & ENTRY.entryToSmm) === 0,
    'dual-monitor treatment is deactivated in SMM only': (c) => (c.entry & ENTRY.deactivateDualMonitor) === 0,
  }),
];

/** Rules that look at control fields only, and at those that seldom change. */
export const CONTROL_CHECKS: readonly RuleBlock[] = [...execution, ...exiting, ...entering];

/** Offset of the virtual TPR in the virtual-APIC page (29.1.1). */
const VTPR = 0x80;

/** Rules about what each entry brings: the event that is injected, and the threshold of the TPR. */
export const LIVE_CONTROL_CHECKS: readonly RuleBlock[] = [
  block(EXECUTION, primary(PRIMARY.useTprShadow), {
    'bits 31:4 of the TPR threshold are 0 without virtual-interrupt delivery': (c) =>
      (c.secondary & SECONDARY.virtualInterruptDelivery) !== 0 || c.vmcs.read32(VMCS.TPR_THRESHOLD) >>> 4 === 0,
    'the TPR threshold is not above the virtual TPR': (c) =>
      (c.secondary & (SECONDARY.virtualizeApicAccesses | SECONDARY.virtualInterruptDelivery)) !== 0 ||
      (c.vmcs.read32(VMCS.TPR_THRESHOLD) & 15) <= ((c.read32(c.vmcs.readLin(VMCS.VIRTUAL_APIC_PAGE_ADDR) + VTPR) >>> 4) & 15),
  }),
  block(ENTERING, (c) => (c.event & EVENT.valid) !== 0, {
    'the type of the injected event is not a reserved one': (c) =>
      eventType(c) !== 1 && (eventType(c) !== OTHER_EVENT || c.caps.has('primary.monitorTrapFlag')),
    'the vector of an injected NMI is 2': (c) => eventType(c) !== EVENT_TYPE.nmi || vector(c) === 2,
    'the vector of an injected hardware exception is at most 31': (c) => eventType(c) !== EVENT_TYPE.exception || vector(c) <= 31,
    'the vector of an injected MTF exit is 0': (c) => eventType(c) !== OTHER_EVENT || vector(c) === 0,
    'an injected exception that has an error code delivers it': (c) => !hasErrorCode(c) || (c.event & EVENT.deliverError) !== 0,
    'an injected event that has no error code delivers none': (c) => hasErrorCode(c) || (c.event & EVENT.deliverError) === 0,
    'bits 30:12 of the interruption information are 0': (c) => (c.event & EVENT.reserved) === 0,
    'the injected error code has 16 bits': (c) =>
      (c.event & EVENT.deliverError) === 0 || c.vmcs.read32(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE) >>> 16 === 0,
  }),
  block(ENTERING, isSoft, {
    'the length of the instruction behind an injected event is at most 15': (c) => c.vmcs.read32(VMCS.VM_ENTRY_INSTRUCTION_LEN) <= 15,
    'the length of the instruction behind an injected event is 0 only where the processor allows it': (c) =>
      c.vmcs.read32(VMCS.VM_ENTRY_INSTRUCTION_LEN) !== 0 || c.caps.zeroLengthInjection,
  }),
];
