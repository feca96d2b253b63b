// Linux bzImage: finds the compressed kernel ELF inside. Source: Documentation/arch/x86/boot.rst (the setup header; payload
// fields since protocol 2.08).
//
// A PV guest needs nothing else of the file: real-mode code and decompressor are for bare machines.
import { DecompressError, type Decompressors, formatOf } from './decompress/index.ts';
import { DomainBuildError } from './errors.ts';

/** Offsets in the file, where the setup header begins at 0x1f1. */
const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER = 0x202;
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HDRS = 0x53726448;
const PROTOCOL_WITH_PAYLOAD = 0x0208;
/** What Xen's tools accept as the size of a kernel once unpacked (XC_DOM_DECOMPRESS_MAX). */
export const DECOMPRESS_MAX = 1024 * 1024 * 1024;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const isBzImage = (bytes: Uint8Array): boolean =>
  bytes.length > PAYLOAD_LENGTH + 4 &&
  viewOf(bytes).getUint16(BOOT_FLAG, true) === 0xaa55 &&
  viewOf(bytes).getUint32(HEADER, true) === HDRS;

export interface BzImage {
  /** Boot protocol, as 0x020f for 2.15. */
  readonly protocol: number;
  readonly payload: Uint8Array;
}

/** Throws DomainBuildError. */
export function parseBzImage(file: string, bytes: Uint8Array): BzImage {
  const fail = (reason: string): never => {
    throw new DomainBuildError(file, reason);
  };
  if (!isBzImage(bytes)) fail('not a Linux bzImage');
  const view = viewOf(bytes);
  const protocol = view.getUint16(VERSION, true);
  if (protocol < PROTOCOL_WITH_PAYLOAD)
    fail(`Linux boot protocol ${protocol >> 8}.${protocol & 0xff} is too old: 2.8 or later names the kernel inside the image`);
  // Zero means four, for kernels of the first days (boot.rst).
  const setupSects = bytes[SETUP_SECTS]! === 0 ? 4 : bytes[SETUP_SECTS]!;
  const start = (setupSects + 1) * 512 + view.getUint32(PAYLOAD_OFFSET, true);
  const length = view.getUint32(PAYLOAD_LENGTH, true);
  if (length < 8 || start + length > bytes.length) fail(`the image is cut short: its payload should end at byte ${start + length}`);
  return { protocol, payload: bytes.subarray(start, start + length) };
}

/** Unpacks anything compressed; plain bytes are returned as they are. Throws DomainBuildError. */
export function unpack(file: string, bytes: Uint8Array, sizeHint: number, decompressors: Decompressors): Uint8Array {
  const format = formatOf(bytes);
  if (format === null) return bytes;
  try {
    return decompressors[format](bytes, sizeHint);
  } catch (e) {
    if (e instanceof DecompressError) throw new DomainBuildError(file, `its ${format} data cannot be unpacked: ${e.message}`, { cause: e });
    throw e;
  }
}

/** The kernel ELF of a bzImage. */
export function extractBzImage(file: string, bytes: Uint8Array, decompressors: Decompressors): Uint8Array {
  const { payload } = parseBzImage(file, bytes);
  // Linux appends the unpacked size to every payload, except gzip's, whose own trailer is just that (scripts/Makefile.lib).
  const size = viewOf(payload).getUint32(payload.length - 4, true);
  const packed = formatOf(payload) === 'gzip' ? payload : payload.subarray(0, payload.length - 4);
  if (formatOf(packed) === null) return payload;
  if (size > DECOMPRESS_MAX) throw new DomainBuildError(file, `claims to unpack to ${size} bytes`);
  const kernel = unpack(file, packed, size, decompressors);
  if (kernel.length !== size)
    throw new DomainBuildError(file, `unpacked to ${kernel.length} bytes instead of ${size}: the image is damaged`);
  return kernel;
}
