// Sizes and limits of grant tables, and how Xen packs the pins of an active grant (xen/common/grant_table.c).

/** opt_max_grant_frames, opt_max_maptrack_frames. */
export const DEFAULT_MAX_GRANT_FRAMES = 64;
export const DEFAULT_MAX_MAPTRACK_FRAMES = 1024;
/** struct grant_mapping is 16 bytes. */
export const MAPTRACK_PER_FRAME = 256;
/** grant_status_t is 16 bits. */
export const STATUS_PER_FRAME = 2048;

/** GNTPIN_*: one count per byte of `pin`; overflow of any shows in overflowMask. */
export const PIN = {
  hstw: 0x0000_0001,
  hstr: 0x0000_0100,
  devw: 0x0001_0000,
  devr: 0x0100_0000,
  writeMask: 0x00ff_00ff,
  overflowMask: 0x8080_8080 | 0,
} as const;
