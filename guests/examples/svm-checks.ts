// VMRUN's consistency checks (APM Vol 2, 15.5.1), each violated alone in a VMCB that is good otherwise: VMEXIT_INVALID, and nothing of the guest has
// run.
import { addr, type Imm } from '../asm/index.ts';
import { call, expectMemory, need, type Row, type Step } from '../kit/virt/rows.ts';
import { find, put } from '../kit/virt/svm.ts';
import { SVM_EXIT, SVM_FEATURE, svmEvent, type VmcbName } from '../kit/virt/vmcb.ts';

const MANUAL = 'APM Vol 2, 15.5.1';
const EFER = 0x1500n; // SVME, LMA, LME
const CR0 = 0x8001_0033n;
const CR4 = 0x620n;

type Violation = readonly [name: string, field: VmcbName, value: Imm, ...more: Step[]];

const VIOLATIONS: readonly Violation[] = [
  ['efer-svme-clear', 'efer', EFER & ~0x1000n],
  ['efer-reserved', 'efer', EFER | (1n << 40n)],
  ['cr0-nw-without-cd', 'cr0', CR0 | 0x2000_0000n],
  ['cr0-upper-half', 'cr0', CR0 | (1n << 32n)],
  ['cr3-reserved', 'cr3', 1n << 60n],
  ['cr4-reserved', 'cr4', CR4 | (1n << 31n)],
  ['cr4-upper-half', 'cr4', CR4 | (1n << 32n)],
  ['dr6-upper-half', 'dr6', 0x1_ffff_0ff0n],
  ['dr7-upper-half', 'dr7', 0x1_0000_0400n],
  ['long-mode-without-pae', 'cr4', CR4 & ~0x20n],
  ['long-mode-without-pe', 'cr0', CR0 & ~1n],
  ['cs-l-and-d', 'intercepts4', 3, put([0x412, 2], 0xe9b)],
  ['vmrun-not-intercepted', 'intercepts4', 2],
  ['asid-0', 'asid', 0],
  ['iopm-beyond-memory', 'iopmBase', 1n << 60n, put('intercepts3', 1 << 27)],
  ['msrpm-beyond-memory', 'msrpmBase', 1n << 60n, put('intercepts3', 1 << 28)],
  ['event-type-1', 'eventInjection', svmEvent(1, 0x50)],
  ['event-type-5', 'eventInjection', svmEvent(5, 0x50)],
  ['event-type-7', 'eventInjection', svmEvent(7, 0x50)],
  ['event-exception-32', 'eventInjection', svmEvent('exception', 32)],
  ['event-exception-2', 'eventInjection', svmEvent('exception', 2)],
];

const nested: readonly Violation[] = [['ncr3-reserved', 'nestedCr3', 1n << 60n]];

const invalid = (name: string, steps: readonly Step[]): Row => ({
  name: `invalid-${name}`,
  manual: MANUAL,
  steps: [put('rip', addr('guest_vmmcall')), ...steps, call('enter'), find('exitCode', SVM_EXIT.INVALID)],
});

export const svmCheckRows = (): Row[] => [
  {
    name: 'baseline',
    manual: 'APM Vol 2, 15.5: the VMCB that the rows below spoil is a good one',
    steps: [put('rip', addr('guest_vmmcall')), call('enter'), find('exitCode', SVM_EXIT.VMMCALL), find('rip', addr('guest_vmmcall'))],
  },
  ...VIOLATIONS.map(([name, field, value, ...more]) => invalid(name, [put(field, value), ...more])),
  ...nested.map(([name, field, value]) =>
    invalid(name, [need('cap_svm', SVM_FEATURE.NP, 'nested paging'), call('npt_reset'), put(field, value)]),
  ),
  {
    name: 'npt-pat-reserved',
    manual: 'APM Vol 2, 15.25.8 and 7.8.1: a G_PAT with a reserved type is illegal',
    steps: [
      need('cap_svm', SVM_FEATURE.NP, 'nested paging'),
      call('npt_reset'),
      put('rip', addr('guest_vmmcall')),
      put('guestPat', 0x0007_0406_0007_0402n),
      call('enter'),
      find('exitCode', SVM_EXIT.INVALID),
    ],
  },
  ...(
    [
      ['vmrun-unaligned', 'root_vmrun_unaligned', 13],
      ['vmload-unaligned', 'root_vmload_unaligned', 13],
      ['vmsave-beyond-memory', 'root_vmsave_beyond', 13],
      ['vmrun-without-svme', 'root_vmrun_without', 6],
      ['vmload-without-svme', 'root_vmload_without', 6],
      ['clgi-without-svme', 'root_clgi_without', 6],
      ['vmmcall-in-host', 'root_vmmcall', 6],
    ] as const
  ).map(
    ([name, label, vector]): Row => ({
      name,
      manual: 'APM Vol 3, the instruction',
      steps: [call(label), expectMemory('vector', addr('fault_vector'), vector), expectMemory('error code', addr('fault_error'), 0)],
    }),
  ),
];
