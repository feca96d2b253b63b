// Every x87 instruction on random and special operands, under all rounding and precision controls, masked and unmasked, against the
// host's own CPU. Skipped where the host is not x86-64.

import { afterAll, describe, expect, it } from 'vitest';
import type { Lin } from '../../addresses.ts';
import { type Case, initialFxsave, WINDOW, WINDOW_SIZE } from '../../host-cpu/case.ts';
import { nodeNative } from '../../host-cpu/node-native.ts';
import { Random } from '../../host-cpu/random.ts';
import { type Form, formsOf } from '../../isa/forms.ts';
import { FAMILIES } from '../../isa/index.ts';
import { CODE, DATA, longCpu } from '../fake-cpu.ts';
import { restoreX87, saveX87 } from '../fpstate.ts';

const native = nodeNative();
const hasNative = typeof native !== 'string';
afterAll(() => {
  if (hasNative) native.dispose();
});

/** Their answers are promised to one unit in the last place only. */
const TRANSCENDENTAL = new Set(['F2XM1', 'FYL2X', 'FYL2XP1', 'FPTAN', 'FPATAN', 'FSIN', 'FCOS', 'FSINCOS']);
/** They store instruction pointers, which differ: of their memory only the three words before these are compared. */
const POINTERS = new Set(['FNSTENV', 'FNSAVE', 'FLDENV', 'FRSTOR']);
const CASES = 150;

const random = new Random(87);
const RBX = 3;

const INTERESTING_SIG = [1n << 63n, (1n << 64n) - 1n, 3n << 62n, (1n << 63n) | 1n, 0n, 1n, (1n << 62n) | 5n, (1n << 63n) | (1n << 10n)];
const INTERESTING_EXP = [0, 0, 1, 2, 0x3ffe, 0x3fff, 0x4000, 0x4001, 0x3fff + 62, 0x3fff + 63, 0x3fff + 64, 0x7ffe, 0x7fff];

/** A register value: mostly moderate numbers, often special ones. `near` keeps exponents within a few of 1.0. */
function value(near: boolean): Uint8Array {
  const special = random.chance(near ? 0.15 : 0.35);
  let sig = special ? random.pick(INTERESTING_SIG) : random.u64() | (1n << 63n);
  if (!special && random.chance(0.3)) sig &= ~((1n << BigInt(random.below(63))) - 1n);
  const spread = near ? 4 : random.pick([4, 40, 70, 16000]);
  let exp = 0x3fff + random.below(2 * spread) - spread;
  if (random.chance(near ? 0.05 : 0.25)) exp = random.pick(INTERESTING_EXP);
  const bytes = new Uint8Array(10);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, sig, true);
  view.setUint16(8, Math.max(exp, 0) | (random.chance(0.5) ? 0x8000 : 0), true);
  return bytes;
}

/** A memory operand of `size` bytes: a float, an integer or anything. */
function memoryValue(size: number): Uint8Array {
  const bytes = new Uint8Array(10);
  const view = new DataView(bytes.buffer);
  if (random.chance(0.3)) view.setBigUint64(0, random.value(), true);
  else if (size === 4) view.setFloat32(0, (random.u32() / 2 ** 31) * random.pick([1, 1e-3, 1e30, 1e-40]), true);
  else if (size === 8 && random.chance(0.7)) view.setFloat64(0, (random.u32() / 2 ** 29) * random.pick([1, -1, 1e-3, 1e300, 1e-310]), true);
  else if (size === 10 && random.chance(0.4)) {
    for (let i = 0; i < 9; i++) bytes[i] = random.below(10) | (random.below(10) << 4);
    bytes[9] = random.chance(0.5) ? 0x80 : 0;
  } else bytes.set(value(false));
  return bytes;
}

/** An environment and registers for FLDENV and FRSTOR. */
function environment(): Uint8Array {
  const bytes = new Uint8Array(108);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 7; i++) view.setUint32(4 * i, random.u32(), true);
  for (let i = 0; i < 8; i++) bytes.set(value(false), 28 + 10 * i);
  return bytes;
}

function state(mnemonic: string): Uint8Array {
  const image = initialFxsave();
  const view = new DataView(image.buffer);
  const masks = random.chance(0.75) ? 0x3f : random.below(64);
  const precision = TRANSCENDENTAL.has(mnemonic) ? 3 : random.pick([0, 2, 3, 3]);
  view.setUint16(0, 0x40 | masks | (precision << 8) | (random.below(4) << 10), true);
  view.setUint16(2, (random.below(8) << 11) | (random.u32() & 0x4700), true);
  image[4] = random.chance(0.8) ? 0x7f >>> random.below(3) : random.below(256);
  // Rotate the occupied ones to where TOP is, mostly.
  const top = (view.getUint16(2, true) >>> 11) & 7;
  if (random.chance(0.85)) image[4] = ((image[4]! << top) | (image[4]! >>> (8 - top))) & 0xff;
  for (let i = 0; i < 8; i++) image.set(value(TRANSCENDENTAL.has(mnemonic)), 32 + 16 * i);
  return image;
}

function code(form: Form): number[] {
  if (form.map === 1) return [0x0f, form.opcode];
  const { modrm, opcode } = form;
  if (modrm === 'no' || modrm === 'r') return [opcode];
  if (modrm >= 0xc0) return [opcode, modrm];
  return form.memOnly || form.operands.some((o) => o.letter === 'M')
    ? [opcode, (modrm << 3) | RBX]
    : [opcode, 0xc0 | (modrm << 3) | random.below(8)];
}

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

/** Whether two register values are next to each other or equal. */
function close(a: string, b: string): boolean {
  const [x, y] = [a, b].map((h) => BigInt(`0x${h}`));
  const d = x! - y!;
  return d >= -1n && d <= 1n;
}

/** Condition codes that the manual leaves undefined, by mnemonic; C1 where only underflow defines it. */
const C1 = 0x200;
const ALL = 0x4700;
const UNDEFINED_CODES: readonly [RegExp, number][] = [
  [/^FCMOV|^FU?COMIP?$|^FSTPNCE$|^FX(CH|TRACT)$/, C1],
  [/^FFREEP?$/, ALL],
];

function same(mnemonic: string, a: Shown, b: Shown): boolean {
  // For the transcendental functions C1 tells the direction of a rounding that may differ.
  const hidden = TRANSCENDENTAL.has(mnemonic) ? C1 : (UNDEFINED_CODES.find(([r]) => r.test(mnemonic))?.[1] ?? 0);
  const word = (s: string) => s.replace(/fsw (....)/, (_, h: string) => `fsw ${(Number.parseInt(h, 16) & ~hidden).toString(16)}`);
  if (!TRANSCENDENTAL.has(mnemonic)) {
    return JSON.stringify({ ...a, control: word(a.control) }) === JSON.stringify({ ...b, control: word(b.control) });
  }
  return word(a.control) === word(b.control) && a.registers.every((r, i) => close(r, b.registers[i] ?? '0'));
}

describe.skipIf(!hasNative)('x87 against the host', () => {
  if (!hasNative) return;
  for (const insn of FAMILIES.x87) {
    it(`${insn.mnemonic} does the same`, () => {
      const cases: Case[] = [];
      for (const form of formsOf(insn)) {
        const memory = form.operands.find((o) => o.letter === 'M');
        for (let i = 0; i < CASES; i++) {
          const window = new Uint8Array(WINDOW_SIZE);
          window.set(POINTERS.has(insn.mnemonic) ? environment() : memoryValue(memory?.sizes[1] ?? 0));
          const gpr = Array.from({ length: 16 }, () => 0n);
          gpr[RBX] = WINDOW;
          cases.push({
            bits: 64,
            code: Uint8Array.from(code(form)),
            gpr,
            rflags: 0x202n | BigInt(random.u32() & 0x8d5),
            fxsave: state(insn.mnemonic),
            window,
          });
        }
      }
      const results = native.run(cases);
      const wrong: unknown[] = [];
      cases.forEach((c, i) => {
        const r = results[i];
        if (!r) return;
        const want =
          r.vector === -1
            ? show(r.fxsave, r.window, Number(r.rflags), Number(r.gpr[0]))
            : { control: `fault ${r.vector}`, registers: [], memory: '', flags: '', ax: '' };
        const got = ours(c);
        if (same(insn.mnemonic, want, got)) return;
        const before = show(c.fxsave, c.window, Number(c.rflags), 0);
        wrong.push({ code: hex(c.code.slice().reverse()), before, want, got });
      });
      expect(wrong.slice(0, 2), `${wrong.length} of ${cases.length}`).toEqual([]);
    });
  }
});

if (!hasNative) it.skip(`x87 against the host: ${native}`, () => {});
