// Where in an Ethernet frame its headers are: as far as checksum and segmentation offload must know (Linux's skb_checksum_setup and what it
// calls, net/core/skbuff.c). Nothing here is trusted: a frame that does not hold what it claims has no place.
import { be16 } from './inet-checksum.ts';

export const ETH_HLEN = 14;
export const ETH_P_IP = 0x0800;
export const ETH_P_IPV6 = 0x86dd;
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;

const IPPROTO_HOPOPTS = 0;
const IPPROTO_ROUTING = 43;
const IPPROTO_FRAGMENT = 44;
const IPPROTO_AH = 51;
const IPPROTO_DSTOPTS = 60;
/** Above the last header of any packet that is not nonsense. */
const MAX_EXTENSIONS = 16;

export interface L4Place {
  readonly version: 4 | 6;
  readonly protocol: number;
  /** Of the transport header, from the start of the frame. */
  readonly start: number;
  /** End of the packet by its IP header; the frame may be longer by padding. */
  readonly end: number;
}

/** The transport header, or null: no IP, a fragment, or cut off. */
export function findL4(frame: Uint8Array): L4Place | null {
  if (frame.length < ETH_HLEN) return null;
  const type = be16(frame, 12);
  if (type === ETH_P_IP) return findInIpv4(frame);
  return type === ETH_P_IPV6 ? findInIpv6(frame) : null;
}

function findInIpv4(frame: Uint8Array): L4Place | null {
  const ip = ETH_HLEN;
  if (frame.length < ip + 20 || frame[ip]! >>> 4 !== 4) return null;
  const headerLength = (frame[ip]! & 15) * 4;
  const isFragment = (be16(frame, ip + 6) & 0x3fff) !== 0;
  if (headerLength < 20 || isFragment || frame.length < ip + headerLength) return null;
  return {
    version: 4,
    protocol: frame[ip + 9]!,
    start: ip + headerLength,
    end: Math.max(ip + headerLength, Math.min(frame.length, ip + be16(frame, ip + 2))),
  };
}

function findInIpv6(frame: Uint8Array): L4Place | null {
  const ip = ETH_HLEN;
  if (frame.length < ip + 40 || frame[ip]! >>> 4 !== 6) return null;
  const end = Math.min(frame.length, ip + 40 + be16(frame, ip + 4));
  let at = ip + 40;
  let next = frame[ip + 6]!;
  for (let n = 0; n < MAX_EXTENSIONS && at <= end; n++) {
    const isOptions = next === IPPROTO_HOPOPTS || next === IPPROTO_DSTOPTS || next === IPPROTO_ROUTING;
    if (!isOptions && next !== IPPROTO_AH && next !== IPPROTO_FRAGMENT) return { version: 6, protocol: next, start: at, end };
    if (at + 8 > frame.length) return null;
    // Not the first fragment, or more to follow.
    if (next === IPPROTO_FRAGMENT && (be16(frame, at + 2) & 0xfff9) !== 0) return null;
    const length = frame[at + 1]!;
    const step = isOptions ? (length + 1) * 8 : next === IPPROTO_AH ? (length + 2) * 4 : 8;
    next = frame[at]!;
    at += step;
  }
  return null;
}
