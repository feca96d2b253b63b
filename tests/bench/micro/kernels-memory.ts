// Micro kernels about memory: streams, page walks, string instructions, and code that changes itself.
import {
  type Assembler,
  addr,
  al,
  bl,
  cr3,
  dl,
  eax,
  ebx,
  ecx,
  edx,
  mem,
  mem32,
  mem64,
  r8,
  r9,
  r10,
  r11,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from '@ringworld/guests';
import { BUFFER_A, BUFFER_B, BUFFER_BYTES, type MicroKernel, PAGES, PAGES_AT } from './image.ts';

/** Rounds are passes over a buffer, 32 bytes a step. */
function pass(a: Assembler<64>, step: () => void): void {
  a.mov(rbp, rcx);
  a.label('.pass')
    .mov(rsi, BUFFER_A)
    .mov(rdi, BUFFER_B)
    .mov(ecx, BUFFER_BYTES / 32);
  a.label('.step');
  step();
  a.add(rsi, 32).add(rdi, 32).dec(ecx).jnz('.step').dec(rbp).jnz('.pass');
}
const at8 = (base: typeof rsi | typeof rdi, disp: number) => mem(base, { disp });

function read(a: Assembler<64>): void {
  a.mov(r8, 1).mov(r9, 2);
  pass(a, () =>
    a
      .add(r8, at8(rsi, 0))
      .add(r9, at8(rsi, 8))
      .xor(r8, at8(rsi, 16))
      .lea(r9, mem(r9, { index: r8 }))
      .sub(r9, at8(rsi, 24)),
  );
  a.lea(rax, mem(r8, { index: r9 })).ret();
}
function write(a: Assembler<64>): void {
  a.mov(r8, 0x0123_4567_89ab_cdefn);
  pass(a, () =>
    a
      .mov(at8(rdi, 0), r8)
      .mov(at8(rdi, 8), rsi)
      .add(r8, rdi)
      .mov(at8(rdi, 16), r8)
      .mov(mem32(rdi, { disp: 24 }), ecx),
  );
  a.mov(rax, r8).ret();
}
function copy(a: Assembler<64>): void {
  // Something to copy, different everywhere.
  a.mov(rdi, BUFFER_A).mov(eax, 1).label('.seed').mov(mem32(rdi), eax).imul(eax, eax, 1664525).add(eax, 1013904223).add(rdi, 4);
  a.cmp(rdi, BUFFER_A + BUFFER_BYTES).jb('.seed');
  pass(a, () => {
    for (const [i, r] of [r8, r9, r10, r11].entries()) a.mov(r, at8(rsi, 8 * i)).mov(at8(rdi, 8 * i), r);
  });
  a.mov(rax, r8).xor(rax, r11).ret();
}

/** Reads at random over 64 MiB of 4 KiB pages, every fourth a write: far more pages than any TLB holds. */
function pageWalk(a: Assembler<64>): void {
  a.mov(r8, PAGES_AT).mov(r9, 6364136223846793005n).mov(rbx, 1).xor(eax, eax);
  a.label('.round').imul(rbx, r9).add(rbx, 1442695);
  a.mov(rdx, rbx)
    .shr(rdx, 40)
    .and(edx, PAGES - 1)
    .shl(edx, 12)
    .mov(rsi, rbx)
    .shr(rsi, 55)
    .lea(rdx, mem(rdx, { index: rsi, scale: 8 }));
  a.add(rax, mem(r8, { index: rdx }))
    .test(ebx, 0x3000)
    .jnz('.read')
    .add(mem(r8, { index: rdx }), rbx);
  a.label('.read').dec(rcx).jnz('.round').ret();
}

/** A switch of address spaces (the same tables again: a flush), then 24 pages touched, as between processes. */
function switches(a: Assembler<64>): void {
  a.mov(r8, PAGES_AT).xor(eax, eax).mov(rbx, cr3);
  a.label('.round').mov(cr3, rbx).mov(edx, 24).mov(rsi, r8);
  a.label('.touch').add(rax, mem(rsi)).add(mem32(rsi), edx).add(rsi, 4096).dec(edx).jnz('.touch').dec(rcx).jnz('.round').ret();
}

/** Rounds are 64 KiB moved and as much filled. */
function largeStrings(a: Assembler<64>): void {
  a.mov(rbx, rcx).cld().xor(rbp, rbp);
  a.label('.round').mov(rsi, BUFFER_A).mov(rdi, BUFFER_B).mov(ecx, 8192).rep().movsq();
  a.mov(rdi, BUFFER_A).mov(rax, rbx).mov(ecx, 8192).rep().stosq();
  a.mov(rsi, BUFFER_A + 3)
    .mov(rdi, BUFFER_B + 5)
    .mov(ecx, 16384)
    .rep()
    .movsb();
  a.add(rbp, mem(null, { disp: BUFFER_B + 64 }))
    .dec(rbx)
    .jnz('.round')
    .mov(rax, rbp)
    .ret();
}

/** Strings as C programs have them: a few bytes each, moved, compared, filled and searched. */
function smallStrings(a: Assembler<64>): void {
  a.mov(rbx, rcx)
    .cld()
    .xor(r8, r8)
    .mov(mem32(null, { disp: BUFFER_A + 200 }), 0);
  a.label('.round').mov(edx, ebx).and(edx, 31).add(edx, 1);
  a.mov(rdi, BUFFER_A).mov(al, dl).mov(ecx, edx).rep().stosb();
  a.mov(rsi, BUFFER_A)
    .mov(rdi, BUFFER_A + 1024)
    .mov(ecx, edx)
    .rep()
    .movsb();
  a.mov(rsi, BUFFER_A)
    .mov(rdi, BUFFER_A + 1024)
    .mov(ecx, 40)
    .rep()
    .cmpsb()
    .add(r8, rcx);
  a.mov(rdi, BUFFER_A).xor(eax, eax).mov(ecx, 256).repne().scasb().add(r8, rcx).mov(ecx, 2).rep().stosd();
  a.mov(rsi, BUFFER_A).lodsb().add(r8, rax).dec(rbx).jnz('.round').mov(rax, r8).ret();
}

/** Patches the immediate of a function on a page of its own and calls it, each round. */
function patched(a: Assembler<64>): void {
  a.xor(r8, r8)
    .label('.round')
    .mov(mem32(null, { disp: addr('patched', 1) }), ecx)
    .call('patched')
    .add(r8, rax)
    .dec(rcx)
    .jnz('.round');
  a.mov(rax, r8).ret();
  a.section('.patch', { write: true, execute: true, align: 4096 });
  a.label('patched')
    .mov(eax, 0x55555555)
    .lea(eax, mem(rax, { index: rax, scale: 2, disp: 1 }))
    .ret()
    .section('.text');
}

/** A loop that writes into its own page: now and then an immediate of its own, and always a word of data that lies beside the code. */
function patchedLoop(a: Assembler<64>): void {
  a.mov(rbx, rcx).jmp('own');
  a.section('.patch', { write: true, execute: true, align: 4096 });
  a.label('own')
    .xor(r8, r8)
    .label('.round')
    .test(bl, 63)
    .jnz('.keep')
    .mov(mem32(null, { disp: addr('own_add', 3) }), ebx);
  a.label('.keep').image.alias('own_add');
  a.add(r8, 0x11111111)
    .mov(mem64(null, { disp: addr('own_data') }), r8)
    .dec(rbx)
    .jnz('.round')
    .mov(rax, r8)
    .ret();
  a.label('own_data').dq(0).section('.text');
}

export const MEMORY_KERNELS: readonly MicroKernel[] = [
  { name: 'stream-read', group: 'streams', mode: 64, rounds: 1500, about: 'reads of 8 MiB in order', emit: read },
  { name: 'stream-write', group: 'streams', mode: 64, rounds: 1500, about: 'writes of 8 MiB in order', emit: write },
  { name: 'stream-copy', group: 'streams', mode: 64, rounds: 800, about: '8 MiB copied by MOV', emit: copy },
  { name: 'page-walk', group: 'paging', mode: 64, rounds: 8e6, about: 'accesses at random over 16384 pages', emit: pageWalk },
  { name: 'cr3-switch', group: 'paging', mode: 64, rounds: 400e3, about: 'MOV CR3, then 24 pages touched', emit: switches },
  {
    name: 'strings-large',
    group: 'strings',
    mode: 64,
    rounds: 20_000,
    about: 'REP MOVSQ, STOSQ, MOVSB of 64, 64 and 16 KiB',
    emit: largeStrings,
  },
  {
    name: 'strings-small',
    group: 'strings',
    mode: 64,
    rounds: 10e6,
    about: 'REP MOVSB, STOSB, CMPSB, SCASB of 1 to 40 bytes',
    emit: smallStrings,
  },
  { name: 'smc-function', group: 'self-modifying', mode: 64, rounds: 350e3, about: 'a function patched before each call', emit: patched },
  { name: 'smc-page', group: 'self-modifying', mode: 64, rounds: 1.3e6, about: 'a loop that writes into its own page', emit: patchedLoop },
];
