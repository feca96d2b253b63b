// Guests: the assembler, the kernel kit, and the examples built with them.
export * from './asm/index.ts';
export { buildHello32 } from './examples/hello-pv32pae.ts';
export { buildHello64 } from './examples/hello-pv64.ts';
export { buildSvmTests } from './examples/svm.ts';
export { SVM_EXITS_TAKEN } from './examples/svm-exits.ts';
export { buildVmxTests } from './examples/vmx.ts';
export { VMX_EXITS_TAKEN } from './examples/vmx-exits.ts';
export * as kit from './kit/index.ts';
export { SVM_EXIT } from './kit/virt/vmcb.ts';
export { REASON as VMX_REASON } from './kit/virt/vmcs.ts';
