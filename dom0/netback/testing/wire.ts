// The other end of the bridge in specs, and the usual way to start: a backend, a frontend that is connected, and a bare port.
import type { Packet, PortAccepts, PortClient, SwitchPort } from '../../switch/port.ts';
import type { NetbackOptions } from '../options.ts';
import { type FrontOptions, TestFront } from './netfront.ts';
import { World } from './world.ts';

/** The other side of the bridge: keeps what it gets, takes everything. */
export class Wire implements PortClient {
  readonly got: Packet[] = [];
  readonly port: SwitchPort;
  flushes = 0;
  readonly accepts: PortAccepts = {
    gso4: true,
    gso6: true,
    csum4: true,
    csum6: true,
    wantsMulticast: () => true,
    maxFrame: 65535,
  };
  constructor(world: World) {
    this.port = world.network.attach('xenbr0', this, 'wire');
  }
  receive(packet: Packet): boolean {
    this.got.push({ ...packet, bytes: packet.bytes.slice() });
    return true;
  }
  flush(): void {
    this.flushes++;
  }
  send(bytes: Uint8Array, more: Partial<Packet> = {}): void {
    this.port.transmit({ bytes, csumBlank: false, csumValid: false, gso: null, hash: null, ...more });
    this.port.flush();
  }
  /** What was taken since the last look. */
  take(): Packet[] {
    return this.got.splice(0);
  }
}

export function open(options: Partial<NetbackOptions> = {}, front: FrontOptions = {}) {
  const world = new World(options);
  const wire = new Wire(world);
  const f = new TestFront(world, front).connect();
  return { world, wire, f, q: f.queue };
}

export const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
