// The per-domain mappings: supervisor-only page tables of the hypervisor's, hung into slot 260 of every L4 a PV vCPU runs on, through
// which the CPU reads the vCPU's descriptor tables (PERDOMAIN_VIRT_START, xen/arch/x86/mm.c create_perdomain_mapping).
//
// Of each vCPU's 32 pages the first 14 are the guest's GDT frames (zeroes where it gave none), page 14 the hypervisor's descriptors,
// page 15 nothing; the upper 16 are LDT frames, mapped when the CPU first misses them (ldt.ts).

import type { Domain } from '../core/domain.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Maddr, type Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { writeReservedGdt } from './reserved-gdt.ts';
import { FIRST_RESERVED_GDT_PAGE } from './selectors.ts';

/** PRESENT RW ACCESSED DIRTY, no USER (__PAGE_HYPERVISOR_RW). */
const TABLE = 0x63;
/** The page of zeroes is mapped read-only (__PAGE_HYPERVISOR_RO). */
const READ_ONLY = 0x61;
const PAGES_PER_VCPU = 32;
const LDT_FIRST_PAGE = 16;
const VCPUS_PER_L1 = 512 / PAGES_PER_VCPU;
/** L1 tables that one L2 holds. */
const MAX_L1 = 512;

/** What a domain owns here (Domain.perdomain); plain data. */
export interface Perdomain {
  /** For slot 260 of an L4. */
  l3: Mfn;
  l2: Mfn;
  l1: Mfn[];
  reservedGdt: Mfn;
  zero: Mfn;
}

const entryAt = (table: Mfn, index: number): Maddr => (table * 4096 + index * 8) as Maddr;

function writeEntry(hv: Hypervisor, table: Mfn, index: number, mfn: Mfn, flags: number): void {
  hv.frames.tableGeneration++;
  hv.ram.write32(entryAt(table, index), mfn === INVALID_MFN ? 0 : ((mfn << 12) | flags) >>> 0);
  hv.ram.write32((entryAt(table, index) + 4) as Maddr, mfn === INVALID_MFN ? 0 : mfn >>> 20);
}

/** The domain's L3 of per-domain mappings, made on first use; INVALID_MFN when memory is out. Frames from allocXen are zeroed. */
export function perdomainL3(hv: Hypervisor, domain: Domain): Mfn {
  if (domain.perdomain !== null) return domain.perdomain.l3;
  const [l3, l2, reservedGdt, zero] = [hv.frames.allocXen(), hv.frames.allocXen(), hv.frames.allocXen(), hv.frames.allocXen()];
  if (l3 === INVALID_MFN || l2 === INVALID_MFN || reservedGdt === INVALID_MFN || zero === INVALID_MFN) {
    for (const f of [l3, l2, reservedGdt, zero]) if (f !== INVALID_MFN) hv.frames.freeXen(f);
    return INVALID_MFN;
  }
  writeEntry(hv, l3, 0, l2, TABLE);
  writeReservedGdt(hv.ram, domain.is32bit, (reservedGdt * 4096) as Maddr);
  domain.perdomain = { l3, l2, l1: [], reservedGdt, zero };
  return l3;
}

/** Maps the vCPU's area, no descriptors of the guest's yet. False when memory is out. */
export function mapVcpuArea(hv: Hypervisor, vcpu: Vcpu): boolean {
  if (perdomainL3(hv, vcpu.domain) === INVALID_MFN) return false;
  // SAFE: perdomainL3 has made it.
  const p = vcpu.domain.perdomain!;
  const index = Math.floor(vcpu.id / VCPUS_PER_L1);
  if (index >= MAX_L1) return false;
  if (p.l1[index] === undefined) {
    const l1 = hv.frames.allocXen();
    if (l1 === INVALID_MFN) return false;
    p.l1[index] = l1;
    writeEntry(hv, p.l2, index, l1, TABLE);
  }
  for (let i = 0; i < FIRST_RESERVED_GDT_PAGE; i++) setGdtPage(hv, vcpu, i, INVALID_MFN);
  writeEntry(hv, p.l1[index], firstPage(vcpu) + FIRST_RESERVED_GDT_PAGE, p.reservedGdt, TABLE);
  return true;
}

const firstPage = (vcpu: Vcpu): number => (vcpu.id % VCPUS_PER_L1) * PAGES_PER_VCPU;
const l1Of = (vcpu: Vcpu): Mfn => vcpu.domain.perdomain?.l1[Math.floor(vcpu.id / VCPUS_PER_L1)] ?? INVALID_MFN;

/** Page 0..13 of the vCPU's GDT; INVALID_MFN for zeroes. */
export function setGdtPage(hv: Hypervisor, vcpu: Vcpu, page: number, mfn: Mfn): void {
  const l1 = l1Of(vcpu);
  if (l1 === INVALID_MFN) return;
  // SAFE: an L1 exists, so the area does.
  if (mfn === INVALID_MFN) writeEntry(hv, l1, firstPage(vcpu) + page, vcpu.domain.perdomain!.zero, READ_ONLY);
  else writeEntry(hv, l1, firstPage(vcpu) + page, mfn, TABLE);
}

/** Page 0..15 of the vCPU's LDT; INVALID_MFN for none. */
export function setLdtPage(hv: Hypervisor, vcpu: Vcpu, page: number, mfn: Mfn): void {
  const l1 = l1Of(vcpu);
  if (l1 !== INVALID_MFN) writeEntry(hv, l1, firstPage(vcpu) + LDT_FIRST_PAGE + page, mfn, TABLE);
}

/** Gives the tables back; no vCPU of the domain runs any more. */
export function destroyPerdomain(hv: Hypervisor, domain: Domain): void {
  const p = domain.perdomain;
  if (p === null) return;
  domain.perdomain = null;
  for (const f of [...p.l1, p.l2, p.l3, p.reservedGdt, p.zero]) if (f !== undefined) hv.frames.freeXen(f);
}
