// Sockets of the host under Node, as channels of bytes for the NBD client.
import { connect } from 'node:net';
import type { ByteChannel } from '../storage/byte-channel.ts';
import type { NbdAddress } from '../storage/nbd-uri.ts';
import { hostCause } from './node-files.ts';

/** Rejects when nobody answers. */
export function connectSocket(address: NbdAddress): Promise<ByteChannel> {
  return new Promise((resolve, reject) => {
    const socket = 'socket' in address ? connect({ path: address.socket }) : connect({ host: address.host, port: address.port });
    let reason = 'the server closed the connection';
    const channel: ByteChannel = {
      onData: null,
      onEnd: null,
      write: (bytes) => void socket.write(bytes),
      close: () => {
        channel.onData = null;
        channel.onEnd = null;
        // Half a second for what is under way; the other end may be gone.
        socket.end();
        setTimeout(() => socket.destroy(), 500).unref();
      },
    };
    socket.setNoDelay(true);
    socket.once('connect', () => resolve(channel));
    socket.on('data', (bytes) => channel.onData?.(bytes));
    socket.on('end', () => socket.destroy());
    socket.on('error', (e) => {
      reason = hostCause(e);
      reject(new Error(reason));
    });
    socket.on('close', () => {
      const { onEnd } = channel;
      channel.onEnd = null;
      onEnd?.(reason);
    });
  });
}
