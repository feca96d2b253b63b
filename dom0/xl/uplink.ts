// An uplink: a port of a bridge whose other end is on the host, so that frames come and go at moments of the host's. What comes in waits here
// until the run loop takes it in between two slices (pump.ts), and while an uplink is there, guests that wait do so in real time.
import type { Packet, PortAccepts, PortClient, SwitchPort } from '../switch/port.ts';
import { frameForStream, StreamFrames } from '../switch/stream-framing.ts';

/** The host's end of the stream. */
export interface StreamPeer {
  /** May keep the bytes. */
  write(bytes: Uint8Array): void;
  /** Bytes that were written and have not gone. */
  readonly backlog: number;
  /** Writes that are close together should go together. */
  cork(): void;
  uncork(): void;
  pause(): void;
  resume(): void;
  close(): void;
}

/** A peer that does not read is not worth more memory than this; its frames are dropped, as a full queue drops them. */
const MAX_BACKLOG = 4 * 1024 * 1024;
/** Frames that wait for the machine, before the peer is made to wait. */
const MAX_WAITING = 1024;

/** passt takes no longer ones; a guest's MTU is 1500 unless set. */
const ACCEPTS: PortAccepts = { gso4: false, gso6: false, csum4: false, csum6: false, wantsMulticast: () => true, maxFrame: 65535 };

export class Uplink implements PortClient {
  readonly name: string;
  readonly accepts = ACCEPTS;
  private readonly changed: () => void;
  private readonly lost: (reason: string) => void;
  private port: SwitchPort | null = null;
  private peer: StreamPeer | null = null;
  private readonly frames = new StreamFrames();
  private waiting: Uint8Array[] = [];
  private isPaused = false;
  private isCorked = false;
  /** The peer may be gone while frames of its are still here. */
  private end: string | null = null;

  /** `changed`: a frame waits, or the peer is gone. `lost` is told the latter, once its last frames have been taken in. */
  constructor(name: string, changed: () => void, lost: (reason: string) => void) {
    this.name = name;
    this.changed = changed;
    this.lost = lost;
  }

  attach(port: SwitchPort): void {
    this.port = port;
  }
  /** The other end is there. */
  connect(peer: StreamPeer): void {
    this.peer = peer;
  }

  /** Could something still come from here? */
  get isLive(): boolean {
    return this.port !== null;
  }

  receive(packet: Packet): boolean {
    const { peer } = this;
    if (peer === null || peer.backlog > MAX_BACKLOG) return false;
    if (!this.isCorked) {
      this.isCorked = true;
      peer.cork();
    }
    peer.write(frameForStream(packet.bytes));
    return true;
  }
  flush(): void {
    if (!this.isCorked) return;
    this.isCorked = false;
    this.peer?.uncork();
  }

  /** From the host: part of the stream. */
  arrived(bytes: Uint8Array): void {
    if (this.end !== null) return;
    const frames = this.frames.push(bytes);
    if (frames === null) {
      this.ended('it sent something that is no frame');
      return;
    }
    this.waiting.push(...frames);
    if (this.waiting.length > MAX_WAITING && !this.isPaused) {
      this.isPaused = true;
      this.peer?.pause();
    }
    if (frames.length > 0) this.changed();
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
    if (this.waiting.length > 0) {
      const frames = this.waiting;
      this.waiting = [];
      for (const bytes of frames) port.transmit({ bytes, csumBlank: false, csumValid: false, gso: null, hash: null });
      port.flush();
      if (this.isPaused) {
        this.isPaused = false;
        this.peer?.resume();
      }
    }
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
