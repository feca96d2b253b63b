// The cable between an emulated network card and dom0's switch: a port of a bridge beside the domain's own vif, as QEMU's tap device is
// (vif1.0-emu). A card knows no offloads, so the switch cuts and sums for it.
import type { AttachPort, Packet, PortAccepts, PortClient, SwitchPort } from '../switch/port.ts';
import type { Nic } from './board.ts';

/** Without a VLAN tag the largest frame; the card would take four bytes more. */
const MAX_FRAME = 1514 + 4;

export class NicPort implements PortClient {
  readonly accepts: PortAccepts = {
    gso4: false,
    gso6: false,
    csum4: false,
    csum6: false,
    // The card filters by itself.
    wantsMulticast: () => true,
    maxFrame: MAX_FRAME,
  };
  private readonly port: SwitchPort;
  /** Set when the card has been made. */
  nic: Nic | null = null;
  private isClosed = false;

  constructor(attach: AttachPort, bridge: string, name: string) {
    this.port = attach(bridge, this, name);
  }

  /** From the card. A short frame is not padded: the switch does not care, and the receiving card will. */
  readonly transmit = (frame: Uint8Array): void => {
    if (this.isClosed) return;
    this.port.transmit({ bytes: frame, csumBlank: false, csumValid: false, gso: null, hash: null });
    this.port.flush();
  };
  receive(packet: Packet): boolean {
    return this.nic?.receive(packet.bytes) ?? false;
  }
  flush(): void {}

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.port.close();
  }
}

/** "00:16:3e:12:34:56" as six bytes, or null. */
export function macBytes(text: string): Uint8Array | null {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) return null;
  return Uint8Array.from(text.split(':'), (b) => Number.parseInt(b, 16));
}
