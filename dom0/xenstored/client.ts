// XenStore for dom0's own programs: the same requests through the same daemon, without a ring. Calls answer at once.
import {
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_PERMS,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
} from '@ringworld/abi';
import { byteString, type Connection, type Message } from './connection.ts';
import { XsError, type XsErrorName } from './errors.ts';
import type { Xenstored } from './xenstored.ts';

export type WatchHandler = (path: string) => void;

/** What can be done alone and within a transaction. Values are text (UTF-8 on the wire). */
export interface XsOperations {
  /** Null where there is no such node. */
  read(path: string): string | null;
  /** The same as a byte string: one character per byte. */
  readBytes(path: string): string | null;
  write(path: string, value: string): void;
  /** A byte string. */
  writeBytes(path: string, value: string): void;
  mkdir(path: string): void;
  /** No error where there is no such node. */
  rm(path: string): void;
  /** Empty where there is no such node. */
  directory(path: string): string[];
  getPerms(path: string): string[];
  /** E.g. ['n1', 'r0']: the owner first. */
  setPerms(path: string, perms: readonly string[]): void;
}

export class XsClient implements XsOperations {
  private readonly daemon: Xenstored;
  private readonly connection: Connection;
  private readonly handlers = new Map<string, WatchHandler>();
  /** Made once: closures cost more than what they do. */
  private readonly direct: XsOperations;
  private nextToken = 1;
  private nextRequest = 1;
  /** Requests under way: a handler's may come in the middle of one. Events wait until all are answered. */
  private busy = 0;
  private isDelivering = false;

  constructor(daemon: Xenstored, domid = 0) {
    this.daemon = daemon;
    this.direct = this.operations(0);
    this.connection = daemon.connect(domid, () => this.deliver());
  }

  read = (path: string): string | null => this.direct.read(path);
  readBytes = (path: string): string | null => this.direct.readBytes(path);
  write = (path: string, value: string): void => this.direct.write(path, value);
  writeBytes = (path: string, value: string): void => this.direct.writeBytes(path, value);
  mkdir = (path: string): void => this.direct.mkdir(path);
  rm = (path: string): void => this.direct.rm(path);
  directory = (path: string): string[] => this.direct.directory(path);
  getPerms = (path: string): string[] => this.direct.getPerms(path);
  setPerms = (path: string, perms: readonly string[]): void => this.direct.setPerms(path, perms);

  /** Calls `handler` once now and then at each change of the node or below. Returns what ends it. */
  watch(path: string, handler: WatchHandler): () => void {
    const token = `w${this.nextToken++}`;
    this.handlers.set(token, handler);
    this.request(XS_WATCH, 0, `${path}\0${token}\0`);
    this.deliver();
    return () => {
      if (!this.handlers.delete(token)) return;
      this.request(XS_UNWATCH, 0, `${path}\0${token}\0`);
    };
  }

  /** Repeats `body` until it could be committed. An exception ends the transaction without effect. */
  transaction<T>(body: (t: XsOperations) => T): T {
    for (;;) {
      const id = Number(this.request(XS_TRANSACTION_START, 0, '\0').slice(0, -1));
      let result: T;
      try {
        result = body(this.operations(id));
      } catch (e) {
        this.request(XS_TRANSACTION_END, id, 'F\0');
        throw e;
      }
      try {
        this.request(XS_TRANSACTION_END, id, 'T\0');
        return result;
      } catch (e) {
        if (!(e instanceof XsError) || e.code !== 'EAGAIN') throw e;
      }
    }
  }

  close(): void {
    this.daemon.disconnect(this.connection);
  }

  private operations(txId: number): XsOperations {
    const request = (type: number, payload: string) => this.request(type, txId, payload);
    const list = (payload: string) => payload.split('\0').slice(0, -1);
    return {
      read: (path) => orNull(() => fromWire(request(XS_READ, `${path}\0`))),
      readBytes: (path) => orNull(() => request(XS_READ, `${path}\0`)),
      write: (path, value) => void request(XS_WRITE, `${path}\0${toWire(value)}`),
      writeBytes: (path, value) => void request(XS_WRITE, `${path}\0${value}`),
      mkdir: (path) => void request(XS_MKDIR, `${path}\0`),
      rm: (path) => void orNull(() => request(XS_RM, `${path}\0`)),
      directory: (path) => orNull(() => list(this.wholeDirectory(path, request))) ?? [],
      getPerms: (path) => list(request(XS_GET_PERMS, `${path}\0`)),
      setPerms: (path, perms) => void request(XS_SET_PERMS, `${path}\0${perms.map((p) => `${p}\0`).join('')}`),
    };
  }

  /** Names that do not fit one message come in parts, from the start again when the node changes meanwhile (libxenstore, xs_directory()). */
  private wholeDirectory(path: string, request: (type: number, payload: string) => string): string {
    try {
      return request(XS_DIRECTORY, `${path}\0`);
    } catch (e) {
      if (!(e instanceof XsError) || e.code !== 'E2BIG') throw e;
    }
    let names = '';
    for (let generation = ''; ; ) {
      const reply = request(XS_DIRECTORY_PART, `${path}\0${names.length}\0`);
      const head = reply.indexOf('\0') + 1;
      if (generation !== '' && generation !== reply.slice(0, head)) {
        generation = '';
        names = '';
        continue;
      }
      generation = reply.slice(0, head);
      const part = reply.slice(head);
      // After the last name comes an empty one.
      const isLast = part === '\0' || part.endsWith('\0\0');
      names += isLast ? part.slice(0, -1) : part;
      if (isLast) return names;
    }
  }

  /** One request and its reply; events that come in between stay queued. */
  private request(type: number, txId: number, payload: string): string {
    const { connection, daemon } = this;
    const reqId = this.nextRequest;
    this.nextRequest = (reqId % 0xffffffff) + 1;
    this.busy++;
    let reply: Message;
    try {
      daemon.handle(connection, { type, reqId, txId, payload });
      reply = daemon.take(
        connection,
        connection.out.findIndex((m) => m.reqId === reqId && m.type !== XS_WATCH_EVENT),
      );
    } finally {
      this.busy--;
    }
    this.deliver();
    // SAFE: the daemon's error replies are names of XsErrorName, with a NUL.
    if (reply.type === XS_ERROR) throw new XsError(reply.payload.slice(0, -1) as XsErrorName);
    return reply.payload;
  }

  private deliver(): void {
    if (this.isDelivering || this.busy > 0) return;
    const { connection, daemon } = this;
    this.isDelivering = true;
    try {
      while (connection.out.length > 0) {
        const [path, token] = daemon.take(connection).payload.split('\0') as [string, string];
        this.handlers.get(token)?.(path);
      }
    } finally {
      this.isDelivering = false;
    }
  }
}

const toWire = (text: string): string => byteString(new TextEncoder().encode(text));
const fromWire = (bytes: string): string => new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));

function orNull<T>(ask: () => T): T | null {
  try {
    return ask();
  } catch (e) {
    if (e instanceof XsError && e.code === 'ENOENT') return null;
    throw e;
  }
}
