// Whatever dom0 does for a domain is on its account: built, run, its console served, destroyed, with the hypervisor's own count beside it.
import { CPU_PROFILES, costOf } from '@ringworld/dom0';
import { buildHello64 } from '@ringworld/guests';
import { describe, expect, it } from 'vitest';
import { demoGuest } from '../dom0/xl/demo.ts';
import { ConsoleOutput } from '../dom0/xl/output.ts';
import { Session } from '../dom0/xl/session.ts';
import { Tracing } from '../dom0/xl/tracing.ts';

describe("the account of dom0's work", () => {
  it('holds every hypercall, store message and console byte of a domain from creation to its end', async () => {
    let said = 0;
    const sink = {
      room: () => 4096,
      write: (bytes: Uint8Array) => {
        said += bytes.length;
      },
    };
    let trace: ReturnType<Tracing['start']> | null = null;
    let stored = 0;
    const session = new Session({
      guests: [demoGuest('hello64', buildHello64())],
      cpus: 1,
      deadline: performance.now() + 60_000,
      pace: () => false,
      world: { canWake: () => false, wait: async () => {} },
      outputs: [new ConsoleOutput(sink)],
      log: null,
      note: () => {},
      observe: (host) => {
        trace = new Tracing(host).start({ classes: new Set(['store']) });
        stored = host.toolstack.dom0.observer.work.xenstore_message;
      },
    });
    const { domains } = await session.run();
    expect(domains[0]?.exitReason).toBe('poweroff');
    const { hv, toolstack } = session.host;
    const { work } = toolstack.dom0.observer;
    const made = [...hv.domain(0)!.statistics.values()].reduce((a, b) => a + b, 0);
    expect(work.hypercall).toBe(made);
    expect(said).toBeGreaterThan(100);
    expect(work.byte_copied).toBe(said);
    const { recorder } = trace!;
    expect(work.xenstore_message - stored).toBe(recorder.position);
    expect(work.upcall).toBeGreaterThan(0);
    for (const profile of CPU_PROFILES) {
      const { low, nominal, high } = costOf(work, profile);
      expect(low).toBeLessThan(nominal);
      expect(nominal).toBeLessThan(high);
    }
  });
});
