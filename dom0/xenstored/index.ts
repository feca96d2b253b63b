// XenStore: the daemon, its rings, and dom0's own way in.

export { XsClient, type XsOperations } from './client.ts';
export { startXenstored } from './domain-rings.ts';
export { XsError } from './errors.ts';
export { RingLink, type RingState } from './ring-link.ts';
export { Xenstored, type XsTrace } from './xenstored.ts';
