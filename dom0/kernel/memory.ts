// dom0's own memory as its TypeScript kernel uses it: pages handed out and taken back, and a small area in which hypercall
// arguments are laid out. Everything is an address in guest-physical space; the only way to the bytes is DomainPort.page.
import { type DomainPort, type Gfn, gfn, type PageView } from '@ringworld/abi';
import { FrameRanges } from './frame-ranges.ts';

export const PAGE_SIZE = 4096;

/** Room for the arguments of hypercalls in flight: the largest is a batch of foreign frames (see privcmd.ts). */
const SCRATCH_PAGES = 48;

/** Frames 0 is left out: an address of 0 reads as a null handle. */
const FIRST_FRAME = 1;

/** Frames that may be mapped to other domains' pages lie behind dom0's RAM, as many as this. */
const MAPPING_FRAMES = 1 << 20;

export class Memory {
  readonly port: DomainPort;
  private readonly ram: FrameRanges;
  private readonly mappings: FrameRanges;
  private readonly scratchStart: number;
  private scratchAt = 0;

  /** `ramPages`: dom0's RAM is frames 0 to ramPages - 1. */
  constructor(port: DomainPort, ramPages: number) {
    this.port = port;
    this.ram = new FrameRanges(FIRST_FRAME, ramPages - FIRST_FRAME);
    this.mappings = new FrameRanges(ramPages, MAPPING_FRAMES);
    this.scratchStart = this.allocate(SCRATCH_PAGES) * PAGE_SIZE;
  }

  page(frame: Gfn): PageView {
    return this.port.page(frame);
  }

  /** Consecutive frames of RAM. They hold what the previous user left. */
  allocate(pages: number): Gfn {
    const start = this.ram.take(pages);
    if (start === null) throw new Error(`dom0 is out of memory (${pages} pages asked for)`);
    return gfn(start);
  }

  free(start: Gfn, pages: number): void {
    this.ram.giveBack(start, pages);
  }

  /** Consecutive frames with nothing behind them, for foreign and granted pages. */
  reserveFrames(count: number): Gfn {
    const start = this.mappings.take(count);
    if (start === null) throw new Error(`dom0 has no ${count} frames left to map foreign pages at`);
    return gfn(start);
  }

  releaseFrames(start: Gfn, count: number): void {
    this.mappings.giveBack(start, count);
  }

  write(address: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = address + done;
      const offset = at % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, bytes.length - done);
      this.page(gfn(Math.floor(at / PAGE_SIZE))).writeBytes(offset, bytes.subarray(done, done + count));
      done += count;
    }
  }

  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = address + done;
      const offset = at % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, length - done);
      bytes.set(this.page(gfn(Math.floor(at / PAGE_SIZE))).bytes(offset, count), done);
      done += count;
    }
    return bytes;
  }

  /** Runs `use` with room for arguments, which is taken back afterwards. Hypercalls are synchronous, so uses nest and never overlap. */
  withArguments<T>(use: (args: ArgumentArea) => T): T {
    const mark = this.scratchAt;
    try {
      return use({
        reserve: (length) => this.reserveScratch(length),
        put: (bytes) => {
          const at = this.reserveScratch(bytes.length);
          this.write(at, bytes);
          return at;
        },
      });
    } finally {
      this.scratchAt = mark;
    }
  }

  private reserveScratch(length: number): number {
    const at = this.scratchAt;
    const end = at + Math.ceil(length / 16) * 16;
    if (end > SCRATCH_PAGES * PAGE_SIZE) throw new Error(`hypercall arguments of ${length} bytes do not fit`);
    this.scratchAt = end;
    return this.scratchStart + at;
  }
}

/** Places in dom0's memory for the arguments of one hypercall; both return guest-physical addresses. */
export interface ArgumentArea {
  reserve(length: number): number;
  put(bytes: Uint8Array): number;
}
