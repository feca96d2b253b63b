// Uplinks under Node: passt as a child of ours, or a socket. Sets of them, as the run loop sees the outside world.
import { type ChildProcess, spawn } from 'node:child_process';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Network } from '../switch/network.ts';
import { type StreamPeer, Uplink } from './uplink.ts';
import type { UplinkSpec } from './uplink-spec.ts';
import { UserError } from './user-error.ts';

/** Of what passt says while it runs. */
const MAX_SAID = 4096;
/** A child that cannot do its work ends at once; one that has lived so long is taken to work. */
const PASST_START_MS = 300;

export class Uplinks {
  private readonly network: Network;
  private readonly changed: () => void;
  private readonly note: (line: string) => void;
  private readonly open: { readonly uplink: Uplink; readonly close: () => void }[] = [];
  private count = 0;

  /** `changed`: something has come in and waits for admit(). `note` gets a line about one that is lost. */
  constructor(network: Network, changed: () => void, note: (line: string) => void) {
    this.network = network;
    this.changed = changed;
    this.note = note;
  }

  /** Opens one. Throws UserError when the other end is not there. */
  async add(spec: UplinkSpec): Promise<void> {
    const name = `uplink${this.count++}`;
    const uplink = new Uplink(name, this.changed, (reason) => this.note(`uplink ${spec.text} is gone: ${reason}`));
    const close = await openPeer(uplink, spec);
    uplink.attach(this.network.attach(spec.bridge, uplink, name));
    this.open.push({ uplink, close });
  }

  get isLive(): boolean {
    return this.open.some((o) => o.uplink.isLive);
  }

  /** See OutsideWorld.admit. */
  admit(): void {
    for (const { uplink } of this.open) uplink.admit();
  }

  close(): void {
    for (const { uplink, close } of this.open.splice(0)) {
      uplink.close();
      close();
    }
  }
}

/** Returns what lets go of it. */
async function openPeer(uplink: Uplink, spec: UplinkSpec): Promise<() => void> {
  switch (spec.kind) {
    case 'passt':
      return startPasst(uplink, spec.args);
    case 'unix':
      return openSocket(uplink, spec, { path: spec.path });
    case 'tcp':
      return openSocket(uplink, spec, { host: spec.host, port: spec.port });
  }
}

type Address = { readonly path: string } | { readonly host: string; readonly port: number };

function openSocket(uplink: Uplink, spec: UplinkSpec & { readonly isServer: boolean }, address: Address): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const fail = (e: Error) => reject(new UserError(`--uplink=${spec.text}: ${e.message}`));
    if (spec.isServer) {
      const server: Server = createServer((socket) => {
        // One wire has two ends.
        server.close();
        serve(uplink, socket);
      });
      server.once('error', fail).listen(address, () => resolve(() => void server.close()));
      return;
    }
    const socket = connect(address);
    socket.once('error', fail).once('connect', () => {
      socket.off('error', fail);
      serve(uplink, socket);
      resolve(() => {});
    });
  });
}

function serve(uplink: Uplink, socket: Socket): void {
  let error: string | null = null;
  // Only TCP sockets know it.
  socket.setNoDelay(true);
  socket
    .on('data', (bytes: Buffer) => uplink.arrived(bytes))
    .on('error', (e) => {
      error = e.message;
    })
    .on('close', () => uplink.ended(error ?? 'the other end has closed the connection'));
  uplink.connect(peerOf(socket));
}

const peerOf = (socket: Socket): StreamPeer => ({
  write: (bytes) => void socket.write(bytes),
  get backlog() {
    return socket.writableLength;
  },
  cork: () => socket.cork(),
  uncork: () => socket.uncork(),
  pause: () => void socket.pause(),
  resume: () => void socket.resume(),
  close: () => void socket.destroy(),
});

/**
 * passt gets one end of a socket pair (--fd), so there is no path to find or to leave behind, and it ends with us. As root it becomes nobody
 * by itself; --foreground, or it would go on without a parent.
 */
function startPasst(uplink: Uplink, args: readonly string[]): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn('passt', ['--foreground', '--quiet', '--stderr', '--fd', '3', ...args], {
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
      const lines = said.split('\n').filter((l) => l.trim() !== '' && !l.startsWith('Failed to send'));
      // At a mistake in its arguments it explains itself at length, and the mistake comes first.
      return lines.at(isUp ? -1 : 0)?.trim() ?? 'it said nothing';
    };
    const ended = (why: string): void => {
      if (isUp) uplink.ended(why);
      else reject(new UserError(`--uplink=passt: ${why}`));
    };
    child.once('error', (e: NodeJS.ErrnoException) => {
      const why = e.code === 'ENOENT' ? 'there is no passt in PATH; Debian has it in its package passt' : e.message;
      ended(why);
    });
    // 'close', not 'exit': what it said last has been read then.
    child.once('close', (code, signal) => ended(`passt ended (${signal ?? `exit code ${code}`}): ${lastWords()}`));
    socket.on('data', (bytes: Buffer) => uplink.arrived(bytes)).on('error', () => {});
    uplink.connect(peerOf(socket));
    setTimeout(() => {
      isUp = true;
      resolve(() => void child.kill());
    }, PASST_START_MS).unref();
  });
}
