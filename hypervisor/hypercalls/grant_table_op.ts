// grant_table_op: sharing pages between domains. The operations are in grant-map.ts, grant-copy.ts and grant-control.ts; both table
// versions and both layouts (do_grant_table_op of xen/common/grant_table.c, 4.17).

import {
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
  XEN_EINVAL,
  XEN_ENOSYS,
} from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';
import { cacheFlush, getStatusFrames, getVersion, querySize, setupTable, setVersion, swapGrantRefs } from './grant-control.ts';
import { copyGrants, transferPages } from './grant-copy.ts';
import { mapGrantRefs, unmapAndReplace, unmapGrantRefs } from './grant-map.ts';

/** GNTTABOP_CMD_MASK: the upper bits carry the progress of a continued cache_flush, which here is never continued. */
const CMD_MASK = 0xfff;

export const grant_table_op: HypercallHandler = (c) => {
  const cmd = c.argU32(0);
  const uop = c.arg(1);
  const count = c.argU32(2);
  if (count >= 0x8000_0000 || (cmd & ~CMD_MASK) !== 0) return -XEN_EINVAL;
  switch (cmd) {
    case GNTTABOP_map_grant_ref:
      return mapGrantRefs(c, uop, count);
    case GNTTABOP_unmap_grant_ref:
      return unmapGrantRefs(c, uop, count);
    case GNTTABOP_unmap_and_replace:
      return unmapAndReplace(c, uop, count);
    case GNTTABOP_setup_table:
      return setupTable(c, uop, count);
    case GNTTABOP_transfer:
      return transferPages(c, uop, count);
    case GNTTABOP_copy:
      return copyGrants(c, uop, count);
    case GNTTABOP_query_size:
      return querySize(c, uop, count);
    case GNTTABOP_set_version:
      return setVersion(c, uop);
    case GNTTABOP_get_status_frames:
      return getStatusFrames(c, uop, count);
    case GNTTABOP_get_version:
      return getVersion(c, uop);
    case GNTTABOP_swap_grant_ref:
      return swapGrantRefs(c, uop, count);
    case GNTTABOP_cache_flush:
      return cacheFlush(c, uop, count);
    default:
      // GNTTABOP_dump_table has a structure in the header, but Xen 4.17 no code for it.
      return -XEN_ENOSYS;
  }
};
