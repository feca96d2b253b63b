// Storage against the real things: NBD servers (Debian's qemu-nbd and nbdkit), a qcow2 image, files of the host.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BackendParams, BlockStore } from '../dom0/storage/block-store.ts';
import { Storage } from '../dom0/storage/storage.ts';
import { pattern } from '../dom0/storage/testing.ts';
import { nodeStorage } from '../dom0/xl/node-storage.ts';
import { haveApt } from './support/debian-kernel.ts';
import { debianTools, withTools } from './support/debian-tool.ts';
import { allocatedBytes } from './support/disk-image.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-storage-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const c of children) c.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});

const MIB = 2 ** 20;
const SIZE = 16 * MIB;
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const params = (over: Partial<BackendParams>): BackendParams => ({
  ...{ format: 'raw', target: '', mode: 'w', backendtype: 'phy', isCdrom: false, isDirectIoSafe: false },
  ...{ script: null, overlay: null, model: null },
  ...over,
});

async function opened(over: Partial<BackendParams>): Promise<{ disk: BlockStore; close: () => Promise<void> }> {
  const storage = new Storage(nodeStorage, { model: 'ideal' });
  await storage.prepare(params(over));
  return { disk: storage.open(params(over)), close: () => storage.closeAll() };
}

/** Many in flight, of all sizes, some of which overlap; then all of it read back. */
async function exercise(disk: BlockStore): Promise<Uint8Array> {
  const model = new Uint8Array(SIZE);
  const work: (Promise<void> | void)[] = [];
  for (let i = 0; i < 300; i++) {
    const sector = (i * 7919) % (SIZE / 512 - 256);
    const bytes = pattern(512 * (1 + ((i * 31) % 256)), i);
    work.push(disk.write(sector, bytes));
    model.set(bytes, sector * 512);
  }
  await Promise.all(work);
  await disk.flush();
  const pieces = Array.from({ length: 64 }, (_, i) => ({ i, into: new Uint8Array(SIZE / 64) }));
  await Promise.all(pieces.map(({ i, into }) => disk.read((i * SIZE) / 64 / 512, into)));
  for (const { i, into } of pieces) expect(same(into, model.subarray((i * SIZE) / 64, ((i + 1) * SIZE) / 64)), `piece ${i}`).toBe(true);
  return model;
}

async function until(what: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!what()) {
    if (performance.now() > end) throw new Error('it did not come about');
    await new Promise((done) => setTimeout(done, 20));
  }
}

describe.skipIf(!haveApt())('NBD servers of Debian (skipped where the host has no apt)', () => {
  let env: NodeJS.ProcessEnv;
  beforeAll(() => {
    env = withTools('qemu-utils', 'nbdkit');
  });
  const start = (command: string, args: string[]): ChildProcess => {
    const child = spawn(command, args, { env, stdio: 'ignore' });
    children.push(child);
    return child;
  };
  const socket = join(scratch, 'nbd');
  const image = join(scratch, 'image');
  const qemuNbd = async (...more: string[]): Promise<ChildProcess> => {
    rmSync(socket, { force: true });
    const child = start('qemu-nbd', ['-f', 'raw', '-k', socket, '-x', 'disk', '-t', '--discard=unmap', ...more, image]);
    await until(() => existsSync(socket));
    return child;
  };
  const target = `nbd+unix:///disk?socket=${socket}`;

  it('qemu-nbd: reads, writes, flushes and trims over a unix socket', async () => {
    writeFileSync(image, new Uint8Array(SIZE));
    const server = await qemuNbd();
    const { disk, close } = await opened({ target });
    expect([disk.sectors, disk.canDiscard, disk.canDiscardSecurely]).toEqual([SIZE / 512, true, true]);
    const model = await exercise(disk);
    expect(same(readFileSync(image), model)).toBe(true);
    const before = allocatedBytes(image);
    await disk.discard(0, (8 * MIB) / 512, false);
    expect(allocatedBytes(image)).toBeLessThanOrEqual(before - 8 * MIB);
    await disk.discard((8 * MIB) / 512, 2048, true);
    await close();
    expect(
      readFileSync(image)
        .subarray(0, 9 * MIB)
        .every((b) => b === 0),
    ).toBe(true);
    server.kill();
  });

  it('qemu-nbd: a server that is killed and started again is found again, with requests in flight', async () => {
    writeFileSync(image, pattern(SIZE));
    const first = await qemuNbd();
    const { disk, close } = await opened({ target });
    first.kill('SIGSTOP');
    const into = new Uint8Array(MIB);
    const reads = [disk.read(0, into), disk.read(2048, new Uint8Array(MIB))];
    first.kill('SIGKILL');
    const second = await qemuNbd();
    await Promise.all(reads);
    expect(same(into, pattern(SIZE).subarray(0, MIB))).toBe(true);
    await close();
    second.kill();
  });

  it('qemu-nbd: what may not be written is refused at once, and can be read under an overlay', async () => {
    writeFileSync(image, pattern(SIZE));
    const server = await qemuNbd('--read-only');
    await expect(opened({ target })).rejects.toThrow('the server lets nobody write this export');
    await expect(opened({ target: target.replace('disk?', 'other?') })).rejects.toThrow('export "other": the server has no such export');
    const { disk, close } = await opened({ target, overlay: 'memory' });
    await disk.write(0, pattern(512, 5));
    const into = new Uint8Array(1024);
    await disk.read(0, into);
    expect(same(into.subarray(0, 512), pattern(512, 5)) && same(into.subarray(512), pattern(1024).subarray(512))).toBe(true);
    await close();
    server.kill();
  });

  it('nbdkit: over TCP', async () => {
    const libraries = join(debianTools('nbdkit'), '../root/usr/lib');
    const installed = '/usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so';
    const unpacked = existsSync(libraries)
      ? readdirSync(libraries, { recursive: true, encoding: 'utf8' }).find((f) => f.endsWith('nbdkit-memory-plugin.so'))
      : undefined;
    const plugin = unpacked === undefined ? installed : join(libraries, unpacked);
    const port = 20000 + (process.pid % 20000);
    start('nbdkit', ['--foreground', '--ipaddr', '127.0.0.1', '--port', String(port), plugin, String(SIZE)]);
    let disk: BlockStore | null = null;
    let close = async () => {};
    for (let i = 0; disk === null; i++) {
      try {
        ({ disk, close } = await opened({ target: `nbd://127.0.0.1:${port}/` }));
      } catch (e) {
        if (i === 100) throw e;
        await new Promise((done) => setTimeout(done, 50));
      }
    }
    await exercise(disk);
    await disk.discard(0, 2048, false);
    const into = new Uint8Array(MIB);
    await disk.read(0, into);
    expect(into.every((b) => b === 0)).toBe(true);
    await close();
    // script=block-nbd, which the deprecated prefix nbd: stands for.
    const again = await opened({ target: `127.0.0.1:${port}`, script: 'block-nbd', mode: 'r' });
    expect(again.disk.sectors).toBe(SIZE / 512);
    await again.close();
  });

  it('qemu-nbd is started for qcow2, and has written the image when the disk is closed', async () => {
    const qcow = join(scratch, 'disk.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', qcow, String(SIZE)], { env });
    const path = process.env.PATH;
    await expect(opened({ target: join(scratch, 'none'), format: 'qcow2' })).rejects.toThrow(
      /none: cannot open the disk image.*: no such file/,
    );
    process.env.PATH = env.PATH;
    try {
      const { disk, close } = await opened({ target: qcow, format: 'qcow2', backendtype: 'qdisk' });
      const model = await exercise(disk);
      await close();
      execFileSync('qemu-img', ['check', '-q', qcow], { env });
      execFileSync('qemu-img', ['convert', '-O', 'raw', qcow, join(scratch, 'raw')], { env });
      expect(same(readFileSync(join(scratch, 'raw')), model)).toBe(true);
      writeFileSync(join(scratch, 'wrong'), pattern(MIB));
      await expect(opened({ target: join(scratch, 'wrong'), format: 'qcow2' })).rejects.toThrow(
        /wrong: cannot open the qcow2 image: .*not in qcow2 format/,
      );
      process.env.PATH = '/nowhere';
      await expect(opened({ target: qcow, format: 'qcow2' })).rejects.toThrow('qemu-nbd is not installed (Debian: qemu-utils)');
    } finally {
      process.env.PATH = path;
    }
  });
});

describe('files of the host', () => {
  it('raw images: everything, and holes where something was discarded', async () => {
    const image = join(scratch, 'raw.img');
    writeFileSync(image, new Uint8Array(SIZE));
    const { disk, close } = await opened({ target: image });
    const model = await exercise(disk);
    expect(disk.canDiscard).toBe(true);
    const before = allocatedBytes(image);
    await disk.discard(2048, (8 * MIB) / 512, false);
    expect(allocatedBytes(image)).toBeLessThanOrEqual(before - 8 * MIB);
    await disk.discard((12 * MIB) / 512, 3, true);
    model.fill(0, MIB, 9 * MIB).fill(0, 12 * MIB, 12 * MIB + 1536);
    await close();
    expect(same(readFileSync(image), model)).toBe(true);
  });

  it('an image that has grown says so when asked, and reads as zeros there', async () => {
    const image = join(scratch, 'grow.img');
    writeFileSync(image, pattern(MIB));
    const storage = new Storage(nodeStorage, { model: 'ideal' });
    await storage.prepare(params({ target: image }));
    const disk = storage.open(params({ target: image }));
    const sizes: number[] = [];
    disk.onResize = (n) => void sizes.push(n);
    truncateSync(image, 2 * MIB);
    await storage.refresh(image);
    expect(sizes).toEqual([4096]);
    const into = new Uint8Array(8192).fill(1);
    await disk.read(2040, into);
    expect(same(into.subarray(0, 4096), pattern(MIB).subarray(MIB - 4096)) && into.subarray(4096).every((b) => b === 0)).toBe(true);
    await storage.closeAll();
  });

  it('an overlay in a file is as sparse as what was written', async () => {
    const image = join(scratch, 'base.img');
    const overlay = join(scratch, 'top.cow');
    writeFileSync(image, pattern(SIZE));
    const { disk, close } = await opened({ target: image, overlay });
    await disk.write(20000, pattern(100 * 512, 3));
    await close();
    expect(allocatedBytes(overlay)).toBeLessThan(256 * 1024);
    expect(same(readFileSync(image), pattern(SIZE))).toBe(true);
    const again = await opened({ target: image, overlay });
    const into = new Uint8Array(100 * 512);
    await again.disk.read(20000, into);
    expect(same(into, pattern(100 * 512, 3))).toBe(true);
    await again.close();
  });

  it('what is no disk is refused by name and cause', async () => {
    await expect(opened({ target: scratch })).rejects.toThrow(`${scratch}: cannot open the disk image for writing: is a directory`);
    await expect(opened({ target: '/dev/null' })).rejects.toThrow('/dev/null: is neither a file nor a block device');
    await expect(opened({ target: 'nbd+unix:///x?socket=/nowhere' })).rejects.toThrow('cannot open the disk: no such file');
  });
});
