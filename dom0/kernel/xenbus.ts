// The backend's side of xenbus: finds devices that the toolstack has put under backend/<type>/<domid>/<devid>, follows both ends' states
// (xenbus.h; Linux's drivers/xen/xenbus/xenbus_probe_backend.c and the frontend_changed() of its backends) and calls the driver.
//
// A device lives from the toolstack's nodes to their removal. Its frontend may come and go meanwhile: connect() and disconnect() follow it.
import {
  type Domid,
  domid,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
  XenbusStateUnknown,
} from '@ringworld/abi';
import type { XsClient } from '../xenstored/index.ts';
import { GrantError } from './gnttab.ts';
import { HypercallError } from './hypercall.ts';
import type { DeviceName, Observer } from './observe.ts';

/** What the frontend wrote cannot be used. The device is closed and the message left in its error node. */
export class XenbusError extends Error {
  override readonly name = 'XenbusError';
}

/** One device as its driver sees it. Keys are relative to its directories. */
export interface BackendNode {
  readonly type: string;
  readonly frontend: Domid;
  readonly devid: number;
  /** 'vbd/1/51712', for traces and messages. */
  readonly name: DeviceName;
  readonly path: string;
  readonly frontendPath: string;
  read(key: string): string | null;
  write(key: string, value: string): void;
  rm(key: string): void;
  readFrontend(key: string): string | null;
  /** A number that the frontend must have written. Throws XenbusError. */
  frontendNumber(key: string): number;
  /** Closes the device because of something the frontend did while it was connected; the reason is logged in error/<path>/error. */
  fatal(reason: string): void;
}

/** A driver's instance for one device. Errors of the types XenbusError, RingError, GrantError and HypercallError that connect() throws are the frontend's fault. */
export interface BackendDevice {
  /** The frontend has published its rings (Initialised or Connected): map, bind, write what connected backends write. */
  connect(): void;
  /** The frontend has closed or is gone: stop, and let go of all its pages and channels. May be called when not connected. */
  disconnect(): void;
  /** The frontend is served until it is Closed: Closing does not end it (as Linux's blkback; netback parts at once). */
  readonly staysWhileClosing?: boolean;
  /** Answers what was taken from the rings, takes no more, then calls `done` (perhaps at once). For a restart that no frontend notices. */
  drain?(done: () => void): void;
  /** A key of the backend's own directory was written by somebody else (the toolstack). */
  changed?(key: string): void;
  /** The device is being removed for good; disconnect() came before. */
  remove(): void;
}

/** Makes the instance for a device that has just appeared: writes its features into the backend's directory. Throws XenbusError. */
export type BackendDriver = (node: BackendNode) => BackendDevice;

const ROOT = '/local/domain/0/backend';

class Node implements BackendNode {
  readonly type: string;
  readonly frontend: Domid;
  readonly devid: number;
  readonly name: string;
  readonly path: string;
  readonly frontendPath: string;
  device: BackendDevice | null = null;
  isConnected = false;
  unwatch = () => {};
  private readonly xs: XsClient;
  private readonly failed: (node: Node, reason: string) => void;

  constructor(xs: XsClient, type: string, frontend: Domid, devid: number, failed: (node: Node, reason: string) => void) {
    this.xs = xs;
    this.type = type;
    this.frontend = frontend;
    this.devid = devid;
    this.failed = failed;
    this.name = `${type}/${frontend}/${devid}`;
    this.path = `${ROOT}/${this.name}`;
    this.frontendPath = this.read('frontend') ?? `/local/domain/${frontend}/device/${type}/${devid}`;
  }

  read(key: string): string | null {
    return this.xs.read(`${this.path}/${key}`);
  }
  write(key: string, value: string): void {
    this.xs.write(`${this.path}/${key}`, value);
  }
  rm(key: string): void {
    this.xs.rm(`${this.path}/${key}`);
  }
  readFrontend(key: string): string | null {
    return this.xs.read(`${this.frontendPath}/${key}`);
  }
  frontendNumber(key: string): number {
    const text = this.readFrontend(key);
    if (text === null || !/^\d+$/.test(text))
      throw new XenbusError(`${this.frontendPath}/${key}: ${text === null ? 'missing' : `"${text}" is not a number`}`);
    return Number(text);
  }
  fatal(reason: string): void {
    this.failed(this, reason);
  }

  get state(): number {
    return Number(this.read('state') ?? XenbusStateUnknown);
  }
  setState(state: number): void {
    if (this.state !== state) this.write('state', String(state));
  }
  get frontendState(): number {
    return Number(this.readFrontend('state') ?? XenbusStateUnknown);
  }
}

export class XenbusBackends {
  private readonly xs: XsClient;
  private readonly observer: Observer;
  private readonly nodes = new Map<string, Node>();
  private readonly drivers = new Map<string, BackendDriver>();
  /** Devices of domains that are being destroyed, until their directories are gone too: what is still written there makes none of them new. */
  private readonly leaving = new Set<string>();

  constructor(xs: XsClient, observer: Observer) {
    this.xs = xs;
    this.observer = observer;
  }

  /** Serves devices of a type from now on, those that are there already too. */
  register(type: string, driver: BackendDriver): void {
    this.drivers.set(type, driver);
    this.xs.watch(`${ROOT}/${type}`, (path) => this.backendChanged(type, path));
  }

  /**
   * Replaces a type's driver. Where the old one can drain its rings, the new one goes on with them and frontends notice nothing. Otherwise
   * it is as if the driver had been unloaded: devices are Closed, and come up again when their frontends do.
   */
  restart(type: string, driver: BackendDriver): void {
    this.drivers.set(type, driver);
    for (const node of [...this.nodes.values()].filter((n) => n.type === type)) {
      const old = node.device;
      if (old?.drain !== undefined && node.isConnected) {
        old.drain(() => {
          if (this.nodes.get(node.name) !== node || node.device !== old || !node.isConnected) return;
          this.unload(node);
          this.connect(node);
        });
        continue;
      }
      this.unload(node);
      node.setState(XenbusStateClosed);
      this.follow(node);
    }
  }

  /** Lets go of everything of a domain that is about to be destroyed. Its devices' directories are to be removed afterwards. */
  removeDomain(frontend: Domid): void {
    for (const node of [...this.nodes.values()]) {
      if (node.frontend !== frontend) continue;
      this.leaving.add(node.name);
      this.forget(node);
    }
  }

  private backendChanged(type: string, path: string): void {
    const [domText, devText, ...rest] = path.slice(ROOT.length + type.length + 2).split('/');
    if (!domText) {
      // The watch itself, or the whole type went: look at what there is.
      for (const d of this.xs.directory(`${ROOT}/${type}`))
        for (const v of this.xs.directory(`${ROOT}/${type}/${d}`)) this.found(type, d, v);
      this.forgetMissing(type);
      return;
    }
    if (!devText) {
      for (const v of this.xs.directory(`${ROOT}/${type}/${domText}`)) this.found(type, domText, v);
      this.forgetMissing(type);
      return;
    }
    this.found(type, domText, devText);
    const node = this.nodes.get(`${type}/${domText}/${devText}`);
    if (node === undefined) return;
    if (node.read('state') === null) this.forget(node);
    else if (rest[0] === 'online' || rest[0] === 'state') this.follow(node);
    else if (rest.length > 0) node.device?.changed?.(rest.join('/'));
  }

  private found(type: string, domText: string, devText: string): void {
    const name = `${type}/${domText}/${devText}`;
    const isThere = this.xs.read(`${ROOT}/${name}/state`) !== null;
    if (!isThere) this.leaving.delete(name);
    if (!isThere || this.leaving.has(name) || this.nodes.has(name) || this.xs.read(`${ROOT}/${name}/frontend-id`) === null) return;
    const node = new Node(this.xs, type, domid(Number(domText)), Number(devText), (n, reason) => this.fail(n, reason));
    this.nodes.set(name, node);
    node.unwatch = this.xs.watch(`${node.frontendPath}/state`, () => {
      const { frontendState } = node;
      this.observer.sink?.({ kind: 'state', device: node.name, end: 'front', state: frontendState });
      this.follow(node);
    });
  }

  private forgetMissing(type: string): void {
    for (const node of [...this.nodes.values()]) if (node.type === type && node.read('state') === null) this.forget(node);
    for (const name of this.leaving) if (this.xs.read(`${ROOT}/${name}/state`) === null) this.leaving.delete(name);
  }

  // TOUR block 20: Both ends follow each other's state by watches. A frontend that has published its rings says Initialised; the backend maps
  // them, binds the event channel, and both are Connected.
  /** The device's next step, by the frontend's state. */
  private follow(node: Node): void {
    if (this.nodes.get(node.name) !== node) return;
    // Both directories went at once, and the frontend's is heard of first: nothing may be written where the backend's was.
    if (node.read('state') === null) {
      this.forget(node);
      return;
    }
    const state = node.frontendState;
    const isOffline = node.read('online') === '0';
    switch (state) {
      case XenbusStateInitialising:
        if (isOffline) break;
        // A frontend that starts again (a new kernel, or after a save) finds a backend that is closed or still connected to the old one.
        if (node.state === XenbusStateClosed || node.state === XenbusStateConnected) this.disconnect(node);
        if (this.probe(node)) this.enter(node, XenbusStateInitWait);
        break;
      case XenbusStateInitialised:
      case XenbusStateConnected:
        if (node.isConnected || node.state === XenbusStateClosing || node.state === XenbusStateClosed) break;
        this.connect(node);
        break;
      case XenbusStateClosing:
        if (node.device?.staysWhileClosing !== true) this.disconnect(node);
        this.enter(node, XenbusStateClosing);
        break;
      case XenbusStateClosed:
      case XenbusStateUnknown:
        this.disconnect(node);
        if (node.state !== XenbusStateInitialising || isOffline) this.enter(node, XenbusStateClosed);
        break;
    }
  }

  private probe(node: Node): boolean {
    if (node.device !== null) return true;
    const driver = this.drivers.get(node.type);
    if (driver === undefined) return false;
    try {
      node.device = driver(node);
      return true;
    } catch (e) {
      this.excuse(node, e);
      return false;
    }
  }

  private connect(node: Node): void {
    if (!this.probe(node)) return;
    try {
      node.device!.connect();
      node.isConnected = true;
      this.enter(node, XenbusStateConnected);
    } catch (e) {
      this.excuse(node, e);
    }
  }

  private disconnect(node: Node): void {
    node.isConnected = false;
    node.device?.disconnect();
  }

  private unload(node: Node): void {
    this.disconnect(node);
    node.device?.remove();
    node.device = null;
  }

  private forget(node: Node): void {
    if (!this.nodes.delete(node.name)) return;
    node.unwatch();
    this.disconnect(node);
    node.device?.remove();
  }

  private enter(node: Node, state: number): void {
    if (node.state === state) return;
    this.observer.sink?.({ kind: 'state', device: node.name, end: 'back', state });
    node.setState(state);
  }

  /** What a frontend can bring about closes its device; anything else is ours, and thrown on. */
  private excuse(node: Node, e: unknown): void {
    const isTheirs =
      e instanceof XenbusError || e instanceof GrantError || e instanceof HypercallError || (e instanceof Error && e.name === 'RingError');
    if (!isTheirs) throw e;
    this.fail(node, e.message);
  }

  /** xenbus_dev_fatal. */
  private fail(node: Node, reason: string): void {
    this.xs.write(`/local/domain/0/error/${node.path.slice('/local/domain/0/'.length)}/error`, reason);
    this.disconnect(node);
    this.enter(node, XenbusStateClosing);
  }
}
