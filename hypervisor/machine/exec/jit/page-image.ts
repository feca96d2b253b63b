// A page of the code cache as plain data, to be compiled in another thread: its bytes, its blocks and its records.

import type { Lin } from '../../addresses.ts';
import type { Ram } from '../../mmu/ram.ts';
import { CHUNK, type CodePage } from '../code-cache.ts';
import type { ExecMode } from '../mode.ts';
import { REC } from '../records.ts';
import type { RegionSource } from './region.ts';

export interface PageImage {
  readonly lin: Lin;
  readonly mode: Pick<ExecMode, 'bits' | 'flat' | 'stackSize' | 'csBase'>;
  readonly bytes: Uint8Array;
  /** Page offset and record of each block, by turns. */
  readonly blocks: Int32Array;
  readonly straddles: readonly number[];
  /** Where the page's chunks of records lie, and what is in them. */
  readonly chunks: readonly number[];
  readonly records: Uint8Array;
}

export function imageOf(ram: Ram, page: CodePage): PageImage {
  const blocks = new Int32Array(page.blocks.size * 2);
  let n = 0;
  for (const [offset, rec] of page.blocks) {
    blocks[n++] = offset;
    blocks[n++] = rec;
  }
  const records = new Uint8Array(page.chunks.length * CHUNK);
  page.chunks.forEach((at, i) => {
    records.set(ram.u8.subarray(at, at + CHUNK), i * CHUNK);
  });
  const at = ram.base + page.frame * 4096;
  const { bits, flat, stackSize, csBase } = page.mode;
  return {
    lin: page.lin,
    mode: { bits, flat, stackSize, csBase },
    bytes: ram.u8.slice(at, at + 4096),
    blocks,
    straddles: [...page.straddles.keys()],
    chunks: [...page.chunks],
    records,
  };
}

/** The image as a page again. */
export class ImagePage implements RegionSource {
  readonly lin: Lin;
  readonly mode: RegionSource['mode'];
  readonly blocks = new Map<number, number>();
  readonly straddles: ReadonlySet<number>;
  readonly bytes: Uint8Array;
  readonly at = 0;
  private readonly view: DataView;
  private readonly chunkAt = new Map<number, number>();
  private readonly ends: Uint8Array;

  constructor(image: PageImage, ends: Uint8Array, has: (feature: string) => boolean) {
    this.lin = image.lin;
    this.mode = { ...image.mode, has };
    for (let i = 0; i < image.blocks.length; i += 2) this.blocks.set(image.blocks[i]!, image.blocks[i + 1]! >>> 0);
    this.straddles = new Set(image.straddles);
    this.bytes = image.bytes;
    this.view = new DataView(image.records.buffer, image.records.byteOffset, image.records.byteLength);
    image.chunks.forEach((at, i) => {
      this.chunkAt.set(at, i * CHUNK);
    });
    this.ends = ends;
  }

  handler(rec: number): number {
    return this.view.getUint32(this.place(rec), true);
  }
  length(rec: number): number {
    return this.view.getUint8(this.place(rec) + REC.length);
  }
  left(rec: number): number {
    return this.view.getUint8(this.place(rec) + REC.left);
  }
  endsBlock(handler: number): boolean {
    return this.ends[handler] === 1;
  }
  private place(rec: number): number {
    const chunk = rec - (rec % CHUNK);
    const at = this.chunkAt.get(chunk);
    if (at === undefined) throw new Error(`record ${rec.toString(16)} is not in the image of its page`);
    return at + (rec - chunk);
  }
}
