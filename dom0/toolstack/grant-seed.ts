// The reserved entries of a new domain's grant table, by which console and store backends may map their rings (grant_table.h:
// GNTTAB_RESERVED_*; tools/libs/guest/xg_dom_boot.c, xc_dom_gnttab_seed).
import {
  __HYPERVISOR_grant_table_op,
  type Domid,
  type Gfn,
  GNTST_okay,
  GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE,
  GNTTABOP_setup_table,
  GTF_permit_access,
  gnttab_setup_table,
  grant_entry_v1,
  guestHandle,
} from '@ringworld/abi';
import { DOM0_ABI } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import { DomainBuildError } from './errors.ts';

export interface GrantSeed {
  /** Machine frame of the ring, and who serves it. */
  readonly console: { readonly frame: number; readonly backend: Domid };
  readonly store: { readonly frame: number; readonly backend: Domid };
}

/** `subject` is named in a DomainBuildError. */
export function seedGrantTable(privcmd: Privcmd, dom: Domid, subject: string, seed: GrantSeed): void {
  const frame = privcmd.xen.memory.withArguments((args) => {
    const list = args.reserve(8);
    const { out } = privcmd.xen.op(
      __HYPERVISOR_grant_table_op,
      GNTTABOP_setup_table,
      gnttab_setup_table,
      { dom, nr_frames: 1, frame_list: guestHandle<Gfn>(list) },
      1,
    );
    if (out.status !== GNTST_okay) throw new DomainBuildError(subject, `no grant table for the domain (status ${out.status})`);
    return Number(new DataView(privcmd.xen.memory.read(list, 8).buffer).getBigUint64(0, true));
  });
  const mapping = privcmd.mapForeign(dom, [frame]);
  const put = (ref: number, { frame: ring, backend }: GrantSeed['console']) => {
    const entry = { flags: GTF_permit_access, domid: backend, frame: ring };
    mapping.write(ref * grant_entry_v1.size(DOM0_ABI), grant_entry_v1.encode(DOM0_ABI, entry));
  };
  put(GNTTAB_RESERVED_CONSOLE, seed.console);
  put(GNTTAB_RESERVED_XENSTORE, seed.store);
  mapping.unmap();
}
