// The pcapng format (draft-ietf-opsawg-pcapng), as bytes: what Wireshark, tshark and tcpdump read. One section, little-endian; an interface
// for each port, named; enhanced packet blocks with times in nanoseconds, direction, and a comment where a frame is not what a wire carries.

const SHB = 0x0a0d0d0a;
const IDB = 1;
const ISB = 5;
const EPB = 6;
const LINKTYPE_ETHERNET = 1;

const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_SPEED = 8;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;

interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

const text = (code: number, value: string): Option => ({ code, value: new TextEncoder().encode(value) });
const u64 = (code: number, value: bigint): Option => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return { code, value: bytes };
};

const pad4 = (n: number): number => (n + 3) & ~3;

/** A block: type, length, fixed part, options, length again. */
function block(
  type: number,
  fixedLength: number,
  options: readonly Option[],
  fill: (view: DataView, bytes: Uint8Array) => void,
): Uint8Array {
  const optionsLength = options.length === 0 ? 0 : options.reduce((n, o) => n + 4 + pad4(o.value.length), 4);
  const total = 12 + pad4(fixedLength) + optionsLength;
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, total, true);
  view.setUint32(total - 4, total, true);
  let at = 8 + pad4(fixedLength);
  for (const { code, value } of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    bytes.set(value, at + 4);
    at += 4 + pad4(value.length);
  }
  // opt_endofopt is four zeros, and they are there.
  fill(new DataView(bytes.buffer, 8, pad4(fixedLength)), bytes.subarray(8));
  return bytes;
}

export interface PcapInterface {
  readonly name: string;
  readonly description?: string;
  /** Bits per second. */
  readonly speed?: number;
}

export interface PcapPacket {
  /** By order of their blocks, from 0. */
  readonly interfaceId: number;
  /** ns since 1970. */
  readonly time: bigint;
  readonly bytes: Uint8Array;
  readonly direction?: 'in' | 'out';
  readonly comment?: string;
}

/** Section header block: how a file begins. */
export const sectionHeader = (application: string): Uint8Array =>
  block(SHB, 16, [text(SHB_USERAPPL, application)], (v) => {
    v.setUint32(0, 0x1a2b3c4d, true);
    v.setUint16(4, 1, true);
    // Version 1.0, and a section length of -1: not said.
    v.setBigInt64(8, -1n, true);
  });

/** Interface description block. */
export const interfaceDescription = (i: PcapInterface): Uint8Array =>
  block(
    IDB,
    8,
    [
      text(IF_NAME, i.name),
      ...(i.description === undefined ? [] : [text(IF_DESCRIPTION, i.description)]),
      ...(i.speed === undefined ? [] : [u64(IF_SPEED, BigInt(i.speed))]),
      // 10^-9 s.
      { code: IF_TSRESOL, value: new Uint8Array([9]) },
    ],
    // A snapshot length of 0: whole packets.
    (v) => v.setUint16(0, LINKTYPE_ETHERNET, true),
  );

const setTime = (v: DataView, at: number, time: bigint): void => {
  v.setUint32(at, Number(time >> 32n), true);
  v.setUint32(at + 4, Number(time & 0xffff_ffffn), true);
};

/** Enhanced packet block. */
export function enhancedPacket(p: PcapPacket): Uint8Array {
  const options: Option[] = [];
  if (p.comment !== undefined) options.push(text(OPT_COMMENT, p.comment));
  if (p.direction !== undefined) options.push({ code: EPB_FLAGS, value: new Uint8Array([p.direction === 'in' ? 1 : 2, 0, 0, 0]) });
  return block(EPB, 20 + p.bytes.length, options, (v, bytes) => {
    v.setUint32(0, p.interfaceId, true);
    setTime(v, 4, p.time);
    v.setUint32(12, p.bytes.length, true);
    v.setUint32(16, p.bytes.length, true);
    bytes.set(p.bytes, 20);
  });
}

/** Interface statistics block: at the end, what passed and what was lost. */
export const interfaceStatistics = (interfaceId: number, time: bigint, received: number, dropped: number): Uint8Array =>
  block(ISB, 12, [u64(ISB_IFRECV, BigInt(received)), u64(ISB_IFDROP, BigInt(dropped))], (v) => {
    v.setUint32(0, interfaceId, true);
    setTime(v, 4, time);
  });
