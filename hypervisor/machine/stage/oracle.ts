// The oracle: a Builder whose values are bigints and whose calls compute at once. Slow and obvious, it is what the other engines and the
// semantics themselves are tested against (and it in turn against the host's CPU, machine/host-cpu/).
//
// Whatever ends an instruction early is thrown: OracleFault for exceptions, a private mark for jumps. Memory is reached through
// OracleMemory, which throws OracleFault too.

import type { Decoded, DecodedOperand, MemOperand } from '../isa/decoded.ts';
import { CS, FS, SS, STATE } from '../state.ts';
import type { Access, Builder, Direct, Operand, Readable, SimdBuilder, Size, Subroutine, Var, Writable } from './builder.ts';
import { oracleSimd } from './oracle-simd.ts';
import { GP, isCanonical, OracleFault, type OracleMemory, OracleSlow, type OracleState, STACK_FAULT } from './oracle-state.ts';

const U64 = (1n << 64n) - 1n;
const u = (v: bigint): bigint => v & U64;
const s = (v: bigint): bigint => BigInt.asIntN(64, v);
const flag = (c: boolean): bigint => (c ? 1n : 0n);
const count = (n: bigint): bigint => n & 63n;
/** Thrown by goto, jump and again once rip is set. */
const ENDED = new Error('the instruction ended');

export interface OracleMode {
  readonly bits: 16 | 32 | 64;
  readonly stackSize: 2 | 4 | 8;
}

class OracleOperand implements Operand {
  readonly access: Access;
  readonly size: number;
  readonly isReg: boolean;
  readonly decoded: DecodedOperand;
  constructor(decoded: DecodedOperand, access: Access) {
    this.decoded = decoded;
    this.access = access;
    this.size = 'size' in decoded ? decoded.size : 8;
    this.isReg = decoded.kind === 'reg';
  }
}

export class OracleBuilder implements Builder<bigint, bigint> {
  readonly mode: Builder<bigint>['mode'];
  readonly x: SimdBuilder<bigint, bigint>;
  readonly state_: OracleState;
  private readonly memory: OracleMemory;
  private readonly decoded: Decoded;
  private readonly next: bigint;
  private readonly start: bigint;

  constructor(state: OracleState, memory: OracleMemory, mode: OracleMode, decoded: Decoded) {
    this.state_ = state;
    this.memory = memory;
    this.decoded = decoded;
    this.mode = { ...mode, addrSize: decoded.addrSize, rep: decoded.rep };
    this.start = state.rip;
    this.next = this.cutRip(state.rip + BigInt(decoded.length));
    this.x = oracleSimd(this);
  }

  operand(i: number, access: Access): Operand {
    const o = this.decoded.operands[i];
    if (o === undefined) throw new Error(`${this.decoded.insn.mnemonic} has no operand ${i}`);
    return new OracleOperand(o, access);
  }

  // --- 64-bit integers
  k = (n: number | bigint): bigint => u(BigInt(n));
  add = (a: bigint, b: bigint): bigint => u(a + b);
  sub = (a: bigint, b: bigint): bigint => u(a - b);
  mul = (a: bigint, b: bigint): bigint => u(a * b);
  divU = (a: bigint, b: bigint): bigint => a / b;
  remU = (a: bigint, b: bigint): bigint => a % b;
  divS = (a: bigint, b: bigint): bigint => u(s(a) / s(b));
  remS = (a: bigint, b: bigint): bigint => u(s(a) % s(b));
  mulHighU = (a: bigint, b: bigint): bigint => (a * b) >> 64n;
  mulHighS = (a: bigint, b: bigint): bigint => u((s(a) * s(b)) >> 64n);
  and = (a: bigint, b: bigint): bigint => a & b;
  or = (a: bigint, b: bigint): bigint => a | b;
  xor = (a: bigint, b: bigint): bigint => a ^ b;
  not = (a: bigint): bigint => u(~a);
  shl = (a: bigint, n: bigint): bigint => u(a << count(n));
  shr = (a: bigint, n: bigint): bigint => a >> count(n);
  sar = (a: bigint, n: bigint): bigint => u(s(a) >> count(n));
  rotl = (a: bigint, n: bigint): bigint => u((a << count(n)) | (a >> (64n - count(n))));
  rotr = (a: bigint, n: bigint): bigint => u((a >> count(n)) | (a << (64n - count(n))));
  clz = (a: bigint): bigint => BigInt(a === 0n ? 64 : 64 - a.toString(2).length);
  ctz = (a: bigint): bigint => BigInt(a === 0n ? 64 : (a & -a).toString(2).length - 1);
  popcnt = (a: bigint): bigint => BigInt(a.toString(2).replaceAll('0', '').length);
  eq = (a: bigint, b: bigint): bigint => flag(a === b);
  ne = (a: bigint, b: bigint): bigint => flag(a !== b);
  eqz = (a: bigint): bigint => flag(a === 0n);
  ltU = (a: bigint, b: bigint): bigint => flag(a < b);
  leU = (a: bigint, b: bigint): bigint => flag(a <= b);
  ltS = (a: bigint, b: bigint): bigint => flag(s(a) < s(b));
  leS = (a: bigint, b: bigint): bigint => flag(s(a) <= s(b));
  select = (c: bigint, a: bigint, b: bigint): bigint => (c !== 0n ? a : b);
  zext = (a: bigint, size: Size): bigint => BigInt.asUintN(size * 8, a);
  sext = (a: bigint, size: Size): bigint => u(BigInt.asIntN(size * 8, a));

  // --- control inside one instruction
  var(init: bigint): Var<bigint> {
    let value = init;
    return {
      get: () => value,
      set: (v) => {
        value = v;
      },
    };
  }
  if(c: bigint, then: () => void, otherwise?: () => void): void {
    if (c !== 0n) then();
    else otherwise?.();
  }
  while(cond: () => bigint, body: () => void): void {
    while (cond() !== 0n) body();
  }
  call(f: Subroutine, a: bigint, b = 0n, c = 0n, d = 0n, e = 0n): readonly [bigint, bigint] {
    return f.sem(this, [a, b, c, d, e]);
  }

  // --- operands
  read(o: Readable): bigint {
    const d = (o as unknown as OracleOperand).decoded;
    switch (d.kind) {
      case 'reg': {
        if (d.class === 'seg') return this.state_.get(STATE.seg + d.index * 16, 2);
        // The low half of an XMM register at most: all of it is x.read's.
        if (d.class === 'xmm') return this.zext(this.state_.get(STATE.xmm + d.index * 16, 8), Math.min(d.size, 8) as Size);
        if (d.class === 'mm') return this.state_.get(STATE.fpr + d.index * 16, 8);
        const v = this.state_.reg(d.index);
        return d.high ? (v >> 8n) & 0xffn : this.zext(v, d.size as Size);
      }
      case 'mem':
        return this.load_(d.seg, this.address(o), d.size, o.access !== 'r');
      case 'imm':
        return this.zext((BigInt(d.hi >>> 0) << 32n) | BigInt(d.lo >>> 0), d.size as Size);
      default:
        throw new Error(`${d.kind} operands cannot be read`);
    }
  }
  write(o: Writable, v: bigint): void {
    const d = (o as unknown as OracleOperand).decoded;
    if (d.kind === 'mem') {
      this.store(d.seg, this.address(o), d.size as Size, v);
      return;
    }
    if (d.kind !== 'reg') throw new Error(`${d.kind} operands cannot be written`);
    if (d.class === 'xmm') this.state_.set(STATE.xmm + d.index * 16, Math.min(d.size, 8) as Size, v);
    else if (d.class === 'mm') {
      this.state_.set(STATE.fpr + d.index * 16, 8, v);
      this.state_.set(STATE.fpr + d.index * 16 + 8, 2, 0xffffn);
    } else if (d.high) this.state_.setReg(d.index, (this.state_.reg(d.index) & ~0xff00n) | (this.zext(v, 1) << 8n));
    else this.setReg(d.index, d.size as Size, v);
  }
  private memOperand(o: Operand): MemOperand {
    const d = (o as unknown as OracleOperand).decoded;
    if (d.kind !== 'mem') throw new Error(`a ${d.kind} operand has no address`);
    return d;
  }
  address(o: Operand): bigint {
    const d = this.memOperand(o);
    const disp = (BigInt(d.dispHi) << 32n) | BigInt(d.disp >>> 0);
    const base = d.base < 0 ? 0n : d.base === 16 ? this.next : this.state_.reg(d.base);
    const index = d.index < 0 ? 0n : this.state_.reg(d.index) << BigInt(d.scale);
    return this.zext(base + index + disp, this.mode.addrSize);
  }
  segment(o: Operand): number {
    return this.memOperand(o).seg;
  }

  // --- registers and memory by name
  reg(n: number, size: Size): bigint {
    return this.zext(this.state_.reg(n), size);
  }
  setReg(n: number, size: Size, v: bigint): void {
    if (size === 4) this.state_.setReg(n, this.zext(v, 4));
    else this.state_.set(STATE.gpr + n * 8, size, v);
  }
  load(seg: number, offset: bigint, size: Size): bigint {
    return this.load_(seg, offset, size, false);
  }
  loadRw(seg: number, offset: bigint, size: Size): bigint {
    return this.load_(seg, offset, size, true);
  }
  /** Any size, for 128-bit accesses too. */
  load_(seg: number, offset: bigint, size: number, write: boolean): bigint {
    return this.memory.load(this.linear(seg, offset, size, write), size, write);
  }
  store(seg: number, offset: bigint, size: Size, v: bigint): void {
    this.store_(seg, offset, size, this.zext(v, size));
  }
  store_(seg: number, offset: bigint, size: number, v: bigint): void {
    this.memory.store(this.linear(seg, offset, size, true), size, v);
  }
  /**
   * Linear address, after the limit check or, in 64-bit mode, that for canonical form. Of rights only these are modelled: code is not
   * written, and FS and GS may be null. Expand-down segments are not.
   */
  private linear(seg: number, offset: bigint, size: number, write: boolean): bigint {
    const at = STATE.seg + seg * 16;
    const base = this.mode.bits === 64 && seg < FS ? 0n : this.state_.get(at + 8, 8);
    const wrong = () => new OracleFault(seg === SS ? STACK_FAULT : GP, 0);
    if (this.mode.bits !== 64) {
      const isNull = seg >= FS && this.state_.get(at, 2) < 4n;
      if (isNull || (write && seg === CS) || offset + BigInt(size - 1) > this.state_.get(at + 4, 4)) throw wrong();
      return this.zext(base + offset, 4);
    }
    const linear = u(base + offset);
    for (const a of [linear, u(linear + BigInt(size - 1))]) if (!isCanonical(a)) throw wrong();
    return linear;
  }
  direct(): Direct<bigint> {
    return { count: 0n, first: 0n, second: 0n };
  }
  private readonly nothingDirect = (): never => {
    throw new Error('the oracle reaches no memory directly');
  };
  hostLoad: () => never = this.nothingDirect;
  hostStore: () => never = this.nothingDirect;
  hostCopy: () => never = this.nothingDirect;
  hostFill: () => never = this.nothingDirect;
  state(offset: number, size: Size): bigint {
    return this.state_.get(offset, size);
  }
  setState(offset: number, size: Size, v: bigint): void {
    this.state_.set(offset, size, v);
  }

  stateAt(at: bigint, offset: number, size: Size): bigint {
    return this.state_.get(Number(at) + offset, size);
  }
  setStateAt(at: bigint, offset: number, size: Size, v: bigint): void {
    this.state_.set(Number(at) + offset, size, v);
  }
  stackDistance(o: Operand): bigint {
    const d = (o as unknown as OracleOperand).decoded;
    if (d.kind !== 'reg' || d.class !== 'st') throw new Error('only an x87 stack register has a distance');
    return BigInt(d.index * 16);
  }

  // --- arithmetic flags
  flagRes(): bigint {
    return this.state_.get(STATE.flagRes, 8);
  }
  flagAux(): bigint {
    return this.state_.get(STATE.flagAux, 4);
  }
  setFlags(res: bigint, aux: bigint): void {
    this.state_.set(STATE.flagRes, 8, res);
    this.state_.set(STATE.flagAux, 4, aux);
  }

  // --- control flow
  nextRip(): bigint {
    return this.next;
  }
  thisRip(): bigint {
    return this.start;
  }
  private cutRip(rip: bigint): bigint {
    return this.mode.bits === 64 ? u(rip) : this.zext(rip, 4);
  }
  goto(o: Operand): void {
    const d = (o as unknown as OracleOperand).decoded;
    if (d.kind !== 'rel') throw new Error('goto needs a relative operand');
    const to = this.cutRip(this.next + BigInt(d.disp));
    this.jump(this.decoded.opSize === 2 ? this.zext(to, 2) : to);
  }
  gotoIf(c: bigint, o: Operand): void {
    if (c !== 0n) this.goto(o);
  }
  jump(rip: bigint): void {
    this.checkJump(rip);
    this.state_.rip = rip;
    throw ENDED;
  }
  checkJump(rip: bigint): void {
    if (this.mode.bits === 64 ? !isCanonical(rip) : rip > this.state_.get(STATE.seg + 16 + 4, 4)) throw new OracleFault(GP, 0);
  }
  again(): void {
    this.state_.rip = this.start;
    throw ENDED;
  }
  raise(vector: number, errorCode = -1): void {
    throw new OracleFault(vector, errorCode);
  }
  slow(): void {
    throw new OracleSlow(this.decoded.insn.mnemonic);
  }
}

/** Carries out one instruction with staged semantics; what it raises is thrown. */
export function oracleStep(state: OracleState, memory: OracleMemory, mode: OracleMode, decoded: Decoded): void {
  const { sem, operands } = decoded.insn;
  if (sem === undefined) throw new OracleSlow(decoded.insn.mnemonic);
  const b = new OracleBuilder(state, memory, mode, decoded);
  const named: Record<string, Operand> = {};
  Object.entries(operands as Record<string, Access>).forEach(([name, access], i) => {
    named[name] = b.operand(i, access);
  });
  const next = b.nextRip();
  try {
    sem(b, named, { size: decoded.opSize, cc: decoded.cc });
  } catch (e) {
    if (e === ENDED) return;
    throw e;
  }
  state.rip = next;
}
