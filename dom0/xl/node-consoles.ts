// Consoles of domains on the host, under Node: logs in files, and the sockets of channels (`channel=['connection=socket,...']`), at which this
// process listens as QEMU does on a real Xen.
import { closeSync, lstatSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Consoled, DomainConsole, OpenConsoleLog } from '../consoled/index.ts';
import { UserError } from './user-error.ts';

/** What a socket's reader may leave unread before its queue grows in the console instead. */
const HIGH_WATER = 64 * 1024;
/** Typed bytes that the guest has not taken: with more than this the socket is not read. */
const TYPE_AHEAD = 64 * 1024;
const LOOK_AGAIN_MS = 20;

/** xenconsoled's logs: appended to, and written as the output comes. */
export function consoleLogs(folder: string): OpenConsoleLog {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (e) {
    throw new UserError(`${folder}: cannot be made: ${(e as NodeJS.ErrnoException).code ?? e}`);
  }
  return (name) => {
    const file = join(folder, name);
    const complain = (e: unknown) => void process.stderr.write(`ringworld: ${file}: ${(e as NodeJS.ErrnoException).code ?? e}\n`);
    let fd: number | null = null;
    try {
      fd = openSync(file, 'a');
    } catch (e) {
      complain(e);
      return null;
    }
    return {
      room: () => Number.POSITIVE_INFINITY,
      // At once: the end of the process, however it comes, leaves what was said before.
      write: (bytes) => {
        if (fd === null) return;
        try {
          writeSync(fd, bytes);
        } catch (e) {
          complain(e);
          closeSync(fd);
          fd = null;
        }
      },
      end: () => {
        if (fd !== null) closeSync(fd);
        fd = null;
      },
    };
  };
}

export class ChannelSockets {
  private readonly changed: () => void;
  private readonly note: (line: string) => void;
  private readonly servers = new Set<Server>();
  private clients = 0;

  /** `changed`: something was typed. `note` gets a line about a socket that cannot be had. */
  constructor(consoled: Consoled, changed: () => void, note: (line: string) => void) {
    this.changed = changed;
    this.note = note;
    consoled.onConsole = (console) => {
      if (console.socketPath !== null) this.listen(console, console.socketPath);
    };
  }

  /** May anything be typed yet? */
  get isOpen(): boolean {
    return this.servers.size > 0;
  }

  /** Does somebody wait for answers? */
  get isInUse(): boolean {
    return this.clients > 0;
  }

  close(): void {
    for (const s of this.servers) s.close();
    this.servers.clear();
  }

  private listen(console: DomainConsole, path: string): void {
    removeStaleSocket(path);
    let isFirst = true;
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      this.clients++;
      const leave = this.serve(console, socket, isFirst);
      // What was said before anybody came is for the first who comes.
      isFirst = false;
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        this.clients--;
        leave();
        this.changed();
      });
      this.changed();
    });
    server.on('error', (e) => {
      this.servers.delete(server);
      this.note(`channel ${console.name} of ${console.domainName}: ${path}: ${e.message}`);
    });
    server.listen(path);
    // A domain that ends is no reason for this process to stay.
    server.unref();
    this.servers.add(server);
    console.onClose(() => {
      this.servers.delete(server);
      server.close();
      for (const s of sockets) s.end();
    });
  }

  private serve(console: DomainConsole, socket: Socket, replay: boolean): () => void {
    const leave = console.subscribe(
      { room: () => Math.max(0, HIGH_WATER - socket.writableLength), write: (bytes) => void socket.write(bytes) },
      { replay },
    );
    socket.on('drain', () => console.serve());
    socket.on('data', (bytes: Buffer) => {
      console.type(new Uint8Array(bytes));
      this.changed();
      if (console.backlog <= TYPE_AHEAD) return;
      socket.pause();
      const look = () => {
        if (console.backlog > TYPE_AHEAD && !socket.destroyed) setTimeout(look, LOOK_AGAIN_MS);
        else socket.resume();
      };
      setTimeout(look, LOOK_AGAIN_MS);
    });
    return leave;
  }
}

/** A socket that an earlier process has left; anything else at that place stays, and listening then fails. */
function removeStaleSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch {
    // Nothing there.
  }
}
