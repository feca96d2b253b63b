// The disks' latency models against what their data say.
import { describe, expect, it } from 'vitest';
import { LATENCY_MODELS, latencyModel } from './latency.ts';
import { HDD, HddModel } from './latency-hdd.ts';
import { NVME, NvmeModel } from './latency-nvme.ts';

const GIB_SECTORS = 2 ** 21;
const MS = 1e6;

/** A row of places that repeats. */
function* places(count: number, sectors: number): Generator<number> {
  let x = 12345;
  for (let i = 0; i < count; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    yield Math.floor((x / 2 ** 32) * (sectors - 64)) & ~7;
  }
}

describe('latency models', () => {
  it('are known by name', () => {
    expect(LATENCY_MODELS).toEqual(['ideal', 'nvme', 'hdd']);
    for (const name of LATENCY_MODELS) expect(latencyModel(name, 100)?.name).toBe(name);
    expect(latencyModel('toString', 100)).toBe(null);
  });

  it('ideal takes no time', () => {
    const ideal = latencyModel('ideal', 100)!;
    expect([ideal.read(0, 0, 4096), ideal.write(0, 0, 4096), ideal.flush(0), ideal.discard(0, 0, 4096)]).toEqual([0, 0, 0, 0]);
  });

  it('every figure says where it is from', () => {
    for (const f of [...Object.values(NVME), ...Object.values(HDD)]) expect(f.source.length).toBeGreaterThan(10);
  });
});

describe('the nvme model', () => {
  it('answers one random read after its latency, and many at its rate of operations', () => {
    const one = new NvmeModel().read(0, 800, 4096);
    expect(one).toBeCloseTo(85_000 + 1280, 0);
    const many = new NvmeModel();
    let last = 0;
    const count = 4900;
    for (const sector of places(count, GIB_SECTORS)) last = Math.max(last, many.read(0, sector, 4096));
    expect(count / (last / 1e9)).toBeGreaterThan(0.95 * 490_000);
    expect(count / (last / 1e9)).toBeLessThan(490_000);
  });

  it('streams at its rate of bytes', () => {
    const disk = new NvmeModel();
    let done = 0;
    for (let i = 0; i < 256; i++) done = Math.max(done, disk.read(0, i * 2048, 1 << 20));
    expect(2 ** 28 / (done / 1e9)).toBeGreaterThan(3.1e9);
    expect(2 ** 28 / (done / 1e9)).toBeLessThan(3.2e9);
  });
});

describe('the hdd model', () => {
  it('takes average seek and half a turn for a random read', () => {
    const disk = new HddModel(GIB_SECTORS * 1000);
    let now = 0;
    const count = 2000;
    for (const sector of places(count, GIB_SECTORS * 1000)) now += disk.read(now, sector, 4096);
    const average = now / count;
    expect(average).toBeGreaterThan((8.5 + 4.17) * MS * 0.97);
    expect(average).toBeLessThan((8.5 + 4.17) * MS * 1.06);
  });

  it('streams at the rate of the outer tracks, and of the inner ones more slowly', () => {
    const disk = new HddModel(GIB_SECTORS);
    const stream = (from: number) => {
      let now = 0;
      for (let i = 0; i < 64; i++) now += disk.read(now, from + i * 256, 131072);
      return (64 * 131072) / (now / 1e9);
    };
    expect(stream(0)).toBeGreaterThan(100e6);
    expect(stream(0)).toBeLessThan(138e6);
    expect(stream(GIB_SECTORS - 64 * 256)).toBeLessThan(71e6);
  });

  it('takes writes into its cache at once, and has a flush pay for them', () => {
    const disk = new HddModel(GIB_SECTORS);
    let now = 0;
    for (const sector of places(100, GIB_SECTORS)) now += disk.write(now, sector, 4096);
    expect(now).toBeLessThan(100 * 0.2 * MS);
    const flush = disk.flush(now);
    expect(flush).toBeGreaterThan(100 * 8 * MS);
    expect(flush).toBeLessThan(100 * 16 * MS);
    // With time to spare the arm has done it by itself.
    expect(disk.flush(now + 10 * flush)).toBe(HDD.commandNs.value);
  });

  it('makes a writer wait when the cache is full', () => {
    const disk = new HddModel(GIB_SECTORS);
    let now = 0;
    for (let i = 0; i < 512; i++) now += disk.write(now, i * 2048, 1 << 20);
    expect((512 * 2 ** 20 - HDD.cacheBytes.value) / (now / 1e9)).toBeLessThan(140e6);
  });
});
