// Shadow paging: the tables that the processor walks are the hypervisor's, filled from the guest's own as faults ask for them
// (xen/arch/x86/mm/shadow; SDM Vol 3C, 32.3.2-32.3.4, which calls this a virtual TLB).
//
// What a shadow holds is what a TLB may hold: an entry is made when an access misses, from a walk of the guest's tables that sets their
// accessed and dirty bits, and goes with INVLPG, with loads of CR3 and with changes of the paging mode. So the guest's tables need no write
// protection, and every change of the address space costs the guest its shadow, as VT-x and SVM of 2005 made it. A vCPU has its own.

import type { FrameTable } from '../core/frame-table.ts';
import { type Gfn, INVALID_MFN, type Lin, type Mfn } from '../core/ids.ts';
import { linHi, linLo } from '../machine/addresses.ts';
import type { Context } from '../machine/context.ts';
import { PF, SECOND_LEVEL } from '../machine/cpu-api.ts';
import type { PhysicalMap } from '../machine/mmu/physical.ts';
import { type PagingMode, Walker } from '../machine/mmu/walk.ts';
import { EFLAGS, STATE } from '../machine/state.ts';
import { CR0, CR4, EFER } from '../machine/system/bits.ts';
import type { CpuProfile } from '../machine/system/cpuid.ts';
import { EmulatedMemory, isHole } from './emulate.ts';
import type { HvmVcpu } from './vcpu.ts';

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
/** High half. */
const NO_EXECUTE = 0x8000_0000;
/** Of tables on the way; the leaf says what is allowed. */
const TABLE = PRESENT | WRITABLE | USER | ACCESSED;

/** Tables of one vCPU, at most: when they are all in use the shadow begins anew. */
const MOST_TABLES = 1024;

/** What a fault turned out to be. */
export type ShadowOutcome = 'filled' | 'guest' | 'device' | 'noMemory';

/** CR4 bits that the real register has from the guest's: the rest means nothing to shadows, or is the hypervisor's. */
const GUEST_CR4 = ~(CR4.PGE | CR4.PCIDE | CR4.PKE | CR4.PSE);

export class Shadow {
  /** Reads of the guest's and faults, by what they were (the accounting of Adams and Agesen, ASPLOS 2006, section 4.2). */
  fills = 0;
  guestFaults = 0;
  flushes = 0;
  /** Error code of the guest's own fault, after 'guest'. */
  errorCode = 0;
  private readonly frames: FrameTable;
  private readonly walker: Walker;
  private readonly memory: EmulatedMemory;
  /** Holds the guest's PAE pointers: STATE.pdpte of the vCPU has the shadow's. */
  readonly own: Context;
  private root: Mfn = INVALID_MFN;
  private readonly tables: Mfn[] = [];
  private used = 0;

  constructor(frames: FrameTable, physical: PhysicalMap, own: Context, profile: CpuProfile, h: HvmVcpu) {
    this.frames = frames;
    this.own = own;
    this.memory = new EmulatedMemory(h.vcpu.domain.p2m);
    this.walker = new Walker(physical, own.base, profile);
    this.walker.second = this.memory;
  }

  /** Puts the real CR0, CR3, CR4 and, for PAE, the pointers into the register block. False when the hypervisor's heap is empty. */
  apply(h: HvmVcpu, fixed0: number, fixed4: number): boolean {
    const { regs } = h.vcpu;
    if (this.root === INVALID_MFN && !this.begin()) return false;
    const isLong = (h.efer & EFER.LMA) !== 0;
    regs.setHalves(STATE.efer, isLong ? h.efer : h.efer & ~EFER.LME, 0);
    regs.setHalves(STATE.cr0, h.cr0 | CR0.PG | CR0.WP | fixed0, 0);
    regs.setHalves(STATE.cr4, (h.cr4 & GUEST_CR4) | CR4.PAE | fixed4, 0);
    regs.setHalves(STATE.cr3, this.root * 4096, 0);
    if (isLong) return true;
    // Outside long mode the four pointers are the root's first entries, all made beforehand: the processor keeps them in registers.
    const { u32, base } = this.frames.ram;
    const from = (base + this.root * 4096) >>> 2;
    for (let i = 0; i < 4; i++) {
      if (!(u32[from + 2 * i]! & PRESENT)) {
        const table = this.take();
        if (table === INVALID_MFN) return false;
        u32[from + 2 * i] = table * 4096 + PRESENT;
      }
      regs.setHalves(STATE.pdpte + 8 * i, u32[from + 2 * i]!, 0);
    }
    return true;
  }

  /** There is a root that the register block names. */
  get isInForce(): boolean {
    return this.root !== INVALID_MFN;
  }

  /** Forgets all: a load of CR3, a change of mode, or of the p2m. The caller drops the processor's translations. */
  flush(): void {
    this.flushes++;
    this.used = 0;
    this.root = INVALID_MFN;
  }

  /** INVLPG. */
  drop(h: HvmVcpu, lin: Lin): void {
    const at = this.leafAt(h, lin, false);
    if (at > 0) this.frames.ram.u32[at] = 0;
  }

  /** A page fault of the guest at `lin`, with the processor's error code. */
  fault(h: HvmVcpu, lin: Lin, error: number): ShadowOutcome {
    this.look(h);
    const { walker } = this;
    const access = error & (PF.write | PF.user | PF.fetch);
    const r = walker.walk(lin, access, true);
    if (!r.ok) {
      if (r.errorCode === SECOND_LEVEL) return 'device';
      this.guestFaults++;
      this.errorCode = r.errorCode;
      return 'guest';
    }
    if (isHole(r.maddr)) return 'device';
    let at = this.leafAt(h, lin, true);
    if (at === 0) {
      // Out of tables: the shadow begins anew, and the access comes again.
      this.flush();
      at = -1;
    }
    if (at < 0) return 'noMemory';
    this.fills++;
    const isWrite = (error & PF.write) !== 0;
    let flags = PRESENT | ACCESSED | (r.user ? USER : 0);
    if (r.writable && (isWrite || walker.leafDirty)) flags |= WRITABLE | DIRTY;
    // A supervisor that writes read-only pages (CR0.WP clear): writable, but no longer a program's.
    else if (isWrite && !(error & PF.user)) flags = (flags & ~USER) | WRITABLE | DIRTY;
    const { u32 } = this.frames.ram;
    u32[at] = (r.maddr & ~0xfff) | flags;
    u32[at + 1] = r.nx && walker.paging.nxe ? NO_EXECUTE : 0;
    return 'filled';
  }

  /** Guest-physical frame changed: what the shadow has of it is not looked for. */
  frameChanged(_gfn: Gfn): void {
    this.flush();
  }

  free(): void {
    for (const mfn of this.tables) this.frames.freeXen(mfn);
    this.tables.length = 0;
    this.used = 0;
    this.root = INVALID_MFN;
  }

  /** The guest's view of its own paging, for the walk. */
  private look(h: HvmVcpu): void {
    const p = this.walker.paging;
    const { regs } = h.vcpu;
    const efer = regs.lo(STATE.efer);
    p.mode = pagingMode(h.cr0, h.cr4, efer);
    p.root = (p.mode === '4level' ? (h.cr3Hi & 0xf_ffff) * 0x1_0000_0000 : 0) + ((h.cr3Lo & ~0xfff) >>> 0);
    p.wp = (h.cr0 & CR0.WP) !== 0;
    p.nxe = (efer & EFER.NXE) !== 0;
    p.pse = (h.cr4 & (CR4.PSE | CR4.PAE)) !== 0;
    p.smep = (h.cr4 & CR4.SMEP) !== 0;
    p.smap = (h.cr4 & CR4.SMAP) !== 0;
    p.ac = (regs.u32(STATE.eflags) & EFLAGS.AC) !== 0;
  }

  /** Reads the guest's PAE pointers, as a load of CR3 does; false when a reserved bit is set. */
  loadPdptes(h: HvmVcpu): boolean {
    this.look(h);
    return this.walker.loadPdptes(h.cr3Lo >>> 0);
  }

  /** Index in u32 of the entry for a page: 0 without memory for a table (when making), -1 for none (when not). */
  private leafAt(h: HvmVcpu, lin: Lin, make: boolean): number {
    if (this.root === INVALID_MFN) return make ? 0 : -1;
    const { u32, base } = this.frames.ram;
    const isLong = (h.vcpu.regs.lo(STATE.efer) & EFER.LMA) !== 0;
    const lo = linLo(lin);
    const hi = linHi(lin);
    let table = this.root;
    for (let shift = isLong ? 39 : 30; ; shift -= 9) {
      const index = shift === 39 ? (hi >>> 7) & 511 : shift === 30 ? ((isLong ? hi << 2 : 0) | (lo >>> 30)) & 511 : (lo >>> shift) & 511;
      const at = ((base + table * 4096) >>> 2) + 2 * index;
      if (shift === 12) return at;
      if (!(u32[at]! & PRESENT)) {
        if (!make) return -1;
        const next = this.take();
        if (next === INVALID_MFN) return 0;
        u32[at] = next * 4096 + TABLE;
        u32[at + 1] = 0;
      }
      table = (u32[at]! >>> 12) as Mfn;
    }
  }

  private begin(): boolean {
    this.root = this.take();
    return this.root !== INVALID_MFN;
  }
  /** A cleared table: one that was used before the last flush, or a new one. */
  private take(): Mfn {
    let mfn = this.tables[this.used];
    if (mfn === undefined) {
      if (this.used >= MOST_TABLES) return INVALID_MFN;
      mfn = this.frames.allocXen();
      if (mfn === INVALID_MFN) return mfn;
      this.tables.push(mfn);
    }
    this.used++;
    this.frames.ram.fill((mfn * 4096) as never, 0, 4096);
    return mfn;
  }
}

function pagingMode(cr0: number, cr4: number, efer: number): PagingMode {
  if (!(cr0 & CR0.PG)) return 'none';
  return efer & EFER.LMA ? '4level' : cr4 & CR4.PAE ? 'pae' : '32bit';
}
