// fbif.h: the virtual frame buffer. Its shared page holds the geometry, two rings of events and the frames of the page directory.
import { array, bytes } from '../layout/array.ts';
import { s32, u8, u32, ulong_number } from '../layout/scalars.ts';
import { struct, union } from '../layout/struct.ts';

export const XENFB_TYPE_UPDATE = 2;
export const XENFB_TYPE_RESIZE = 3;

export const xenfb_update = struct('xenfb_update', { type: u8, x: s32, y: s32, width: s32, height: s32 });

export const xenfb_resize = struct('xenfb_resize', { type: u8, width: s32, height: s32, stride: s32, depth: s32, offset: s32 });

export const XENFB_OUT_EVENT_SIZE = 40;

export const xenfb_out_event = union('xenfb_out_event', {
  type: u8,
  update: xenfb_update,
  resize: xenfb_resize,
  pad: bytes(XENFB_OUT_EVENT_SIZE),
});

export const XENFB_TYPE_REFRESH_PERIOD = 1;
export const XENFB_NO_REFRESH = 0;

export const xenfb_refresh_period = struct('xenfb_refresh_period', { type: u8, period: u32 });

export const XENFB_IN_EVENT_SIZE = 40;

export const xenfb_in_event = union('xenfb_in_event', {
  type: u8,
  refresh_period: xenfb_refresh_period,
  pad: bytes(XENFB_IN_EVENT_SIZE),
});

export const XENFB_IN_RING_SIZE = 1024;
export const XENFB_IN_RING_LEN = 25;
export const XENFB_IN_RING_OFFS = 1024;
export const XENFB_OUT_RING_SIZE = 2048;
export const XENFB_OUT_RING_LEN = 51;
export const XENFB_OUT_RING_OFFS = XENFB_IN_RING_OFFS + XENFB_IN_RING_SIZE;

/** Frames of directory pages; each of these lists frames of the frame buffer, as `unsigned long` too. */
export const xenfb_page = struct('xenfb_page', {
  in_cons: u32,
  in_prod: u32,
  out_cons: u32,
  out_prod: u32,
  width: s32,
  height: s32,
  line_length: u32,
  mem_length: u32,
  depth: u8,
  pd: array(256, ulong_number),
});
