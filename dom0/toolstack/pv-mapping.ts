// How many page tables a range of a PV domain's first address space takes, and which frames they are: planned before any page
// exists, because the tables themselves must lie inside the range that they map. The plan is that of Xen's xg_dom_x86.c
// (count_pgtables), so that a domain finds its tables where it would find them on real Xen.
//
// Addresses here are unsigned: 48 bits for x86_64, 32 for x86_32p. They are numbers, so shifts are divisions.
import { PAGE_SHIFT } from './virtual.ts';

export interface PagingMode {
  readonly levels: 3 | 4;
  /** 2^width of a virtual address. */
  readonly space: number;
}

export const PAGING_64: PagingMode = { levels: 4, space: 2 ** 48 };
export const PAGING_PAE: PagingMode = { levels: 3, space: 2 ** 32 };

/** One level of tables: those that cover from..to (inclusive), starting with frame pfn. tables = 0 where another mapping has them. */
export interface MappingLevel {
  readonly from: number;
  readonly to: number;
  readonly pfn: number;
  readonly tables: number;
}

export interface Mapping {
  /** from..to (inclusive) maps to the frames from pfn on. */
  readonly from: number;
  readonly to: number;
  readonly pfn: number;
  /** levels[0] are the L1 tables; the topmost level comes first in memory. */
  readonly levels: readonly MappingLevel[];
  readonly tables: number;
}

/** Bytes that one entry of a level-`level` table maps (level 0 = L1). */
export const entrySpan = (level: number): number => 2 ** (PAGE_SHIFT + 9 * level);

const alignDown = (x: number, unit: number): number => Math.floor(x / unit) * unit;

/**
 * Plans the tables for from..to, the first of them at frame `tablesPfn`, given the mappings planned before: a table that one of
 * those has is shared.
 */
export function planMapping(
  mode: PagingMode,
  before: readonly Mapping[],
  range: { readonly from: number; readonly to: number; readonly pfn: number },
  tablesPfn: number,
): Mapping {
  const first = before.length === 0;
  const levels = new Array<MappingLevel>(mode.levels);
  let tables = 0;
  for (let l = mode.levels - 1; l >= 0; l--) {
    const pfn = tablesPfn + tables;
    if (l === mode.levels - 1) {
      // There is one top-level table; the first mapping brings it.
      levels[l] = first ? { from: 0, to: mode.space - 1, pfn, tables: 1 } : { from: 0, to: 0, pfn, tables: 0 };
      tables += levels[l]!.tables;
      continue;
    }
    const covered = entrySpan(l + 1);
    let from = alignDown(range.from, covered);
    let to = alignDown(range.to, covered) + covered - 1;
    // Xen keeps its own entries for a 32-bit guest in the last L2 table, so that one must exist even if nothing is mapped there.
    if (mode.levels === 3 && first && l === 1 && range.to < 0xc0000000) to = mode.space - 1;
    for (const other of before) {
      const theirs = other.levels[l]!;
      if (theirs.tables === 0) continue;
      if (from >= theirs.from && to <= theirs.to) {
        from = to = 0;
        break;
      }
      if (from >= theirs.from && from <= theirs.to) from = theirs.to + 1;
      if (to >= theirs.from && to <= theirs.to) to = theirs.from - 1;
    }
    const count = from < to ? (to + 1 - from) / covered : 0;
    levels[l] = { from, to, pfn, tables: count };
    tables += count;
  }
  return { ...range, levels, tables };
}
