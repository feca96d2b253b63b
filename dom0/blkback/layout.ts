// Where things lie in a request and a response of either ABI, computed once from the declarations of blkif.h: the ring's slots are read in
// place of a private copy (BackRing.request), without making an object of each.
import {
  type Abi,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  blkif_request,
  blkif_request_discard,
  blkif_request_indirect,
  blkif_request_segment,
  blkif_response,
  type RingType,
  ringType,
  XEN_IO_PROTO_ABI_X86_32,
  XEN_IO_PROTO_ABI_X86_64,
} from '@ringworld/abi';

export const SECTOR = 512;
/** Segments per page of an indirect descriptor: 512. */
export const SEGMENTS_PER_INDIRECT_PAGE = 4096 / blkif_request_segment.size('x86_64');
export const MAX_SEGMENTS = BLKIF_MAX_SEGMENTS_PER_REQUEST;

/** A segment is the same in both ABIs. */
export const SEGMENT = {
  size: blkif_request_segment.size('x86_64'),
  gref: blkif_request_segment.offset('gref', 'x86_64'),
  first: blkif_request_segment.offset('first_sect', 'x86_64'),
  last: blkif_request_segment.offset('last_sect', 'x86_64'),
} as const;

export const BLKIF_RING: RingType = ringType('blkif', [blkif_request, blkif_response]);

export interface BlkifLayout {
  readonly abi: Abi;
  /** The first byte of every kind of request is its operation, and the id is at one place in all. */
  readonly id: number;
  readonly rw: { readonly nrSegments: number; readonly sector: number; readonly segments: number };
  readonly discard: { readonly flag: number; readonly sector: number; readonly count: number };
  readonly indirect: { readonly op: number; readonly nrSegments: number; readonly sector: number; readonly grefs: number };
  readonly response: { readonly size: number; readonly id: number; readonly operation: number; readonly status: number };
}

const layoutOf = (abi: Abi): BlkifLayout => ({
  abi,
  id: blkif_request.offset('id', abi),
  rw: {
    nrSegments: blkif_request.offset('nr_segments', abi),
    sector: blkif_request.offset('sector_number', abi),
    segments: blkif_request.offset('seg', abi),
  },
  discard: {
    flag: blkif_request_discard.offset('flag', abi),
    sector: blkif_request_discard.offset('sector_number', abi),
    count: blkif_request_discard.offset('nr_sectors', abi),
  },
  indirect: {
    op: blkif_request_indirect.offset('indirect_op', abi),
    nrSegments: blkif_request_indirect.offset('nr_segments', abi),
    sector: blkif_request_indirect.offset('sector_number', abi),
    grefs: blkif_request_indirect.offset('indirect_grefs', abi),
  },
  response: {
    size: blkif_response.size(abi),
    id: blkif_response.offset('id', abi),
    operation: blkif_response.offset('operation', abi),
    status: blkif_response.offset('status', abi),
  },
});

export const BLKIF_LAYOUTS: Readonly<Record<Abi, BlkifLayout>> = { x86_64: layoutOf('x86_64'), x86_32: layoutOf('x86_32') };

/** The ABI that a frontend's `protocol` names; dom0's own without one. Null: no protocol of ours. */
export const protocolAbi = (protocol: string | null): Abi | null =>
  protocol === null || protocol === '' || protocol === XEN_IO_PROTO_ABI_X86_64
    ? 'x86_64'
    : protocol === XEN_IO_PROTO_ABI_X86_32
      ? 'x86_32'
      : null;

/** A 64-bit field as a number: exact below 2^53, and beyond that still far past the end of any disk. */
export const wide = (view: DataView, at: number): number => view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
