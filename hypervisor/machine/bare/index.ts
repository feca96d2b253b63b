// The PC without a hypervisor, as others see it.

export { Board, type BoardEnd, type BoardOptions } from './board.ts';
export { createPc, type Pc, type PcOptions } from './devices.ts';
export { prepareDirect, startDirect } from './direct.ts';
