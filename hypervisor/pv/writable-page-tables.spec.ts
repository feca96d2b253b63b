import { describe, expect, it } from 'vitest';
import { createMemoryWorld, type MemoryWorld } from '../hypercalls/memory-testing.ts';
import type { Lin, Maddr } from '../machine/addresses.ts';
import { RDI, RSI } from '../machine/state.ts';
import { modL1Entry } from './mm-entries.ts';
import { guestL1Entry } from './mm-walk.ts';
import { pageTablesOf } from './page-tables.ts';

/** A guest whose page 10 is a pinned L1 table, mapped read-only; entry 3 of it maps page 11. */
function guestWithTable(code: readonly number[], is32bit = false): MemoryWorld {
  const w = createMemoryWorld({ code, is32bit });
  const pt = pageTablesOf(w.hv.frames);
  const { domain } = w.guest.vcpu;
  const at = guestL1Entry(pt, w.guest.vcpu, w.guest.lin(10) as Lin) as Maddr;
  const table = w.guest.frame(10);
  pt.write(table, 3, (w.guest.frame(11) << 12) | 7, 0);
  expect(modL1Entry(pt, at, (table << 12) | 5, 0, 0, domain, domain.id)).toBe(0);
  expect(pt.pin(table, 1, domain.id)).toBe(0);
  w.guest.vcpu.pv.trapTable[14] = { selector: is32bit ? 0xe019 : 0xe033, address: w.guest.lin(1) as Lin, dpl: 0, ifFlag: false };
  w.guest.enter();
  w.guest.cpu.setRegLin(RDI, w.guest.lin(10, 24));
  return w;
}

describe('a store to a page table that is mapped read-only', () => {
  it('is done by xchg, and counted', () => {
    // xor eax,eax; xchg [rdi],rax; hlt
    const w = guestWithTable([0x31, 0xc0, 0x48, 0x87, 0x07, 0xf4]);
    const target = w.guest.frame(11);
    const before = w.hv.frames.refs[target]!;
    w.guest.step();
    expect(w.guest.cpu.rip).toBe(w.guest.lin(0, 5));
    expect(w.guest.cpu.reg(0) >> 12n).toBe(BigInt(target));
    expect(w.hv.ram.read32((w.guest.frame(10) * 4096 + 24) as Maddr)).toBe(0);
    expect(w.hv.frames.refs[target]).toBe(before - 1);
    expect(w.audit()).toEqual([]);
  });

  it('keeps the flags of lock btr, and the entry stays valid', () => {
    // lock btr qword [rdi],1; hlt: takes RW away
    const w = guestWithTable([0xf0, 0x48, 0x0f, 0xba, 0x37, 0x01, 0xf4]);
    w.guest.step();
    expect(w.guest.cpu.rip).toBe(w.guest.lin(0, 6));
    expect(w.guest.cpu.rflags & 1).toBe(1);
    expect(w.hv.ram.read32((w.guest.frame(10) * 4096 + 24) as Maddr) & 2).toBe(0);
    expect(w.audit()).toEqual([]);
  });

  it('of a forbidden value is a page fault of the guest, with nothing changed', () => {
    // mov [rdi],rsi; hlt, where rsi maps the table itself writable
    const w = guestWithTable([0x48, 0x89, 0x37, 0xf4]);
    const at = (w.guest.frame(10) * 4096 + 24) as Maddr;
    const before = w.hv.ram.read32(at);
    w.guest.cpu.setRegLin(RSI, w.guest.frame(10) * 4096 + 7);
    w.guest.step();
    expect(w.guest.cpu.rip).toBe(w.guest.lin(1));
    expect(w.hv.ram.read32(at)).toBe(before);
    expect(w.audit()).toEqual([]);
  });

  it('in halves by a PAE guest, upper half first, passes through a not-present entry', () => {
    // mov dword [edi+4],esi; hlt
    const w = guestWithTable([0x89, 0x77, 0x04, 0xf4], true);
    w.guest.cpu.setRegLin(RSI, 1);
    w.guest.step();
    expect(w.guest.cpu.rip).toBe(w.guest.lin(0, 3));
    expect(w.hv.ram.read32((w.guest.frame(10) * 4096 + 24) as Maddr) & 1).toBe(0);
    expect(w.hv.ram.read32((w.guest.frame(10) * 4096 + 28) as Maddr)).toBe(1);
    expect(w.audit()).toEqual([]);
  });

  it('through a translation from the time when it was plain memory is caught all the same', () => {
    // mov [rdi],rsi; hlt
    const w = createMemoryWorld({ code: [0x48, 0x89, 0x37, 0xf4] });
    const pt = pageTablesOf(w.hv.frames);
    const { cpu, vcpu } = w.guest;
    const table = w.guest.frame(10);
    vcpu.pv.trapTable[14] = { selector: 0xe033, address: w.guest.lin(1) as Lin, dpl: 0, ifFlag: false };
    w.guest.enter();
    cpu.setRegLin(RDI, w.guest.lin(10, 24));
    cpu.setRegLin(RSI, 0);
    cpu.run(cpu.cycles + 1);
    expect(cpu.rip).toBe(w.guest.lin(0, 3));
    // The guest makes the mapping read-only without a flush, and pins the page.
    const at = guestL1Entry(pt, vcpu, w.guest.lin(10) as Lin) as Maddr;
    expect(modL1Entry(pt, at, (table << 12) | 5, 0, 0, vcpu.domain, 1)).toBe(0);
    expect(pt.pin(table, 1, 1)).toBe(0);
    cpu.rip = w.guest.lin(0) as Lin;
    cpu.setRegLin(RSI, table * 4096 + 7);
    w.guest.step();
    expect(cpu.rip).toBe(w.guest.lin(1));
    expect(w.hv.ram.read32((table * 4096 + 24) as Maddr)).toBe(0);
    expect(w.audit()).toEqual([]);
  });
});
