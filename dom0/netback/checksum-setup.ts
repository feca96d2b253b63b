// What must be true of a packet before its checksum may stay blank (skb_checksum_setup of Linux's net/core/skbuff.c): it is TCP or UDP over
// IP, no fragment, and the header with the checksum field is there. Guests' packets are not trusted to be so.

const ETH = 14;
const TCP = 6;
const UDP = 17;
/** IPv6 extension headers that may come before the transport header (hop by hop, routing, destination options). */
const isExtension = (next: number): boolean => next === 0 || next === 43 || next === 60;

export interface Transport {
  readonly v6: boolean;
  readonly protocol: number;
  /** Of the transport header in the frame. */
  readonly at: number;
  /** Where the transport payload ends by the IP header. */
  readonly end: number;
}

/** The transport header of a TCP or UDP packet, if all of it up to the checksum is there. */
export function transportOf(bytes: Uint8Array): Transport | null {
  const type = (bytes[12]! << 8) | bytes[13]!;
  if (type === 0x0800) {
    if (bytes.length < ETH + 20 || bytes[ETH]! >> 4 !== 4) return null;
    const header = (bytes[ETH]! & 15) * 4;
    if (header < 20 || (((bytes[ETH + 6]! << 8) | bytes[ETH + 7]!) & 0x3fff) !== 0) return null;
    return checked(bytes, false, bytes[ETH + 9]!, ETH + header, ETH + ((bytes[ETH + 2]! << 8) | bytes[ETH + 3]!));
  }
  if (type === 0x86dd) {
    if (bytes.length < ETH + 40 || bytes[ETH]! >> 4 !== 6) return null;
    let next = bytes[ETH + 6]!;
    let at = ETH + 40;
    for (let i = 0; i < 8 && isExtension(next); i++) {
      if (bytes.length < at + 8) return null;
      const length = (bytes[at + 1]! + 1) * 8;
      next = bytes[at]!;
      at += length;
    }
    return checked(bytes, true, next, at, ETH + 40 + ((bytes[ETH + 4]! << 8) | bytes[ETH + 5]!));
  }
  return null;
}

function checked(bytes: Uint8Array, v6: boolean, protocol: number, at: number, end: number): Transport | null {
  const header = protocol === TCP ? 20 : protocol === UDP ? 8 : 0;
  return header === 0 || bytes.length < at + header || end < at + header ? null : { v6, protocol, at, end: Math.min(end, bytes.length) };
}

/** Writes the pseudo-header's sum into the checksum field, as a frontend should have for a packet with a blank one. */
export function blankChecksum(bytes: Uint8Array, t: Transport): void {
  const addresses = t.v6 ? ETH + 8 : ETH + 12;
  let sum = t.protocol + (t.end - t.at);
  for (let i = addresses; i < addresses + (t.v6 ? 32 : 8); i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const at = t.at + (t.protocol === TCP ? 16 : 6);
  bytes[at] = sum >> 8;
  bytes[at + 1] = sum & 0xff;
}
