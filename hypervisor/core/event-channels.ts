// Event channels of one domain: ports and their bindings (xen/common/event_channel.c). How a pending event becomes visible to the guest
// is the port ABI's matter: evtchn-2l.ts or evtchn-fifo.ts.
//
// Operations give a port (or 0), or -XEN_Exxx. Who may do what to another domain is checked by the hypercall.

import {
  NR_VIRQS,
  VIRQ_DEBUG,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
} from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { TwoLevelPorts } from './evtchn-2l.ts';
import { FifoPorts } from './evtchn-fifo.ts';
import { createEvtchn, ECS, type Evtchn, type EvtchnPortOps, type XenConsumer } from './evtchn-port.ts';
import { getWritableFrame, putWritableFrame } from './guest-frame.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Domid, type EvtchnPort, INVALID_MFN, type Mfn, type VcpuId } from './ids.ts';
import { isUpcallPending, SHARED_INFO, setUpcallPending, sharedInfoAt, testBit } from './shared-info.ts';
import type { Vcpu } from './vcpu.ts';

/** struct evtchn takes 64 bytes of a page-sized bucket: ports become valid in such steps. */
const EVTCHNS_PER_BUCKET = 64;
/** Interrupts that a domU could name at all: nr_static_irqs and extra_domU_irqs of a small machine. None is ever permitted. */
export const NR_PIRQS = 56;

/** virq_is_global(): the others are per vCPU. VIRQ_ARCH_* are global on x86 except none. */
export const isGlobalVirq = (virq: number): boolean =>
  virq !== VIRQ_TIMER && virq !== VIRQ_DEBUG && virq !== VIRQ_XENOPROF && virq !== VIRQ_XENPMU;

export class EventChannels {
  readonly channels: Evtchn[] = [];
  ops: EvtchnPortOps;
  /** XEN_DOMCTL_set_max_evtchn: highest port that may be allocated. */
  maxPort = 0x7fff_ffff;
  private fifo: FifoPorts | null = null;
  private pirqEoi: Mfn = INVALID_MFN;
  private readonly hv: Hypervisor;
  private readonly domain: Domain;

  constructor(hv: Hypervisor, domain: Domain) {
    this.hv = hv;
    this.domain = domain;
    this.ops = this.twoLevel();
    this.addBucket();
    this.channels[0]!.state = ECS.reserved;
  }

  // --- bindings

  allocUnbound(remote: Domid): number {
    const port = this.freePort();
    if (port < 0) return port;
    const chn = this.channels[port]!;
    chn.state = ECS.unbound;
    chn.remoteDomid = remote;
    this.ops.init(chn);
    return port;
  }

  /** A port of this domain whose other end is handled by the hypervisor when the remote domain sends (alloc_unbound_xen_event_channel). */
  allocUnboundXen(vcpu: VcpuId, remote: Domid, consumer: XenConsumer): number {
    const port = this.allocUnbound(remote);
    if (port < 0) return port;
    const chn = this.channels[port]!;
    chn.xenConsumer = consumer;
    chn.notifyVcpuId = vcpu;
    return port;
  }

  bindInterdomain(remote: Domain, remotePort: number): number {
    const port = this.freePort();
    if (port < 0) return port;
    const local = this.channels[port]!;
    const rchn = remote.evtchn.channels[remotePort];
    if (rchn === undefined || rchn.state !== ECS.unbound || rchn.remoteDomid !== this.domain.id) return -XEN_EINVAL;
    local.remoteDom = remote;
    local.remotePort = rchn.port;
    local.state = ECS.interdomain;
    this.ops.init(local);
    rchn.remoteDom = this.domain;
    rchn.remotePort = local.port;
    rchn.state = ECS.interdomain;
    // A notification may have been lost while the port was unbound: raise one.
    this.setPending(local);
    return port;
  }

  bindVirq(virq: number, vcpuId: number): number {
    if (virq >= NR_VIRQS) return -XEN_EINVAL;
    if (isGlobalVirq(virq) && vcpuId !== 0) return -XEN_EINVAL;
    const vcpu = this.domain.vcpus[vcpuId];
    if (vcpu === undefined) return -XEN_ENOENT;
    if (vcpu.virqToEvtchn[virq] !== 0) return -XEN_EEXIST;
    const port = this.freePort();
    if (port < 0) return port;
    const chn = this.channels[port]!;
    chn.state = ECS.virq;
    chn.notifyVcpuId = vcpu.id;
    chn.virq = virq;
    this.ops.init(chn);
    vcpu.virqToEvtchn[virq] = chn.port;
    return port;
  }

  bindIpi(vcpuId: number): number {
    const vcpu = this.domain.vcpus[vcpuId];
    if (vcpu === undefined) return -XEN_ENOENT;
    const port = this.freePort();
    if (port < 0) return port;
    const chn = this.channels[port]!;
    chn.state = ECS.ipi;
    chn.notifyVcpuId = vcpu.id;
    this.ops.init(chn);
    return port;
  }

  /** No domain has physical interrupts here: nothing is permitted. */
  bindPirq(pirq: number): number {
    return pirq >= NR_PIRQS ? -XEN_EINVAL : -XEN_EPERM;
  }

  bindVcpu(port: number, vcpuId: number): number {
    const vcpu = this.domain.vcpus[vcpuId];
    if (vcpu === undefined) return -XEN_ENOENT;
    const chn = this.channels[port];
    if (chn === undefined || chn.xenConsumer !== null) return -XEN_EINVAL;
    if (chn.state === ECS.virq ? !isGlobalVirq(chn.virq) : chn.state !== ECS.unbound && chn.state !== ECS.interdomain) return -XEN_EINVAL;
    chn.notifyVcpuId = vcpu.id;
    return 0;
  }

  /** `byGuest`: a guest may not close a port that the hypervisor holds. */
  close(port: number, byGuest = true): number {
    const chn = this.channels[port];
    if (chn === undefined || (byGuest && chn.xenConsumer !== null)) return -XEN_EINVAL;
    if (chn.state === ECS.free || chn.state === ECS.reserved) return -XEN_EINVAL;
    if (chn.state === ECS.virq) {
      for (const v of this.domain.vcpus) if (v.virqToEvtchn[chn.virq] === chn.port) v.virqToEvtchn[chn.virq] = 0 as EvtchnPort;
    }
    if (chn.state === ECS.interdomain) {
      const remote = chn.remoteDom!.evtchn.channels[chn.remotePort]!;
      remote.state = ECS.unbound;
      remote.remoteDomid = this.domain.id;
      remote.remoteDom = null;
    }
    this.ops.clearPending(chn);
    chn.state = ECS.free;
    chn.notifyVcpuId = 0 as VcpuId;
    chn.xenConsumer = null;
    chn.remoteDom = null;
    return 0;
  }

  // --- sending

  /** EVTCHNOP_send. */
  send(port: number): number {
    const chn = this.channels[port];
    if (chn === undefined || chn.xenConsumer !== null) return -XEN_EINVAL;
    switch (chn.state) {
      case ECS.interdomain: {
        const remote = chn.remoteDom!;
        const rchn = remote.evtchn.channels[chn.remotePort]!;
        if (rchn.xenConsumer !== null) rchn.xenConsumer(remote.vcpus[rchn.notifyVcpuId]!, rchn.port);
        else remote.evtchn.setPending(rchn);
        return 0;
      }
      case ECS.ipi:
        this.setPending(chn);
        return 0;
      case ECS.unbound:
        return 0;
      default:
        return -XEN_EINVAL;
    }
  }

  /** Notifies the other end of a port that the hypervisor holds (notify_via_xen_event_channel). */
  notifyXen(port: EvtchnPort): void {
    const chn = this.channels[port];
    if (this.domain.isDying || chn?.state !== ECS.interdomain) return;
    const { evtchn } = chn.remoteDom!;
    evtchn.setPending(evtchn.channels[chn.remotePort]!);
  }

  /** send_guest_vcpu_virq. */
  raiseVcpuVirq(vcpu: Vcpu, virq: number): void {
    const port = vcpu.virqToEvtchn[virq]!;
    if (port !== 0) this.ops.setPending(vcpu, this.channels[port]!);
  }

  /** send_guest_global_virq. */
  raiseGlobalVirq(virq: number): void {
    const port = this.domain.vcpus[0]?.virqToEvtchn[virq] ?? 0;
    if (port !== 0) this.setPending(this.channels[port]!);
  }

  unmask(port: number): number {
    const chn = this.channels[port];
    if (chn === undefined) return -XEN_EINVAL;
    this.ops.unmask(chn);
    return 0;
  }

  setPriority(port: number, priority: number): number {
    const chn = this.channels[port];
    return chn === undefined ? -XEN_EINVAL : this.ops.setPriority(chn, priority);
  }

  isPending(port: EvtchnPort): boolean {
    const chn = this.channels[port];
    return chn !== undefined && this.ops.isPending(chn);
  }

  /** vcpu_mark_events_pending. */
  markPending(vcpu: Vcpu): void {
    if (isUpcallPending(vcpu)) return;
    setUpcallPending(vcpu, true);
    if (vcpu.hvm !== null) this.hv.hvm.assertEvtchnIrq(this.hv, vcpu);
    this.hv.kick(vcpu);
  }

  // --- the FIFO ABI

  /** EVTCHNOP_init_control: the first one switches the domain over. */
  initControl(vcpuId: number, gfn: number, offset: number): number {
    const vcpu = this.domain.vcpus[vcpuId];
    if (vcpu === undefined) return -XEN_ENOENT;
    if (this.fifo !== null) return this.fifo.mapControlBlock(vcpu, gfn, offset);
    const fifo = this.fifoPorts();
    const rc = fifo.mapControlBlock(vcpu, gfn, offset);
    if (rc !== 0) return rc;
    const pendingAt = sharedInfoAt(this.domain, SHARED_INFO[this.domain.abi].pending);
    for (const chn of this.channels.slice(1, this.ops.maxEvtchns)) {
      if (testBit(this.hv.ram, pendingAt, chn.port)) chn.pending = true;
      fifo.init(chn);
    }
    this.fifo = fifo;
    this.ops = fifo;
    return 0;
  }

  expandArray(gfn: number): number {
    return this.fifo === null ? -XEN_EOPNOTSUPP : this.fifo.addPage(gfn);
  }

  /** EVTCHNOP_reset: closes all; `abi` also returns to the 2-level ABI. */
  reset(abi: boolean, byGuest = true): void {
    for (const chn of this.channels) this.close(chn.port, byGuest);
    if (!abi || this.fifo === null) return;
    this.fifo.destroy();
    this.fifo = null;
    this.ops = this.twoLevel();
  }

  private setPending(chn: Evtchn): void {
    this.ops.setPending(this.domain.vcpus[chn.notifyVcpuId]!, chn);
  }

  private checkPollers(chn: Evtchn): void {
    for (const v of this.domain.vcpus) if (v.isPolling && (v.pollPort <= 0 || v.pollPort === chn.port)) this.hv.scheduler.unblock(v);
  }

  private freePort(): number {
    if (this.domain.isDying) return -XEN_EINVAL;
    for (let port = 0; port < this.ops.maxEvtchns; port++) {
      if (port > this.maxPort) return -XEN_ENOSPC;
      if (port === this.channels.length) this.addBucket();
      const chn = this.channels[port]!;
      if (chn.state === ECS.free && !this.ops.isBusy(chn)) return port;
    }
    return -XEN_ENOSPC;
  }

  private addBucket(): void {
    const first = this.channels.length;
    for (let i = 0; i < EVTCHNS_PER_BUCKET; i++) this.channels.push(createEvtchn(first + i));
  }

  private twoLevel(): TwoLevelPorts {
    return new TwoLevelPorts(
      this.hv.ram,
      this.domain,
      (v) => this.markPending(v),
      (chn) => this.checkPollers(chn),
    );
  }
  /** Frames held as writable pages, for the frame-table audit. */
  heldFrames(): Mfn[] {
    const held = this.fifo?.heldFrames() ?? [];
    return this.pirqEoi === INVALID_MFN ? held : [...held, this.pirqEoi];
  }

  /** PHYSDEVOP_pirq_eoi_gmfn: the page of pirqs that need an EOI, of which there are none. Held until the domain dies. */
  mapPirqEoi(gfn: number): number {
    const mfn = getWritableFrame(this.hv, this.domain, gfn);
    if (mfn === INVALID_MFN) return -XEN_EINVAL;
    if (this.pirqEoi !== INVALID_MFN) {
      putWritableFrame(this.hv, mfn);
      return -XEN_EBUSY;
    }
    this.pirqEoi = mfn;
    return 0;
  }

  /** evtchn_destroy. */
  destroy(): void {
    this.reset(true, false);
    putWritableFrame(this.hv, this.pirqEoi);
    this.pirqEoi = INVALID_MFN;
  }

  private fifoPorts(): FifoPorts {
    const { hv, domain } = this;
    const host = {
      ram: hv.ram,
      channels: this.channels,
      getFrame: (gfn: number) => getWritableFrame(hv, domain, gfn),
      putFrame: (mfn: Mfn) => putWritableFrame(hv, mfn),
      markPending: (v: Vcpu) => this.markPending(v),
      checkPollers: (chn: Evtchn) => this.checkPollers(chn),
    };
    return new FifoPorts(host, domain);
  }
}
