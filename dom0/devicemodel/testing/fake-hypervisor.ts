// The hypervisor's end of the ioreq protocol, in plain memory: for specs of the device model. A guest is pages and requests.
import {
  __HYPERVISOR_dm_op,
  BUFFERED_IOPAGE,
  buf_ioreq,
  type Domid,
  type EvtchnPort,
  evtchnPort,
  type Gfn,
  gfn,
  IOREQ_BUFFER_SLOT_NUM,
  IOREQ_TYPE_COPY,
  IOREQ_TYPE_PCI_CONFIG,
  IOREQ_TYPE_PIO,
  ioreq,
  type PageView,
  STATE_IOREQ_READY,
  STATE_IORESP_READY,
  XEN_DMOP_create_ioreq_server,
  XEN_DMOP_destroy_ioreq_server,
  XEN_DMOP_get_ioreq_server_info,
  XEN_DMOP_IO_RANGE_MEMORY,
  XEN_DMOP_IO_RANGE_PCI,
  XEN_DMOP_IO_RANGE_PORT,
  XEN_DMOP_map_io_range_to_ioreq_server,
  XEN_DMOP_remote_shutdown,
  XEN_DMOP_set_ioreq_server_state,
  XEN_DMOP_set_isa_irq_level,
  XEN_DMOP_set_pci_intx_level,
  XEN_DMOP_set_pci_link_route,
  XEN_DMOP_unmap_io_range_from_ioreq_server,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  xen_dm_op_buf,
  xen_dm_op_create_ioreq_server,
  xen_dm_op_get_ioreq_server_info,
  xen_dm_op_ioreq_server_range,
} from '@ringworld/abi';
import { HypercallError } from '../../kernel/hypercall.ts';
import { Observer } from '../../kernel/observe.ts';
import type { ForeignMapping } from '../../kernel/privcmd.ts';
import type { DeviceModelHost } from '../device-model.ts';
import { plainPage } from '../plain-page.ts';

const PAGE = 4096;
const ABI = 'x86_64';
const IOREQ_GFN = 0xff000;
const BUFIOREQ_GFN = 0xff001;
const FIRST_PORT = 40;

export interface Request {
  readonly type: number;
  readonly isRead: boolean;
  readonly addr: number | bigint;
  readonly size: number;
  readonly data?: number | bigint;
  readonly count?: number;
  readonly isPointer?: boolean;
  readonly df?: boolean;
}

interface Timer {
  readonly due: number;
  readonly run: () => void;
}

export class FakeHypervisor implements DeviceModelHost {
  readonly observer = new Observer();
  readonly guest = new Map<number, Uint8Array>();
  /** "port 0x3f8-0x3ff": what is registered. */
  readonly ranges = new Set<string>();
  readonly isaLevels = new Map<number, boolean>();
  /** By "slot.pin", INTA# is 0. */
  readonly intxLevels = new Map<string, boolean>();
  readonly links: number[] = [0, 0, 0, 0];
  readonly store = new Map<string, string>();
  shutdown: number | null = null;
  mapped = 0;
  now = 0;
  private readonly own: Uint8Array[] = [];
  private readonly handlers = new Map<EvtchnPort, { vcpu: number; handler: () => void }>();
  private readonly answered = new Set<EvtchnPort>();
  private nextPort = 1;
  private timersPending: Timer[] = [];
  private isEnabled = false;

  /** `pages` of RAM from 0 up. */
  constructor(pages: number) {
    for (let i = 0; i < pages; i++) this.guest.set(i, new Uint8Array(PAGE));
    for (const g of [IOREQ_GFN, BUFIOREQ_GFN]) this.guest.set(g, new Uint8Array(PAGE));
    for (let vcpu = 0; vcpu < 4; vcpu++)
      new DataView(this.guest.get(IOREQ_GFN)!.buffer).setUint32(
        vcpu * ioreq.size(ABI) + ioreq.offset('vp_eport', ABI),
        FIRST_PORT + vcpu,
        true,
      );
  }

  // --- what the guest does
  /** One access by a vCPU: what it reads, as an unsigned number of `size` bytes. Fails when it is not answered at once. */
  request(r: Request, vcpu = 0): bigint {
    const slot = new DataView(this.guest.get(IOREQ_GFN)!.buffer, vcpu * ioreq.size(ABI), ioreq.size(ABI));
    const eport = slot.getUint32(ioreq.offset('vp_eport', ABI), true);
    ioreq.write(slot, 0, ABI, {
      addr: BigInt(r.addr),
      data: BigInt(r.data ?? 0),
      count: r.count ?? 1,
      size: r.size,
      vp_eport: eport,
      _pad0: 0,
      $bits: { state: STATE_IOREQ_READY, data_is_ptr: r.isPointer ?? false, dir: r.isRead, df: r.df ?? false },
      type: r.type,
    });
    const [port, { handler }] = [...this.handlers].find(([, h]) => h.vcpu === FIRST_PORT + vcpu)!;
    this.answered.delete(port);
    handler();
    const after = ioreq.read(slot, 0, ABI);
    if (after.$bits.state !== STATE_IORESP_READY || !this.answered.has(port)) throw new Error(`not answered: state ${after.$bits.state}`);
    return after.data & ((1n << BigInt(8 * r.size)) - 1n);
  }
  in(port: number, size = 1): number {
    return Number(this.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: port, size, data: 0 }));
  }
  out(port: number, value: number, size = 1): void {
    this.request({ type: IOREQ_TYPE_PIO, isRead: false, addr: port, size, data: value });
  }
  read(addr: number, size = 4): number {
    return Number(this.request({ type: IOREQ_TYPE_COPY, isRead: true, addr, size }));
  }
  write(addr: number, value: number, size = 4): void {
    this.request({ type: IOREQ_TYPE_COPY, isRead: false, addr, size, data: value });
  }
  config(devfn: number, at: number, size: number): number {
    return Number(this.request({ type: IOREQ_TYPE_PCI_CONFIG, isRead: true, addr: (BigInt(devfn) << 32n) | BigInt(at), size }));
  }
  setConfig(devfn: number, at: number, size: number, value: number): void {
    this.request({ type: IOREQ_TYPE_PCI_CONFIG, isRead: false, addr: (BigInt(devfn) << 32n) | BigInt(at), size, data: value });
  }
  /** A write that nobody waits for. `log2` of the size; for 3 it takes two slots. Not announced before kick(). */
  buffer(type: number, addr: number, log2: number, data: number, high = 0): void {
    const page = new DataView(this.guest.get(BUFIOREQ_GFN)!.buffer);
    for (const half of log2 === 3 ? [data, high] : [data]) {
      const at = page.getUint32(BUFFERED_IOPAGE.writePointer, true);
      const slot = BUFFERED_IOPAGE.slots + (at % IOREQ_BUFFER_SLOT_NUM) * buf_ioreq.size(ABI);
      buf_ioreq.write(page, slot, ABI, { $head: { type, dir: false, size: log2, addr }, data: half });
      page.setUint32(BUFFERED_IOPAGE.writePointer, at + 1, true);
    }
  }
  kick(): void {
    for (const { vcpu, handler } of this.handlers.values()) if (vcpu === FIRST_PORT + 100) handler();
  }
  get buffered(): number {
    const page = new DataView(this.guest.get(BUFIOREQ_GFN)!.buffer);
    return page.getUint32(BUFFERED_IOPAGE.writePointer, true) - page.getUint32(BUFFERED_IOPAGE.readPointer, true);
  }
  bytes(at: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => this.guest.get(Math.floor((at + i) / PAGE))![(at + i) % PAGE]!);
  }
  poke(at: number, bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i++) this.guest.get(Math.floor((at + i) / PAGE))![(at + i) % PAGE] = bytes[i]!;
  }

  // --- time
  /** Runs what is due within `ns`. */
  pass(ns: number): void {
    const end = this.now + ns;
    for (;;) {
      const first = this.timersPending.filter((t) => t.due <= end).sort((a, b) => a.due - b.due)[0];
      if (first === undefined) break;
      this.timersPending = this.timersPending.filter((t) => t !== first);
      this.now = Math.max(this.now, first.due);
      first.run();
    }
    this.now = end;
  }

  // --- what the device model sees
  readonly timers = {
    now: () => this.now,
    after: (ns: number, run: () => void) => {
      const timer = { due: this.now + Math.max(0, ns), run };
      this.timersPending.push(timer);
      return () => {
        this.timersPending = this.timersPending.filter((t) => t !== timer);
      };
    },
  };
  readonly io: DeviceModelHost['io'] = {
    start: (work, latencyNs, done) => {
      let result: Parameters<typeof done>[0] | null = work instanceof Promise ? null : { value: work };
      if (work instanceof Promise)
        work.then(
          (value) => {
            result = { value };
          },
          (error: Error) => {
            result = { error };
          },
        );
      // The real one has virtual time stand until the host is done: a spec lets its promises settle first.
      this.timers.after(Math.max(1, latencyNs), () => done(result!));
    },
  };
  readonly xs = { read: (path: string) => this.store.get(path) ?? null };
  readonly xen: DeviceModelHost['xen'] = {
    memory: {
      allocate: () => gfn(this.own.push(new Uint8Array(PAGE))),
      free: () => {},
      page: (frame: Gfn): PageView => plainPage(this.own[frame - 1]!),
    },
    attempt: (nr, ...args) => {
      if (nr !== __HYPERVISOR_dm_op) throw new Error(`hypercall ${nr}`);
      return this.dmOp(Number(args[2]));
    },
  };
  readonly privcmd: DeviceModelHost['privcmd'] = {
    acquireResource: (dom) => this.privcmd.mapForeign(dom, [BUFIOREQ_GFN, IOREQ_GFN]),
    mapForeign: (_dom: Domid, frames: ArrayLike<number>): ForeignMapping => {
      const pages = Array.from(frames, (f) => this.guest.get(f));
      if (pages.includes(undefined)) throw new HypercallError('mapping', -XEN_EINVAL);
      this.mapped += frames.length;
      return {
        count: frames.length,
        page: (i) => plainPage(pages[i]!),
        read: () => new Uint8Array(0),
        write: () => {},
        unmap: () => {
          this.mapped -= frames.length;
        },
      };
    },
  };
  readonly evtchn: DeviceModelHost['evtchn'] = {
    bindInterdomain: (_remote, remotePort, handler) => {
      const port = evtchnPort(this.nextPort++);
      this.handlers.set(port, { vcpu: remotePort, handler });
      return port;
    },
    notify: (port) => {
      this.answered.add(port);
    },
    close: (port) => {
      this.handlers.delete(port);
    },
  };
  get boundPorts(): number {
    return this.handlers.size;
  }

  private dmOp(at: number): number {
    const own = this.own[Math.floor(at / PAGE) - 1]!;
    const { h, size } = xen_dm_op_buf.decode(ABI, own.slice(at % PAGE, (at % PAGE) + 16));
    const op = new DataView(own.buffer, Number(h) % PAGE, Number(size));
    const argument = own.subarray((Number(h) % PAGE) + 8);
    switch (op.getUint32(0, true)) {
      case XEN_DMOP_create_ioreq_server:
        argument.set(xen_dm_op_create_ioreq_server.encode(ABI, { handle_bufioreq: argument[0]!, id: 1 }));
        return 0;
      case XEN_DMOP_get_ioreq_server_info:
        argument.set(
          xen_dm_op_get_ioreq_server_info.encode(ABI, {
            id: 1,
            bufioreq_port: evtchnPort(FIRST_PORT + 100),
          }),
        );
        return 0;
      case XEN_DMOP_map_io_range_to_ioreq_server:
      case XEN_DMOP_unmap_io_range_from_ioreq_server:
        return this.range(op.getUint32(0, true) === XEN_DMOP_map_io_range_to_ioreq_server, argument);
      case XEN_DMOP_set_ioreq_server_state:
        this.isEnabled = argument[2] === 1;
        return 0;
      case XEN_DMOP_destroy_ioreq_server:
        this.isEnabled = false;
        return 0;
      case XEN_DMOP_set_isa_irq_level:
        this.isaLevels.set(argument[0]!, argument[1] === 1);
        return 0;
      case XEN_DMOP_set_pci_intx_level:
        this.intxLevels.set(`${argument[3]}.${argument[4]}`, argument[5] === 1);
        return 0;
      case XEN_DMOP_set_pci_link_route:
        this.links[argument[0]!] = argument[1]!;
        return 0;
      case XEN_DMOP_remote_shutdown:
        this.shutdown = argument[0]!;
        return 0;
      default:
        return -XEN_EINVAL;
    }
  }
  private range(isMap: boolean, argument: Uint8Array): number {
    const r = xen_dm_op_ioreq_server_range.decode(ABI, argument.slice(0, xen_dm_op_ioreq_server_range.size(ABI)));
    const names: Record<number, string> = {
      [XEN_DMOP_IO_RANGE_PORT]: 'port',
      [XEN_DMOP_IO_RANGE_MEMORY]: 'memory',
      [XEN_DMOP_IO_RANGE_PCI]: 'pci',
    };
    const name = `${names[r.type]} 0x${r.start.toString(16)}-0x${r.end.toString(16)}`;
    if (this.ranges.has(name) === isMap) return isMap ? -XEN_EEXIST : -XEN_ENOENT;
    if (isMap) this.ranges.add(name);
    else this.ranges.delete(name);
    return 0;
  }
  get isOn(): boolean {
    return this.isEnabled;
  }
}
