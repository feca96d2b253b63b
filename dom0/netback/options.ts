// What a netback can be made to do differently, as one plain object: features that it offers, and the switches for study. The defaults are
// those of Linux's xen-netback.
import { parseOptionList } from '../kernel/option-list.ts';

export interface NetbackOptions {
  /** feature-sg: packets of more than one slot. Without it no GSO either. */
  readonly sg: boolean;
  readonly gsoTcpv4: boolean;
  readonly gsoTcpv6: boolean;
  /** feature-no-csum-offload = 0: blank checksums are taken. */
  readonly csumOffload: boolean;
  readonly ipv6CsumOffload: boolean;
  readonly multicastControl: boolean;
  readonly splitEventChannels: boolean;
  readonly ctrlRing: boolean;
  /** How many grants a frontend may register for good over the control ring; then their bytes move without Xen. Linux offers none. */
  readonly staticGrants: number;
  /** multi-queue-max-queues. 1: the key is not written. */
  readonly maxQueues: number;
  /** How sent data comes to dom0: copied by Xen, or read from pages mapped for each packet. */
  readonly tx: 'copy' | 'map';
  /**
   * How received data comes to the guest: copied by Xen, or in a page that changes owner (feature-rx-flip, GNTTABOP_transfer). Linux's
   * frontend has asked for copying since 2.6.20 and takes nothing else, so flips reach only frontends that write request-rx-copy = 0.
   */
  readonly rx: 'copy' | 'flip';
  /** Responses published and notified once per burst, as the event index asks; or an event for each packet whatever it asks. */
  readonly notify: 'batch' | 'each';
  /** Packets waiting for the guest's buffers, in bytes per queue. */
  readonly rxQueueBytes: number;
  /** rx_drain_timeout_msecs, in ns: what has waited so long may be dropped for something newer. */
  readonly rxDrainNs: number;
}

export const NETBACK_DEFAULTS: NetbackOptions = {
  sg: true,
  gsoTcpv4: true,
  gsoTcpv6: true,
  csumOffload: true,
  ipv6CsumOffload: true,
  multicastControl: true,
  splitEventChannels: true,
  ctrlRing: true,
  staticGrants: 0,
  maxQueues: 8,
  tx: 'copy',
  rx: 'copy',
  notify: 'batch',
  rxQueueBytes: 4 << 20,
  rxDrainNs: 10e9,
};

/** See parseOptionList. */
export const parseNetbackOptions = (text: string): Partial<NetbackOptions> =>
  parseOptionList(text, NETBACK_DEFAULTS, { tx: ['copy', 'map'], rx: ['copy', 'flip'], notify: ['batch', 'each'] });
