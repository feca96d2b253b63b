// Values of the WebAssembly builder: locals and constants, the code that computes them, and control flow inside one instruction.

import { I32, I64, OP, pushS32, pushS64, pushU, type ValType } from '../exec/wasm.ts';
import type { Size, Var } from './builder.ts';

/** Handlers have five parameters, which come first among the locals. */
const PARAMETERS = 5;

/** A value: a constant, or a local of either integer type. `bits` bounds its magnitude: the value is below 2^bits, unsigned. */
export interface Val {
  readonly type: typeof I32 | typeof I64;
  /** -1 for a constant. */
  local: number;
  readonly c: bigint;
  readonly bits: number;
  /** Known to be an unknown number `sym` plus `off`: what the JIT knows of addresses that lie close together. */
  readonly sym?: number;
  readonly off?: number;
}

export class WasmValues {
  readonly code: number[] = [];
  readonly locals: ValType[] = [];
  /** Nesting of the semantics' own `if`: an instruction that jumps at depth 0 always jumps. */
  protected depth = 0;
  /** WebAssembly constructs that are open. */
  protected nesting = 0;

  // --- emission primitives
  local(type: ValType): number {
    this.locals.push(type);
    return PARAMETERS - 1 + this.locals.length;
  }
  op(...bytes: number[]): void {
    for (const b of bytes) this.code.push(b);
  }
  get(local: number): void {
    this.code.push(OP.local_get);
    pushU(this.code, local);
  }
  set(local: number): void {
    this.code.push(OP.local_set);
    pushU(this.code, local);
  }
  tee(local: number): void {
    this.code.push(OP.local_tee);
    pushU(this.code, local);
  }
  c32(n: number): void {
    this.code.push(OP.i32_const);
    pushS32(this.code, n);
  }
  c64(n: bigint): void {
    this.code.push(OP.i64_const);
    pushS64(this.code, n);
  }
  /** Opens an `if`, `block` or `loop` without a result; every one that is opened is counted in `nesting`. */
  open(op: typeof OP.if | typeof OP.block | typeof OP.loop): void {
    this.code.push(op, 0x40);
    this.nesting++;
  }
  otherwise(): void {
    this.code.push(OP.else);
  }
  close(): void {
    this.code.push(OP.end);
    this.nesting--;
  }
  /** A load or store with no alignment promise. */
  mem(op: number, offset: number): void {
    this.code.push(op, 0);
    pushU(this.code, offset);
  }
  /** Pushes v as an i64 / i32 (low half). */
  push64(v: Val): void {
    if (v.local < 0) this.c64(v.c);
    else {
      this.get(v.local);
      if (v.type === I32) this.code.push(OP.i64_extend_i32_u);
    }
  }
  push32(v: Val): void {
    if (v.local < 0) this.c32(Number(BigInt.asIntN(32, v.c)));
    else {
      this.get(v.local);
      if (v.type === I64) this.code.push(OP.i32_wrap_i64);
    }
  }
  /** Takes the value on the wasm stack into a new local. */
  take(type: typeof I32 | typeof I64, bits: number): Val {
    const local = this.local(type);
    this.set(local);
    return { type, local, c: 0n, bits };
  }
  protected bin(op: number, a: Val, b: Val, bits: number): Val {
    this.push64(a);
    this.push64(b);
    this.code.push(op);
    return this.take(I64, bits);
  }
  protected cmp(op: number, a: Val, b: Val): Val {
    this.push64(a);
    this.push64(b);
    this.code.push(op);
    return this.take(I32, 1);
  }
  private static narrow(a: Val): boolean {
    return a.type === I32 || (a.local < 0 && a.c >= 0n && a.c <= 0xffffffffn);
  }
  protected logic(op32: number, op64: number, a: Val, b: Val, bits: number): Val {
    if (WasmValues.narrow(a) && WasmValues.narrow(b) && (a.type === I32 || b.type === I32)) {
      this.push32(a);
      this.push32(b);
      this.code.push(op32);
      return this.take(I32, Math.min(bits, 32));
    }
    return this.bin(op64, a, b, bits);
  }

  // --- integers
  k(n: number | bigint): Val {
    const c = BigInt.asUintN(64, BigInt(n));
    return { type: I64, local: -1, c, bits: c.toString(2).length };
  }
  add(a: Val, b: Val): Val {
    return this.bin(OP.i64_add, a, b, Math.min(64, Math.max(a.bits, b.bits) + 1));
  }
  sub(a: Val, b: Val): Val {
    return this.bin(OP.i64_sub, a, b, 64);
  }
  mul(a: Val, b: Val): Val {
    return this.bin(OP.i64_mul, a, b, Math.min(64, a.bits + b.bits));
  }
  divU(a: Val, b: Val): Val {
    return this.bin(OP.i64_div_u, a, b, a.bits);
  }
  remU(a: Val, b: Val): Val {
    return this.bin(OP.i64_rem_u, a, b, b.bits);
  }
  divS(a: Val, b: Val): Val {
    return this.bin(OP.i64_div_s, a, b, 64);
  }
  remS(a: Val, b: Val): Val {
    return this.bin(OP.i64_rem_s, a, b, 64);
  }
  /** Schoolbook on 32-bit halves. */
  mulHighU(a: Val, b: Val): Val {
    const lo = (v: Val) => this.zext(v, 4);
    const hi = (v: Val) => this.shr(v, this.k(32));
    const ll = this.mul(lo(a), lo(b));
    const m1 = this.add(this.mul(hi(a), lo(b)), hi(ll));
    const m2 = this.add(this.mul(lo(a), hi(b)), lo(m1));
    return this.add(this.add(this.mul(hi(a), hi(b)), hi(m1)), hi(m2));
  }
  mulHighS(a: Val, b: Val): Val {
    const fix = (x: Val, y: Val) => this.and(this.sar(x, this.k(63)), y);
    return this.sub(this.sub(this.mulHighU(a, b), fix(a, b)), fix(b, a));
  }
  and(a: Val, b: Val): Val {
    return this.logic(OP.i32_and, OP.i64_and, a, b, Math.min(a.bits, b.bits));
  }
  or(a: Val, b: Val): Val {
    return this.logic(OP.i32_or, OP.i64_or, a, b, Math.max(a.bits, b.bits));
  }
  xor(a: Val, b: Val): Val {
    return this.logic(OP.i32_xor, OP.i64_xor, a, b, Math.max(a.bits, b.bits));
  }
  not(a: Val): Val {
    return this.bin(OP.i64_xor, a, this.k(-1n), 64);
  }
  shl(a: Val, n: Val): Val {
    return this.bin(OP.i64_shl, a, n, n.local < 0 ? Math.min(64, a.bits + Number(n.c & 63n)) : 64);
  }
  shr(a: Val, n: Val): Val {
    const by = n.local < 0 ? Number(n.c & 63n) : 0;
    if (a.type === I32 && n.local < 0 && by < 32) {
      this.push32(a);
      this.c32(by);
      this.code.push(OP.i32_shr_u);
      return this.take(I32, Math.max(1, a.bits - by));
    }
    return this.bin(OP.i64_shr_u, a, n, Math.max(1, a.bits - by));
  }
  sar(a: Val, n: Val): Val {
    return this.bin(OP.i64_shr_s, a, n, 64);
  }
  rotl(a: Val, n: Val): Val {
    return this.bin(OP.i64_rotl, a, n, 64);
  }
  rotr(a: Val, n: Val): Val {
    return this.bin(OP.i64_rotr, a, n, 64);
  }
  protected un(op: number, a: Val, bits: number): Val {
    this.push64(a);
    this.code.push(op);
    return this.take(I64, bits);
  }
  clz(a: Val): Val {
    return this.un(OP.i64_clz, a, 7);
  }
  ctz(a: Val): Val {
    return this.un(OP.i64_ctz, a, 7);
  }
  popcnt(a: Val): Val {
    return this.un(OP.i64_popcnt, a, 7);
  }
  eq(a: Val, b: Val): Val {
    return this.cmp(OP.i64_eq, a, b);
  }
  ne(a: Val, b: Val): Val {
    return this.cmp(OP.i64_ne, a, b);
  }
  eqz(a: Val): Val {
    if (a.local >= 0 && a.type === I32) {
      this.get(a.local);
      this.code.push(OP.i32_eqz);
    } else {
      this.push64(a);
      this.code.push(OP.i64_eqz);
    }
    return this.take(I32, 1);
  }
  ltU(a: Val, b: Val): Val {
    return this.cmp(OP.i64_lt_u, a, b);
  }
  leU(a: Val, b: Val): Val {
    return this.cmp(OP.i64_le_u, a, b);
  }
  ltS(a: Val, b: Val): Val {
    return this.cmp(OP.i64_lt_s, a, b);
  }
  leS(a: Val, b: Val): Val {
    return this.cmp(OP.i64_le_s, a, b);
  }
  /** Pushes c as a wasm condition. */
  protected cond(c: Val): void {
    if (c.local >= 0 && c.type === I64) {
      if (c.bits <= 32) {
        this.get(c.local);
        this.code.push(OP.i32_wrap_i64);
      } else {
        this.get(c.local);
        this.c64(0n);
        this.code.push(OP.i64_ne);
      }
    } else if (c.local < 0) this.c32(c.c === 0n ? 0 : 1);
    else this.get(c.local);
  }
  select(c: Val, a: Val, b: Val): Val {
    this.push64(a);
    this.push64(b);
    this.cond(c);
    this.code.push(OP.select);
    return this.take(I64, Math.max(a.bits, b.bits));
  }
  zext(a: Val, size: Size): Val {
    if (size === 8 || a.bits <= size * 8) return a;
    return this.and(a, this.k((1n << BigInt(size * 8)) - 1n));
  }
  sext(a: Val, size: Size): Val {
    if (size === 8 || a.bits < size * 8) return a;
    return this.un(size === 1 ? OP.i64_extend8_s : size === 2 ? OP.i64_extend16_s : OP.i64_extend32_s, a, 64);
  }

  // --- control inside the instruction
  var(init: Val): Var<Val> {
    const local = this.local(I64);
    this.push64(init);
    this.set(local);
    return {
      get: () => {
        this.get(local);
        return this.take(I64, 64);
      },
      set: (v) => {
        this.push64(v);
        this.set(local);
      },
    };
  }
  if(c: Val, then: () => void, otherwise?: () => void): void {
    this.cond(c);
    this.open(OP.if);
    this.depth++;
    then();
    if (otherwise) {
      this.otherwise();
      otherwise();
    }
    this.depth--;
    this.close();
  }
  while(cond: () => Val, body: () => void): void {
    this.open(OP.loop);
    this.cond(cond());
    this.open(OP.if);
    body();
    this.code.push(OP.br);
    pushU(this.code, 1);
    this.close();
    this.close();
  }
}
