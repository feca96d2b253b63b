// The decoder: bytes to a Decoded instruction, in 16-, 32- and 64-bit code (SDM Vol 2A, chapter 2, and Vol 2D, appendix A).
//
// What instructions there are, and which of them an opcode means, is in the tables (decode-tables.ts); here are the prefixes, ModRM and
// SIB, displacements and immediates. The state of the instruction at hand is in module variables, so that nothing but the result is
// allocated; decode() is not re-entrant and need not be.

import type { CodeMode, Decode, Decoded, DecodedOperand, DecodeError, MemOperand } from '../isa/decoded.ts';
import { PREFIX } from '../isa/forms.ts';
import { CS, DS, ES, FS, GS, SS } from '../state.ts';
import { cutImm, HIGH_BYTES, regOperand } from './decode-operands.ts';
import {
  type DecodeTables,
  decodeTables,
  FETCH,
  type Resolved,
  type ResolvedOperand,
  resolve,
  rowIndex,
  VEX_MAPS,
} from './decode-tables.ts';

const MAX_LENGTH = 15;
const NO_OPERANDS: readonly DecodedOperand[] = [];

let code: Uint8Array = new Uint8Array(0);
/** Next byte, and the first that may not be read. */
let pos = 0;
let end = 0;
let long = false;
/** REX; of a VEX prefix the bits that stand for it. */
let rex = 0;
let vexL = 0;
let vexV = 0;
let addrSize: 2 | 4 | 8 = 8;
/** Segment override, or -1. */
let override = -1;
let modrm = 0;
/** Parts of the ModRM memory operand. */
let memBase = -1;
let memIndex = -1;
let memScale: 0 | 1 | 2 | 3 = 0;
let memDisp = 0;
let tables: DecodeTables | undefined;

const u8 = (): number => code[pos++] ?? 0;
const s8 = (): number => (u8() << 24) >> 24;
const u16 = (): number => {
  const v = (code[pos] ?? 0) | ((code[pos + 1] ?? 0) << 8);
  pos += 2;
  return v;
};
const s32 = (): number => {
  const v = (code[pos] ?? 0) | ((code[pos + 1] ?? 0) << 8) | ((code[pos + 2] ?? 0) << 16) | ((code[pos + 3] ?? 0) << 24);
  pos += 4;
  return v;
};

/** ModRM memory operand under 16-bit addressing (SDM Vol 2A, table 2-1): base and index by ModRM.rm. */
const BASE16: readonly number[] = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEX16: readonly number[] = [6, 7, 6, 7, -1, -1, -1, -1];

/** Reads SIB and displacement; false when they end after `end`. */
function readMemory(): boolean {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  memIndex = -1;
  memScale = 0;
  memDisp = 0;
  if (addrSize === 2) {
    if (mod === 0 && rm === 6) {
      memBase = -1;
      if (pos + 2 > end) return false;
      memDisp = (u16() << 16) >> 16;
      return true;
    }
    memBase = BASE16[rm] ?? 0;
    memIndex = INDEX16[rm] ?? 0;
    if (mod === 0) return true;
    if (pos + mod > end) return false;
    memDisp = mod === 1 ? s8() : (u16() << 16) >> 16;
    return true;
  }
  if (rm === 4) {
    if (pos >= end) return false;
    const sib = u8();
    const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
    memIndex = index === 4 ? -1 : index;
    memScale = (sib >> 6) as 0 | 1 | 2 | 3;
    if (memIndex < 0) memScale = 0;
    if ((sib & 7) === 5 && mod === 0) {
      memBase = -1;
      if (pos + 4 > end) return false;
      memDisp = s32();
      return true;
    }
    memBase = (sib & 7) | ((rex & 1) << 3);
  } else if (mod === 0 && rm === 5) {
    memBase = long ? 16 : -1;
    if (pos + 4 > end) return false;
    memDisp = s32();
    return true;
  } else {
    memBase = rm | ((rex & 1) << 3);
  }
  if (mod === 1) {
    if (pos >= end) return false;
    memDisp = s8();
  } else if (mod === 2) {
    if (pos + 4 > end) return false;
    memDisp = s32();
  }
  return true;
}

function memOperand(size: number): MemOperand {
  // BP and SP as base mean the stack (SDM Vol 1, 3.7.4), with REX.B they are other registers.
  const seg = override >= 0 ? override : memBase === 5 || memBase === 4 ? SS : DS;
  return {
    kind: 'mem',
    size,
    seg,
    base: memBase,
    index: memIndex,
    scale: memScale,
    disp: memDisp,
    dispHi: addrSize === 8 ? memDisp >> 31 : 0,
  };
}

const gpr = (index: number, size: number): DecodedOperand =>
  size === 1 && rex === 0 && index >= 4 ? (HIGH_BYTES[index - 4] as DecodedOperand) : regOperand(0, index, size);

/** One operand; undefined when its bytes end after `end`, null for #UD. */
function readOperand(o: ResolvedOperand, isReg: boolean, opcode: number): DecodedOperand | null | undefined {
  switch (o.fetch) {
    case FETCH.fixed:
      return o.constant;
    case FETCH.regGpr:
      return gpr(((modrm >> 3) & 7) | ((rex & 4) << 1), o.regSize);
    case FETCH.rmGpr:
      return isReg ? gpr((modrm & 7) | ((rex & 1) << 3), o.regSize) : memOperand(o.size);
    case FETCH.low:
      return gpr((opcode & 7) | ((rex & 1) << 3), o.regSize);
    case FETCH.reg:
      return regOfClass(o);
    case FETCH.rm:
      if (!isReg) return memOperand(o.size);
      return regOperand(o.class, o.class === 6 ? (modrm & 7) | ((rex & 1) << 3) : modrm & 7, o.regSize);
    case FETCH.imm:
      return readImm(o);
    case FETCH.rel:
      if (pos + o.size > end) return undefined;
      return { kind: 'rel', disp: o.size === 1 ? s8() : o.size === 2 ? (u16() << 16) >> 16 : s32() };
    case FETCH.far: {
      if (pos + o.size > end) return undefined;
      const offset = o.size === 4 ? u16() : s32() >>> 0;
      return { kind: 'far', selector: u16(), offset };
    }
    case FETCH.moffs: {
      if (pos + addrSize > end) return undefined;
      const disp = addrSize === 2 ? u16() : s32();
      const seg = override >= 0 ? override : DS;
      return { kind: 'mem', size: o.size, seg, base: -1, index: -1, scale: 0, disp, dispHi: addrSize === 8 ? s32() : 0 };
    }
    case FETCH.vvvv:
      return gpr(long ? vexV : vexV & 7, o.regSize);
    case FETCH.implicit: {
      const seg = override >= 0 ? override : DS;
      return { kind: 'mem', size: o.size, seg, base: o.index, index: -1, scale: 0, disp: 0, dispHi: 0 };
    }
    default:
      return { kind: 'mem', size: o.size, seg: ES, base: o.index, index: -1, scale: 0, disp: 0, dispHi: 0 };
  }
}

function regOfClass(o: ResolvedOperand): DecodedOperand | null {
  const low = (modrm >> 3) & 7;
  const index = low | ((rex & 4) << 1);
  switch (o.class) {
    case 1:
      // No segment register 6 or 7, and CS is not loaded by MOV (SDM Vol 2B, MOV).
      return low > 5 || (o.written && low === CS) ? null : regOperand(1, low, 2);
    case 2:
      return index === 0 || (index >= 2 && index <= 4) || index === 8 ? regOperand(2, index, o.regSize) : null;
    case 3:
      return index > 7 ? null : regOperand(3, index, o.regSize);
    case 6:
      return regOperand(6, index, o.regSize);
    default:
      return regOperand(o.class, low, o.regSize);
  }
}

function readImm(o: ResolvedOperand): DecodedOperand | undefined {
  if (pos + o.size > end) return undefined;
  if (o.signed) {
    const v = o.size === 1 ? s8() : o.size === 2 ? (u16() << 16) >> 16 : s32();
    return cutImm(o.seen, v, v >> 31);
  }
  if (o.size === 1) return cutImm(1, u8(), 0);
  if (o.size === 2) return cutImm(2, u16(), 0);
  const lo = s32();
  return cutImm(o.size, lo, o.size === 8 ? s32() : 0);
}

function lookup(mode: number, map: number, opcode: number, prefix: number, p66: number): Resolved | null | undefined {
  tables ??= decodeTables();
  const cell = tables.cell(map, opcode);
  if (cell === null) return null;
  const w = (rex >> 3) & 1;
  const b = map >= VEX_MAPS ? vexL : cell.modrm ? 0 : rex & 1;
  let key = 0;
  let probe = 0;
  if (cell.modrm) {
    if (pos >= end) return undefined;
    modrm = code[pos++] ?? 0;
    // The forms of memory operands depend on ModRM.reg only.
    probe = modrm >= 0xc0 ? modrm : modrm & 0x38;
    key = modrm >= 0xc0 ? 8 + (modrm & 0x3f) : (modrm >> 3) & 7;
  }
  const r = rowIndex(mode, prefix, w, p66, b);
  let row = cell.rows[r];
  if (row === undefined) {
    row = new Array(cell.modrm ? 72 : 1).fill(undefined);
    cell.rows[r] = row;
  }
  let found = row[key];
  if (found === undefined) {
    found = resolve(cell, mode, prefix, w, p66, b, probe);
    row[key] = found;
  }
  return found;
}

/** VEX.pp: none, 66, F3, F2, as PREFIX numbers them. */
const VEX_PREFIX: readonly number[] = [PREFIX.none, PREFIX.p66, PREFIX.f3, PREFIX.f2];
let vexPrefix = 0;

/** Payload of a VEX prefix (SDM Vol 2A, figure 2-9); the map, which may be none. R, X, B and vvvv are stored inverted. */
function readVex(three: boolean): number {
  const first = u8();
  const last = three ? u8() : first & 0x7f;
  vexV = (~last >> 3) & 15;
  vexL = (last >> 2) & 1;
  vexPrefix = VEX_PREFIX[last & 3] ?? 0;
  // Outside 64-bit code R and X are 1, or the first byte would have been LES or LDS; B is ignored.
  const rxb = long ? (three ? (~first >> 5) & 7 : (~first >> 5) & 4) : 0;
  rex = rxb | ((last >> 4) & 8);
  return VEX_MAPS + (three ? first & 31 : 1);
}

// TOUR add 20: Bytes become one Decoded: the form is looked up in tables made from all the records, prefixes are resolved, operands named.
export const decode: Decode = (bytes: Uint8Array, offset: number, available: number, mode: CodeMode): Decoded | DecodeError => {
  const bits = mode.bits;
  code = bytes;
  pos = offset;
  end = offset + Math.min(available, MAX_LENGTH);
  const short: DecodeError = available < MAX_LENGTH ? 'needBytes' : 'tooLong';
  long = bits === 64;
  rex = 0;
  override = -1;
  let p66 = 0;
  let p67 = false;
  let rep: 0 | 0xf2 | 0xf3 = 0;
  let lock = false;
  let opcode = 0;

  prefixes: for (;;) {
    if (pos >= end) return short;
    opcode = code[pos++] ?? 0;
    switch (opcode) {
      // ES CS SS DS override nothing in 64-bit mode, not even an FS or GS before them (SDM Vol 2A, 2.1.1).
      case 0x26:
        if (!long) override = ES;
        break;
      case 0x2e:
        if (!long) override = CS;
        break;
      case 0x36:
        if (!long) override = SS;
        break;
      case 0x3e:
        if (!long) override = DS;
        break;
      case 0x64:
        override = FS;
        break;
      case 0x65:
        override = GS;
        break;
      case 0x66:
        p66 = 1;
        break;
      case 0x67:
        p67 = true;
        break;
      case 0xf0:
        lock = true;
        break;
      case 0xf2:
        rep = 0xf2;
        break;
      case 0xf3:
        rep = 0xf3;
        break;
      default:
        if (!long || (opcode & 0xf0) !== 0x40) break prefixes;
        rex = opcode;
        continue;
    }
    // REX counts only directly before the opcode (SDM Vol 2A, 2.2.1).
    rex = 0;
  }
  addrSize = long ? (p67 ? 4 : 8) : p67 === (bits === 32) ? 2 : 4;

  let map = 0;
  if (opcode === 0x0f) {
    if (pos >= end) return short;
    opcode = code[pos++] ?? 0;
    map = 1;
    if (opcode === 0x38 || opcode === 0x3a) {
      map = opcode === 0x38 ? 2 : 3;
      if (pos >= end) return short;
      opcode = code[pos++] ?? 0;
    }
  }
  let prefix = rep !== 0 ? rep - 0xf0 : p66;
  // EVEX (62) and XOP (8F) have no tables: where their first byte is not BOUND or POP, that is with mod 3 or in 64-bit code, it finds no
  // form and is #UD. So do VEX prefixes of what is not declared, AVX among it.
  if (map === 0 && (opcode === 0xc4 || opcode === 0xc5)) {
    if (pos >= end) return short;
    if (long || (code[pos] ?? 0) >= 0xc0) {
      // No 66, F2, F3, LOCK or REX before it (SDM Vol 2A, 2.3.1 to 2.3.4).
      if (rep !== 0 || p66 !== 0 || lock || rex !== 0) return 'ud';
      if (pos + (opcode === 0xc4 ? 3 : 2) > end) return short;
      map = readVex(opcode === 0xc4);
      if (map === VEX_MAPS || map >= 2 * VEX_MAPS) return 'ud';
      prefix = vexPrefix;
      opcode = code[pos++] ?? 0;
    }
  }
  const form = lookup(long ? 2 : bits === 32 ? 1 : 0, map, opcode, prefix, p66);
  if (form === undefined) return short;
  if (form === null) return 'ud';
  if (map >= VEX_MAPS && !form.vvvv && vexV !== 0) return 'ud';

  let isReg = false;
  if (form.modrm) {
    isReg = modrm >= 0xc0 || form.anyMod;
    if (!isReg) {
      if (!readMemory()) return short;
      if (memBase === 4) memDisp = (memDisp + form.popped) | 0;
    }
  }
  let operands = NO_OPERANDS;
  const count = form.operands.length;
  if (count !== 0) {
    const list: DecodedOperand[] = [];
    for (let i = 0; i < count; i++) {
      const o = readOperand(form.operands[i] as ResolvedOperand, isReg, opcode);
      if (o === undefined) return short;
      if (o === null) return 'ud';
      list.push(o);
    }
    operands = list;
  }
  if (lock && !(form.lock && operands[0]?.kind === 'mem')) return 'ud';
  const { older } = form;
  return {
    insn: older !== null && mode.has?.(form.insn.cpuid ?? '') === false ? older : form.insn,
    form: form.form,
    length: pos - offset,
    opSize: form.opSize,
    addrSize,
    rep: form.takesRep ? 0 : rep,
    lock,
    cc: form.cc ? opcode & 15 : 0,
    operands,
  };
};
