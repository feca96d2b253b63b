// What a generation of processors can do in VMX operation, and the capability MSRs that say so (SDM Vol 3D, appendix A).
//
// Two declarations: what the silicon of a generation has, and what this machine does not do of it. A profile offers the difference, as with
// CPUID features; everything else here (allowed settings, fields, MSRs) is derived.
//
// Sources: MSRs read from silicon, of a Core 2 X6800 (VirtualBox, VMMR3/cpus/Intel_Core2_X6800_2_93GHz.h), a Core i7 of the Nehalem
// generation (Cheat Engine, dbvm/vmm/vmxsetup.c) and Skylakes (VirtualBox logs in GitHub issues); for Skylake-SP also QEMU's model
// Skylake-Server (target/i386/cpu.c). Of a Pentium 4 672 none were found: it is given those of the Core 2, which has what Intel's
// preliminary specification of April 2005 (C97063) describes.

import { CR0, CR4, EFER } from '../system/bits.ts';
import { cr4Allowed } from '../system/control.ts';
import type { CpuProfile } from '../system/profiles/profile.ts';
import { CONTROLS, type ControlName, type ControlWord, VMFUNC } from './controls.ts';
import { type Field, fieldsWith, VMCS_BYTES } from './fields.ts';

type Names = { readonly [W in Exclude<ControlWord, 'tertiary'>]: readonly (keyof (typeof CONTROLS)[W] & string)[] };

/** Bits of IA32_VMX_EPT_VPID_CAP: the low half is about EPT, the high half about VPIDs (A.10). */
export const EPT_CAP = {
  executeOnly: 1 << 0,
  walkLength4: 1 << 6,
  memoryTypeUc: 1 << 8,
  memoryTypeWb: 1 << 14,
  pages2m: 1 << 16,
  pages1g: 1 << 17,
  invept: 1 << 20,
  accessedDirty: 1 << 21,
  inveptSingleContext: 1 << 25,
  inveptAllContext: 1 << 26,
} as const;
export const VPID_CAP = {
  invvpid: 1 << 0,
  individualAddress: 1 << 8,
  singleContext: 1 << 9,
  allContext: 1 << 10,
  singleContextRetainingGlobals: 1 << 11,
} as const;

/** Activity states other than active, as bits 8:6 of IA32_VMX_MISC have them; active is 0. */
export const ACTIVITY = { active: 0, hlt: 1, shutdown: 2, waitForSipi: 3 } as const;

interface Generation {
  /** VMCS revision identifier. The layout of a region is ours alone; the numbers differ so that no VMCS is taken for another's. */
  readonly revision: number;
  readonly controls: Names;
  /** IA32_VMX_BASIC bit 55: controls of the default1 class that have a name may be 0, and the TRUE MSRs say so. */
  readonly trueControls: boolean;
  /** Bit 54: exits on INS and OUTS give VM-exit instruction information. */
  readonly stringIoInformation: boolean;
  /** The preemption timer counts down when this bit of the TSC changes. */
  readonly timerRate: number;
  /** IA32_VMX_MISC bit 29: VMWRITE may write VM-exit information fields. */
  readonly vmwriteAny: boolean;
  /** Bit 30: soft events may be injected with an instruction length of 0. */
  readonly zeroLengthInjection: boolean;
  readonly ept: readonly (keyof typeof EPT_CAP)[];
  readonly vpid: readonly (keyof typeof VPID_CAP)[];
}

/** 2005 and 2006. Virtual NMIs, secondary controls and the APIC-access page came with later steppings of the Core 2. */
const FIRST: Names = {
  pin: ['externalInterruptExiting', 'nmiExiting'],
  primary: [
    'interruptWindowExiting',
    'useTscOffsetting',
    'hltExiting',
    'invlpgExiting',
    'mwaitExiting',
    'rdpmcExiting',
    'rdtscExiting',
    'cr3LoadExiting',
    'cr3StoreExiting',
    'cr8LoadExiting',
    'cr8StoreExiting',
    'useTprShadow',
    'movDrExiting',
    'unconditionalIoExiting',
    'useIoBitmaps',
    'useMsrBitmaps',
    'monitorExiting',
    'pauseExiting',
  ],
  secondary: [],
  exit: ['saveDebugControls', 'hostAddressSpaceSize', 'acknowledgeInterruptOnExit'],
  entry: ['loadDebugControls', 'ia32eModeGuest', 'entryToSmm', 'deactivateDualMonitor'],
};
const NEHALEM: Names = {
  pin: [...FIRST.pin, 'virtualNmis', 'activatePreemptionTimer'],
  primary: [...FIRST.primary, 'nmiWindowExiting', 'monitorTrapFlag', 'activateSecondaryControls'],
  secondary: [
    'virtualizeApicAccesses',
    'wbinvdExiting',
    'enableEpt',
    'descriptorTableExiting',
    'enableRdtscp',
    'virtualizeX2apicMode',
    'enableVpid',
  ],
  exit: [...FIRST.exit, 'loadPerfGlobalCtrl', 'savePat', 'loadPat', 'saveEfer', 'loadEfer', 'savePreemptionTimer'],
  entry: [...FIRST.entry, 'loadPerfGlobalCtrl', 'loadPat', 'loadEfer'],
};
const SKYLAKE: Names = {
  pin: [...NEHALEM.pin, 'processPostedInterrupts'],
  primary: NEHALEM.primary,
  secondary: [
    ...NEHALEM.secondary,
    'unrestrictedGuest',
    'apicRegisterVirtualization',
    'virtualInterruptDelivery',
    'pauseLoopExiting',
    'rdrandExiting',
    'enableInvpcid',
    'enableVmFunctions',
    'vmcsShadowing',
    'rdseedExiting',
    'enablePml',
    'eptViolationVe',
    'concealVmxFromPt',
    'enableXsaves',
    'useTscScaling',
  ],
  exit: [...NEHALEM.exit, 'clearBndcfgs', 'concealVmxFromPt'],
  entry: [...NEHALEM.entry, 'loadBndcfgs', 'concealVmxFromPt'],
};

/** By name of profile. What has the feature and no row of its own is taken for a Skylake. */
const GENERATIONS: Readonly<Record<string, Generation>> = {
  'p4-672': {
    revision: 3,
    controls: FIRST,
    trueControls: false,
    stringIoInformation: false,
    timerRate: 0,
    vmwriteAny: false,
    zeroLengthInjection: false,
    ept: [],
    vpid: [],
  },
  core2: {
    revision: 7,
    controls: FIRST,
    trueControls: false,
    stringIoInformation: false,
    timerRate: 0,
    vmwriteAny: false,
    zeroLengthInjection: false,
    ept: [],
    vpid: [],
  },
  nehalem: {
    revision: 0xe,
    controls: NEHALEM,
    trueControls: true,
    stringIoInformation: true,
    timerRate: 5,
    vmwriteAny: false,
    zeroLengthInjection: false,
    // 1-GByte pages came with Westmere, in EPT as in page tables; so did unrestricted guests.
    ept: ['executeOnly', 'walkLength4', 'memoryTypeUc', 'memoryTypeWb', 'pages2m', 'invept', 'inveptSingleContext', 'inveptAllContext'],
    vpid: ['invvpid', 'individualAddress', 'singleContext', 'allContext', 'singleContextRetainingGlobals'],
  },
  'skylake-sp': {
    revision: 4,
    controls: SKYLAKE,
    trueControls: true,
    stringIoInformation: true,
    timerRate: 7,
    vmwriteAny: true,
    zeroLengthInjection: true,
    ept: [
      'executeOnly',
      'walkLength4',
      'memoryTypeUc',
      'memoryTypeWb',
      'pages2m',
      'pages1g',
      'invept',
      'accessedDirty',
      'inveptSingleContext',
      'inveptAllContext',
    ],
    vpid: ['invvpid', 'individualAddress', 'singleContext', 'allContext', 'singleContextRetainingGlobals'],
  },
};

/**
 * Controls of the silicon that the machine does not offer: it has no SMM, no performance counters, no MPX and no processor trace, delivers
 * virtual interrupts by exits only, raises no #VE, and its TSC is not scaled.
 */
const MISSING: ReadonlySet<ControlName> = new Set<ControlName>([
  'pin.processPostedInterrupts',
  'secondary.apicRegisterVirtualization',
  'secondary.virtualInterruptDelivery',
  'secondary.eptViolationVe',
  'secondary.concealVmxFromPt',
  'secondary.useTscScaling',
  'exit.loadPerfGlobalCtrl',
  'exit.clearBndcfgs',
  'exit.concealVmxFromPt',
  'entry.entryToSmm',
  'entry.deactivateDualMonitor',
  'entry.loadPerfGlobalCtrl',
  'entry.loadBndcfgs',
  'entry.concealVmxFromPt',
]);

/** Reserved controls that are 1 on every processor (A.2): the default1 class. Those among them that have got a name are exempted below. */
const DEFAULT1: Readonly<Record<ControlWord, number>> = {
  pin: 0x16,
  primary: 0x0401_e172,
  secondary: 0,
  tertiary: 0,
  exit: 0x0003_6dff,
  entry: 0x0000_11ff,
};

/** Settings of one word of controls, as signed 32-bit masks. */
export interface AllowedSettings {
  /** Bits that must be 1. */
  readonly zero: number;
  /** Bits that may be 1. */
  readonly one: number;
}

/** Numbers of the capability MSRs. */
export const MSR_VMX = {
  IA32_VMX_BASIC: 0x480,
  IA32_VMX_PINBASED_CTLS: 0x481,
  IA32_VMX_PROCBASED_CTLS: 0x482,
  IA32_VMX_EXIT_CTLS: 0x483,
  IA32_VMX_ENTRY_CTLS: 0x484,
  IA32_VMX_MISC: 0x485,
  IA32_VMX_CR0_FIXED0: 0x486,
  IA32_VMX_CR0_FIXED1: 0x487,
  IA32_VMX_CR4_FIXED0: 0x488,
  IA32_VMX_CR4_FIXED1: 0x489,
  IA32_VMX_VMCS_ENUM: 0x48a,
  IA32_VMX_PROCBASED_CTLS2: 0x48b,
  IA32_VMX_EPT_VPID_CAP: 0x48c,
  IA32_VMX_TRUE_PINBASED_CTLS: 0x48d,
  IA32_VMX_TRUE_PROCBASED_CTLS: 0x48e,
  IA32_VMX_TRUE_EXIT_CTLS: 0x48f,
  IA32_VMX_TRUE_ENTRY_CTLS: 0x490,
  IA32_VMX_VMFUNC: 0x491,
} as const;

export interface VmxCapabilities {
  readonly revision: number;
  readonly physicalBits: number;
  /** Whether a control may be 1. */
  has(control: ControlName): boolean;
  readonly allowed: Readonly<Record<ControlWord, AllowedSettings>>;
  /** The fields that exist. */
  readonly fields: ReadonlyMap<number, Field>;
  /** Bits of CR0 and CR4 that must be 1 (fixed0), and that may be 1 (fixed1), in VMX operation; signed 32-bit masks. Higher bits are 0. */
  readonly cr0Fixed0: number;
  readonly cr0Fixed1: number;
  readonly cr4Fixed0: number;
  readonly cr4Fixed1: number;
  readonly stringIoInformation: boolean;
  readonly timerRate: number;
  readonly vmwriteAny: boolean;
  readonly zeroLengthInjection: boolean;
  readonly unrestrictedGuest: boolean;
  /** CR3-target values. */
  readonly cr3Targets: number;
  /** Activity states by number, as bits. */
  readonly activityStates: number;
  /** Bits of EPT_CAP, VPID_CAP, VMFUNC. */
  readonly ept: number;
  readonly vpid: number;
  readonly vmFunctions: number;
  /** IA32_EFER bits that are not reserved. */
  readonly efer: number;
  /** The capability MSRs that exist, by number. */
  readonly msrs: ReadonlyMap<number, bigint>;
}

const WORDS = Object.keys(CONTROLS) as ControlWord[];
const isControl = (name: string): name is ControlName => {
  const [word, bit] = name.split('.');
  return word !== undefined && bit !== undefined && Object.hasOwn(CONTROLS, word) && Object.hasOwn(CONTROLS[word as ControlWord], bit);
};
const bitOf = (control: ControlName): number => {
  const [word, bit] = control.split('.') as [ControlWord, string];
  return (CONTROLS[word] as Readonly<Record<string, number>>)[bit]!;
};
const namedBits = (word: ControlWord): number => Object.values(CONTROLS[word]).reduce((all, bit) => all | bit, 0);
const union = <K extends string>(names: readonly K[], bits: Readonly<Record<K, number>>): number =>
  names.reduce((all, n) => all | bits[n], 0);

const CR3_TARGETS = 4;
/** HLT, shutdown and wait-for-SIPI. */
const ACTIVITY_STATES = 7;
const WRITE_BACK = 6n;

const u32 = (v: number): bigint => BigInt(v >>> 0);
const settings = (zero: number, one: number): bigint => u32(zero) | (u32(one) << 32n);

function derive(p: CpuProfile, g: Generation): VmxCapabilities {
  const offered = (Object.entries(g.controls) as [ControlWord, readonly string[]][])
    .flatMap(([word, names]) => names.map((n) => `${word}.${n}`))
    .filter(isControl)
    .filter((c) => !MISSING.has(c));
  const may = new Set<ControlName>(offered);
  const has = (c: ControlName): boolean => may.has(c);
  const allow = (word: ControlWord): AllowedSettings => ({
    zero: g.trueControls ? DEFAULT1[word] & ~namedBits(word) : DEFAULT1[word],
    one: offered.filter((c) => c.startsWith(`${word}.`)).reduce((all, c) => all | bitOf(c), DEFAULT1[word]),
  });
  const allowed = Object.fromEntries(WORDS.map((w) => [w, allow(w)])) as Record<ControlWord, AllowedSettings>;
  const fields = fieldsWith(has);
  const ept = has('secondary.enableEpt') ? union(g.ept, EPT_CAP) : 0;
  const vpid = has('secondary.enableVpid') ? union(g.vpid, VPID_CAP) : 0;
  const vmFunctions = has('secondary.enableVmFunctions') ? VMFUNC.eptpSwitching : 0;
  const unrestrictedGuest = has('secondary.unrestrictedGuest');
  const cr0Fixed0 = CR0.PE | CR0.NE | CR0.PG;
  const cr0Fixed1 = -1;
  const cr4Fixed0 = CR4.VMXE;
  const cr4Fixed1 = cr4Allowed(p);
  const highestIndex = Math.max(...[...fields.keys()].map((e) => e & 0x3fe));

  const msrs = new Map<number, bigint>();
  const controls = (n: number, trueNumber: number, word: ControlWord): void => {
    msrs.set(n, settings(DEFAULT1[word], allowed[word].one));
    if (g.trueControls) msrs.set(trueNumber, settings(allowed[word].zero, allowed[word].one));
  };
  // Region size: the multiple of 512 bytes that holds what is used. No limit to 32-bit addresses, no dual-monitor treatment of SMIs.
  msrs.set(
    MSR_VMX.IA32_VMX_BASIC,
    u32(g.revision) |
      (BigInt(Math.ceil(VMCS_BYTES / 512) * 512) << 32n) |
      (WRITE_BACK << 50n) |
      (g.stringIoInformation ? 1n << 54n : 0n) |
      (g.trueControls ? 1n << 55n : 0n),
  );
  controls(MSR_VMX.IA32_VMX_PINBASED_CTLS, MSR_VMX.IA32_VMX_TRUE_PINBASED_CTLS, 'pin');
  controls(MSR_VMX.IA32_VMX_PROCBASED_CTLS, MSR_VMX.IA32_VMX_TRUE_PROCBASED_CTLS, 'primary');
  controls(MSR_VMX.IA32_VMX_EXIT_CTLS, MSR_VMX.IA32_VMX_TRUE_EXIT_CTLS, 'exit');
  controls(MSR_VMX.IA32_VMX_ENTRY_CTLS, MSR_VMX.IA32_VMX_TRUE_ENTRY_CTLS, 'entry');
  msrs.set(
    MSR_VMX.IA32_VMX_MISC,
    u32(g.timerRate) |
      // Exits store EFER.LMA into the control "IA-32e mode guest": what unrestricted guests need.
      (unrestrictedGuest ? 1n << 5n : 0n) |
      (BigInt(ACTIVITY_STATES) << 6n) |
      (BigInt(CR3_TARGETS) << 16n) |
      (g.vmwriteAny ? 1n << 29n : 0n) |
      (g.zeroLengthInjection ? 1n << 30n : 0n),
  );
  msrs.set(MSR_VMX.IA32_VMX_CR0_FIXED0, u32(cr0Fixed0));
  msrs.set(MSR_VMX.IA32_VMX_CR0_FIXED1, u32(cr0Fixed1));
  msrs.set(MSR_VMX.IA32_VMX_CR4_FIXED0, u32(cr4Fixed0));
  msrs.set(MSR_VMX.IA32_VMX_CR4_FIXED1, u32(cr4Fixed1));
  msrs.set(MSR_VMX.IA32_VMX_VMCS_ENUM, u32(highestIndex));
  if (has('primary.activateSecondaryControls')) msrs.set(MSR_VMX.IA32_VMX_PROCBASED_CTLS2, settings(0, allowed.secondary.one));
  if (ept || vpid) msrs.set(MSR_VMX.IA32_VMX_EPT_VPID_CAP, settings(ept, vpid));
  if (vmFunctions) msrs.set(MSR_VMX.IA32_VMX_VMFUNC, u32(vmFunctions));

  return {
    revision: g.revision,
    physicalBits: p.physicalBits,
    has,
    allowed,
    fields,
    cr0Fixed0,
    cr0Fixed1,
    cr4Fixed0,
    cr4Fixed1,
    stringIoInformation: g.stringIoInformation,
    timerRate: g.timerRate,
    vmwriteAny: g.vmwriteAny,
    zeroLengthInjection: g.zeroLengthInjection,
    unrestrictedGuest,
    cr3Targets: CR3_TARGETS,
    activityStates: (ACTIVITY_STATES << 1) | 1,
    ept,
    vpid,
    vmFunctions,
    efer: EFER_BITS.reduce((all, [feature, bit]) => (p.features.has(feature) ? all | bit : all), 0),
    msrs,
  };
}

const EFER_BITS: readonly [feature: string, bits: number][] = [
  ['syscall', EFER.SCE],
  ['lm', EFER.LME | EFER.LMA],
  ['nx', EFER.NXE],
];

const known = new WeakMap<CpuProfile, VmxCapabilities>();

/** What a processor can do in VMX operation; undefined for one without VMX. */
export function capabilitiesOf(p: CpuProfile): VmxCapabilities | undefined {
  if (!p.features.has('vmx')) return undefined;
  let c = known.get(p);
  if (c === undefined) {
    c = derive(p, GENERATIONS[p.name] ?? GENERATIONS['skylake-sp']!);
    known.set(p, c);
  }
  return c;
}
