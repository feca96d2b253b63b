// The state block of one emulated CPU: where each register lives in the machine's linear memory, relative to the CPU's base.
//
// One declaration serves the interpreter's wasm (as constant offsets), the TypeScript slow paths and save/restore. The part below
// CONTEXT_SIZE is architectural: a context switch copies it; what lies above belongs to the hardware thread (TLB, jump cache, scratch).

/** Segment register numbers, in the encoding order of Sreg operands (SDM Vol 2A, Table 3-1), then LDTR and TR. */
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

export const STATE = {
  gpr: 0x000, // 16 x u64
  rip: 0x080, // u64
  /** Result of the last flag-setting instruction, sign-extended to 64 bits: ZF, SF and PF derive from it (stage/flags.ts). */
  flagRes: 0x088, // u64
  /** Carry vector and corrections: CF, OF, AF (stage/flags.ts). */
  flagAux: 0x090, // u32
  /** RFLAGS without the six arithmetic flags: TF IF DF IOPL NT RF VM AC VIF VIP ID. Arithmetic bits are always zero here. */
  eflags: 0x094, // u32
  /** Segment registers, 16 bytes each: selector u16 @0, attributes u16 @2, limit u32 @4 (in bytes, expanded), base u64 @8. */
  seg: 0x0a0, // 8 x 16
  gdtrBase: 0x120,
  gdtrLimit: 0x128, // u32
  idtrBase: 0x130,
  idtrLimit: 0x138, // u32
  cr0: 0x140,
  cr2: 0x148,
  cr3: 0x150,
  cr4: 0x158,
  cr8: 0x160,
  xcr0: 0x168,
  dr: 0x170, // 8 x u64 (dr4 and dr5 unused)
  efer: 0x1b0,
  star: 0x1b8,
  lstar: 0x1c0,
  cstar: 0x1c8,
  fmask: 0x1d0,
  kernelGsBase: 0x1d8,
  sysenterCs: 0x1e0,
  sysenterEsp: 0x1e8,
  sysenterEip: 0x1f0,
  tscAux: 0x1f8,
  tscOffset: 0x200, // f64, added to the cycle counter by RDTSC
  pat: 0x208,
  cpl: 0x210, // u32
  pkru: 0x214, // u32
  /** x87 control: FCW u16, FSW u16 (TOP inside), FTW u16 as the full tag word, FOP u16, FIP u64, FDP u64. */
  fcw: 0x220,
  fsw: 0x222,
  ftw: 0x224,
  fop: 0x226,
  fip: 0x228,
  fdp: 0x230,
  mxcsr: 0x238, // u32
  /** x87 registers R0..R7 by physical number, 16 bytes each: 64-bit significand, then 16 bits of sign and exponent. */
  fpr: 0x240, // 8 x 16
  /** PAE paging: the four page-directory pointers, read when CR3 is loaded (SDM Vol 3A, 4.4.1). */
  pdpte: 0x2c0, // 4 x u64
  xmm: 0x300, // 16 x 16
  ymmHigh: 0x400, // 16 x 16, kept for AVX
} as const;
export const CONTEXT_SIZE = 0x500;

/** What belongs to the hardware thread and not to the context that runs on it. */
export const HARDWARE = {
  fuel: 0x600, // i32: instructions left before the deadline
  exitRec: 0x604, // u32: the record at which the last run stopped
  /** The tag that TLB entries of the current address space, privilege and mode carry in their top 12 bits. */
  ctx: 0x608, // u64
  scratch: 0x610, // u64: a linear address passed to a slow path
  scratchEa: 0x618, // u64: a linear address computed by an address record for the instruction record after it
  /** What in an entry of the jump cache says which mode it belongs to: low bits of its `home` word (exec/jump-cache.ts). */
  modeKey: 0x620, // u32
  /** 64-byte window in which accesses that cross a page, or touch a page with code or a device in it, are assembled. */
  bounce: 0x640,
  jumpCache: 0x1000,
  tlb: 0x101000,
} as const;
/**
 * Jump cache: 65536 entries of 16 bytes: RIP xor ctx u64, record u32, home u32. The entries of one linear page lie together, so that
 * INVLPG can clear them. (4096 entries in groups of 64 missed on 0.4 % of the instructions of a busybox shell loop, which cost it half
 * its speed; 16384 missed 3000 times in each fork and exec.)
 */
export const JUMP_CACHE_ENTRIES = 65536;
export const JUMP_CACHE_GROUP = 256;
/** TLB: 2048 entries of 32 bytes: read tag u64, write tag u64, execute tag u64, addend u32 (host address minus low half of the linear one). */
export const TLB_ENTRIES = 2048;
export const CPU_STRIDE = 0x112000;

/** Attribute bits of a segment register: bytes 5 and 6 of the descriptor, limit nibble taken out (SDM Vol 3A, 3.4.5). */
export const SEG = {
  type: 0x000f,
  accessed: 0x0001,
  writable: 0x0002,
  conforming: 0x0004, // code; expand-down for data
  expandDown: 0x0004,
  code: 0x0008,
  s: 0x0010,
  dplShift: 5,
  dpl: 0x0060,
  present: 0x0080,
  avl: 0x1000,
  l: 0x2000,
  db: 0x4000,
  g: 0x8000,
} as const;

export const EFLAGS = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;
export const ARITHMETIC_FLAGS = 0x8d5;
