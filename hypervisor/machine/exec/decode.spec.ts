// The decoder against iced-x86: every declared form in every mode under random prefixes and operands, then bytes at random; and the
// rules about prefixes, length and validity that are worth a sentence of their own. What iced decodes and no record declares is counted,
// not failed (DECODE_REPORT=1 prints it). Where iced is not followed, decode-iced.ts says why.

import { describe, expect, test } from 'vitest';
import type { CodeMode, Decoded } from '../isa/decoded.ts';
import { type Form, formsOf } from '../isa/forms.ts';
import { FAMILIES, INSTRUCTIONS } from '../isa/index.ts';
import { FEATURES } from '../system/cpuid.ts';
import { HANDLERS } from '../system/execute.ts';
import { decode } from './decode.ts';
import { difference, eachIced, type IcedResult, STRIDE } from './decode-iced.ts';
import { disassemble, SIZED_MNEMONICS } from './disasm.ts';

/** xorshift32: the same bytes in every run. */
function random(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

const MODES = [16, 32, 64] as const;
const PREFIX_BYTES: Readonly<Record<number, readonly number[]>> = { 0: [], 1: [0x66], 2: [0xf2], 3: [0xf3], 4: [], 5: [] };
const COMMON_PREFIXES = [0x66, 0x67, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf2, 0xf3, 0xf0];

/** Bytes that encode the form: prefixes it allows, operand bytes at random. May also encode another form (NOP for XCHG). */
function encode(f: Form, bits: 16 | 32 | 64, next: () => number): number[] {
  const bytes: number[] = [];
  const extra = next() % 4 === 0 ? 2 : next() % 2;
  for (let i = 0; i < extra; i++) bytes.push(COMMON_PREFIXES[next() % COMMON_PREFIXES.length] ?? 0x66);
  if (f.vex) {
    // C5 where it can stand for C4. Now and then a REX, L, a vvvv that must not be, or another map.
    if (bits === 64 && next() % 16 === 0) bytes.push(0x40 | (next() & 15));
    const pp = [0, 1, 3, 2][f.prefix] ?? 0;
    const vvvv = f.operands.some((o) => o.letter === 'B') || next() % 8 === 0 ? next() & 15 : 15;
    const last = (vvvv << 3) | (next() % 8 === 0 ? 4 : 0) | pp;
    const map = next() % 16 === 0 ? next() & 31 : f.map;
    const free = bits === 64 ? next() & 0xe0 : 0xc0 | (next() & 0x20);
    if (map === 1 && next() % 2 === 0) bytes.push(0xc5, (free & 0x80) | last | (bits === 64 ? 0 : 0x40));
    else bytes.push(0xc4, free | map, ((next() & 1) << 7) | last);
  } else bytes.push(...(PREFIX_BYTES[f.prefix] ?? []));
  if (!f.vex && bits === 64 && (f.conditions.has('w1') || next() % 2 === 0)) {
    let rex = 0x40 | (next() & 15);
    if (f.conditions.has('w1')) rex |= 8;
    if (f.conditions.has('w0')) rex &= ~8;
    bytes.push(rex);
  }
  if (f.map > 0 && !f.vex) bytes.push(0x0f);
  if (f.map > 1 && !f.vex) bytes.push(f.map === 2 ? 0x38 : 0x3a);
  bytes.push(f.opcode + (f.low === 'r' ? next() % 8 : f.low === 'cc' ? next() % 16 : 0));
  if (f.modrm !== 'no') {
    let modrm = next() & 0xff;
    if (f.regOnly) modrm |= 0xc0;
    else if (f.memOnly) modrm = (modrm & 0x3f) | ((next() % 3) << 6);
    if (typeof f.modrm === 'number') modrm = f.modrm >= 0xc0 ? f.modrm : (modrm & 0xc7) | (f.modrm << 3);
    bytes.push(modrm);
  }
  while (bytes.length < STRIDE) bytes.push(next() & 0xff);
  return bytes.slice(0, STRIDE);
}

const hex = (code: Uint8Array, offset: number): string =>
  Array.from(code.subarray(offset, offset + 15), (b) => b.toString(16).padStart(2, '0')).join(' ');

/** What our records may be called, but for string MOVSD and CMPSD, whose names SSE has too. */
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];
const ours = new Set([
  ...SIZED_MNEMONICS,
  ...INSTRUCTIONS.flatMap((i) => {
    const name = (i.mnemonic.split('_')[0] ?? '').toLowerCase();
    return name.endsWith('cc') ? CONDITIONS.map((c) => name.slice(0, -2) + c) : [name];
  }),
]);
/** MMX forms that SSSE3 brought, whose XMM forms may be declared. */
const isLater = (name: string): boolean =>
  !INSTRUCTIONS.some((i) => i.mnemonic.toLowerCase().startsWith(name) && /[ ,][PQN][a-z]/.test(i.forms));
/** True for what iced decodes and a record of ours should. */
const isDeclared = (iced: IcedResult): boolean => iced.legacy && ours.has(iced.name) && !(iced.mmx && isLater(iced.name));

interface Report {
  readonly failures: string[];
  readonly undeclared: Map<string, number>;
  compared: number;
  invalid: number;
}

function compareAll(code: Uint8Array, bits: 16 | 32 | 64, report: Report): void {
  const mode: CodeMode = { bits };
  eachIced(code, bits, (offset, iced) => {
    const d = decode(code, offset, 15, mode);
    let wrong: string | undefined;
    if (typeof d === 'string') {
      if (!iced.valid) {
        report.invalid++;
        return;
      }
      if (!isDeclared(iced)) {
        report.undeclared.set(iced.name, (report.undeclared.get(iced.name) ?? 0) + 1);
        return;
      }
      wrong = `${d}, iced ${iced.instruction.toString()}`;
    } else if (!iced.valid) wrong = `${d.insn.mnemonic} of ${d.length} bytes, iced none`;
    else wrong = difference(d, iced.instruction);
    report.compared++;
    if (wrong !== undefined)
      report.failures.push(`${bits}: ${hex(code, offset)}: ${typeof d === 'string' ? '' : d.insn.mnemonic} ${wrong}`);
  });
}

const newReport = (): Report => ({ failures: [], undeclared: new Map(), compared: 0, invalid: 0 });

describe('every form decodes as iced-x86 decodes it', () => {
  const PER_FORM = 60;
  for (const [family, members] of Object.entries(FAMILIES)) {
    for (const bits of MODES) {
      test(`${family} in ${bits}-bit code`, () => {
        const next = random(0x1234567 + bits);
        const report = newReport();
        for (const insn of members) {
          for (const form of formsOf(insn)) {
            const code = new Uint8Array(PER_FORM * STRIDE);
            for (let i = 0; i < PER_FORM; i++) code.set(encode(form, bits, next), i * STRIDE);
            compareAll(code, bits, report);
          }
        }
        expect(report.failures.slice(0, 30)).toEqual([]);
        // Decimal adjustments are invalid in 64-bit code: there both sides must say so.
        expect(report.compared + report.invalid).toBeGreaterThan(PER_FORM);
      });
    }
  }
});

describe('bytes at random', () => {
  for (const bits of MODES) {
    test(`decode in ${bits}-bit code as iced-x86 decodes them, where declared`, () => {
      const next = random(0x51ced + bits);
      const COUNT = Number(process.env.DECODE_COUNT ?? 40_000);
      const code = new Uint8Array(COUNT * STRIDE);
      for (let i = 0; i < code.length; i++) code[i] = next() >>> 11;
      for (let i = 0; i < COUNT; i++) {
        let at = i * STRIDE;
        const n = next() % 4 === 0 ? next() % 5 : 0;
        for (let p = 0; p < n; p++) code[at++] = COMMON_PREFIXES[next() % COMMON_PREFIXES.length] ?? 0;
        if (next() % 3 === 0) code[at++] = 0x40 | (next() & 15);
        if (next() % 2 === 0) code[at++] = 0x0f;
      }
      const report = newReport();
      compareAll(code, bits, report);
      if (process.env.DECODE_REPORT)
        console.log(
          bits,
          report.compared,
          [...report.undeclared]
            .sort((a, b) => b[1] - a[1])
            .map((u) => u.join(' '))
            .join(', '),
        );
      expect(report.failures.slice(0, 30)).toEqual([]);
      expect(report.compared).toBeGreaterThan(COUNT / 4);
    });
  }
});

type Bits = 16 | 32 | 64;
const bytesOf = (text: string): Uint8Array => Uint8Array.from(text.split(' '), (h) => Number.parseInt(h, 16));
/** Disassembly, or why there is none. `text` is followed by zeroes up to 15 bytes unless `exact`. */
function say(text: string, bits: Bits = 64, exact = false): string {
  const given = bytesOf(text);
  const code = new Uint8Array(Math.max(16, given.length));
  code.set(given);
  const d = decode(code, 0, exact ? given.length : code.length, { bits });
  return typeof d === 'string' ? d : disassemble(d);
}
const decoded = (text: string, bits: Bits = 64): Decoded => {
  const code = bytesOf(text);
  const d = decode(code, 0, code.length, { bits });
  if (typeof d === 'string') throw new Error(`${text}: ${d}`);
  return d;
};

describe('prefixes', () => {
  test('REX counts only directly before the opcode', () => {
    expect(say('48 89 d8')).toBe('mov rax, rbx');
    expect(say('48 66 89 d8')).toBe('mov ax, bx');
    expect(say('66 48 89 d8')).toBe('mov rax, rbx');
  });
  test('any REX turns AH CH DH BH into SPL BPL SIL DIL', () => {
    expect(say('88 e0')).toBe('mov al, ah');
    expect(say('40 88 e0')).toBe('mov al, spl');
  });
  test('the last segment override wins, and in 64-bit code only FS and GS are overrides', () => {
    expect(say('26 64 8b 00', 32)).toBe('mov eax, dword ptr fs:[eax]');
    expect(say('64 26 8b 00', 32)).toBe('mov eax, dword ptr es:[eax]');
    expect(say('64 2e 8b 00')).toBe('mov eax, dword ptr fs:[rax]');
    expect(say('36 8b 00')).toBe('mov eax, dword ptr [rax]');
  });
  test('F2 and F3 come before 66 as mandatory prefix, and 66 stays an operand-size prefix', () => {
    expect(say('66 f2 0f 38 f1 c3')).toBe('crc32 eax, bx');
    expect(say('66 f3 0f b8 c3')).toBe('popcnt ax, bx');
  });
  test('rep is handed on only where it is no mandatory prefix', () => {
    expect(decoded('f3 a4').rep).toBe(0xf3);
    expect(decoded('f2 f3 a6').rep).toBe(0xf3);
    expect(decoded('f3 0f b8 c3').rep).toBe(0);
  });
  test('LOCK needs a memory destination of an instruction that allows it', () => {
    expect(say('f0 01 18')).toBe('lock add dword ptr [rax], ebx');
    expect(say('f0 01 d8')).toBe('ud');
    expect(say('f0 03 18')).toBe('ud');
    expect(say('f0 89 18')).toBe('ud');
    expect(say('f0 39 18')).toBe('ud');
  });
  test('near branches are 64-bit whatever the operand-size prefix says, pushes are not', () => {
    expect(decoded('66 e8 00 00 00 00').opSize).toBe(8);
    expect(decoded('66 50').opSize).toBe(2);
    expect(decoded('50').opSize).toBe(8);
  });
});

describe('length', () => {
  test('fifteen bytes are an instruction, sixteen are not', () => {
    expect(say(`${'66 '.repeat(14)}90`)).toBe('nop');
    expect(say(`${'66 '.repeat(15)}90`)).toBe('tooLong');
    expect(say(`${'66 '.repeat(9)}81 80 00 00 00 00 00 00`, 64)).toBe('tooLong');
  });
  test('bytes that end too early are asked for, wherever they end', () => {
    const whole = '66 64 48 81 84 8b 01 02 03 04 05 06 07 08';
    for (let n = 1; n < 14; n++) expect(say(whole.slice(0, 3 * n - 1), 64, true)).toBe('needBytes');
    expect(say(whole, 64, true)).toBe('add qword ptr fs:[rbx+rcx*4+0x4030201], 0x8070605');
  });
  test('an instruction that ends where the bytes end needs no more', () => {
    expect(say('f4', 64, true)).toBe('hlt');
    expect(say('0f', 64, true)).toBe('needBytes');
  });
});

describe('validity', () => {
  test('90 is NOP unless REX.B makes it an exchange, and PAUSE after F3', () => {
    expect(say('90')).toBe('nop');
    expect(say('48 90')).toBe('nop');
    expect(say('41 90')).toBe('xchg r8d, eax');
    expect(say('f3 90')).toBe('pause');
    expect(say('91', 32)).toBe('xchg ecx, eax');
  });
  test('82 is an alias of 80 outside 64-bit code', () => {
    expect(say('82 c0 ff', 32)).toBe('add al, 0xff');
    expect(say('82 c0 ff')).toBe('ud');
  });
  test('VEX and EVEX bytes are LDS, LES and BOUND with memory outside 64-bit code', () => {
    expect(say('c5 08', 32)).toBe('lds ecx, fword ptr [eax]');
    expect(say('c5 f8 77', 32)).toBe('ud');
    expect(say('c5 f8 77')).toBe('ud');
    expect(say('62 c0', 32)).toBe('ud');
  });
  test('VEX is no prefix to go with 66, F2, F3, LOCK or a REX, and L and an unused vvvv are fixed', () => {
    expect(say('c4 e2 70 f2 c3')).toBe('andn eax, ecx, ebx');
    expect(say('c4 62 f0 f2 c3')).toBe('andn r8, rcx, rbx');
    expect(say('c4 e2 f0 f2 c3', 32)).toBe('andn eax, ecx, ebx');
    expect(say('2e c4 e2 70 f2 c3')).toBe('andn eax, ecx, ebx');
    for (const before of ['66', 'f2', 'f3', 'f0', '48']) expect(say(`${before} c4 e2 70 f2 c3`)).toBe('ud');
    expect(say('c4 e2 74 f2 c3')).toBe('ud');
    expect([say('c4 e3 7b f0 c3 05'), say('c4 e3 73 f0 c3 05')]).toEqual(['rorx eax, ebx, 0x5', 'ud']);
    expect([say('c4 e2', 64, true), say('c4 e2 70 f2', 64, true), say('c5', 32, true)]).toEqual(['needBytes', 'needBytes', 'needBytes']);
  });
  test('TZCNT and LZCNT are BSF and BSR on processors without them', () => {
    const bytes = bytesOf('f3 0f bc c3 f3 0f bd c3');
    const on = (offset: number, feature: string | undefined): string => {
      const d = decode(bytes, offset, 4, { bits: 64, has: (f) => f === feature });
      return typeof d === 'string' ? d : d.insn.mnemonic;
    };
    expect([on(0, undefined), on(0, 'bmi1'), on(4, undefined), on(4, 'abm')]).toEqual(['BSF', 'TZCNT', 'BSR', 'LZCNT']);
  });
  test('CS is no destination of MOV, and there are six segment registers', () => {
    expect(say('8e c8')).toBe('ud');
    expect(say('8e f0')).toBe('ud');
    expect(say('8c c8')).toBe('mov eax, cs');
  });
  test('control registers 0, 2, 3, 4 and 8 exist', () => {
    const valid = Array.from({ length: 16 }, (_, n) => n).filter(
      (n) => say(`${n > 7 ? '44' : '40'} 0f 20 ${(0xc0 + (n & 7) * 8).toString(16)}`) !== 'ud',
    );
    expect(valid).toEqual([0, 2, 3, 4, 8]);
  });
  test('pushes of segment registers are told apart by their mnemonics', () => {
    expect([say('06', 32), say('0e', 32), say('0f a0'), say('0f a8')]).toEqual(['push es', 'push cs', 'push fs', 'push gs']);
    expect([say('06'), say('0e')]).toEqual(['ud', 'ud']);
  });
  test('UD0, UD1 and UD2 are undefined', () => {
    expect([say('0f ff c0'), say('0f b9 c0'), say('0f 0b')]).toEqual(['ud', 'ud', 'ud']);
  });
});

describe('operands', () => {
  test('immediates are extended to the size that the instruction sees and cut there', () => {
    expect(decoded('66 83 c0 ff').operands[1]).toEqual({ kind: 'imm', size: 2, lo: 0xffff, hi: 0 });
    expect(decoded('83 c0 ff').operands[1]).toEqual({ kind: 'imm', size: 4, lo: -1, hi: 0 });
    expect(decoded('48 81 c0 ff ff ff ff').operands[1]).toEqual({ kind: 'imm', size: 8, lo: -1, hi: -1 });
    expect(decoded('6a 80').operands[0]).toEqual({ kind: 'imm', size: 8, lo: -128, hi: -1 });
  });
  test('POP to memory addressed through RSP sees RSP after the pop', () => {
    expect(say('8f 44 24 08')).toBe('pop qword ptr [rsp+0x10]');
    expect(say('8f 44 24 08', 32)).toBe('pop dword ptr [esp+0xc]');
    expect(say('8f 45 08')).toBe('pop qword ptr [rbp+0x8]');
  });
  test('a direct address has 64 bits in 64-bit code', () => {
    expect(say('a1 88 77 66 55 44 33 22 11')).toBe('mov eax, dword ptr [0x1122334455667788]');
    expect(say('67 a1 88 77 66 f5')).toBe('mov eax, dword ptr [0xf5667788]');
  });
});

describe('declarations', () => {
  test('no two records claim the same encoding', () => {
    const seen = new Map<string, string>();
    const twice: string[] = [];
    for (const insn of INSTRUCTIONS) {
      for (const f of formsOf(insn)) {
        const key = [f.vex, f.prefix, f.map, f.opcode, f.low, f.modrm, f.regOnly, f.memOnly, ...[...f.conditions].sort()].join(' ');
        const other = seen.get(key);
        if (other !== undefined) twice.push(`${f.text}: ${insn.mnemonic} and ${other}`);
        seen.set(key, insn.mnemonic);
      }
    }
    expect(twice).toEqual([]);
  });
  test('a staged record has the operands it declares in each form', () => {
    const wrong = INSTRUCTIONS.filter((i) => i.sem && formsOf(i).some((f) => f.operands.length !== Object.keys(i.operands).length));
    expect(wrong.map((i) => i.mnemonic)).toEqual([]);
  });
  test('a system instruction that is not staged has a handler', () => {
    // Their CPUID features are in no profile.
    const absent = ['XSAVEC', 'XSAVES', 'XRSTORS'];
    const without = FAMILIES.system.filter((i) => !i.sem && !HANDLERS.has(i.mnemonic) && !absent.includes(i.mnemonic));
    expect(without.map((i) => i.mnemonic)).toEqual([]);
    const declared = new Set(INSTRUCTIONS.map((i) => i.mnemonic));
    expect([...HANDLERS.keys()].filter((m) => !declared.has(m))).toEqual([]);
  });
  test('a CPUID feature that an instruction needs is one that CPUID can report', () => {
    // To come with the profiles that have them.
    const later = ['xsaveopt', 'xsavec', 'xsaves', 'rdpid', 'svm'];
    const needed = new Set(INSTRUCTIONS.flatMap((i) => i.cpuid ?? []));
    expect([...needed].filter((c) => !FEATURES.has(c) && !later.includes(c))).toEqual([]);
  });
  test('records of one mnemonic and the same operands do not differ in meaning: the engine keeps one handler for them', () => {
    const seen = new Map<string, string>();
    const clashes: string[] = [];
    for (const insn of INSTRUCTIONS) {
      if (!insn.sem) continue;
      const key = `${insn.mnemonic} ${Object.keys(insn.operands).join(',')}`;
      if (seen.has(key)) clashes.push(key);
      seen.set(key, insn.forms);
    }
    // Relative ones are told from the others by the shape of their operand.
    expect(clashes).toEqual(['JMP target', 'CALL target']);
  });
});
