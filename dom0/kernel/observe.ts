// What backends tell those who watch: events for the trace, and amounts of work for the price list. Both cost next to nothing while nobody
// listens.

/** A backend's device, e.g. 'vbd/1/51712'. */
export type DeviceName = string;

/** A network queue has a ring for each direction; ids are unique in one ring only. */
export type RingName = 'tx' | 'rx' | 'ctrl';

/** One thing that happened on a split device, as a trace shows it (xentrace has no such events; the fields are those of the ring headers). */
export type SplitEvent =
  | {
      readonly kind: 'request';
      readonly device: DeviceName;
      readonly queue: number;
      /** Where a queue has several rings. */
      readonly ring?: RingName;
      readonly index: number;
      readonly op: string;
      readonly id: number;
      readonly bytes: number;
    }
  | {
      readonly kind: 'response';
      readonly device: DeviceName;
      readonly queue: number;
      readonly ring?: RingName;
      readonly index: number;
      readonly id: number;
      readonly status: number;
    }
  /** The backend's event to the frontend: sent, or suppressed because the frontend's event index did not ask for it. */
  | { readonly kind: 'notify'; readonly device: DeviceName; readonly queue: number; readonly ring?: RingName; readonly sent: boolean }
  /** The frontend's event arrived. */
  | { readonly kind: 'kick'; readonly device: DeviceName; readonly queue: number; readonly ring?: RingName }
  | {
      readonly kind: 'grant';
      readonly device: DeviceName;
      readonly op: 'map' | 'unmap' | 'copy' | 'transfer';
      readonly count: number;
      readonly bytes: number;
    }
  | { readonly kind: 'state'; readonly device: DeviceName; readonly end: 'front' | 'back'; readonly state: number }
  /** An event came in by one of dom0's ports; what follows, up to the next of these, was caused by it. */
  | { readonly kind: 'deliver'; readonly port: number };

/** Units of dom0's work that have a price (work-prices.ts). */
export type WorkItem =
  | 'hypercall'
  | 'upcall'
  | 'evtchn_send'
  | 'grant_map'
  | 'grant_unmap'
  | 'grant_copy'
  | 'grant_transfer'
  | 'byte_copied'
  | 'byte_checksummed'
  | 'request'
  | 'response'
  | 'xenstore_message'
  | 'host_io'
  | 'packet_switched';

export class Observer {
  /** Gets every event while set; the backends ask before they make one. */
  sink: ((event: SplitEvent) => void) | null = null;
  /** Work done since the machine was switched on. Plain counters. */
  readonly work: Record<WorkItem, number> = {
    hypercall: 0,
    upcall: 0,
    evtchn_send: 0,
    grant_map: 0,
    grant_unmap: 0,
    grant_copy: 0,
    grant_transfer: 0,
    byte_copied: 0,
    byte_checksummed: 0,
    request: 0,
    response: 0,
    xenstore_message: 0,
    host_io: 0,
    packet_switched: 0,
  };

  count(item: WorkItem, amount = 1): void {
    this.work[item] += amount;
  }
}
