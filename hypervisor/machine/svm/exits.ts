// The exit codes of SVM (APM Vol 2, appendix C), and what EXITINFO1 and EXITINFO2 mean with each. Facts only: what a hypervisor does
// about an exit stands with the hypervisor.
//
// A code below 0xC0 is also the number of its bit in the intercept vectors at the beginning of the VMCB, counted through all of them: CR
// reads and writes in the first word, DRs in the second, exceptions in the third, and so on. So a code is all that names an intercept.

/** What EXITINFO1 or EXITINFO2 hold. Those marked D need decode assists; without them the field is zero. */
export type InfoKind =
  | 'zero'
  /** D. Bit 63: the instruction was MOV CR (not CLTS, LMSW, SMSW); bits 3:0: its general register (APM Vol 2, 15.8.1). */
  | 'movCr'
  /** D. Bits 3:0: the general register of a MOV DR (15.8.1). */
  | 'movDr'
  | 'errorCode'
  /** Of a page fault: the linear address (15.12.15). */
  | 'faultAddress'
  /** D. Vector of INT n (15.8.2). */
  | 'vector'
  /** D. Linear address of INVLPG or INVLPGA (15.8.3). */
  | 'linear'
  /** IOIO (15.10.2): what the access is. */
  | 'io'
  /** RIP of the instruction after the IN or OUT. */
  | 'nextRip'
  /** 0: RDMSR, 1: WRMSR (15.11). */
  | 'isWrite'
  /** Selector of the incoming TSS (15.14.1). */
  | 'selector'
  /** 31:0 error code; 36 IRET, 38 JMP, 44 there is an error code, 48 RFLAGS.RF. */
  | 'taskSwitch'
  /** Whether the address monitor was armed. */
  | 'armed'
  /** Error code of the nested page fault, with bit 32 or 33 (15.25.6). */
  | 'nestedError'
  | 'guestPhysical';

export interface ExitFact {
  readonly code: number;
  /** Section of APM Vol 2. */
  readonly section: string;
  readonly info1: InfoKind;
  readonly info2: InfoKind;
  /** NRIP is saved where the processor can: exits of instructions (15.7.1). */
  readonly nrip: boolean;
}

const exit = (code: number, section: string, info1: InfoKind = 'zero', info2: InfoKind = 'zero', nrip = true): ExitFact => ({
  code,
  section,
  info1,
  info2,
  nrip,
});
const event = (code: number, section: string, info1: InfoKind = 'zero', info2: InfoKind = 'zero'): ExitFact =>
  exit(code, section, info1, info2, false);

/** Families of codes: control register, debug register and vector numbers are added. */
export const FAMILY = { CR_READ: 0x00, CR_WRITE: 0x10, DR_READ: 0x20, DR_WRITE: 0x30, EXCEPTION: 0x40 } as const;

/** By the names of appendix C, without their VMEXIT_. */
export const EXIT = {
  INTR: event(0x60, '15.13.1'),
  NMI: event(0x61, '15.13.2'),
  SMI: event(0x62, '15.13.3'),
  INIT: event(0x63, '15.13.4'),
  VINTR: event(0x64, '15.13.5'),
  CR0_SEL_WRITE: exit(0x65, '15.9', 'movCr'),
  IDTR_READ: exit(0x66, '15.9'),
  GDTR_READ: exit(0x67, '15.9'),
  LDTR_READ: exit(0x68, '15.9'),
  TR_READ: exit(0x69, '15.9'),
  IDTR_WRITE: exit(0x6a, '15.9'),
  GDTR_WRITE: exit(0x6b, '15.9'),
  LDTR_WRITE: exit(0x6c, '15.9'),
  TR_WRITE: exit(0x6d, '15.9'),
  RDTSC: exit(0x6e, '15.9'),
  RDPMC: exit(0x6f, '15.9'),
  PUSHF: exit(0x70, '15.9'),
  POPF: exit(0x71, '15.9'),
  CPUID: exit(0x72, '15.9'),
  RSM: exit(0x73, '15.9'),
  IRET: exit(0x74, '15.9'),
  SWINT: exit(0x75, '15.9', 'vector'),
  INVD: exit(0x76, '15.9'),
  PAUSE: exit(0x77, '15.14.4'),
  HLT: exit(0x78, '15.9'),
  INVLPG: exit(0x79, '15.9', 'linear'),
  INVLPGA: exit(0x7a, '15.9', 'linear'),
  IOIO: exit(0x7b, '15.10', 'io', 'nextRip'),
  MSR: exit(0x7c, '15.11', 'isWrite'),
  TASK_SWITCH: event(0x7d, '15.14.1', 'selector', 'taskSwitch'),
  FERR_FREEZE: event(0x7e, '15.14.2'),
  SHUTDOWN: event(0x7f, '15.14.3'),
  VMRUN: exit(0x80, '15.9'),
  VMMCALL: exit(0x81, '15.9'),
  VMLOAD: exit(0x82, '15.9'),
  VMSAVE: exit(0x83, '15.9'),
  STGI: exit(0x84, '15.9'),
  CLGI: exit(0x85, '15.9'),
  SKINIT: exit(0x86, '15.9'),
  RDTSCP: exit(0x87, '15.9'),
  ICEBP: exit(0x88, '15.9'),
  WBINVD: exit(0x89, '15.9'),
  MONITOR: exit(0x8a, '15.9'),
  MWAIT: exit(0x8b, '15.9', 'armed'),
  MWAIT_CONDITIONAL: exit(0x8c, '15.9'),
  XSETBV: exit(0x8d, '15.9'),
  NPF: event(0x400, '15.25.6', 'nestedError', 'guestPhysical'),
} as const satisfies Record<string, ExitFact>;
export type ExitName = keyof typeof EXIT;

/** VMRUN found an illegal state: all 64 bits of EXITCODE are set (15.5.1). */
export const VMEXIT_INVALID = -1;

const cr = (base: number): ExitFact => exit(base, '15.8.1', 'movCr');
const dr = (base: number): ExitFact => exit(base, '15.8.1', 'movDr');
const FAMILIES: Readonly<Record<keyof typeof FAMILY, ExitFact>> = {
  CR_READ: cr(FAMILY.CR_READ),
  CR_WRITE: cr(FAMILY.CR_WRITE),
  DR_READ: dr(FAMILY.DR_READ),
  DR_WRITE: dr(FAMILY.DR_WRITE),
  EXCEPTION: event(FAMILY.EXCEPTION, '15.12', 'errorCode'),
};
const BY_CODE = new Map<number, { readonly name: string; readonly fact: ExitFact }>(
  Object.entries(EXIT).map(([name, fact]) => [fact.code, { name, fact }]),
);
const VECTORS = 'DE DB NMI BP OF BR UD NM DF 9 TS NP SS GP PF 15 MF AC MC XF'.split(' ');

/** Name and facts of an exit code; undefined for a code that the processor does not give. */
export function exitOf(code: number): { readonly name: string; readonly fact: ExitFact } | undefined {
  const known = BY_CODE.get(code);
  if (known !== undefined || code < 0 || code >= 0x60) return known;
  const n = code & 15;
  const family = code >= FAMILY.EXCEPTION ? 'EXCEPTION' : (['CR_READ', 'CR_WRITE', 'DR_READ', 'DR_WRITE'] as const)[code >>> 4]!;
  const fact = FAMILIES[family];
  if (family !== 'EXCEPTION') return { name: `${family.slice(0, 2)}${n}${family.slice(2)}`, fact: { ...fact, code } };
  const vector = code - FAMILY.EXCEPTION;
  const info2 = vector === 14 ? 'faultAddress' : 'zero';
  // INT3, INTO and BOUND are instructions.
  return { name: `EXCP_${VECTORS[vector] ?? vector}`, fact: { ...fact, code, info2, nrip: vector >= 3 && vector <= 5 } };
}

/** Bits of EXITINFO1 of an IOIO exit (Figure 15-2); the port is in bits 31:16. */
export const IOIO = {
  in: 1 << 0,
  string: 1 << 2,
  rep: 1 << 3,
  size8: 1 << 4,
  size16: 1 << 5,
  size32: 1 << 6,
  address16: 1 << 7,
  address32: 1 << 8,
  address64: 1 << 9,
  /** D. Effective segment of OUTS and INS. */
  segmentShift: 10,
  portShift: 16,
} as const;

/** Bits of EXITINFO1's high half: of a nested page fault (15.25.6), and of MOV CR. */
export const INFO1_HIGH = { nestedFinal: 1 << 0, nestedTable: 1 << 1, movCr: 1 << 31 } as const;

/** Bits of EXITINFO2's high half of a task switch (15.14.1). */
export const TASK_SWITCH_HIGH = { iret: 1 << 4, jmp: 1 << 6, hasError: 1 << 12, rf: 1 << 16 } as const;
