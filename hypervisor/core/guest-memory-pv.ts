// Guest memory of a PV vCPU: handles are linear addresses, translated through the page tables that the vCPU runs on.
//
// Xen copies at ring 0 with the guest's tables loaded: the writable bit counts (CR0.WP is set), the user bit does not (the copy runs
// with SMAP open), and addresses of the hypervisor's own area are refused first (xen/arch/x86/include/asm/uaccess.h, __addr_ok;
// compat.h, compat_addr_ok). The walk reads the tables directly: it serves running and paused vCPUs alike.

import { xen_x86_32, xen_x86_64 } from '@ringworld/abi';
import type { Ram } from '../machine/mmu/ram.ts';
import { GuestMemoryBase } from './guest-memory-base.ts';
import { type Abi, INVALID_MFN, type Maddr, type Mfn } from './ids.ts';
import type { Vcpu } from './vcpu.ts';

/** 0xffff880000000000 as a signed linear address. */
const HYPERVISOR_VIRT_END = Number(BigInt.asIntN(64, xen_x86_64.HYPERVISOR_VIRT_END));
/** HYPERVISOR_COMPAT_VIRT_START's default for our machine size (public/arch-x86/xen-x86_32.h, __HYPERVISOR_COMPAT_VIRT_START). */
export const HYPERVISOR_COMPAT_VIRT_START = xen_x86_32.HYPERVISOR_VIRT_START;

const PRESENT = 0x01;
const WRITABLE = 0x02;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const SUPERPAGE = 0x80;
const TWO_30 = 0x4000_0000;
const TWO_39 = 0x80_0000_0000;

/** __addr_ok(): canonical, and not in the hypervisor's area of a 64-bit address space. */
const isOutsideHypervisor = (lin: number): boolean => (lin >= HYPERVISOR_VIRT_END && lin < 0) || (lin >= 0 && lin < 0x8000_0000_0000);

export class PvGuestMemory extends GuestMemoryBase {
  private readonly vcpu: Vcpu;

  constructor(ram: Ram, vcpu: Vcpu) {
    super(ram);
    this.vcpu = vcpu;
  }

  get abi(): Abi {
    return this.vcpu.domain.abi;
  }

  /** access_ok() looks at the first byte, compat_access_ok() at the last. */
  override isAccessible(handle: number, length: number): boolean {
    if (this.vcpu.domain.is32bit) return handle + length - 1 < HYPERVISOR_COMPAT_VIRT_START;
    return isOutsideHypervisor(handle);
  }

  translate(handle: number, write: boolean): Maddr | -1 {
    const { pv, domain } = this.vcpu;
    if (domain.is32bit) {
      const lin = handle % 0x1_0000_0000;
      if (lin < 0 || lin >= HYPERVISOR_COMPAT_VIRT_START) return -1;
      return this.walk(pv.guestTable, Math.floor(lin / TWO_30) & 3, lin, write, true);
    }
    if (!isOutsideHypervisor(handle)) return -1;
    const root = pv.kernelMode ? pv.guestTable : pv.guestTableUser;
    if (root === INVALID_MFN) return -1;
    const e = this.entry(root, Math.floor(handle / TWO_39) & 511, write);
    return e === -1 ? -1 : this.walk(e, Math.floor(handle / TWO_30) & 511, handle, write, false);
  }

  /** From an L3 table down. */
  private walk(l3: Mfn, l3Index: number, lin: number, write: boolean, compat: boolean): Maddr | -1 {
    if (l3 === INVALID_MFN) return -1;
    // An L3 entry of a compat guest has no writable bit of its own (Xen sets it: adjust_guest_l3e).
    const l2 = this.entry(l3, l3Index, write && !compat);
    if (l2 === -1) return -1;
    const low = lin & 0x3fff_ffff;
    const at2 = l2 * 4096 + (low >>> 21) * 8;
    const e2 = this.ram.read32(at2 as Maddr);
    if (!(e2 & PRESENT) || (write && !(e2 & WRITABLE))) return -1;
    if (e2 & SUPERPAGE) return this.inRam((this.frame(at2, e2) & ~511) * 4096 + (low & 0x1f_ffff));
    const l1 = this.frame(at2, e2);
    if (!this.ram.contains(l1 * 4096, 4096)) return -1;
    const at1 = l1 * 4096 + ((low >>> 12) & 511) * 8;
    const e1 = this.ram.read32(at1 as Maddr);
    if (!(e1 & PRESENT) || (write && !(e1 & WRITABLE))) return -1;
    const want = write ? ACCESSED | DIRTY : ACCESSED;
    if ((e1 & want) !== want) this.ram.write32(at1 as Maddr, e1 | want);
    return this.inRam(this.frame(at1, e1) * 4096 + (lin & 0xfff));
  }

  private entry(table: Mfn, index: number, write: boolean): Mfn | -1 {
    const at = table * 4096 + index * 8;
    if (!this.ram.contains(at, 8)) return -1;
    const e = this.ram.read32(at as Maddr);
    if (!(e & PRESENT) || (write && !(e & WRITABLE)) || e & SUPERPAGE) return -1;
    const mfn = this.frame(at, e);
    return this.ram.contains(mfn * 4096, 4096) ? mfn : -1;
  }

  private frame(at: number, lo: number): Mfn {
    const hi = this.ram.read32((at + 4) as Maddr);
    return ((hi & 0xf_ffff) * 0x10_0000 + (lo >>> 12)) as Mfn;
  }

  private inRam(at: number): Maddr | -1 {
    return this.ram.contains(at) ? (at as Maddr) : -1;
  }
}
