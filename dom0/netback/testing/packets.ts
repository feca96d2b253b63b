// Packets for specs.

export interface TcpOptions {
  readonly from?: number;
  readonly to?: number;
  readonly v6?: boolean;
  readonly sourcePort?: number;
  readonly destPort?: number;
  readonly payload?: number;
  readonly udp?: boolean;
}

/** The MAC of test port `n`. */
export const mac = (n: number): number[] => [0x00, 0x16, 0x3e, 0, 0, n];

/** A TCP (or UDP) packet between two test ports, its payload counting up; the checksum field is 0. */
export function tcpPacket(options: TcpOptions = {}): Uint8Array {
  const { to = 2, from = to === 1 ? 9 : 1, v6 = false, sourcePort = 1000, destPort = 80, payload = 100, udp = false } = options;
  const header = udp ? 8 : 20;
  const l3 = v6 ? 40 : 20;
  const bytes = new Uint8Array(14 + l3 + header + payload);
  const view = new DataView(bytes.buffer);
  bytes.set(mac(to), 0);
  bytes.set(mac(from), 6);
  view.setUint16(12, v6 ? 0x86dd : 0x0800);
  const at = 14 + l3;
  if (v6) {
    bytes[14] = 0x60;
    view.setUint16(18, Math.min(0xffff, header + payload));
    bytes[20] = udp ? 17 : 6;
    bytes[21] = 64;
    bytes[22] = 0xfd;
    bytes[37] = from;
    bytes[38] = 0xfd;
    bytes[53] = to;
  } else {
    bytes[14] = 0x45;
    view.setUint16(16, Math.min(0xffff, l3 + header + payload));
    bytes[22] = 64;
    bytes[23] = udp ? 17 : 6;
    bytes.set([10, 0, 0, from], 26);
    bytes.set([10, 0, 0, to], 30);
  }
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destPort);
  if (udp) view.setUint16(at + 4, Math.min(0xffff, header + payload));
  else {
    bytes[at + 12] = 0x50;
    bytes[at + 13] = 0x10;
  }
  for (let i = 0; i < payload; i++) bytes[at + header + i] = (i * 7 + (i >> 8)) & 0xff;
  return bytes;
}
