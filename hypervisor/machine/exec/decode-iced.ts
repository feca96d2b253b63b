// For tests: what iced-x86 makes of the same bytes, held against a Decoded operand by operand.

import {
  CodeSize,
  Decoder,
  DecoderOptions,
  EncodingKind,
  Instruction,
  MemorySizeExt,
  Mnemonic,
  OpKind,
  type OpKind as OpKindType,
  Register,
} from 'iced-x86';
import type { Decoded, DecodedOperand, MemOperand } from '../isa/decoded.ts';
import { mnemonicOf } from './disasm.ts';

export const STRIDE = 16;
/** Address of the first byte for iced: branch targets and RIP-relative addresses are compared as it computes them. */
export const IP = 0x1000;

const WORDS = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'];
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

/** iced's register names, from our numbers. */
function registerName(cls: string, index: number, size: number, high: boolean): string {
  switch (cls) {
    case 'gpr': {
      const word = WORDS[index];
      if (high) return `${word?.[0]}H`;
      if (index === 16) return size === 8 ? 'RIP' : 'EIP';
      if (word === undefined) return `R${index}${size === 8 ? '' : size === 4 ? 'D' : size === 2 ? 'W' : 'L'}`;
      if (size === 1) return index < 4 ? `${word[0]}L` : `${word}L`;
      return size === 2 ? word : `${size === 4 ? 'E' : 'R'}${word}`;
    }
    case 'seg':
      return SEGMENTS[index] ?? '?';
    default:
      return `${cls.toUpperCase()}${index}`;
  }
}

const U64 = (1n << 64n) - 1n;
const maskOf = (size: number): bigint => (1n << BigInt(8 * size)) - 1n;
const pair = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

/** iced reports a CS, DS, ES or SS override in 64-bit code too, where it is ignored (SDM Vol 1, 3.3.4). */
const overrideIgnored = (i: Instruction): boolean => {
  const s = i.segmentPrefix;
  return i.codeSize === CodeSize.Code64 && (s === Register.CS || s === Register.DS || s === Register.ES || s === Register.SS);
};

const STRING_KINDS: readonly OpKindType[] = [
  OpKind.MemorySegSI,
  OpKind.MemorySegESI,
  OpKind.MemorySegRSI,
  OpKind.MemorySegDI,
  OpKind.MemorySegEDI,
  OpKind.MemorySegRDI,
  OpKind.MemoryESDI,
  OpKind.MemoryESEDI,
  OpKind.MemoryESRDI,
];

function memoryDifference(o: MemOperand, d: Decoded, i: Instruction, n: number): string | undefined {
  const kind = i.opKind(n);
  if (STRING_KINDS.includes(kind)) {
    const es = kind === OpKind.MemoryESDI || kind === OpKind.MemoryESEDI || kind === OpKind.MemoryESRDI;
    const seg = es ? 'ES' : Register[i.memorySegment];
    if (seg !== SEGMENTS[o.seg] && !overrideIgnored(i)) return `segment ${SEGMENTS[o.seg]}, iced ${seg}`;
    const di = ![OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI].includes(kind as never);
    return o.base === (di ? 7 : 6) ? undefined : `base ${o.base}`;
  }
  if (kind !== OpKind.Memory) return `memory, iced ${OpKind[kind]}`;
  const name = (r: number): string => (r < 0 ? 'None' : registerName('gpr', r, d.addrSize, false));
  if (name(o.base) !== Register[i.memoryBase]) return `base ${name(o.base)}, iced ${Register[i.memoryBase]}`;
  if (name(o.index) !== Register[i.memoryIndex]) return `index ${name(o.index)}, iced ${Register[i.memoryIndex]}`;
  if (o.index >= 0 && 1 << o.scale !== i.memoryIndexScale) return `scale ${o.scale}, iced ${i.memoryIndexScale}`;
  if (SEGMENTS[o.seg] !== Register[i.memorySegment] && !overrideIgnored(i))
    return `segment ${SEGMENTS[o.seg]}, iced ${Register[i.memorySegment]}`;
  let disp = pair(o.disp, o.dispHi);
  if (o.base === 16) disp += BigInt(IP + d.length);
  // POP sees rSP after the pop; iced has the displacement as encoded.
  if (d.insn.mnemonic === 'POP' && o.base === 4) disp -= BigInt(d.opSize);
  const mask = maskOf(d.addrSize);
  if ((disp & mask) !== (i.memoryDisplacement & mask)) return `displacement ${disp & mask}, iced ${i.memoryDisplacement & mask}`;
  const size = MemorySizeExt.size(i.memorySize);
  if (o.size !== 0 && size !== 0 && o.size !== size) return `memory of ${o.size} bytes, iced ${size}`;
  return undefined;
}

function operandDifference(o: DecodedOperand, d: Decoded, i: Instruction, n: number): string | undefined {
  const kind = i.opKind(n);
  switch (o.kind) {
    case 'reg': {
      const theirs = kind === OpKind.Register ? Register[i.opRegister(n)] : OpKind[kind];
      const wide =
        (WORD_OPERANDS.has(d.insn.mnemonic) || DWORD_OPERANDS.has(d.insn.mnemonic)) &&
        o.class === 'gpr' &&
        theirs === registerName(o.class, o.index, d.opSize, o.high);
      const ours = registerName(o.class, o.index, wide ? d.opSize : o.size, o.high);
      return ours === theirs ? undefined : `${ours}, iced ${theirs}`;
    }
    case 'mem':
      return memoryDifference(o, d, i, n);
    case 'imm': {
      if (kind < OpKind.Immediate8 || kind > OpKind.Immediate32to64) return `immediate, iced ${OpKind[kind]}`;
      const ours = pair(o.lo, o.hi);
      const theirs = i.immediate(n) & maskOf(o.size);
      return ours === theirs ? undefined : `${ours}, iced ${theirs}`;
    }
    case 'rel': {
      const mask = kind === OpKind.NearBranch16 ? 0xffffn : kind === OpKind.NearBranch32 ? 0xffffffffn : U64;
      if (kind > OpKind.NearBranch64) return `branch, iced ${OpKind[kind]}`;
      const ours = BigInt(IP + d.length + o.disp) & mask;
      return ours === i.nearBranchTarget ? undefined : `to ${ours}, iced ${i.nearBranchTarget}`;
    }
    case 'far': {
      const offset = kind === OpKind.FarBranch16 ? i.farBranch16 : i.farBranch32;
      if (kind !== OpKind.FarBranch16 && kind !== OpKind.FarBranch32) return `far, iced ${OpKind[kind]}`;
      return o.offset === offset && o.selector === i.farBranchSelector
        ? undefined
        : `${o.selector}:${o.offset}, iced ${i.farBranchSelector}:${offset}`;
    }
  }
}

/** iced spells some hint NOPs by what later processors do with them, and separates what the processor does not. */
const MNEMONICS: Readonly<Record<string, readonly string[]>> = {
  nop: [
    'nop',
    'reservednop',
    'prefetch',
    'prefetchw',
    'prefetchwt1',
    'prefetchnta',
    'prefetcht0',
    'prefetcht1',
    'prefetcht2',
    'prefetchit0',
    'prefetchit1',
    'prefetchreserved_0f0d_r3',
    'cldemote',
    'endbr32',
    'endbr64',
    'rdsspd',
    'rdsspq',
    'prefetchrst2',
  ],
  wbinvd: ['wbinvd', 'wbnoinvd'],
  fstp: ['fstp', 'fstp8', 'fstp9'],
  shl: ['shl', 'sal'],
  // With REX.W; the manuals have one name for both.
  pcmpestri: ['pcmpestri', 'pcmpestri64'],
  pcmpestrm: ['pcmpestrm', 'pcmpestrm64'],
  // Without SEV-ES, VMGEXIT is VMMCALL (APM Vol 3, VMGEXIT).
  vmmcall: ['vmmcall', 'vmgexit'],
};
/** Selectors and status words of which 16 bits count; iced names the register of the operand size. */
const WORD_OPERANDS = new Set(['ARPL', 'LMSW', 'VERR', 'VERW', 'LLDT', 'LTR']);
/** Results that fit 32 bits, so that REX.W changes nothing; iced names the 64-bit register with it. */
const DWORD_OPERANDS = new Set([
  'MOVMSKPS',
  'MOVMSKPD',
  'PEXTRW',
  'PINSRW',
  'PMOVMSKB',
  'PEXTRW_M',
  'PINSRW_M',
  'PMOVMSKB_M',
  'PEXTRB',
  'PEXTRW_S',
  'PINSRB',
  'EXTRACTPS',
]);
/** Operands that only one side names. */
const IMPLICIT = new Set(['VMRUN', 'VMLOAD', 'VMSAVE', 'INVLPGA', 'SKINIT', 'XLAT', 'NOP']);

/** The first difference, or undefined where both mean the same. */
export function difference(d: Decoded, i: Instruction): string | undefined {
  if (d.length !== i.length) return `length ${d.length}, iced ${i.length}`;
  const ours = mnemonicOf(d);
  const theirs = (Mnemonic[i.mnemonic] ?? '?').toLowerCase();
  if (ours !== theirs && !MNEMONICS[ours]?.includes(theirs)) return `mnemonic ${ours}, iced ${theirs}`;
  if (d.lock !== i.hasLockPrefix) return `lock ${d.lock}`;
  if (IMPLICIT.has(d.insn.mnemonic)) return undefined;
  if (d.insn.mnemonic.startsWith('PUSH_')) return d.insn.mnemonic === `PUSH_${Register[i.op0Register]}` ? undefined : 'register';
  // iced leaves ST0 off where the assembler does.
  let operands = d.operands;
  const isSt0 = (o: DecodedOperand | undefined): boolean => o?.kind === 'reg' && o.class === 'st' && o.index === 0;
  if (operands.length === i.opCount + 1)
    operands = isSt0(operands[0]) ? operands.slice(1) : isSt0(operands[1]) ? operands.slice(0, 1) : operands;
  // Blends by XMM0: iced leaves it out.
  const last = operands.at(-1);
  if (operands.length === i.opCount + 1 && last?.kind === 'reg' && last.class === 'xmm') operands = operands.slice(0, -1);
  // ... and has ST0 in FST ST(i), the FLD of memory and their like, where we name the other operand only.
  let skip = 0;
  if (operands.length + 1 === i.opCount && i.opKind(0) === OpKind.Register && i.opRegister(0) === Register.ST0) skip = 1;
  else if (operands.length + 1 === i.opCount && i.opKind(1) === OpKind.Register && i.opRegister(1) === Register.ST0) skip = 0;
  else if (operands.length !== i.opCount) return `${operands.length} operands, iced ${i.opCount}`;
  for (const [n, o] of operands.entries()) {
    const wrong = operandDifference(o, d, i, n + skip);
    if (wrong !== undefined) return `operand ${n}: ${wrong}`;
  }
  return undefined;
}

export interface IcedResult {
  readonly valid: boolean;
  readonly instruction: Instruction;
  readonly name: string;
  /** In one of the encodings that we have: the legacy one, or VEX. */
  readonly legacy: boolean;
  /** It has an MMX register. */
  readonly mmx: boolean;
}

/** Calls `check` with iced's decoding of each STRIDE bytes of `code`. */
export function eachIced(code: Uint8Array, bits: 16 | 32 | 64, check: (offset: number, iced: IcedResult) => void): void {
  const decoder = new Decoder(bits, code, DecoderOptions.None);
  const instruction = new Instruction();
  for (let offset = 0; offset + STRIDE <= code.length; offset += STRIDE) {
    decoder.position = offset;
    decoder.ip = BigInt(IP);
    decoder.decodeOut(instruction);
    const valid = !instruction.isInvalid;
    const legacy = instruction.encoding === EncodingKind.Legacy || instruction.encoding === EncodingKind.VEX;
    const name = (Mnemonic[instruction.mnemonic] ?? '?').toLowerCase();
    const isMm = (n: number): boolean => instruction.opKind(n) === OpKind.Register && /^MM/.test(Register[instruction.opRegister(n)] ?? '');
    const mmx = name !== 'nop' && instruction.opCount > 1 && (isMm(0) || isMm(1));
    check(offset, { valid, instruction, name, legacy, mmx });
  }
  instruction.free();
  decoder.free();
}
