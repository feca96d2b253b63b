// Image formats that QEMU knows: its `qemu-nbd` (Debian: qemu-utils) opens the image and serves it on a socket of ours alone. It ends by
// itself when the connection does, also when this process is killed.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StoreError } from '../storage/block-store.ts';
import type { ByteChannel } from '../storage/byte-channel.ts';
import { hostCause } from './node-files.ts';
import { connectSocket } from './node-storage-socket.ts';

/** How long it may take to open an image. */
const PATIENCE_MS = 10_000;
const LOOK_AGAIN_MS = 10;

/** QEMU's names of the formats of libxl (libxl__device_disk_string_of_format, libxl_dm.c). */
const DRIVERS: Readonly<Record<string, string>> = { qcow: 'qcow', qcow2: 'qcow2', vhd: 'vpc', qed: 'qed', vmdk: 'vmdk' };

export interface ServedImage {
  readonly channel: ByteChannel;
  /** Resolves when qemu-nbd has ended, and so closed the image. To be called after the channel was closed. */
  ended(): Promise<void>;
  /** What it said when it ended by itself: the socket is there before the image is opened. */
  complaint(): Promise<string>;
}

/** Throws StoreError. */
export async function serveImage(file: string, format: string, isReadonly: boolean): Promise<ServedImage> {
  const driver = DRIVERS[format];
  if (driver === undefined) throw new StoreError(`${file}: format ${format} is not supported`);
  const directory = await mkdtemp(join(tmpdir(), 'ringworld-nbd-'));
  const socket = join(directory, 'socket');
  const args = [`--format=${driver}`, `--socket=${socket}`, '--discard=unmap', ...(isReadonly ? ['--read-only'] : []), '--', file];
  // In a session of its own: Ctrl-C at the terminal is for us, who still have something to flush.
  const child = spawn('qemu-nbd', args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  child.unref();
  let complaint = '';
  let failure: string | null = null;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const closed = new Promise<void>((done) => {
    child.on('error', (e) => {
      failure = (e as NodeJS.ErrnoException).code === 'ENOENT' ? 'qemu-nbd is not installed (Debian: qemu-utils)' : hostCause(e);
      done();
    });
    child.on('close', () => {
      failure ??= complaint.trim().split('\n').at(-1) || 'qemu-nbd ended';
      done();
    });
  });
  const tidy = () => rm(directory, { recursive: true, force: true });
  try {
    const channel = await connected(socket, () => failure, closed);
    if (channel === null) throw new StoreError(`${file}: cannot open the ${format} image: ${failure ?? 'qemu-nbd does not answer'}`);
    const ended = () => closed.then(tidy);
    return { channel, ended, complaint: () => ended().then(() => failure ?? 'qemu-nbd ended') };
  } catch (e) {
    child.kill();
    await tidy();
    throw e;
  }
}

/** Null when it has ended, or answers too late. */
async function connected(socket: string, failure: () => string | null, closed: Promise<void>): Promise<ByteChannel | null> {
  const end = performance.now() + PATIENCE_MS;
  while (failure() === null && performance.now() < end) {
    const channel = await connectSocket({ socket }).catch(() => null);
    if (channel !== null) return channel;
    await Promise.race([closed, new Promise((done) => setTimeout(done, LOOK_AGAIN_MS))]);
  }
  return null;
}
