// A hypervisor of a few hundred bytes for VT-x: VMXON, one VMCS of a 64-bit guest that shares the host's page tables, entry, and what an exit left.
// Rows (rows.ts) change the VMCS and look at it afterwards.
//
// The kit asks the capability MSRs what may be set, so one kernel runs from the first processors with VT-x to the last.
import {
  type Assembler,
  addr,
  at,
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
  rsp,
  type Sym,
  ss,
} from '../../asm/index.ts';
import { APIC, AREA, type BareKernel, reserve, routine, SELECTOR } from './bare.ts';
import { type Access, call, expectMemory, need, type Step } from './rows.ts';
import { ENTRY, EXIT, PROC, VMCS, type VmcsField } from './vmcs.ts';

const PAGE = 4096;
const FEATURE_CONTROL = 0x3a;
const EFER = 0xc000_0080;

/** Where a general register of the guest's lies after the exit, and what it begins with. */
export const guestReg = (nr: number): Sym => addr('guest_regs', nr * 8);
const HELD = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const held = HELD.map((nr) => generalRegister(64, nr));

export const put = (field: VmcsField, value: Imm): Step => ({ op: 'setField', where: VMCS[field], value });
export const set = (field: VmcsField, bits: Imm): Step => ({ op: 'orField', where: VMCS[field], value: bits });
export const clear = (field: VmcsField, bits: Imm): Step => ({ op: 'clearField', where: VMCS[field], value: bits });
export const find = (field: VmcsField, value: Imm, mask?: Imm): Step => ({
  op: 'field',
  where: VMCS[field],
  value,
  text: field,
  ...(mask === undefined ? {} : { mask }),
});

/** 0: an exit; 0x100: VMfailInvalid; 0x200 and the VM-instruction error: VMfailValid. */
export const OUTCOME = { exit: 0, invalid: 0x100, valid: 0x200 } as const;
export const expectOutcome = (outcome: number): Step => expectMemory('outcome', addr('outcome'), outcome);

/** Variables with the capability MSRs: controls have what may be 1 in their upper half (appendix A.2). */
const CAPABILITIES = [
  ['cap_basic', 0x480],
  ['cap_misc', 0x485],
  ['cap_cr4_fixed1', 0x489],
] as const;
const CONTROLS = [
  ['cap_pin', 0x481, 0x48d],
  ['cap_proc', 0x482, 0x48e],
  ['cap_exit', 0x483, 0x48f],
  ['cap_entry', 0x484, 0x490],
] as const;
export const high = (bits: number): bigint => BigInt(bits >>> 0) << 32n;
export const needPin = (bits: number): Step => need('cap_pin', high(bits), 'pin-based control');
export const needProc = (bits: number): Step => need('cap_proc', high(bits), 'processor-based control');
export const needExit = (bits: number): Step => need('cap_exit', high(bits), 'exit control');
export const needEntry = (bits: number): Step => need('cap_entry', high(bits), 'entry control');

/** Sets these controls, or skips the row where they cannot be. */
export const pin = (bits: number): Step[] => [needPin(bits), set('PIN_CONTROLS', bits)];
export const proc = (bits: number): Step[] => [needProc(bits), set('PROC_CONTROLS', bits)];
export const proc2 = (bits: number): Step[] => [
  ...proc(PROC.secondary),
  need('cap_proc2', high(bits), 'secondary control'),
  set('PROC2_CONTROLS', bits),
];
export const exitControl = (bits: number): Step[] => [needExit(bits), set('EXIT_CONTROLS', bits)];
export const entryControl = (bits: number): Step[] => [needEntry(bits), set('ENTRY_CONTROLS', bits)];
/** EPT that maps everything to itself, AREA.pages in pages of 4 KiB at `ept_pt`. */
export const withEpt = (more = 0): Step[] => [...proc2(2 | more), call('ept_reset')];

export const vmxAccess: Access = {
  read: (a) => a.vmread(rax, rdx),
  write: (a) => a.vmwrite(rdx, rax),
};

/** Access rights as a VMCS has them (25.4.1). */
export const RIGHTS = {
  code64: 0xa09b,
  code32: 0xc09b,
  code16: 0x009b,
  data: 0xc093,
  tss: 0x8b,
  tss16: 0x83,
  ldt: 0x82,
  unusable: 0x1_0000,
  userCode: 0xa0fb,
  userData: 0xc0f3,
} as const;

const segment = (
  name: 'ES' | 'CS' | 'SS' | 'DS' | 'FS' | 'GS' | 'LDTR' | 'TR',
  selector: number,
  rights: number,
  limit: number,
  base: Imm,
) =>
  [
    [`GUEST_${name}_SELECTOR`, selector],
    [`GUEST_${name}_ACCESS_RIGHTS`, rights],
    [`GUEST_${name}_LIMIT`, limit],
    [`GUEST_${name}_BASE`, base],
  ] as const satisfies readonly (readonly [VmcsField, Imm])[];

/** What does not depend on the processor: a guest in 64-bit mode at CPL 0, every exception exits. */
const BASELINE: readonly (readonly [VmcsField, Imm])[] = [
  ['EXCEPTION_BITMAP', 0xffff_ffff],
  ['PF_ERROR_MASK', 0],
  ['PF_ERROR_MATCH', 0],
  ['CR3_TARGET_COUNT', 0],
  ['EXIT_MSR_STORE_COUNT', 0],
  ['EXIT_MSR_LOAD_COUNT', 0],
  ['ENTRY_MSR_LOAD_COUNT', 0],
  ['ENTRY_INTR_INFO', 0],
  ['ENTRY_EXCEPTION_ERROR_CODE', 0],
  ['ENTRY_INSTRUCTION_LENGTH', 0],
  ['CR0_MASK', 0],
  ['CR4_MASK', 0],
  ['CR0_SHADOW', 0],
  ['CR4_SHADOW', 0],
  ['CR3_TARGET0', 0],
  ['TSC_OFFSET', 0],
  ['VMCS_LINK_POINTER', -1],
  ['GUEST_IA32_DEBUGCTL', 0],
  ...segment('CS', SELECTOR.code, RIGHTS.code64, 0xffff_ffff, 0),
  ...(['ES', 'SS', 'DS', 'FS', 'GS'] as const).flatMap((s) => segment(s, SELECTOR.data, RIGHTS.data, 0xffff_ffff, 0)),
  ...segment('LDTR', 0, RIGHTS.unusable, 0, 0),
  ...segment('TR', SELECTOR.tss, RIGHTS.tss, 0x67, addr('tss')),
  ['GUEST_GDTR_BASE', addr('gdt')],
  ['GUEST_GDTR_LIMIT', 0x7f],
  ['GUEST_IDTR_BASE', addr('guest_idt')],
  ['GUEST_IDTR_LIMIT', 0xfff],
  ['GUEST_INTERRUPTIBILITY', 0],
  ['GUEST_ACTIVITY', 0],
  ['GUEST_SYSENTER_CS', 0],
  ['GUEST_SYSENTER_ESP', 0],
  ['GUEST_SYSENTER_EIP', 0],
  ['GUEST_DR7', 0x400],
  ['GUEST_RSP', addr('guest_stack_top')],
  ['GUEST_RFLAGS', 2],
  ['GUEST_PENDING_DEBUG', 0],
  ['HOST_CS_SELECTOR', SELECTOR.code],
  ...(['ES', 'SS', 'DS', 'FS', 'GS'] as const).map((s) => [`HOST_${s}_SELECTOR`, SELECTOR.data] as const),
  ['HOST_TR_SELECTOR', SELECTOR.tss],
  ['HOST_FS_BASE', 0],
  ['HOST_GS_BASE', 0],
  ['HOST_TR_BASE', addr('tss')],
  ['HOST_GDTR_BASE', addr('gdt')],
  ['HOST_IDTR_BASE', addr('idt')],
  ['HOST_SYSENTER_CS', 0],
  ['HOST_SYSENTER_ESP', 0],
  ['HOST_SYSENTER_EIP', 0],
  ['HOST_RIP', addr('vm_exit')],
];

/** The guest as a 32-bit one with paging of two levels and pages of 4 MiB, for task switches. */
export const guest32: readonly Step[] = [
  ...segment('CS', SELECTOR.code32, RIGHTS.code32, 0xffff_ffff, 0),
  ...segment('TR', SELECTOR.tss32, RIGHTS.tss, 0x67, addr('tss32')),
].map(([f, v]) => put(f, v));
export const guest32Mode: readonly Step[] = [
  ...guest32,
  clear('ENTRY_CONTROLS', ENTRY.ia32e),
  put('GUEST_CR3', addr('guest_pd32')),
  clear('GUEST_CR4', 0x20),
  set('GUEST_CR4', 0x10),
];
/** CPL 3 in 64-bit mode. */
export const guestUser: readonly Step[] = [
  ...segment('CS', SELECTOR.userCode, RIGHTS.userCode, 0xffff_ffff, 0),
  ...segment('SS', SELECTOR.userData, RIGHTS.userData, 0xffff_ffff, 0),
  ...(['ES', 'DS', 'FS', 'GS'] as const).flatMap((s) => segment(s, SELECTOR.userData, RIGHTS.userData, 0xffff_ffff, 0)),
].map(([f, v]) => put(f, v));

const vmwrite = (a: Assembler<64>, field: VmcsField, value: Imm): void => {
  a.mov(rax, value).mov(edx, VMCS[field]).vmwrite(rdx, rax);
};
const vmwriteRax = (a: Assembler<64>, field: VmcsField): void => {
  a.mov(edx, VMCS[field]).vmwrite(rdx, rax);
};

/** Flags of a VMX instruction into `outcome` (31.2). Changes RAX, RDX. */
export function noteOutcome(k: BareKernel): void {
  const { a } = k;
  const [valid, invalid, end] = ['valid', 'invalid', 'noted'].map((s) => a.fresh(s)) as [string, string, string];
  a.jc(invalid).jz(valid).mov(at64('outcome'), OUTCOME.exit).jmp(end);
  a.label(invalid).mov(at64('outcome'), OUTCOME.invalid).jmp(end);
  a.label(valid).mov(edx, VMCS.VM_INSTRUCTION_ERROR).vmread(rax, rdx).or(eax, OUTCOME.valid).mov(at64('outcome'), rax);
  a.label(end);
}

export function vmxRoutines(k: BareKernel): void {
  const { a } = k;
  for (const [name, pages] of [
    ['vmxon_region', 1],
    ['vmcs', 1],
    ['other_vmcs', 1],
    ['io_bitmaps', 2],
    ['msr_bitmap', 1],
    ['virtual_apic', 1],
    ['msr_area', 1],
    ['ept_pml4', 1],
    ['ept_pdpt', 1],
    ['ept_pd', 4],
    ['ept_pt', 1],
    ['eptp_list', 1],
    ['pml_log', 1],
    ['ve_information', 1],
    ['guest_pd32', 1],
  ] as const)
    reserve(k, name, pages * PAGE, PAGE);
  reserve(k, 'guest_regs', 128);
  for (const [name] of [...CAPABILITIES, ...CONTROLS]) reserve(k, name, 8);
  for (const name of [
    'cap_proc2',
    'cap_ept',
    'cap_vmfunc',
    'cap_cpuid',
    'cap_cpuid7',
    'outcome',
    'cr2_after',
    'eptp',
    'gdtr_after',
    'gdtr_more',
  ])
    reserve(k, name, 8);
  k.image.section('.text');
  a.align(16).label('guest_stubs');
  for (let v = 0; v < 256; v++) a.mov(eax, v).vmcall().align(16);

  const readMsr = (msr: number, into: string) => a.mov(ecx, msr).rdmsr().shl(rdx, 32).or(rax, rdx).mov(at64(into), rax);
  routine(k, 'vmx_init', () => {
    a.push(rbx);
    // CPUID 1 ECX, in the upper half EDX; 7 EBX.
    a.mov(eax, 1).cpuid().shl(rdx, 32).or(rcx, rdx).mov(at64('cap_cpuid'), rcx);
    a.xor(eax, eax).cpuid().cmp(eax, 7).jb('.old').mov(eax, 7).xor(ecx, ecx).cpuid().mov(at64('cap_cpuid7'), rbx).label('.old');
    // The firmware may have left VMX locked in or out, or to us (24.7).
    a.mov(ecx, FEATURE_CONTROL).rdmsr().test(eax, 1).jnz('.locked').or(eax, 5).wrmsr().label('.locked');
    for (const [name, msr] of CAPABILITIES) readMsr(msr, name);
    for (const [name, msr, precise] of CONTROLS) {
      readMsr(msr, name);
      // Bit 55 of IA32_VMX_BASIC: the TRUE capability MSRs say which default1 bits may be 0 after all (A.2).
      const plain = a.fresh('plain');
      a.bt(at64('cap_basic'), 55).jnc(plain);
      readMsr(precise, name);
      a.label(plain);
    }
    a.bt(at64('cap_proc'), 63).jnc('.no_secondary');
    readMsr(0x48b, 'cap_proc2');
    a.test(at32('cap_proc2', 4), 0x22).jz('.no_ept');
    readMsr(0x48c, 'cap_ept');
    a.label('.no_ept').bt(at64('cap_proc2'), 45).jnc('.no_secondary');
    readMsr(0x491, 'cap_vmfunc');
    a.label('.no_secondary');
    a.mov(rax, cr4).bts(rax, 13).mov(cr4, rax);
    for (const region of ['vmxon_region', 'vmcs', 'other_vmcs']) a.mov(eax, at32('cap_basic')).and(eax, 0x7fff_ffff).mov(at32(region), eax);
    a.lea(rax, at('vmxon_region')).mov(at64('outcome'), rax).vmxon(at64('outcome'));
    noteOutcome(k);
    a.lea(rdi, at('guest_idt')).lea(rsi, at('guest_stubs')).call('fill_idt');
    a.mov(edi, addr('guest_pd32')).mov(eax, 0x87).mov(ecx, 1024).label('.pd32');
    a.mov(mem32(rdi), eax).add(eax, 0x40_0000).add(rdi, 4).dec(ecx).jnz('.pd32');
    a.pop(rbx);
  });

  const pointTo = (label: string) => a.lea(rax, at(label)).mov(at64('outcome'), rax);
  routine(k, 'vmcs_load', () => {
    pointTo('vmcs').vmclear(at64('outcome')).vmptrld(at64('outcome'));
    noteOutcome(k);
  });
  routine(k, 'vmx_reset', () => {
    const zero = (label: string, pages: number) =>
      a
        .lea(rdi, at(label))
        .xor(eax, eax)
        .mov(ecx, pages * 512)
        .rep()
        .stosq();
    zero('guest_stack', 2);
    zero('io_bitmaps', 2);
    zero('msr_bitmap', 1);
    zero('virtual_apic', 1);
    zero('msr_area', 1);
    a.lea(rdi, at('guest_regs')).xor(eax, eax).mov(ecx, 16).rep().stosq();
    a.call('area_reset').call('gdt_reset').call('vmcs_load');
    for (const [field, value] of BASELINE) vmwrite(a, field, value);
    // Controls: what must be 1, and what 64-bit hosts and guests need.
    for (const [field, capability, wanted] of [
      ['PIN_CONTROLS', 'cap_pin', 0],
      ['PROC_CONTROLS', 'cap_proc', 0],
      ['EXIT_CONTROLS', 'cap_exit', EXIT.host64],
      ['ENTRY_CONTROLS', 'cap_entry', ENTRY.ia32e],
    ] as const) {
      a.mov(eax, at32(capability)).or(eax, wanted);
      vmwriteRax(a, field);
    }
    a.bt(at64('cap_proc'), 63).jnc('.no_secondary').xor(eax, eax);
    vmwriteRax(a, 'PROC2_CONTROLS');
    a.label('.no_secondary');
    for (const [register, guest, host] of [
      [cr0, 'GUEST_CR0', 'HOST_CR0'],
      [cr3, 'GUEST_CR3', 'HOST_CR3'],
      [cr4, 'GUEST_CR4', 'HOST_CR4'],
    ] as const) {
      a.mov(rax, register);
      vmwriteRax(a, guest);
      vmwriteRax(a, host);
    }
    for (const [field, label] of [
      ['IO_BITMAP_A', 'io_bitmaps'],
      ['MSR_BITMAP', 'msr_bitmap'],
      ['EXIT_MSR_STORE_ADDR', 'msr_area'],
      ['EXIT_MSR_LOAD_ADDR', 'msr_area'],
      ['ENTRY_MSR_LOAD_ADDR', 'msr_area'],
    ] as const)
      vmwrite(a, field, addr(label));
    vmwrite(a, 'IO_BITMAP_B', addr('io_bitmaps', PAGE));
    // Not written where the processor has no such field: VMWRITE would fail, and says so in the flags alone.
    vmwrite(a, 'VIRTUAL_APIC_PAGE_ADDR', addr('virtual_apic'));
    vmwrite(a, 'APIC_ACCESS_ADDR', AREA.pages + 0x7000);
    vmwrite(a, 'TPR_THRESHOLD', 0);
    a.mov(at64('outcome'), 0xfff);
  });
  routine(k, 'area_reset', () => {
    a.mov(edi, addr('area_table'))
      .mov(eax, AREA.pages | 7)
      .mov(ecx, 512)
      .label('.pt');
    a.mov(mem64(rdi), rax).add(eax, PAGE).add(rdi, 8).dec(ecx).jnz('.pt').call('flush');
  });
  routine(k, 'flush', () => {
    a.mov(rax, cr3).mov(cr3, rax);
  });
  // TSS descriptors are available again, but for the one in TR; limits that an exit has widened are narrow again.
  routine(k, 'gdt_reset', () => {
    a.mov(at32('gdt', SELECTOR.tss32 + 4), 0x8900).mov(at32('gdt', SELECTOR.otherTss32 + 4), 0x8900);
    for (const [selector, tss] of [
      [SELECTOR.tss32, 'tss32'],
      [SELECTOR.otherTss32, 'other_tss32'],
    ] as const)
      a.lea(rdi, at('gdt', selector)).lea(rax, at(tss)).call('tss_base');
  });
  routine(k, 'ept_reset', () => {
    // Read, write, execute; write-back; a leaf.
    a.mov(edi, addr('ept_pd')).mov(eax, 0xb7).mov(ecx, 2048).label('.pd');
    a.mov(mem64(rdi), rax).add(rax, 0x20_0000).add(rdi, 8).dec(ecx).jnz('.pd');
    a.mov(edi, addr('ept_pt'))
      .mov(eax, AREA.pages | 0x37)
      .mov(ecx, 512)
      .label('.pt');
    a.mov(mem64(rdi), rax).add(eax, PAGE).add(rdi, 8).dec(ecx).jnz('.pt');
    a.mov(eax, addr('ept_pt'))
      .or(eax, 7)
      .mov(at64('ept_pd', (AREA.pages >>> 21) * 8), rax);
    for (let i = 0; i < 4; i++)
      a.mov(eax, addr('ept_pd', i * PAGE))
        .or(eax, 7)
        .mov(at64('ept_pdpt', i * 8), rax);
    a.mov(eax, addr('ept_pdpt')).or(eax, 7).mov(at64('ept_pml4'), rax);
    // Four levels, write-back.
    a.mov(eax, addr('ept_pml4')).or(eax, 0x1e).mov(at64('eptp'), rax);
    vmwriteRax(a, 'EPT_POINTER');
    a.call('ept_flush');
  });
  // All contexts.
  routine(k, 'ept_flush', () => {
    a.push(0)
      .push(0)
      .mov(eax, 2)
      .invept(rax, { ...mem64(rsp), size: 'any' })
      .add(rsp, 16);
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
  const nx = (name: string, on: boolean) =>
    routine(k, name, () => {
      a.mov(ecx, EFER).rdmsr();
      if (on) a.or(eax, 0x800);
      else a.and(eax, ~0x800);
      a.wrmsr();
    });
  nx('enable_nx', true);
  nx('disable_nx', false);
  routine(k, 'apic_eoi', () => {
    a.mov(eax, APIC.base).mov(mem32(rax, { disp: APIC.eoi }), 0);
  });
  // An exit by an NMI blocks NMIs until IRET (28.5.5).
  routine(k, 'unblock_nmi', () => {
    a.mov(rax, rsp).push(SELECTOR.data).push(rax).pushf().push(SELECTOR.code).lea(rax, at('.over')).push(rax).iretq().label('.over');
  });
  // Every EPT leaf has its accessed and dirty flags, so that nothing more is logged.
  routine(k, 'ept_all_dirty', () => {
    for (const [table, entries] of [
      ['ept_pd', 2048],
      ['ept_pt', 512],
    ] as const) {
      const next = a.fresh('next');
      const table2M = a.fresh('table');
      a.mov(edi, addr(table)).mov(ecx, entries).label(next);
      if (table === 'ept_pd') a.test(mem32(rdi), 0x80).jz(table2M);
      a.or(mem32(rdi), 0x300).label(table2M).add(rdi, 8).dec(ecx).jnz(next);
    }
    for (const table of ['ept_pml4', 'ept_pdpt']) a.or(at32(table), 0x100);
    for (let i = 1; i < 4; i++) a.or(at32('ept_pdpt', i * 8), 0x100);
    a.or(at32('ept_pd', (AREA.pages >>> 21) * 8), 0x100);
  });
  routine(k, 'eptp_list_fill', () => {
    a.mov(rax, at64('eptp')).mov(at64('eptp_list'), rax);
  });
  // The guest goes on behind the instruction that exited.
  routine(k, 'skip_instruction', () => {
    a.mov(edx, VMCS.EXIT_INSTRUCTION_LENGTH).vmread(rcx, rdx).mov(edx, VMCS.GUEST_RIP).vmread(rax, rdx).add(rax, rcx).vmwrite(rdx, rax);
  });
  routine(k, 'note_gdtr', () => {
    a.sgdt(at('gdtr_after'));
  });

  // Runs the guest once by VMLAUNCH; `enter_again` by VMRESUME. Interrupts are off before and after.
  const enter = (name: string, launch: boolean, movSs = false) =>
    routine(k, name, () => {
      for (const r of [rbx, rbp, ...[12, 13, 14, 15].map((n) => generalRegister(64, n))]) a.push(r);
      a.mov(edx, VMCS.HOST_RSP).vmwrite(rdx, rsp).lea(r15, at('guest_regs'));
      for (const r of held) if (r.nr !== 15) a.mov(r, mem64(r15, { disp: r.nr * 8 }));
      a.mov(r15, at64('guest_regs', 15 * 8));
      if (movSs) a.mov(eax, SELECTOR.data);
      if (movSs) a.mov(ss, generalRegister(16, 0));
      if (launch) a.vmlaunch();
      else a.vmresume();
      noteOutcome(k);
      a.jmp('vm_restore');
    });
  enter('enter', true);
  enter('enter_again', false);
  enter('enter_mov_ss', true, true);
  k.image.section('.text');
  a.align(16)
    .label('vm_exit')
    .mov(at64('guest_regs', 15 * 8), r15)
    .lea(r15, at('guest_regs'));
  for (const r of held) if (r.nr !== 15) a.mov(mem64(r15, { disp: r.nr * 8 }), r);
  a.mov(at64('outcome'), OUTCOME.exit);
  a.label('vm_restore');
  for (const r of [15, 14, 13, 12].map((n) => generalRegister(64, n))) a.pop(r);
  a.pop(rbp).pop(rbx).ret();
}
