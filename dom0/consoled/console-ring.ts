// The shared page of a PV console (public/io/console.h): two byte rings with free-running indices. The guest's indices are read once
// and checked; a guest that lies about them loses its output, as with xenconsoled.
import { xencons_interface as layout, type PageView, ringDistance } from '@ringworld/abi';

const at = (field: Parameters<typeof layout.offset>[0]): number => layout.offset(field, 'x86_64');
const IN = at('in');
const OUT = at('out');
const IN_CONS = at('in_cons');
const IN_PROD = at('in_prod');
const OUT_CONS = at('out_cons');
const OUT_PROD = at('out_prod');
const IN_SIZE = OUT - IN;
const OUT_SIZE = IN_CONS - OUT;

/** Takes at most `limit` bytes of the guest's output. */
export function takeOutput(page: PageView, limit: number): Uint8Array {
  const cons = page.u32(OUT_CONS);
  const available = ringDistance(page.u32(OUT_PROD), cons);
  if (available > OUT_SIZE) {
    page.setU32(OUT_CONS, (cons + available) >>> 0);
    return new Uint8Array(0);
  }
  const count = Math.min(available, limit);
  if (count === 0) return new Uint8Array(0);
  const start = cons & (OUT_SIZE - 1);
  const first = Math.min(count, OUT_SIZE - start);
  const bytes = new Uint8Array(count);
  bytes.set(page.bytes(OUT + start, first));
  if (first < count) bytes.set(page.bytes(OUT, count - first), first);
  page.setU32(OUT_CONS, (cons + count) >>> 0);
  return bytes;
}

/** Puts input into the ring; returns how many bytes fitted. */
export function putInput(page: PageView, bytes: Uint8Array): number {
  const prod = page.u32(IN_PROD);
  const used = ringDistance(prod, page.u32(IN_CONS));
  if (used > IN_SIZE) return 0;
  const count = Math.min(bytes.length, IN_SIZE - used);
  if (count === 0) return 0;
  const start = prod & (IN_SIZE - 1);
  const first = Math.min(count, IN_SIZE - start);
  page.writeBytes(IN + start, bytes.subarray(0, first));
  if (first < count) page.writeBytes(IN, bytes.subarray(first, count));
  page.setU32(IN_PROD, (prod + count) >>> 0);
  return count;
}
