// Device models of an HVM domain: which accesses each has claimed, and the two pages through which it is asked to carry them out
// (xen/common/ioreq.c of 4.17; public/hvm/ioreq.h). hypercalls/dm_op.ts makes and rules them; the exits of hvm/ select and ask.
//
// A request is one slot per vCPU in the server's page: it is filled and marked STATE_IOREQ_READY, the vCPU's event channel is notified, and
// the vCPU waits until the model has made it STATE_IORESP_READY and notified back, which ends in HvmHooks.ioreqDone. The model may write
// anything into the page: what is read back is the data and the state, once each.

import {
  BUFFERED_IOPAGE,
  HVM_IOREQSRV_BUFIOREQ_ATOMIC,
  HVM_IOREQSRV_BUFIOREQ_OFF,
  HVM_PARAM_BUFIOREQ_PFN,
  HVM_PARAM_IOREQ_PFN,
  HVM_PARAM_IOREQ_SERVER_PFN,
  HVM_PARAM_NR_IOREQ_SERVER_PAGES,
  HVMMEM_ioreq_server,
  IOREQ_BUFFER_SLOT_NUM,
  IOREQ_TYPE_COPY,
  IOREQ_TYPE_PCI_CONFIG,
  IOREQ_TYPE_PIO,
  ioreq,
  STATE_IOREQ_NONE,
  STATE_IOREQ_READY,
  STATE_IORESP_READY,
  XEN_DMOP_IO_RANGE_MEMORY,
  XEN_DMOP_IO_RANGE_PCI,
  XEN_DMOP_IO_RANGE_PORT,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENOSPC,
  XEN_EPERM,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { getWritableFrame, putWritableFrame } from '../core/guest-frame.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { type EvtchnPort, type Gfn, INVALID_MFN, type Maddr, type Mfn } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import { addPage, clearEntry } from '../core/p2m-physmap.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { RangeSet } from './range-set.ts';

/** MAX_NR_IOREQ_SERVERS. */
const MAX_SERVERS = 8;
const NO_GFN = -1;
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;

const SLOT = {
  size: ioreq.size('x86_64'),
  addr: ioreq.offset('addr', 'x86_64'),
  data: ioreq.offset('data', 'x86_64'),
  count: ioreq.offset('count', 'x86_64'),
  bytes: ioreq.offset('size', 'x86_64'),
  port: ioreq.offset('vp_eport', 'x86_64'),
  bits: ioreq.offset('$bits', 'x86_64'),
  type: ioreq.offset('type', 'x86_64'),
} as const;

/** What is asked of a model. One object is filled and used again: sending copies it. */
export interface IoRequest {
  /** IOREQ_TYPE_PIO or IOREQ_TYPE_COPY (memory). */
  type: number;
  /** Port or guest-physical address. */
  addr: number;
  /** Bytes of one element: 1, 2, 4 or 8. */
  size: number;
  /** Elements (REP); 1 otherwise. */
  count: number;
  /** The value written, or where the data lies when `dataIsPtr`; in halves. */
  dataLo: number;
  dataHi: number;
  dataIsPtr: boolean;
  isRead: boolean;
  /** RFLAGS.DF, for several elements. */
  isDown: boolean;
}

/** A page shared with the model: one of the guest's frames, or one that the model acquired as a resource. */
interface SharedPage {
  mfn: Mfn;
  /** Where it was in the guest, NO_GFN for an acquired one. */
  gfn: number;
}
const noPage = (): SharedPage => ({ mfn: INVALID_MFN, gfn: NO_GFN });

export class IoreqServer {
  readonly id: number;
  /** The domain that the model runs in. */
  readonly emulator: Domain;
  /** HVM_IOREQSRV_BUFIOREQ_*. */
  readonly buffering: number;
  isEnabled = false;
  readonly ports = new RangeSet();
  readonly memory = new RangeSet();
  readonly pci = new RangeSet();
  readonly sync = noPage();
  readonly buffered = noPage();
  /** By vCPU. */
  readonly vcpuPorts: EvtchnPort[] = [];
  bufioreqPort: EvtchnPort | 0 = 0;

  constructor(id: number, emulator: Domain, buffering: number) {
    this.id = id;
    this.emulator = emulator;
    this.buffering = buffering;
  }
  get hasBuffer(): boolean {
    return this.buffering !== HVM_IOREQSRV_BUFIOREQ_OFF;
  }
}

export class IoreqServers {
  private readonly hv: Hypervisor;
  private readonly domain: Domain;
  private readonly servers: (IoreqServer | undefined)[] = new Array<undefined>(MAX_SERVERS).fill(undefined);
  /** Pages of HVM_PARAM_IOREQ_SERVER_PFN that a server uses, by number; the two legacy ones after them. */
  private readonly usedPages = new Set<number>();
  /** PCI configuration address register, as last written (hvm_access_cf8()). */
  pciCf8 = 0;
  /** Gets the writes to pages of type HVMMEM_ioreq_server (XEN_DMOP_map_mem_type_to_ioreq_server). */
  writeServer: IoreqServer | null = null;

  constructor(hv: Hypervisor, domain: Domain) {
    this.hv = hv;
    this.domain = domain;
  }

  // --- what device models ask (hypercalls/dm_op.ts)

  /** The new server's id, or -XEN_Exxx. */
  create(emulator: Domain, buffering: number): number {
    if (buffering > HVM_IOREQSRV_BUFIOREQ_ATOMIC) return -XEN_EINVAL;
    const id = this.servers.indexOf(undefined);
    if (id === -1) return -XEN_ENOSPC;
    const server = new IoreqServer(id, emulator, buffering);
    for (const v of this.domain.vcpus) {
      const rc = this.addVcpu(server, v);
      if (rc < 0) {
        this.closePorts(server);
        return rc;
      }
    }
    this.servers[id] = server;
    return id;
  }

  /** -XEN_ENOENT, or -XEN_EPERM when it is another domain's. */
  get(id: number, emulator: Domain): IoreqServer | number {
    const s = this.servers[id];
    if (s === undefined) return -XEN_ENOENT;
    return s.emulator === emulator ? s : -XEN_EPERM;
  }

  destroy(server: IoreqServer): void {
    this.setState(server, false);
    if (this.writeServer === server) this.mapMemType(server, HVMMEM_ioreq_server, 0);
    this.dropPage(server.sync);
    this.dropPage(server.buffered);
    this.closePorts(server);
    this.servers[server.id] = undefined;
    for (const v of this.domain.vcpus) this.hv.hvm.ioreqDone(this.hv, v);
  }

  destroyAll(): void {
    for (const s of this.servers) if (s !== undefined) this.destroy(s);
  }

  /** Takes pages of the guest for a server that has none yet (ioreq_server_map_pages()). 0 or -XEN_Exxx. */
  mapPages(server: IoreqServer): number {
    const rc = this.mapPage(server.sync, HVM_PARAM_IOREQ_PFN);
    if (rc !== 0 || !server.hasBuffer) return rc;
    const buffered = this.mapPage(server.buffered, HVM_PARAM_BUFIOREQ_PFN);
    if (buffered !== 0) this.dropPage(server.sync);
    return buffered;
  }

  /** The frame of XENMEM_resource_ioreq_server: 0 is the buffered page, 1 the synchronous one. INVALID_MFN when there is none. */
  resourceFrame(server: IoreqServer, frame: number): Mfn {
    const page = frame === 0 ? server.buffered : frame === 1 ? server.sync : null;
    if (page === null || (frame === 0 && !server.hasBuffer)) return INVALID_MFN;
    if (page.gfn !== NO_GFN) return INVALID_MFN;
    if (page.mfn === INVALID_MFN) page.mfn = this.hv.frames.allocShared(this.domain.id);
    return page.mfn;
  }

  mapRange(server: IoreqServer, type: number, start: number, end: number): number {
    const set = rangesOf(server, type);
    if (set === null || end < start) return -XEN_EINVAL;
    if (set.overlaps(start, end)) return -XEN_EEXIST;
    return set.add(start, end) ? 0 : -XEN_ENOMEM;
  }
  unmapRange(server: IoreqServer, type: number, start: number, end: number): number {
    const set = rangesOf(server, type);
    if (set === null || end < start) return -XEN_EINVAL;
    if (!set.contains(start, end)) return -XEN_ENOENT;
    return set.remove(start, end) ? 0 : -XEN_ENOMEM;
  }

  /** An enabled server's pages are out of the guest's reach. */
  setState(server: IoreqServer, enabled: boolean): number {
    if (server.isEnabled === enabled) return 0;
    for (const page of [server.sync, server.buffered]) {
      if (page.gfn === NO_GFN) continue;
      if (enabled) clearEntry(this.hv, this.domain, page.gfn as Gfn, false);
      else addPage(this.hv, this.domain, page.gfn, page.mfn);
    }
    server.isEnabled = enabled;
    if (enabled) for (const v of this.domain.vcpus) this.tellPort(server, v);
    return 0;
  }

  /** `flags`: XEN_DMOP_IOREQ_MEM_ACCESS_*; 0 gives the pages back to the guest. Of reads Xen takes no note either. */
  mapMemType(server: IoreqServer, type: number, flags: number): number {
    if (type !== HVMMEM_ioreq_server || flags & ~2) return -XEN_EINVAL;
    if (flags === 0) {
      if (this.writeServer !== server) return -XEN_EINVAL;
      const { p2m } = this.domain;
      for (const e of p2m.entries()) if (e.type === P2M_TYPES.ioreq_server) p2m.set(e.gfn, e.mfn, P2M_TYPES.ram_rw);
      this.writeServer = null;
      return 0;
    }
    if (this.writeServer !== null) return -XEN_EEXIST;
    this.writeServer = server;
    return 0;
  }

  /** A vCPU that was made after the servers. */
  vcpuCreated(vcpu: Vcpu): void {
    for (const s of this.servers) if (s !== undefined) this.addVcpu(s, vcpu);
  }

  // --- what exits ask

  /** hvm_access_cf8(): a 32-bit write to port 0xcf8. The access goes on to the model whose the port is. */
  noteConfigAddress(value: number): void {
    this.pciCf8 = value >>> 0;
  }

  /**
   * ioreq_server_select(): the enabled server that has claimed the whole access, the latest first; null when there is none. A configuration
   * access (port 0xcfc to 0xcff with an address enabled) is for the server of that PCI function: `request` becomes IOREQ_TYPE_PCI_CONFIG,
   * its address SBDF << 32 | register.
   */
  select(request: IoRequest): IoreqServer | null {
    const isConfig = request.type === IOREQ_TYPE_PIO && (request.addr & ~3) === CONFIG_DATA && this.pciCf8 >= 0x8000_0000;
    const sbdf = (this.pciCf8 >>> 8) & 0xffff;
    const end = request.addr + request.size - 1;
    // Several elements go down as far as they go up otherwise.
    const span = request.type === IOREQ_TYPE_COPY ? (request.count - 1) * request.size : 0;
    const first = request.isDown ? request.addr - span : request.addr;
    const last = request.isDown ? end : end + span;
    for (let i = MAX_SERVERS - 1; i >= 0; i--) {
      const s = this.servers[i];
      if (s === undefined || !s.isEnabled) continue;
      if (isConfig && s.pci.contains(sbdf, sbdf)) {
        const register = (this.pciCf8 & 0xfc) | (request.addr & 3);
        request.type = IOREQ_TYPE_PCI_CONFIG;
        request.addr = sbdf * 0x1_0000_0000 + register;
        return s;
      }
      if (request.type === IOREQ_TYPE_PIO ? s.ports.contains(first, last) : s.memory.contains(first, last)) return s;
    }
    return null;
  }

  /** Asks `server`; the vCPU has to wait for ioreqDone(). False: its slot is in use, which is the model's fault and the domain's end. */
  send(vcpu: Vcpu, server: IoreqServer, r: IoRequest): boolean {
    const { ram } = this.hv;
    const at = this.slotAt(server, vcpu);
    if (at === -1) return false;
    if ((ram.read8((at + SLOT.bits) as Maddr) & 15) !== STATE_IOREQ_NONE) {
      this.domain.crash(`device model ${server.id} set bad IO state`);
      return false;
    }
    const word = (offset: number, value: number): void => ram.write32((at + offset) as Maddr, value);
    word(SLOT.addr, r.addr);
    word(SLOT.addr + 4, Math.floor(r.addr / 0x1_0000_0000));
    word(SLOT.data, r.dataLo);
    word(SLOT.data + 4, r.dataHi);
    word(SLOT.count, r.count);
    word(SLOT.bytes, r.size);
    word(SLOT.port, server.vcpuPorts[vcpu.id]!);
    ram.write8((at + SLOT.type) as Maddr, r.type);
    const flags = (r.dataIsPtr ? 16 : 0) | (r.isRead ? 32 : 0) | (r.isDown ? 64 : 0);
    // The state comes last: from here on the slot is the model's.
    ram.write8((at + SLOT.bits) as Maddr, STATE_IOREQ_READY | flags);
    this.domain.evtchn.notifyXen(server.vcpuPorts[vcpu.id]!);
    return true;
  }

  /**
   * Takes the answer to the vCPU's request: true with its data in `dataLo` and `dataHi`, false while it is still under way.
   * A server that is gone answers with ones.
   */
  takeResponse(vcpu: Vcpu, server: IoreqServer): boolean {
    const { ram } = this.hv;
    const at = this.servers[server.id] === server ? this.slotAt(server, vcpu) : -1;
    this.dataLo = -1;
    this.dataHi = -1;
    if (at === -1) return true;
    const state = ram.read8((at + SLOT.bits) as Maddr) & 15;
    if (state === STATE_IOREQ_NONE) return true;
    if (state !== STATE_IORESP_READY) return false;
    ram.write8((at + SLOT.bits) as Maddr, STATE_IOREQ_NONE);
    this.dataLo = ram.read32((at + SLOT.data) as Maddr) | 0;
    this.dataHi = ram.read32((at + SLOT.data + 4) as Maddr) | 0;
    return true;
  }
  dataLo = 0;
  dataHi = 0;

  /**
   * Puts a write into the buffered page, for which nobody waits. False: it does not fit there (address past 2^20, several elements, a
   * pointer, no buffer, or a full one) and is to be sent. (ioreq_send_buffered())
   */
  sendBuffered(server: IoreqServer, r: IoRequest): boolean {
    const { ram } = this.hv;
    const page = server.buffered.mfn;
    if (page === INVALID_MFN || r.isRead || r.dataIsPtr || r.count !== 1 || r.addr > 0xf_ffff) return false;
    const log2 = 31 - Math.clz32(r.size);
    const slots = r.size === 8 ? 2 : 1;
    const base = page * 4096;
    const readAt = (base + BUFFERED_IOPAGE.readPointer) as Maddr;
    const writeAt = (base + BUFFERED_IOPAGE.writePointer) as Maddr;
    const write = ram.read32(writeAt);
    if (((write - ram.read32(readAt)) >>> 0) + slots > IOREQ_BUFFER_SLOT_NUM) return false;
    const put = (index: number, data: number): void => {
      const at = base + BUFFERED_IOPAGE.slots + (index % IOREQ_BUFFER_SLOT_NUM) * 8;
      ram.write32(at as Maddr, r.type | (log2 << 10) | (r.addr << 12));
      ram.write32((at + 4) as Maddr, data);
    };
    put(write, r.dataLo);
    if (slots === 2) put((write + 1) >>> 0, r.dataHi);
    ram.write32(writeAt, write + slots);
    // Pointers run on; a model that reads both at once lets them be brought back (BUFIOREQ_ATOMIC).
    if (server.buffering === HVM_IOREQSRV_BUFIOREQ_ATOMIC && ram.read32(readAt) >= IOREQ_BUFFER_SLOT_NUM) {
      ram.write32(readAt, ram.read32(readAt) - IOREQ_BUFFER_SLOT_NUM);
      ram.write32(writeAt, ram.read32(writeAt) - IOREQ_BUFFER_SLOT_NUM);
    }
    if (server.bufioreqPort !== 0) this.domain.evtchn.notifyXen(server.bufioreqPort);
    return true;
  }

  // --- inside

  private addVcpu(server: IoreqServer, vcpu: Vcpu): number {
    const { evtchn } = this.domain;
    const done = (v: Vcpu): void => this.hv.hvm.ioreqDone(this.hv, v);
    const port = evtchn.allocUnboundXen(vcpu.id, server.emulator.id, done);
    if (port < 0) return port;
    server.vcpuPorts[vcpu.id] = port as EvtchnPort;
    if (vcpu.id === 0 && server.hasBuffer) {
      const buffered = evtchn.allocUnboundXen(vcpu.id, server.emulator.id, () => {});
      if (buffered < 0) return buffered;
      server.bufioreqPort = buffered as EvtchnPort;
    }
    if (server.isEnabled) this.tellPort(server, vcpu);
    return 0;
  }
  private closePorts(server: IoreqServer): void {
    for (const port of server.vcpuPorts) if (port !== undefined) this.domain.evtchn.close(port, false);
    if (server.bufioreqPort !== 0) this.domain.evtchn.close(server.bufioreqPort, false);
  }
  /** hvm_update_ioreq_evtchn(): the model learns the port from the slot. */
  private tellPort(server: IoreqServer, vcpu: Vcpu): void {
    const at = this.slotAt(server, vcpu);
    if (at !== -1) this.hv.ram.write32((at + SLOT.port) as Maddr, server.vcpuPorts[vcpu.id]!);
  }
  private slotAt(server: IoreqServer, vcpu: Vcpu): Maddr | -1 {
    const { mfn } = server.sync;
    return mfn === INVALID_MFN ? -1 : ((mfn * 4096 + vcpu.id * SLOT.size) as Maddr);
  }

  /** hvm_alloc_ioreq_gfn() and hvm_map_ioreq_gfn(): of the pages set aside for servers, else the parameter of old. */
  private mapPage(page: SharedPage, legacy: number): number {
    if (page.mfn !== INVALID_MFN) return page.gfn === NO_GFN ? -XEN_EPERM : 0;
    const params = this.domain.hvm!.params;
    const gfn = this.freeGfn(
      Number(params[HVM_PARAM_IOREQ_SERVER_PFN]),
      Number(params[HVM_PARAM_NR_IOREQ_SERVER_PAGES]),
      Number(params[legacy]),
    );
    if (gfn === NO_GFN) return -XEN_ENOMEM;
    const mfn = getWritableFrame(this.hv, this.domain, gfn);
    if (mfn === INVALID_MFN) return -XEN_EINVAL;
    this.usedPages.add(gfn);
    page.mfn = mfn;
    page.gfn = gfn;
    this.hv.ram.fill((mfn * 4096) as Maddr, 0, 4096);
    return 0;
  }
  private freeGfn(base: number, count: number, legacy: number): number {
    for (let gfn = base; gfn < base + count; gfn++) if (base !== 0 && !this.usedPages.has(gfn)) return gfn;
    return legacy !== 0 && !this.usedPages.has(legacy) ? legacy : NO_GFN;
  }
  private dropPage(page: SharedPage): void {
    if (page.mfn === INVALID_MFN) return;
    if (page.gfn === NO_GFN) this.hv.frames.unshare(page.mfn);
    else {
      this.usedPages.delete(page.gfn);
      putWritableFrame(this.hv, page.mfn);
    }
    page.mfn = INVALID_MFN;
    page.gfn = NO_GFN;
  }
}

function rangesOf(server: IoreqServer, type: number): RangeSet | null {
  switch (type) {
    case XEN_DMOP_IO_RANGE_PORT:
      return server.ports;
    case XEN_DMOP_IO_RANGE_MEMORY:
      return server.memory;
    case XEN_DMOP_IO_RANGE_PCI:
      return server.pci;
    default:
      return null;
  }
}

/** See IoreqServers.select(); null too when the domain has no device model at all. */
export const selectServer = (domain: Domain, request: IoRequest): IoreqServer | null => domain.hvm?.ioreqServers?.select(request) ?? null;

export const isConfigAddress = (port: number, size: number): boolean => port === CONFIG_ADDRESS && size === 4;
