// xenconsoled: the consoles of all domains. The first of each is found by the grant reserved for it and the port that the builder made; further
// ones are xenbus devices (backend/console/<domid>/<devid>), which QEMU serves on a real Xen (hw/char/xen_console.c).
import { type Domid, type EvtchnPort, evtchnPort, GNTTAB_RESERVED_CONSOLE, type GrantRef, grantRef } from '@ringworld/abi';
import type { EventChannels } from '../kernel/evtchn.ts';
import type { GrantTable } from '../kernel/gnttab.ts';
import type { Observer } from '../kernel/observe.ts';
import type { BackendDevice, BackendNode, XenbusBackends } from '../kernel/xenbus.ts';
import type { XsClient } from '../xenstored/index.ts';
import { type ConsoleChannel, DEFAULT_LIMIT, DomainConsole } from './domain-console.ts';
import type { ConsoleSink } from './viewers.ts';

/** What consoled uses of dom0. */
export interface ConsoledHost {
  readonly evtchn: EventChannels;
  readonly grants: GrantTable;
  readonly xs: XsClient;
  readonly backends: XenbusBackends;
  readonly observer: Observer;
}

/** Opens the log of a console: `name` is the file's name without folder, as xenconsoled forms it. Null: no log. */
export type OpenConsoleLog = (name: string) => ConsoleSink | null;

/** The number under which consoled has COM1 of an HVM domain: above those of PV consoles. */
export const SERIAL_DEVID = 0x1000;

/** A domain's name as part of a file's: what can be none is replaced. */
export const asFileName = (name: string): string => name.replaceAll(/[^\w.+-]/g, '_');

/** xenconsoled's guest-<name>.log. Further consoles have their number added. */
export const logFileName = (console: DomainConsole): string => {
  const name = asFileName(console.domainName) || `domain-${console.domid}`;
  return `guest-${name}${console.devid === 0 ? '' : console.devid === SERIAL_DEVID ? '-serial' : `-${console.devid}`}.log`;
};

export class Consoled {
  /** Told of each console that comes, once; its end() reaches the viewers that subscribed. */
  onConsole: (console: DomainConsole) => void = () => {};
  openLog: OpenConsoleLog = () => null;
  private readonly host: ConsoledHost;
  private readonly consoles = new Map<Domid, Map<number, DomainConsole>>();

  constructor(host: ConsoledHost) {
    this.host = host;
    host.backends.register('console', (node) => this.device(node));
  }

  /** Maps the first console of a domain, and binds to its port. `sink` may hold its output up; without one the domain never waits. */
  connect(dom: Domid, remotePort: EvtchnPort, sink: ConsoleSink | null): DomainConsole {
    const console = new DomainConsole(null, sink, this.options(dom, 0, `/local/domain/${dom}/console`));
    this.bind(console, dom, grantRef(GNTTAB_RESERVED_CONSOLE), remotePort);
    this.add(dom, console);
    return console;
  }

  /**
   * A console that is no ring of the domain's: its emulated serial port (devid SERIAL_DEVID), whose other end is the device model. It goes with
   * the domain's others.
   */
  attach(dom: Domid, devid: number, name: string, channel: ConsoleChannel, sink: ConsoleSink | null): DomainConsole {
    const console = new DomainConsole(channel, sink, { ...this.options(dom, devid, `/local/domain/${dom}/serial/0`), name });
    this.add(dom, console);
    return console;
  }

  /** Null where there is none. */
  console(dom: Domid, devid = 0): DomainConsole | null {
    return this.consoles.get(dom)?.get(devid) ?? null;
  }

  /** In the order of their numbers. */
  list(dom: Domid): DomainConsole[] {
    return [...(this.consoles.get(dom)?.values() ?? [])].sort((a, b) => a.devid - b.devid);
  }

  /** Takes what is left of the output, as far as the sink has room, and lets go of the domain. */
  disconnect(dom: Domid): void {
    for (const c of this.list(dom)) this.drop(dom, c);
  }

  private options(dom: Domid, devid: number, front: string) {
    const { xs } = this.host;
    const limit = Number(xs.read(`${front}/limit`) ?? DEFAULT_LIMIT);
    return {
      domid: dom,
      devid,
      domainName: xs.read(`/local/domain/${dom}/name`) ?? '',
      name: xs.read(`${front}/name`) ?? '',
      // The node of a further console is in a directory of the guest's: a guest may not ask dom0 for more than the usual.
      limit: Number.isInteger(limit) && limit > 0 ? Math.min(limit, DEFAULT_LIMIT) : DEFAULT_LIMIT,
    };
  }

  private bind(console: DomainConsole, dom: Domid, ref: GrantRef, remotePort: number): void {
    const { evtchn, grants, observer } = this.host;
    const mapping = grants.map(dom, [ref]);
    let port: EvtchnPort | null = null;
    const channel: ConsoleChannel = {
      page: mapping.page(0),
      notify: () => {
        if (port !== null) evtchn.notify(port);
      },
      copied: (bytes) => observer.count('byte_copied', bytes),
      close: () => {
        if (port !== null) evtchn.close(port);
        mapping.unmap();
      },
    };
    try {
      port = evtchn.bindInterdomain(dom, evtchnPort(remotePort), () => console.serve());
    } catch (e) {
      mapping.unmap();
      throw e;
    }
    console.connect(channel);
  }

  private add(dom: Domid, console: DomainConsole): void {
    const own = this.consoles.get(dom) ?? new Map<number, DomainConsole>();
    this.consoles.set(dom, own.set(console.devid, console));
    console.logTo(this.openLog(logFileName(console)));
    this.onConsole(console);
  }

  private drop(dom: Domid, console: DomainConsole): void {
    console.close();
    const own = this.consoles.get(dom);
    own?.delete(console.devid);
    if (own?.size === 0) this.consoles.delete(dom);
  }

  /** A further console. The nodes of the first one lie in the same place, but its frontend has no state and is never connected here. */
  private device(node: BackendNode): BackendDevice {
    if (node.devid === 0) return { connect: () => {}, disconnect: () => {}, remove: () => {} };
    const console = new DomainConsole(null, null, {
      ...this.options(node.frontend, node.devid, node.frontendPath),
      // From the backend's directory, where the guest cannot write.
      name: node.read('name') ?? '',
      socketPath: node.read('connection') === 'socket' ? node.read('path') : null,
    });
    this.add(node.frontend, console);
    return {
      connect: () => {
        this.bind(console, node.frontend, grantRef(node.frontendNumber('ring-ref')), node.frontendNumber('port'));
        // What was said before the channel was bound has no event of its own.
        console.serve();
      },
      disconnect: () => console.disconnect(),
      remove: () => this.drop(node.frontend, console),
    };
  }
}
