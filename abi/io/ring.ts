// ring.h: a shared ring is one page (or a power of two of them): a header of four free-running 32-bit indices, then slots that
// hold a request first and its response later. Both ends keep private copies of what they produce and consume; an index that the
// other end wrote is read once and checked. This file holds the layout and the arithmetic of DEFINE_RING_TYPES and its kin.
import { bytes } from '../layout/array.ts';
import type { Abi, AnyCodec } from '../layout/codec.ts';
import { u32 } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';

/** The head of every sring; the slots follow at once. */
export const sring = struct(
  '__name##_sring',
  { req_prod: u32, req_event: u32, rsp_prod: u32, rsp_event: u32, pad: bytes(48) },
  { ctype: '' },
);
const SRING_HEADER = sring.size('x86_64');

/** A ring type: what DEFINE_RING_TYPES(name, request, response) declares. */
export interface RingType {
  readonly name: string;
  /** The larger of request and response: the union that the header calls name_sring_entry. */
  entrySize(abi: Abi): number;
  /** __RING_SIZE: slots in `ringBytes`, rounded down to a power of two. */
  slots(abi: Abi, ringBytes: number): number;
  /** Byte offset of the slot that a free-running index falls into. */
  slotOffset(abi: Abi, index: number, slots: number): number;
}

/** __RD32: the largest power of two that is not above n. */
const roundDown2 = (n: number): number => (n < 1 ? 0 : 2 ** (31 - Math.clz32(n)));

export function ringType(name: string, messages: readonly AnyCodec[]): RingType {
  const entry = (abi: Abi): number => {
    const align = Math.max(...messages.map((m) => m.align(abi)));
    return Math.ceil(Math.max(...messages.map((m) => m.size(abi))) / align) * align;
  };
  const sizes = { x86_64: entry('x86_64'), x86_32: entry('x86_32') };
  return {
    name,
    entrySize: (abi) => sizes[abi],
    slots: (abi, ringBytes) => roundDown2(Math.floor((ringBytes - SRING_HEADER) / sizes[abi])),
    slotOffset: (abi, index, slots) => SRING_HEADER + (index & (slots - 1)) * sizes[abi],
  };
}

/** Distance from index b up to index a; both run freely through 32 bits. */
export const ringDistance = (a: number, b: number): number => (a - b) >>> 0;

/**
 * RING_PUSH_{REQUESTS,RESPONSES}_AND_CHECK_NOTIFY: after the producer index went from `old` to `now`, must the other end be
 * notified? Yes if its event index lies in (old, now].
 */
export const needsNotify = (old: number, now: number, event: number): boolean => ringDistance(now, event) < ringDistance(now, old);

/** RING_{REQUEST,RESPONSE}_PROD_OVERFLOW: the other end claims to have produced more than fits; stop serving the ring. */
export const prodOverflow = (prod: number, cons: number, slots: number): boolean => ringDistance(prod, cons) > slots;
