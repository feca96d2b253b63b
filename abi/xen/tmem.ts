// tmem.h: tmem_op, obsolete: the numbers remain reserved.
import { array } from '../layout/array.ts';
import { s32, u32, u64, xen_pfn_t } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';

export const TMEM_SPEC_VERSION = 1;
export const TMEM_NEW_POOL = 1;
export const TMEM_DESTROY_POOL = 2;
export const TMEM_PUT_PAGE = 4;
export const TMEM_GET_PAGE = 5;
export const TMEM_FLUSH_PAGE = 6;
export const TMEM_FLUSH_OBJECT = 7;
export const TMEM_AUTH = 101;
export const TMEM_RESTORE_NEW = 102;
export const TMEM_POOL_PERSIST = 1;
export const TMEM_POOL_SHARED = 2;
export const TMEM_POOL_PRECOMPRESSED = 4;
export const TMEM_POOL_PAGESIZE_SHIFT = 4;
export const TMEM_POOL_PAGESIZE_MASK = 0xf;
export const TMEM_POOL_VERSION_SHIFT = 24;
export const TMEM_POOL_VERSION_MASK = 0xff;
export const TMEM_POOL_RESERVED_BITS = 0xffff00;
export const TMEM_CLIENT_COMPRESS = 1;
export const TMEM_CLIENT_FROZEN = 2;

export const EFROZEN = 1000;
export const EEMPTY = 1001;

export const xen_tmem_oid = struct('xen_tmem_oid', {
  oid: array(3, u64),
});

export const tmem_op = struct('tmem_op', {
  cmd: u32,
  pool_id: s32,
  u: union('', {
    creat: inline({
      uuid: array(2, u64),
      flags: u32,
      arg1: u32,
    }),
    gen: inline({
      oid: xen_tmem_oid,
      index: u32,
      tmem_offset: u32,
      pfn_offset: u32,
      len: u32,
      cmfn: xen_pfn_t,
    }),
  }),
});
