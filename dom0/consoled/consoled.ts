// xenconsoled: for each domain, its console page against a sink for what it writes, and a queue of what was typed for it.
import { type Domid, type EvtchnPort, evtchnPort, GNTTAB_RESERVED_CONSOLE, grantRef, type PageView } from '@ringworld/abi';
import type { EventChannels } from '../kernel/evtchn.ts';
import type { GrantTable } from '../kernel/gnttab.ts';
import { putInput, takeOutput } from './console-ring.ts';

/** Where a domain's output goes. */
export interface ConsoleSink {
  /** How many bytes may be written now. While it is 0 the output waits in the ring, and so, in the end, does the guest. */
  room(): number;
  write(bytes: Uint8Array): void;
}

/** One console as its domain shares it: mapped and bound by Consoled.connect, plain memory in specs. */
export interface ConsoleChannel {
  readonly page: PageView;
  notify(): void;
  close(): void;
}

/** Plain data: input that the ring had no room for yet. */
export interface ConsoleState {
  waiting: Uint8Array;
}

export class DomainConsole {
  readonly state: ConsoleState = { waiting: new Uint8Array(0) };
  private readonly channel: ConsoleChannel;
  private readonly sink: ConsoleSink;

  constructor(channel: ConsoleChannel, sink: ConsoleSink) {
    this.channel = channel;
    this.sink = sink;
  }

  /** The domain sent an event, or the sink has room again. */
  serve(): void {
    const { page } = this.channel;
    let touched = false;
    for (let room = this.sink.room(); room > 0; room = this.sink.room()) {
      const bytes = takeOutput(page, room);
      if (bytes.length === 0) break;
      this.sink.write(bytes);
      touched = true;
    }
    if (this.fill() || touched) this.channel.notify();
  }

  /** Types bytes. What does not fit waits for the guest to read. */
  type(bytes: Uint8Array): void {
    const { state } = this;
    const waiting = new Uint8Array(state.waiting.length + bytes.length);
    waiting.set(state.waiting);
    waiting.set(bytes, state.waiting.length);
    state.waiting = waiting;
    if (this.fill()) this.channel.notify();
  }

  /** Bytes that were typed and that the guest has not taken into its ring: a source should pause while there are many. */
  get backlog(): number {
    return this.state.waiting.length;
  }

  close(): void {
    this.channel.close();
  }

  private fill(): boolean {
    const { state } = this;
    if (state.waiting.length === 0) return false;
    const count = putInput(this.channel.page, state.waiting);
    state.waiting = state.waiting.slice(count);
    return count > 0;
  }
}

/** All consoles of one dom0. */
export class Consoled {
  readonly consoles = new Map<Domid, DomainConsole>();
  private readonly evtchn: EventChannels;
  private readonly grants: GrantTable;

  constructor(evtchn: EventChannels, grants: GrantTable) {
    this.evtchn = evtchn;
    this.grants = grants;
  }

  /** Maps the console page by the grant reserved for it, and binds to the domain's port. */
  connect(dom: Domid, remotePort: EvtchnPort, sink: ConsoleSink): DomainConsole {
    const { evtchn } = this;
    const mapping = this.grants.map(dom, [grantRef(GNTTAB_RESERVED_CONSOLE)]);
    let port: EvtchnPort | null = null;
    const console = new DomainConsole(
      {
        page: mapping.page(0),
        notify: () => {
          if (port !== null) evtchn.notify(port);
        },
        close: () => {
          if (port !== null) evtchn.close(port);
          mapping.unmap();
        },
      },
      sink,
    );
    port = evtchn.bindInterdomain(dom, evtchnPort(remotePort), () => console.serve());
    this.consoles.set(dom, console);
    return console;
  }

  /** Takes what is left of the output, as far as the sink has room, and lets go of the domain. */
  disconnect(dom: Domid): void {
    const console = this.consoles.get(dom);
    if (console === undefined) return;
    console.serve();
    console.close();
    this.consoles.delete(dom);
  }
}
