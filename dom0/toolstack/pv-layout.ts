// Where everything of a new PV domain goes, in the order that xen.h prescribes ("Initial start-of-day memory layout", above
// struct start_info) and in the places where Xen's tools put it (xg_dom_core.c xc_dom_build_image, xg_dom_x86.c):
//
//   virt_base ... kernel image | initrd | p2m list | start_info | xenstore page | console page | page tables | boot stack
//             ... at least 512 KiB of padding up to a 4 MiB boundary (all of this is mapped)
//             ... then, unmapped: initrd (if the kernel takes it by frame number), p2m list with its own tables (INIT_P2M)
//
// Pure arithmetic: no page is touched, no hypercall made.
import { DomainBuildError } from './errors.ts';
import type { KernelImage } from './kernel-image.ts';
import { type Mapping, PAGING_64, PAGING_PAE, type PagingMode, planMapping } from './pv-mapping.ts';
import { low48, PAGE_SIZE, roundUp, unsignedLess } from './virtual.ts';

export interface PageRange {
  readonly pfn: number;
  readonly pages: number;
}

export interface PvLayout {
  readonly mode: PagingMode;
  readonly totalPages: number;
  readonly kernel: PageRange;
  readonly ramdisk: (PageRange & { readonly bytes: number; readonly mapped: boolean }) | null;
  /** Includes the page tables that map it when it lies at INIT_P2M. */
  readonly p2m: PageRange;
  readonly p2mVirt: number;
  readonly startInfoPfn: number;
  readonly xenstorePfn: number;
  readonly consolePfn: number;
  /** Of the initial mapping only. */
  readonly pageTables: PageRange;
  readonly bootStackPfn: number;
  /** The initial mapping first, then that of the p2m list if it has one of its own. */
  readonly mappings: readonly Mapping[];
  /** First frame behind everything allocated. */
  readonly endPfn: number;
}

/** Virtual address of a frame in the initial mapping. */
export const virtOf = (image: KernelImage, pfn: number): number => image.xen.virtBase + pfn * PAGE_SIZE;

const PADDING = 512 * 1024;
const ALIGNMENT = 4 * 1024 * 1024;

/** Hands out frames from 0 up, and complains in the user's terms when they run out. */
class FrameCursor {
  next = 0;
  readonly total: number;
  private readonly tooSmall: (what: string, neededPages: number) => never;

  constructor(total: number, tooSmall: (what: string, neededPages: number) => never) {
    this.total = total;
    this.tooSmall = tooSmall;
  }

  take(what: string, pages: number): PageRange {
    if (this.next + pages > this.total) this.tooSmall(what, this.next + pages);
    const range = { pfn: this.next, pages };
    this.next += pages;
    return range;
  }
}

/** Throws DomainBuildError naming the kernel (or the memory size) when the image cannot be laid out. */
export function layOutPv(image: KernelImage, totalPages: number, ramdiskBytes: number | null): PvLayout {
  const { xen, elf } = image;
  const is64 = image.guestType === 'xen-3.0-x86_64';
  const mode = is64 ? PAGING_64 : PAGING_PAE;
  const frames = new FrameCursor(totalPages, (what, needed): never => {
    throw new DomainBuildError(
      'memory',
      `${totalPages / 256} MiB are too little for ${elf.file}: with its ${what} it takes ${Math.ceil(needed / 256)} MiB`,
    );
  });
  if ((xen.virtStart - xen.virtBase) % PAGE_SIZE !== 0) throw new DomainBuildError(elf.file, 'the image does not start on a page boundary');

  frames.take('load address', (xen.virtStart - xen.virtBase) / PAGE_SIZE);
  const kernel = frames.take('kernel image', Math.ceil((xen.virtEnd - xen.virtStart) / PAGE_SIZE));

  const takeRamdisk = (mapped: boolean) =>
    ramdiskBytes === null ? null : { ...frames.take('ramdisk', Math.ceil(ramdiskBytes / PAGE_SIZE)), bytes: ramdiskBytes, mapped };
  let ramdisk = xen.unmappedInitrd ? null : takeRamdisk(true);

  // INIT_P2M is honoured for 64-bit kernels, below the image and on a page boundary; anything else falls back to the default.
  const p2mBase =
    is64 && xen.p2mBase !== null && unsignedLess(xen.p2mBase, xen.virtBase) && xen.p2mBase % PAGE_SIZE === 0 ? xen.p2mBase : null;
  const p2mBytes = roundUp(totalPages * (is64 ? 8 : 4), PAGE_SIZE);
  let p2m = p2mBase === null ? frames.take('p2m list', p2mBytes / PAGE_SIZE) : null;
  let p2mVirt = p2m === null ? 0 : virtOf(image, p2m.pfn);

  const startInfoPfn = frames.take('start info', 1).pfn;
  const xenstorePfn = frames.take('xenstore page', 1).pfn;
  const consolePfn = frames.take('console page', 1).pfn;

  // The tables map themselves: guess how many, plan, and try again until the guess holds.
  const extraPages = PADDING / PAGE_SIZE + 1;
  const from = is64 ? low48(xen.virtBase) : xen.virtBase;
  let pages = extraPages;
  let initial: Mapping;
  for (;;) {
    const end = roundUp(from + (frames.next + pages) * PAGE_SIZE, ALIGNMENT);
    if (end > mode.space) throw new DomainBuildError(elf.file, 'its initial mapping does not fit the address space');
    if ((end - from) / PAGE_SIZE > totalPages) frames.take('initial mapping', (end - from) / PAGE_SIZE - frames.next);
    initial = planMapping(mode, [], { from, to: end - 1, pfn: 0 }, frames.next);
    pages = initial.tables + extraPages;
    if (from + (frames.next + pages) * PAGE_SIZE <= end) break;
  }
  const mappings = [initial];
  const pageTables = frames.take('page tables', initial.tables);
  const bootStackPfn = frames.take('boot stack', 1).pfn;
  frames.take('padding', (initial.to + 1 - from) / PAGE_SIZE - frames.next);

  if (xen.unmappedInitrd) ramdisk = takeRamdisk(false);

  if (p2mBase !== null) {
    const listPages = p2mBytes / PAGE_SIZE;
    const at = low48(p2mBase);
    if (at + p2mBytes > from) throw new DomainBuildError(elf.file, 'the p2m list at INIT_P2M would overlap the kernel');
    const mapping = planMapping(mode, mappings, { from: at, to: at + p2mBytes - 1, pfn: frames.next }, frames.next + listPages);
    mappings.push(mapping);
    p2m = frames.take('p2m list', listPages + mapping.tables);
    p2mVirt = p2mBase;
  }
  return {
    mode,
    totalPages,
    kernel,
    ramdisk,
    p2m: p2m!,
    p2mVirt,
    startInfoPfn,
    xenstorePfn,
    consolePfn,
    pageTables,
    bootStackPfn,
    mappings,
    endPfn: frames.next,
  };
}
