// Lists without an end: with four pages a guest maps one page over a gigabyte or more, and hands it to a hypercall as its argument. Xen
// stops such a call every so often and lets the guest make it again (hypercall_create_continuation), so that others have their turn.
import * as abi from '@ringworld/abi';
import { edx, w } from '@ringworld/guests';
import { expect, it } from 'vitest';
import { forBothGuests, type Group } from './containment/group.ts';
import { emitHypercall } from './containment/puppet-kernel.ts';
import { mapAt, mmuUpdate, P, pte } from './containment/requests.ts';
import type { Puppet } from './containment/world.ts';

const TABLE = 0x67n;

/** Gives the linear address of the first copy of `page`, which is writable in all of them. */
function mapEndlessly(p: Puppet, page: number): number {
  const table = (of: number): number => {
    const at = p.put(p.page(), new Array<bigint>(512).fill(pte(of, TABLE)));
    const mfn = p.mfn(at);
    expect(mapAt(p, at, 0n)).toBe(0);
    return mfn;
  };
  const l2 = table(table(p.mfn(page)));
  const root = p.vcpu.pv.guestTable * 4096;
  if (p.bits === 32) {
    expect(mmuUpdate(p, root + 8, pte(l2, P))).toBe(0);
    return 0x4000_0000;
  }
  expect(mmuUpdate(p, root + 8, pte(table(l2), TABLE))).toBe(0);
  return 2 ** 39;
}

const idled = (p: Puppet): number => p.read32(p.address('idle_turns'));
const calls = (p: Puppet, name: string): number => p.domain.statistics.get(name) ?? 0;
/** The same machine word all over a page. */
const filled = (p: Puppet, word: number): Uint8Array =>
  p.bits === 64
    ? new Uint8Array(BigUint64Array.from({ length: 512 }, () => BigInt(word)).buffer)
    : new Uint8Array(new Uint32Array(1024).fill(word).buffer);

forBothGuests('lists without an end', (g: Group) => {
  it('are worked through in pieces, and end as they would in one', () => {
    const p = g.puppet();
    const page = p.page();
    const lin = mapEndlessly(p, page);
    p.put(page, new Uint8Array(4096).fill(0x2e));
    expect(p.call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 600_000, lin)).toBe(0);
    expect(calls(p, 'console_io')).toBe(3);

    p.put(page, filled(p, abi.MMUEXT_TLB_FLUSH_LOCAL));
    const done = p.page();
    expect(p.call(abi.__HYPERVISOR_mmuext_op, lin, 10_000, done, abi.DOMID_SELF)).toBe(0);
    expect(p.read32(done)).toBe(10_000);
    expect(calls(p, 'mmuext_op')).toBe(5);

    // op, result, six arguments: xen_version(XENVER_version).
    const entry = [abi.__HYPERVISOR_xen_version, 0, 0, 0, 0, 0, 0, 0];
    const entries = Array.from({ length: p.bits === 64 ? 512 : 1024 }, (_, i) => entry[i % 8]!);
    p.put(page, p.bits === 64 ? entries : new Uint8Array(Uint32Array.from(entries).buffer));
    const before = calls(p, 'xen_version');
    expect(p.call(abi.__HYPERVISOR_multicall, lin, 6000)).toBe(0);
    expect(calls(p, 'xen_version') - before).toBe(6000);
    expect(calls(p, 'multicall')).toBe(3);
  });

  it('inside a multicall go on there', () => {
    const p = g.puppet();
    // The page of the test before is still mapped there.
    const lin = p.put(p.bits === 64 ? 2 ** 39 : 0x4000_0000, filled(p, abi.MMUEXT_TLB_FLUSH_LOCAL));
    const done = p.page();
    const entry = [abi.__HYPERVISOR_mmuext_op, 77, lin, 5000, done, abi.DOMID_SELF, 0, 0];
    const version = [abi.__HYPERVISOR_xen_version, 77, 0, 0, 0, 0, 0, 0];
    const list = [...entry, ...version];
    const at = p.put(p.page(), p.bits === 64 ? list : new Uint8Array(Uint32Array.from(list).buffer));
    expect(p.call(abi.__HYPERVISOR_multicall, at, 2)).toBe(0);
    expect(p.read32(done)).toBe(5000);
    const word = p.bits / 8;
    expect([p.read32(at + word), p.read32(at + 9 * word)]).toEqual([0, 0x4_0011]);
  });

  it('of frames to give back are no different, even if it is the same frame each time', () => {
    const p = g.puppet();
    const page = p.page();
    const lin = p.put(p.bits === 64 ? 2 ** 39 : 0x4000_0000, filled(p, p.mfn(page)));
    const request = { extent_start: lin as never, nr_extents: 5000, extent_order: 0, mem_flags: 0, domid: abi.DOMID_SELF as never };
    const at = p.put(p.page(), abi.xen_memory_reservation.encode(p.domain.abi, request));
    const before = calls(p, 'memory_op');
    // It is still mapped, and so stays the domain's until that ends (guest_remove_page: put_page_alloc_ref).
    expect(p.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation, at)).toBe(5000);
    expect(calls(p, 'memory_op') - before).toBe(3);
    expect(mapAt(p, page, 0n)).toBe(0);
    expect(p.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation, at)).toBe(0);
  });

  it('include REP OUTS with as many repetitions as there are', () => {
    const p = g.world.puppet(g.bits);
    expect(p.call(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, p.put(p.page(), [1]))).toBe(0);
    const lin = mapEndlessly(p, p.page());
    const before = idled(g.bystander);
    p.start((a) => a.mov(w.si, lin).mov(w.cx, 0x3000_0000).mov(edx, 0x80).db(0xf3, 0x6e));
    g.world.runFor(3_000_000);
    expect(idled(g.bystander) - before).toBeGreaterThan(300);
    expect(p.vcpu.regs.regLo(1)).toBeLessThan(0x3000_0000);
    g.world.destroy(p);
    g.world.audit();
  });

  it('leave a domain beside its time, and do not keep the machine', () => {
    const p = g.puppet();
    const lin = p.bits === 64 ? 2 ** 39 : 0x4000_0000;
    // A trap table that never comes to its end: 16 bytes or 8 an entry, address 1.
    const entry = p.bits === 64 ? [6, 1] : [6 | (0xe019 << 16), 1];
    const words = Array.from({ length: p.bits === 64 ? 512 : 1024 }, (_, i) => entry[i % 2]!);
    p.put(lin, p.bits === 64 ? words : new Uint8Array(Uint32Array.from(words).buffer));
    const before = idled(g.bystander);
    p.start((a) => emitHypercall(a, p.bits, abi.__HYPERVISOR_set_trap_table, [lin]));
    g.world.runFor(10_000_000);
    expect(p.isAlive).toBe(true);
    expect(calls(p, 'set_trap_table')).toBeGreaterThan(10);
    expect(idled(g.bystander) - before).toBeGreaterThan(1000);
    g.world.destroy(p);
    g.world.audit();
  });
});
