// Decoded instructions as text, for traces and dumps: Intel syntax, mnemonics as the SDM spells them, lower case.

import type { Decoded, DecodedOperand, MemOperand, RegOperand } from '../isa/decoded.ts';
import { DS, ES, FS, SS } from '../state.ts';

const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];
const WORDS = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const SIZES: Readonly<Record<number, string>> = {
  1: 'byte ptr ',
  2: 'word ptr ',
  4: 'dword ptr ',
  6: 'fword ptr ',
  8: 'qword ptr ',
  10: 'tbyte ptr ',
  16: 'xmmword ptr ',
};
const SUFFIX: Readonly<Record<number, string>> = { 1: 'b', 2: 'w', 4: 'd', 8: 'q' };

type BySize = Readonly<Record<number, string>>;
/** Mnemonics that the manuals vary with the operand size, and are one record here. */
const BY_OPERAND_SIZE: Readonly<Record<string, BySize>> = {
  CBW: { 2: 'cbw', 4: 'cwde', 8: 'cdqe' },
  CWD: { 2: 'cwd', 4: 'cdq', 8: 'cqo' },
  IRET: { 2: 'iret', 4: 'iretd', 8: 'iretq' },
  PUSHA: { 2: 'pusha', 4: 'pushad' },
  POPA: { 2: 'popa', 4: 'popad' },
  PUSHF: { 2: 'pushf', 4: 'pushfd', 8: 'pushfq' },
  POPF: { 2: 'popf', 4: 'popfd', 8: 'popfq' },
  SYSRET: { 8: 'sysretq' },
  SYSEXIT: { 8: 'sysexitq' },
  MOVD: { 8: 'movq' },
  MOVD_S: { 8: 'movq' },
  MOVD_M: { 8: 'movq' },
  MOVD_MS: { 8: 'movq' },
  PEXTRD: { 8: 'pextrq' },
  PINSRD: { 8: 'pinsrq' },
  FXSAVE: { 8: 'fxsave64' },
  FXRSTOR: { 8: 'fxrstor64' },
  XSAVE: { 8: 'xsave64' },
  XRSTOR: { 8: 'xrstor64' },
  XSAVEOPT: { 8: 'xsaveopt64' },
  XSAVEC: { 8: 'xsavec64' },
  XSAVES: { 8: 'xsaves64' },
  XRSTORS: { 8: 'xrstors64' },
};
/** The mnemonics that mnemonicOf may give because of operand size. */
export const SIZED_MNEMONICS: readonly string[] = Object.values(BY_OPERAND_SIZE).flatMap((names) => Object.values(names));
const STRING = new Set(['MOVS', 'CMPS', 'STOS', 'LODS', 'SCAS', 'INS', 'OUTS']);
const RENAMED: Readonly<Record<string, string>> = { JMPF: 'jmp', CALLF: 'call', XLAT: 'xlatb', FWAIT: 'wait' };

/** The mnemonic of this very instruction: condition and size included. */
export function mnemonicOf(d: Decoded): string {
  const m = d.insn.mnemonic;
  if (STRING.has(m)) {
    // INS and OUTS have no 64-bit form.
    const size = (m === 'INS' || m === 'OUTS') && d.opSize === 8 ? 4 : d.opSize;
    return m.toLowerCase() + SUFFIX[size];
  }
  if (m === 'JCXZ') return d.addrSize === 2 ? 'jcxz' : d.addrSize === 4 ? 'jecxz' : 'jrcxz';
  const named = BY_OPERAND_SIZE[m]?.[d.opSize] ?? RENAMED[m];
  if (named !== undefined) return named;
  const base = m.split('_', 1)[0] ?? m;
  return (base.endsWith('cc') ? base.slice(0, -2) + CONDITIONS[d.cc] : base).toLowerCase();
}

const hex = (n: number): string => (n < 0 ? `-0x${(-n).toString(16)}` : `0x${n.toString(16)}`);
const wide = (lo: number, hi: number): string => {
  const l = (lo >>> 0).toString(16);
  return hi === 0 ? `0x${l}` : `0x${(hi >>> 0).toString(16)}${l.padStart(8, '0')}`;
};

/** Name of a general register at a size; index 16 is the instruction pointer. */
export function gprName(index: number, size: number): string {
  if (index === 16) return size === 8 ? 'rip' : 'eip';
  const word = WORDS[index];
  if (word === undefined) return `r${index}${size === 8 ? '' : size === 4 ? 'd' : size === 2 ? 'w' : 'b'}`;
  if (size === 1) return index < 4 ? `${word[0]}l` : `${word}l`;
  return size === 2 ? word : `${size === 4 ? 'e' : 'r'}${word}`;
}

function regName(o: RegOperand): string {
  switch (o.class) {
    case 'gpr':
      return o.high ? `${WORDS[o.index]?.[0]}h` : gprName(o.index, o.size);
    case 'seg':
      return SEGMENTS[o.index] ?? `seg${o.index}`;
    case 'st':
      return `st(${o.index})`;
    default:
      return `${o.class}${o.index}`;
  }
}

function memText(o: MemOperand, d: Decoded): string {
  const parts: string[] = [];
  if (o.base >= 0) parts.push(gprName(o.base, d.addrSize));
  if (o.index >= 0) parts.push(gprName(o.index, d.addrSize) + (o.scale === 0 ? '' : `*${1 << o.scale}`));
  let inside = parts.join('+');
  if (inside === '') inside = d.addrSize === 2 ? hex(o.disp & 0xffff) : wide(o.disp, o.dispHi);
  else if (o.disp !== 0) inside += (o.disp < 0 ? '-' : '+') + hex(Math.abs(o.disp));
  const usual = o.base === 4 || o.base === 5 ? SS : o.base === 7 && o.index < 0 && STRING.has(d.insn.mnemonic) ? ES : DS;
  const seg = o.seg === usual && o.seg < FS ? '' : `${SEGMENTS[o.seg]}:`;
  return `${SIZES[o.size] ?? ''}${seg}[${inside}]`;
}

function operandText(o: DecodedOperand, d: Decoded, rip: number | undefined): string {
  switch (o.kind) {
    case 'reg':
      return regName(o);
    case 'mem':
      return memText(o, d);
    case 'imm':
      return wide(o.lo, o.hi);
    case 'far':
      return `${hex(o.selector)}:${hex(o.offset)}`;
    case 'rel': {
      if (rip !== undefined) {
        const target = rip + d.length + o.disp;
        return target < 0 ? wide((target % 0x1_0000_0000) | 0, Math.floor(target / 0x1_0000_0000)) : hex(target);
      }
      const to = o.disp + d.length;
      return `$${to < 0 ? '' : '+'}${hex(to)}`;
    }
  }
}

/** Pushes of segment registers have these in their names. */
const PUSHED = /^PUSH_(\w\w)$/;

/** `rip`: the linear or offset address of the instruction, for branch targets; without it they are relative ($+5). */
export function disassemble(d: Decoded, rip?: number): string {
  const lock = d.lock ? 'lock ' : '';
  const comparing = d.insn.mnemonic === 'CMPS' || d.insn.mnemonic === 'SCAS';
  const rep = !STRING.has(d.insn.mnemonic) || d.rep === 0 ? '' : d.rep === 0xf2 ? 'repne ' : comparing ? 'repe ' : 'rep ';
  const operands = d.operands.map((o) => operandText(o, d, rip)).join(', ') || (PUSHED.exec(d.insn.mnemonic)?.[1] ?? '').toLowerCase();
  return `${lock}${rep}${mnemonicOf(d)}${operands === '' ? '' : ' '}${operands}`;
}
