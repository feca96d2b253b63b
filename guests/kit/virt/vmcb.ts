// The VMCB as a guest hypervisor lays it out (APM Vol 2, appendix B): offsets and sizes of what the tests use, the intercepts by the bits that
// ask for them, and the exit codes (appendix C). Written from the manual, apart from the emulated hardware's own tables, so that one can
// find the other's mistakes.

/** Offset and bytes. */
export type VmcbField = readonly [offset: number, bytes: 1 | 2 | 4 | 8];

const segment = (offset: number) => ({
  selector: [offset, 2] as VmcbField,
  attributes: [offset + 2, 2] as VmcbField,
  limit: [offset + 4, 4] as VmcbField,
  base: [offset + 8, 8] as VmcbField,
});

export const VMCB = {
  interceptCr: [0x000, 4],
  interceptDr: [0x004, 4],
  interceptExceptions: [0x008, 4],
  intercepts3: [0x00c, 4],
  intercepts4: [0x010, 4],
  intercepts5: [0x014, 4],
  pauseFilterThreshold: [0x03c, 2],
  pauseFilterCount: [0x03e, 2],
  iopmBase: [0x040, 8],
  msrpmBase: [0x048, 8],
  tscOffset: [0x050, 8],
  asid: [0x058, 4],
  tlbControl: [0x05c, 1],
  virtualInterrupt: [0x060, 8],
  interruptShadow: [0x068, 8],
  exitCode: [0x070, 8],
  exitInfo1: [0x078, 8],
  exitInfo2: [0x080, 8],
  exitIntInfo: [0x088, 8],
  nestedPaging: [0x090, 8],
  eventInjection: [0x0a8, 8],
  nestedCr3: [0x0b0, 8],
  lbrVirtualization: [0x0b8, 8],
  cleanBits: [0x0c0, 4],
  nextRip: [0x0c8, 8],
  bytesFetched: [0x0d0, 1],
  instructionBytes: [0x0d1, 8],
  cpl: [0x4cb, 1],
  efer: [0x4d0, 8],
  cr4: [0x548, 8],
  cr3: [0x550, 8],
  cr0: [0x558, 8],
  dr7: [0x560, 8],
  dr6: [0x568, 8],
  rflags: [0x570, 8],
  rip: [0x578, 8],
  rsp: [0x5d8, 8],
  rax: [0x5f8, 8],
  star: [0x600, 8],
  lstar: [0x608, 8],
  kernelGsBase: [0x620, 8],
  sysenterCs: [0x628, 8],
  cr2: [0x640, 8],
  guestPat: [0x668, 8],
} as const satisfies Record<string, VmcbField>;
export type VmcbName = keyof typeof VMCB;

export const VMCB_SEGMENT = {
  es: segment(0x400),
  cs: segment(0x410),
  ss: segment(0x420),
  ds: segment(0x430),
  fs: segment(0x440),
  gs: segment(0x450),
  gdtr: segment(0x460),
  ldtr: segment(0x470),
  idtr: segment(0x480),
  tr: segment(0x490),
} as const;

/** Exit codes from 0x60 on: each is 0x60 plus the number of its bit in the intercept words at 00C, 010 (and 014). */
export const SVM_EXIT = {
  CR0_READ: 0x00,
  CR0_WRITE: 0x10,
  DR0_READ: 0x20,
  DR0_WRITE: 0x30,
  EXCEPTION: 0x40,
  INTR: 0x60,
  NMI: 0x61,
  SMI: 0x62,
  INIT: 0x63,
  VINTR: 0x64,
  CR0_SEL_WRITE: 0x65,
  IDTR_READ: 0x66,
  GDTR_READ: 0x67,
  LDTR_READ: 0x68,
  TR_READ: 0x69,
  IDTR_WRITE: 0x6a,
  GDTR_WRITE: 0x6b,
  LDTR_WRITE: 0x6c,
  TR_WRITE: 0x6d,
  RDTSC: 0x6e,
  RDPMC: 0x6f,
  PUSHF: 0x70,
  POPF: 0x71,
  CPUID: 0x72,
  RSM: 0x73,
  IRET: 0x74,
  SWINT: 0x75,
  INVD: 0x76,
  PAUSE: 0x77,
  HLT: 0x78,
  INVLPG: 0x79,
  INVLPGA: 0x7a,
  IOIO: 0x7b,
  MSR: 0x7c,
  TASK_SWITCH: 0x7d,
  FERR_FREEZE: 0x7e,
  SHUTDOWN: 0x7f,
  VMRUN: 0x80,
  VMMCALL: 0x81,
  VMLOAD: 0x82,
  VMSAVE: 0x83,
  STGI: 0x84,
  CLGI: 0x85,
  SKINIT: 0x86,
  RDTSCP: 0x87,
  ICEBP: 0x88,
  WBINVD: 0x89,
  MONITOR: 0x8a,
  MWAIT: 0x8b,
  MWAIT_ARMED: 0x8c,
  XSETBV: 0x8d,
  RDPRU: 0x8e,
  EFER_WRITE_TRAP: 0x8f,
  CR0_WRITE_TRAP: 0x90,
  NPF: 0x400,
  INVALID: (1n << 64n) - 1n,
} as const;

/** CPUID 8000_000A EDX. */
export const SVM_FEATURE = {
  NP: 1,
  LBR: 2,
  SVML: 4,
  NRIP: 8,
  TSC_RATE: 0x10,
  CLEAN: 0x20,
  FLUSH_ASID: 0x40,
  DECODE: 0x80,
  PAUSE_FILTER: 0x400,
} as const;

/** EVENTINJ and EXITINTINFO (APM Vol 2, 15.20). */
export const SVM_EVENT = { intr: 0, nmi: 2, exception: 3, swint: 4 } as const;
export const svmEvent = (type: keyof typeof SVM_EVENT | number, vector: number, errorCode?: number): bigint =>
  BigInt(vector) |
  (BigInt(typeof type === 'number' ? type : SVM_EVENT[type]) << 8n) |
  (errorCode === undefined ? 0n : (BigInt(errorCode) << 32n) | 0x800n) |
  0x8000_0000n;
