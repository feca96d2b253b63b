// dm_op: what a device model does to the HVM domain that it serves (xen/arch/x86/hvm/dm.c and xen/common/ioreq.c of 4.17). The first buffer
// holds struct xen_dm_op; some operations have a second one.

import {
  DOMID_SELF,
  HVMMEM_ioreq_server,
  HVMMEM_mmio_dm,
  HVMMEM_ram_ro,
  HVMMEM_ram_rw,
  type Infer,
  type Struct,
  XEN_DMOP_create_ioreq_server,
  XEN_DMOP_destroy_ioreq_server,
  XEN_DMOP_get_ioreq_server_info,
  XEN_DMOP_inject_event,
  XEN_DMOP_inject_msi,
  XEN_DMOP_map_io_range_to_ioreq_server,
  XEN_DMOP_map_mem_type_to_ioreq_server,
  XEN_DMOP_modified_memory,
  XEN_DMOP_no_gfns,
  XEN_DMOP_nr_vcpus,
  XEN_DMOP_pin_memory_cacheattr,
  XEN_DMOP_relocate_memory,
  XEN_DMOP_remote_shutdown,
  XEN_DMOP_set_ioreq_server_state,
  XEN_DMOP_set_isa_irq_level,
  XEN_DMOP_set_mem_type,
  XEN_DMOP_set_pci_intx_level,
  XEN_DMOP_set_pci_link_route,
  XEN_DMOP_track_dirty_vram,
  XEN_DMOP_unmap_io_range_from_ioreq_server,
  XEN_E2BIG,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  xen_dm_op_buf,
  xen_dm_op_create_ioreq_server,
  xen_dm_op_destroy_ioreq_server,
  xen_dm_op_get_ioreq_server_info,
  xen_dm_op_inject_event,
  xen_dm_op_inject_msi,
  xen_dm_op_ioreq_server_range,
  xen_dm_op_map_mem_type_to_ioreq_server,
  xen_dm_op_modified_memory,
  xen_dm_op_modified_memory_extent,
  xen_dm_op_nr_vcpus,
  xen_dm_op_pin_memory_cacheattr,
  xen_dm_op_relocate_memory,
  xen_dm_op_remote_shutdown,
  xen_dm_op_set_ioreq_server_state,
  xen_dm_op_set_isa_irq_level,
  xen_dm_op_set_mem_type,
  xen_dm_op_set_pci_intx_level,
  xen_dm_op_set_pci_link_route,
  xen_dm_op_track_dirty_vram,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { Gfn } from '../core/ids.ts';
import { P2M_TYPES, type P2mType } from '../core/p2m.ts';
import { addPage, isUsableGfn } from '../core/p2m-physmap.ts';
import { type IoreqServer, IoreqServers } from '../hvm/ioreq-servers.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';

/** XEN_DMOP buffers that any operation has: struct xen_dm_op, and data. */
const MAX_BUFFERS = 2;
/** `op` and `pad` of struct xen_dm_op; the argument follows. */
const HEAD = 8;
const NO_ERROR_CODE = 0xffff_ffff;
const ALL_ONES = 2 ** 64;

interface Buffer {
  readonly h: number;
  readonly size: number;
}
interface DmCall {
  readonly c: HypercallContext;
  readonly d: Domain;
  /** The second buffer. */
  readonly data: Buffer | undefined;
}
type Answer<T> = number | T;

interface DmOp {
  readonly size: number;
  /** Reads the argument at `at`, acts, and writes back what is an answer. */
  run(call: DmCall, at: number): number;
}

// biome-ignore lint/suspicious/noExplicitAny: any structure
function dmOp<S extends Struct<any, any>>(codec: S, act: (call: DmCall, a: Infer<S>) => Answer<Infer<S>>): DmOp {
  return {
    size: codec.size('x86_64'),
    run(call, at) {
      const a = call.c.guest.readStruct(codec, at);
      if (a === null) return -XEN_EFAULT;
      // SAFE: what the codec read is what it writes.
      const answer = act(call, a as Infer<S>);
      if (typeof answer === 'number') return answer;
      return call.c.guest.writeStruct(codec, at, answer) ? 0 : -XEN_EFAULT;
    },
  };
}

const serversOf = ({ c, d }: DmCall): IoreqServers => {
  const hvm = d.hvm!;
  hvm.ioreqServers ??= new IoreqServers(c.hv, d);
  return hvm.ioreqServers;
};
/** Acts on a server of the caller's. */
function withServer(call: DmCall, id: number, act: (servers: IoreqServers, s: IoreqServer) => number): number {
  const servers = serversOf(call);
  const s = servers.get(id, call.c.domain);
  return typeof s === 'number' ? s : act(servers, s);
}

/** 0 and 1; others are refused. */
const level = (value: number): boolean | null => (value === 0 ? false : value === 1 ? true : null);

const MEM_TYPES: Partial<Record<number, P2mType>> = {
  [HVMMEM_ram_rw]: P2M_TYPES.ram_rw,
  [HVMMEM_ram_ro]: P2M_TYPES.ram_ro,
  [HVMMEM_mmio_dm]: P2M_TYPES.mmio_dm,
  [HVMMEM_ioreq_server]: P2M_TYPES.ioreq_server,
};
const isRam = (t: P2mType): boolean => t === P2M_TYPES.ram_rw || t === P2M_TYPES.ram_ro || t === P2M_TYPES.ram_logdirty;
/** allow_p2m_type_change(). */
function mayChange(from: P2mType, to: P2mType): boolean {
  if (to === P2M_TYPES.ioreq_server) return from === P2M_TYPES.ram_rw;
  if (from === P2M_TYPES.ioreq_server) return to === P2M_TYPES.ram_rw;
  return isRam(from) || ((from === P2M_TYPES.invalid || from === P2M_TYPES.mmio_dm) && to === P2M_TYPES.mmio_dm);
}

function setMemType({ d }: DmCall, type: P2mType, first: number, nr: number): number {
  if (!isUsableGfn(first) || (nr > 0 && !isUsableGfn(first + nr - 1))) return -XEN_EINVAL;
  for (let gfn = first; gfn < first + nr; gfn++) {
    const g = gfn as Gfn;
    if (!mayChange(d.p2m.type(g), type)) return -XEN_EINVAL;
    d.p2m.set(g, d.p2m.mfn(g), type);
  }
  return 0;
}

const OPS: Record<number, DmOp | undefined> = {
  [XEN_DMOP_create_ioreq_server]: dmOp(xen_dm_op_create_ioreq_server, (call, a) => {
    if (a.pad.some((p) => p !== 0)) return -XEN_EINVAL;
    const id = serversOf(call).create(call.c.domain, a.handle_bufioreq);
    return id < 0 ? id : { ...a, id };
  }),
  [XEN_DMOP_get_ioreq_server_info]: dmOp(xen_dm_op_get_ioreq_server_info, (call, a) => {
    if (a.flags & ~XEN_DMOP_no_gfns) return -XEN_EINVAL;
    const servers = serversOf(call);
    const s = servers.get(a.id, call.c.domain);
    if (typeof s === 'number') return s;
    const bufioreq_port = s.bufioreqPort as typeof a.bufioreq_port;
    if (a.flags & XEN_DMOP_no_gfns) return { ...a, bufioreq_port };
    const rc = servers.mapPages(s);
    if (rc !== 0) return rc;
    const gfnOf = (gfn: number): number => (gfn === -1 ? ALL_ONES : gfn);
    return { ...a, bufioreq_port, ioreq_gfn: gfnOf(s.sync.gfn), bufioreq_gfn: gfnOf(s.buffered.gfn) };
  }),
  [XEN_DMOP_map_io_range_to_ioreq_server]: dmOp(xen_dm_op_ioreq_server_range, (call, a) =>
    a.pad !== 0 ? -XEN_EINVAL : withServer(call, a.id, (all, s) => all.mapRange(s, a.type, a.start, a.end)),
  ),
  [XEN_DMOP_unmap_io_range_from_ioreq_server]: dmOp(xen_dm_op_ioreq_server_range, (call, a) =>
    a.pad !== 0 ? -XEN_EINVAL : withServer(call, a.id, (all, s) => all.unmapRange(s, a.type, a.start, a.end)),
  ),
  [XEN_DMOP_map_mem_type_to_ioreq_server]: dmOp(xen_dm_op_map_mem_type_to_ioreq_server, (call, a) =>
    call.d.hvm?.isHap ? withServer(call, a.id, (all, s) => all.mapMemType(s, a.type, a.flags)) : -XEN_EOPNOTSUPP,
  ),
  [XEN_DMOP_set_ioreq_server_state]: dmOp(xen_dm_op_set_ioreq_server_state, (call, a) =>
    a.pad !== 0 ? -XEN_EINVAL : withServer(call, a.id, (all, s) => all.setState(s, a.enabled !== 0)),
  ),
  [XEN_DMOP_destroy_ioreq_server]: dmOp(xen_dm_op_destroy_ioreq_server, (call, a) => {
    if (a.pad !== 0) return -XEN_EINVAL;
    return withServer(call, a.id, (all, s) => {
      all.destroy(s);
      return 0;
    });
  }),
  [XEN_DMOP_track_dirty_vram]: dmOp(xen_dm_op_track_dirty_vram, ({ c, d, data }, a) => {
    if (a.pad !== 0 || data === undefined || !isUsableGfn(a.first_pfn) || a.nr > 0x1_0000) return -XEN_EINVAL;
    if (a.nr === 0) return c.hv.hvm.trackDirtyVram(c.hv, d, a.first_pfn as Gfn, 0, null);
    const bitmap = new Uint8Array(Math.ceil(a.nr / 8));
    if (data.size < bitmap.length) return -XEN_EINVAL;
    const rc = c.hv.hvm.trackDirtyVram(c.hv, d, a.first_pfn as Gfn, a.nr, bitmap);
    if (rc !== 0) return rc;
    return c.guest.copyTo(data.h, bitmap) ? 0 : -XEN_EFAULT;
  }),
  [XEN_DMOP_set_pci_intx_level]: dmOp(xen_dm_op_set_pci_intx_level, ({ c, d }, a) => {
    const on = level(a.level);
    if (a.domain !== 0 || a.bus !== 0 || a.device > 31 || a.intx > 3 || on === null) return -XEN_EINVAL;
    c.hv.hvm.setPciIntx(c.hv, d, a.device, a.intx, on);
    return 0;
  }),
  [XEN_DMOP_set_isa_irq_level]: dmOp(xen_dm_op_set_isa_irq_level, ({ c, d }, a) => {
    const on = level(a.level);
    if (a.isa_irq > 15 || on === null) return -XEN_EINVAL;
    c.hv.hvm.setIsaIrq(c.hv, d, a.isa_irq, on);
    return 0;
  }),
  [XEN_DMOP_set_pci_link_route]: dmOp(xen_dm_op_set_pci_link_route, ({ c, d }, a) => {
    if (a.link > 3 || a.isa_irq > 15) return -XEN_EINVAL;
    c.hv.hvm.setPciLinkRoute(c.hv, d, a.link, a.isa_irq);
    return 0;
  }),
  [XEN_DMOP_modified_memory]: dmOp(xen_dm_op_modified_memory, ({ c, d, data }, a) => {
    const size = xen_dm_op_modified_memory_extent.size('x86_64');
    if (data === undefined || a.opaque > a.nr_extents || data.size < a.nr_extents * size) return -XEN_EINVAL;
    for (let i = a.opaque; i < a.nr_extents; i++) {
      const extent = c.guest.readStruct(xen_dm_op_modified_memory_extent, data.h, i);
      if (extent === null) return -XEN_EFAULT;
      const last = extent.first_pfn + extent.nr - 1;
      if (extent.pad !== 0 || !isUsableGfn(extent.first_pfn) || (extent.nr > 0 && !isUsableGfn(last))) return -XEN_EINVAL;
      for (let gfn = extent.first_pfn; gfn <= last; gfn++) if (d.p2m.isWritable(gfn as Gfn)) c.hv.hvm.markDirty(c.hv, d, gfn as Gfn);
    }
    return 0;
  }),
  [XEN_DMOP_set_mem_type]: dmOp(xen_dm_op_set_mem_type, (call, a) => {
    const type = MEM_TYPES[a.mem_type];
    if (a.pad !== 0 || type === undefined) return -XEN_EINVAL;
    // Writes to such pages need somebody to take them.
    if (type === P2M_TYPES.ioreq_server && (!call.d.hvm?.isHap || call.d.hvm.ioreqServers?.writeServer == null)) return -XEN_EINVAL;
    return setMemType(call, type, a.first_pfn, a.nr);
  }),
  [XEN_DMOP_inject_event]: dmOp(xen_dm_op_inject_event, ({ c, d }, a) => {
    const v = d.vcpus[a.vcpuid];
    if (a.pad0 !== 0 || a.pad1 !== 0 || v === undefined) return -XEN_EINVAL;
    const errorCode = a.error_code === NO_ERROR_CODE ? -1 : a.error_code;
    return c.hv.hvm.injectEvent(c.hv, v, { vector: a.vector, type: a.type, errorCode, insnLen: a.insn_len, cr2: a.cr2 });
  }),
  [XEN_DMOP_inject_msi]: dmOp(xen_dm_op_inject_msi, ({ c, d }, a) => {
    if (a.pad !== 0) return -XEN_EINVAL;
    return c.hv.hvm.injectMsi(c.hv, d, Number(a.addr & 0xffff_ffffn), Number(a.addr >> 32n), a.data);
  }),
  [XEN_DMOP_remote_shutdown]: dmOp(xen_dm_op_remote_shutdown, ({ d }, a) => {
    d.shutdown(a.reason & 0xff);
    return 0;
  }),
  [XEN_DMOP_relocate_memory]: dmOp(xen_dm_op_relocate_memory, ({ c, d }, a) => {
    if (a.pad !== 0 || !isUsableGfn(a.src_gfn + a.size) || !isUsableGfn(a.dst_gfn + a.size)) return -XEN_EINVAL;
    for (let i = a.size - 1; i >= 0; i--) {
      const from = (a.src_gfn + i) as Gfn;
      const type = d.p2m.type(from);
      const mfn = d.p2m.mfn(from);
      if (!isRam(type)) return -XEN_EINVAL;
      d.p2m.remove(from);
      const rc = addPage(c.hv, d, a.dst_gfn + i, mfn);
      if (rc !== 0) return rc;
    }
    return 0;
  }),
  // Memory types have no effect here.
  [XEN_DMOP_pin_memory_cacheattr]: dmOp(xen_dm_op_pin_memory_cacheattr, (_call, a) => (a.pad !== 0 || a.end < a.start ? -XEN_EINVAL : 0)),
  [XEN_DMOP_nr_vcpus]: dmOp(xen_dm_op_nr_vcpus, ({ d }) => ({ vcpus: d.maxVcpus })),
};

export const dm_op: HypercallHandler = (c) => {
  const domid = c.argU32(0) & 0xffff;
  const count = c.argU32(1);
  if (count > MAX_BUFFERS) return -XEN_E2BIG;
  const buffers: Buffer[] = [];
  for (let i = 0; i < count; i++) {
    const b = c.guest.readStruct(xen_dm_op_buf, c.arg(2), i);
    if (b === null) return -XEN_EFAULT;
    // SAFE: a handle is an address.
    buffers.push({ h: b.h as number, size: b.size });
  }
  // rcu_lock_remote_domain_by_id().
  if (domid === DOMID_SELF || domid === c.domain.id) return -XEN_EPERM;
  const d = c.hv.domain(domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!d.isHvm) return -XEN_EINVAL;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  const [first, data] = buffers;
  if (first === undefined || first.size < HEAD || !c.guest.read64(first.h)) return -XEN_EFAULT;
  const { lo: nr, hi: pad } = c.guest;
  const op = OPS[nr >>> 0];
  if (op === undefined) return -XEN_EOPNOTSUPP;
  if (pad !== 0) return -XEN_EINVAL;
  if (first.size < HEAD + op.size) return -XEN_EFAULT;
  return op.run({ c, d, data }, first.h + HEAD);
};
