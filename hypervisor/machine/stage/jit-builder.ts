// The Builder of the JIT: the same semantics, emitted into one function for a whole region of guest code.
//
// General registers live in wasm locals for as long as the region runs. Flags are kept as what they are computed from, and computed
// only where something reads them (jit-flags.ts). Operands are known numbers. An address that lies close to one that was checked before,
// by the same unknown plus or minus a constant, needs no second TLB check: only that it is in the same page.
//
// Leaving: what goes wrong, or needs TypeScript, sets the record at fault, the fuel and a stop code, and branches to the end of the
// function, where registers and flags are written back. Going on in another region or in the interpreter is a tail call, before which
// registers are written back at a "hole": which ones, is known when the whole region has been emitted.

import type { Lin } from '../addresses.ts';
import { jumpSlot } from '../exec/jump-cache.ts';
import { PARAM, REC, STOP } from '../exec/records.ts';
import { I32, I64, OP, pushU, V128, type ValType } from '../exec/wasm.ts';
import type { DecodedOperand } from '../isa/decoded.ts';
import { FS, HARDWARE, STATE } from '../state.ts';
import type { LazyFlags, Operand, Readable, Size, Writable } from './builder.ts';
import { type FlagLocals, JitFlags } from './jit-flags.ts';
import { foldBinary, foldCompare, foldUnary } from './jit-fold.ts';
import { type HandlerMode, IMPORTS, type StagedOperand, TYPE, WasmBuilder } from './wasm-builder.ts';
import type { Val } from './wasm-values.ts';

/** The instruction being staged. */
export interface JitInsn {
  /** Its record, which says where it is when the region has to be left there. */
  readonly rec: number;
  /** What the record says was paid for from there on. */
  readonly left: number;
  /** Instructions of its block before it, and the block's whole number: what the region has paid for. */
  readonly before: number;
  readonly total: number;
  /** Offsets in CS of this instruction and of the next. */
  readonly rip: Lin;
  readonly nextRip: Lin;
  readonly addrSize: 2 | 4 | 8;
  readonly rep: 0 | 0xf2 | 0xf3;
}

/** Where a relative branch goes. */
export interface JitTarget {
  readonly rip: Lin;
  /** Block of this region, or -1. */
  readonly block: number;
  /** The target lies in the page of the branch: its record holds the link. */
  readonly near: boolean;
}

export interface JitOperand extends StagedOperand {
  readonly decoded: DecodedOperand;
  readonly target?: JitTarget;
}

/** A place before which dirty registers must be written back. */
export interface Hole {
  /** Index in the code. */
  readonly at: number;
  /** Registers written in the block so far, as a mask. */
  readonly dirty: number;
  readonly block: number;
}

interface Cell {
  readonly host: number;
  readonly window: number;
}

/** A checked access: addresses with the same unknown are `host + distance` while they stay in its page. */
interface Checked {
  readonly sym: number;
  readonly off: number;
  readonly write: boolean;
  /** Locals: offset in its page (NOWHERE when the TLB did not hold the page), host address. */
  readonly offset: number;
  readonly host: number;
}
const NOWHERE = 0x4000_0000;
const FAR = 0x0800_0000;
const MAX_CHECKED = 6;
const CONTROL: ReadonlySet<number> = new Set([STATE.cr0, STATE.cr4, STATE.mxcsr]);
/** String loops write any of the first eight registers before they may fault. */
const LOOP_REGISTERS = 0xff;

export class JitBuilder extends WasmBuilder {
  readonly holes: Hole[] = [];
  /** Registers that the region uses at all, and writes in the block being emitted, as masks. */
  used = 0;
  dirty = 0;
  /** The block being emitted. */
  block = 0;
  readonly lazyFlags: LazyFlags<Val>;
  private readonly lazy: JitFlags;
  private readonly gpr: number[];
  readonly ctx: number;
  readonly bounce: number;
  readonly exitCode: number;
  readonly flagLocals: FlagLocals;
  private insn!: JitInsn;
  private readonly free = new Map<ValType, number[]>([
    [I32, []],
    [I64, []],
    [V128, []],
  ]);
  private readonly typeOf = new Map<number, ValType>();
  /** Locals in use by the instruction, or held for later ones. */
  private live = new Set<number>();
  /** Values that stand for the register's own local until the register is written. */
  private outstanding: Val[][] = Array.from({ length: 16 }, () => []);
  private bits = new Uint8Array(16).fill(64);
  /** Counts what happens to registers. */
  private changes = 0;
  private syms: { sym: number; off: number }[] = [];
  private nextSym = 0;
  /** Nesting outside any construct of an instruction. */
  private blockNesting = 0;
  private checked: Checked[] = [];
  private bases: (Val | undefined)[] = [];
  /** Control registers that this block has read: only TypeScript changes them, outside any region. */
  private readonly control = new Map<number, Val>();
  private pendingCell: Cell | undefined;
  private wrote: number | undefined;
  /** For each block that may be branched to, the nesting at which its construct was opened. */
  private readonly labels = new Map<number, number>();

  constructor(mode: HandlerMode) {
    super(mode, 8, 0, false);
    this.mode = { bits: mode.bits, stackSize: mode.stackSize, addrSize: 8, rep: 0 };
    this.gpr = Array.from({ length: 16 }, () => this.fixed(I64));
    this.flagLocals = { kind: this.fixed(I32), x: this.fixed(I64), y: this.fixed(I64), r: this.fixed(I64) };
    this.ctx = this.fixed(I64);
    this.bounce = this.fixed(I32);
    this.exitCode = this.fixed(I32);
    this.lazy = new JitFlags(this, this.flagLocals, () => this.depth > 0);
    this.lazyFlags = this.lazy;
  }

  /** Whether what is emitted now is run whenever its block is. */
  get unconditional(): boolean {
    return this.depth === 0 && this.nesting === this.blockNesting;
  }

  // ------------------------------------------------------------------ locals
  private fixed(type: ValType): number {
    return super.local(type);
  }
  override local(type: ValType): number {
    const l = this.free.get(type)?.pop() ?? super.local(type);
    this.typeOf.set(l, type);
    this.live.add(l);
    return l;
  }
  /** Gives back the locals that nothing later needs. */
  private release(): void {
    const held = new Set<number>();
    for (const v of this.lazy.values()) held.add(v.local);
    for (const c of this.checked) held.add(c.offset).add(c.host);
    for (const b of this.bases) if (b) held.add(b.local);
    for (const v of this.control.values()) held.add(v.local);
    for (const l of this.live) if (!held.has(l)) this.free.get(this.typeOf.get(l)!)!.push(l);
    this.live = new Set([...this.live].filter((l) => held.has(l)));
    const kept = new Set(this.lazy.values());
    this.outstanding = this.outstanding.map((list) => list.filter((v) => kept.has(v)));
  }

  // ------------------------------------------------------------------ blocks and instructions
  beginBlock(block: number): void {
    this.block = block;
    this.blockNesting = this.nesting;
    this.dirty = 0;
    this.bits.fill(64);
    this.syms = Array.from({ length: 16 }, () => ({ sym: this.nextSym++, off: 0 }));
    this.checked = [];
    this.bases = [];
    this.control.clear();
    this.lazy.forget();
    this.release();
  }
  beginInsn(insn: JitInsn): void {
    this.insn = insn;
    this.mode = { bits: this.mode.bits, stackSize: this.mode.stackSize, addrSize: insn.addrSize, rep: insn.rep };
    this.cells.clear();
    this.addresses.clear();
    this.ends = false;
    this.wrote = undefined;
    this.pendingCell = undefined;
  }
  /** Ends an instruction that runs on. */
  endInsn(): void {
    if (!this.ends) this.settle(this.insn.nextRip);
    this.release();
  }

  // ------------------------------------------------------------------ registers
  override reg(n: number, size: Size): Val {
    return this.readGpr(STATE.gpr + n * 8, size);
  }
  override setReg(n: number, size: Size, v: Val): void {
    this.writeGpr(STATE.gpr + n * 8, size, v);
  }
  private readGpr(at: number, size: number): Val {
    const n = (at - STATE.gpr) >> 3;
    this.used |= 1 << n;
    const local = this.gpr[n]!;
    if ((at & 7) === 1) {
      this.get(local);
      this.c64(8n);
      this.op(OP.i64_shr_u);
      this.c64(0xffn);
      this.op(OP.i64_and);
      return this.take(I64, 8);
    }
    const bits = this.bits[n]!;
    if (bits > size * 8) {
      this.get(local);
      this.c64((1n << BigInt(size * 8)) - 1n);
      this.op(OP.i64_and);
      const v = this.take(I64, size * 8);
      return this.mode.bits !== 64 && size === 4 ? { ...v, ...this.syms[n]! } : v;
    }
    if (this.depth > 0) {
      this.get(local);
      return this.take(I64, bits);
    }
    const v: Val = size >= 4 ? { type: I64, local, c: 0n, bits, ...this.syms[n]! } : { type: I64, local, c: 0n, bits };
    this.outstanding[n]!.push(v);
    return v;
  }
  private writeGpr(at: number, size: number, v: Val): void {
    const n = (at - STATE.gpr) >> 3;
    const local = this.gpr[n]!;
    if (v.local === local) return;
    this.changes++;
    this.used |= 1 << n;
    this.dirty |= 1 << n;
    this.snapshot(n);
    if (size >= 4) {
      const whole = size === 4 ? this.zext(v, 4) : v;
      this.push64(whole);
      this.set(local);
      this.bits[n] = this.depth > 0 ? 64 : whole.bits;
      const keeps = this.depth === 0 && v.sym !== undefined && (size === 8 || this.mode.bits !== 64);
      this.syms[n] = keeps ? { sym: v.sym!, off: v.off! } : { sym: this.nextSym++, off: 0 };
      return;
    }
    const shift = (at & 7) * 8;
    const mask = ((1n << BigInt(size * 8)) - 1n) << BigInt(shift);
    this.get(local);
    this.c64(~mask);
    this.op(OP.i64_and);
    this.push64(this.zext(v, size as Size));
    if (shift > 0) {
      this.c64(BigInt(shift));
      this.op(OP.i64_shl);
    }
    this.op(OP.i64_or);
    this.set(local);
    this.syms[n] = { sym: this.nextSym++, off: 0 };
    this.bits[n] = Math.max(this.bits[n]!, size * 8 + shift);
  }
  /** Puts aside what still stands for the register's old value. */
  private snapshot(n: number): void {
    const list = this.outstanding[n]!;
    if (list.length === 0) return;
    this.get(this.gpr[n]!);
    const { local } = this.take(I64, 64);
    for (const v of list) v.local = local;
    list.length = 0;
  }

  override state(offset: number, size: Size): Val {
    const known = size === 4 ? this.control.get(offset) : undefined;
    if (known) return known;
    const v = super.state(offset, size);
    if (size === 4 && CONTROL.has(offset) && this.unconditional) this.control.set(offset, v);
    return v;
  }
  override setState(offset: number, size: Size, v: Val): void {
    this.control.delete(offset);
    // SWAPGS: the base of a segment.
    if (offset >= STATE.seg && offset < STATE.gdtrBase) this.bases = [];
    super.setState(offset, size, v);
  }

  // ------------------------------------------------------------------ operands
  override pushField(field: number): void {
    this.get(PARAM.cpu);
    this.c32(field);
    this.op(OP.i32_add);
  }
  override read(o: Readable): Val {
    const s = this.shape(o);
    if (s.kind === 'reg') return this.readGpr(s.field, s.size);
    if (s.kind === 'imm') {
      const d = (o as unknown as JitOperand).decoded; // SAFE: the region's emitter makes all operands
      if (d.kind !== 'imm') throw new Error('an immediate shape without an immediate');
      return this.k(BigInt.asUintN(s.size * 8, (BigInt(d.hi) << 32n) | BigInt(d.lo >>> 0)));
    }
    return super.read(o);
  }
  override write(o: Writable, v: Val): void {
    const s = this.shape(o);
    if (s.kind === 'reg') this.writeGpr(s.field, s.size, v);
    else super.write(o, v);
  }
  override address(o: Operand): Val {
    const known = this.addresses.get(o);
    if (known) return known;
    const d = (o as unknown as JitOperand).decoded; // SAFE: as above
    if (d.kind !== 'mem') throw new Error('only a memory operand has an address');
    const rip = d.base === 16;
    const disp = (BigInt(d.dispHi) << 32n) | BigInt(d.disp >>> 0);
    let v = rip ? this.k(BigInt(this.insn.nextRip) + BigInt(d.disp)) : this.k(disp);
    if (d.base >= 0 && !rip) v = this.add(this.reg(d.base, 8), v);
    if (d.index >= 0) {
      const index = this.reg(d.index, 8);
      v = this.add(v, d.scale > 0 ? this.shl(index, this.k(d.scale)) : index);
    }
    v = this.zext(v, this.mode.addrSize);
    this.addresses.set(o, v);
    return v;
  }
  override stackDistance(o: Operand): Val {
    const s = this.shape(o);
    if (s.kind !== 'st') throw new Error('only an x87 stack register has a distance');
    return this.k(s.field);
  }
  override nextRip(): Val {
    return this.k(this.insn.nextRip);
  }
  override thisRip(): Val {
    return this.k(this.insn.rip);
  }

  // ------------------------------------------------------------------ arithmetic on what is known
  override bin(op: number, a: Val, b: Val, bits: number): Val {
    const c = a.local < 0 && b.local < 0 ? foldBinary(op, a.c, b.c) : undefined;
    return c === undefined ? super.bin(op, a, b, bits) : this.k(c);
  }
  override cmp(op: number, a: Val, b: Val): Val {
    const c = a.local < 0 && b.local < 0 ? foldCompare(op, a.c, b.c) : undefined;
    return c === undefined ? super.cmp(op, a, b) : this.k(c);
  }
  override un(op: number, a: Val, bits: number): Val {
    const c = a.local < 0 ? foldUnary(op, a.c) : undefined;
    return c === undefined ? super.un(op, a, bits) : this.k(c);
  }
  override eqz(a: Val): Val {
    return a.local < 0 ? this.k(a.c === 0n ? 1 : 0) : super.eqz(a);
  }
  override select(c: Val, a: Val, b: Val): Val {
    return c.local < 0 ? (c.c === 0n ? b : a) : super.select(c, a, b);
  }
  override add(a: Val, b: Val): Val {
    if (a.local < 0 && b.local >= 0) return this.add(b, a);
    if (b.local >= 0 || a.local < 0) return super.add(a, b);
    if (b.c === 0n) return a;
    const v = super.add(a, b);
    const by = Number(BigInt.asIntN(64, b.c));
    return a.sym !== undefined && Math.abs(by) < FAR ? { ...v, sym: a.sym, off: a.off! + by } : v;
  }
  override sub(a: Val, b: Val): Val {
    if (b.local >= 0 || a.local < 0) return super.sub(a, b);
    return this.add(a, this.k(-b.c));
  }
  override zext(a: Val, size: Size): Val {
    const v = super.zext(a, size);
    // Outside 64-bit code addresses wrap at 4 GiB, and a page never lies across that.
    return v !== a && a.sym !== undefined && size === 4 && this.mode.bits !== 64 ? { ...v, sym: a.sym, off: a.off! } : v;
  }

  // ------------------------------------------------------------------ control inside the instruction
  override if(c: Val, then: () => void, otherwise?: () => void): void {
    if (c.local < 0) {
      if (c.c !== 0n) then();
      else otherwise?.();
      return;
    }
    this.settleValues();
    const before = this.changes;
    this.lazy.branch(() => super.if(c, then, otherwise && (() => this.lazy.arm(otherwise))));
    // A branch that only leaves, as the checks of SSE and x87 do, keeps what is known.
    if (this.changes !== before) this.mergeRegisters();
  }
  override while(cond: () => Val, body: () => void): void {
    this.settleValues();
    this.used |= LOOP_REGISTERS;
    this.dirty |= LOOP_REGISTERS;
    this.mergeRegisters();
    this.depth++;
    this.lazy.loop(() => super.while(cond, body));
    this.depth--;
    this.mergeRegisters();
  }
  /** Values that stand for registers become locals of their own: what follows may write the registers on one path only. */
  private settleValues(): void {
    for (let n = 0; n < 16; n++) this.snapshot(n);
  }
  private mergeRegisters(): void {
    this.changes++;
    this.bits.fill(64);
    for (let n = 0; n < 16; n++) this.syms[n] = { sym: this.nextSym++, off: 0 };
  }

  // ------------------------------------------------------------------ memory
  override linear(seg: number, offset: Val, size: number, write: boolean): Val {
    if (this.mode.bits !== 64 || seg < FS) return super.linear(seg, offset, size, write);
    let base = this.bases[seg];
    if (base === undefined || this.depth > 0) {
      this.get(PARAM.cpu);
      this.mem(OP.i64_load, STATE.seg + seg * 16 + 8);
      base = { ...this.take(I64, 64), sym: this.nextSym++, off: 0 };
      if (this.depth === 0) this.bases[seg] = base;
    }
    return this.add(base, offset);
  }
  protected override pushCtx(): void {
    this.get(this.ctx);
  }
  override probe(lin: Val, size: number, write: boolean, seg: number): Cell {
    this.flushCell();
    const near = this.checked.find((c) => c.sym === lin.sym && (c.write || !write) && Math.abs(lin.off! - c.off) < FAR);
    const host = this.local(I32);
    if (lin.sym !== undefined && near) {
      const distance = lin.off! - near.off;
      this.get(near.offset);
      this.c32(distance);
      this.op(OP.i32_add);
      this.c32(4096 - size);
      this.op(OP.i32_le_u);
      this.open(OP.if);
      this.get(near.host);
      this.c32(distance);
      this.op(OP.i32_add);
      this.set(host);
      this.otherwise();
      this.probeSlowly(lin, size, write, seg, host);
      this.close();
      return { host, window: host };
    }
    const remember = lin.sym !== undefined && this.unconditional;
    const offset = remember ? this.local(I32) : -1;
    const addr = this.local(I64);
    const entry = this.local(I32);
    this.openTlbHit(lin, addr, entry, host, size, write);
    if (remember) {
      this.get(addr);
      this.op(OP.i32_wrap_i64);
      this.c32(0xfff);
      this.op(OP.i32_and);
      this.set(offset);
    }
    this.otherwise();
    this.probeSlowly(lin, size, write, seg, host);
    if (remember) {
      this.c32(NOWHERE);
      this.set(offset);
    }
    this.close();
    if (remember) {
      this.checked.push({ sym: lin.sym!, off: lin.off!, write, offset, host });
      if (this.checked.length > MAX_CHECKED) this.checked.shift();
    }
    return { host, window: host };
  }
  private probeSlowly(lin: Val, size: number, write: boolean, seg: number, host: number): void {
    this.saveScratch(lin);
    this.get(PARAM.cpu);
    this.c32(size | (write ? 0x100 : 0) | (seg << 16));
    this.op(OP.call, IMPORTS.probe);
    this.tee(host);
    this.op(OP.i32_eqz);
    this.open(OP.if);
    this.stop(STOP.fault);
    this.close();
  }
  /**
   * A write that went to the window is finished at the end of the instruction, and the region left there: it may have changed the
   * region's own code.
   */
  override commitCell(cell: Cell): void {
    if (this.unconditional && !this.pendingCell) {
      this.pendingCell = cell;
      return;
    }
    this.flushCell();
    this.commitNow(cell);
  }
  private flushCell(): void {
    const cell = this.pendingCell;
    this.pendingCell = undefined;
    if (cell) this.commitNow(cell);
  }
  private commitNow(cell: Cell): void {
    if (this.wrote === undefined) this.wrote = this.exitCode;
    this.isWindow(cell);
    this.open(OP.if);
    this.callCommit(cell);
    this.c32(1);
    this.set(this.wrote);
    this.close();
  }
  private isWindow(cell: Cell): void {
    this.get(cell.host);
    this.get(this.bounce);
    this.op(OP.i32_eq);
  }
  private callCommit(cell: Cell): void {
    this.get(PARAM.cpu);
    this.get(cell.host);
    this.op(OP.call, IMPORTS.commit);
  }
  /** All effects are done: finishes window writes, after which the region goes on at `rip` by the dispatcher. */
  private settle(rip: Lin | Val): void {
    const cell = this.pendingCell;
    this.pendingCell = undefined;
    if (cell) {
      this.isWindow(cell);
      this.open(OP.if);
      this.callCommit(cell);
      this.exitTo(rip);
      this.close();
    }
    if (this.wrote !== undefined) {
      this.get(this.wrote);
      this.open(OP.if);
      this.exitTo(rip);
      this.close();
      this.wrote = undefined;
    }
  }
  exitTo(rip: Lin | Val): void {
    this.get(PARAM.cpu);
    this.push64(typeof rip === 'number' ? this.k(rip) : rip);
    this.mem(OP.i64_store, STATE.rip);
    this.stop(STOP.lookup);
  }

  // ------------------------------------------------------------------ flags
  override flagRes(): Val {
    return this.lazy.pair()[0];
  }
  override flagAux(): Val {
    return this.lazy.pair()[1];
  }
  override setFlags(res: Val, aux: Val): void {
    this.lazy.setPair(res, aux);
  }

  // ------------------------------------------------------------------ leaving
  /** Instructions paid for that will not run, if this one does not either, less what the run loop gives back by the record. */
  private get owed(): number {
    return this.insn.total - this.insn.before - this.insn.left;
  }
  private addFuel(n: number): void {
    if (n === 0) return;
    this.get(PARAM.fuel);
    this.c32(n);
    this.op(OP.i32_add);
    this.set(PARAM.fuel);
  }
  /** To the end of the function, with the current record. */
  override stop(code: number): void {
    this.addFuel(this.owed);
    this.exit(code, () => this.c32(this.insn.rec));
  }
  exit(code: number, rec: () => void): void {
    this.lazy.spill();
    rec();
    this.set(PARAM.rec);
    this.c32(code);
    this.set(this.exitCode);
    this.branchTo(1);
  }
  /** br to the construct that was opened as the n-th, counted from the outside. */
  branchTo(n: number): void {
    this.code.push(OP.br);
    pushU(this.code, this.nesting - n);
  }
  /** The construct opened last is the way to a block. */
  label(block: number): void {
    this.labels.set(block, this.nesting);
  }
  /** Runs on at a record that costs nothing. */
  goOn(rec: number): void {
    this.tailCall(
      () => this.c32(rec),
      () => this.get(PARAM.fuel),
    );
  }
  /** At the head of a block: pays for it, or stops at its first record. */
  charge(n: number, rec: number): void {
    this.addFuel(-n);
    this.get(PARAM.fuel);
    this.c32(0);
    this.op(OP.i32_lt_s);
    this.open(OP.if);
    this.addFuel(n);
    this.exit(STOP.deadline, () => this.c32(rec));
    this.close();
  }
  /** Goes on at the record in a local, which is the head of a block: entering one costs nothing. */
  override enter(target: number): void {
    this.addFuel(this.insn.total - this.insn.before - 1);
    this.tailCall(
      () => this.get(target),
      () => this.get(PARAM.fuel),
    );
  }
  /** Tail call to the handler of a record. */
  tailCall(rec: () => void, fuel: () => void): void {
    const [res, aux] = this.lazy.pair();
    this.holes.push({ at: this.code.length, dirty: this.dirty, block: this.block });
    this.get(PARAM.cpu);
    rec();
    fuel();
    this.push64(res);
    this.push32(aux);
    rec();
    this.mem(OP.i32_load, REC.handler);
    this.op(OP.return_call_indirect, TYPE.handler, 0);
  }
  /** Goes on in another block of the region; all that was paid for has run but `unused`. */
  edge(block: number, unused: number): void {
    this.addFuel(unused);
    this.lazy.spill();
    const label = this.labels.get(block);
    if (label === undefined) throw new Error('branch to a block that is not open');
    this.branchTo(label);
  }
  protected override branch(o: Operand, _refund: boolean): void {
    const { target } = o as unknown as JitOperand; // SAFE: the region's emitter gives every relative operand its target
    if (!target) throw new Error('a branch without a target');
    this.settle(target.rip);
    const unused = this.insn.total - this.insn.before - 1;
    if (target.block >= 0) {
      this.edge(target.block, unused);
      return;
    }
    if (target.near) {
      const rec = this.local(I32);
      this.c32(this.insn.rec);
      this.mem(OP.i32_load, REC.imm);
      this.tee(rec);
      this.op(OP.i32_eqz);
      this.open(OP.if);
      this.stop(STOP.link);
      this.close();
      this.enter(rec);
      return;
    }
    const rip = this.local(I64);
    this.c64(BigInt(target.rip));
    this.set(rip);
    const slot = this.local(I32);
    this.get(PARAM.cpu);
    this.c32(jumpSlot(target.rip));
    this.op(OP.i32_add);
    this.set(slot);
    this.throughJumpCache(rip, slot, false);
  }
  /** Where a computed jump of the current instruction may lead inside the region. */
  expected: readonly { readonly block: number; readonly rip: Lin }[] = [];
  override jump(rip: Val): void {
    this.settle(rip);
    for (const { block, rip: expected } of this.expected) {
      this.push64(rip);
      this.c64(BigInt(expected));
      this.op(OP.i64_eq);
      this.open(OP.if);
      this.edge(block, this.insn.total - this.insn.before - 1);
      this.close();
    }
    super.jump(rip);
  }

  // ------------------------------------------------------------------ what stands around the blocks
  /** Code that loads the registers the region uses, and the caches of what does not change while it runs. */
  prologue(): void {
    for (let n = 0; n < 16; n++) {
      if (!(this.used & (1 << n))) continue;
      this.get(PARAM.cpu);
      this.mem(OP.i64_load, STATE.gpr + n * 8);
      this.set(this.gpr[n]!);
    }
    this.get(PARAM.cpu);
    this.mem(OP.i64_load, HARDWARE.ctx);
    this.set(this.ctx);
    this.get(PARAM.cpu);
    this.c32(HARDWARE.bounce);
    this.op(OP.i32_add);
    this.set(this.bounce);
    this.lazy.fromParameters();
  }
  /** Code that writes registers back. */
  writeBackCode(mask: number): number[] {
    const out: number[] = [];
    for (let n = 0; n < 16; n++) {
      if (!(mask & (1 << n))) continue;
      out.push(OP.local_get, PARAM.cpu, OP.local_get);
      pushU(out, this.gpr[n]!);
      out.push(OP.i64_store, 0);
      pushU(out, STATE.gpr + n * 8);
    }
    return out;
  }
  /** The common end: registers and flags back, and to the stop handler. */
  epilogue(mask: number): void {
    this.lazy.forget();
    const [res, aux] = this.lazy.pair();
    for (const byte of this.writeBackCode(mask)) this.code.push(byte);
    for (const p of [PARAM.cpu, PARAM.rec, PARAM.fuel]) this.get(p);
    this.push64(res);
    this.push32(aux);
    this.get(this.exitCode);
    this.op(OP.return_call_indirect, TYPE.handler, 0);
  }
}
