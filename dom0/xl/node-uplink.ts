// The uplinks of a machine, as its run loop sees them. Their streams are read by a thread of their own: passt loses what the socket has no room
// for, and a window of TCP can be more than that, which would arrive while this thread runs guests.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { Network } from '../switch/network.ts';
import { openStream, type StreamEvents } from './node-stream.ts';
import { type StreamPeer, Uplink } from './uplink.ts';
import type { UplinkSpec } from './uplink-spec.ts';
import { UserError } from './user-error.ts';

/** What the worker is started with. */
export interface UplinkWorkerData {
  readonly port: MessagePort;
  readonly spec: UplinkSpec;
}
export type ToUplinkWorker = { readonly write: readonly Uint8Array[] } | { readonly taken: number } | { readonly close: true };
export type FromUplinkWorker =
  | { readonly opened: true }
  | { readonly failed: string }
  | { readonly arrived: Uint8Array }
  | { readonly sent: number }
  | { readonly ended: string };

export class Uplinks {
  private readonly network: Network;
  private readonly changed: () => void;
  private readonly note: (line: string) => void;
  private readonly open: Uplink[] = [];
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
    const uplink = new Uplink(this.changed, (reason) => this.note(`uplink ${spec.text} is gone: ${reason}`));
    try {
      uplink.connect(import.meta.url.endsWith('.mjs') ? await inWorker(spec, uplink) : await inThisThread(spec, uplink));
    } catch (e) {
      throw new UserError(`--uplink=${spec.text}: ${e instanceof Error ? e.message : String(e)}`);
    }
    uplink.attach(this.network.attach(spec.bridge, uplink, name));
    this.open.push(uplink);
  }

  get isLive(): boolean {
    return this.open.some((u) => u.isLive);
  }

  /** See OutsideWorld.admit. */
  admit(): void {
    for (const uplink of this.open) uplink.admit();
  }

  close(): void {
    for (const uplink of this.open.splice(0)) uplink.close();
  }
}

/** Where the command runs from its sources: the worker would need a loader of its own. Bursts of passt's may get lost then. */
async function inThisThread(spec: UplinkSpec, events: StreamEvents): Promise<StreamPeer> {
  const stream = await openStream(spec, events);
  return { write: (parts) => stream.write(parts), taken: (n) => stream.taken(n), poll: () => {}, close: () => stream.close() };
}

function inWorker(spec: UplinkSpec, events: StreamEvents): Promise<StreamPeer> {
  const { port1, port2 } = new MessageChannel();
  const workerData: UplinkWorkerData = { port: port2, spec };
  const worker = new Worker(new URL('./uplink-worker.mjs', import.meta.url), { workerData, transferList: [port2] });
  const tell = (message: ToUplinkWorker, transfer: readonly ArrayBuffer[] = []) => port1.postMessage(message, transfer);
  const peer: StreamPeer = {
    // SAFE: frames for the stream have buffers of their own (frameForStream).
    write: (parts) =>
      tell(
        { write: parts },
        parts.map((p) => p.buffer as ArrayBuffer),
      ),
    taken: (taken) => tell({ taken }),
    // Also while the event loop does not get its turn.
    poll: () => {
      for (let m = receiveMessageOnPort(port1); m !== undefined; m = receiveMessageOnPort(port1)) take(m.message);
    },
    close: () => {
      tell({ close: true });
      port1.close();
    },
  };
  let settle: { readonly up: (peer: StreamPeer) => void; readonly failed: (e: Error) => void } | null = null;
  function take(message: FromUplinkWorker): void {
    if ('arrived' in message) events.arrived(message.arrived);
    else if ('sent' in message) events.sent(message.sent);
    else if ('ended' in message) events.ended(message.ended);
    else if ('opened' in message) settle?.up(peer);
    else settle?.failed(new Error(message.failed));
  }
  port1.on('message', take);
  return new Promise((up, failed) => {
    settle = { up, failed };
    worker.once('error', (e) => {
      failed(e);
      events.ended(e.message);
    });
  });
}
