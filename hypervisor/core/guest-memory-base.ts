// The part of guest memory access that does not depend on how an address is translated: page-by-page copies over RAM.

import type { Codec } from '@ringworld/abi';
import type { Ram } from '../machine/mmu/ram.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { Abi, Maddr } from './ids.ts';

const PAGE = 4096;
const inPage = (handle: number): number => ((handle % PAGE) + PAGE) % PAGE;

export abstract class GuestMemoryBase implements GuestMemory {
  lo = 0;
  hi = 0;
  protected readonly ram: Ram;

  constructor(ram: Ram) {
    this.ram = ram;
  }

  abstract get abi(): Abi;
  abstract translate(handle: number, write: boolean): Maddr | -1;

  isAccessible(_handle: number, _length: number): boolean {
    return true;
  }

  copyFrom(handle: number, length: number): Uint8Array | null {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = this.translate(handle + done, false);
      if (at === -1) return null;
      const n = Math.min(length - done, PAGE - (at & (PAGE - 1)));
      const host = this.ram.base + at;
      out.set(this.ram.u8.subarray(host, host + n), done);
      done += n;
    }
    return out;
  }

  copyTo(handle: number, bytes: Uint8Array): boolean {
    for (let done = 0; done < bytes.length; ) {
      const at = this.translate(handle + done, true);
      if (at === -1) return false;
      const n = Math.min(bytes.length - done, PAGE - (at & (PAGE - 1)));
      this.ram.writeBytes(at, n === bytes.length ? bytes : bytes.subarray(done, done + n));
      done += n;
    }
    return true;
  }

  clear(handle: number, length: number): boolean {
    for (let done = 0; done < length; ) {
      const at = this.translate(handle + done, true);
      if (at === -1) return false;
      const n = Math.min(length - done, PAGE - (at & (PAGE - 1)));
      this.ram.fill(at, 0, n);
      done += n;
    }
    return true;
  }

  read32(handle: number): number {
    if (inPage(handle) > PAGE - 4) {
      const b = this.copyFrom(handle, 4);
      return b === null ? -1 : new DataView(b.buffer).getUint32(0, true);
    }
    const at = this.translate(handle, false);
    return at === -1 ? -1 : this.ram.read32(at);
  }

  write32(handle: number, value: number): boolean {
    if (inPage(handle) > PAGE - 4) return this.copyTo(handle, halves(value, 0).subarray(0, 4));
    const at = this.translate(handle, true);
    if (at === -1) return false;
    this.ram.write32(at, value);
    return true;
  }

  read64(handle: number): boolean {
    if (inPage(handle) > PAGE - 8) {
      const b = this.copyFrom(handle, 8);
      if (b === null) return false;
      const v = new DataView(b.buffer);
      this.lo = v.getInt32(0, true);
      this.hi = v.getInt32(4, true);
      return true;
    }
    const at = this.translate(handle, false);
    if (at === -1) return false;
    this.lo = this.ram.read32(at) | 0;
    this.hi = this.ram.read32((at + 4) as Maddr) | 0;
    return true;
  }

  write64(handle: number, lo: number, hi: number): boolean {
    if (inPage(handle) > PAGE - 8) return this.copyTo(handle, halves(lo, hi));
    const at = this.translate(handle, true);
    if (at === -1) return false;
    this.ram.write32(at, lo);
    this.ram.write32((at + 4) as Maddr, hi);
    return true;
  }

  // TOUR hypercall 75: Copy-in. The handle is a linear address of the guest; each page of it is walked in the guest's own tables, as user
  // memory, before a byte is read. Null means -EFAULT to the caller.
  readStruct<T, W>(codec: Codec<T, W>, handle: number, index = 0): T | null {
    const size = codec.size(this.abi);
    const b = this.copyFrom(handle + index * size, size);
    return b === null ? null : codec.read(new DataView(b.buffer), 0, this.abi);
  }

  writeStruct<T, W>(codec: Codec<T, W>, handle: number, value: W, index = 0): boolean {
    const size = codec.size(this.abi);
    const b = new Uint8Array(size);
    codec.write(new DataView(b.buffer), 0, this.abi, value);
    return this.copyTo(handle + index * size, b);
  }
}

const halves = (lo: number, hi: number): Uint8Array => {
  const b = new Uint8Array(8);
  const v = new DataView(b.buffer);
  v.setInt32(0, lo | 0, true);
  v.setInt32(4, hi | 0, true);
  return b;
};
