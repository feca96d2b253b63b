// The 128-bit part of the WebAssembly builder.

import type { SimdBuilder } from './builder.ts';
import type { Val, WasmBuilder } from './wasm-builder.ts';

export interface XVal {
  readonly local: number;
}

export function createSimd(_b: WasmBuilder): SimdBuilder<Val, XVal> {
  return {} as SimdBuilder<Val, XVal>;
}
