// The machine of the split driver bench: the real hypervisor and the real dom0 with its backends, and frontends that are TypeScript domains
// behind a DomainPort. They make the hypercalls, grants and events that a guest's kernel would make, and take no virtual time.
import { Dom0, FrontDomain, Network } from '@ringworld/dom0';
import { createDom0, createHostedDomain, createHypervisor, createMachine, type Hypervisor } from '@ringworld/hypervisor';

const DOM0_PAGES = 2048;
const FRONT_PAGES = 2048;
const GRANT_FRAMES = 8;

export class BenchWorld {
  readonly hv: Hypervisor;
  readonly dom0: Dom0;
  readonly network: Network;

  constructor() {
    this.hv = createHypervisor({ machine: createMachine({ ramBytes: 64 << 20, cpus: 1, engine: 'interp' }) });
    const { port } = createDom0(this.hv, { pages: DOM0_PAGES });
    this.dom0 = new Dom0(port, DOM0_PAGES);
    this.network = new Network(this.dom0.timers, this.dom0.observer);
  }

  now(): number {
    return this.hv.now();
  }

  /** Runs, idle time skipped, until `isOver`. Throws when nothing more can come. */
  runUntil(isOver: () => boolean, what: string): void {
    const end = this.hv.run({ stop: isOver });
    if (!isOver()) throw new Error(`${what}: the machine came to rest (${end})`);
  }

  /** Lets what is due be done: events, watches. */
  settle(): void {
    this.letPass(1000);
  }

  letPass(ns: number): void {
    const until = this.hv.baseCycles + this.hv.clock.toCycles(ns);
    const end = this.hv.run({ untilCycles: until, timePasses: true });
    if (end !== 'limit') throw new Error(`the machine stopped: ${end}`);
  }

  /** A frontend's domain; what it does is counted as dom0's work is. */
  frontDomain(): FrontDomain {
    const { port } = createHostedDomain(this.hv, { pages: FRONT_PAGES });
    return new FrontDomain(port, { pages: FRONT_PAGES, grantFrames: GRANT_FRAMES });
  }
}
