// An IDE channel: the command and control blocks of two drives, their interrupt, and the way to the bus master (ATA/ATAPI-6, T13/1410D,
// chapter 7 and annex on the parallel interface; port numbers of a PC/AT).

import type { Bus, Dma, IrqLine, PortDevice } from './bus.ts';
import { BusMaster } from './ide-busmaster.ts';
import { DEVICE, type DrivePort, type IdeDrive, REG, STATUS } from './ide-drive.ts';

/** Device control register: nIEN, SRST, HOB (7.8). */
const CONTROL = { NIEN: 2, SRST: 4, HOB: 0x80 } as const;

/** Where the two channels of a PC answer: command block, device control, ISA interrupt. */
export const PC_CHANNELS = [
  { command: 0x1f0, control: 0x3f6, irq: 14 },
  { command: 0x170, control: 0x376, irq: 15 },
] as const;

export interface ChannelState {
  /** 0 or 1: the drive that the device register selects. */
  selected: number;
  control: number;
  /** The interrupt line's level. */
  line: boolean;
}

export class IdeChannel {
  readonly state: ChannelState = { selected: 0, control: 0, line: false };
  readonly busMaster: BusMaster;
  private readonly drives: (IdeDrive | undefined)[] = [undefined, undefined];
  private readonly irq: IrqLine;

  constructor(memory: Dma, irq: IrqLine) {
    this.irq = irq;
    this.busMaster = new BusMaster(memory, () => this.serveDma());
  }

  attachDrive(unit: 0 | 1, drive: IdeDrive): void {
    this.drives[unit] = drive;
    const port: DrivePort = {
      interruptChanged: () => this.updateLine(),
      dmaRequest: () => this.serveDma(),
      dmaToMemory: (bytes) => this.busMaster.toMemory(bytes),
      dmaFromMemory: (length) => this.busMaster.fromMemory(length),
    };
    drive.connect(port);
  }
  /** The drive leaves its cable; what it was doing is lost. */
  detachDrive(unit: 0 | 1): void {
    this.drives[unit]?.holdReset();
    this.drives[unit] = undefined;
    this.updateLine();
  }
  driveAt(unit: 0 | 1): IdeDrive | undefined {
    return this.drives[unit];
  }
  attachPorts(bus: Bus, command: number, control: number): void {
    bus.attachPorts(command, 8, this.commandBlock(command));
    bus.attachPorts(control, 1, this.controlBlock);
  }

  private get drive(): IdeDrive | undefined {
    return this.drives[this.state.selected];
  }

  private commandBlock(base: number): PortDevice {
    return {
      in: (port, size) => (port === base ? (this.drive?.readData(size) ?? 0) : bytes(size, (i) => this.read(port - base + i))),
      out: (port, size, value) => {
        if (port === base) this.drive?.writeData(size, value);
        else for (let i = 0; i < size; i++) this.write(port - base + i, (value >>> (8 * i)) & 0xff);
      },
    };
  }
  private readonly controlBlock: PortDevice = {
    // The alternate status register: as the status, without taking the interrupt back. A drive that is not there reads as zero.
    in: (_port, size) => bytes(size, (i) => (i === 0 ? (this.drive?.state.status ?? 0) : 0xff)),
    out: (_port, _size, value) => this.writeControl(value & 0xff),
  };

  private read(register: number): number {
    const { drive } = this;
    if (drive === undefined) return 0;
    return register === REG.status ? drive.readStatus() : drive.readRegister(register, (this.state.control & CONTROL.HOB) !== 0);
  }
  private write(register: number, value: number): void {
    // Any write to the command block ends the look at the previous contents (7.8).
    this.state.control &= ~CONTROL.HOB;
    if (register === REG.command) {
      // EXECUTE DEVICE DIAGNOSTIC is for both drives; everything else for the selected one.
      if (value === 0x90) {
        this.state.selected = 0;
        for (const d of this.drives) d?.command(value);
      } else this.drive?.command(value);
      return;
    }
    // Both drives listen to the same wires: their task files are written together.
    for (const d of this.drives) d?.writeRegister(register, value);
    if (register === REG.device) {
      this.state.selected = value & DEVICE.DEV ? 1 : 0;
      this.updateLine();
    }
  }
  private writeControl(value: number): void {
    const before = this.state.control;
    this.state.control = value;
    if (value & CONTROL.SRST && !(before & CONTROL.SRST)) for (const d of this.drives) d?.holdReset();
    if (!(value & CONTROL.SRST) && before & CONTROL.SRST) {
      for (const d of this.drives) d?.reset();
      this.state.selected = 0;
    }
    this.updateLine();
  }

  /** The selected drive's interrupt, unless nIEN holds it back. The bus master sees it rise. */
  private updateLine(): void {
    const level = (this.drive?.state.interrupt ?? false) && !(this.state.control & CONTROL.NIEN);
    if (level === this.state.line) return;
    this.state.line = level;
    if (level) this.busMaster.interrupt();
    this.irq(level);
  }
  /** Drive and bus master are both ready, in the same direction. */
  private serveDma(): void {
    const { drive } = this;
    if (drive === undefined || drive.state.dma === 'none' || drive.state.status & STATUS.BSY) return;
    if (this.busMaster.ready(drive.state.dma === 'in')) drive.startDma();
  }

  reset(): void {
    Object.assign(this.state, { selected: 0, control: 0 });
    this.busMaster.reset();
    for (const d of this.drives) d?.reset();
    this.updateLine();
  }
}

function bytes(size: number, read: (i: number) => number): number {
  let v = 0;
  for (let i = 0; i < size; i++) v += read(i) * 2 ** (8 * i);
  return v;
}
