// Short programs: random instructions one after the other, with forward branches, and some of them in a loop. They try what single
// instructions cannot: flags that live from one to the next, blocks, links between blocks, deadlines in the middle.
//
// The oracle runs along while a program is made, so that memory operands lead to the window and branches to where the code goes on.
// Nothing is emitted that reads a flag which an instruction before it left undefined.

import { decode } from '../exec/decode.ts';
import type { Decoded } from '../isa/decoded.ts';
import { type Form, formsOf } from '../isa/forms.ts';
import type { AnyInsn, Flag } from '../isa/insn.ts';
import { oracleStep } from '../stage/oracle.ts';
import { OracleFault, OracleSlow } from '../stage/oracle-state.ts';
import { type Bits, type Case, CODE_SIZE, dataBase, stackSize, startOf, WINDOW, WINDOW_SIZE } from './case.ts';
import { encode } from './encode.ts';
import { FIXED_FLAGS, FREE_FLAGS, randomFxsave, randomWindow } from './generate.ts';
import { prepare } from './oracle-executor.ts';
import type { Random } from './random.ts';

export interface Sequence {
  readonly case: Case;
  /** The instructions, for whoever must find out what went wrong. */
  readonly listing: readonly string[];
  /** Flags that are undefined at some point. */
  readonly tainted: ReadonlySet<Flag>;
}

const RSP = 4;
const INT3 = 0xcc;
/** Flags that a condition code reads, by its upper three bits. */
const CONDITION_FLAGS: readonly (readonly Flag[])[] = [
  ['OF'],
  ['CF'],
  ['ZF'],
  ['CF', 'ZF'],
  ['SF'],
  ['PF'],
  ['SF', 'OF'],
  ['ZF', 'SF', 'OF'],
];
/** What is not allowed at CPL 3 (the oracle knows no privilege), what leaves the code, what processors disagree on (undefined.ts) and what would show it elsewhere, and what only approximates. */
const EXCLUDED = /^(CLI|SWAPGS|RET|PUSHF|FNSTSW|POPA|SHLD|SHRD|BSWAP|MOVSXD|ENTER|RCPPS|RCPSS|RSQRTPS|RSQRTSS)$/;
/** Longest run of bytes that a taken branch may skip. */
const MAX_SKIP = 6;
/** The loop's counter: at the window's start, where no operand is aimed. */
const COUNTER = WINDOW;

const toHex = (bytes: ArrayLike<number>): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ');

function usable(form: Form): boolean {
  const { insn } = form;
  if (insn.sem === undefined || EXCLUDED.test(insn.mnemonic) || form.text.startsWith('0F 0D')) return false;
  const indirect = /^(JMP|CALL)$/.test(insn.mnemonic) && !form.operands.some((o) => o.letter === 'J');
  return !indirect;
}

function readsTainted(d: Decoded, tainted: ReadonlySet<Flag>): boolean {
  const byCondition = /cc$/.test(d.insn.mnemonic) ? CONDITION_FLAGS[d.cc >> 1] : undefined;
  return (byCondition ?? (d.insn.flags?.reads as readonly Flag[] | undefined) ?? []).some((f) => tainted.has(f));
}

/** What is undefined after an instruction. A shift by nothing leaves flags as they were, so it defines none. */
function taint(d: Decoded, tainted: Set<Flag>): void {
  const { writes = [], undefined: open = [] } = (d.insn.flags ?? {}) as { writes?: readonly Flag[]; undefined?: readonly Flag[] };
  const maybe = d.operands.length > 1 && /^(SH|SA|RO|RC)/.test(d.insn.mnemonic);
  if (!maybe) for (const f of writes) tainted.delete(f);
  for (const f of open) tainted.add(f);
}

/** Bytes of the displacement of a relative branch. */
function relSize(form: Form | undefined, opSize: number, bits: Bits): 1 | 2 | 4 {
  if (form?.operands.at(-1)?.sizes[2] === 1) return 1;
  return bits !== 64 && opSize === 2 ? 2 : 4;
}

export class SequenceMaker {
  private readonly forms: readonly Form[];
  private readonly defined: readonly Form[];
  private readonly bits: Bits;
  private readonly random: Random;

  constructor(random: Random, instructions: readonly AnyInsn[], bits: Bits) {
    this.random = random;
    this.bits = bits;
    this.forms = instructions.flatMap(formsOf).filter(usable);
    this.defined = this.forms.filter((f) => (f.insn.flags?.undefined ?? []).length === 0);
  }

  make(length: number): Sequence {
    const { random, bits } = this;
    const width = bits === 64 ? 64 : 32;
    const gpr = Array.from({ length: 16 }, (_, i) => (bits !== 64 && i >= 8 ? 0n : BigInt.asUintN(width, random.value())));
    gpr[RSP] = WINDOW - dataBase(bits) + 256n;
    const window = randomWindow(random);
    const looped = random.chance(0.5);
    if (looped) new DataView(window.buffer).setUint32(Number(COUNTER - WINDOW), 1 + random.below(6), true);
    const code: number[] = [];
    const listing: string[] = [];
    const boundaries: number[] = [];
    const open: { readonly at: number; readonly size: number }[] = [];
    const start: Case = {
      bits,
      code: new Uint8Array(0),
      whole: true,
      gpr,
      rflags: FIXED_FLAGS | (random.u64() & FREE_FLAGS),
      fxsave: randomFxsave(random),
      window,
    };
    const { state, memory } = prepare(start);
    const mode = { bits, stackSize: stackSize(bits) } as const;
    const tainted = new Set<Flag>();
    const everTainted = new Set<Flag>();
    let ended = false;
    for (let tries = 0; listing.length < length && code.length < CODE_SIZE - 64 && tries < length * 20 && !ended; tries++) {
      const bytes = this.pick(
        looped,
        Array.from({ length: 16 }, (_, n) => state.reg(n)),
      );
      if (bytes === undefined) continue;
      const decoded = decode(bytes, 0, bytes.length, { bits });
      if (typeof decoded === 'string' || decoded.length !== bytes.length || readsTainted(decoded, tainted)) continue;
      const before = { registers: state.view.buffer.slice(0), memory: memory.bytes.slice() };
      const next = startOf(bits) + BigInt(code.length + bytes.length);
      const undo = (): void => {
        new Uint8Array(state.view.buffer).set(new Uint8Array(before.registers));
        memory.bytes.set(before.memory);
      };
      try {
        do oracleStep(state, memory, mode, decoded);
        while (state.rip === startOf(bits) + BigInt(code.length));
      } catch (e) {
        if (!(e instanceof OracleFault) && !(e instanceof OracleSlow)) throw e;
        undo();
        // Most faults are not wanted, but a program may end in one.
        const comparing = decoded.rep !== 0 && (decoded.insn.flags?.writes ?? []).length > 0;
        if (e instanceof OracleSlow || comparing || !random.chance(0.1)) continue;
        ended = true;
      }
      const skipped = ended ? 0 : Number(state.rip - next);
      const stack = BigInt.asUintN(stackSize(bits) * 8, state.reg(RSP)) + dataBase(bits);
      if (skipped < 0 || skipped > MAX_SKIP || stack < WINDOW + 64n || stack > WINDOW + BigInt(WINDOW_SIZE - 64)) {
        undo();
        ended = false;
        continue;
      }
      boundaries.push(code.length);
      listing.push(`${decoded.insn.mnemonic} ${toHex(bytes)}`);
      code.push(...bytes);
      const last = decoded.operands.at(-1);
      // A branch that is not taken may lead anywhere; in a loop it will be, one day.
      if (last?.kind === 'rel' && skipped === 0 && state.rip === next)
        open.push({ at: code.length, size: relSize(formsOf(decoded.insn)[decoded.form], decoded.opSize, bits) });
      for (let i = 0; i < skipped; i++) code.push(INT3);
      taint(decoded, tainted);
      for (const f of tainted) everTainted.add(f);
    }
    boundaries.push(code.length);
    if (looped && !ended) {
      listing.push('loop');
      // sub dword [counter], 1; jnz to the start. In 16-bit code with prefixes for 32-bit operand and address size.
      const bytes = (v: number, n: number) => Array.from({ length: n }, (_, i) => (v >> (i * 8)) & 0xff);
      if (bits === 16) code.push(0x66, 0x67);
      code.push(0x83, 0x2c, 0x25, ...bytes(Number(COUNTER - dataBase(bits)), 4), 1);
      const size = bits === 16 ? 2 : 4;
      code.push(0x0f, 0x85, ...bytes(-(code.length + 2 + size), size));
    }
    for (const { at, size } of open) this.aim(code, boundaries, at, size);
    return { case: { ...start, code: Uint8Array.from(code) }, listing, tainted: everTainted };
  }

  /** Points a branch whose displacement ends at `at` to some instruction after it. */
  private aim(code: number[], boundaries: readonly number[], at: number, size: number): void {
    const reachable = boundaries.filter((b) => b >= at && b - at < 128);
    const disp = reachable.length === 0 ? 0 : this.random.pick(reachable) - at;
    for (let i = 0; i < size; i++) code[at - size + i] = i === 0 ? disp : 0;
  }

  private pick(looped: boolean, gpr: bigint[]): Uint8Array | undefined {
    const { random, bits } = this;
    const form = random.pick(looped ? this.defined : this.forms);
    const opSize = form.byte ? 1 : random.pick(bits === 64 ? ([2, 4, 4, 8, 8] as const) : ([2, 4, 4] as const));
    const isString = form.operands.some((o) => 'XY'.includes(o.letter));
    const rep = isString ? random.pick([0, 0xf2, 0xf3] as const) : 0;
    const e = encode(random, form, { bits, opSize, memory: random.chance(0.4), rep, keepRegisters: true }, gpr);
    if (e === undefined || e.code.length > 15) return undefined;
    if (form.operands.at(-1)?.letter !== 'J') return e.code;
    // In flat code a branch with 16-bit operand size leaves for the first 64 KiB.
    if (opSize === 2 && bits !== 16) return undefined;
    const size = relSize(form, opSize, bits);
    e.code.fill(0, e.code.length - size);
    e.code[e.code.length - size] = random.below(MAX_SKIP + 1);
    return e.code;
  }
}
