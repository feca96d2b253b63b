// grant_table_op: sharing pages between domains. The operations are in grant-map.ts, grant-copy.ts and grant-control.ts; both table
// versions and both layouts (do_grant_table_op of xen/common/grant_table.c, 4.17).

import {
  type AnyCodec,
  GNTTABOP_cache_flush,
  GNTTABOP_copy,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gnttab_cache_flush,
  gnttab_copy,
  gnttab_map_grant_ref,
  gnttab_swap_grant_ref,
  gnttab_transfer,
  gnttab_unmap_and_replace,
  gnttab_unmap_grant_ref,
  XEN_EINVAL,
  XEN_ENOSYS,
} from '@ringworld/abi';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { cacheFlush, getStatusFrames, getVersion, querySize, setupTable, setVersion, swapGrantRefs } from './grant-control.ts';
import { copyGrants, transferPages } from './grant-copy.ts';
import { mapGrantRefs, unmapAndReplace, unmapGrantRefs } from './grant-map.ts';

/** GNTTABOP_CMD_MASK: the upper bits carry the progress of a continued cache_flush, which here is never continued. */
const CMD_MASK = 0xfff;

type BatchOp = (c: HypercallContext, uop: number, count: number) => number;
/** Operations on lists, which may be long, with what a list is made of. */
const BATCHES: Record<number, readonly [BatchOp, AnyCodec] | undefined> = {
  [GNTTABOP_map_grant_ref]: [mapGrantRefs, gnttab_map_grant_ref],
  [GNTTABOP_unmap_grant_ref]: [unmapGrantRefs, gnttab_unmap_grant_ref],
  [GNTTABOP_unmap_and_replace]: [unmapAndReplace, gnttab_unmap_and_replace],
  [GNTTABOP_transfer]: [transferPages, gnttab_transfer],
  [GNTTABOP_copy]: [copyGrants, gnttab_copy],
  [GNTTABOP_swap_grant_ref]: [swapGrantRefs, gnttab_swap_grant_ref],
  [GNTTABOP_cache_flush]: [cacheFlush, gnttab_cache_flush],
};

/** hvm_grant_table_op(): what an HVM guest may ask; "all other commands need auditing". */
const HVM_COMMANDS = new Set<number>([
  GNTTABOP_query_size,
  GNTTABOP_setup_table,
  GNTTABOP_set_version,
  GNTTABOP_get_version,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  GNTTABOP_swap_grant_ref,
]);

export const grant_table_op: HypercallHandler = (c) => {
  const cmd = c.argU32(0);
  if (c.domain.isHvm && !HVM_COMMANDS.has(cmd)) return -XEN_ENOSYS;
  const uop = c.arg(1);
  const count = c.argU32(2);
  if (count >= 0x8000_0000 || (cmd & ~CMD_MASK) !== 0) return -XEN_EINVAL;
  const batch = BATCHES[cmd];
  if (batch !== undefined) {
    const [op, codec] = batch;
    const n = Math.min(count, c.workLeft);
    c.work += n;
    const rc = op(c, uop, n);
    return rc !== 0 || n === count ? rc : c.continueWith(cmd, uop + n * codec.size(c.abi), count - n);
  }
  switch (cmd) {
    case GNTTABOP_setup_table:
      return setupTable(c, uop, count);
    case GNTTABOP_query_size:
      return querySize(c, uop, count);
    case GNTTABOP_set_version:
      return setVersion(c, uop);
    case GNTTABOP_get_status_frames:
      return getStatusFrames(c, uop, count);
    case GNTTABOP_get_version:
      return getVersion(c, uop);
    default:
      // GNTTABOP_dump_table has a structure in the header, but Xen 4.17 no code for it.
      return -XEN_ENOSYS;
  }
};
