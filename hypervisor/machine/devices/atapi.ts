// An ATAPI CD-ROM drive: the PACKET protocol (ATA/ATAPI-6, T13/1410D, 9.8 and 9.9) around the commands of atapi-commands.ts.

import { supportsMode } from './ata.ts';
import { type DriveNames, identifyCdrom } from './ata-identify.ts';
import { type Answer, Cdrom } from './atapi-commands.ts';
import type { AsyncBlockStore, BlockStore } from './block-store.ts';
import type { Timeline } from './bus.ts';
import { type DriveTiming, ERROR, IdeDrive, STATUS } from './ide-drive.ts';

/** Interrupt reason, in the sector count register: command or data, and to the host or from it (7.12.6). */
const REASON = { command: 1, toHost: 2 } as const;
const PACKET_LENGTH = 12;
/** Features register of PACKET: the data goes by DMA. */
const FEATURE_DMA = 1;

export interface PacketState {
  /** The answer of the command at hand, and how much of it the host has taken. */
  data: Uint8Array;
  taken: number;
  /** The longest block that the host wants to take at once. */
  limit: number;
  byDma: boolean;
  transferMode: number;
}

export class AtapiCdrom extends IdeDrive {
  readonly packet: PacketState = { data: new Uint8Array(0), taken: 0, limit: 0, byDma: false, transferMode: 0x45 };
  readonly cdrom: Cdrom;
  private readonly names: DriveNames;

  constructor(
    timeline: Timeline,
    medium: BlockStore | AsyncBlockStore | undefined,
    names: DriveNames = { model: 'RINGWORLD DVD-ROM', serial: 'RW00002', firmware: '1.0' },
    timing?: DriveTiming,
  ) {
    super(timeline, timing);
    this.names = names;
    this.cdrom = new Cdrom(medium, names);
  }

  protected signature(): void {
    const s = this.state;
    s.count = [1, 1];
    s.low = [1, 1];
    s.mid = [0x14, 0x14];
    s.high = [0xeb, 0xeb];
    // A packet device shows DRDY clear until its first command (9.12).
    s.status = 0;
  }

  protected execute(command: number): void {
    const s = this.state;
    switch (command) {
      case 0xa0:
        this.beginPacket();
        return;
      case 0xa1:
        this.busy('identify');
        return;
      case 0x08:
        this.reset();
        return;
      case 0x90:
        this.busy('diagnostic');
        return;
      case 0xef:
        if (s.feature[0] !== 0x03 || !supportsMode(s.count[0])) {
          this.fail(ERROR.ABRT);
          return;
        }
        if (s.count[0] >= 0x20) this.packet.transferMode = s.count[0];
        this.busy('done');
        return;
      case 0xe0:
      case 0xe1:
      case 0xe6:
        this.busy('done');
        return;
      case 0xe5:
        s.count[0] = 0xff;
        this.busy('done');
        return;
      case 0xec:
      case 0x20:
        // IDENTIFY DEVICE and READ SECTORS tell a host what it has before it (9.12).
        this.signature();
    }
    this.fail(ERROR.ABRT);
  }

  private beginPacket(): void {
    const s = this.state;
    const p = this.packet;
    p.byDma = (s.feature[0] & FEATURE_DMA) !== 0;
    p.limit = s.mid[0] | (s.high[0] << 8);
    if (p.limit === 0) p.limit = 0xfffe;
    // An odd limit counts as one less when the data does not fit at once (7.13.4).
    if (p.limit & 1) p.limit = Math.max(2, p.limit - 1);
    s.count[0] = REASON.command;
    s.step = 'command';
    this.ask(PACKET_LENGTH, false);
  }

  protected transferred(): void {
    const s = this.state;
    if (s.out) this.busy('packet');
    else if (s.step === 'packet' || s.step === 'more') this.busy('more');
  }

  protected stepped(step: string): void {
    const p = this.packet;
    switch (step) {
      case 'packet':
        this.executePacket(this.state.buffer);
        return;
      case 'more':
        this.offerNext();
        return;
      case 'dma':
        if (this.port.dmaToMemory(p.data)) this.finish();
        return;
      case 'identify':
        this.offer(identifyCdrom(this.names, p.transferMode));
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

  /** A packet; reading commands wait for the medium. */
  private executePacket(packet: Uint8Array): void {
    const answer = this.cdrom.execute(packet);
    const { sectors } = answer;
    if (sectors === undefined) this.answer(answer);
    else
      this.awaitMedium<Answer>(
        (done) => this.cdrom.read(sectors.lba, sectors.count, done),
        (a) => this.answer(a),
      );
  }
  private answer(a: Answer): void {
    const p = this.packet;
    if (a.sense !== undefined) {
      this.state.count[0] = REASON.command | REASON.toHost;
      // The sense key goes into the upper half of the error register.
      this.fail((a.sense << 4) | ERROR.ABRT);
      return;
    }
    p.data = a.data;
    p.taken = 0;
    if (a.data.length === 0) {
      this.finish();
      return;
    }
    if (!p.byDma) {
      this.offerNext();
      return;
    }
    this.state.count[0] = REASON.toHost;
    this.askDma('in');
  }
  startDma(): void {
    this.busy('dma', this.packet.data.length / 512);
  }
  private offerNext(): void {
    const s = this.state;
    const p = this.packet;
    const n = Math.min(p.limit, p.data.length - p.taken);
    if (n === 0) {
      this.finish();
      return;
    }
    s.count[0] = REASON.toHost;
    s.mid[0] = n & 0xff;
    s.high[0] = n >>> 8;
    const block = p.data.subarray(p.taken, p.taken + n);
    p.taken += n;
    this.offer(block);
  }
  private finish(): void {
    this.state.count[0] = REASON.command | REASON.toHost;
    this.succeed();
    this.state.status = STATUS.DRDY | STATUS.DSC;
  }
}
