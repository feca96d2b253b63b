import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  DOMID_XEN,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_claim_pages,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_machine_memory_map,
  XENMEM_machphys_mapping,
  XENMEM_machphys_mfn_list,
  XENMEM_maximum_ram_page,
  XENMEM_memory_map,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  XENMEM_set_memory_map,
  xen_add_to_physmap,
  xen_add_to_physmap_batch,
  xen_foreign_memory_map,
  xen_machphys_mapping,
  xen_machphys_mfn_list,
  xen_mem_acquire_resource,
  xen_memory_domain,
  xen_memory_exchange,
  xen_memory_map,
  xen_memory_reservation,
  xen_remove_from_physmap,
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { createDomain } from '../core/domain-create.ts';
import { destroyDomain } from '../core/domain-destroy.ts';
import type { Domid, Gfn, Lin, Maddr, Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { guestL1Entry } from '../pv/mm-walk.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import { createMemoryWorld, type MemoryWorld } from './memory-testing.ts';

const reserve = (
  w: MemoryWorld,
  v: Vcpu,
  op: number,
  frames: number[],
  order = 0,
  domid: number = DOMID_SELF,
): { rc: number; list: number } => {
  const list = w.putFrames(v, frames);
  const arg = w.put(v, xen_memory_reservation, { extent_start: list, nr_extents: frames.length, extent_order: order, mem_flags: 0, domid });
  return { rc: w.call(v, __HYPERVISOR_memory_op, op, arg), list };
};
/** Takes data page n out of the guest's page tables. */
function unmap(w: MemoryWorld, n: number): Mfn {
  const pt = pageTablesOf(w.hv.frames);
  const at = guestL1Entry(pt, w.guest.vcpu, w.guest.lin(n) as Lin) as Maddr;
  const lo = w.hv.ram.read32(at);
  w.hv.ram.write32(at, 0);
  pt.putFromL1e(lo, 0, w.guest.vcpu.domain);
  return w.guest.frame(n);
}

describe.each([false, true])('the memory reservation of a PV guest (32-bit: %s)', (is32bit) => {
  it('grows: the guest is told the frames, and the machine-to-physical table its numbers', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    const before = vcpu.domain.totPages;
    const { rc, list } = reserve(w, vcpu, XENMEM_populate_physmap, [0x500, 0x501]);
    expect(rc).toBe(2);
    expect(vcpu.domain.totPages).toBe(before + 2);
    const mfn = w.getFrame(vcpu, list, 1) as Mfn;
    expect(w.hv.frames.owner[mfn]).toBe(vcpu.domain.id);
    expect(w.hv.frames.m2p.pfn(mfn)).toBe(0x501);
    const more = reserve(w, vcpu, XENMEM_increase_reservation, [0], 3);
    expect(more.rc).toBe(1);
    expect(w.getFrame(vcpu, more.list, 0) % 8).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('shrinks, except by frames that are not its own', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    const mine = unmap(w, 10);
    const mapped = w.guest.frame(11);
    const foreign = w.hv.frames.allocForDomain(w.dom0);
    expect(reserve(w, vcpu, XENMEM_decrease_reservation, [mine, mapped, foreign, w.guest.frame(12)]).rc).toBe(2);
    expect(w.hv.frames.heap.isFree(mine)).toBe(true);
    // Still mapped: stays until the mapping goes.
    expect(w.hv.frames.owner[mapped]).toBe(vcpu.domain.id);
    expect(w.audit()).toEqual([]);
    unmap(w, 11);
    expect(w.hv.frames.heap.isFree(mapped)).toBe(true);
    expect(w.audit()).toEqual([]);
  });

  it('has limits: of pages, of order, of whom', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    vcpu.domain.maxPages = vcpu.domain.totPages + 1;
    expect(reserve(w, vcpu, XENMEM_populate_physmap, [0x500, 0x501]).rc).toBe(1);
    expect(reserve(w, vcpu, XENMEM_populate_physmap, [0x500], 10).rc).toBe(0);
    expect(reserve(w, vcpu, XENMEM_populate_physmap, [0x500], 0, 0).rc).toBe(0);
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_populate_physmap, 0x10)).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('exchanges frames for a contiguous extent', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    const frames = [unmap(w, 20), unmap(w, 22), unmap(w, 24), unmap(w, 26)];
    const before = vcpu.domain.totPages;
    const ins = w.putFrames(vcpu, frames);
    const outs = w.putFrames(vcpu, [0x900]);
    const half = { mem_flags: 0, domid: DOMID_SELF };
    const x = {
      in: { ...half, extent_start: ins, nr_extents: 4, extent_order: 0 },
      out: { ...half, extent_start: outs, nr_extents: 1, extent_order: 2 },
      nr_exchanged: 0,
    };
    const arg = w.put(vcpu, xen_memory_exchange, x);
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_exchange, arg)).toBe(0);
    expect(w.get(vcpu, xen_memory_exchange, arg).nr_exchanged).toBe(4);
    const mfn = w.getFrame(vcpu, outs, 0) as Mfn;
    expect(mfn % 4).toBe(0);
    expect(w.hv.frames.m2p.pfn((mfn + 3) as Mfn)).toBe(0x903);
    expect(vcpu.domain.totPages).toBe(before);
    const bad = w.put(vcpu, xen_memory_exchange, { ...x, in: { ...x.in, nr_extents: 3 } });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_exchange, bad)).toBe(-XEN_EINVAL);
    // Mapped frames cannot be given away; those taken before are given back.
    const mixed = w.put(vcpu, xen_memory_exchange, {
      ...x,
      in: { ...x.in, extent_start: w.putFrames(vcpu, [mfn, mfn + 1, mfn + 2, w.guest.frame(30)]) },
    });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_exchange, mixed)).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });

  it('may be asked about', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    const self = w.put(vcpu, xen_memory_domain, { domid: DOMID_SELF });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_current_reservation, self)).toBe(vcpu.domain.totPages);
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_maximum_ram_page, 0)).toBe(4096);
    const of0 = w.put(vcpu, xen_memory_domain, { domid: 0 });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_current_reservation, of0)).toBe(-XEN_EPERM);
    const none = w.put(vcpu, xen_memory_domain, { domid: 77 });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_current_reservation, none)).toBe(-XEN_ESRCH);
    const at = w.put(vcpu, xen_machphys_mapping, { v_start: 0, v_end: 0, max_mfn: 0 });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_machphys_mapping, at)).toBe(0);
    expect(w.get(vcpu, xen_machphys_mapping, at).v_start).toBe(is32bit ? 0xf580_0000 : -0x8000_0000_0000);
    expect(w.call(vcpu, __HYPERVISOR_memory_op, 63, 0)).toBe(-XEN_ENOSYS);
  });

  it('cannot place pages in a physical map that it does not have', () => {
    const w = createMemoryWorld({ is32bit });
    const arg = w.put(w.guest.vcpu, xen_add_to_physmap, { domid: DOMID_SELF, size: 0, space: XENMAPSPACE_shared_info, idx: 0, gpfn: 5 });
    expect(w.call(w.guest.vcpu, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, arg)).toBe(-XEN_EACCES);
  });

  it('has an e820 when dom0 set one', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    const [v0] = w.dom0.vcpus as [Vcpu];
    const buffer = w.putFrames(vcpu, [0, 0, 0, 0, 0, 0]);
    const map = w.put(vcpu, xen_memory_map, { nr_entries: 9, buffer });
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_memory_map, map)).toBe(-XEN_ENOSYS);
    const entry = w.putFrames(v0, [0, 0x400000, 1]);
    const set = w.put(v0, xen_foreign_memory_map, { domid: 1, map: { nr_entries: 1, buffer: entry } });
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_set_memory_map, set)).toBe(0);
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_memory_map, map)).toBe(0);
    expect(w.get(vcpu, xen_memory_map, map).nr_entries).toBe(1);
    expect(vcpu.guest.read32(buffer + 8)).toBe(0x400000);
    expect(w.call(vcpu, __HYPERVISOR_memory_op, XENMEM_machine_memory_map, map)).toBe(-XEN_EPERM);
  });
});

describe('the physical map of dom0', () => {
  const batch = (w: MemoryWorld, from: number, idxs: number[], gpfns: number[]): { rc: number; errs: number } => {
    const [v0] = w.dom0.vcpus as [Vcpu];
    const errs = w.putFrames(v0, [0]);
    const arg = w.put(v0, xen_add_to_physmap_batch, {
      domid: DOMID_SELF,
      space: XENMAPSPACE_gmfn_foreign,
      size: idxs.length,
      u: { foreign_domid: from },
      idxs: w.putFrames(v0, idxs),
      gpfns: w.putFrames(v0, gpfns),
      errs,
    });
    return { rc: w.call(v0, __HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, arg), errs };
  };

  it('takes foreign frames, reads and writes them, and lets them go', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    const { rc, errs } = batch(w, 1, [w.guest.frame(10), 0xb8], [0x1000, 0x1001]);
    expect(rc).toBe(0);
    expect(v0.guest.read32(errs)).toBe(0);
    expect(v0.guest.read32(errs + 4) | 0).toBe(-XEN_EINVAL);
    v0.guest.write32(0x1000 * 4096, 0xcafe);
    expect(w.guest.read32(w.guest.lin(10))).toBe(0xcafe);
    expect(w.audit()).toEqual([]);
    const rm = w.put(v0, xen_remove_from_physmap, { domid: DOMID_SELF, gpfn: 0x1000 });
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, rm)).toBe(0);
    expect(v0.guest.read32(0x1000 * 4096)).toBe(-1);
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, rm)).toBe(-XEN_ENOENT);
    expect(w.audit()).toEqual([]);
  });

  it('reports each frame on its own, and shows the machine-to-physical table', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    const none = batch(w, 99, [1], [0x1000]);
    expect(none.rc).toBe(0);
    expect(v0.guest.read32(none.errs) | 0).toBe(-XEN_ESRCH);
    const own = batch(w, 0, [1], [0x1000]);
    expect(v0.guest.read32(own.errs) | 0).toBe(-XEN_EINVAL);
    const { m2p } = w.hv.frames;
    const table = batch(w, DOMID_XEN, [m2p.native, m2p.l3], [0x1000, 0x1001]);
    expect(v0.guest.read32(table.errs)).toBe(0);
    expect(v0.guest.read32(table.errs + 4) | 0).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });

  it('keeps a frame of a dead domain until it is unmapped', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    batch(w, 1, [w.guest.frame(10)], [0x1000]);
    destroyDomain(w.hv, w.guest.vcpu.domain);
    expect(w.hv.frames.owner[w.guest.frame(10)]).toBe(1);
    expect(w.guest.vcpu.domain.totPages).toBe(1);
    const rm = w.put(v0, xen_remove_from_physmap, { domid: DOMID_SELF, gpfn: 0x1000 });
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, rm)).toBe(0);
    expect(w.guest.vcpu.domain.totPages).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('gives back all memory of a destroyed domain', () => {
    const w = createMemoryWorld();
    const free = w.hv.frames.heap.freeFrames;
    const owned = w.guest.vcpu.domain.totPages;
    destroyDomain(w.hv, w.guest.vcpu.domain);
    expect(w.hv.frames.heap.freeFrames).toBeGreaterThan(free + owned);
    expect(w.hv.domain(1)).toBeUndefined();
    expect(w.audit()).toEqual([]);
  });

  it('has its shared_info and grant table where it wants them', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    for (const [space, gpfn] of [
      [XENMAPSPACE_shared_info, 0x800],
      [XENMAPSPACE_grant_table, 0x801],
    ] as const) {
      const arg = w.put(v0, xen_add_to_physmap, { domid: DOMID_SELF, size: 0, space, idx: 0, gpfn });
      expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, arg)).toBe(0);
    }
    expect(w.dom0.p2m.mfn(0x800 as Gfn)).toBe(w.dom0.sharedInfoMfn);
    expect(w.dom0.p2m.mfn(0x801 as Gfn)).toBe(w.dom0.grants.shared[0]);
    expect(w.audit()).toEqual([]);
  });

  it('maps the grant table of a guest as a resource', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    const arg = w.put(v0, xen_mem_acquire_resource, {
      domid: 1,
      type: 1,
      id: 0,
      nr_frames: 1,
      pad: 0,
      frame: 0,
      frame_list: w.putFrames(v0, [0x900]),
    });
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_acquire_resource, arg)).toBe(0);
    expect(w.dom0.p2m.mfn(0x900 as Gfn)).toBe(w.guest.vcpu.domain.grants.shared[0]);
    expect(w.audit()).toEqual([]);
  });

  it('builds a guest: populates for it and claims', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    const d = createDomain(w.hv, { id: 5 as Domid, maxVcpus: 1 })!;
    d.maxPages = 100;
    const claim = w.put(v0, xen_memory_reservation, { extent_start: 0, nr_extents: 50, extent_order: 0, mem_flags: 0, domid: 5 });
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_claim_pages, claim)).toBe(0);
    const { rc, list } = reserve(w, v0, XENMEM_populate_physmap, [0, 1, 2, 3], 0, 5);
    expect(rc).toBe(4);
    expect(d.totPages).toBe(4);
    expect(w.hv.frames.owner[w.getFrame(v0, list, 3)]).toBe(5);
    expect(w.audit()).toEqual([]);
  });

  it('hears where the machine-to-physical table is', () => {
    const w = createMemoryWorld();
    const [v0] = w.dom0.vcpus as [Vcpu];
    const list = w.putFrames(v0, [0, 0]);
    const arg = w.put(v0, xen_machphys_mfn_list, { max_extents: 2, extent_start: list, nr_extents: 0 });
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, arg)).toBe(0);
    expect(w.get(v0, xen_machphys_mfn_list, arg).nr_extents).toBe(1);
    expect(w.getFrame(v0, list, 0)).toBe(w.hv.frames.m2p.native);
    expect(w.call(v0, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, 0x7fff_0000)).toBe(-XEN_EFAULT);
  });
});
