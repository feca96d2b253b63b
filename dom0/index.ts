// dom0: a domain whose kernel is TypeScript, with the toolstack and the backends.

export * from './blkback/index.ts';
export * from './consoled/index.ts';
export * from './kernel/dom0.ts';
export * from './kernel/evtchn.ts';
export { FrontDomain } from './kernel/front-domain.ts';
export * from './kernel/gnttab.ts';
export * from './kernel/hypercall.ts';
export * from './kernel/memory.ts';
export * from './kernel/observe.ts';
export * from './kernel/privcmd.ts';
export * from './netback/index.ts';
export * from './observe/index.ts';
export * from './storage/block-store.ts';
export { latencyModel } from './storage/latency.ts';
export { Network } from './switch/network.ts';
export { gzipNode } from './toolstack/decompress/gzip-node.ts';
export { type Decompressors, decompressorsWith } from './toolstack/decompress/index.ts';
export { addDevice, backendPath, type Device, frontendPath } from './toolstack/device.ts';
export * from './toolstack/domain-builder.ts';
export * from './toolstack/elf.ts';
export { DomainBuildError } from './toolstack/errors.ts';
export * from './toolstack/kernel-image.ts';
export * from './toolstack/lifecycle.ts';
export { readNamedFile } from './toolstack/node-files.ts';
export type { PvLayout } from './toolstack/pv-layout.ts';
export * from './toolstack/xlcfg.ts';
export * from './xenstored/index.ts';
