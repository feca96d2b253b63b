// The privileged hypercalls that the toolstack makes on other domains, and their pages in dom0's frames: what Linux's privcmd
// device and libxc offer there (domctl.h, memory.h, xen.h).
import {
  __HYPERVISOR_domctl,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_xen_version,
  DOMID_SELF,
  type Domid,
  domid,
  encode,
  type Fields,
  gfn,
  guestHandle,
  mfn,
  mmuext_op,
  type PageView,
  type PartialWrite,
  type Struct,
  type StructOf,
  subOpName,
  u32,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_ENOENT,
  XEN_SYSCTL_INTERFACE_VERSION,
  XENMAPSPACE_gmfn_foreign,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap_batch,
  XENMEM_decrease_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  XENMEM_set_memory_map,
  XENVER_capabilities,
  xen_add_to_physmap_batch,
  xen_domctl,
  xen_foreign_memory_map,
  xen_mem_acquire_resource,
  xen_memory_reservation,
  xen_remove_from_physmap,
  xen_sysctl,
} from '@ringworld/abi';
import { DOM0_ABI, HypercallError, type Hypercalls } from './hypercall.ts';
import { PAGE_SIZE } from './memory.ts';

/** How many frames one hypercall maps or allocates: the lists of a batch must fit the argument area (memory.ts). */
const BATCH = 4096;

/** Entry of an e820 map as XENMEM_memory_map has it: packed, 20 bytes (memory.h refers to the BIOS layout). */
export interface E820Entry {
  readonly addr: number;
  readonly size: number;
  readonly type: number;
}
export const E820_RAM = 1;
const E820_ENTRY_SIZE = 20;

/** Pages of another domain, consecutive in dom0's frames. Touching them after unmap() throws. */
export interface ForeignMapping {
  readonly count: number;
  page(index: number): PageView;
  /** Across pages; `offset` counts from the first byte of page 0. */
  write(offset: number, bytes: Uint8Array): void;
  read(offset: number, length: number): Uint8Array;
  unmap(): void;
}

const pfnList = (frames: ArrayLike<number>, from: number, count: number): Uint8Array => {
  const list = new BigUint64Array(count);
  for (let i = 0; i < count; i++) list[i] = BigInt(frames[from + i]!);
  return new Uint8Array(list.buffer);
};

export class Privcmd {
  readonly xen: Hypercalls;

  constructor(xen: Hypercalls) {
    this.xen = xen;
  }

  /** A domctl without argument structure. Returns the domain id that came back (createdomain fills it in). */
  domctl(cmd: number, dom: Domid): void {
    this.rawDomctl(cmd, dom, new Uint8Array(0));
  }

  /** A domctl with its argument; returns both as Xen left them. */
  domctlWith<F extends Fields, W>(
    cmd: number,
    dom: Domid,
    struct: Struct<F, W>,
    value: PartialWrite<F>,
  ): { readonly domain: Domid; readonly out: StructOf<F> } {
    const reply = this.rawDomctl(cmd, dom, struct.encode(DOM0_ABI, value));
    return { domain: reply.domain, out: struct.decode(DOM0_ABI, reply.u) };
  }

  private rawDomctl(cmd: number, dom: Domid, u: Uint8Array): StructOf<typeof xen_domctl.fields> {
    const { memory } = this.xen;
    return memory.withArguments((args) => {
      const at = args.put(xen_domctl.encode(DOM0_ABI, { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain: dom, u }));
      this.xen.call(subOpName(__HYPERVISOR_domctl, cmd), __HYPERVISOR_domctl, at);
      return xen_domctl.decode(DOM0_ABI, memory.read(at, xen_domctl.size(DOM0_ABI)));
    });
  }

  /** A sysctl with its argument; returns it as Xen left it. */
  sysctlWith<F extends Fields, W>(cmd: number, struct: Struct<F, W>, value: PartialWrite<F>): StructOf<F> {
    const { memory } = this.xen;
    return memory.withArguments((args) => {
      const u = struct.encode(DOM0_ABI, value);
      const at = args.put(xen_sysctl.encode(DOM0_ABI, { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION, u }));
      this.xen.call(subOpName(__HYPERVISOR_sysctl, cmd), __HYPERVISOR_sysctl, at);
      return struct.decode(DOM0_ABI, memory.read(at + xen_sysctl.offset('u', DOM0_ABI), struct.size(DOM0_ABI)));
    });
  }

  /** XENVER_capabilities: the guest types this hypervisor runs, e.g. "xen-3.0-x86_64". */
  capabilities(): string[] {
    const { memory } = this.xen;
    const text = memory.withArguments((args) => {
      const at = args.reserve(XEN_CAPABILITIES_INFO_LEN);
      this.xen.call('XENVER_capabilities', __HYPERVISOR_xen_version, XENVER_capabilities, at);
      return new TextDecoder('latin1').decode(memory.read(at, XEN_CAPABILITIES_INFO_LEN));
    });
    return text
      .split('\0', 1)[0]!
      .split(' ')
      .filter((word) => word !== '');
  }

  /**
   * Gives the domain memory: extents of 2^order pages at the given pseudo-physical frames. Returns the machine frames of those
   * that could be had: fewer than asked for when memory ran out. `addressBits`: how wide a machine address may be (0: any).
   */
  populatePhysmap(dom: Domid, pfns: ArrayLike<number>, order: number, addressBits = 0): number[] {
    const { memory } = this.xen;
    const mfns: number[] = [];
    for (let from = 0; from < pfns.length; from += BATCH) {
      const count = Math.min(BATCH, pfns.length - from);
      const done = memory.withArguments((args) => {
        const extents = args.put(pfnList(pfns, from, count));
        const at = args.put(
          xen_memory_reservation.encode(DOM0_ABI, {
            extent_start: guestHandle(extents),
            nr_extents: count,
            extent_order: order,
            // XENMEMF_address_bits().
            mem_flags: addressBits,
            domid: dom,
          }),
        );
        const result = this.xen.call('XENMEM_populate_physmap', __HYPERVISOR_memory_op, XENMEM_populate_physmap, at);
        const list = new BigUint64Array(memory.read(extents, result * 8).buffer);
        for (const frame of list) mfns.push(Number(frame));
        return result;
      });
      if (done < count) break;
    }
    return mfns;
  }

  /** Takes machine frames back from a domain; returns how many. */
  decreaseReservation(dom: Domid, mfns: ArrayLike<number>): number {
    return this.xen.memory.withArguments((args) => {
      const extent_start = guestHandle(args.put(pfnList(mfns, 0, mfns.length)));
      const reservation = { extent_start, nr_extents: mfns.length, extent_order: 0, mem_flags: 0, domid: dom };
      return this.xen.op(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, xen_memory_reservation, reservation).result;
    });
  }

  setMemoryMap(dom: Domid, entries: readonly E820Entry[]): void {
    const { memory } = this.xen;
    memory.withArguments((args) => {
      const bytes = new Uint8Array(entries.length * E820_ENTRY_SIZE);
      const view = new DataView(bytes.buffer);
      entries.forEach((e, i) => {
        view.setBigUint64(i * E820_ENTRY_SIZE, BigInt(e.addr), true);
        view.setBigUint64(i * E820_ENTRY_SIZE + 8, BigInt(e.size), true);
        view.setUint32(i * E820_ENTRY_SIZE + 16, e.type, true);
      });
      const buffer = args.put(bytes);
      this.xen.op(__HYPERVISOR_memory_op, XENMEM_set_memory_map, xen_foreign_memory_map, {
        domid: dom,
        map: { nr_entries: entries.length, buffer: guestHandle(buffer) },
      });
    });
  }

  /** Maps frames of another domain (its gmfns: machine frames for a PV domain) for reading and writing. All or nothing. */
  mapForeign(dom: Domid, frames: ArrayLike<number>): ForeignMapping {
    const { memory } = this.xen;
    const count = frames.length;
    const start = memory.reserveFrames(count);
    let attempted = 0;
    let live = true;
    const unmap = () => {
      if (!live) return;
      live = false;
      for (let i = 0; i < attempted; i++) this.removeFromPhysmap(start + i);
      memory.releaseFrames(start, count);
    };
    try {
      for (let from = 0; from < count; from = attempted) {
        attempted = Math.min(from + BATCH, count);
        this.addForeign(dom, frames, from, start);
      }
    } catch (e) {
      unmap();
      throw e;
    }
    return this.mapping(start, count, unmap);
  }

  /** Maps `count` frames of a resource of another domain from `frame` on (XENMEM_resource_*; libxenforeignmemory's map_resource). */
  acquireResource(dom: Domid, type: number, id: number, frame: number, count: number): ForeignMapping {
    const { memory } = this.xen;
    const start = memory.reserveFrames(count);
    let live = true;
    const unmap = () => {
      if (!live) return;
      live = false;
      for (let i = 0; i < count; i++) this.removeFromPhysmap(start + i);
      memory.releaseFrames(start, count);
    };
    try {
      memory.withArguments((args) => {
        const frames = Array.from({ length: count }, (_, i) => start + i);
        const frame_list = guestHandle(args.put(pfnList(frames, 0, count)));
        const resource = { domid: dom, type, id, nr_frames: count, frame, frame_list };
        this.xen.op(__HYPERVISOR_memory_op, XENMEM_acquire_resource, xen_mem_acquire_resource, resource);
      });
    } catch (e) {
      unmap();
      throw e;
    }
    return this.mapping(start, count, unmap);
  }

  private mapping(start: number, count: number, unmap: () => void): ForeignMapping {
    const { memory } = this.xen;
    return {
      count,
      page: (index) => memory.page(gfn(start + index)),
      write: (offset, bytes) => memory.write(start * PAGE_SIZE + offset, bytes),
      read: (offset, length) => memory.read(start * PAGE_SIZE + offset, length),
      unmap,
    };
  }

  /** One batch from index `from` on; throws if any frame of it cannot be mapped. */
  private addForeign(dom: Domid, frames: ArrayLike<number>, from: number, start: number): void {
    const { memory } = this.xen;
    const size = Math.min(BATCH, frames.length - from);
    memory.withArguments((args) => {
      const idxs = args.put(pfnList(frames, from, size));
      const gpfns = args.put(
        pfnList(
          Array.from({ length: size }, (_, i) => start + from + i),
          0,
          size,
        ),
      );
      const errs = args.put(new Uint8Array(size * 4));
      this.xen.op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, xen_add_to_physmap_batch, {
        domid: domid(DOMID_SELF),
        space: XENMAPSPACE_gmfn_foreign,
        size,
        u: { foreign_domid: dom },
        idxs: guestHandle(idxs),
        gpfns: guestHandle(gpfns),
        errs: guestHandle(errs),
      });
      const results = new Int32Array(memory.read(errs, size * 4).buffer);
      const bad = results.findIndex((e) => e !== 0);
      if (bad >= 0) throw new HypercallError(`mapping frame 0x${frames[from + bad]!.toString(16)} of domain ${dom}`, results[bad]!);
    });
  }

  /** A frame that a failed batch left empty is no error here: Xen then has nothing to remove. */
  private removeFromPhysmap(frame: number): void {
    this.xen.memory.withArguments((args) => {
      const at = args.put(xen_remove_from_physmap.encode(DOM0_ABI, { domid: domid(DOMID_SELF), gpfn: gfn(frame) }));
      const result = this.xen.attempt(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, at);
      if (result < 0 && result !== -XEN_ENOENT) throw new HypercallError('XENMEM_remove_from_physmap', result);
    });
  }

  /** One mmuext_op on a machine frame of another domain (MMUEXT_PIN_L4_TABLE and its like). */
  mmuext(dom: Domid, cmd: number, frame: number): void {
    this.xen.memory.withArguments((args) => {
      const at = args.put(mmuext_op.encode(DOM0_ABI, { cmd, arg1: { mfn: mfn(frame) } }));
      const done = args.put(encode(u32, DOM0_ABI, 0));
      this.xen.call(subOpName(__HYPERVISOR_mmuext_op, cmd), __HYPERVISOR_mmuext_op, at, 1, done, dom);
    });
  }
}
