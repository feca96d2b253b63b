// The arithmetic behind the AES S-box, worked out when the module is loaded: tables of sixteen entries, so that the S-box of sixteen bytes
// at once is a few table look-ups in vector registers.
//
// A byte is an element of GF(256); over the subfield GF(16) it is k + i*t, where t is a root of t^2 + a*t + a. With j = i + k and 1/0 taken
// as infinity,
//   u = 1/(1/(1/i + a/k) + j)    v = 1/(1/(1/j + a/k) + i)
// are (k + a*i)/n and (k + a*j)/n, where n = k^2 + a*i*k + a*i^2 is the element's norm; and its inverse, ((k + a*i) + i*t)/n, is a linear
// function of u and v. So the S-box is a linear map (two look-ups, by the byte's nibbles), inverses in GF(16), and a table each for u and v.
// The method is M. Hamburg's, "Accelerating AES with Vector Permute Instructions" (CHES 2009); what is here is derived from that formula.

/** Sixteen bytes, as the halves of a vector constant. */
export type Table = readonly [low: bigint, high: bigint];
const pack = (bytes: readonly number[]): Table => {
  const half = (at: number): bigint => bytes.slice(at, at + 8).reduceRight((v, x) => (v << 8n) | BigInt(x), 0n);
  return [half(0), half(8)];
};
const tableOf = (f: (n: number) => number): Table => pack(Array.from({ length: 16 }, (_, n) => f(n)));

/** Product in GF(256) with the polynomial x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2). */
export function multiply(x: number, y: number): number {
  let product = 0;
  for (let p = x, q = y; q !== 0; q >>= 1) {
    if (q & 1) product ^= p;
    p = (p << 1) ^ (p & 0x80 ? 0x11b : 0);
  }
  return product;
}
const BYTES = Array.from({ length: 256 }, (_, n) => n);
const inverse = (x: number): number => BYTES.find((y) => multiply(x, y) === 1) ?? 0;

/** The affine map of the S-box without its constant (FIPS 197, 5.1.1), and the way back. */
const CONSTANT = 0x63;
const rotate = (x: number, n: number): number => ((x << n) | (x >> (8 - n))) & 0xff;
const affine = (x: number): number => x ^ rotate(x, 1) ^ rotate(x, 2) ^ rotate(x, 3) ^ rotate(x, 4);
const unaffine = (x: number): number => rotate(x, 1) ^ rotate(x, 3) ^ rotate(x, 6);

/** GF(16) inside GF(256): the elements that are their own sixteenth power, numbered so that addition stays exclusive or. */
const power4 = (x: number): number => [1, 2, 3, 4].reduce((p) => multiply(p, p), x);
const SUBFIELD = ((): readonly number[] => {
  const members = BYTES.filter((x) => power4(x) === x);
  const basis: number[] = [];
  const span = new Set([0]);
  for (const m of members) {
    if (span.has(m)) continue;
    basis.push(m);
    for (const s of [...span]) span.add(s ^ m);
  }
  return Array.from({ length: 16 }, (_, n) => basis.reduce((v, m, bit) => (n & (1 << bit) ? v ^ m : v), 0));
})();
const numberOf = (member: number): number => SUBFIELD.indexOf(member);
const member = (n: number): number => SUBFIELD[n] ?? 0;

/** a such that the polynomial has its roots outside the subfield, and one of these. */
const [A, T] = ((): readonly [number, number] => {
  for (const a of SUBFIELD) {
    const roots = BYTES.filter((t) => (multiply(t, t) ^ multiply(a, t) ^ a) === 0);
    const [t] = roots;
    if (a !== 0 && t !== undefined && roots.every((r) => numberOf(r) < 0)) return [a, t];
  }
  throw new Error('GF(256) has elements that GF(16) has not');
})();

/** A byte as k | i << 4. */
const split = (x: number): number => {
  for (let i = 0; i < 16; i++) {
    const k = numberOf(x ^ multiply(member(i), T));
    if (k >= 0) return k | (i << 4);
  }
  throw new Error('k + i*t reaches every element');
};
/** The inverse of k + i*t as a function of u and v, both numbers of subfield members: k/n = (u + v)/a, i/n = (u + k/n)/a. */
const inverseFrom = (u: number, v: number): number => {
  const over = inverse(A);
  const kn = multiply(member(u) ^ member(v), over);
  return member(u) ^ multiply(multiply(member(u) ^ kn, over), T);
};

/** Stands for infinity: no index into a table, and what it picks is zero. */
const INFINITY = 0x80;
const reciprocal = (n: number): number => (n === 0 ? 0 : numberOf(inverse(member(n))));
/** 1/n and a/n. */
export const INVERSE = tableOf((n) => (n === 0 ? INFINITY : reciprocal(n)));
export const A_OVER = tableOf((n) => (n === 0 ? INFINITY : numberOf(multiply(A, inverse(member(n))))));

/** The tables of one direction: the byte's low and high nibble to k | i << 4; 1/u and 1/v to the result. */
export interface Box {
  readonly low: Table;
  readonly high: Table;
  readonly fromU: Table;
  readonly fromV: Table;
  /** Added to the result. */
  readonly constant: number;
}
export const S_BOX: Box = {
  low: tableOf((n) => split(n)),
  high: tableOf((n) => split(n << 4)),
  fromU: tableOf((n) => affine(inverseFrom(reciprocal(n), 0))),
  fromV: tableOf((n) => affine(inverseFrom(0, reciprocal(n)))),
  constant: CONSTANT,
};
export const INVERSE_S_BOX: Box = {
  low: tableOf((n) => split(unaffine(n ^ CONSTANT))),
  high: tableOf((n) => split(unaffine(n << 4))),
  fromU: tableOf((n) => inverseFrom(reciprocal(n), 0)),
  fromV: tableOf((n) => inverseFrom(0, reciprocal(n))),
  constant: 0,
};
