// A kernel under construction: the image, its assembler, and the small helpers that every part of the kit uses.
//
// Conventions of the kit's own code: state lives in labelled variables, arguments and results of routines in w.ax (others as stated).
// Routines and hypercalls may change any register but w.bp and w.sp.
import type { Abi, Fields, PartialWrite, Struct } from '@ringworld/abi';
import { type Assembler, addr, assembler, at32, Image, type Mem, type Mode, type Sym } from '../asm/index.ts';
import type { Arch } from './arch.ts';

export interface Kernel {
  readonly arch: Arch;
  readonly abi: Abi;
  readonly image: Image;
  readonly a: Assembler<Mode>;
}

export const PAGE_SIZE = 4096;

/** An empty kernel. Sections lie in the order given here; each begins on a page of its own, so that permissions can differ. */
export function createKernel(arch: Arch): Kernel {
  const image = new Image();
  const a: Assembler<Mode> = assembler<Mode>(image, arch.bits);
  image.section('.text', { align: PAGE_SIZE });
  image.section('.rodata', { align: PAGE_SIZE });
  image.section('.data', { align: PAGE_SIZE });
  image.section('.bss', { align: PAGE_SIZE });
  image.section('.text');
  return { arch, abi: arch.abi, image, a };
}

/** A structure of the ABI in .data. */
export interface StructAt<F extends Fields> {
  readonly address: Sym;
  /** A member of 32 bits. */
  u32(field: keyof F & string): Mem<32>;
}

/** Puts a structure with these initial members into .data. */
export function structure<F extends Fields>(k: Kernel, struct: Struct<F>, value: PartialWrite<F> = {}, name?: string): StructAt<F> {
  const label = name ?? `data${k.image.fresh('struct')}`;
  k.image.within('.data', () => {
    k.a.align(8).label(label).bytes(struct.encode(k.abi, value));
  });
  return {
    address: addr(label),
    u32: (field) => {
      if (struct.fields[field]!.size(k.abi) !== 4) throw new Error(`${struct.ctype}.${field} is no 32-bit member`);
      return at32(label, struct.offset(field, k.abi));
    },
  };
}

/** A variable of `bytes` bytes in .bss. */
export function variable(k: Kernel, name: string, bytes: number = k.arch.wordBytes, align = 8): void {
  k.image.within('.bss', () => {
    k.a.align(align).label(name).reserve(bytes);
  });
}

/** A routine: a label in .text, its body and a return. */
export function routine(k: Kernel, name: string, body: () => void): void {
  k.image.within('.text', () => {
    k.a.align(16).label(name);
    body();
    k.a.ret();
  });
}

const strings = new WeakMap<Kernel, Map<string, string>>();
/** The label of a zero-terminated string in .rodata; the same text is stored once. */
export function text(k: Kernel, value: string): string {
  let known = strings.get(k);
  if (known === undefined) {
    known = new Map();
    strings.set(k, known);
  }
  let label = known.get(value);
  if (label === undefined) {
    label = `text${k.image.fresh('s')}`;
    known.set(value, label);
    const own = label;
    k.image.within('.rodata', () => {
      k.a.label(own).asciz(value);
    });
  }
  return label;
}
