// A hypervisor of a few hundred bytes for SVM: it switches SVM on, lays out a VMCB of a 64-bit guest that shares the host's page tables, enters
// and keeps what an exit left. Rows (rows.ts) change that VMCB and look at it afterwards.
import {
  addr,
  at,
  at8,
  at32,
  at64,
  cr0,
  cr3,
  cr4,
  eax,
  ecx,
  edi,
  edx,
  generalRegister,
  type Imm,
  mem8,
  mem16,
  mem32,
  mem64,
  r15,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  type Sym,
} from '../../asm/index.ts';
import { AREA, type BareKernel, reserve, routine, SELECTOR } from './bare.ts';
import { expectMemory, type Step, store } from './rows.ts';
import { VMCB, VMCB_SEGMENT, type VmcbField, type VmcbName } from './vmcb.ts';

const EFER = 0xc000_0080;
const EFER_SVME = 0x1000;
const EFER_NXE = 0x800;
const VM_HSAVE_PA = 0xc001_0117;
const PAGE = 4096;

/** Guest registers that the VMCB does not hold, in the order in which they lie at `guest_regs` (RAX and RSP are the VMCB's). */
const HELD = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as const;
const held = HELD.map((nr) => generalRegister(64, nr));
/** Where a register of the guest's lies. */
export const guestReg = (nr: (typeof HELD)[number]): Sym => addr('guest_regs', nr * 8);

type Segment = keyof typeof VMCB_SEGMENT;
export const field = (name: VmcbName | VmcbField): VmcbField => (typeof name === 'string' ? VMCB[name] : name);
/** Writes a field of the VMCB before the entry. */
export const put = (name: VmcbName | VmcbField, value: Imm): Step => {
  const [offset, bytes] = field(name);
  return store(addr('vmcb', offset), value, bytes);
};
/** A field's value after the exit. */
export const find = (name: VmcbName, value: Imm, mask?: Imm): Step => {
  const [offset, bytes] = VMCB[name];
  return expectMemory(name, addr('vmcb', offset), value, bytes, mask);
};

/** Attributes as a VMCB has them: descriptor bits 40 to 47 and 52 to 55 (APM Vol 2, 15.5.1). */
export const ATTRIBUTES = { code64: 0xa9b, code32: 0xc9b, code16: 0x09b, data: 0xc93, tss64: 0x8b, tss32: 0x8b, ldt: 0x82 } as const;

const segmentOf = (name: Segment, selector: number, attributes: number, limit: number, base: Imm): [VmcbField, Imm][] => {
  const s = VMCB_SEGMENT[name];
  return [
    [s.selector, selector],
    [s.attributes, attributes],
    [s.limit, limit],
    [s.base, base],
  ];
};

/** A guest in 64-bit mode at CPL 0, on the host's page tables; CR0, CR3, CR4 and EFER are the host's own and are added at run time. */
const baseline: readonly [VmcbField, Imm][] = [
  [VMCB.intercepts4, 1 | 2],
  [VMCB.asid, 1],
  [VMCB.iopmBase, addr('iopm')],
  [VMCB.msrpmBase, addr('msrpm')],
  [VMCB.interceptExceptions, 0xffff_ffff],
  ...segmentOf('cs', SELECTOR.code, ATTRIBUTES.code64, 0xffff_ffff, 0),
  ...(['es', 'ss', 'ds', 'fs', 'gs'] as const).flatMap((s) => segmentOf(s, SELECTOR.data, ATTRIBUTES.data, 0xffff_ffff, 0)),
  ...segmentOf('gdtr', 0, 0, 0x7f, addr('gdt')),
  ...segmentOf('idtr', 0, 0, 0xfff, addr('guest_idt')),
  ...segmentOf('ldtr', 0, 0, 0, 0),
  ...segmentOf('tr', SELECTOR.tss, ATTRIBUTES.tss64, 0x67, addr('tss')),
  [VMCB.dr6, 0xffff_0ff0],
  [VMCB.dr7, 0x400],
  [VMCB.rflags, 2],
  [VMCB.rsp, addr('guest_stack_top')],
  [VMCB.guestPat, 0x0007_0406_0007_0406n],
];

/** The guest as a 32-bit one with paging of two levels, for task switches. */
export const guest32: readonly Step[] = [
  ...segmentOf('cs', SELECTOR.code32, ATTRIBUTES.code32, 0xffff_ffff, 0),
  ...segmentOf('tr', SELECTOR.tss32, ATTRIBUTES.tss32, 0x67, addr('tss32')),
  [VMCB.efer, EFER_SVME] as [VmcbField, Imm],
  [VMCB.cr4, 0x10] as [VmcbField, Imm],
  [VMCB.cr3, addr('guest_pd32')] as [VmcbField, Imm],
].map(([f, v]) => put(f as VmcbField, v as Imm));

export function svmRoutines(k: BareKernel): void {
  const { a } = k;
  for (const [name, bytes] of [
    ['vmcb', PAGE],
    ['host_save', PAGE],
    ['other_vmcb', PAGE],
    ['iopm', 3 * PAGE],
    ['msrpm', 2 * PAGE],
    ['npt_pml4', PAGE],
    ['npt_pdpt', PAGE],
    ['npt_pd', 4 * PAGE],
    ['npt_pt', PAGE],
    ['guest_pd32', PAGE],
  ] as const)
    reserve(k, name, bytes, PAGE);
  reserve(k, 'guest_regs', 16 * 8);
  reserve(k, 'cap_svm', 8);
  reserve(k, 'cap_features', 8);
  reserve(k, 'host_asids', 8);
  reserve(k, 'cr2_after', 8);
  k.image.section('.text');
  a.align(16).label('guest_stubs');
  for (let v = 0; v < 256; v++) a.mov(eax, v).vmmcall().align(16);

  // What the processor can do; then SVM on, with a host save area (APM Vol 2, 15.4 and 15.30.4).
  routine(k, 'svm_init', () => {
    a.push(rbx);
    a.mov(eax, 0x8000_000a).cpuid().mov(at64('cap_svm'), rdx).mov(at64('host_asids'), rbx);
    // CPUID 1 ECX in the low half, 8000_0001 EDX in the high one.
    a.mov(eax, 1).cpuid().push(rcx).mov(eax, 0x8000_0001).cpuid().pop(rcx).shl(rdx, 32).or(rcx, rdx).mov(at64('cap_features'), rcx);
    a.mov(ecx, EFER).rdmsr().or(eax, EFER_SVME).wrmsr();
    a.mov(ecx, VM_HSAVE_PA).mov(eax, addr('host_save')).xor(edx, edx).wrmsr();
    a.lea(rdi, at('guest_idt')).lea(rsi, at('guest_stubs')).call('fill_idt');
    // 32-bit guests: 4 MiB pages.
    a.mov(edi, addr('guest_pd32')).mov(eax, 0x87).mov(ecx, 1024).label('.pd32');
    a.mov(mem32(rdi), eax).add(eax, 0x40_0000).add(rdi, 4).dec(ecx).jnz('.pd32');
    a.pop(rbx);
  });

  // Everything as at the first row.
  routine(k, 'svm_reset', () => {
    const clear = (label: string, bytes: number) =>
      a
        .lea(rdi, at(label))
        .xor(eax, eax)
        .mov(ecx, bytes / 8)
        .rep()
        .stosq();
    clear('vmcb', PAGE);
    clear('guest_regs', 128);
    clear('guest_stack', 2 * PAGE);
    clear('iopm', 3 * PAGE);
    clear('msrpm', 2 * PAGE);
    for (const [[offset, bytes], value] of baseline) {
      a.mov(rax, value);
      a.lea(rdi, at('vmcb', offset));
      if (bytes === 8) a.mov(mem64(rdi), rax);
      else if (bytes === 4) a.mov(mem32(rdi), eax);
      else if (bytes === 2) a.mov(mem16(rdi), generalRegister(16, 0));
      else a.mov(mem8(rdi), generalRegister(8, 0));
    }
    a.mov(rax, cr0).mov(at64('vmcb', VMCB.cr0[0]), rax);
    a.mov(rax, cr3).mov(at64('vmcb', VMCB.cr3[0]), rax);
    a.mov(rax, cr4).mov(at64('vmcb', VMCB.cr4[0]), rax);
    a.mov(ecx, EFER).rdmsr().shl(rdx, 32).or(rax, rdx).mov(at64('vmcb', VMCB.efer[0]), rax);
    a.call('area_reset');
  });
  // The page table of AREA.pages as it was at the start.
  routine(k, 'area_reset', () => {
    a.mov(edi, addr('area_table'))
      .mov(eax, AREA.pages | 7)
      .mov(ecx, 512)
      .label('.pt');
    a.mov(mem64(rdi), rax).add(eax, PAGE).add(rdi, 8).dec(ecx).jnz('.pt').mov(rax, cr3).mov(cr3, rax);
  });
  // Nested page tables: what is physical stays so, in 2 MiB pages, user and writable as nested walks are a user's; AREA.pages in 4 KiB.
  routine(k, 'npt_reset', () => {
    a.mov(edi, addr('npt_pd')).mov(eax, 0x87).mov(ecx, 2048).label('.pd');
    a.mov(mem64(rdi), rax).add(rax, 0x20_0000).add(rdi, 8).dec(ecx).jnz('.pd');
    a.mov(edi, addr('npt_pt'))
      .mov(eax, AREA.pages | 7)
      .mov(ecx, 512)
      .label('.pt');
    a.mov(mem64(rdi), rax).add(eax, PAGE).add(rdi, 8).dec(ecx).jnz('.pt');
    a.mov(eax, addr('npt_pt'))
      .or(eax, 7)
      .mov(at64('npt_pd', (AREA.pages >>> 21) * 8), rax);
    for (let i = 0; i < 4; i++)
      a.mov(eax, addr('npt_pd', i * PAGE))
        .or(eax, 7)
        .mov(at64('npt_pdpt', i * 8), rax);
    a.mov(eax, addr('npt_pdpt')).or(eax, 7).mov(at64('npt_pml4'), rax);
    a.mov(eax, 1).mov(at64('vmcb', VMCB.nestedPaging[0]), rax).mov(eax, addr('npt_pml4')).mov(at64('vmcb', VMCB.nestedCr3[0]), rax);
    a.mov(at8('vmcb', VMCB.tlbControl[0]), 1);
  });

  // Small things that rows call.
  routine(k, 'flush', () => {
    a.mov(rax, cr3).mov(cr3, rax);
  });
  const nx = (name: string, on: boolean) =>
    routine(k, name, () => {
      a.mov(ecx, EFER).rdmsr();
      if (on) a.or(eax, EFER_NXE).or(at32('vmcb', VMCB.efer[0]), EFER_NXE);
      else a.and(eax, ~EFER_NXE);
      a.wrmsr();
    });
  nx('enable_nx', true);
  nx('disable_nx', false);
  routine(k, 'set_am', () => {
    a.or(at32('vmcb', VMCB.cr0[0]), 0x4_0000);
  });
  routine(k, 'save_other', () => {
    a.mov(eax, addr('other_vmcb')).vmsave();
  });
  // The page table of AREA.pages, as a copy in page 5 of that area.
  routine(k, 'table_in_area', () => {
    a.lea(rsi, at('area_table'))
      .mov(edi, AREA.pages + 5 * PAGE)
      .mov(ecx, 512)
      .rep()
      .movsq();
    a.mov(eax, (AREA.pages + 5 * PAGE) | 7)
      .mov(at64('page_directories', (AREA.pages >>> 21) * 8), rax)
      .call('flush');
  });
  routine(k, 'table_back', () => {
    a.mov(eax, addr('area_table'))
      .or(eax, 7)
      .mov(at64('page_directories', (AREA.pages >>> 21) * 8), rax)
      .call('flush');
  });
  k.image.within('.data', () => {
    // Every x87 exception unmasked.
    a.align(8).label('fpu_all').dw(0x0340);
  });

  // Runs the guest once. Interrupts are off before and after; GIF is set again.
  routine(k, 'enter', () => {
    for (const r of [rbx, rbp, ...[12, 13, 14, 15].map((n) => generalRegister(64, n))]) a.push(r);
    a.lea(r15, at('guest_regs'));
    for (const r of held) if (r.nr !== 15) a.mov(r, mem64(r15, { disp: r.nr * 8 }));
    a.mov(r15, at64('guest_regs', 15 * 8))
      .mov(eax, addr('vmcb'))
      .vmrun();
    a.mov(at64('guest_regs', 15 * 8), r15).lea(r15, at('guest_regs'));
    for (const r of held) if (r.nr !== 15) a.mov(mem64(r15, { disp: r.nr * 8 }), r);
    a.stgi();
    for (const r of [15, 14, 13, 12].map((n) => generalRegister(64, n))) a.pop(r);
    a.pop(rbp).pop(rbx);
  });
}
