// What a network card does for a guest that has left it to the backend, done in software: transport checksums (skb_checksum_setup,
// skb_checksum_help in Linux's net/core) and TCP segmentation (tcp_gso_segment, inet_gso_segment, ipv6_gso_segment).
//
// A guest can claim anything. What is not what it claims to be gives null, and is to be dropped, as netback drops it.
import { findL4, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, type L4Place } from './headers.ts';
import { addSums, be16, be32, finish, putBe16, putBe32, sum16 } from './inet-checksum.ts';
import type { Packet, PacketGso, PortAccepts } from './port.ts';

/** A checksum that can be left to somebody else: of TCP or UDP. */
export interface ChecksumPlace extends L4Place {
  /** Of the checksum field, from the start of the frame. */
  readonly field: number;
}

/** skb_checksum_setup: where the checksum of a frame with csumBlank goes; null if it is none that can be blank (then the frame is dropped). */
export function checksumPlace(frame: Uint8Array): ChecksumPlace | null {
  const l4 = findL4(frame);
  if (l4 === null) return null;
  const { start, protocol } = l4;
  // The whole header must be there (skb_maybe_pull_tail).
  if (protocol === IPPROTO_TCP && frame.length >= start + 20) return { ...l4, field: start + 16 };
  if (protocol === IPPROTO_UDP && frame.length >= start + 8) return { ...l4, field: start + 6 };
  return null;
}

/** Sum of the pseudo-header for `length` bytes from the transport header on. */
function pseudoSum(frame: Uint8Array, l4: L4Place, length: number): number {
  const addresses = l4.version === 4 ? sum16(frame, 14 + 12, 14 + 20) : sum16(frame, 14 + 8, 14 + 40);
  return addSums(addresses, l4.protocol, length >>> 16, length & 0xffff);
}

/** Puts the sum of the pseudo-header into the checksum field, of a frame that is the caller's own: csumBlank is then true of it. */
export function blankChecksum(frame: Uint8Array, place: ChecksumPlace): void {
  putBe16(frame, place.field, pseudoSum(frame, place, frame.length - place.start));
}

/** skb_checksum_help: completes a blank checksum, in a frame that is the caller's own. What is in the field counts as the pseudo-header's sum. */
export function fillChecksum(frame: Uint8Array, place: ChecksumPlace): void {
  putBe16(frame, place.field, finish(sum16(frame, place.start, frame.length)));
}

/** Is the transport checksum right? 'none': there is none to look at (fragments, other protocols, UDP over IPv4 without). */
export function verifyChecksum(frame: Uint8Array): 'good' | 'bad' | 'none' {
  const l4 = findL4(frame);
  if (l4 === null) return 'none';
  const { start, end, protocol, version } = l4;
  if (protocol === IPPROTO_ICMP && version === 4) return sum16(frame, start, end) === 0xffff ? 'good' : 'bad';
  const isIcmp6 = protocol === IPPROTO_ICMPV6 && version === 6;
  if (protocol !== IPPROTO_TCP && protocol !== IPPROTO_UDP && !isIcmp6) return 'none';
  if (protocol === IPPROTO_UDP && version === 4 && end >= start + 8 && be16(frame, start + 6) === 0) return 'none';
  return addSums(pseudoSum(frame, l4, end - start), sum16(frame, start, end)) === 0xffff ? 'good' : 'bad';
}

/** TCP_MIN_GSO_SIZE: no TCP makes smaller segments (include/net/tcp.h). */
const MIN_GSO_SIZE = 8;
const TCP_FIN = 0x01;
const TCP_PSH = 0x08;
const TCP_CWR = 0x80;

/** How a large TCP packet will be cut. */
export interface GsoPlan {
  readonly place: ChecksumPlace;
  /** Bytes before the payload. */
  readonly headerLength: number;
  readonly payload: number;
  readonly mss: number;
  readonly segments: number;
}

/** Null when the packet is not of the kind that its GSO type says. */
export function planGso(frame: Uint8Array, gso: PacketGso): GsoPlan | null {
  const place = checksumPlace(frame);
  if (place === null || place.protocol !== IPPROTO_TCP || place.version !== (gso.type === 'tcpv4' ? 4 : 6)) return null;
  const tcpLength = (frame[place.start + 12]! >>> 4) * 4;
  const headerLength = place.start + tcpLength;
  const payload = frame.length - headerLength;
  if (tcpLength < 20 || payload < 0 || gso.size < MIN_GSO_SIZE) return null;
  return { place, headerLength, payload, mss: gso.size, segments: Math.max(1, Math.ceil(payload / gso.size)) };
}

/** The usual case: nothing is to be done to the packet for this end. What is not what it claims to be is then the end's to deal with. */
export function takesAsIs(packet: Packet, accepts: PortAccepts): boolean {
  const { gso } = packet;
  if (gso === null) return packet.bytes.length <= accepts.maxFrame && (!packet.csumBlank || (accepts.csum4 && accepts.csum6));
  return packet.csumBlank && (gso.type === 'tcpv4' ? accepts.gso4 && accepts.csum4 : accepts.gso6 && accepts.csum6);
}

/** Cuts packets and fills checksums for ends that take less than they are sent. One per switch: it owns the buffer in which the results lie. */
export class Offloader {
  private buffer = new Uint8Array(2048);

  /**
   * Gives `hand` what of `packet` the end accepts: the packet itself, a copy with its checksum filled, or its segments. They are borrowed, as
   * all packets are. False: the packet is not what it says, or a frame is larger than the end takes.
   */
  adapt(packet: Packet, accepts: PortAccepts, hand: (packet: Packet) => void): boolean {
    if (packet.gso === null) {
      if (packet.bytes.length > accepts.maxFrame) return false;
      if (!packet.csumBlank) {
        hand(packet);
        return true;
      }
      const place = checksumPlace(packet.bytes);
      if (place === null) return false;
      if (place.version === 4 ? accepts.csum4 : accepts.csum6) hand(packet);
      else hand(this.filled(packet, place));
      return true;
    }
    const is4 = packet.gso.type === 'tcpv4';
    const takesBlank = is4 ? accepts.csum4 : accepts.csum6;
    // A card without checksum offload has no segmentation offload either (netdev_fix_features).
    if (takesBlank && packet.csumBlank && (is4 ? accepts.gso4 : accepts.gso6)) {
      hand(packet);
      return true;
    }
    const plan = planGso(packet.bytes, packet.gso);
    if (plan === null || plan.headerLength + Math.min(plan.mss, plan.payload) > accepts.maxFrame) return false;
    for (let i = 0; i < plan.segments; i++) hand(this.segment(packet, plan, i, takesBlank));
    return true;
  }

  /** A copy of the packet with its checksum complete. */
  filled(packet: Packet, place: ChecksumPlace): Packet {
    const frame = this.room(packet.bytes.length);
    frame.set(packet.bytes);
    fillChecksum(frame, place);
    return { bytes: frame, csumBlank: false, csumValid: true, gso: null, hash: packet.hash };
  }

  /** The `index`-th segment. */
  segment(packet: Packet, plan: GsoPlan, index: number, leaveBlank: boolean): Packet {
    const { place, headerLength, mss, segments } = plan;
    const source = packet.bytes;
    const from = headerLength + index * mss;
    const to = Math.min(source.length, from + mss);
    const frame = this.room(headerLength + to - from);
    frame.set(source.subarray(0, headerLength));
    frame.set(source.subarray(from, to), headerLength);
    const tcp = place.start;
    putBe32(frame, tcp + 4, (be32(source, tcp + 4) + index * mss) >>> 0);
    // FIN and PSH belong to the last, CWR to the first.
    if (index < segments - 1) frame[tcp + 13] = frame[tcp + 13]! & ~(TCP_FIN | TCP_PSH);
    if (index > 0) frame[tcp + 13] = frame[tcp + 13]! & ~TCP_CWR;
    if (place.version === 4) {
      putBe16(frame, 16, frame.length - 14);
      putBe16(frame, 18, (be16(source, 18) + index) & 0xffff);
      putBe16(frame, 24, 0);
      putBe16(frame, 24, sum16(frame, 14, tcp) ^ 0xffff);
    } else putBe16(frame, 18, frame.length - 14 - 40);
    blankChecksum(frame, place);
    if (!leaveBlank) fillChecksum(frame, place);
    return { bytes: frame, csumBlank: leaveBlank, csumValid: true, gso: null, hash: packet.hash };
  }

  private room(length: number): Uint8Array {
    if (this.buffer.length < length) this.buffer = new Uint8Array(Math.max(length, this.buffer.length * 2));
    return this.buffer.subarray(0, length);
  }
}
