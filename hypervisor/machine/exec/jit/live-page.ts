// A page of the code cache as regions are made of it, where it lies.

import type { Lin } from '../../addresses.ts';
import type { Ram } from '../../mmu/ram.ts';
import type { CodePage } from '../code-cache.ts';
import type { ExecMode } from '../mode.ts';
import { REC } from '../records.ts';
import type { RegionSource } from './region.ts';

export class LivePage implements RegionSource {
  readonly lin: Lin;
  readonly mode: ExecMode;
  readonly blocks: ReadonlyMap<number, number>;
  readonly straddles: { has(offset: number): boolean };
  readonly bytes: Uint8Array;
  readonly at: number;
  private readonly ram: Ram;
  private readonly ends: Uint8Array;

  constructor(ram: Ram, ends: Uint8Array, page: CodePage) {
    this.lin = page.lin;
    this.mode = page.mode;
    this.blocks = page.blocks;
    this.straddles = page.straddles;
    this.bytes = ram.u8;
    this.at = ram.base + page.frame * 4096;
    this.ram = ram;
    this.ends = ends;
  }

  handler(rec: number): number {
    return this.ram.u32[rec >>> 2]!;
  }
  length(rec: number): number {
    return this.ram.u8[rec + REC.length]!;
  }
  left(rec: number): number {
    return this.ram.u8[rec + REC.left]!;
  }
  endsBlock(handler: number): boolean {
    return this.ends[handler] === 1;
  }
}
