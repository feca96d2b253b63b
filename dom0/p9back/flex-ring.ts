// The back end of one 9pfs ring (ring.h, DEFINE_XEN_FLEX_RING_AND_INTF): takes bytes from `out`, puts bytes into `in`. Its own indices are kept
// here; the frontend's are read once each time and checked.
import { flexRingSize, xen_9pfs_data_intf as layout, type PageView, ringDistance } from '@ringworld/abi';
import { RingError } from '../kernel/back-ring.ts';

const PAGE = 4096;
const at = (field: Parameters<typeof layout.offset>[0]): number => layout.offset(field, 'x86_64');
const IN_CONS = at('in_cons');
const IN_PROD = at('in_prod');
const OUT_CONS = at('out_cons');
const OUT_PROD = at('out_prod');
export const RING_ORDER = at('ring_order');
/** ref[] */
export const REFS = layout.size('x86_64');

/** Plain data. */
export interface FlexRingState {
  inProd: number;
  outCons: number;
}

export class FlexRing {
  /** Bytes of each direction. */
  readonly size: number;
  readonly state: FlexRingState;
  private readonly indices: PageView;
  private readonly data: readonly PageView[];

  /** Goes on where the shared indices are: zeroes of a new frontend. */
  constructor(indices: PageView, data: readonly PageView[], order: number) {
    this.indices = indices;
    this.data = data;
    this.size = flexRingSize(order);
    this.state = { inProd: indices.u32(IN_PROD), outCons: indices.u32(OUT_CONS) };
  }

  /** Bytes that wait in `out`. Throws RingError. */
  get queued(): number {
    return this.distance('out', this.indices.u32(OUT_PROD), this.state.outCons);
  }

  /** Free bytes of `in`. Throws RingError. */
  get free(): number {
    return this.size - this.distance('in', this.state.inProd, this.indices.u32(IN_CONS));
  }

  /** A private copy of the first bytes of `out`, which stay. */
  peek(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    this.pieces(this.size, this.state.outCons, count, (page, offset, from, length) => bytes.set(page.bytes(offset, length), from));
    return bytes;
  }

  take(count: number): Uint8Array {
    const bytes = this.peek(count);
    this.state.outCons = (this.state.outCons + count) >>> 0;
    this.indices.setU32(OUT_CONS, this.state.outCons);
    return bytes;
  }

  /** To be called only when there is room. */
  put(bytes: Uint8Array): void {
    this.pieces(0, this.state.inProd, bytes.length, (page, offset, from, length) =>
      page.writeBytes(offset, bytes.subarray(from, from + length)),
    );
    this.state.inProd = (this.state.inProd + bytes.length) >>> 0;
    this.indices.setU32(IN_PROD, this.state.inProd);
  }

  private distance(name: string, prod: number, cons: number): number {
    const distance = ringDistance(prod, cons);
    if (distance > this.size)
      throw new RingError(`${name}_prod ${prod} is ${distance} ahead of ${name}_cons, the ring has ${this.size} bytes`);
    return distance;
  }

  /** The pages and offsets of `count` bytes from index `index` of the half that begins at `base`. */
  private pieces(
    base: number,
    index: number,
    count: number,
    use: (page: PageView, offset: number, from: number, length: number) => void,
  ): void {
    for (let done = 0; done < count; ) {
      const where = base + ((index + done) & (this.size - 1));
      const length = Math.min(count - done, PAGE - (where % PAGE));
      use(this.data[Math.floor(where / PAGE)]!, where % PAGE, done, length);
      done += length;
    }
  }
}
