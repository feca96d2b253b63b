// Segment and system descriptors: parsing, and reading them from the GDT or LDT as implicit supervisor accesses (SDM Vol 3A, 3.4.5, 3.5).

import type { Lin } from '../addresses.ts';
import { LDTR, SEG, STATE } from '../state.ts';
import { EXC } from './bits.ts';
import { load, store, word } from './linear.ts';
import type { SystemCpu } from './ports.ts';

export interface Descriptor {
  readonly selector: number;
  /** Linear address of the descriptor. */
  readonly at: Lin;
  readonly lo: number;
  readonly hi: number;
  /** Layout of SEG in state.ts. */
  readonly attributes: number;
  readonly base: number;
  /** In bytes, granularity applied. */
  readonly limit: number;
  readonly dpl: number;
  /** Type field, 0..15. */
  readonly type: number;
  /** Code or data (descriptor bit S), not a system descriptor. */
  readonly isSegment: boolean;
  readonly isCode: boolean;
  readonly isConforming: boolean;
  readonly isPresent: boolean;
}

/** System descriptor types (SDM Vol 3A, Table 3-2). */
export const SYS = {
  tss16Available: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tssAvailable: 9,
  tssBusy: 11,
  callGate: 12,
  interruptGate: 14,
  trapGate: 15,
} as const;

export function parseDescriptor(selector: number, at: Lin, lo: number, hi: number): Descriptor {
  const attributes = (hi >>> 8) & 0xf0ff;
  const raw = (lo & 0xffff) | (hi & 0xf0000);
  const type = attributes & SEG.type;
  const isSegment = (attributes & SEG.s) !== 0;
  const isCode = isSegment && (type & SEG.code) !== 0;
  return {
    selector,
    at,
    lo,
    hi,
    attributes,
    base: ((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff000000)) >>> 0,
    limit: attributes & SEG.g ? ((raw << 12) | 0xfff) >>> 0 : raw,
    dpl: (attributes & SEG.dpl) >>> SEG.dplShift,
    type,
    isSegment,
    isCode,
    isConforming: isCode && (type & SEG.conforming) !== 0,
    isPresent: (attributes & SEG.present) !== 0,
  };
}

/** Error code that names a selector (SDM Vol 3A, 6.13); ext is 1 while an external event is delivered. */
export const selectorError = (selector: number, ext = 0): number => (selector & 0xfffc) | ext;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

/** Linear address of the entry if it lies inside its table, `size` bytes of it; no fault. */
export function descriptorAddress(cpu: SystemCpu, selector: number, size = 8): Lin | undefined {
  const offset = selector & 0xfff8;
  if (selector & 4) {
    if (isNull(cpu.selector(LDTR)) || !(cpu.segAttributes(LDTR) & SEG.present)) return undefined;
    return offset + size - 1 <= cpu.segLimit(LDTR) ? ((cpu.segBase(LDTR) + offset) as Lin) : undefined;
  }
  return offset + size - 1 <= cpu.u32(STATE.gdtrLimit) ? ((cpu.lin(STATE.gdtrBase) + offset) as Lin) : undefined;
}

/** Reads a descriptor; outside its table: `vector` with the selector. */
export function readDescriptor(cpu: SystemCpu, selector: number, vector: number = EXC.GP, ext = 0): Descriptor | undefined {
  const at = descriptorAddress(cpu, selector);
  if (at === undefined) {
    cpu.fault(vector, selectorError(selector, ext));
    return undefined;
  }
  return readDescriptorAt(cpu, selector, at);
}

/** Descriptors as they were last parsed, by index: every entry to and exit from a kernel reads the same few. */
const parsed: (Descriptor | undefined)[] = new Array(64).fill(undefined);

export function readDescriptorAt(cpu: SystemCpu, selector: number, at: Lin): Descriptor | undefined {
  const p = cpu.probe(at, 8, false, true);
  if (p === 0) return undefined;
  const lo = word(cpu.ram.u8, p);
  const hi = word(cpu.ram.u8, p + 4);
  const slot = (selector >>> 3) & 63;
  const known = parsed[slot];
  if (known !== undefined && known.selector === selector && known.at === at && known.lo === lo && known.hi === hi) return known;
  const d = parseDescriptor(selector, at, lo, hi);
  parsed[slot] = d;
  return d;
}

/** Upper 8 bytes of a 16-byte system descriptor in long mode; its type field must be zero (SDM Vol 3A, 5.8.3.1). */
export function readUpperHalf(cpu: SystemCpu, d: Descriptor, ext = 0): number | undefined {
  if (descriptorAddress(cpu, d.selector, 16) === undefined) {
    cpu.fault(EXC.GP, selectorError(d.selector, ext));
    return undefined;
  }
  const baseHi = load(cpu, (d.at + 8) as Lin, 4, true);
  const reserved = load(cpu, (d.at + 12) as Lin, 4, true);
  if (baseHi === undefined || reserved === undefined) return undefined;
  if (reserved & 0x1f00) {
    cpu.fault(EXC.GP, selectorError(d.selector, ext));
    return undefined;
  }
  return baseHi;
}

/** Sets the accessed bit in memory where it is clear; returns the attributes to load. */
export function markAccessed(cpu: SystemCpu, d: Descriptor): number | undefined {
  if (d.attributes & SEG.accessed) return d.attributes;
  if (!store(cpu, (d.at + 5) as Lin, 1, (d.hi >>> 8) | SEG.accessed, true)) return undefined;
  return d.attributes | SEG.accessed;
}

/** Writes the type field of a system descriptor (busy bit of a TSS). */
export function writeType(cpu: SystemCpu, d: Descriptor, type: number): boolean {
  return store(cpu, (d.at + 5) as Lin, 1, ((d.hi >>> 8) & 0xf0) | type, true);
}
