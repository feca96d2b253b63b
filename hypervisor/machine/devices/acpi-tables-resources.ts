// Resource descriptors of ACPI 6.5, 6.4: what _CRS and _PRS are made of.

import { type Aml, buffer, le } from './acpi-tables-aml.ts';

export type Descriptor = readonly number[];

/** 16-bit I/O ports at a fixed place (6.4.2.5). */
export const io = (base: number, length: number): Descriptor => [0x47, 0x01, ...le(base, 2), ...le(base, 2), 0x01, length];
/** An ISA interrupt: edge, high (6.4.2.1). */
export const irq = (line: number): Descriptor => [0x22, ...le(1 << line, 2)];
/** A fixed range of memory below 4 GiB (6.4.3.4). */
export const memory32 = (base: number, length: number, writable: boolean): Descriptor => [
  0x86,
  ...le(9, 2),
  writable ? 1 : 0,
  ...le(base, 4),
  ...le(length, 4),
];

/** Where the interrupt number is in the descriptor below. */
export const INTERRUPT_OFFSET = 5;
/** Extended interrupts (6.4.3.6): consumer, level, active high, shared. */
export function interrupts(...numbers: number[]): Descriptor {
  return [0x89, ...le(2 + 4 * numbers.length, 2), 0x09, numbers.length, ...numbers.flatMap((n) => le(n, 4))];
}

const TYPE = { memory: 0, io: 1, bus: 2 } as const;
/** Both ends fixed, positive decode, a bridge's window. */
const PRODUCER = 0x0c;
/** An address space window with `size`-byte fields (6.4.3.5). */
function window(tag: number, size: number, type: number, specific: number, first: number, last: number): Descriptor {
  const fields = [0, first, last, 0, last - first + 1].flatMap((v) => le(v, size));
  return [tag, ...le(3 + fields.length, 2), type, PRODUCER, specific, ...fields];
}
export const busWindow = (first: number, last: number): Descriptor => window(0x88, 2, TYPE.bus, 0, first, last);
/** Entire range: ISA and other addresses alike. */
export const ioWindow = (first: number, last: number): Descriptor => window(0x88, 2, TYPE.io, 0x03, first, last);
export function memoryWindow(first: number, last: number, cacheable: boolean): Descriptor {
  return window(0x87, 4, TYPE.memory, cacheable ? 0x03 : 0x01, first, last);
}

export const resources = (...descriptors: Descriptor[]): Aml => buffer([...descriptors.flat(), 0x79, 0x00]);
