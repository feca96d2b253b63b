// A hypervisor for the builder's tests: a DomainPort behind which stand pages, domains and just the hypercalls that building a
// domain takes. It checks what Xen would check about order and ownership, and keeps everything for the test to look at.
import * as abi from '@ringworld/abi';
import { type DomainPort, type Domid, domid, type EvtchnPort, evtchnPort, type Gfn, type GuestHandle, type PageView } from '@ringworld/abi';

const PAGE = 4096;

export interface FakeDomain {
  readonly domid: Domid;
  readonly created: abi.StructOf<typeof abi.xen_domctl_createdomain.fields>;
  addressSize: number;
  maxVcpus: number;
  maxMemKb: number;
  /** Machine frame -> pseudo-physical frame: what the M2P would say. */
  readonly m2p: Map<number, number>;
  readonly sharedInfo: number;
  readonly grantFrame: number;
  readonly ports: Map<EvtchnPort, Domid>;
  readonly pinned: { readonly cmd: number; readonly frame: number }[];
  memoryMap: Uint8Array;
  hypercallPages: number[];
  vcpuContext: Uint8Array | null;
  destroyed: boolean;
}

export interface FakeOptions {
  /** Machine memory for guests; plenty unless told. */
  readonly freePages?: number;
  readonly capabilities?: string;
  /** Where machine memory for guests begins. */
  readonly firstFrame?: number;
}

export class FakeXen implements DomainPort {
  readonly domid = domid(0);
  readonly domains = new Map<number, FakeDomain>();
  /** Names of the calls in order, e.g. "XEN_DOMCTL_createdomain". */
  readonly calls: string[] = [];
  private readonly machine = new Map<number, Uint8Array>();
  private readonly physmap = new Map<number, number>();
  private nextFrame: number;
  private nextLowFrame = 0x4000;
  private freePages: number;
  private readonly capabilities: string;

  constructor(ramPages: number, options: FakeOptions = {}) {
    this.freePages = options.freePages ?? 1 << 20;
    this.nextFrame = options.firstFrame ?? 0x8000;
    this.capabilities = options.capabilities ?? 'xen-3.0-x86_64 xen-3.0-x86_32p ';
    for (let i = 0; i < ramPages; i++) this.physmap.set(i, i);
  }

  /** Bytes of a machine frame. */
  frame(mfn: number): Uint8Array {
    let bytes = this.machine.get(mfn);
    if (bytes === undefined) {
      // Not zero: whoever needs zeros must write them.
      bytes = new Uint8Array(PAGE).fill(0xcc);
      this.machine.set(mfn, bytes);
    }
    return bytes;
  }

  get mappedForeign(): number {
    return [...this.physmap.entries()].filter(([gfn, mfn]) => gfn !== mfn).length;
  }

  setUpcall(): void {}

  systemTime(): number {
    return 0;
  }

  hold(): () => void {
    return () => {};
  }

  page(gfn: Gfn): PageView {
    const view = (): DataView => {
      const mfn = this.physmap.get(gfn);
      if (mfn === undefined) throw new Error(`nothing is mapped at frame ${gfn}`);
      const bytes = this.frame(mfn);
      return new DataView(bytes.buffer, bytes.byteOffset, PAGE);
    };
    const array = () => new Uint8Array(view().buffer, view().byteOffset, PAGE);
    return {
      u8: (o) => view().getUint8(o),
      u16: (o) => view().getUint16(o, true),
      u32: (o) => view().getUint32(o, true),
      u64: (o) => view().getBigUint64(o, true),
      setU8: (o, v) => view().setUint8(o, v),
      setU16: (o, v) => view().setUint16(o, v, true),
      setU32: (o, v) => view().setUint32(o, v, true),
      setU64: (o, v) => view().setBigUint64(o, v, true),
      bytes: (o, n) => array().slice(o, o + n),
      readInto: (o, into) => into.set(array().subarray(o, o + into.length)),
      writeBytes: (o, source) => array().set(source, o),
    };
  }

  hypercall(nr: number, ...args: (number | bigint)[]): number {
    const a = args.map(Number);
    switch (nr) {
      case abi.__HYPERVISOR_domctl:
        return this.domctl(a[0]!);
      case abi.__HYPERVISOR_memory_op:
        return this.memoryOp(a[0]!, a[1]!);
      case abi.__HYPERVISOR_event_channel_op:
        return this.record(nr, a[0]!) ?? this.allocUnbound(a[1]!);
      case abi.__HYPERVISOR_grant_table_op:
        return this.record(nr, a[0]!) ?? this.setupTable(a[1]!);
      case abi.__HYPERVISOR_mmuext_op:
        return this.mmuext(a[0]!, a[3]!);
      case abi.__HYPERVISOR_xen_version:
        this.record(nr, a[0]!);
        this.write(a[1]!, new TextEncoder().encode(`${this.capabilities}\0`));
        return 0;
      default:
        return -abi.XEN_ENOSYS;
    }
  }

  private record(nr: number, cmd: number): undefined {
    this.calls.push(abi.subOpName(nr, cmd));
  }

  private read(address: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.frame(this.physmap.get(Math.floor((address + i) / PAGE))!)[(address + i) % PAGE]!;
    return out;
  }

  private write(address: number, bytes: Uint8Array): void {
    bytes.forEach((b, i) => {
      this.frame(this.physmap.get(Math.floor((address + i) / PAGE))!)[(address + i) % PAGE] = b;
    });
  }

  private get<T, W>(struct: abi.Codec<T, W>, address: number): T {
    return abi.decode(struct, 'x86_64', this.read(address, struct.size('x86_64')));
  }

  private list(handle: GuestHandle, count: number): number[] {
    return Array.from(new BigUint64Array(this.read(handle, count * 8).buffer), Number);
  }

  private domctl(at: number): number {
    const op = this.get(abi.xen_domctl, at);
    this.record(abi.__HYPERVISOR_domctl, op.cmd);
    if (op.interface_version !== abi.XEN_DOMCTL_INTERFACE_VERSION) return -abi.XEN_EACCES;
    if (op.cmd === abi.XEN_DOMCTL_createdomain) {
      const id = this.domains.size + 1;
      this.domains.set(id, {
        domid: domid(id),
        created: abi.xen_domctl_createdomain.decode('x86_64', op.u),
        addressSize: 0,
        maxVcpus: 0,
        maxMemKb: 0,
        m2p: new Map(),
        sharedInfo: this.nextFrame++,
        grantFrame: this.nextFrame++,
        ports: new Map(),
        pinned: [],
        memoryMap: new Uint8Array(0),
        hypercallPages: [],
        vcpuContext: null,
        destroyed: false,
      });
      this.write(at, abi.xen_domctl.encode('x86_64', { ...op, domain: domid(id) }));
      return 0;
    }
    const d = this.domains.get(op.domain);
    if (d === undefined || d.destroyed) return -abi.XEN_ESRCH;
    switch (op.cmd) {
      case abi.XEN_DOMCTL_destroydomain:
        d.destroyed = true;
        return 0;
      case abi.XEN_DOMCTL_max_vcpus:
        d.maxVcpus = abi.xen_domctl_max_vcpus.decode('x86_64', op.u).max;
        return d.maxVcpus === d.created.max_vcpus ? 0 : -abi.XEN_EINVAL;
      case abi.XEN_DOMCTL_max_mem:
        d.maxMemKb = abi.xen_domctl_max_mem.decode('x86_64', op.u).max_memkb;
        return 0;
      case abi.XEN_DOMCTL_set_address_size:
        if (d.m2p.size > 0) return -abi.XEN_EACCES;
        d.addressSize = abi.xen_domctl_address_size.decode('x86_64', op.u).size;
        return 0;
      case abi.XEN_DOMCTL_getdomaininfo:
        this.write(
          at,
          abi.xen_domctl.encode('x86_64', { ...op, u: abi.xen_domctl_getdomaininfo.encode('x86_64', { shared_info_frame: d.sharedInfo }) }),
        );
        return 0;
      case abi.XEN_DOMCTL_hypercall_init:
        d.hypercallPages.push(abi.xen_domctl_hypercall_init.decode('x86_64', op.u).gmfn);
        return 0;
      case abi.XEN_DOMCTL_setvcpucontext: {
        const { ctxt } = abi.xen_domctl_vcpucontext.decode('x86_64', op.u);
        const size =
          d.addressSize === 32 ? abi.xen_x86_32.vcpu_guest_context.size('x86_32') : abi.xen_x86_64.vcpu_guest_context.size('x86_64');
        d.vcpuContext = this.read(ctxt, size);
        return d.pinned.length > 0 ? 0 : -abi.XEN_EINVAL;
      }
      default:
        return -abi.XEN_ENOSYS;
    }
  }

  private memoryOp(cmd: number, at: number): number {
    this.record(abi.__HYPERVISOR_memory_op, cmd);
    switch (cmd) {
      case abi.XENMEM_populate_physmap: {
        const r = this.get(abi.xen_memory_reservation, at);
        const d = this.domains.get(r.domid)!;
        const size = 1 << r.extent_order;
        let done = 0;
        for (const pfn of this.list(r.extent_start, r.nr_extents)) {
          if (this.freePages < size || (d.m2p.size + size) * 4 > d.maxMemKb) break;
          this.freePages -= size;
          // Machine frames in another order than the domain's, so that a mistaken identity shows.
          const low = (r.mem_flags & 0xff) === 32;
          const first = low ? this.nextLowFrame : this.nextFrame;
          if (low) this.nextLowFrame += size;
          else this.nextFrame += size + 1;
          for (let k = 0; k < size; k++) d.m2p.set(first + k, pfn + k);
          this.write(r.extent_start + done * 8, new Uint8Array(BigUint64Array.of(BigInt(first)).buffer));
          done++;
        }
        return done;
      }
      case abi.XENMEM_decrease_reservation: {
        const r = this.get(abi.xen_memory_reservation, at);
        for (const mfn of this.list(r.extent_start, r.nr_extents)) if (!this.domains.get(r.domid)!.m2p.delete(mfn)) return 0;
        return r.nr_extents;
      }
      case abi.XENMEM_set_memory_map: {
        const m = this.get(abi.xen_foreign_memory_map, at);
        this.domains.get(m.domid)!.memoryMap = this.read(m.map.buffer, m.map.nr_entries * 20);
        return 0;
      }
      case abi.XENMEM_add_to_physmap_batch: {
        const b = this.get(abi.xen_add_to_physmap_batch, at);
        const d = this.domains.get(b.u.foreign_domid!)!;
        const gpfns = this.list(b.gpfns, b.size);
        this.list(b.idxs, b.size).forEach((mfn, i) => {
          const theirs = d.m2p.has(mfn) || mfn === d.sharedInfo || mfn === d.grantFrame;
          if (theirs) this.physmap.set(gpfns[i]!, mfn);
          else this.write(b.errs + i * 4, new Uint8Array(Int32Array.of(-abi.XEN_EINVAL).buffer));
        });
        return 0;
      }
      case abi.XENMEM_remove_from_physmap: {
        const r = this.get(abi.xen_remove_from_physmap, at);
        return this.physmap.delete(r.gpfn) ? 0 : -abi.XEN_ENOENT;
      }
      default:
        return -abi.XEN_ENOSYS;
    }
  }

  private allocUnbound(at: number): number {
    const { dom, remote_dom } = this.get(abi.evtchn_alloc_unbound, at);
    const d = this.domains.get(dom)!;
    const port = evtchnPort(d.ports.size + 1);
    d.ports.set(port, remote_dom);
    this.write(at, abi.evtchn_alloc_unbound.encode('x86_64', { dom, remote_dom, port }));
    return 0;
  }

  private setupTable(at: number): number {
    const op = this.get(abi.gnttab_setup_table, at);
    this.write(op.frame_list, new Uint8Array(BigUint64Array.of(BigInt(this.domains.get(op.dom)!.grantFrame)).buffer));
    this.write(at, abi.gnttab_setup_table.encode('x86_64', { ...op, status: 0 }));
    return 0;
  }

  private mmuext(at: number, dom: number): number {
    const op = this.get(abi.mmuext_op, at);
    this.record(abi.__HYPERVISOR_mmuext_op, op.cmd);
    // Pinned while dom0 still has it mapped writably: Xen refuses (-EBUSY).
    if ([...this.physmap.values()].includes(op.arg1.mfn!)) return -abi.XEN_EBUSY;
    this.domains.get(dom)!.pinned.push({ cmd: op.cmd, frame: op.arg1.mfn! });
    return 0;
  }
}
