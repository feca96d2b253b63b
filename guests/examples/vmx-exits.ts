// Each exit reason of VT-x (SDM Vol 3C, chapters 26 and 28): what the guest does, which controls make it exit, and every information field that the
// exit leaves.
import {
  type Assembler,
  addr,
  al,
  at,
  ax,
  cr0,
  cr3,
  cr4,
  cr8,
  distance,
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
  esi,
  fs,
  type Imm,
  mem,
  mem16,
  mem32,
  mem64,
  mem128,
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
  rsp,
} from '../asm/index.ts';
import { APIC, AREA, type BareKernel, SELECTOR } from '../kit/virt/bare.ts';
import { call, expectMemory, need, type Row, type Step, store, when } from '../kit/virt/rows.ts';
import { EXIT, PIN, PROC, PROC2, REASON, type ReasonName, vmxEvent } from '../kit/virt/vmcs.ts';
import {
  clear,
  exitControl,
  expectOutcome,
  find,
  guest32Mode,
  guestReg,
  guestUser,
  high,
  pin,
  proc,
  proc2,
  put,
  set,
  withEpt,
} from '../kit/virt/vmx.ts';

type Code = (a: Assembler<64>) => unknown;
type Code32 = (a: Assembler<32>) => unknown;

interface Case {
  readonly name: string;
  /** SDM Vol 3C unless it says otherwise. */
  readonly manual: string;
  /** Runs before the instruction that exits. */
  readonly before?: Code;
  readonly code?: Code;
  /** Instead: a 32-bit guest. */
  readonly code32?: Code32;
  readonly before32?: Code32;
  readonly setup?: readonly Step[];
  readonly exit: ReasonName;
  readonly qualification?: Imm | 'any';
  /** The exit-instruction length is the instruction's. */
  readonly length?: boolean;
  readonly rip?: 'at' | 'end' | 'any';
  /** VM-exit interruption information; not valid where nothing is said. */
  readonly event?: number;
  readonly eventError?: number;
  readonly during?: number;
  readonly duringError?: number;
  readonly info?: Imm;
  readonly infoMask?: Imm;
  readonly after?: readonly Step[];
  readonly finds?: readonly Step[];
}

const VALID = 0x8000_0000;

function exitRow(k: BareKernel, c: Case): Row {
  const label = `vmx_${c.name.replaceAll('-', '_')}`;
  k.image.within('.text', () => {
    const { a, a32 } = k;
    a.align(16).label(label);
    if (c.code32 !== undefined) {
      c.before32?.(a32);
      a.label(`${label}_at`);
      c.code32(a32);
      a.label(`${label}_end`);
      a32.mov(eax, 0xdead).vmcall();
      return;
    }
    c.before?.(a);
    a.label(`${label}_at`);
    c.code?.(a);
    a.label(`${label}_end`);
    // Who arrives here has not exited.
    a.mov(eax, 0xdead).vmcall();
  });
  const { rip = 'at', qualification = 0 } = c;
  const steps: Step[] = [
    ...(c.code32 === undefined ? [] : guest32Mode),
    put('GUEST_RIP', addr(label)),
    ...(c.setup ?? []),
    call('enter'),
    ...(c.after ?? []),
    expectOutcome(0),
    find('EXIT_REASON', REASON[c.exit]),
    ...(qualification === 'any' ? [] : [find('EXIT_QUALIFICATION', qualification)]),
    ...(rip === 'any' ? [] : [find('GUEST_RIP', addr(rip === 'at' ? `${label}_at` : `${label}_end`))]),
    ...(c.length === true ? [find('EXIT_INSTRUCTION_LENGTH', distance(`${label}_at`, `${label}_end`))] : []),
    c.event === undefined ? find('EXIT_INTR_INFO', 0, VALID) : find('EXIT_INTR_INFO', c.event, ~0x1000),
    ...(c.eventError === undefined ? [] : [find('EXIT_INTR_ERROR_CODE', c.eventError)]),
    c.during === undefined ? find('IDT_VECTORING_INFO', 0, VALID) : find('IDT_VECTORING_INFO', c.during, ~0x1000),
    ...(c.duringError === undefined ? [] : [find('IDT_VECTORING_ERROR_CODE', c.duringError)]),
    ...(c.info === undefined ? [] : [find('EXIT_INSTRUCTION_INFO', c.info, c.infoMask)]),
    // 25.8.3: the valid bit of what was to be injected is cleared by every exit (28.2).
    find('ENTRY_INTR_INFO', 0, VALID),
    ...(c.finds ?? []),
  ];
  return { name: c.name, manual: c.manual, steps };
}

const A = AREA.pages;
const NOWHERE = AREA.unmapped;
/** CPUID 1 ECX, or EDX with `inEdx`. */
const cpuid1 = (bit: number, inEdx = false): Step => need('cap_cpuid', 1n << BigInt(bit + (inEdx ? 32 : 0)), `CPUID 1 bit ${bit}`);
const cpuid7 = (bit: number): Step => need('cap_cpuid7', 1n << BigInt(bit), `CPUID 7 EBX bit ${bit}`);

// --- instruction information (28.2.5): the fields of the tables, by name ---

const REG = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7, r9: 9, r10: 10, r11: 11 } as const;
const SEG = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;
interface Operand {
  readonly scale?: 0 | 1 | 2 | 3;
  /** Operand in a register: bits 6:3, and bit 10. */
  readonly reg1?: number;
  /** 0: 16, 1: 32, 2: 64 bits. */
  readonly address?: 0 | 1 | 2;
  readonly segment?: number;
  readonly index?: number;
  readonly base?: number;
  readonly reg2?: number;
}
/** Tables 28-9 to 28-15; what has no register has the invalid bits 22 and 27 set. */
const information = (o: Operand): number =>
  o.reg1 !== undefined && o.base === undefined && o.index === undefined
    ? ((o.reg1 << 3) | 0x400 | ((o.reg2 ?? 0) << 28)) >>> 0
    : ((o.scale ?? 0) |
        ((o.address ?? 2) << 7) |
        ((o.segment ?? SEG.ds) << 15) |
        (o.index === undefined ? 1 << 22 : o.index << 18) |
        (o.base === undefined ? 1 << 27 : o.base << 23) |
        ((o.reg2 ?? 0) << 28)) >>>
      0;
/** Bits that are defined for a memory operand with these parts; the register of a part that is not there is undefined. */
const informationMask = (o: Operand, withReg2: boolean): number =>
  o.reg1 !== undefined && o.base === undefined && o.index === undefined
    ? (0x478 | (withReg2 ? 0xf000_0000 : 0)) >>> 0
    : ((o.index === undefined ? 0 : 0x3c_0003) |
        0x380 |
        0x400 |
        0x3_8000 |
        (1 << 22) |
        (o.base === undefined ? 0 : 0x780_0000) |
        (1 << 27) |
        (withReg2 ? 0xf000_0000 : 0)) >>>
      0;
const operand = (o: Operand, withReg2 = false): Pick<Case, 'info' | 'infoMask'> => ({
  info: information(o),
  infoMask: informationMask(o, withReg2),
});

const insn = (name: string, exit: ReasonName, code: Code, setup: readonly Step[] = [], more: Partial<Case> = {}): Case => ({
  name,
  manual: '26.1',
  code,
  setup,
  exit,
  length: true,
  ...more,
});

// --- instructions that always exit, and those that a control makes exit (26.1.2, 26.1.3) ---

const region: Code = (a) => a.mov(ebx, A + 0x100).mov(esi, 0x10);
const instructions: readonly Case[] = [
  insn('cpuid', 'CPUID', (a) => a.cpuid(), [], { manual: '26.1.2' }),
  insn('cpuid-cpl3', 'CPUID', (a) => a.cpuid(), guestUser, { manual: '26.1.2' }),
  insn('invd', 'INVD', (a) => a.invd(), [], { manual: '26.1.2' }),
  insn('vmcall', 'VMCALL', (a) => a.vmcall(), [], { manual: '26.1.2' }),
  insn('vmcall-cpl3', 'VMCALL', (a) => a.vmcall(), guestUser, { manual: '26.1.2; 31.3, VMCALL: the exit comes before the check of CPL' }),
  insn('vmlaunch', 'VMLAUNCH', (a) => a.vmlaunch()),
  insn('vmresume', 'VMRESUME', (a) => a.vmresume()),
  insn('vmxoff', 'VMXOFF', (a) => a.vmxoff()),
  insn('vmclear', 'VMCLEAR', (a) => a.vmclear(mem64(rbx, { disp: 8 })), [], {
    before: region,
    qualification: 8,
    ...operand({ base: REG.rbx }),
  }),
  insn('vmclear-sib', 'VMCLEAR', (a) => a.vmclear(mem64(rbx, { index: rsi, scale: 4, disp: 0x1000 })), [], {
    before: region,
    qualification: 0x1000,
    ...operand({ base: REG.rbx, index: REG.rsi, scale: 2 }),
  }),
  insn('vmptrld', 'VMPTRLD', (a) => a.vmptrld(mem64(rbx, { disp: -8 })), [], {
    before: region,
    qualification: -8,
    ...operand({ base: REG.rbx }),
    manual: '28.2.1: displacements are sign-extended',
  }),
  insn('vmptrst', 'VMPTRST', (a) => a.vmptrst(mem64(rbp)), [], { before: region, ...operand({ base: REG.rbp, segment: SEG.ss }) }),
  insn('vmxon', 'VMXON', (a) => a.vmxon(mem64(r11, { seg: { kind: 'seg', nr: 4 } })), [], {
    before: (a) => a.mov(r11, A),
    ...operand({ base: REG.r11, segment: SEG.fs }),
  }),
  insn('vmclear-rip', 'VMCLEAR', (a) => a.vmclear(at('outcome') as never), [], {
    // 28.2.1: for RIP-relative operands the displacement counts from the next instruction's RIP, and the qualification is that sum.
    qualification: addr('outcome'),
    info: 0,
    infoMask: 0,
  }),
  insn('vmread-reg', 'VMREAD', (a) => a.vmread(rcx, r9), [], operand({ reg1: REG.rcx, reg2: REG.r9 }, true)),
  insn('vmread-mem', 'VMREAD', (a) => a.vmread(mem64(rbx), r10), [], {
    before: region,
    ...operand({ base: REG.rbx, reg2: REG.r10 }, true),
  }),
  insn('vmwrite-reg', 'VMWRITE', (a) => a.vmwrite(rdx, rdi), [], operand({ reg1: REG.rdi, reg2: REG.rdx }, true)),
  insn('vmwrite-mem', 'VMWRITE', (a) => a.vmwrite(rax, mem64(rbx, { index: rsi, scale: 8 })), [], {
    before: region,
    ...operand({ base: REG.rbx, index: REG.rsi, scale: 3, reg2: REG.rax }, true),
  }),
  insn('invept', 'INVEPT', (a) => a.invept(rax, mem128(rbx)), [need('cap_proc2', high(PROC2.ept), 'EPT')], {
    before: region,
    ...operand({ base: REG.rbx, reg2: REG.rax }, true),
  }),
  insn('invvpid', 'INVVPID', (a) => a.invvpid(r9, mem128(rbx, { disp: 0x40 })), [need('cap_proc2', high(PROC2.vpid), 'VPID')], {
    before: region,
    qualification: 0x40,
    ...operand({ base: REG.rbx, reg2: REG.r9 }, true),
  }),
  insn('getsec', 'GETSEC', (a) => a.getsec(), [need('cap_cr4_fixed1', 0x4000, 'SMX'), set('GUEST_CR4', 0x4000)], {
    before: (a) => a.xor(eax, eax),
  }),
  insn('xsetbv', 'XSETBV', (a) => a.xsetbv(), [cpuid1(26), set('GUEST_CR4', 0x4_0000)], {
    before: (a) => a.xor(ecx, ecx).xor(edx, edx).mov(eax, 3),
    manual: '26.1.2',
  }),
  insn('hlt', 'HLT', (a) => a.hlt(), proc(PROC.hlt)),
  insn('invlpg', 'INVLPG', (a) => a.invlpg(mem(rbx, { disp: 0x30 })), proc(PROC.invlpg), {
    before: region,
    qualification: A + 0x130,
    manual: '28.2.1: the linear address of the operand',
  }),
  insn('rdpmc', 'RDPMC', (a) => a.rdpmc(), proc(PROC.rdpmc), { before: (a) => a.xor(ecx, ecx) }),
  insn('rdtsc', 'RDTSC', (a) => a.rdtsc(), proc(PROC.rdtsc)),
  insn('rdtscp', 'RDTSCP', (a) => a.rdtscp(), [...proc2(PROC2.rdtscp), ...proc(PROC.rdtsc)]),
  insn('mwait', 'MWAIT', (a) => a.mwait(), [cpuid1(3), ...proc(PROC.mwait)], {
    before: (a) => a.xor(eax, eax).xor(ecx, ecx),
    qualification: 0,
    manual: '28.2.1: bit 0 says whether the address-range monitor was armed',
  }),
  insn('monitor', 'MONITOR', (a) => a.monitor(), [cpuid1(3), ...proc(PROC.monitor)], {
    before: (a) => a.mov(eax, A).xor(ecx, ecx).xor(edx, edx),
  }),
  insn('pause', 'PAUSE', (a) => a.pause(), proc(PROC.pause)),
  insn(
    'pause-loop',
    'PAUSE',
    (a) => a.label('vmx_ple_again').pause().jmp('vmx_ple_again'),
    [...proc2(PROC2.pauseLoop), put('PLE_GAP', 0x1_0000), put('PLE_WINDOW', 0x1000)],
    { length: false, manual: '26.1.3: PAUSE-loop exiting' },
  ),
  insn('wbinvd', 'WBINVD', (a) => a.wbinvd(), proc2(PROC2.wbinvd)),
  insn('rdrand', 'RDRAND', (a) => a.db(0x49, 0x0f, 0xc7, 0xf1), [cpuid1(30), ...proc2(PROC2.rdrand)], {
    info: (REG.r9 << 3) | (2 << 11),
    infoMask: 0x1878,
    manual: 'Table 28-16: rdrand r9',
  }),
  insn('rdseed', 'RDSEED', (a) => a.db(0x66, 0x0f, 0xc7, 0xfa), [cpuid7(18), ...proc2(PROC2.rdseed)], {
    info: REG.rdx << 3,
    infoMask: 0x1878,
    manual: 'Table 28-16: rdseed dx',
  }),
  insn('invpcid', 'INVPCID', (a) => a.invpcid(rcx, mem128(rbx)), [...proc2(PROC2.invpcid), ...proc(PROC.invlpg)], {
    before: region,
    ...operand({ base: REG.rbx, reg2: REG.rcx }, true),
  }),
  insn('vmfunc', 'VMFUNC', (a) => a.vmfunc(), [...proc2(PROC2.vmfunc | PROC2.ept), call('ept_reset'), put('VMFUNC_CONTROLS', 0)], {
    before: (a) => a.xor(eax, eax).xor(ecx, ecx),
    manual: '26.5.6.2: a function that is not enabled',
  }),
  insn('sgdt', 'GDTR_IDTR', (a) => a.sgdt(mem(rbx, { disp: 4 })), proc2(PROC2.descriptorTable), {
    before: region,
    qualification: 4,
    info: information({ base: REG.rbx }),
    infoMask: 0x3000_0000 | 0x380 | 0x3_8000 | (1 << 22) | 0x780_0000 | (1 << 27),
    manual: 'Table 28-10: instruction identity 0',
  }),
  insn('lidt', 'GDTR_IDTR', (a) => a.lidt(at('idt_pointer')), proc2(PROC2.descriptorTable), {
    qualification: addr('idt_pointer'),
    info: 3 << 28,
    infoMask: 3 << 28,
    manual: 'Table 28-10: instruction identity 3',
  }),
  insn('str', 'LDTR_TR', (a) => a.str(r9), proc2(PROC2.descriptorTable), {
    info: (1 << 28) | 0x400 | (REG.r9 << 3),
    infoMask: 0x3000_0478,
    manual: 'Table 28-11: instruction identity 1',
  }),
  insn('lldt', 'LDTR_TR', (a) => a.lldt(ax), proc2(PROC2.descriptorTable), {
    before: (a) => a.xor(eax, eax),
    info: (2 << 28) | 0x400,
    infoMask: 0x3000_0478,
    manual: 'Table 28-11: instruction identity 2',
  }),
  insn('ltr-mem', 'LDTR_TR', (a) => a.ltr(mem16(rbx)), proc2(PROC2.descriptorTable), {
    before: region,
    info: (3 << 28) | information({ base: REG.rbx }),
    infoMask: 0x3000_0000 | 0x780 | 0x3_8000 | (1 << 22) | 0x780_0000 | (1 << 27),
    manual: 'Table 28-11: instruction identity 3',
  }),
];

// --- what faults before it could exit, and what does not exit (26.1.1) ---

/** XSAVES [RBX]. It exits for bits of IA32_XSS (26.1.3), of which the processors here have none: reasons 63 and 64 are not to be had. */
const XSAVES: Code = (a) => a.db(0x0f, 0xc7, 0x2b);
const gpInstead = (name: string, code: Code, setup: readonly Step[] = []): Case => ({
  name: `${name}-cpl3`,
  manual: '26.1.1: faults from the privilege check come before the exit',
  code,
  setup: [...guestUser, ...setup],
  exit: 'EXCEPTION_NMI',
  event: vmxEvent('exception', 13, true),
  eventError: 0,
});
const udInstead = (name: string, code: Code, setup: readonly Step[] = []): Case => ({
  name: `${name}-disabled`,
  manual: '26.3: an instruction whose enabling control is 0',
  code,
  setup,
  exit: 'EXCEPTION_NMI',
  event: vmxEvent('exception', 6),
});
const priorities: readonly Case[] = [
  gpInstead('invd', (a) => a.invd()),
  gpInstead('hlt', (a) => a.hlt(), proc(PROC.hlt)),
  gpInstead('rdmsr', (a) => a.rdmsr()),
  gpInstead('mov-cr3', (a) => a.mov(rax, cr3), proc(PROC.cr3Store)),
  gpInstead('invlpg', (a) => a.invlpg(mem(rax)), proc(PROC.invlpg)),
  udInstead('rdtscp', (a) => a.rdtscp(), [need('cap_proc2', high(PROC2.rdtscp), 'RDTSCP')]),
  udInstead('invpcid', (a) => a.invpcid(rax, mem128(rbx)), [need('cap_proc2', high(PROC2.invpcid), 'INVPCID')]),
  udInstead('vmfunc', (a) => a.vmfunc()),
  udInstead('xsaves', XSAVES, [need('cap_proc2', high(PROC2.xsaves), 'XSAVES'), set('GUEST_CR4', 0x4_0000)]),
];

// --- control and debug registers (26.1.3, 26.3; Tables 28-3 and 28-4) ---

const CR = { to: 0, from: 1, clts: 2, lmsw: 3 } as const;
const crQualification = (cr: number, type: number, gpr = 0): number => cr | (type << 4) | (gpr << 8);
const crCase = (name: string, code: Code, qualification: Imm, setup: readonly Step[], before?: Code, more: Partial<Case> = {}): Case => ({
  name,
  manual: 'Table 28-3',
  code,
  setup,
  exit: 'CR_ACCESS',
  qualification,
  length: true,
  ...(before === undefined ? {} : { before }),
  ...more,
});
const TS = 8;
const done = (name: string, manual: string, before: Code, setup: readonly Step[], finds: readonly Step[]): Case => ({
  name,
  manual,
  before,
  code: (a) => a.vmcall(),
  setup,
  exit: 'VMCALL',
  length: true,
  finds,
});
const registers: readonly Case[] = [
  crCase(
    'mov-to-cr0',
    (a) => a.mov(cr0, rbx),
    crQualification(0, CR.to, REG.rbx),
    [put('CR0_MASK', TS)],
    (a) => a.mov(rbx, cr0).or(ebx, TS),
  ),
  crCase('clts', (a) => a.clts(), crQualification(0, CR.clts), [put('CR0_MASK', TS), put('CR0_SHADOW', TS)]),
  crCase(
    'lmsw-reg',
    (a) => a.lmsw(ax),
    crQualification(0, CR.lmsw) | (0x2b << 16),
    [put('CR0_MASK', TS)],
    (a) => a.mov(eax, 0x2b),
  ),
  crCase(
    'lmsw-mem',
    (a) => a.lmsw(mem16(rbx)),
    crQualification(0, CR.lmsw) | 0x40 | (0x2b << 16),
    [put('CR0_MASK', TS)],
    (a) => a.mov(ebx, A + 0x10).mov(mem32(rbx), 0x2b),
    { finds: [find('GUEST_LINEAR_ADDRESS', A + 0x10)] },
  ),
  crCase(
    'mov-to-cr3',
    (a) => a.mov(cr3, rdi),
    crQualification(3, CR.to, REG.rdi),
    proc(PROC.cr3Load),
    (a) => a.mov(rdi, cr3),
    {
      setup: [...proc(PROC.cr3Load), clear('PROC_CONTROLS', 0)],
      // Reading CR3 exits as well on processors where that control is fixed to 1: RDI is given.
      before: (a) => a.mov(edi, addr('page_pml4')),
    },
  ),
  crCase('mov-from-cr3', (a) => a.mov(r11, cr3), crQualification(3, CR.from, REG.r11), proc(PROC.cr3Store)),
  crCase(
    'mov-to-cr4',
    (a) => a.mov(cr4, rsi),
    crQualification(4, CR.to, REG.rsi),
    [put('CR4_MASK', 4)],
    (a) => a.mov(rsi, cr4).or(rsi, 4),
  ),
  crCase(
    'mov-to-cr4-vmxe',
    (a) => a.mov(cr4, rsi),
    crQualification(4, CR.to, REG.rsi),
    [put('CR4_MASK', 0x2000)],
    (a) => a.mov(rsi, cr4).bts(rsi, 13),
  ),
  crCase(
    'mov-to-cr8',
    (a) => a.mov(cr8, rcx),
    crQualification(8, CR.to, REG.rcx),
    proc(PROC.cr8Load),
    (a) => a.mov(ecx, 3),
  ),
  crCase('mov-from-cr8', (a) => a.mov(rdx, cr8), crQualification(8, CR.from, REG.rdx), proc(PROC.cr8Store)),
  done(
    'cr0-shadow',
    '26.3: a read gives the shadow where the mask is set, and a write that agrees with it does not exit',
    (a) => a.mov(rbx, cr0).mov(rax, rbx).mov(cr0, rax),
    [put('CR0_MASK', TS), put('CR0_SHADOW', TS)],
    [expectMemory('CR0 as read', guestReg(3), TS, 8, TS), find('GUEST_CR0', 0, TS)],
  ),
  done('cr4-shadow', '26.3', (a) => a.mov(rbx, cr4), [put('CR4_MASK', 0x2000)], [expectMemory('CR4 as read', guestReg(3), 0, 8, 0x2000)]),
  done(
    'smsw-shadow',
    '26.3: SMSW as well',
    (a) => a.smsw(ebx),
    [put('CR0_MASK', TS), put('CR0_SHADOW', TS)],
    [expectMemory('SMSW', guestReg(3), TS, 4, TS)],
  ),
  done('clts-not-owned', '26.3: a bit of the guest’s own', (a) => a.clts(), [set('GUEST_CR0', TS)], [find('GUEST_CR0', 0, TS)]),
  done(
    'clts-masked-clear',
    '26.3: TS is the host’s and its shadow is 0: CLTS does nothing',
    (a) => a.clts(),
    [put('CR0_MASK', TS), set('GUEST_CR0', TS)],
    [find('GUEST_CR0', TS, TS)],
  ),
  done(
    'cr3-target',
    '26.1.3: a load of a CR3-target value does not exit',
    (a) => a.mov(eax, addr('page_pml4')).mov(cr3, rax),
    [...proc(PROC.cr3Load), put('CR3_TARGET_COUNT', 1), put('CR3_TARGET0', addr('page_pml4'))],
    [],
  ),
  ...(
    [
      ['mov-to-dr0', (a) => a.mov(dr0, rsi), 0 | (REG.rsi << 8)],
      ['mov-from-dr3', (a) => a.mov(rdi, dr3), 3 | 0x10 | (REG.rdi << 8)],
      ['mov-to-dr7', (a) => a.mov(dr7, rax), 7],
    ] as [string, Code, number][]
  ).map(
    ([name, code, qualification]): Case => ({
      name,
      manual: 'Table 28-4',
      before: (a) => a.mov(eax, 0x400),
      code,
      setup: proc(PROC.movDr),
      exit: 'MOV_DR',
      qualification,
      length: true,
    }),
  ),
  {
    name: 'mov-dr-gd',
    manual: '26.1.3: the exit comes before #DB of DR7.GD',
    code: (a) => a.mov(dr0, rsi),
    setup: [...proc(PROC.movDr), put('GUEST_DR7', 0x2400)],
    exit: 'MOV_DR',
    qualification: REG.rsi << 8,
    length: true,
  },
];

// --- I/O and MSRs (26.1.3; Table 28-5, Table 28-8) ---

const IN = 8;
const STRING = 0x10;
const REP = 0x20;
const IMMEDIATE = 0x40;
const io = (name: string, code: Code, port: number, size: 1 | 2 | 4, flags: number, more: Partial<Case> = {}): Case => ({
  name,
  manual: 'Table 28-5',
  before: (a) => a.mov(edx, port),
  code,
  setup: proc(PROC.io),
  exit: 'IO',
  qualification: BigInt(port) * 0x1_0000n + BigInt((size - 1) | flags),
  length: true,
  ...more,
});
/** Table 28-8 is there where bit 54 of IA32_VMX_BASIC is. */
const stringIo = (name: string, code: Code, size: 1 | 2 | 4, flags: number, lin: number, segment?: number, address: 1 | 2 = 2): Case =>
  io(name, code, 0x80, size, flags | STRING, {
    before: (a) =>
      a
        .mov(edx, 0x80)
        .mov(edi, A + 0x20)
        .mov(esi, A + 0x40)
        .mov(ecx, 2),
    finds: [
      find('GUEST_LINEAR_ADDRESS', lin),
      when('cap_basic', 1n << 54n),
      find('EXIT_INSTRUCTION_INFO', (address << 7) | ((segment ?? 0) << 15), 0x380 | (segment === undefined ? 0 : 0x3_8000)),
    ],
  });
const bitmapIo = proc(PROC.ioBitmaps);
const msrBitmap = proc(PROC.msrBitmaps);
const STAR = 0xc000_0081;
const ioAndMsrs: readonly Case[] = [
  io('in-al-imm', (a) => a.in(al, 0x80), 0x80, 1, IN | IMMEDIATE),
  io('in-eax-dx', (a) => a.in(eax, dx), 0x84, 4, IN),
  io('out-al-imm', (a) => a.out(0x80, al), 0x80, 1, IMMEDIATE),
  io('out-ax-dx', (a) => a.out(dx, ax), 0x9100, 2, 0),
  stringIo('outsb', (a) => a.outsb(), 1, 0, A + 0x40, SEG.ds),
  stringIo('rep-outsw', (a) => a.rep().outsw(), 2, REP, A + 0x40, SEG.ds),
  stringIo('fs-outsb', (a) => a.db(0x64).outsb(), 1, 0, A + 0x40, SEG.fs),
  stringIo('insb', (a) => a.insb(), 1, IN, A + 0x20),
  stringIo('rep-insd-a32', (a) => a.db(0x67).rep().insd(), 4, IN | REP, A + 0x20, undefined, 1),
  io('io-bitmap', (a) => a.in(al, 0x80), 0x80, 1, IN | IMMEDIATE, { setup: [...bitmapIo, store(addr('io_bitmaps', 0x10), 1, 1)] }),
  io('io-bitmap-high', (a) => a.in(al, dx), 0x9100, 1, IN, {
    setup: [...bitmapIo, store(addr('io_bitmaps', 0x1000 + 0x1100 / 8), 1, 1)],
  }),
  io('io-bitmap-last-byte', (a) => a.in(eax, dx), 0x80, 4, IN, { setup: [...bitmapIo, store(addr('io_bitmaps', 0x10), 8, 1)] }),
  io('io-bitmap-wraps', (a) => a.in(ax, dx), 0xffff, 2, IN, {
    setup: bitmapIo,
    manual: '26.1.3: an access that wraps around the 16-bit space exits whatever the bitmaps say',
  }),
  done('io-bitmap-clear', '26.1.3', (a) => a.out(0x80, al), bitmapIo, []),
  insn('rdmsr', 'RDMSR', (a) => a.rdmsr(), [clear('PROC_CONTROLS', PROC.msrBitmaps)], { before: (a) => a.mov(ecx, 0x174) }),
  insn('wrmsr', 'WRMSR', (a) => a.wrmsr(), [clear('PROC_CONTROLS', PROC.msrBitmaps)], {
    before: (a) => a.mov(ecx, 0x174).xor(eax, eax).xor(edx, edx),
  }),
  insn('rdmsr-bitmap-high', 'RDMSR', (a) => a.rdmsr(), [...msrBitmap, store(addr('msr_bitmap', 0x400 + 0x10), 2, 1)], {
    before: (a) => a.mov(ecx, STAR),
    manual: '25.6.9: read bitmap for high MSRs',
  }),
  insn('wrmsr-bitmap-low', 'WRMSR', (a) => a.wrmsr(), [...msrBitmap, store(addr('msr_bitmap', 0x800 + 0x2e), 0x10, 1)], {
    before: (a) => a.mov(ecx, 0x174).xor(eax, eax).xor(edx, edx),
    manual: '25.6.9: write bitmap for low MSRs',
  }),
  insn('rdmsr-out-of-range', 'RDMSR', (a) => a.rdmsr(), msrBitmap, { before: (a) => a.mov(ecx, 0x5000_0000), manual: '26.1.3' }),
  done('msr-bitmap-clear', '26.1.3', (a) => a.mov(ecx, 0x174).rdmsr(), msrBitmap, []),
];

// --- exceptions (26.2, 28.2.2) ---

const exception = (name: string, vector: number, code: Code, more: Partial<Case> = {}): Case => ({
  name: `exception-${name}`,
  manual: '26.2; 28.2.2',
  code,
  exit: 'EXCEPTION_NMI',
  event: vmxEvent('exception', vector, more.eventError !== undefined),
  ...more,
});
const exceptions: readonly Case[] = [
  exception('de', 0, (a) => a.div(ecx), { before: (a) => a.xor(ecx, ecx) }),
  exception('db-single-step', 1, (a) => a.nop(), {
    before: (a) => a.pushf().or(mem64(rsp), 0x100).popf(),
    rip: 'end',
    qualification: 0x4000,
    manual: 'Table 28-1: BS',
  }),
  exception('db-breakpoint', 1, (a) => a.nop(), {
    before: (a) => a.mov(eax, addr('vmx_exception_db_breakpoint_at')).mov(dr0, rax).mov(eax, 0x402).mov(dr7, rax),
    qualification: 1,
    setup: exitControl(EXIT.saveDebug),
    manual: 'Table 28-1: B0',
    finds: [find('GUEST_DR7', 0x402)],
  }),
  exception('bp', 3, (a) => a.int3(), { event: vmxEvent('softException', 3), length: true }),
  exception('int1', 1, (a) => a.int1(), {
    event: vmxEvent('privileged', 1),
    length: true,
    manual: '28.2.2: INT1 is a privileged software exception',
  }),
  exception('ud', 6, (a) => a.ud2()),
  exception('nm', 7, (a) => a.fninit(), { setup: [set('GUEST_CR0', TS)] }),
  exception('np', 11, (a) => a.mov(fs, ax), { before: (a) => a.mov(eax, SELECTOR.notPresent), eventError: SELECTOR.notPresent }),
  exception('ss', 12, (a) => a.push(rax), { before: (a) => a.mov(rsp, 0x8000_0000_0010n), eventError: 0 }),
  exception('gp', 13, (a) => a.mov(fs, ax), { before: (a) => a.mov(eax, 0x1238), eventError: 0x1238 }),
  exception('pf', 14, (a) => a.mov(eax, mem32(rbx)), {
    before: (a) => a.mov(rbx, NOWHERE + 0x123n),
    eventError: 0,
    qualification: NOWHERE + 0x123n,
    manual: '28.2.1: the qualification is the address; CR2 is not written',
  }),
  exception('pf-write', 14, (a) => a.mov(mem32(rbx), eax), {
    before: (a) => a.mov(ebx, A + 0x1008),
    setup: [store(addr('area_table', 8), A + 0x1005), call('flush')],
    eventError: 3,
    qualification: A + 0x1008,
  }),
  exception('pf-user', 14, (a) => a.mov(eax, mem32(rbx)), {
    before: (a) => a.mov(ebx, A + 0x2000),
    setup: [...guestUser, store(addr('area_table', 16), A + 0x2003), call('flush')],
    eventError: 5,
    qualification: A + 0x2000,
  }),
  exception('pf-match', 14, (a) => a.mov(mem32(rbx), eax), {
    before: (a) => a.mov(rbx, NOWHERE),
    setup: [put('PF_ERROR_MASK', 3), put('PF_ERROR_MATCH', 2)],
    eventError: 2,
    qualification: NOWHERE,
    manual: '26.2: (error code and mask) = match',
  }),
  exception('pf-inverted', 14, (a) => a.mov(mem32(rbx), eax), {
    before: (a) => a.mov(rbx, NOWHERE),
    setup: [put('EXCEPTION_BITMAP', 0), put('PF_ERROR_MASK', 3), put('PF_ERROR_MATCH', 1)],
    eventError: 2,
    qualification: NOWHERE,
    manual: '26.2: bit 14 clear and no match',
  }),
  {
    name: 'pf-no-match',
    manual: '26.2: bit 14 set and no match: through the guest IDT',
    before: (a) => a.mov(rbx, NOWHERE),
    code: (a) => a.mov(eax, mem32(rbx)),
    setup: [put('PF_ERROR_MASK', 3), put('PF_ERROR_MATCH', 2)],
    exit: 'VMCALL',
    rip: 'any',
    finds: [expectMemory('vector', guestReg(0), 14)],
  },
  {
    name: 'exception-not-intercepted',
    manual: '26.2',
    code: (a) => a.ud2(),
    setup: [put('EXCEPTION_BITMAP', 0)],
    exit: 'VMCALL',
    rip: 'any',
    finds: [expectMemory('vector', guestReg(0), 6)],
  },
  {
    name: 'triple-fault',
    manual: '26.2; 28.2.1',
    code: (a) => a.ud2(),
    setup: [put('EXCEPTION_BITMAP', 0), put('GUEST_IDTR_LIMIT', 0)],
    exit: 'TRIPLE_FAULT',
  },
  {
    name: 'double-fault',
    manual: '28.2.4: a double fault that exits is not an exit during event delivery',
    code: (a) => a.div(ecx),
    before: (a) => a.xor(ecx, ecx),
    setup: [put('EXCEPTION_BITMAP', 1 << 8), put('GUEST_IDTR_LIMIT', 0)],
    exit: 'EXCEPTION_NMI',
    event: vmxEvent('exception', 8, true),
    eventError: 0,
  },
  {
    name: 'single-step-pending',
    manual: '28.3.3: TF with an instruction that exits: nothing is pending after a fault-like exit',
    before: (a) => a.pushf().or(mem64(rsp), 0x100),
    code: (a) => a.popf().cpuid(),
    exit: 'CPUID',
    rip: 'any',
    finds: [find('GUEST_RFLAGS', 0x100, 0x100), find('GUEST_PENDING_DEBUG', 0)],
  },
];

// --- event delivery (27.6.1, 28.2.4) ---

const inject = (event: number, error?: number, length?: number): Step[] => [
  put('ENTRY_INTR_INFO', event),
  ...(error === undefined ? [] : [put('ENTRY_EXCEPTION_ERROR_CODE', error)]),
  ...(length === undefined ? [] : [put('ENTRY_INSTRUCTION_LENGTH', length)]),
];
const frame = (words: number, what: string, value: Imm): Step => expectMemory(what, addr('guest_stack_top', -8 * words), value);
const injected = (name: string, vector: number, setup: readonly Step[], finds: readonly Step[] = [], manual = '27.6.1.1'): Case => ({
  name: `inject-${name}`,
  manual,
  code: (a) => a.nop(),
  setup,
  exit: 'VMCALL',
  rip: 'any',
  finds: [expectMemory('vector', guestReg(0), vector), ...finds],
});
const faulting = (name: string, setup: readonly Step[], error: number, during: number, more: Partial<Case> = {}): Case => ({
  name: `vectoring-${name}`,
  manual: '28.2.4',
  code: (a) => a.nop(),
  setup: [...setup, put('GUEST_IDTR_LIMIT', 0)],
  exit: 'EXCEPTION_NMI',
  event: vmxEvent('exception', 13, true),
  eventError: error,
  during,
  ...more,
});
const events: readonly Case[] = [
  injected(
    'external',
    0x51,
    [...inject(vmxEvent('external', 0x51)), set('GUEST_RFLAGS', 0x200)],
    [
      frame(5, 'frame rip', addr('vmx_inject_external_at')),
      frame(3, 'frame rflags', 0x202),
      find('GUEST_RSP', addr('guest_stack_top', -40)),
      find('GUEST_RFLAGS', 0, 0x200),
    ],
  ),
  injected(
    'nmi',
    2,
    inject(vmxEvent('nmi', 2)),
    [find('GUEST_INTERRUPTIBILITY', 8, 8)],
    '27.6.1.1: blocking by NMI begins with the delivery',
  ),
  injected('ud', 6, inject(vmxEvent('exception', 6))),
  injected('gp', 13, inject(vmxEvent('exception', 13, true), 0x1234), [frame(6, 'error code', 0x1234)]),
  injected('pf', 14, inject(vmxEvent('exception', 14, true), 2), [frame(6, 'error code', 2)]),
  injected(
    'int-n',
    0x81,
    inject(vmxEvent('software', 0x81), undefined, 2),
    [frame(5, 'frame rip', addr('vmx_inject_int_n', 2))],
    '27.6.1.1: RIP of the frame is behind the instruction',
  ),
  injected('int3', 3, inject(vmxEvent('softException', 3), undefined, 1), [frame(5, 'frame rip', addr('vmx_inject_int3', 1))]),
  faulting('external', [...inject(vmxEvent('external', 0x51)), set('GUEST_RFLAGS', 0x200)], 0x51 * 8 + 2 + 1, vmxEvent('external', 0x51)),
  faulting('nmi', inject(vmxEvent('nmi', 2)), 2 * 8 + 2 + 1, vmxEvent('nmi', 2)),
  faulting('exception', inject(vmxEvent('exception', 6)), 6 * 8 + 2 + 1, vmxEvent('exception', 6)),
  faulting('software', inject(vmxEvent('software', 0x81), undefined, 2), 0x81 * 8 + 2, vmxEvent('software', 0x81), {
    finds: [find('EXIT_INSTRUCTION_LENGTH', 2)],
    manual: '28.2.4, 28.2.5: EXT is clear, and the length is the one that was injected',
  }),
  faulting('int3', [], 3 * 8 + 2, vmxEvent('softException', 3), {
    code: (a) => a.int3(),
    setup: [put('EXCEPTION_BITMAP', 1 << 13), put('GUEST_IDTR_LIMIT', 0)],
    length: true,
  }),
  faulting('int-n', [], 0x52 * 8 + 2, vmxEvent('software', 0x52), { code: (a) => a.int(0x52), length: true }),
  faulting('ud', [], 6 * 8 + 2 + 1, vmxEvent('exception', 6), {
    code: (a) => a.ud2(),
    setup: [put('EXCEPTION_BITMAP', 1 << 13), put('GUEST_IDTR_LIMIT', 0)],
  }),
  {
    name: 'vectoring-page-fault',
    manual: '28.2.4: a page fault of the stack while a fault with an error code was delivered',
    code: (a) => a.mov(fs, ax),
    before: (a) => a.mov(eax, 0x1238).mov(rsp, NOWHERE + 0x800n),
    setup: [put('EXCEPTION_BITMAP', 1 << 14)],
    exit: 'EXCEPTION_NMI',
    event: vmxEvent('exception', 14, true),
    eventError: 2,
    qualification: NOWHERE + 0x7f8n,
    during: vmxEvent('exception', 13, true),
    duringError: 0x1238,
  },
];

// --- interrupts, windows, the timer (26.2, 26.5) ---

const sendToSelf =
  (low: number): Code =>
  (a) => {
    a.mov(ebx, APIC.base)
      .mov(eax, mem32(rbx, { disp: APIC.id }))
      .mov(mem32(rbx, { disp: APIC.icrHigh }), eax);
    a.mov(mem32(rbx, { disp: APIC.icrLow }), low);
  };
const wait: Code = (a) => {
  const again = a.fresh('wait');
  a.mov(ecx, 1000).label(again).dec(ecx).jnz(again);
};
const asynchronous: readonly Case[] = [
  {
    name: 'external-interrupt',
    manual: '26.2: whatever RFLAGS.IF; not acknowledged, so it stays pending',
    before: (a) => {
      sendToSelf(0x40f0)(a);
      wait(a);
    },
    code: (a) => a.nop(),
    setup: pin(PIN.externalInterrupt),
    exit: 'EXTERNAL_INTERRUPT',
    rip: 'any',
    after: [store(addr('interrupts_taken'), 0), call('take_interrupts')],
    finds: [expectMemory('interrupts taken', addr('interrupts_taken'), 1), expectMemory('vector', addr('interrupt_vector'), 0xf0)],
  },
  {
    name: 'external-interrupt-acknowledged',
    manual: '28.2.2: “acknowledge interrupt on exit”',
    before: (a) => {
      sendToSelf(0x40f0)(a);
      wait(a);
    },
    code: (a) => a.nop(),
    setup: [...pin(PIN.externalInterrupt), ...exitControl(EXIT.acknowledge)],
    exit: 'EXTERNAL_INTERRUPT',
    rip: 'any',
    event: vmxEvent('external', 0xf0),
    after: [store(addr('interrupts_taken'), 0), call('take_interrupts'), call('apic_eoi')],
    finds: [expectMemory('interrupts taken', addr('interrupts_taken'), 0)],
  },
  {
    name: 'nmi',
    manual: '26.2: the exit blocks NMIs, as their delivery would',
    before: (a) => {
      sendToSelf(0x4400)(a);
      wait(a);
    },
    code: (a) => a.nop(),
    setup: pin(PIN.nmi),
    exit: 'EXCEPTION_NMI',
    rip: 'any',
    event: vmxEvent('nmi', 2),
    after: [call('unblock_nmi')],
  },
  {
    name: 'init-signal',
    manual: '26.2: an INIT of its own making; no qualification, and nothing is reset',
    before: (a) => {
      sendToSelf(0x4500)(a);
      wait(a);
    },
    code: (a) => a.nop(),
    exit: 'INIT',
    rip: 'any',
  },
  {
    name: 'interrupt-window',
    manual: '26.2',
    code: (a) => a.nop(),
    setup: [...proc(PROC.interruptWindow), set('GUEST_RFLAGS', 0x200)],
    exit: 'INTERRUPT_WINDOW',
  },
  {
    name: 'interrupt-window-sti',
    manual: '26.2: not while STI blocks',
    before: (a) => a.sti(),
    code: (a) => a.nop(),
    setup: proc(PROC.interruptWindow),
    exit: 'INTERRUPT_WINDOW',
    rip: 'end',
  },
  {
    name: 'nmi-window',
    manual: '26.2',
    code: (a) => a.nop(),
    setup: [...pin(PIN.nmi | PIN.virtualNmis), ...proc(PROC.nmiWindow)],
    exit: 'NMI_WINDOW',
  },
  {
    name: 'nmi-window-iret',
    manual: '26.2, 26.3: virtual-NMI blocking ends with IRET',
    before: (a) =>
      a.mov(rax, rsp).push(SELECTOR.data).push(rax).pushf().push(SELECTOR.code).lea(rcx, at('vmx_nmi_window_iret_at')).push(rcx).iretq(),
    code: (a) => a.nop(),
    setup: [...pin(PIN.nmi | PIN.virtualNmis), ...proc(PROC.nmiWindow), put('GUEST_INTERRUPTIBILITY', 8)],
    exit: 'NMI_WINDOW',
    finds: [find('GUEST_INTERRUPTIBILITY', 0)],
  },
  {
    name: 'preemption-timer',
    manual: '26.5.1: zero exits before the first instruction',
    code: (a) => a.nop(),
    setup: [...pin(PIN.preemptionTimer), put('PREEMPTION_TIMER', 0)],
    exit: 'PREEMPTION_TIMER',
  },
  {
    name: 'preemption-timer-counts',
    manual: '26.5.1; 28.3.5: the value is saved where “save preemption timer” says so',
    code: (a) => a.label('vmx_timer_again').jmp('vmx_timer_again'),
    setup: [...pin(PIN.preemptionTimer), ...exitControl(EXIT.savePreemptionTimer), put('PREEMPTION_TIMER', 0x100)],
    exit: 'PREEMPTION_TIMER',
    finds: [find('PREEMPTION_TIMER', 0)],
  },
  {
    name: 'trap-flag',
    manual: '26.5.2: monitor trap flag, after one instruction',
    code: (a) => a.nop(),
    setup: proc(PROC.trapFlag),
    exit: 'TRAP_FLAG',
    rip: 'end',
  },
  {
    name: 'trap-flag-injected',
    manual: '26.5.2: an MTF that is injected is pending at once',
    code: (a) => a.nop(),
    setup: [...proc(PROC.trapFlag), ...inject(vmxEvent('other', 0))],
    exit: 'TRAP_FLAG',
  },
  {
    name: 'tpr-below-threshold',
    manual: '30.1.2: trap-like, after the MOV to CR8',
    before: (a) => a.mov(eax, 3),
    code: (a) => a.mov(cr8, rax),
    setup: [...proc(PROC.tprShadow), put('TPR_THRESHOLD', 5), store(addr('virtual_apic', 0x80), 0x70, 4)],
    exit: 'TPR_BELOW_THRESHOLD',
    rip: 'end',
    finds: [expectMemory('VTPR', addr('virtual_apic', 0x80), 0x30, 4)],
  },
  done(
    'tpr-shadow',
    '30.3: CR8 is bits 7:4 of VTPR',
    (a) => a.mov(rbx, cr8),
    [...proc(PROC.tprShadow), store(addr('virtual_apic', 0x80), 0x90, 4)],
    [expectMemory('CR8', guestReg(3), 9)],
  ),
  {
    name: 'activity-hlt',
    manual: '27.7.2: an entry to HLT is left by an event that is injected',
    code: (a) => a.nop(),
    setup: [
      put('GUEST_ACTIVITY', 1),
      ...inject(vmxEvent('external', 0x51)),
      set('GUEST_RFLAGS', 0x200),
      need('cap_misc', 0x40, 'activity state HLT'),
    ],
    exit: 'VMCALL',
    rip: 'any',
    finds: [expectMemory('vector', guestReg(0), 0x51), find('GUEST_ACTIVITY', 0)],
  },
  {
    name: 'tsc-offset',
    manual: '26.3: RDTSC',
    before: (a) => a.rdtsc().mov(ebx, edx),
    code: (a) => a.vmcall(),
    setup: [...proc(PROC.tscOffset), put('TSC_OFFSET', 0x7000_0000_0000_0000n)],
    exit: 'VMCALL',
    length: true,
    finds: [expectMemory('upper half of the TSC', guestReg(3), 0x7000_0000, 4, 0xffff_0000)],
  },
];

// --- task switches (Table 28-2), in 32-bit guests ---

const taskSwitch = (name: string, source: 0 | 1 | 2 | 3, selector: number, code32: Code32, more: Partial<Case> = {}): Case => ({
  name: `task-switch-${name}`,
  manual: 'Table 28-2; 26.4.2',
  code32,
  exit: 'TASK_SWITCH',
  qualification: BigInt(selector) | (BigInt(source) << 30n),
  length: true,
  ...more,
});
const taskSwitches: readonly Case[] = [
  taskSwitch('call', 0, SELECTOR.otherTss32, (a) => a.db(0x9a).dd(0).dw(SELECTOR.otherTss32)),
  taskSwitch('jmp', 2, SELECTOR.otherTss32, (a) => a.db(0xea).dd(0).dw(SELECTOR.otherTss32)),
  taskSwitch('gate', 0, SELECTOR.otherTss32, (a) => a.db(0x9a).dd(0).dw(SELECTOR.taskGate)),
  taskSwitch('iret', 1, SELECTOR.otherTss32, (a) => a.iretd(), {
    setup: [
      set('GUEST_RFLAGS', 0x4000),
      // The way back leads to a task that is busy.
      store(addr('tss32'), SELECTOR.otherTss32, 2),
      store(addr('gdt', SELECTOR.otherTss32 + 5), 0x8b, 1),
    ],
  }),
];

// --- APIC virtualization (chapter 30) ---

const APIC_PAGE = A + 0x7000;
const apic = (name: string, code: Code, qualification: number, more: Partial<Case> = {}): Case => ({
  name: `apic-access-${name}`,
  manual: 'Table 28-6; 30.4',
  before: (a) => a.mov(ebx, APIC_PAGE),
  code,
  setup: proc2(PROC2.apicAccesses),
  exit: 'APIC_ACCESS',
  qualification,
  ...more,
});
const apics: readonly Case[] = [
  apic('read', (a) => a.mov(eax, mem32(rbx, { disp: 0x300 })), 0x300),
  apic('write', (a) => a.mov(mem32(rbx, { disp: 0xb0 }), eax), 0xb0 | (1 << 12)),
  apic('fetch', (a) => a.jmp(rbx), 2 << 12, { rip: 'any' }),
  done(
    'apic-tpr-read',
    '30.4.1: with a TPR shadow, a read of VTPR is virtualized',
    (a) => a.mov(ebx, APIC_PAGE).mov(eax, mem32(rbx, { disp: 0x80 })),
    [...proc2(PROC2.apicAccesses), ...proc(PROC.tprShadow), store(addr('virtual_apic', 0x80), 0x50, 4)],
    [expectMemory('TPR as read', guestReg(0), 0x50, 4)],
  ),
  {
    name: 'apic-write',
    manual: '30.4.3.3: APIC-register virtualization, a write to a register that software must see',
    before: (a) => a.mov(ebx, APIC_PAGE).mov(eax, 0x1234),
    code: (a) => a.mov(mem32(rbx, { disp: 0x320 }), eax),
    setup: [...proc2(PROC2.apicAccesses | PROC2.apicRegisters), ...proc(PROC.tprShadow)],
    exit: 'APIC_WRITE',
    qualification: 0x320,
    rip: 'end',
    finds: [expectMemory('virtual APIC page', addr('virtual_apic', 0x320), 0x1234, 4)],
  },
  {
    name: 'virtualized-eoi',
    manual: '30.1.4: the EOI-exit bitmap',
    before: (a) => a.mov(ebx, APIC_PAGE).xor(eax, eax),
    code: (a) => a.mov(mem32(rbx, { disp: 0xb0 }), eax),
    setup: [
      ...proc2(PROC2.apicAccesses | PROC2.apicRegisters | PROC2.virtualInterrupts),
      ...proc(PROC.tprShadow),
      ...pin(PIN.externalInterrupt),
      put('GUEST_INTERRUPT_STATUS', 0x3500),
      put('EOI_EXIT_BITMAP0', 1n << 0x35n),
      store(addr('virtual_apic', 0x100 + 0x10), 1 << 0x15, 4),
    ],
    exit: 'VIRTUALIZED_EOI',
    qualification: 0x35,
    rip: 'end',
    finds: [find('GUEST_INTERRUPT_STATUS', 0), expectMemory('VISR', addr('virtual_apic', 0x110), 0, 4)],
  },
  {
    name: 'virtual-interrupt',
    manual: '30.2: evaluation at the entry, delivery through the guest IDT',
    code: (a) => a.nop(),
    setup: [
      ...proc2(PROC2.apicRegisters | PROC2.virtualInterrupts),
      ...proc(PROC.tprShadow),
      ...pin(PIN.externalInterrupt),
      set('GUEST_RFLAGS', 0x200),
      put('GUEST_INTERRUPT_STATUS', 0x35),
      store(addr('virtual_apic', 0x210), 1 << 0x15, 4),
    ],
    exit: 'VMCALL',
    rip: 'any',
    finds: [
      expectMemory('vector', guestReg(0), 0x35),
      find('GUEST_INTERRUPT_STATUS', 0x3500),
      expectMemory('VISR', addr('virtual_apic', 0x110), 1 << 0x15, 4),
    ],
  },
];

// --- EPT (29.3; Table 28-7) ---

const Q = { read: 1, write: 2, fetch: 4, readable: 8, writable: 0x10, executable: 0x20, linear: 0x80, translated: 0x100 } as const;
/** Bits 9 to 11 and 12 are of processors with advanced information and NMI unblocking. */
const Q_MASK = 0x1bf;
const eptPage = (n: number, flags: bigint | number): Step => store(addr('ept_pt', n * 8), BigInt(A + n * 4096) | BigInt(flags));
const MEMORY_WB = 0x30;
const ept = (name: string, code: Code, qualification: number, gpa: Imm, setup: readonly Step[], more: Partial<Case> = {}): Case => ({
  name: `ept-${name}`,
  manual: 'Table 28-7',
  before: (a) => a.mov(ebx, A + 0x4000),
  code,
  exit: 'EPT_VIOLATION',
  qualification: 'any',
  ...more,
  setup: [...withEpt(), ...setup, call('ept_flush')],
  finds: [find('EXIT_QUALIFICATION', qualification, Q_MASK), find('GUEST_PHYSICAL_ADDRESS', gpa), ...(more.finds ?? [])],
});
const atPage4 = [find('GUEST_LINEAR_ADDRESS', A + 0x4010)];
const misconfigured = (name: string, flags: bigint | number, needs: readonly Step[] = []): Case => ({
  name: `ept-misconfiguration-${name}`,
  manual: '29.3.3.1',
  before: (a) => a.mov(ebx, A + 0x4000),
  code: (a) => a.mov(eax, mem32(rbx, { disp: 0x10 })),
  setup: [...needs, ...withEpt(), eptPage(4, flags), call('ept_flush')],
  exit: 'EPT_MISCONFIGURATION',
  finds: [find('GUEST_PHYSICAL_ADDRESS', A + 0x4010)],
});
const epts: readonly Case[] = [
  ept('read', (a) => a.mov(eax, mem32(rbx, { disp: 0x10 })), Q.read | Q.linear | Q.translated, A + 0x4010, [eptPage(4, 0)], {
    finds: atPage4,
  }),
  ept('write', (a) => a.mov(mem32(rbx, { disp: 0x10 }), eax), Q.write | Q.linear | Q.translated, A + 0x4010, [eptPage(4, 0)], {
    finds: atPage4,
  }),
  ept('write-protected', (a) => a.mov(mem32(rbx), eax), Q.write | Q.readable | Q.executable | Q.linear | Q.translated, A + 0x4000, [
    eptPage(4, MEMORY_WB | 5),
  ]),
  ept('read-write', (a) => a.add(mem32(rbx), eax), Q.write | Q.linear | Q.translated, A + 0x4000, [eptPage(4, 0)], {
    qualification: 'any',
    manual: 'Table 28-7: whether a read-modify-write sets bit 0 as well is the processor’s affair',
    finds: [],
  }),
  ept('fetch', (a) => a.jmp(rbx), Q.fetch | Q.readable | Q.writable | Q.linear | Q.translated, A + 0x4000, [eptPage(4, MEMORY_WB | 3)], {
    rip: 'any',
  }),
  ept(
    'guest-table',
    (a) => a.mov(eax, mem32(rbx, { disp: 0x10 })),
    Q.read | Q.linear,
    A + 0x5000 + 0x20,
    [call('table_in_area'), eptPage(5, 0)],
    {
      manual: 'Table 28-7: bit 8 is clear where a paging structure was to be read',
      after: [call('table_back')],
      finds: [find('GUEST_LINEAR_ADDRESS', A + 0x4010)],
    },
  ),
  ept(
    'not-mapped-high',
    (a) => a.mov(eax, mem32(rbx, { disp: 0x10 })),
    Q.read | Q.linear | Q.translated,
    0x10_0000_0010n,
    [
      // The guest maps page 4 to where no EPT entry is.
      store(addr('area_table', 32), 0x10_0000_0007n),
      call('flush'),
    ],
    { finds: atPage4 },
  ),
  misconfigured('write-only', MEMORY_WB | 2),
  misconfigured('write-execute', MEMORY_WB | 6),
  misconfigured('memory-type', (2 << 3) | 7),
  misconfigured('reserved-address', (1n << 51n) | BigInt(MEMORY_WB | 7)),
  done(
    'ept-remap',
    '29.3.2',
    (a) => a.mov(ebx, A + 0x4000).mov(eax, mem32(rbx)),
    [
      ...withEpt(),
      store(addr('ept_pt', 32), (A + 0x6000) | MEMORY_WB | 7),
      store(A + 0x6000, 0x1357, 4),
      store(A + 0x4000, 0x2468, 4),
      call('ept_flush'),
    ],
    [expectMemory('what was read', guestReg(0), 0x1357)],
  ),
  done(
    'ept-accessed-dirty',
    '29.3.5',
    (a) =>
      a
        .mov(ebx, A + 0x4000)
        .mov(mem32(rbx), eax)
        .mov(eax, mem32(rbx, { disp: 0x1000 })),
    [need('cap_ept', 1 << 21, 'accessed and dirty bits for EPT'), ...withEpt(), set('EPT_POINTER', 0x40), call('ept_flush')],
    [
      expectMemory('written page', addr('ept_pt', 4 * 8), 0x300, 8, 0x300),
      expectMemory('read page', addr('ept_pt', 5 * 8), 0x100, 8, 0x300),
      expectMemory('untouched page', addr('ept_pt', 6 * 8), 0, 8, 0x300),
    ],
  ),
  {
    name: 'pml-full',
    manual: '29.3.6: the index is below 0, so the next dirty page exits',
    before: (a) => a.mov(ebx, A + 0x4000),
    code: (a) => a.mov(mem32(rbx), eax),
    setup: [
      need('cap_ept', 1 << 21, 'accessed and dirty bits for EPT'),
      ...withEpt(PROC2.pml),
      set('EPT_POINTER', 0x40),
      put('PML_ADDRESS', addr('pml_log')),
      put('PML_INDEX', 0xffff),
      call('ept_flush'),
    ],
    exit: 'PML_FULL',
    rip: 'any',
    qualification: 'any',
  },
  done(
    'pml-log',
    '29.3.6',
    (a) => a.mov(ebx, A + 0x4000).mov(mem32(rbx, { disp: 0x123 }), eax),
    [
      need('cap_ept', 1 << 21, 'accessed and dirty bits for EPT'),
      ...withEpt(PROC2.pml),
      set('EPT_POINTER', 0x40),
      put('PML_ADDRESS', addr('pml_log')),
      put('PML_INDEX', 511),
      // Only page 4 is still clean.
      call('ept_all_dirty'),
      eptPage(4, MEMORY_WB | 7),
      call('ept_flush'),
    ],
    [find('PML_INDEX', 510), expectMemory('log', addr('pml_log', 511 * 8), A + 0x4000)],
  ),
  {
    name: 'virtualization-exception',
    manual: '26.5.7: a convertible EPT violation is #VE (20), with its information in the page',
    before: (a) => a.mov(ebx, A + 0x4000),
    code: (a) => a.mov(eax, mem32(rbx, { disp: 0x10 })),
    setup: [
      ...withEpt(PROC2.virtualizationException),
      put('VE_INFORMATION_ADDRESS', addr('ve_information')),
      store(addr('ve_information', 4), 0, 4),
      eptPage(4, 0),
      call('ept_flush'),
    ],
    exit: 'EXCEPTION_NMI',
    event: vmxEvent('exception', 20),
    qualification: 'any',
    finds: [
      expectMemory('information: reason', addr('ve_information', 0), 48, 4),
      expectMemory('information: busy', addr('ve_information', 4), 0xffff_ffff, 4),
      expectMemory('information: linear address', addr('ve_information', 16), A + 0x4010),
      expectMemory('information: physical address', addr('ve_information', 24), A + 0x4010),
    ],
  },
  done(
    'vmfunc-eptp-switching',
    '26.5.6.3',
    (a) => a.xor(eax, eax).xor(ecx, ecx).vmfunc(),
    [
      ...withEpt(PROC2.vmfunc),
      need('cap_vmfunc', 1, 'EPTP switching'),
      put('VMFUNC_CONTROLS', 1),
      put('EPTP_LIST', addr('eptp_list')),
      call('eptp_list_fill'),
    ],
    [],
  ),
];

// --- the host's state after an exit, resuming, unrestricted guests ---

const others: readonly Case[] = [
  {
    name: 'host-descriptor-limits',
    manual: '28.5.2: the limits of GDTR and IDTR are FFFFH',
    code: (a) => a.vmcall(),
    exit: 'VMCALL',
    length: true,
    after: [call('note_gdtr')],
    finds: [expectMemory('limit', addr('gdtr_after'), 0xffff, 2), expectMemory('base', addr('gdtr_after', 2), addr('gdt'))],
  },
  {
    name: 'resume',
    manual: '27.8, VMRESUME goes on where the exit was',
    before: (a) => a.mov(ebx, 1).vmcall().mov(ebx, 2),
    code: (a) => a.vmcall(),
    exit: 'VMCALL',
    length: true,
    after: [call('skip_instruction'), call('enter_again')],
    finds: [expectMemory('rbx', guestReg(3), 2)],
  },
  {
    name: 'guest-state-saved',
    manual: '28.3',
    before: (a) => {
      a.mov(eax, SELECTOR.small).mov(ds, ax).mov(rax, 0x1122_3344_5566_7788n).mov(rbx, rax).sub(rsp, 32);
      a.xor(ecx, ecx).cmp(ecx, 1);
    },
    code: (a) => a.vmcall(),
    exit: 'VMCALL',
    length: true,
    finds: [
      expectMemory('rbx', guestReg(3), 0x1122_3344_5566_7788n),
      find('GUEST_RSP', addr('guest_stack_top', -32)),
      find('GUEST_RFLAGS', 0x95, 0x8d5),
      find('GUEST_DS_SELECTOR', SELECTOR.small),
      find('GUEST_DS_LIMIT', 0xfff),
      find('GUEST_DS_ACCESS_RIGHTS', 0x4093),
      find('GUEST_INTERRUPTIBILITY', 0),
      find('GUEST_ACTIVITY', 0),
    ],
  },
  {
    name: 'null-segment-saved',
    manual: '28.3.2: a null selector is unusable',
    before: (a) => a.xor(eax, eax).mov(fs, ax),
    code: (a) => a.vmcall(),
    exit: 'VMCALL',
    length: true,
    finds: [find('GUEST_FS_SELECTOR', 0), find('GUEST_FS_ACCESS_RIGHTS', 0x1_0000, 0x1_0000)],
  },
  {
    name: 'blocking-by-sti',
    manual: '28.3.4',
    before: (a) => a.sti(),
    code: (a) => a.vmcall(),
    exit: 'VMCALL',
    length: true,
    finds: [find('GUEST_INTERRUPTIBILITY', 1)],
  },
  {
    name: 'blocking-by-mov-ss',
    manual: '28.3.4',
    before: (a) => a.mov(eax, SELECTOR.data).mov({ kind: 'seg', nr: 2 }, ax),
    code: (a) => a.vmcall(),
    exit: 'VMCALL',
    length: true,
    finds: [find('GUEST_INTERRUPTIBILITY', 2)],
  },
  {
    name: 'entry-msr-load',
    manual: '27.4',
    before: (a) => a.mov(ecx, STAR).rdmsr(),
    code: (a) => a.vmcall(),
    setup: [
      ...msrBitmap,
      store(addr('msr_area'), STAR, 8),
      store(addr('msr_area', 8), 0x1234_5678_9abc_def0n),
      put('ENTRY_MSR_LOAD_COUNT', 1),
    ],
    exit: 'VMCALL',
    length: true,
    finds: [expectMemory('eax', guestReg(0), 0x9abc_def0, 4), expectMemory('edx', guestReg(2), 0x1234_5678, 4)],
  },
  {
    name: 'exit-msr-store',
    manual: '28.4',
    before: (a) => a.mov(ecx, STAR).mov(eax, 0x1111).mov(edx, 0x2222).wrmsr(),
    code: (a) => a.vmcall(),
    setup: [...msrBitmap, store(addr('msr_area'), STAR, 8), put('EXIT_MSR_STORE_COUNT', 1)],
    exit: 'VMCALL',
    length: true,
    finds: [expectMemory('stored', addr('msr_area', 8), 0x2222_0000_1111n)],
  },
  {
    name: 'real-mode',
    manual: '26.6: unrestricted guest, CR0.PE and PG clear',
    code: (a) => a.hlt(),
    setup: [
      ...withEpt(PROC2.unrestricted),
      ...proc(PROC.hlt),
      clear('ENTRY_CONTROLS', 0x200),
      clear('GUEST_CR0', 0x8000_0001),
      clear('GUEST_CR4', 0x20),
      ...realSegments(),
    ],
    exit: 'HLT',
    length: true,
    rip: 'any',
    finds: [find('GUEST_RIP', 0x10)],
  },
];

/** Real-mode segments: CS has its base at the code of the row. */
function realSegments(): Step[] {
  const data = (['ES', 'SS', 'DS', 'FS', 'GS'] as const).flatMap((s): Step[] => [
    put(`GUEST_${s}_SELECTOR`, 0),
    put(`GUEST_${s}_BASE`, 0),
    put(`GUEST_${s}_LIMIT`, 0xffff),
    put(`GUEST_${s}_ACCESS_RIGHTS`, 0x93),
  ]);
  return [
    ...data,
    put('GUEST_CS_SELECTOR', 0x1000),
    put('GUEST_CS_BASE', addr('vmx_real_mode', -0x10)),
    put('GUEST_CS_LIMIT', 0xffff),
    put('GUEST_CS_ACCESS_RIGHTS', 0x9b),
    put('GUEST_RIP', 0x10),
  ];
}

const CASES: readonly Case[] = [
  ...instructions,
  ...priorities,
  ...registers,
  ...ioAndMsrs,
  ...exceptions,
  ...events,
  ...asynchronous,
  ...taskSwitches,
  ...apics,
  ...epts,
  ...others,
];

/** What each row takes, for those who count what is covered. */
export const VMX_EXITS_TAKEN: readonly { readonly name: string; readonly manual: string; readonly exit: ReasonName }[] = CASES;
export const vmxExitRows = (k: BareKernel): Row[] => CASES.map((c) => exitRow(k, c));
