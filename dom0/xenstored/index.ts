// XenStore: the daemon, its rings, and dom0's own way in.

export { auditStore } from './audit.ts';
export { XsClient, type XsOperations } from './client.ts';
export type { Message } from './connection.ts';
export { startXenstored } from './domain-rings.ts';
export { XsError, type XsErrorName } from './errors.ts';
export { requestName } from './requests.ts';
export { RingLink, type RingState, RingTurns } from './ring-link.ts';
export { Xenstored, type XsTrace } from './xenstored.ts';
