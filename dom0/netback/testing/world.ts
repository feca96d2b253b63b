// A machine for netback's specs: the real hypervisor and the real dom0, and domains whose kernels are the test. No guest code runs; grants,
// event channels and pages are Xen's.
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
import { createDom0, createHypervisor, createMachine, type Domain, destroyDomain, type Hypervisor } from '@ringworld/hypervisor';
import { createTestDomain } from '../../../hypervisor/core/testing.ts';
import { Dom0 } from '../../kernel/dom0.ts';
import { EventChannels } from '../../kernel/evtchn.ts';
import { Hypercalls } from '../../kernel/hypercall.ts';
import { Network } from '../../switch/network.ts';
import { addDevice, type Device } from '../../toolstack/device.ts';
import { startNetback } from '../index.ts';
import type { NetbackOptions } from '../options.ts';

const DOM0_PAGES = 1024;
const DOMAIN_PAGES = 1600;
const GRANT_FRAMES = 4;
const PAGE = 4096;

export class World {
  readonly hv: Hypervisor;
  readonly dom0: Dom0;
  readonly network: Network;

  constructor(options: Partial<NetbackOptions> = {}) {
    const machine = createMachine({ ramBytes: 64 << 20, cpus: 1, engine: 'interp' });
    this.hv = createHypervisor({ machine });
    const { port } = createDom0(this.hv, { pages: DOM0_PAGES });
    this.dom0 = new Dom0(port, DOM0_PAGES);
    this.network = new Network(this.dom0.timers, this.dom0.observer);
    startNetback(this.dom0, this.network.attach, options);
  }

  /** Lets events be delivered and `ns` of virtual time pass. */
  run(ns = 1000): void {
    let isOver = false;
    // Where nobody waits for anything, time stands: this is what time passes for.
    this.dom0.timers.after(ns, () => {
      isOver = true;
    });
    while (!isOver) this.hv.run({ untilCycles: Number.MAX_SAFE_INTEGER, stop: () => isOver });
  }

  domain(): TestDomain {
    return new TestDomain(this);
  }

  /** Puts a device into the store as the toolstack does. */
  add(domain: TestDomain, device: Partial<Device> & { readonly devid: number }): void {
    const common = { handle: String(device.devid), mac: `00:16:3e:00:00:${domain.id.toString(16).padStart(2, '0')}` };
    addDevice(this.dom0.xs, domain.id, {
      type: 'vif',
      devid: device.devid,
      back: { ...common, bridge: 'xenbr0', ...device.back },
      front: { ...common, ...device.front },
    });
  }
}

/** A domain that grants and listens. */
export class TestDomain {
  readonly world: World;
  readonly domain: Domain;
  readonly id: number;
  readonly xen: Hypercalls;
  readonly events: EventChannels;
  private readonly grantTable: PageView[];
  private nextRef = 8;
  private readonly freeRefs: number[] = [];

  constructor(world: World) {
    this.world = world;
    const { domain, port } = createTestDomain(world.hv, { pages: DOMAIN_PAGES });
    this.domain = domain;
    this.id = domain.id;
    this.xen = new Hypercalls(port, DOMAIN_PAGES);
    this.events = new EventChannels(this.xen);
    const start = this.xen.memory.reserveFrames(GRANT_FRAMES);
    this.grantTable = Array.from({ length: GRANT_FRAMES }, (_, idx) => {
      this.xen.op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, xen_add_to_physmap, {
        domid: domid(DOMID_SELF),
        space: XENMAPSPACE_grant_table,
        idx,
        gpfn: gfn(start + idx),
      });
      return this.xen.memory.page(gfn(start + idx));
    });
  }

  /** A page of its own. */
  allocate(): { readonly frame: Gfn; readonly page: PageView } {
    const frame = this.xen.memory.allocate(1);
    return { frame, page: this.xen.memory.page(frame) };
  }

  grant(frame: Gfn, options: { readonly readonly?: boolean; readonly to?: number; readonly transfer?: boolean } = {}): number {
    const ref = this.freeRefs.pop() ?? this.nextRef++;
    const flags = options.transfer ? GTF_accept_transfer : GTF_permit_access | (options.readonly ? GTF_readonly : 0);
    const [page, at] = this.entry(ref);
    page.setU16(at + grant_entry_v1.offset('domid', 'x86_64'), options.to ?? 0);
    page.setU32(at + grant_entry_v1.offset('frame', 'x86_64'), frame);
    page.setU16(at + grant_entry_v1.offset('flags', 'x86_64'), flags);
    return ref;
  }

  flags(ref: number): number {
    const [page, at] = this.entry(ref);
    return page.u16(at);
  }

  /** Ends a grant and returns the flags as they were: whether it was still in use. */
  revoke(ref: number): number {
    const [page, at] = this.entry(ref);
    const flags = page.u16(at);
    page.setU16(at, 0);
    this.freeRefs.push(ref);
    return flags;
  }

  destroy(): void {
    this.world.dom0.backends.removeDomain(domid(this.id));
    destroyDomain(this.world.hv, this.domain);
  }

  private entry(ref: number): [PageView, number] {
    const size = grant_entry_v1.size('x86_64');
    const at = ref * size;
    const page = this.grantTable[Math.floor(at / PAGE)];
    if (page === undefined) throw new Error('the test has used up its grants');
    return [page, at % PAGE];
  }
}
