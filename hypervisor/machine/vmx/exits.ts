// Why a VM exit happens and what it tells: the basic exit reasons (SDM Vol 3D, appendix C), with the layout of the exit qualification (Vol
// 3C, 27.2.1) and which of the other information fields mean something. Names are Xen's (EXIT_REASON_...). Facts only: vmx/non-root.ts makes
// the exits, a hypervisor's handlers are a mapped type over this table.
//
// Reasons for features that no profile here has are left out: SMM (5, 6), GETSEC, ENCLS, SPP, UMWAIT, TPAUSE, LOADIWKEY and later ones.

/** A field of bits: one bit, or the first and the last. */
export type Bits = Readonly<Record<string, number | readonly [first: number, last: number]>>;
/** Flags are booleans, wider fields unsigned numbers. */
export type DecodedBits<Q extends Bits> = { readonly [K in keyof Q]: Q[K] extends number ? boolean : number };

/**
 * Information fields beside the qualification: guest-physical and guest-linear address, VM-exit interruption information, VM-exit
 * instruction information.
 */
export type InformationField = 'gpa' | 'gla' | 'interruption' | 'instruction';

export interface ExitFacts<N extends number, Q extends Bits, L extends boolean, F extends InformationField> {
  /** Basic exit reason: bits 15:0 of the exit-reason field. */
  readonly reason: N;
  readonly sdm: string;
  readonly qualification: Q;
  /** What the qualification is where it is one number and no bits. */
  readonly whole: 'displacement' | 'linearAddress' | undefined;
  /** VM-exit instruction length may mean something: for events and task switches only some come with an instruction (27.2.5). */
  readonly instructionLength: L;
  readonly fields: readonly F[];
}

type NoBits = Record<never, never>;
const exit = <
  const N extends number,
  const Q extends Bits = NoBits,
  const L extends boolean = false,
  const F extends InformationField = never,
>(
  reason: N,
  d: { sdm: string; qualification?: Q; whole?: 'displacement' | 'linearAddress'; instructionLength?: L; fields?: readonly F[] } = {
    sdm: 'Vol 3D, appendix C',
  },
): ExitFacts<N, Q, L, F> => ({
  reason,
  sdm: d.sdm,
  qualification: (d.qualification ?? {}) as Q,
  whole: d.whole,
  instructionLength: (d.instructionLength ?? false) as L,
  fields: d.fields ?? [],
});
const instruction = <const N extends number>(reason: N) => exit(reason, { sdm: 'Vol 3C, 25.1.2 and 25.1.3', instructionLength: true });
/** Instructions with a memory operand, whose displacement is the qualification. */
const withOperand = <const N extends number>(reason: N) =>
  exit(reason, { sdm: 'Vol 3C, Table 27-9 and on', instructionLength: true, fields: ['instruction'], whole: 'displacement' });
/** An NMI that IRET had just unblocked (bit 12) is blocked again by software before it resumes the guest. */
const NMI_UNBLOCKING = { nmiUnblockedByIret: 12 } as const;

export const VMX_EXIT = {
  EXCEPTION_NMI: exit(0, {
    sdm: 'Vol 3C, Table 27-1 (#DB); the linear address for #PF',
    qualification: { breakpoints: [0, 3], registerAccess: 13, singleStep: 14, rtm: 16 },
    instructionLength: true,
    fields: ['interruption'],
  }),
  EXTERNAL_INTERRUPT: exit(1, { sdm: 'Vol 3C, 27.2.2', fields: ['interruption'] }),
  TRIPLE_FAULT: exit(2),
  INIT: exit(3),
  SIPI: exit(4, { sdm: 'Vol 3C, 27.2.1', qualification: { vector: [0, 7] } }),
  PENDING_VIRT_INTR: exit(7),
  PENDING_VIRT_NMI: exit(8),
  TASK_SWITCH: exit(9, {
    sdm: 'Vol 3C, Table 27-2',
    instructionLength: true,
    qualification: { selector: [0, 15], source: [30, 31] },
  }),
  CPUID: instruction(10),
  HLT: instruction(12),
  INVD: instruction(13),
  INVLPG: exit(14, { sdm: 'Vol 3C, 27.2.1', instructionLength: true, whole: 'linearAddress' }),
  RDPMC: instruction(15),
  RDTSC: instruction(16),
  VMCALL: instruction(18),
  VMCLEAR: withOperand(19),
  VMLAUNCH: instruction(20),
  VMPTRLD: withOperand(21),
  VMPTRST: withOperand(22),
  VMREAD: withOperand(23),
  VMRESUME: instruction(24),
  VMWRITE: withOperand(25),
  VMXOFF: instruction(26),
  VMXON: withOperand(27),
  CR_ACCESS: exit(28, {
    sdm: 'Vol 3C, Table 27-3',
    instructionLength: true,
    fields: ['gla'],
    qualification: { cr: [0, 3], type: [4, 5], lmswMemory: 6, gpr: [8, 11], lmswSource: [16, 31] },
  }),
  DR_ACCESS: exit(29, {
    sdm: 'Vol 3C, Table 27-4',
    instructionLength: true,
    qualification: { dr: [0, 2], isRead: 4, gpr: [8, 11] },
  }),
  IO_INSTRUCTION: exit(30, {
    sdm: 'Vol 3C, Table 27-5',
    instructionLength: true,
    fields: ['gla', 'instruction'],
    qualification: { sizeLessOne: [0, 2], isIn: 3, isString: 4, isRep: 5, isImmediate: 6, port: [16, 31] },
  }),
  MSR_READ: instruction(31),
  MSR_WRITE: instruction(32),
  /** Of a VM entry: nothing of the guest's has been loaded. */
  INVALID_GUEST_STATE: exit(33, { sdm: 'Vol 3C, 26.8', qualification: { failure: [0, 2] } }),
  /** Of a VM entry: the number of the entry in the MSR-load area, from 1. */
  MSR_LOADING: exit(34, { sdm: 'Vol 3C, 26.8', qualification: { entry: [0, 31] } }),
  MWAIT_INSTRUCTION: exit(36, { sdm: 'Vol 3C, 27.2.1', instructionLength: true, qualification: { isArmed: 0 } }),
  MONITOR_TRAP_FLAG: exit(37),
  MONITOR_INSTRUCTION: instruction(39),
  PAUSE_INSTRUCTION: instruction(40),
  MCE_DURING_VMENTRY: exit(41),
  TPR_BELOW_THRESHOLD: exit(43),
  APIC_ACCESS: exit(44, { sdm: 'Vol 3C, Table 27-6', qualification: { offset: [0, 11], type: [12, 15] } }),
  EOI_INDUCED: exit(45, { sdm: 'Vol 3C, 27.2.1', qualification: { vector: [0, 7] } }),
  ACCESS_GDTR_OR_IDTR: withOperand(46),
  ACCESS_LDTR_OR_TR: withOperand(47),
  EPT_VIOLATION: exit(48, {
    sdm: 'Vol 3C, Table 27-7',
    fields: ['gpa', 'gla'],
    qualification: {
      read: 0,
      write: 1,
      fetch: 2,
      readable: 3,
      writable: 4,
      executable: 5,
      glaValid: 7,
      /** Meaningful with glaValid: the access is to what gla translates to, not to a paging structure on the way. */
      isFinal: 8,
      ...NMI_UNBLOCKING,
    },
  }),
  EPT_MISCONFIG: exit(49, { sdm: 'Vol 3C, 28.3.3.1', fields: ['gpa'] }),
  INVEPT: withOperand(50),
  RDTSCP: instruction(51),
  VMX_PREEMPTION_TIMER_EXPIRED: exit(52),
  INVVPID: withOperand(53),
  WBINVD: instruction(54),
  XSETBV: instruction(55),
  APIC_WRITE: exit(56, { sdm: 'Vol 3C, 27.2.1', qualification: { offset: [0, 11] } }),
  RDRAND: exit(57, { sdm: 'Vol 3C, Table 27-14', instructionLength: true, fields: ['instruction'] }),
  INVPCID: withOperand(58),
  VMFUNC: instruction(59),
  RDSEED: exit(61, { sdm: 'Vol 3C, Table 27-14', instructionLength: true, fields: ['instruction'] }),
  PML_FULL: exit(62, { sdm: 'Vol 3C, 27.2.1', qualification: NMI_UNBLOCKING }),
  XSAVES: withOperand(63),
  XRSTORS: withOperand(64),
} as const;

export type VmxExitName = keyof typeof VMX_EXIT;
export type VmxExit<K extends VmxExitName> = (typeof VMX_EXIT)[K];
/** Bit 31 of the exit reason: VM entry failed. */
export const ENTRY_FAILURE = 0x8000_0000;

/** Names by basic reason; undefined where there is none. */
export const EXIT_NAMES: readonly (VmxExitName | undefined)[] = (() => {
  const names: (VmxExitName | undefined)[] = new Array(65).fill(undefined);
  for (const [name, e] of Object.entries(VMX_EXIT)) names[e.reason] = name as VmxExitName;
  return names;
})();

/** Fields of `layout` in the low 32 bits of a value. For reports and specs; a hot handler shifts by itself. */
export function decodeBits<Q extends Bits>(layout: Q, value: number): DecodedBits<Q> {
  const out: Record<string, boolean | number> = {};
  for (const [name, at] of Object.entries(layout))
    if (typeof at === 'number') out[name] = ((value >>> at) & 1) !== 0;
    else out[name] = Math.floor((value >>> 0) / 2 ** at[0]) % 2 ** (at[1] - at[0] + 1);
  return out as DecodedBits<Q>;
}

/** CR_ACCESS qualification, type. */
export const CR_ACCESS_TYPE = { toCr: 0, fromCr: 1, clts: 2, lmsw: 3 } as const;
/** TASK_SWITCH qualification, source. */
export const TASK_SWITCH_SOURCE = { call: 0, iret: 1, jmp: 2, int: 3 } as const;
/**
 * VM-exit and VM-entry interruption information and IDT-vectoring information (SDM Vol 3C, Tables 24-16 and 24-17): the type is
 * EVENT_TYPE of virt/non-root.ts.
 */
export const INTERRUPTION = { vector: [0, 7], type: [8, 10], hasErrorCode: 11, nmiUnblockedByIret: 12, valid: 31 } as const;
export const INTERRUPTION_TYPE_SHIFT = 8;
export const INTERRUPTION_HAS_ERROR = 1 << 11;
export const INTERRUPTION_VALID = 0x8000_0000;

/** VM-exit instruction information, all its forms in one (SDM Vol 3C, Tables 27-9 to 27-15). */
export const INSTRUCTION_INFORMATION = {
  scaling: [0, 1],
  reg1: [3, 6],
  /** 0, 1, 2 for 16, 32, 64 bits. */
  addressSize: [7, 9],
  isRegister: 10,
  /** Of LGDT and its kin: 32 bits. */
  is32: 11,
  /** Of RDRAND and RDSEED: 0, 1, 2 for 16, 32, 64 bits. */
  operandSize: [11, 12],
  segment: [15, 17],
  index: [18, 21],
  noIndex: 22,
  base: [23, 26],
  noBase: 27,
  /** Which of LGDT's or LLDT's kin. */
  identity: [28, 29],
  reg2: [28, 31],
} as const;
