// dom0's network: bridges by name, which come into being when something is put on them (xl's default is xenbr0), and what watches them.
import type { Observer } from '../kernel/observe.ts';
import { Bridge, type BridgePort, type Tap } from './bridge.ts';
import type { AttachPort } from './port.ts';
import { IDEAL_WIRE, type Wire, type WireTimers } from './wire.ts';

/** xl's default (libxl__device_nic_setdefault). */
export const DEFAULT_BRIDGE = 'xenbr0';

/** Sees the packets of the ports that it chooses, those that are attached later too. */
export interface Watcher {
  wants(port: BridgePort): boolean;
  readonly tap: Tap;
}

export class Network {
  private readonly timers: WireTimers;
  private readonly observer: Observer;
  private readonly bridges = new Map<string, Bridge>();
  private readonly wires = new Map<string, Wire>();
  private readonly watchers = new Set<Watcher>();

  constructor(timers: WireTimers, observer: Observer) {
    this.timers = timers;
    this.observer = observer;
  }

  /** For backends and uplinks; see AttachPort. */
  readonly attach: AttachPort = (bridge, client, name) => {
    const port = this.bridge(bridge).attach(client, name);
    this.setTaps(port);
    return port;
  };

  /** The bridge of a name, made if there is none. */
  bridge(name: string): Bridge {
    let bridge = this.bridges.get(name);
    if (bridge === undefined) {
      bridge = new Bridge(name, this.timers, this.observer, this.wires.get(name) ?? this.wires.get('*') ?? IDEAL_WIRE);
      this.bridges.set(name, bridge);
    }
    return bridge;
  }

  /** In the order of their making. */
  list(): Bridge[] {
    return [...this.bridges.values()];
  }

  /** The model of the wires of one bridge, or of all that get none of their own (`*`). */
  setWire(bridge: string, wire: Wire): void {
    this.wires.set(bridge, wire);
    for (const b of this.bridges.values()) if (b.name === bridge || (bridge === '*' && !this.wires.has(b.name))) b.setWire(wire);
  }

  /** Returns what ends it. */
  watch(watcher: Watcher): () => void {
    this.watchers.add(watcher);
    this.setAllTaps();
    return () => {
      this.watchers.delete(watcher);
      this.setAllTaps();
    };
  }

  private setAllTaps(): void {
    for (const bridge of this.bridges.values()) for (const port of bridge.ports) this.setTaps(port);
  }
  private setTaps(port: BridgePort): void {
    port.taps = [...this.watchers].filter((w) => w.wants(port)).map((w) => w.tap);
  }
}
