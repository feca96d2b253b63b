// Test support: a small machine with a frame table, and domains that are no more than owners of frames.

import type { Mfn } from '../machine/addresses.ts';
import { Ram } from '../machine/mmu/ram.ts';
import { FrameTable } from './frame-table.ts';
import type { PageOwner } from './frame-types.ts';

export interface TestOwner extends PageOwner {
  is32bit: boolean;
  isTranslated: boolean;
  isDying: boolean;
}

export function createTestFrames(bytes = 16 << 20): { frames: FrameTable; flushes: () => number } {
  let n = 0;
  const frames = new FrameTable(new Ram(bytes, 0), () => {
    n++;
  });
  return { frames, flushes: () => n };
}

export function createTestOwner(frames: FrameTable, id: number, options: Partial<TestOwner> = {}): TestOwner {
  const owner: TestOwner = {
    id,
    is32bit: false,
    isTranslated: false,
    isDying: false,
    totPages: 0,
    maxPages: 1 << 20,
    pageList: new Set<Mfn>(),
    ...options,
  };
  frames.register(owner);
  return owner;
}
