// The streams that uplinks speak QEMU's framing over, under Node: passt as a child of ours, or a socket.
import { type ChildProcess, spawn } from 'node:child_process';
import { connect, createServer, type Socket } from 'node:net';
import type { UplinkSpec } from './uplink-spec.ts';

/** Bytes that the machine has not taken, before the peer is made to wait. passt would lose what it cannot write, so there is much room. */
const MAX_UNTAKEN = 16 * 1024 * 1024;
/** A child that cannot do its work ends at once; one that has lived so long is taken to work. */
const PASST_START_MS = 300;
/** Of what passt says while it runs. */
const MAX_SAID = 4096;
/** What it says that is no reason to end: there is no system log; it was started as root, and becomes nobody. */
const REMARKS = /^(Failed to send|Don't run as root)/;

export interface StreamEvents {
  /** Of bytes that are the receiver's own. */
  arrived(bytes: Uint8Array): void;
  /** So many bytes have gone to the peer. */
  sent(count: number): void;
  /** The peer is gone; said once. */
  ended(reason: string): void;
}

export interface Stream {
  write(parts: readonly Uint8Array[]): void;
  /** So many bytes of what arrived have been dealt with. */
  taken(count: number): void;
  close(): void;
}

/** Opens what an option names. Rejects with an Error that says what is missing. */
export function openStream(spec: UplinkSpec, events: StreamEvents): Promise<Stream> {
  switch (spec.kind) {
    case 'passt':
      return startPasst(spec.args, events);
    case 'unix':
      return openSocket(spec.isServer, { path: spec.path }, events);
    case 'tcp':
      return openSocket(spec.isServer, { host: spec.host, port: spec.port }, events);
  }
}

class SocketStream implements Stream {
  private readonly socket: Socket;
  private readonly events: StreamEvents;
  private untaken = 0;

  constructor(socket: Socket, events: StreamEvents) {
    this.socket = socket;
    this.events = events;
    socket.on('data', (bytes: Buffer) => {
      this.untaken += bytes.length;
      if (this.untaken > MAX_UNTAKEN) socket.pause();
      events.arrived(bytes);
    });
  }

  write(parts: readonly Uint8Array[]): void {
    const { socket } = this;
    if (!socket.writable) return;
    socket.cork();
    for (const part of parts) socket.write(part, () => this.events.sent(part.length));
    socket.uncork();
  }
  taken(count: number): void {
    this.untaken -= count;
    if (this.untaken <= MAX_UNTAKEN && this.socket.isPaused()) this.socket.resume();
  }
  close(): void {
    this.socket.destroy();
  }
}

type Address = { readonly path: string } | { readonly host: string; readonly port: number };

function openSocket(isServer: boolean, address: Address, events: StreamEvents): Promise<Stream> {
  return new Promise((resolve, reject) => {
    if (isServer) {
      let stream: Stream | null = null;
      const server = createServer((socket) => {
        // One wire has two ends.
        server.close();
        stream = serve(socket, events);
      });
      server.once('error', reject).listen(address, () =>
        resolve({
          // Before anybody is there frames are lost, as on a cable with nothing at its end.
          write: (parts) => (stream === null ? events.sent(parts.reduce((n, p) => n + p.length, 0)) : stream.write(parts)),
          taken: (count) => stream?.taken(count),
          close: () => {
            server.close();
            stream?.close();
          },
        }),
      );
      return;
    }
    const socket = connect(address);
    socket.once('error', reject).once('connect', () => {
      socket.off('error', reject);
      resolve(serve(socket, events));
    });
  });
}

function serve(socket: Socket, events: StreamEvents): Stream {
  let error: string | null = null;
  // Does nothing to a Unix socket.
  socket.setNoDelay(true);
  socket
    .on('error', (e) => {
      error = e.message;
    })
    .on('close', () => events.ended(error ?? 'the other end has closed the connection'));
  return new SocketStream(socket, events);
}

/**
 * passt gets one end of a socket pair (--fd), so there is no path to find or to leave behind, and it ends with us. As root it becomes nobody
 * by itself; --foreground, or it would go on without a parent.
 */
function startPasst(args: readonly string[], events: StreamEvents): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn('passt', ['--foreground', '--quiet', '--fd', '3', ...args], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    });
    // SAFE: Node makes a Socket of every 'pipe'.
    const socket = child.stdio[3] as Socket;
    let said = '';
    let isUp = false;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(isUp ? -MAX_SAID : 0);
    });
    const lastWords = (): string => {
      const lines = said.split('\n').filter((l) => l.trim() !== '' && !REMARKS.test(l));
      // At a mistake in its arguments it explains itself at length, and the mistake comes first.
      return lines.at(isUp ? -1 : 0)?.trim() ?? 'it said nothing';
    };
    const ended = (why: string): void => {
      if (isUp) events.ended(why);
      else reject(new Error(why));
    };
    child.once('error', (e: NodeJS.ErrnoException) => {
      const why = e.code === 'ENOENT' ? 'there is no passt in PATH; Debian has it in its package passt' : e.message;
      ended(why);
    });
    // 'close', not 'exit': what it said last has been read then.
    child.once('close', (code, signal) => ended(`passt ended (${signal ?? `exit code ${code}`}): ${lastWords()}`));
    const stream = new SocketStream(socket, events);
    socket.on('error', () => {});
    setTimeout(() => {
      isUp = true;
      resolve({
        write: (parts) => stream.write(parts),
        taken: (count) => stream.taken(count),
        close: () => {
          stream.close();
          child.kill();
        },
      });
    }, PASST_START_MS);
  });
}
