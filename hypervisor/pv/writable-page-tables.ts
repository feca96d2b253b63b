// Writable page tables: a guest that stores to a page table which it can only read finds its store done, if it is one that mmu_update
// would allow. Stock kernels rely on it for the atomic operations on entries (xchg in ptep_get_and_clear, lock btr, lock cmpxchg).
//
// Xen decodes and emulates the instruction (ptwr_emulated_update, xen/arch/x86/pv/ro-page-fault.c). Here the CPU itself executes it, for
// one instruction, on a copy of the table: the mapping that faulted points at the copy meanwhile. What differs afterwards is applied to
// the real table entry by entry, checked as always; when an entry is refused, the registers go back and the fault is the guest's.

import { MMU_NORMAL_PT_UPDATE } from '@ringworld/abi';
import { PGT_l1_page_table } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Lin, type Maddr, type Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { RunExit } from '../machine/cpu-api.ts';
import { modL1Entry } from './mm-entries.ts';
import { guestL1Entry } from './mm-walk.ts';
import { _PAGE_ACCESSED, _PAGE_DIRTY, _PAGE_PRESENT, _PAGE_RW, entryFrame } from './page-table-entries.ts';
import { type PageTables, pageTablesOf } from './page-tables.ts';

/** The frame in which copies are made; one per hypervisor, since nothing here is interrupted. */
const scratchFrames = new WeakMap<Hypervisor, Mfn>();

function scratchOf(hv: Hypervisor): Mfn {
  let mfn = scratchFrames.get(hv);
  if (mfn === undefined) {
    mfn = hv.frames.allocXen();
    if (mfn !== INVALID_MFN) scratchFrames.set(hv, mfn);
  }
  return mfn;
}

/** A write fault of the guest's kernel at `lin`, RIP at the instruction. True when the instruction has been executed. */
export function emulatePtWrite(hv: Hypervisor, vcpu: Vcpu, lin: Lin): boolean {
  const { frames, ram } = hv;
  const { cpu, domain } = vcpu;
  if (cpu === null) return false;
  const pt = pageTablesOf(frames);
  const at = guestL1Entry(pt, vcpu, lin);
  if (at === -1) return false;
  const lo = ram.read32(at);
  const hi = ram.read32((at + 4) as Maddr);
  if ((lo & (_PAGE_PRESENT | _PAGE_RW)) !== _PAGE_PRESENT) return false;
  const table = entryFrame(lo, hi) as Mfn;
  if (!frames.isValid(table) || frames.owner[table] !== domain.id) return false;
  if (frames.type[table] !== PGT_l1_page_table || frames.typeCount[table] === 0 || !frames.isValidated(table)) return false;
  const scratch = scratchOf(hv);
  if (scratch === INVALID_MFN) return false;

  ram.copy((scratch * 4096) as Maddr, (table * 4096) as Maddr, 4096);
  vcpu.context.copyFrom(cpu);
  ram.write32(at, (scratch << 12) | (lo & 0xfff) | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY);
  cpu.invlpg(lin);
  const exit = cpu.run(cpu.cycles + 1);
  ram.write32(at, lo);
  ram.write32((at + 4) as Maddr, hi);
  cpu.invlpg(lin);

  if (exit === RunExit.deadline && applyDifferences(pt, vcpu, table, scratch)) return true;
  cpu.copyFrom(vcpu.context);
  cpu.modeChanged();
  return false;
}

function applyDifferences(pt: PageTables, vcpu: Vcpu, table: Mfn, scratch: Mfn): boolean {
  const { domain } = vcpu;
  for (let i = 0; i < 512; i++) {
    const lo = pt.lo(scratch, i);
    const hi = pt.hi(scratch, i);
    const oldLo = pt.lo(table, i);
    if (lo === oldLo && hi === pt.hi(table, i)) continue;
    const at = (table * 4096 + i * 8) as Maddr;
    if (modL1Entry(pt, at, lo | 0, hi | 0, MMU_NORMAL_PT_UPDATE, domain, domain.id) === 0) continue;
    // A PAE guest that writes the upper half first: the lower half will follow, until then the entry is not present.
    if (!domain.is32bit || lo !== oldLo) return false;
    if (modL1Entry(pt, at, lo & ~_PAGE_PRESENT, hi | 0, MMU_NORMAL_PT_UPDATE, domain, domain.id) !== 0) return false;
  }
  return true;
}
