// The notation of encodings: what it can say, what it says about sizes, and what it refuses.

import { describe, expect, test } from 'vitest';
import { type Form, formHeads, formsOf, PREFIX } from './forms.ts';
import { INSTRUCTIONS } from './index.ts';
import { type AnyInsn, insn } from './insn.ts';

const record = (forms: string): AnyInsn => insn('TEST', { sdm: '', forms, operands: {} });
const parse = (forms: string): Form => {
  const [form] = formsOf(record(forms));
  if (form === undefined) throw new Error('no form');
  return form;
};

describe('a form', () => {
  test('has its mandatory prefix, map and opcode', () => {
    expect(parse('NP 0F 10 /r Vps,Wps')).toMatchObject({ prefix: PREFIX.none, map: 1, opcode: 0x10, modrm: 'r', low: 'none' });
    expect(parse('66 0F 3A 0F /r Vdq,Wdq,Ib')).toMatchObject({ prefix: PREFIX.p66, map: 3, opcode: 0x0f });
    expect(parse('F2 0F 38 F0 /r Gy,Eb')).toMatchObject({ prefix: PREFIX.f2, map: 2, opcode: 0xf0 });
    expect(parse('NFx 0F C7 /6 Rv')).toMatchObject({ prefix: PREFIX.nfx, map: 1, opcode: 0xc7, modrm: 6 });
    expect(parse('01 /r Ev,Gv')).toMatchObject({ prefix: PREFIX.any, map: 0, opcode: 1 });
  });
  test('may fix ModRM as a whole, or take registers and conditions in its opcode', () => {
    expect(parse('0F 01 C1')).toMatchObject({ map: 1, opcode: 1, modrm: 0xc1, regOnly: true });
    expect(parse('D9 E8')).toMatchObject({ map: 0, opcode: 0xd9, modrm: 0xe8 });
    expect(parse('0F C8+r Zv')).toMatchObject({ opcode: 0xc8, low: 'r', modrm: 'no' });
    expect(parse('0F 40+cc /r Gv,Ev')).toMatchObject({ opcode: 0x40, low: 'cc', modrm: 'r' });
  });
  test('asks for a register or for memory where an operand has only the one', () => {
    expect(parse('8D /r Gv,M')).toMatchObject({ memOnly: true, regOnly: false });
    expect(parse('66 0F D7 /r Gd,Udq')).toMatchObject({ memOnly: false, regOnly: true });
    expect(parse('0F 20 /r Ry,Cy {f64}')).toMatchObject({ memOnly: false, regOnly: false });
  });
  test('is of byte size when what it operates on is', () => {
    const size = (forms: string): boolean => parse(forms).byte;
    expect(['00 /r Eb,Gb', 'D2 /0 Eb,CL', 'EC AL,DX', 'A4 Yb,Xb', 'C6 /0 Eb,Ib'].map(size)).toEqual([true, true, true, true, true]);
    expect(['0F B6 /r Gv,Eb', 'D3 /0 Ev,CL', '6A sIb', 'CD Ib', '98'].map(size)).toEqual([false, false, false, false, false]);
  });
});

describe('an operand', () => {
  const operand = (text: string) => parse(`0F 00 /r ${text}`).operands[0];
  test('has a size for each operand size', () => {
    expect(operand('Ev')?.sizes).toEqual([2, 4, 8]);
    expect(operand('Gz')?.sizes).toEqual([2, 4, 4]);
    expect(operand('Ey')?.sizes).toEqual([4, 4, 8]);
    expect(operand('Mp')?.sizes).toEqual([4, 6, 10]);
    expect(operand('eAX')?.sizes).toEqual([2, 4, 4]);
  });
  test('may differ in size as register and as memory', () => {
    expect(operand('Rv/Mw')).toMatchObject({ letter: 'E', sizes: [2, 2, 2], regSizes: [2, 4, 8] });
    expect(operand('Wss')).toMatchObject({ letter: 'W', sizes: [4, 4, 4], regSizes: [16, 16, 16] });
    expect(operand('Qd')).toMatchObject({ letter: 'Q', sizes: [4, 4, 4], regSizes: [8, 8, 8] });
    expect(operand('Udq/Mq')).toMatchObject({ letter: 'W', sizes: [8, 8, 8], regSizes: [16, 16, 16] });
  });
  test('may be memory at a register', () => {
    expect(operand('(rDI)dq')).toMatchObject({ letter: '()', index: 7, sizes: [16, 16, 16] });
  });
});

test('what is not understood is refused with the mnemonic and the form', () => {
  expect(() => parse('0F 01 /r Eq9')).toThrow("TEST, form '0F 01 /r Eq9': operand Eq9: not understood");
  expect(() => parse('01 /r Ev {o65}')).toThrow("no condition 'o65'");
  expect(() => parse('01 Ev,Gv')).toThrow('operands need a ModRM byte');
  expect(() => parse('50 Zv')).toThrow('+r goes with Z');
});

test('the quick look at opcodes agrees with the full parse for every declared form', () => {
  for (const i of INSTRUCTIONS) {
    const heads = formHeads(i).map((h) => [h.map, h.opcode, h.span]);
    expect(heads).toEqual(formsOf(i).map((f) => [f.map, f.opcode, f.low === 'r' ? 8 : f.low === 'cc' ? 16 : 1]));
  }
});
