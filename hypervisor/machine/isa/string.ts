// String instructions, alone and repeated.
//
// Registers are written after each element, so a fault in the middle of a repetition leaves it ready to go on. A long one is cut after
// CHUNK elements and run again, so that it can be interrupted. CMPS and SCAS set the flags when they leave: a fault in the middle of
// them restores the flags from before (SDM Vol 2B, REP).

//
// Where a repetition goes upwards and its elements lie in pages that need no check (Builder.direct), a run of them is done at once, with
// the result that one after the other has: string-run.ts.

import type { Builder, Operand, Size, Var } from '../stage/builder.ts';
import { flagsSub } from '../stage/flags.ts';
import { EFLAGS, ES, RAX, RCX, RDI, RSI, STATE } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { sz } from './operand.ts';
import { compareWords, copyRun, fillRun, repeated, searchRun } from './string-run.ts';

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

/** The fewest elements for which a run is worth looking for. */
const MIN_RUN = 4;

/**
 * Elements left, up to where the instruction is cut. `step` does one element or a run of them and answers how many; it is given the most
 * that a run may have, or 0 where it must not look for one.
 */
function count<V, X>(b: Builder<V, X>, goesOn: Var<V>, step: (mostAtOnce: V) => V): { readonly cut: V; readonly some: V } {
  const a = b.mode.addrSize;
  const left = b.var(b.reg(RCX, a));
  const budget = b.var(b.k(CHUNK));
  const upwards = b.eqz(b.and(b.state(STATE.eflags, 4), b.k(EFLAGS.DF)));
  b.while(
    () => b.and(goesOn.get(), b.and(b.ne(left.get(), b.k(0)), b.ne(budget.get(), b.k(0)))),
    () => {
      const most = b.select(b.ltU(left.get(), budget.get()), left.get(), budget.get());
      const n = step(b.select(b.and(upwards, b.leU(b.k(MIN_RUN), most)), most, b.k(0)));
      left.set(b.sub(left.get(), n));
      b.setReg(RCX, a, left.get());
      budget.set(b.sub(budget.get(), n));
    },
  );
  return { cut: b.ne(left.get(), b.k(0)), some: b.ne(budget.get(), b.k(CHUNK)) };
}

/** A run, if one may be looked for and there is one; else an element. Answers how many were done. */
function runOrElement<V, X>(b: Builder<V, X>, most: V, run: ((most: V) => V) | undefined, element: () => void): V {
  if (run === undefined) {
    element();
    return b.k(1);
  }
  const n = b.var(b.k(0));
  b.if(most, () => n.set(run(most)));
  b.if(b.eqz(n.get()), () => {
    element();
    n.set(b.k(1));
  });
  return n.get();
}

/** Runs `element` once, or rCX times under a REP prefix. `run`: up to so many at once; it answers how many. */
function repeat<V, X>(b: Builder<V, X>, element: () => void, run?: (most: V) => V): void {
  if (b.mode.rep === 0) {
    element();
    return;
  }
  const { cut } = count(b, b.var(b.k(1)), (most) => runOrElement(b, most, run, element));
  b.if(cut, () => b.again());
}

/** Runs `element`, which leaves what it compared in x and y, until rCX is zero or ZF is not what the prefix asks for. */
function repeatCompare<V, X>(
  b: Builder<V, X>,
  s: Size,
  element: (x: Var<V>, y: Var<V>) => void,
  run: (most: V, x: Var<V>, y: Var<V>, goesOn: () => V) => V,
): void {
  const x = b.var(b.k(0));
  const y = b.var(b.k(0));
  const setFlags = () => flagsSub(b, x.get(), y.get(), b.zext(b.sub(x.get(), y.get()), s), s);
  if (b.mode.rep === 0) {
    element(x, y);
    setFlags();
    return;
  }
  const goesOn = b.var(b.k(1));
  const same = () => (b.mode.rep === REPNE ? b.ne(x.get(), y.get()) : b.eq(x.get(), y.get()));
  const { cut, some } = count(b, goesOn, (most) => {
    const n = runOrElement(
      b,
      most,
      (m) => run(m, x, y, same),
      () => element(x, y),
    );
    goesOn.set(same());
    return n;
  });
  // With rCX zero from the start nothing was compared and the flags stay.
  b.if(some, setFlags);
  b.if(b.and(goesOn.get(), cut), () => b.again());
}

const source = <V, X>(b: Builder<V, X>, o: Operand): V => b.load(b.segment(o), pointer(b, RSI), sz(o));

export const MOVS = insn('MOVS', {
  sdm: 'Vol 2B, MOVS',
  forms: 'A4 Yb,Xb | A5 Yv,Xv',
  operands: { dst: 'w', src: 'r' },
  sem(b, { src }) {
    const s = sz(src);
    const by = step(b, s);
    repeat(
      b,
      () => {
        b.store(ES, pointer(b, RDI), s, source(b, src));
        advance(b, RSI, by);
        advance(b, RDI, by);
      },
      (most) => {
        const from = { seg: b.segment(src), offset: pointer(b, RSI), write: false };
        const d = b.direct(s, most, from, { seg: ES, offset: pointer(b, RDI), write: true });
        const bytes = b.shl(d.count, b.k(Math.log2(s)));
        b.if(d.count, () => {
          copyRun(b, d.second, d.first, bytes, s);
          advance(b, RSI, bytes);
          advance(b, RDI, bytes);
        });
        return d.count;
      },
    );
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
    repeat(
      b,
      () => {
        b.store(ES, pointer(b, RDI), s, v);
        advance(b, RDI, by);
      },
      (most) => {
        const d = b.direct(s, most, { seg: ES, offset: pointer(b, RDI), write: true });
        const bytes = b.shl(d.count, b.k(Math.log2(s)));
        b.if(d.count, () => {
          fillRun(b, d.first, repeated(b, v, s), bytes, s);
          advance(b, RDI, bytes);
        });
        return d.count;
      },
    );
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
    repeatCompare(
      b,
      s,
      (x, y) => {
        x.set(source(b, src));
        y.set(b.load(ES, pointer(b, RDI), s));
        advance(b, RSI, by);
        advance(b, RDI, by);
      },
      (most, x, y, goesOn) => {
        const from = { seg: b.segment(src), offset: pointer(b, RSI), write: false };
        const d = b.direct(s, most, from, { seg: ES, offset: pointer(b, RDI), write: false });
        const n = b.var(b.k(0));
        b.if(d.count, () => {
          const hasEnd = compareWords(b, s, b.mode.rep === REPNE);
          const done = searchRun(b, s, b.shl(d.count, b.k(Math.log2(s))), (i) => ({
            hasEnd: () => hasEnd(b.hostLoad(b.add(d.first, i), 8), b.hostLoad(b.add(d.second, i), 8)),
            element: () => {
              x.set(b.hostLoad(b.add(d.first, i), s));
              y.set(b.hostLoad(b.add(d.second, i), s));
              return goesOn();
            },
          }));
          advance(b, RSI, done);
          advance(b, RDI, done);
          n.set(b.shr(done, b.k(Math.log2(s))));
        });
        return n.get();
      },
    );
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
    repeatCompare(
      b,
      s,
      (x, y) => {
        x.set(v);
        y.set(b.load(ES, pointer(b, RDI), s));
        advance(b, RDI, by);
      },
      (most, x, y, goesOn) => {
        const d = b.direct(s, most, { seg: ES, offset: pointer(b, RDI), write: false });
        const n = b.var(b.k(0));
        b.if(d.count, () => {
          const hasEnd = compareWords(b, s, b.mode.rep === REPNE);
          const pattern = repeated(b, v, s);
          x.set(v);
          const done = searchRun(b, s, b.shl(d.count, b.k(Math.log2(s))), (i) => ({
            hasEnd: () => hasEnd(pattern, b.hostLoad(b.add(d.first, i), 8)),
            element: () => {
              y.set(b.hostLoad(b.add(d.first, i), s));
              return goesOn();
            },
          }));
          advance(b, RDI, done);
          n.set(b.shr(done, b.k(Math.log2(s))));
        });
        return n.get();
      },
    );
  },
});
