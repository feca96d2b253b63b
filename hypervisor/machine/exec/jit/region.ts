// What is compiled together: the blocks of one page of guest code that can be reached from a hot one by branches inside the page, as far
// as the interpreter has been there.
//
// The interpreter's blocks overlap (a branch into the middle of one begins another); here every instruction belongs to one block.

import type { Decoded } from '../../isa/decoded.ts';
import { decode } from '../decode.ts';
import type { ExecMode } from '../mode.ts';
import { RECORD_SIZE, STOP } from '../records.ts';
import { branchOffset, type CodeSite } from '../translator.ts';

/** More instructions than this are left to other regions. */
const MAX_INSTRUCTIONS = 320;
/** Returns are compared with no more sites than this. */
const MAX_RETURN_SITES = 4;

export interface RegionInsn {
  readonly offset: number;
  readonly rec: number;
  readonly left: number;
  readonly length: number;
  /** Undefined: TypeScript executes it. */
  readonly decoded: Decoded | undefined;
  /** Control never runs on to the next instruction. */
  readonly ends: boolean;
  /** Page offset that a relative branch goes to, or -1 when there is none or it leaves the page. */
  readonly target: number;
  readonly isCall: boolean;
  readonly isReturn: boolean;
}

export interface RegionBlock {
  readonly insns: readonly RegionInsn[];
  /** Block that control runs on into, or -1. */
  readonly next: number;
  /** Record that goes on where the block ends without a branch, or 0. */
  readonly onward: number;
}

/** A page of decoded code as regions are made of it: the code cache's own, or a copy in another thread (page-image.ts). */
export interface RegionSource extends CodeSite {
  readonly mode: Pick<ExecMode, 'bits' | 'flat' | 'stackSize' | 'csBase' | 'has'>;
  /** Record that begins the block at a page offset, and the offsets of those that run into the next page. */
  readonly blocks: ReadonlyMap<number, number>;
  readonly straddles: { has(offset: number): boolean };
  /** The page's bytes begin at `at` in `bytes`. */
  readonly bytes: Uint8Array;
  readonly at: number;
  /** Members of a record. */
  handler(rec: number): number;
  length(rec: number): number;
  left(rec: number): number;
  /** Whether control never runs on after a handler. */
  endsBlock(handler: number): boolean;
}

export interface Region {
  readonly page: RegionSource;
  /** Record by which the region is entered. */
  readonly head: number;
  /** The first one is the head. */
  readonly blocks: readonly RegionBlock[];
  readonly blockAt: ReadonlyMap<number, number>;
  /** Page offsets that follow calls inside the region: where its returns may lead. */
  readonly returnSites: readonly number[];
}

// TOUR add 70: What is compiled together: what the interpreter has already been through, from the hot block on, inside its page.
export function collectRegion(page: RegionSource, headOffset: number): Region | undefined {
  const head = page.blocks.get(headOffset);
  if (head === undefined || page.straddles.has(headOffset)) return undefined;
  const insns = new Map<number, RegionInsn>();
  const onward = new Map<number, number>();
  const leaders = new Set([headOffset]);
  const work = [headOffset];
  const seen = new Set<number>();
  const returnSites: number[] = [];
  for (let next = work.shift(); next !== undefined && insns.size < MAX_INSTRUCTIONS; next = work.shift()) {
    const start = page.blocks.get(next);
    if (seen.has(next) || start === undefined || page.straddles.has(next)) continue;
    seen.add(next);
    const end = walk(page, start + RECORD_SIZE, next, insns, onward);
    if (end >= 0) work.unshift(end);
    for (let offset = next, i = insns.get(offset); i && !seen.has(offset + 0x10000); i = insns.get(offset)) {
      seen.add(offset + 0x10000);
      const site = offset + i.length;
      // A call inside the page takes the function in, if there is a place to come back to.
      const follow = !i.isCall || (page.blocks.has(site) && page.blocks.has(i.target) && returnSites.length < MAX_RETURN_SITES);
      if (i.target >= 0 && follow) {
        leaders.add(i.target);
        work.push(i.target);
        if (i.isCall && !returnSites.includes(site)) {
          returnSites.push(site);
          leaders.add(site);
          work.push(site);
        }
      }
      offset = site;
      if (i.ends) break;
    }
  }
  return { page, head, ...cut(insns, onward, leaders, headOffset), returnSites };
}

/** Follows the records of one block; the offset at which it runs on elsewhere in the page, or -1. */
function walk(page: RegionSource, first: number, from: number, insns: Map<number, RegionInsn>, onward: Map<number, number>): number {
  let offset = from;
  for (let rec = first; ; rec += RECORD_SIZE) {
    const handler = page.handler(rec);
    const length = page.length(rec);
    if (handler !== STOP.system && length === 0) {
      onward.set(offset, rec);
      return offset < 4096 ? offset : -1;
    }
    if (insns.has(offset)) return -1;
    const left = page.left(rec);
    const d = handler === STOP.system ? undefined : decode(page.bytes, page.at + offset, 4096 - offset, page.mode);
    if (d === undefined || typeof d === 'string') {
      insns.set(offset, { offset, rec, left, length, decoded: undefined, ends: true, target: -1, isCall: false, isReturn: false });
      return -1;
    }
    const ends = page.endsBlock(handler);
    const { mnemonic } = d.insn;
    const target = branchOffset(d, page, offset);
    insns.set(offset, { offset, rec, left, length, decoded: d, ends, target, isCall: mnemonic === 'CALL', isReturn: mnemonic === 'RET' });
    if (ends) return -1;
    offset += length;
  }
}

function cut(
  insns: ReadonlyMap<number, RegionInsn>,
  onward: ReadonlyMap<number, number>,
  leaders: ReadonlySet<number>,
  headOffset: number,
): { blocks: RegionBlock[]; blockAt: Map<number, number> } {
  const blockAt = new Map<number, number>();
  for (const offset of leaders) if (insns.has(offset)) blockAt.set(offset, blockAt.size);
  if (blockAt.get(headOffset) !== 0) throw new Error('a region without its head');
  const blocks = [...blockAt.keys()].map((leader): RegionBlock => {
    const list: RegionInsn[] = [];
    for (let offset = leader; ; ) {
      const i = insns.get(offset);
      if (!i) return { insns: list, next: -1, onward: onward.get(offset) ?? 0 };
      list.push(i);
      if (i.ends) return { insns: list, next: -1, onward: 0 };
      offset += i.length;
      const next = blockAt.get(offset);
      if (next !== undefined) return { insns: list, next, onward: 0 };
    }
  });
  return { blocks, blockAt };
}
