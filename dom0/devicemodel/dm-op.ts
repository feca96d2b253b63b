// The hypercall of a device model (public/hvm/dm_op.h; libxendevicemodel's calls). Interrupt lines change often, so those operations are written
// into a page of their own without making anything.
import {
  __HYPERVISOR_dm_op,
  type Domid,
  type EvtchnPort,
  type Fields,
  type Gfn,
  guestHandle,
  HVM_IOREQSRV_BUFIOREQ_ATOMIC,
  type PageView,
  type PartialWrite,
  type Struct,
  type StructOf,
  XEN_DMOP_create_ioreq_server,
  XEN_DMOP_destroy_ioreq_server,
  XEN_DMOP_get_ioreq_server_info,
  XEN_DMOP_IO_RANGE_MEMORY,
  XEN_DMOP_IO_RANGE_PCI,
  XEN_DMOP_IO_RANGE_PORT,
  XEN_DMOP_map_io_range_to_ioreq_server,
  XEN_DMOP_no_gfns,
  XEN_DMOP_remote_shutdown,
  XEN_DMOP_set_ioreq_server_state,
  XEN_DMOP_set_isa_irq_level,
  XEN_DMOP_set_pci_intx_level,
  XEN_DMOP_set_pci_link_route,
  XEN_DMOP_unmap_io_range_from_ioreq_server,
  xen_dm_op_buf,
  xen_dm_op_create_ioreq_server,
  xen_dm_op_destroy_ioreq_server,
  xen_dm_op_get_ioreq_server_info,
  xen_dm_op_ioreq_server_range,
  xen_dm_op_remote_shutdown,
  xen_dm_op_set_ioreq_server_state,
  xen_dm_op_set_isa_irq_level,
  xen_dm_op_set_pci_intx_level,
  xen_dm_op_set_pci_link_route,
} from '@ringworld/abi';
import { DOM0_ABI, HypercallError, type Hypercalls } from '../kernel/hypercall.ts';
import { type Memory, PAGE_SIZE } from '../kernel/memory.ts';

/** The page: one buffer descriptor, then struct xen_dm_op, whose argument follows `op` and `pad`. */
const OP = 64;
const ARGUMENT = OP + 8;
/** sizeof(struct xen_dm_op): its largest member is 32 bytes. */
const OP_SIZE = 40;

const INTX = {
  domain: xen_dm_op_set_pci_intx_level.offset('domain', DOM0_ABI),
  bus: xen_dm_op_set_pci_intx_level.offset('bus', DOM0_ABI),
  device: xen_dm_op_set_pci_intx_level.offset('device', DOM0_ABI),
  intx: xen_dm_op_set_pci_intx_level.offset('intx', DOM0_ABI),
  level: xen_dm_op_set_pci_intx_level.offset('level', DOM0_ABI),
} as const;
const ISA = {
  irq: xen_dm_op_set_isa_irq_level.offset('isa_irq', DOM0_ABI),
  level: xen_dm_op_set_isa_irq_level.offset('level', DOM0_ABI),
} as const;

const RANGE = { port: XEN_DMOP_IO_RANGE_PORT, memory: XEN_DMOP_IO_RANGE_MEMORY, pci: XEN_DMOP_IO_RANGE_PCI } as const;
export type RangeKind = keyof typeof RANGE;

const NAMES: Readonly<Record<number, string>> = {
  [XEN_DMOP_create_ioreq_server]: 'XEN_DMOP_create_ioreq_server',
  [XEN_DMOP_get_ioreq_server_info]: 'XEN_DMOP_get_ioreq_server_info',
  [XEN_DMOP_map_io_range_to_ioreq_server]: 'XEN_DMOP_map_io_range_to_ioreq_server',
  [XEN_DMOP_unmap_io_range_from_ioreq_server]: 'XEN_DMOP_unmap_io_range_from_ioreq_server',
  [XEN_DMOP_set_ioreq_server_state]: 'XEN_DMOP_set_ioreq_server_state',
  [XEN_DMOP_set_pci_link_route]: 'XEN_DMOP_set_pci_link_route',
  [XEN_DMOP_remote_shutdown]: 'XEN_DMOP_remote_shutdown',
};

/** What it uses of dom0. */
export interface DmOpHost {
  readonly memory: Pick<Memory, 'allocate' | 'free' | 'page'>;
  attempt: Hypercalls['attempt'];
}

export class DmOp {
  private readonly xen: DmOpHost;
  private readonly domid: Domid;
  private readonly frame: Gfn;
  private readonly page: PageView;

  constructor(xen: DmOpHost, domid: Domid) {
    this.xen = xen;
    this.domid = domid;
    this.frame = xen.memory.allocate(1);
    this.page = xen.memory.page(this.frame);
    this.page.writeBytes(0, xen_dm_op_buf.encode(DOM0_ABI, { h: guestHandle(this.frame * PAGE_SIZE + OP), size: OP_SIZE }));
  }

  /** Gives the page back; nothing may be called afterwards. */
  close(): void {
    this.xen.memory.free(this.frame, 1);
  }

  createIoreqServer(): number {
    return this.with(XEN_DMOP_create_ioreq_server, xen_dm_op_create_ioreq_server, {
      handle_bufioreq: HVM_IOREQSRV_BUFIOREQ_ATOMIC,
    }).id;
  }
  /** Of the buffered ring. The pages are had by XENMEM_acquire_resource, not at frames of the guest's. */
  bufioreqPort(id: number): EvtchnPort {
    return this.with(XEN_DMOP_get_ioreq_server_info, xen_dm_op_get_ioreq_server_info, { id, flags: XEN_DMOP_no_gfns }).bufioreq_port;
  }
  setIoreqServerState(id: number, isEnabled: boolean): void {
    this.with(XEN_DMOP_set_ioreq_server_state, xen_dm_op_set_ioreq_server_state, { id, enabled: isEnabled ? 1 : 0 });
  }
  /** With its domain it is gone already: then this does nothing. */
  destroyIoreqServer(id: number): void {
    this.page.writeBytes(ARGUMENT, xen_dm_op_destroy_ioreq_server.encode(DOM0_ABI, { id }));
    this.tell(XEN_DMOP_destroy_ioreq_server);
  }

  /** Both ends are inside. */
  mapRange(id: number, kind: RangeKind, start: number, end: number): void {
    this.with(XEN_DMOP_map_io_range_to_ioreq_server, xen_dm_op_ioreq_server_range, { id, type: RANGE[kind], start, end });
  }
  unmapRange(id: number, kind: RangeKind, start: number, end: number): void {
    this.with(XEN_DMOP_unmap_io_range_from_ioreq_server, xen_dm_op_ioreq_server_range, { id, type: RANGE[kind], start, end });
  }

  setPciLinkRoute(link: number, isaIrq: number): void {
    this.with(XEN_DMOP_set_pci_link_route, xen_dm_op_set_pci_link_route, { link, isa_irq: isaIrq });
  }
  /** SHUTDOWN_* of sched.h. */
  remoteShutdown(reason: number): void {
    this.with(XEN_DMOP_remote_shutdown, xen_dm_op_remote_shutdown, { reason });
  }

  // Lines: a domain that is being destroyed has none, which is nobody's fault.
  /** INTA# is pin 0 here. */
  setPciIntxLevel(device: number, intx: number, level: boolean): void {
    const { page } = this;
    page.setU16(ARGUMENT + INTX.domain, 0);
    page.setU8(ARGUMENT + INTX.bus, 0);
    page.setU8(ARGUMENT + INTX.device, device);
    page.setU8(ARGUMENT + INTX.intx, intx);
    page.setU8(ARGUMENT + INTX.level, level ? 1 : 0);
    this.tell(XEN_DMOP_set_pci_intx_level);
  }
  setIsaIrqLevel(irq: number, level: boolean): void {
    this.page.setU8(ARGUMENT + ISA.irq, irq);
    this.page.setU8(ARGUMENT + ISA.level, level ? 1 : 0);
    this.tell(XEN_DMOP_set_isa_irq_level);
  }

  private with<F extends Fields, W>(op: number, struct: Struct<F, W>, value: PartialWrite<F>): StructOf<F> {
    this.page.writeBytes(ARGUMENT, struct.encode(DOM0_ABI, value));
    this.make(op);
    return struct.decode(DOM0_ABI, this.page.bytes(ARGUMENT, struct.size(DOM0_ABI)));
  }
  private tell(op: number): number {
    this.page.setU32(OP, op);
    this.page.setU32(OP + 4, 0);
    return this.xen.attempt(__HYPERVISOR_dm_op, this.domid, 1, this.frame * PAGE_SIZE);
  }
  private make(op: number): void {
    const result = this.tell(op);
    if (result < 0) throw new HypercallError(NAMES[op] ?? `dm_op ${op}`, result);
  }
}
