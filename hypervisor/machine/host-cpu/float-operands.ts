// Operands for floating point: patterns with a liking for what is special, and values that belong together, so that sums cancel, quotients
// come out even, and results fall on the borders of overflow, underflow and rounding.

import { initialFxsave, WINDOW_SIZE } from './case.ts';
import type { Random } from './random.ts';

const ALL_MASKED = 0x1f80;
const PE = 0x20;

/** Mostly what programs run under; also other roundings, DAZ and FTZ, flags that are set already, and exceptions that are not masked. */
export function randomMxcsr(random: Random): number {
  const masks = random.chance(0.7) ? ALL_MASKED : random.below(64) << 7;
  const flags = random.chance(0.7) ? (random.chance(0.5) ? PE : 0) : random.below(64);
  const rounding = random.chance(0.5) ? 0 : random.below(4) << 13;
  const daz = random.chance(0.2) ? 0x40 : 0;
  const ftz = random.chance(0.2) ? 0x8000 : 0;
  return masks | flags | rounding | daz | ftz;
}

interface Shape {
  readonly bits: 32 | 64;
  readonly fraction: number;
  readonly bias: number;
}
const SINGLE: Shape = { bits: 32, fraction: 23, bias: 127 };
const DOUBLE: Shape = { bits: 64, fraction: 52, bias: 1023 };

/** Fractions with few bits, with all, and just beside those; or anything. */
function fraction(random: Random, { fraction: n }: Shape): bigint {
  const all = (1n << BigInt(n)) - 1n;
  switch (random.below(6)) {
    case 0:
      return 0n;
    case 1:
      return random.pick([1n, 2n, 3n, all, all - 1n, 1n << BigInt(n - 1), (1n << BigInt(n - 1)) + 1n, (1n << BigInt(n - 1)) - 1n]);
    case 2:
      return random.u64() & all & ~((1n << BigInt(random.below(n))) - 1n);
    case 3:
      return (all >> BigInt(random.below(n))) & all;
    default:
      return random.u64() & all;
  }
}

function exponent(random: Random, { bias }: Shape): number {
  const top = 2 * bias + 1;
  switch (random.below(8)) {
    case 0:
      return 0;
    case 1:
      return random.chance(0.5) ? top : top - 1;
    case 2:
      return 1 + random.below(3);
    case 3:
      // Half of the way to either end: products and quotients meet the border.
      return random.chance(0.5) ? Math.floor(bias / 2) + random.below(4) : Math.floor((3 * bias) / 2) - random.below(4);
    case 4:
      // Around what integers can hold.
      return bias + random.pick([15, 22, 23, 24, 29, 30, 31, 32, 51, 52, 53, 61, 62, 63, 64]);
    case 5:
      return random.below(top + 1);
    default:
      return bias + random.below(12) - 6;
  }
}

/** A pattern of one element. */
function pattern(random: Random, s: Shape): bigint {
  const sign = random.chance(0.4) ? 1n << BigInt(s.bits - 1) : 0n;
  return sign | (BigInt(exponent(random, s)) << BigInt(s.fraction)) | fraction(random, s);
}

/** Another value with something in common: the same, its negative, a neighbour, or one whose exponent is a rounding's distance away. */
function relative(random: Random, s: Shape, v: bigint): bigint {
  const mask = (1n << BigInt(s.bits)) - 1n;
  switch (random.below(5)) {
    case 0:
      return v;
    case 1:
      return v ^ (1n << BigInt(s.bits - 1));
    case 2:
      return (v + BigInt(random.below(5) - 2)) & mask;
    case 3:
      return (v - (BigInt(s.fraction + random.below(4) - 1) << BigInt(s.fraction))) & mask;
    default:
      return (v & ~((1n << BigInt(s.fraction)) - 1n)) | fraction(random, s);
  }
}

/** `bytes` filled with elements of one format, most of them related to each other. */
function fill(random: Random, bytes: DataView, from: number, to: number, s: Shape): void {
  const plain = random.chance(0.5);
  let v = pattern(random, s);
  for (let at = from; at < to; at += s.bits / 8) {
    v = plain || random.chance(0.3) ? pattern(random, s) : relative(random, s, v);
    // Where all is to go without events: values around one.
    if (plain && random.chance(0.8))
      v = (v & ~(BigInt(2 * s.bias + 1) << BigInt(s.fraction))) | (BigInt(s.bias + random.below(9) - 4) << BigInt(s.fraction));
    if (s === SINGLE) bytes.setUint32(at, Number(v), true);
    else bytes.setBigUint64(at, v, true);
  }
}

/** An FXSAVE image with floating-point values in XMM registers; x87 and MMX registers at random, none pending. */
export function floatFxsave(random: Random, singles: boolean): Uint8Array {
  const image = initialFxsave();
  const view = new DataView(image.buffer);
  fill(random, view, 160, 416, singles ? SINGLE : DOUBLE);
  for (let i = 0; i < 8; i++) {
    view.setBigUint64(32 + i * 16, random.value(), true);
    view.setUint16(40 + i * 16, random.below(0x10000), true);
  }
  view.setUint16(2, random.below(8) << 11, true);
  view.setUint8(4, random.below(256));
  view.setUint32(24, randomMxcsr(random), true);
  return image;
}

export function floatWindow(random: Random, singles: boolean): Uint8Array {
  const window = new Uint8Array(WINDOW_SIZE);
  fill(random, new DataView(window.buffer), 0, WINDOW_SIZE, singles ? SINGLE : DOUBLE);
  return window;
}

/** Instructions that take floating-point operands from XMM registers or memory. CVTSI2SD, CVTDQ2PS and their like take integers. */
export const takesFloats = (mnemonic: string): boolean =>
  /^(R?SQRT|RCP|ADD|SUB|MUL|DIV|MIN|MAX|ADDSUB|HADD|HSUB|DP|ROUND|CMP|U?COMI)[PS][SD]$|^CVTT?[PS][SD]2/.test(mnemonic);
/** Of single precision, by the mnemonic. */
export const takesSingles = (mnemonic: string): boolean => (mnemonic.startsWith('CVT') ? /^CVTT?[PS]S/ : /[PS]S$/).test(mnemonic);
