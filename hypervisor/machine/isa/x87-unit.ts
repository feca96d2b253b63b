// The x87 register stack in staged semantics: whether the instruction may run, where registers are, what is pushed and popped.
//
// An instruction first says what it needs: that registers hold something, that exceptions are masked. check() gives it up to
// TypeScript (system/x87/) where that does not hold, where CR0 has it raise #NM, and where an exception is pending. finish() writes the
// control words, and the pointers that an exception handler reads (SDM Vol 1, 8.1.8).
//
// Of the tags only 3, empty, says anything; a register that is written becomes 0, valid. What FNSTENV stores follows the contents.

import type { Builder, Operand } from '../stage/builder.ts';
import { STATE } from '../state.ts';
import { CR0_EM_TS } from './sse-common.ts';
import { SLOW } from './x87-round.ts';
import { C1, PENDING, PM, TAGS, TOP_MASK, TOP_SHIFT } from './x87-word.ts';

/** A register's contents. */
export interface Float<V> {
  readonly sig: V;
  /** Sign in bit 15, biased exponent below. */
  readonly se: V;
}

const REGISTERS = 0x70;
const EMPTY = 3;

export class Unit<V, X> {
  readonly b: Builder<V, X>;
  /** As in x87-word.ts; written by finish(). */
  word: V;
  private refused: V;

  /** `waits`: pending exceptions come first, as with all but a few control instructions. */
  constructor(b: Builder<V, X>, waits = true) {
    this.b = b;
    this.word = b.state(STATE.fcw, 8);
    this.refused = b.and(b.state(STATE.cr0, 4), b.k(CR0_EM_TS));
    if (waits) this.refuse(b.and(this.word, b.k(PENDING)));
  }

  // --- what must hold
  /** c is not zero: the instruction is TypeScript's. */
  refuse(c: V): void {
    this.refused = this.b.or(this.refused, c);
  }
  require(register: V): void {
    this.refuse(this.isEmpty(register));
  }
  /** Results may be inexact. */
  requirePrecisionMasked(): void {
    const { b } = this;
    this.refuse(b.xor(b.and(this.word, b.k(PM)), b.k(PM)));
  }
  /** After the last requirement, before anything that may fault or shows. */
  check(): void {
    this.b.if(this.refused, () => this.b.slow());
  }

  // --- registers, by their distance from the first of them: 16 times the physical number
  top(): V {
    const { b } = this;
    return b.and(b.shr(this.word, b.k(TOP_SHIFT - 4)), b.k(REGISTERS));
  }
  /** ST(i), i times 16 given. */
  st(distance: V): V {
    const { b } = this;
    return b.and(b.add(b.shr(this.word, b.k(TOP_SHIFT - 4)), distance), b.k(REGISTERS));
  }
  operand(o: Operand): V {
    return this.st(this.b.stackDistance(o));
  }
  private tagShift(register: V): V {
    return this.b.add(this.b.shr(register, this.b.k(3)), this.b.k(TAGS));
  }
  isEmpty(register: V): V {
    const { b } = this;
    return b.eq(b.and(b.shr(this.word, this.tagShift(register)), b.k(EMPTY)), b.k(EMPTY));
  }
  get(register: V): Float<V> {
    return { sig: this.b.stateAt(register, STATE.fpr, 8), se: this.b.stateAt(register, STATE.fpr + 8, 2) };
  }
  /** Into a register that holds something already. */
  replace(register: V, v: Float<V>): void {
    this.b.setStateAt(register, STATE.fpr, 8, v.sig);
    this.b.setStateAt(register, STATE.fpr + 8, 2, v.se);
  }
  set(register: V, v: Float<V>): void {
    const { b } = this;
    this.replace(register, v);
    this.word = b.and(this.word, b.not(b.shl(b.k(EMPTY), this.tagShift(register))));
  }
  free(register: V): void {
    this.word = this.b.or(this.word, this.b.shl(this.b.k(EMPTY), this.tagShift(register)));
  }
  /** By one register. */
  moveTop(by: 1 | -1): void {
    const { b } = this;
    const moved = b.and(b.add(this.word, b.k(BigInt(by) << BigInt(TOP_SHIFT))), b.k(TOP_MASK));
    this.word = b.or(b.and(this.word, b.k(~TOP_MASK)), moved);
  }
  pop(): void {
    this.free(this.top());
    this.moveTop(1);
  }
  /** The register that a push will fill; it must be empty. */
  room(): V {
    const { b } = this;
    const register = this.st(b.k(REGISTERS));
    this.refuse(b.eqz(this.isEmpty(register)));
    return register;
  }
  /** With the register from room(). */
  push(register: V, v: Float<V>): void {
    this.moveTop(-1);
    this.set(register, v);
  }

  // --- results
  /** Gives up an operation that a subroutine refuses: `status` is its second result. */
  accept(status: V): void {
    this.b.if(this.b.ltS(status, this.b.k(0)), () => this.b.slow());
  }
  /** Flags of the status word that change with each operation: C1 and what `also` names are replaced, PE adds up. */
  setStatus(flags: V | undefined, also = 0n): void {
    const { b } = this;
    const kept = b.and(this.word, b.k(~(C1 | also)));
    this.word = flags === undefined ? kept : b.or(kept, flags);
  }
  /** Ends a control instruction: no pointers. */
  commit(): void {
    this.b.setState(STATE.fcw, 8, this.word);
  }
  finish(memory?: Operand): void {
    const { b } = this;
    this.commit();
    b.setState(STATE.fip, 8, b.thisRip());
    if (memory !== undefined && !memory.isReg) b.setState(STATE.fdp, 8, b.address(memory));
  }
}

/** A subroutine's status without what is not the status word's. */
export const flagsOf = <V, X>(b: Builder<V, X>, status: V): V => b.and(status, b.k(~SLOW & ~0xffffn));
