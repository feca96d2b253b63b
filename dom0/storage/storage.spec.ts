// Opening, sharing and closing of disks; raw images.
import { describe, expect, it } from 'vitest';
import { backendParams } from './backend-params.ts';
import type { BackendParams } from './block-store.ts';
import { InOrder } from './in-order.ts';
import { latencyModel } from './latency.ts';
import { RawStore } from './raw-store.ts';
import { Storage, type StorageHost } from './storage.ts';
import { MemoryFile, pattern } from './testing.ts';

const params = (over: Partial<BackendParams> = {}): BackendParams => ({
  format: 'raw',
  target: '/disk.img',
  mode: 'w',
  backendtype: 'phy',
  isCdrom: false,
  isDirectIoSafe: false,
  script: null,
  overlay: null,
  model: null,
  ...over,
});

function host(files: Record<string, Uint8Array>) {
  const open: MemoryFile[] = [];
  const it: StorageHost = {
    async openFile(name, { readonly, create }) {
      if (files[name] === undefined && create !== true) throw new Error(`${name}: no such file`);
      const file = new MemoryFile(files[name] ?? new Uint8Array(0), name, readonly);
      const { close } = file;
      file.close = async () => {
        files[name] = file.bytes;
        await close.call(file);
      };
      open.push(file);
      return file;
    },
    connect: () => Promise.reject(new Error('connection refused')),
    serveImage: () => Promise.reject(new Error('qemu-nbd is not installed')),
    wait: async () => {},
  };
  return { host: it, open };
}

const turn = () => new Promise((done) => setImmediate(done));

describe('storage', () => {
  it('opens what was prepared, and closes it when nobody holds or uses it', async () => {
    const files = { '/disk.img': pattern(8192) };
    const { host: h, open } = host(files);
    const storage = new Storage(h, { model: 'ideal' });
    expect(() => storage.open(params())).toThrow('/disk.img: nobody has prepared this disk');
    const held = await storage.prepare(params());
    const one = storage.open(params());
    expect(one.sectors).toBe(16);
    await one.write(3, pattern(512, 9));
    await one.close();
    expect(open[0]!.isClosed).toBe(false);
    // The domain was restarted: the same disk again, with what was written.
    const two = storage.open(params());
    const into = new Uint8Array(512);
    await two.read(3, into);
    expect(into).toEqual(pattern(512, 9));
    held.release();
    held.release();
    await turn();
    expect(open[0]!.isClosed).toBe(false);
    await two.close();
    expect(open[0]!.isClosed).toBe(true);
    expect(open[0]!.flushes).toBe(1);
    expect(() => storage.open(params())).toThrow('nobody has prepared');
  });

  it('closes at the end what is left, after what is in flight', async () => {
    const { host: h, open } = host({ '/disk.img': pattern(8192) });
    const storage = new Storage(h, { model: 'ideal' });
    await storage.prepare(params());
    const disk = storage.open(params());
    let go = () => {};
    const gate = new Promise<void>((done) => {
      go = done;
    });
    open[0]!.delay = () => gate;
    const write = disk.write(0, pattern(512, 3));
    const closed = storage.closeAll();
    await turn();
    expect(open[0]!.isClosed).toBe(false);
    go();
    await write;
    await closed;
    expect(open[0]!.isClosed).toBe(true);
    expect(open[0]!.log).toEqual(['write 0+512', 'flush']);
  });

  it('lets many read an image or one write it', async () => {
    const { host: h } = host({ '/disk.img': pattern(8192) });
    const storage = new Storage(h, { model: 'ideal' });
    const reader = await storage.prepare(params({ mode: 'r' }));
    await storage.prepare(params({ mode: 'r', model: 'hdd' }));
    await expect(storage.prepare(params())).rejects.toThrow('/disk.img: is in use by another disk, which reads it');
    // An overlay leaves it alone.
    await storage.prepare(params({ overlay: 'memory' }));
    reader.release();
    await storage.closeAll();
    const writer = await storage.prepare(params());
    await expect(storage.prepare(params())).rejects.toThrow('which writes it');
    await expect(storage.prepare(params({ mode: 'r' }))).rejects.toThrow('which writes it');
    await expect(storage.prepareAll([params({ target: '/none.img' })])).rejects.toThrow('/none.img: no such file');
    writer.release();
    // Closing takes a moment: the next one waits for it.
    await storage.prepare(params({ mode: 'r' }));
  });

  it('says what is wrong with a target', async () => {
    const { host: h, open } = host({ '/disk.img': pattern(8192) });
    expect(() => new Storage(h, { model: 'floppy' })).toThrow('disk model floppy: there are ideal, nvme, hdd');
    const storage = new Storage(h, { model: 'ideal' });
    const fails = (over: Partial<BackendParams>, why: string) => expect(storage.prepare(params(over))).rejects.toThrow(why);
    await fails({ target: '' }, 'without a target');
    await fails({ model: 'tape' }, '/disk.img: disk model tape');
    await fails({ script: 'block-iscsi' }, 'hotplug script block-iscsi');
    await fails({ format: 'qcow2' }, 'qemu-nbd is not installed');
    await fails({ target: 'nbd://nowhere/' }, 'nbd://nowhere/: cannot open the disk: connection refused');
    await fails({ target: 'nbds://nowhere/' }, 'TLS is not supported');
    await fails({ overlay: '/disk.img' }, 'is in use by another disk');
    expect(open.every((f) => f.isClosed)).toBe(true);
  });

  it('keeps an overlay in a file from one run to the next, or throws everything away', async () => {
    const files: Record<string, Uint8Array> = { '/disk.img': pattern(8192) };
    const { host: h } = host(files);
    const over = params({ overlay: '/top.cow' });
    const first = new Storage(h, { model: 'ideal' });
    await first.prepare(over);
    await first.open(over).write(1, pattern(512, 7));
    await first.closeAll();
    const before = files['/top.cow']!.slice();
    const second = new Storage(h, { model: 'ideal', isDiscarded: true });
    await second.prepare(over);
    const disk = second.open(over);
    const into = new Uint8Array(512);
    await disk.read(1, into);
    expect(into).toEqual(pattern(512, 7));
    await disk.write(1, pattern(512, 8));
    await disk.read(1, into);
    expect(into).toEqual(pattern(512, 8));
    await second.closeAll();
    expect(files['/top.cow']).toEqual(before);
    expect(files['/disk.img']).toEqual(pattern(8192));
  });

  it('tells every user of an image that it has grown', async () => {
    const { host: h, open } = host({ '/disk.img': pattern(8192) });
    const storage = new Storage(h, { model: 'ideal' });
    await storage.prepare(params({ mode: 'r' }));
    const sizes: number[] = [];
    for (const disk of [storage.open(params({ mode: 'r' })), storage.open(params({ mode: 'r' }))])
      disk.onResize = (n) => void sizes.push(n);
    open[0]!.bytes = pattern(16384);
    await storage.refresh('/other.img');
    expect(sizes).toEqual([]);
    await storage.refresh('/disk.img');
    expect(sizes).toEqual([32, 32]);
  });
});

describe('a raw image', () => {
  it('has operations that overlap done in their order, and others at once', async () => {
    const file = new MemoryFile(pattern(65536));
    const store = new RawStore(file, latencyModel('ideal', 128)!);
    const gates: (() => void)[] = [];
    file.delay = () => new Promise<void>((done) => void gates.push(done));
    const into = new Uint8Array(1024);
    const work = [store.write(8, pattern(1024, 2)), store.read(9, into), store.read(64, new Uint8Array(512))];
    await turn();
    // The second read has overtaken; the first waits for the write.
    expect(gates.length).toBe(2);
    gates[1]!();
    await work[2];
    gates[0]!();
    await work[0];
    await turn();
    gates[2]!();
    await work[1];
    expect(file.log).toEqual(['read 32768+512', 'write 4096+1024', 'read 4608+1024']);
    expect(into.subarray(0, 512)).toEqual(pattern(1024, 2).subarray(512));
  });

  it('overwrites what is discarded securely before it is given back', async () => {
    const file = new MemoryFile(pattern(65536));
    const store = new RawStore(file, latencyModel('ideal', 128)!);
    await store.discard(8, 16, true);
    expect(file.log).toEqual(['write 4096+8192', 'flush', 'punch 4096+8192']);
    await store.discard(0, 8, false);
    expect(file.log.at(-1)).toBe('punch 0+4096');
  });
});

describe('operations in order', () => {
  it('go on after one that failed', async () => {
    const order = new InOrder();
    const one = order.run(0, 10, true, () => turn().then(() => Promise.reject(new Error('no space'))));
    const two = order.run(5, 15, true, () => {});
    await expect(one).rejects.toThrow('no space');
    await two;
    await order.idle();
  });
});

describe('the nodes of a backend directory', () => {
  const read = (nodes: Record<string, string>) => backendParams((key) => nodes[key] ?? null);
  it('say what is behind a phy and a qdisk', () => {
    expect(read({ type: 'phy', params: '/dev/vg/a:b', mode: 'w' })).toMatchObject({ format: 'raw', target: '/dev/vg/a:b', mode: 'w' });
    expect(read({ type: 'qdisk', params: 'aio:/a.img', mode: 'r' })).toMatchObject({ format: 'raw', target: '/a.img', mode: 'r' });
    expect(read({ type: 'qdisk', params: 'qcow2:/a:b.img' })).toMatchObject({ format: 'qcow2', target: '/a:b.img' });
    expect(read({ type: 'phy', params: '', 'device-type': 'cdrom' })).toMatchObject({ format: 'empty', isCdrom: true });
    expect(read({ params: '/a', overlay: 'memory', 'latency-model': 'hdd' })).toMatchObject({ overlay: 'memory', model: 'hdd' });
  });
});
