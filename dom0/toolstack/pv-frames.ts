// Page tables and contexts of a PV domain hold machine frames. A saved one holds the domain's own numbers in their place, since another
// machine will give it other frames ("canonical"); these are the ways there and back (tools/libs/guest/xg_sr_save_x86_pv.c,
// xg_sr_restore_x86_pv.c: normalise_pagetable, x86_pv_localise_page).
import { XEN_DOMCTL_PFINFO_LTAB_SHIFT, XEN_DOMCTL_PFINFO_LTABTYPE_MASK } from '@ringworld/abi';
import { DomainBuildError } from './errors.ts';

const PRESENT = 1;
const PSE = 0x80;
const ENTRIES = 512;

/** The slots of the hypervisor in a 64-bit guest's L4: HYPERVISOR_VIRT_START to _END. */
const XEN_L4 = { first: 256, last: 271 };
/** And in the last L2 of a PAE guest: from MACH2PHYS_COMPAT_VIRT_START up. */
const XEN_L2 = { first: 428, last: 511 };

export interface Translation {
  /** What stands for a frame on the other side; -1 where there is none. */
  (frame: number): number;
}

/** 1 to 4 for a page table, else 0. */
export const tableLevel = (info: number): number => (info & XEN_DOMCTL_PFINFO_LTABTYPE_MASK) >>> XEN_DOMCTL_PFINFO_LTAB_SHIFT;

/**
 * Changes the frames in a page table, which is 4096 bytes. `levels`: 4, or 3 for a PAE guest. When `dropXen` is set, the hypervisor's own
 * entries go. Throws DomainBuildError.
 */
export function translateTable(
  table: Uint8Array,
  level: number,
  levels: number,
  translate: Translation,
  options: { readonly subject: string; readonly dropXen: boolean },
): void {
  const words = new Uint32Array(table.buffer, table.byteOffset, ENTRIES * 2);
  const frameAt = (i: number): number => (words[i * 2 + 1]! & 0xf_ffff) * 2 ** 20 + (words[i * 2]! >>> 12);
  // Most L2 tables of a PAE guest are all its own; the last has the machine-to-physical table, which is nobody's, at its first Xen slot.
  const isXenL2 = levels === 3 && level === 2 && (words[XEN_L2.first * 2]! & PRESENT) !== 0 && translate(frameAt(XEN_L2.first)) < 0;
  const xen = levels === 4 ? (level === 4 ? XEN_L4 : null) : level === 3 ? { first: 4, last: 511 } : isXenL2 ? XEN_L2 : null;
  for (let i = 0; i < ENTRIES; i++) {
    if (options.dropXen && xen !== null && i >= xen.first && i <= xen.last) {
      words[i * 2] = 0;
      words[i * 2 + 1] = 0;
      continue;
    }
    const lo = words[i * 2]!;
    if ((lo & PRESENT) === 0) continue;
    const hi = words[i * 2 + 1]!;
    const where = `entry ${i} of a level ${level} page table`;
    if (level > 1 && (lo & PSE) !== 0) throw new DomainBuildError(options.subject, `${where} maps a superpage`);
    const frame = frameAt(i);
    const other = translate(frame);
    if (other < 0) throw new DomainBuildError(options.subject, `${where} maps frame 0x${frame.toString(16)}, which is not the domain's`);
    words[i * 2] = ((other << 12) | (lo & 0xfff)) >>> 0;
    words[i * 2 + 1] = ((hi & 0xfff0_0000) | (Math.floor(other / 2 ** 20) & 0xf_ffff)) >>> 0;
  }
}

/** Frame in a control register: shifted, or in a 32-bit guest rotated, by twelve bits. */
export const frameOfCr3 = (value: bigint, is32bit: boolean): number => {
  if (!is32bit) return Number((value >> 12n) & 0xff_ffff_ffffn);
  const cr3 = Number(value & 0xffff_ffffn);
  return ((cr3 >>> 12) | (cr3 << 20)) >>> 0;
};
export const cr3OfFrame = (frame: number, is32bit: boolean): bigint =>
  is32bit ? BigInt(((frame << 12) | (frame >>> 20)) >>> 0) : BigInt(frame) << 12n;
