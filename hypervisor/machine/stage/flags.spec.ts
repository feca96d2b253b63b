// The flag scheme against a reference that adds bit by bit.

import { describe, expect, it } from 'vitest';
import type { Decoded } from '../isa/decoded.ts';
import { NOP } from '../isa/flow.ts';
import type { Size } from './builder.ts';
import { flagsFromEflags, flagsToEflags } from './flag-words.ts';
import {
  condition,
  flagAF,
  flagCF,
  flagOF,
  flagPF,
  flagSF,
  flagsAdd,
  flagsIncDec,
  flagsLogic,
  flagsResult,
  flagsSub,
  flagZF,
  setCfOf,
  setFromEflags,
  toEflags,
} from './flags.ts';
import { OracleBuilder } from './oracle.ts';
import { type OracleMemory, OracleState } from './oracle-state.ts';

const noMemory: OracleMemory = {
  load: () => {
    throw new Error('no memory');
  },
  store: () => {
    throw new Error('no memory');
  },
};
const nop: Decoded = { insn: NOP, form: 0, length: 1, opSize: 4, addrSize: 8, rep: 0, lock: false, cc: 0, operands: [] };
const builder = (): OracleBuilder => new OracleBuilder(new OracleState(), noMemory, { bits: 64, stackSize: 8 }, nop);

interface Flags {
  readonly CF: number;
  readonly PF: number;
  readonly AF: number;
  readonly ZF: number;
  readonly SF: number;
  readonly OF: number;
}

const bitOf = (v: bigint, n: number): number => Number((v >> BigInt(n)) & 1n);
function resultFlags(r: bigint, s: Size): Pick<Flags, 'PF' | 'ZF' | 'SF'> {
  let ones = 0;
  for (let i = 0; i < 8; i++) ones += bitOf(r, i);
  let any = 0;
  for (let i = 0; i < s * 8; i++) any |= bitOf(r, i);
  return { PF: ones % 2 === 0 ? 1 : 0, ZF: any === 0 ? 1 : 0, SF: bitOf(r, s * 8 - 1) };
}

/** A chain of full adders (SDM Vol 1, 3.4.3.1); a subtraction adds the complement and inverts the carries. */
function adder(x: bigint, y: bigint, carryIn: number, s: Size, subtract: boolean): { r: bigint; flags: Flags } {
  let carry = subtract ? 1 - carryIn : carryIn;
  let r = 0n;
  let intoTop = 0;
  let outOf3 = 0;
  for (let i = 0; i < s * 8; i++) {
    if (i === s * 8 - 1) intoTop = carry;
    const sum = bitOf(x, i) + (subtract ? 1 - bitOf(y, i) : bitOf(y, i)) + carry;
    r |= BigInt(sum & 1) << BigInt(i);
    carry = sum >> 1;
    if (i === 3) outOf3 = carry;
  }
  const flip = subtract ? 1 : 0;
  return { r, flags: { CF: carry ^ flip, AF: outOf3 ^ flip, OF: intoTop ^ carry, ...resultFlags(r, s) } };
}

const flagsOf = (b: OracleBuilder): Flags => ({
  CF: Number(flagCF(b)),
  PF: Number(flagPF(b)),
  AF: Number(flagAF(b)),
  ZF: Number(flagZF(b)),
  SF: Number(flagSF(b)),
  OF: Number(flagOF(b)),
});

const SIZES: readonly Size[] = [1, 2, 4, 8];
function edges(s: Size): bigint[] {
  const bits = BigInt(s * 8);
  const all = [0n, 1n, 2n, 7n, 8n, 15n, 16n, 0x55n, 0x7fn, 0x80n, 0xffn];
  for (const n of [bits - 1n, bits - 2n, bits]) all.push((1n << n) - 1n, 1n << n, (1n << n) + 1n);
  return [...new Set(all.map((v) => BigInt.asUintN(s * 8, v)))];
}

describe('flags', () => {
  it.each(SIZES)('of additions and subtractions with and without carry, %i bytes', (s) => {
    for (const x of edges(s)) {
      for (const y of edges(s)) {
        for (const carry of [0, 1]) {
          const b = builder();
          const sum = adder(x, y, carry, s, false);
          flagsAdd(b, x, y, sum.r, s);
          expect(flagsOf(b), `${x} + ${y} + ${carry}`).toEqual(sum.flags);
          const difference = adder(x, y, carry, s, true);
          flagsSub(b, x, y, difference.r, s);
          expect(flagsOf(b), `${x} - ${y} - ${carry}`).toEqual(difference.flags);
        }
      }
    }
  });

  it.each(SIZES)('of INC and DEC, which keep CF, %i bytes', (s) => {
    for (const x of edges(s)) {
      for (const cf of [0, 1]) {
        for (const dec of [false, true]) {
          const b = builder();
          setFromEflags(b, BigInt(cf));
          const { r, flags } = adder(x, 1n, 0, s, dec);
          flagsIncDec(b, x, r, s, dec);
          expect(flagsOf(b), `${x} ${dec ? '- 1' : '+ 1'}`).toEqual({ ...flags, CF: cf });
        }
      }
    }
  });

  it.each(SIZES)('of logic operations and of results with CF and OF given, %i bytes', (s) => {
    for (const r of edges(s)) {
      const b = builder();
      flagsLogic(b, r, s);
      expect(flagsOf(b)).toEqual({ ...resultFlags(r, s), CF: 0, OF: 0, AF: 0 });
      for (const [cf, of] of [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
      ] as const) {
        flagsResult(b, r, s, BigInt(cf), BigInt(of));
        expect(flagsOf(b)).toEqual({ ...resultFlags(r, s), CF: cf, OF: of, AF: 0 });
      }
    }
  });

  it('survive EFLAGS in every combination, in the staged form and in the form for slow paths', () => {
    for (let n = 0; n < 64; n++) {
      const f = (n & 1) | ((n & 2) << 1) | ((n & 4) << 2) | ((n & 8) << 3) | ((n & 16) << 3) | ((n & 32) << 6);
      const b = builder();
      setFromEflags(b, BigInt(f));
      expect(Number(toEflags(b))).toBe(f);
      const [resLo, aux] = flagsFromEflags(f);
      expect(flagsToEflags(resLo, 0, aux)).toBe(f);
      expect(flagsToEflags(Number(b.flagRes() & 0xffffffffn), Number(b.flagRes() >> 32n), Number(b.flagAux()))).toBe(f);
    }
  });

  it('keep the other four when CF and OF are replaced', () => {
    for (let n = 0; n < 64; n++) {
      const b = builder();
      setFromEflags(b, BigInt((n & 1 ? 0x4 : 0) | (n & 2 ? 0x10 : 0) | (n & 4 ? 0x40 : 0) | (n & 8 ? 0x80 : 0)));
      const before = flagsOf(b);
      setCfOf(b, BigInt((n >> 4) & 1), BigInt((n >> 5) & 1));
      expect(flagsOf(b)).toEqual({ ...before, CF: (n >> 4) & 1, OF: (n >> 5) & 1 });
    }
  });

  it('decide conditions as SDM Vol 1, appendix B says', () => {
    const table: readonly ((f: Flags) => boolean)[] = [
      (f) => f.OF === 1,
      (f) => f.CF === 1,
      (f) => f.ZF === 1,
      (f) => f.CF === 1 || f.ZF === 1,
      (f) => f.SF === 1,
      (f) => f.PF === 1,
      (f) => f.SF !== f.OF,
      (f) => f.ZF === 1 || f.SF !== f.OF,
    ];
    for (let n = 0; n < 64; n++) {
      const f = { CF: n & 1, PF: (n >> 1) & 1, AF: (n >> 2) & 1, ZF: (n >> 3) & 1, SF: (n >> 4) & 1, OF: (n >> 5) & 1 };
      const b = builder();
      setFromEflags(b, BigInt(f.CF | (f.PF << 2) | (f.AF << 4) | (f.ZF << 6) | (f.SF << 7) | (f.OF << 11)));
      for (let cc = 0; cc < 16; cc++) {
        const holds = (table[cc >> 1]?.(f) ?? false) !== ((cc & 1) === 1);
        expect(condition(b, cc), `condition ${cc} with ${JSON.stringify(f)}`).toBe(holds ? 1n : 0n);
      }
    }
  });
});
