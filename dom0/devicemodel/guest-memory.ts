// The domain's memory as the device model reaches it: foreign frames, mapped when they are first touched and kept (QEMU's mapcache,
// hw/xen/xen-mapcache.c). An INVALIDATE request, or too many of them, lets go of all that are kept.
import type { Domid, PageView } from '@ringworld/abi';
import { HypercallError } from '../kernel/hypercall.ts';
import type { Observer } from '../kernel/observe.ts';
import type { ForeignMapping, Privcmd } from '../kernel/privcmd.ts';
import type { Dma } from './board.ts';

const PAGE_SIZE = 4096;
/** Frames that are kept mapped: 16 MiB. */
const DEFAULT_FRAMES = 4096;

/** What GuestMemory uses of dom0. */
export interface ForeignMemory {
  readonly privcmd: Pick<Privcmd, 'mapForeign'>;
  readonly observer: Observer;
}

export class GuestMemory implements Dma {
  private readonly dom0: ForeignMemory;
  private readonly domid: Domid;
  private readonly capacity: number;
  private readonly mapped = new Map<number, { readonly mapping: ForeignMapping; readonly page: PageView }>();

  constructor(dom0: ForeignMemory, domid: Domid, capacity = DEFAULT_FRAMES) {
    this.dom0 = dom0;
    this.domid = domid;
    this.capacity = capacity;
  }

  /** How many frames are mapped at this moment. */
  get mappedFrames(): number {
    return this.mapped.size;
  }

  /** The page of a guest frame, or undefined when the domain has none there. */
  page(frame: number): PageView | undefined {
    const known = this.mapped.get(frame);
    if (known !== undefined) return known.page;
    if (this.mapped.size >= this.capacity) this.invalidate();
    try {
      const mapping = this.dom0.privcmd.mapForeign(this.domid, [frame]);
      const page = mapping.page(0);
      this.mapped.set(frame, { mapping, page });
      return page;
    } catch (e) {
      // A guest may name any address: there is nothing at this one.
      if (e instanceof HypercallError) return undefined;
      throw e;
    }
  }

  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length).fill(0xff);
    this.pieces(address, length, (page, offset, from, to) => page.readInto(offset, bytes.subarray(from, to)));
    return bytes;
  }
  write(address: number, bytes: Uint8Array): void {
    this.pieces(address, bytes.length, (page, offset, from, to) => page.writeBytes(offset, bytes.subarray(from, to)));
  }
  /** write(), for what must be there: throws an Error that names the address. */
  fill(address: number, bytes: Uint8Array): void {
    for (let at = address - (address % PAGE_SIZE); at < address + bytes.length; at += PAGE_SIZE)
      if (this.page(at / PAGE_SIZE) === undefined) throw new Error(`domain ${this.domid} has no memory at 0x${at.toString(16)}`);
    this.write(address, bytes);
  }
  private pieces(address: number, length: number, move: (page: PageView, offset: number, from: number, to: number) => void): void {
    this.dom0.observer.count('byte_copied', length);
    for (let done = 0; done < length; ) {
      const at = address + done;
      const offset = at % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, length - done);
      const page = this.page(Math.floor(at / PAGE_SIZE));
      if (page !== undefined) move(page, offset, done, done + count);
      done += count;
    }
  }

  /** One little-endian item of 1, 2 or 4 bytes. */
  readItem(address: number, size: number): number {
    const offset = address % PAGE_SIZE;
    const page = offset + size <= PAGE_SIZE ? this.page(Math.floor(address / PAGE_SIZE)) : undefined;
    if (page !== undefined) return size === 1 ? page.u8(offset) : size === 2 ? page.u16(offset) : page.u32(offset);
    let value = 0;
    const bytes = this.read(address, size);
    for (let i = 0; i < size; i++) value += bytes[i]! * 2 ** (8 * i);
    return value;
  }
  writeItem(address: number, size: number, value: number): void {
    const offset = address % PAGE_SIZE;
    const page = offset + size <= PAGE_SIZE ? this.page(Math.floor(address / PAGE_SIZE)) : undefined;
    if (page === undefined) {
      this.write(
        address,
        Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i)),
      );
      return;
    }
    if (size === 1) page.setU8(offset, value);
    else if (size === 2) page.setU16(offset, value);
    else page.setU32(offset, value);
  }

  /** Lets go of every frame. */
  invalidate(): void {
    for (const { mapping } of this.mapped.values()) mapping.unmap();
    this.mapped.clear();
  }
}
