// A board for specs: virtual time that a test moves by hand, a bus that dispatches to what was attached, and lines that remember.

import type { Bus, Dma, IrqLine, MemoryDevice, PortDevice, Timeline, Timer } from './bus.ts';

interface Event {
  at: number;
  order: number;
  run: () => void;
}

export class FakeTimeline implements Timeline {
  now = 0;
  #order = 0;
  #events: Event[] = [];

  schedule(at: number, run: () => void): Timer {
    const event = { at, order: this.#order++, run };
    this.#events.push(event);
    return {
      cancel: () => {
        this.#events = this.#events.filter((e) => e !== event);
      },
    };
  }

  /** Events that wait. */
  get pending(): number {
    return this.#events.length;
  }

  /** Runs everything due up to `time`, each at its own moment, then stands at `time`. */
  runTo(time: number): void {
    for (;;) {
      const due = this.#events.filter((e) => e.at <= time).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!due) break;
      this.#events = this.#events.filter((e) => e !== due);
      this.now = Math.max(this.now, due.at);
      due.run();
    }
    this.now = Math.max(this.now, time);
  }

  pass(nanoseconds: number): void {
    this.runTo(this.now + nanoseconds);
  }
}

/** A line that keeps its level, counts rising edges, and logs when each came. */
export class FakeLine {
  level = false;
  readonly rises: number[] = [];
  readonly drive: IrqLine;

  constructor(timeline: Timeline) {
    this.drive = (level) => {
      if (level && !this.level) this.rises.push(timeline.now);
      this.level = level;
    };
  }
}

export class FakeBus implements Bus {
  readonly #ports = new Map<number, PortDevice>();
  readonly #memory: { base: number; size: number; device: MemoryDevice }[] = [];

  attachPorts(first: number, count: number, device: PortDevice): void {
    for (let port = first; port < first + count; port++) this.#ports.set(port, device);
  }
  detachPorts(first: number, count: number): void {
    for (let port = first; port < first + count; port++) this.#ports.delete(port);
  }
  attachMemory(base: number, size: number, device: MemoryDevice): void {
    this.#memory.unshift({ base, size, device });
  }
  detachMemory(base: number): void {
    const at = this.#memory.findIndex((m) => m.base === base);
    if (at >= 0) this.#memory.splice(at, 1);
  }

  in(port: number, size = 1): number {
    return this.#ports.get(port)?.in(port, size) ?? 2 ** (8 * size) - 1;
  }
  out(port: number, value: number, size = 1): void {
    this.#ports.get(port)?.out(port, size, value);
  }
  read(address: number, size = 4): number {
    const m = this.#memory.find((r) => address >= r.base && address < r.base + r.size);
    return m ? m.device.read(address - m.base, size) : 2 ** (8 * size) - 1;
  }
  write(address: number, value: number, size = 4): void {
    const m = this.#memory.find((r) => address >= r.base && address < r.base + r.size);
    m?.device.write(address - m.base, size, value);
  }
}

export class FakeRam implements Dma {
  readonly bytes: Uint8Array;
  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }
  read(address: number, length: number): Uint8Array {
    return this.bytes.slice(address, address + length);
  }
  write(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, address);
  }
}
