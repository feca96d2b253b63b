// All micro kernels, and the empty one whose time is that of starting and stopping.

import type { MicroKernel } from './image.ts';
import { FLOAT_KERNELS } from './kernels-float.ts';
import { MEMORY_KERNELS } from './kernels-memory.ts';
import { REGISTER_KERNELS } from './kernels-register.ts';
import { SYSTEM_KERNELS } from './kernels-system.ts';

export const KERNELS: readonly MicroKernel[] = [...REGISTER_KERNELS, ...MEMORY_KERNELS, ...FLOAT_KERNELS, ...SYSTEM_KERNELS];

export const EMPTY: MicroKernel = {
  name: 'empty',
  group: '',
  mode: 64,
  rounds: 1,
  about: 'starting and stopping',
  emit: (a) => void a.ret(),
};
