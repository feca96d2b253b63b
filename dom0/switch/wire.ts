// What lies between a bridge and an end: a wire with a rate and a delay, in virtual time, and the queue in front of it. As `tc qdisc add dev
// vif1.0 root netem rate R delay D limit N` in dom0: it shapes what goes to the end, in order, and drops what does not fit into the queue.
//
// The ideal wire has none of it: packets are handed over in the call that brought them.
import { type GsoPlan, planGso } from './offload.ts';
import type { Packet } from './port.ts';

export interface Wire {
  /** Bits of frames, preambles and gaps per second; null for no limit. */
  readonly bitsPerSecond: number | null;
  readonly delayNs: number;
  /** Packets that are on their way or wait. Larger than netem's and a vif's: a card's ring and the queue before it. */
  readonly limit: number;
}

export const IDEAL_WIRE: Wire = { bitsPerSecond: null, delayNs: 0, limit: 1000 };

export const isIdeal = (wire: Wire): boolean => wire.bitsPerSecond === null && wire.delayNs === 0;

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9 };
const TIMES: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 };

/**
 * 'ideal', or a rate as xl writes it ('1Gb/s', '10MB/s'), a delay ('delay=50us') and a queue length ('limit=100'), separated by commas.
 * Null when it is none of that.
 */
export function parseWire(text: string): Wire | null {
  if (text === 'ideal') return IDEAL_WIRE;
  let wire: Wire = IDEAL_WIRE;
  for (const part of text.split(',')) {
    const rate = /^(\d+)([KMG]?)([bB])\/s$/.exec(part);
    const delay = /^delay=(\d+(?:\.\d+)?)(ns|us|ms|s)$/.exec(part);
    const limit = /^limit=(\d+)$/.exec(part);
    if (rate !== null && Number(rate[1]) > 0)
      wire = { ...wire, bitsPerSecond: Number(rate[1]) * UNITS[rate[2]!]! * (rate[3] === 'B' ? 8 : 1) };
    else if (delay !== null) wire = { ...wire, delayNs: Math.round(Number(delay[1]) * TIMES[delay[2]!]!) };
    else if (limit !== null && Number(limit[1]) > 0) wire = { ...wire, limit: Number(limit[1]) };
    else return null;
  }
  return wire;
}

/** FCS, preamble and interframe gap. */
const OVERHEAD = 4 + 8 + 12;
/** Without its FCS. */
const SHORTEST = 60;

/** Bytes that a packet takes on a wire; a GSO packet as what it will be cut into. */
export function wireBytes(packet: Packet): number {
  const { length } = packet.bytes;
  const plan: GsoPlan | null = packet.gso === null ? null : planGso(packet.bytes, packet.gso);
  if (plan === null) return Math.max(SHORTEST, length) + OVERHEAD;
  return length + (plan.segments - 1) * plan.headerLength + plan.segments * OVERHEAD;
}

/** What the queue needs of dom0's clock (kernel/timers.ts). */
export interface WireTimers {
  now(): number;
  after(ns: number, fn: () => void): () => void;
}

interface Travelling {
  readonly packet: Packet;
  readonly due: number;
}

/** The queue before a wire, and the wire. */
export class WireQueue {
  private readonly wire: Wire;
  private readonly timers: WireTimers;
  private readonly arrived: (packets: readonly Packet[]) => void;
  private readonly travelling: Travelling[] = [];
  private freeAt = 0;
  private cancel: () => void = () => {};

  /** `arrived` gets what is over at one moment. */
  constructor(wire: Wire, timers: WireTimers, arrived: (packets: readonly Packet[]) => void) {
    this.wire = wire;
    this.timers = timers;
    this.arrived = arrived;
  }

  get length(): number {
    return this.travelling.length;
  }

  /** Takes a copy of the packet. False when the queue is full. */
  send(packet: Packet): boolean {
    if (this.travelling.length >= this.wire.limit) return false;
    const { bitsPerSecond, delayNs } = this.wire;
    const onWire = bitsPerSecond === null ? 0 : (wireBytes(packet) * 8e9) / bitsPerSecond;
    this.freeAt = Math.max(this.freeAt, this.timers.now()) + onWire;
    this.travelling.push({ packet: { ...packet, bytes: packet.bytes.slice() }, due: Math.ceil(this.freeAt) + delayNs });
    if (this.travelling.length === 1) this.arm();
    return true;
  }

  /** What is on its way is lost. */
  close(): void {
    this.cancel();
    this.travelling.length = 0;
  }

  private arm(): void {
    const first = this.travelling[0];
    if (first !== undefined) this.cancel = this.timers.after(first.due - this.timers.now(), () => this.expire());
  }

  private expire(): void {
    const now = this.timers.now();
    let n = 0;
    while (n < this.travelling.length && this.travelling[n]!.due <= now) n++;
    const over = this.travelling.splice(0, n);
    // First the next timer: whoever gets the packets may send again.
    this.arm();
    if (over.length > 0) this.arrived(over.map((t) => t.packet));
  }
}
