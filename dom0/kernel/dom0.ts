// dom0's kernel as its services see it: one of each, put together once.
import type { DomainPort } from '@ringworld/abi';
import { startXenstored, type Xenstored, XsClient } from '../xenstored/index.ts';
import { EventChannels } from './evtchn.ts';
import { GrantTable } from './gnttab.ts';
import { HostIo } from './host-io.ts';
import { Hypercalls } from './hypercall.ts';
import { Observer } from './observe.ts';
import { Privcmd } from './privcmd.ts';
import { Timers } from './timers.ts';
import { XenbusBackends } from './xenbus.ts';

export class Dom0 {
  readonly xen: Hypercalls;
  readonly privcmd: Privcmd;
  readonly evtchn: EventChannels;
  readonly grants: GrantTable;
  readonly timers: Timers;
  readonly io: HostIo;
  readonly observer = new Observer();
  readonly xenstored: Xenstored;
  /** dom0's own connection to the store. */
  readonly xs: XsClient;
  /** Where backends register. */
  readonly backends: XenbusBackends;

  /** `ramPages`: dom0's RAM is frames 0 to ramPages - 1. */
  constructor(port: DomainPort, ramPages: number) {
    this.xen = new Hypercalls(port, ramPages, this.observer);
    this.privcmd = new Privcmd(this.xen);
    this.evtchn = new EventChannels(this.xen, this.observer);
    this.grants = new GrantTable(this.xen, this.observer);
    this.timers = new Timers(this.xen, this.evtchn);
    this.io = new HostIo(port, this.timers);
    // While virtual time stands, nothing of dom0 goes on: in what order things happen is not the host's to decide.
    const isPaused = () => this.io.isHolding;
    this.evtchn.isPaused = isPaused;
    this.timers.isPaused = isPaused;
    this.io.onRelease = () => {
      this.timers.expire();
      if (!this.io.isHolding) this.evtchn.resume();
    };
    this.xenstored = startXenstored(this);
    this.xs = new XsClient(this.xenstored);
    this.backends = new XenbusBackends(this.xs, this.observer);
  }
}
