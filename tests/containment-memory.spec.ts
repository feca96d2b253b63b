// Page tables, descriptors and grants that would reach beyond a guest's own memory. Answers by xen/arch/x86/mm.c and pv/ of 4.17.
import * as abi from '@ringworld/abi';
import type { Mfn } from '@ringworld/hypervisor';
import { expect, it } from 'vitest';
import { forBothGuests, type Group } from './containment/group.ts';
import { grantOp, mapAt, mmuext, mmuUpdate, NX, P, PCD, PSE, pte, READ_ONLY, READ_WRITE, RW, US } from './containment/requests.ts';
import type { Puppet } from './containment/world.ts';

const { XEN_EBUSY, XEN_EINVAL, XEN_EPERM, XEN_ESRCH } = abi;
const LOCAL_APIC = 0xfee00;
const GLOBAL = 0x100n;
const NOBODY = 0x7abc;

const firstPage = (g: Group, domid: number): Mfn => [...g.world.hv.domain(domid)!.pageList][0]!;
/** A frame that the hypervisor keeps for itself. */
const hypervisorFrame = (g: Group, p: Puppet): Mfn =>
  p.bits === 32 ? p.vcpu.pv.monitorTable : (g.world.hv.frames.owner.findIndex((o, i) => o === abi.DOMID_XEN && i > 0x100) as Mfn);
/** The table that the CPU reads first: L4, or the L3 of a PAE guest. */
const rootOf = (p: Puppet): Mfn => p.vcpu.pv.guestTable;
const l1TableOf = (p: Puppet, lin: number): Mfn => (p.l1e(lin) >>> 12) as Mfn;

/** A page of the guest's that is mapped nowhere any more, so that it can become a table. */
function spareTable(p: Puppet, entries: readonly bigint[]): Mfn {
  const at = p.put(p.page(), [...entries, ...new Array<bigint>(512 - entries.length).fill(0n)]);
  const mfn = p.mfn(at);
  expect(mapAt(p, at, 0n)).toBe(0);
  return mfn;
}

forBothGuests('page tables', (g: Group) => {
  it("an L1 entry maps no frame but its own domain's: -EBUSY, and -EPERM for what is no RAM (get_page_from_l1e)", () => {
    const p = g.puppet();
    const lin = p.page();
    const at = p.l1e(lin);
    const before = p.entry(at);
    const size = g.world.hv.ram.size / 4096;
    const free = g.world.hv.frames.refs.lastIndexOf(0);
    const rows: readonly (readonly [string, bigint, number])[] = [
      ['dom0', pte(firstPage(g, 0), READ_ONLY), XEN_EBUSY],
      ['dom0, writable', pte(firstPage(g, 0), READ_WRITE), XEN_EBUSY],
      ['the bystander', pte(g.bystander.mfn(g.bystander.address('act')), READ_WRITE), XEN_EBUSY],
      ['the hypervisor', pte(hypervisorFrame(g, p), READ_ONLY), XEN_EBUSY],
      ['a free frame', pte(free, READ_ONLY), XEN_EBUSY],
      ['beyond memory', pte(size + 5, READ_ONLY), XEN_EPERM],
      ['the local APIC', pte(LOCAL_APIC, READ_WRITE), XEN_EPERM],
      // Cache attributes are for domains with devices (l1_disallow_mask).
      ['the local APIC, uncached', pte(LOCAL_APIC, READ_WRITE | PCD), XEN_EINVAL],
      ['its own, uncached', pte(p.mfn(lin), READ_WRITE | PCD), XEN_EINVAL],
      ['the first MiB', pte(0xa0, READ_ONLY), XEN_EPERM],
      ['INVALID_MFN', 0x000f_ffff_ffff_f067n, XEN_EINVAL],
      ['reserved bits', pte(p.mfn(lin), READ_ONLY) | (1n << 51n), XEN_EPERM],
    ];
    for (const [what, value, errno] of rows) {
      expect(mmuUpdate(p, at, value), what).toBe(-errno);
      expect(mapAt(p, lin, value), what).toBe(-errno);
      expect(p.entry(at), what).toBe(before);
    }
  });

  it('an update in a table that is not theirs, or that is none, is -EINVAL; a domain that is not there -ESRCH (do_mmu_update)', () => {
    const p = g.puppet();
    const value = pte(p.mfn(p.page()), READ_ONLY);
    const b = g.bystander;
    const [dom0, xen] = [firstPage(g, 0), hypervisorFrame(g, p)];
    for (const at of [dom0 * 4096, xen * 4096, b.l1e(b.address('act')), g.world.hv.ram.size + 0x1000, 2n ** 40n, LOCAL_APIC * 4096])
      expect(mmuUpdate(p, at, value), at.toString(16)).toBe(-XEN_EINVAL);
    const own = p.l1e(p.page());
    expect(mmuUpdate(p, own, value, 5)).toBe(-abi.XEN_ENOSYS);
    expect(mmuUpdate(p, own, value, 0, NOBODY)).toBe(-XEN_ESRCH);
    expect(mmuUpdate(p, own, value, 0, b.domain.id)).toBe(-XEN_EPERM);
    expect(mmuUpdate(p, own, value, 0, ((b.domain.id + 1) << 16) | abi.DOMID_SELF)).toBe(-XEN_EPERM);
    expect(mmuUpdate(p, b.mfn(b.address('act')) * 4096, 5n, abi.MMU_MACHPHYS_UPDATE)).toBe(-XEN_EINVAL);
  });

  it('no page table is ever writable: -EBUSY (get_page_type)', () => {
    const p = g.puppet();
    const lin = p.page();
    const l1 = l1TableOf(p, lin);
    for (const [what, mfn] of [
      ['L1', l1],
      ['root', rootOf(p)],
    ] as const) {
      expect(mapAt(p, lin, pte(mfn, READ_WRITE)), what).toBe(-XEN_EBUSY);
      expect(mapAt(p, lin, pte(mfn, READ_ONLY)), what).toBe(0);
      expect(
        p.exec((a) => a.db(...storeTo(p, lin))),
        what,
      ).toBe('#PF(3)');
    }
    expect(mapAt(p, lin, 0n)).toBe(0);
  });

  it('nor is a GDT frame, and a frame that is writable becomes no GDT: -EINVAL (do_set_gdt)', () => {
    const p = g.puppet();
    const list = p.page();
    const gdt = p.put(p.page(), new Uint8Array(4096));
    const mfn = p.mfn(gdt);
    p.put(list, [mfn]);
    expect(p.call(abi.__HYPERVISOR_set_gdt, list, 8)).toBe(-XEN_EINVAL);
    expect(mapAt(p, gdt, pte(mfn, READ_ONLY))).toBe(0);
    expect(p.call(abi.__HYPERVISOR_set_gdt, list, 8)).toBe(0);
    expect(mapAt(p, gdt, pte(mfn, READ_WRITE))).toBe(-XEN_EBUSY);
    for (const frame of [firstPage(g, 0), hypervisorFrame(g, p), g.world.hv.ram.size / 4096 + 1])
      expect(p.call(abi.__HYPERVISOR_set_gdt, p.put(list, [frame]), 8)).toBe(-XEN_EINVAL);
    expect(p.call(abi.__HYPERVISOR_set_gdt, list, 8193)).toBe(-XEN_EINVAL);
    expect(p.call(abi.__HYPERVISOR_set_gdt, list, 0)).toBe(0);
  });

  it('a page of garbage pins as nothing: -EINVAL, -EPERM or -EBUSY by its first bad entry (alloc_page_type)', () => {
    const p = g.puppet();
    const garbage = Array.from({ length: 512 }, (_, i) => (0x1234_5678_9abc_def1n * BigInt(i + 1)) & 0xffff_ffff_ffff_ffffn);
    const mfn = spareTable(p, garbage);
    const answers = [abi.MMUEXT_PIN_L1_TABLE, abi.MMUEXT_PIN_L2_TABLE, abi.MMUEXT_PIN_L3_TABLE].map((cmd) => mmuext(p, cmd, mfn));
    for (const a of answers) expect([-XEN_EINVAL, -XEN_EPERM, -XEN_EBUSY]).toContain(a);
    // A PAE guest's L4 is none of its business: do_mmuext_op says yes and does nothing.
    if (p.bits === 64) expect(mmuext(p, abi.MMUEXT_PIN_L4_TABLE, mfn)).toBe(-XEN_EINVAL);
    expect(mmuext(p, abi.MMUEXT_UNPIN_TABLE, mfn)).toBe(-XEN_EINVAL);
    expect(g.world.hv.frames.typeCount[mfn]).toBe(0);
  });

  it('a page that is mapped writable pins as nothing, one that is pinned not again', () => {
    const p = g.puppet();
    const lin = p.put(p.page(), new Uint8Array(4096));
    expect(mmuext(p, abi.MMUEXT_PIN_L1_TABLE, p.mfn(lin))).toBe(-XEN_EINVAL);
    const mfn = spareTable(p, []);
    expect(mmuext(p, abi.MMUEXT_PIN_L1_TABLE, mfn)).toBe(0);
    expect(mmuext(p, abi.MMUEXT_PIN_L1_TABLE, mfn)).toBe(-XEN_EINVAL);
    expect(mmuext(p, abi.MMUEXT_PIN_L2_TABLE, mfn)).toBe(-XEN_EINVAL);
    expect(mmuext(p, abi.MMUEXT_CLEAR_PAGE, mfn)).toBe(-XEN_EINVAL);
    expect(mmuext(p, abi.MMUEXT_COPY_PAGE, mfn, mfn)).toBe(-XEN_EINVAL);
    expect(mmuext(p, abi.MMUEXT_UNPIN_TABLE, mfn)).toBe(0);
    expect(mmuext(p, abi.MMUEXT_UNPIN_TABLE, mfn)).toBe(-XEN_EINVAL);
  });

  it('a base pointer to what is no root is refused, whether pinned or not (new_guest_cr3)', () => {
    const p = g.puppet();
    const garbage = spareTable(p, [0xdead_beefn]);
    const l1 = l1TableOf(p, p.address('act'));
    for (const [what, mfn] of [
      ['garbage', garbage],
      ['an L1', l1],
      ['dom0', firstPage(g, 0)],
      ["the bystander's root", rootOf(g.bystander)],
      ['the hypervisor', hypervisorFrame(g, p)],
      ['beyond memory', g.world.hv.ram.size / 4096 + 7],
      ['writable', p.mfn(p.address('act'))],
    ] as const) {
      expect(mmuext(p, abi.MMUEXT_NEW_BASEPTR, mfn), what).toBe(-XEN_EINVAL);
      expect(mmuext(p, abi.MMUEXT_NEW_USER_BASEPTR, mfn), what).toBe(-XEN_EINVAL);
    }
    expect(mmuext(p, abi.MMUEXT_NEW_BASEPTR, rootOf(p), 0, g.bystander.domain.id)).toBe(-XEN_EPERM);
    expect(mmuext(p, abi.MMUEXT_NEW_BASEPTR, rootOf(p))).toBe(0);
  });

  it("superpages, reserved bits and the hypervisor's slots are refused (get_page_from_l2e, mod_l4_entry)", () => {
    const p = g.puppet();
    const l1 = spareTable(p, []);
    const bad: readonly (readonly [string, bigint])[] = [
      ['superpage', pte(0x400, READ_WRITE | PSE)],
      ['global', pte(l1, P | RW | US | GLOBAL)],
    ];
    for (const [what, value] of bad) {
      const l2 = spareTable(p, [value]);
      expect(mmuext(p, abi.MMUEXT_PIN_L2_TABLE, l2), what).toBe(-XEN_EINVAL);
    }
    const l2 = spareTable(p, [pte(l1, P | RW | US)]);
    expect(mmuext(p, abi.MMUEXT_PIN_L2_TABLE, l2)).toBe(0);
    expect(mmuUpdate(p, l2 * 4096 + 8, pte(0x400, READ_WRITE | PSE))).toBe(-XEN_EINVAL);
    expect(mmuUpdate(p, l2 * 4096 + 8, pte(firstPage(g, 0), READ_WRITE))).toBe(-XEN_EINVAL);
    expect(mmuUpdate(p, l2 * 4096 + 8, pte(rootOf(p), READ_WRITE))).toBe(-XEN_EINVAL);
    expect(mmuext(p, abi.MMUEXT_UNPIN_TABLE, l2)).toBe(0);
    if (p.bits === 64) {
      for (const slot of [256, 257, 260, 261, 271]) expect(mmuUpdate(p, rootOf(p) * 4096 + slot * 8, 0n), `slot ${slot}`).toBe(-XEN_EINVAL);
    } else {
      // Slot 3 carries the hypervisor's mappings; beyond it there is nothing.
      for (const slot of [3, 4, 511]) expect(mmuUpdate(p, rootOf(p) * 4096 + slot * 8, 0n), `slot ${slot}`).toBe(-XEN_EINVAL);
    }
  });

  it('a root that maps itself may do so read-only, in 64-bit guests (get_l4_linear_pagetable)', () => {
    const p = g.puppet();
    const root = rootOf(p);
    if (p.bits === 32) {
      expect(mmuUpdate(p, root * 4096 + 8, pte(root, P))).toBe(-XEN_EINVAL);
      return;
    }
    const at = root * 4096 + 300 * 8;
    expect(mmuUpdate(p, at, pte(root, P | RW | US))).toBe(-XEN_EINVAL);
    expect(mmuUpdate(p, at, pte(root, P | US))).toBe(0);
    expect(mmuUpdate(p, at, 0n)).toBe(0);
    // Another validated root may be mapped too; that one may then not do the same (XSA-240).
    const other = spareTable(p, []);
    expect(mmuext(p, abi.MMUEXT_PIN_L4_TABLE, other)).toBe(0);
    expect(mmuUpdate(p, at, pte(other, P | US))).toBe(0);
    expect(mmuUpdate(p, other * 4096 + 300 * 8, pte(root, P | US))).toBe(-XEN_EINVAL);
    expect(mmuUpdate(p, at, 0n)).toBe(0);
    expect(mmuext(p, abi.MMUEXT_UNPIN_TABLE, other)).toBe(0);
  });

  it('NX is honoured: no instruction is fetched from such a page', () => {
    const p = g.puppet();
    const lin = p.put(p.page(), Uint8Array.of(0xc3));
    const mfn = p.mfn(lin);
    expect(p.exec((a) => a.db(...callTo(p, lin)))).toEqual(expect.any(Number));
    expect(mapAt(p, lin, pte(mfn, READ_WRITE | NX))).toBe(0);
    expect(p.exec((a) => a.db(...callTo(p, lin)))).toBe('#PF(11)');
  });

  it('a store to a page table is done when mmu_update would do it, and is a #PF when not (ptwr_emulated_update)', () => {
    const p = g.puppet();
    expect(p.call(abi.__HYPERVISOR_vm_assist, abi.VMASST_CMD_enable, abi.VMASST_TYPE_writable_pagetables)).toBe(0);
    const victim = p.page();
    const window = p.page();
    const table = l1TableOf(p, victim);
    expect(mapAt(p, window, pte(table, READ_ONLY))).toBe(0);
    const slot = (p.l1e(victim) & 0xfff) + window;
    const own = p.mfn(victim);
    expect(store32(p, slot, Number(pte(own, READ_ONLY)))).not.toMatch(/#/);
    expect(p.entry(p.l1e(victim)) & 0xfff_ffff_ffffn & ~0x100n).toBe(pte(own, READ_ONLY));
    const refused = '#PF(3)';
    const before = p.entry(p.l1e(victim));
    for (const [what, mfn] of [
      ['dom0', firstPage(g, 0)],
      ['itself, writable', table],
      ['beyond memory', g.world.hv.ram.size / 4096 + 9],
    ] as const) {
      expect(store32(p, slot, Number(pte(mfn, READ_WRITE))), what).toBe(refused);
      expect(p.entry(p.l1e(victim)), what).toBe(before);
    }
    expect(p.call(abi.__HYPERVISOR_vm_assist, abi.VMASST_CMD_disable, abi.VMASST_TYPE_writable_pagetables)).toBe(0);
    expect(store32(p, slot, 0)).toBe(refused);
    expect(mapAt(p, window, 0n)).toBe(0);
  });

  it("system descriptors are refused, ring 0 becomes the guest's ring (check_descriptor)", () => {
    const p = g.puppet();
    const at = p.maddr(p.page());
    const update = (desc: bigint) =>
      p.bits === 64
        ? p.call(abi.__HYPERVISOR_update_descriptor, at, desc)
        : p.call(abi.__HYPERVISOR_update_descriptor, at, 0, desc & 0xffff_ffffn, desc >> 32n);
    const TSS = 0x0000_8900_0000_0067n;
    const LDT = 0x0000_8200_0000_ffffn;
    const INTERRUPT_GATE = 0x0000_8e00_0010_0000n;
    const GATE_INTO_XEN = 0x0000_ec00_e008_0000n;
    const RING0_CODE = 0x00af_9b00_0000_ffffn;
    for (const desc of [TSS, LDT, INTERRUPT_GATE, GATE_INTO_XEN]) expect(update(desc), desc.toString(16)).toBe(-XEN_EINVAL);
    if (p.bits === 64) {
      expect(update(RING0_CODE)).toBe(0);
      expect(p.entry(at)).toBe(RING0_CODE | (3n << 45n));
    } else {
      // A 64-bit code segment is none for a 32-bit guest; a flat 32-bit one goes to ring 1.
      expect(update(RING0_CODE)).toBe(-XEN_EINVAL);
      expect(update(0x00cf_9b00_0000_ffffn)).toBe(0);
      expect(p.entry(at)).toBe(0x00cf_bb00_0000_ffffn);
    }
  });
});

forBothGuests('grants', (g: Group) => {
  it('of a bad reference, of nobody, or into nowhere, fail with their status (map_grant_ref)', () => {
    const p = g.puppet();
    const host_addr = p.page();
    const map = (dom: number, ref: number, flags: number = abi.GNTMAP_host_map, at = host_addr) =>
      grantOp(p, abi.GNTTABOP_map_grant_ref, abi.gnttab_map_grant_ref, {
        host_addr: at as never,
        flags,
        ref: ref as never,
        dom: dom as never,
      });
    const other = g.bystander.domain.id;
    expect(map(NOBODY, 1)).toBe(abi.GNTST_bad_domain);
    // In the table, but granted to nobody (_set_status_v1); and beyond the table.
    expect(map(other, 77)).toBe(abi.GNTST_general_error);
    expect(map(other, 0x7fff_ffff)).toBe(abi.GNTST_bad_gntref);
    expect(map(0, 0x7fff)).toBe(abi.GNTST_bad_gntref);
    expect(map(other, 8, 0)).toBe(abi.GNTST_bad_gntref);
  });

  it('unmapped by a handle that is none, or copied from nobody, likewise', () => {
    const p = g.puppet();
    const host_addr = p.page();
    for (const handle of [0, 5, 0xffff_ffff])
      expect(
        grantOp(p, abi.GNTTABOP_unmap_grant_ref, abi.gnttab_unmap_grant_ref, { host_addr: host_addr as never, handle: handle as never }),
      ).toBe(abi.GNTST_bad_handle);
  });

  it('tables of odd versions and sizes are refused (gnttab_set_version, gnttab_setup_table)', () => {
    const p = g.puppet();
    const page = p.page();
    const setVersion = (version: number) => p.call(abi.__HYPERVISOR_grant_table_op, abi.GNTTABOP_set_version, p.put(page, [version]), 1);
    expect(setVersion(3)).toBe(-XEN_EINVAL);
    expect(setVersion(0)).toBe(-XEN_EINVAL);
    expect(setVersion(2)).toBe(0);
    expect(setVersion(1)).toBe(0);
    const setup = (nr_frames: number, dom: number) =>
      grantOp(p, abi.GNTTABOP_setup_table, abi.gnttab_setup_table, { dom: dom as never, nr_frames, frame_list: page as never });
    expect(setup(65, abi.DOMID_SELF)).toBe(abi.GNTST_general_error);
    expect(setup(1, g.bystander.domain.id)).toBe(abi.GNTST_permission_denied);
    expect(setup(1, NOBODY)).toBe(abi.GNTST_bad_domain);
    // Status frames belong to version 2.
    expect(
      grantOp(p, abi.GNTTABOP_get_status_frames, abi.gnttab_get_status_frames, {
        nr_frames: 1,
        dom: abi.DOMID_SELF as never,
        frame_list: page as never,
      }),
    ).toBe(abi.GNTST_general_error);
  });
});

const imm = (p: Puppet, lin: number): number[] => {
  const bytes: number[] = [];
  let v = BigInt.asUintN(p.bits, BigInt(lin));
  for (let i = 0; i < p.bits / 8; i++, v >>= 8n) bytes.push(Number(v & 0xffn));
  return bytes;
};
const REX_W = (p: Puppet): number[] => (p.bits === 64 ? [0x48] : []);
/** mov eax/rax, lin; mov dword [rax], 0 */
const storeTo = (p: Puppet, lin: number): number[] => [...REX_W(p), 0xb8, ...imm(p, lin), 0xc7, 0x00, 0, 0, 0, 0];
/** mov eax/rax, lin; call rax */
const callTo = (p: Puppet, lin: number): number[] => [...REX_W(p), 0xb8, ...imm(p, lin), 0xff, 0xd0];
/** mov dword [lin], value: the lower half of an entry. */
const store32 = (p: Puppet, lin: number, value: number) => {
  const v = BigInt.asUintN(32, BigInt(value));
  const bytes = [0, 8, 16, 24].map((s) => Number((v >> BigInt(s)) & 0xffn));
  return String(p.code(...REX_W(p), 0xb8, ...imm(p, lin), 0xc7, 0x00, ...bytes));
};
