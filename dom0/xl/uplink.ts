// An uplink: a port of a bridge whose other end is on the host, so that frames come and go at moments of the host's. What comes in waits here
// until the run loop takes it in between two slices (pump.ts), and while an uplink is there, guests that wait do so in real time.
import type { Packet, PortAccepts, PortClient, SwitchPort } from '../switch/port.ts';
import { frameForStream, StreamFrames } from '../switch/stream-framing.ts';

/** The stream to the other end. */
export interface StreamPeer {
  /** May keep the bytes, and their buffers. */
  write(parts: readonly Uint8Array[]): void;
  /** So many bytes of what arrived have been dealt with. */
  taken(count: number): void;
  /** Delivers now what has come and was not told yet. */
  poll(): void;
  close(): void;
}

/** A peer that does not read is not worth more memory than this; its frames are dropped, as a full queue drops them. */
const MAX_BACKLOG = 4 * 1024 * 1024;

/** passt takes no longer ones; a guest's MTU is 1500 unless set. */
const ACCEPTS: PortAccepts = { gso4: false, gso6: false, csum4: false, csum6: false, wantsMulticast: () => true, maxFrame: 65535 };

export class Uplink implements PortClient {
  readonly accepts = ACCEPTS;
  private readonly changed: () => void;
  private readonly lost: (reason: string) => void;
  private port: SwitchPort | null = null;
  private peer: StreamPeer | null = null;
  private readonly frames = new StreamFrames();
  private waiting: Uint8Array[] = [];
  private untaken = 0;
  private burst: Uint8Array[] = [];
  private backlog = 0;
  /** The peer may be gone while frames of its are still here. */
  private end: string | null = null;

  /** `changed`: a frame waits, or the peer is gone. `lost` is told the latter, once its last frames have been taken in. */
  constructor(changed: () => void, lost: (reason: string) => void) {
    this.changed = changed;
    this.lost = lost;
  }

  attach(port: SwitchPort): void {
    this.port = port;
  }
  connect(peer: StreamPeer): void {
    this.peer = peer;
  }

  /** Could something still come from here? */
  get isLive(): boolean {
    return this.port !== null;
  }

  receive(packet: Packet): boolean {
    if (this.peer === null || this.backlog > MAX_BACKLOG) return false;
    const bytes = frameForStream(packet.bytes);
    this.backlog += bytes.length;
    this.burst.push(bytes);
    return true;
  }
  flush(): void {
    if (this.burst.length === 0) return;
    const { burst } = this;
    this.burst = [];
    this.peer?.write(burst);
  }

  /** From the host: part of the stream. */
  arrived(bytes: Uint8Array): void {
    if (this.end !== null) return;
    this.untaken += bytes.length;
    const frames = this.frames.push(bytes);
    if (frames === null) {
      this.ended('it sent something that is no frame');
      return;
    }
    this.waiting.push(...frames);
    this.changed();
  }
  /** From the host: so much of what was written has gone. */
  sent(count: number): void {
    this.backlog -= count;
  }
  /** From the host: the peer is gone. */
  ended(reason: string): void {
    if (this.end !== null) return;
    this.end = reason;
    this.peer?.close();
    this.peer = null;
    this.changed();
  }

  /** Hands what has come to the bridge. Called by the run loop when no guest runs. */
  admit(): void {
    const { port } = this;
    if (port === null) return;
    this.peer?.poll();
    if (this.waiting.length > 0) {
      const frames = this.waiting;
      this.waiting = [];
      for (const bytes of frames) port.transmit({ bytes, csumBlank: false, csumValid: false, gso: null, hash: null });
      port.flush();
    }
    if (this.untaken > 0) this.peer?.taken(this.untaken);
    this.untaken = 0;
    if (this.end === null) return;
    this.port = null;
    port.close();
    this.lost(this.end);
  }

  close(): void {
    this.end ??= 'closed';
    this.port?.close();
    this.port = null;
    this.peer?.close();
    this.peer = null;
  }
}
