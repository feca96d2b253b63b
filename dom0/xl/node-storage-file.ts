// Raw images and block devices of the host, under Node. Small transfers are made at once while the host answers out of its page cache, and
// handed to Node's threads otherwise: which of the two it was, no guest can tell (kernel/host-io.ts).
//
// Measured here with Node 20, ext4, a cached file (us per operation; "awaited" is how a machine that stands waits for Node's threads):
//   4 KiB read: at once 2.7, awaited 46;  4 KiB write: at once 35, awaited 111;  64 KiB read: 6.3, 32;  1 MiB read: 128, 295.
import { spawn } from 'node:child_process';
import { close, constants, fdatasync, fstat, open, read, readSync, write, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { StoreError } from '../storage/block-store.ts';
import type { HostFile } from '../storage/host-file.ts';
import { hostCause } from './node-files.ts';

/** Transfers up to this size may be made at once: they keep everybody else waiting no longer than a thread's answer would take. */
const AT_ONCE_BYTES = 128 * 1024;
/** A transfer that took longer did not come out of the cache: the next ones go to the threads. */
const SLOW_MS = 1;
/** How many do, until it is tried again. */
const PATIENCE = 64;

const call = {
  open: promisify(open),
  close: promisify(close),
  fstat: promisify(fstat),
  fdatasync: promisify(fdatasync),
};

export interface OpenFileOptions {
  readonly readonly: boolean;
  /** Makes it where it is missing. */
  readonly create?: boolean;
  /** What it is wanted for, e.g. 'disk image'. */
  readonly role: string;
}

/** Throws StoreError. */
export async function openHostFile(name: string, options: OpenFileOptions): Promise<HostFile> {
  const { O_RDONLY, O_RDWR, O_CREAT } = constants;
  let fd: number;
  try {
    fd = await call.open(name, (options.readonly ? O_RDONLY : O_RDWR) | (options.create ? O_CREAT : 0), 0o644);
  } catch (e) {
    const wanted = options.readonly ? '' : ' for writing';
    throw new StoreError(`${name}: cannot open the ${options.role}${wanted}: ${hostCause(e)}`);
  }
  try {
    const file = new NodeFile(name, fd, options.readonly);
    await file.look();
    return file;
  } catch (e) {
    await call.close(fd);
    if (e instanceof StoreError) throw e;
    throw new StoreError(`${name}: cannot use the ${options.role}: ${hostCause(e)}`);
  }
}

class NodeFile implements HostFile {
  readonly name: string;
  readonly isReadonly: boolean;
  identity = '';
  size = 0;
  blockSize = 4096;
  sectorSize = 512;
  canPunch = false;
  private readonly fd: number;
  /** Transfers that still go to the threads because one was slow. */
  private threaded = 0;
  private punching: Promise<void> = Promise.resolve();
  private isBlockDevice = false;

  constructor(name: string, fd: number, isReadonly: boolean) {
    this.name = name;
    this.fd = fd;
    this.isReadonly = isReadonly;
  }

  /** What kind of thing it is. */
  async look(): Promise<void> {
    const stat = await call.fstat(this.fd);
    if (stat.isBlockDevice()) {
      this.isBlockDevice = true;
      this.identity = `device ${stat.rdev}`;
      this.sectorSize = Number(await this.sysfs(stat.rdev, 'queue/logical_block_size'));
    } else if (stat.isFile()) this.identity = `file ${stat.dev}:${stat.ino}`;
    else throw new StoreError(`${this.name}: is neither a file nor a block device`);
    this.blockSize = Math.max(512, stat.blksize);
    await this.refresh();
    this.canPunch = !this.isReadonly && (await this.tryPunch());
  }

  async refresh(): Promise<number> {
    const stat = await call.fstat(this.fd);
    // fstat gives no size for a device; /sys has it in units of 512 bytes whatever its sectors are.
    this.size = this.isBlockDevice ? Number(await this.sysfs(stat.rdev, 'size')) * 512 : stat.size;
    return this.size;
  }

  read(at: number, into: Uint8Array): Promise<void> | void {
    if (this.isAtOnce(into.length)) {
      const start = performance.now();
      for (let done = 0; done < into.length; ) {
        const n = this.named(() => readSync(this.fd, into, done, into.length - done, at + done));
        if (n === 0) return void into.fill(0, done);
        done += n;
      }
      this.took(start);
      return;
    }
    return new Promise((resolve, reject) => {
      const go = (done: number) =>
        read(this.fd, into, done, into.length - done, at + done, (e, n) => {
          if (e !== null) return reject(this.error(e));
          if (n === 0) into.fill(0, done);
          if (n === 0 || done + n === into.length) return resolve();
          go(done + n);
        });
      go(0);
    });
  }

  write(at: number, from: Uint8Array): Promise<void> | void {
    if (this.isAtOnce(from.length)) {
      const start = performance.now();
      for (let done = 0; done < from.length; ) done += this.named(() => writeSync(this.fd, from, done, from.length - done, at + done));
      this.took(start);
      return;
    }
    return new Promise((resolve, reject) => {
      const go = (done: number) =>
        write(this.fd, from, done, from.length - done, at + done, (e, n) => {
          if (e !== null) return reject(this.error(e));
          if (done + n === from.length) return resolve();
          go(done + n);
        });
      go(0);
    });
  }

  async flush(): Promise<void> {
    await call.fdatasync(this.fd).catch((e) => {
      throw this.error(e);
    });
  }

  /** One after the other: each is a process. */
  punch(at: number, length: number): Promise<void> {
    const run = this.punching.then(async () => {
      const complaint = await this.fallocate(at, length);
      if (complaint !== null) throw new Error(`${this.name}: ${complaint}`);
    });
    this.punching = run.catch(() => {});
    return run;
  }

  async close(): Promise<void> {
    await this.punching;
    await call.close(this.fd);
  }

  private isAtOnce(bytes: number): boolean {
    if (bytes > AT_ONCE_BYTES) return false;
    if (this.threaded === 0) return true;
    this.threaded--;
    return false;
  }
  private took(start: number): void {
    if (performance.now() - start > SLOW_MS) this.threaded = PATIENCE;
  }

  /**
   * Node has no fallocate(2); util-linux's program, which every Debian has, calls it for us on our own descriptor. What it punches reads as
   * zeros, and its whole blocks are free again. Returns its complaint.
   */
  private fallocate(at: number, length: number): Promise<string | null> {
    return new Promise((resolve) => {
      const args = ['--punch-hole', '--offset', String(at), '--length', String(length), '/proc/self/fd/3'];
      const child = spawn('fallocate', args, { stdio: ['ignore', 'ignore', 'pipe', this.fd] });
      let complaint = '';
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        complaint += text;
      });
      child.on('error', (e) => resolve(`fallocate: ${hostCause(e)}`)).on('close', (code) => resolve(code === 0 ? null : complaint.trim()));
    });
  }

  /** A hole behind the end changes nothing, and is refused where holes are not known. */
  private async tryPunch(): Promise<boolean> {
    // Behind the end of a device there is nothing: its driver says whether it discards.
    if (this.isBlockDevice) {
      const stat = await call.fstat(this.fd);
      return Number(await this.sysfs(stat.rdev, 'queue/discard_max_bytes')) > 0;
    }
    const behind = Math.ceil(this.size / this.blockSize) * this.blockSize;
    return (await this.fallocate(behind, this.blockSize)) === null;
  }

  private async sysfs(rdev: number, attribute: string): Promise<string> {
    const major = ((rdev >>> 8) & 0xfff) | 0;
    const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
    const base = `/sys/dev/block/${major}:${minor}`;
    // A partition's queue is its disk's.
    const text = await readFile(`${base}/${attribute}`, 'utf8').catch(() => readFile(`${base}/../${attribute}`, 'utf8'));
    return text.trim();
  }

  private named<T>(run: () => T): T {
    try {
      return run();
    } catch (e) {
      throw this.error(e);
    }
  }
  private error(e: unknown): Error {
    return new Error(`${this.name}: ${hostCause(e)}`, { cause: e });
  }
}
