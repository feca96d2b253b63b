// Fills the page tables that pv-layout.ts has planned, with machine frames: what a PV guest's first %cr3 points at.
// Protections are those of Xen's tools (xg_dom_x86.c: lvl_prot, get_pg_prot). Page-table pages are mapped read-only, else the
// hypervisor would refuse to pin the tree.
import { entrySpan, type Mapping, type MappingLevel } from './pv-mapping.ts';
import { PAGE_SIZE } from './virtual.ts';

const PRESENT = 1;
const RW = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;

const PROT_L1 = PRESENT | RW | ACCESSED;
const PROT_UPPER = PRESENT | RW | ACCESSED | DIRTY | USER;

/** Writes entry `index` of the tables that start at frame `pfn` (index may reach into the following tables). */
export type WriteEntry = (pfn: number, index: number, lo: number, hi: number) => void;

/** Calls write for every present entry. p2m gives the machine frame of a domain frame. */
export function fillPageTables(mappings: readonly Mapping[], p2m: ArrayLike<number>, write: WriteEntry): void {
  const top = (mappings[0]?.levels.length ?? 0) - 1;
  const isPageTable = (pfn: number): boolean => mappings.some((m) => pfn >= m.levels[top]!.pfn && pfn < m.levels[top]!.pfn + m.tables);

  for (let l = top; l >= 0; l--) {
    const span = entrySpan(l);
    for (const tables of mappings) {
      const mine = tables.levels[l]!;
      if (mine.tables === 0) continue;
      for (const other of mappings) {
        const target: { from: number; to: number; pfn: number } = l > 0 ? other.levels[l - 1]! : other;
        if (l > 0 && (target as MappingLevel).tables === 0) continue;
        if (target.from >= mine.to || target.to <= mine.from) continue;
        const low = Math.max(mine.from, target.from);
        const high = Math.min(mine.to, target.to);
        const lastIndex = Math.floor((high - mine.from) / span);
        let pfn = target.pfn + Math.floor((low - target.from) / span);
        for (let index = Math.floor((low - mine.from) / span); index <= lastIndex; index++, pfn++) {
          const mfn = p2m[pfn]!;
          const prot = l > 0 ? PROT_UPPER : isPageTable(pfn) ? PROT_L1 & ~RW : PROT_L1;
          write(mine.pfn, index, ((mfn << 12) | prot) >>> 0, mfn >>> 20);
        }
      }
    }
  }
}

/** Entry index -> page and byte offset within the run of tables. */
export const entryPlace = (index: number): { readonly page: number; readonly offset: number } => ({
  page: Math.floor((index * 8) / PAGE_SIZE),
  offset: (index * 8) % PAGE_SIZE,
});
