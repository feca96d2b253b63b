// The audit of a whole hypervisor: names every reference that something else than a page table or a pin holds, then counts.

import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { auditFrames, type Holder } from './frame-table-audit.ts';
import { PGT_l3_page_table, PGT_l4_page_table, PGT_none, PGT_seg_desc_page, PGT_writable_page } from './frame-types.ts';
import type { Hypervisor } from './hypervisor.ts';
import { INVALID_MFN } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';

/** One line per discrepancy between the frame table and what is there; empty when all is well. */
export function auditHypervisor(hv: Hypervisor): string[] {
  return auditFrames(
    hv.frames,
    [...hv.domains.values()].flatMap((d) => holders(hv, d)),
  );
}

function holders(hv: Hypervisor, d: Domain): Holder[] {
  return [
    (hold) => {
      for (const v of d.vcpus) {
        const { pv } = v;
        const name = `d${d.id}v${v.id}`;
        if (pv.guestTable !== INVALID_MFN) hold(pv.guestTable, d.is32bit ? PGT_l3_page_table : PGT_l4_page_table, `${name} guest table`);
        if (pv.guestTableUser !== INVALID_MFN) hold(pv.guestTableUser, PGT_l4_page_table, `${name} user table`);
        for (const f of pv.gdtFrames) hold(f, PGT_seg_desc_page, `${name} GDT`);
        for (const f of pv.ldtShadow) if (f !== INVALID_MFN) hold(f, PGT_seg_desc_page, `${name} LDT`);
        if (v.vcpuInfoMfn !== INVALID_MFN) hold(v.vcpuInfoMfn, PGT_writable_page, `${name} vcpu_info`);
      }
      for (const f of d.evtchn.heldFrames()) hold(f, PGT_writable_page, `d${d.id} FIFO event channels`);
    },
    (hold) => {
      if (!d.isTranslated) return;
      for (const { gfn, mfn, type } of d.p2m.entries()) {
        if (type === P2M_TYPES.map_foreign) hold(mfn, PGT_none, `d${d.id} foreign gfn ${gfn.toString(16)}`);
      }
    },
    (hold) => {
      d.grants.maptrack.forEach((m, handle) => {
        const rd = m.flags === 0 ? undefined : hv.domain(m.domid);
        if (rd === undefined) return;
        const { mfn } = rd.grants.activeEntry(m.ref);
        const why = `d${d.id} grant handle ${handle}`;
        const type = m.flags & GNTMAP_readonly ? PGT_none : PGT_writable_page;
        if (m.flags & GNTMAP_device_map) hold(mfn, type, why);
        // A PV domain's host mapping is an entry of its page tables, and counted there.
        if (m.flags & GNTMAP_host_map && d.isTranslated) hold(mfn, d === rd || !rd.isTranslated ? type : PGT_none, why);
      });
    },
  ];
}
