// Every field of the VMCS by its encoding (SDM Vol 3D, appendix B; the names are Xen's where Xen has one, in its vmcs.h).
//
// An encoding tells what the field is: bits 14:13 the width, bits 11:10 the class, bits 9:1 an index, and bit 0 the high half of a
// 64-bit field (section 24.11.2). The groups below repeat width and class so that the types know them; fields.spec.ts holds the two
// against each other. Where a field's data lies in the VMCS region is ours to say, as it is each processor's.

import type { ControlName } from './controls.ts';

export const FIELDS = {
  control16: {
    VIRTUAL_PROCESSOR_ID: 0x0000,
    POSTED_INTR_NOTIFICATION_VECTOR: 0x0002,
    EPTP_INDEX: 0x0004,
    HLAT_PREFIX_SIZE: 0x0006,
    LAST_PID_POINTER_INDEX: 0x0008,
  },
  readonly16: {},
  guest16: {
    GUEST_ES_SELECTOR: 0x0800,
    GUEST_CS_SELECTOR: 0x0802,
    GUEST_SS_SELECTOR: 0x0804,
    GUEST_DS_SELECTOR: 0x0806,
    GUEST_FS_SELECTOR: 0x0808,
    GUEST_GS_SELECTOR: 0x080a,
    GUEST_LDTR_SELECTOR: 0x080c,
    GUEST_TR_SELECTOR: 0x080e,
    GUEST_INTR_STATUS: 0x0810,
    GUEST_PML_INDEX: 0x0812,
    GUEST_UINV: 0x0814,
  },
  host16: {
    HOST_ES_SELECTOR: 0x0c00,
    HOST_CS_SELECTOR: 0x0c02,
    HOST_SS_SELECTOR: 0x0c04,
    HOST_DS_SELECTOR: 0x0c06,
    HOST_FS_SELECTOR: 0x0c08,
    HOST_GS_SELECTOR: 0x0c0a,
    HOST_TR_SELECTOR: 0x0c0c,
  },
  control64: {
    IO_BITMAP_A: 0x2000,
    IO_BITMAP_B: 0x2002,
    MSR_BITMAP: 0x2004,
    VM_EXIT_MSR_STORE_ADDR: 0x2006,
    VM_EXIT_MSR_LOAD_ADDR: 0x2008,
    VM_ENTRY_MSR_LOAD_ADDR: 0x200a,
    EXECUTIVE_VMCS_POINTER: 0x200c,
    PML_ADDRESS: 0x200e,
    TSC_OFFSET: 0x2010,
    VIRTUAL_APIC_PAGE_ADDR: 0x2012,
    APIC_ACCESS_ADDR: 0x2014,
    PI_DESC_ADDR: 0x2016,
    VM_FUNCTION_CONTROL: 0x2018,
    EPT_POINTER: 0x201a,
    EOI_EXIT_BITMAP0: 0x201c,
    EOI_EXIT_BITMAP1: 0x201e,
    EOI_EXIT_BITMAP2: 0x2020,
    EOI_EXIT_BITMAP3: 0x2022,
    EPTP_LIST_ADDR: 0x2024,
    VMREAD_BITMAP: 0x2026,
    VMWRITE_BITMAP: 0x2028,
    VIRT_EXCEPTION_INFO: 0x202a,
    XSS_EXIT_BITMAP: 0x202c,
    ENCLS_EXITING_BITMAP: 0x202e,
    SPP_TABLE_POINTER: 0x2030,
    TSC_MULTIPLIER: 0x2032,
    TERTIARY_VM_EXEC_CONTROL: 0x2034,
    ENCLV_EXITING_BITMAP: 0x2036,
    LOW_PASID_DIRECTORY_ADDR: 0x2038,
    HIGH_PASID_DIRECTORY_ADDR: 0x203a,
    PCONFIG_EXITING_BITMAP: 0x203e,
    HLAT_POINTER: 0x2040,
    PID_POINTER_TABLE_ADDR: 0x2042,
    SECONDARY_VM_EXIT_CONTROLS: 0x2044,
    SPEC_CTRL_MASK: 0x204a,
    SPEC_CTRL_SHADOW: 0x204c,
  },
  readonly64: { GUEST_PHYSICAL_ADDRESS: 0x2400 },
  guest64: {
    VMCS_LINK_POINTER: 0x2800,
    GUEST_IA32_DEBUGCTL: 0x2802,
    GUEST_PAT: 0x2804,
    GUEST_EFER: 0x2806,
    GUEST_PERF_GLOBAL_CTRL: 0x2808,
    GUEST_PDPTE0: 0x280a,
    GUEST_PDPTE1: 0x280c,
    GUEST_PDPTE2: 0x280e,
    GUEST_PDPTE3: 0x2810,
    GUEST_BNDCFGS: 0x2812,
    GUEST_RTIT_CTL: 0x2814,
    GUEST_LBR_CTL: 0x2816,
    GUEST_PKRS: 0x2818,
  },
  host64: {
    HOST_PAT: 0x2c00,
    HOST_EFER: 0x2c02,
    HOST_PERF_GLOBAL_CTRL: 0x2c04,
    HOST_PKRS: 0x2c06,
  },
  control32: {
    PIN_BASED_VM_EXEC_CONTROL: 0x4000,
    CPU_BASED_VM_EXEC_CONTROL: 0x4002,
    EXCEPTION_BITMAP: 0x4004,
    PAGE_FAULT_ERROR_CODE_MASK: 0x4006,
    PAGE_FAULT_ERROR_CODE_MATCH: 0x4008,
    CR3_TARGET_COUNT: 0x400a,
    VM_EXIT_CONTROLS: 0x400c,
    VM_EXIT_MSR_STORE_COUNT: 0x400e,
    VM_EXIT_MSR_LOAD_COUNT: 0x4010,
    VM_ENTRY_CONTROLS: 0x4012,
    VM_ENTRY_MSR_LOAD_COUNT: 0x4014,
    VM_ENTRY_INTR_INFO: 0x4016,
    VM_ENTRY_EXCEPTION_ERROR_CODE: 0x4018,
    VM_ENTRY_INSTRUCTION_LEN: 0x401a,
    TPR_THRESHOLD: 0x401c,
    SECONDARY_VM_EXEC_CONTROL: 0x401e,
    PLE_GAP: 0x4020,
    PLE_WINDOW: 0x4022,
    NOTIFY_WINDOW: 0x4024,
  },
  readonly32: {
    VM_INSTRUCTION_ERROR: 0x4400,
    VM_EXIT_REASON: 0x4402,
    VM_EXIT_INTR_INFO: 0x4404,
    VM_EXIT_INTR_ERROR_CODE: 0x4406,
    IDT_VECTORING_INFO: 0x4408,
    IDT_VECTORING_ERROR_CODE: 0x440a,
    VM_EXIT_INSTRUCTION_LEN: 0x440c,
    VMX_INSTRUCTION_INFO: 0x440e,
  },
  guest32: {
    GUEST_ES_LIMIT: 0x4800,
    GUEST_CS_LIMIT: 0x4802,
    GUEST_SS_LIMIT: 0x4804,
    GUEST_DS_LIMIT: 0x4806,
    GUEST_FS_LIMIT: 0x4808,
    GUEST_GS_LIMIT: 0x480a,
    GUEST_LDTR_LIMIT: 0x480c,
    GUEST_TR_LIMIT: 0x480e,
    GUEST_GDTR_LIMIT: 0x4810,
    GUEST_IDTR_LIMIT: 0x4812,
    GUEST_ES_AR_BYTES: 0x4814,
    GUEST_CS_AR_BYTES: 0x4816,
    GUEST_SS_AR_BYTES: 0x4818,
    GUEST_DS_AR_BYTES: 0x481a,
    GUEST_FS_AR_BYTES: 0x481c,
    GUEST_GS_AR_BYTES: 0x481e,
    GUEST_LDTR_AR_BYTES: 0x4820,
    GUEST_TR_AR_BYTES: 0x4822,
    GUEST_INTERRUPTIBILITY_INFO: 0x4824,
    GUEST_ACTIVITY_STATE: 0x4826,
    GUEST_SMBASE: 0x4828,
    GUEST_SYSENTER_CS: 0x482a,
    GUEST_PREEMPTION_TIMER: 0x482e,
  },
  host32: { HOST_SYSENTER_CS: 0x4c00 },
  controlNatural: {
    CR0_GUEST_HOST_MASK: 0x6000,
    CR4_GUEST_HOST_MASK: 0x6002,
    CR0_READ_SHADOW: 0x6004,
    CR4_READ_SHADOW: 0x6006,
    CR3_TARGET_VALUE0: 0x6008,
    CR3_TARGET_VALUE1: 0x600a,
    CR3_TARGET_VALUE2: 0x600c,
    CR3_TARGET_VALUE3: 0x600e,
  },
  readonlyNatural: {
    EXIT_QUALIFICATION: 0x6400,
    IO_RCX: 0x6402,
    IO_RSI: 0x6404,
    IO_RDI: 0x6406,
    IO_RIP: 0x6408,
    GUEST_LINEAR_ADDRESS: 0x640a,
  },
  guestNatural: {
    GUEST_CR0: 0x6800,
    GUEST_CR3: 0x6802,
    GUEST_CR4: 0x6804,
    GUEST_ES_BASE: 0x6806,
    GUEST_CS_BASE: 0x6808,
    GUEST_SS_BASE: 0x680a,
    GUEST_DS_BASE: 0x680c,
    GUEST_FS_BASE: 0x680e,
    GUEST_GS_BASE: 0x6810,
    GUEST_LDTR_BASE: 0x6812,
    GUEST_TR_BASE: 0x6814,
    GUEST_GDTR_BASE: 0x6816,
    GUEST_IDTR_BASE: 0x6818,
    GUEST_DR7: 0x681a,
    GUEST_RSP: 0x681c,
    GUEST_RIP: 0x681e,
    GUEST_RFLAGS: 0x6820,
    GUEST_PENDING_DBG_EXCEPTIONS: 0x6822,
    GUEST_SYSENTER_ESP: 0x6824,
    GUEST_SYSENTER_EIP: 0x6826,
    GUEST_S_CET: 0x6828,
    GUEST_SSP: 0x682a,
    GUEST_INTR_SSP_TABLE: 0x682c,
  },
  hostNatural: {
    HOST_CR0: 0x6c00,
    HOST_CR3: 0x6c02,
    HOST_CR4: 0x6c04,
    HOST_FS_BASE: 0x6c06,
    HOST_GS_BASE: 0x6c08,
    HOST_TR_BASE: 0x6c0a,
    HOST_GDTR_BASE: 0x6c0c,
    HOST_IDTR_BASE: 0x6c0e,
    HOST_SYSENTER_ESP: 0x6c10,
    HOST_SYSENTER_EIP: 0x6c12,
    HOST_RSP: 0x6c14,
    HOST_RIP: 0x6c16,
    HOST_S_CET: 0x6c18,
    HOST_SSP: 0x6c1a,
    HOST_INTR_SSP_TABLE: 0x6c1c,
  },
} as const;

type Groups = typeof FIELDS;
type GroupName = keyof Groups;
type Names<G extends GroupName> = G extends GroupName ? keyof Groups[G] : never;

/** Encodings by name. */
export const VMCS = {
  ...FIELDS.control16,
  ...FIELDS.guest16,
  ...FIELDS.host16,
  ...FIELDS.control64,
  ...FIELDS.readonly64,
  ...FIELDS.guest64,
  ...FIELDS.host64,
  ...FIELDS.control32,
  ...FIELDS.readonly32,
  ...FIELDS.guest32,
  ...FIELDS.host32,
  ...FIELDS.controlNatural,
  ...FIELDS.readonlyNatural,
  ...FIELDS.guestNatural,
  ...FIELDS.hostNatural,
} as const;
export type VmcsName = Names<GroupName>;

/** In the order of bits 14:13 of an encoding. */
export const WIDTHS = [16, 64, 32, 'natural'] as const;
export type FieldWidth = (typeof WIDTHS)[number];
/** In the order of bits 11:10 of an encoding. `readonly`: VM-exit information. */
export const CLASSES = ['control', 'readonly', 'guest', 'host'] as const;
export type FieldClass = (typeof CLASSES)[number];

/** The encodings of some widths and classes. */
export type Encoding<W extends FieldWidth = FieldWidth, C extends FieldClass = FieldClass> = {
  [N in VmcsName]: N extends Names<`${C}${W extends 'natural' ? 'Natural' : W & number}`> ? (typeof VMCS)[N] : never;
}[VmcsName];
/** Fields that fit into 32 bits. */
export type Narrow = Encoding<16 | 32>;
/** Fields of 64 bits, or as wide as an address. */
export type Wide = Encoding<64 | 'natural'>;

/**
 * Fields that a processor has only if it supports the 1-setting of a control, or of one among several (appendix B, notes under the tables).
 */
export const FIELD_NEEDS = {
  VIRTUAL_PROCESSOR_ID: ['secondary.enableVpid'],
  POSTED_INTR_NOTIFICATION_VECTOR: ['pin.processPostedInterrupts'],
  EPTP_INDEX: ['secondary.eptViolationVe'],
  HLAT_PREFIX_SIZE: ['tertiary.enableHlat'],
  LAST_PID_POINTER_INDEX: ['tertiary.ipiVirtualization'],
  GUEST_INTR_STATUS: ['secondary.virtualInterruptDelivery'],
  GUEST_PML_INDEX: ['secondary.enablePml'],
  GUEST_UINV: ['entry.loadUinv'],
  MSR_BITMAP: ['primary.useMsrBitmaps'],
  PML_ADDRESS: ['secondary.enablePml'],
  VIRTUAL_APIC_PAGE_ADDR: ['primary.useTprShadow'],
  APIC_ACCESS_ADDR: ['secondary.virtualizeApicAccesses'],
  PI_DESC_ADDR: ['pin.processPostedInterrupts'],
  VM_FUNCTION_CONTROL: ['secondary.enableVmFunctions'],
  EPT_POINTER: ['secondary.enableEpt'],
  EOI_EXIT_BITMAP0: ['secondary.virtualInterruptDelivery'],
  EOI_EXIT_BITMAP1: ['secondary.virtualInterruptDelivery'],
  EOI_EXIT_BITMAP2: ['secondary.virtualInterruptDelivery'],
  EOI_EXIT_BITMAP3: ['secondary.virtualInterruptDelivery'],
  // The table says: the 1-setting of "EPTP switching" in the VM-function controls. No profile has VM functions without it.
  EPTP_LIST_ADDR: ['secondary.enableVmFunctions'],
  VMREAD_BITMAP: ['secondary.vmcsShadowing'],
  VMWRITE_BITMAP: ['secondary.vmcsShadowing'],
  VIRT_EXCEPTION_INFO: ['secondary.eptViolationVe'],
  XSS_EXIT_BITMAP: ['secondary.enableXsaves'],
  ENCLS_EXITING_BITMAP: ['secondary.enableEnclsExiting'],
  SPP_TABLE_POINTER: ['secondary.subPageWritePermissions'],
  TSC_MULTIPLIER: ['secondary.useTscScaling'],
  TERTIARY_VM_EXEC_CONTROL: ['primary.activateTertiaryControls'],
  ENCLV_EXITING_BITMAP: ['secondary.enableEnclvExiting'],
  LOW_PASID_DIRECTORY_ADDR: ['secondary.pasidTranslation'],
  HIGH_PASID_DIRECTORY_ADDR: ['secondary.pasidTranslation'],
  PCONFIG_EXITING_BITMAP: ['secondary.enablePconfig'],
  HLAT_POINTER: ['tertiary.enableHlat'],
  PID_POINTER_TABLE_ADDR: ['tertiary.ipiVirtualization'],
  SECONDARY_VM_EXIT_CONTROLS: ['exit.activateSecondaryControls'],
  SPEC_CTRL_MASK: ['tertiary.virtualizeSpecCtrl'],
  SPEC_CTRL_SHADOW: ['tertiary.virtualizeSpecCtrl'],
  GUEST_PHYSICAL_ADDRESS: ['secondary.enableEpt'],
  GUEST_PAT: ['entry.loadPat', 'exit.savePat'],
  GUEST_EFER: ['entry.loadEfer', 'exit.saveEfer'],
  GUEST_PERF_GLOBAL_CTRL: ['entry.loadPerfGlobalCtrl'],
  GUEST_PDPTE0: ['secondary.enableEpt'],
  GUEST_PDPTE1: ['secondary.enableEpt'],
  GUEST_PDPTE2: ['secondary.enableEpt'],
  GUEST_PDPTE3: ['secondary.enableEpt'],
  GUEST_BNDCFGS: ['entry.loadBndcfgs', 'exit.clearBndcfgs'],
  GUEST_RTIT_CTL: ['entry.loadRtitCtl', 'exit.clearRtitCtl'],
  GUEST_LBR_CTL: ['entry.loadLbrCtl', 'exit.clearLbrCtl'],
  GUEST_PKRS: ['entry.loadPkrs'],
  HOST_PAT: ['exit.loadPat'],
  HOST_EFER: ['exit.loadEfer'],
  HOST_PERF_GLOBAL_CTRL: ['exit.loadPerfGlobalCtrl'],
  HOST_PKRS: ['exit.loadPkrs'],
  TPR_THRESHOLD: ['primary.useTprShadow'],
  SECONDARY_VM_EXEC_CONTROL: ['primary.activateSecondaryControls'],
  PLE_GAP: ['secondary.pauseLoopExiting'],
  PLE_WINDOW: ['secondary.pauseLoopExiting'],
  NOTIFY_WINDOW: ['secondary.instructionTimeout'],
  GUEST_PREEMPTION_TIMER: ['pin.activatePreemptionTimer'],
  GUEST_S_CET: ['entry.loadCetState'],
  GUEST_SSP: ['entry.loadCetState'],
  GUEST_INTR_SSP_TABLE: ['entry.loadCetState'],
  HOST_S_CET: ['exit.loadCetState'],
  HOST_SSP: ['exit.loadCetState'],
  HOST_INTR_SSP_TABLE: ['exit.loadCetState'],
} as const satisfies Partial<Record<VmcsName, readonly ControlName[]>>;

/** Where the data begin in the VMCS region; before them lie the revision identifier, the abort indicator and the launch state. */
export const DATA_AT = 64;

export interface Field {
  readonly name: VmcsName;
  readonly encoding: number;
  readonly width: FieldWidth;
  readonly class: FieldClass;
  /** Offset in bytes of this field's data (for a high half: of that half) in the VMCS region. Every field has eight bytes. */
  readonly slot: number;
  /** Access type "high": bits 63:32 of a 64-bit field. */
  readonly isHigh: boolean;
  /** Controls of which a processor must support one; none: every processor has the field. */
  readonly needs: readonly ControlName[];
}

const needsOf = (name: VmcsName): readonly ControlName[] => (FIELD_NEEDS as Partial<Record<VmcsName, readonly ControlName[]>>)[name] ?? [];

function everyField(): Field[] {
  const all: Field[] = [];
  let slot = DATA_AT;
  for (const [name, encoding] of Object.entries(VMCS) as [VmcsName, number][]) {
    const width = WIDTHS[(encoding >>> 13) & 3]!;
    const f: Field = { name, encoding, width, class: CLASSES[(encoding >>> 10) & 3]!, slot, isHigh: false, needs: needsOf(name) };
    all.push(f);
    if (width === 64) all.push({ ...f, encoding: encoding + 1, slot: slot + 4, isHigh: true });
    slot += 8;
  }
  return all;
}

/** Every field, and after each 64-bit one its high half. */
export const ALL_FIELDS: readonly Field[] = everyField();
/** Bytes of a VMCS region that are in use. */
export const VMCS_BYTES = Math.max(...ALL_FIELDS.map((f) => f.slot)) + 8;

/** One past the highest encoding. */
const END = Math.max(...ALL_FIELDS.map((f) => f.encoding)) + 1;
/** Slots by encoding (fields and high halves); 0 where there is no field. */
export const SLOTS = new Uint16Array(END);
for (const f of ALL_FIELDS) SLOTS[f.encoding] = f.slot;

const byEncoding: ReadonlyMap<number, Field> = new Map(ALL_FIELDS.map((f) => [f.encoding, f]));

/** The 32-bit words of a region in which these fields lie: offsets in units of four bytes. */
export const wordsOf = (encodings: readonly number[]): Uint16Array =>
  Uint16Array.from(
    encodings.flatMap((e) => {
      const word = SLOTS[e]! / 4;
      const { width } = byEncoding.get(e)!;
      return width === 64 || width === 'natural' ? [word, word + 1] : [word];
    }),
  );

/** Fields by encoding, of a processor that supports the 1-settings that `has` tells. */
export const fieldsWith = (has: (control: ControlName) => boolean): ReadonlyMap<number, Field> =>
  new Map(ALL_FIELDS.filter((f) => f.needs.length === 0 || f.needs.some(has)).map((f) => [f.encoding, f]));

/**
 * The field with an encoding, as VMREAD and VMWRITE name it, on a processor with `fields` (VmxCapabilities.fields); by default, of any
 * processor. Undefined for an unsupported VMCS component (VM-instruction error 12).
 */
export const fieldOf = (encoding: number, fields: ReadonlyMap<number, Field> = byEncoding): Field | undefined => fields.get(encoding);

/** The four fields of a segment register. */
export interface SegmentFields {
  readonly selector: Encoding<16, 'guest'>;
  readonly limit: Encoding<32, 'guest'>;
  readonly access: Encoding<32, 'guest'>;
  readonly base: Encoding<'natural', 'guest'>;
}
const segment = <const S extends 'ES' | 'CS' | 'SS' | 'DS' | 'FS' | 'GS' | 'LDTR' | 'TR'>(s: S): SegmentFields => ({
  selector: VMCS[`GUEST_${s}_SELECTOR`],
  limit: VMCS[`GUEST_${s}_LIMIT`],
  access: VMCS[`GUEST_${s}_AR_BYTES`],
  base: VMCS[`GUEST_${s}_BASE`],
});
/** In the order of the segment register numbers of state.ts: ES CS SS DS FS GS LDTR TR. */
export const GUEST_SEGMENTS: readonly SegmentFields[] = (['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const).map(segment);
