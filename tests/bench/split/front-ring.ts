// The frontend's end of a ring (ring.h, FRONT_RING), over pages of its own that are granted to dom0.
import { needsNotify, type PageView, type RingType, ringDistance, sring } from '@ringworld/abi';
import type { FrontDomain } from '@ringworld/dom0';

const PAGE = 4096;
const at = (field: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event'): number => sring.offset(field, 'x86_64');

export class FrontRing {
  readonly refs: readonly number[];
  readonly slots: number;
  private readonly pages: readonly PageView[];
  private readonly type: RingType;
  private reqProd = 0;
  private rspCons = 0;

  constructor(domain: FrontDomain, type: RingType, pages: number) {
    const own = Array.from({ length: pages }, () => domain.allocate());
    this.pages = own.map((p) => p.page);
    this.refs = own.map((p) => domain.grant(p.frame));
    this.type = type;
    this.slots = type.slots('x86_64', pages * PAGE);
    for (const p of this.pages) p.writeBytes(0, new Uint8Array(PAGE));
    this.pages[0]!.setU32(at('req_event'), 1);
    this.pages[0]!.setU32(at('rsp_event'), 1);
  }

  get room(): number {
    return this.slots - ringDistance(this.reqProd, this.rspCons);
  }
  get outstanding(): number {
    return ringDistance(this.reqProd, this.rspCons);
  }

  put(request: Uint8Array): void {
    this.write(this.offset(this.reqProd), request);
    this.reqProd = (this.reqProd + 1) >>> 0;
  }

  /** RING_PUSH_REQUESTS_AND_CHECK_NOTIFY. */
  push(): boolean {
    const page = this.pages[0]!;
    const old = page.u32(at('req_prod'));
    page.setU32(at('req_prod'), this.reqProd);
    return needsNotify(old, this.reqProd, page.u32(at('req_event')));
  }

  /** The next response, null when there is none. */
  take(length: number): Uint8Array | null {
    if (this.pages[0]!.u32(at('rsp_prod')) === this.rspCons) return null;
    const bytes = this.read(this.offset(this.rspCons), length);
    this.rspCons = (this.rspCons + 1) >>> 0;
    return bytes;
  }

  /** RING_FINAL_CHECK_FOR_RESPONSES: an event when the `ahead`-th response from here has come. True when there are some now. */
  finalCheck(ahead = 1): boolean {
    this.pages[0]!.setU32(at('rsp_event'), (this.rspCons + ahead) >>> 0);
    return ringDistance(this.pages[0]!.u32(at('rsp_prod')), this.rspCons) >= ahead;
  }

  private offset(index: number): number {
    return this.type.slotOffset('x86_64', index, this.slots);
  }
  private write(offset: number, bytes: Uint8Array): void {
    const first = Math.min(bytes.length, PAGE - (offset % PAGE));
    this.pages[Math.floor(offset / PAGE)]!.writeBytes(offset % PAGE, bytes.subarray(0, first));
    if (first < bytes.length) this.pages[Math.floor(offset / PAGE) + 1]!.writeBytes(0, bytes.subarray(first));
  }
  private read(offset: number, length: number): Uint8Array {
    const first = Math.min(length, PAGE - (offset % PAGE));
    const bytes = new Uint8Array(length);
    bytes.set(this.pages[Math.floor(offset / PAGE)]!.bytes(offset % PAGE, first));
    if (first < length) bytes.set(this.pages[Math.floor(offset / PAGE) + 1]!.bytes(0, length - first), first);
    return bytes;
  }
}
