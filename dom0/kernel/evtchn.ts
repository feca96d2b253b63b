// Event channels from dom0's side: binding ports, sending, and the upcall that finds what is pending in the shared page
// (event_channel.h; the two-level bitmaps of struct shared_info, as Linux's drivers/xen/events/events_2l.c walks them).
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  type Domid,
  domid,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_send,
  EVTCHNOP_unmask,
  type EvtchnPort,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_send,
  evtchn_unmask,
  evtchnPort,
  type PageView,
  shared_info,
  vcpu_info,
  XENMAPSPACE_shared_info,
  XENMEM_add_to_physmap,
  xen_add_to_physmap,
} from '@ringworld/abi';
import { DOM0_ABI, type Hypercalls } from './hypercall.ts';
import { PAGE_SIZE } from './memory.ts';
import { Observer } from './observe.ts';

const PENDING = shared_info.offset('evtchn_pending', DOM0_ABI);
const MASK = shared_info.offset('evtchn_mask', DOM0_ABI);
const WC_SEC = shared_info.offset('wc_sec', DOM0_ABI);
const WC_NSEC = shared_info.offset('wc_nsec', DOM0_ABI);
const WC_SEC_HI = shared_info.offset('wc_sec_hi', DOM0_ABI);
const UPCALL_PENDING = vcpu_info.offset('evtchn_upcall_pending', DOM0_ABI);
const PENDING_SEL = vcpu_info.offset('evtchn_pending_sel', DOM0_ABI);
const SEND_PORT = evtchn_send.offset('port', DOM0_ABI);
const VCPU_INFO_SIZE = vcpu_info.size(DOM0_ABI);

const lowestBit = (v: number): number => 31 - Math.clz32(v & -v);

export class EventChannels {
  private readonly xen: Hypercalls;
  private readonly shared: PageView;
  /** Where the argument of EVTCHNOP_send lies. */
  private readonly argument: PageView;
  private readonly argumentAt: number;
  private readonly observer: Observer;
  private readonly handlers = new Map<EvtchnPort, () => void>();

  /** Maps the shared page and takes over the port's upcall. */
  constructor(xen: Hypercalls, observer: Observer = new Observer()) {
    this.xen = xen;
    this.observer = observer;
    const own = xen.memory.allocate(1);
    this.argument = xen.memory.page(own);
    this.argumentAt = own * PAGE_SIZE;
    const frame = xen.memory.reserveFrames(1);
    xen.op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, xen_add_to_physmap, {
      domid: domid(DOMID_SELF),
      space: XENMAPSPACE_shared_info,
      idx: 0,
      gpfn: frame,
    });
    this.shared = xen.memory.page(frame);
    // Nothing is listened to until it has a handler.
    for (let word = 0; word < 128; word++) this.shared.setU32(MASK + word * 4, 0xffffffff);
    xen.port.setUpcall((vcpu) => this.upcall(vcpu));
  }

  /** Wall-clock time now, from the time at boot that Xen keeps in the shared page (xen.h, wc_sec) and system time. */
  wallClock(): { readonly sec: number; readonly nsec: number } {
    // Nobody sets it while a hypercall-free read goes on, so wc_version need not be looked at.
    const nsec = this.shared.u32(WC_NSEC) + (this.xen.port.systemTime() % 1e9);
    const sec = this.shared.u32(WC_SEC) + this.shared.u32(WC_SEC_HI) * 2 ** 32 + Math.floor(this.xen.port.systemTime() / 1e9);
    return { sec: sec + Math.floor(nsec / 1e9), nsec: Math.floor(nsec % 1e9) };
  }

  /** A port of `dom` (dom0's own unless told) that `remote` may bind. */
  allocUnbound(remote: Domid, dom: Domid = domid(DOMID_SELF)): EvtchnPort {
    return this.xen.op(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, { dom, remote_dom: remote }).out.port;
  }

  bindInterdomain(remote: Domid, remotePort: EvtchnPort, handler: () => void): EvtchnPort {
    const { out } = this.xen.op(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, evtchn_bind_interdomain, {
      remote_dom: remote,
      remote_port: remotePort,
    });
    this.listen(out.local_port, handler);
    return out.local_port;
  }

  bindVirq(virq: number, handler: () => void, vcpu = 0): EvtchnPort {
    const { out } = this.xen.op(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, evtchn_bind_virq, { virq, vcpu });
    this.listen(out.port, handler);
    return out.port;
  }

  /**
   * Calls `handler` for each event on a bound port from now on, also for one that is pending already: by an upcall that follows,
   * never before this returns. (Xen marks both ends pending when they are bound.)
   */
  listen(port: EvtchnPort, handler: () => void): void {
    this.handlers.set(port, handler);
    this.xen.op(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, evtchn_unmask, { port });
  }

  notify(port: EvtchnPort): void {
    this.observer.count('evtchn_send');
    // The commonest hypercall of all: its argument has a place of its own, and nothing is made.
    this.argument.setU32(SEND_PORT, port);
    this.xen.call('EVTCHNOP_send', __HYPERVISOR_event_channel_op, EVTCHNOP_send, this.argumentAt);
  }

  close(port: EvtchnPort): void {
    const at = MASK + (port >>> 5) * 4;
    this.shared.setU32(at, this.shared.u32(at) | (1 << (port & 31)));
    this.handlers.delete(port);
    this.xen.op(__HYPERVISOR_event_channel_op, EVTCHNOP_close, evtchn_close, { port });
  }

  /** Says whether virtual time stands: no further event is delivered then, until resume(). Else what follows would depend on the host. */
  isPaused: () => boolean = () => false;
  /** Goes on with an upcall where it stopped. */
  resume(): void {
    if (!this.isStopped) return;
    this.isStopped = false;
    this.deliverAll();
  }

  private upcall(vcpu: number): void {
    // The one that stopped will look again at what is pending.
    if (this.isStopped) return;
    this.observer.count('upcall');
    this.info = vcpu * VCPU_INFO_SIZE;
    this.deliverAll();
  }

  // Where the upcall is: plain numbers, so that it can stop after any event and go on later as if nothing had been.
  private isStopped = false;
  /** Offset of the vCPU's vcpu_info. */
  private info = 0;
  /** Words of the selector that are left, of its low half (then `highWords` comes) or its high one. */
  private words = 0;
  private highWords = 0;
  private isHigh = true;
  /** Offset of the 32 ports at hand, and those of them that are left. */
  private at = 4;
  private bits = 0;

  private deliverAll(): void {
    while (this.findNext()) {
      const { bits } = this;
      this.bits = bits & (bits - 1);
      this.deliver(evtchnPort(this.at * 8 + lowestBit(bits)));
      if (!this.isPaused()) continue;
      this.isStopped = true;
      return;
    }
  }

  /** Finds a port that is pending; false when there is none. */
  private findNext(): boolean {
    const { shared } = this;
    while (this.bits === 0) {
      if ((this.at & 4) === 0) this.at += 4;
      else if (this.words !== 0) {
        this.at = ((this.isHigh ? 32 : 0) + lowestBit(this.words)) * 8;
        this.words &= this.words - 1;
      } else if (!this.isHigh) {
        this.isHigh = true;
        this.words = this.highWords;
        continue;
      } else {
        // A handler may have made further events pending; they are served before this ends.
        if (shared.u8(this.info + UPCALL_PENDING) === 0) return false;
        // First this flag, then the selector: an event that comes between sets both again.
        shared.setU8(this.info + UPCALL_PENDING, 0);
        this.words = shared.u32(this.info + PENDING_SEL);
        this.highWords = shared.u32(this.info + PENDING_SEL + 4);
        shared.setU32(this.info + PENDING_SEL, 0);
        shared.setU32(this.info + PENDING_SEL + 4, 0);
        this.isHigh = false;
        continue;
      }
      this.bits = shared.u32(PENDING + this.at) & ~shared.u32(MASK + this.at);
    }
    return true;
  }

  private deliver(port: EvtchnPort): void {
    const at = PENDING + (port >>> 5) * 4;
    // Cleared before the handler runs, so that an event during it is not lost.
    this.shared.setU32(at, this.shared.u32(at) & ~(1 << (port & 31)));
    this.observer.sink?.({ kind: 'deliver', port });
    this.handlers.get(port)?.();
  }
}
