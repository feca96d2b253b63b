// The device model's end of the ioreq protocol: a server that is registered for ranges, the pages that it shares with Xen, and one event channel
// for each vCPU. A vCPU waits while its request is carried out; dom0 runs as a host task, so it goes on at the same moment of virtual time.
//
// The order of an access is that of QEMU's cpu_handle_ioreq: what is in the buffered ring came before the request, and is done first.
import {
  BUFFERED_IOPAGE,
  type Domid,
  type EvtchnPort,
  evtchnPort,
  IOREQ_BUFFER_SLOT_NUM,
  STATE_IOREQ_INPROCESS,
  STATE_IOREQ_READY,
  STATE_IORESP_READY,
  XENMEM_resource_ioreq_server,
} from '@ringworld/abi';
import type { EventChannels } from '../kernel/evtchn.ts';
import type { Observer } from '../kernel/observe.ts';
import type { ForeignMapping, Privcmd } from '../kernel/privcmd.ts';
import type { DmOp, RangeKind } from './dm-op.ts';
import type { ForeignMemory } from './guest-memory.ts';
import type { IoreqHandler } from './ioreq-handler.ts';
import { eventPortOf, Ioreq, putData, setState, stateOf } from './ioreq-page.ts';

/** Frames of the resource: XENMEM_resource_ioreq_server_frame_bufioreq and _ioreq(0) (public/memory.h). */
const BUFFERED = 0;
const SYNC = 1;

/** What the server uses of dom0. */
export interface IoreqServerHost extends ForeignMemory {
  readonly evtchn: Pick<EventChannels, 'bindInterdomain' | 'notify' | 'close'>;
  readonly privcmd: Pick<Privcmd, 'mapForeign' | 'acquireResource'>;
  readonly observer: Observer;
}

/** Plain counters. */
export interface IoreqStatistics {
  requests: number;
  buffered: number;
}

export class IoreqServer {
  readonly id: number;
  readonly statistics: IoreqStatistics = { requests: 0, buffered: 0 };
  private readonly host: IoreqServerHost;
  private readonly domid: Domid;
  private readonly dmOp: DmOp;
  private handler: IoreqHandler | null = null;
  /** As XENMEM_resource_ioreq_server numbers them. */
  private pages: ForeignMapping | null = null;
  /** By vCPU; the ring's last. */
  private readonly ports: EvtchnPort[] = [];
  private readonly request = new Ioreq();
  private readonly buffered = new Ioreq();
  /** Called when the pages hold what Xen never writes: the domain is to be ended. */
  private readonly broken: (reason: string) => void;

  /** Throws HypercallError, e.g. when the domain is no HVM domain. */
  constructor(host: IoreqServerHost, dmOp: DmOp, domid: Domid, broken: (reason: string) => void) {
    this.host = host;
    this.dmOp = dmOp;
    this.domid = domid;
    this.broken = broken;
    this.id = dmOp.createIoreqServer();
  }

  mapRange(kind: RangeKind, start: number, end: number): void {
    this.dmOp.mapRange(this.id, kind, start, end);
  }
  unmapRange(kind: RangeKind, start: number, end: number): void {
    this.dmOp.unmapRange(this.id, kind, start, end);
  }

  /** Maps the pages, binds to the ports of `vcpus` vCPUs, and takes requests from now on. */
  enable(handler: IoreqHandler, vcpus: number): void {
    const { host, dmOp, domid, id } = this;
    this.handler = handler;
    const bufioreqPort = dmOp.bufioreqPort(id);
    this.pages = host.privcmd.acquireResource(domid, XENMEM_resource_ioreq_server, id, 0, 2);
    // The pages mean nothing before this (dm_op.h, XEN_DMOP_set_ioreq_server_state).
    dmOp.setIoreqServerState(id, true);
    const shared = this.pages.page(SYNC);
    for (let vcpu = 0; vcpu < vcpus; vcpu++)
      this.ports.push(host.evtchn.bindInterdomain(domid, evtchnPort(eventPortOf(shared, vcpu)), () => this.serve(vcpu)));
    this.ports.push(host.evtchn.bindInterdomain(domid, bufioreqPort, () => this.drain()));
  }

  /** Takes no more requests, and lets go of everything. */
  close(): void {
    if (this.pages === null) return;
    this.dmOp.destroyIoreqServer(this.id);
    for (const port of this.ports.splice(0)) this.host.evtchn.close(port);
    this.pages.unmap();
    this.pages = null;
    this.handler = null;
  }

  /** A vCPU's event. There need not be a request: binding makes a port pending. */
  private serve(vcpu: number): void {
    const { pages, handler, request, host } = this;
    if (pages === null || handler === null) return;
    const page = pages.page(SYNC);
    if (stateOf(page, vcpu) !== STATE_IOREQ_READY) return;
    this.drain();
    host.observer.count('request');
    this.statistics.requests++;
    request.load(page, vcpu);
    setState(page, vcpu, STATE_IOREQ_INPROCESS);
    if (!handler.handle(request)) {
      this.broken(`ioreq of vCPU ${vcpu}: type ${request.type}, ${request.count} times ${request.size} bytes`);
      return;
    }
    // What it led to may have taken the server away (the guest switched itself off).
    if (this.pages === null) return;
    if (request.isRead && !request.isPointer) putData(page, vcpu, handler.low, handler.high);
    setState(page, vcpu, STATE_IORESP_READY);
    host.observer.count('response');
    host.evtchn.notify(this.ports[vcpu]!);
  }

  /** Empties the buffered ring: writes that nobody waits for. */
  private drain(): void {
    const { pages, handler, buffered } = this;
    if (pages === null || handler === null) return;
    const page = pages.page(BUFFERED);
    for (;;) {
      const read = page.u32(BUFFERED_IOPAGE.readPointer);
      const waiting = (page.u32(BUFFERED_IOPAGE.writePointer) - read) >>> 0;
      if (waiting === 0) return;
      if (waiting > IOREQ_BUFFER_SLOT_NUM) {
        this.broken(`buffered ioreqs: ${waiting} in a ring of ${IOREQ_BUFFER_SLOT_NUM}`);
        return;
      }
      const isTwice = buffered.loadBuffered(page, read);
      if ((isTwice && waiting < 2) || buffered.isRead || !handler.handle(buffered)) {
        this.broken(`buffered ioreq: type ${buffered.type}, ${buffered.size} bytes`);
        return;
      }
      this.statistics.buffered++;
      this.host.observer.count('request');
      if (this.pages === null) return;
      page.setU32(BUFFERED_IOPAGE.readPointer, (read + (isTwice ? 2 : 1)) >>> 0);
    }
  }
}
