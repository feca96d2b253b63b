// The line between a backend and the switch: packets as they are handed over, in either direction. A packet may be what offloads made of
// it: larger than any wire takes (GSO, to be cut), or with only the pseudo-header's sum in its checksum field. Whoever hands a packet to an
// end that does not accept such a thing cuts it or fills the sum first (offload.ts).
//
// Packets come in bursts: transmit() and receive() may keep work back until the flush() that ends the burst, in the same activation of dom0.

/** GSO as netif_extra_info has it. */
export interface PacketGso {
  readonly type: 'tcpv4' | 'tcpv6';
  /** MSS: bytes of TCP payload in each segment. */
  readonly size: number;
}

/** As XEN_NETIF_EXTRA_TYPE_HASH carries it. */
export interface PacketHash {
  /** _XEN_NETIF_CTRL_HASH_TYPE_*: what of the packet was hashed. */
  readonly type: number;
  /** XEN_NETIF_CTRL_HASH_ALGORITHM_*. */
  readonly algorithm: number;
  readonly value: number;
}

export interface Packet {
  /** A whole Ethernet frame without FCS; with `gso`, up to 64 KiB. Borrowed: it is overwritten once the call is over, and never written to by who gets it. */
  readonly bytes: Uint8Array;
  /** CHECKSUM_PARTIAL: the TCP or UDP checksum field holds the sum of the pseudo-header only. */
  readonly csumBlank: boolean;
  /** The sender vouches for the checksum: it need not be looked at. True whenever csumBlank is. */
  readonly csumValid: boolean;
  readonly gso: PacketGso | null;
  readonly hash: PacketHash | null;
}

/** What an end takes as it is. */
export interface PortAccepts {
  readonly gso4: boolean;
  readonly gso6: boolean;
  /** Blank checksums in IPv4 packets, and in IPv6 ones. */
  readonly csum4: boolean;
  readonly csum6: boolean;
  /**
   * The multicast groups that it wants, for a frontend that asked for multicast control; null for all. The broadcast address is never
   * filtered. Asked anew for each packet.
   */
  wantsMulticast(address: Uint8Array): boolean;
  /** Largest frame that is no GSO, Ethernet header included. */
  readonly maxFrame: number;
}

/** The switch as an end sees it. */
export interface SwitchPort {
  /** From the end into the switch. */
  transmit(packet: Packet): void;
  /** The burst is over: whatever got packets of it is flushed. */
  flush(): void;
  /** No call to the client comes after this. */
  close(): void;
  readonly stats: PortStats;
}

/** Counted by the switch, from the end's point of view: tx is what it sent. */
export interface PortStats {
  txPackets: number;
  txBytes: number;
  rxPackets: number;
  rxBytes: number;
  /** receive() returned false. */
  rxDropped: number;
}

/** An end as the switch sees it: a backend's interface, the uplink. */
export interface PortClient {
  /** From the switch to the end. False: no room, the packet is lost. */
  receive(packet: Packet): boolean;
  /** The burst is over. */
  flush(): void;
  readonly accepts: PortAccepts;
}

/** Puts an end on a bridge by name (`xenbr0`), which is made if there is none. `name` is the port's own: `vif1.0`. */
export type AttachPort = (bridge: string, client: PortClient, name: string) => SwitchPort;
