// Every x87 instruction on random and special operands, under all rounding and precision controls, masked and unmasked, against the
// host's own CPU: in TypeScript, in the interpreter, in the JIT, and the staged semantics in the oracle. Skipped where the host is not x86-64.

import { afterAll, describe, expect, it } from 'vitest';
import type { Lin } from '../../addresses.ts';
import type { Case, Outcome } from '../../host-cpu/case.ts';
import { interpreterExecutor, jitExecutor } from '../../host-cpu/interpreter-executor.ts';
import { nodeNative } from '../../host-cpu/node-native.ts';
import { oracleExecutor } from '../../host-cpu/oracle-executor.ts';
import { Random } from '../../host-cpu/random.ts';
import { undefinedCodes } from '../../host-cpu/undefined.ts';
import { FAMILIES } from '../../isa/index.ts';
import { CODE, DATA, longCpu } from '../fake-cpu.ts';
import { restoreX87, saveX87 } from '../fpstate.ts';
import { RBX, TRANSCENDENTAL, x87Cases } from './host-cases.ts';

const native = nodeNative();
const hasNative = typeof native !== 'string';
afterAll(() => {
  if (hasNative) native.dispose();
});

const CASES = 100;

interface Shown {
  control: string;
  registers: string[];
  memory: string;
  flags: string;
  ax: string;
}
const hex = (b: Uint8Array) => Buffer.from(b).reverse().toString('hex');
const show = (fx: Uint8Array, memory: Uint8Array, rflags: number, ax: number): Shown => ({
  control: `fcw ${hex(fx.slice(0, 2))} fsw ${hex(fx.slice(2, 4))} tags ${hex(fx.slice(4, 5))}`,
  registers: Array.from({ length: 8 }, (_, i) => hex(fx.slice(32 + 16 * i, 42 + 16 * i))),
  memory: hex(memory.slice(0, 12)),
  flags: (rflags & 0x8d5).toString(16),
  ax: (ax & 0xffff).toString(16),
});

/** One for all cases: its memory is large. */
const cpu = longCpu(3);

function ours(c: Case): Shown {
  restoreX87(cpu, c.fxsave.slice(), true);
  cpu.setReg(0, 0n);
  cpu.setReg(RBX, BigInt(DATA));
  cpu.rflags = Number(c.rflags);
  cpu.rip = CODE as Lin;
  cpu.ram.u8.set(c.window, cpu.ram.base + DATA);
  const r = cpu.execute(...c.code);
  if (r !== true) return { control: `fault ${cpu.lastFault}`, registers: [], memory: '', flags: '', ax: '' };
  const fx = new Uint8Array(512);
  saveX87(cpu, fx, true);
  return show(fx, cpu.ram.u8.slice(cpu.ram.base + DATA, cpu.ram.base + DATA + 16), cpu.rflags, cpu.regLo(0));
}

const shown = (o: Outcome): Shown =>
  o.vector === -1
    ? show(o.fxsave, o.window, Number(o.rflags), Number(o.gpr[0]))
    : { control: `fault ${o.vector}`, registers: [], memory: '', flags: '', ax: '' };

const shownIf = (o: Outcome | undefined): Shown | undefined => o && shown(o);

const interpreter = interpreterExecutor();
const jit = jitExecutor();
/** Compiling costs some milliseconds: only one case in so many. */
const JIT_EVERY = 50;

/** Whether two register values are next to each other or equal. */
function close(a: string, b: string): boolean {
  const [x, y] = [a, b].map((h) => BigInt(`0x${h}`));
  const d = x! - y!;
  return d >= -1n && d <= 1n;
}

const C1 = 0x200;

function same(mnemonic: string, a: Shown, b: Shown): boolean {
  // For the transcendental functions C1 tells the direction of a rounding that may differ.
  const hidden = TRANSCENDENTAL.has(mnemonic) ? C1 : undefinedCodes(mnemonic);
  const word = (s: string) => s.replace(/fsw (....)/, (_, h: string) => `fsw ${(Number.parseInt(h, 16) & ~hidden).toString(16)}`);
  if (!TRANSCENDENTAL.has(mnemonic)) {
    return JSON.stringify({ ...a, control: word(a.control) }) === JSON.stringify({ ...b, control: word(b.control) });
  }
  return word(a.control) === word(b.control) && a.registers.every((r, i) => close(r, b.registers[i] ?? '0'));
}

const random = new Random(87);

describe.skipIf(!hasNative)('x87 against the host', () => {
  if (!hasNative) return;
  for (const insn of FAMILIES.x87) {
    it(`${insn.mnemonic} does the same`, () => {
      const cases = x87Cases(random, insn, CASES);
      const results = native.run(cases);
      const interpreted = interpreter.run(cases);
      const staged = oracleExecutor.run(cases);
      const compiled = new Map(jit.run(cases.filter((_, i) => i % JIT_EVERY === 0)).map((o, n) => [n * JIT_EVERY, o]));
      const wrong: unknown[] = [];
      cases.forEach((c, i) => {
        const r = results[i];
        if (!r) return;
        const want = shown(r);
        const answers = {
          typescript: ours(c),
          interpreter: shownIf(interpreted[i]),
          jit: shownIf(compiled.get(i)),
          staged: shownIf(staged[i]),
        };
        for (const [who, got] of Object.entries(answers)) {
          if (got === undefined || same(insn.mnemonic, want, got)) continue;
          wrong.push({ code: hex(c.code.slice().reverse()), before: show(c.fxsave, c.window, Number(c.rflags), 0), who, want, got });
        }
      });
      expect(wrong.slice(0, 2), `${wrong.length} of ${cases.length}`).toEqual([]);
      expect(interpreted.every((o) => o !== undefined)).toBe(true);
      // The staged form must have been the one that answered often enough to be tested.
      if (insn.sem !== undefined) expect(staged.filter((o) => o !== undefined).length).toBeGreaterThan(cases.length / 10);
    });
  }
});

if (!hasNative) it.skip(`x87 against the host: ${native}`, () => {});
