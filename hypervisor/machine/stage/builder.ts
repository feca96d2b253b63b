// The operators in which instruction semantics are written, once. A semantics function is generic in V: with the wasm back end V is a
// local and the calls emit code (interpreter handler now, JIT body later); with the oracle V is a bigint and the calls compute.
//
// Rules for semantics: read everything, compute, write operands, flags last. Everything that can fault comes before the first visible
// write, so that a fault leaves the instruction undone. Values of less than 64 bits are kept zero-extended.

/** Operand and access sizes in bytes. */
export type Size = 1 | 2 | 4 | 8;
export type Access = 'r' | 'w' | 'rw';

/** An operand of the instruction at hand; what it is (register, memory, immediate) is the engine's affair. */
export interface Operand<A extends Access = Access> {
  readonly access: A;
  /** In bytes; 16 for an XMM register or its memory. */
  readonly size: number;
  /** True when this is a register: known when staging. */
  readonly isReg: boolean;
}
export type Readable = Operand<'r'> | Operand<'rw'>;
export type Writable = Operand<'w'> | Operand<'rw'>;

/** A value that may change inside `if` and `while`. */
export interface Var<V> {
  get(): V;
  set(v: V): void;
}

/** Operations whose flags a back end may put off computing; `logic` has only r, `inc` and `dec` have CF (0 or 1) for y. */
export type LazyOp = 'add' | 'sub' | 'logic' | 'inc' | 'dec';
/** What a back end has that computes flags only where they are read (stage/flags.ts uses it). */
export interface LazyFlags<V> {
  /** All of size s and zero-extended. */
  set(op: LazyOp, x: V, y: V, r: V, s: Size): void;
  /** CF as 0 or 1, or a condition code, where there is a short way to it from what set the flags. */
  carry(): V | undefined;
  condition(cc: number): V | undefined;
}

/**
 * A pure function of up to five values to two, too long to be in every handler that needs it: the wasm back end compiles it once and
 * calls it. `slot`: its place in the handlers' table, unique, below SUBROUTINE_SLOTS (exec/records.ts).
 */
export interface Subroutine {
  readonly slot: number;
  readonly sem: <V, X>(b: Builder<V, X>, args: readonly [V, V, V, V, V]) => readonly [V, V];
}

/** One of the places that a string instruction goes through. */
export interface DirectAccess<V> {
  readonly seg: number;
  readonly offset: V;
  readonly write: boolean;
}
/** `count` elements can be read or written straight at these host addresses, in the order in which the places were named. */
export interface Direct<V> {
  readonly count: V;
  readonly first: V;
  readonly second: V;
}

/** Lane-wise operations on 128-bit values, named as WebAssembly names them (e.g. 'i32x4.add'). */
export type SimdUnary = string;
export type SimdBinary = string;

export interface Builder<V, X = unknown> {
  // --- 64-bit integers. Shift counts are taken modulo 64. Comparisons give 0 or 1.
  k(n: number | bigint): V;
  add(a: V, b: V): V;
  sub(a: V, b: V): V;
  mul(a: V, b: V): V;
  /** Unsigned and signed 64-bit division; the divisor is known not to be zero, the signed quotient known to fit. */
  divU(a: V, b: V): V;
  remU(a: V, b: V): V;
  divS(a: V, b: V): V;
  remS(a: V, b: V): V;
  /** High 64 bits of the 128-bit product. */
  mulHighU(a: V, b: V): V;
  mulHighS(a: V, b: V): V;
  and(a: V, b: V): V;
  or(a: V, b: V): V;
  xor(a: V, b: V): V;
  not(a: V): V;
  shl(a: V, n: V): V;
  shr(a: V, n: V): V;
  sar(a: V, n: V): V;
  rotl(a: V, n: V): V;
  rotr(a: V, n: V): V;
  clz(a: V): V;
  ctz(a: V): V;
  popcnt(a: V): V;
  eq(a: V, b: V): V;
  ne(a: V, b: V): V;
  eqz(a: V): V;
  ltU(a: V, b: V): V;
  leU(a: V, b: V): V;
  ltS(a: V, b: V): V;
  leS(a: V, b: V): V;
  /** c is 0 or not; both sides are evaluated. */
  select(c: V, a: V, b: V): V;
  /** The low `size` bytes, zero- or sign-extended to 64 bits. */
  zext(a: V, size: Size): V;
  sext(a: V, size: Size): V;

  // --- control inside one instruction
  var(init: V): Var<V>;
  if(c: V, then: () => void, otherwise?: () => void): void;
  /** While cond() is not zero. */
  while(cond: () => V, body: () => void): void;
  call(f: Subroutine, a: V, b?: V, c?: V, d?: V, e?: V): readonly [V, V];

  // --- operands
  /** The value, zero-extended. Reading an 'rw' memory operand checks for writing first, as hardware does. */
  read(o: Readable): V;
  write(o: Writable, v: V): void;
  /** Effective address (offset in its segment) of a memory operand: LEA, and BT with a register offset. */
  address(o: Operand): V;
  /** Segment register number that a memory operand goes through. */
  segment(o: Operand): number;

  // --- registers and memory by name
  /** Register n (RAX = 0 ...) at a size; size 4 writes clear the high half. `high` is AH..BH. */
  reg(n: number, size: Size): V;
  setReg(n: number, size: Size, v: V): void;
  load(seg: number, offset: V, size: Size): V;
  /** As load, but checks for writing first, as reading an 'rw' operand does: BTS and its like on a computed address. */
  loadRw(seg: number, offset: V, size: Size): V;
  store(seg: number, offset: V, size: Size, v: V): void;
  /**
   * How many elements of `size` bytes, from each of these places upwards, can be reached without a check of any kind: `max` at most, none
   * where the first would need one (a page that the TLB does not hold, decoded code, a device). The oracle always answers none.
   */
  direct(size: Size, max: V, first: DirectAccess<V>, second?: DirectAccess<V>): Direct<V>;
  /** Memory at host addresses from direct(). A copy is one of whole pieces: what overlaps is read before it is written. */
  hostLoad(at: V, size: Size): V;
  hostStore(at: V, size: Size, v: V): void;
  hostCopy(to: V, from: V, bytes: V): void;
  hostFill(to: V, byte: V, bytes: V): void;
  /** A field of the CPU's state block by offset (machine/state.ts). */
  state(offset: number, size: Size): V;
  setState(offset: number, size: Size, v: V): void;
  /** The same, `at` bytes further on: x87 registers, whose numbers depend on TOP. */
  stateAt(at: V, offset: number, size: Size): V;
  setStateAt(at: V, offset: number, size: Size, v: V): void;
  /** 16 times the i of an ST(i) operand: the distance of its register from that of ST(0), before it wraps. */
  stackDistance(o: Operand): V;
  /** Static facts about the code being staged. */
  readonly mode: {
    readonly bits: 16 | 32 | 64;
    readonly stackSize: 2 | 4 | 8;
    readonly addrSize: 2 | 4 | 8;
    readonly rep: 0 | 0xf2 | 0xf3;
  };

  // --- arithmetic flags, in the form that stage/flags.ts explains; semantics use the functions there
  flagRes(): V;
  flagAux(): V;
  setFlags(res: V, aux: V): void;
  readonly lazyFlags?: LazyFlags<V>;

  // --- control flow; each ends the instruction
  nextRip(): V;
  /** Offset of this instruction in CS. */
  thisRip(): V;
  /** Jump to a relative-branch operand, at once or if c is not zero (else to the next instruction). */
  goto(o: Operand): void;
  gotoIf(c: V, o: Operand): void;
  /** Jump to a computed offset in CS. Not canonical or past the limit: #GP(0). */
  jump(rip: V): void;
  /** Raises #GP(0) if jump(rip) would, before anything is written: CALL and RET change RSP only if the jump succeeds. */
  checkJump(rip: V): void;
  /** Run this same instruction again (a REP that was cut to stay interruptible). */
  again(): void;
  /** Raise an exception; nothing may have been written. */
  raise(vector: number, errorCode?: number): void;
  /** Give this instruction up to its TypeScript form (machine/system/), which does it whole; nothing may have been written. */
  slow(): void;

  // --- 128-bit values
  x: SimdBuilder<V, X>;
}

export interface SimdBuilder<V, X> {
  /** Whole XMM register or 16 bytes of memory; `aligned` operands raise #GP(0) when misaligned. */
  read(o: Readable, aligned: boolean): X;
  write(o: Writable, v: X, aligned: boolean): void;
  reg(n: number): X;
  setReg(n: number, v: X): void;
  constant(lo: bigint, hi: bigint): X;
  /** Two 64-bit halves to a vector, and lane i of 64 bits out of it. */
  make(lo: V, hi: V): X;
  lane(a: X, i: 0 | 1): V;
  /** a with its element i, of 4 or 8 bytes, replaced. */
  insert(a: X, size: 4 | 8, i: number, v: V): X;
  op1(name: SimdUnary, a: X): X;
  op2(name: SimdBinary, a: X, b: X): X;
  /** v128.bitselect: bits of a where mask is 1, of b where 0. */
  bitselect(a: X, b: X, mask: X): X;
  shift(name: 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2', kind: 'shl' | 'shr_u' | 'shr_s', a: X, n: V): X;
  shuffle(a: X, b: X, lanes: readonly number[]): X;
  bitmask(name: 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2', a: X): V;
  // scalar floating point on 64-bit patterns: f32 in the low 32 bits
  f64(op: 'add' | 'sub' | 'mul' | 'div' | 'sqrt', a: V, b?: V): V;
  f32(op: 'add' | 'sub' | 'mul' | 'div' | 'sqrt', a: V, b?: V): V;
  /** Ordered comparisons; 0 when either is NaN. */
  fcmp(type: 'f32' | 'f64', op: 'lt' | 'le' | 'eq', a: V, b: V): V;
  /** Conversions between patterns; truncation saturates as wasm's trunc_sat does: callers handle the integer-indefinite case. */
  convert(
    op:
      | 'f64.from.s64'
      | 'f64.from.s32'
      | 'f32.from.s64'
      | 'f32.from.s32'
      | 'f64.from.f32'
      | 'f32.from.f64'
      | 's64.trunc.f64'
      | 's64.trunc.f32'
      | 'f64.nearest'
      | 'f32.nearest'
      | 'f64.floor'
      | 'f64.ceil'
      | 'f64.trunc'
      | 'f32.floor'
      | 'f32.ceil'
      | 'f32.trunc',
    a: V,
  ): V;
}
