// The frame around a micro kernel: one image that starts on any PC. It is entered in 32-bit protected mode without paging, which is what
// multiboot (-kernel in QEMU), PVH and the boot sector of disk.ts all give; it builds its own descriptor tables and page tables, runs the
// kernel for the count that stands at `rounds`, prints the kernel's checksum on COM1, and switches the machine off.
//
// Memory: the image at 1 MiB; two buffers of 8 MiB from 16 MiB on; 64 MiB of pages at 33 MiB, which 64-bit kernels find once more at
// linear 1 GiB, mapped by 4 KiB pages. Everything else is mapped one to one by large pages. All pages are user pages.
import {
  type Assembler,
  addr,
  ah,
  al,
  assembler,
  at,
  ax,
  cr0,
  cr3,
  cr4,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esp,
  far,
  fs,
  gs,
  Image,
  type Linked,
  mem,
  mem8,
  mem16,
  mem32,
  ss,
  w,
  writeElf,
} from '@ringworld/guests';

export const BUFFER_A = 0x0100_0000;
/** Not a power of two away from the other: in a direct-mapped TLB, as emulators have, the two would push each other out at every step. */
export const BUFFER_B = 0x0182_5000;
export const BUFFER_BYTES = 8 << 20;
/** Linear address of the pages, in 64-bit kernels. */
export const PAGES_AT = 0x4000_0000;
export const PAGES = 16384;
const PAGES_PHYSICAL = 0x0210_0000;
/** What the machine must have. */
export const MEMORY_MIB = 128;

export const BASE = 0x10_0000;
/** Selectors, in the order that SYSCALL and SYSRET want (SDM Vol 2B). */
export const SEL = { code32: 0x08, code64: 0x10, data: 0x18, userCode32: 0x23, userData: 0x2b, userCode64: 0x33, tss: 0x38 } as const;

interface Common {
  readonly name: string;
  readonly group: string;
  /** Rounds that take QEMU TCG two seconds or more. */
  readonly rounds: number;
  readonly about: string;
}
/**
 * `emit` writes a subroutine: the number of rounds comes in CX (ECX, RCX), the checksum is left in AX (EAX, RAX). All other registers but
 * the stack pointer may be used.
 */
export type MicroKernel = Common &
  ({ readonly mode: 64; emit(a: Assembler<64>): void } | { readonly mode: 32; emit(a: Assembler<32>): void });

const COM1 = 0x3f8;
const PRESENT_WRITE_USER = 7;
const LARGE = 0x80;
const MULTIBOOT_MAGIC = 0x1badb002;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const EFER = 0xc000_0080;

export interface MicroImage {
  readonly linked: Linked;
  /** ELF32, with a multiboot header and a PVH note. */
  readonly elf: Uint8Array;
}

export function buildImage(kernel: MicroKernel, rounds = kernel.rounds): MicroImage {
  const image = new Image();
  const a = assembler(image, 32);
  // Multiboot 0.6.96, 3.1: within the first 8 KiB of the file, 4-byte aligned.
  a.label('multiboot').dd(MULTIBOOT_MAGIC, 0, 0x1_0000_0000 - MULTIBOOT_MAGIC);
  a.label('start').cli().cld().mov(esp, addr('stack_top'));
  a.lgdt(at('gdt_pointer')).ljmp(far(SEL.code32, 'flat'));
  a.label('flat').mov(eax, SEL.data).mov(ds, eax).mov(es, eax).mov(ss, eax);
  // A null selector in FS and GS: some loaders leave others, and their bases.
  a.xor(ecx, ecx).mov(fs, ecx).mov(gs, ecx);
  a.mov(eax, addr('tss'))
    .mov(mem16(addr('gdt', SEL.tss + 2)), ax)
    .shr(eax, 16);
  a.mov(mem8(addr('gdt', SEL.tss + 4)), al).mov(mem8(addr('gdt', SEL.tss + 7)), ah);
  if (kernel.mode === 64) {
    enterLongMode(a);
    const b = assembler(image, 64);
    body(b, SEL.tss);
    kernel.emit(b.label('kernel'));
  } else {
    enterPaging(a);
    body(a, SEL.tss);
    kernel.emit(a.label('kernel'));
  }
  tables(a, kernel, rounds);
  const linked = image.link(BigInt(BASE));
  const notes = [{ name: 'Xen', type: XEN_ELFNOTE_PHYS32_ENTRY, desc: linked.address('start') }];
  return { linked, elf: writeElf(linked, { bits: 32, entry: 'start', notes, virtToPhys: 0n }) };
}

/** Fills `count` table entries of `stride` bytes from EDI on with EAX, EAX + step, ... */
function fill(a: Assembler<32>, table: string, first: Parameters<typeof a.mov>[1], step: number, count: number, stride: number): void {
  const loop = a.fresh('fill');
  a.mov(edi, addr(table))
    .mov(eax, first as number)
    .mov(ecx, count);
  a.label(loop).mov(mem32(edi), eax).add(edi, stride).add(eax, step).dec(ecx).jnz(loop);
}

function enterLongMode(a: Assembler<32>): void {
  fill(a, 'pd', PRESENT_WRITE_USER | LARGE, 2 << 20, 512, 8);
  fill(a, 'pd_pages', addr('pt_pages', PRESENT_WRITE_USER), 4096, PAGES / 512, 8);
  fill(a, 'pt_pages', PAGES_PHYSICAL | PRESENT_WRITE_USER, 4096, PAGES, 8);
  a.mov(mem32(addr('pml4')), addr('pdpt', PRESENT_WRITE_USER));
  a.mov(mem32(addr('pdpt')), addr('pd', PRESENT_WRITE_USER));
  a.mov(mem32(addr('pdpt', 8)), addr('pd_pages', PRESENT_WRITE_USER));
  a.mov(eax, addr('pml4')).mov(cr3, eax);
  // PSE, PAE, OSFXSR, OSXMMEXCPT.
  a.mov(eax, 0x630).mov(cr4, eax);
  // SCE, LME.
  a.mov(ecx, EFER).rdmsr().or(eax, 0x101).wrmsr();
  // PE, MP, ET, NE, WP, PG.
  a.mov(eax, 0x8001_0033).mov(cr0, eax).ljmp(far(SEL.code64, 'main'));
}

function enterPaging(a: Assembler<32>): void {
  fill(a, 'pml4', PRESENT_WRITE_USER | LARGE, 4 << 20, 1024, 4);
  a.mov(eax, addr('pml4')).mov(cr3, eax);
  a.mov(eax, 0x610).mov(cr4, eax).mov(eax, 0x8001_0033).mov(cr0, eax).ljmp(far(SEL.code32, 'main'));
}

/** From `main` on in the kernel's own mode. */
function body<M extends 32 | 64>(b: Assembler<M>, tss: number): void {
  // SAFE: only what 32- and 64-bit code share is used: word registers and fixed widths.
  const a = b as unknown as Assembler<64>;
  a.label('main').mov(w.sp, addr('stack_top')).mov(eax, tss).ltr(ax);
  // An exception is the end: a gate for each of the 32.
  a.mov(w.di, addr('idt')).mov(edx, addr('traps')).mov(ecx, 32);
  a.label('.gates').call('set_gate').add(w.dx, 16).dec(ecx).jnz('.gates');
  a.lidt(at('idt_pointer'))
    .fninit()
    .ldmxcsr(mem32(addr('mxcsr')));
  // 115200 baud, 8N1: Bochs's BIOS leaves the port at five bits.
  for (const [register, value] of [
    [3, 0x83],
    [0, 1],
    [1, 0],
    [3, 3],
  ] as const)
    a.mov(edx, COM1 + register)
      .mov(al, value)
      .out(dx, al);
  a.mov(w.cx, mem(addr('rounds'))).call('kernel');
  a.push(w.ax).mov(w.si, addr('name')).call('print').pop(w.ax).call('print_hex').mov(w.si, addr('done')).call('print');
  // Not before the last byte is out: TEMT.
  a.label('off')
    .mov(edx, COM1 + 5)
    .label('.drain')
    .in(al, dx)
    .test(al, 0x40)
    .jz('.drain')
    .mov(eax, 0)
    .out(0xf4, al);
  // Bochs's own switch (iodev/unmapped.cc): "Shutdown" to port 0x8900.
  a.mov(edx, 0x8900);
  for (const c of 'Shutdown') a.mov(al, c.charCodeAt(0)).out(dx, al);
  // Anywhere else: a triple fault, which -no-reboot and its like take for the end.
  a.lidt(at('no_idt')).int3().label('.stop').hlt().jmp('.stop');

  // Writes the gate at DI for the handler at EDX, an interrupt gate of DPL 3, and moves DI to the next.
  a.label('set_gate')
    .mov(eax, edx)
    .and(eax, 0xffff)
    .or(eax, (b.mode === 64 ? SEL.code64 : SEL.code32) << 16);
  a.mov(mem32(w.di), eax)
    .mov(eax, edx)
    .and(eax, 0xffff_0000)
    .or(eax, 0xee00)
    .mov(mem32(w.di, { disp: 4 }), eax);
  a.add(w.di, b.mode === 64 ? 16 : 8).ret();

  a.label('put')
    .push(w.dx)
    .push(w.ax)
    .mov(edx, COM1 + 5);
  a.label('.wait').in(al, dx).test(al, 0x20).jz('.wait').mov(edx, COM1).pop(w.ax).out(dx, al).pop(w.dx).ret();
  a.label('print').mov(al, mem8(w.si)).test(al, al).jz('.end').call('put').add(w.si, 1).jmp('print').label('.end').ret();
  a.label('print_hex')
    .mov(w.bx, w.ax)
    .mov(ecx, b.mode / 4);
  a.label('.digit')
    .rol(w.bx, 4)
    .mov(eax, ebx)
    .and(eax, 15)
    .mov(al, mem8(w.ax, { disp: addr('digits') }))
    .call('put');
  a.dec(ecx).jnz('.digit').ret();

  a.section('.traps', { execute: true, align: 16 }).label('traps');
  for (let v = 0; v < 32; v++) a.align(16).mov(eax, v).jmp('trapped');
  a.section('.text').label('trapped').push(w.ax).mov(w.si, addr('trap')).call('print').pop(w.ax).call('print_hex').jmp('off');
}

function tables(a: Assembler<32>, kernel: MicroKernel, rounds: number): void {
  a.section('.data').align(16).label('gdt').dq(0);
  // Access byte, then G, D/B, L (SDM Vol 3A, 3.4.5): flat, in the order of SEL.
  for (const [access, flags] of [
    [0x9b, 0xc],
    [0x9b, 0xa],
    [0x93, 0xc],
    [0xfb, 0xc],
    [0xf3, 0xc],
    [0xfb, 0xa],
  ] as const)
    a.dw(0xffff, 0).db(0, access, (flags << 4) | 0xf, 0);
  // The TSS: 103 bytes, its base filled in at the start.
  a.dw(103, 0).db(0, 0x89, 0, 0).dq(0).label('gdt_end');
  // RSP0 and ESP0 both lie at 4; SS0, which 64-bit TSSs have not, at 8.
  a.align(16)
    .label('tss')
    .dd(0)
    .dd(addr('trap_stack_top'), kernel.mode === 64 ? 0 : SEL.data)
    .reserve(92);
  a.label('gdt_pointer')
    .dw(SEL.tss + 15)
    .dd(addr('gdt'))
    .dd(0);
  a.label('idt_pointer')
    .dw(256 * 16 - 1)
    .dd(addr('idt'))
    .dd(0);
  a.label('no_idt').dw(0).dd(0, 0);
  a.align(8).label('rounds').dq(rounds).label('mxcsr').dd(0x1f80);
  a.label('digits').ascii('0123456789abcdef').label('name').asciz(`CHECK ${kernel.name} `).label('done').asciz(' DONE\r\n');
  a.label('trap').asciz('TRAP ');
  a.section('.bss', { noBits: true, write: true, align: 4096 });
  const room = (label: string, bytes: number) => a.label(label).reserve(bytes);
  room('pml4', 4096);
  room('pdpt', 4096);
  room('pd', 4096);
  room('pd_pages', 4096);
  room('pt_pages', PAGES * 8);
  room('idt', 256 * 16);
  room('stack', 16384);
  a.label('stack_top').reserve(4096).label('trap_stack_top');
  // Space of the kernel's own, for tables that it fills.
  room('space', 65536);
  a.label('image_end');
}
