// The PC without a hypervisor, as others see it.

export { type BlockStore, MemoryBlockStore, OverlayBlockStore } from '../devices/block-store.ts';
export { type Image as ScreenImage, renderImage } from '../devices/framebuffer.ts';
export { encodePng } from '../devices/png.ts';
export { displayMode } from '../devices/vga-state.ts';
export { screenText } from '../devices/vga-text.ts';
export { Board, type BoardEnd, type BoardOptions } from './board.ts';
export { createPc, type Pc, type PcOptions } from './devices.ts';
export { prepareDirect, startDirect } from './direct.ts';
export { type Entry, enterAt } from './entry.ts';
