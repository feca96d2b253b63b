// A small AML encoder: terms in, bytes out (ACPI 6.5, chapter 20). Only what the DSDT of this board needs.
//
// A term is its bytes. So an expression nests as in ASL: store(ref('PRRI'), ref('PRQ0')).

export type Aml = readonly number[];

const ZERO = 0x00;
const ONE = 0x01;
const EXT = 0x5b;

/** A little-endian number of `size` bytes. */
export const le = (value: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 0xff);

const bytesOf = (text: string): number[] => Array.from(text, (c) => c.charCodeAt(0));

/** A NameSeg: four characters, filled up with underscores. */
function segment(name: string): number[] {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(name)) throw new RangeError(`"${name}" is no AML name segment`);
  return bytesOf(name.padEnd(4, '_'));
}

/** A NameString: segments joined by dots, from the root with a backslash, from parents with carets. */
export function ref(path: string): Aml {
  const prefix = /^(\\|\^*)/.exec(path)?.[0] ?? '';
  const segments = path.slice(prefix.length).split('.').map(segment);
  const lead = segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  return [...bytesOf(prefix), ...lead, ...segments.flat()];
}

/** PkgLength (20.2.4) of `content` bytes: it counts itself unless it measures a field in bits. */
function packageLength(content: number, counted = true): number[] {
  const own = (n: number) => (counted ? content + n : content);
  if (own(1) < 0x40) return [own(1)];
  for (const n of [2, 3, 4]) {
    const length = own(n);
    if (length < 2 ** (4 + 8 * (n - 1))) return [((n - 1) << 6) | (length & 0x0f), ...le(Math.floor(length / 16), n - 1)];
  }
  throw new RangeError(`${content} bytes do not fit an AML package`);
}

const wrap = (opcode: readonly number[], content: Aml): Aml => [...opcode, ...packageLength(content.length), ...content];

export function integer(value: number): Aml {
  if (value === 0) return [ZERO];
  if (value === 1) return [ONE];
  if (value < 0x100) return [0x0a, value];
  if (value < 0x1_0000) return [0x0b, ...le(value, 2)];
  if (value < 2 ** 32) return [0x0c, ...le(value, 4)];
  return [0x0e, ...le(value, 8)];
}
export const string = (text: string): Aml => [0x0d, ...bytesOf(text), 0];
export const buffer = (bytes: readonly number[]): Aml => wrap([0x11], [...integer(bytes.length), ...bytes]);
export const pack = (...elements: Aml[]): Aml => wrap([0x12], [elements.length, ...elements.flat()]);

/** EISA identifier as an integer (ACPI 6.5, 19.3.4): three letters of five bits, four hexadecimal digits, big-endian. */
export function eisaId(id: string): Aml {
  const letters = [0, 1, 2].reduce((v, i) => (v << 5) | (id.charCodeAt(i) - 0x40), 0);
  const digits = Number.parseInt(id.slice(3), 16);
  return [0x0c, letters >> 8, letters & 0xff, digits >> 8, digits & 0xff];
}

export const name = (path: string, value: Aml): Aml => [0x08, ...ref(path), ...value];
export const scope = (path: string, ...terms: Aml[]): Aml => wrap([0x10], [...ref(path), ...terms.flat()]);
export const device = (path: string, ...terms: Aml[]): Aml => wrap([EXT, 0x82], [...ref(path), ...terms.flat()]);
export function method(path: string, args: number, serialized: boolean, ...terms: Aml[]): Aml {
  return wrap([0x14], [...ref(path), args | (serialized ? 8 : 0), ...terms.flat()]);
}

export const REGION = { SystemMemory: 0, SystemIO: 1, PCI_Config: 2 } as const;
export function region(path: string, space: number, offset: number, length: number): Aml {
  return [EXT, 0x80, ...ref(path), space, ...integer(offset), ...integer(length)];
}
/** Consecutive byte-wide fields of a region: byte access, no lock, preserve. */
export function byteFields(regionPath: string, names: readonly string[]): Aml {
  return wrap([EXT, 0x81], [...ref(regionPath), 0x01, ...names.flatMap((n) => [...segment(n), ...packageLength(8, false)])]);
}

export const arg = (n: number): Aml => [0x68 + n];
export const store = (value: Aml, target: Aml): Aml => [0x70, ...value, ...target];
export const and = (a: Aml, b: Aml, target: Aml = [ZERO]): Aml => [0x7b, ...a, ...b, ...target];
export const or = (a: Aml, b: Aml, target: Aml = [ZERO]): Aml => [0x7d, ...a, ...b, ...target];
export const not = (a: Aml): Aml => [0x92, ...a];
export const iff = (condition: Aml, ...terms: Aml[]): Aml => wrap([0xa0], [...condition, ...terms.flat()]);
export const give = (value: Aml): Aml => [0xa4, ...value];
export const call = (path: string, ...args: Aml[]): Aml => [...ref(path), ...args.flat()];
export const dwordField = (source: Aml, offset: number, path: string): Aml => [0x8a, ...source, ...integer(offset), ...ref(path)];
