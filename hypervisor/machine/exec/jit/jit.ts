// The JIT's bookkeeping: which blocks asked to be compiled, where their code is, and when to throw it away.
//
// Compiling has no effect that a guest could see, cycles included. A compiled region takes the place of the counting record at the head of
// its block, so everything that leads to the block (links, jump cache, dispatcher) leads to the region. When the bytes it came from
// change, the record becomes `stale` with all others of the page, and the region's slot is used again later.

import type { Ram } from '../../mmu/ram.ts';
import type { CodeCache, CodePage } from '../code-cache.ts';
import { type Handlers, REGION_SLOTS } from '../handlers.ts';
import { COUNT_HANDLER, REC } from '../records.ts';
import type { FuncBody } from '../wasm.ts';
import type { BackgroundCompiler, CompileResult } from './background.ts';
import { emitRegion } from './emit.ts';
import { LivePage } from './live-page.ts';
import { imageOf, type PageImage } from './page-image.ts';
import { collectRegion } from './region.ts';

export interface JitPolicy {
  /** Entries to a block before it asks to be compiled. */
  readonly hotAfter: number;
  /** Entries by which a block that is waiting makes the others wait no longer. */
  readonly againAfter: number;
  /** Regions compiled together: a module costs as much as several functions. */
  readonly batch: number;
}
export const PATIENT: JitPolicy = { hotAfter: 3000, againAfter: 500, batch: 32 };
export const EAGER: JitPolicy = { hotAfter: 1, againAfter: 1, batch: 1 };
/** Count of a block that is being compiled. */
const NEVER_AGAIN = 0x7fffffff;
/** Modules alive at a time: each holds a copy of the handler table. */
const MAX_MODULES = 600;

export interface JitStatistics {
  regions: number;
  modules: number;
  instructions: number;
  bytes: number;
  /** Times that all compiled code was thrown away. */
  evictions: number;
  /** Host time spent on making the code. */
  emitMs: number;
}

interface Compiled {
  readonly page: CodePage;
  readonly head: number;
}

export class Jit {
  readonly statistics: JitStatistics = { regions: 0, modules: 0, instructions: 0, bytes: 0, evictions: 0, emitMs: 0 };
  private readonly ram: Ram;
  private readonly code: CodeCache;
  private readonly handlers: Handlers;
  private readonly waiting = new Set<number>();
  /** What each slot of the table holds. */
  private readonly slots: (Compiled | undefined)[] = [];
  private readonly free: number[] = [];
  private readonly slotsOf = new Map<CodePage, number[]>();
  private modules = 0;

  private readonly policy: JitPolicy;
  private readonly background: BackgroundCompiler | undefined;
  private readonly features: readonly string[];
  private readonly inFlight = new Map<number, readonly Compiled[]>();
  private nextId = 0;

  /** `features`: of the CPU, for `background`. */
  constructor(
    ram: Ram,
    code: CodeCache,
    handlers: Handlers,
    policy: JitPolicy,
    features: readonly string[],
    background?: BackgroundCompiler,
  ) {
    this.policy = policy;
    this.features = features;
    this.background = background;
    this.ram = ram;
    this.code = code;
    this.handlers = handlers;
  }

  get hotAfter(): number {
    return this.policy.hotAfter;
  }

  // TOUR add 60: Hot code. The record before a block counts how often it is entered; here its last count arrives. Compiling waits for company,
  // as a module costs as much as several functions.
  /** The counting record of a block ran out. No threaded code is running. */
  request(rec: number): void {
    if (this.code.owner(rec).dead) return;
    const known = this.waiting.has(rec);
    this.waiting.add(rec);
    this.ram.u32[(rec + REC.imm) >>> 2] = this.policy.againAfter;
    if (!known && this.waiting.size < this.policy.batch) return;
    const batch = [...this.waiting];
    this.waiting.clear();
    if (this.background) this.submit(batch, this.background);
    else this.compile(batch);
  }

  private compile(batch: readonly number[]): void {
    this.makeRoom(batch.length);
    const began = performance.now();
    const bodies: FuncBody[] = [];
    const compiled: Compiled[] = [];
    for (const head of batch) {
      const page = this.code.owner(head);
      const offset = this.ram.u16[(head + REC.pageOffset) >>> 1]!;
      if (page.dead || page.blocks.get(offset) !== head) continue;
      const region = collectRegion(new LivePage(this.ram, this.handlers.endsBlock, page), offset);
      if (!region) continue;
      const body = emitRegion(region);
      for (const b of region.blocks) this.statistics.instructions += b.insns.length;
      this.statistics.bytes += body.code.length;
      bodies.push(body);
      compiled.push({ page, head });
    }
    this.statistics.emitMs += performance.now() - began;
    if (bodies.length === 0) return;
    const slots = compiled.map((c) => this.take(c));
    this.install(compiled, this.handlers.placeRegions(slots, bodies));
  }
  private makeRoom(count: number): void {
    if (this.modules >= MAX_MODULES || REGION_SLOTS - this.slots.length + this.free.length < count) this.evict();
  }
  private install(compiled: readonly Compiled[], handlers: readonly number[]): void {
    compiled.forEach(({ head }, i) => {
      this.ram.u32[head >>> 2] = handlers[i]!;
    });
    this.modules++;
    this.statistics.modules++;
    this.statistics.regions += compiled.length;
  }

  /** Sends a batch to be compiled elsewhere; its blocks go on being interpreted, and do not ask again. */
  private submit(batch: readonly number[], background: BackgroundCompiler): void {
    const compiled: Compiled[] = [];
    const images: PageImage[] = [];
    const indexOf = new Map<CodePage, number>();
    const heads: [number, number][] = [];
    for (const head of batch) {
      const page = this.code.owner(head);
      const offset = this.ram.u16[(head + REC.pageOffset) >>> 1]!;
      if (page.dead || page.blocks.get(offset) !== head) continue;
      let index = indexOf.get(page);
      if (index === undefined) {
        index = images.push(imageOf(this.ram, page)) - 1;
        indexOf.set(page, index);
      }
      this.ram.u32[(head + REC.imm) >>> 2] = NEVER_AGAIN;
      heads.push([index, offset]);
      compiled.push({ page, head });
    }
    if (heads.length === 0) return;
    const id = this.nextId++;
    this.inFlight.set(id, compiled);
    background.submit({ id, pages: images, heads, endsBlock: this.handlers.endsBlock, features: this.features });
  }

  /** Puts into place what has been compiled elsewhere. No threaded code is running. */
  collect(): void {
    for (let r = this.background?.poll(); r !== undefined; r = this.background?.poll()) this.accept(r);
  }
  get hasResults(): boolean {
    return this.background?.hasResults === true;
  }
  private accept(r: CompileResult): void {
    const asked = this.inFlight.get(r.id);
    this.inFlight.delete(r.id);
    this.statistics.emitMs += r.ms;
    // What changed meanwhile is not installed.
    const good = r.done.map((i) => {
      const c = asked?.[i];
      return c !== undefined && !c.page.dead && this.ram.u32[c.head >>> 2] === COUNT_HANDLER ? c : undefined;
    });
    const compiled = good.filter((c) => c !== undefined);
    if (compiled.length === 0) return;
    this.statistics.instructions += r.instructions;
    this.statistics.bytes += r.bytes;
    this.makeRoom(compiled.length);
    const indices = this.handlers.placeModule(
      good.map((c) => (c === undefined ? undefined : this.take(c))),
      r.module,
    );
    this.install(compiled, indices);
  }
  private take(c: Compiled): number {
    const slot = this.free.pop() ?? this.slots.length;
    this.slots[slot] = c;
    const list = this.slotsOf.get(c.page);
    if (list) list.push(slot);
    else this.slotsOf.set(c.page, [slot]);
    return slot;
  }

  /** The page's records are stale. Its regions may be running still, but they end before anything is compiled again. */
  forget(page: CodePage): void {
    for (const slot of this.slotsOf.get(page) ?? []) {
      this.slots[slot] = undefined;
      this.free.push(slot);
    }
    this.slotsOf.delete(page);
  }

  /** Throws all regions away: their blocks count again. */
  private evict(): void {
    for (const c of this.slots) {
      if (!c) continue;
      this.ram.u32[c.head >>> 2] = COUNT_HANDLER;
      this.ram.u32[(c.head + REC.imm) >>> 2] = this.policy.hotAfter;
    }
    this.statistics.evictions++;
    this.clear();
    this.handlers.renew();
  }
  private clear(): void {
    this.slots.length = 0;
    this.free.length = 0;
    this.slotsOf.clear();
    this.modules = 0;
  }
  /** All records are gone. */
  reset(): void {
    this.waiting.clear();
    this.inFlight.clear();
    this.clear();
    this.handlers.renew();
  }
}
