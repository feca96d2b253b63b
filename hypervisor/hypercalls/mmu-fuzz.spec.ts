// Random page-table life: a guest that issues memory hypercalls with values that are often nearly right. Whatever it does, the audit of
// the frame table holds after each batch, and when the domain is destroyed all of its memory comes back.

import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_update_va_mapping,
  DOMID_SELF,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  GTF_permit_access,
  MMUEXT_NEW_BASEPTR,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_populate_physmap,
} from '@ringworld/abi';
import { expect, it } from 'vitest';
import { destroyDomain } from '../core/domain-destroy.ts';
import { GuestMemoryBase } from '../core/guest-memory-base.ts';
import type { Abi, Lin, Maddr } from '../core/ids.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import { guestL1Entry } from '../pv/mm-walk.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import { createMemoryWorld } from './memory-testing.ts';

function random(seed: number): (n: number) => number {
  let s = seed;
  return (n) => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>> 0) % n;
  };
}

const STEPS = 3000;

/** Hypercall arguments lie in one page that the guest cannot lose, so that it may ruin its page tables and go on. */
class FixedMemory extends GuestMemoryBase {
  readonly abi: Abi;
  private readonly page: Maddr;
  constructor(ram: Ram, abi: Abi, page: Maddr) {
    super(ram);
    this.abi = abi;
    this.page = page;
  }
  translate(handle: number): Maddr | -1 {
    return handle >= 0 && handle < 4096 ? ((this.page + handle) as Maddr) : -1;
  }
}

it.each([
  [1, false],
  [2, false],
  [3, true],
  [4, true],
])('a wild guest leaves the frame table true (seed %i, 32-bit: %s)', (seed, is32bit) => {
  const w = createMemoryWorld({ is32bit });
  const free = w.hv.frames.heap.freeFrames;
  const { vcpu } = w.guest;
  const { frames, ram } = w.hv;
  const pick = random(seed * 7919);
  // Frames that it talks about: data pages 5..39, its tables, dom0's, the hypervisor's, MMIO, none.
  const tables = [vcpu.pv.guestTable, ...(is32bit ? [] : [vcpu.pv.guestTableUser])];
  for (const f of vcpu.domain.pageList) if (frames.type[f]! >= 1 && frames.type[f]! <= 4) tables.push(f);
  const odd = [w.dom0.p2m.mfn(3 as never), frames.m2p.native, frames.m2p.l3, 0xb8, frames.size + 9, 0xfee00, vcpu.pv.monitorTable & 0xfff];
  const frame = (): number => {
    const r = pick(16);
    return r < 11 ? w.guest.frame(5 + pick(35)) : r < 14 ? tables[pick(tables.length)]! : odd[pick(odd.length)]!;
  };
  const flags = (): number => [0, 1, 3, 5, 7, 7, 0x67, 0x87, 0x107, 0x17, 0x205][pick(11)]!;
  // Not the slots that lead to its data pages.
  const slot = (): number => [1, 2, 3, 4, 5 + pick(35), 256, 258, 271, 300, 427, 428][pick(11)]!;
  const root = vcpu.pv.guestTable;
  const at = 256;
  vcpu.guest = new FixedMemory(ram, vcpu.domain.abi, (frames.allocXen() * 4096) as Maddr);
  const width = is32bit ? 4 : 8;
  const call = (nr: number, ...args: number[]): number => w.call(vcpu, nr, ...args);
  // Grants of dom0 for it to map.
  w.dom0.grants.grow(1);
  for (let ref = 8; ref < 12; ref++) {
    const e = w.dom0.grants.entryAt(ref);
    ram.write32((e + 4) as Maddr, ref - 8);
    ram.write32(e, GTF_permit_access | (vcpu.domain.id << 16));
  }

  const actions: (() => void)[] = [
    () => {
      const [table, value] = [frame(), (frame() << 12) | flags()];
      vcpu.guest.write64(at, table * 4096 + slot() * 8 + [0, 0, 2, 1][pick(4)]!, 0);
      vcpu.guest.write64(at + 8, value, pick(20) === 0 ? pick(0x7fff_ffff) : 0);
      call(__HYPERVISOR_mmu_update, at, 1, 0, DOMID_SELF);
    },
    () => {
      vcpu.guest.write32(at, [0, 0, 1, 2, 3, 4, 4, 4, 4, 5, 15, 16, 17][pick(13)]!);
      if (is32bit) {
        vcpu.guest.write32(at + 4, frame());
        vcpu.guest.write32(at + 8, frame());
      } else {
        vcpu.guest.write64(at + 8, frame(), 0);
        vcpu.guest.write64(at + 16, frame(), 0);
      }
      call(__HYPERVISOR_mmuext_op, at, 1, 0, DOMID_SELF);
      // Back to the tables that it began with, which are pinned still or not.
      if (pick(3) === 0) {
        vcpu.guest.write32(at, MMUEXT_NEW_BASEPTR);
        if (is32bit) vcpu.guest.write32(at + 4, root);
        else vcpu.guest.write64(at + 8, root, 0);
        call(__HYPERVISOR_mmuext_op, at, 1, 0, DOMID_SELF);
      }
    },
    () => {
      const value = (frame() << 12) | flags();
      const lin = w.guest.lin(5 + pick(35));
      if (is32bit) call(__HYPERVISOR_update_va_mapping, lin, value >>> 0, 0, 2);
      else call(__HYPERVISOR_update_va_mapping, lin, value >>> 0, 2);
    },
    () => {
      const list = at + 256;
      const op = [XENMEM_decrease_reservation, XENMEM_populate_physmap, XENMEM_populate_physmap][pick(3)]!;
      vcpu.guest.write32(list, op === XENMEM_populate_physmap ? pick(1000) : frame());
      if (!is32bit) vcpu.guest.write32(list + 4, 0);
      writeReservation(at, list, 1, pick(2), DOMID_SELF);
      call(__HYPERVISOR_memory_op, op, at);
    },
    () => {
      // Two frames for a pair.
      const list = at + 256;
      for (let i = 0; i < 2; i++) {
        vcpu.guest.write32(list + i * width, frame());
        if (!is32bit) vcpu.guest.write32(list + i * width + 4, 0);
      }
      const size = writeReservation(at, list, 2, 0, DOMID_SELF);
      writeReservation(at + size, list + 64, 1, 1, DOMID_SELF);
      vcpu.guest.write64(at + 2 * size, 0, 0);
      call(__HYPERVISOR_memory_op, XENMEM_exchange, at);
    },
    () => {
      const kind = [GNTMAP_host_map, GNTMAP_host_map, GNTMAP_device_map, GNTMAP_host_map | GNTMAP_device_map][pick(4)]!;
      const readonly = pick(2) ? GNTMAP_readonly : 0;
      const usesPte = pick(3) === 0;
      const lin = w.guest.lin(5 + pick(35));
      const entry = guestL1Entry(pageTablesOf(frames), vcpu, lin as Lin);
      const host = usesPte ? entry : lin;
      vcpu.guest.write64(at, host | 0, Math.floor(host / 0x1_0000_0000));
      vcpu.guest.write32(at + 8, kind | readonly | (usesPte ? GNTMAP_contains_pte : 0));
      vcpu.guest.write32(at + 12, 7 + pick(6));
      vcpu.guest.write32(at + 16, 0);
      call(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, at, 1);
    },
    () => {
      const lin = w.guest.lin(5 + pick(35));
      vcpu.guest.write64(at, lin | 0, Math.floor(lin / 0x1_0000_0000));
      const bus = pick(3) === 0 ? w.dom0.p2m.mfn(pick(4) as never) * 4096 : 0;
      vcpu.guest.write64(at + 8, bus, 0);
      vcpu.guest.write32(at + 16, pick(8));
      call(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, at, 1);
    },
  ];
  /** struct xen_memory_reservation by hand; its size. */
  function writeReservation(to: number, list: number, n: number, order: number, domid: number): number {
    if (is32bit) {
      [list, n, order, 0, domid].forEach((v, i) => {
        vcpu.guest.write32(to + i * 4, v);
      });
      return 20;
    }
    vcpu.guest.write64(to, list | 0, Math.floor(list / 0x1_0000_0000));
    vcpu.guest.write64(to + 8, n, 0);
    vcpu.guest.write32(to + 16, order);
    vcpu.guest.write32(to + 20, 0);
    vcpu.guest.write32(to + 24, domid);
    return 32;
  }

  for (let i = 0; i < STEPS; i++) {
    actions[pick(4) < 2 ? pick(3) : pick(actions.length)]!();
    if (i % 50 === 0) expect(w.audit()).toEqual([]);
  }
  expect(w.audit()).toEqual([]);
  destroyDomain(w.hv, vcpu.domain);
  expect(w.hv.domain(1)).toBeUndefined();
  expect(w.audit()).toEqual([]);
  expect(frames.heap.freeFrames).toBeGreaterThan(free);
});
