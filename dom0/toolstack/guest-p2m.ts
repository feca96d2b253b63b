// A PV guest's own table of its frames, found as its shared_info says: a list in the guest's address space (p2m_cr3, p2m_vaddr), or a
// tree of three levels (pfn_to_mfn_frame_list_list). What the guest says is checked: every frame must be one that can be mapped.
import { arch_shared_info, type Domid, shared_info } from '@ringworld/abi';
import type { Privcmd } from '../kernel/privcmd.ts';
import { DomainBuildError } from './errors.ts';
import { frameOfCr3 } from './pv-frames.ts';
import { PAGE_SIZE } from './virtual.ts';

export interface GuestP2m {
  /** Machine frame by pfn, 0xffffffff where there is none. */
  readonly p2m: Uint32Array;
  /** The machine frames that hold the guest's table, in order. */
  readonly frames: readonly number[];
}

/** More would be 64 GiB. */
const MAX_PFN = 1 << 24;
const NONE = 0xffff_ffff;

export function readGuestP2m(privcmd: Privcmd, dom: Domid, shared: Uint8Array, is32bit: boolean, subject: string): GuestP2m {
  const abi = is32bit ? 'x86_32' : 'x86_64';
  const at = shared_info.offset('arch', abi);
  const arch = arch_shared_info.decode(abi, shared.subarray(at, at + arch_shared_info.size(abi)));
  const count = Number(arch.max_pfn);
  if (!(count > 0 && count <= MAX_PFN)) throw new DomainBuildError(subject, `the guest says that it has ${count} frames`);
  const pages = new PageCache(privcmd, dom);
  const entries = PAGE_SIZE / (is32bit ? 4 : 8);
  const leaves = Math.ceil(count / entries);
  const cr3 = BigInt(arch.p2m_cr3);
  const frames =
    cr3 === 0n
      ? treeLeaves(pages, Number(arch.pfn_to_mfn_frame_list_list), leaves, is32bit)
      : listLeaves(pages, frameOfCr3(cr3, is32bit), BigInt.asUintN(is32bit ? 32 : 48, BigInt(arch.p2m_vaddr)), leaves, is32bit ? 3 : 4);
  const p2m = new Uint32Array(count).fill(NONE);
  frames.forEach((frame, i) => {
    const page = pages.read(frame);
    const words = new Uint32Array(page.buffer, page.byteOffset, PAGE_SIZE / 4);
    for (let k = 0; k < entries && i * entries + k < count; k++) {
      // Frames with any of the upper bits set are marks of Linux's own: foreign, identity, missing.
      p2m[i * entries + k] = is32bit ? words[k]! : words[k * 2 + 1] === 0 ? words[k * 2]! : NONE;
    }
  });
  return { p2m, frames };
}

/** One level after the other, a page of the list at a time. */
function listLeaves(pages: PageCache, root: number, start: bigint, leaves: number, levels: 3 | 4): number[] {
  return Array.from({ length: leaves }, (_, i) => {
    const va = start + BigInt(i * PAGE_SIZE);
    let frame = root;
    for (let level = levels; level > 0; level--) {
      const index = Number((va >> BigInt(3 + 9 * level)) & 511n);
      frame = pages.entry(frame, index);
    }
    return frame;
  });
}

function treeLeaves(pages: PageCache, root: number, leaves: number, is32bit: boolean): number[] {
  const entries = PAGE_SIZE / (is32bit ? 4 : 8);
  const word = (frame: number, i: number): number => {
    const page = pages.read(frame);
    return new DataView(page.buffer, page.byteOffset).getUint32(i * (is32bit ? 4 : 8), true);
  };
  return Array.from({ length: leaves }, (_, i) => word(word(root, Math.floor(i / entries)), i % entries));
}

/** Copies of the guest's pages, each mapped once. */
class PageCache {
  private readonly privcmd: Privcmd;
  private readonly dom: Domid;
  private readonly pages = new Map<number, Uint8Array>();

  constructor(privcmd: Privcmd, dom: Domid) {
    this.privcmd = privcmd;
    this.dom = dom;
  }

  read(frame: number): Uint8Array {
    const known = this.pages.get(frame);
    if (known !== undefined) return known;
    const mapping = this.privcmd.mapForeign(this.dom, [frame]);
    const bytes = mapping.read(0, PAGE_SIZE);
    mapping.unmap();
    this.pages.set(frame, bytes);
    return bytes;
  }

  /** The frame that an entry of a page table names. */
  entry(table: number, index: number): number {
    const page = this.read(table);
    const view = new DataView(page.buffer, page.byteOffset);
    return (view.getUint32(index * 8 + 4, true) & 0xf_ffff) * 2 ** 20 + (view.getUint32(index * 8, true) >>> 12);
  }
}
