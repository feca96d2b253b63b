// The typed assembler: registers, operands, instructions, images, ELF files.
export { type Assembler, assembler } from './assembler.ts';
export { type ElfOptions, writeElf } from './elf.ts';
export { AsmError } from './encode.ts';
export { Image, type Linked, type LinkedSection, type LinkedSymbol, type SectionOptions } from './image.ts';
export { type ElfNote, type XenNotes, xenNotes } from './notes.ts';
export * from './operands.ts';
export * from './registers.ts';
