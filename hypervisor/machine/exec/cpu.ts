// One emulated CPU: runs threaded code until a deadline or an event, and serves the slow paths that threaded code calls.
//
// Cycles are counted exactly: a block's instructions are paid for when it is entered, and whatever leaves it early gives back what did
// not run. A block that would cross the deadline is decoded again, cut to what is left, so that time never depends on how code happens
// to have been cut into blocks.

import type { Lin, Maddr, Mfn } from '../addresses.ts';
import { isCanonical } from '../addresses.ts';
import { Context } from '../context.ts';
import { type CpuEvent, PF, RunExit, SECOND_LEVEL, type WalkResult } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import type { Outside, PhysicalMap } from '../mmu/physical.ts';
import { Tlb } from '../mmu/tlb.ts';
import { IMPLICIT, type PagingMode, Walker } from '../mmu/walk.ts';
import { EFLAGS, HARDWARE, SS, STATE } from '../state.ts';
import { Svm } from '../svm/svm.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import type { CpuProfile } from '../system/cpuid.ts';
import { anyBreakpoint, checkExecuteBreakpoint, matchData } from '../system/debug.ts';
import { deliverFault, deliverInterrupt, injectEvent } from '../system/deliver.ts';
import { executeSystem } from '../system/execute.ts';
import {
  createThreadState,
  type IoPorts,
  type LocalApic,
  noPorts,
  REQUEST,
  type SharedTime,
  type SystemCpu,
  type ThreadState,
} from '../system/ports.ts';
import { beginStep, endStep, type Step } from '../system/single-step.ts';
import type { GuestEvent, NonRoot } from '../virt/non-root.ts';
import { Vmx } from '../vmx/vmx.ts';
import type { CodePage } from './code-cache.ts';
import { decode } from './decode.ts';
import { decodeAcross } from './decode-across.ts';
import type { Engine } from './engine.ts';
import { dropAllJumps, dropJumps, homeOf, jumpAtRip, modeKey, putJump } from './jump-cache.ts';
import { type ExecMode, fitsLimit } from './mode.ts';
import { REC, STOP } from './records.ts';

/**
 * Instructions that threaded code is given at once. A loop that never leaves its region would otherwise stay in V8's baseline code: a
 * function is replaced by its optimized form only when it is called.
 */
const MAX_FUEL = 200_000;
/** TLB tags have 12 bits; 0 is never used. */
const MAX_TAG = 4095;

export class EmulatedCpu extends Context implements SystemCpu {
  readonly id: number;
  readonly event: CpuEvent = { vector: 0, errorCode: -1, length: 0 };
  readonly thread: ThreadState;
  readonly profile: CpuProfile;
  io: IoPorts = noPorts;
  apic: LocalApic | undefined = undefined;
  time: SharedTime | undefined = undefined;
  cycles = 0;
  delivery: 'host' | 'idt' = 'idt';
  nonRoot: NonRoot | null = null;
  readonly svm: Svm | undefined;
  readonly vmx: Vmx | undefined;
  delivering: GuestEvent | undefined = undefined;
  faultAddress = 0 as Lin;

  private readonly engine: Engine;
  private readonly tlb: Tlb;
  private readonly walker: Walker;
  private readonly physical: PhysicalMap;
  private mode: ExecMode;
  private leaving: RunExit | undefined;
  private faulted = false;
  private watching = false;
  /** The rest until the deadline is run in blocks cut to it: compiled code may have larger ones than its first record says. */
  private cutting = false;
  /** The fuel given last was all there is until the deadline. */
  private last = false;
  /** #AC is on (CR0.AM, EFLAGS.AC, CPL 3): as while watching, no data access may hit the TLB, so that each one is seen. */
  private aligning = false;

  // An instruction that turns out to touch a device leaves threaded code before it has done anything, and is then run by itself: so the
  // device sees the exact time, sees each access once, and what it asks for (an interrupt) is taken before the next instruction.
  private touchesDevice = false;
  private isAlone = false;
  /** The access at hand is one of staged code. */
  private fromCode = false;
  /** The instruction that runs alone reads the memory that it writes. */
  private readsBack = false;

  // Contexts: which 12-bit tag stands for (address space, mode).
  private asid = 0;
  private nextAsid = 1;
  private asids = new Map<number, number>();
  /** One map of address spaces for root operation, and one for each NonRoot.space. */
  private readonly spaces = new Map<number, Map<number, number>>([[0, this.asids]]);
  private readonly tags = new Map<number, number>();
  private cr3Key = 0;

  // The access assembled in the bounce window.
  private windowSize = 0;
  private windowFirst = 0;
  private windowSecond = 0;
  private windowSplit = 0;

  constructor(engine: Engine, id: number, base: number, profile: CpuProfile) {
    super(engine.ram, base);
    this.engine = engine;
    this.id = id;
    this.profile = profile;
    this.thread = createThreadState(id + 1);
    this.tlb = new Tlb(engine.ram, base);
    this.physical = engine.physical;
    this.walker = new Walker(engine.physical, base, profile);
    this.mode = engine.modes.of(this);
    this.svm = profile.features.has('svm') ? new Svm(this, engine.physical) : undefined;
    this.vmx = profile.features.has('vmx') ? new Vmx(this, engine.physical) : undefined;
    this.modeChanged();
  }

  // ------------------------------------------------------------------ running

  // TOUR add 50: The loop around it all: finds or translates the block at RIP, enters it with fuel for what is left until the deadline, and
  // serves whatever made threaded code come back. Fuel counts instructions, so time is exact to the instruction in every engine.
  run(deadline: number): RunExit {
    // An injected event may have ended in a VM exit already.
    if (this.leaving === RunExit.vmexit) return this.left();
    this.leaving = undefined;
    this.cutting = false;
    const { u32 } = this.ram;
    const { jit } = this.engine;
    const fuelAt = (this.base + HARDWARE.fuel) >>> 2;
    while (this.leaving === undefined) {
      const guest = this.nonRoot;
      const end = guest === null ? deadline : Math.min(deadline, guest.deadline);
      if (this.cycles >= deadline) return RunExit.deadline;
      if (jit?.hasResults) jit.collect();
      // What changes requests, IF or the shadow comes back here: system instructions, device accesses, timers at the deadline.
      const requests = this.apic === undefined || this.touchesDevice ? 0 : this.apic.requests;
      if (guest !== null && !this.touchesDevice && guest.boundary(this, requests)) continue;
      const asked = requests !== 0 && (guest === null || guest.takesInterrupts);
      if (asked && this.takeInterrupt()) continue;
      const left = Math.max(end - this.cycles, 1);
      this.watch();
      const trap = (this.u32(STATE.eflags) & EFLAGS.TF) !== 0;
      const stepping = trap || this.watching;
      this.isAlone = this.touchesDevice;
      this.touchesDevice = false;
      const budget = stepping || this.isAlone || ((asked || guest !== null) && this.thread.interruptShadow) ? 1 : Math.min(left, MAX_FUEL);
      if (this.isAlone) this.readsBack = this.readsMemoryBack();
      if (this.watching && !checkExecuteBreakpoint(this)) {
        if (this.takeFault()) return RunExit.exception;
        continue;
      }
      this.last = budget === left;
      const rec = this.recordFor(budget, budget === 1 || this.cutting);
      if (rec === 0) {
        if (this.takeFault()) return RunExit.exception;
        continue;
      }
      // An interrupt that comes with the deadline must still find the shadow of the last instruction: so it ends only here.
      this.thread.interruptShadow = false;
      // RF lasts for one instruction; a fault keeps it (SDM Vol 3B, 17.3.1.1).
      const resume = this.u32(STATE.eflags) & EFLAGS.RF;
      if (resume) this.setU32(STATE.eflags, this.u32(STATE.eflags) & ~EFLAGS.RF);
      const step = stepping ? this.beginStep(trap) : undefined;
      const fuel = budget - this.ram.u8[rec + REC.left]!;
      u32[fuelAt] = fuel;
      const stop = this.engine.handlers.enter(this.base, rec);
      const at = u32[(this.base + HARDWARE.exitRec) >>> 2]!;
      const owed = this.refund(stop, at);
      this.cycles += budget - ((u32[fuelAt]! | 0) + owed);
      this.stopped(stop, at);
      // An instruction that was run by itself, or fuel for a while, ends in front of the deadline: whole blocks may follow.
      if (budget !== left) this.cutting = false;
      if (resume && (this.faulted || this.touchesDevice)) this.setU32(STATE.eflags, this.u32(STATE.eflags) | EFLAGS.RF);
      // An instruction that left or entered a guest is no step of the side it came to (SDM Vol 3C, 25.2).
      if (step !== undefined && this.nonRoot === guest)
        endStep(this, step, !this.faulted && !this.touchesDevice, this.leaving !== undefined);
      if (this.touchesDevice) continue;
      if (this.takeFault()) return RunExit.exception;
    }
    return this.left();
  }
  private left(): RunExit {
    const exit = this.leaving!;
    this.leaving = undefined;
    return exit;
  }

  /** Instructions that were paid for and did not run. */
  private refund(stop: number, rec: number): number {
    if (stop === STOP.deadline) return 0;
    const left = this.ram.u8[rec + REC.left]!;
    if (stop === STOP.link || stop === STOP.lookup || stop === STOP.again) return left > 0 ? left - 1 : 0;
    return left;
  }

  private stopped(stop: number, rec: number): void {
    const { code } = this.engine;
    switch (stop) {
      case STOP.lookup:
        // RIP was stored by the branch.
        return;
      case STOP.link: {
        const w = (rec + REC.disp) >>> 2;
        this.setHalves(STATE.rip, this.ram.u32[w]!, this.ram.u32[w + 1]!);
        this.linkTo(rec);
        return;
      }
      case STOP.system: {
        this.rip = code.ripOf(rec);
        this.cycles += 1;
        this.system(rec);
        return;
      }
      case STOP.raise: {
        this.rip = code.ripOf(rec);
        const what = this.ram.u32[(this.base + HARDWARE.scratch) >>> 2]!;
        this.fault(what & 0xff, (what >>> 8) - 1);
        return;
      }
      case STOP.hot:
        this.rip = code.ripOf(rec);
        this.engine.jit?.request(rec);
        return;
      case STOP.deadline:
        this.rip = code.ripOf(rec);
        this.cutting = this.last;
        return;
      default:
        this.rip = code.ripOf(rec);
    }
  }

  /** Executes the instruction at RIP, whose record is given, in TypeScript. */
  private system(rec: number): void {
    const d = this.engine.code.owner(rec).system.get(rec) ?? this.decodeAt(this.rip);
    if (d === undefined) return;
    if (typeof d === 'string') {
      this.fault(d === 'tooLong' ? 13 : 6, d === 'tooLong' ? 0 : -1);
      return;
    }
    this.thread.interruptShadow = false;
    // True: what may have faulted on the way (INT n through a bad gate) has been delivered already.
    if (executeSystem(this, d)) this.faulted = false;
  }

  /** Fetches and decodes at an offset in CS; undefined when a fetch faulted. */
  private decodeAt(rip: Lin): Decoded | 'ud' | 'tooLong' | undefined {
    if (!fitsLimit(this.mode, rip, 1)) return 'tooLong';
    const lin = (this.mode.bits === 64 ? rip : (rip + this.mode.csBase) >>> 0) as Lin;
    const first = this.fetch(lin);
    if (first === 0) return undefined;
    const { ram } = this;
    const room = 4096 - (first & 0xfff);
    let d = decode(ram.u8, first, room, this.mode);
    if (d === 'needBytes') {
      // Bytes past the limit of CS are not fetched.
      if (!fitsLimit(this.mode, rip, room + 1)) return 'tooLong';
      const second = this.fetch((lin + room) as Lin);
      if (second === 0) return undefined;
      d = decodeAcross(ram.u8, first, second, this.mode);
      if (d === 'needBytes') return 'tooLong';
    }
    return typeof d !== 'string' && !fitsLimit(this.mode, rip, d.length) ? 'tooLong' : d;
  }

  /**
   * While a breakpoint is armed every instruction is run by itself and no data access may hit the TLB, so that each one is seen
   * (SDM Vol 3B, 17.2). Slow, and free for everybody else.
   */
  private watch(): void {
    const armed = anyBreakpoint(this);
    if (armed !== this.watching) {
      this.watching = armed;
      this.tlb.dropAll();
    }
    // What a load of SS held back comes with the instruction after it (SDM Vol 3A, 6.8.3).
    const { thread } = this;
    if (thread.interruptShadow) {
      thread.shadowedRip = this.rip;
      thread.shadowedBySs = thread.debugShadow;
    } else thread.shadowedRip = -1;
    if (!thread.debugShadow) thread.debugHits = 0;
    thread.debugShadow = false;
  }
  /** Notes what a single step must know of the instruction at RIP. */
  private beginStep(trap: boolean): Step {
    const d = this.decodeAt(this.rip);
    // A fault in fetching comes again when the instruction is run.
    this.faulted = false;
    return beginStep(this, d === undefined || typeof d === 'string' ? undefined : d, trap);
  }

  /** Hands a recorded fault on; true when run() is to return it to the host. */
  private takeFault(): boolean {
    if (!this.faulted) return false;
    this.faulted = false;
    if (this.event.vector === SECOND_LEVEL) {
      this.nonRoot!.secondLevelFault(this);
      return false;
    }
    if (this.delivery === 'host') return true;
    if (deliverFault(this) === 'shutdown') this.leaving = RunExit.shutdown;
    this.faulted = false;
    return false;
  }

  /** Takes an NMI or an interrupt at this instruction boundary, unless the core blocks it (SDM Vol 3A, 6.7.1 and 6.8). */
  private takeInterrupt(): boolean {
    const { thread } = this;
    const apic = this.apic!;
    // STI and loads of SS hold off both kinds until the instruction after them is done (SDM Vol 3A, 6.8.3).
    if (thread.interruptShadow) return false;
    let vector = 2;
    if (apic.requests & REQUEST.nmi && !thread.nmiBlocked) apic.acknowledgeNmi();
    else if (apic.requests & REQUEST.intr && this.u32(STATE.eflags) & EFLAGS.IF) vector = apic.acknowledge();
    else return false;
    if (deliverInterrupt(this, vector) === 'shutdown') this.leaving = RunExit.shutdown;
    this.faulted = false;
    return true;
  }

  /** Whether the instruction at RIP, which touches a device, reads the memory that it writes. */
  private readsMemoryBack(): boolean {
    const d = this.decodeAt(this.rip);
    if (d === undefined || typeof d === 'string') return false;
    const accesses = Object.values(d.insn.operands);
    return d.operands.some((o, i) => o.kind === 'mem' && accesses[i] === 'rw');
  }

  // ------------------------------------------------------------------ guests of a virtualization extension

  setNonRoot(guest: NonRoot | null): void {
    this.nonRoot = guest;
    // An exit that was asked for from outside run() has been seen to by whoever enters again.
    if (guest !== null && this.leaving === RunExit.vmexit) this.leaving = undefined;
    this.walker.second = guest?.second;
    const space = guest?.space ?? 0;
    let asids = this.spaces.get(space);
    if (asids === undefined) {
      asids = new Map();
      this.spaces.set(space, asids);
    }
    this.asids = asids;
    this.faulted = false;
    this.delivering = undefined;
    // The same control registers may mean another address space now.
    this.seenCr3 = Number.NaN;
    this.modeChanged();
  }
  inject(e: GuestEvent): void {
    if (injectEvent(this, e) === 'shutdown') this.leaving = RunExit.shutdown;
    this.faulted = false;
  }
  setOutside(outside: Outside): void {
    this.physical.outside = outside;
  }
  flushSpace(space: number): void {
    const asids = this.spaces.get(space);
    if (asids === undefined) return;
    asids.clear();
    if (asids === this.asids) this.enterSpace();
    else this.spaces.delete(space);
  }

  leave(exit: RunExit): true {
    this.leaving = exit;
    return true;
  }

  // ------------------------------------------------------------------ finding code

  /** The record for RIP; a block cut to `budget` instructions where it would cost more. 0 with a fault recorded. */
  private recordFor(budget: number, cut: boolean): number {
    const { ram } = this;
    let rec = jumpAtRip(ram, this.base);
    if (rec === 0) {
      const { rip } = this;
      rec = this.find(rip, undefined);
      if (rec === 0) return 0;
      putJump(ram, this.base, rip, rec, this.foundHome);
    }
    if (cut || ram.u8[rec + REC.left]! > budget) return this.find(this.rip, budget);
    return rec;
  }

  /** The home of the block that find() came back with, for the jump cache. */
  private foundHome = 0;
  /** Finds or translates the block at RIP. */
  private find(rip: Lin, limit: number | undefined): number {
    const { mode } = this;
    const { code, translator } = this.engine;
    if (mode.bits === 64 ? !isCanonical(rip) : !mode.flat && rip > mode.csLimit) {
      this.fault(13, 0);
      return 0;
    }
    const lin = (mode.bits === 64 ? rip : (rip + mode.csBase) >>> 0) as Lin;
    const host = this.fetch(lin);
    if (host === 0) return 0;
    code.reclaim();
    const offset = host & 0xfff;
    const frame = ((host - this.ram.base) >>> 12) as Mfn;
    for (;;) {
      const page = code.page(frame, (lin - offset) as Lin, mode);
      this.foundHome = homeOf(host, this.u32(HARDWARE.modeKey));
      if (limit === undefined) {
        const known = page.blocks.get(offset);
        if (known !== undefined) {
          const second = page.straddles.get(offset);
          if (second === undefined) return known;
          const next = this.fetch((lin - offset + 4096) as Lin);
          if (next === 0) return 0;
          this.foundHome = 0;
          if ((next - this.ram.base) >>> 12 === second) return known;
        }
      }
      const rec = translator.translate({ page, offset, limit, frameAt: this.frameAt });
      if (rec === 'fetch') return 0;
      if (page.straddles.has(offset)) this.foundHome = 0;
      if (rec !== undefined) return rec;
      this.engine.resetCode();
    }
  }

  /** Makes an in-page branch lead straight to its target. */
  private linkTo(branch: number): void {
    const { code, translator, ram } = this.engine;
    const page = code.owner(branch);
    if (page.dead) return;
    const { rip } = this;
    const offset = rip + page.mode.csBase - page.lin;
    let target = page.blocks.get(offset);
    if (target === undefined) {
      target = this.find(rip, undefined);
      // The search may have faulted, or emptied the cache.
      if (target === 0) {
        this.faulted = false;
        return;
      }
      if (page.dead || code.owner(branch) !== page) return;
    }
    if (page.straddles.has(offset)) {
      target = translator.detour(page, offset);
      if (target === undefined) return;
    }
    ram.u32[(branch + REC.imm) >>> 2] = target;
  }

  private readonly frameAt = (lin: Lin): number => {
    const host = this.fetch(lin);
    return host === 0 ? -1 : (host - this.ram.base) >>> 12;
  };

  /** Host address of the instruction byte at a linear address, or 0 with a fault recorded. */
  private fetch(lin: Lin): number {
    const known = this.tlb.exec(lin);
    if (known !== 0) return known;
    const user = this.mode.cpl === 3 ? PF.user : 0;
    const w = this.walker.walk(lin, PF.fetch | user, true);
    if (!w.ok) {
      this.pageFault(lin, w.errorCode);
      return 0;
    }
    if (w.shift > 12) this.noteLargePage(lin);
    const at = this.physical.locate(w.maddr);
    if (at < 0) {
      // Nothing answers there: reads as ones, which is an undefined opcode.
      this.fault(6);
      return 0;
    }
    const host = this.ram.base + at;
    this.tlb.fill(lin, host - (at & 0xfff), false, false, true);
    return host;
  }

  // ------------------------------------------------------------------ memory

  probe(lin: Lin, size: number, write: boolean, supervisor = false): number {
    const inPage = (lin & 0xfff) + size <= 4096;
    const known = !inPage ? 0 : supervisor ? this.systemHost(lin, write) : this.tlb.data(lin, write);
    if (known !== 0) return known;
    if (this.watching && !supervisor) this.thread.debugHits |= matchData(this, lin, size, write);
    // An access that runs over the end of a flat 4 GiB segment is past its limit.
    if (
      this.mode.bits === 64 || supervisor
        ? !isCanonical(lin) || !isCanonical((lin + size - 1) as Lin)
        : this.mode.flat && lin + size > 0x1_0000_0000
    )
      return Number(this.fault(13, 0));
    const offset = ((lin % 4096) + 4096) % 4096;
    const access = (write ? PF.write : 0) | (supervisor ? IMPLICIT : this.mode.cpl === 3 ? PF.user : 0);
    const w = this.walker.walk(lin, access, true);
    if (!w.ok) return Number(this.pageFault(lin, w.errorCode));
    if (w.shift > 12) this.noteLargePage(lin);
    if (this.aligning && !supervisor && (lin & (ALIGNMENT[size] ?? 0)) !== 0) return Number(this.fault(17, 0));
    const first = w.maddr;
    const { ram } = this;
    if (offset + size <= 4096) {
      const at = this.physical.locate(first);
      if (at >= 0) {
        const host = ram.base + at;
        // Writes that TypeScript must see: they would change decoded code, or do not reach a ROM.
        const guarded = ram.codeFrames[at >>> 12] !== 0 || this.physical.isReadOnly(first);
        const page = host - offset;
        if (supervisor) this.noteSystem(lin, page, write && !guarded);
        else if (!this.watching && !this.aligning)
          this.tlb.fill(
            lin,
            page,
            true,
            (write || (w.writable && this.walker.leafDirty && (this.mode.cpl === 3 || this.walker.paging.wp))) && !guarded,
            false,
          );
        if (!(write && guarded)) return host;
      }
      return this.window(first, size, first, size, write);
    }
    const end = lin - offset + 4096;
    const rest = (end === 0x1_0000_0000 && this.mode.bits !== 64 ? 0 : end) as Lin;
    const v = this.walker.walk(rest, access, true);
    if (!v.ok) return Number(this.pageFault(rest, v.errorCode));
    return this.window(first, 4096 - offset, v.maddr, size, write);
  }

  /**
   * Assembles `size` bytes, the first `split` of them at one physical address and the rest at another. 0 without a fault when staged code
   * has met a device: the instruction is to be run alone.
   */
  private window(first: number, split: number, second: number, size: number, write: boolean): number {
    const at = this.base + HARDWARE.bounce;
    const head = Math.min(split, size);
    if (this.fromCode && !this.isAlone && (this.physical.locate(first) < 0 || (head < size && this.physical.locate(second) < 0))) {
      this.touchesDevice = true;
      return 0;
    }
    const read = !write || (this.fromCode && this.readsBack);
    this.assemble(at, first, head, read);
    this.assemble(at + head, second, size - head, read);
    this.windowSize = size;
    this.windowFirst = first;
    this.windowSecond = second;
    this.windowSplit = split;
    return at;
  }
  /** Fetches one part of a window. Devices are asked only when the instruction reads; they see each access once. */
  private assemble(to: number, from: number, length: number, read: boolean): void {
    if (length === 0) return;
    const { u8, base } = this.ram;
    const at = this.physical.locate(from);
    if (at >= 0) u8.copyWithin(to, base + at, base + at + length);
    else if (read)
      for (let i = 0; i < length; ) {
        const n = pieceAt(from + i, length - i);
        const v = this.physical.outside.read(from + i, n, this.id);
        for (let k = 0; k < n; k++) u8[to + i + k] = v >>> (8 * k);
        i += n;
      }
  }

  commit(host: number): void {
    if (host !== this.base + HARDWARE.bounce) return;
    const first = Math.min(this.windowSplit, this.windowSize);
    this.commitPart(host, this.windowFirst, first);
    this.commitPart(host + first, this.windowSecond, this.windowSize - first);
  }
  private commitPart(from: number, to: number, length: number): void {
    if (length === 0) return;
    const { ram } = this;
    const seen = this.physical.locate(to);
    if (seen >= 0) {
      const at = this.physical.isReadOnly(to) ? this.physical.locateBehind(to) : seen;
      if (at >= 0) ram.writeBytes(at as Maddr, ram.u8.slice(from, from + length));
      return;
    }
    // A copy: what the device does with the first half may use the window again.
    const bytes = ram.u8.slice(from, from + length);
    for (let i = 0; i < length; ) {
      const n = pieceAt(to + i, length - i);
      let v = 0;
      for (let k = 0; k < n; k++) v += bytes[i + k]! * 2 ** (8 * k);
      this.physical.outside.write(to + i, n, v, this.id);
      i += n;
    }
  }

  /** Serves a probe from threaded code: the linear address is in scratch. */
  probeFromCode(access: number): number {
    const lin = this.lin(HARDWARE.scratch);
    const size = access & 0xff;
    this.fromCode = true;
    const host = this.probe(lin, size, (access & 0x100) !== 0);
    this.fromCode = false;
    // A non-canonical stack reference is #SS(0) (SDM Vol 3A, 6.15).
    if (host === 0 && this.faulted && this.event.vector === 13 && access >>> 16 === SS) this.event.vector = 12;
    return host;
  }

  /** Full segment check for an access whose offset is in scratch (SDM Vol 3A, 5.3 and 5.5): 1 when allowed. */
  segmentFromCode(access: number): number {
    const size = access & 0xff;
    const write = (access & 0x100) !== 0;
    const seg = access >>> 16;
    const offset = this.u32(HARDWARE.scratch);
    return this.segmentAllows(seg, offset, size, write) ? 1 : Number(this.fault(seg === SS ? 12 : 13, 0));
  }
  segmentAllows(seg: number, offset: number, size: number, write: boolean): boolean {
    if (!this.mode.protectedMode || this.mode.vm86) return offset + size - 1 <= this.segLimit(seg);
    const attr = this.segAttributes(seg);
    if (!(attr & 0x80)) return false;
    const isCode = (attr & 8) !== 0;
    if (write && (isCode || !(attr & 2))) return false;
    if (!write && isCode && !(attr & 2)) return false;
    const last = offset + size - 1;
    if (!isCode && attr & 4) return offset > this.segLimit(seg) && last <= (attr & 0x4000 ? 0xffffffff : 0xffff);
    return last <= this.segLimit(seg);
  }

  walk(lin: Lin, access: number): WalkResult {
    return this.walker.walk(lin, access, false);
  }

  fault(vector: number, errorCode = -1): false {
    // What the second level refused stays so, whatever a caller makes of it.
    if (this.faulted && this.event.vector === SECOND_LEVEL) return false;
    this.event.vector = vector;
    this.event.errorCode = errorCode;
    this.faulted = true;
    return false;
  }
  pageFault(lin: Lin, errorCode: number): false {
    if (errorCode === SECOND_LEVEL) return this.fault(SECOND_LEVEL);
    this.faultAddress = lin;
    // A guest's CR2 waits until it is known that the fault is not intercepted (SDM Vol 3C, 27.1).
    if (this.nonRoot === null) this.setLin(STATE.cr2, lin);
    return this.fault(14, errorCode);
  }

  // ------------------------------------------------------------------ address spaces and modes

  loadCr3(cr3: number | bigint, keep: boolean): void {
    const value = Number(cr3);
    this.setLin(STATE.cr3, value);
    this.seenCr3 = value;
    this.cr3Key = this.spaceOf(value);
    if (this.walker.paging.mode === 'pae') this.walker.loadPdptes(value);
    if (!keep) this.asids.delete(this.cr3Key);
    this.enterSpace();
  }
  /** What names an address space: with CR4.PCIDE the PCID alone (SDM Vol 3A, 4.10.1), else CR3. */
  private spaceOf(cr3: number): number {
    return this.u32(STATE.cr4) & CR4.PCIDE ? -1 - (cr3 % 4096) : cr3;
  }
  loadPdptes(cr3: number): boolean {
    return this.walker.loadPdptes(cr3) || (this.walker.isRefused && this.fault(SECOND_LEVEL));
  }
  /** Drops the translations of one PCID. */
  flushPcid(pcid: number): void {
    this.asids.delete(this.u32(STATE.cr4) & CR4.PCIDE ? -1 - pcid : this.cr3Key);
    this.enterSpace();
  }
  invlpgPcid(lin: Lin, pcid: number): void {
    if (this.cr3Key === -1 - pcid || !(this.u32(STATE.cr4) & CR4.PCIDE)) this.invlpg(lin);
    else this.flushPcid(pcid);
  }
  private enterSpace(): void {
    const known = this.asids.get(this.cr3Key);
    if (known === undefined) {
      this.asid = this.nextAsid++;
      this.asids.set(this.cr3Key, this.asid);
    } else this.asid = known;
    this.walker.paging.root = this.root();
    this.retag();
  }
  private root(): number {
    const low = (this.u32(STATE.cr3) & ~0xfff) >>> 0;
    // Four-level tables may lie above 4 GiB, as RAM does on a board with a hole for devices.
    return this.walker.paging.mode === '4level' ? (this.hi(STATE.cr3) & 0x3fff) * 0x1_0000_0000 + low : low;
  }
  /** Puts the tag of (address space, mode) into force; those of the present space by mode and flags, as they were last found. */
  private retag(): void {
    const flags = (this.walker.paging.ac ? 1 : 0) + (this.aligning ? 2 : 0);
    const slot = this.mode.id * 4 + flags;
    if (this.knownFor !== this.asid) {
      this.knownFor = this.asid;
      this.knownTags.fill(0);
    }
    let tag = slot < KNOWN_TAGS ? this.knownTags[slot]! : 0;
    if (tag === 0) {
      tag = this.findTag(flags);
      if (slot < KNOWN_TAGS) this.knownTags[slot] = tag;
    }
    this.ram.u32[((this.base + HARDWARE.ctx) >>> 2) + 1] = tag << 20;
    this.ram.u32[(this.base + HARDWARE.modeKey) >>> 2] = modeKey(this.mode);
  }
  private readonly knownTags = new Uint16Array(KNOWN_TAGS);
  private knownFor = -1;
  private findTag(flags: number): number {
    const key = this.asid * 0x100_0000 + this.mode.id * 4 + flags;
    let tag = this.tags.get(key);
    if (tag === undefined) {
      if (this.tags.size >= MAX_TAG) {
        this.wipe();
        this.asids.set(this.cr3Key, this.asid);
      }
      tag = this.tags.size + 1;
      this.tags.set(key, tag);
    }
    return tag;
  }
  // Implicit supervisor accesses (descriptor tables, the TSS, frames of events) go past the TLB, whose entries are a level's: the last
  // translations by page, valid in one address space.
  private readonly systemPages = new Float64Array(SYSTEM_PAGES).fill(Number.NaN);
  private readonly systemAsids = new Float64Array(SYSTEM_PAGES);
  private readonly systemHosts = new Uint32Array(SYSTEM_PAGES);
  private readonly systemWrites = new Uint8Array(SYSTEM_PAGES);
  private systemHost(lin: Lin, write: boolean): number {
    const page = Math.floor(lin / 4096);
    const i = page & (SYSTEM_PAGES - 1);
    // A hypervisor changes tables under the CPU and need not tell it of pages that its guests cannot touch.
    if (this.systemPages[i] !== page || this.systemAsids[i] !== this.asid || this.delivery === 'host') return 0;
    const host = this.systemHosts[i]!;
    if (write && (!this.systemWrites[i] || this.ram.codeFrames[(host - this.ram.base) >>> 12])) return 0;
    return host + (lin & 0xfff);
  }
  private noteSystem(lin: Lin, hostPage: number, write: boolean): void {
    const page = Math.floor(lin / 4096);
    const i = page & (SYSTEM_PAGES - 1);
    const same = this.systemPages[i] === page && this.systemAsids[i] === this.asid && this.systemHosts[i] === hostPage;
    this.systemPages[i] = page;
    this.systemAsids[i] = this.asid;
    this.systemHosts[i] = hostPage;
    this.systemWrites[i] = write || (same && this.systemWrites[i]) ? 1 : 0;
  }
  private dropSystem(lin: Lin): void {
    this.systemPages[Math.floor(lin / 4096) & (SYSTEM_PAGES - 1)] = Number.NaN;
  }

  private wipe(): void {
    this.knownFor = -1;
    this.tags.clear();
    for (const asids of this.spaces.values()) asids.clear();
    this.tlb.dropAll();
    dropAllJumps(this.ram, this.base);
  }
  flushTlb(): void {
    this.asids.delete(this.cr3Key);
    this.enterSpace();
  }
  flushAll(): void {
    this.asids.clear();
    this.largePages.clear();
    this.enterSpace();
  }
  /** GiBs of linear address space in which large pages were entered since the last full flush. */
  private readonly largePages = new Set<number>();
  /** Code has run in a segment with a base: the jump cache then has entries whose linear page their RIP does not tell. */
  private hasBasedCode = false;
  private noteLargePage(lin: Lin): void {
    this.largePages.add(Math.floor(lin / 0x4000_0000));
  }
  invlpg(lin: Lin): void {
    // The TLB holds large pages in pieces of 4 KiB: all of them go (SDM Vol 3A, 4.10.4.1).
    if (this.largePages.size !== 0 && this.largePages.has(Math.floor(lin / 0x4000_0000))) {
      this.flushAll();
      return;
    }
    this.tlb.drop(lin);
    this.dropSystem(lin);
    if (this.hasBasedCode) {
      dropAllJumps(this.ram, this.base);
      return;
    }
    dropJumps(this.ram, this.base, lin);
    // An instruction that runs into this page belongs to the one before it.
    dropJumps(this.ram, this.base, (lin - 4096) as Lin);
  }
  // The paging state of the last modeChanged(): most changes are of level and segments alone.
  private seenCr0 = -1;
  private seenCr4 = -1;
  private seenEfer = -1;
  private seenPkru = -1;
  private seenCr3 = Number.NaN;
  modeChanged(): void {
    const p = this.walker.paging;
    const cr0 = this.u32(STATE.cr0);
    const ac = (this.u32(STATE.eflags) & EFLAGS.AC) !== 0;
    this.aligning = ac && (cr0 & CR0.AM) !== 0 && this.cpl === 3;
    this.mode = this.engine.modes.of(this, this.nonRoot?.trapped ?? 0);
    const same =
      cr0 === this.seenCr0 &&
      this.u32(STATE.cr4) === this.seenCr4 &&
      this.u32(STATE.efer) === this.seenEfer &&
      this.u32(STATE.pkru) === this.seenPkru &&
      this.lin(STATE.cr3) === this.seenCr3;
    p.ac = (this.u32(STATE.cr4) & CR4.SMAP) !== 0 && ac;
    if (same) this.retag();
    else this.pagingChanged();
  }
  private pagingChanged(): void {
    const p = this.walker.paging;
    const cr0 = this.u32(STATE.cr0);
    const cr4 = this.u32(STATE.cr4);
    const efer = this.u32(STATE.efer);
    this.seenCr0 = cr0;
    this.seenCr4 = cr4;
    this.seenEfer = efer;
    this.seenPkru = this.u32(STATE.pkru);
    this.seenCr3 = this.lin(STATE.cr3);
    this.systemPages.fill(Number.NaN);
    const mode: PagingMode = !(cr0 & CR0.PG) ? 'none' : efer & EFER.LMA ? '4level' : cr4 & CR4.PAE ? 'pae' : '32bit';
    p.wp = (cr0 & CR0.WP) !== 0;
    p.nxe = (efer & EFER.NXE) !== 0;
    p.pse = (cr4 & (CR4.PSE | CR4.PAE)) !== 0;
    p.smep = (cr4 & CR4.SMEP) !== 0;
    p.smap = (cr4 & CR4.SMAP) !== 0;
    p.pke = mode === '4level' && (cr4 & CR4.PKE) !== 0;
    p.pkru = this.seenPkru;
    this.cr3Key = this.spaceOf(this.seenCr3);
    if (mode !== p.mode) {
      p.mode = mode;
      this.asids.clear();
      if (mode === 'pae') this.walker.loadPdptes(this.seenCr3);
    }
    this.enterSpace();
  }

  /** The mode that code runs in now. */
  get execMode(): ExecMode {
    return this.mode;
  }
  protectFrame(hostPage: number): void {
    this.tlb.protect(hostPage);
  }
  dropCode(page: CodePage): void {
    const { csBase } = page.mode;
    if (csBase === 0) {
      dropJumps(this.ram, this.base, page.lin);
      return;
    }
    // Jumps are found by RIP: where CS has a base, this page's lie in two pages of offsets.
    dropJumps(this.ram, this.base, ((page.lin - csBase) >>> 0) as Lin);
    dropJumps(this.ram, this.base, ((page.lin - csBase + 4095) >>> 0) as Lin);
  }
  dropAllCode(): void {
    dropAllJumps(this.ram, this.base);
  }
}

/** Places for implicit supervisor translations, and tags that are found without a Map. */
const SYSTEM_PAGES = 64;
const KNOWN_TAGS = 256;

/** By size of an access, the low bits of an aligned address that are zero (SDM Vol 3A, Table 6-7): extended reals count as 8 bytes. */
const ALIGNMENT: readonly number[] = [0, 0, 1, 0, 3, 0, 0, 0, 7, 0, 7];

/** Size of the next access to a device: 4, 2 or 1 bytes, aligned. */
function pieceAt(at: number, left: number): 1 | 2 | 4 {
  return left >= 4 && at % 4 === 0 ? 4 : left >= 2 && at % 2 === 0 ? 2 : 1;
}
