// Packets taken off a tx ring, between the look at their requests and the arrival of their bytes: private copies of all that the frontend
// said. The records are made once and used again.
import { XEN_NETIF_NR_SLOTS_MIN } from '@ringworld/abi';

/** XEN_NETBK_LEGACY_SLOTS_MAX beside the first: a packet of more is dropped. */
export const MAX_SLOTS = XEN_NETIF_NR_SLOTS_MIN + 1;
/** fatal_skb_slots: a frontend that goes this far is shut. */
export const FATAL_SLOTS = 20;
const MAX_PACKETS = 64;

export class TxPacket {
  /** Slots with data; those of dropped packets too, since each gets its response. */
  slots = 0;
  readonly ids = new Uint16Array(FATAL_SLOTS + 1);
  readonly grefs = new Uint32Array(FATAL_SLOTS + 1);
  readonly offsets = new Uint16Array(FATAL_SLOTS + 1);
  readonly sizes = new Uint16Array(FATAL_SLOTS + 1);
  /** Number of the copy in the batch. */
  readonly copies = new Int16Array(FATAL_SLOTS + 1);
  /** Page of the staging area. */
  readonly pages = new Uint16Array(FATAL_SLOTS + 1);
  /** Extra infos: each takes a slot, and a response that says nothing. */
  extras = 0;
  flags = 0;
  gsoType = 0;
  gsoSize = 0;
  hashType = -1;
  hashAlgorithm = 0;
  hashValue = 0;

  reset(): void {
    this.slots = 0;
    this.extras = 0;
    this.flags = 0;
    this.gsoType = 0;
    this.gsoSize = 0;
    this.hashType = -1;
  }
}

export class TxBatch {
  private readonly packets = Array.from({ length: MAX_PACKETS }, () => new TxPacket());
  count = 0;
  /** Staging pages in use. */
  pages = 0;

  get isFull(): boolean {
    return this.count === MAX_PACKETS;
  }
  /** The record for the next packet. It joins the batch when `count` is raised. */
  next(): TxPacket {
    return this.packets[this.count]!;
  }
  at(index: number): TxPacket {
    return this.packets[index]!;
  }
  clear(): void {
    this.count = 0;
    this.pages = 0;
  }
}
