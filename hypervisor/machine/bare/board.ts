// The board of a PC: CPUs with their local APICs, the interrupt controllers, the buses and virtual time. Devices are put on it in devices.ts.
//
// What a device gets: `bus` and `timeline` and `dma` (devices/bus.ts), interrupt lines from irq(), frames of memory from memoryMap, and the
// board's own wires: requestReset(), powerOff(), exit(), nmi().

import { type ApicMessage, msiMessage } from '../devices/apic-message.ts';
import type { IrqLine } from '../devices/bus.ts';
import { IOAPIC_BASE, IoApic } from '../devices/ioapic.ts';
import type { Lapic } from '../devices/lapic.ts';
import { PicPair } from '../devices/pic.ts';
import type { EngineKind } from '../exec/engine.ts';
import type { BackgroundCompiler } from '../exec/jit/background.ts';
import { Machine } from '../machine.ts';
import { ApicBus } from './apic-bus.ts';
import { BoardBus, BoardDma } from './bus.ts';
import { MemoryMap } from './memory-map.ts';
import { Processors } from './processors.ts';
import { bareProfile } from './profile.ts';
import { BoardTimeline } from './timeline.ts';
import { WAIT_NS } from './wait-states.ts';

export interface BoardOptions {
  /** The guest's RAM in bytes, a multiple of 4096 and 2 MiB at least. */
  readonly ramBytes: number;
  /** 1 to 64. */
  readonly cpus: number;
  /** CPUID profile. */
  readonly profile?: string;
  readonly engine?: EngineKind;
  /** See MachineOptions. */
  readonly background?: BackgroundCompiler;
}

/** ROMs and video memory have this much between them. */
const EXTRA_BYTES = 32 * 1024 * 1024;

/** Why run() came back. */
export type BoardEnd =
  | { readonly kind: 'limit' | 'stopped' | 'idle' | 'off' }
  | { readonly kind: 'reset'; readonly reason: string }
  | { readonly kind: 'exit'; readonly code: number };

export class Board {
  readonly machine: Machine;
  readonly bus = new BoardBus();
  readonly timeline: BoardTimeline;
  readonly dma: BoardDma;
  readonly memoryMap: MemoryMap;
  readonly pic: PicPair;
  readonly ioapic: IoApic;
  readonly apics: ApicBus;
  readonly processors: Processors;
  private readonly resets: (() => void)[] = [];
  private ending: BoardEnd | undefined;

  constructor(options: BoardOptions) {
    const { ramBytes, cpus, profile, engine, background } = options;
    this.machine = new Machine({
      ramBytes: ramBytes + EXTRA_BYTES,
      cpus,
      contexts: 0,
      profile: bareProfile(profile, cpus),
      ...(engine === undefined ? {} : { engine }),
      ...(background === undefined ? {} : { background }),
    });
    const { physical } = this.machine.engine;
    this.memoryMap = new MemoryMap(physical, ramBytes, () => {
      for (const c of this.machine.cpus) c.flushAll();
    });
    this.dma = new BoardDma(physical, (address, data) => this.apics.send(msiMessage(address, data)));
    const hz = this.machine.profile.mhz * 1e6;
    this.timeline = new BoardTimeline(
      hz,
      () => this.processors.cycle,
      (cycle) => this.processors.dueAt(cycle),
    );
    this.processors = new Processors(this.machine, this.timeline);
    this.pic = new PicPair((level) => this.apics.external(level));
    this.apics = new ApicBus(this.machine, this.timeline, this.processors, {
      acknowledge: () => this.pic.acknowledge(),
      eoi: (vector) => this.ioapic.eoi(vector),
    });
    this.ioapic = new IoApic((m: ApicMessage) => this.apics.send(m));
    this.connect();
  }

  private connect(): void {
    const { bus, machine, processors } = this;
    const wait = (ns: number): number => Math.round((ns * this.timeline.hz) / 1e9);
    const port = wait(WAIT_NS.port);
    for (const cpu of machine.cpus)
      cpu.io = {
        in(at, size) {
          const v = bus.in(at, size);
          processors.stall(port);
          return v;
        },
        out(at, size, value) {
          bus.out(at, size, value);
          processors.stall(port);
        },
      };
    const [read, write, own] = [wait(WAIT_NS.memoryRead), wait(WAIT_NS.memoryWrite), wait(WAIT_NS.localApic)];
    machine.engine.physical.outside = {
      read(at, size, cpu) {
        const v = bus.read(at, size, cpu);
        processors.stall(bus.isOwn(at, cpu) ? own : read);
        return v;
      },
      write(at, size, value, cpu) {
        bus.write(at, size, value, cpu);
        processors.stall(bus.isOwn(at, cpu) ? own : write);
      },
    };
    bus.perCpu = (at, cpu) => this.apics.answers(at, cpu);
    bus.attachMemory(IOAPIC_BASE, 4096, this.ioapic);
    bus.attachPorts(0x20, 2, this.pic.ports);
    bus.attachPorts(0xa0, 2, this.pic.ports);
    bus.attachPorts(0x4d0, 2, this.pic.ports);
  }

  /**
   * A source on interrupt line n, 0 to 23: lines below 16 go to the 8259s and the I/O APIC (line 0, the timer, to its pin 2), the others to
   * the I/O APIC alone. Sources of one line are or'ed.
   */
  irq(n: number): IrqLine {
    let mine = false;
    return (level) => {
      if (level === mine) return;
      mine = level;
      const count = (this.drivers[n] ?? 0) + (level ? 1 : -1);
      this.drivers[n] = count;
      if (level ? count !== 1 : count !== 0) return;
      if (n < 16 && n !== 2) this.pic.setLine(n, level);
      if (n !== 2) this.ioapic.setLine(n === 0 ? 2 : n, level);
    };
  }
  private readonly drivers: number[] = [];

  /** Pulses NMI of all CPUs that listen to LINT1. */
  nmi(): void {
    for (const apic of this.apics.all) {
      apic.setLint(1, true);
      apic.setLint(1, false);
    }
  }
  lapic(cpu: number): Lapic {
    return this.apics.all[cpu]!;
  }

  /** To be called at RESET, in the order of registration. */
  onReset(run: () => void): void {
    this.resets.push(run);
  }
  /** A device asks for RESET: run() ends, and whoever called it may go on with reset(). */
  requestReset(reason: string): void {
    this.end({ kind: 'reset', reason });
  }
  /** ACPI S5, or a power switch. */
  powerOff(): void {
    this.end({ kind: 'off' });
  }
  /** A debug device ends the run with an exit code. */
  exit(code: number): void {
    this.end({ kind: 'exit', code });
  }
  /** The first reason wins. */
  private end(how: BoardEnd): void {
    this.ending ??= how;
    this.processors.interrupt();
  }

  /** RESET: CPU 0 starts at the reset vector, the others wait for a start-up IPI. RAM keeps what it has. */
  reset(): void {
    this.ending = undefined;
    this.memoryMap.reset();
    this.pic.reset();
    this.ioapic.reset();
    for (const apic of this.apics.all) apic.reset();
    this.processors.reset();
    for (const run of this.resets) run();
  }

  /** While all CPUs sleep: when the next timer is due, in ns; Infinity when none is set. Undefined while one is awake. */
  get sleepsUntil(): number | undefined {
    return this.processors.isAsleep ? this.timeline.toNs(this.timeline.next) : undefined;
  }

  /** Runs until something ends it; `untilNs` is virtual time, `untilCycle` the same in cycles. 'idle': all CPUs sleep and no timer is set. */
  run(options: { untilNs?: number; untilCycle?: number; stop?: () => boolean } = {}): BoardEnd {
    const until = options.untilNs === undefined ? (options.untilCycle ?? Number.POSITIVE_INFINITY) : this.timeline.toCycle(options.untilNs);
    for (;;) {
      if (this.ending) {
        const e = this.ending;
        this.ending = undefined;
        return e;
      }
      if (options.stop?.()) return { kind: 'stopped' };
      const how = this.processors.turn(until);
      if (how === 'shutdown') this.requestReset('triple fault');
      else if (how !== undefined) return { kind: how };
    }
  }
}
