// Where the guest was: RIP at multiples of a number of virtual cycles, and how long the host took for the stretch before it.
import type { Machine } from '@ringworld/hypervisor';
import type { Symbols } from './symbols.ts';

export interface GuestSample {
  readonly cpu: number;
  readonly rip: number;
  /** Host time since the sample before, of any CPU. */
  readonly ms: number;
}

/**
 * Cuts runs of the CPUs at multiples of `every` cycles. Whoever calls run() calls it again while its deadline has not come, so nothing else
 * changes: cutting time into pieces must not show, in any engine.
 */
export function watchGuest(machine: Machine, every: number, samples: GuestSample[]): void {
  let last = performance.now();
  for (const cpu of machine.cpus) {
    const run = cpu.run.bind(cpu);
    cpu.run = (deadline) => {
      const next = (Math.floor(cpu.cycles / every) + 1) * every;
      if (deadline < next) return run(deadline);
      const exit = run(next);
      if (cpu.cycles >= next) {
        const now = performance.now();
        samples.push({ cpu: cpu.id, rip: cpu.rip, ms: now - last });
        last = now;
      }
      return exit;
    };
  }
}

export interface GuestLine {
  readonly name: string;
  readonly samples: number;
  /** Of all samples. */
  readonly share: number;
  /** Host time of the stretches that ended here: rough, but it shows code that is slow to emulate. */
  readonly ms: number;
}

const PAGE = 4096;
const address = (rip: number): string => `0x${BigInt.asUintN(64, BigInt(rip)).toString(16)}`;

/** By symbol; by page where there are no symbols for an address. Most frequent first. */
export function guestProfile(samples: readonly GuestSample[], symbols: Symbols | null): GuestLine[] {
  const lines = new Map<string, { samples: number; ms: number }>();
  for (const { rip, ms } of samples) {
    const name = symbols?.nameOf(rip) ?? address(Math.floor(rip / PAGE) * PAGE);
    const line = lines.get(name) ?? { samples: 0, ms: 0 };
    line.samples++;
    line.ms += ms;
    lines.set(name, line);
  }
  return [...lines]
    .map(([name, l]) => ({ name, ...l, share: l.samples / samples.length }))
    .sort((a, b) => b.samples - a.samples || (a.name < b.name ? -1 : 1));
}
