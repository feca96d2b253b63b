// An ATA disk (ATA/ATAPI-6, T13/1410D, chapter 8): PIO, multiple and DMA transfers with 28- and 48-bit or CHS addresses.

import {
  cylinders,
  DEFAULT_HEADS,
  DEFAULT_SECTORS,
  type DiskSettings,
  type DriveNames,
  identifyDisk,
  MAX_LBA28,
  MAX_MULTIPLE,
} from './ata-identify.ts';
import { type AsyncBlockStore, asAsync, type BlockStore, SECTOR } from './block-store.ts';
import type { Timeline } from './bus.ts';
import { DEVICE, type DriveTiming, ERROR, IdeDrive } from './ide-drive.ts';

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface DiskState extends Mutable<DiskSettings> {
  /** Where the transfer at hand goes on, and how many sectors are left of it. */
  lba: number;
  left: number;
  /** Sectors per interrupt. */
  block: number;
}

/** Transfer commands: direction, how, and whether addresses have 48 bits. */
type How = 'single' | 'multiple' | 'dma';
const TRANSFERS: ReadonlyMap<number, readonly ['read' | 'write', How, boolean]> = new Map([
  [0x20, ['read', 'single', false]],
  [0x21, ['read', 'single', false]],
  [0x24, ['read', 'single', true]],
  [0x25, ['read', 'dma', true]],
  [0x29, ['read', 'multiple', true]],
  [0xc4, ['read', 'multiple', false]],
  [0xc8, ['read', 'dma', false]],
  [0xc9, ['read', 'dma', false]],
  [0x30, ['write', 'single', false]],
  [0x31, ['write', 'single', false]],
  [0x34, ['write', 'single', true]],
  [0x35, ['write', 'dma', true]],
  [0x39, ['write', 'multiple', true]],
  [0xc5, ['write', 'multiple', false]],
  [0xca, ['write', 'dma', false]],
  [0xcb, ['write', 'dma', false]],
]);

const CHECK_POWER_MODE = new Set([0x98, 0xe5]);
/** RECALIBRATE, STANDBY (IMMEDIATE), IDLE (IMMEDIATE), SLEEP: nothing to do for a disk without platters. */
const NOTHING_TO_DO = new Set([0x10, 0x94, 0x95, 0x96, 0x97, 0x99, 0xe0, 0xe1, 0xe2, 0xe3, 0xe6]);
const FLUSH = new Set([0xe7, 0xea]);
/** READ VERIFY SECTORS (EXT) and SEEK: address checked, no data. */
const VERIFY = new Set([0x40, 0x41, 0x42, 0x70]);

export class AtaDisk extends IdeDrive {
  readonly disk: DiskState = {
    heads: DEFAULT_HEADS,
    sectorsPerTrack: DEFAULT_SECTORS,
    multiple: MAX_MULTIPLE,
    writeCache: true,
    lookAhead: true,
    transferMode: 0x45,
    lba: 0,
    left: 0,
    block: 1,
  };
  private readonly store: AsyncBlockStore;
  private readonly names: DriveNames;

  constructor(
    timeline: Timeline,
    store: BlockStore | AsyncBlockStore,
    names: DriveNames = { model: 'RINGWORLD HARDDISK', serial: 'RW00001', firmware: '1.0' },
    timing?: DriveTiming,
  ) {
    super(timeline, timing);
    this.store = asAsync(store);
    this.names = names;
  }

  protected signature(): void {
    const s = this.state;
    s.count = [1, 1];
    s.low = [1, 1];
    s.mid = [0, 0];
    s.high = [0, 0];
    s.status = 0x50;
  }

  protected execute(command: number): void {
    const transfer = TRANSFERS.get(command);
    if (transfer) this.begin(...transfer);
    else if (NOTHING_TO_DO.has(command)) this.busy('done');
    else if (FLUSH.has(command)) this.busy('flush');
    else if (VERIFY.has(command)) this.verify(command === 0x42);
    else if (CHECK_POWER_MODE.has(command)) {
      this.state.count[0] = 0xff;
      this.busy('done');
    } else this.executeOther(command);
  }
  private executeOther(command: number): void {
    switch (command) {
      case 0x27:
      case 0xf8:
        this.nativeMaximum(command === 0x27);
        return;
      case 0x90:
        this.busy('diagnostic');
        return;
      case 0x91:
        this.initializeParameters();
        return;
      case 0xc6:
        this.setMultiple();
        return;
      case 0xec:
        this.busy('identify');
        return;
      case 0xef:
        this.setFeatures();
        return;
      case 0xa1:
      case 0x08:
        // Commands for packet devices are aborted with the signature in place (9.12).
        this.signature();
    }
    // SMART (B0), NOP and everything that is not here.
    this.fail(ERROR.ABRT);
  }

  // --- addresses
  /** The first sector and the number of sectors in the task file; undefined when they do not lie on the disk. */
  private extent(wide: boolean): { lba: number; count: number } | undefined {
    const s = this.state;
    const count = wide ? s.count[0] | (s.count[1] << 8) || 0x10000 : s.count[0] || 0x100;
    const lba = this.address(wide);
    return lba === undefined || lba + count > this.store.sectors ? undefined : { lba, count };
  }
  private address(wide: boolean): number | undefined {
    const s = this.state;
    const low24 = s.low[0] | (s.mid[0] << 8) | (s.high[0] << 16);
    if (wide) return low24 + (s.low[1] | (s.mid[1] << 8) | (s.high[1] << 16)) * 0x100_0000;
    if (s.device & DEVICE.LBA) return low24 + (s.device & 15) * 0x100_0000;
    const { heads, sectorsPerTrack } = this.disk;
    const cylinder = s.mid[0] | (s.high[0] << 8);
    const head = s.device & 15;
    const sector = s.low[0];
    if (sector === 0 || sector > sectorsPerTrack || head >= heads) return undefined;
    return (cylinder * heads + head) * sectorsPerTrack + sector - 1;
  }

  // --- transfers
  private begin(direction: 'read' | 'write', how: How, wide: boolean): void {
    const extent = this.extent(wide);
    if (how === 'multiple' && this.disk.multiple === 0) {
      this.fail(ERROR.ABRT);
      return;
    }
    if (extent === undefined) {
      this.fail(ERROR.IDNF);
      return;
    }
    if (direction === 'write' && this.store.readOnly) {
      this.fail(ERROR.ABRT);
      return;
    }
    const d = this.disk;
    d.lba = extent.lba;
    d.left = extent.count;
    d.block = how === 'multiple' ? d.multiple : 1;
    if (how === 'dma') this.askDma(direction === 'read' ? 'in' : 'out');
    else if (direction === 'read') this.busy('read', this.blockLength);
    else this.ask(this.blockLength * SECTOR, false);
  }
  private get blockLength(): number {
    return Math.min(this.disk.block, this.disk.left);
  }
  startDma(): void {
    this.busy(this.state.dma === 'in' ? 'dmaIn' : 'dmaOut', this.disk.left);
  }
  private moveOn(count: number): void {
    this.disk.lba += count;
    this.disk.left -= count;
  }

  protected stepped(step: string): void {
    const d = this.disk;
    switch (step) {
      case 'read': {
        const n = this.blockLength;
        this.load(n, (bytes) => {
          this.moveOn(n);
          this.offer(bytes);
        });
        return;
      }
      case 'write':
        this.save(this.state.buffer, () => {
          this.moveOn(this.blockLength);
          d.left > 0 ? this.ask(this.blockLength * SECTOR, true) : this.succeed();
        });
        return;
      case 'dmaIn':
        // A table that ends too early leaves the drive waiting, as on hardware; its driver resets the channel.
        this.load(d.left, (bytes) => {
          if (this.port.dmaToMemory(bytes)) this.succeed();
        });
        return;
      case 'dmaOut': {
        const bytes = this.port.dmaFromMemory(d.left * SECTOR);
        if (bytes !== undefined) this.save(bytes, () => this.succeed());
        return;
      }
      case 'identify':
        this.offer(identifyDisk(this.names, this.store.sectors, d));
        return;
      case 'flush':
        this.awaitMedium<boolean>(
          (done) => this.store.flush(done),
          (ok) => (ok ? this.succeed() : this.fail(ERROR.ABRT)),
        );
        return;
      case 'diagnostic':
        this.state.error = 1;
        this.signature();
        this.setInterrupt(true);
        return;
      default:
        this.succeed();
        return;
    }
  }
  /** Sectors from where the transfer is; a medium that fails ends the command with an uncorrectable error (7.9). */
  private load(count: number, then: (bytes: Uint8Array) => void): void {
    this.awaitMedium<Uint8Array | undefined>(
      (done) => this.store.read(this.disk.lba, count, done),
      (bytes) => (bytes === undefined ? this.fail(ERROR.UNC) : then(bytes)),
    );
  }
  private save(bytes: Uint8Array, then: () => void): void {
    this.awaitMedium<boolean>(
      (done) => this.store.write(this.disk.lba, bytes, done),
      (ok) => (ok ? then() : this.fail(ERROR.UNC)),
    );
  }
  protected transferred(): void {
    // The end of PIO out is the drive's turn; PIO in ends when the host has taken the last block, without an interrupt (9.6).
    if (this.state.out) this.busy('write', this.blockLength);
    else if (this.disk.left > 0 && this.state.step === 'read') this.busy('read', this.blockLength);
  }

  // --- the others
  private verify(wide: boolean): void {
    if (this.extent(wide) === undefined) this.fail(ERROR.IDNF);
    else this.busy('done');
  }
  private nativeMaximum(wide: boolean): void {
    const s = this.state;
    const last = Math.min(this.store.sectors, wide ? 2 ** 48 : MAX_LBA28) - 1;
    s.low = [last & 0xff, (last / 2 ** 24) & 0xff];
    s.mid = [(last >>> 8) & 0xff, (last / 2 ** 32) & 0xff];
    s.high = [(last >>> 16) & 0xff, (last / 2 ** 40) & 0xff];
    if (!wide) s.device = (s.device & 0xf0) | ((last / 2 ** 24) & 15);
    this.busy('done');
  }
  private initializeParameters(): void {
    const s = this.state;
    const heads = (s.device & 15) + 1;
    const perTrack = s.count[0];
    if (perTrack === 0 || cylinders(this.store.sectors, heads, perTrack) === 0) {
      this.fail(ERROR.ABRT);
      return;
    }
    this.disk.heads = heads;
    this.disk.sectorsPerTrack = perTrack;
    this.busy('done');
  }
  private setMultiple(): void {
    const n = this.state.count[0];
    if (n > MAX_MULTIPLE || (n & (n - 1)) !== 0) {
      this.fail(ERROR.ABRT);
      return;
    }
    this.disk.multiple = n;
    this.busy('done');
  }
  /** SET FEATURES (8.46). */
  private setFeatures(): void {
    const s = this.state;
    const d = this.disk;
    switch (s.feature[0]) {
      case 0x02:
      case 0x82:
        d.writeCache = s.feature[0] === 0x02;
        break;
      case 0xaa:
      case 0x55:
        d.lookAhead = s.feature[0] === 0xaa;
        break;
      case 0x03:
        if (!supportsMode(s.count[0])) {
          this.fail(ERROR.ABRT);
          return;
        }
        if (s.count[0] >= 0x20) d.transferMode = s.count[0];
        break;
      case 0x66:
      case 0xcc:
        // Settings survive, or do not survive, a software reset: there is nothing that would change here.
        break;
      default:
        this.fail(ERROR.ABRT);
        return;
    }
    this.busy(s.feature[0] === 0x82 ? 'flush' : 'done');
  }
}

/** Transfer modes (table 44): PIO up to 4, multiword DMA up to 2, ultra DMA up to 5. */
export function supportsMode(mode: number): boolean {
  const n = mode & 7;
  switch (mode >>> 3) {
    case 0:
      return n <= 1;
    case 1:
      return n <= 4;
    case 4:
      return n <= 2;
    case 8:
      return n <= 5;
    default:
      return false;
  }
}
