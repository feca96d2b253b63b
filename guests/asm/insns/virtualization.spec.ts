// What assembler.spec.ts cannot see of VT-x and SVM: address sizes of implied operands, exact bytes, and what no mode has.
import { Code, Decoder, DecoderOptions } from 'iced-x86';
import { describe, expect, test } from 'vitest';
import {
  type Assembler,
  assembler,
  ax,
  eax,
  ebx,
  ecx,
  esi,
  Image,
  type Mode,
  mem,
  mem64,
  mem128,
  r8,
  r9,
  rax,
  rbx,
  rcx,
  rdi,
  rsi,
} from '../index.ts';

function codeOf<M extends Mode>(mode: M, build: (a: Assembler<M>) => unknown): [name: string, bytes: string] {
  const image = new Image();
  build(assembler(image, mode));
  const { bytes } = image.link(0n).sections[0]!;
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  const i = decoder.decode();
  expect(i.length).toBe(bytes.length);
  const name = Code[i.code]!;
  i.free();
  decoder.free();
  return [name, Buffer.from(bytes).toString('hex')];
}

describe('VT-x and SVM are encoded as the manuals say', () => {
  const in64: [(a: Assembler<64>) => unknown, string, string][] = [
    [(a) => a.vmxon(mem64(rdi)), 'Vmxon_m64', 'f30fc737'],
    [(a) => a.vmxon(mem64(r8, { index: r9, scale: 4, disp: 16 })), 'Vmxon_m64', 'f3430fc7748810'],
    [(a) => a.vmclear(mem64(rdi)), 'Vmclear_m64', '660fc737'],
    [(a) => a.vmptrld(mem64(rdi)), 'Vmptrld_m64', '0fc737'],
    [(a) => a.vmptrst(mem64(rdi)), 'Vmptrst_m64', '0fc73f'],
    [(a) => a.vmread(rcx, rbx), 'Vmread_rm64_r64', '0f78d9'],
    [(a) => a.vmread(mem64(r8), r9), 'Vmread_rm64_r64', '450f7808'],
    [(a) => a.vmwrite(rbx, rcx), 'Vmwrite_r64_rm64', '0f79d9'],
    [(a) => a.vmwrite(r9, mem64(rsi)), 'Vmwrite_r64_rm64', '440f790e'],
    [(a) => a.invept(rax, mem128(rsi)), 'Invept_r64_m128', '660f388006'],
    [(a) => a.invvpid(r8, mem(rsi)), 'Invvpid_r64_m128', '66440f388106'],
    [(a) => a.vmrun(), 'Vmrunq', '0f01d8'],
    [(a) => a.vmrun(eax), 'Vmrund', '670f01d8'],
    [(a) => a.vmload(eax), 'Vmloadd', '670f01da'],
    [(a) => a.vmsave(eax), 'Vmsaved', '670f01db'],
    [(a) => a.invlpga(), 'Invlpgaq', '0f01df'],
    [(a) => a.invlpga(eax), 'Invlpgad', '670f01df'],
    [(a) => a.vmmcall(), 'Vmmcall', '0f01d9'],
    [(a) => a.vmgexit(), 'Vmgexit', 'f30f01d9'],
    [(a) => a.skinit(), 'Skinit', '0f01de'],
    [(a) => a.getsec(), 'Getsecd', '0f37'],
  ];
  test.each(in64)('in 64-bit code: %s', (build, name, bytes) => {
    expect(codeOf(64, build)).toEqual([name, bytes]);
  });

  const in32: [(a: Assembler<32>) => unknown, string, string][] = [
    [(a) => a.vmxon(mem64(esi)), 'Vmxon_m64', 'f30fc736'],
    [(a) => a.vmread(ecx, ebx), 'Vmread_rm32_r32', '0f78d9'],
    [(a) => a.vmwrite(ebx, mem(esi)), 'Vmwrite_r32_rm32', '0f791e'],
    [(a) => a.invept(eax, mem(esi)), 'Invept_r32_m128', '660f388006'],
    [(a) => a.vmrun(), 'Vmrund', '0f01d8'],
    [(a) => a.vmrun(ax), 'Vmrunw', '670f01d8'],
    [(a) => a.invlpga(ax), 'Invlpgaw', '670f01df'],
  ];
  test.each(in32)('in 32-bit code: %s', (build, name, bytes) => {
    expect(codeOf(32, build)).toEqual([name, bytes]);
  });

  test('fields are as wide as the mode, and AX is no address of 64-bit code', () => {
    // SAFE: what the types refuse as well is asked of the encoder.
    const wrong = (mode: Mode, build: (a: never) => unknown) => () => codeOf(mode, build as (a: Assembler) => unknown);
    expect(wrong(64, (a: Assembler<64>) => (a.vmread as (...o: unknown[]) => unknown)(ecx, ebx))).toThrow(/no such form/);
    expect(wrong(64, (a: Assembler<64>) => (a.vmrun as (...o: unknown[]) => unknown)(ax))).toThrow(/no such form/);
    expect(wrong(32, (a: Assembler<32>) => (a.vmwrite as (...o: unknown[]) => unknown)(rbx, rcx))).toThrow(/no such form/);
  });
});
