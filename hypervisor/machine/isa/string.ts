// String instructions, alone and repeated.
//
// Registers are written after each element, so a fault in the middle of a repetition leaves it ready to go on. A long one is cut after
// CHUNK elements and run again, so that it can be interrupted. CMPS and SCAS set the flags when they leave: a fault in the middle of
// them restores the flags from before (SDM Vol 2B, REP).

import type { Builder, Operand, Size, Var } from '../stage/builder.ts';
import { flagsSub } from '../stage/flags.ts';
import { EFLAGS, ES, RAX, RCX, RDI, RSI, STATE } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { sz } from './operand.ts';

/** Elements per execution of a repeated instruction. */
const CHUNK = 1024;
/** F2, which ends a comparison at the first equal element; F3 ends it at the first unequal one. */
const REPNE = 0xf2;

/** Distance to the next element: the size, or minus the size with DF set. */
function step<V, X>(b: Builder<V, X>, s: Size): V {
  return b.select(b.and(b.state(STATE.eflags, 4), b.k(EFLAGS.DF)), b.k(-s), b.k(s));
}

const pointer = <V, X>(b: Builder<V, X>, n: number): V => b.reg(n, b.mode.addrSize);
const advance = <V, X>(b: Builder<V, X>, n: number, by: V): void =>
  b.setReg(n, b.mode.addrSize, b.zext(b.add(pointer(b, n), by), b.mode.addrSize));

/** Runs `element` once, or rCX times under a REP prefix. */
function repeat<V, X>(b: Builder<V, X>, element: () => void): void {
  if (b.mode.rep === 0) {
    element();
    return;
  }
  const a = b.mode.addrSize;
  const left = b.var(b.reg(RCX, a));
  const budget = b.var(b.k(CHUNK));
  b.while(
    () => b.and(b.ne(left.get(), b.k(0)), b.ne(budget.get(), b.k(0))),
    () => {
      element();
      left.set(b.sub(left.get(), b.k(1)));
      b.setReg(RCX, a, left.get());
      budget.set(b.sub(budget.get(), b.k(1)));
    },
  );
  b.if(b.ne(left.get(), b.k(0)), () => b.again());
}

/** Runs `element`, which leaves what it compared in x and y, until rCX is zero or ZF is not what the prefix asks for. */
function repeatCompare<V, X>(b: Builder<V, X>, s: Size, element: (x: Var<V>, y: Var<V>) => void): void {
  const x = b.var(b.k(0));
  const y = b.var(b.k(0));
  const setFlags = () => flagsSub(b, x.get(), y.get(), b.zext(b.sub(x.get(), y.get()), s), s);
  if (b.mode.rep === 0) {
    element(x, y);
    setFlags();
    return;
  }
  const a = b.mode.addrSize;
  const left = b.var(b.reg(RCX, a));
  const budget = b.var(b.k(CHUNK));
  const goesOn = b.var(b.k(1));
  b.while(
    () => b.and(goesOn.get(), b.and(b.ne(left.get(), b.k(0)), b.ne(budget.get(), b.k(0)))),
    () => {
      element(x, y);
      left.set(b.sub(left.get(), b.k(1)));
      b.setReg(RCX, a, left.get());
      budget.set(b.sub(budget.get(), b.k(1)));
      goesOn.set(b.mode.rep === REPNE ? b.ne(x.get(), y.get()) : b.eq(x.get(), y.get()));
    },
  );
  // With rCX zero from the start nothing was compared and the flags stay.
  b.if(b.ne(budget.get(), b.k(CHUNK)), setFlags);
  b.if(b.and(goesOn.get(), b.ne(left.get(), b.k(0))), () => b.again());
}

const source = <V, X>(b: Builder<V, X>, o: Operand): V => b.load(b.segment(o), pointer(b, RSI), sz(o));

export const MOVS = insn('MOVS', {
  sdm: 'Vol 2B, MOVS',
  forms: 'A4 Yb,Xb | A5 Yv,Xv',
  operands: { dst: 'w', src: 'r' },
  sem(b, { src }) {
    const s = sz(src);
    const by = step(b, s);
    repeat(b, () => {
      b.store(ES, pointer(b, RDI), s, source(b, src));
      advance(b, RSI, by);
      advance(b, RDI, by);
    });
  },
});

export const STOS = insn('STOS', {
  sdm: 'Vol 2B, STOS',
  forms: 'AA Yb,AL | AB Yv,rAX',
  operands: { dst: 'w', src: 'r' },
  sem(b, { src }) {
    const s = sz(src);
    const by = step(b, s);
    const v = b.reg(RAX, s);
    repeat(b, () => {
      b.store(ES, pointer(b, RDI), s, v);
      advance(b, RDI, by);
    });
  },
});

export const LODS = insn('LODS', {
  sdm: 'Vol 2A, LODS',
  forms: 'AC AL,Xb | AD rAX,Xv',
  operands: { dst: 'w', src: 'r' },
  sem(b, { src }) {
    const s = sz(src);
    const by = step(b, s);
    repeat(b, () => {
      b.setReg(RAX, s, source(b, src));
      advance(b, RSI, by);
    });
  },
});

export const CMPS = insn('CMPS', {
  sdm: 'Vol 2A, CMPS',
  forms: 'A6 Xb,Yb | A7 Xv,Yv',
  operands: { src: 'r', dst: 'r' },
  flags: { writes: OSZAPC },
  sem(b, { src }) {
    const s = sz(src);
    const by = step(b, s);
    repeatCompare(b, s, (x, y) => {
      x.set(source(b, src));
      y.set(b.load(ES, pointer(b, RDI), s));
      advance(b, RSI, by);
      advance(b, RDI, by);
    });
  },
});

export const SCAS = insn('SCAS', {
  sdm: 'Vol 2B, SCAS',
  forms: 'AE AL,Yb | AF rAX,Yv',
  operands: { src: 'r', dst: 'r' },
  flags: { writes: OSZAPC },
  sem(b, { src }) {
    const s = sz(src);
    const by = step(b, s);
    const v = b.reg(RAX, s);
    repeatCompare(b, s, (x, y) => {
      x.set(v);
      y.set(b.load(ES, pointer(b, RDI), s));
      advance(b, RDI, by);
    });
  },
});
