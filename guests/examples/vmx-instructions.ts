// VMX instructions in root operation: VMsucceed, VMfailInvalid and VMfailValid with each VM-instruction error that bare software can provoke (SDM Vol 3C,
// 31.2 to 31.4), and their faults.
import { type Assembler, addr, at, at64, cr0, cr4, eax, edx, mem128, r8, rax, rcx, rdx, rsp } from '../asm/index.ts';
import { type BareKernel, routine } from '../kit/virt/bare.ts';
import { call, expectMemory, need, type Row, type Step } from '../kit/virt/rows.ts';
import { PROC2, VMCS } from '../kit/virt/vmcs.ts';
import { expectOutcome, high, noteOutcome, OUTCOME } from '../kit/virt/vmx.ts';

type Code = (a: Assembler<64>) => unknown;
/** `code` with this pointer in memory, for VMCLEAR and its like. */
const withPointer =
  (value: bigint | string, code: Code, plus = 0): Code =>
  (a) => {
    a.mov(rax, typeof value === 'string' ? addr(value, plus) : value).mov(at64('gdtr_after'), rax);
    code(a);
  };
const operand = at64('gdtr_after');

interface Case {
  readonly name: string;
  readonly manual: string;
  readonly code: Code;
  readonly outcome: number;
  readonly setup?: readonly Step[];
  /** The code has noted the outcome itself. */
  readonly noted?: true;
  /** Puts things right again. */
  readonly after?: Code;
}
const fail = (error: number): number => OUTCOME.valid | error;

const CASES: readonly Case[] = [
  { name: 'vmcall-in-root', manual: '31.4, error 1', code: (a) => a.vmcall(), outcome: fail(1) },
  { name: 'vmclear-unaligned', manual: '31.4, error 2', code: withPointer('vmcs', (a) => a.vmclear(operand), 8), outcome: fail(2) },
  { name: 'vmclear-beyond-memory', manual: '31.4, error 2', code: withPointer(1n << 52n, (a) => a.vmclear(operand)), outcome: fail(2) },
  {
    name: 'vmclear-vmxon-pointer',
    manual: '31.4, error 3',
    code: withPointer('vmxon_region', (a) => a.vmclear(operand)),
    outcome: fail(3),
  },
  {
    name: 'vmlaunch-launched',
    manual: '31.4, error 4',
    code: (a) => a.mov(rax, addr('guest_vmcall')).mov(edx, VMCS.GUEST_RIP).vmwrite(rdx, rax).call('enter').call('enter'),
    outcome: fail(4),
    noted: true,
  },
  { name: 'vmresume-clear', manual: '31.4, error 5', code: (a) => a.call('enter_again'), outcome: fail(5), noted: true },
  { name: 'vmptrld-unaligned', manual: '31.4, error 9', code: withPointer('vmcs', (a) => a.vmptrld(operand), 8), outcome: fail(9) },
  { name: 'vmptrld-beyond-memory', manual: '31.4, error 9', code: withPointer(1n << 52n, (a) => a.vmptrld(operand)), outcome: fail(9) },
  {
    name: 'vmptrld-vmxon-pointer',
    manual: '31.4, error 10',
    code: withPointer('vmxon_region', (a) => a.vmptrld(operand)),
    outcome: fail(10),
  },
  {
    name: 'vmptrld-revision',
    manual: '31.4, error 11',
    code: withPointer('guest_stack', (a) => a.mov(at64('guest_stack'), 0x7fff_fff0).vmptrld(operand)),
    outcome: fail(11),
  },
  { name: 'vmread-no-field', manual: '31.4, error 12', code: (a) => a.mov(eax, 0x6bfe).vmread(rcx, rax), outcome: fail(12) },
  { name: 'vmwrite-no-field', manual: '31.4, error 12', code: (a) => a.mov(eax, 0x6bfe).vmwrite(rax, rcx), outcome: fail(12) },
  {
    name: 'vmread-encoding-bit-32',
    manual: '31.3, VMREAD: bits 63:32 of the encoding count',
    code: (a) => a.mov(rax, 0x1_0000_4402n).vmread(rcx, rax),
    outcome: fail(12),
  },
  {
    name: 'vmwrite-read-only',
    manual: '31.4, error 13',
    code: (a) => a.mov(eax, VMCS.EXIT_REASON).vmwrite(rax, rcx),
    outcome: fail(13),
    setup: [{ op: 'forbid', where: addr('cap_misc'), value: 1 << 29, text: 'VMWRITE to read-only fields' }],
  },
  { name: 'vmxon-in-root', manual: '31.4, error 15', code: withPointer('vmxon_region', (a) => a.vmxon(operand)), outcome: fail(15) },
  {
    name: 'vmlaunch-mov-ss',
    manual: '31.4, error 26',
    code: (a) => a.mov(rax, addr('guest_vmcall')).mov(edx, VMCS.GUEST_RIP).vmwrite(rdx, rax).call('enter_mov_ss'),
    outcome: fail(26),
    noted: true,
  },
  {
    name: 'invept-type',
    manual: '31.4, error 28',
    code: (a) => a.push(0).push(0).mov(eax, 5).invept(rax, mem128(rsp)),
    outcome: fail(28),
    setup: [need('cap_proc2', high(PROC2.ept), 'EPT')],
    after: (a) => a.add(rsp, 16),
  },
  {
    name: 'invvpid-type',
    manual: '31.4, error 28',
    code: (a) => a.push(0).push(1).mov(eax, 9).invvpid(rax, mem128(rsp)),
    outcome: fail(28),
    setup: [need('cap_proc2', high(PROC2.vpid), 'VPID')],
    after: (a) => a.add(rsp, 16),
  },
  {
    name: 'invvpid-vpid-0',
    manual: '31.3, INVVPID: a single context must not be VPID 0',
    code: (a) => a.push(0).push(0).mov(eax, 1).invvpid(rax, mem128(rsp)),
    outcome: fail(28),
    setup: [need('cap_proc2', high(PROC2.vpid), 'VPID'), need('cap_ept', 1n << 41n, 'INVVPID of a single context')],
    after: (a) => a.add(rsp, 16),
  },
  {
    name: 'invvpid-reserved',
    manual: '31.3, INVVPID: bits 63:16 of the descriptor',
    code: (a) => a.push(0).mov(eax, 0x1_0001).push(rax).mov(eax, 1).invvpid(rax, mem128(rsp)),
    outcome: fail(28),
    setup: [need('cap_proc2', high(PROC2.vpid), 'VPID'), need('cap_ept', 1n << 41n, 'INVVPID of a single context')],
    after: (a) => a.add(rsp, 16),
  },
  {
    name: 'vmlaunch-no-vmcs',
    manual: '31.3: VMfailInvalid without a current VMCS',
    code: withPointer('vmcs', (a) => a.vmclear(operand).call('enter')),
    outcome: OUTCOME.invalid,
    noted: true,
  },
  {
    name: 'vmread-no-vmcs',
    manual: '31.3',
    code: withPointer('vmcs', (a) => a.vmclear(operand).mov(eax, 0x4402).vmread(rcx, rax)),
    outcome: OUTCOME.invalid,
  },
  {
    name: 'vmwrite-no-vmcs',
    manual: '31.3',
    code: withPointer('vmcs', (a) => a.vmclear(operand).mov(eax, 0x4012).vmwrite(rax, rcx)),
    outcome: OUTCOME.invalid,
  },
  {
    name: 'vmptrst-no-vmcs',
    manual: '31.3, VMPTRST: all ones',
    code: withPointer('vmcs', (a) =>
      a.vmclear(operand).vmptrst(operand).mov(r8, operand).inc(r8).mov(operand, r8).cmp(r8, r8).test(rsp, rsp),
    ),
    outcome: 0,
  },
  {
    name: 'vmptrld-vmptrst',
    manual: '31.3',
    code: withPointer('other_vmcs', (a) =>
      a
        .vmclear(operand)
        .vmptrld(operand)
        .mov(at64('gdtr_more'), 0)
        .vmptrst(at64('gdtr_more'))
        .lea(rax, at('other_vmcs'))
        .sub(at64('gdtr_more'), rax)
        .test(rsp, rsp),
    ),
    outcome: 0,
  },
  {
    name: 'vmread-widths',
    manual: '25.11.2: a 16-bit field gives 16 bits, and its high half is not there',
    code: (a) =>
      a
        .mov(eax, VMCS.GUEST_ES_SELECTOR)
        .mov(rcx, 0x1234_5678n)
        .vmwrite(rax, rcx)
        .vmread(r8, rax)
        .sub(r8, 0x5678)
        .mov(operand, r8)
        .test(rsp, rsp),
    outcome: 0,
  },
  {
    name: 'vmwrite-high-half',
    manual: '25.11.2: the high half of a 64-bit field',
    code: (a) => {
      a.mov(eax, VMCS.TSC_OFFSET)
        .mov(rcx, 0x1111_1111_2222_2222n)
        .vmwrite(rax, rcx)
        .mov(rdx, VMCS.TSC_OFFSET + 1)
        .vmread(r8, rdx);
      a.sub(r8, 0x1111_1111).mov(operand, r8).test(rsp, rsp);
    },
    outcome: 0,
  },
];

/** Leave zero at `gdtr_after` when all went well. */
const ZERO: Readonly<Record<string, string>> = {
  'vmptrst-no-vmcs': 'gdtr_after',
  'vmptrld-vmptrst': 'gdtr_more',
  'vmread-widths': 'gdtr_after',
  'vmwrite-high-half': 'gdtr_after',
};

const FAULTS: readonly [name: string, manual: string, code: Code, vector: number][] = [
  [
    'vmclear-noncanonical',
    '31.3, VMCLEAR: #GP(0)',
    (a) => a.mov(rax, 1n << 62n).vmclear({ ...operand, base: rax, relative: false, disp: 0 }),
    13,
  ],
  [
    'vmptrld-page-fault',
    '31.3, VMPTRLD: #PF',
    (a) => a.mov(rax, 1n << 40n).vmptrld({ ...operand, base: rax, relative: false, disp: 0 }),
    14,
  ],
  ['cr4-vmxe-clear', '24.8: CR4.VMXE is fixed in VMX operation', (a) => a.mov(rax, cr4).btr(rax, 13).mov(cr4, rax), 13],
  ['cr0-ne-clear', '24.8: CR0.NE is fixed in VMX operation', (a) => a.mov(rax, cr0).btr(rax, 5).mov(cr0, rax), 13],
  ['vmfunc-in-root', 'Vol 2C, VMFUNC: #UD outside non-root operation', (a) => a.vmfunc(), 6],
];

export function vmxInstructionRows(k: BareKernel): Row[] {
  const { a } = k;
  const label = (name: string) => `root_${name.replaceAll('-', '_')}`;
  for (const c of CASES)
    routine(k, label(c.name), () => {
      c.code(a);
      if (c.noted === undefined) noteOutcome(k);
      c.after?.(a);
    });
  for (const [name, , code] of FAULTS)
    routine(k, label(name), () => {
      a.mov(at64('fault_vector'), -1).mov(rax, addr('.after')).mov(at64('fault_resume'), rax);
      code(a);
      a.label('.after').mov(at64('fault_resume'), 0);
      // A processor that let it through is not to spoil the rows that follow.
      a.mov(rax, cr0).bts(rax, 5).mov(cr0, rax).mov(rax, cr4).bts(rax, 13).mov(cr4, rax);
    });
  return [
    ...CASES.map(
      (c): Row => ({
        name: c.name,
        manual: c.manual,
        steps: [
          ...(c.setup ?? []),
          call(label(c.name)),
          expectOutcome(c.outcome),
          ...(ZERO[c.name] === undefined ? [] : [expectMemory('difference', addr(ZERO[c.name]!), 0)]),
        ],
      }),
    ),
    ...FAULTS.map(
      ([name, manual, , vector]): Row => ({
        name,
        manual,
        steps: [call(label(name)), expectMemory('vector', addr('fault_vector'), vector)],
      }),
    ),
  ];
}
