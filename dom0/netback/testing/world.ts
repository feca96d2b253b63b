// A machine for netback's specs: the real hypervisor and the real dom0, and domains whose kernels are the test. No guest code runs; grants,
// event channels and pages are Xen's.
import type { DomainPort } from '@ringworld/abi';
import {
  createDom0,
  createHostedDomain,
  createHypervisor,
  createMachine,
  type Domain,
  destroyDomain,
  type Hypervisor,
} from '@ringworld/hypervisor';
import { Dom0 } from '../../kernel/dom0.ts';
import { FrontDomain } from '../../kernel/front-domain.ts';
import { Network } from '../../switch/network.ts';
import { addDevice, type Device } from '../../toolstack/device.ts';
import { type Netback, startNetback } from '../index.ts';
import type { NetbackOptions } from '../options.ts';

const DOM0_PAGES = 1024;
const DOMAIN_PAGES = 1600;
const GRANT_FRAMES = 4;

export class World {
  readonly hv: Hypervisor;
  readonly dom0: Dom0;
  readonly network: Network;
  readonly netback: Netback;

  constructor(options: Partial<NetbackOptions> = {}) {
    const machine = createMachine({ ramBytes: 64 << 20, cpus: 1, engine: 'interp' });
    this.hv = createHypervisor({ machine });
    const { port } = createDom0(this.hv, { pages: DOM0_PAGES });
    this.dom0 = new Dom0(port, DOM0_PAGES);
    this.network = new Network(this.dom0.timers, this.dom0.observer);
    this.netback = startNetback(this.dom0, this.network.attach, options);
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
    const { domain, port } = createHostedDomain(this.hv, { pages: DOMAIN_PAGES });
    return new TestDomain(this, domain, port);
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
export class TestDomain extends FrontDomain {
  readonly world: World;
  readonly domain: Domain;

  constructor(world: World, domain: Domain, port: DomainPort) {
    super(port, { pages: DOMAIN_PAGES, grantFrames: GRANT_FRAMES });
    this.world = world;
    this.domain = domain;
  }

  destroy(): void {
    this.world.dom0.backends.removeDomain(this.id);
    destroyDomain(this.world.hv, this.domain);
  }
}
