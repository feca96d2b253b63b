// Micro kernels that stay in registers: integer arithmetic, branches, calls.
import {
  type Assembler,
  addr,
  al,
  dl,
  eax,
  ebp,
  ebx,
  edi,
  edx,
  esi,
  mem,
  r8,
  r9,
  r10,
  r11,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  w,
} from '@ringworld/guests';
import type { MicroKernel } from './image.ts';

/** Some of everything that compilers emit, in registers both modes have. */
function integer(a: Assembler<64>): void {
  a.mov(eax, 0x12345678)
    .mov(ebx, 0x9abcdef1 | 0)
    .mov(edx, 7)
    .mov(esi, 11)
    .mov(edi, 13)
    .mov(ebp, 17);
  a.label('.round')
    .add(w.ax, w.bx)
    .xor(w.dx, w.ax)
    .lea(w.si, mem(w.ax, { index: w.dx, scale: 4, disp: 7 }))
    .rol(w.bx, 5);
  a.sub(w.di, w.si).adc(w.bp, 0).and(w.si, 0xff_ffff).or(w.di, w.si).neg(w.di).movzx(edx, al).shl(w.dx, 3).not(w.bp);
  a.cmp(w.ax, w.di).cmovb(w.bp, w.ax).sbb(w.bx, w.si).test(eax, 0x100).setz(dl).sar(w.di, 3).xor(w.di, w.bp).bswap(edx);
  a.add(edx, esi).bt(eax, 5).adc(w.ax, w.dx).dec(w.cx).jnz('.round');
  a.add(w.ax, w.bx).add(w.ax, w.dx).add(w.ax, w.di).add(w.ax, w.bp).ret();
}

/** Multiplication and division, which compilers avoid and bignums, hashes and printf do not. */
function mulDiv(a: Assembler<64>): void {
  a.mov(rsi, rcx).mov(r8, 0x9e37_79b9_7f4a_7c15n).mov(r9, r8).xor(r10, r10);
  a.label('.round').imul(r9, r8).add(r9, rsi).mov(rax, r9).mul(r8).add(r10, rdx).imul(r11, r9, 1000003).xor(r10, r11);
  a.mov(eax, esi).xor(edx, edx).mov(ebx, 10).div(ebx).add(r10, rdx).mov(rax, r9).mov(rdx, 0).mov(rbx, r8).div(rbx).add(r10, rax);
  a.shld(r10, r9, 7).dec(rsi).jnz('.round').mov(rax, r10).ret();
}

/** Eight ways on, chosen by the bits of a xorshift generator. */
function branches(a: Assembler<64>): void {
  a.mov(eax, 2463534242).xor(ebx, ebx).mov(esi, 1).mov(edi, 3);
  a.label('.round').mov(edx, eax).shl(edx, 13).xor(eax, edx).mov(edx, eax).shr(edx, 17).xor(eax, edx);
  a.mov(edx, eax).shl(edx, 5).xor(eax, edx);
  a.test(eax, 1).jz('.b').add(ebx, esi).test(eax, 2).jz('.a').xor(edi, ebx).jmp('.join').label('.a').sub(edi, eax).jmp('.join');
  a.label('.b').cmp(eax, 0).jl('.c').add(edi, 1).jmp('.join').label('.c').sub(esi, edi);
  a.label('.join').cmp(ebx, edi).ja('.d').inc(ebx).label('.d').test(eax, 0x700).jnz('.e').add(esi, eax);
  a.label('.e').test(al, al).js('.f').xor(ebx, 0x55).label('.f').dec(w.cx).jnz('.round');
  a.add(eax, ebx).add(eax, esi).add(eax, edi).ret();
}

/** The recursive Fibonacci of 20, `rounds` times. */
function calls(a: Assembler<64>): void {
  a.mov(w.bp, w.cx).xor(w.si, w.si);
  a.label('.round').mov(edi, 20).call('.fib').add(w.si, w.ax).dec(w.bp).jnz('.round').mov(w.ax, w.si).ret();
  a.label('.fib').cmp(edi, 2).jae('.deep').mov(eax, edi).ret();
  a.label('.deep').push(w.di).sub(edi, 1).call('.fib').pop(w.di).push(w.ax).sub(edi, 2).call('.fib').pop(w.dx).add(w.ax, w.dx).ret();
}

/** Sixteen functions, called and jumped to by a pseudo-random number, as an interpreter or a vtable does. */
function indirect(a: Assembler<64>): void {
  const ways = 16;
  for (let i = 0; i < ways; i++) a.mov(rax, addr(`.way${i}`)).mov(mem(null, { disp: addr('space', 8 * i) }), rax);
  for (let i = 0; i < ways; i++) a.mov(rax, addr(`.case${i}`)).mov(mem(null, { disp: addr('space', 8 * (ways + i)) }), rax);
  a.mov(r8, addr('space'))
    .mov(r9, addr('space', 8 * ways))
    .mov(eax, 12345)
    .mov(ebx, 1)
    .mov(esi, 5);
  a.label('.round')
    .imul(eax, eax, 1103515245)
    .add(eax, 12345)
    .mov(edx, eax)
    .shr(edx, 16)
    .mov(edi, edx)
    .and(edx, ways - 1);
  a.call('.through')
    .shr(edi, 4)
    .and(edi, ways - 1)
    .jmp('.switch');
  a.label('.next').dec(rcx).jnz('.round').mov(eax, ebx).add(rax, rsi).ret();
  a.label('.through').jmp(memq(r8, rdx)).label('.switch').jmp(memq(r9, rdi));
  for (let i = 0; i < ways; i++)
    a.label(`.way${i}`)
      .add(ebx, i * 7 + 1)
      .xor(esi, ebx)
      .ret();
  for (let i = 0; i < ways; i++)
    a.label(`.case${i}`)
      .lea(esi, mem(rsi, { index: rbx, disp: i }))
      .jmp('.next');
}
const memq = (base: typeof r8 | typeof r9, index: typeof rdx | typeof rdi) => ({ ...mem(base, { index, scale: 8 }), size: 64 as const });

// SAFE: what the shared kernels use exists in both modes.
const in32 = (emit: (a: Assembler<64>) => void) => (a: Assembler<32>) => emit(a as unknown as Assembler<64>);

export const REGISTER_KERNELS: readonly MicroKernel[] = [
  { name: 'integer64', group: 'integer', mode: 64, rounds: 240e6, about: 'ALU instructions of all kinds', emit: integer },
  { name: 'integer32', group: 'integer', mode: 32, rounds: 240e6, about: 'the same in 32-bit code', emit: in32(integer) },
  { name: 'muldiv64', group: 'integer', mode: 64, rounds: 200e6, about: 'multiplication and division', emit: mulDiv },
  { name: 'branches64', group: 'branches', mode: 64, rounds: 120e6, about: 'branches on random data', emit: branches },
  { name: 'branches32', group: 'branches', mode: 32, rounds: 120e6, about: 'the same in 32-bit code', emit: in32(branches) },
  { name: 'calls64', group: 'calls', mode: 64, rounds: 10_000, about: 'recursion: CALL, RET, PUSH, POP', emit: calls },
  { name: 'calls32', group: 'calls', mode: 32, rounds: 10_000, about: 'the same in 32-bit code', emit: in32(calls) },
  { name: 'indirect64', group: 'calls', mode: 64, rounds: 40e6, about: 'indirect calls and jumps, 16 targets each', emit: indirect },
];
