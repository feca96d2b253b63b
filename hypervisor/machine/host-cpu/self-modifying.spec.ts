// Code that rewrites itself: an immediate or an opcode before it or after it, in the same block, near or across the store, and in loops.
// As on any x86 since the Pentium Pro the very next instruction sees the new bytes (SDM Vol 3A, 8.1.3, for the processor that wrote them).

import { afterAll, describe, expect, it } from 'vitest';
import { type Case, CODE_START, initialFxsave, WINDOW, WINDOW_SIZE } from './case.ts';
import { ALL_VISIBLE, differences, hex } from './compare.ts';
import { FIXED_FLAGS } from './generate.ts';
import { interpreterExecutor, jitExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { Random } from './random.ts';

const native = nodeNative();
afterAll(() => {
  if (typeof native !== 'string') native.dispose();
});

const PROGRAMS = 150;
const dword = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, (v >>> 24) & 0xff];
/** ModRM and SIB of an absolute address in both modes. */
const absolute = (digit: number, at: number): number[] => [(digit << 3) | 4, 0x25, ...dword(at)];

/** add, or, adc, sbb, and, sub, xor eax, imm32: by what they are rewritten to, all of the same length. */
const OPCODES = [0x05, 0x0d, 0x15, 0x1d, 0x25, 0x2d, 0x35];
const TARGET_SIZE = 5;

/** Some `op eax, imm32`, stores to their bytes between them, and a loop around it all. */
function program(random: Random): number[] {
  const start = Number(CODE_START);
  const kinds = Array.from({ length: 4 + random.below(12) }, () => random.pick(['target', 'target', 'store', 'opcode', 'rotate'] as const));
  const sizes = { target: TARGET_SIZE, store: 11, opcode: 8, rotate: 3 };
  const targets: number[] = [];
  let at = start;
  for (const k of kinds) {
    if (k === 'target') targets.push(at);
    at += sizes[k];
  }
  if (targets.length === 0) return program(random);
  const code = kinds.flatMap((k): number[] => {
    const target = random.pick(targets);
    if (k === 'target') return [random.pick(OPCODES), ...dword(random.u32())];
    // add dword [its immediate], imm32: other bytes in each turn of the loop.
    if (k === 'store') return [0x81, ...absolute(0, target + 1), ...dword(random.u32())];
    // mov byte [its opcode], imm8
    if (k === 'opcode') return [0xc6, ...absolute(0, target), random.pick(OPCODES)];
    return [0xc1, 0xc0, 7];
  });
  // sub dword [WINDOW], 1; jnz start
  const loop = [0x83, ...absolute(5, Number(WINDOW)), 1, 0x0f, 0x85];
  return [...code, ...loop, ...dword(-(code.length + loop.length + 4))];
}

describe.skipIf(typeof native === 'string').each([64, 32] as const)('self-modifying programs of %i-bit code', (bits) => {
  it.each([100_000, 1, 5])('do what they do on the host, in slices of up to %i cycles', (slice) => {
    if (typeof native === 'string') return;
    const random = new Random(bits);
    const cases = Array.from({ length: PROGRAMS }, (): Case => {
      const window = new Uint8Array(WINDOW_SIZE);
      window[0] = 1 + random.below(5);
      const gpr = Array.from({ length: 16 }, (_, n) => (n === 0 ? BigInt(random.u32()) : WINDOW + 256n));
      const code = Uint8Array.from(program(random));
      return {
        bits,
        code,
        whole: true,
        gpr: gpr.map((v, n) => (bits === 32 && n > 7 ? 0n : v)),
        rflags: FIXED_FLAGS,
        fxsave: initialFxsave(),
        window,
      };
    });
    const want = native.run(cases);
    for (const executor of [interpreterExecutor(slice), jitExecutor(slice)]) {
      const got = executor.run(cases);
      cases.forEach((c, n) => {
        const [w, g] = [want[n], got[n]];
        if (w === undefined || g === undefined) throw new Error(`no outcome of program ${n}`);
        expect(w.vector, 'the program runs to its end').toBe(-1);
        // AF is undefined after logic operations.
        expect(differences(w, g, ALL_VISIBLE & ~0x10n), `${executor.name}: ${hex(c.code)}`).toEqual([]);
      });
    }
  });
});
