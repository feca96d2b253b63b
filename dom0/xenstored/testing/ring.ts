// For specs: a page in plain memory, and a frontend that speaks through a store ring in it.
import { xenstore_domain_interface as layout, type PageView, XENSTORE_RING_SIZE, xsd_sockmsg } from '@ringworld/abi';
import { byteString, encodeMessage, HEADER_SIZE, type Message } from '../connection.ts';

export function memoryPage(bytes = new Uint8Array(4096)): PageView {
  const view = new DataView(bytes.buffer);
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
    writeBytes: (o, b) => bytes.set(b, o),
  };
}

/** The guest's end. */
export class Frontend {
  readonly page: PageView;
  private received: number[] = [];

  constructor(page: PageView) {
    this.page = page;
  }

  /** Forgets what has come in part. */
  reset(): void {
    this.received = [];
  }

  /** As many bytes as fit; returns what did not. */
  put(bytes: Uint8Array): Uint8Array {
    const at = (f: 'req' | 'req_prod' | 'req_cons') => layout.offset(f, 'x86_64');
    let prod = this.page.u32(at('req_prod'));
    const room = XENSTORE_RING_SIZE - ((prod - this.page.u32(at('req_cons'))) >>> 0);
    const count = Math.min(room, bytes.length);
    for (let i = 0; i < count; i++) this.page.setU8(at('req') + (prod++ & (XENSTORE_RING_SIZE - 1)), bytes[i]!);
    this.page.setU32(at('req_prod'), prod >>> 0);
    return bytes.subarray(count);
  }

  putMessage(m: Partial<Message> & { type: number }): Uint8Array {
    return this.put(encodeMessage({ reqId: 0, txId: 0, payload: '', ...m }));
  }

  /** Takes what is there, at most `limit` bytes, and returns the messages that are whole. */
  take(limit = Number.POSITIVE_INFINITY): Message[] {
    const at = (f: 'rsp' | 'rsp_prod' | 'rsp_cons') => layout.offset(f, 'x86_64');
    let cons = this.page.u32(at('rsp_cons'));
    for (let n = 0; n < limit && cons !== this.page.u32(at('rsp_prod')); n++, cons = (cons + 1) >>> 0)
      this.received.push(this.page.u8(at('rsp') + (cons & (XENSTORE_RING_SIZE - 1))));
    this.page.setU32(at('rsp_cons'), cons);
    const messages: Message[] = [];
    for (;;) {
      const bytes = Uint8Array.from(this.received);
      if (bytes.length < HEADER_SIZE) return messages;
      const { type, req_id, tx_id, len } = xsd_sockmsg.decode('x86_64', bytes);
      if (bytes.length < HEADER_SIZE + len) return messages;
      messages.push({ type, reqId: req_id, txId: tx_id, payload: byteString(bytes.subarray(HEADER_SIZE, HEADER_SIZE + len)) });
      this.received = this.received.slice(HEADER_SIZE + len);
    }
  }
}
