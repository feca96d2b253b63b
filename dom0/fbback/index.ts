// Frame buffers and keyboards of PV domains.

export type { Area, FrameBuffer } from './fbback.ts';
export type { Keyboard } from './kbdback.ts';
export { keyCode } from './keys.ts';
export type { Picture } from './picture.ts';
export { type Deflate, encodePng } from './png.ts';
export { Screens } from './screens.ts';
