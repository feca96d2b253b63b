// One client's connection to the host: its messages become calls on the machine, and the answers go back. Knows no sockets; whatever a
// client sends, the machine goes on.
import { Args } from './host-args.ts';
import { type Call, HANDLERS, type Handler } from './host-handlers.ts';
import type { HostMachine } from './host-machine.ts';
import { type CallError, type ClientMessage, clientMessage, FrameReader, type HostMessage, ProtocolError } from './host-protocol.ts';
import { isForUser } from './user-error.ts';

/** The socket, as the connection sees it. */
export interface Wire {
  send(message: HostMessage): void;
  /** How many bytes may be sent without piling up. */
  room(): number;
  /** Stops and resumes what comes in. */
  setReading(on: boolean): void;
  close(): void;
}

interface OpenCall {
  input: (bytes: Uint8Array) => void;
  cancel: () => void;
}

export class HostConnection {
  private readonly machine: HostMachine;
  private readonly wire: Wire;
  private readonly reader = new FrameReader();
  private readonly calls = new Map<number, OpenCall>();
  private readonly complain: (line: string) => void;
  private isClosed = false;
  private holds = 0;

  /** `complain` gets the faults of our own that a call ran into. */
  constructor(machine: HostMachine, wire: Wire, complain: (line: string) => void) {
    this.machine = machine;
    this.wire = wire;
    this.complain = complain;
  }

  /** Bytes from the client. */
  receive(bytes: Uint8Array): void {
    if (this.isClosed) return;
    try {
      for (const value of this.reader.push(bytes)) this.message(clientMessage(value));
    } catch (e) {
      if (!(e instanceof ProtocolError)) throw e;
      this.wire.send({ goodbye: e.message });
      this.closed();
      this.wire.close();
    }
  }

  /** The client is gone: its calls are taken back. */
  closed(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const call of [...this.calls.values()]) call.cancel();
    this.calls.clear();
  }

  private message(m: ClientMessage): void {
    if ('call' in m) {
      void this.call(m.call, m.id, m.args);
      return;
    }
    const open = this.calls.get(m.id);
    if ('input' in m) open?.input(m.input);
    else open?.cancel();
  }

  private async call(name: string, id: number, args: unknown): Promise<void> {
    if (this.calls.has(id)) {
      this.reply({ error: { kind: 'internal', message: `call ${id} is open already` }, id });
      return;
    }
    const open: OpenCall = { input: () => {}, cancel: () => {} };
    this.calls.set(id, open);
    const call: Call = {
      args: new Args(name, args),
      emit: (event) => this.reply({ event, id }),
      room: () => this.wire.room(),
      onInput: (handler) => {
        open.input = handler;
      },
      holdInput: () => this.holdInput(),
      onCancel: (handler) => {
        open.cancel = handler;
      },
    };
    try {
      // SAFE: the handlers' table says which call has which reply; here they only pass through.
      const handler = Object.hasOwn(HANDLERS, name) ? (HANDLERS as unknown as Record<string, Handler<never>>)[name] : undefined;
      if (handler === undefined) throw Object.assign(new Error(`this host knows no call "${name}"`), { name: 'UserError' });
      const reply = await handler(this.machine, call);
      this.reply({ reply, id });
    } catch (e) {
      this.reply({ error: this.errorOf(name, e), id });
    } finally {
      this.calls.delete(id);
      this.machine.poke();
    }
  }

  private errorOf(name: string, e: unknown): CallError {
    if (isForUser(e)) return { kind: e.name === 'XlError' ? 'xl' : 'user', message: e.message };
    this.complain(`${name}: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`);
    return { kind: 'internal', message: e instanceof Error ? e.message : String(e) };
  }

  private reply(message: HostMessage): void {
    if (!this.isClosed) this.wire.send(message);
  }

  private holdInput(): () => void {
    if (this.holds++ === 0) this.wire.setReading(false);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.holds === 0) this.wire.setReading(true);
    };
  }
}
