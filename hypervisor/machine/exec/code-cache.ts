// Where decoded code lives: records in an arena of wasm memory, grouped by the page of guest code that they came from.
//
// A page of code is keyed by its frame, the linear page it ran at and the mode, because records hold absolute RIPs. When a byte of its
// frame that was decoded changes, all of the page's records are turned into `stale` stops, so that whoever still runs or links to them
// comes back to the dispatcher at the right RIP; the memory is used again later, when no threaded code is running.

import type { Lin, Mfn } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import type { Ram } from '../mmu/ram.ts';
import type { ExecMode } from './mode.ts';
import { REC, RECORD_SIZE, STOP } from './records.ts';

const CHUNK_SHIFT = 12;
export const CHUNK = 1 << CHUNK_SHIFT;
const SCRATCH = 0;
export const RECORDS_PER_CHUNK = CHUNK / RECORD_SIZE;

export class CodePage {
  readonly frame: Mfn;
  readonly lin: Lin;
  readonly mode: ExecMode;
  /** Record that begins the block at a page offset. */
  readonly blocks = new Map<number, number>();
  /** For a block whose only instruction runs into the next page: the frame that page had. */
  readonly straddles = new Map<number, Mfn>();
  readonly chunks: number[] = [];
  /** Decoded form of the instructions that TypeScript executes, by record. */
  readonly system = new Map<number, Decoded>();
  dead = false;
  constructor(frame: Mfn, lin: Lin, mode: ExecMode) {
    this.frame = frame;
    this.lin = lin;
    this.mode = mode;
  }
}

export class CodeCache {
  private readonly ram: Ram;
  private readonly base: number;
  private readonly chunkCount: number;
  /** Owner of each chunk, for finding the RIP of a record. */
  private readonly owners: (CodePage | undefined)[] = [];
  private readonly free: number[] = [];
  private fresh = 1;
  private readonly pages = new Map<Mfn, CodePage[]>();
  /** Pages that hold a block running into a frame other than their own. */
  private readonly straddlers = new Map<Mfn, Set<CodePage>>();
  /** For each frame, which of its 64-byte lines were decoded: bit n of lo (lines 0-31) or hi. */
  private readonly linesLo: Uint32Array;
  private readonly linesHi: Uint32Array;
  /** Told when a frame gets its first code, so that CPUs stop writing to it directly. */
  onProtect: (frame: Mfn) => void = () => {};
  /** Told when code that ran at a linear page is gone. */
  onDrop: (page: CodePage) => void = () => {};

  constructor(ram: Ram, base: number, size: number) {
    this.ram = ram;
    this.base = base;
    this.chunkCount = size >>> CHUNK_SHIFT;
    this.linesLo = new Uint32Array(ram.codeFrames.length);
    this.linesHi = new Uint32Array(ram.codeFrames.length);
  }

  page(frame: Mfn, lin: Lin, mode: ExecMode): CodePage {
    let list = this.pages.get(frame);
    if (!list) {
      list = [];
      this.pages.set(frame, list);
    }
    for (const p of list) if (p.lin === lin && p.mode === mode) return p;
    const page = new CodePage(frame, lin, mode);
    list.push(page);
    return page;
  }

  owner(record: number): CodePage {
    const page = this.owners[(record - this.base) >>> CHUNK_SHIFT];
    if (!page) throw new Error(`record ${record.toString(16)} belongs to no page`);
    return page;
  }

  /** RIP (offset in CS) of the instruction at a record. */
  ripOf(record: number): Lin {
    const page = this.owner(record);
    return (page.lin + this.ram.u16[(record + REC.pageOffset) >>> 1]! - page.mode.csBase) as Lin;
  }

  /** A chunk of RECORDS_PER_CHUNK records for a page; undefined when the arena is full (then: reset()). */
  chunk(page: CodePage): number | undefined {
    const n = this.free.pop() ?? (this.fresh < this.chunkCount ? this.fresh++ : -1);
    if (n < 0) return undefined;
    this.owners[n] = page;
    const at = this.base + n * CHUNK;
    page.chunks.push(at);
    return at;
  }

  /** Notes that bytes [offset, offset + length) of a frame were decoded. */
  mark(frame: Mfn, offset: number, length: number): void {
    for (let line = offset >>> 6; line <= (offset + length - 1) >>> 6; line++) {
      if (line < 32) this.linesLo[frame]! |= 1 << line;
      else this.linesHi[frame]! |= 1 << (line - 32);
    }
    if (!this.ram.codeFrames[frame]) {
      this.ram.codeFrames[frame] = 1;
      this.onProtect(frame);
    }
  }
  addStraddler(frame: Mfn, page: CodePage): void {
    let set = this.straddlers.get(frame);
    if (!set) {
      set = new Set();
      this.straddlers.set(frame, set);
    }
    set.add(page);
  }

  /** Bytes [at, at + length) of physical memory are about to change. */
  written(at: number, length: number): void {
    const first = at >>> 12;
    const last = (at + length - 1) >>> 12;
    for (let frame = first; frame <= last; frame++) {
      if (!this.ram.codeFrames[frame]) continue;
      const from = frame === first ? at & 0xfff : 0;
      const to = frame === last ? (at + length - 1) & 0xfff : 0xfff;
      if (this.touchesCode(frame, from >>> 6, to >>> 6)) this.dropFrame(frame as Mfn);
    }
  }
  private touchesCode(frame: number, firstLine: number, lastLine: number): boolean {
    const lo = this.linesLo[frame]!;
    const hi = this.linesHi[frame]!;
    for (let l = firstLine; l <= lastLine; l++) if ((l < 32 ? lo >>> l : hi >>> (l - 32)) & 1) return true;
    return false;
  }

  private dropFrame(frame: Mfn): void {
    this.ram.codeFrames[frame] = 0;
    this.linesLo[frame] = 0;
    this.linesHi[frame] = 0;
    for (const page of this.pages.get(frame) ?? []) this.kill(page);
    this.pages.delete(frame);
    for (const page of this.straddlers.get(frame) ?? []) {
      if (page.dead) continue;
      this.kill(page);
      const list = this.pages.get(page.frame);
      if (list)
        this.pages.set(
          page.frame,
          list.filter((p) => p !== page),
        );
    }
    this.straddlers.delete(frame);
  }

  /** Makes every record of a page come back to the dispatcher, and gives its chunks back for later use. */
  kill(page: CodePage): void {
    page.dead = true;
    for (const at of page.chunks) {
      this.stale(at);
      this.retired.push((at - this.base) >>> CHUNK_SHIFT);
    }
    if (this.owners[SCRATCH] === page) this.stale(this.base);
    page.blocks.clear();
    this.onDrop(page);
  }
  private stale(chunk: number): void {
    for (let r = chunk; r < chunk + CHUNK; r += RECORD_SIZE) this.ram.u32[r >>> 2] = STOP.stale;
  }
  /** Chunk 0, for a block that is run once: it belongs to the page that used it last. */
  scratchFor(page: CodePage): number {
    this.owners[SCRATCH] = page;
    return this.base;
  }
  /** Chunks that may still be running. */
  private readonly retired: number[] = [];

  /** To be called when no threaded code is running: retired chunks become free. */
  reclaim(): void {
    for (const n of this.retired) this.free.push(n);
    this.retired.length = 0;
  }

  /** Throws all code away. The caller drops jump caches. */
  reset(): void {
    for (const list of this.pages.values()) for (const p of list) p.dead = true;
    for (const frame of this.pages.keys()) {
      this.ram.codeFrames[frame] = 0;
      this.linesLo[frame] = 0;
      this.linesHi[frame] = 0;
    }
    this.pages.clear();
    this.straddlers.clear();
    this.free.length = 0;
    this.retired.length = 0;
    this.fresh = 1;
  }
}
