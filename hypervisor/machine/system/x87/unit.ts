// The x87 register stack and its control, status and tag words during one instruction (SDM Vol 1, 8.1). Changes are kept here and reach
// the context only in commit(), so that a memory fault at the end leaves everything as it was.

import { STATE } from '../../state.ts';
import { tagOf } from '../fpstate.ts';
import type { SystemCpu } from '../ports.ts';
import type { F80 } from './float80.ts';
import { f80, INDEFINITE } from './float80.ts';
import type { Env } from './round.ts';
import { EX } from './round.ts';

export const FSW = { flags: 0x7f, ES: 0x80, C0: 0x100, C1: 0x200, C2: 0x400, C3: 0x4000, B: 0x8000 } as const;
const CONDITIONS = FSW.C0 | FSW.C1 | FSW.C2 | FSW.C3;
const PRECISIONS = [24, 64, 53, 64] as const;
/** Exceptions that stop an operation before it has a result. */
const BEFORE = EX.IE | EX.DE | EX.ZE;

export class Fpu {
  readonly cpu: SystemCpu;
  fcw: number;
  fsw: number;
  ftw: number;
  readonly env: Env;
  private readonly written = new Map<number, F80>();

  constructor(cpu: SystemCpu) {
    this.cpu = cpu;
    this.fcw = cpu.u16(STATE.fcw);
    this.fsw = cpu.u16(STATE.fsw);
    this.ftw = cpu.u16(STATE.ftw);
    this.env = { rc: (this.fcw >>> 10) & 3, precision: PRECISIONS[(this.fcw >>> 8) & 3]!, masks: this.fcw & 0x3f, flags: 0, up: false };
  }

  get top(): number {
    return (this.fsw >>> 11) & 7;
  }
  set top(v: number) {
    this.fsw = (this.fsw & ~0x3800) | ((v & 7) << 11);
  }
  private physical(i: number): number {
    return (this.top + i) & 7;
  }
  isEmpty(i: number): boolean {
    return ((this.ftw >>> (2 * this.physical(i))) & 3) === 3;
  }
  setTag(physical: number, tag: number): void {
    this.ftw = (this.ftw & ~(3 << (2 * physical))) | (tag << (2 * physical));
  }
  get(i: number): F80 {
    const p = this.physical(i);
    const at = STATE.fpr + 16 * p;
    return this.written.get(p) ?? f80(this.cpu.u16(at + 8), this.cpu.big(at));
  }
  set(i: number, v: F80): void {
    const p = this.physical(i);
    this.written.set(p, v);
    this.setTag(p, tagOf(v.se, Number(v.sig >> 32n) | 0, Number(v.sig & 0xffffffffn)));
  }
  free(i: number): void {
    this.setTag(this.physical(i), 3);
  }
  pop(): void {
    this.free(0);
    this.top++;
  }
  /** On a full stack: overflow, and the masked answer is the indefinite. False when it is not masked: nothing is pushed. `over`: whatever is there. */
  push(v: F80, over = false): boolean {
    if (!over && this.isFull) {
      this.env.flags |= EX.IE | EX.SF;
      this.fsw |= FSW.C1;
      if (!(this.env.masks & EX.IE)) return false;
      this.top--;
      this.set(0, INDEFINITE);
      return true;
    }
    this.top--;
    this.set(0, v);
    return true;
  }
  get isFull(): boolean {
    return !this.isEmpty(7);
  }

  setConditions(bits: number): void {
    this.fsw = (this.fsw & ~CONDITIONS) | bits;
  }
  setC1(on: boolean): void {
    this.fsw = on ? this.fsw | FSW.C1 : this.fsw & ~FSW.C1;
  }
  setC2(on: boolean): void {
    this.fsw = on ? this.fsw | FSW.C2 : this.fsw & ~FSW.C2;
  }

  /** All of these registers hold something; else stack underflow: IE with SF, C1 clear. */
  require(...indices: number[]): boolean {
    if (!indices.some((i) => this.isEmpty(i))) return true;
    this.env.flags |= EX.IE | EX.SF;
    return false;
  }
  /** Some exception met so far is unmasked. */
  unmasked(which: number = EX.IE | EX.DE | EX.ZE | EX.OE | EX.UE | EX.PE): boolean {
    return (this.env.flags & ~this.env.masks & which) !== 0;
  }
  /** The operation must leave its operands alone. */
  get stopped(): boolean {
    return this.unmasked(BEFORE);
  }

  /** Adds the exceptions to the status word and writes everything back. C1 tells of rounding up where the result is inexact. */
  commit(): void {
    const { cpu, env } = this;
    // An operation that was stopped has no result: nothing that rounding found counts.
    if (this.stopped) env.flags &= ~(EX.OE | EX.UE | EX.PE);
    if (env.flags & EX.PE && !(env.flags & EX.SF)) this.setC1(env.up);
    this.fsw |= env.flags;
    this.updateSummary();
    cpu.setU16(STATE.fcw, this.fcw);
    cpu.setU16(STATE.fsw, this.fsw);
    cpu.setU16(STATE.ftw, this.ftw);
    for (const [p, v] of this.written) {
      cpu.setBig(STATE.fpr + 16 * p, v.sig);
      cpu.setU16(STATE.fpr + 16 * p + 8, v.se);
    }
  }
  /** ES and B follow the flags that the control word leaves unmasked. */
  updateSummary(): void {
    const pending = this.fsw & ~this.fcw & 0x3f;
    this.fsw = pending ? this.fsw | FSW.ES | FSW.B : this.fsw & ~(FSW.ES | FSW.B);
  }
}
