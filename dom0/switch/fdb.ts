// The forwarding database of a bridge: which port an address was last seen at (Linux's net/bridge/br_fdb.c). Ages in virtual time.

/** BR_DEFAULT_AGEING_TIME, in ns. */
const AGEING = 300e9;
/** Addresses of one port. Linux has no such limit; a guest that makes up addresses is not to fill our memory. */
const MAX_PER_PORT = 1024;

/** An Ethernet address as a number below 2^48. */
export const addressKey = (frame: Uint8Array, at: number): number =>
  ((frame[at]! << 8) | frame[at + 1]!) * 0x1_0000_0000 +
  (((frame[at + 2]! << 24) | (frame[at + 3]! << 16) | (frame[at + 4]! << 8) | frame[at + 5]!) >>> 0);

export const formatAddress = (key: number): string =>
  key
    .toString(16)
    .padStart(12, '0')
    .replace(/..(?!$)/g, '$&:');

/** Plain data. */
export interface FdbEntry {
  readonly address: number;
  /** Number of the port on its bridge. */
  port: number;
  /** ns of system time. */
  seen: number;
}

export class ForwardingDatabase {
  private readonly entries = new Map<number, FdbEntry>();
  private readonly perPort = new Map<number, number>();

  /** A frame with this source came in at `port`. */
  learn(address: number, port: number, now: number): void {
    const known = this.entries.get(address);
    if (known !== undefined && known.port === port) {
      known.seen = now;
      return;
    }
    if (this.count(port) >= MAX_PER_PORT) this.expire(now);
    if (this.count(port) >= MAX_PER_PORT) return;
    if (known !== undefined) this.remove(known);
    this.entries.set(address, { address, port, seen: now });
    this.perPort.set(port, this.count(port) + 1);
  }

  /** The port where frames to `address` go; null when they must go to all. */
  find(address: number, now: number): number | null {
    const known = this.entries.get(address);
    if (known === undefined) return null;
    if (now - known.seen < AGEING) return known.port;
    this.remove(known);
    return null;
  }

  forgetPort(port: number): void {
    for (const e of [...this.entries.values()]) if (e.port === port) this.remove(e);
  }

  /** Sorted by address, without what has expired. */
  list(now: number): FdbEntry[] {
    return [...this.entries.values()].filter((e) => now - e.seen < AGEING).sort((a, b) => a.address - b.address);
  }

  private count(port: number): number {
    return this.perPort.get(port) ?? 0;
  }
  private expire(now: number): void {
    for (const e of [...this.entries.values()]) if (now - e.seen >= AGEING) this.remove(e);
  }
  private remove(entry: FdbEntry): void {
    this.entries.delete(entry.address);
    this.perPort.set(entry.port, this.count(entry.port) - 1);
  }
}
