// Capturing what passes ports of the network, as pcapng, in virtual time: the clock of the guests' own `date`.
//
// On one port both directions are seen, as `tcpdump -i vif1.0` in dom0 would: in from the guest, out to it. On a bridge each packet is seen
// once, where it comes in. Packets are written as they are: larger than a wire takes where GSO left them so, and with a blank checksum where
// it is somebody else's to fill; a comment says so.
import type { BridgePort } from './bridge.ts';
import type { Network } from './network.ts';
import { enhancedPacket, interfaceDescription, interfaceStatistics, sectionHeader } from './pcap.ts';
import type { Packet } from './port.ts';

/** What to look at: all bridges, one, or one port by its name. */
export type CaptureTarget =
  | { readonly kind: 'all' }
  | { readonly kind: 'bridge'; readonly bridge: string }
  | { readonly kind: 'port'; readonly isPort: (name: string) => boolean };

export interface CaptureClock {
  /** System time, ns since boot. */
  now(): number;
  /** Wall-clock time at boot, ns since 1970. */
  readonly epoch: bigint;
}

export interface Capture {
  readonly packets: number;
  /** Packets for which there was no room. */
  readonly dropped: number;
  /** Writes the statistics; the file is then whole. */
  stop(): void;
}

function comment(packet: Packet): string | null {
  const { gso, csumBlank } = packet;
  if (gso !== null) return `GSO ${gso.type}, MSS ${gso.size}${csumBlank ? ', checksum blank' : ''}`;
  return csumBlank ? 'checksum blank' : null;
}

/** Starts capturing. `write` gets the parts of the file in order: bytes of their own, that it may keep. `room`: how many it takes at the moment. */
export function startCapture(
  network: Network,
  target: CaptureTarget,
  clock: CaptureClock,
  write: (bytes: Uint8Array) => void,
  room: () => number = () => Number.POSITIVE_INFINITY,
): Capture {
  const seen = new Map<BridgePort, { readonly id: number; count: number; dropped: number }>();
  const time = () => clock.epoch + BigInt(Math.floor(clock.now()));
  let packets = 0;
  let dropped = 0;

  const interfaceOf = (port: BridgePort) => {
    let known = seen.get(port);
    if (known === undefined) {
      known = { id: seen.size, count: 0, dropped: 0 };
      seen.set(port, known);
      const speed = port.bridge.bitsPerSecond;
      write(
        interfaceDescription({
          name: port.name,
          description: `port ${port.number} of ${port.bridge.name}`,
          ...(speed === null ? {} : { speed }),
        }),
      );
    }
    return known;
  };
  const wants = (port: BridgePort): boolean =>
    target.kind === 'all' || (target.kind === 'bridge' ? port.bridge.name === target.bridge : target.isPort(port.name));

  write(sectionHeader('ringworld net capture'));
  const end = network.watch({
    wants,
    tap: (port, direction, packet) => {
      if (direction === 'out' && target.kind !== 'port') return;
      const i = interfaceOf(port);
      i.count++;
      if (room() < packet.bytes.length) {
        i.dropped++;
        dropped++;
        return;
      }
      packets++;
      const remark = comment(packet);
      write(
        enhancedPacket({
          interfaceId: i.id,
          time: time(),
          bytes: packet.bytes,
          direction,
          ...(remark === null ? {} : { comment: remark }),
        }),
      );
    },
  });
  let isOver = false;
  return {
    get packets() {
      return packets;
    },
    get dropped() {
      return dropped;
    },
    stop: () => {
      if (isOver) return;
      isOver = true;
      end();
      for (const i of seen.values()) write(interfaceStatistics(i.id, time(), i.count, i.dropped));
    },
  };
}
