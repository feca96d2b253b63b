// The multicast groups that a frontend wants (feature-multicast-control): a list that it changes by extra infos on its tx ring. While it has
// not asked for the control, it gets everything.

/** XEN_NETBK_MCAST_MAX. */
const MAX = 64;

export class MulticastFilter {
  /** request-multicast-control. */
  isOn = false;
  private readonly groups: Uint8Array[] = [];

  add(address: Uint8Array): boolean {
    if (this.groups.length >= MAX) return false;
    this.groups.push(address);
    return true;
  }

  remove(address: Uint8Array): void {
    const at = this.groups.findIndex((g) => same(g, address));
    if (at >= 0) this.groups.splice(at, 1);
  }

  clear(): void {
    this.isOn = false;
    this.groups.length = 0;
  }

  /** For a packet to the multicast address at the start of `bytes`. */
  wants(bytes: Uint8Array): boolean {
    return !this.isOn || isBroadcast(bytes) || this.groups.some((g) => same(g, bytes));
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (a[i] !== b[i]) return false;
  return true;
}

function isBroadcast(bytes: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (bytes[i] !== 0xff) return false;
  return true;
}
