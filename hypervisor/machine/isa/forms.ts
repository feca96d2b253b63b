// The notation in which instruction records state their encodings (insn.ts, `forms`), parsed. The decoder, the disassembler, the tests
// and the assembler's tests read encodings only through this file.
//
//   forms     form | form | ...
//   form      [NP|NFx|66|F2|F3] opcode [/r | /0../7] [operand,operand,...] [{condition condition ...}]
//           | VEX.LZ[.66|.F2|.F3].(0F|0F38|0F3A) opcode ...
//   opcode    hex bytes with blanks between; the last may end in +r or +cc; a byte after the opcode proper is a whole ModRM byte (0F 01 C1)
//   operand   a letter of SDM Vol 2D, A.2.1 with a size of A.2.2, the names of fixed registers, or the extensions below
//
// Extensions: Z (register in the opcode's low three bits), sIb (immediate byte, sign-extended to the operand size), Rv/Mw (sizes for a
// register and for memory), (rBX)b (memory at DS:rBX under the address size), STi (x87 register in ModRM.rm), Mt (ten bytes).
// Conditions are explained in insn.ts; `sp`: a memory operand based on rSP sees it after a pop of the operand size (POP).
// A form without mandatory prefix takes any prefix for which its opcode has no other form; NP takes none of 66, F2,
// F3; NFx neither F2 nor F3, and 66 as operand size. VEX.LZ wants VEX.L clear; VEX.W makes the operand size 8 in 64-bit code and is ignored
// elsewhere, and VEX.vvvv must be 1111b unless a B names it (SDM Vol 2A, 2.3.5).

import type { AnyInsn } from './insn.ts';

/** What an operand's letter says about where it comes from. */
export type OperandLetter =
  | 'A' // far pointer in the instruction
  | 'B' // general register, VEX.vvvv
  | 'C' // control register, ModRM.reg
  | 'D' // debug register, ModRM.reg
  | 'E' // general register or memory, ModRM.rm
  | 'G' // general register, ModRM.reg
  | 'I' // immediate
  | 'sI' // immediate, sign-extended to the operand size
  | 'J' // relative branch
  | 'M' // memory, ModRM.rm
  | 'N' // MMX register, ModRM.rm
  | 'O' // memory at an offset in the instruction
  | 'P' // MMX register, ModRM.reg
  | 'Q' // MMX register or memory, ModRM.rm
  | 'R' // general register, ModRM.rm
  | 'S' // segment register, ModRM.reg
  | 'ST' // x87 register, ModRM.rm
  | 'U' // XMM register, ModRM.rm
  | 'V' // XMM register, ModRM.reg
  | 'W' // XMM register or memory, ModRM.rm
  | 'X' // memory at DS:rSI
  | 'Y' // memory at ES:rDI
  | 'Z' // general register in the opcode
  | '()' // memory at DS:register
  | 'gpr' // fixed general register
  | 'high' // AH CH DH BH
  | 'seg' // fixed segment register
  | 'st0'
  | 'xmm0'
  | 'one'; // the constant 1

export interface OperandSpec {
  readonly letter: OperandLetter;
  /** Register number of the fixed ones and of '()'. */
  readonly index: number;
  /** Size in bytes under an operand size of 2, 4 and 8. For 'I', 'sI' and 'J' the bytes in the instruction. */
  readonly sizes: readonly [number, number, number];
  /** Size of the register where `sizes` is that of memory only (Rv/Mw). */
  readonly regSizes: readonly [number, number, number];
  /** As written. */
  readonly text: string;
}

export type Condition = 'd64' | 'f64' | 'i64' | 'o64' | 'mem' | 'reg' | 'w0' | 'w1' | 'o16' | 'o32' | 'oq' | 'b0' | 'sp';
const CONDITIONS: readonly string[] = ['d64', 'f64', 'i64', 'o64', 'mem', 'reg', 'w0', 'w1', 'o16', 'o32', 'oq', 'b0', 'sp'];

/** Mandatory prefixes; the first four are also the decoder's numbering of the prefix that is there. */
export const PREFIX = { none: 0, p66: 1, f2: 2, f3: 3, any: 4, nfx: 5 } as const;
export type Prefix = (typeof PREFIX)[keyof typeof PREFIX];

export interface Form {
  readonly insn: AnyInsn;
  /** Index into the instruction's forms. */
  readonly index: number;
  readonly text: string;
  readonly prefix: Prefix;
  /** 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A. */
  readonly map: 0 | 1 | 2 | 3;
  /** Encoded with a VEX prefix, which names map and mandatory prefix. */
  readonly vex: boolean;
  /** Last byte of the opcode; with `low`, the first of its range. */
  readonly opcode: number;
  readonly low: 'none' | 'r' | 'cc';
  /** 'no' where there is no ModRM byte, 'r' for /r, 0..7 for /digit, 0xc0..0xff for a whole byte. */
  readonly modrm: 'no' | 'r' | number;
  readonly operands: readonly OperandSpec[];
  readonly conditions: ReadonlySet<Condition>;
  /** True where ModRM.mod must be a register (3) or memory form, by condition or by an operand that has no other. */
  readonly regOnly: boolean;
  readonly memOnly: boolean;
  /** True for the forms whose operand size is one byte. */
  readonly byte: boolean;
}

type Sizes = readonly [number, number, number];
const SIZES: Readonly<Record<string, Sizes>> = {
  '': [0, 0, 0],
  b: [1, 1, 1],
  w: [2, 2, 2],
  d: [4, 4, 4],
  q: [8, 8, 8],
  v: [2, 4, 8],
  z: [2, 4, 4],
  y: [4, 4, 8],
  p: [4, 6, 10],
  a: [4, 8, 8],
  s: [0, 0, 0],
  t: [10, 10, 10],
  dq: [16, 16, 16],
  x: [16, 16, 16],
  ps: [16, 16, 16],
  pd: [16, 16, 16],
  ss: [4, 4, 4],
  sd: [8, 8, 8],
  pi: [8, 8, 8],
};
const sizesOf = (suffix: string, text: string): Sizes => {
  const s = SIZES[suffix];
  if (s === undefined) throw new Error(`operand ${text}: no size '${suffix}'`);
  return s;
};

const FIXED = new Map<string, OperandSpec>();
{
  const fix = (text: string, letter: OperandLetter, index: number, sizes: Sizes): void => {
    FIXED.set(text, { letter, index, sizes, regSizes: sizes, text });
  };
  const words = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'];
  words.forEach((name, i) => {
    fix(name, 'gpr', i, [2, 2, 2]);
    fix(`E${name}`, 'gpr', i, [4, 4, 4]);
    fix(`R${name}`, 'gpr', i, [8, 8, 8]);
    fix(`e${name}`, 'gpr', i, [2, 4, 4]);
    fix(`r${name}`, 'gpr', i, [2, 4, 8]);
  });
  ['AL', 'CL', 'DL', 'BL'].forEach((name, i) => {
    fix(name, 'gpr', i, [1, 1, 1]);
  });
  ['AH', 'CH', 'DH', 'BH'].forEach((name, i) => {
    fix(name, 'high', i, [1, 1, 1]);
  });
  ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'].forEach((name, i) => {
    fix(name, 'seg', i, [2, 2, 2]);
  });
  fix('1', 'one', 1, [1, 1, 1]);
  fix('ST0', 'st0', 0, [10, 10, 10]);
  fix('ST', 'st0', 0, [10, 10, 10]);
  fix('STi', 'ST', 0, [10, 10, 10]);
  fix('XMM0', 'xmm0', 0, [16, 16, 16]);
}
const IMPLICIT_BASES: readonly string[] = ['rAX', 'rCX', 'rDX', 'rBX', 'rSP', 'rBP', 'rSI', 'rDI'];
/** Sizes of registers that are not general ones do not depend on the operand's size letter. */
const REGISTER_SIZES: Readonly<Record<string, Sizes>> = {
  V: [16, 16, 16],
  W: [16, 16, 16],
  U: [16, 16, 16],
  P: [8, 8, 8],
  Q: [8, 8, 8],
  N: [8, 8, 8],
  S: [2, 2, 2],
};

function parseOperand(text: string): OperandSpec {
  const fixed = FIXED.get(text);
  if (fixed !== undefined) return fixed;
  const implicit = /^\((\w\w\w)\)(\w*)$/.exec(text);
  if (implicit !== null) {
    const index = IMPLICIT_BASES.indexOf(implicit[1] ?? '');
    if (index < 0) throw new Error(`operand ${text}: no such base`);
    const sizes = sizesOf(implicit[2] ?? '', text);
    return { letter: '()', index, sizes, regSizes: sizes, text };
  }
  const m = /^(sI|[ABCDEGIJMNOPQRSUVWXYZ])([a-z]*)(?:\/M([a-z]*))?$/.exec(text);
  if (m === null) throw new Error(`operand ${text}: not understood`);
  const letter = m[1] as OperandLetter;
  const sizes = sizesOf(m[2] ?? '', text);
  if (m[3] !== undefined) {
    const whole = letter === 'R' ? 'E' : letter === 'U' ? 'W' : letter === 'N' ? 'Q' : letter;
    return { letter: whole, index: 0, sizes: sizesOf(m[3], text), regSizes: REGISTER_SIZES[letter] ?? sizes, text };
  }
  return { letter, index: 0, sizes, regSizes: REGISTER_SIZES[letter] ?? sizes, text };
}

const IMMEDIATE: ReadonlySet<OperandLetter> = new Set<OperandLetter>(['I', 'sI', 'one']);
const isByteForm = (operands: readonly OperandSpec[]): boolean => {
  let some = false;
  for (const o of operands) {
    // A shift count in CL and a port in DX say nothing of the size that is operated on.
    if (IMMEDIATE.has(o.letter) || o.text === 'DX' || (o.text === 'CL' && operands.length > 1)) continue;
    if (o.sizes[0] !== 1 || o.sizes[2] !== 1 || o.regSizes[2] !== 1) return false;
    some = true;
  }
  return some;
};

const HEAD = /^\s*(NP |NFx |66 |F2 |F3 )?((?:[0-9A-F]{2} ?)+)(\+r|\+cc)?\s*(\/[r0-7])?\s*([^{]*?)\s*(?:\{([^}]*)\})?\s*$/;

const VEX = /^\s*VEX\.LZ(?:\.(66|F2|F3))?\.0F(38|3A)? /;
/** A VEX form as the legacy form would be written that has its map and mandatory prefix; others as they are. */
const withoutVex = (text: string): string => text.replace(VEX, (_, prefix = 'NP', map = '') => `${prefix} 0F ${map}${map && ' '}`);

export function parseForm(insn: AnyInsn, index: number, text: string): Form {
  const bad = (why: string): Error => new Error(`${insn.mnemonic}, form '${text.trim()}': ${why}`);
  const vex = VEX.test(text);
  const m = HEAD.exec(withoutVex(text));
  if (m === null) throw bad('not understood');
  const bytes = (m[2] ?? '')
    .trim()
    .split(' ')
    .map((h) => Number.parseInt(h, 16));
  let prefix: Prefix = PREFIX.any;
  if (m[1] !== undefined)
    prefix = { 'NP ': PREFIX.none, 'NFx ': PREFIX.nfx, '66 ': PREFIX.p66, 'F2 ': PREFIX.f2, 'F3 ': PREFIX.f3 }[m[1]] ?? PREFIX.any;
  const [first = 0, second] = bytes;
  const map = first !== 0x0f || second === undefined ? 0 : second === 0x38 ? 2 : second === 0x3a ? 3 : 1;
  const at = map === 0 ? 0 : map === 1 ? 1 : 2;
  const opcode = bytes[at];
  if (opcode === undefined || bytes.length > at + 2) throw bad('opcode of the wrong length');
  const whole = bytes[at + 1];
  const operands = (m[5] ?? '')
    .split(',')
    .map((o) => o.trim())
    .filter((o) => o !== '')
    .map((o) => {
      try {
        return parseOperand(o);
      } catch (e) {
        throw bad((e as Error).message);
      }
    });
  const conditions = new Set<Condition>();
  for (const c of (m[6] ?? '').split(/[\s,]+/)) {
    if (c === '') continue;
    if (!CONDITIONS.includes(c)) throw bad(`no condition '${c}'`);
    conditions.add(c as Condition);
  }
  let modrm: 'no' | 'r' | number = 'no';
  if (whole !== undefined) {
    if (whole < 0xc0 || m[4] !== undefined) throw bad('a ModRM byte in full must have mod 3 and no /digit');
    modrm = whole;
  } else if (m[4] === '/r') modrm = 'r';
  else if (m[4] !== undefined) modrm = m[4].charCodeAt(1) - 0x30;

  const letters = new Set(operands.map((o) => o.letter));
  const has = (...l: OperandLetter[]): boolean => l.some((x) => letters.has(x));
  // MOV to and from control and debug registers takes any mod for 3 (SDM Vol 2B, MOV-Move to/from Control Registers).
  const anyMod = has('C', 'D');
  const regOnly = typeof modrm === 'number' && modrm >= 0xc0 ? true : conditions.has('reg') || (!anyMod && has('R', 'N', 'U', 'ST'));
  const low = m[3] === '+r' ? 'r' : m[3] === '+cc' ? 'cc' : 'none';
  if (modrm === 'no' && has('C', 'D', 'E', 'G', 'M', 'N', 'P', 'Q', 'R', 'S', 'U', 'V', 'W')) throw bad('operands need a ModRM byte');
  if (has('B') && !vex) throw bad('B goes with VEX');
  if (has('Z') !== (low === 'r')) throw bad('+r goes with Z');
  return {
    insn,
    index,
    text: text.trim(),
    prefix,
    map,
    vex,
    opcode,
    low,
    modrm,
    operands,
    conditions,
    regOnly,
    memOnly: conditions.has('mem') || has('M'),
    byte: isByteForm(operands),
  };
}

/** Where a form's text puts it, without the rest of the parse: the decoder's tables are built from this alone, to start quickly. */
export interface FormHead {
  readonly insn: AnyInsn;
  readonly index: number;
  readonly text: string;
  readonly map: 0 | 1 | 2 | 3;
  readonly vex: boolean;
  readonly opcode: number;
  /** How many opcodes, from `opcode` on, the form takes. */
  readonly span: 1 | 8 | 16;
}

const hexDigit = (c: number): number => (c >= 0x30 && c <= 0x39 ? c - 0x30 : c >= 0x41 && c <= 0x46 ? c - 0x37 : -1);
const hexByte = (s: string, i: number): number => {
  const hi = hexDigit(s.charCodeAt(i));
  const lo = hexDigit(s.charCodeAt(i + 1));
  return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
};

/** The heads of an instruction's forms. */
export function formHeads(insn: AnyInsn): FormHead[] {
  return insn.forms.split('|').map((raw, index) => {
    const whole = raw.trim();
    const vex = whole.startsWith('VEX');
    const text = vex ? withoutVex(whole) : whole;
    let i = 0;
    if (/^(NP|66|F2|F3) [0-9A-F]{2}/.test(text)) i = 3;
    else if (text.startsWith('NFx ')) i = 4;
    let opcode = hexByte(text, i);
    let map: 0 | 1 | 2 | 3 = 0;
    if (opcode === 0x0f) {
      map = 1;
      i += 3;
      opcode = hexByte(text, i);
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        i += 3;
        opcode = hexByte(text, i);
      }
    }
    if (opcode < 0) throw new Error(`${insn.mnemonic}, form '${text}': no opcode`);
    const span = text.startsWith('+cc', i + 2) ? 16 : text.startsWith('+r', i + 2) ? 8 : 1;
    return { insn, index, text: whole, map, vex, opcode, span };
  });
}

/** All forms of an instruction, in full. */
export const formsOf = (insn: AnyInsn): Form[] => insn.forms.split('|').map((text, index) => parseForm(insn, index, text));
