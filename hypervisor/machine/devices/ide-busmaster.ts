// The bus master of one IDE channel: moves a drive's data along a table of physical region descriptors (Programming Interface for Bus
// Master IDE Controller, revision 1.0).

import type { Dma } from './bus.ts';

/** Command register: start, and the direction as seen from the bus (1: a write to memory). */
const START = 1;
const TO_MEMORY = 8;
/** Status register: active, error, interrupt; bits 6:5 belong to the drivers. */
const ACTIVE = 1;
const FAILED = 2;
const INTERRUPT = 4;
const CAPABLE = 0x60;
/** The last entry of a table. */
const END_OF_TABLE = 0x8000_0000;

export interface BusMasterState {
  command: number;
  status: number;
  /** Physical address of the table. */
  table: number;
  /** The entry at hand: the next one's address, and what is left of this one. */
  next: number;
  address: number;
  left: number;
  last: boolean;
}

export class BusMaster {
  readonly state: BusMasterState = { command: 0, status: 0, table: 0, next: 0, address: 0, left: 0, last: false };
  private readonly memory: Dma;
  private readonly onStart: () => void;

  constructor(memory: Dma, onStart: () => void) {
    this.memory = memory;
    this.onStart = onStart;
  }

  /** Whether it runs in this direction. */
  ready(toMemory: boolean): boolean {
    return (this.state.status & ACTIVE) !== 0 && ((this.state.command & TO_MEMORY) !== 0) === toMemory;
  }

  readByte(offset: number): number {
    const s = this.state;
    if (offset === 0) return s.command;
    if (offset === 2) return s.status;
    return offset >= 4 ? (s.table >>> (8 * (offset - 4))) & 0xff : 0xff;
  }
  writeByte(offset: number, value: number): void {
    const s = this.state;
    if (offset === 0) this.writeCommand(value);
    else if (offset === 2) s.status = (s.status & ACTIVE) | (value & CAPABLE) | (s.status & ~value & (FAILED | INTERRUPT));
    else if (offset >= 4) {
      const at = 8 * (offset - 4);
      s.table = ((s.table & ~(0xff << at)) | (value << at)) & ~3;
      s.table >>>= 0;
    }
  }
  private writeCommand(value: number): void {
    const s = this.state;
    const before = s.command;
    s.command = value & (START | TO_MEMORY);
    if (value & START && !(before & START)) {
      s.status |= ACTIVE;
      s.next = s.table;
      s.left = 0;
      s.last = false;
      this.onStart();
    } else if (!(value & START)) s.status &= ~ACTIVE;
  }
  /** The drive's interrupt has come through. */
  interrupt(): void {
    this.state.status |= INTERRUPT;
  }

  toMemory(bytes: Uint8Array): boolean {
    return this.along(bytes.length, (address, from, to) => this.memory.write(address, bytes.subarray(from, to)));
  }
  fromMemory(length: number): Uint8Array | undefined {
    const bytes = new Uint8Array(length);
    return this.along(length, (address, from, to) => bytes.set(this.memory.read(address, to - from), from)) ? bytes : undefined;
  }

  /** Walks the table for `length` bytes. False when it ends before; active ends with the table's last byte. */
  private along(length: number, move: (address: number, from: number, to: number) => void): boolean {
    const s = this.state;
    for (let done = 0; done < length; ) {
      if (s.left === 0) {
        if (s.last) return false;
        const entry = this.memory.read(s.next, 8);
        const view = new DataView(entry.buffer, entry.byteOffset, 8);
        const control = view.getUint32(4, true);
        s.address = (view.getUint32(0, true) & ~1) >>> 0;
        // A count of zero stands for 64 KiB.
        s.left = control & 0xfffe || 0x10000;
        s.last = control >= END_OF_TABLE;
        s.next += 8;
      }
      const n = Math.min(length - done, s.left);
      move(s.address, done, done + n);
      s.address += n;
      s.left -= n;
      done += n;
      if (s.left === 0 && s.last) s.status &= ~ACTIVE;
    }
    return true;
  }

  reset(): void {
    Object.assign(this.state, { command: 0, status: 0, table: 0, next: 0, address: 0, left: 0, last: false });
  }
}
