// A page of dom0's process, not of any domain: for protocols between two parts of dom0 that are written for shared pages.
import type { PageView } from '@ringworld/abi';

export function plainPage(bytes: Uint8Array): PageView {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    u8: (o) => view.getUint8(o),
    u16: (o) => view.getUint16(o, true),
    u32: (o) => view.getUint32(o, true),
    u64: (o) => view.getBigUint64(o, true),
    setU8: (o, v) => view.setUint8(o, v),
    setU16: (o, v) => view.setUint16(o, v, true),
    setU32: (o, v) => view.setUint32(o, v, true),
    setU64: (o, v) => view.setBigUint64(o, v, true),
    bytes: (o, n) => bytes.slice(o, o + n),
    readInto: (o, into) => into.set(bytes.subarray(o, o + into.length)),
    writeBytes: (o, source) => bytes.set(source, o),
  };
}
