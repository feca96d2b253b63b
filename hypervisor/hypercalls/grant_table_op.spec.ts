import {
  __HYPERVISOR_grant_table_op,
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GNTTABOP_copy,
  GNTTABOP_dump_table,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_grant_ref,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_transitive,
  GTF_writing,
  gnttab_copy,
  gnttab_get_status_frames,
  gnttab_get_version,
  gnttab_map_grant_ref,
  gnttab_query_size,
  gnttab_set_version,
  gnttab_setup_table,
  gnttab_swap_grant_ref,
  gnttab_transfer,
  gnttab_unmap_grant_ref,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOSYS,
} from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from '../core/domain.ts';
import { destroyDomain } from '../core/domain-destroy.ts';
import { type Gfn, INVALID_MFN, type Lin, type Maddr } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { guestL1Entry } from '../pv/mm-walk.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import { createMemoryWorld, type MemoryWorld } from './memory-testing.ts';

let w: MemoryWorld;
let g: Vcpu;
let v0: Vcpu;
/** The guest's table as version 1. */
const grant = (d: Domain, ref: number, to: number, frame: number, flags: number): void => {
  const at = d.grants.entryAt(ref);
  w.hv.ram.write16((at + 2) as Maddr, to);
  w.hv.ram.write32((at + 4) as Maddr, frame);
  w.hv.ram.write16(at, flags);
};
const flagsOf = (ref: number): number => w.hv.ram.read16(g.domain.grants.entryAt(ref));
const op = (v: Vcpu, cmd: number, at: number, count = 1): number => w.call(v, __HYPERVISOR_grant_table_op, cmd, at, count);

const map = (v: Vcpu, dom: number, ref: number, host_addr: number, flags: number) => {
  const at = w.put(v, gnttab_map_grant_ref, { host_addr, flags, ref, dom, status: 99, handle: 0, dev_bus_addr: 0 });
  expect(op(v, GNTTABOP_map_grant_ref, at)).toBe(0);
  return w.get(v, gnttab_map_grant_ref, at);
};
const unmap = (v: Vcpu, handle: number, host_addr: number, dev_bus_addr = 0): number => {
  const at = w.put(v, gnttab_unmap_grant_ref, { host_addr, dev_bus_addr, handle, status: 99 });
  expect(op(v, GNTTABOP_unmap_grant_ref, at)).toBe(0);
  return w.get(v, gnttab_unmap_grant_ref, at).status;
};
const setup = (v: Vcpu, n: number): number => {
  const list = w.putFrames(v, new Array<number>(n).fill(0));
  const at = w.put(v, gnttab_setup_table, { dom: DOMID_SELF, nr_frames: n, status: 99, frame_list: list });
  expect(op(v, GNTTABOP_setup_table, at)).toBe(0);
  expect(w.get(v, gnttab_setup_table, at).status).toBe(GNTST_okay);
  return w.getFrame(v, list, 0);
};

function world(is32bit = false): void {
  w = createMemoryWorld({ is32bit });
  g = w.guest.vcpu;
  [v0] = w.dom0.vcpus as [Vcpu];
}
beforeEach(() => world());

describe('the table of a guest', () => {
  it.each([false, true])('is set up frame by frame (32-bit: %s)', (is32bit) => {
    world(is32bit);
    const mfn = setup(g, 2);
    expect(mfn).toBe(g.domain.grants.shared[0]);
    const at = w.put(g, gnttab_query_size, { dom: DOMID_SELF, nr_frames: 0, max_nr_frames: 0, status: 99 });
    expect(op(g, GNTTABOP_query_size, at)).toBe(0);
    expect(w.get(g, gnttab_query_size, at)).toMatchObject({ nr_frames: 2, max_nr_frames: 64, status: GNTST_okay });
    const big = w.put(g, gnttab_setup_table, { dom: DOMID_SELF, nr_frames: 65, status: 99, frame_list: 0 });
    expect(op(g, GNTTABOP_setup_table, big)).toBe(0);
    expect(w.get(g, gnttab_setup_table, big).status).toBe(GNTST_general_error);
    const other = w.put(g, gnttab_setup_table, { dom: 0, nr_frames: 1, status: 99, frame_list: 0 });
    op(g, GNTTABOP_setup_table, other);
    expect(w.get(g, gnttab_setup_table, other).status).toBe(GNTST_permission_denied);
    expect(op(g, GNTTABOP_setup_table, big, 2)).toBe(-XEN_EINVAL);
    expect(op(g, GNTTABOP_dump_table, big)).toBe(-XEN_ENOSYS);
    expect(w.audit()).toEqual([]);
  });

  it('changes to version 2 and back, keeping the reserved entries', () => {
    setup(g, 1);
    grant(g.domain, 1, 0, w.guest.frame(10), GTF_permit_access | GTF_readonly);
    const at = w.put(g, gnttab_set_version, { version: 2 });
    expect(op(g, GNTTABOP_set_version, at)).toBe(0);
    expect(g.domain.grants.version).toBe(2);
    expect(flagsOf(1)).toBe(GTF_permit_access | GTF_readonly);
    expect(w.hv.ram.read32((g.domain.grants.entryAt(1) + 8) as Maddr)).toBe(w.guest.frame(10));
    const list = w.putFrames(g, [0]);
    const st = w.put(g, gnttab_get_status_frames, { nr_frames: 1, dom: DOMID_SELF, status: 99, frame_list: list });
    expect(op(g, GNTTABOP_get_status_frames, st)).toBe(0);
    expect(w.getFrame(g, list, 0)).toBe(g.domain.grants.status[0]);
    const ver = w.put(g, gnttab_get_version, { dom: DOMID_SELF, pad: 0, version: 0 });
    expect(op(g, GNTTABOP_get_version, ver)).toBe(0);
    expect(w.get(g, gnttab_get_version, ver).version).toBe(2);
    g.guest.write32(at, 1);
    expect(op(g, GNTTABOP_set_version, at)).toBe(0);
    expect(flagsOf(1)).toBe(GTF_permit_access | GTF_readonly);
    g.guest.write32(at, 3);
    expect(op(g, GNTTABOP_set_version, at)).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });

  it('keeps its version while grants are in use, and does not swap them', () => {
    setup(g, 1);
    grant(g.domain, 20, 0, w.guest.frame(10), GTF_permit_access);
    const m = map(v0, 1, 20, 0x1000 * 4096, GNTMAP_host_map);
    const at = w.put(g, gnttab_set_version, { version: 2 });
    expect(op(g, GNTTABOP_set_version, at)).toBe(-XEN_EBUSY);
    const swap = w.put(g, gnttab_swap_grant_ref, { ref_a: 20, ref_b: 21, status: 99 });
    expect(op(g, GNTTABOP_swap_grant_ref, swap)).toBe(0);
    expect(w.get(g, gnttab_swap_grant_ref, swap).status).toBe(GNTST_eagain);
    expect(unmap(v0, m.handle, 0x1000 * 4096)).toBe(GNTST_okay);
    op(g, GNTTABOP_swap_grant_ref, swap);
    expect(w.get(g, gnttab_swap_grant_ref, swap).status).toBe(GNTST_okay);
    expect(flagsOf(21)).toBe(GTF_permit_access);
    expect(flagsOf(20)).toBe(0);
  });
});

describe('a grant to dom0', () => {
  beforeEach(() => {
    setup(g, 1);
    grant(g.domain, 8, 0, w.guest.frame(10), GTF_permit_access);
  });

  it('is mapped into its physical map, marked in use, and unmapped', () => {
    const m = map(v0, 1, 8, 0x1000 * 4096, GNTMAP_host_map);
    expect(m.status).toBe(GNTST_okay);
    expect(m.dev_bus_addr).toBe(w.guest.frame(10) * 4096);
    expect(flagsOf(8)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
    v0.guest.write32(0x1000 * 4096, 0xbeef);
    expect(w.guest.read32(w.guest.lin(10))).toBe(0xbeef);
    expect(w.audit()).toEqual([]);
    expect(unmap(v0, m.handle, 0x1001 * 4096)).toBe(GNTST_general_error);
    expect(unmap(v0, m.handle, 0x1000 * 4096)).toBe(GNTST_okay);
    expect(unmap(v0, m.handle, 0x1000 * 4096)).toBe(GNTST_bad_handle);
    expect(flagsOf(8)).toBe(GTF_permit_access);
    expect(w.dom0.p2m.type(0x1000 as Gfn)).toBe(P2M_TYPES.invalid);
    expect(w.audit()).toEqual([]);
  });

  it('mapped twice stays in use until both are gone; reading and writing are told apart', () => {
    const a = map(v0, 1, 8, 0x1000 * 4096, GNTMAP_host_map | GNTMAP_readonly);
    expect(flagsOf(8)).toBe(GTF_permit_access | GTF_reading);
    expect(v0.guest.write32(0x1000 * 4096, 1)).toBe(false);
    const b = map(v0, 1, 8, 0x1001 * 4096, GNTMAP_host_map);
    expect(flagsOf(8)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
    expect(unmap(v0, b.handle, 0x1001 * 4096)).toBe(GNTST_okay);
    expect(flagsOf(8)).toBe(GTF_permit_access | GTF_reading);
    expect(unmap(v0, a.handle, 0x1000 * 4096)).toBe(GNTST_okay);
    expect(flagsOf(8)).toBe(GTF_permit_access);
    expect(w.audit()).toEqual([]);
  });

  it('is refused where there is none, to another, read-only for writing, or of a bad frame', () => {
    const at = 0x1000 * 4096;
    expect(map(v0, 1, 9, at, GNTMAP_host_map).status).toBe(GNTST_general_error);
    expect(map(v0, 1, 5000, at, GNTMAP_host_map).status).toBe(GNTST_bad_gntref);
    expect(map(v0, 99, 8, at, GNTMAP_host_map).status).toBe(GNTST_bad_domain);
    expect(map(v0, 1, 8, at, 0).status).toBe(GNTST_bad_gntref);
    expect(map(v0, 1, 8, at, GNTMAP_host_map | GNTMAP_device_map).status).toBe(GNTST_general_error);
    expect(map(v0, 1, 8, at, GNTMAP_host_map | GNTMAP_contains_pte).status).toBe(GNTST_general_error);
    grant(g.domain, 9, 5, w.guest.frame(10), GTF_permit_access);
    expect(map(v0, 1, 9, at, GNTMAP_host_map).status).toBe(GNTST_general_error);
    grant(g.domain, 9, 0, w.guest.frame(10), GTF_permit_access | GTF_readonly);
    expect(map(v0, 1, 9, at, GNTMAP_host_map).status).toBe(GNTST_general_error);
    grant(g.domain, 9, 0, 0xb8, GTF_permit_access);
    expect(map(v0, 1, 9, at, GNTMAP_host_map).status).toBe(GNTST_bad_page);
    grant(g.domain, 9, 0, g.pv.guestTable, GTF_permit_access);
    expect(map(v0, 1, 9, at, GNTMAP_host_map).status).toBe(GNTST_general_error);
    expect(flagsOf(9)).toBe(GTF_permit_access);
    expect(w.audit()).toEqual([]);
  });

  it('is copied from and to', () => {
    w.guest.write(10, 100, [1, 2, 3, 4]);
    const copy = (o: object) => {
      const at = w.put(v0, gnttab_copy, { len: 4, flags: GNTCOPY_source_gref, status: 99, ...o });
      expect(op(v0, GNTTABOP_copy, at)).toBe(0);
      return w.get(v0, gnttab_copy, at).status;
    };
    const source = { u: { ref: 8 }, domid: 1, offset: 100 };
    const dest = { u: { gmfn: 3 }, domid: DOMID_SELF, offset: 8 };
    expect(copy({ source, dest })).toBe(GNTST_okay);
    expect(v0.guest.read32(3 * 4096 + 8)).toBe(0x04030201);
    expect(copy({ source: { ...dest }, dest: { ...source, offset: 200 }, flags: GNTCOPY_dest_gref })).toBe(GNTST_okay);
    expect(w.guest.read32(w.guest.lin(10, 200))).toBe(0x04030201);
    expect(copy({ source: { ...source, offset: 4094 }, dest })).toBe(GNTST_bad_copy_arg);
    expect(copy({ source: { u: { gmfn: 3 }, domid: 1, offset: 0 }, dest, flags: 0 })).toBe(GNTST_permission_denied);
    expect(copy({ source: { ...source, u: { ref: 11 } }, dest })).toBe(GNTST_general_error);
    expect(copy({ source: { ...source, domid: 99 }, dest })).toBe(GNTST_bad_domain);
    expect(flagsOf(8)).toBe(GTF_permit_access);
    expect(w.audit()).toEqual([]);
  });

  it('outlives its granter', () => {
    const m = map(v0, 1, 8, 0x1000 * 4096, GNTMAP_host_map);
    destroyDomain(w.hv, g.domain);
    expect(w.hv.domain(1)).toBeDefined();
    v0.guest.write32(0x1000 * 4096, 5);
    expect(unmap(v0, m.handle, 0x1000 * 4096)).toBe(GNTST_okay);
    expect(w.hv.domain(1)).toBeUndefined();
    expect(w.audit()).toEqual([]);
  });
});

describe('version 2', () => {
  beforeEach(() => {
    setup(g, 1);
    expect(op(g, GNTTABOP_set_version, w.put(g, gnttab_set_version, { version: 2 }))).toBe(0);
  });
  const put = (ref: number, flags: number, to: number, second: number, third: number): void => {
    const at = g.domain.grants.entryAt(ref);
    w.hv.ram.write32((at + 4) as Maddr, second);
    w.hv.ram.write32((at + 8) as Maddr, third);
    w.hv.ram.write32(at, flags | (to << 16));
  };
  const copyFrom = (ref: number, offset: number, len: number): number => {
    const at = w.put(v0, gnttab_copy, {
      source: { u: { ref }, domid: 1, offset },
      dest: { u: { gmfn: 3 }, domid: DOMID_SELF, offset: 0 },
      len,
      flags: GNTCOPY_source_gref,
      status: 99,
    });
    expect(op(v0, GNTTABOP_copy, at)).toBe(0);
    return w.get(v0, gnttab_copy, at).status;
  };

  it('marks use in the status frames', () => {
    put(8, GTF_permit_access, 0, 0, w.guest.frame(10));
    const m = map(v0, 1, 8, 0x1000 * 4096, GNTMAP_host_map);
    expect(m.status).toBe(GNTST_okay);
    expect(flagsOf(8)).toBe(GTF_permit_access);
    expect(w.hv.ram.read16(g.domain.grants.statusAt(8))).toBe(GTF_reading | GTF_writing);
    expect(unmap(v0, m.handle, 0x1000 * 4096)).toBe(GNTST_okay);
    expect(w.hv.ram.read16(g.domain.grants.statusAt(8))).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('grants parts of a page for copies only', () => {
    put(8, GTF_permit_access | GTF_sub_page, 0, 100 | (50 << 16), w.guest.frame(10));
    expect(map(v0, 1, 8, 0x1000 * 4096, GNTMAP_host_map).status).toBe(GNTST_general_error);
    expect(copyFrom(8, 100, 50)).toBe(GNTST_okay);
    expect(copyFrom(8, 99, 4)).toBe(GNTST_general_error);
    expect(copyFrom(8, 140, 11)).toBe(GNTST_general_error);
    expect(w.audit()).toEqual([]);
  });

  it("passes on another's grant", () => {
    // dom0 grants a page to domain 1, which passes it back to dom0.
    setup(v0, 1);
    grant(w.dom0, 12, 1, 5, GTF_permit_access);
    v0.guest.write32(5 * 4096, 0x1234);
    put(8, GTF_transitive, 0, 0, 12);
    expect(copyFrom(8, 0, 4)).toBe(GNTST_okay);
    expect(v0.guest.read32(3 * 4096)).toBe(0x1234);
    expect(w.hv.ram.read16(w.dom0.grants.entryAt(12))).toBe(GTF_permit_access);
    put(8, GTF_transitive, 0, 1, 12);
    expect(copyFrom(8, 0, 4)).toBe(GNTST_general_error);
    expect(w.audit()).toEqual([]);
  });
});

describe('a grant to a PV guest', () => {
  const linOf = (n: number) => w.guest.lin(n);
  const pte = (n: number): Maddr => guestL1Entry(pageTablesOf(w.hv.frames), g, linOf(n) as Lin) as Maddr;
  beforeEach(() => {
    setup(v0, 1);
    grant(w.dom0, 8, 1, 5, GTF_permit_access);
    v0.guest.write32(5 * 4096, 0x77);
  });

  it('appears at a linear address, or in an entry that is named', () => {
    const m = map(g, 0, 8, linOf(20), GNTMAP_host_map);
    expect(m.status).toBe(GNTST_okay);
    expect(w.guest.read32(linOf(20))).toBe(0x77);
    expect(w.hv.frames.refs[w.guest.frame(20)]).toBe(1);
    expect(w.audit()).toEqual([]);
    const p = map(g, 0, 8, pte(21), GNTMAP_host_map | GNTMAP_contains_pte | GNTMAP_readonly);
    expect(p.status).toBe(GNTST_okay);
    expect(w.guest.read32(linOf(21))).toBe(0x77);
    expect(w.hv.ram.read32(pte(21)) & 2).toBe(0);
    expect(w.audit()).toEqual([]);
    // Another mapping of the same frame, but not of this grant's kind.
    expect(unmap(g, p.handle, pte(20))).toBe(GNTST_general_error);
    expect(unmap(g, p.handle, pte(21))).toBe(GNTST_okay);
    expect(w.audit()).toEqual([]);
  });

  it('leaves an empty entry when it is unmapped', () => {
    const m = map(g, 0, 8, linOf(20), GNTMAP_host_map);
    expect(unmap(g, m.handle, linOf(21))).toBe(GNTST_general_error);
    expect(unmap(g, m.handle, linOf(20))).toBe(GNTST_okay);
    expect(w.hv.ram.read32(pte(20))).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('is refused at an address that has no entry', () => {
    expect(map(g, 0, 8, linOf(700), GNTMAP_host_map).status).toBe(GNTST_general_error);
    expect(map(g, 0, 8, 0xb8000, GNTMAP_host_map | GNTMAP_contains_pte).status).toBe(GNTST_general_error);
    expect(w.hv.ram.read16(w.dom0.grants.entryAt(8))).toBe(GTF_permit_access);
    expect(w.audit()).toEqual([]);
  });

  it('goes with the guest', () => {
    map(g, 0, 8, linOf(20), GNTMAP_host_map);
    destroyDomain(w.hv, g.domain);
    expect(w.hv.domain(1)).toBeUndefined();
    expect(w.hv.ram.read16(w.dom0.grants.entryAt(8))).toBe(GTF_permit_access);
    expect(w.audit()).toEqual([]);
  });

  it('may be a whole page given away', () => {
    setup(g, 1);
    grant(g.domain, 9, 1, 0x123, GTF_accept_transfer);
    const at = w.put(g, gnttab_transfer, { mfn: w.guest.frame(20), domid: 0, ref: 9, status: 99 });
    expect(op(g, GNTTABOP_transfer, at)).toBe(0);
    // Still mapped.
    expect(w.get(g, gnttab_transfer, at).status).toBe(GNTST_bad_page);
    const pt = pageTablesOf(w.hv.frames);
    for (const n of [20, 21, 22]) {
      const lo = w.hv.ram.read32(pte(n));
      w.hv.ram.write32(pte(n), 0);
      pt.putFromL1e(lo, 0, g.domain);
    }
    // dom0 does not accept it: the page is lost to both.
    const before = g.domain.totPages;
    expect(op(g, GNTTABOP_transfer, at)).toBe(0);
    expect(w.get(g, gnttab_transfer, at).status).toBe(GNTST_general_error);
    expect(g.domain.totPages).toBe(before - 1);
    expect(w.hv.frames.heap.isFree(w.guest.frame(20))).toBe(true);
    grant(w.dom0, 9, 1, 0x700, GTF_accept_transfer);
    const good = w.put(g, gnttab_transfer, { mfn: w.guest.frame(21), domid: 0, ref: 9, status: 99 });
    op(g, GNTTABOP_transfer, good);
    expect(w.get(g, gnttab_transfer, good).status).toBe(GNTST_okay);
    expect(w.dom0.p2m.mfn(0x700 as Gfn)).toBe(w.guest.frame(21));
    expect(w.hv.ram.read16(w.dom0.grants.entryAt(9))).toBe(GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed);
    expect(w.audit()).toEqual([]);
  });

  it('may come from dom0, translated as ours is', () => {
    setup(g, 1);
    const gmfn = 20;
    const mfn = w.dom0.p2m.mfn(gmfn as Gfn);
    grant(g.domain, 9, 0, 0x123, GTF_accept_transfer);
    const at = w.put(v0, gnttab_transfer, { mfn: gmfn, domid: g.domain.id, ref: 9, status: 99 });
    expect(op(v0, GNTTABOP_transfer, at)).toBe(0);
    expect(w.get(v0, gnttab_transfer, at).status).toBe(GNTST_okay);
    expect(w.dom0.p2m.mfn(gmfn as Gfn)).toBe(INVALID_MFN);
    expect([w.dom0.pageList.has(mfn), g.domain.pageList.has(mfn)]).toEqual([false, true]);
    expect(w.hv.ram.read32((g.domain.grants.entryAt(9) + 4) as Maddr)).toBe(mfn);
    expect(w.audit()).toEqual([]);
  });
});
