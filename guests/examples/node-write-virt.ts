// Writes the kernels that drive VT-x and SVM bare, for other machines than this project's:
//   npx tsx guests/examples/node-write-virt.ts vmx.bin svm.bin
import { writeFileSync } from 'node:fs';
import { buildSvmTests } from './svm.ts';
import { buildVmxTests } from './vmx.ts';

const [vmx, svm] = process.argv.slice(2);
if (vmx === undefined || svm === undefined) throw new Error('usage: node-write-virt.ts VMX.BIN SVM.BIN');
writeFileSync(vmx, buildVmxTests());
writeFileSync(svm, buildSvmTests());
