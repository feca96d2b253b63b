// From opcode to form: the decoder's tables, built from the declarations when the first instruction is decoded.
//
// A cell holds the forms of one opcode. What they come to depends on the mode, the mandatory prefix, REX.W, the operand-size prefix and
// ModRM; each combination is worked out when code first uses it and then kept, with operand sizes settled, so that decoding is two lookups.

import type { DecodedOperand } from '../isa/decoded.ts';
import { type Form, type FormHead, formHeads, type OperandLetter, PREFIX, parseForm } from '../isa/forms.ts';
import { INSTRUCTIONS } from '../isa/index.ts';
import type { AnyInsn } from '../isa/insn.ts';
import { HIGH_BYTES, immOperand, type RegClassIndex, regOperand } from './decode-operands.ts';

/** How the decoder fetches an operand; small integers so that its switch is a jump table. */
export const FETCH = {
  /** A register that the encoding fixes: `fixed` is the operand. */
  fixed: 0,
  /** ModRM.reg with REX.R, general register. */
  regGpr: 1,
  /** ModRM.rm: general register or memory. */
  rmGpr: 2,
  /** General register in the opcode. */
  low: 3,
  /** ModRM.reg in another class. */
  reg: 4,
  /** ModRM.rm in another class, or memory. */
  rm: 5,
  imm: 6,
  rel: 7,
  far: 8,
  moffs: 9,
  /** Memory at [register `index`] in the segment that an override may name. */
  implicit: 10,
  /** Memory at ES:[rDI], which no override reaches. */
  implicitEs: 11,
  /** General register in VEX.vvvv. */
  vvvv: 12,
} as const;
export type Fetch = (typeof FETCH)[keyof typeof FETCH];

export interface ResolvedOperand {
  readonly fetch: Fetch;
  /** Size of the operand; for a relative branch or immediate, of the bytes in the instruction. */
  readonly size: number;
  readonly regSize: number;
  readonly class: RegClassIndex;
  /** Register number of implicit memory. */
  readonly index: number;
  /** The operand itself, where the form fixes it. */
  readonly constant: DecodedOperand | null;
  /** Immediates: the size that the instruction sees, and whether the way there is sign extension. */
  readonly seen: number;
  readonly signed: boolean;
  /** Destination, which CS may not be when it is a segment register. */
  readonly written: boolean;
}

export interface Resolved {
  readonly insn: AnyInsn;
  /** What it is on a processor without its CPUID feature, or null. */
  readonly older: AnyInsn | null;
  readonly form: number;
  readonly opSize: 1 | 2 | 4 | 8;
  readonly operands: readonly ResolvedOperand[];
  /** F2 or F3 that is there was spent as mandatory prefix. */
  readonly takesRep: boolean;
  /** VEX.vvvv names an operand. */
  readonly vvvv: boolean;
  readonly modrm: boolean;
  /** A memory form of ModRM is decoded as registers (MOV CR, MOV DR). */
  readonly anyMod: boolean;
  readonly cc: boolean;
  readonly lock: boolean;
  /** Added to the displacement where rSP is the base. */
  readonly popped: number;
}

/** null: #UD. undefined: not worked out yet. */
export type Row = (Resolved | null | undefined)[];

export interface Cell {
  readonly opcode: number;
  readonly modrm: boolean;
  readonly forms: readonly Form[];
  /** By rowIndex(). */
  readonly rows: (Row | undefined)[];
}

const ROWS = 3 * 4 * 2 * 2 * 2;
/** mode: 0, 1, 2 for 16, 32, 64 bits; prefix as PREFIX; w, p66 and b are 0 or 1. Of VEX encodings b is VEX.L. */
export const rowIndex = (mode: number, prefix: number, w: number, p66: number, b: number): number =>
  (((mode * 4 + prefix) * 2 + w) * 2 + p66) * 2 + b;

/** Added to the map of VEX encodings. */
export const VEX_MAPS = 4;
const CELLS = 2 * VEX_MAPS * 256;

/** Cells by map * 256 + opcode; null where no instruction is declared. */
export class DecodeTables {
  private readonly heads: (FormHead[] | undefined)[] = new Array(CELLS).fill(undefined);
  private readonly cells: (Cell | null | undefined)[] = new Array(CELLS).fill(undefined);

  constructor(instructions: readonly AnyInsn[]) {
    for (const i of instructions) {
      for (const head of formHeads(i)) {
        for (let n = 0; n < head.span; n++) {
          const key = (head.map + (head.vex ? VEX_MAPS : 0)) * 256 + head.opcode + n;
          const list = this.heads[key];
          if (list === undefined) this.heads[key] = [head];
          else list.push(head);
        }
      }
    }
  }

  cell(map: number, opcode: number): Cell | null {
    const key = map * 256 + opcode;
    const known = this.cells[key];
    if (known !== undefined) return known;
    const cell = this.build(key, opcode);
    this.cells[key] = cell;
    return cell;
  }

  private build(key: number, opcode: number): Cell | null {
    const heads = this.heads[key];
    if (heads === undefined) return null;
    const forms = heads.map((h) => parseForm(h.insn, h.index, h.text)).sort((a, b) => rank(a) - rank(b));
    const modrm = forms[0]?.modrm !== 'no';
    const odd = forms.find((f) => (f.modrm !== 'no') !== modrm);
    if (odd !== undefined) throw new Error(`${odd.insn.mnemonic}, form '${odd.text}': other forms of the opcode disagree about ModRM`);
    return { opcode, modrm, forms, rows: new Array(ROWS).fill(undefined) };
  }
}

/** The more a form asks for, the earlier it is tried. */
function rank(f: Form): number {
  let r = 0;
  if (f.prefix !== PREFIX.any) r -= 64;
  if (typeof f.modrm === 'number') r -= f.modrm >= 0xc0 ? 32 : 16;
  if (f.low === 'none') r -= 8;
  return r - f.conditions.size;
}

function operandSize(f: Form, mode: number, w: number, p66: number): 2 | 4 | 8 {
  if (f.vex) return mode === 2 && w === 1 ? 8 : 4;
  // A mandatory 66 is no operand-size prefix.
  const narrow = p66 === 1 && f.prefix !== PREFIX.p66;
  if (mode < 2) return narrow === (mode === 0) ? 4 : 2;
  if (f.conditions.has('f64') || w === 1) return 8;
  if (narrow) return 2;
  return f.conditions.has('d64') ? 8 : 4;
}

function matches(f: Form, mode: number, prefix: number, w: number, b: number, size: number, modrm: number): boolean {
  const c = f.conditions;
  if (f.prefix === PREFIX.nfx ? prefix >= PREFIX.f2 : f.prefix !== PREFIX.any && f.prefix !== prefix) return false;
  if (f.vex && b === 1) return false;
  if (mode === 2 ? c.has('i64') : c.has('o64')) return false;
  if ((c.has('w0') && w === 1) || (c.has('w1') && w === 0) || (c.has('b0') && b === 1)) return false;
  if ((c.has('o16') && size !== 2) || (c.has('o32') && size !== 4) || (c.has('oq') && size !== 8)) return false;
  if (f.modrm === 'no') return true;
  const isReg = modrm >= 0xc0;
  if (isReg ? f.memOnly : f.regOnly) return false;
  if (f.modrm === 'r') return true;
  return f.modrm >= 0xc0 ? f.modrm === modrm : f.modrm === ((modrm >> 3) & 7);
}

/** Works out one entry of a cell. Of `modrm` only what the forms depend on may be given: mod 0 for memory. */
export function resolve(cell: Cell, mode: number, prefix: number, w: number, p66: number, b: number, modrm: number): Resolved | null {
  for (const f of cell.forms) {
    const size = operandSize(f, mode, w, p66);
    if (matches(f, mode, prefix, w, b, size, modrm)) return resolveForm(f, size);
  }
  return null;
}

const NONE = { size: 0, regSize: 0, class: 0, index: 0, constant: null, seen: 0, signed: false, written: false } as const;
const CLASS_OF: Partial<Record<OperandLetter, RegClassIndex>> = { S: 1, C: 2, D: 3, ST: 4, P: 5, Q: 5, N: 5, V: 6, W: 6, U: 6 };

function resolveForm(f: Form, opSize: 2 | 4 | 8): Resolved {
  const access = Object.values<string>(f.insn.operands);
  return {
    insn: f.insn,
    older: f.insn.older ?? null,
    form: f.index,
    opSize: f.byte ? 1 : opSize,
    operands: f.operands.map((o, i) => resolveOperand(f, i, opSize, access[i] !== 'r' && o.letter === 'S')),
    takesRep: f.prefix === PREFIX.f2 || f.prefix === PREFIX.f3,
    vvvv: f.operands.some((o) => o.letter === 'B'),
    modrm: f.modrm !== 'no',
    anyMod: f.operands.some((o) => o.letter === 'C' || o.letter === 'D'),
    cc: f.low === 'cc',
    lock: f.insn.lock === true,
    popped: f.conditions.has('sp') ? opSize : 0,
  };
}

function resolveOperand(f: Form, i: number, opSize: 2 | 4 | 8, written: boolean): ResolvedOperand {
  const o = f.operands[i];
  if (o === undefined) throw new Error(`${f.text}: operand ${i}`);
  const column = opSize === 2 ? 0 : opSize === 4 ? 1 : 2;
  const size = o.sizes[column];
  const regSize = o.regSizes[column];
  const base = { ...NONE, size, regSize, index: o.index, written };
  switch (o.letter) {
    case 'gpr':
      return { ...base, fetch: FETCH.fixed, constant: regOperand(0, o.index, size) };
    case 'high':
      return { ...base, fetch: FETCH.fixed, constant: HIGH_BYTES[o.index] ?? null };
    case 'seg':
      return { ...base, fetch: FETCH.fixed, constant: regOperand(1, o.index, 2) };
    case 'st0':
      return { ...base, fetch: FETCH.fixed, constant: regOperand(4, 0, 10) };
    case 'xmm0':
      return { ...base, fetch: FETCH.fixed, constant: regOperand(6, 0, 16) };
    case 'one':
      return { ...base, fetch: FETCH.fixed, constant: immOperand(1, 1, 0) };
    case 'G':
      return { ...base, fetch: FETCH.regGpr };
    case 'B':
      return { ...base, fetch: FETCH.vvvv };
    case 'E':
    case 'R':
    case 'M':
      return { ...base, fetch: FETCH.rmGpr };
    case 'Z':
      return { ...base, fetch: FETCH.low };
    case 'S':
    case 'C':
    case 'D':
    case 'P':
    case 'V':
      return { ...base, fetch: FETCH.reg, class: CLASS_OF[o.letter] ?? 0 };
    case 'ST':
    case 'N':
    case 'Q':
    case 'U':
    case 'W':
      return { ...base, fetch: FETCH.rm, class: CLASS_OF[o.letter] ?? 0 };
    case 'I': {
      // Iz stands for a value of the operand size of which at most 32 bits are in the instruction.
      const z = o.text === 'Iz';
      return { ...base, fetch: FETCH.imm, seen: z ? opSize : size, signed: z };
    }
    case 'sI':
      return { ...base, fetch: FETCH.imm, seen: f.byte ? 1 : opSize, signed: true };
    case 'J':
      return { ...base, fetch: FETCH.rel };
    case 'A':
      return { ...base, fetch: FETCH.far };
    case 'O':
      return { ...base, fetch: FETCH.moffs };
    case 'X':
      return { ...base, fetch: FETCH.implicit, index: 6 };
    case 'Y':
      return { ...base, fetch: FETCH.implicitEs, index: 7 };
    case '()':
      return { ...base, fetch: FETCH.implicit };
  }
}

let tables: DecodeTables | undefined;
/** The tables of all declared instructions. */
export const decodeTables = (): DecodeTables => {
  tables ??= new DecodeTables(INSTRUCTIONS);
  return tables;
};
