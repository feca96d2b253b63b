// The DP8390 network interface controller (National DP8390D data sheet) with 16 KiB of packet memory, as the NE2000 has it: frames lie in a ring
// of 256-byte pages, and the CPU moves them through a data port ("remote DMA").
//
// What is sent leaves at once; nothing collides. Addresses count from the card's point of view: the station address at 0, packet memory from
// 16 KiB on.

import type { IrqLine } from './bus.ts';

/** Where packet memory begins and ends. */
const MEMORY_START = 0x4000;
const MEMORY_END = 0x8000;
/** The station address PROM: each byte twice, and 'W' at 14 and 15 for a card on a 16-bit bus (NE2000). */
const PROM_BYTES = 32;

/** Command register: PS1 PS0 RD2 RD1 RD0 TXP STA STP. */
const CR = { STP: 0x01, TXP: 0x04, READ: 0x08, WRITE: 0x10, ABORT: 0x20 } as const;
export const ISR = { PRX: 0x01, PTX: 0x02, RXE: 0x04, TXE: 0x08, OVW: 0x10, CNT: 0x20, RDC: 0x40, RST: 0x80 } as const;
const DCR_WORD = 0x01;
const TCR_LOOPBACK = 0x06;
/** Receive configuration: errors, runts, broadcast, multicast, promiscuous, monitor. */
const RCR = { RUNTS: 0x02, BROADCAST: 0x04, MULTICAST: 0x08, PROMISCUOUS: 0x10, MONITOR: 0x20 } as const;
const RSR = { PRX: 0x01, MPA: 0x10, PHY: 0x20, DIS: 0x40 } as const;
const TSR_PTX = 0x01;

/** A header of four bytes lies before each frame: status, next page, length with the header. */
const HEADER = 4;
const CRC_BYTES = 4;
const MIN_FRAME = 60;
const MAX_FRAME = 1514;
/** A driver may have left less than it says: longer transmissions than a VLAN-tagged frame are not sent. */
const MAX_SENT = 1518;

export interface Dp8390State {
  command: number;
  /** Page numbers. */
  pageStart: number;
  pageStop: number;
  boundary: number;
  current: number;
  transmitPage: number;
  transmitCount: number;
  transmitStatus: number;
  receiveStatus: number;
  isr: number;
  imr: number;
  rcr: number;
  tcr: number;
  dcr: number;
  remoteAddress: number;
  remoteCount: number;
  /** Frames that were lost for want of room: tally counter 2. */
  missed: number;
  address: Uint8Array;
  multicast: Uint8Array;
  memory: Uint8Array;
}

export interface Dp8390Options {
  readonly mac: Uint8Array;
  readonly irq: IrqLine;
  /** A frame leaves; borrowed. */
  readonly transmit: (frame: Uint8Array) => void;
}

export class Dp8390 {
  readonly state: Dp8390State;
  private readonly options: Dp8390Options;
  private level = false;

  constructor(options: Dp8390Options) {
    this.options = options;
    this.state = {
      command: CR.STP | CR.ABORT,
      pageStart: 0,
      pageStop: 0,
      boundary: 0,
      current: 0,
      transmitPage: 0,
      transmitCount: 0,
      transmitStatus: 0,
      receiveStatus: 0,
      isr: ISR.RST,
      imr: 0,
      rcr: 0,
      tcr: 0,
      dcr: 0,
      remoteAddress: 0,
      remoteCount: 0,
      missed: 0,
      address: new Uint8Array(6),
      multicast: new Uint8Array(8),
      memory: new Uint8Array(MEMORY_END - MEMORY_START),
    };
  }

  /** The reset port or the bus's reset: stopped, nothing pending but RST. Memory and addresses keep what they have (data sheet, 10.1). */
  reset(): void {
    Object.assign(this.state, { command: CR.STP | CR.ABORT, isr: ISR.RST, imr: 0, remoteCount: 0, transmitStatus: 0, receiveStatus: 0 });
    this.update();
  }
  /** To be called when `state` was filled from a saved one. */
  restored(): void {
    this.update();
  }

  // --- registers, by their number in the page that the command register selects (data sheet, 10.2)
  read(register: number): number {
    const s = this.state;
    if (register === 0) return s.command;
    switch (s.command >>> 6) {
      case 0:
        return this.readPage0(register);
      case 1:
        return register <= 6 ? s.address[register - 1]! : register === 7 ? s.current : s.multicast[register - 8]!;
      case 2:
        return this.readPage2(register);
      default:
        return 0;
    }
  }
  private readPage0(register: number): number {
    const s = this.state;
    switch (register) {
      case 0x01:
      case 0x08:
        return s.remoteAddress & 0xff;
      case 0x02:
      case 0x09:
        return s.remoteAddress >>> 8;
      case 0x03:
        return s.boundary;
      case 0x04:
        return s.transmitStatus;
      case 0x07:
        return s.isr;
      case 0x0a:
        // The RTL8029's identification (Realtek data sheet, 5.2.1): "PC".
        return 0x50;
      case 0x0b:
        return 0x43;
      case 0x0c:
        return s.receiveStatus | (s.rcr & RCR.MONITOR ? RSR.DIS : 0);
      case 0x0f: {
        // Reading a tally counter clears it.
        const { missed } = s;
        s.missed = 0;
        return missed;
      }
      default:
        // Collisions, FIFO, the other tally counters.
        return 0;
    }
  }
  private readPage2(register: number): number {
    const s = this.state;
    switch (register) {
      case 0x01:
        return s.pageStart;
      case 0x02:
        return s.pageStop;
      case 0x04:
        return s.transmitPage;
      case 0x0c:
        return s.rcr | 0xc0;
      case 0x0d:
        return s.tcr | 0xe0;
      case 0x0e:
        return s.dcr | 0x80;
      case 0x0f:
        return s.imr | 0x80;
      default:
        return 0;
    }
  }

  write(register: number, value: number): void {
    const s = this.state;
    if (register === 0) {
      this.command(value);
      return;
    }
    const page = s.command >>> 6;
    if (page === 0) this.writePage0(register, value);
    else if (page === 1) {
      if (register <= 6) s.address[register - 1] = value;
      else if (register === 7) s.current = value;
      else s.multicast[register - 8] = value;
    }
  }
  private writePage0(register: number, value: number): void {
    const s = this.state;
    switch (register) {
      case 0x01:
        s.pageStart = value;
        return;
      case 0x02:
        s.pageStop = value;
        return;
      case 0x03:
        s.boundary = value;
        return;
      case 0x04:
        s.transmitPage = value;
        return;
      case 0x05:
        s.transmitCount = (s.transmitCount & 0xff00) | value;
        return;
      case 0x06:
        s.transmitCount = (s.transmitCount & 0x00ff) | (value << 8);
        return;
      case 0x07:
        // RST shows the state of the chip and is not to be cleared.
        s.isr &= ~(value & 0x7f);
        this.update();
        return;
      case 0x08:
        s.remoteAddress = (s.remoteAddress & 0xff00) | value;
        return;
      case 0x09:
        s.remoteAddress = (s.remoteAddress & 0x00ff) | (value << 8);
        return;
      case 0x0a:
        s.remoteCount = (s.remoteCount & 0xff00) | value;
        return;
      case 0x0b:
        s.remoteCount = (s.remoteCount & 0x00ff) | (value << 8);
        return;
      case 0x0c:
        s.rcr = value & 0x3f;
        return;
      case 0x0d:
        s.tcr = value & 0x1f;
        return;
      case 0x0e:
        s.dcr = value & 0x7f;
        return;
      case 0x0f:
        s.imr = value & 0x7f;
        this.update();
    }
  }

  private command(value: number): void {
    const s = this.state;
    s.command = value & ~CR.TXP;
    if (value & CR.STP) {
      s.isr |= ISR.RST;
      return;
    }
    s.isr &= ~ISR.RST;
    // A transfer of nothing is complete at once.
    if (value & (CR.READ | CR.WRITE) && !(value & CR.ABORT) && s.remoteCount === 0) s.isr |= ISR.RDC;
    if (value & CR.TXP) this.send();
    this.update();
  }

  // --- remote DMA: the data port
  /** `size` is 1, 2 or 4; a word-wide card moves words (DCR.WTS), whatever narrower the access is. */
  readData(size: number): number {
    let value = 0;
    const width = this.width(size);
    for (let i = 0; i < width; i++) value += this.load(this.state.remoteAddress + i) * 2 ** (8 * i);
    this.step(width);
    return value % 2 ** (8 * size);
  }
  writeData(size: number, value: number): void {
    if (this.state.remoteCount === 0) return;
    const width = this.width(size);
    for (let i = 0; i < width; i++) this.store(this.state.remoteAddress + i, (value >>> (8 * i)) & 0xff);
    this.step(width);
  }
  private width(size: number): number {
    return size === 4 ? 4 : this.state.dcr & DCR_WORD ? 2 : 1;
  }
  private load(at: number): number {
    if (at >= MEMORY_START && at < MEMORY_END) return this.state.memory[at - MEMORY_START]!;
    if (at >= PROM_BYTES) return 0xff;
    return at >>> 1 < 6 ? this.options.mac[at >>> 1]! : at >>> 1 >= 14 ? 0x57 : 0;
  }
  private store(at: number, value: number): void {
    if (at >= MEMORY_START && at < MEMORY_END) this.state.memory[at - MEMORY_START] = value;
  }
  private step(width: number): void {
    const s = this.state;
    s.remoteAddress = (s.remoteAddress + width) & 0xffff;
    // Reading a frame that wraps goes on at the ring's first page.
    if (s.remoteAddress === s.pageStop << 8) s.remoteAddress = s.pageStart << 8;
    if (s.remoteCount > width) {
      s.remoteCount -= width;
      return;
    }
    s.remoteCount = 0;
    s.isr |= ISR.RDC;
    this.update();
  }

  private send(): void {
    const s = this.state;
    const at = (s.transmitPage << 8) - MEMORY_START;
    const count = s.transmitCount;
    const isThere = at >= 0 && count <= MAX_SENT && at + count <= s.memory.length;
    // In loopback nothing reaches the wire.
    if (isThere && count > 0 && (s.tcr & TCR_LOOPBACK) === 0) this.options.transmit(s.memory.subarray(at, at + count));
    s.transmitStatus = TSR_PTX;
    s.isr |= ISR.PTX;
  }

  // --- receiving
  /** A frame without FCS, borrowed. False: it was lost, for want of room or because the receiver is off. Filtered ones count as taken. */
  receive(frame: Uint8Array): boolean {
    const s = this.state;
    if (s.command & CR.STP || s.rcr & RCR.MONITOR || frame.length > MAX_FRAME + CRC_BYTES) return false;
    if (!this.accepts(frame)) return true;
    // The driver has programmed a ring that lies in memory, or it gets nothing.
    const isRing = s.pageStart >= MEMORY_START >>> 8 && s.pageStop <= MEMORY_END >>> 8 && s.pageStart < s.pageStop;
    if (!isRing || s.current < s.pageStart || s.current >= s.pageStop) return false;
    const length = Math.max(frame.length, MIN_FRAME);
    const pages = Math.ceil((HEADER + length + CRC_BYTES) / 256);
    if (pages >= this.freePages()) {
      s.missed = Math.min(s.missed + 1, 0xff);
      s.isr |= ISR.OVW;
      this.update();
      return false;
    }
    let next = s.current + pages;
    if (next >= s.pageStop) next -= s.pageStop - s.pageStart;
    s.receiveStatus = RSR.PRX | (frame[0]! & 1 ? RSR.PHY : 0);
    const total = HEADER + length;
    let at = s.current << 8;
    const put = (byte: number): void => {
      this.store(at++, byte);
      if (at === s.pageStop << 8) at = s.pageStart << 8;
    };
    for (const byte of [s.receiveStatus, next, total & 0xff, total >>> 8]) put(byte);
    for (let i = 0; i < length; i++) put(frame[i] ?? 0);
    s.current = next;
    s.isr |= ISR.PRX;
    this.update();
    return true;
  }
  /** From the current page to the boundary; all of the ring when both are one. */
  private freePages(): number {
    const { current, boundary, pageStart, pageStop } = this.state;
    const free = boundary - current;
    return free > 0 ? free : free + (pageStop - pageStart);
  }
  private accepts(frame: Uint8Array): boolean {
    const s = this.state;
    if (s.rcr & RCR.PROMISCUOUS) return true;
    if (frame.subarray(0, 6).every((b) => b === 0xff)) return (s.rcr & RCR.BROADCAST) !== 0;
    if (frame[0]! & 1) {
      const index = multicastIndex(frame);
      return (s.rcr & RCR.MULTICAST) !== 0 && (s.multicast[index >>> 3]! & (1 << (index & 7))) !== 0;
    }
    return s.address.every((b, i) => b === frame[i]);
  }

  private update(): void {
    const level = (this.state.isr & this.state.imr & 0x7f) !== 0;
    if (level === this.level) return;
    this.level = level;
    this.options.irq(level);
  }
}

/** The six high bits of the Ethernet CRC of the address: which bit of MAR0 to MAR7 stands for a group (data sheet, 10.3). */
export function multicastIndex(frame: Uint8Array): number {
  let crc = -1;
  for (let i = 0; i < 6; i++)
    for (let bit = 0, byte = frame[i]!; bit < 8; bit++, byte >>>= 1) {
      const carry = (crc >>> 31) ^ (byte & 1);
      crc = (crc << 1) ^ (carry ? 0x04c1_1db7 : 0);
    }
  return crc >>> 26;
}
