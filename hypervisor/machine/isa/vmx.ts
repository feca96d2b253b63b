// VT-x instructions (SDM Vol 3C, chapter 31): how they are encoded. machine/vmx carries them out.

import { insn, OSZAPC } from './insn.ts';

const flags = { writes: OSZAPC } as const;
const vmx = (mnemonic: string, forms: string) =>
  insn(mnemonic, { sdm: `Vol 3C, ${mnemonic}`, forms, operands: {}, flags, cpuid: 'vmx', ends: true });

export const VMX = [
  vmx('VMCALL', 'NP 0F 01 C1'),
  vmx('VMLAUNCH', 'NP 0F 01 C2'),
  vmx('VMRESUME', 'NP 0F 01 C3'),
  vmx('VMXOFF', 'NP 0F 01 C4'),
  vmx('VMFUNC', 'NP 0F 01 D4'),
  insn('VMPTRLD', { sdm: 'Vol 3C, VMPTRLD', forms: 'NP 0F C7 /6 Mq', operands: { src: 'r' }, flags, cpuid: 'vmx' }),
  insn('VMPTRST', { sdm: 'Vol 3C, VMPTRST', forms: 'NP 0F C7 /7 Mq', operands: { dst: 'w' }, flags, cpuid: 'vmx' }),
  insn('VMCLEAR', { sdm: 'Vol 3C, VMCLEAR', forms: '66 0F C7 /6 Mq', operands: { src: 'r' }, flags, cpuid: 'vmx' }),
  insn('VMXON', { sdm: 'Vol 3C, VMXON', forms: 'F3 0F C7 /6 Mq', operands: { src: 'r' }, flags, cpuid: 'vmx', ends: true }),
  insn('VMREAD', { sdm: 'Vol 3C, VMREAD', forms: 'NP 0F 78 /r Ey,Gy {f64}', operands: { dst: 'w', field: 'r' }, flags, cpuid: 'vmx' }),
  insn('VMWRITE', { sdm: 'Vol 3C, VMWRITE', forms: 'NP 0F 79 /r Gy,Ey {f64}', operands: { field: 'r', src: 'r' }, flags, cpuid: 'vmx' }),
  insn('INVEPT', {
    sdm: 'Vol 3C, INVEPT',
    forms: '66 0F 38 80 /r Gy,Mdq {f64}',
    operands: { type: 'r', descriptor: 'r' },
    flags,
    cpuid: 'vmx',
  }),
  insn('INVVPID', {
    sdm: 'Vol 3C, INVVPID',
    forms: '66 0F 38 81 /r Gy,Mdq {f64}',
    operands: { type: 'r', descriptor: 'r' },
    flags,
    cpuid: 'vmx',
  }),
];
