import {
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_update_va_mapping_otherdomain,
  MMU_MACHPHYS_UPDATE,
  MMUEXT_CLEAR_PAGE,
  MMUEXT_COPY_PAGE,
  MMUEXT_FLUSH_CACHE,
  MMUEXT_INVLPG_ALL,
  MMUEXT_MARK_SUPER,
  MMUEXT_NEW_BASEPTR,
  MMUEXT_NEW_USER_BASEPTR,
  MMUEXT_PIN_L1_TABLE,
  MMUEXT_PIN_L4_TABLE,
  MMUEXT_SET_LDT,
  MMUEXT_TLB_FLUSH_MULTI,
  MMUEXT_UNPIN_TABLE,
  UVMF_ALL,
  UVMF_INVLPG,
  UVMF_TLB_FLUSH,
  XEN_EACCES,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { createDomain, createVcpu } from '../core/domain-create.ts';
import { PGT_l1_page_table } from '../core/frame-types.ts';
import type { Domid, Lin, Maddr } from '../core/ids.ts';
import { guestL1Entry } from '../pv/mm-walk.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import { createMemoryWorld, type MemoryWorld } from './memory-testing.ts';

const SELF = 0x7ff0;
const P = 1;
const RW = 2;
const USER = 4;

/** Requests as (ptr, lo, hi) placed in guest memory: address of the list. */
function requests(w: MemoryWorld, list: readonly (readonly [number, number, number?])[]): number {
  const { vcpu } = w.guest;
  const at = w.guest.lin(41);
  list.forEach(([ptr, lo, hi], i) => {
    vcpu.guest.write64(at + i * 16, ptr, 0);
    vcpu.guest.write64(at + i * 16 + 8, lo, hi ?? 0);
  });
  return at;
}
const DONE = 0xff0;
const mmuUpdate = (w: MemoryWorld, list: readonly (readonly [number, number, number?])[], foreign = SELF): number =>
  w.call(w.guest.vcpu, __HYPERVISOR_mmu_update, requests(w, list), list.length, w.guest.lin(41, DONE), foreign);
const done = (w: MemoryWorld): number => w.guest.read32(w.guest.lin(41, DONE));

function mmuext(w: MemoryWorld, cmd: number, arg1 = 0, arg2 = 0, foreign = SELF): number {
  const { guest } = w.guest.vcpu;
  const at = w.guest.lin(42);
  const s = w.guest.vcpu.domain.is32bit ? 4 : 8;
  guest.write32(at, cmd);
  for (const [i, a] of [arg1, arg2].entries()) {
    if (s === 4) guest.write32(at + 4 + i * 4, a);
    else guest.write64(at + 8 + i * 8, (a % 0x1_0000_0000) | 0, Math.floor(a / 0x1_0000_0000));
  }
  return w.call(w.guest.vcpu, __HYPERVISOR_mmuext_op, at, 1, 0, foreign);
}

/** Machine address of the L1 entry of data page n. */
const pte = (w: MemoryWorld, n: number): Maddr => {
  const at = guestL1Entry(pageTablesOf(w.hv.frames), w.guest.vcpu, w.guest.lin(n) as Lin);
  if (at === -1) throw new Error('not mapped');
  return at;
};
const entry = (w: MemoryWorld, n: number, flags: number): number => ((w.guest.frame(n) << 12) | flags) >>> 0;

describe.each([false, true])('mmu_update (32-bit guest: %s)', (is32bit) => {
  it('updates entries, says how many were done, and stops at the first bad one', () => {
    const w = createMemoryWorld({ is32bit });
    const foreign = w.hv.frames.allocForDomain(w.dom0);
    const rc = mmuUpdate(w, [
      [pte(w, 10), entry(w, 10, P | USER)],
      [pte(w, 11), entry(w, 11, P | USER)],
      [pte(w, 12), ((foreign << 12) | P) >>> 0],
      [pte(w, 13), entry(w, 13, P | USER)],
    ]);
    expect(rc).toBe(-XEN_EBUSY);
    expect(done(w)).toBe(2);
    expect(w.hv.ram.read32(pte(w, 11)) & RW).toBe(0);
    expect(w.hv.ram.read32(pte(w, 13)) & RW).toBe(RW);
    expect(w.audit()).toEqual([]);
  });

  it('sets the machine-to-physical table for frames of the guest only', () => {
    const w = createMemoryWorld({ is32bit });
    expect(mmuUpdate(w, [[w.guest.frame(10) * 4096 + MMU_MACHPHYS_UPDATE, 0x777]])).toBe(0);
    expect(w.hv.frames.m2p.pfn(w.guest.frame(10))).toBe(0x777);
    const foreign = w.hv.frames.allocForDomain(w.dom0);
    expect(mmuUpdate(w, [[foreign * 4096 + MMU_MACHPHYS_UPDATE, 0x777]])).toBe(-XEN_EINVAL);
  });

  it('refuses unknown commands, unreadable lists, other domains and unknown ones', () => {
    const w = createMemoryWorld({ is32bit });
    const { vcpu } = w.guest;
    expect(mmuUpdate(w, [[pte(w, 10) + 5, 0]])).toBe(-XEN_ENOSYS);
    expect(w.call(vcpu, __HYPERVISOR_mmu_update, 0x10, 1, 0, SELF)).toBe(-XEN_EFAULT);
    expect(mmuUpdate(w, [[pte(w, 10), 0]], 99)).toBe(-XEN_ESRCH);
    expect(mmuUpdate(w, [[pte(w, 10), 0]], 0)).toBe(-XEN_EPERM);
    expect(mmuUpdate(w, [[pte(w, 10), 0]], (100 << 16) | SELF)).toBe(-XEN_ESRCH);
    expect(mmuUpdate(w, [[w.hv.frames.m2p.native * 4096, 0]])).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });
});

describe.each([false, true])('update_va_mapping (32-bit guest: %s)', (is32bit) => {
  const uvm = (w: MemoryWorld, lin: number, lo: number, flags: number): number =>
    is32bit
      ? w.call(w.guest.vcpu, __HYPERVISOR_update_va_mapping, lin, lo, 0, flags)
      : w.call(w.guest.vcpu, __HYPERVISOR_update_va_mapping, lin, lo, flags);

  it('changes the entry of an address, with any flush', () => {
    const w = createMemoryWorld({ is32bit });
    const lin = w.guest.lin(10);
    const mask = w.putFrames(w.guest.vcpu, [1]);
    for (const flags of [0, UVMF_INVLPG, UVMF_TLB_FLUSH, UVMF_INVLPG | UVMF_ALL, UVMF_TLB_FLUSH | UVMF_ALL, UVMF_INVLPG + mask]) {
      expect(uvm(w, lin, entry(w, 10, P | USER), flags)).toBe(0);
      expect(uvm(w, lin, entry(w, 10, P | RW | USER), flags)).toBe(0);
    }
    expect(uvm(w, lin, 0, UVMF_INVLPG)).toBe(0);
    expect(w.hv.frames.refs[w.guest.frame(10)]).toBe(1);
    expect(uvm(w, lin, entry(w, 11, P | USER), UVMF_INVLPG)).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('refuses addresses without an L1 table and foreign frames', () => {
    const w = createMemoryWorld({ is32bit });
    expect(uvm(w, w.guest.lin(600), entry(w, 10, P), 0)).toBe(-XEN_EINVAL);
    expect(uvm(w, is32bit ? 0xf580_0000 : -0x8000_0000_0000, entry(w, 10, P), 0)).toBe(-XEN_EINVAL);
    const foreign = w.hv.frames.allocForDomain(w.dom0);
    expect(uvm(w, w.guest.lin(10), ((foreign << 12) | P) >>> 0, 0)).toBe(-XEN_EBUSY);
    const args = is32bit ? [entry(w, 10, P), 0, 0, 0] : [entry(w, 10, P), 0, 0];
    expect(w.call(w.guest.vcpu, __HYPERVISOR_update_va_mapping_otherdomain, w.guest.lin(10), ...args)).toBe(-XEN_EPERM);
    expect(w.audit()).toEqual([]);
  });
});

describe('mmuext_op', () => {
  it('pins and unpins tables', () => {
    const w = createMemoryWorld();
    const table = w.hv.frames.allocForDomain(w.guest.vcpu.domain);
    expect(mmuext(w, MMUEXT_PIN_L1_TABLE, table)).toBe(0);
    expect(w.hv.frames.type[table]).toBe(PGT_l1_page_table);
    expect(mmuext(w, MMUEXT_PIN_L1_TABLE, table)).toBe(-XEN_EINVAL);
    expect(mmuext(w, MMUEXT_PIN_L1_TABLE, w.guest.frame(10))).toBe(-XEN_EINVAL);
    expect(mmuext(w, MMUEXT_UNPIN_TABLE, table)).toBe(0);
    expect(mmuext(w, MMUEXT_UNPIN_TABLE, table)).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });

  it('changes both base pointers of a 64-bit guest', () => {
    const w = createMemoryWorld();
    const { vcpu } = w.guest;
    const { frames, ram } = w.hv;
    const [l4, user] = [frames.allocForDomain(vcpu.domain), frames.allocForDomain(vcpu.domain)];
    ram.copy((l4 * 4096) as Maddr, (vcpu.pv.guestTable * 4096) as Maddr, 4096);
    const old = vcpu.pv.guestTable;
    expect(mmuext(w, MMUEXT_NEW_BASEPTR, l4)).toBe(0);
    expect(vcpu.pv.guestTable).toBe(l4);
    expect(frames.typeCount[old]).toBe(1);
    // Only the kernel's table carries the machine-to-physical table.
    expect(ram.read32((l4 * 4096 + 256 * 8) as Maddr)).toBe(frames.m2p.l4Entry >>> 0);
    expect(mmuext(w, MMUEXT_NEW_USER_BASEPTR, user)).toBe(0);
    expect(ram.read32((user * 4096 + 256 * 8) as Maddr)).toBe(0);
    expect(mmuext(w, MMUEXT_NEW_USER_BASEPTR, 0)).toBe(0);
    expect(mmuext(w, MMUEXT_NEW_BASEPTR, w.guest.frame(10))).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });

  it('changes the base pointer of a 32-bit guest under its monitor table, and ignores L4 pins', () => {
    const w = createMemoryWorld({ is32bit: true });
    const { vcpu } = w.guest;
    const { frames, ram } = w.hv;
    const l3 = frames.allocForDomain(vcpu.domain);
    ram.copy((l3 * 4096) as Maddr, (vcpu.pv.guestTable * 4096) as Maddr, 32);
    const l2x = frames.allocForDomain(vcpu.domain);
    ram.write32((l3 * 4096 + 24) as Maddr, (l2x << 12) | P);
    for (let i = 0; i < 3; i++) ram.write32((l3 * 4096 + i * 8) as Maddr, ram.read32((l3 * 4096 + i * 8) as Maddr) & ~0xff0 & ~6);
    expect(mmuext(w, MMUEXT_NEW_BASEPTR, l3)).toBe(0);
    expect(ram.read32((vcpu.pv.monitorTable * 4096) as Maddr) >>> 12).toBe(l3);
    expect(mmuext(w, MMUEXT_PIN_L4_TABLE, w.guest.frame(10))).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('clears and copies pages that may be written', () => {
    const w = createMemoryWorld();
    w.guest.write(10, 0, [1, 2, 3]);
    expect(mmuext(w, MMUEXT_COPY_PAGE, w.guest.frame(11), w.guest.frame(10))).toBe(0);
    expect(w.guest.read32(w.guest.lin(11))).toBe(0x030201);
    expect(mmuext(w, MMUEXT_CLEAR_PAGE, w.guest.frame(10))).toBe(0);
    expect(w.guest.read32(w.guest.lin(10))).toBe(0);
    expect(mmuext(w, MMUEXT_CLEAR_PAGE, w.guest.vcpu.pv.guestTable)).toBe(-XEN_EINVAL);
    expect(mmuext(w, MMUEXT_COPY_PAGE, w.guest.frame(10), 0xb8)).toBe(-XEN_EINVAL);
    expect(w.audit()).toEqual([]);
  });

  it('answers as Xen does where it does nothing', () => {
    const w = createMemoryWorld();
    expect(mmuext(w, MMUEXT_MARK_SUPER)).toBe(-XEN_EOPNOTSUPP);
    expect(mmuext(w, MMUEXT_FLUSH_CACHE)).toBe(-XEN_EACCES);
    expect(mmuext(w, MMUEXT_INVLPG_ALL, w.guest.lin(10))).toBe(0);
    expect(mmuext(w, MMUEXT_TLB_FLUSH_MULTI, 0, 0x10)).toBe(-XEN_EINVAL);
    expect(mmuext(w, MMUEXT_SET_LDT, 0x1234, 1)).toBe(-XEN_EINVAL);
    expect(mmuext(w, MMUEXT_SET_LDT, w.guest.lin(10), 8193)).toBe(-XEN_EINVAL);
    expect(mmuext(w, MMUEXT_SET_LDT, w.guest.lin(10), 16)).toBe(0);
    expect(w.guest.vcpu.pv.ldtEnts).toBe(16);
    expect(mmuext(w, 99)).toBe(-XEN_ENOSYS);
    expect(mmuext(w, MMUEXT_INVLPG_ALL, 0, 0, 0)).toBe(-XEN_EINVAL);
  });

  it('lets dom0 pin for a guest, and nothing else', () => {
    const w = createMemoryWorld();
    const d2 = createDomain(w.hv, { id: 2 as Domid, maxVcpus: 1 })!;
    expect(createVcpu(w.hv, d2, 0)).toBe(0);
    const table = w.hv.frames.allocForDomain(d2);
    const [v0] = w.dom0.vcpus;
    const at = 41 * 4096;
    const op = (cmd: number) => {
      v0!.guest.write32(at, cmd);
      v0!.guest.write64(at + 8, table, 0);
      return w.call(v0!, __HYPERVISOR_mmuext_op, at, 1, 0, 2);
    };
    expect(op(MMUEXT_PIN_L4_TABLE)).toBe(0);
    expect(op(MMUEXT_UNPIN_TABLE)).toBe(0);
    expect(op(MMUEXT_CLEAR_PAGE)).toBe(-XEN_EOPNOTSUPP);
    expect(w.audit()).toEqual([]);
  });
});
