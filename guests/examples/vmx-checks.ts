// The checks of VM entry (SDM Vol 3C, chapter 27), each violated by one field of a VMCS that is good otherwise: controls give VMfailValid with
// error 7, the host-state area error 8, the guest-state area an exit with reason 33 (bit 31 set), MSR loading reason 34.
import { addr, type Imm } from '../asm/index.ts';
import { AREA, SELECTOR } from '../kit/virt/bare.ts';
import { call, forbid, need, type Row, type Step, store } from '../kit/virt/rows.ts';
import { ENTRY, EXIT, PIN, PROC, PROC2, REASON, type VmcsField, vmxEvent } from '../kit/virt/vmcs.ts';
import {
  clear,
  entryControl,
  exitControl,
  expectOutcome,
  find,
  guest32Mode,
  OUTCOME,
  pin,
  proc,
  proc2,
  put,
  RIGHTS,
  set,
  withEpt,
} from '../kit/virt/vmx.ts';

/** What is good without the last step, which spoils it. */
type Violation = readonly [name: string, manual: string, ...steps: Step[]];

const UNALIGNED = 0x80_0008;
const BEYOND = 1n << 52n;
const NONCANONICAL = 0x8000_0000_0000n;

const address = (name: string, manual: string, field: VmcsField, before: readonly Step[], unaligned: Imm = UNALIGNED): Violation[] => [
  [`${name}-unaligned`, manual, ...before, put(field, unaligned)],
  [`${name}-beyond-memory`, manual, ...before, put(field, BEYOND)],
];

// --- 27.2.1: controls; error 7 ---

const CONTROLS: readonly Violation[] = [
  ['pin-default1-clear', '27.2.1.1', clear('PIN_CONTROLS', 2)],
  ['pin-reserved-set', '27.2.1.1', set('PIN_CONTROLS', 0x8000_0000)],
  ['proc-default1-clear', '27.2.1.1', clear('PROC_CONTROLS', 2)],
  ['proc-reserved-set', '27.2.1.1', set('PROC_CONTROLS', 1)],
  ['proc2-reserved-set', '27.2.1.1', ...proc(PROC.secondary), put('PROC2_CONTROLS', 0x4000_0000)],
  ['cr3-target-count', '27.2.1.1', put('CR3_TARGET_COUNT', 5)],
  ...address('io-bitmap-a', '27.2.1.1', 'IO_BITMAP_A', proc(PROC.ioBitmaps)),
  ...address('io-bitmap-b', '27.2.1.1', 'IO_BITMAP_B', proc(PROC.ioBitmaps)),
  ...address('msr-bitmap', '27.2.1.1', 'MSR_BITMAP', proc(PROC.msrBitmaps)),
  ...address('virtual-apic', '27.2.1.1', 'VIRTUAL_APIC_PAGE_ADDR', proc(PROC.tprShadow)),
  ['tpr-threshold-reserved', '27.2.1.1', ...proc(PROC.tprShadow), put('TPR_THRESHOLD', 0x10)],
  ['tpr-threshold-above-vtpr', '27.2.1.1', ...proc(PROC.tprShadow), store(addr('virtual_apic', 0x80), 0x30, 4), put('TPR_THRESHOLD', 5)],
  ['virtual-nmis-without-nmi-exiting', '27.2.1.1', clear('PIN_CONTROLS', PIN.nmi), ...pin(PIN.virtualNmis)],
  ['nmi-window-without-virtual-nmis', '27.2.1.1', ...proc(PROC.nmiWindow)],
  ...address('apic-access', '27.2.1.1', 'APIC_ACCESS_ADDR', proc2(PROC2.apicAccesses)),
  ['x2apic-without-tpr-shadow', '27.2.1.1', ...proc2(PROC2.x2apic)],
  ['x2apic-with-apic-accesses', '27.2.1.1', ...proc(PROC.tprShadow), ...proc2(PROC2.apicAccesses), ...proc2(PROC2.x2apic)],
  ['apic-registers-without-tpr-shadow', '27.2.1.1', ...proc2(PROC2.apicRegisters)],
  ['virtual-interrupts-without-external', '27.2.1.1', ...proc(PROC.tprShadow), ...proc2(PROC2.virtualInterrupts)],
  ['vpid-0', '27.2.1.1', ...proc2(PROC2.vpid), put('VPID', 0)],
  ['eptp-memory-type', '27.2.1.1', ...withEpt(), set('EPT_POINTER', 2), clear('EPT_POINTER', 4)],
  ['eptp-walk-length', '27.2.1.1', ...withEpt(), clear('EPT_POINTER', 0x18)],
  ['eptp-reserved', '27.2.1.1', ...withEpt(), set('EPT_POINTER', 0x800)],
  ['eptp-beyond-memory', '27.2.1.1', ...withEpt(), set('EPT_POINTER', BEYOND)],
  ['unrestricted-without-ept', '27.2.1.1', ...proc2(PROC2.unrestricted)],
  ['pml-without-ept', '27.2.1.1', ...proc2(PROC2.pml)],
  ...address('pml', '27.2.1.1', 'PML_ADDRESS', withEpt(PROC2.pml)),
  ['vmfunc-reserved', '27.2.1.1', ...withEpt(PROC2.vmfunc), put('VMFUNC_CONTROLS', 1n << 40n)],
  ...address('eptp-list', '27.2.1.1', 'EPTP_LIST', [
    ...withEpt(PROC2.vmfunc),
    need('cap_vmfunc', 1, 'EPTP switching'),
    put('VMFUNC_CONTROLS', 1),
  ]),
  ...address('ve-information', '27.2.1.1', 'VE_INFORMATION_ADDRESS', withEpt(PROC2.virtualizationException)),
  ['posted-interrupts-without-delivery', '27.2.1.1', ...pin(PIN.postedInterrupts)],
  ['exit-reserved-set', '27.2.1.2', set('EXIT_CONTROLS', 0x8000_0000)],
  ['exit-default1-clear', '27.2.1.2', clear('EXIT_CONTROLS', 1)],
  ['save-timer-without-timer', '27.2.1.2', ...exitControl(EXIT.savePreemptionTimer)],
  ['exit-msr-store-unaligned', '27.2.1.2', put('EXIT_MSR_STORE_COUNT', 1), put('EXIT_MSR_STORE_ADDR', UNALIGNED)],
  ['exit-msr-store-beyond-memory', '27.2.1.2', put('EXIT_MSR_STORE_COUNT', 1), put('EXIT_MSR_STORE_ADDR', BEYOND)],
  ['exit-msr-load-unaligned', '27.2.1.2', put('EXIT_MSR_LOAD_COUNT', 1), put('EXIT_MSR_LOAD_ADDR', UNALIGNED)],
  ['exit-msr-load-last-beyond', '27.2.1.2', put('EXIT_MSR_LOAD_COUNT', 2), put('EXIT_MSR_LOAD_ADDR', BEYOND - 16n)],
  ['entry-reserved-set', '27.2.1.3', set('ENTRY_CONTROLS', 0x8000_0000)],
  ['entry-default1-clear', '27.2.1.3', clear('ENTRY_CONTROLS', 1)],
  ['entry-to-smm', '27.2.1.3', ...entryControl(ENTRY.smm)],
  ['entry-msr-load-unaligned', '27.2.1.3', put('ENTRY_MSR_LOAD_COUNT', 1), put('ENTRY_MSR_LOAD_ADDR', UNALIGNED)],
  ['inject-type-1', '27.2.1.3', put('ENTRY_INTR_INFO', 0x8000_0150)],
  ['inject-nmi-vector', '27.2.1.3', put('ENTRY_INTR_INFO', vmxEvent('nmi', 3))],
  ['inject-exception-vector', '27.2.1.3', put('ENTRY_INTR_INFO', vmxEvent('exception', 32))],
  ['inject-other-vector', '27.2.1.3', ...proc(PROC.trapFlag), put('ENTRY_INTR_INFO', vmxEvent('other', 1))],
  [
    'inject-no-error-code',
    '27.2.1.3',
    forbid('cap_basic', 1n << 56n, 'error codes as software likes'),
    put('ENTRY_INTR_INFO', vmxEvent('exception', 13)),
  ],
  [
    'inject-error-code-ud',
    '27.2.1.3',
    forbid('cap_basic', 1n << 56n, 'error codes as software likes'),
    put('ENTRY_INTR_INFO', vmxEvent('exception', 6, true)),
  ],
  ['inject-error-code-external', '27.2.1.3', put('ENTRY_INTR_INFO', vmxEvent('external', 0x51, true))],
  ['inject-reserved', '27.2.1.3', put('ENTRY_INTR_INFO', vmxEvent('exception', 6) | 0x2000)],
  [
    'inject-error-code-value',
    '27.2.1.3',
    put('ENTRY_INTR_INFO', vmxEvent('exception', 13, true)),
    put('ENTRY_EXCEPTION_ERROR_CODE', 0x1_0000),
  ],
  ['inject-length-16', '27.2.1.3', put('ENTRY_INTR_INFO', vmxEvent('software', 0x50)), put('ENTRY_INSTRUCTION_LENGTH', 16)],
  [
    'inject-length-0',
    '27.2.1.3',
    forbid('cap_misc', 1 << 30, 'injection with length 0'),
    put('ENTRY_INTR_INFO', vmxEvent('software', 0x50)),
    put('ENTRY_INSTRUCTION_LENGTH', 0),
  ],
];

// --- 27.2.2 to 27.2.4: the host-state area; error 8 ---

const HOST: readonly Violation[] = [
  ['host-cr0-pe', '27.2.2', clear('HOST_CR0', 1)],
  ['host-cr0-ne', '27.2.2', clear('HOST_CR0', 0x20)],
  ['host-cr4-vmxe', '27.2.2', clear('HOST_CR4', 0x2000)],
  ['host-cr4-reserved', '27.2.2', set('HOST_CR4', 0x8000_0000)],
  ['host-cr4-pae', '27.2.4', clear('HOST_CR4', 0x20)],
  ['host-cr3-beyond-memory', '27.2.2', set('HOST_CR3', BEYOND)],
  ['host-sysenter-esp', '27.2.2', put('HOST_SYSENTER_ESP', NONCANONICAL)],
  ['host-sysenter-eip', '27.2.2', put('HOST_SYSENTER_EIP', NONCANONICAL)],
  ['host-pat', '27.2.2', ...exitControl(EXIT.loadPat), put('HOST_IA32_PAT', 2)],
  ['host-efer-reserved', '27.2.2', ...exitControl(EXIT.loadEfer), put('HOST_IA32_EFER', 0x502)],
  ['host-efer-lma', '27.2.2', ...exitControl(EXIT.loadEfer), put('HOST_IA32_EFER', 0x100)],
  ['host-cs-rpl', '27.2.3', put('HOST_CS_SELECTOR', SELECTOR.code | 3)],
  ['host-ss-ti', '27.2.3', put('HOST_SS_SELECTOR', SELECTOR.data | 4)],
  ['host-tr-rpl', '27.2.3', put('HOST_TR_SELECTOR', SELECTOR.tss | 1)],
  ['host-cs-null', '27.2.3', put('HOST_CS_SELECTOR', 0)],
  ['host-tr-null', '27.2.3', put('HOST_TR_SELECTOR', 0)],
  ['host-fs-base', '27.2.3', put('HOST_FS_BASE', NONCANONICAL)],
  ['host-gs-base', '27.2.3', put('HOST_GS_BASE', NONCANONICAL)],
  ['host-gdtr-base', '27.2.3', put('HOST_GDTR_BASE', NONCANONICAL)],
  ['host-idtr-base', '27.2.3', put('HOST_IDTR_BASE', NONCANONICAL)],
  ['host-tr-base', '27.2.3', put('HOST_TR_BASE', NONCANONICAL)],
  ['host-rip', '27.2.4', put('HOST_RIP', NONCANONICAL)],
  ['host-32-bit', '27.2.4: the entry is made in IA-32e mode, so the exit must lead there', clear('EXIT_CONTROLS', EXIT.host64)],
];

// --- 27.3: the guest-state area; reason 33 ---

/** Segment registers by what their rights must not be. */
const rights = (segment: 'CS' | 'SS' | 'DS' | 'TR' | 'LDTR', name: string, value: number, ...before: Step[]): Violation => [
  `${segment.toLowerCase()}-${name}`,
  '27.3.1.2',
  ...before,
  put(`GUEST_${segment}_ACCESS_RIGHTS`, value),
];
const ldt = [
  put('GUEST_LDTR_SELECTOR', SELECTOR.ldt),
  put('GUEST_LDTR_ACCESS_RIGHTS', RIGHTS.ldt),
  put('GUEST_LDTR_LIMIT', 7),
  put('GUEST_LDTR_BASE', addr('gdt')),
];
const GUEST: readonly Violation[] = [
  ['cr0-pg-without-pe', '27.3.1.1', clear('ENTRY_CONTROLS', ENTRY.ia32e), clear('GUEST_CR0', 1)],
  ['cr0-ne', '27.3.1.1', clear('GUEST_CR0', 0x20)],
  ['cr4-vmxe', '27.3.1.1', clear('GUEST_CR4', 0x2000)],
  ['cr4-reserved', '27.3.1.1', set('GUEST_CR4', 0x8000_0000)],
  ['cr4-pae', '27.3.1.1', clear('GUEST_CR4', 0x20)],
  ['cr0-pg-ia32e', '27.3.1.1', clear('GUEST_CR0', 0x8000_0000)],
  ['cr3-beyond-memory', '27.3.1.1', set('GUEST_CR3', BEYOND)],
  ['pcide-outside-ia32e', '27.3.1.1', need('cap_cr4_fixed1', 0x2_0000, 'PCID'), ...guest32Mode, set('GUEST_CR4', 0x2_0000)],
  ['debugctl-reserved', '27.3.1.1', ...entryControl(ENTRY.loadDebug), put('GUEST_IA32_DEBUGCTL', 0x8000_0000)],
  ['dr7-upper-half', '27.3.1.1', ...entryControl(ENTRY.loadDebug), put('GUEST_DR7', 0x1_0000_0400n)],
  ['sysenter-esp', '27.3.1.1', put('GUEST_SYSENTER_ESP', NONCANONICAL)],
  ['sysenter-eip', '27.3.1.1', put('GUEST_SYSENTER_EIP', NONCANONICAL)],
  ['pat', '27.3.1.1', ...entryControl(ENTRY.loadPat), put('GUEST_IA32_PAT', 2)],
  ['efer-reserved', '27.3.1.1', ...entryControl(ENTRY.loadEfer), put('GUEST_IA32_EFER', 0x502)],
  ['efer-lma', '27.3.1.1', ...entryControl(ENTRY.loadEfer), put('GUEST_IA32_EFER', 0x100)],
  ['efer-lme', '27.3.1.1', ...entryControl(ENTRY.loadEfer), put('GUEST_IA32_EFER', 0x400)],
  ['tr-ti', '27.3.1.2', put('GUEST_TR_SELECTOR', SELECTOR.tss | 4)],
  ['ldtr-ti', '27.3.1.2', ...ldt, put('GUEST_LDTR_SELECTOR', SELECTOR.ldt | 4)],
  ['ss-rpl', '27.3.1.2', forbidUnrestricted(), put('GUEST_SS_SELECTOR', SELECTOR.data | 3)],
  ['tr-base', '27.3.1.2', put('GUEST_TR_BASE', NONCANONICAL)],
  ['fs-base', '27.3.1.2', put('GUEST_FS_BASE', NONCANONICAL)],
  ['gs-base', '27.3.1.2', put('GUEST_GS_BASE', NONCANONICAL)],
  ['ldtr-base', '27.3.1.2', ...ldt, put('GUEST_LDTR_BASE', NONCANONICAL)],
  ['cs-base-upper-half', '27.3.1.2', put('GUEST_CS_BASE', 1n << 32n)],
  ['ss-base-upper-half', '27.3.1.2', put('GUEST_SS_BASE', 1n << 32n)],
  ['ds-base-upper-half', '27.3.1.2', put('GUEST_DS_BASE', 1n << 32n)],
  rights('CS', 'type-data', 0xa093),
  rights('CS', 'type-not-accessed', 0xa09a),
  rights('CS', 'system', 0xa08b),
  rights('CS', 'dpl', 0xa0fb),
  rights('CS', 'not-present', 0xa01b),
  rights('CS', 'reserved', RIGHTS.code64 | 0x100),
  rights('CS', 'reserved-high', RIGHTS.code64 | 0x2_0000),
  rights('CS', 'l-and-d', RIGHTS.code64 | 0x4000),
  ['cs-granularity-small', '27.3.1.2', put('GUEST_CS_LIMIT', 0xff00)],
  ['cs-granularity-large', '27.3.1.2', put('GUEST_CS_ACCESS_RIGHTS', 0x209b)],
  rights('SS', 'type-code', 0xc09b),
  rights('SS', 'dpl', 0xc0f3),
  rights('SS', 'not-present', 0xc013),
  rights('SS', 'reserved', RIGHTS.data | 0x200),
  rights('DS', 'type-not-accessed', 0xc092),
  rights('DS', 'code-not-readable', 0xc099),
  rights('DS', 'system', 0xc083),
  rights('DS', 'not-present', 0xc013),
  rights('DS', 'reserved', RIGHTS.data | 0x800),
  ['ds-granularity', '27.3.1.2', put('GUEST_DS_LIMIT', 0x1234_5678)],
  rights('TR', 'type-available', 0x89),
  rights('TR', 'type-16-bit', 0x83),
  rights('TR', 'unusable', 0x1_008b),
  rights('TR', 'not-present', 0x0b),
  rights('TR', 'user-segment', 0x9b),
  rights('TR', 'reserved', 0x18b),
  rights('TR', 'granularity', 0x808b),
  rights('LDTR', 'type', 0x83, ...ldt),
  rights('LDTR', 'user-segment', 0x92, ...ldt),
  rights('LDTR', 'not-present', 0x02, ...ldt),
  rights('LDTR', 'reserved', 0x182, ...ldt),
  ['gdtr-base', '27.3.1.3', put('GUEST_GDTR_BASE', NONCANONICAL)],
  ['idtr-base', '27.3.1.3', put('GUEST_IDTR_BASE', NONCANONICAL)],
  ['gdtr-limit', '27.3.1.3', put('GUEST_GDTR_LIMIT', 0x1_0000)],
  ['idtr-limit', '27.3.1.3', put('GUEST_IDTR_LIMIT', 0x1_0000)],
  ['rip-upper-half', '27.3.1.4', ...guest32Mode, put('GUEST_RIP', 0x1_0000_0000n)],
  ['rip-noncanonical', '27.3.1.4: bits 63:N must be equal, N the linear-address width', put('GUEST_RIP', 1n << 62n)],
  ['rflags-bit-1', '27.3.1.4', put('GUEST_RFLAGS', 0)],
  ['rflags-reserved', '27.3.1.4', put('GUEST_RFLAGS', 0x8002)],
  ['rflags-upper-half', '27.3.1.4', put('GUEST_RFLAGS', 0x1_0000_0002n)],
  ['rflags-vm-in-ia32e', '27.3.1.4', put('GUEST_RFLAGS', 0x2_0002)],
  ['rflags-if-with-external', '27.3.1.4', put('ENTRY_INTR_INFO', vmxEvent('external', 0x51))],
  ['activity-reserved', '27.3.1.5', put('GUEST_ACTIVITY', 4)],
  ['activity-hlt-with-dpl-3', '27.3.1.5', ...userSegments(), put('GUEST_ACTIVITY', 1)],
  ['activity-hlt-with-sti', '27.3.1.5', set('GUEST_RFLAGS', 0x200), put('GUEST_INTERRUPTIBILITY', 1), put('GUEST_ACTIVITY', 1)],
  [
    'activity-shutdown-with-event',
    '27.3.1.5',
    need('cap_misc', 0x80, 'activity state shutdown'),
    put('ENTRY_INTR_INFO', vmxEvent('exception', 6)),
    put('GUEST_ACTIVITY', 2),
  ],
  ['interruptibility-reserved', '27.3.1.5', put('GUEST_INTERRUPTIBILITY', 0x20)],
  ['interruptibility-sti-and-mov-ss', '27.3.1.5', set('GUEST_RFLAGS', 0x200), put('GUEST_INTERRUPTIBILITY', 3)],
  ['interruptibility-sti-without-if', '27.3.1.5', put('GUEST_INTERRUPTIBILITY', 1)],
  [
    'interruptibility-sti-with-external',
    '27.3.1.5',
    set('GUEST_RFLAGS', 0x200),
    put('ENTRY_INTR_INFO', vmxEvent('external', 0x51)),
    put('GUEST_INTERRUPTIBILITY', 1),
  ],
  ['interruptibility-mov-ss-with-nmi', '27.3.1.5', put('ENTRY_INTR_INFO', vmxEvent('nmi', 2)), put('GUEST_INTERRUPTIBILITY', 2)],
  ['interruptibility-smi', '27.3.1.5', put('GUEST_INTERRUPTIBILITY', 4)],
  [
    'interruptibility-nmi-with-nmi',
    '27.3.1.5: with virtual NMIs',
    ...pin(PIN.nmi | PIN.virtualNmis),
    put('ENTRY_INTR_INFO', vmxEvent('nmi', 2)),
    put('GUEST_INTERRUPTIBILITY', 8),
  ],
  ['pending-debug-reserved', '27.3.1.5', put('GUEST_PENDING_DEBUG', 0x10)],
  [
    'pending-debug-bs-clear',
    '27.3.1.5: TF with blocking by MOV SS must have BS pending',
    set('GUEST_RFLAGS', 0x100),
    put('GUEST_INTERRUPTIBILITY', 2),
  ],
  [
    'pending-debug-bs-set',
    '27.3.1.5: BS without TF, while MOV SS blocks',
    put('GUEST_INTERRUPTIBILITY', 2),
    put('GUEST_PENDING_DEBUG', 0x4000),
  ],
];

/** Guest-state violations that have a qualification of their own (27.8: 4 is the VMCS link pointer, 3 an NMI with blocking by STI, 2 PDPTEs). */
const QUALIFIED: readonly [violation: Violation, qualification: number][] = [
  [['link-pointer-unaligned', '27.3.1.5', put('VMCS_LINK_POINTER', UNALIGNED)], 4],
  [['link-pointer-beyond-memory', '27.3.1.5', put('VMCS_LINK_POINTER', BEYOND)], 4],
  [['link-pointer-revision', '27.3.1.5', store(AREA.pages + 0x1000, 0x7fff_ffff, 4), put('VMCS_LINK_POINTER', AREA.pages + 0x1000)], 4],
  [
    [
      'pdpte-reserved',
      '27.3.1.6',
      ...guest32Mode,
      clear('GUEST_CR4', 0x10),
      set('GUEST_CR4', 0x20),
      store(AREA.pages + 0x2000, 0x1e7),
      put('GUEST_CR3', AREA.pages + 0x2000),
    ],
    2,
  ],
];

/** 27.4: MSR loading; the qualification counts entries from 1. */
const MSR_LOADING: readonly [violation: Violation, qualification: number][] = [
  [['msr-load-fs-base', '27.4', put('ENTRY_MSR_LOAD_COUNT', 1), store(addr('msr_area'), 0xc000_0100)], 1],
  [['msr-load-reserved', '27.4', put('ENTRY_MSR_LOAD_COUNT', 1), store(addr('msr_area'), 0x1_0000_0174n)], 1],
  [['msr-load-x2apic', '27.4', put('ENTRY_MSR_LOAD_COUNT', 1), store(addr('msr_area'), 0x808)], 1],
  [
    [
      'msr-load-second',
      '27.4: the first is loaded, the second is not canonical',
      put('ENTRY_MSR_LOAD_COUNT', 2),
      store(addr('msr_area'), 0xc000_0081),
      store(addr('msr_area', 16), 0xc000_0082),
      store(addr('msr_area', 24), NONCANONICAL),
    ],
    2,
  ],
];

function forbidUnrestricted(): Step {
  return clear('PROC2_CONTROLS', 0);
}
function userSegments(): Step[] {
  return [
    put('GUEST_CS_SELECTOR', SELECTOR.userCode),
    put('GUEST_CS_ACCESS_RIGHTS', RIGHTS.userCode),
    put('GUEST_SS_SELECTOR', SELECTOR.userData),
    put('GUEST_SS_ACCESS_RIGHTS', RIGHTS.userData),
  ];
}

const start = put('GUEST_RIP', addr('guest_vmcall'));
const row = (prefix: string, [name, manual, ...steps]: Violation, finds: readonly Step[]): Row => ({
  name: `entry-${prefix}${name}`,
  manual,
  steps: [start, ...steps, call('enter'), ...finds],
});
const FAILED_ENTRY = 0x8000_0000;

export const vmxCheckRows = (): Row[] => [
  {
    name: 'baseline',
    manual: '27.2, 27.3: the VMCS that the rows below spoil is a good one',
    steps: [start, call('enter'), expectOutcome(OUTCOME.exit), find('EXIT_REASON', REASON.VMCALL), find('GUEST_RIP', addr('guest_vmcall'))],
  },
  ...CONTROLS.map((v) => row('control-', v, [expectOutcome(OUTCOME.valid | 7)])),
  ...HOST.map((v) => row('', v, [expectOutcome(OUTCOME.valid | 8)])),
  ...GUEST.map((v) =>
    row('guest-', v, [
      expectOutcome(OUTCOME.exit),
      find('EXIT_REASON', FAILED_ENTRY + REASON.INVALID_GUEST_STATE),
      find('EXIT_QUALIFICATION', 0),
    ]),
  ),
  ...QUALIFIED.map(([v, qualification]) =>
    row('guest-', v, [
      expectOutcome(OUTCOME.exit),
      find('EXIT_REASON', FAILED_ENTRY + REASON.INVALID_GUEST_STATE),
      find('EXIT_QUALIFICATION', qualification),
    ]),
  ),
  ...MSR_LOADING.map(([v, qualification]) =>
    row('', v, [
      expectOutcome(OUTCOME.exit),
      find('EXIT_REASON', FAILED_ENTRY + REASON.MSR_LOADING),
      find('EXIT_QUALIFICATION', qualification),
    ]),
  ),
];
