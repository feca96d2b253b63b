// PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM: strings of up to sixteen bytes or eight words (SDM Vol 2B, 4.1).
//
// "First" is the string in the destination operand, "second" that in the source, which may be in memory. What the manual draws as a
// matrix of comparisons is worked through by the first string's elements: each is compared with all of the second at once, which gives
// one bit for each of these.

import type { Builder, Operand } from '../stage/builder.ts';
import { setFromEflags } from '../stage/flags.ts';
import { RAX, RCX, RDX } from '../state.ts';
import { type AnyInsn, insn, OSZAPC } from './insn.ts';
import { maskX, needSse, splatByte } from './sse-common.ts';

/** imm8 (SDM Vol 2B, 4.1.1 to 4.1.5). */
const WORDS = 0x01;
const SIGNED = 0x02;
const AGGREGATION = 0x0c;
const RANGES = 0x04;
const EQUAL_EACH = 0x08;
const EQUAL_ORDERED = 0x0c;
const NEGATIVE = 0x10;
const MASKED = 0x20;
const OTHER_OUTPUT = 0x40;

type Lanes = 'i8x16' | 'i16x8';

interface Strings<V, X> {
  readonly first: X;
  readonly second: X;
  /** In elements. */
  readonly firstLength: V;
  readonly secondLength: V;
  readonly imm: V;
}

/** The first n bits set. */
const ones = <V>(b: Builder<V>, n: V): V => b.sub(b.shl(b.k(1), n), b.k(1));
const has = <V>(b: Builder<V>, imm: V, bit: number): V => b.and(imm, b.k(bit));

/** Element i in all lanes. */
function splatElement<V, X>(b: Builder<V, X>, lanes: Lanes, x: X, i: V): X {
  if (lanes === 'i8x16') return b.x.op2('i8x16.swizzle', x, splatByte(b, i));
  const pair = b.add(b.mul(i, b.k(0x0202)), b.k(0x0100));
  const half = b.mul(pair, b.k(0x0001000100010001n));
  return b.x.op2('i8x16.swizzle', x, b.x.make(half, half));
}

/** One bit for each element of the second string, by the aggregation that imm8 names; invalid elements overridden (SDM Vol 2B, table 4-7). */
function aggregate<V, X>(b: Builder<V, X>, lanes: Lanes, s: Strings<V, X>): V {
  const { first, second, firstLength, imm } = s;
  const all = b.k(lanes === 'i8x16' ? 0xffff : 0xff);
  const secondValid = ones(b, s.secondLength);
  const equalTo = (i: V): V => b.x.bitmask(lanes, b.x.op2(`${lanes}.eq`, second, splatElement(b, lanes, first, i)));
  const result = b.var(b.k(0));
  /** For i = 0, step, ... as long as i + step does not pass the first string's end. */
  const forFirst = (step: number, body: (i: V) => void): void => {
    const i = b.var(b.k(0));
    b.while(
      () => b.leU(b.add(i.get(), b.k(step)), firstLength),
      () => {
        const at = i.get();
        body(at);
        i.set(b.add(at, b.k(step)));
      },
    );
  };
  const kind = has(b, imm, AGGREGATION);
  const when = (value: number, then: () => void): void => b.if(b.eq(kind, b.k(value)), then);
  when(0, () => {
    forFirst(1, (i) => result.set(b.or(result.get(), equalTo(i))));
    result.set(b.and(result.get(), secondValid));
  });
  when(RANGES, () => {
    // Unsigned comparisons are signed ones of elements with their top bit flipped.
    const top = lanes === 'i8x16' ? 0x8080808080808080n : 0x8000800080008000n;
    const flip = b.x.op2('v128.and', maskX(b, b.eqz(has(b, imm, SIGNED))), b.x.constant(top, top));
    const bounds = b.x.op2('v128.xor', first, flip);
    const values = b.x.op2('v128.xor', second, flip);
    forFirst(2, (i) => {
      const above = b.x.op2(`${lanes}.ge_s`, values, splatElement(b, lanes, bounds, i));
      const below = b.x.op2(`${lanes}.le_s`, values, splatElement(b, lanes, bounds, b.add(i, b.k(1))));
      result.set(b.or(result.get(), b.x.bitmask(lanes, b.x.op2('v128.and', above, below))));
    });
    result.set(b.and(result.get(), secondValid));
  });
  when(EQUAL_EACH, () => {
    const firstValid = ones(b, firstLength);
    const equal = b.x.bitmask(lanes, b.x.op2(`${lanes}.eq`, first, second));
    const both = b.and(firstValid, secondValid);
    const neither = b.and(all, b.not(b.or(firstValid, secondValid)));
    result.set(b.or(b.and(equal, both), neither));
  });
  when(EQUAL_ORDERED, () => {
    // Bit j: element i is equal to element j + i, or that lies past the last one.
    result.set(all);
    forFirst(1, (i) => {
      const here = b.or(b.and(equalTo(i), secondValid), b.not(all));
      result.set(b.and(result.get(), b.shr(here, i)));
    });
  });
  return result.get();
}

/** IntRes2 of the manual and what flags come of it; `write` gets it with the number of elements in a string. */
function compare<V, X>(b: Builder<V, X>, s: Strings<V, X>, elements: V, write: (result: V) => void): void {
  const { imm, firstLength, secondLength } = s;
  const raw = b.var(b.k(0));
  b.if(
    has(b, imm, WORDS),
    () => raw.set(aggregate(b, 'i16x8', s)),
    () => raw.set(aggregate(b, 'i8x16', s)),
  );
  const inverted = b.select(has(b, imm, MASKED), ones(b, secondLength), ones(b, elements));
  const result = b.xor(raw.get(), b.select(has(b, imm, NEGATIVE), inverted, b.k(0)));
  write(result);
  const cf = b.ne(result, b.k(0));
  const zf = b.ltU(secondLength, elements);
  const sf = b.ltU(firstLength, elements);
  const of = b.and(result, b.k(1));
  setFromEflags(b, b.or(b.or(cf, b.shl(zf, b.k(6))), b.or(b.shl(sf, b.k(7)), b.shl(of, b.k(11)))));
}

/** Elements before the first that is zero. */
function implicitLength<V, X>(b: Builder<V, X>, x: X, imm: V, elements: V): V {
  const zero = b.x.constant(0n, 0n);
  const zeroes = (lanes: Lanes): V => b.x.bitmask(lanes, b.x.op2(`${lanes}.eq`, x, zero));
  const ends = b.select(has(b, imm, WORDS), zeroes('i16x8'), zeroes('i8x16'));
  return b.ctz(b.or(ends, b.shl(b.k(1), elements)));
}
/** The absolute value of a register, but not more than there is room for. */
function explicitLength<V>(b: Builder<V>, register: number, wide: boolean, elements: V): V {
  const v = wide ? b.reg(register, 8) : b.sext(b.reg(register, 4), 4);
  const sign = b.sar(v, b.k(63));
  const magnitude = b.sub(b.xor(v, sign), sign);
  return b.select(b.ltU(magnitude, elements), magnitude, elements);
}

/** Index to ECX: of the lowest bit set, or the highest; the number of elements when there is none. */
function writeIndex<V, X>(b: Builder<V, X>, imm: V, elements: V, result: V): void {
  const index = b.select(has(b, imm, OTHER_OUTPUT), b.sub(b.k(63), b.clz(result)), b.ctz(result));
  b.setReg(RCX, 4, b.select(result, index, elements));
}
/** Mask to XMM0: the bits as they are, or each as a byte or word. */
function writeMask<V, X>(b: Builder<V, X>, imm: V, _elements: V, result: V): void {
  const spread = (from: X, low: bigint, high: bigint): X => {
    const bits = b.x.constant(low, high);
    return b.x.op2('i8x16.eq', b.x.op2('v128.and', from, bits), bits);
  };
  const bits = b.x.make(result, b.k(0));
  const twice = b.x.shuffle(bits, bits, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  const bytes = spread(twice, 0x8040201008040201n, 0x8040201008040201n);
  const words = spread(splatByte(b, b.zext(result, 1)), 0x0808040402020101n, 0x8080404020201010n);
  const isWords = maskX(b, b.ne(has(b, imm, WORDS), b.k(0)));
  const isSpread = maskX(b, b.ne(has(b, imm, OTHER_OUTPUT), b.k(0)));
  b.x.setReg(0, b.x.bitselect(b.x.bitselect(words, bytes, isWords), bits, isSpread));
}

type Output = <V, X>(b: Builder<V, X>, imm: V, elements: V, result: V) => void;
const compareStrings = (mnemonic: string, opcode: string, isExplicit: boolean, output: Output): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2B, ${mnemonic}`,
    forms: `66 0F 3A ${opcode} /r Vx,Wx,Ib`,
    cpuid: 'sse4_2',
    operands: { first: 'r', second: 'r', imm: 'r' },
    flags: { writes: OSZAPC },
    sem(b, o: { first: Operand<'r'>; second: Operand<'r'>; imm: Operand<'r'> }, c) {
      needSse(b);
      // Memory need not be aligned (SDM Vol 2B, 4.1).
      const second = b.x.read(o.second, false);
      const first = b.x.read(o.first, false);
      const imm = b.read(o.imm);
      const elements = b.shr(b.k(16), has(b, imm, WORDS));
      const length = (x: typeof first, register: number) =>
        isExplicit ? explicitLength(b, register, c.size === 8, elements) : implicitLength(b, x, imm, elements);
      const firstLength = length(first, RAX);
      const secondLength = length(second, RDX);
      compare(b, { first, second, firstLength, secondLength, imm }, elements, (result) => output(b, imm, elements, result));
    },
  });

export const PCMPESTRM = compareStrings('PCMPESTRM', '60', true, writeMask);
export const PCMPESTRI = compareStrings('PCMPESTRI', '61', true, writeIndex);
export const PCMPISTRM = compareStrings('PCMPISTRM', '62', false, writeMask);
export const PCMPISTRI = compareStrings('PCMPISTRI', '63', false, writeIndex);
