// Guest memory of an HVM vCPU: handles are linear addresses in the guest's own address space, translated through its page tables as its
// control registers say, then through the p2m (xen/arch/x86/mm/guest_walk.c; hvm_copy_to_guest_linear() as copy_to_user_hvm() calls it).
//
// Accesses are a supervisor's, explicit: CR0.WP decides about read-only pages, CR4.SMAP and RFLAGS.AC about user pages (a kernel that passes
// its programs' buffers, as privcmd does, sets AC for the call). Protection keys and SMEP concern neither. Page tables have to lie in RAM.

import { GuestMemoryBase } from './guest-memory-base.ts';
import type { HvmVcpuState } from './hvm-domain.ts';
import type { HvmPaging } from './hvm-hooks.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Abi, type Gfn, INVALID_MFN, type Maddr } from './ids.ts';
import type { P2m } from './p2m.ts';
import type { Vcpu } from './vcpu.ts';

const CR0_PE = 0x0000_0001;
const CR0_WP = 0x0001_0000;
const CR0_PG = 0x8000_0000;
const CR4_PSE = 0x0000_0010;
const CR4_PAE = 0x0000_0020;
const CR4_LA57 = 0x0000_1000;
const CR4_SMAP = 0x0020_0000;
const EFER_LMA = 0x0000_0400;
const RFLAGS_AC = 0x0004_0000;

const PRESENT = 0x01;
const WRITABLE = 0x02;
const USER = 0x04;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const SUPERPAGE = 0x80;

const PAGE = 4096;
const TWO_32 = 0x1_0000_0000;

export class HvmGuestMemory extends GuestMemoryBase {
  private readonly hv: Hypervisor;
  private readonly vcpu: Vcpu;
  private readonly state: HvmVcpuState;
  private readonly p2m: P2m;

  constructor(hv: Hypervisor, vcpu: Vcpu, state: HvmVcpuState) {
    super(hv.ram);
    this.hv = hv;
    this.vcpu = vcpu;
    this.state = state;
    this.p2m = vcpu.domain.p2m;
  }

  get abi(): Abi {
    return this.state.callAbi ?? this.vcpu.domain.abi;
  }

  translate(handle: number, write: boolean): Maddr | -1 {
    const mode = this.hv.hvm.paging(this.vcpu);
    const gpa = this.gpaOf(mode, handle, write);
    return gpa === -1 ? -1 : this.maddrOf(gpa, write);
  }

  /** Guest-physical address of a linear one, or -1 when a supervisor's access would fault. Sets A and D bits as the CPU would. */
  gpaOf(mode: HvmPaging, lin: number, write: boolean): number {
    const isLong = (mode.efer & EFER_LMA) !== 0;
    if (isLong) {
      // Both halves of 48 bits (57 with LA57), nothing between.
      const top = mode.cr4 & CR4_LA57 ? 2 ** 56 : 2 ** 47;
      if (lin >= top || lin < -top) return -1;
    } else {
      lin %= TWO_32;
      if (lin < 0) lin += TWO_32;
    }
    if (!(mode.cr0 & CR0_PG) || !(mode.cr0 & CR0_PE)) return lin;
    const levels = isLong ? (mode.cr4 & CR4_LA57 ? 5 : 4) : mode.cr4 & CR4_PAE ? 3 : 2;
    return this.walk(mode, levels, lin, write);
  }

  private walk(mode: HvmPaging, levels: number, lin: number, write: boolean): number {
    const wide = levels > 2;
    const bitsPerLevel = wide ? 9 : 10;
    const entrySize = wide ? 8 : 4;
    // PAE: CR3 has 32-byte granularity (SDM 3A 4.4.1).
    let table = levels === 3 ? (mode.cr3Lo & ~31) >>> 0 : wide ? frameOf(mode.cr3Lo, mode.cr3Hi) * PAGE : (mode.cr3Lo & ~0xfff) >>> 0;
    let isUser = true;
    let isWritable = true;
    for (let level = levels; ; level--) {
      const shift = 12 + bitsPerLevel * (level - 1);
      const isPdpte = levels === 3 && level === 3;
      const index = modulo(Math.floor(lin / 2 ** shift), isPdpte ? 4 : 2 ** bitsPerLevel);
      const at = this.maddrOf(table + index * entrySize, false);
      if (at === -1) return -1;
      const lo = this.ram.read32(at);
      const hi = wide ? this.ram.read32((at + 4) as Maddr) : 0;
      if (!(lo & PRESENT)) return -1;
      // The PDPTEs of PAE paging have neither of the two bits (SDM 3A table 4-8).
      if (!isPdpte) {
        isUser &&= (lo & USER) !== 0;
        isWritable &&= (lo & WRITABLE) !== 0;
      }
      const isSuper = level > 1 && (lo & SUPERPAGE) !== 0 && !isPdpte && (wide ? level <= 3 : (mode.cr4 & CR4_PSE) !== 0);
      if (level > 1 && !isSuper) {
        if (!isPdpte) this.mark(at, lo, ACCESSED);
        table = frameOf(lo, hi) * PAGE;
        continue;
      }
      if (write && !isWritable && (mode.cr0 & CR0_WP) !== 0) return -1;
      if (isUser && (mode.cr4 & CR4_SMAP) !== 0 && !(mode.rflags & RFLAGS_AC)) return -1;
      this.mark(at, lo, write ? ACCESSED | DIRTY : ACCESSED);
      const size = 2 ** shift;
      const base = wide || level === 1 ? frameOf(lo, hi) * PAGE : pse36(lo);
      return base - (base % size) + modulo(lin, size);
    }
  }

  private mark(at: Maddr, lo: number, bits: number): void {
    if ((lo & bits) !== bits) this.ram.write32(at, lo | bits);
  }

  private maddrOf(gpa: number, write: boolean): Maddr | -1 {
    const gfn = Math.floor(gpa / PAGE) as Gfn;
    const mfn = this.p2m.mfn(gfn);
    if (mfn === INVALID_MFN || (write && !this.p2m.isWritable(gfn))) return -1;
    return (mfn * PAGE + (gpa % PAGE)) as Maddr;
  }
}

const modulo = (n: number, by: number): number => ((n % by) + by) % by;
/** Bits 51:12 of an entry. */
const frameOf = (lo: number, hi: number): number => (hi & 0xf_ffff) * 0x10_0000 + (lo >>> 12);
/** A 4-MiB page's base: bits 20:13 are address bits 39:32 (SDM 3A table 4-4). */
const pse36 = (lo: number): number => ((lo >>> 13) & 0xff) * TWO_32 + ((lo & 0xffc0_0000) >>> 0);
