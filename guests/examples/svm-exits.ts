// Each intercept of SVM once (APM Vol 2, chapter 15): what the guest does, what makes it exit, and every field that the exit leaves.
import {
  type Assembler,
  addr,
  al,
  at,
  at16,
  ax,
  cr0,
  cr3,
  cr4,
  cr8,
  dr0,
  dr3,
  dr7,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  fs,
  type Imm,
  mem,
  mem32,
  mem64,
  r9,
  r10,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
} from '../asm/index.ts';
import { APIC, AREA, type BareKernel, SELECTOR } from '../kit/virt/bare.ts';
import { call, expectMemory, need, type Row, type Step, store, when } from '../kit/virt/rows.ts';
import { find, guest32, guestReg, put } from '../kit/virt/svm.ts';
import { SVM_EXIT, SVM_FEATURE, svmEvent, VMCB, VMCB_SEGMENT } from '../kit/virt/vmcb.ts';

type Code = (a: Assembler<64>) => unknown;
type ExitName = keyof typeof SVM_EXIT;

interface Case {
  readonly name: string;
  readonly manual: string;
  /** Runs before the instruction that exits. */
  readonly before?: Code;
  readonly code?: Code;
  /** Instead of both: a 32-bit guest. */
  readonly code32?: (a: Assembler<32>) => unknown;
  readonly before32?: (a: Assembler<32>) => unknown;
  /** Named intercepts of the words at 00C and 010. */
  readonly intercepts?: readonly ExitName[];
  readonly setup?: readonly Step[];
  readonly exit: ExitName | number;
  readonly info1?: Imm;
  readonly info2?: Imm;
  /** RIP that is left: at the instruction (the rule), behind it, or of no interest. */
  readonly rip?: 'at' | 'end' | 'any';
  /** The instruction is one whose successor the processor saves (15.7.1). */
  readonly nextRip?: boolean;
  /** EXITINTINFO; not valid where nothing is said. */
  readonly during?: Imm | 'any';
  /** Steps after the exit, before anything is checked. */
  readonly after?: readonly Step[];
  readonly finds?: readonly Step[];
}

const bitOf = (exit: ExitName): bigint => 1n << (BigInt(SVM_EXIT[exit]) - 0x60n);

/** Emits the guest's code and makes the row of it. */
function exitRow(k: BareKernel, c: Case): Row {
  const label = `svm_${c.name.replaceAll('-', '_')}`;
  k.image.within('.text', () => {
    k.a.align(16).label(label);
    if (c.code32 !== undefined) {
      c.before32?.(k.a32);
      k.a.label(`${label}_at`);
      c.code32(k.a32);
      k.a.label(`${label}_end`);
      k.a32.mov(eax, 0xdead).vmmcall();
      return;
    }
    c.before?.(k.a);
    k.a.label(`${label}_at`);
    c.code?.(k.a);
    k.a.label(`${label}_end`);
    // Who arrives here has not exited.
    k.a.mov(eax, 0xdead).vmmcall();
  });
  const words = (c.intercepts ?? []).reduce((bits, name) => bits | bitOf(name), 0n);
  const code = typeof c.exit === 'number' ? c.exit : SVM_EXIT[c.exit];
  const { rip = 'at', nextRip = false } = c;
  const steps: Step[] = [
    ...(c.code32 === undefined ? [] : guest32),
    put('rip', addr(label)),
    put('intercepts3', words & 0xffff_ffffn),
    put('intercepts4', (words >> 32n) | 3n),
    ...(c.setup ?? []),
    call('enter'),
    ...(c.after ?? []),
    find('exitCode', code),
    ...(c.info1 === undefined ? [] : [find('exitInfo1', c.info1)]),
    ...(c.info2 === undefined ? [] : [find('exitInfo2', c.info2)]),
    ...(rip === 'any' ? [] : [find('rip', addr(rip === 'at' ? `${label}_at` : `${label}_end`))]),
    ...(nextRip ? [when('cap_svm', SVM_FEATURE.NRIP), find('nextRip', addr(`${label}_end`))] : []),
    ...(c.during === 'any' ? [] : [find('exitIntInfo', c.during ?? 0, c.during === undefined ? 0x8000_0000 : undefined)]),
    ...(c.finds ?? []),
  ];
  return { name: c.name, manual: c.manual, steps };
}

const DECODE = SVM_FEATURE.DECODE;
/** A value that the processor gives where it has decode assists (15.33), zero elsewhere is not promised. */
const decoded = (name: 'exitInfo1' | 'exitInfo2', value: Imm, mask?: Imm): Step[] => [when('cap_svm', DECODE), find(name, value, mask)];

const insn = (name: string, intercept: ExitName, code: Code, more: Partial<Case> = {}): Case => ({
  name,
  manual: 'APM Vol 2, 15.9',
  code,
  intercepts: [intercept],
  exit: intercept,
  nextRip: true,
  ...more,
});

const A = AREA.pages;
const features = (half: 'ecx1' | 'edx80000001', bit: number): Step =>
  need('cap_features', 1n << BigInt(bit + (half === 'ecx1' ? 0 : 32)), `CPUID ${half} bit ${bit}`);

const instructions: readonly Case[] = [
  insn('cpuid', 'CPUID', (a) => a.cpuid()),
  insn('hlt', 'HLT', (a) => a.hlt()),
  insn('invd', 'INVD', (a) => a.invd()),
  insn('wbinvd', 'WBINVD', (a) => a.wbinvd()),
  insn('rdtsc', 'RDTSC', (a) => a.rdtsc()),
  insn('rdtscp', 'RDTSCP', (a) => a.rdtscp(), { setup: [features('edx80000001', 27)] }),
  insn('rdpmc', 'RDPMC', (a) => a.rdpmc(), { before: (a) => a.xor(ecx, ecx) }),
  insn('pushf', 'PUSHF', (a) => a.pushf()),
  insn('popf', 'POPF', (a) => a.popf(), { before: (a) => a.pushf() }),
  insn('iret', 'IRET', (a) => a.iretq(), { manual: 'APM Vol 2, 15.9: before it does anything' }),
  insn('swint', 'SWINT', (a) => a.int(0x80), { finds: decoded('exitInfo1', 0x80, 0xff) }),
  insn('pause', 'PAUSE', (a) => a.pause()),
  insn('invlpg', 'INVLPG', (a) => a.invlpg(mem(rax, { disp: 0x30 })), {
    before: (a) => a.mov(eax, A),
    finds: decoded('exitInfo1', A + 0x30),
  }),
  insn('invlpga', 'INVLPGA', (a) => a.invlpga(), { before: (a) => a.mov(eax, A).xor(ecx, ecx) }),
  insn('icebp', 'ICEBP', (a) => a.int1()),
  insn('monitor', 'MONITOR', (a) => a.monitor(), {
    before: (a) => a.mov(eax, A).xor(ecx, ecx).xor(edx, edx),
    setup: [features('ecx1', 3)],
  }),
  insn('mwait', 'MWAIT', (a) => a.mwait(), { before: (a) => a.xor(eax, eax).xor(ecx, ecx), setup: [features('ecx1', 3)] }),
  insn('mwait-armed', 'MWAIT_ARMED', (a) => a.mwait(), {
    before: (a) => a.mov(eax, A).xor(ecx, ecx).xor(edx, edx).monitor().xor(eax, eax),
    setup: [features('ecx1', 3)],
  }),
  insn('xsetbv', 'XSETBV', (a) => a.xsetbv(), {
    before: (a) => a.mov(rax, cr4).bts(rax, 18).mov(cr4, rax).mov(eax, 3).xor(edx, edx).xor(ecx, ecx),
    setup: [features('ecx1', 26)],
  }),
  insn('vmrun', 'VMRUN', (a) => a.vmrun(), { before: (a) => a.mov(eax, addr('other_vmcb')) }),
  insn('vmmcall', 'VMMCALL', (a) => a.vmmcall()),
  insn('vmload', 'VMLOAD', (a) => a.vmload(), { before: (a) => a.mov(eax, addr('other_vmcb')) }),
  insn('vmsave', 'VMSAVE', (a) => a.vmsave(), { before: (a) => a.mov(eax, addr('other_vmcb')) }),
  insn('stgi', 'STGI', (a) => a.stgi()),
  insn('clgi', 'CLGI', (a) => a.clgi()),
  insn('sgdt', 'GDTR_READ', (a) => a.sgdt(mem(rax)), { before: (a) => a.mov(eax, A) }),
  insn('sidt', 'IDTR_READ', (a) => a.sidt(mem(rax)), { before: (a) => a.mov(eax, A) }),
  insn('sldt', 'LDTR_READ', (a) => a.sldt(eax)),
  insn('str', 'TR_READ', (a) => a.str(eax)),
  insn('lgdt', 'GDTR_WRITE', (a) => a.lgdt(at('gdt_pointer'))),
  insn('lidt', 'IDTR_WRITE', (a) => a.lidt(at('idt_pointer'))),
  insn('lldt', 'LDTR_WRITE', (a) => a.lldt(ax), { before: (a) => a.xor(eax, eax) }),
  insn('ltr', 'TR_WRITE', (a) => a.ltr(ax), { before: (a) => a.mov(eax, SELECTOR.tss) }),
  insn('skinit', 'SKINIT', (a) => a.skinit(), { before: (a) => a.mov(eax, A) }),
  insn('rsm', 'RSM', (a) => a.rsm(), { manual: 'APM Vol 2, 15.9: before #UD outside SMM' }),
];

/** Exceptions that come before an intercept of an instruction (15.7): a user may not execute it, so there is nothing to intercept. */
const userCode: readonly Step[] = [
  put(VMCB_SEGMENT.cs.selector, SELECTOR.userCode),
  put(VMCB_SEGMENT.cs.attributes, 0xafb),
  put(VMCB_SEGMENT.ss.selector, SELECTOR.userData),
  put(VMCB_SEGMENT.ss.attributes, 0xcf3),
  put('cpl', 3),
];
const priorities: readonly Case[] = (
  [
    ['hlt', 'HLT', (a) => a.hlt()],
    ['invd', 'INVD', (a) => a.invd()],
    ['wbinvd', 'WBINVD', (a) => a.wbinvd()],
    ['clgi', 'CLGI', (a) => a.clgi()],
    ['vmload', 'VMLOAD', (a) => a.vmload()],
    ['lidt', 'IDTR_WRITE', (a) => a.lidt(at('idt_pointer'))],
    ['invlpg', 'INVLPG', (a) => a.invlpg(mem(rax))],
  ] as [string, ExitName, Code][]
).map(([name, intercept, code]) => ({
  name: `${name}-user`,
  manual: 'APM Vol 2, 15.7: #GP of the privilege check before the intercept',
  code,
  intercepts: [intercept],
  setup: userCode,
  exit: SVM_EXIT.EXCEPTION + 13,
  info1: 0,
}));
const unprivileged: readonly Case[] = (
  [
    ['cpuid', 'CPUID', (a) => a.cpuid()],
    ['vmmcall', 'VMMCALL', (a) => a.vmmcall()],
    ['rdtsc', 'RDTSC', (a) => a.rdtsc()],
    ['pause', 'PAUSE', (a) => a.pause()],
  ] as [string, ExitName, Code][]
).map(([name, intercept, code]) => insn(`${name}-cpl3`, intercept, code, { setup: userCode, finds: [find('cpl', 3)] }));

// --- control and debug registers (15.8) ---

const MOV_CR = 1n << 63n;
const crCase = (name: string, write: boolean, nr: number, gpr: number | undefined, code: Code, more: Partial<Case> = {}): Case => ({
  name,
  manual: 'APM Vol 2, 15.8.1; decode assists: 15.33.1',
  code,
  setup: [put('interceptCr', 1 << (nr + (write ? 16 : 0)))],
  exit: (write ? SVM_EXIT.CR0_WRITE : SVM_EXIT.CR0_READ) + nr,
  nextRip: true,
  finds: decoded('exitInfo1', gpr === undefined ? 0 : MOV_CR | BigInt(gpr)),
  ...more,
});
const registers: readonly Case[] = [
  crCase('mov-from-cr0', false, 0, 3, (a) => a.mov(rbx, cr0)),
  crCase('mov-from-cr3', false, 3, 9, (a) => a.mov(r9, cr3)),
  crCase('mov-from-cr4', false, 4, 10, (a) => a.mov(r10, cr4)),
  crCase('mov-from-cr8', false, 8, 1, (a) => a.mov(rcx, cr8)),
  crCase('mov-to-cr0', true, 0, 0, (a) => a.mov(cr0, rax), { before: (a) => a.mov(rax, cr0) }),
  crCase('mov-to-cr3', true, 3, 0, (a) => a.mov(cr3, rax), { before: (a) => a.mov(rax, cr3) }),
  crCase('mov-to-cr4', true, 4, 2, (a) => a.mov(cr4, rdx), { before: (a) => a.mov(rdx, cr4) }),
  crCase('mov-to-cr8', true, 8, 0, (a) => a.mov(cr8, rax), { before: (a) => a.xor(eax, eax) }),
  crCase('clts', true, 0, undefined, (a) => a.clts()),
  crCase('lmsw', true, 0, undefined, (a) => a.lmsw(ax), { before: (a) => a.smsw(eax) }),
  crCase('smsw', false, 0, undefined, (a) => a.smsw(eax)),
  {
    name: 'cr0-sel-write',
    manual: 'APM Vol 2, 15.9: MOV to CR0 that changes bits other than TS or MP',
    before: (a) => a.mov(rax, cr0).xor(eax, 0x20),
    code: (a) => a.mov(cr0, rax),
    intercepts: ['CR0_SEL_WRITE'],
    exit: 'CR0_SEL_WRITE',
    nextRip: true,
    finds: decoded('exitInfo1', MOV_CR),
  },
  {
    name: 'cr0-sel-write-ts',
    manual: 'APM Vol 2, 15.9: a change of TS alone is not intercepted',
    before: (a) => a.mov(rax, cr0).xor(eax, 8).mov(cr0, rax),
    code: (a) => a.vmmcall(),
    intercepts: ['CR0_SEL_WRITE'],
    exit: 'VMMCALL',
    nextRip: true,
    finds: [find('cr0', 8, 8)],
  },
  {
    name: 'lmsw-sel-write',
    manual: 'APM Vol 2, 15.9: LMSW that changes EM',
    before: (a) => a.smsw(eax).xor(eax, 4),
    code: (a) => a.lmsw(ax),
    intercepts: ['CR0_SEL_WRITE'],
    exit: 'CR0_SEL_WRITE',
    nextRip: true,
  },
  ...(
    [
      ['mov-from-dr0', false, 0, 3, (a) => a.mov(rbx, dr0)],
      ['mov-from-dr3', false, 3, 7, (a) => a.mov(rdi, dr3)],
      ['mov-to-dr7', true, 7, 0, (a) => a.mov(dr7, rax)],
      ['mov-to-dr0', true, 0, 6, (a) => a.mov(dr0, rsi)],
    ] as [string, boolean, number, number, Code][]
  ).map(
    ([name, write, nr, gpr, code]): Case => ({
      name,
      manual: 'APM Vol 2, 15.8.2; decode assists: 15.33.2',
      before: (a) => a.mov(eax, 0x400),
      code,
      setup: [put('interceptDr', 1 << (nr + (write ? 16 : 0)))],
      exit: (write ? SVM_EXIT.DR0_WRITE : SVM_EXIT.DR0_READ) + nr,
      nextRip: true,
      finds: decoded('exitInfo1', gpr, 0xf),
    }),
  ),
];

// --- exceptions (15.12) ---

const exception = (name: string, vector: number, code: Code, more: Partial<Case> = {}): Case => ({
  name,
  manual: 'APM Vol 2, 15.12',
  code,
  exit: SVM_EXIT.EXCEPTION + vector,
  ...more,
});
const NOWHERE = AREA.unmapped;
const exceptions: readonly Case[] = [
  exception('exception-de', 0, (a) => a.div(ecx), { before: (a) => a.xor(ecx, ecx) }),
  exception('exception-db', 1, (a) => a.nop(), {
    before: (a) => a.pushf().or(mem64(rsp), 0x100).popf(),
    rip: 'end',
    manual: 'APM Vol 2, 15.12.2: DR6 and RFLAGS as the exception leaves them',
    finds: [find('dr6', 0x4000, 0x4000)],
  }),
  exception('exception-bp', 3, (a) => a.int3(), { manual: 'APM Vol 2, 15.12.4: RIP at INT3', nextRip: true }),
  exception('exception-ud', 6, (a) => a.ud2()),
  exception('exception-nm', 7, (a) => a.fninit(), { before: (a) => a.mov(rax, cr0).or(eax, 8).mov(cr0, rax) }),
  exception('exception-np', 11, (a) => a.mov(fs, ax), { before: (a) => a.mov(eax, SELECTOR.notPresent), info1: SELECTOR.notPresent }),
  exception('exception-ss', 12, (a) => a.push(rax), { before: (a) => a.mov(rsp, 0x8000_0000_0010n), info1: 0 }),
  exception('exception-gp', 13, (a) => a.mov(fs, ax), { before: (a) => a.mov(eax, 0x1238), info1: 0x1238 }),
  exception('exception-gp-noncanonical', 13, (a) => a.mov(rax, mem64(rbx)), { before: (a) => a.mov(rbx, 0x8000_0000_0000n), info1: 0 }),
  exception('exception-pf', 14, (a) => a.mov(eax, mem32(rbx)), {
    before: (a) => a.mov(rbx, NOWHERE + 0x123n),
    info1: 0,
    info2: NOWHERE + 0x123n,
    manual: 'APM Vol 2, 15.12.15: the error code, and the address that CR2 would have; CR2 itself is not written',
    finds: [find('cr2', 0)],
  }),
  exception('exception-pf-write', 14, (a) => a.mov(mem32(rbx), eax), {
    before: (a) => a.mov(ebx, A + 0x1008),
    setup: [store(addr('area_table', 8), A + 0x1005), call('flush')],
    info1: 3,
    info2: A + 0x1008,
  }),
  exception('exception-pf-user', 14, (a) => a.mov(eax, mem32(rbx)), {
    before: (a) => a.mov(ebx, A + 0x2000),
    setup: [...userCode, store(addr('area_table', 16), A + 0x2003), call('flush')],
    info1: 5,
    info2: A + 0x2000,
  }),
  exception('exception-pf-fetch', 14, (a) => a.jmp(rbx), {
    before: (a) => a.mov(ebx, A + 0x3000),
    setup: [store(addr('area_table', 24), (1n << 63n) | BigInt(A + 0x3003)), call('enable_nx'), call('flush')],
    rip: 'any',
    info1: 0x11,
    info2: A + 0x3000,
    finds: [find('rip', A + 0x3000)],
    after: [call('disable_nx')],
  }),
  exception('exception-ac', 17, (a) => a.mov(eax, mem32(rsp, { disp: 1 })), {
    setup: [...userCode, call('set_am'), put('rflags', 0x4_0002)],
    info1: 0,
  }),
  exception('exception-mf', 16, (a) => a.fwait(), {
    before: (a) => a.fninit().fldcw(at16('fpu_all')).fld1().fldz().db(0xde, 0xf9),
  }),
  {
    name: 'exception-not-intercepted',
    manual: 'APM Vol 2, 15.12: what is not intercepted goes through the guest IDT',
    code: (a) => a.ud2(),
    setup: [put('interceptExceptions', 0)],
    exit: 'VMMCALL',
    rip: 'any',
    finds: [find('rax', 6)],
  },
  {
    name: 'pf-not-intercepted',
    manual: 'APM Vol 2, 15.12.15: then CR2 is written',
    before: (a) => a.mov(rbx, NOWHERE + 0x456n),
    code: (a) => a.mov(mem32(rbx), eax),
    setup: [put('interceptExceptions', 0)],
    exit: 'VMMCALL',
    rip: 'any',
    finds: [find('rax', 14), find('cr2', NOWHERE + 0x456n)],
  },
  {
    name: 'shutdown',
    manual: 'APM Vol 2, 15.14.3',
    code: (a) => a.ud2(),
    setup: [put('interceptExceptions', 0), put(VMCB_SEGMENT.idtr.limit, 0)],
    intercepts: ['SHUTDOWN'],
    exit: 'SHUTDOWN',
    // The rest of the VMCB is undefined after it.
    rip: 'any',
    during: 'any',
  },
];

// --- I/O and MSRs (15.10, 15.11) ---

const IO = { IN: 1, STR: 4, REP: 8, SZ8: 0x10, SZ16: 0x20, SZ32: 0x40, A32: 0x100, A64: 0x200 } as const;
const io = (name: string, port: number, flags: number, code: Code, more: Partial<Case> = {}): Case => ({
  name,
  manual: 'APM Vol 2, 15.10.2, Figure 15-2',
  before: (a) => a.mov(edx, port),
  code,
  intercepts: ['IOIO'],
  setup: [store(addr('iopm', port >> 3), 0xff, 1)],
  exit: 'IOIO',
  finds: [find('exitInfo1', BigInt(port) * 0x1_0000n + BigInt(flags), 0xffff_007d), ...(more.finds ?? [])],
  ...Object.fromEntries(Object.entries(more).filter(([key]) => key !== 'finds')),
});
const SEGMENT_BITS = 0x1c00;
const stringIo = (name: string, port: number, flags: number, segment: number, code: Code): Case =>
  io(name, port, flags, code, {
    before: (a) => a.mov(edx, port).mov(edi, A).mov(esi, A).mov(ecx, 2),
    finds: [find('exitInfo1', flags & 0x380, 0x380), ...decoded('exitInfo1', segment << 10, SEGMENT_BITS)],
  });
const ioExits: readonly Case[] = [
  io('in-al-imm', 0x80, IO.IN | IO.SZ8, (a) => a.in(al, 0x80)),
  io('in-eax-dx', 0x84, IO.IN | IO.SZ32, (a) => a.in(eax, dx)),
  io('out-al-imm', 0x80, IO.SZ8, (a) => a.out(0x80, al)),
  io('out-ax-dx', 0x9100, IO.SZ16, (a) => a.out(dx, ax)),
  io('out-eax-dx', 0x84, IO.SZ32, (a) => a.out(dx, eax)),
  stringIo('outsb', 0x80, IO.STR | IO.SZ8 | IO.A64, 3, (a) => a.outsb()),
  stringIo('rep-outsw', 0x80, IO.STR | IO.REP | IO.SZ16 | IO.A64, 3, (a) => a.rep().outsw()),
  stringIo('fs-outsb', 0x80, IO.STR | IO.SZ8 | IO.A64, 4, (a) => a.db(0x64).outsb()),
  stringIo('insb', 0x80, IO.STR | IO.IN | IO.SZ8 | IO.A64, 0, (a) => a.insb()),
  stringIo('rep-insd-a32', 0x80, IO.STR | IO.IN | IO.REP | IO.SZ32 | IO.A32, 0, (a) => a.db(0x67).rep().insd()),
].map((c): Case => ({ ...c, finds: [...(c.finds ?? []), find('exitInfo2', addr(`svm_${c.name.replaceAll('-', '_')}_end`))] }));

const STAR = 0xc000_0081;
const msrExits: readonly Case[] = [
  {
    name: 'rdmsr',
    manual: 'APM Vol 2, 15.11: MSRs C000_0000 to C000_1FFF have their bits from 800h on, two each',
    before: (a) => a.mov(ecx, STAR),
    code: (a) => a.rdmsr(),
    intercepts: ['MSR'],
    setup: [store(addr('msrpm', 0x800 + 0x20), 1 << 2, 1)],
    exit: 'MSR',
    info1: 0,
    nextRip: true,
  },
  {
    name: 'wrmsr',
    manual: 'APM Vol 2, 15.11',
    before: (a) => a.mov(ecx, STAR).xor(eax, eax).xor(edx, edx),
    code: (a) => a.wrmsr(),
    intercepts: ['MSR'],
    setup: [store(addr('msrpm', 0x800 + 0x20), 1 << 3, 1)],
    exit: 'MSR',
    info1: 1,
    nextRip: true,
  },
  {
    name: 'rdmsr-sysenter-cs',
    manual: 'APM Vol 2, 15.11: MSRs 0 to 1FFF from 0 on',
    before: (a) => a.mov(ecx, 0x174),
    code: (a) => a.rdmsr(),
    intercepts: ['MSR'],
    setup: [store(addr('msrpm', 0x174 / 4), 1, 1)],
    exit: 'MSR',
    info1: 0,
  },
  {
    name: 'msr-bit-clear',
    manual: 'APM Vol 2, 15.11: a clear bit lets the access through',
    before: (a) => a.mov(ecx, 0x174).rdmsr(),
    code: (a) => a.vmmcall(),
    intercepts: ['MSR'],
    exit: 'VMMCALL',
  },
  {
    name: 'msr-out-of-range',
    manual: 'APM Vol 2, 15.11: MSRs outside the map exit whenever MSR_PROT is set',
    before: (a) => a.mov(ecx, 0x5000_0000),
    code: (a) => a.rdmsr(),
    intercepts: ['MSR'],
    exit: 'MSR',
    info1: 0,
  },
  {
    name: 'io-bit-clear',
    manual: 'APM Vol 2, 15.10.1',
    before: (a) => a.out(0x80, al),
    code: (a) => a.vmmcall(),
    intercepts: ['IOIO'],
    exit: 'VMMCALL',
  },
  {
    name: 'io-last-byte',
    manual: 'APM Vol 2, 15.10.1: the bits of all ports that the access touches',
    before: (a) => a.mov(edx, 0x80),
    code: (a) => a.in(eax, dx),
    intercepts: ['IOIO'],
    setup: [store(addr('iopm', 0x10), 8, 1)],
    exit: 'IOIO',
  },
];

// --- interrupts (15.13, 15.17, 15.21) ---

const sendToSelf =
  (low: number): Code =>
  (a) => {
    a.mov(ebx, APIC.base)
      .mov(eax, mem32(rbx, { disp: APIC.id }))
      .mov(mem32(rbx, { disp: APIC.icrHigh }), eax);
    a.mov(mem32(rbx, { disp: APIC.icrLow }), low);
  };
const V_IRQ = 0x100n;
const V_IGN_TPR = 1n << 20n;
const V_MASKING = 1n << 24n;
const vintr = (vector: number, priority: number, more = 0n): bigint => V_IRQ | (BigInt(priority) << 16n) | (BigInt(vector) << 32n) | more;
const interrupts: readonly Case[] = [
  {
    name: 'intr',
    manual: 'APM Vol 2, 15.13.1: the interrupt stays pending',
    before: (a) => {
      sendToSelf(0x40f1 & ~0x1)(a);
      a.sti().nop();
    },
    code: (a) => a.nop().nop().nop(),
    intercepts: ['INTR'],
    exit: 'INTR',
    rip: 'any',
    after: [store(addr('interrupts_taken'), 0), call('take_interrupts')],
    finds: [expectMemory('interrupts taken', addr('interrupts_taken'), 1), expectMemory('vector', addr('interrupt_vector'), 0xf0)],
  },
  {
    name: 'intr-masked',
    manual: 'APM Vol 2, 15.21.1: with V_INTR_MASKING the host IF masks physical interrupts, and IF of the guest does not',
    before: (a) => {
      sendToSelf(0x40f0)(a);
      a.sti().nop().nop();
    },
    code: (a) => a.vmmcall(),
    intercepts: ['INTR'],
    setup: [put('virtualInterrupt', V_MASKING)],
    exit: 'VMMCALL',
    after: [store(addr('interrupts_taken'), 0), call('take_interrupts')],
    finds: [expectMemory('interrupts taken', addr('interrupts_taken'), 1)],
  },
  {
    name: 'nmi',
    manual: 'APM Vol 2, 15.13.2: the NMI stays pending for the host, whose GIF is clear',
    before: (a) => {
      sendToSelf(0x4400)(a);
      a.mov(ecx, 1000).label('.wait').dec(ecx).jnz('.wait');
    },
    code: (a) => a.nop(),
    intercepts: ['NMI'],
    setup: [store(addr('interrupts_taken'), 0)],
    exit: 'NMI',
    rip: 'any',
    finds: [expectMemory('NMIs that the host took', addr('interrupts_taken'), 1), expectMemory('vector', addr('interrupt_vector'), 2)],
  },
  {
    name: 'vintr',
    manual: 'APM Vol 2, 15.21.4: before a virtual interrupt is taken',
    before: (a) => a.sti(),
    code: (a) => a.nop(),
    intercepts: ['VINTR'],
    setup: [put('virtualInterrupt', vintr(0x50, 5, V_MASKING))],
    exit: 'VINTR',
    rip: 'end',
    finds: [find('virtualInterrupt', V_IRQ, V_IRQ)],
  },
  {
    name: 'virq-taken',
    manual: 'APM Vol 2, 15.21.4: V_IRQ is cleared when the interrupt is taken',
    before: (a) => a.sti().nop(),
    code: (a) => a.nop(),
    setup: [put('virtualInterrupt', vintr(0x50, 5, V_MASKING))],
    exit: 'VMMCALL',
    rip: 'any',
    finds: [find('rax', 0x50), find('virtualInterrupt', 0, V_IRQ)],
  },
  {
    name: 'virq-below-tpr',
    manual: 'APM Vol 2, 15.21.2: taken if V_INTR_PRIO is above V_TPR',
    before: (a) => a.sti().nop(),
    code: (a) => a.vmmcall(),
    setup: [put('virtualInterrupt', vintr(0x50, 5, V_MASKING | 5n))],
    exit: 'VMMCALL',
    finds: [find('virtualInterrupt', V_IRQ, V_IRQ)],
  },
  {
    name: 'virq-ignore-tpr',
    manual: 'APM Vol 2, 15.21.2: V_IGN_TPR',
    before: (a) => a.sti().nop(),
    code: (a) => a.nop(),
    setup: [put('virtualInterrupt', vintr(0x50, 5, V_MASKING | V_IGN_TPR | 15n))],
    exit: 'VMMCALL',
    rip: 'any',
    finds: [find('rax', 0x50)],
  },
  {
    name: 'virq-lowered-tpr',
    manual: 'APM Vol 2, 15.21.2: a write to CR8 changes V_TPR and lets the interrupt in',
    before: (a) => a.sti().nop().mov(eax, 4).mov(cr8, rax),
    code: (a) => a.nop(),
    setup: [put('virtualInterrupt', vintr(0x50, 5, V_MASKING | 9n))],
    exit: 'VMMCALL',
    rip: 'any',
    finds: [find('rax', 0x50), find('virtualInterrupt', 4, 0xf)],
  },
  {
    name: 'v-tpr',
    manual: 'APM Vol 2, 15.21.2: CR8 is V_TPR',
    before: (a) => a.mov(rax, cr8).mov(rbx, rax).mov(eax, 3).mov(cr8, rax),
    code: (a) => a.vmmcall(),
    setup: [put('virtualInterrupt', V_MASKING | 7n)],
    exit: 'VMMCALL',
    finds: [expectMemory('CR8 as read', guestReg(3), 7), find('virtualInterrupt', 3, 0xf)],
  },
  {
    name: 'interrupt-shadow',
    manual: 'APM Vol 2, 15.21.5: the shadow of STI is kept',
    before: (a) => a.sti(),
    code: (a) => a.vmmcall(),
    setup: [put('rflags', 2)],
    exit: 'VMMCALL',
    finds: [find('interruptShadow', 1, 1)],
  },
  {
    name: 'interrupt-shadow-entry',
    manual: 'APM Vol 2, 15.21.5: a shadow that the VMCB says holds a virtual interrupt back by one instruction',
    code: (a) => a.vmmcall(),
    setup: [put('interruptShadow', 1), put('rflags', 0x202), put('virtualInterrupt', vintr(0x50, 5, V_MASKING))],
    exit: 'VMMCALL',
    finds: [find('virtualInterrupt', V_IRQ, V_IRQ)],
  },
];

// --- events (15.20) ---

const injected = (name: string, event: bigint, vector: number, more: Partial<Case> = {}): Case => ({
  name: `inject-${name}`,
  manual: 'APM Vol 2, 15.20',
  code: (a) => a.nop(),
  setup: [put('eventInjection', event)],
  exit: 'VMMCALL',
  rip: 'any',
  ...more,
  finds: [find('rax', vector), ...(more.finds ?? [])],
});
const frame = (words: number, what: string, value: Imm): Step => expectMemory(what, addr('guest_stack_top', -8 * words), value);
const events: readonly Case[] = [
  injected('intr', svmEvent('intr', 0x51), 0x51, {
    manual: 'APM Vol 2, 15.20: RFLAGS.IF does not hold it back; the frame has the flags of the guest',
    finds: [frame(5, 'frame rip', addr('svm_inject_intr_at')), frame(3, 'frame rflags', 2), find('rsp', addr('guest_stack_top', -40))],
  }),
  injected('nmi', svmEvent('nmi', 0), 2, { manual: 'APM Vol 2, 15.20: the vector of an NMI is 2, whatever the field says' }),
  injected('ud', svmEvent('exception', 6), 6),
  injected('gp', svmEvent('exception', 13, 0x1234), 13, { finds: [frame(6, 'error code', 0x1234)] }),
  injected('pf', svmEvent('exception', 14, 2), 14, {
    setup: [put('eventInjection', svmEvent('exception', 14, 2)), put('cr2', 0x1234_5000)],
    manual: 'APM Vol 2, 15.20: CR2 is the VMCB’s',
    finds: [frame(6, 'error code', 2), find('cr2', 0x1234_5000)],
  }),
  injected('swint', svmEvent('swint', 0x81), 0x81),
  injected('clears-valid', svmEvent('intr', 0x51), 0x51, {
    manual: 'APM Vol 2, 15.20: EVENTINJ is not kept across VMRUN as an event still to be injected',
    finds: [find('eventInjection', 0, 0x8000_0000)],
  }),
  {
    name: 'exitintinfo-intr',
    manual: 'APM Vol 2, 15.7.2: an exception while an interrupt was delivered',
    code: (a) => a.nop(),
    setup: [put('eventInjection', svmEvent('intr', 0x51)), put(VMCB_SEGMENT.idtr.limit, 0)],
    exit: SVM_EXIT.EXCEPTION + 13,
    info1: 0x51 * 8 + 2 + 1,
    during: svmEvent('intr', 0x51),
  },
  {
    name: 'exitintinfo-exception',
    manual: 'APM Vol 2, 15.7.2',
    code: (a) => a.nop(),
    setup: [put('eventInjection', svmEvent('exception', 6)), put(VMCB_SEGMENT.idtr.limit, 0)],
    exit: SVM_EXIT.EXCEPTION + 13,
    info1: 6 * 8 + 2 + 1,
    during: svmEvent('exception', 6),
  },
  {
    name: 'exitintinfo-error-code',
    manual: 'APM Vol 2, 15.7.2: a page fault of the stack while an exception with an error code was delivered',
    code: (a) => a.nop(),
    setup: [put('eventInjection', svmEvent('exception', 13, 0x1234)), put('rsp', NOWHERE + 0x800n), put('interceptExceptions', 1 << 14)],
    exit: SVM_EXIT.EXCEPTION + 14,
    info1: 2,
    info2: NOWHERE + 0x7f8n,
    during: svmEvent('exception', 13, 0x1234),
  },
  {
    name: 'exitintinfo-int-n',
    manual: 'APM Vol 2, 15.7.2: a software interrupt that faults',
    code: (a) => a.int(0x52),
    setup: [put(VMCB_SEGMENT.idtr.limit, 0x51f)],
    exit: SVM_EXIT.EXCEPTION + 13,
    info1: 0x52 * 8 + 2,
    during: svmEvent('swint', 0x52),
  },
  {
    name: 'exitintinfo-ud',
    manual: 'APM Vol 2, 15.7.2',
    code: (a) => a.ud2(),
    setup: [put('interceptExceptions', 1 << 13), put(VMCB_SEGMENT.idtr.limit, 0)],
    exit: SVM_EXIT.EXCEPTION + 13,
    info1: 6 * 8 + 2 + 1,
    during: svmEvent('exception', 6),
  },
];

// --- task switches (15.14.1), in 32-bit guests ---

const TASK = { iret: 1n << 36n, jump: 1n << 38n, hasError: 1n << 44n } as const;
const taskSwitches: readonly Case[] = [
  {
    name: 'task-switch-call',
    manual: 'APM Vol 2, 15.14.1',
    code32: (a) => a.db(0x9a).dd(0).dw(SELECTOR.otherTss32),
    info2: 0n,
    intercepts: ['TASK_SWITCH'],
    exit: 'TASK_SWITCH',
    info1: SELECTOR.otherTss32,
  },
  {
    name: 'task-switch-jmp',
    manual: 'APM Vol 2, 15.14.1',
    code32: (a) => a.db(0xea).dd(0).dw(SELECTOR.otherTss32),
    intercepts: ['TASK_SWITCH'],
    exit: 'TASK_SWITCH',
    info1: SELECTOR.otherTss32,
    info2: TASK.jump,
  },
  {
    name: 'task-switch-gate',
    manual: 'APM Vol 2, 15.14.1',
    code32: (a) => a.db(0x9a).dd(0).dw(SELECTOR.taskGate),
    intercepts: ['TASK_SWITCH'],
    exit: 'TASK_SWITCH',
    info1: SELECTOR.otherTss32,
    info2: 0n,
  },
];

// --- nested paging (15.25) ---

const NPF = { P: 1n, W: 2n, U: 4n, RSV: 8n, I: 16n, final: 1n << 32n, table: 1n << 33n } as const;
const nested = (name: string, code: Code, info1: bigint, info2: Imm, setup: readonly Step[], more: Partial<Case> = {}): Case => ({
  name: `npf-${name}`,
  manual: 'APM Vol 2, 15.25.6',
  before: (a) => a.mov(ebx, A + 0x4000),
  code,
  ...more,
  setup: [need('cap_svm', SVM_FEATURE.NP, 'nested paging'), call('npt_reset'), ...setup],
  exit: 'NPF',
  info1,
  info2,
});
const page = (n: number, flags: bigint | number): Step => store(addr('npt_pt', n * 8), BigInt(A + n * 4096) | BigInt(flags));
const nestedFaults: readonly Case[] = [
  nested('read', (a) => a.mov(eax, mem32(rbx, { disp: 0x10 })), NPF.final | NPF.U, A + 0x4010, [page(4, 0)]),
  nested('write', (a) => a.mov(mem32(rbx, { disp: 0x10 }), eax), NPF.final | NPF.U | NPF.W, A + 0x4010, [page(4, 0)]),
  nested('write-protected', (a) => a.mov(mem32(rbx), eax), NPF.final | NPF.U | NPF.W | NPF.P, A + 0x4000, [page(4, 5)]),
  nested('supervisor-page', (a) => a.mov(eax, mem32(rbx)), NPF.final | NPF.U | NPF.P, A + 0x4000, [page(4, 3)], {
    manual: 'APM Vol 2, 15.25.5: every access of the guest is a user’s to the nested tables',
  }),
  nested('fetch', (a) => a.jmp(rbx), NPF.final | NPF.U | NPF.P | NPF.I, A + 0x4000, [page(4, (1n << 63n) | 7n), call('enable_nx')], {
    rip: 'any',
    after: [call('disable_nx')],
  }),
  nested('reserved', (a) => a.mov(eax, mem32(rbx)), NPF.final | NPF.U | NPF.P | NPF.RSV, A + 0x4000, [page(4, (1n << 51n) | 7n)]),
  nested(
    'guest-table',
    (a) => a.mov(eax, mem32(rbx)),
    NPF.table | NPF.U | NPF.W,
    A + 0x5000 + 0x20,
    // The guest's own page table for AREA.pages lies in page 5 of the area, which the nested tables do not have.
    [call('table_in_area'), page(5, 0)],
    { manual: 'APM Vol 2, 15.25.6: bit 33 and W, as the walk sets accessed bits', after: [call('table_back')] },
  ),
  {
    name: 'npt-accessed-dirty',
    manual: 'APM Vol 2, 15.25.5: the nested tables’ accessed and dirty bits',
    before: (a) =>
      a
        .mov(ebx, A + 0x4000)
        .mov(mem32(rbx), eax)
        .mov(eax, mem32(rbx, { disp: 0x1000 })),
    code: (a) => a.vmmcall(),
    setup: [need('cap_svm', SVM_FEATURE.NP, 'nested paging'), call('npt_reset')],
    exit: 'VMMCALL',
    finds: [
      expectMemory('written page', addr('npt_pt', 4 * 8), 0x60, 8, 0x60),
      expectMemory('read page', addr('npt_pt', 5 * 8), 0x20, 8, 0x60),
      expectMemory('untouched page', addr('npt_pt', 6 * 8), 0, 8, 0x60),
    ],
  },
  {
    name: 'npt-remap',
    manual: 'APM Vol 2, 15.25.3',
    before: (a) => a.mov(ebx, A + 0x4000).mov(eax, mem32(rbx)),
    code: (a) => a.vmmcall(),
    setup: [
      need('cap_svm', SVM_FEATURE.NP, 'nested paging'),
      call('npt_reset'),
      store(addr('npt_pt', 32), A + 0x6007),
      store(A + 0x6000, 0x1357, 4),
      store(A + 0x4000, 0x2468, 4),
    ],
    exit: 'VMMCALL',
    finds: [find('rax', 0x1357)],
  },
];

// --- the rest ---

const others: readonly Case[] = [
  {
    name: 'vmmcall-not-intercepted',
    manual: 'APM Vol 3, VMMCALL: #UD',
    code: (a) => a.vmmcall(),
    setup: [put('intercepts4', 1)],
    exit: SVM_EXIT.EXCEPTION + 6,
  },
  {
    name: 'tsc-offset',
    manual: 'APM Vol 2, 15.5.1, TSC_OFFSET is added to what the guest reads',
    before: (a) => a.rdtsc().mov(ebx, edx),
    code: (a) => a.vmmcall(),
    setup: [put('tscOffset', 0x7000_0000_0000_0000n)],
    exit: 'VMMCALL',
    finds: [expectMemory('upper half of the TSC', guestReg(3), 0x7000_0000, 4, 0xffff_0000)],
  },
  {
    name: 'state-saved',
    manual: 'APM Vol 2, 15.6: what #VMEXIT stores',
    before: (a) => {
      a.mov(rax, cr0).or(eax, 8).mov(cr0, rax).mov(eax, SELECTOR.small).mov(ds, ax).mov(es, ax);
      a.mov(rax, 0x1122_3344_5566_7788n).mov(rbx, rax).sub(rsp, 32).xor(ecx, ecx).cmp(ecx, 1);
      a.mov(ecx, 9);
    },
    code: (a) => a.vmmcall(),
    exit: 'VMMCALL',
    finds: [
      find('rax', 0x1122_3344_5566_7788n),
      find('rsp', addr('guest_stack_top', -32)),
      find('rflags', 0x95, 0x8d5),
      find('cr0', 8, 8),
      expectMemory('rbx', guestReg(3), 0x1122_3344_5566_7788n),
      expectMemory('ds selector', addr('vmcb', 0x430), SELECTOR.small, 2),
      expectMemory('ds limit', addr('vmcb', 0x434), 0xfff, 4),
      expectMemory('ds attributes', addr('vmcb', 0x432), 0x493, 2),
      expectMemory('es selector', addr('vmcb', 0x400), SELECTOR.small, 2),
    ],
  },
  {
    name: 'tlb-control-cleared',
    manual: 'APM Vol 2, 15.16.1: TLB_CONTROL is an instruction to this VMRUN, and is left as it was',
    code: (a) => a.vmmcall(),
    setup: [put('tlbControl', 1)],
    exit: 'VMMCALL',
    finds: [find('tlbControl', 1)],
  },
  {
    name: 'vmload-vmsave',
    manual: 'APM Vol 2, 15.5.2: executed by a guest that is not intercepted, on its own VMCB',
    before: (a) => a.mov(eax, addr('other_vmcb')).vmload().mov(ecx, 0xc000_0081).rdmsr().mov(ebx, edx),
    code: (a) => a.vmmcall(),
    setup: [call('save_other'), store(addr('other_vmcb', VMCB.star[0] + 4), 0x0123_4567, 4)],
    exit: 'VMMCALL',
    finds: [expectMemory('STAR', guestReg(3), 0x0123_4567, 4)],
  },
  {
    name: 'gif-clear-in-guest',
    manual: 'APM Vol 2, 15.17: a guest’s CLGI holds an interrupt back until its STGI',
    before: (a) => {
      a.clgi().sti();
      sendToSelf(0x40f0)(a);
      a.nop().nop().mov(ecx, 1).stgi().nop().nop();
    },
    code: (a) => a.nop(),
    intercepts: ['INTR'],
    exit: 'INTR',
    rip: 'any',
    after: [call('take_interrupts')],
    finds: [expectMemory('rcx', guestReg(1), 1)],
  },
];

const CASES: readonly Case[] = [
  ...instructions,
  ...priorities,
  ...unprivileged,
  ...registers,
  ...exceptions,
  ...ioExits,
  ...msrExits,
  ...interrupts,
  ...events,
  ...taskSwitches,
  ...nestedFaults,
  ...others,
];

/** What each row takes, for those who count what is covered: a name, or a code of a range (control registers, exceptions). */
export const SVM_EXITS_TAKEN: readonly { readonly name: string; readonly manual: string; readonly exit: ExitName | number }[] = CASES;
export const svmExitRows = (k: BareKernel): Row[] => CASES.map((c) => exitRow(k, c));
