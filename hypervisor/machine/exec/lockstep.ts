// What a lockstep compares: the architectural state of two contexts field by field, the RAM of two machines word by word, and the
// instruction at which one of them stands, as text.
//
// Flags are compared as RFLAGS: how an engine keeps them until somebody reads them (stage/flags.ts) is its own affair.

import type { Lin, Maddr } from '../addresses.ts';
import type { Context } from '../context.ts';
import { PF } from '../cpu-api.ts';
import type { PhysicalMap } from '../mmu/physical.ts';
import type { Ram } from '../mmu/ram.ts';
import { STATE } from '../state.ts';
import type { EmulatedCpu } from './cpu.ts';
import { decode } from './decode.ts';
import { decodeAcross } from './decode-across.ts';
import { disassemble } from './disasm.ts';

export interface FieldDifference {
  readonly field: string;
  readonly a: string;
  readonly b: string;
}

type Read = (c: Context) => string;
interface Field {
  readonly name: string;
  readonly read: Read;
}

const hex = (n: number | bigint, digits: number): string => n.toString(16).padStart(digits, '0');
const u64 =
  (at: number): Read =>
  (c) =>
    hex(c.big(at), 16);
const u32 =
  (at: number): Read =>
  (c) =>
    hex(c.u32(at), 8);
const u16 =
  (at: number): Read =>
  (c) =>
    hex(c.u16(at), 4);
const wide =
  (at: number, bits: 80 | 128): Read =>
  (c) =>
    `${bits === 80 ? hex(c.u16(at + 8), 4) : hex(c.big(at + 8), 16)}'${hex(c.big(at), 16)}`;

const GPRS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];
/** What has 64 bits and a name of its own in STATE. */
const WORDS = [
  ...([
    'gdtrBase',
    'idtrBase',
    'cr0',
    'cr2',
    'cr3',
    'cr4',
    'cr8',
    'xcr0',
    'efer',
    'star',
    'lstar',
    'cstar',
    'fmask',
    'kernelGsBase',
  ] as const),
  ...(['sysenterCs', 'sysenterEsp', 'sysenterEip', 'tscAux', 'tscOffset', 'pat', 'fip', 'fdp'] as const),
];

/** In the order in which a reader looks for them. */
const FIELDS: readonly Field[] = [
  { name: 'rip', read: u64(STATE.rip) },
  { name: 'rflags', read: (c) => hex(c.rflags >>> 0, 8) },
  ...GPRS.map((name, i) => ({ name, read: u64(STATE.gpr + 8 * i) })),
  { name: 'cpl', read: u32(STATE.cpl) },
  ...SEGMENTS.flatMap((name, i) => [
    { name, read: u16(STATE.seg + 16 * i) },
    { name: `${name}.attributes`, read: u16(STATE.seg + 16 * i + 2) },
    { name: `${name}.limit`, read: u32(STATE.seg + 16 * i + 4) },
    { name: `${name}.base`, read: u64(STATE.seg + 16 * i + 8) },
  ]),
  ...WORDS.map((name) => ({ name, read: u64(STATE[name]) })),
  { name: 'gdtrLimit', read: u32(STATE.gdtrLimit) },
  { name: 'idtrLimit', read: u32(STATE.idtrLimit) },
  ...[0, 1, 2, 3, 6, 7].map((i) => ({ name: `dr${i}`, read: u64(STATE.dr + 8 * i) })),
  ...(['fcw', 'fsw', 'ftw', 'fop'] as const).map((name) => ({ name, read: u16(STATE[name]) })),
  { name: 'mxcsr', read: u32(STATE.mxcsr) },
  ...Array.from({ length: 8 }, (_, i) => ({ name: `fpr${i}`, read: wide(STATE.fpr + 16 * i, 80) })),
  ...Array.from({ length: 16 }, (_, i) => ({ name: `xmm${i}`, read: wide(STATE.xmm + 16 * i, 128) })),
];

/** The fields in which two contexts differ. */
export function compareContexts(a: Context, b: Context): FieldDifference[] {
  const found: FieldDifference[] = [];
  for (const { name, read } of FIELDS) {
    const [left, right] = [read(a), read(b)];
    if (left !== right) found.push({ field: name, a: left, b: right });
  }
  return found;
}
/** All fields of a context, for telling what an instruction changed. */
export const readContext = (c: Context): ReadonlyMap<string, string> => new Map(FIELDS.map((f) => [f.name, f.read(c)]));

export interface WordDifference {
  readonly at: Maddr;
  readonly a: number;
  readonly b: number;
}

/** The first `most` words in which the RAM of two machines differs, and how many there are in all. */
export function compareRam(a: Ram, b: Ram, most: number): { readonly first: readonly WordDifference[]; readonly count: number } {
  const first: WordDifference[] = [];
  let count = 0;
  const [left, right] = [a.u32, b.u32];
  const [from, to] = [a.base >>> 2, b.base >>> 2];
  const words = a.size >>> 2;
  // 300 MiB in about 80 ms.
  for (let i = 0; i < words; i++) {
    if (left[from + i] === right[to + i]) continue;
    if (count++ < most) first.push({ at: (i * 4) as Maddr, a: left[from + i]!, b: right[to + i]! });
  }
  return { first, count };
}

/** The instruction at a CPU's RIP, without side effects; in words where there is none. */
export function instructionAt(cpu: EmulatedCpu, physical: PhysicalMap): string {
  const { execMode: mode, rip, ram } = cpu;
  const lin = (mode.bits === 64 ? rip : (rip + mode.csBase) >>> 0) as Lin;
  const access = PF.fetch | (cpu.cpl === 3 ? PF.user : 0);
  const host = (at: Lin): number | undefined => {
    const w = cpu.walk(at, access);
    const place = w.ok ? physical.locate(w.maddr) : -1;
    return place < 0 ? undefined : ram.base + place;
  };
  const first = host(lin);
  if (first === undefined) return '(not mapped)';
  const room = 4096 - (first & 0xfff);
  let d = decode(ram.u8, first, room, mode);
  if (d === 'needBytes') {
    const second = host((lin + room) as Lin);
    if (second === undefined) return '(runs into a page that is not mapped)';
    d = decodeAcross(ram.u8, first, second, mode);
  }
  return typeof d === 'string' ? '(undefined opcode)' : disassemble(d, rip);
}
