// Micro kernels of SSE and x87. Values are kept within bounds by construction, so that no denormal or infinity, at which emulators slow
// down or speed up, comes into it.
import {
  type Assembler,
  addr,
  ebx,
  ecx,
  mem,
  mem32,
  mem64,
  rax,
  rbx,
  rcx,
  rdx,
  rsi,
  xmm0,
  xmm1,
  xmm2,
  xmm3,
  xmm4,
  xmm5,
  xmm6,
  xmm7,
} from '@ringworld/guests';
import { BUFFER_A, type MicroKernel } from './image.ts';

const double = (x: number): bigint => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  return view.getBigUint64(0);
};
const single = (x: number): number => {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  return view.getUint32(0);
};

/** Constants of the kernel, 16-byte aligned, under labels. */
function constants(a: Assembler<64>, values: Readonly<Record<string, readonly (number | bigint)[]>>): void {
  a.section('.data').align(16);
  for (const [label, list] of Object.entries(values)) {
    a.label(label);
    for (const v of list) typeof v === 'bigint' ? a.dq(v) : a.dd(v);
  }
  a.section('.text');
}
const at = (label: string) => mem(null, { disp: addr(label) });
const at64 = (label: string) => mem64(null, { disp: addr(label) });

/** Packed integers as codecs and hashes use them, some from memory. */
function packedInteger(a: Assembler<64>): void {
  a.mov(rsi, BUFFER_A).movdqa(xmm0, at('pi_a')).movdqa(xmm1, at('pi_b')).pxor(xmm2, xmm2).movdqa(xmm6, xmm1).movdqa(xmm7, xmm0);
  a.label('.round').paddd(xmm0, xmm1).movdqa(xmm3, xmm0).pmuludq(xmm3, xmm1).pxor(xmm1, xmm3).pshufd(xmm4, xmm0, 0x39).psubd(xmm1, xmm4);
  a.movdqa(xmm5, xmm1).pcmpgtd(xmm5, xmm0).pand(xmm5, xmm6).por(xmm2, xmm5).paddw(xmm7, xmm3).pmullw(xmm7, xmm6).punpcklbw(xmm4, xmm3);
  a.pminub(xmm4, xmm7).paddq(xmm2, xmm4).movdqu(mem(rsi), xmm2).pmaddwd(xmm3, at('pi_b')).pxor(xmm0, mem(rsi)).dec(rcx).jnz('.round');
  a.movq(rax, xmm0).movq(rdx, xmm2).add(rax, rdx).ret();
  constants(a, { pi_a: [0x01234567, 0x89abcdef, 0x0f1e2d3c, 0x4b5a6978], pi_b: [0x10325476, 0x98badcfe, 0x11223344, 0x55667788] });
}

/** Packed single precision: a rotation, which keeps its length, and a normalisation now and then. */
function packedSingle(a: Assembler<64>): void {
  a.movaps(xmm0, at('ps_x')).movaps(xmm1, at('ps_y')).movaps(xmm2, at('ps_cos')).movaps(xmm3, at('ps_sin'));
  a.label('.round').movaps(xmm4, xmm0).mulps(xmm4, xmm2).movaps(xmm5, xmm1).mulps(xmm5, xmm3).subps(xmm4, xmm5);
  a.mulps(xmm0, xmm3).mulps(xmm1, xmm2).addps(xmm1, xmm0).movaps(xmm0, xmm4);
  a.movaps(xmm6, xmm0).mulps(xmm6, xmm6).movaps(xmm7, xmm1).mulps(xmm7, xmm7).addps(xmm6, xmm7).sqrtps(xmm6, xmm6);
  a.divps(xmm0, xmm6).divps(xmm1, xmm6).maxps(xmm6, at('ps_cos')).shufps(xmm0, xmm0, 0x39).dec(rcx).jnz('.round');
  a.movq(rax, xmm0).movq(rdx, xmm1).xor(rax, rdx).ret();
  const four = (x: number, y: number, z: number, t: number) => [x, y, z, t].map(single);
  constants(a, {
    ps_x: four(1, 0.8, 0.6, 0),
    ps_y: four(0, 0.6, 0.8, 1),
    ps_cos: four(0.96, 0.8, 0.6, 0.28),
    ps_sin: four(0.28, 0.6, 0.8, 0.96),
  });
}

/** Scalar double precision with conversions and comparisons: what C's `double` compiles to. */
function scalarDouble(a: Assembler<64>): void {
  a.mov(rsi, BUFFER_A).movq(xmm0, at64('sd_x')).movq(xmm1, at64('sd_sum')).xor(ebx, ebx);
  // The logistic map, and a sum of what it gives.
  a.label('.round').movaps(xmm2, xmm0).mulsd(xmm2, at('sd_r')).movq(xmm3, at64('sd_one')).subsd(xmm3, xmm0).mulsd(xmm2, xmm3);
  a.movaps(xmm0, xmm2).movq(mem64(rsi), xmm0).cvtsi2sd(xmm4, ecx).addsd(xmm4, at('sd_one')).divsd(xmm2, xmm4).addsd(xmm1, xmm2);
  a.sqrtsd(xmm5, mem(rsi)).maxsd(xmm1, xmm5).comisd(xmm0, at('sd_half')).jb('.low').add(ebx, 1);
  a.label('.low').minsd(xmm1, at('sd_limit')).dec(rcx).jnz('.round').movq(rax, xmm0).movq(rdx, xmm1).xor(rax, rdx).add(rax, rbx).ret();
  constants(a, {
    sd_x: [double(0.3)],
    sd_r: [double(3.9)],
    sd_one: [double(1)],
    sd_half: [double(0.5)],
    sd_sum: [double(0)],
    sd_limit: [double(1e6)],
  });
}

/** x87 as compilers of the 486's time used it: a polynomial by Horner, a root and a quotient, through the stack. */
function x87(a: Assembler<64>): void {
  a.mov(rsi, BUFFER_A).fninit().fld(at64('x_start'));
  a.label('.round').fld(at64('x_a')).fmul(at64('x_b')).fxch().fst(mem64(rsi)).fadd(at64('x_c')).fmulp().fabs();
  a.fld(mem64(rsi))
    .fmul(at64('x_d'))
    .faddp()
    .fsqrt()
    .mov(mem32(rsi, { disp: 8 }), ecx)
    .fild(mem32(rsi, { disp: 8 }))
    .fadd(at64('x_e'));
  a.fld(at64('x_a')).fxch().fdivp().faddp().fld(at64('x_d')).fmulp().dec(rcx).jnz('.round');
  a.fst(mem64(rsi))
    .fmul(at64('x_e'))
    .fistp(mem64(rsi, { disp: 8 }))
    .mov(rax, mem64(rsi))
    .add(rax, mem64(rsi, { disp: 8 }))
    .ret();
  constants(a, {
    x_start: [double(0.7)],
    x_a: [double(0.31)],
    x_b: [double(1.7)],
    x_c: [double(0.9)],
    x_d: [double(0.77)],
    x_e: [double(1.25)],
  });
}

export const FLOAT_KERNELS: readonly MicroKernel[] = [
  { name: 'sse-integer', group: 'sse', mode: 64, rounds: 25e6, about: 'packed integers', emit: packedInteger },
  { name: 'sse-packed', group: 'sse', mode: 64, rounds: 17e6, about: 'packed single precision', emit: packedSingle },
  { name: 'sse-scalar', group: 'sse', mode: 64, rounds: 22e6, about: 'scalar double precision', emit: scalarDouble },
  { name: 'x87', group: 'x87', mode: 64, rounds: 4e6, about: 'x87 arithmetic through the register stack', emit: x87 },
];
