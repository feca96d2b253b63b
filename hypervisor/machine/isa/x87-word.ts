// The x87 control, status and tag words as one: they lie side by side in the CPU's state, so that staged code reads and writes them at
// once. Control word in bits 15:0, status word in 31:16, tag word in 47:32, last opcode in 63:48 (SDM Vol 1, 8.1.3 to 8.1.9).

const STATUS = 16;
export const TAGS = 32;

/** PM of the control word: an inexact result raises nothing. */
export const PM = 0x20;
export const PRECISION_SHIFT = 8;
export const ROUNDING_SHIFT = 10;
/** Rounding toward zero. */
export const RC_ZERO = 0xc00;

const status = (bits: number): bigint => BigInt(bits) << BigInt(STATUS);
export const PE: bigint = status(0x20);
export const C0: bigint = status(0x100);
export const C1: bigint = status(0x200);
export const C2: bigint = status(0x400);
export const C3: bigint = status(0x4000);
/** ES and B: an exception that is not masked is pending. */
export const PENDING: bigint = status(0x8080);
/** All that FNCLEX clears. */
export const EXCEPTIONS: bigint = status(0x80ff);
export const EXCEPTION_FLAGS = 0x3f;
export const STATUS_SHIFT = 16;
export const TOP_SHIFT: number = STATUS + 11;
export const TOP_MASK: bigint = 7n << BigInt(TOP_SHIFT);
/** As FNINIT leaves it: all exceptions masked, rounding to nearest of 64 bits, all registers empty. */
export const INITIAL = 0xffff_0000_037fn;
