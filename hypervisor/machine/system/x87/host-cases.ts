// x87 cases for comparisons with the host's CPU: random and special operands in memory and registers, all rounding and precision
// controls, exceptions masked and not, stacks full and empty.

import { type Case, initialFxsave, WINDOW, WINDOW_SIZE } from '../../host-cpu/case.ts';
import type { Random } from '../../host-cpu/random.ts';
import { type Form, formsOf } from '../../isa/forms.ts';
import type { AnyInsn } from '../../isa/insn.ts';

/** Their answers are promised to one unit in the last place only. */
export const TRANSCENDENTAL = new Set(['F2XM1', 'FYL2X', 'FYL2XP1', 'FPTAN', 'FPATAN', 'FSIN', 'FCOS', 'FSINCOS']);
/** They store instruction pointers, which differ: of their memory only the three words before these are compared. */
const POINTERS = new Set(['FNSTENV', 'FNSAVE', 'FLDENV', 'FRSTOR']);
export const RBX = 3;

const INTERESTING_SIG = [1n << 63n, (1n << 64n) - 1n, 3n << 62n, (1n << 63n) | 1n, 0n, 1n, (1n << 62n) | 5n, (1n << 63n) | (1n << 10n)];
const INTERESTING_EXP = [0, 0, 1, 2, 0x3ffe, 0x3fff, 0x4000, 0x4001, 0x3fff + 62, 0x3fff + 63, 0x3fff + 64, 0x7ffe, 0x7fff];

/** A register value: mostly moderate numbers, often special ones. `near` keeps exponents within a few of 1.0. */
function value(random: Random, near: boolean): Uint8Array {
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
function memoryValue(random: Random, size: number): Uint8Array {
  const bytes = new Uint8Array(10);
  const view = new DataView(bytes.buffer);
  if (random.chance(0.3)) view.setBigUint64(0, random.value(), true);
  else if (size === 4) view.setFloat32(0, (random.u32() / 2 ** 31) * random.pick([1, 1e-3, 1e30, 1e-40]), true);
  else if (size === 8 && random.chance(0.7)) view.setFloat64(0, (random.u32() / 2 ** 29) * random.pick([1, -1, 1e-3, 1e300, 1e-310]), true);
  else if (size === 10 && random.chance(0.4)) {
    for (let i = 0; i < 9; i++) bytes[i] = random.below(10) | (random.below(10) << 4);
    bytes[9] = random.chance(0.5) ? 0x80 : 0;
  } else bytes.set(value(random, false));
  return bytes;
}

/** An environment and registers for FLDENV and FRSTOR. */
function environment(random: Random): Uint8Array {
  const bytes = new Uint8Array(108);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 7; i++) view.setUint32(4 * i, random.u32(), true);
  for (let i = 0; i < 8; i++) bytes.set(value(random, false), 28 + 10 * i);
  return bytes;
}

function state(random: Random, mnemonic: string): Uint8Array {
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
  for (let i = 0; i < 8; i++) image.set(value(random, TRANSCENDENTAL.has(mnemonic)), 32 + 16 * i);
  return image;
}

function code(random: Random, form: Form): number[] {
  if (form.map === 1) return [0x0f, form.opcode];
  const { modrm, opcode } = form;
  if (modrm === 'no' || modrm === 'r') return [opcode];
  if (modrm >= 0xc0) return [opcode, modrm];
  return form.memOnly || form.operands.some((o) => o.letter === 'M')
    ? [opcode, (modrm << 3) | RBX]
    : [opcode, 0xc0 | (modrm << 3) | random.below(8)];
}

/** `each` cases for every form of an instruction. */
export function x87Cases(random: Random, insn: AnyInsn, each: number): Case[] {
  const cases: Case[] = [];
  for (const form of formsOf(insn)) {
    const memory = form.operands.find((o) => o.letter === 'M');
    for (let i = 0; i < each; i++) {
      const window = new Uint8Array(WINDOW_SIZE);
      window.set(POINTERS.has(insn.mnemonic) ? environment(random) : memoryValue(random, memory?.sizes[1] ?? 0));
      const gpr = Array.from({ length: 16 }, () => 0n);
      gpr[RBX] = WINDOW;
      cases.push({
        bits: 64,
        code: Uint8Array.from(code(random, form)),
        gpr,
        rflags: 0x202n | BigInt(random.u32() & 0x8d5),
        fxsave: state(random, insn.mnemonic),
        window,
      });
    }
  }
  return cases;
}
