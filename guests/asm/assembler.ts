// The assembler as its users see it: one method per mnemonic (from the tables in insns/), directives, prefixes.
//
//   const image = new Image();
//   const a = assembler(image, 64);
//   a.label('loop').dec(rcx).mov(mem(rdi, { disp: 8 }), rcx).jnz('loop');
//
// An image may hold code of several modes: make one assembler per mode over the same image.
import { AsmError, type Encoded, encode, type Fixup } from './encode.ts';
import { type Form, type Forms, type Parameters, parseForms } from './forms.ts';
import type { Image, SectionOptions } from './image.ts';
import { INSNS, type Insns, type Mnemonic } from './insns/index.ts';
import { fits, type Operand } from './match.ts';
import { type Imm, isSym } from './operands.ts';
import type { Mode } from './registers.ts';

/** A method whose parameters vary with the mode in both directions, so that an Assembler<64> can be passed where any will do. */
type Method<A extends unknown[], R> = { method(...args: A): R }['method'];
type Instructions<M extends Mode> = { readonly [K in Mnemonic]: Method<Parameters<Insns[K], M>, Assembler<M>> };

export type Assembler<M extends Mode = Mode> = Directives<M> & Instructions<M>;

/** SDM Vol 2B, NOP: the recommended multi-byte forms. */
const NOPS: readonly (readonly number[])[] = [
  [0x90],
  [0x66, 0x90],
  [0x0f, 0x1f, 0x00],
  [0x0f, 0x1f, 0x40, 0x00],
  [0x0f, 0x1f, 0x44, 0x00, 0x00],
  [0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
  [0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
  [0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

class Directives<M extends Mode> {
  readonly mode: M;
  readonly image: Image;

  constructor(image: Image, mode: M) {
    this.image = image;
    this.mode = mode;
  }

  /** Bytes in a word of this mode: 2, 4 or 8. */
  get wordBytes(): number {
    return this.mode / 8;
  }

  private emit(encoded: Encoded): this {
    this.image.emit(encoded);
    return this;
  }

  private data(size: 1 | 2 | 4 | 8, values: readonly Imm[]): this {
    const bytes: number[] = [];
    const fixups: Fixup[] = [];
    for (const value of values) {
      if (isSym(value)) fixups.push({ at: bytes.length, size, sym: value, next: undefined, signed: false });
      else if (!fits(BigInt(value), size * 8)) throw new AsmError(`${value} does not fit ${size} bytes`);
      const v = isSym(value) ? 0n : BigInt(value);
      for (let i = 0; i < size; i++) bytes.push(Number((v >> BigInt(8 * i)) & 0xffn));
    }
    return this.emit({ bytes, fixups });
  }

  section(name: string, options?: SectionOptions): this {
    this.image.section(name, options);
    return this;
  }

  /** Labels that begin with a dot are local to the one before them that does not. */
  label(name: string): this {
    this.image.label(name);
    return this;
  }

  /** A local label of its own: for macros. */
  fresh(stem: string): string {
    return this.image.fresh(stem);
  }

  /** Pads with NOPs in code, with zeros elsewhere. The section must be aligned as well, or nothing is gained. */
  align(to: number): this {
    let missing = (to - (this.image.offset % to)) % to;
    if (!this.image.executable || this.mode === 16) {
      this.image.reserve(missing);
      return this;
    }
    for (; missing > 0; ) {
      const nop = NOPS[Math.min(missing, NOPS.length) - 1]!;
      this.emit({ bytes: nop, fixups: [] });
      missing -= nop.length;
    }
    return this;
  }

  reserve(bytes: number): this {
    this.image.reserve(bytes);
    return this;
  }

  db(...values: Imm[]): this {
    return this.data(1, values);
  }
  dw(...values: Imm[]): this {
    return this.data(2, values);
  }
  dd(...values: Imm[]): this {
    return this.data(4, values);
  }
  dq(...values: Imm[]): this {
    return this.data(8, values);
  }
  /** As wide as the mode: pointers, unsigned longs. */
  word(...values: Imm[]): this {
    return this.data(this.wordBytes as 2 | 4 | 8, values);
  }
  bytes(bytes: Uint8Array): this {
    return this.emit({ bytes: [...bytes], fixups: [] });
  }
  ascii(text: string): this {
    return this.bytes(new TextEncoder().encode(text));
  }
  asciz(text: string): this {
    return this.ascii(`${text}\0`);
  }

  /** Prefixes: for the instruction that follows, as in a.lock().inc(mem32(rbx)) and a.rep().movsb(). */
  lock(): this {
    return this.emit({ bytes: [0xf0], fixups: [] });
  }
  rep(): this {
    return this.emit({ bytes: [0xf3], fixups: [] });
  }
  repne(): this {
    return this.emit({ bytes: [0xf2], fixups: [] });
  }
}

const parsed = new Map<Mnemonic, readonly Form[]>();
/** The forms of one mnemonic. */
export function formsOf(mnemonic: Mnemonic): readonly Form[] {
  let forms = parsed.get(mnemonic);
  if (forms === undefined) {
    forms = parseForms(INSNS[mnemonic] as Forms);
    parsed.set(mnemonic, forms);
  }
  return forms;
}

export const MNEMONICS = Object.keys(INSNS) as Mnemonic[];
for (const mnemonic of MNEMONICS)
  Object.defineProperty(Directives.prototype, mnemonic, {
    value(this: Directives<Mode>, ...operands: Operand[]) {
      this.image.emit(encode(mnemonic, formsOf(mnemonic), operands, this.mode));
      return this;
    },
  });

/** Code of one mode, into an image. */
export const assembler = <M extends Mode>(image: Image, mode: M): Assembler<M> =>
  // SAFE: the loop above gave the prototype every instruction.
  new Directives(image, mode) as unknown as Assembler<M>;
