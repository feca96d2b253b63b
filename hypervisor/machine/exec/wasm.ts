// A small WebAssembly writer: opcodes by name and just enough of the binary format (core spec 2.0 with tail calls) for modules that
// import the machine's memory and handler table and define functions of given types.

export const I32 = 0x7f;
export const I64 = 0x7e;
export const V128 = 0x7b;
export type ValType = typeof I32 | typeof I64 | typeof V128;

/** Opcodes by their names in the text format. */
export const OP = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  return: 0x0f,
  call: 0x10,
  return_call: 0x12,
  return_call_indirect: 0x13,
  call_indirect: 0x11,
  select: 0x1b,
  local_get: 0x20,
  local_set: 0x21,
  local_tee: 0x22,
  i32_load: 0x28,
  i64_load: 0x29,
  i32_load8_u: 0x2d,
  i32_load16_u: 0x2f,
  i64_load8_u: 0x31,
  i64_load16_u: 0x33,
  i64_load32_u: 0x35,
  i32_store: 0x36,
  i64_store: 0x37,
  i32_store8: 0x3a,
  i64_store8: 0x3c,
  i64_store16: 0x3d,
  i64_store32: 0x3e,
  i32_const: 0x41,
  i64_const: 0x42,
  i32_eqz: 0x45,
  i32_eq: 0x46,
  i32_ne: 0x47,
  i32_lt_s: 0x48,
  i32_lt_u: 0x49,
  i32_gt_u: 0x4b,
  i32_le_u: 0x4d,
  i64_eqz: 0x50,
  i64_eq: 0x51,
  i64_ne: 0x52,
  i64_lt_s: 0x53,
  i64_lt_u: 0x54,
  i64_gt_u: 0x56,
  i64_le_s: 0x57,
  i64_le_u: 0x58,
  i32_clz: 0x67,
  i32_add: 0x6a,
  i32_sub: 0x6b,
  i32_and: 0x71,
  i32_or: 0x72,
  i32_xor: 0x73,
  i32_shl: 0x74,
  i32_shr_u: 0x76,
  i64_clz: 0x79,
  i64_ctz: 0x7a,
  i64_popcnt: 0x7b,
  i64_add: 0x7c,
  i64_sub: 0x7d,
  i64_mul: 0x7e,
  i64_div_s: 0x7f,
  i64_div_u: 0x80,
  i64_rem_s: 0x81,
  i64_rem_u: 0x82,
  i64_and: 0x83,
  i64_or: 0x84,
  i64_xor: 0x85,
  i64_shl: 0x86,
  i64_shr_s: 0x87,
  i64_shr_u: 0x88,
  i64_rotl: 0x89,
  i64_rotr: 0x8a,
  i32_wrap_i64: 0xa7,
  i64_extend_i32_u: 0xad,
  i64_extend8_s: 0xc2,
  i64_extend16_s: 0xc3,
  i64_extend32_s: 0xc4,
} as const;

export function pushU(out: number[], n: number): void {
  let v = n >>> 0;
  while (v > 127) {
    out.push((v & 127) | 128);
    v >>>= 7;
  }
  out.push(v);
}

export function pushS32(out: number[], n: number): void {
  let v = n | 0;
  for (;;) {
    const b = v & 127;
    v >>= 7;
    if ((v === 0 && !(b & 64)) || (v === -1 && b & 64)) {
      out.push(b);
      return;
    }
    out.push(b | 128);
  }
}

export function pushS64(out: number[], n: bigint): void {
  let v = BigInt.asIntN(64, n);
  for (;;) {
    const b = Number(v & 127n);
    v >>= 7n;
    if ((v === 0n && !(b & 64)) || (v === -1n && b & 64)) {
      out.push(b);
      return;
    }
    out.push(b | 128);
  }
}

export interface FuncType {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
}
export interface FuncImport {
  readonly name: string;
  readonly type: number;
}
export interface FuncBody {
  readonly type: number;
  /** Types of the locals after the parameters. */
  readonly locals: readonly ValType[];
  /** Without the final `end`. */
  readonly code: readonly number[];
}

const name = (s: string): number[] => [s.length, ...Array.from(s, (c) => c.charCodeAt(0))];

/** Appends a section: id, length, content. */
function section(out: number[], id: number, body: readonly number[]): void {
  out.push(id);
  pushU(out, body.length);
  for (let i = 0; i < body.length; i++) out.push(body[i]!);
}
/** Bytes of the LEB128 form. */
const lengthOfU = (n: number): number => (n < 1 << 7 ? 1 : n < 1 << 14 ? 2 : n < 1 << 21 ? 3 : n < 1 << 28 ? 4 : 5);

function localRuns(locals: readonly ValType[]): number[] {
  const runs: [number, ValType][] = [];
  for (const t of locals) {
    const last = runs.at(-1);
    if (last && last[1] === t) last[0]++;
    else runs.push([1, t]);
  }
  const out: number[] = [];
  pushU(out, runs.length);
  for (const [n, t] of runs) {
    pushU(out, n);
    out.push(t);
  }
  return out;
}

/**
 * A module that imports memory e.m, table e.t and the functions given (module name e), and exports function i as `f<i>`.
 */
export function buildModule(
  types: readonly FuncType[],
  imports: readonly FuncImport[],
  funcs: readonly FuncBody[],
  /** By which a profiler tells modules apart: V8 has it in the URL of their functions. */
  moduleName: string,
): Uint8Array<ArrayBuffer> {
  const out: number[] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  let s: number[] = [];
  pushU(s, types.length);
  for (const t of types) {
    s.push(0x60, t.params.length, ...t.params, t.results.length, ...t.results);
  }
  section(out, 1, s);
  s = [];
  pushU(s, imports.length + 2);
  s.push(...name('e'), ...name('m'), 2, 0, 1, ...name('e'), ...name('t'), 1, 0x70, 0, 1);
  for (const i of imports) {
    s.push(...name('e'), ...name(i.name), 0);
    pushU(s, i.type);
  }
  section(out, 2, s);
  s = [];
  pushU(s, funcs.length);
  for (const f of funcs) pushU(s, f.type);
  section(out, 3, s);
  s = [];
  pushU(s, funcs.length);
  funcs.forEach((_, i) => {
    s.push(...name(`f${i}`), 0);
    pushU(s, imports.length + i);
  });
  section(out, 7, s);
  const parts: { head: number[]; code: readonly number[] }[] = [];
  let length = lengthOfU(funcs.length);
  for (const f of funcs) {
    const locals = localRuns(f.locals);
    const size = locals.length + f.code.length + 1;
    const head: number[] = [];
    pushU(head, size);
    head.push(...locals);
    parts.push({ head, code: f.code });
    length += lengthOfU(size) + size;
  }
  out.push(10);
  pushU(out, length);
  pushU(out, funcs.length);
  // The custom section "name" with the module's own name (WebAssembly core specification, 7.4).
  const names: number[] = [];
  section(names, 0, [...name('name'), 0, moduleName.length + 1, ...name(moduleName)]);
  const bytes = new Uint8Array(out.length - lengthOfU(funcs.length) + length + names.length);
  bytes.set(out);
  let at = out.length;
  for (const { head, code } of parts) {
    bytes.set(head, at);
    at += head.length;
    bytes.set(code, at);
    at += code.length;
    bytes[at++] = OP.end;
  }
  bytes.set(names, at);
  return bytes;
}
