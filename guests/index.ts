// Guests: the assembler, the kernel kit, and the examples built with them.
export * from './asm/index.ts';
export { buildHello32 } from './examples/hello-pv32pae.ts';
export { buildHello64 } from './examples/hello-pv64.ts';
export * as kit from './kit/index.ts';
