// update_va_mapping_otherdomain: as update_va_mapping, for frames of another domain, whose id is the last argument.

import { XEN_ESRCH } from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';
import { pageOwnerId } from './foreign-domain.ts';
import { updateVaMapping } from './update_va_mapping.ts';

export const update_va_mapping_otherdomain: HypercallHandler = (c) => {
  const pgOwner = pageOwnerId(c, c.argU32(c.domain.is32bit ? 4 : 3) & 0xffff);
  return pgOwner === -1 ? -XEN_ESRCH : updateVaMapping(c, pgOwner);
};
