// The host's unix socket: where it lies, who may use it (its owner), and both ends of it.
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { HostClient } from './host-client.ts';
import type { HostMachine } from './host-machine.ts';
import { encodeFrame, PROTOCOL_VERSION } from './host-protocol.ts';
import { HostConnection } from './host-server.ts';
import { UserError } from './user-error.ts';
import { version } from './version.ts';

/** A terminal that takes no more than this at once loses output. */
const HIGH_WATER = 1024 * 1024;
/** sun_path of Linux, its NUL included. */
const MAX_PATH = 108;

/** --socket, RINGWORLD_SOCKET, or a place of the user's own. */
export function socketPath(option: string | null): string {
  const chosen = option ?? process.env.RINGWORLD_SOCKET ?? '';
  if (chosen !== '') return resolve(chosen);
  const runtime = process.env.XDG_RUNTIME_DIR ?? '';
  return runtime === '' ? join(tmpdir(), `ringworld-${process.getuid?.() ?? 0}`, 'host.sock') : join(runtime, 'ringworld', 'host.sock');
}

const codeOf = (e: unknown): string => (e as NodeJS.ErrnoException).code ?? String(e);

/** Connects, or says null where no host listens. */
export async function connectHost(path: string): Promise<HostClient | null> {
  const socket = createConnection(path);
  const connected = await new Promise<string | null>((done) => {
    socket.once('connect', () => done(null));
    socket.once('error', (e) => done(codeOf(e)));
  });
  if (connected === 'ENOENT' || connected === 'ECONNREFUSED' || connected === 'ENOTDIR') return null;
  if (connected === 'ENOTSOCK') throw new UserError(`${path} is no socket`);
  if (connected !== null) throw new UserError(`${path}: cannot connect to the host: ${connected}`);
  const client = new HostClient({ send: (bytes) => void socket.write(bytes), close: () => void socket.destroy() }, path);
  socket.on('data', (bytes: Buffer) => client.receive(bytes));
  socket.on('error', () => client.lost());
  socket.on('close', () => client.lost());
  await client.ready;
  return client;
}

/** Listens at `path`. Throws when another host does, or the place cannot be used. Returns what ends it. */
export async function listenAsHost(path: string, machine: HostMachine, complain: (line: string) => void): Promise<() => void> {
  if (Buffer.byteLength(path) >= MAX_PATH) throw new UserError(`${path}: too long for a socket's name (${MAX_PATH - 1} bytes at most)`);
  makeOwnDirectory(dirname(path));
  await makeWay(path);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => void sockets.delete(socket));
    serve(socket, machine, complain);
  });
  await listen(server, path);
  chmodSync(path, 0o600);
  return () => {
    // Closing takes the socket's file away; what has been answered still goes out.
    server.close();
    for (const s of sockets) s.end(() => s.destroy());
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', (e) => fail(new UserError(`${path}: cannot listen there: ${codeOf(e)}`)));
    server.listen(path, () => done());
  });
}

function serve(socket: Socket, machine: HostMachine, complain: (line: string) => void): void {
  const connection = new HostConnection(
    machine,
    {
      send: (message) => void socket.write(encodeFrame(message)),
      room: () => Math.max(0, HIGH_WATER - socket.writableLength),
      setReading: (on) => void (on ? socket.resume() : socket.pause()),
      close: () => void socket.end(),
    },
    complain,
  );
  socket.on('data', (bytes: Buffer) => connection.receive(bytes));
  socket.on('error', () => connection.closed());
  socket.on('close', () => connection.closed());
  socket.write(encodeFrame({ hello: PROTOCOL_VERSION, pid: process.pid, version: version() }));
}

/** A directory that is missing is made for its owner alone; in a shared place (/tmp) it must be the user's. */
function makeOwnDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { uid, mode } = lstatSync(directory);
    const isShared = (mode & 0o1000) !== 0;
    if (!isShared && (mode & 0o022) !== 0 && uid !== process.getuid?.()) throw new UserError(`${directory} belongs to somebody else`);
  } catch (e) {
    if (e instanceof UserError) throw e;
    throw new UserError(`${directory}: cannot be made: ${codeOf(e)}`);
  }
}

/** Takes a dead host's socket away; refuses where a live one listens. */
async function makeWay(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw new UserError(`${path} exists and is no socket`);
  const other = await connectHost(path);
  if (other === null) {
    unlinkSync(path);
    return;
  }
  const { pid } = other;
  other.close();
  throw new UserError(`a host is running already: process ${pid}, at ${path}`);
}
