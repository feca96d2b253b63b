// The local APICs of the board and the messages between them (SDM Vol 3A, 10.6.2).

import { deliverMessage } from '../devices/apic-delivery.ts';
import type { ApicMessage } from '../devices/apic-message.ts';
import type { MemoryDevice } from '../devices/bus.ts';
import { APIC_BASE, Lapic } from '../devices/lapic.ts';
import type { Machine } from '../machine.ts';
import { STATE } from '../state.ts';
import type { Processors } from './processors.ts';
import { CRYSTAL_HZ } from './profile.ts';
import type { BoardTimeline } from './timeline.ts';

/** Timer clock: the core crystal where CPUID leaf 0x15 tells of it (SDM Vol 3A, 10.5.4), else a bus of 100 MHz. */
const BUS_HZ = 100e6;

export interface ApicBusWiring {
  /** INTA of the 8259s. */
  acknowledge(): number;
  eoi(vector: number): void;
}

export class ApicBus {
  readonly all: readonly Lapic[];

  constructor(machine: Machine, timeline: BoardTimeline, processors: Processors, wiring: ApicBusWiring) {
    const { profile, ram } = machine;
    const timerHz = profile.maxLeaf >= 0x15 ? CRYSTAL_HZ : BUS_HZ;
    this.all = machine.cpus.map(
      (cpu) =>
        new Lapic({
          id: cpu.id,
          isBsp: cpu.id === 0,
          clock: {
            get cycle() {
              return processors.cycle;
            },
            at: (cycle, run) => timeline.scheduleCycle(cycle, run),
          },
          timerRatio: Math.round(timeline.hz / timerHz),
          tscOffset: () => ram.f64[(cpu.base + STATE.tscOffset) >>> 3]!,
          hasFeature: (name) => profile.features.has(name),
          physicalBits: profile.physicalBits,
          send: (m) => this.send(m),
          broadcast: (m, except) => {
            for (const a of this.all) if (a !== except) a.accept(m);
          },
          eoi: wiring.eoi,
          acknowledgeExternal: wiring.acknowledge,
          init: () => processors.init(cpu.id),
          startup: (vector) => processors.startup(cpu.id, vector),
          wake: () => processors.wake(cpu.id),
        }),
    );
    machine.cpus.forEach((cpu, i) => {
      cpu.apic = this.all[i];
    });
  }

  /** False when nobody was addressed. */
  send(m: ApicMessage): boolean {
    return deliverMessage(this.all, m);
  }

  /** The INT output of the 8259s goes to LINT0 of every CPU. */
  external(level: boolean): void {
    for (const a of this.all) a.setLint(0, level);
  }

  /** The APIC whose registers a CPU sees at a physical address. */
  answers(at: number, cpu: number): MemoryDevice | undefined {
    if (at < APIC_BASE.address && at >= 0x10_0000) return undefined;
    const apic = this.all[cpu]!;
    return at - (at % 4096) === apic.page ? apic : undefined;
  }
}
