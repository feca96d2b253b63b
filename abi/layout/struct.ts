// Structs and unions as C lays them out. Both layouts are computed once, when the declaration is evaluated; reading and writing
// walk precomputed tables. Reading gives plain data (a private copy of the guest's bytes, never a live view).
import { ABIS, type Abi, type AnyCodec, type Codec, type Infer, type InferWrite, type Member, type PerAbi } from './codec.ts';

export type Fields = Readonly<Record<string, AnyCodec>>;
export type StructOf<F extends Fields> = { [K in keyof F]: Infer<F[K]> };
export type StructWrite<F extends Fields> = { readonly [K in keyof F]: InferWrite<F[K]> };
export type PartialWrite<F extends Fields> = { readonly [K in keyof F]?: InferWrite<F[K]> | undefined };

export interface Struct<F extends Fields, W = StructWrite<F>> extends Codec<StructOf<F>, W> {
  readonly fields: F;
  offset(field: keyof F & string, abi: Abi): number;
  /** Writes only the members that are given; all other bytes keep what they held. */
  update(view: DataView, at: number, abi: Abi, value: PartialWrite<F>): void;
  /** Bytes of its own, zero where no member was given. */
  encode(abi: Abi, value: PartialWrite<F>): Uint8Array;
  decode(abi: Abi, bytes: Uint8Array): StructOf<F>;
}

export interface StructOptions {
  /** The only ABIs in which the header has this struct (register frames differ altogether). Default: both. */
  readonly abis?: readonly Abi[];
  /** The C type where it is not `struct <name>`; '' when the header leaves it nameless, to be checked through its parent. */
  readonly ctype?: string;
  /** __attribute__((packed)): no padding at all. */
  readonly packed?: boolean;
}

interface Layout {
  readonly offsets: readonly number[];
  readonly size: number;
  readonly align: number;
}

const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

function layOut(codecs: readonly AnyCodec[], abi: Abi, union: boolean, packed: boolean): Layout {
  const offsets: number[] = [];
  let end = 0;
  let align = 1;
  for (const codec of codecs) {
    const own = packed ? 1 : codec.align(abi);
    const at = union ? 0 : roundUp(end, own);
    offsets.push(at);
    end = Math.max(end, at + codec.size(abi));
    align = Math.max(align, own);
  }
  return { offsets, size: roundUp(end, align), align };
}

function build<F extends Fields, W>(kind: 'struct' | 'union', name: string, fields: F, options: StructOptions): Struct<F, W> {
  const names = Object.keys(fields);
  const codecs: AnyCodec[] = Object.values(fields);
  const lay = (abi: Abi) => layOut(codecs, abi, kind === 'union', options.packed ?? false);
  const layouts: PerAbi<Layout> = { x86_64: lay('x86_64'), x86_32: lay('x86_32') };
  const members: Member[] = names.map((member, i) => ({
    name: member,
    codec: codecs[i]!,
    offset: (abi) => layouts[abi].offsets[i]!,
  }));
  const indexOf = new Map(names.map((member, i) => [member, i]));
  const ctype = options.ctype ?? `${kind} ${name}`;

  const update = (view: DataView, at: number, abi: Abi, value: PartialWrite<F>): void => {
    const { offsets } = layouts[abi];
    for (let i = 0; i < names.length; i++) {
      const member = value[names[i]!];
      // SAFE: PartialWrite ties each member's value to its codec.
      if (member !== undefined) codecs[i]!.write(view, at + offsets[i]!, abi, member as never);
    }
  };
  const read = (view: DataView, at: number, abi: Abi): StructOf<F> => {
    const { offsets } = layouts[abi];
    const value: Record<string, unknown> = {};
    for (let i = 0; i < names.length; i++) value[names[i]!] = codecs[i]!.read(view, at + offsets[i]!, abi);
    return value as StructOf<F>;
  };
  return {
    ctype,
    fields,
    shape: { kind, members, abis: options.abis ?? ABIS },
    size: (abi) => layouts[abi].size,
    align: (abi) => layouts[abi].align,
    offset: (field, abi) => {
      const index = indexOf.get(field);
      if (index === undefined) throw new RangeError(`${ctype} has no member ${field}`);
      return layouts[abi].offsets[index]!;
    },
    read,
    // SAFE: W is StructWrite<F> or PartialWrite<F>, both of which PartialWrite<F> covers.
    write: (view, at, abi, value) => update(view, at, abi, value as PartialWrite<F>),
    update,
    encode: (abi, value) => {
      const out = new Uint8Array(layouts[abi].size);
      update(new DataView(out.buffer), 0, abi, value);
      return out;
    },
    decode: (abi, source) => read(new DataView(source.buffer, source.byteOffset, source.byteLength), 0, abi),
    show: (value) =>
      `{ ${names.map((member, i) => `${member}: ${codecs[i]!.show((value as Record<string, unknown>)[member])}`).join(', ')} }`,
  };
}

/** struct name { fields }: all members are needed to write one; see update() and encode() for partial ones. */
export function struct<const F extends Fields>(name: string, fields: F, options: StructOptions = {}): Struct<F> {
  return build<F, StructWrite<F>>('struct', name, fields, options);
}

/** A struct that the header defines inline, without a name. */
export function inline<const F extends Fields>(fields: F): Struct<F> {
  return build<F, StructWrite<F>>('struct', '', fields, { ctype: '' });
}

/** A union: reading gives every member's view of the bytes; writing takes the one that is meant. */
export function union<const F extends Fields>(name: string, fields: F, options: StructOptions = {}): Struct<F, PartialWrite<F>> {
  return build<F, PartialWrite<F>>('union', name, fields, name === '' ? { ctype: '', ...options } : options);
}

/** A member that exists under one ABI only: no room, no value and no effect in the other. */
export function only<T, W>(abi: Abi, codec: Codec<T, W>): Codec<T | undefined, W | undefined> {
  return {
    ctype: codec.ctype,
    shape: codec.shape,
    onlyIn: abi,
    size: (other) => (other === abi ? codec.size(abi) : 0),
    align: (other) => (other === abi ? codec.align(abi) : 1),
    read: (view, at, other) => (other === abi ? codec.read(view, at, abi) : undefined),
    write: (view, at, other, value) => {
      if (other === abi && value !== undefined) codec.write(view, at, abi, value);
    },
    show: (value) => (value === undefined ? '-' : codec.show(value)),
  };
}
