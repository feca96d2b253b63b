// Runs of string elements in memory that needs no check, at host addresses: copied, filled and searched in words of 8 bytes or in bulk,
// with the result that one element after the other has.

import type { Builder, Size } from '../stage/builder.ts';

/** From so many bytes on a call for the whole is quicker than words in a loop. */
const BULK = 128;

/** Adds up `by` from i on while it stays below `end`, running `body` before each. */
function upTo<V, X>(b: Builder<V, X>, start: V, end: V, by: number, body: (i: V) => void): V {
  const i = b.var(start);
  b.while(
    () => b.leU(b.add(i.get(), b.k(by)), end),
    () => {
      body(i.get());
      i.set(b.add(i.get(), b.k(by)));
    },
  );
  return i.get();
}

/**
 * Elements of size s moved upwards, one after the other. Where the target begins inside the source, by `distance`, what lies between is
 * repeated to the end; where it does by less than an element, each must see what the one before it wrote.
 */
export function copyRun<V, X>(b: Builder<V, X>, to: V, from: V, bytes: V, s: Size): void {
  const distance = b.zext(b.sub(to, from), 4);
  const move = (size: Size) => (i: V) => b.hostStore(b.add(to, i), size, b.hostLoad(b.add(from, i), size));
  const inElements = (start: V) => upTo(b, start, bytes, s, move(s));
  b.if(
    b.and(b.leU(b.k(8), distance), b.leU(b.k(BULK), bytes)),
    () => {
      const piece = b.var(b.select(b.ltU(distance, bytes), distance, bytes));
      const done = b.var(b.k(0));
      b.while(
        () => b.ltU(done.get(), bytes),
        () => {
          const left = b.sub(bytes, done.get());
          const n = b.select(b.ltU(piece.get(), left), piece.get(), left);
          b.hostCopy(b.add(to, done.get()), from, n);
          // What stands from `from` on is periodic for so much longer.
          done.set(b.add(done.get(), n));
          piece.set(b.add(piece.get(), n));
        },
      );
    },
    () => {
      const done = b.var(b.k(0));
      b.if(b.leU(b.k(8), distance), () => done.set(upTo(b, b.k(0), bytes, 8, move(8))));
      inElements(done.get());
    },
  );
}

/** An element's value in all parts of a word. */
export function repeated<V, X>(b: Builder<V, X>, v: V, s: Size): V {
  return s === 8 ? v : b.mul(v, b.k(onesOf(s)));
}
const ONES = { 1: 0x0101_0101_0101_0101n, 2: 0x0001_0001_0001_0001n, 4: 0x0000_0001_0000_0001n, 8: 1n } as const;
const onesOf = (s: Size): bigint => ONES[s];

export function fillRun<V, X>(b: Builder<V, X>, to: V, word: V, bytes: V, s: Size): void {
  b.if(
    b.and(b.eq(word, b.rotl(word, b.k(8))), b.leU(b.k(BULK), bytes)),
    () => b.hostFill(to, b.zext(word, 1), bytes),
    () => {
      const done = upTo(b, b.k(0), bytes, 8, (i) => b.hostStore(b.add(to, i), 8, word));
      upTo(b, done, bytes, s, (i) => b.hostStore(b.add(to, i), s, word));
    },
  );
}

/** Whether a repeated comparison may end within two words: an element equal in both (`ends` on equality) or one that differs. */
export function compareWords<V, X>(b: Builder<V, X>, s: Size, endsOnEqual: boolean): (x: V, y: V) => V {
  if (!endsOnEqual) return (x, y) => b.ne(x, y);
  const ones = onesOf(s);
  const tops = ones << BigInt(s * 8 - 1);
  return (x, y) => {
    const d = b.xor(x, y);
    // Not zero where an element of d is (Hacker's Delight, 6-1).
    return b.ne(b.and(b.and(b.sub(d, b.k(ones)), b.not(d)), b.k(tops)), b.k(0));
  };
}

interface Place<V> {
  /** Whether the search may end within the word here. */
  readonly hasEnd: () => V;
  /** Looks at the element here; whether to go on. */
  readonly element: () => V;
}

/** Looks at elements up to the one that ends the search, or all of them, the last one by itself in any case. Answers how many bytes. */
export function searchRun<V, X>(b: Builder<V, X>, s: Size, bytes: V, place: (i: V) => Place<V>): V {
  const i = b.var(b.k(0));
  const goesOn = b.var(b.k(1));
  b.while(
    () => b.and(goesOn.get(), b.ltU(b.add(i.get(), b.k(8)), bytes)),
    () => {
      const ends = place(i.get()).hasEnd();
      goesOn.set(b.eqz(ends));
      i.set(b.select(ends, i.get(), b.add(i.get(), b.k(8))));
    },
  );
  goesOn.set(b.k(1));
  b.while(
    () => b.and(goesOn.get(), b.ltU(i.get(), bytes)),
    () => {
      goesOn.set(place(i.get()).element());
      i.set(b.add(i.get(), b.k(s)));
    },
  );
  return i.get();
}
