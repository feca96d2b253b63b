// Overlays in memory and in a file, against a plain disk that does the same.
import { describe, expect, it } from 'vitest';
import { StoreError } from './block-store.ts';
import { latencyModel } from './latency.ts';
import { FileLayer } from './overlay-file.ts';
import type { OverlayLayer } from './overlay-layer.ts';
import { MemoryLayer } from './overlay-memory.ts';
import { OverlayStore } from './overlay-store.ts';
import { RawStore } from './raw-store.ts';
import { MemoryFile, pattern } from './testing.ts';

const SECTOR = 512;
/** No multiple of a cluster. */
const SECTORS = 1003;
const ideal = latencyModel('ideal', SECTORS)!;
/** expect(...).toEqual takes its time over half a megabyte. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const layers: Record<string, (file: MemoryFile) => Promise<OverlayLayer>> = {
  memory: async () => new MemoryLayer(),
  file: (file) => FileLayer.open(file, SECTORS, 'base'),
};

async function overlay(kind: string) {
  const base = new MemoryFile(pattern(SECTORS * SECTOR), 'base', true);
  const top = new MemoryFile(new Uint8Array(0), 'top');
  const store = new OverlayStore(new RawStore(base, ideal), await layers[kind]!(top), false);
  return { base, top, store };
}

describe.each(Object.keys(layers))('an overlay in %s', (kind) => {
  it('reads as a disk does after any writes and discards, and leaves the base as it was', async () => {
    const { base, store } = await overlay(kind);
    const before = base.bytes.slice();
    const model = base.bytes.slice();
    let x = 7;
    const random = (n: number) => {
      x = (Math.imul(x, 1103515245) + 12345) >>> 0;
      return Math.floor((x / 2 ** 32) * n);
    };
    for (let i = 0; i < 400; i++) {
      const sector = random(SECTORS);
      const count = 1 + random(Math.min(40, SECTORS - sector));
      const at = sector * SECTOR;
      const what = random(5);
      if (what < 2) {
        const bytes = pattern(count * SECTOR, i);
        await store.write(sector, bytes);
        model.set(bytes, at);
      } else if (what === 2) {
        await store.discard(sector, count);
        const from = Math.ceil(at / 4096) * 4096;
        const to = sector + count === SECTORS ? SECTORS * SECTOR : Math.floor((at + count * SECTOR) / 4096) * 4096;
        if (from < to) model.fill(0, from, to);
      } else {
        const into = new Uint8Array(count * SECTOR);
        await store.read(sector, into);
        expect(same(into, model.subarray(at, at + into.length)), `read ${i} of ${count} at ${sector}`).toBe(true);
      }
    }
    expect(same(base.bytes, before)).toBe(true);
    await store.close();
    expect(base.isClosed).toBe(true);
  });

  it('keeps both of two writes into one cluster that overlap in time', async () => {
    const { base, store } = await overlay(kind);
    base.delay = () => new Promise((done) => setImmediate(done));
    const [one, two] = [pattern(SECTOR, 100), pattern(SECTOR, 200)];
    await Promise.all([store.write(8, one), store.write(9, two)]);
    const into = new Uint8Array(8 * SECTOR);
    await store.read(8, into);
    expect(into).toEqual(Uint8Array.from([...one, ...two, ...base.bytes.subarray(10 * SECTOR, 16 * SECTOR)]));
  });
});

describe('an overlay file', () => {
  const open = (bytes: Uint8Array, sectors = SECTORS) => FileLayer.open(new MemoryFile(bytes, 'top'), sectors, 'base');

  it('is there again after it was closed, and after it was only flushed', async () => {
    const { base, top, store } = await overlay('file');
    const bytes = pattern(3 * SECTOR, 5);
    await store.write(21, bytes);
    await store.discard(32, 8);
    await store.flush();
    // What a process that died here leaves.
    const left = top.bytes.slice();
    await store.write(700, bytes);
    const again = new OverlayStore(new RawStore(base, ideal), await open(left), false);
    const into = new Uint8Array(SECTORS * SECTOR);
    await again.read(0, into);
    const wanted = base.bytes.slice();
    wanted.set(bytes, 21 * SECTOR);
    wanted.fill(0, 32 * SECTOR, 40 * SECTOR);
    expect(same(into, wanted)).toBe(true);
  });

  it('has its map written only after the data are on the medium', async () => {
    const { top, store } = await overlay('file');
    await store.write(0, pattern(4096));
    top.log.length = 0;
    await store.flush();
    expect(top.log).toEqual(['flush', 'write 4096+4096', 'flush']);
    top.log.length = 0;
    await store.flush();
    expect(top.log).toEqual(['flush']);
  });

  it('is refused when it is none, of another version, or of another disk', async () => {
    const { top, store } = await overlay('file');
    await store.close();
    await expect(open(pattern(8192))).rejects.toThrow(StoreError);
    const other = top.bytes.slice();
    other[16] = 2;
    await expect(open(other)).rejects.toThrow(/version 2/);
    await expect(open(top.bytes.slice(), SECTORS + 1)).rejects.toThrow('belongs to a disk of 1003 sectors, this one has 1004');
  });
});

describe('a layer in memory', () => {
  it('takes room for what is written, and gives it back', () => {
    const layer = new MemoryLayer();
    layer.write(5, 0, pattern(3 * 4096));
    layer.write(1_000_000, 0, pattern(4096));
    expect(layer.bytes).toBe(4 * 4096);
    layer.zero(5, 3);
    expect(layer.bytes).toBe(4096);
    const into = new Uint8Array(4096).fill(1);
    layer.read(6, 0, into);
    expect(into.every((b) => b === 0)).toBe(true);
    // Used again, with nothing of the old left.
    layer.write(6, 100, new Uint8Array([1]));
    layer.read(6, 0, into);
    expect(into.findIndex((b) => b !== 0)).toBe(100);
    expect(into.filter((b) => b !== 0).length).toBe(1);
  });
});
