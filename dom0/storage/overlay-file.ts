// An overlay kept in a file. Each cluster has its place, the same as on the disk, so the file is as sparse as the disk is untouched, and
// what says which clusters are there is one bit each.
//
// Format, version 1, little-endian; all places are multiples of 4096:
//   0    16 bytes  'ringworld-cow\n\0\0'
//   16   u32       version, 1
//   20   u32       bytes of a cluster, 4096
//   24   u64       sectors of 512 bytes of the disk
//   32   u64       place of the map: bit n % 8 of its byte n / 8 is set when the file has cluster n
//   40   u64       place of the data: cluster n lies at 4096 * n from there
//   48   u32       bytes of the base's name, which follows in UTF-8: for people, nobody opens it
// A cluster that the guest discarded is a hole with its bit set. A bit reaches the file only after what it stands for is on the medium, so
// a file left by a process or a machine that died holds all that was flushed, and is never worse than that.
import { StoreError } from './block-store.ts';
import type { HostFile } from './host-file.ts';
import { CLUSTER, type OverlayLayer } from './overlay-layer.ts';

const MAGIC = 'ringworld-cow\n\0\0';
const VERSION = 1;
const MAP_AT = 4096;
const MAP_PAGE = 4096;
const SECTOR = 512;

const roundUp = (n: number): number => Math.ceil(n / CLUSTER) * CLUSTER;

export class FileLayer implements OverlayLayer {
  readonly name: string;
  readonly canDiscard: boolean;
  private readonly file: HostFile;
  private readonly map: Uint8Array;
  private readonly dataAt: number;
  /** Pages of the map that differ from the file's. */
  private readonly dirty = new Set<number>();
  private flushing: Promise<void> = Promise.resolve();

  private constructor(file: HostFile, map: Uint8Array, dataAt: number) {
    this.file = file;
    this.name = file.name;
    this.map = map;
    this.dataAt = dataAt;
    this.canDiscard = file.canPunch;
  }

  /** Opens an overlay, or makes one of an empty file. `base`: its name. Throws StoreError. */
  static async open(file: HostFile, sectors: number, base: string): Promise<FileLayer> {
    const clusters = Math.ceil((sectors * SECTOR) / CLUSTER);
    const map = new Uint8Array(roundUp(Math.max(1, Math.ceil(clusters / 8))));
    if (file.size === 0) {
      const dataAt = MAP_AT + map.length;
      await file.write(0, header(sectors, dataAt, base));
      // So that the last map page can be read back, and the file has its size.
      await file.write(dataAt - CLUSTER, map.subarray(0, CLUSTER));
      await file.flush();
      return new FileLayer(file, map, dataAt);
    }
    const head = new Uint8Array(MAP_AT);
    await file.read(0, head);
    const { mapAt, dataAt } = parseHeader(file.name, head, sectors);
    if (dataAt < mapAt + map.length) throw new StoreError(`${file.name}: the overlay's map and data overlap`);
    await file.read(mapAt, map);
    if (mapAt !== MAP_AT) throw new StoreError(`${file.name}: the overlay's map is not where version ${VERSION} has it`);
    return new FileLayer(file, map, dataAt);
  }

  has(cluster: number): boolean {
    return (this.map[cluster >>> 3]! & (1 << (cluster & 7))) !== 0;
  }

  read(cluster: number, skip: number, into: Uint8Array): Promise<void> | void {
    return this.file.read(this.dataAt + cluster * CLUSTER + skip, into);
  }

  write(cluster: number, skip: number, from: Uint8Array): Promise<void> | void {
    const count = Math.ceil((skip + from.length) / CLUSTER);
    const done = this.file.write(this.dataAt + cluster * CLUSTER + skip, from);
    if (done === undefined) return this.mark(cluster, count);
    return done.then(() => this.mark(cluster, count));
  }

  async zero(cluster: number, count: number): Promise<void> {
    await this.file.punch(this.dataAt + cluster * CLUSTER, count * CLUSTER);
    this.mark(cluster, count);
  }

  /** One after the other: the map pages of one must not overtake the data of the next. */
  flush(): Promise<void> {
    const run = this.flushing.then(() => this.flushNow());
    this.flushing = run.catch(() => {});
    return run;
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.file.close();
    }
  }

  private async flushNow(): Promise<void> {
    const pages = [...this.dirty];
    this.dirty.clear();
    // As they are now: bits that are set from here on stand for data that this flush may not cover.
    const copies = pages.map((p) => this.map.slice(p * MAP_PAGE, (p + 1) * MAP_PAGE));
    try {
      await this.file.flush();
      if (pages.length === 0) return;
      for (const [i, p] of pages.entries()) await this.file.write(MAP_AT + p * MAP_PAGE, copies[i]!);
      await this.file.flush();
    } catch (e) {
      for (const p of pages) this.dirty.add(p);
      throw e;
    }
  }

  private mark(cluster: number, count: number): void {
    for (let c = cluster; c < cluster + count; c++) {
      if (this.has(c)) continue;
      this.map[c >>> 3]! |= 1 << (c & 7);
      this.dirty.add(Math.floor((c >>> 3) / MAP_PAGE));
    }
  }
}

function header(sectors: number, dataAt: number, base: string): Uint8Array {
  const bytes = new Uint8Array(MAP_AT);
  const view = new DataView(bytes.buffer);
  const name = new TextEncoder().encode(base).subarray(0, MAP_AT - 52);
  bytes.set(new TextEncoder().encode(MAGIC));
  view.setUint32(16, VERSION, true);
  view.setUint32(20, CLUSTER, true);
  view.setBigUint64(24, BigInt(sectors), true);
  view.setBigUint64(32, BigInt(MAP_AT), true);
  view.setBigUint64(40, BigInt(dataAt), true);
  view.setUint32(48, name.length, true);
  bytes.set(name, 52);
  return bytes;
}

function parseHeader(name: string, bytes: Uint8Array, sectors: number): { mapAt: number; dataAt: number } {
  const view = new DataView(bytes.buffer);
  if (new TextDecoder().decode(bytes.subarray(0, 16)) !== MAGIC)
    throw new StoreError(`${name}: is no overlay: an empty or missing file becomes one`);
  const version = view.getUint32(16, true);
  if (version !== VERSION || view.getUint32(20, true) !== CLUSTER)
    throw new StoreError(`${name}: an overlay of version ${version}: only version ${VERSION} is known`);
  const has = Number(view.getBigUint64(24, true));
  if (has !== sectors) throw new StoreError(`${name}: the overlay belongs to a disk of ${has} sectors, this one has ${sectors}`);
  return { mapAt: Number(view.getBigUint64(32, true)), dataAt: Number(view.getBigUint64(40, true)) };
}
