// The kernel kit: a small PV kernel library, written once for 64-bit and 32-bit PAE guests.
export * from './arch.ts';
export { dec, hex, say, sayToXen, stringAt } from './console.ts';
export { cr2 } from './events.ts';
export { directHypercall, hypercall } from './hypercalls.ts';
export { type Kernel, routine, structure, text, variable } from './kernel.ts';
export { makePte, PTE, READ_ONLY, READ_WRITE, updateVaMapping } from './memory.ts';
export { buildKernel, expectResult, type KernelOptions, startInfoWord } from './start.ts';
export { expectTrap, frame, TRAPS, type TrapName } from './traps.ts';
export { SYS, systemCall, USER_CODE, USER_STACK } from './user.ts';
