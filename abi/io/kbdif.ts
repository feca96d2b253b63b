// kbdif.h: the virtual keyboard and pointer: one page with a ring of events to the frontend (and an unused one back), and the names of the
// nodes by which both ends agree.
import { bytes } from '../layout/array.ts';
import { s16, s32, u8, u32 } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';

export const XENKBD_TYPE_MOTION = 1;
export const XENKBD_TYPE_RESERVED = 2;
export const XENKBD_TYPE_KEY = 3;
export const XENKBD_TYPE_POS = 4;
export const XENKBD_TYPE_MTOUCH = 5;

export const XENKBD_MT_EV_DOWN = 0;
export const XENKBD_MT_EV_UP = 1;
export const XENKBD_MT_EV_MOTION = 2;
export const XENKBD_MT_EV_SYN = 3;
export const XENKBD_MT_EV_SHAPE = 4;
export const XENKBD_MT_EV_ORIENT = 5;

export const XENKBD_DRIVER_NAME = 'vkbd';

export const XENKBD_FIELD_FEAT_DSBL_KEYBRD = 'feature-disable-keyboard';
export const XENKBD_FIELD_FEAT_DSBL_POINTER = 'feature-disable-pointer';
export const XENKBD_FIELD_FEAT_ABS_POINTER = 'feature-abs-pointer';
export const XENKBD_FIELD_FEAT_RAW_POINTER = 'feature-raw-pointer';
export const XENKBD_FIELD_FEAT_MTOUCH = 'feature-multi-touch';
export const XENKBD_FIELD_REQ_ABS_POINTER = 'request-abs-pointer';
export const XENKBD_FIELD_REQ_RAW_POINTER = 'request-raw-pointer';
export const XENKBD_FIELD_REQ_MTOUCH = 'request-multi-touch';
export const XENKBD_FIELD_RING_GREF = 'page-gref';
export const XENKBD_FIELD_EVT_CHANNEL = 'event-channel';
export const XENKBD_FIELD_WIDTH = 'width';
export const XENKBD_FIELD_HEIGHT = 'height';
export const XENKBD_FIELD_MT_WIDTH = 'multi-touch-width';
export const XENKBD_FIELD_MT_HEIGHT = 'multi-touch-height';
export const XENKBD_FIELD_MT_NUM_CONTACTS = 'multi-touch-num-contacts';
export const XENKBD_FIELD_UNIQUE_ID = 'unique-id';
export const XENKBD_FIELD_RING_REF = 'page-ref';

export const xenkbd_motion = struct('xenkbd_motion', { type: u8, rel_x: s32, rel_y: s32, rel_z: s32 });

export const xenkbd_key = struct('xenkbd_key', { type: u8, pressed: u8, keycode: u32 });

export const xenkbd_position = struct('xenkbd_position', { type: u8, abs_x: s32, abs_y: s32, rel_z: s32 });

export const xenkbd_mtouch = struct('xenkbd_mtouch', {
  type: u8,
  event_type: u8,
  contact_id: u8,
  reserved: bytes(5),
  u: union('', {
    pos: inline({ abs_x: s32, abs_y: s32 }),
    shape: inline({ major: u32, minor: u32 }),
    orientation: s16,
  }),
});

export const XENKBD_IN_EVENT_SIZE = 40;

export const xenkbd_in_event = union('xenkbd_in_event', {
  type: u8,
  motion: xenkbd_motion,
  key: xenkbd_key,
  pos: xenkbd_position,
  mtouch: xenkbd_mtouch,
  pad: bytes(XENKBD_IN_EVENT_SIZE),
});

export const XENKBD_OUT_EVENT_SIZE = 40;

export const xenkbd_out_event = union('xenkbd_out_event', { type: u8, pad: bytes(XENKBD_OUT_EVENT_SIZE) });

export const XENKBD_IN_RING_SIZE = 2048;
export const XENKBD_IN_RING_LEN = 51;
export const XENKBD_IN_RING_OFFS = 1024;
export const XENKBD_OUT_RING_SIZE = 1024;
export const XENKBD_OUT_RING_LEN = 25;
export const XENKBD_OUT_RING_OFFS = XENKBD_IN_RING_OFFS + XENKBD_IN_RING_SIZE;

export const xenkbd_page = struct('xenkbd_page', { in_cons: u32, in_prod: u32, out_cons: u32, out_prod: u32 });
