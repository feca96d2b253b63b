// For specs of back ends: a node of xenbus, a frontend's pages, event channels and host I/O without a hypervisor. Time passes when told.
import { type Domid, domid, type EvtchnPort, evtchnPort, type Gfn, type GrantRef, gfn, type PageView } from '@ringworld/abi';
import { GrantError, type GrantMapping } from '../../kernel/gnttab.ts';
import type { HostResult } from '../../kernel/host-io.ts';
import { HypercallError } from '../../kernel/hypercall.ts';
import { Observer } from '../../kernel/observe.ts';
import type { ForeignMapping } from '../../kernel/privcmd.ts';
import { type BackendNode, XenbusError } from '../../kernel/xenbus.ts';
import { memoryPage } from '../../xenstored/testing/ring.ts';

export class FakeNode implements BackendNode {
  readonly frontend: Domid = domid(7);
  readonly devid = 0;
  readonly path = 'back';
  readonly frontendPath = 'front';
  readonly type: string;
  readonly name: string;
  readonly back: Record<string, string>;
  readonly front: Record<string, string>;
  failure: string | null = null;
  /** What the device does when it is shut: XenbusBackends disconnects it. */
  onFatal: () => void = () => {};

  constructor(type: string, back: Record<string, string>, front: Record<string, string>) {
    this.type = type;
    this.name = `${type}/7/0`;
    this.back = back;
    this.front = front;
  }
  read(key: string): string | null {
    return this.back[key] ?? null;
  }
  write(key: string, value: string): void {
    this.back[key] = value;
  }
  rm(key: string): void {
    delete this.back[key];
  }
  readFrontend(key: string): string | null {
    return this.front[key] ?? null;
  }
  frontendNumber(key: string): number {
    const text = this.readFrontend(key);
    if (text === null || !/^\d+$/.test(text)) throw new XenbusError(`${key}: ${text}`);
    return Number(text);
  }
  fatal(reason: string): void {
    this.failure = reason;
    this.onFatal();
  }
}

/** All a back end is given. The frontend's pages are made as they are named, by grant or by frame; `bad` ones are refused. */
export class FakeHost {
  readonly observer = new Observer();
  readonly pages = new Map<number, PageView>();
  readonly bad = new Set<number>();
  mapped = 0;
  bound = 0;
  notified = 0;
  private handlers = new Map<number, () => void>();
  private waiting: (() => void)[] = [];

  page(number: number): PageView {
    const page = this.pages.get(number) ?? memoryPage();
    this.pages.set(number, page);
    return page;
  }
  /** The frontend sends an event. */
  kick(remotePort = 0): void {
    const all = remotePort === 0 ? [...this.handlers.values()] : [this.handlers.get(remotePort)];
    for (const h of all) h?.();
  }
  /** What was started is over, and what that starts, and so on. */
  settle(): void {
    for (let first = this.waiting.shift(); first !== undefined; first = this.waiting.shift()) first();
  }
  get inFlight(): number {
    return this.waiting.length;
  }

  private map(numbers: readonly number[], refuse: (number: number) => Error) {
    const bad = numbers.find((n) => this.bad.has(n));
    if (bad !== undefined) throw refuse(bad);
    this.mapped += numbers.length;
    let live = true;
    return {
      start: gfn(0) as Gfn,
      count: numbers.length,
      page: (i: number): PageView => {
        if (!live) throw new Error('a page was touched that is not mapped any more');
        return this.page(numbers[i]!);
      },
      unmap: () => {
        if (live) this.mapped -= numbers.length;
        live = false;
      },
    };
  }
  readonly grants = {
    map: (_dom: Domid, refs: readonly GrantRef[]): GrantMapping => this.map(refs, (r) => new GrantError(`grant ${r}`, -3)),
  };
  readonly privcmd = {
    mapForeign: (_dom: Domid, frames: ArrayLike<number>): ForeignMapping => ({
      ...this.map(Array.from(frames), (f) => new HypercallError(`frame ${f}`, -22)),
      read: () => new Uint8Array(0),
      write: () => {},
    }),
  };
  readonly evtchn = {
    bindInterdomain: (_dom: Domid, port: EvtchnPort, handler: () => void): EvtchnPort => {
      if (this.bad.has(port)) throw new HypercallError(`port ${port}`, -22);
      this.handlers.set(port, handler);
      this.bound++;
      return evtchnPort(port);
    },
    notify: () => void this.notified++,
    close: (port: EvtchnPort) => {
      this.handlers.delete(port);
      this.bound--;
    },
    wallClock: () => ({ sec: 1_767_225_600, nsec: 0 }),
  };
  readonly io = {
    start: <T>(work: Promise<T> | T, _ns: number, done: (result: HostResult<T>) => void): void => {
      this.waiting.push(() => done({ value: work as T }));
    },
  };
}
