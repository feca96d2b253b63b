// A batch of grant copies (GNTTABOP_copy), written into dom0's memory as they are added and made by one hypercall. For backends that move
// data all the time: nothing is allocated per copy.
import {
  __HYPERVISOR_grant_table_op,
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTTABOP_copy,
  gnttab_copy,
} from '@ringworld/abi';
import { DOM0_ABI, type Hypercalls } from './hypercall.ts';
import { PAGE_SIZE } from './memory.ts';
import type { Observer } from './observe.ts';

const SIZE = gnttab_copy.size(DOM0_ABI);
// Offsets within one side; `u` is a reference or a frame number.
const SOURCE = gnttab_copy.offset('source', DOM0_ABI);
const DEST = gnttab_copy.offset('dest', DOM0_ABI);
const U = 0;
const DOMID = 8;
const OFFSET = 10;
const LEN = gnttab_copy.offset('len', DOM0_ABI);
const FLAGS = gnttab_copy.offset('flags', DOM0_ABI);
const STATUS = gnttab_copy.offset('status', DOM0_ABI);

export class GrantCopyBatch {
  readonly capacity: number;
  /** How many copies wait to be made. */
  count = 0;
  /** How many bytes those copy. */
  bytes = 0;
  private made = 0;
  private readonly xen: Hypercalls;
  private readonly observer: Observer;
  /** The operations' image in JavaScript, and where it goes. */
  private readonly image: DataView;
  private readonly address: number;
  private results = new Int16Array(0);

  constructor(xen: Hypercalls, observer: Observer, capacity: number) {
    this.xen = xen;
    this.observer = observer;
    this.capacity = capacity;
    this.image = new DataView(new ArrayBuffer(SIZE * capacity));
    this.address = xen.memory.allocate(Math.ceil((SIZE * capacity) / PAGE_SIZE)) * PAGE_SIZE;
    this.results = new Int16Array(capacity);
  }

  /** From a domain's granted page into a frame of dom0's. Returns the copy's number in the batch. */
  fromGrant(dom: number, ref: number, from: number, frame: number, to: number, length: number): number {
    return this.add(dom, ref, from, DOMID_SELF, frame, to, length, GNTCOPY_source_gref);
  }

  /** From a frame of dom0's into a domain's granted page. */
  toGrant(frame: number, from: number, dom: number, ref: number, to: number, length: number): number {
    return this.add(DOMID_SELF, frame, from, dom, ref, to, length, GNTCOPY_dest_gref);
  }

  /** Forgets what waits. */
  clear(): void {
    this.count = 0;
    this.bytes = 0;
  }

  /** Makes them all; status() tells of each, until the next flush. */
  flush(): void {
    const { count, image } = this;
    this.made = count;
    this.count = 0;
    if (count === 0) return;
    this.xen.memory.write(this.address, new Uint8Array(image.buffer, 0, count * SIZE));
    this.observer.count('grant_copy', count);
    this.observer.count('byte_copied', this.bytes);
    this.bytes = 0;
    this.xen.call('GNTTABOP_copy', __HYPERVISOR_grant_table_op, GNTTABOP_copy, this.address, count);
    const { memory } = this.xen;
    const back = new DataView(memory.read(this.address, count * SIZE).buffer);
    for (let i = 0; i < count; i++) this.results[i] = back.getInt16(i * SIZE + STATUS, true);
  }

  /** GNTST_* of a copy of the batch that was flushed last. */
  status(index: number): number {
    if (index >= this.made) throw new RangeError(`copy ${index} of ${this.made}`);
    return this.results[index]!;
  }

  private add(d1: number, u1: number, o1: number, d2: number, u2: number, o2: number, length: number, flags: number): number {
    const index = this.count;
    if (index >= this.capacity) throw new RangeError(`more than ${this.capacity} copies in a batch`);
    const at = index * SIZE;
    const { image } = this;
    image.setUint32(at + SOURCE + U, u1, true);
    image.setUint32(at + SOURCE + U + 4, 0, true);
    image.setUint16(at + SOURCE + DOMID, d1, true);
    image.setUint16(at + SOURCE + OFFSET, o1, true);
    image.setUint32(at + DEST + U, u2, true);
    image.setUint32(at + DEST + U + 4, 0, true);
    image.setUint16(at + DEST + DOMID, d2, true);
    image.setUint16(at + DEST + OFFSET, o2, true);
    image.setUint16(at + LEN, length, true);
    image.setUint16(at + FLAGS, flags, true);
    image.setInt16(at + STATUS, 0, true);
    this.bytes += length;
    this.count = index + 1;
    return index;
  }
}
