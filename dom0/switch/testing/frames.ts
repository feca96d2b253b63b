// Frames and ends for the switch's tests.
import type { Packet, PacketGso, PortAccepts, PortClient } from '../port.ts';

export const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.replace(/\s+/g, '').match(/../g) ?? [], (b) => Number.parseInt(b, 16));
export const toHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

export const packet = (bytes: Uint8Array, more: Partial<Packet> = {}): Packet => ({
  bytes,
  csumBlank: false,
  csumValid: false,
  gso: null,
  hash: null,
  ...more,
});
export const large = (bytes: Uint8Array, gso: PacketGso): Packet => packet(bytes, { csumBlank: true, csumValid: true, gso });

/** An address ending in `n`. */
export const mac = (n: number): string => `0200000000${n.toString(16).padStart(2, '0')}`;

/** A frame that is nothing but addresses and a tag. */
export const frame = (to: string, from: string, tag = '00', length = 60): Uint8Array => {
  const bytes = new Uint8Array(length);
  bytes.set(hex(`${to}${from}88b5${tag}`));
  return bytes;
};

export const TAKES_ALL: PortAccepts = { gso4: true, gso6: true, csum4: true, csum6: true, wantsMulticast: () => true, maxFrame: 1514 };
export const TAKES_PLAIN: PortAccepts = { ...TAKES_ALL, gso4: false, gso6: false, csum4: false, csum6: false };

/** An end that keeps copies of what it gets. */
export class TestEnd implements PortClient {
  readonly got: Packet[] = [];
  flushes = 0;
  hasRoom = true;
  accepts: PortAccepts;
  /** Called for each packet. */
  onReceive: (packet: Packet) => void = () => {};

  constructor(accepts: PortAccepts = TAKES_ALL) {
    this.accepts = accepts;
  }
  receive(p: Packet): boolean {
    if (!this.hasRoom) return false;
    this.got.push({ ...p, bytes: p.bytes.slice() });
    this.onReceive(p);
    return true;
  }
  flush(): void {
    this.flushes++;
  }
  /** The tags of what came since the last look. */
  take(): string[] {
    return this.got.splice(0).map((p) => toHex(p.bytes.subarray(14, 15)));
  }
}

/** Time that a test lets pass. */
export class TestTimers {
  time = 0;
  private entries: { readonly due: number; readonly fn: () => void }[] = [];

  now(): number {
    return this.time;
  }
  after(ns: number, fn: () => void): () => void {
    const entry = { due: this.time + ns, fn };
    this.entries.push(entry);
    return () => {
      this.entries = this.entries.filter((e) => e !== entry);
    };
  }
  /** Lets `ns` pass. */
  pass(ns: number): void {
    const end = this.time + ns;
    for (;;) {
      const [first] = this.entries.filter((e) => e.due <= end).sort((a, b) => a.due - b.due);
      if (first === undefined) break;
      this.entries = this.entries.filter((e) => e !== first);
      this.time = first.due;
      first.fn();
    }
    this.time = end;
  }
}
