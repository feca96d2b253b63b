// One drive on an IDE channel: its task file and the protocols by which data moves (ATA/ATAPI-6, T13/1410D, chapter 9). What a command
// means is the disk's (ata.ts) or the CD drive's (atapi.ts).
//
// Everything that a transfer needs to go on is in `state`: a step names what happens when the busy time is over.

import type { Timeline, Timer } from './bus.ts';

/** Status register (7.15). */
export const STATUS = { ERR: 0x01, DRQ: 0x08, DSC: 0x10, DF: 0x20, DRDY: 0x40, BSY: 0x80 } as const;
/** Error register (7.9): ABRT, ID not found, interface CRC. */
export const ERROR = { ABRT: 0x04, IDNF: 0x10, UNC: 0x40 } as const;
/** Device register: LBA addressing (bit 6) and the drive (bit 4). */
export const DEVICE = { LBA: 0x40, DEV: 0x10 } as const;

/** Registers of the command block by port offset (7.2). */
export const REG = { data: 0, error: 1, feature: 1, count: 2, low: 3, mid: 4, high: 5, device: 6, status: 7, command: 7 } as const;

export interface DriveState {
  status: number;
  error: number;
  /** The register as written last, and as written before that (for 48-bit commands). */
  feature: [number, number];
  count: [number, number];
  low: [number, number];
  mid: [number, number];
  high: [number, number];
  device: number;
  /** INTRQ, before nIEN. */
  interrupt: boolean;
  /** What happens when the busy time is over. */
  step: string;
  /** Virtual time at which it is over; undefined when the drive is not busy. */
  due: number | undefined;
  /** The data that moves through the data register, and how far it has come. */
  buffer: Uint8Array;
  position: number;
  /** The host writes the buffer. */
  out: boolean;
  /** The drive asks the bus master for a transfer: to memory, or from it. */
  dma: 'none' | 'in' | 'out';
}

/** What the channel does for its drives. */
export interface DrivePort {
  /** The drive's INTRQ changed. */
  interruptChanged(): void;
  /** The drive waits for the bus master. */
  dmaRequest(): void;
  /** Moves bytes to memory along the PRDs; false when they do not reach. */
  dmaToMemory(bytes: Uint8Array): boolean;
  dmaFromMemory(length: number): Uint8Array | undefined;
}

/** How long things take, in nanoseconds of virtual time. */
export interface DriveTiming {
  readonly command: number;
  readonly perSector: number;
}
/** A quick disk: 20 us a command, 250 MB/s. */
export const QUICK: DriveTiming = { command: 20_000, perSector: 2_000 };

export abstract class IdeDrive {
  readonly state: DriveState = {
    status: 0,
    error: 0,
    feature: [0, 0],
    count: [0, 0],
    low: [0, 0],
    mid: [0, 0],
    high: [0, 0],
    device: 0,
    interrupt: false,
    step: '',
    due: undefined,
    buffer: new Uint8Array(0),
    position: 0,
    out: false,
    dma: 'none',
  };
  protected readonly timeline: Timeline;
  protected readonly timing: DriveTiming;
  protected port: DrivePort = {
    interruptChanged: () => {},
    dmaRequest: () => {},
    dmaToMemory: () => false,
    dmaFromMemory: () => undefined,
  };
  private timer: Timer | undefined;
  /** Counts what was asked of the medium and what made it void: a late answer is dropped. */
  private operation = 0;

  constructor(timeline: Timeline, timing: DriveTiming = QUICK) {
    this.timeline = timeline;
    this.timing = timing;
  }
  connect(port: DrivePort): void {
    this.port = port;
    this.reset();
  }

  /** Carries out a command; the status is DRDY with the interrupt cleared. */
  protected abstract execute(command: number): void;
  /** The busy time that was asked for with busy(step) is over. */
  protected abstract stepped(step: string): void;
  /** The host has taken, or brought, the whole buffer. */
  protected abstract transferred(): void;
  /** Fills the task file with what tells disk from CD drive (9.12). */
  protected abstract signature(): void;

  // --- the registers, as the channel passes accesses on
  writeRegister(register: number, value: number): void {
    const s = this.state;
    switch (register) {
      case REG.feature:
        shift(s.feature, value);
        return;
      case REG.count:
        shift(s.count, value);
        return;
      case REG.low:
        shift(s.low, value);
        return;
      case REG.mid:
        shift(s.mid, value);
        return;
      case REG.high:
        shift(s.high, value);
        return;
      case REG.device:
        s.device = value;
    }
  }
  /** `hob`: the host asks for what was written before the last write (device control, bit 7). */
  readRegister(register: number, hob: boolean): number {
    const s = this.state;
    const which = hob ? 1 : 0;
    switch (register) {
      case REG.error:
        return s.error;
      case REG.count:
        return s.count[which];
      case REG.low:
        return s.low[which];
      case REG.mid:
        return s.mid[which];
      case REG.high:
        return s.high[which];
      case REG.device:
        return s.device | 0xa0;
      default:
        return s.status;
    }
  }
  /** Reading the status register takes the interrupt back; reading the alternate one does not. */
  readStatus(): number {
    this.setInterrupt(false);
    return this.state.status;
  }
  command(value: number): void {
    const s = this.state;
    // A busy drive takes no command but DEVICE RESET (7.4).
    if (s.status & STATUS.BSY && value !== 0x08) return;
    this.cancel();
    s.error = 0;
    s.dma = 'none';
    s.status = STATUS.DRDY | STATUS.DSC;
    this.setInterrupt(false);
    this.execute(value);
  }

  readData(size: number): number {
    const s = this.state;
    if (!(s.status & STATUS.DRQ) || s.out || s.dma !== 'none') return 0;
    let v = 0;
    for (let i = 0; i < size && s.position < s.buffer.length; i++) v += s.buffer[s.position++]! * 2 ** (8 * i);
    this.checkTransferred();
    return v;
  }
  writeData(size: number, value: number): void {
    const s = this.state;
    if (!(s.status & STATUS.DRQ) || !s.out || s.dma !== 'none') return;
    for (let i = 0; i < size && s.position < s.buffer.length; i++) s.buffer[s.position++] = value >>> (8 * i);
    this.checkTransferred();
  }
  private checkTransferred(): void {
    const s = this.state;
    if (s.position < s.buffer.length) return;
    s.status &= ~STATUS.DRQ;
    this.transferred();
  }

  // --- protocols
  /** Busy for the time of a command and `sectors` sectors; then stepped(step). */
  protected busy(step: string, sectors = 0): void {
    const s = this.state;
    s.status = (s.status & ~STATUS.DRQ) | STATUS.BSY;
    s.step = step;
    s.due = this.timeline.now + this.timing.command + sectors * this.timing.perSector;
    this.arm();
  }
  private arm(): void {
    const s = this.state;
    if (s.due === undefined) return;
    this.timer = this.timeline.schedule(s.due, () => {
      this.timer = undefined;
      s.due = undefined;
      s.status &= ~STATUS.BSY;
      this.stepped(s.step);
    });
  }
  /** Busy until the medium has answered; then `then`, unless a command or a reset has come meanwhile. */
  protected awaitMedium<T>(start: (done: (result: T) => void) => void, then: (result: T) => void): void {
    const s = this.state;
    const operation = ++this.operation;
    s.status |= STATUS.BSY;
    start((result) => {
      if (operation !== this.operation) return;
      this.operation++;
      s.status &= ~STATUS.BSY;
      then(result);
    });
  }
  protected cancel(): void {
    this.operation++;
    this.timer?.cancel();
    this.timer = undefined;
    this.state.due = undefined;
  }
  /** Offers data to the host (PIO in: an interrupt with each block). */
  protected offer(bytes: Uint8Array): void {
    const s = this.state;
    s.buffer = bytes;
    s.position = 0;
    s.out = false;
    s.status = STATUS.DRDY | STATUS.DSC | STATUS.DRQ;
    this.setInterrupt(true);
  }
  /** Asks the host for data (PIO out: no interrupt before the first block). */
  protected ask(length: number, interrupt: boolean): void {
    const s = this.state;
    s.buffer = new Uint8Array(length);
    s.position = 0;
    s.out = true;
    s.status = STATUS.DRDY | STATUS.DSC | STATUS.DRQ;
    if (interrupt) this.setInterrupt(true);
  }
  /** Asks the bus master for a transfer; startDma() follows when it is ready. */
  protected askDma(direction: 'in' | 'out'): void {
    this.state.dma = direction;
    this.state.status = STATUS.DRDY | STATUS.DSC | STATUS.DRQ;
    this.port.dmaRequest();
  }
  /** From the channel: the bus master runs in the direction that was asked for. */
  abstract startDma(): void;

  /** The command is done. */
  protected succeed(): void {
    this.state.dma = 'none';
    this.state.status = STATUS.DRDY | STATUS.DSC;
    this.setInterrupt(true);
  }
  protected fail(error: number): void {
    const s = this.state;
    s.dma = 'none';
    s.error = error;
    s.status = STATUS.DRDY | STATUS.DSC | STATUS.ERR;
    this.setInterrupt(true);
  }
  protected setInterrupt(on: boolean): void {
    if (this.state.interrupt === on) return;
    this.state.interrupt = on;
    this.port.interruptChanged();
  }

  /** Power-on, and the end of a software reset (9.2): the diagnosis is that all is well. */
  reset(): void {
    const s = this.state;
    this.cancel();
    s.device = 0;
    s.error = 1;
    s.dma = 'none';
    s.buffer = new Uint8Array(0);
    s.position = 0;
    this.setInterrupt(false);
    this.signature();
  }
  /** SRST is set: busy until it is cleared. */
  holdReset(): void {
    this.cancel();
    this.state.status = STATUS.BSY;
    this.setInterrupt(false);
  }
  /** To be called when `state` was filled from a saved one. */
  restored(): void {
    this.timer?.cancel();
    this.arm();
    this.port.interruptChanged();
  }
}

const shift = (pair: [number, number], value: number): void => {
  pair[1] = pair[0];
  pair[0] = value;
};
