// Bit fields inside one integer of at most 32 bits: a bit number declares a boolean, a pair [lowest bit, width] a number. Bits that
// no field names read as nothing and are written as 0.
import type { Codec } from './codec.ts';

type BitField = number | readonly [lowest: number, width: number];
export type BitFields = Readonly<Record<string, BitField>>;
export type BitsOf<F extends BitFields> = { [K in keyof F]: F[K] extends number ? boolean : number };

const maskOf = (width: number): number => (width === 32 ? 0xffffffff : (1 << width) - 1) >>> 0;

export interface Bits<F extends BitFields> extends Codec<BitsOf<F>> {
  /** Fields of a word that is already at hand. */
  unpack(word: number): BitsOf<F>;
  pack(value: BitsOf<F>): number;
}

export function bits<const F extends BitFields>(base: Codec<number>, fields: F): Bits<F> {
  const entries = Object.entries<BitField>(fields);
  const unpack = (word: number): BitsOf<F> => {
    const value: Record<string, boolean | number> = {};
    for (const [name, field] of entries) {
      value[name] = typeof field === 'number' ? ((word >>> field) & 1) === 1 : ((word >>> field[0]) & maskOf(field[1])) >>> 0;
    }
    return value as BitsOf<F>;
  };
  const pack = (value: BitsOf<F>): number => {
    let word = 0;
    for (const [name, field] of entries) {
      // SAFE: BitsOf gives every field a boolean or a number.
      const part = (value as Record<string, boolean | number>)[name]!;
      word |= typeof field === 'number' ? Number(part) << field : (Number(part) & maskOf(field[1])) << field[0];
    }
    return word >>> 0;
  };
  return {
    ctype: base.ctype,
    shape: { kind: 'scalar' },
    size: (abi) => base.size(abi),
    align: (abi) => base.align(abi),
    read: (view, at, abi) => unpack(base.read(view, at, abi)),
    write: (view, at, abi, value) => base.write(view, at, abi, pack(value)),
    show: (value) =>
      Object.entries(value)
        .filter(([, part]) => part !== false)
        .map(([name, part]) => (part === true ? name : `${name}=${part}`))
        .join(' ') || '0',
    unpack,
    pack,
  };
}
