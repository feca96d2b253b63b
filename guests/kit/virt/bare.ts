// A kernel for the bare machine: a flat Multiboot image that goes to 64-bit mode, has a GDT, an IDT and a serial port, and otherwise leaves the
// machine as it is. The same file starts on this project's machine, under QEMU (-kernel) and through GRUB on Bochs or on iron.
//
// Linear addresses are physical ones up to 4 GiB, in pages of 2 MiB; the area at AREA.pages has a page table of 4 KiB pages for tests to
// play with. Nothing lies above 4 GiB.
import {
  type Assembler,
  addr,
  al,
  assembler,
  at,
  at32,
  at64,
  ax,
  cl,
  cr0,
  cr3,
  cr4,
  dl,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  far,
  fs,
  gs,
  Image,
  type Mem,
  mem,
  mem8,
  mem32,
  mem64,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
  si,
  ss,
} from '../../asm/index.ts';

export interface BareKernel {
  readonly image: Image;
  /** The code of the kernel. */
  readonly a: Assembler<64>;
  /** For 32-bit guests and the way into 64-bit mode. */
  readonly a32: Assembler<32>;
  readonly a16: Assembler<16>;
}

/** Selectors. The 32-bit ones are for guests outside IA-32e mode. */
export const SELECTOR = {
  code: 0x08,
  data: 0x10,
  code32: 0x18,
  /** 16 bytes. */
  tss: 0x20,
  userCode: 0x33,
  userData: 0x3b,
  tss32: 0x40,
  otherTss32: 0x48,
  notPresent: 0x50,
  taskGate: 0x58,
  /** A data segment with limit 0xfff, byte granular. */
  small: 0x60,
  ldt: 0x68,
  callGate: 0x70,
} as const;

/** Physical (and linear) addresses that tests use as they like. */
export const AREA = { pages: 0x80_0000, pagesEnd: 0xa0_0000, ept: 0xa0_0000, unmapped: 0x40_0000_0000n } as const;

const LOAD = 0x10_0000n;
const MULTIBOOT = { magic: 0x1bad_b002, flags: 0x1_0003 } as const;
const COM1 = 0x3f8;
const PAGE = 4096;
/** Present, writable, user; and the bit that makes a PDE a page. */
const P = { table: 7, large: 0x87 } as const;
const EFER = 0xc000_0080;
const EFER_LME = 0x100;

/** Local APIC registers (SDM Vol 3A, Table 11-1). */
export const APIC = { base: 0xfee0_0000, id: 0x20, tpr: 0x80, eoi: 0xb0, svr: 0xf0, icrLow: 0x300, icrHigh: 0x310 } as const;

/** Emits a routine into .text: label, body, RET. */
export function routine(k: BareKernel, name: string, body: (a: Assembler<64>) => void): void {
  k.image.within('.text', () => {
    k.a.align(16).label(name);
    body(k.a);
    k.a.ret();
  });
}

/** Zeroed memory of the kernel's own. */
export function reserve(k: BareKernel, name: string, bytes: number, align = 8): void {
  k.image.within('.bss', () => {
    k.a.align(align).label(name).reserve(bytes);
  });
}

const texts = new WeakMap<BareKernel, Map<string, string>>();
/** The label of a zero-terminated string; the same text is stored once. */
export function text(k: BareKernel, value: string): string {
  let known = texts.get(k);
  if (known === undefined) {
    known = new Map();
    texts.set(k, known);
  }
  let label = known.get(value);
  if (label === undefined) {
    label = `text_${known.size}`;
    known.set(value, label);
    const own = label;
    k.image.within('.rodata', () => {
      k.a.label(own).asciz(value);
    });
  }
  return label;
}

/** Prints; changes no register but flags. */
export function print(k: BareKernel, value: string): void {
  k.a
    .push(rsi)
    .lea(rsi, at(text(k, value)))
    .call('print')
    .pop(rsi);
}

/** A segment descriptor of the flat kind: `type` is bits 8 to 15 of its second word, `flags` bits 20 to 23. */
const descriptor = (base: number, limit: number, type: number, flags: number): [number, number] => [
  (((base & 0xffff) << 16) | (limit & 0xffff)) >>> 0,
  ((base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (type << 8) | ((base >>> 16) & 0xff)) >>> 0,
];

/**
 * `build` emits the kernel's own routines and data, and with them the label `main`: reached in 64-bit mode, with a stack and interrupts off.
 * It ends by a jump to `exit`, the exit code in EAX (0: all is well).
 */
export function buildBareKernel(build: (k: BareKernel) => void): Uint8Array {
  const image = new Image();
  const k: BareKernel = { image, a: assembler(image, 64), a32: assembler(image, 32), a16: assembler(image, 16) };
  image.section('.text', { align: PAGE, write: true });
  header(k);
  entry(k);
  image.section('.rodata', { align: PAGE, write: true });
  image.section('.data', { align: PAGE });
  image.section('.bss', { align: PAGE });
  tables(k);
  image.section('.text');
  interrupts(k);
  console(k);
  image.section('.text');
  build(k);
  image.section('.bss');
  k.a.align(PAGE).label('image_end');
  const linked = image.link(LOAD);
  const withBits = linked.sections.filter((s) => !s.noBits);
  const last = withBits.at(-1)!;
  const file = new Uint8Array(Number(last.address - LOAD) + last.size);
  for (const s of withBits) file.set(s.bytes, Number(s.address - LOAD));
  return file;
}

/** Multiboot Specification 0.6.96, 3.1: with the address fields, so that the file needs no ELF header. */
function header(k: BareKernel): void {
  const { magic, flags } = MULTIBOOT;
  k.a.label('header').dd(magic, flags, -(magic + flags) >>> 0, addr('header'), addr('header'), 0, addr('image_end'), addr('start'));
}

function entry(k: BareKernel): void {
  const { a, a32, image } = k;
  image.section('.text');
  a32.label('start').cli().cld();
  a32.mov(at32('multiboot_info'), ebx);
  a32.mov(esp, addr('stack_top'));
  // Page tables: four page directories of 2 MiB pages, one page table for AREA.pages.
  a32.mov(edi, addr('page_directories')).mov(eax, P.large).mov(ecx, 2048).label('.pd');
  a32
    .mov(mem32(edi), eax)
    .mov(mem32(edi, { disp: 4 }), 0)
    .add(eax, 0x20_0000)
    .add(edi, 8)
    .dec(ecx)
    .jnz('.pd');
  a32
    .mov(edi, addr('area_table'))
    .mov(eax, AREA.pages | P.table)
    .mov(ecx, 512)
    .label('.pt');
  a32
    .mov(mem32(edi), eax)
    .mov(mem32(edi, { disp: 4 }), 0)
    .add(eax, PAGE)
    .add(edi, 8)
    .dec(ecx)
    .jnz('.pt');
  a32
    .mov(eax, addr('area_table'))
    .or(eax, P.table)
    .mov(at32('page_directories', (AREA.pages >>> 21) * 8), eax);
  for (let i = 0; i < 4; i++)
    a32
      .mov(eax, addr('page_directories', i * PAGE))
      .or(eax, P.table)
      .mov(at32('page_pdpt', i * 8), eax);
  a32.mov(eax, addr('page_pdpt')).or(eax, P.table).mov(at32('page_pml4'), eax);
  a32.mov(eax, cr4).or(eax, 0x620).mov(cr4, eax);
  a32.mov(eax, addr('page_pml4')).mov(cr3, eax);
  a32.mov(ecx, EFER).rdmsr().or(eax, EFER_LME).wrmsr();
  // PE, MP, NE, WP, PG; neither EM nor TS.
  a32.mov(eax, cr0).and(eax, ~0x6000_000c).or(eax, 0x8001_0023).mov(cr0, eax);
  a32.lgdt(at('gdt_pointer32')).ljmp(far(SELECTOR.code, 'start64'));
  a.label('start64').mov(eax, SELECTOR.data);
  for (const s of [ds, es, ss, fs, gs]) a.mov(s, ax);
  a.mov(rsp, addr('stack_top')).lgdt(at('gdt_pointer'));
  // The TSS's base is known to the linker only.
  a.lea(rdi, at('gdt', SELECTOR.tss)).lea(rax, at('tss')).call('tss_base');
  a.lea(rdi, at('gdt', SELECTOR.tss32)).lea(rax, at('tss32')).call('tss_base');
  a.lea(rdi, at('gdt', SELECTOR.otherTss32)).lea(rax, at('other_tss32')).call('tss_base');
  a.lea(rax, at('stack_top')).mov(at64('tss', 4), rax);
  a.mov(eax, SELECTOR.tss).ltr(ax);
  a.call('idt_init').call('quiet');
  a.jmp('main');
  routine(k, 'tss_base', () => {
    a.mov(mem(rdi, { disp: 2 }), ax)
      .shr(eax, 16)
      .mov(mem8(rdi, { disp: 4 }), al)
      .shr(eax, 8)
      .mov(mem8(rdi, { disp: 7 }), al);
  });
}

function tables(k: BareKernel): void {
  const { a, image } = k;
  image.within('.data', () => {
    a.align(16).label('gdt').dq(0);
    const entries: [base: number, limit: number, type: number, flags: number][] = [
      [0, 0xf_ffff, 0x9b, 0xa],
      [0, 0xf_ffff, 0x93, 0xc],
      [0, 0xf_ffff, 0x9b, 0xc],
      [0, 0x67, 0x89, 0],
      [0, 0, 0, 0],
      [0, 0xf_ffff, 0xfb, 0xa],
      [0, 0xf_ffff, 0xf3, 0xc],
      [0, 0x67, 0x89, 0],
      [0, 0x67, 0x89, 0],
      [0, 0xf_ffff, 0x13, 0xc],
    ];
    for (const e of entries) a.dd(...descriptor(...e));
    // A task gate to the second 32-bit TSS; a small segment; an LDT of one entry; a call gate that is not present.
    a.dd(SELECTOR.otherTss32 << 16, 0x8500);
    a.dd(...descriptor(0, 0xfff, 0x93, 0x4));
    a.dd(...descriptor(0, 0x7, 0x82, 0));
    a.dd(0, 0x0c00);
    a.label('gdt_end').align(8);
    a.label('gdt_pointer32').dw(0x7f).dd(addr('gdt'));
    a.align(8).label('gdt_pointer').dw(0x7f).dq(addr('gdt'));
    a.align(8).label('idt_pointer').dw(0xfff).dq(addr('idt'));
    // Big enough for both layouts; no I/O permission map.
    for (const tss of ['tss', 'tss32', 'other_tss32']) a.align(128).label(tss).reserve(0x66).dw(0x68).align(128);
  });
  for (const [name, pages] of [
    ['page_pml4', 1],
    ['page_pdpt', 1],
    ['page_directories', 4],
    ['area_table', 1],
    ['idt', 1],
    ['guest_idt', 1],
  ] as const)
    reserve(k, name, pages * PAGE, PAGE);
  reserve(k, 'multiboot_info', 8);
  reserve(k, 'stack', 4 * PAGE, PAGE);
  image.within('.bss', () => {
    a.label('stack_top');
  });
  reserve(k, 'guest_stack', 2 * PAGE, PAGE);
  image.within('.bss', () => {
    a.label('guest_stack_top').reserve(16);
  });
}

const WITH_ERROR_CODE = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];

/** The host's IDT: what comes unexpected ends the run, what `fault_resume` expects goes on there. External interrupts are counted. */
function interrupts(k: BareKernel): void {
  const { a } = k;
  for (const name of ['fault_resume', 'fault_vector', 'fault_error', 'interrupts_taken', 'interrupt_vector']) reserve(k, name, 8);
  k.image.section('.text');
  a.align(16).label('host_stubs');
  for (let v = 0; v < 256; v++) {
    if (!WITH_ERROR_CODE.includes(v)) a.push(0);
    else a.nop().nop();
    a.push(v).jmp('host_trap').align(16);
  }
  a.label('host_trap').push(rax).push(rcx).push(rdx);
  // [rdx rcx rax vector error rip cs rflags rsp ss]
  const slot = (n: number): Mem<64> => mem64(rsp, { disp: n * 8 });
  a.mov(rax, slot(3)).cmp(eax, 32).jae('.interrupt');
  a.cmp(eax, 2).je('.interrupt');
  a.mov(at64('fault_vector'), rax).mov(rax, slot(4)).mov(at64('fault_error'), rax);
  a.mov(rax, at64('fault_resume')).test(rax, rax).jz('.unexpected');
  a.mov(at64('fault_resume'), 0).mov(slot(5), rax).jmp('.out');
  a.label('.interrupt').mov(at64('interrupt_vector'), rax).inc(at64('interrupts_taken'));
  a.cmp(eax, 2)
    .je('.out')
    .mov(ecx, APIC.base)
    .mov(mem32(rcx, { disp: APIC.eoi }), 0);
  a.label('.out').pop(rdx).pop(rcx).pop(rax).add(rsp, 16).iretq();
  a.label('.unexpected');
  print(k, '\nError: exception ');
  a.mov(rax, slot(3)).call('print_hex');
  print(k, ' error code ');
  a.mov(rax, slot(4)).call('print_hex');
  print(k, ' at ');
  a.mov(rax, slot(5)).call('print_hex');
  print(k, '\n');
  a.mov(eax, 2).jmp('exit');

  // RDI: an IDT of 256 gates; RSI: stubs of 16 bytes each.
  routine(k, 'fill_idt', () => {
    a.mov(ecx, 256).label('.gate');
    a.movzx(eax, si)
      .or(eax, SELECTOR.code << 16)
      .mov(mem32(rdi), eax);
    a.mov(eax, esi)
      .and(eax, 0xffff_0000)
      .or(eax, 0x8e00)
      .mov(mem32(rdi, { disp: 4 }), eax);
    a.mov(mem64(rdi, { disp: 8 }), 0)
      .add(rdi, 16)
      .add(rsi, 16)
      .dec(ecx)
      .jnz('.gate');
  });
  routine(k, 'idt_init', () => {
    a.lea(rdi, at('idt')).lea(rsi, at('host_stubs')).call('fill_idt').lidt(at('idt_pointer'));
  });
  // Both PICs masked, the local APIC on (vector 0xff for spurious interrupts) with its timer and LINT pins as the firmware left them: masked.
  routine(k, 'quiet', () => {
    // Eight bits, no parity, one stop bit: a loader may have left the port as it was.
    a.mov(edx, COM1 + 3)
      .mov(eax, 3)
      .out(dx, al);
    a.mov(eax, 0xff).out(0x21, al).out(0xa1, al);
    a.mov(ebx, APIC.base).mov(mem32(rbx, { disp: APIC.svr }), 0x1ff);
    for (const lvt of [0x320, 0x350, 0x360]) a.mov(mem32(rbx, { disp: lvt }), 0x1_0000);
    a.mov(mem32(rbx, { disp: APIC.tpr }), 0);
  });
  // Lets one pending interrupt in.
  routine(k, 'take_interrupts', () => {
    a.sti().nop().nop().cli();
  });
  // RAX: CPU's own APIC ID into the ICR's destination; EDX: the low word.
  routine(k, 'send_ipi', () => {
    a.mov(ebx, APIC.base)
      .mov(eax, mem32(rbx, { disp: APIC.id }))
      .mov(mem32(rbx, { disp: APIC.icrHigh }), eax);
    a.mov(mem32(rbx, { disp: APIC.icrLow }), edx);
  });
}

function console(k: BareKernel): void {
  const { a } = k;
  reserve(k, 'digits', 24);
  routine(k, 'putc', () => {
    a.push(rdx)
      .push(rax)
      .mov(edx, COM1 + 5)
      .label('.wait')
      .in(al, dx)
      .test(al, 0x20)
      .jz('.wait');
    a.pop(rax).mov(edx, COM1).out(dx, al).pop(rdx);
  });
  // RSI: a zero-terminated string.
  routine(k, 'print', () => {
    a.push(rax).push(rsi).label('.next').mov(al, mem8(rsi)).test(al, al).jz('.end').inc(rsi).call('putc').jmp('.next');
    a.label('.end').pop(rsi).pop(rax);
  });
  // RAX, in hexadecimal.
  routine(k, 'print_hex', () => {
    for (const r of [rax, rcx, rdx, rdi, rsi]) a.push(r);
    a.lea(rdi, at('digits', 23)).mov(mem8(rdi), 0);
    a.label('.digit').mov(edx, eax).and(edx, 15).cmp(dl, 10).jb('.decimal').add(dl, 39);
    a.label('.decimal').add(dl, 0x30).dec(rdi).mov(mem8(rdi), dl).shr(rax, 4).jnz('.digit');
    print(k, '0x');
    a.mov(rsi, rdi).call('print');
    for (const r of [rsi, rdi, rdx, rcx, rax]) a.pop(r);
  });
  // RAX, in decimal.
  routine(k, 'print_dec', () => {
    for (const r of [rax, rcx, rdx, rdi, rsi]) a.push(r);
    a.lea(rdi, at('digits', 23)).mov(mem8(rdi), 0).mov(ecx, 10);
    a.label('.digit').xor(edx, edx).div(rcx).add(dl, 0x30).dec(rdi).mov(mem8(rdi), dl).test(rax, rax).jnz('.digit');
    a.mov(rsi, rdi).call('print');
    for (const r of [rsi, rdi, rdx, rcx, rax]) a.pop(r);
  });
  // RSI: a string; AL is 1 where the command line (Multiboot 3.3) has it as one of its words.
  routine(k, 'in_command_line', () => {
    for (const r of [rbx, rcx, rdi]) a.push(r);
    a.xor(eax, eax)
      .mov(edi, at32('multiboot_info'))
      .test(mem32(rdi), 4)
      .jz('.end')
      .mov(edi, mem32(rdi, { disp: 16 }));
    a.label('.word').mov(rbx, rsi);
    a.label('.byte')
      .mov(cl, mem8(rdi))
      .mov(al, mem8(rbx))
      .cmp(cl, 0x20)
      .jbe('.stop')
      .cmp(cl, al)
      .jne('.over')
      .inc(rdi)
      .inc(rbx)
      .jmp('.byte');
    a.label('.stop').test(al, al).jz('.found');
    a.label('.over').mov(cl, mem8(rdi)).cmp(cl, 0x20).jbe('.space').inc(rdi).jmp('.over');
    a.label('.space').test(cl, cl).jz('.none').inc(rdi).jmp('.word');
    a.label('.found').mov(eax, 1).jmp('.end').label('.none').xor(eax, eax);
    a.label('.end');
    for (const r of [rdi, rcx, rbx]) a.pop(r);
  });
  // EAX: the exit code. QEMU's isa-debug-exit and this project's machine at 0xf4, Bochs' by its word at 0x8900.
  k.image.section('.text');
  a.label('exit')
    .mov(edx, 0xf4)
    .out(dx, al)
    .lea(rsi, at(text(k, 'Shutdown')))
    .mov(edx, 0x8900);
  a.mov(ecx, 8).rep().outsb();
  a.label('.halt').cli().hlt().jmp('.halt');
}
