// Repeated string instructions where runs of elements are done at once, on the host's own CPU, the oracle, the interpreter and the JIT: moves onto
// themselves at all distances, page borders, faults in the middle, and code that is written by them.

import { afterAll, describe, expect, it } from 'vitest';
import {
  ABSENT_PAGE,
  type Bits,
  type Case,
  CODE_START,
  dataBase,
  GS_BASE,
  initialFxsave,
  READ_ONLY_PAGE,
  startOf,
  WINDOW,
  WINDOW_SIZE,
} from '../host-cpu/case.ts';
import { ALL_VISIBLE, differences, hex } from '../host-cpu/compare.ts';
import { FIXED_FLAGS } from '../host-cpu/generate.ts';
import { interpreterExecutor, jitExecutor } from '../host-cpu/interpreter-executor.ts';
import { nodeNative } from '../host-cpu/node-native.ts';
import { oracleExecutor } from '../host-cpu/oracle-executor.ts';
import { Random } from '../host-cpu/random.ts';

const native = nodeNative();
afterAll(() => {
  if (typeof native !== 'string') native.dispose();
});
const interpreter = interpreterExecutor();
const jit = jitExecutor();

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;
const DF = 0x400n;
const CASES = 120;
/** Compiling costs some milliseconds. */
const JIT_CASES = 30;
/** Opcode of the byte form; the other sizes have the next. */
const OPCODES = { MOVS: 0xa4, CMPS: 0xa6, STOS: 0xaa, LODS: 0xac, SCAS: 0xae } as const;
type Name = keyof typeof OPCODES;
/** From the source to the target: all that words and elements do not divide, and some that they do. */
const DISTANCES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 24, 31, 64, 100, 129, 200, -1, -3, -8, -9, -16, -100, -150];

const code = (name: Name, bits: Bits, size: 1 | 2 | 4 | 8, rep: number): number[] => {
  const operandSize = size === 8 ? [0x48] : (size === 2) !== (bits === 16) && size !== 1 ? [0x66] : [];
  return [rep, ...operandSize, OPCODES[name] + (size === 1 ? 0 : 1)];
};

/** Few different bytes, in long runs: comparisons go on for a while. */
function evenWindow(random: Random): Uint8Array {
  const window = new Uint8Array(WINDOW_SIZE);
  const [common, other] = [random.below(256), random.below(256)];
  window.fill(common);
  for (let n = random.below(6); n > 0; n--) window[random.below(WINDOW_SIZE)] = other;
  return window;
}
const mixedWindow = (random: Random): Uint8Array => Uint8Array.from({ length: WINDOW_SIZE }, () => random.below(256));

/** What is touched lies in the window, which a page border divides; or the repetition runs into a page that it may not use. */
function stringCase(random: Random, name: Name, bits: Bits): Case {
  const size = random.pick(bits === 64 ? ([1, 1, 2, 4, 8] as const) : ([1, 1, 2, 4] as const));
  const rep = random.pick([0xf2, 0xf3] as const);
  const down = random.chance(0.1);
  const window = name === 'CMPS' || name === 'SCAS' ? evenWindow(random) : mixedWindow(random);
  const gpr = Array.from({ length: 16 }, () => WINDOW + 256n - dataBase(bits));
  const distance = random.pick(DISTANCES);
  const room = WINDOW_SIZE - Math.abs(distance) - 16;
  const most = Math.floor(room / size);
  const count = random.chance(0.5) ? most - random.below(Math.min(8, most)) : random.below(most + 1);
  const slack = room - count * size;
  const start = 8 + Math.max(0, -distance) + random.below(slack + 1);
  let source = WINDOW + BigInt(start);
  let target = source + BigInt(distance);
  if (down) {
    source += BigInt((count - 1) * size);
    target += BigInt((count - 1) * size);
  }
  if (random.chance(0.15)) target = random.pick([READ_ONLY_PAGE, ABSENT_PAGE]) - BigInt(random.below(300));
  else if (random.chance(0.1)) source = ABSENT_PAGE - BigInt(random.below(300));
  gpr[RAX] = BigInt(window[random.below(WINDOW_SIZE)] ?? 0) * 0x0101_0101n;
  gpr[RCX] = BigInt(count);
  gpr[RSI] = source - dataBase(bits);
  gpr[RDI] = target - dataBase(bits);
  return {
    bits,
    code: Uint8Array.from(code(name, bits, size, rep)),
    gpr: gpr.map((v, n) => (bits !== 64 && n > 7 ? 0n : v)),
    rflags: FIXED_FLAGS | (down ? DF : 0n),
    fxsave: initialFxsave(),
    window,
  };
}

describe.skipIf(typeof native === 'string')('repeated string instructions', () => {
  for (const bits of [64, 32, 16] as const) {
    for (const name of ['MOVS', 'STOS', 'LODS', 'CMPS', 'SCAS'] as const) {
      it(`${name} in ${bits}-bit code does what the host's does`, () => {
        if (typeof native === 'string') return;
        const random = new Random(bits * 100 + OPCODES[name]);
        const cases = Array.from({ length: CASES }, () => stringCase(random, name, bits));
        const want = native.run(cases);
        const few = cases.slice(0, JIT_CASES);
        const answers = { interpreter: interpreter.run(cases), jit: jit.run(few), oracle: oracleExecutor.run(cases) };
        for (const [who, got] of Object.entries(answers)) {
          (who === 'jit' ? few : cases).forEach((c, n) => {
            const [w, g] = [want[n], got[n]];
            if (w === undefined || g === undefined) throw new Error(`no outcome of case ${n}`);
            // Which operand CMPS reads first is open; the flags of a comparison that faults too (host-cpu/undefined.ts).
            if (w.vector >= 0 && name === 'CMPS') return;
            const mask = w.vector >= 0 && name === 'SCAS' ? 0n : ALL_VISIBLE;
            const what = `${hex(c.code)} rcx ${c.gpr[RCX]} rsi ${c.gpr[RSI]?.toString(16)} rdi ${c.gpr[RDI]?.toString(16)} ${who}`;
            expect(differences(w, g, mask), what).toEqual([]);
          });
        }
      });
    }
  }
});

const dword = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, (v >>> 24) & 0xff];
/** ModRM and SIB of an absolute address, in 64- and 32-bit code. */
const absolute = (reg: number, at: number): number[] => [(reg << 3) | 4, 0x25, ...dword(at)];
const times = (n: number, bytes: readonly number[]): number[] => Array.from({ length: n }, () => bytes).flat();

const COUNTER = Number(WINDOW);
const CHOICE = Number(WINDOW) + 8;
const TARGET_BYTES = 132;
const ROUNDS = 6;

/** A loop whose body is written anew in each turn by `writer`, from what stands at CHOICE, which `change` turns over. */
function program(writer: readonly number[], change: number, tail: readonly number[]): (codeBytes: number) => number[] {
  const head = [0x81, ...absolute(6, CHOICE), ...dword(change)];
  const setUp = (target: number) => [0xbf, ...dword(target), 0xb9, ...dword(0)];
  return (count) => {
    const before = head.length + setUp(0).length + writer.length;
    const target = Number(CODE_START) + before;
    const body = [...head, 0xbf, ...dword(target), 0xb9, ...dword(count), ...writer, ...times(TARGET_BYTES / 2, [0xff, 0xc3])];
    const loop = [0x83, ...absolute(5, COUNTER), 1, 0x0f, 0x85];
    return [...body, ...loop, ...dword(-(body.length + loop.length + 4)), 0xcc, ...tail];
  };
}

describe.skipIf(typeof native === 'string').each([64, 32] as const)(
  'code that is written by a repeated string instruction, %i-bit',
  (bits) => {
    const inc = [0xff, 0xc3];
    const dec = [0xff, 0xcb];
    const nop = 0x90;
    const word = (bytes: readonly number[]): number => bytes.reduce((v, byte, i) => v | (byte << (8 * i)), 0) >>> 0;

    function run(bytes: readonly number[], choice: number): void {
      if (typeof native === 'string') return;
      const window = new Uint8Array(WINDOW_SIZE);
      new DataView(window.buffer).setUint32(0, ROUNDS, true);
      new DataView(window.buffer).setUint32(8, choice, true);
      const c: Case = {
        bits,
        code: Uint8Array.from(bytes),
        whole: true,
        gpr: Array.from({ length: 16 }, (_, n) => (bits === 32 && n > 7 ? 0n : n === 3 ? 1000n : WINDOW + 256n)),
        rflags: FIXED_FLAGS,
        fxsave: initialFxsave(),
        window,
      };
      const [want] = native.run([c]);
      if (want === undefined) throw new Error('no outcome');
      expect(want.vector).toBe(-1);
      for (const slice of [100_000, 7]) {
        const [got] = interpreterExecutor(slice).run([c]);
        expect(got && differences(want, got, ALL_VISIBLE)).toEqual([]);
      }
    }

    it('is what runs, after REP STOSD', () => {
      const [a, b] = [word([...inc, nop, nop]), word([...dec, ...inc])];
      // mov eax, [CHOICE]; rep stosd
      const make = program([0x8b, ...absolute(0, CHOICE), 0xf3, 0xab], a ^ b, []);
      run(make(TARGET_BYTES / 4), a);
    });

    it('is what runs, after REP MOVSB', () => {
      const sources = [times(TARGET_BYTES / 3, [0x83, 0xc3, 5]), times(TARGET_BYTES / 2, dec)];
      // mov esi, [CHOICE]; rep movsb
      const make = program([0x8b, ...absolute(6, CHOICE), 0xf3, 0xa4], 0, []);
      const first = Number(CODE_START) + make(0).length;
      const second = first + TARGET_BYTES;
      const both = program([0x8b, ...absolute(6, CHOICE), 0xf3, 0xa4], first ^ second, sources.flat());
      const bytes = both(TARGET_BYTES);
      expect(bytes.length).toBeLessThanOrEqual(512);
      expect(startOf(bits)).toBe(CODE_START);
      run(bytes, first);
    });
  },
);

it('the window of these tests has a page border in its middle', () => {
  expect(GS_BASE - WINDOW).toBe(BigInt(WINDOW_SIZE / 2));
});
