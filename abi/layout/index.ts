// The layout library: codecs for C data under both ABIs, branded words, annotated dumps.
export * from './array.ts';
export * from './bits.ts';
export * from './brands.ts';
export * from './codec.ts';
export * from './dump.ts';
export * from './scalars.ts';
export * from './struct.ts';
