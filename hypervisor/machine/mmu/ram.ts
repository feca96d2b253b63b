// The machine's memory: one WebAssembly.Memory that holds the CPUs' state blocks, the code cache and, from `base` on, the RAM that the
// machine's software sees as physical addresses 0 .. size. This file and core/copy-guest.ts are the only ones with typed arrays over it.
//
// Every write made from TypeScript comes through here, so that code that was decoded from a page is thrown away when the page changes.

import type { Maddr } from '../addresses.ts';

const PAGE = 4096;
const WASM_PAGE = 65536;

export class Ram {
  readonly memory: WebAssembly.Memory;
  /** Host address (offset in the wasm memory) of physical address 0. */
  readonly base: number;
  /** Bytes of RAM. */
  readonly size: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  /** One byte per frame: not zero when instructions were decoded from it. */
  readonly codeFrames: Uint8Array;
  /** Called before bytes of a frame with decoded code change. */
  onCodeWrite: (at: Maddr, length: number) => void = () => {};

  constructor(size: number, reserved: number) {
    if (size % PAGE !== 0) throw new RangeError(`RAM size ${size} is not a whole number of pages`);
    this.base = Math.ceil(reserved / WASM_PAGE) * WASM_PAGE;
    this.size = size;
    const pages = Math.ceil((this.base + size) / WASM_PAGE);
    if (pages > 65536) throw new RangeError(`${size} bytes of RAM do not fit: the machine has ${4 * 1024 ** 3 - this.base} at most`);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const { buffer } = this.memory;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.codeFrames = new Uint8Array(size / PAGE);
  }

  /** Whether [at, at + length) is RAM. */
  contains(at: number, length = 1): boolean {
    return at >= 0 && at + length <= this.size;
  }

  // Reads. `at` is a physical address inside RAM; multi-byte accesses may be unaligned.
  read8(at: Maddr): number {
    return this.u8[this.base + at]!;
  }
  read16(at: Maddr): number {
    const p = this.base + at;
    return this.u8[p]! | (this.u8[p + 1]! << 8);
  }
  /** Unsigned. */
  read32(at: Maddr): number {
    const p = this.base + at;
    if ((p & 3) === 0) return this.u32[p >>> 2]!;
    return (this.u8[p]! | (this.u8[p + 1]! << 8) | (this.u8[p + 2]! << 16) | (this.u8[p + 3]! << 24)) >>> 0;
  }
  read64(at: Maddr): bigint {
    const p = this.base + at;
    if ((p & 7) === 0) return this.u64[p >>> 3]!;
    return (BigInt(this.read32((at + 4) as Maddr)) << 32n) | BigInt(this.read32(at));
  }
  /** A private copy. */
  readBytes(at: Maddr, length: number): Uint8Array {
    return this.u8.slice(this.base + at, this.base + at + length);
  }
  readInto(at: Maddr, into: Uint8Array): void {
    const p = this.base + at;
    into.set(this.u8.subarray(p, p + into.length));
  }

  write8(at: Maddr, v: number): void {
    this.touch(at, 1);
    this.u8[this.base + at] = v;
  }
  write16(at: Maddr, v: number): void {
    this.touch(at, 2);
    const p = this.base + at;
    this.u8[p] = v;
    this.u8[p + 1] = v >>> 8;
  }
  write32(at: Maddr, v: number): void {
    this.touch(at, 4);
    const p = this.base + at;
    if ((p & 3) === 0) {
      this.u32[p >>> 2] = v;
      return;
    }
    this.u8[p] = v;
    this.u8[p + 1] = v >>> 8;
    this.u8[p + 2] = v >>> 16;
    this.u8[p + 3] = v >>> 24;
  }
  write64(at: Maddr, v: bigint): void {
    this.write32(at, Number(v & 0xffffffffn));
    this.write32((at + 4) as Maddr, Number((v >> 32n) & 0xffffffffn));
  }
  writeBytes(at: Maddr, bytes: Uint8Array): void {
    this.touch(at, bytes.length);
    this.u8.set(bytes, this.base + at);
  }
  fill(at: Maddr, value: number, length: number): void {
    this.touch(at, length);
    this.u8.fill(value, this.base + at, this.base + at + length);
  }
  copy(to: Maddr, from: Maddr, length: number): void {
    this.touch(to, length);
    this.u8.copyWithin(this.base + to, this.base + from, this.base + from + length);
  }

  private touch(at: Maddr, length: number): void {
    const last = (at + length - 1) >>> 12;
    for (let f = at >>> 12; f <= last; f++) if (this.codeFrames[f]) this.onCodeWrite(at, length);
  }
}
