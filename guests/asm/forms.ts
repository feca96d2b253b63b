// The notation of the instruction tables (insns/), parsed; and, on the type level, the same notation turned into the parameters of the
// assembler's methods. A table maps operands to an encoding: { 'Ev,Gv': '01 /r' }, in the letters of SDM Vol 2D, A.2:
//
//   E  general register or memory (rm)   G  general register (reg)      Z  general register (low bits of the opcode)
//   R  general register (rm)             M  memory                      I  immediate        sI  the same, sign-extended byte
//   NI immediate that is a number, not a label
//   J  branch target; Jb: short branch   A  far pointer                 S  segment register
//   C  control register   D  debug register   V  XMM (reg)   W  XMM or memory   ST  x87 register
//   sizes: b 8, w 16, d 32, q 64, t 80, o 128; v 16/32/64 (operand size); z as v, at most 32 bits in the instruction;
//          s the width of the stack (64 or 16 in 64-bit code, 32 or 16 elsewhere); y 32/64; n the natural width of the mode;
//          f as s, without 16 bits in 64-bit code (near branches)
//   AL rAX CL DX ES CS SS DS FS GS One Three: as named
//
// An encoding is [66|F2|F3] opcode bytes, the last perhaps with +r, [/r | /digit], and conditions: only64, not64, o16 o32 o64 (the
// operand size that the mnemonic itself implies), a16 a32 (likewise the address size), no16 (no 16-bit form).
// Forms are tried in the order in which they stand.
import type { Far, Imm, Mem, Short } from './operands.ts';
import type { ControlReg, DebugReg, Mode, Reg, SegReg, StReg, Width, Xmm } from './registers.ts';

export type Forms = Readonly<Record<string, string>>;

// --- types ---

type In64<M extends Mode, T> = 64 extends M ? T : never;
type Not64<M extends Mode, T> = [M] extends [64] ? never : T;
/** The operand sizes that code of this mode has. */
type Operand<M extends Mode> = 16 | 32 | 'word' | In64<M, 64>;
type Stack<M extends Mode> = 16 | 'word' | In64<M, 64> | Not64<M, 32>;
type Branch<M extends Mode> = 'word' | In64<M, 64> | Not64<M, 16 | 32>;
type Natural<M extends Mode> = 'word' | In64<M, 64> | Not64<M, 32>;

/** The width that a size letter stands for, while W is the operand size. */
type WidthOf<S extends string, W extends Width, M extends Mode> = S extends 'b'
  ? 8
  : S extends 'w'
    ? 16
    : S extends 'd'
      ? 32
      : S extends 'q'
        ? 64
        : S extends 'v' | 'z'
          ? W
          : S extends 's'
            ? Extract<W, Stack<M>>
            : S extends 'y'
              ? Exclude<W, 16>
              : S extends 'f'
                ? Extract<W, Branch<M>>
                : S extends 'n'
                  ? Extract<W, Natural<M>>
                  : never;

/** Memory may go without a size where a register of the same size stands beside it. */
type Loose<K extends string, S extends string> = K extends `${string}G${S}${string}` | `${string}Sw${string}` ? Mem<'any'> : never;
type MemSize<S extends string> = S extends 't' ? 80 : S extends 'o' ? 128 : never;

interface Fixed<W extends Width> {
  AL: Reg<8, 0>;
  CL: Reg<8, 1>;
  DX: Reg<16, 2>;
  rAX: Reg<W, 0>;
  eAX: Reg<32, 0>;
  AX: Reg<16, 0>;
  ES: SegReg<0>;
  CS: SegReg<1>;
  SS: SegReg<2>;
  DS: SegReg<3>;
  FS: SegReg<4>;
  GS: SegReg<5>;
  One: 1;
  Three: 3;
  A: Far;
  J: string;
  Jb: Short;
  Sw: SegReg;
  C: ControlReg;
  D: DebugReg;
  V: Xmm;
  W: Xmm | Mem;
  ST: StReg;
  M: Mem;
}

type Parameter<P extends string, K extends string, W extends Width, M extends Mode> = P extends keyof Fixed<W>
  ? Fixed<W>[P]
  : P extends `E${infer S}`
    ? Reg<WidthOf<S, W, M>> | Mem<WidthOf<S, W, M>> | Loose<K, S>
    : P extends `G${infer S}` | `Z${infer S}` | `R${infer S}`
      ? Reg<WidthOf<S, W, M>>
      : P extends `M${infer S}`
        ? Mem<WidthOf<S, W, M> | MemSize<S> | 'any'>
        : P extends `${'s' | 'N' | ''}I${string}`
          ? Imm
          : never;

type Tuple<K extends string, Rest extends string, W extends Width, M extends Mode> = Rest extends ''
  ? []
  : Rest extends `${infer Head},${infer Tail}`
    ? [Parameter<Head, K, W, M>, ...Tuple<K, Tail, W, M>]
    : [Parameter<Rest, K, W, M>];

type EachWidth<K extends string, W extends Width, M extends Mode> = W extends Width ? Tuple<K, K, W, M> : never;
type EachForm<K, M extends Mode> = K extends string ? EachWidth<K, Operand<M>, M> : never;
/** What may be passed to the method of an instruction with these forms, in code of mode M. */
export type Parameters<F extends Forms, M extends Mode> = EachForm<keyof F, M>;

// --- the same at run time ---

export type SizeLetter = 'b' | 'w' | 'd' | 'q' | 't' | 'o' | 'v' | 'z' | 's' | 'y' | 'n' | 'f' | '';

export interface OperandSpec {
  /** E G Z R M I sI NI J Jb A Sw C D V W ST, or the name of something fixed. */
  readonly letter: string;
  readonly size: SizeLetter;
  /** Memory of no stated size is welcome. */
  readonly loose: boolean;
  /** Where it goes: ModRM.reg, ModRM.rm, the opcode's low bits, behind everything else, or nowhere (it is implied). */
  readonly place: 'reg' | 'rm' | 'opcode' | 'tail' | 'implied';
}

export interface Form {
  readonly operands: readonly OperandSpec[];
  readonly text: string;
  readonly prefix: number | undefined;
  readonly opcode: readonly number[];
  /** ModRM.reg: an operand, a digit, or no ModRM at all. */
  readonly modrm: 'r' | number | undefined;
  readonly only64: boolean;
  readonly not64: boolean;
  readonly no16: boolean;
  readonly implied: 16 | 32 | 64 | undefined;
  /** The operand size is chosen: by a 66 prefix where it is not the mode's own, and by REX.W if `wide` and 64 bits. */
  readonly sized: boolean;
  /** What works on the stack has 64 bits in 64-bit code without REX.W. */
  readonly wide: boolean;
  readonly address: 16 | 32 | undefined;
}

const PLACES: Readonly<Record<string, OperandSpec['place']>> = {
  G: 'reg',
  V: 'reg',
  C: 'reg',
  D: 'reg',
  Sw: 'reg',
  E: 'rm',
  M: 'rm',
  R: 'rm',
  W: 'rm',
  Z: 'opcode',
  I: 'tail',
  sI: 'tail',
  NI: 'tail',
  J: 'tail',
  Jb: 'tail',
  A: 'tail',
};
const placeOf = (letter: string): OperandSpec['place'] => PLACES[letter] ?? 'implied';

const SIZED = /^(E|G|Z|R|M|sI|NI|I)([bwdqtovzsynf]?)$/;

function parseOperand(text: string, all: string): OperandSpec {
  const sized = SIZED.exec(text);
  if (sized === null) return { letter: text, size: '', loose: text === 'W', place: placeOf(text) };
  const [, letter = '', size = ''] = sized;
  const loose = letter === 'M' || all.includes(`G${size}`) || all.includes('Sw');
  return { letter, size: size as SizeLetter, loose, place: placeOf(letter) };
}

function parseForm(operands: string, encoding: string): Form {
  const words = encoding.split(' ');
  const isByte = (word: string | undefined) => word !== undefined && /^[0-9A-F]{2}(\+r)?$/.test(word);
  const prefix = /^(66|F2|F3)$/.test(words[0]!) && isByte(words[1]) ? Number.parseInt(words.shift()!, 16) : undefined;
  const opcode: number[] = [];
  while (isByte(words[0])) opcode.push(Number.parseInt(words.shift()!, 16));
  const slash = words[0]?.startsWith('/') ? words.shift()!.slice(1) : undefined;
  const has = (condition: string) => words.includes(condition);
  const specs = operands === '' ? [] : operands.split(',').map((text) => parseOperand(text, operands));
  const hasSize = (...letters: SizeLetter[]) => specs.some((spec) => letters.includes(spec.size));
  const bySize = hasSize('v') || specs.some((spec) => spec.letter === 'rAX');
  return {
    operands: specs,
    text: operands,
    prefix,
    opcode,
    modrm: slash === undefined ? undefined : slash === 'r' ? 'r' : Number(slash),
    only64: has('only64') || has('o64'),
    not64: has('not64'),
    no16: has('no16'),
    implied: has('o16') ? 16 : has('o32') ? 32 : has('o64') ? 64 : undefined,
    sized: bySize || hasSize('s', 'f') || has('o16') || has('o32') || has('o64'),
    wide: bySize || hasSize('y') || has('o64'),
    address: has('a16') ? 16 : has('a32') ? 32 : undefined,
  };
}

export const parseForms = (forms: Forms): readonly Form[] =>
  Object.entries(forms).map(([operands, encoding]) => parseForm(operands, encoding));
