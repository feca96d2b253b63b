// Arithmetic flags in compiled regions: not the two words of flags.ts, but what they are computed from, until something reads them.
//
// While code is emitted, a description says which values the flags derive from; a condition that follows becomes a comparison of them.
// Where paths meet, the description is put into four locals: its kind and three values. Where the region is left, flagsFunction() makes
// the two words of it.

import { type FuncBody, I32, I64, OP } from '../exec/wasm.ts';
import type { LazyFlags, LazyOp, Size } from './builder.ts';
import { type FlagPair, pairOfAdd, pairOfIncDec, pairOfSub } from './flags.ts';
import type { JitBuilder } from './jit-builder.ts';
import { IMPORTS, TYPE } from './wasm-builder.ts';
import { type Val, WasmValues } from './wasm-values.ts';

/** Index of flagsFunction() in every module of regions: it comes first after the imports. */
export const FLAGS_FUNCTION = Object.keys(IMPORTS).length;

/** Kinds of what the locals hold: 0 is the two words (r and x); the others are these plus log2 of the size. */
const KIND = { add: 1, sub: 5, inc: 9, dec: 13 } as const;

export interface FlagLocals {
  readonly kind: number;
  readonly x: number;
  readonly y: number;
  readonly r: number;
}

type Description =
  | { readonly op: 'locals' }
  | { readonly op: 'pair'; readonly res: Val; readonly aux: Val }
  | { readonly op: LazyOp; readonly x: Val; readonly y: Val; readonly r: Val; readonly s: Size };
const LOCALS: Description = { op: 'locals' };

export class JitFlags implements LazyFlags<Val> {
  private readonly b: JitBuilder;
  private readonly locals: FlagLocals;
  /** Whether what is emitted now may be passed over. */
  private readonly conditional: () => boolean;
  private now: Description = LOCALS;
  /** Flags were set since the innermost construct was opened; and what held before it. */
  private changed = false;
  private before: Description = LOCALS;

  constructor(b: JitBuilder, locals: FlagLocals, conditional: () => boolean) {
    this.b = b;
    this.locals = locals;
    this.conditional = conditional;
  }

  set(op: LazyOp, x: Val, y: Val, r: Val, s: Size): void {
    this.put({ op, x, y, r, s });
  }
  setPair(res: Val, aux: Val): void {
    this.put({ op: 'pair', res, aux });
  }
  private put(d: Description): void {
    this.now = d;
    this.changed = true;
    if (!this.conditional()) return;
    this.spill();
    this.now = LOCALS;
  }
  /** The flags are in the locals, whatever they are. */
  forget(): void {
    this.now = LOCALS;
  }
  /** The flags are the two words in the parameters of a handler. */
  fromParameters(): void {
    const { b } = this;
    b.push64({ type: I64, local: 3, c: 0n, bits: 64 });
    b.set(this.locals.r);
    b.push64({ type: I32, local: 4, c: 0n, bits: 32 });
    b.set(this.locals.x);
    b.c32(0);
    b.set(this.locals.kind);
  }
  /** Values that must be kept for what is to come. */
  values(): Val[] {
    const d = this.now;
    if (d.op === 'locals') return [];
    return d.op === 'pair' ? [d.res, d.aux] : [d.x, d.y, d.r];
  }

  /** Emits what puts the flags into the locals. */
  spill(): void {
    const { b, locals } = this;
    const d = this.now;
    const put = (v: Val, local: number): void => {
      b.push64(v);
      b.set(local);
    };
    if (d.op === 'locals') return;
    if (d.op === 'pair' || d.op === 'logic') {
      put(d.op === 'pair' ? d.res : b.sext(d.r, d.s), locals.r);
      put(d.op === 'pair' ? d.aux : b.k(0), locals.x);
      b.c32(0);
    } else {
      put(d.x, locals.x);
      put(d.y, locals.y);
      put(d.r, locals.r);
      b.c32(KIND[d.op] + Math.log2(d.s));
    }
    b.set(locals.kind);
  }

  /** The two words; kept as the description where that is sure to be executed. */
  pair(): FlagPair<Val> {
    const p = this.compute();
    if (!this.conditional() && this.b.unconditional && this.now.op !== 'pair') this.now = { op: 'pair', res: p[0], aux: p[1] };
    return p;
  }
  private compute(): FlagPair<Val> {
    const { b } = this;
    const d = this.now;
    switch (d.op) {
      case 'pair':
        return [d.res, d.aux];
      case 'logic':
        return [b.sext(d.r, d.s), b.k(0)];
      case 'add':
        return pairOfAdd(b, d.x, d.y, d.r, d.s);
      case 'sub':
        return pairOfSub(b, d.x, d.y, d.r, d.s);
      case 'inc':
      case 'dec':
        return pairOfIncDec(b, d.x, d.r, d.s, d.op === 'dec', d.y);
      default: {
        const { kind, x, y, r } = this.locals;
        for (const l of [kind, x, y, r]) b.get(l);
        b.c32(0);
        b.op(OP.call, FLAGS_FUNCTION);
        const aux = b.take(I32, 32);
        const res = b.take(I64, 64);
        return [res, aux];
      }
    }
  }

  carry(): Val | undefined {
    const { b } = this;
    const d = this.now;
    switch (d.op) {
      case 'add':
        return b.ltU(d.r, d.x);
      case 'sub':
        return b.ltU(d.x, d.y);
      case 'logic':
        return b.k(0);
      case 'inc':
      case 'dec':
        return d.y;
      default:
        return undefined;
    }
  }

  condition(cc: number): Val | undefined {
    const { b } = this;
    const c = this.direct(cc >> 1);
    return c && (cc & 1 ? b.eqz(c) : c);
  }
  // TOUR add 90: And the flags of the ADD: nobody computes them. What set them is remembered while code is emitted, and the JB that follows
  // becomes one comparison; only where the region is left do the two words of flags.ts come into being.
  /** Conditions O, B, Z, BE, S, P, L, LE. */
  private direct(base: number): Val | undefined {
    const { b } = this;
    const d = this.now;
    if (d.op === 'locals' || d.op === 'pair') return undefined;
    const { op, x, y, r, s } = d;
    const zero = b.k(0);
    const negative = (): Val => b.ltS(b.sext(r, s), zero);
    switch (base) {
      case 1:
        return this.carry();
      case 2:
        return op === 'sub' ? b.eq(x, y) : b.eqz(r);
      case 3:
        if (op === 'sub') return b.leU(x, y);
        return op === 'logic' ? b.eqz(r) : undefined;
      case 4:
        return negative();
      case 6:
        if (op === 'sub') return b.ltS(b.sext(x, s), b.sext(y, s));
        if (op === 'logic') return negative();
        if (op === 'dec') return b.ltS(b.sext(x, s), b.k(1));
        return undefined;
      case 7:
        if (op === 'sub') return b.leS(b.sext(x, s), b.sext(y, s));
        if (op === 'logic') return b.leS(b.sext(r, s), zero);
        if (op === 'dec') return b.leS(b.sext(x, s), b.k(1));
        return undefined;
      default:
        return op === 'logic' && base === 0 ? zero : undefined;
    }
  }

  // --- constructs inside an instruction: what may be passed over sets the flags in the locals
  branch(run: () => void): void {
    this.enclose(() => run());
  }
  /** The other arm begins with what held before the construct. */
  arm(run: () => void): void {
    this.now = this.before;
    run();
  }
  loop(run: () => void): void {
    this.enclose(() => {
      this.now = LOCALS;
      run();
    });
  }
  private enclose(run: () => void): void {
    const outer = { changed: this.changed, before: this.before };
    this.spill();
    const before = this.now;
    this.before = before;
    this.changed = false;
    run();
    this.now = this.changed ? LOCALS : before;
    this.changed ||= outer.changed;
    this.before = outer.before;
  }
}

/** (kind, x, y, r, nothing): the two words. */
export function flagsFunction(): FuncBody {
  const b = new FlagsCode();
  b.emit();
  return { type: TYPE.flags, locals: b.locals, code: b.code };
}

class FlagsCode extends WasmValues {
  emit(): void {
    const kind: Val = { type: I32, local: 0, c: 0n, bits: 32 };
    const param = (local: number): Val => ({ type: I64, local, c: 0n, bits: 64 });
    const [x, y, r] = [param(1), param(2), param(3)];
    const one = this.k(1);
    this.if(this.eqz(kind), () => {
      this.push64(r);
      this.push32(x);
      this.op(OP.return);
    });
    const n = this.sub(kind, one);
    const op = this.shr(n, this.k(2));
    const unused = this.sub(this.k(64), this.shl(this.k(8), this.and(n, this.k(3))));
    const counts = this.shr(op, one);
    const minus = this.sub(this.k(0), this.and(op, one));
    const by = this.select(counts, one, y);
    // Carries of an addition, borrows of a subtraction, as in flags.ts: with x inverted and r not, one formula gives both.
    const a = this.xor(x, minus);
    const c = this.or(this.and(a, by), this.and(this.or(a, by), this.xor(r, this.not(minus))));
    const top = this.shr(this.shl(c, unused), this.k(62));
    const overflow = this.and(this.xor(top, this.shr(top, one)), one);
    const carry = this.select(counts, y, this.shr(top, one));
    const cfOf = this.or(this.shl(carry, this.k(31)), this.shl(this.xor(carry, overflow), this.k(30)));
    this.push64(this.sar(this.shl(r, unused), unused));
    this.push32(this.or(cfOf, this.and(c, this.k(8))));
  }
}
