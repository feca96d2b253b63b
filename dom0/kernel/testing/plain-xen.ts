// For backends' specs: a Xen in plain memory, with just what backends and their frontends need of one. Domains are lists of pages with grants
// and event channels; dom0's kernel runs on it unchanged, through the same hypercalls. Grants are refused for the reasons Xen refuses
// them, and everything that was mapped is counted, so that a spec can ask whether all was let go.
import {
  __HYPERVISOR_domctl,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_set_timer_op,
  type Codec,
  DOMID_SELF,
  type DomainPort,
  domid,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_send,
  EVTCHNOP_unmask,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_send,
  evtchn_unmask,
  evtchnPort,
  type Gfn,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  gnttab_copy,
  gnttab_map_grant_ref,
  gnttab_unmap_grant_ref,
  grantHandle,
  type PageView,
  shared_info,
  VIRQ_TIMER,
  XEN_DOMCTL_getdomaininfo,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_ESRCH,
  XENMEM_add_to_physmap,
  xen_add_to_physmap,
  xen_domctl,
} from '@ringworld/abi';
import { Dom0 } from '../dom0.ts';

const PAGE = 4096;
const ABI = 'x86_64';
const PENDING = shared_info.offset('evtchn_pending', ABI);
const MASK = shared_info.offset('evtchn_mask', ABI);

interface Grant {
  readonly page: Uint8Array;
  readonly to: number;
  readonly readonly: boolean;
  /** How often it is mapped. */
  pins: number;
}

/** A guest of plain pages. */
export class PlainDomain {
  readonly id: number;
  readonly grants = new Map<number, Grant>();
  /** Its event channels: what is to be done about an event, and dom0's end (null: unbound). */
  readonly ports = new Map<number, { onEvent: () => void; remote: number | null; pending: boolean }>();
  private nextRef = 8;
  private nextPort = 5;
  private readonly xen: PlainXen;

  constructor(xen: PlainXen, id: number) {
    this.xen = xen;
    this.id = id;
  }

  grant(page: Uint8Array, options: { readonly to?: number; readonly readonly?: boolean } = {}): number {
    const ref = this.nextRef++;
    this.grants.set(ref, { page, to: options.to ?? 0, readonly: options.readonly ?? false, pins: 0 });
    return ref;
  }
  /** gnttab_end_foreign_access: false while it is mapped. */
  endAccess(ref: number): boolean {
    const grant = this.grants.get(ref);
    if (grant === undefined || grant.pins > 0) return false;
    return this.grants.delete(ref);
  }
  get pins(): number {
    return [...this.grants.values()].reduce((n, g) => n + g.pins, 0);
  }
  allocPort(onEvent: () => void): number {
    const port = this.nextPort++;
    this.ports.set(port, { onEvent, remote: null, pending: false });
    return port;
  }
  /** Notifies dom0 by one of its ports. */
  notify(port: number): void {
    const remote = this.ports.get(port)?.remote ?? null;
    if (remote !== null) this.xen.raise(remote);
  }
}

export class PlainXen implements DomainPort {
  readonly domid = domid(0);
  readonly domains = new Map<number, PlainDomain>();
  now = 0;
  readonly dom0: Dom0;
  private readonly frames = new Map<number, { bytes: Uint8Array; readonly: boolean }>();
  private readonly handles = new Map<number, { grant: Grant; frame: number }>();
  private nextHandle = 1;
  private readonly shared = new Uint8Array(PAGE);
  private readonly sharedView = new DataView(this.shared.buffer);
  private upcall: (vcpu: number) => void = () => {};
  private readonly dom0Ports = new Map<number, { domain: PlainDomain; port: number } | null>();
  private nextDom0Port = 1;
  private timerPort = 0;
  private deadline = 0;
  private holds = 0;

  constructor(ramPages = 512) {
    for (let i = 0; i < ramPages; i++) this.frames.set(i, { bytes: new Uint8Array(PAGE), readonly: false });
    this.dom0 = new Dom0(this, ramPages);
  }

  addDomain(id: number): PlainDomain {
    const domain = new PlainDomain(this, id);
    this.domains.set(id, domain);
    return domain;
  }

  /** Grants mapped by dom0 at this moment. */
  get mapped(): number {
    return this.handles.size;
  }

  /** Lets everything happen that can, virtual time skipped; host I/O is waited for. */
  async run(): Promise<void> {
    for (;;) {
      this.runUntilIdle();
      if (this.holds === 0) return;
      await new Promise((done) => setImmediate(done));
    }
  }

  /** run() up to the first wait for the host. `untilNs`: no further than that. */
  runUntilIdle(untilNs = Number.POSITIVE_INFINITY): void {
    for (let steps = 0; ; steps++) {
      if (steps > 1_000_000) throw new Error('it does not come to rest');
      if (this.holds > 0) return;
      if (this.shared[0] !== 0) {
        this.upcall(0);
        continue;
      }
      if (this.deliver()) continue;
      if (this.deadline === 0 || this.deadline > untilNs) return;
      this.now = Math.max(this.now, this.deadline);
      this.deadline = 0;
      this.raise(this.timerPort);
    }
  }

  /** Delivers guests' pending events; true when there were any. */
  private deliver(): boolean {
    let any = false;
    for (const domain of this.domains.values())
      for (const port of [...domain.ports.values()]) {
        if (!port.pending) continue;
        port.pending = false;
        any = true;
        port.onEvent();
      }
    return any;
  }

  raise(port: number): void {
    const { sharedView: view } = this;
    const at = (port >> 5) * 4;
    const bit = 1 << (port & 31);
    view.setUint32(PENDING + at, view.getUint32(PENDING + at, true) | bit, true);
    if ((view.getUint32(MASK + at, true) & bit) === 0) this.select(port);
  }
  private select(port: number): void {
    this.sharedView.setBigUint64(8, this.sharedView.getBigUint64(8, true) | (1n << BigInt(port >> 6)), true);
    this.shared[0] = 1;
  }

  systemTime(): number {
    return this.now;
  }
  hold(): () => void {
    this.holds++;
    let isOver = false;
    return () => {
      if (!isOver) this.holds--;
      isOver = true;
    };
  }
  setUpcall(upcall: (vcpu: number) => void): void {
    this.upcall = upcall;
  }

  page(gfn: Gfn): PageView {
    const at = (offset: number, length: number, write: boolean): Uint8Array => {
      const frame = this.frames.get(gfn);
      if (offset < 0 || offset + length > PAGE) throw new RangeError(`bytes ${offset}..${offset + length} are not within a page`);
      if (frame === undefined) throw new Error(`gfn ${gfn} is not mapped`);
      if (write && frame.readonly) throw new Error(`gfn ${gfn} is mapped read-only`);
      return frame.bytes;
    };
    const view = (offset: number, length: number, write: boolean): DataView => {
      const bytes = at(offset, length, write);
      return new DataView(bytes.buffer, bytes.byteOffset, PAGE);
    };
    return {
      u8: (o) => view(o, 1, false).getUint8(o),
      u16: (o) => view(o, 2, false).getUint16(o, true),
      u32: (o) => view(o, 4, false).getUint32(o, true),
      u64: (o) => view(o, 8, false).getBigUint64(o, true),
      setU8: (o, v) => view(o, 1, true).setUint8(o, v),
      setU16: (o, v) => view(o, 2, true).setUint16(o, v, true),
      setU32: (o, v) => view(o, 4, true).setUint32(o, v, true),
      setU64: (o, v) => view(o, 8, true).setBigUint64(o, v, true),
      bytes: (o, n) => at(o, n, false).slice(o, o + n),
      readInto: (o, into) => into.set(at(o, into.length, false).subarray(o, o + into.length)),
      writeBytes: (o, source) => at(o, source.length, true).set(source, o),
    };
  }

  hypercall(nr: number, ...args: (number | bigint)[]): number {
    const [a, b, c] = args.map(Number) as [number, number, number];
    switch (nr) {
      case __HYPERVISOR_memory_op:
        if (a !== XENMEM_add_to_physmap) return -XEN_ENOSYS;
        this.frames.set(this.argument(xen_add_to_physmap, b).read().gpfn, { bytes: this.shared, readonly: false });
        return 0;
      case __HYPERVISOR_domctl: {
        // xenstored asks whether a domain is there; nothing else of the answer matters here.
        const { cmd, domain } = this.argument(xen_domctl, a).read();
        if (cmd !== XEN_DOMCTL_getdomaininfo) return -XEN_ENOSYS;
        return this.domains.has(domain) ? 0 : -XEN_ESRCH;
      }
      case __HYPERVISOR_set_timer_op:
        this.deadline = a;
        return 0;
      case __HYPERVISOR_event_channel_op:
        return this.eventChannelOp(a, b);
      case __HYPERVISOR_grant_table_op:
        for (let i = 0; i < c; i++) this.grantTableOp(a, b, i);
        return 0;
      default:
        return -XEN_ENOSYS;
    }
  }

  private argument<T, W>(codec: Codec<T, W>, address: number, index = 0): { read(): T; write(value: W): void } {
    const at = address + index * codec.size(ABI);
    const bytes = new Uint8Array(codec.size(ABI));
    const each = (act: (page: Uint8Array, offset: number, i: number) => void) => {
      for (let i = 0; i < bytes.length; i++) act(this.frames.get(Math.floor((at + i) / PAGE))!.bytes, (at + i) % PAGE, i);
    };
    each((page, offset, i) => {
      bytes[i] = page[offset]!;
    });
    const view = new DataView(bytes.buffer);
    return {
      read: () => codec.read(view, 0, ABI),
      write: (value) => {
        codec.write(view, 0, ABI, value);
        each((page, offset, i) => {
          page[offset] = bytes[i]!;
        });
      },
    };
  }

  private eventChannelOp(cmd: number, at: number): number {
    switch (cmd) {
      case EVTCHNOP_alloc_unbound: {
        const arg = this.argument(evtchn_alloc_unbound, at);
        this.dom0Ports.set(this.nextDom0Port, null);
        arg.write({ ...arg.read(), port: evtchnPort(this.nextDom0Port++) });
        return 0;
      }
      case EVTCHNOP_bind_virq: {
        const arg = this.argument(evtchn_bind_virq, at);
        if (arg.read().virq === VIRQ_TIMER) this.timerPort = this.nextDom0Port;
        this.dom0Ports.set(this.nextDom0Port, null);
        arg.write({ ...arg.read(), port: evtchnPort(this.nextDom0Port++) });
        return 0;
      }
      case EVTCHNOP_bind_interdomain: {
        const arg = this.argument(evtchn_bind_interdomain, at);
        const { remote_dom, remote_port } = arg.read();
        const domain = this.domains.get(remote_dom);
        const theirs = domain?.ports.get(remote_port);
        if (domain === undefined || theirs === undefined || theirs.remote !== null) return -XEN_EINVAL;
        const local = this.nextDom0Port++;
        theirs.remote = local;
        theirs.pending = true;
        this.dom0Ports.set(local, { domain, port: remote_port });
        this.raise(local);
        arg.write({ ...arg.read(), local_port: evtchnPort(local) });
        return 0;
      }
      case EVTCHNOP_send: {
        const end = this.dom0Ports.get(this.argument(evtchn_send, at).read().port);
        if (end === undefined) return -XEN_EINVAL;
        const theirs = end?.domain.ports.get(end.port);
        if (theirs !== undefined) theirs.pending = true;
        return 0;
      }
      case EVTCHNOP_close: {
        const { port } = this.argument(evtchn_close, at).read();
        const end = this.dom0Ports.get(port);
        if (!this.dom0Ports.delete(port)) return -XEN_EINVAL;
        const theirs = end?.domain.ports.get(end.port);
        if (theirs !== undefined) theirs.remote = null;
        return 0;
      }
      case EVTCHNOP_unmask: {
        const { port } = this.argument(evtchn_unmask, at).read();
        const { sharedView: view } = this;
        const word = (port >> 5) * 4;
        const bit = 1 << (port & 31);
        view.setUint32(MASK + word, view.getUint32(MASK + word, true) & ~bit, true);
        if ((view.getUint32(PENDING + word, true) & bit) !== 0) this.select(port);
        return 0;
      }
      default:
        return -XEN_ENOSYS;
    }
  }

  private usable(dom: number, ref: number, wantsWrite: boolean): Grant | number {
    const domain = this.domains.get(dom);
    if (domain === undefined) return GNTST_bad_domain;
    const grant = domain.grants.get(ref);
    if (grant === undefined) return GNTST_bad_gntref;
    return grant.to !== 0 || (wantsWrite && grant.readonly) ? GNTST_general_error : grant;
  }

  private grantTableOp(cmd: number, at: number, index: number): void {
    if (cmd === GNTTABOP_map_grant_ref) {
      const arg = this.argument(gnttab_map_grant_ref, at, index);
      const op = arg.read();
      const isReadonly = (op.flags & GNTMAP_readonly) !== 0;
      const grant = this.usable(op.dom, op.ref, !isReadonly);
      if (typeof grant === 'number') {
        arg.write({ ...op, status: grant });
        return;
      }
      const frame = Math.floor(op.host_addr / PAGE);
      if (this.frames.has(frame)) throw new Error(`frame ${frame} is in use`);
      grant.pins++;
      this.frames.set(frame, { bytes: grant.page, readonly: isReadonly });
      this.handles.set(this.nextHandle, { grant, frame });
      arg.write({ ...op, status: GNTST_okay, handle: grantHandle(this.nextHandle++) });
    } else if (cmd === GNTTABOP_unmap_grant_ref) {
      const arg = this.argument(gnttab_unmap_grant_ref, at, index);
      const op = arg.read();
      const mapping = this.handles.get(op.handle);
      if (mapping === undefined || mapping.frame !== Math.floor(op.host_addr / PAGE))
        throw new Error(`unmap of handle ${op.handle}: ${GNTST_bad_handle}`);
      mapping.grant.pins--;
      this.handles.delete(op.handle);
      this.frames.delete(mapping.frame);
      arg.write({ ...op, status: GNTST_okay });
    } else if (cmd === GNTTABOP_copy) {
      const arg = this.argument(gnttab_copy, at, index);
      arg.write({ ...arg.read(), status: this.copy(arg.read()) });
    } else throw new Error(`grant_table_op ${cmd}`);
  }

  private copy(op: ReturnType<(typeof gnttab_copy)['read']>): number {
    if (op.source.offset + op.len > PAGE || op.dest.offset + op.len > PAGE) return GNTST_bad_copy_arg;
    const side = (end: (typeof op)['source'], isGref: boolean, wantsWrite: boolean): Uint8Array | number => {
      if (!isGref) return end.domid === DOMID_SELF ? this.frames.get(Number(end.u.gmfn))!.bytes : GNTST_general_error;
      const grant = this.usable(end.domid, end.u.ref, wantsWrite);
      return typeof grant === 'number' ? grant : grant.page;
    };
    const source = side(op.source, (op.flags & GNTCOPY_source_gref) !== 0, false);
    const dest = side(op.dest, (op.flags & GNTCOPY_dest_gref) !== 0, true);
    if (typeof source === 'number') return source;
    if (typeof dest === 'number') return dest;
    dest.set(source.subarray(op.source.offset, op.source.offset + op.len), op.dest.offset);
    return GNTST_okay;
  }
}
