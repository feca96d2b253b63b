// blkif.h: block devices. Requests have two layouts, because 64-bit integers align to 4 in the i386 ABI.
import { array } from '../layout/array.ts';
import { grant_ref_t, s16, u8, u16, u64, u64_number } from '../layout/scalars.ts';
import { only, struct } from '../layout/struct.ts';

export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
export const BLKIF_OP_WRITE_BARRIER = 2;
export const BLKIF_OP_FLUSH_DISKCACHE = 3;
export const BLKIF_OP_RESERVED_1 = 4;
export const BLKIF_OP_DISCARD = 5;
export const BLKIF_OP_INDIRECT = 6;
export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8;

export const blkif_request_segment = struct('blkif_request_segment', {
  gref: grant_ref_t,
  first_sect: u8,
  last_sect: u8,
});

export const blkif_request = struct('blkif_request', {
  operation: u8,
  nr_segments: u8,
  handle: u16,
  id: u64,
  sector_number: u64_number,
  seg: array(BLKIF_MAX_SEGMENTS_PER_REQUEST, blkif_request_segment),
});

export const blkif_request_discard = struct('blkif_request_discard', {
  operation: u8,
  flag: u8,
  handle: u16,
  id: u64,
  sector_number: u64_number,
  nr_sectors: u64_number,
});

export const BLKIF_DISCARD_SECURE = 1 << 0;

export const blkif_request_indirect = struct('blkif_request_indirect', {
  operation: u8,
  indirect_op: u8,
  nr_segments: u16,
  id: u64,
  sector_number: u64_number,
  handle: u16,
  indirect_grefs: array(BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST, grant_ref_t),
  pad: only('x86_32', u64),
});

export const blkif_response = struct('blkif_response', {
  id: u64,
  operation: u8,
  status: s16,
});

export const BLKIF_RSP_EOPNOTSUPP = -2;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_OKAY = 0;

export const VDISK_CDROM = 1;
export const VDISK_REMOVABLE = 2;
export const VDISK_READONLY = 4;
