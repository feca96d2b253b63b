// A command's side of the connection to the host.
import type { CallName, HostCalls } from './host-calls.ts';
import { encodeFrame, FrameReader, type HostMessage, hostMessage, PROTOCOL_VERSION, ProtocolError } from './host-protocol.ts';
import { UserError, XlError } from './user-error.ts';

/** The socket, as the client sees it. */
export interface ClientWire {
  send(bytes: Uint8Array): void;
  close(): void;
}

/** A call that has been made and is not over. */
export interface OpenCall<R> {
  readonly reply: Promise<R>;
  input(bytes: Uint8Array): void;
  cancel(): void;
}

interface Waiting {
  readonly done: (value: never) => void;
  readonly fail: (e: Error) => void;
  readonly event: (value: unknown) => void;
}

export class HostClient {
  /** Of the host's process. */
  pid = 0;
  private readonly wire: ClientWire;
  private readonly where: string;
  private readonly reader = new FrameReader();
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private failure: Error | null = null;
  private greeted: (e: Error | null) => void = () => {};
  /** Resolves when the host has said hello in our version; rejects otherwise. */
  readonly ready: Promise<void>;

  /** `where`: the socket's path, for messages. */
  constructor(wire: ClientWire, where: string) {
    this.wire = wire;
    this.where = where;
    this.ready = new Promise((done, fail) => {
      this.greeted = (e) => (e === null ? done() : fail(e));
    });
    this.ready.catch(() => {});
  }

  receive(bytes: Uint8Array): void {
    try {
      for (const value of this.reader.push(bytes)) this.message(hostMessage(value));
    } catch (e) {
      if (!(e instanceof ProtocolError)) throw e;
      this.lost(`${this.where} is no host's socket: it sent ${e.message}`);
    }
  }

  /** The connection has ended. */
  lost(reason = `the host at ${this.where} has ended`): void {
    this.failure ??= new UserError(reason);
    this.greeted(this.failure);
    for (const w of this.waiting.values()) w.fail(this.failure);
    this.waiting.clear();
    this.wire.close();
  }

  call<K extends CallName>(name: K, args: HostCalls[K]['args']): Promise<HostCalls[K]['reply']> {
    return this.open(name, args, () => {}).reply;
  }

  /** For calls with events and input. */
  open<K extends CallName>(name: K, args: HostCalls[K]['args'], event: (value: unknown) => void): OpenCall<HostCalls[K]['reply']> {
    const id = this.nextId++;
    const reply = new Promise<HostCalls[K]['reply']>((done, fail) => {
      if (this.failure !== null) {
        fail(this.failure);
        return;
      }
      this.waiting.set(id, { done, fail, event });
      this.wire.send(encodeFrame({ call: name, id, args }));
    });
    return {
      reply,
      input: (bytes) => this.wire.send(encodeFrame({ input: bytes, id })),
      cancel: () => this.wire.send(encodeFrame({ cancel: true, id })),
    };
  }

  close(): void {
    this.wire.close();
  }

  private message(m: HostMessage): void {
    if ('hello' in m) {
      this.pid = m.pid;
      if (m.hello === PROTOCOL_VERSION) this.greeted(null);
      else
        this.lost(
          `the host at ${this.where} (process ${m.pid}, ringworld ${m.version}) speaks version ${m.hello} of the protocol, this command ` +
            `version ${PROTOCOL_VERSION}: start the host again`,
        );
      return;
    }
    if ('goodbye' in m) {
      this.lost(`the host at ${this.where} did not understand: ${m.goodbye}`);
      return;
    }
    const w = this.waiting.get(m.id);
    if (w === undefined) return;
    if ('event' in m) {
      w.event(m.event);
      return;
    }
    this.waiting.delete(m.id);
    // SAFE: the reply that HostCalls states for the call.
    if ('reply' in m) w.done(m.reply as never);
    else if (m.error.kind === 'xl') w.fail(new XlError(m.error.message));
    else if (m.error.kind === 'user') w.fail(new UserError(m.error.message));
    else w.fail(new UserError(`the host failed, its own output says where: ${m.error.message}`));
  }
}
