// The machine of the split driver bench: the real hypervisor and the real dom0 with its backends, and frontends that are TypeScript domains
// behind a DomainPort. They make the hypercalls, grants and events that a guest's kernel would make, and take no virtual time.
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  domid,
  type Gfn,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_readonly,
  gfn,
  grant_entry_v1,
  type PageView,
  XENMAPSPACE_grant_table,
  XENMEM_add_to_physmap,
  xen_add_to_physmap,
} from '@ringworld/abi';
import { Dom0, EventChannels, Hypercalls, Network, Observer } from '@ringworld/dom0';
import { createDom0, createHostedDomain, createHypervisor, createMachine, type Hypervisor } from '@ringworld/hypervisor';

const PAGE = 4096;
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
}

/** A frontend's domain: its memory, its grant table, its event channels. What it does is counted as dom0's work is. */
export class FrontDomain {
  readonly id: number;
  readonly observer = new Observer();
  readonly xen: Hypercalls;
  readonly events: EventChannels;
  /** Grants given and taken back: writes to the table, no hypercalls. */
  granted = 0;
  revoked = 0;
  private readonly table: PageView[];
  private readonly free: number[] = [];
  private nextRef = 8;

  constructor(world: BenchWorld) {
    const { domain, port } = createHostedDomain(world.hv, { pages: FRONT_PAGES });
    this.id = domain.id;
    this.xen = new Hypercalls(port, FRONT_PAGES, this.observer);
    this.events = new EventChannels(this.xen, this.observer);
    const start = this.xen.memory.reserveFrames(GRANT_FRAMES);
    this.table = Array.from({ length: GRANT_FRAMES }, (_, idx) => {
      this.xen.op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, xen_add_to_physmap, {
        domid: domid(DOMID_SELF),
        space: XENMAPSPACE_grant_table,
        idx,
        gpfn: gfn(start + idx),
      });
      return this.xen.memory.page(gfn(start + idx));
    });
  }

  allocate(): { readonly frame: Gfn; readonly page: PageView } {
    const frame = this.xen.memory.allocate(1);
    return { frame, page: this.xen.memory.page(frame) };
  }

  /** gnttab_grant_foreign_access to dom0; `transfer`: gnttab_grant_foreign_transfer, a place for a page that comes. */
  grant(frame: number, kind: 'write' | 'read' | 'transfer' = 'write'): number {
    this.granted++;
    const ref = this.free.pop() ?? this.nextRef++;
    const [page, at] = this.entry(ref);
    page.setU16(at + grant_entry_v1.offset('domid', 'x86_64'), 0);
    page.setU32(at + grant_entry_v1.offset('frame', 'x86_64'), frame);
    const access = kind === 'read' ? GTF_permit_access | GTF_readonly : GTF_permit_access;
    page.setU16(at + grant_entry_v1.offset('flags', 'x86_64'), kind === 'transfer' ? GTF_accept_transfer : access);
    return ref;
  }

  /** gnttab_end_foreign_access. Returns the flags as they were. */
  revoke(ref: number): number {
    this.revoked++;
    const [page, at] = this.entry(ref);
    const flags = page.u16(at);
    page.setU16(at, 0);
    this.free.push(ref);
    return flags;
  }

  private entry(ref: number): [PageView, number] {
    const at = ref * grant_entry_v1.size('x86_64');
    const page = this.table[Math.floor(at / PAGE)];
    if (page === undefined) throw new Error('the frontend has used up its grants');
    return [page, at % PAGE];
  }
}
