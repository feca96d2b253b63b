// The host's side of storage under Node: files, sockets, qemu-nbd, and the clock.
import type { StorageHost } from '../storage/storage.ts';
import { openHostFile } from './node-storage-file.ts';
import { serveImage } from './node-storage-qemu-nbd.ts';
import { connectSocket } from './node-storage-socket.ts';

export const nodeStorage: StorageHost = {
  openFile: openHostFile,
  connect: connectSocket,
  serveImage,
  wait: (ms) => new Promise((done) => setTimeout(done, ms)),
};
