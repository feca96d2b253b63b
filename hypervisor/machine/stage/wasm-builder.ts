// The Builder whose values are WebAssembly locals: running a semantics function on it emits the code of one interpreter handler.
// An operand's shape says in which field of the record it is named; the values and their arithmetic are in wasm-values.ts.

import { PARAM, REC, RECORD_SIZE, STOP, STOP_COUNT } from '../exec/records.ts';
import { I32, I64, OP, type ValType } from '../exec/wasm.ts';
import { CS, FS, HARDWARE, JUMP_CACHE_ENTRIES, JUMP_CACHE_GROUP, STATE, TLB_ENTRIES } from '../state.ts';
import type { Builder, Direct, DirectAccess, Operand, Readable, SimdBuilder, Size, Subroutine, Writable } from './builder.ts';
import * as host from './wasm-direct.ts';
import { createSimd, type XVal } from './wasm-simd.ts';
import { type Val, WasmValues } from './wasm-values.ts';

/** Facts about the code segment and stack that a handler is specialised for. */
export interface HandlerMode {
  readonly bits: 16 | 32 | 64;
  /** CS, DS, ES and SS have base 0 and limit 4 GiB: no segment arithmetic (always so in 64-bit mode). */
  readonly flat: boolean;
  readonly stackSize: 2 | 4 | 8;
}

export type OperandShape =
  | { readonly kind: 'reg'; readonly size: number; readonly field: number }
  | { readonly kind: 'xmm'; readonly size: number; readonly field: number }
  /** `field` leads to the significand of the x87 register that this MMX register is. */
  | { readonly kind: 'mm'; readonly size: number; readonly field: number }
  /** ENTER has two immediates: the second, of 4 bytes at most, is in the record's high half of the first. */
  | { readonly kind: 'imm'; readonly size: number; readonly second: boolean }
  /** An x87 stack register; `field` holds 16 times its number. */
  | { readonly kind: 'st'; readonly size: number; readonly field: number }
  | { readonly kind: 'rel'; readonly near: boolean }
  | {
      readonly kind: 'mem';
      readonly size: number;
      readonly seg: number;
      readonly addrSize: 2 | 4 | 8;
      /** Record fields that hold the registers' state offsets; -1 for none. */
      readonly base: number;
      readonly index: number;
      readonly scale: number;
    };

export interface StagedOperand extends Operand {
  readonly shape: OperandShape;
}

/** Functions that handlers import from TypeScript, after the exits. */
export const IMPORTS = { probe: 0, commit: 1, segment: 2 } as const;
/** Type indices in every handler module: a handler, (i32, i32) -> i32, (i32, i32), and a Subroutine. */
export const TYPE = { handler: 0, query: 1, commit: 2, subroutine: 3, flags: 4 } as const;
/** Parameters of a subroutine, all i64: as many as a handler has, so that locals are numbered alike. */
const SUBROUTINE_PARAMS = 5;

interface Cell {
  readonly host: number;
  readonly window: number;
}

export class WasmBuilder extends WasmValues implements Builder<Val, XVal> {
  mode: {
    readonly bits: 16 | 32 | 64;
    readonly stackSize: 2 | 4 | 8;
    readonly addrSize: 2 | 4 | 8;
    readonly rep: 0 | 0xf2 | 0xf3;
  };
  readonly x: SimdBuilder<Val, XVal>;
  /** Set when the instruction always leaves its block (an unconditional jump). */
  ends = false;
  /** What the code calls: it must be in the table before the code runs. */
  readonly subroutines = new Set<Subroutine>();
  protected readonly flat: boolean;
  protected readonly nextRipAt: number;
  /** Host addresses of 'rw' memory operands, checked when they were read. */
  protected readonly cells = new Map<Operand, Cell>();
  protected readonly addresses = new Map<Operand, Val>();

  constructor(mode: HandlerMode, addrSize: 2 | 4 | 8, rep: 0 | 0xf2 | 0xf3, hasRel: boolean) {
    super();
    this.mode = { bits: mode.bits, stackSize: mode.stackSize, addrSize, rep };
    this.flat = mode.flat;
    this.nextRipAt = hasRel ? REC.fields : REC.imm;
    this.x = createSimd(this);
  }

  // --- operands
  shape(o: Operand): OperandShape {
    return (o as StagedOperand).shape;
  }
  /** Pushes cpu + the state offset in a record field. */
  pushField(field: number): void {
    this.get(PARAM.rec);
    this.mem(OP.i32_load16_u, REC.fields + field * 2);
    this.get(PARAM.cpu);
    this.code.push(OP.i32_add);
  }
  protected loadAs(size: number, offset: number): Val {
    const op = size === 8 ? OP.i64_load : size === 4 ? OP.i64_load32_u : size === 2 ? OP.i64_load16_u : OP.i64_load8_u;
    this.mem(op, offset);
    return this.take(I64, size * 8);
  }
  protected storeOp(size: number): number {
    return size === 8 ? OP.i64_store : size === 4 ? OP.i64_store32 : size === 2 ? OP.i64_store16 : OP.i64_store8;
  }
  read(o: Readable): Val {
    const s = this.shape(o);
    switch (s.kind) {
      case 'reg':
        this.pushField(s.field);
        return this.loadAs(s.size, 0);
      case 'imm':
        this.get(PARAM.rec);
        if (s.second) this.mem(OP.i64_load32_u, REC.imm + 4);
        else this.mem(OP.i64_load, REC.imm);
        return this.zext(this.take(I64, 64), s.size as Size);
      case 'mem': {
        const cell = this.probe(this.linear(s.seg, this.address(o), s.size, o.access === 'rw'), s.size, o.access === 'rw', s.seg);
        if (o.access === 'rw') this.cells.set(o, cell);
        this.get(cell.host);
        return this.loadAs(s.size, 0);
      }
      case 'mm':
      case 'xmm':
        this.pushField(s.field);
        return this.loadAs(Math.min(s.size, 8), 0);
      default:
        throw new Error(`operand of kind ${s.kind} cannot be read`);
    }
  }
  write(o: Writable, v: Val): void {
    const s = this.shape(o);
    if (s.kind === 'reg') {
      this.pushField(s.field);
      this.push64(s.size === 4 ? this.zext(v, 4) : v);
      this.mem(s.size === 4 ? OP.i64_store : this.storeOp(s.size), 0);
    } else if (s.kind === 'mem') {
      const cell = this.cells.get(o) ?? this.probe(this.linear(s.seg, this.address(o), s.size, true), s.size, true, s.seg);
      this.storeCell(cell, s.size, v);
    } else if (s.kind === 'mm') {
      this.pushField(s.field);
      this.push64(v);
      this.mem(OP.i64_store, 0);
      // Sign and exponent become all ones (SDM Vol 3A, 12.2).
      this.pushField(s.field);
      this.push64(this.k(0xffff));
      this.mem(OP.i64_store16, 8);
    } else throw new Error(`operand of kind ${s.kind} cannot be written`);
  }
  storeCell(cell: Cell, size: number, v: Val): void {
    this.get(cell.host);
    this.push64(v);
    this.mem(this.storeOp(size), 0);
    this.commitCell(cell);
  }
  commitCell(cell: Cell): void {
    this.get(cell.window);
    this.open(OP.if);
    this.get(PARAM.cpu);
    this.get(cell.host);
    this.code.push(OP.call, IMPORTS.commit);
    this.close();
  }
  address(o: Operand): Val {
    const known = this.addresses.get(o);
    if (known) return known;
    const s = this.shape(o);
    if (s.kind !== 'mem') throw new Error('only a memory operand has an address');
    this.get(PARAM.rec);
    this.mem(OP.i64_load, REC.disp);
    if (s.base >= 0) {
      this.pushField(s.base);
      this.mem(OP.i64_load, 0);
      this.code.push(OP.i64_add);
    }
    if (s.index >= 0) {
      this.pushField(s.index);
      this.mem(OP.i64_load, 0);
      if (s.scale > 0) {
        this.c64(BigInt(s.scale));
        this.code.push(OP.i64_shl);
      }
      this.code.push(OP.i64_add);
    }
    const v = this.zext(this.take(I64, 64), s.addrSize);
    this.addresses.set(o, v);
    return v;
  }
  segment(o: Operand): number {
    const s = this.shape(o);
    if (s.kind !== 'mem') throw new Error('only a memory operand has a segment');
    return s.seg;
  }

  // --- registers, memory and state by name
  reg(n: number, size: Size): Val {
    this.get(PARAM.cpu);
    return this.loadAs(size, STATE.gpr + n * 8);
  }
  setReg(n: number, size: Size, v: Val): void {
    this.get(PARAM.cpu);
    this.push64(size === 4 ? this.zext(v, 4) : v);
    this.mem(size === 4 ? OP.i64_store : this.storeOp(size), STATE.gpr + n * 8);
  }
  load(seg: number, offset: Val, size: Size): Val {
    const cell = this.probe(this.linear(seg, offset, size, false), size, false, seg);
    this.get(cell.host);
    return this.loadAs(size, 0);
  }
  loadRw(seg: number, offset: Val, size: Size): Val {
    const cell = this.probe(this.linear(seg, offset, size, true), size, true, seg);
    this.get(cell.host);
    return this.loadAs(size, 0);
  }
  store(seg: number, offset: Val, size: Size, v: Val): void {
    this.storeCell(this.probe(this.linear(seg, offset, size, true), size, true, seg), size, v);
  }
  state(offset: number, size: Size): Val {
    this.get(PARAM.cpu);
    return this.loadAs(size, offset);
  }
  setState(offset: number, size: Size, v: Val): void {
    this.get(PARAM.cpu);
    this.push64(v);
    this.mem(this.storeOp(size), offset);
  }

  private pushAt(at: Val): void {
    this.get(PARAM.cpu);
    this.push32(at);
    this.code.push(OP.i32_add);
  }
  stateAt(at: Val, offset: number, size: Size): Val {
    this.pushAt(at);
    return this.loadAs(size, offset);
  }
  setStateAt(at: Val, offset: number, size: Size, v: Val): void {
    this.pushAt(at);
    this.push64(v);
    this.mem(this.storeOp(size), offset);
  }
  stackDistance(o: Operand): Val {
    const s = this.shape(o);
    if (s.kind !== 'st') throw new Error('only an x87 stack register has a distance');
    this.get(PARAM.rec);
    this.mem(OP.i32_load16_u, REC.fields + s.field * 2);
    return this.take(I32, 7);
  }
  call(f: Subroutine, ...args: Val[]): readonly [Val, Val] {
    this.subroutines.add(f);
    for (const v of args) this.push64(v);
    for (let i = args.length; i < SUBROUTINE_PARAMS; i++) this.c64(0n);
    this.c32(STOP_COUNT + f.slot);
    this.op(OP.call_indirect, TYPE.subroutine, 0);
    const second = this.take(I64, 64);
    return [this.take(I64, 64), second];
  }

  /** Segment arithmetic: the linear address of an offset, limit and rights checked outside 64-bit and flat code. */
  linear(seg: number, offset: Val, size: number, write: boolean): Val {
    const at = STATE.seg + seg * 16;
    if (this.mode.bits === 64) {
      if (seg < FS) return offset;
      this.get(PARAM.cpu);
      this.mem(OP.i64_load, at + 8);
      return this.add(this.take(I64, 64), offset);
    }
    // Code is not writable, and may not be readable: CS takes the whole check.
    if (this.flat && seg < FS && seg !== CS) return this.zext(offset, 4);
    // Fast when the segment is present data, expand-up, writable where that is asked, and the access lies within the limit.
    this.get(PARAM.cpu);
    this.mem(OP.i32_load16_u, at + 2);
    this.c32(write ? 0x9e : 0x9c);
    this.op(OP.i32_and);
    this.c32(write ? 0x92 : 0x90);
    this.op(OP.i32_ne);
    this.push64(this.add(offset, this.k(size - 1)));
    this.get(PARAM.cpu);
    this.mem(OP.i64_load32_u, at + 4);
    this.op(OP.i64_gt_u, OP.i32_or);
    this.open(OP.if);
    this.saveScratch(offset);
    this.get(PARAM.cpu);
    this.c32(size | (write ? 0x100 : 0) | (seg << 16));
    this.op(OP.call, IMPORTS.segment, OP.i32_eqz);
    this.open(OP.if);
    this.stop(STOP.fault);
    this.close();
    this.close();
    this.get(PARAM.cpu);
    this.mem(OP.i64_load, at + 8);
    return this.zext(this.add(this.take(I64, 64), offset), 4);
  }
  protected saveScratch(v: Val): void {
    this.get(PARAM.cpu);
    this.push64(v);
    this.mem(OP.i64_store, HARDWARE.scratch);
  }

  /** Pushes the tag of the current context. */
  protected pushCtx(): void {
    this.get(PARAM.cpu);
    this.mem(OP.i64_load, HARDWARE.ctx);
  }
  /** Looks `lin` up in the TLB and opens the arm in which it is there: the local `host` has its host address, `addr` the linear one. */
  protected openTlbHit(lin: Val, addr: number, entry: number, host: number, size: number, write: boolean): void {
    this.push64(lin);
    this.tee(addr);
    this.c64(12n);
    this.op(OP.i64_shr_u, OP.i32_wrap_i64);
    // Tlb.slot() has the same hash. It adds: pages that follow each other must never share an entry, or the check below would not hold.
    this.tee(entry);
    this.get(entry);
    this.c32(Math.log2(TLB_ENTRIES));
    this.op(OP.i32_shr_u, OP.i32_add);
    this.c32(TLB_ENTRIES - 1);
    this.op(OP.i32_and);
    this.c32(5);
    this.op(OP.i32_shl);
    this.get(PARAM.cpu);
    this.op(OP.i32_add);
    this.tee(entry);
    this.mem(OP.i64_load, HARDWARE.tlb + (write ? 8 : 0));
    this.get(addr);
    if (size > 1) {
      this.c64(BigInt(size - 1));
      this.op(OP.i64_add);
    }
    this.c64(12n);
    this.op(OP.i64_shr_u);
    this.pushCtx();
    this.op(OP.i64_or, OP.i64_eq);
    this.open(OP.if);
    this.get(addr);
    this.op(OP.i32_wrap_i64);
    this.get(entry);
    this.mem(OP.i32_load, HARDWARE.tlb + 24);
    this.op(OP.i32_add);
    this.set(host);
  }

  /**
   * Translates a linear address for an access: inline TLB check, else TypeScript. The tag is compared with the page of the last byte
   * and the entry chosen by the first, so an access across two pages never hits.
   */
  probe(lin: Val, size: number, write: boolean, seg: number): Cell {
    const entry = this.local(I32);
    const host = this.local(I32);
    const window = this.local(I32);
    const addr = this.local(I64);
    this.openTlbHit(lin, addr, entry, host, size, write);
    // Locals start at zero, but in a loop an earlier round may have set this.
    this.c32(0);
    this.set(window);
    this.otherwise();
    this.get(PARAM.cpu);
    this.get(addr);
    this.mem(OP.i64_store, HARDWARE.scratch);
    this.get(PARAM.cpu);
    this.c32(size | (write ? 0x100 : 0) | (seg << 16));
    this.op(OP.call, IMPORTS.probe);
    this.tee(host);
    this.op(OP.i32_eqz);
    this.open(OP.if);
    this.stop(STOP.fault);
    this.close();
    this.c32(write ? 1 : 0);
    this.set(window);
    this.close();
    return { host, window };
  }

  direct(size: Size, max: Val, first: DirectAccess<Val>, second?: DirectAccess<Val>): Direct<Val> {
    return host.direct(this, this.flat, size, max, first, second);
  }
  hostLoad(at: Val, size: Size): Val {
    return host.hostLoad(this, at, size);
  }
  hostStore(at: Val, size: Size, v: Val): void {
    host.hostStore(this, at, size, v);
  }
  hostCopy(to: Val, from: Val, bytes: Val): void {
    host.hostCopy(this, to, from, bytes);
  }
  hostFill(to: Val, byte: Val, bytes: Val): void {
    host.hostFill(this, to, byte, bytes);
  }

  // --- flags
  flagRes(): Val {
    return { type: I64, local: PARAM.res, c: 0n, bits: 64 };
  }
  flagAux(): Val {
    return { type: I32, local: PARAM.aux, c: 0n, bits: 32 };
  }
  setFlags(res: Val, aux: Val): void {
    this.push64(res);
    this.push32(aux);
    this.set(PARAM.aux);
    this.set(PARAM.res);
  }

  // --- leaving the instruction
  /** Tail call to a record's handler. */
  protected run(rec: () => void): void {
    this.get(PARAM.cpu);
    rec();
    const at = this.local(I32);
    this.tee(at);
    this.get(PARAM.fuel);
    this.get(PARAM.res);
    this.get(PARAM.aux);
    this.get(at);
    this.mem(OP.i32_load, REC.handler);
    this.op(OP.return_call_indirect, TYPE.handler, 0);
  }
  /** To the record after this one. */
  next(): void {
    this.run(() => {
      this.get(PARAM.rec);
      this.c32(RECORD_SIZE);
      this.op(OP.i32_add);
    });
  }
  stop(code: number): void {
    for (const p of [PARAM.cpu, PARAM.rec, PARAM.fuel, PARAM.res, PARAM.aux]) this.get(p);
    this.c32(code);
    this.op(OP.return_call_indirect, TYPE.handler, 0);
  }
  /** To the record in a local, which begins a block: pays for it. `refund`: give back what was paid for the rest of this block. */
  enter(target: number, refund: boolean): void {
    this.get(PARAM.fuel);
    if (refund) {
      this.get(PARAM.rec);
      this.mem(OP.i32_load8_u, REC.left);
      this.op(OP.i32_add);
      this.c32(1);
      this.op(OP.i32_sub);
      this.tee(PARAM.fuel);
    }
    this.get(target);
    this.mem(OP.i32_load8_u, REC.left);
    this.op(OP.i32_sub);
    const fuel = this.local(I32);
    this.tee(fuel);
    this.c32(0);
    this.op(OP.i32_lt_s);
    this.open(OP.if);
    this.get(PARAM.cpu);
    this.get(target);
    for (const p of [PARAM.fuel, PARAM.res, PARAM.aux]) this.get(p);
    this.c32(STOP.deadline);
    this.op(OP.return_call_indirect, TYPE.handler, 0);
    this.close();
    this.get(fuel);
    this.set(PARAM.fuel);
    this.run(() => this.get(target));
  }
  nextRip(): Val {
    this.get(PARAM.rec);
    this.mem(OP.i64_load, this.nextRipAt);
    return this.take(I64, 64);
  }
  thisRip(): Val {
    this.push64(this.nextRip());
    this.get(PARAM.rec);
    this.mem(OP.i64_load8_u, REC.length);
    this.op(OP.i64_sub);
    return this.mode.bits === 64 ? this.take(I64, 64) : this.zext(this.take(I64, 64), 4);
  }
  goto(o: Operand): void {
    this.ends ||= this.depth === 0;
    this.branch(o, false);
  }
  gotoIf(c: Val, o: Operand): void {
    this.cond(c);
    this.open(OP.if);
    this.branch(o, true);
    this.close();
  }
  protected branch(o: Operand, refund: boolean): void {
    const s = this.shape(o);
    if (s.kind !== 'rel') throw new Error('a branch needs a relative operand');
    if (s.near) {
      const target = this.local(I32);
      this.get(PARAM.rec);
      this.mem(OP.i32_load, REC.imm);
      this.tee(target);
      this.op(OP.i32_eqz);
      this.open(OP.if);
      this.stop(STOP.link);
      this.close();
      this.enter(target, refund);
    } else {
      const rip = this.local(I64);
      this.get(PARAM.rec);
      this.mem(OP.i64_load, REC.disp);
      this.set(rip);
      const slot = this.local(I32);
      this.get(PARAM.rec);
      this.mem(OP.i32_load, REC.imm);
      this.get(PARAM.cpu);
      this.op(OP.i32_add);
      this.set(slot);
      this.throughJumpCache(rip, slot, refund);
    }
  }
  jump(rip: Val): void {
    this.ends ||= this.depth === 0;
    const target = this.local(I64);
    this.push64(rip);
    this.set(target);
    const slot = this.local(I32);
    this.pushJumpSlot(target);
    this.get(PARAM.cpu);
    this.op(OP.i32_add);
    this.set(slot);
    // A RIP that is not canonical could match another context's entry: leave it to TypeScript.
    this.get(target);
    this.c64(16n);
    this.op(OP.i64_shl);
    this.c64(16n);
    this.op(OP.i64_shr_s);
    this.get(target);
    this.op(OP.i64_eq);
    this.open(OP.if);
    this.throughJumpCache(target, slot, false);
    this.close();
    this.lookup(target);
  }
  /** Pushes the slot of the jump cache for the RIP in a local, relative to HARDWARE.jumpCache; jumpSlot() in exec/jump-cache.ts computes the same. */
  pushJumpSlot(rip: number): void {
    const page = this.local(I32);
    const offset = this.local(I32);
    this.get(rip);
    this.c64(12n);
    this.op(OP.i64_shr_u, OP.i32_wrap_i64);
    this.tee(page);
    this.get(page);
    this.c32(6);
    this.op(OP.i32_shr_u, OP.i32_xor);
    this.c32(JUMP_CACHE_ENTRIES / JUMP_CACHE_GROUP - 1);
    this.op(OP.i32_and);
    this.c32(Math.log2(JUMP_CACHE_GROUP * 16));
    this.op(OP.i32_shl);
    this.get(rip);
    this.op(OP.i32_wrap_i64);
    this.c32(0xfff);
    this.op(OP.i32_and);
    this.tee(offset);
    this.get(offset);
    this.c32(8);
    this.op(OP.i32_shr_u, OP.i32_xor);
    this.c32(JUMP_CACHE_GROUP - 1);
    this.op(OP.i32_and);
    this.c32(4);
    this.op(OP.i32_shl, OP.i32_or);
  }
  /** Enters the block that the jump cache has for a RIP; falls through to a lookup stop. */
  protected throughJumpCache(rip: number, slot: number, refund: boolean): void {
    this.get(slot);
    this.mem(OP.i64_load, HARDWARE.jumpCache);
    this.get(rip);
    this.get(PARAM.cpu);
    this.mem(OP.i64_load, HARDWARE.ctx);
    this.op(OP.i64_xor, OP.i64_eq);
    this.open(OP.if);
    const target = this.local(I32);
    this.get(slot);
    this.mem(OP.i32_load, HARDWARE.jumpCache + 8);
    this.set(target);
    this.enter(target, refund);
    this.close();
    this.lookup(rip);
  }
  protected lookup(rip: number): void {
    this.get(PARAM.cpu);
    this.get(rip);
    this.mem(OP.i64_store, STATE.rip);
    this.stop(STOP.lookup);
  }
  checkJump(rip: Val): void {
    if (this.mode.bits === 64) {
      const sign = this.sar(this.shl(rip, this.k(16)), this.k(16));
      this.if(this.ne(sign, rip), () => this.raise(13, 0));
    } else if (!this.flat) {
      this.get(PARAM.cpu);
      this.mem(OP.i64_load32_u, STATE.seg + CS * 16 + 4);
      const limit = this.take(I64, 32);
      this.if(this.ltU(limit, rip), () => this.raise(13, 0));
    }
  }
  again(): void {
    this.stop(STOP.again);
  }
  raise(vector: number, errorCode = -1): void {
    this.get(PARAM.cpu);
    this.c64(BigInt.asUintN(64, BigInt(vector | ((errorCode + 1) << 8))));
    this.mem(OP.i64_store, HARDWARE.scratch);
    this.stop(STOP.raise);
  }
  slow(): void {
    this.stop(STOP.system);
  }
}

/** The body of a subroutine: its parameters are the first locals. */
export function buildSubroutine(f: Subroutine): {
  readonly type: number;
  readonly locals: readonly ValType[];
  readonly code: readonly number[];
} {
  const b = new WasmBuilder({ bits: 64, flat: true, stackSize: 8 }, 8, 0, false);
  const arg = (local: number): Val => ({ type: I64, local, c: 0n, bits: 64 });
  for (const v of f.sem(b, [arg(0), arg(1), arg(2), arg(3), arg(4)])) b.push64(v);
  return { type: TYPE.subroutine, locals: b.locals, code: b.code };
}
