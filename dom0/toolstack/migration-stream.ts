// A saved domain as bytes: xl's file header, libxl's stream in it, and in that libxc's domain image (docs/specs/libxl-migration-stream.pandoc,
// docs/specs/libxc-migration-stream.pandoc, version 2 of both; tools/xl/xl.h, struct save_file_header). The configuration beside it is
// ours, as JSON. Little-endian throughout, except where the headers say otherwise.

/** libxc's records. */
export const REC = {
  END: 0,
  PAGE_DATA: 1,
  X86_PV_INFO: 2,
  X86_PV_P2M_FRAMES: 3,
  X86_PV_VCPU_BASIC: 4,
  X86_PV_VCPU_EXTENDED: 5,
  X86_PV_VCPU_XSAVE: 6,
  SHARED_INFO: 7,
  TSC_INFO: 8,
  X86_PV_VCPU_MSRS: 12,
  VERIFY: 13,
  CHECKPOINT: 14,
} as const;
/** May be skipped by whoever does not know the record. */
const OPTIONAL = 0x8000_0000;

const LIBXL = { END: 0, LIBXC_CONTEXT: 1 } as const;

const MAGIC = 'Xen saved domain, xl format\n \0 \r';
const BYTE_ORDER = 0x01020304;
const FLAG_JSON = 1;
const FLAG_STREAM_V2 = 2;
/** "LibxlFmt". */
const LIBXL_IDENT = [0x4c696278, 0x6c466d74] as const;
const LIBXC_ID = 0x58454e46;
const VERSION = 2;
const TYPE_X86_PV = 1;
const PAGE_SHIFT = 12;
const XL_HEADER = 32 + 16;

/** A configuration is small, a record holds at most so many pages (MAX_BATCH_SIZE). */
const MAX_JSON = 16 * 1024 * 1024;
const MAX_RECORD = 64 * 1024 * 1024;

/** What is read is no saved domain, or one of a kind that is not known. */
export class StreamError extends Error {
  override readonly name = 'StreamError';
}

function bytesOf(length: number, fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(length);
  fill(new DataView(bytes.buffer));
  return bytes;
}

/** Everything that comes before libxc's first record. */
export function streamHead(json: string, xen: { readonly major: number; readonly minor: number }): Uint8Array {
  const text = new TextEncoder().encode(`${json}\0`);
  const optional = 4 + text.length;
  return bytesOf(XL_HEADER + optional + 16 + 8 + 24 + 16, (view) => {
    for (let i = 0; i < MAGIC.length; i++) view.setUint8(i, MAGIC.charCodeAt(i));
    view.setUint32(32, BYTE_ORDER, true);
    view.setUint32(36, FLAG_JSON | FLAG_STREAM_V2, true);
    view.setUint32(44, optional, true);
    view.setUint32(XL_HEADER, text.length, true);
    new Uint8Array(view.buffer).set(text, XL_HEADER + 4);
    let at = XL_HEADER + optional;
    view.setUint32(at, LIBXL_IDENT[0]);
    view.setUint32(at + 4, LIBXL_IDENT[1]);
    view.setUint32(at + 8, VERSION);
    at += 16;
    view.setUint32(at, LIBXL.LIBXC_CONTEXT, true);
    at += 8;
    view.setUint32(at, 0xffff_ffff);
    view.setUint32(at + 4, 0xffff_ffff);
    view.setUint32(at + 8, LIBXC_ID);
    view.setUint32(at + 12, VERSION);
    at += 24;
    view.setUint32(at, TYPE_X86_PV, true);
    view.setUint16(at + 4, PAGE_SHIFT, true);
    view.setUint32(at + 8, xen.major, true);
    view.setUint32(at + 12, xen.minor, true);
  });
}

/** libxl's end, behind libxc's END record. */
export const streamTail = (): Uint8Array => bytesOf(8, (view) => view.setUint32(0, LIBXL.END, true));

/** One record of libxc's, padded to eight bytes. */
export function record(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((n, p) => n + p.length, 0);
  const bytes = new Uint8Array(8 + Math.ceil(length / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  let at = 8;
  for (const p of parts) {
    bytes.set(p, at);
    at += p.length;
  }
  return bytes;
}

/** Gives the next bytes; fewer than asked for at the end. */
export type ByteSource = (count: number) => Uint8Array;

export interface StreamRecord {
  readonly type: number;
  readonly body: Uint8Array;
}

export class StreamReader {
  private readonly source: ByteSource;

  constructor(source: ByteSource) {
    this.source = source;
  }

  /** The JSON text of the configuration. Throws StreamError. */
  head(): string {
    const xl = this.take(XL_HEADER, 'the file header');
    for (let i = 0; i < MAGIC.length; i++)
      if (xl.getUint8(i) !== MAGIC.charCodeAt(i)) throw new StreamError('not a saved domain (xl format)');
    if (xl.getUint32(32, true) !== BYTE_ORDER) throw new StreamError('saved on a machine of the other byte order');
    const mandatory = xl.getUint32(36, true);
    if (mandatory !== (FLAG_JSON | FLAG_STREAM_V2))
      throw new StreamError(`flags 0x${mandatory.toString(16)} in the file header: a domain saved in a form that is not known here`);
    const optional = xl.getUint32(44, true);
    if (optional < 4 || optional > MAX_JSON) throw new StreamError('a configuration of impossible length');
    const data = this.take(optional, 'the configuration');
    const length = data.getUint32(0, true);
    if (length + 4 > optional || length === 0) throw new StreamError('a configuration of impossible length');
    this.streamHeads();
    return new TextDecoder().decode(new Uint8Array(data.buffer, data.byteOffset + 4, length - 1));
  }

  private streamHeads(): void {
    const libxl = this.take(16, "libxl's header");
    if (libxl.getUint32(0) !== LIBXL_IDENT[0] || libxl.getUint32(4) !== LIBXL_IDENT[1] || libxl.getUint32(8) !== VERSION)
      throw new StreamError('no libxl stream of version 2');
    const context = this.take(8, "libxl's first record");
    if (context.getUint32(0, true) !== LIBXL.LIBXC_CONTEXT) throw new StreamError('no domain image where it should begin');
    const image = this.take(24, 'the image header');
    const isImage = image.getUint32(0) === 0xffff_ffff && image.getUint32(4) === 0xffff_ffff && image.getUint32(8) === LIBXC_ID;
    if (!isImage || image.getUint32(12) !== VERSION) throw new StreamError('no domain image of version 2');
    if ((image.getUint16(16) & 1) !== 0) throw new StreamError('a big-endian image');
    const domain = this.take(16, 'the domain header');
    if (domain.getUint32(0, true) !== TYPE_X86_PV) throw new StreamError('the image is of another kind than a PV domain');
    if (domain.getUint16(4, true) !== PAGE_SHIFT) throw new StreamError('the image has pages of another size');
  }

  /** The next record of libxc's that is not optional. Throws StreamError. */
  record(): StreamRecord {
    for (;;) {
      const head = this.take(8, 'a record');
      const type = head.getUint32(0, true);
      const length = head.getUint32(4, true);
      if (length > MAX_RECORD) throw new StreamError(`a record of ${length} bytes`);
      const padded = this.take(Math.ceil(length / 8) * 8, 'a record');
      if (type >= OPTIONAL) continue;
      return { type, body: new Uint8Array(padded.buffer, padded.byteOffset, length) };
    }
  }

  private take(count: number, what: string): DataView {
    const bytes = this.source(count);
    if (bytes.length < count) throw new StreamError(`ends within ${what}`);
    return new DataView(bytes.buffer, bytes.byteOffset, count);
  }
}
