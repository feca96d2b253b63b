// The threaded code: one 32-byte record per decoded instruction, run by the handler whose table index stands first. A handler ends in a
// tail call to the handler of the record that follows, or of the one that a branch names.

export const RECORD_SIZE = 32;

/** Byte offsets inside a record. */
export const REC = {
  /** u32: index of the handler in the table. */
  handler: 0,
  /** u16: offset of the instruction in its page. */
  pageOffset: 4,
  /** u8: length of the instruction in bytes. */
  length: 6,
  /** u8: instructions from this one to the end of the block, itself included: what entering the block here costs. */
  left: 7,
  /** Four u16: state offsets of registers (operands, base, index) in the order in which the handler's shape names them. */
  fields: 8,
  /** i64: displacement (absolute for RIP-relative); for branches the target RIP. */
  disp: 16,
  /** i64: immediate; for records that count u32, the entries left; for branches inside the page u32, the target record (0: not linked yet); across pages u32, the jump-cache slot. */
  imm: 24,
} as const;

/** Why threaded code came back, in handler-table order: the handlers with these indices store the live registers and return the index. */
export const STOP = {
  /** The record's code was thrown away: continue from its RIP with fresh code. Refund `left`. */
  stale: 0,
  /** A fault is recorded in the CPU; the instruction did nothing. Refund `left`. */
  fault: 1,
  /** The instruction is TypeScript's to execute. Refund `left`. */
  system: 2,
  /** Not enough fuel for the block at this record; nothing was charged for it. */
  deadline: 3,
  /** The branch at this record is taken and not linked yet. Refund `left` - 1. */
  link: 4,
  /** A computed branch is taken to state.rip, which the jump cache does not hold. Refund `left` - 1. */
  lookup: 5,
  /** A repeated instruction stopped to be continued at its own RIP. Refund `left` - 1. */
  again: 6,
  /** The instruction raises the exception in HARDWARE.scratch: vector, (error code + 1) << 8. Refund `left`. */
  raise: 7,
  /** The block at this record has been entered often enough to be compiled. Refund `left`. */
  hot: 8,
} as const;
export const STOP_COUNT = 9;
/**
 * Places in the handler table after those, for the functions that handlers call (Builder.call); the handler of the
 * records that count entries to a block; and the first of the handlers proper.
 */
export const SUBROUTINE_SLOTS = 16;
export const COUNT_HANDLER = STOP_COUNT + SUBROUTINE_SLOTS;
export const FIRST_HANDLER = COUNT_HANDLER + 1;

/** Parameters of every handler. */
export const PARAM = { cpu: 0, rec: 1, fuel: 2, res: 3, aux: 4 } as const;
