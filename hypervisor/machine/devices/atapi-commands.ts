// The command set of the CD-ROM drive (SPC-3 and MMC-3, T10/1363-D): what each 12-byte packet is answered with.

import type { DriveNames } from './ata-identify.ts';
import { type AsyncBlockStore, asAsync, type BlockStore } from './block-store.ts';

/** Data for the host, or a sense key when the command failed. */
export interface Answer {
  readonly data: Uint8Array;
  readonly sense: number | undefined;
  /** The data is still on the medium: 512-byte sectors, for read(). */
  readonly sectors?: { readonly lba: number; readonly count: number };
}

/** Bytes and 512-byte sectors of a CD block. */
const BLOCK = 2048;
const SECTORS_PER_BLOCK = BLOCK / 512;

/** Sense keys with additional sense codes (SPC-3, 4.5.6; MMC-3, annex F). */
const SENSE = {
  none: [0, 0, 0],
  noMedium: [2, 0x3a, 0],
  unrecoveredRead: [3, 0x11, 0],
  mediumChanged: [6, 0x28, 0],
  invalidCommand: [5, 0x20, 0],
  invalidField: [5, 0x24, 0],
  outOfRange: [5, 0x21, 0],
} as const;
type Sense = (typeof SENSE)[keyof typeof SENSE];

export interface CdromState {
  sense: readonly [number, number, number];
  /** The medium was changed: the next command but INQUIRY and REQUEST SENSE is told so. */
  changed: boolean;
  locked: boolean;
}

const be16 = (b: Uint8Array, at: number): number => (b[at]! << 8) | b[at + 1]!;
const be32 = (b: Uint8Array, at: number): number => be16(b, at) * 0x10000 + be16(b, at + 2);
function put32(b: Uint8Array, at: number, v: number): void {
  new DataView(b.buffer, b.byteOffset).setUint32(at, v);
}
const ok = (data: Uint8Array = new Uint8Array(0)): Answer => ({ data, sense: undefined });

export class Cdrom {
  readonly state: CdromState = { sense: SENSE.none, changed: false, locked: false };
  private medium: AsyncBlockStore | undefined;
  private readonly names: DriveNames;

  constructor(medium: BlockStore | AsyncBlockStore | undefined, names: DriveNames) {
    this.medium = medium && asAsync(medium);
    this.names = names;
  }
  /** Puts another medium in, or none. */
  insert(medium: BlockStore | AsyncBlockStore | undefined): void {
    this.medium = medium && asAsync(medium);
    this.state.changed = true;
  }

  private fail(sense: Sense): Answer {
    this.state.sense = sense;
    return { data: new Uint8Array(0), sense: sense[0] };
  }

  execute(p: Uint8Array): Answer {
    const op = p[0]!;
    if (op === 0x03) return this.requestSense(p);
    if (op === 0x12) return this.inquiry(p);
    if (this.state.changed) {
      this.state.changed = false;
      return this.fail(SENSE.mediumChanged);
    }
    switch (op) {
      case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL
        this.state.locked = (p[4]! & 1) !== 0;
        return ok();
      case 0x1a:
        return this.modeSense(p, 4, p[4]!);
      case 0x5a:
        return this.modeSense(p, 8, be16(p, 7));
      case 0x46:
        return this.getConfiguration(p);
      case 0x4a:
        return this.eventStatus(p);
      case 0x51:
        return this.discInformation(p);
      case 0xbd: // MECHANISM STATUS
        return this.cut(new Uint8Array([0, 0, 0, 0, 0, 1, 0, 0]), be16(p, 8));
      case 0x1b: // START STOP UNIT: loading and ejecting are the user's
        return ok();
    }
    const { medium } = this;
    if (medium === undefined && MEDIUM_COMMANDS.has(op)) return this.fail(SENSE.noMedium);
    switch (op) {
      case 0x00:
        return ok();
      case 0x25:
        return this.readCapacity();
      case 0x28:
        return this.readBlocks(be32(p, 2), be16(p, 7));
      case 0xa8:
        return this.readBlocks(be32(p, 2), be32(p, 6));
      case 0xbe:
        return this.readCd(p);
      case 0x2b: // SEEK(10)
        return be32(p, 2) < this.blocks ? ok() : this.fail(SENSE.outOfRange);
      case 0x43:
        return this.readToc(p);
      case 0x42: // READ SUB-CHANNEL: no audio is playing
        return this.cut(new Uint8Array([0, 0x15, 0, 0]), be16(p, 7));
      default:
        return this.fail(SENSE.invalidCommand);
    }
  }

  private get blocks(): number {
    return this.medium ? Math.floor(this.medium.sectors / SECTORS_PER_BLOCK) : 0;
  }
  /** The host says how much it has room for. */
  private cut(data: Uint8Array, length: number): Answer {
    return ok(data.subarray(0, length));
  }

  private requestSense(p: Uint8Array): Answer {
    const [key, code, qualifier] = this.state.sense;
    const d = new Uint8Array(18);
    d[0] = 0x70;
    d[2] = key;
    d[7] = 10;
    d[12] = code;
    d[13] = qualifier;
    this.state.sense = SENSE.none;
    return this.cut(d, p[4]!);
  }
  private inquiry(p: Uint8Array): Answer {
    if (p[1]! & 1 || p[2]! !== 0) return this.fail(SENSE.invalidField);
    const d = new Uint8Array(36);
    // A CD drive with a removable medium; MMC in ATAPI form (response format 1, version 0).
    d.set([5, 0x80, 0, 0x21, 31]);
    const put = (at: number, length: number, text: string): void => {
      for (let i = 0; i < length; i++) d[at + i] = text.padEnd(length).charCodeAt(i);
    };
    const [vendor = '', ...model] = this.names.model.split(' ');
    put(8, 8, vendor);
    put(16, 16, model.join(' '));
    put(32, 4, this.names.firmware);
    return this.cut(d, p[4]!);
  }
  private readCapacity(): Answer {
    const d = new Uint8Array(8);
    put32(d, 0, this.blocks - 1);
    put32(d, 4, BLOCK);
    return ok(d);
  }
  private readBlocks(first: number, count: number): Answer {
    if (first + count > this.blocks) return this.fail(SENSE.outOfRange);
    return count === 0 ? ok() : { ...ok(), sectors: { lba: first * SECTORS_PER_BLOCK, count: count * SECTORS_PER_BLOCK } };
  }
  /** Fetches what an answer has left on the medium. */
  read(lba: number, count: number, done: (answer: Answer) => void): void {
    if (this.medium === undefined) done(this.fail(SENSE.noMedium));
    else this.medium.read(lba, count, (bytes) => done(bytes === undefined ? this.fail(SENSE.unrecoveredRead) : ok(bytes)));
  }
  /** READ CD: user data only, or nothing (MMC-3, 6.22). */
  private readCd(p: Uint8Array): Answer {
    const count = be16(p, 6) * 256 + p[8]!;
    const what = p[9]! & 0xf8;
    if (what === 0 || count === 0) return ok();
    if (what !== 0x10) return this.fail(SENSE.invalidField);
    return this.readBlocks(be32(p, 2), count);
  }
  /** READ TOC/PMA/ATIP (MMC-3, 6.26): one data track and the lead-out. */
  private readToc(p: Uint8Array): Answer {
    const msf = (p[1]! & 2) !== 0;
    const format = p[2]! & 15 || p[9]! >>> 6;
    const length = be16(p, 7);
    const address = (lba: number): number[] => {
      if (!msf) return [lba >>> 24, lba >>> 16, lba >>> 8, lba].map((v) => v & 0xff);
      const frames = lba + 150;
      return [0, Math.floor(frames / 4500) & 0xff, Math.floor(frames / 75) % 60, frames % 75];
    };
    const track = (n: number, lba: number): number[] => [0, 0x14, n, 0, ...address(lba)];
    if (format === 0) {
      const start = p[6]!;
      if (start > 1 && start !== 0xaa) return this.fail(SENSE.invalidField);
      const entries = [...(start <= 1 ? track(1, 0) : []), ...track(0xaa, this.blocks)];
      return this.cut(new Uint8Array([0, entries.length + 2, 1, 1, ...entries]), length);
    }
    if (format === 1) return this.cut(new Uint8Array([0, 10, 1, 1, ...track(1, 0)]), length);
    if (format === 2) {
      const point = (n: number, rest: number[]): number[] => [1, 0x14, 0, n, 0, 0, 0, ...rest];
      // Full TOC addresses are in minutes, seconds and frames whatever MSF says.
      const frames = this.blocks + 150;
      const end = [0, Math.floor(frames / 4500) & 0xff, Math.floor(frames / 75) % 60, frames % 75];
      const entries = [...point(0xa0, [0, 1, 0, 0]), ...point(0xa1, [0, 1, 0, 0]), ...point(0xa2, end), ...point(1, [0, 0, 2, 0])];
      return this.cut(new Uint8Array([0, entries.length + 2, 1, 1, ...entries]), length);
    }
    return this.fail(SENSE.invalidField);
  }
  /** MODE SENSE (6) and (10): error recovery, and the capabilities page (MMC-3, 5.3). */
  private modeSense(p: Uint8Array, header: 4 | 8, length: number): Answer {
    const page = p[2]! & 0x3f;
    const pages: number[][] = [];
    if (page === 0x01 || page === 0x3f) pages.push([0x01, 6, 0, 5, 0, 0, 0, 0]);
    if (page === 0x0e || page === 0x3f) pages.push([0x0e, 14, 4, 0, 0, 0, 0, 75, 1, 0xff, 2, 0xff, 0, 0, 0, 0]);
    if (page === 0x2a || page === 0x3f)
      pages.push([0x2a, 18, 0x3b, 0, 0, 0x60, this.state.locked ? 0x2b : 0x29, 0, 0x2c, 0x42, 0, 0, 2, 0, 0x2c, 0x42, 0, 0, 0, 0]);
    if (pages.length === 0) return this.fail(SENSE.invalidField);
    const body = pages.flat();
    const medium = this.medium ? 0x01 : 0x70;
    const total = header + body.length;
    const head = header === 8 ? [(total - 2) >>> 8, (total - 2) & 0xff, medium, 0, 0, 0, 0, 0] : [total - 1, medium, 0, 0];
    return this.cut(new Uint8Array([...head, ...body]), length);
  }
  /** GET CONFIGURATION (MMC-3, 6.6): the current profile is CD-ROM, or DVD-ROM for what no CD can hold. */
  private getConfiguration(p: Uint8Array): Answer {
    const profile = this.medium === undefined ? 0 : this.blocks > MAX_CD_BLOCKS ? 0x10 : 0x08;
    const at = (n: number): number => (profile === n ? 1 : 0);
    const d = new Uint8Array([
      ...[0, 0, 0, 0, 0, 0, 0, profile],
      ...[0, 0, 3, 8, 0, 0x10, at(0x10), 0, 0, 0x08, at(0x08), 0],
      ...[0, 1, 3, 8, 0, 0, 0, 2, 0, 0, 0, 0],
      ...[0, 3, 3, 4, 0x29, 0, 0, 0],
    ]);
    put32(d, 0, d.length - 4);
    return this.cut(d, be16(p, 7));
  }
  /** GET EVENT STATUS NOTIFICATION (MMC-3, 6.7), polled: the media class. */
  private eventStatus(p: Uint8Array): Answer {
    if (!(p[1]! & 1)) return this.fail(SENSE.invalidField);
    if (!(p[4]! & 0x10)) return this.cut(new Uint8Array([0, 2, 0x80, 0x10]), be16(p, 7));
    return this.cut(new Uint8Array([0, 6, 4, 0x10, 0, this.medium ? 2 : 0, 0, 0]), be16(p, 7));
  }
  /** READ DISC INFORMATION (MMC-3, 6.19): a finished disc with one session of one track. */
  private discInformation(p: Uint8Array): Answer {
    if (this.medium === undefined) return this.fail(SENSE.noMedium);
    const d = new Uint8Array(34);
    d.set([0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
    return this.cut(d, be16(p, 7));
  }
}

const MEDIUM_COMMANDS = new Set([0x00, 0x25, 0x28, 0xa8, 0xbe, 0x2b, 0x43, 0x42]);
/** 80 minutes. */
const MAX_CD_BLOCKS = 80 * 60 * 75;
