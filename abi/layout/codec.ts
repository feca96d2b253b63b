// What every layout in the contract is made of: a Codec knows its C type, its size and alignment under both ABIs, and how to
// read and write one value in a DataView. Scalars, arrays, structs and unions (the other files here) are all Codecs, so one
// declaration yields the TypeScript type (Infer), both layouts, the accessors, the dump and the check against Xen's headers.

/** The two ABIs that Xen's x86 headers describe: LP64 (SysV AMD64) and ILP32 (i386 psABI, where a 64-bit integer aligns to 4). */
export type Abi = 'x86_64' | 'x86_32';
export const ABIS: readonly Abi[] = ['x86_64', 'x86_32'];

/** T is what read() gives; W is what write() takes (wider for unions, where one member is enough). */
export interface Codec<T, W = T> {
  /** The C type as the header writes it ('' where the header leaves a struct without a name). */
  readonly ctype: string;
  readonly shape: Shape;
  /** Set when the header has such a member under one ABI only: it takes no room in the other one. */
  readonly onlyIn?: Abi;
  size(abi: Abi): number;
  align(abi: Abi): number;
  read(view: DataView, at: number, abi: Abi): T;
  /** Writes the members only: padding bytes keep what they held. */
  write(view: DataView, at: number, abi: Abi, value: W): void;
  /** How one value looks in a dump. */
  show(value: T): string;
}

/** Any codec at all, for code that walks declarations. */
export type AnyCodec = Codec<unknown, never>;
export type Infer<C> = C extends Codec<infer T, infer _W> ? T : never;
export type InferWrite<C> = C extends Codec<infer _T, infer W> ? W : never;

export type Shape =
  | { readonly kind: 'scalar' }
  | { readonly kind: 'array'; readonly count: number; readonly element: AnyCodec }
  | { readonly kind: 'struct' | 'union'; readonly members: readonly Member[]; readonly abis: readonly Abi[] };

export interface Member {
  readonly name: string;
  readonly codec: AnyCodec;
  offset(abi: Abi): number;
}

/** One number per ABI, looked up without branching on strings more than once. */
export interface PerAbi<T> {
  readonly x86_64: T;
  readonly x86_32: T;
}

export const hex = (value: number | bigint): string => (value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);

/** The value as bytes of its own, zero where nothing was written. */
export function encode<T, W>(codec: Codec<T, W>, abi: Abi, value: W): Uint8Array {
  const bytes = new Uint8Array(codec.size(abi));
  codec.write(new DataView(bytes.buffer), 0, abi, value);
  return bytes;
}

export function decode<T, W>(codec: Codec<T, W>, abi: Abi, bytes: Uint8Array): T {
  return codec.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, abi);
}
