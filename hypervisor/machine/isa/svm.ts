// AMD-V instructions (APM Vol 3, chapter 4): how they are encoded. machine/svm carries them out. Their operand is rAX by address size.

import { insn } from './insn.ts';

const svm = (mnemonic: string, forms: string) =>
  insn(mnemonic, { sdm: `APM Vol 3, ${mnemonic}`, forms, operands: {}, cpuid: 'svm', ends: true });

export const SVM = [
  svm('VMRUN', '0F 01 D8'),
  svm('VMMCALL', '0F 01 D9'),
  svm('VMLOAD', '0F 01 DA'),
  svm('VMSAVE', '0F 01 DB'),
  svm('STGI', '0F 01 DC'),
  svm('CLGI', '0F 01 DD'),
  svm('SKINIT', '0F 01 DE'),
  svm('INVLPGA', '0F 01 DF'),
];
