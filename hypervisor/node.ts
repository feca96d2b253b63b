// What of the hypervisor needs Node: kept out of index.ts, which must also run in a browser.

export { FileBlockStore } from './machine/devices/node-block-store.ts';
