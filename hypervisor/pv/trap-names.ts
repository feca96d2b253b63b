// Exception vectors by the names under which Xen prints them (xen/arch/x86/traps.c, vector_name and trapstr), and which push an error code.

const SHORT: readonly string[] =
  '#DE #DB NMI #BP #OF #BR #UD #NM #DF CSO #TS #NP #SS #GP #PF SPV #MF #AC #MC #XM #VE #CP - - - - - - - #VC #SX -'.split(' ');

/** What the per-domain statistics call them. */
const LONG: readonly string[] = [
  'divide error',
  'debug',
  'nmi',
  'int3',
  'overflow',
  'bounds',
  'invalid opcode',
  'device not available',
  'double fault',
  'coprocessor segment overrun',
  'invalid tss',
  'segment not present',
  'stack fault',
  'general protection',
  'page fault',
  'spurious interrupt',
  'coprocessor error',
  'alignment check',
  'machine check',
  'simd error',
  'virtualisation exception',
  'control protection',
];

export const vectorName = (vector: number): string => SHORT[vector] ?? '-';
export const trapName = (vector: number): string => LONG[vector] ?? `int ${vector}`;
/** Keys of Domain.statistics, by vector. */
export const TRAP_COUNTERS: readonly string[] = Array.from({ length: 256 }, (_, v) => `trap: ${trapName(v)}`);

/** TRAP_HAVE_EC (xen/arch/x86/include/asm/x86-defns.h): #DF #TS #NP #SS #GP #PF #AC. */
const HAVE_EC = 0x2_7d00;
export const hasErrorCode = (vector: number): boolean => vector < 32 && ((HAVE_EC >>> vector) & 1) !== 0;
