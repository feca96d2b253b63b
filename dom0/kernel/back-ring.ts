// The backend's end of a shared ring (ring.h, BACK_RING), over one page or several. The frontend is not trusted: its indices are read once
// and checked, and a request is looked at only as a private copy, so that rewriting it later changes nothing.
import { type Abi, needsNotify, type PageView, prodOverflow, type RingType, sring } from '@ringworld/abi';

const PAGE = 4096;
const REQ_PROD = sring.offset('req_prod', 'x86_64');
const REQ_EVENT = sring.offset('req_event', 'x86_64');
const RSP_PROD = sring.offset('rsp_prod', 'x86_64');
const RSP_EVENT = sring.offset('rsp_event', 'x86_64');

/** The frontend broke the protocol: the device is to be shut. */
export class RingError extends Error {
  override readonly name = 'RingError';
}

/** Plain data: the private indices. */
export interface BackRingState {
  reqCons: number;
  rspProd: number;
}

export class BackRing {
  readonly slots: number;
  readonly state: BackRingState;
  /** The request that was taken last: a private copy, overwritten by the next. */
  readonly request: DataView;
  /** The bytes of `request`. */
  private readonly bytes: Uint8Array;
  private readonly pages: readonly PageView[];
  private readonly type: RingType;
  private readonly abi: Abi;
  private readonly size: number;

  /** BACK_RING_ATTACH: goes on where the shared indices are, as when a backend was restarted. `attach` false: BACK_RING_INIT. */
  constructor(pages: readonly PageView[], type: RingType, abi: Abi, attach = true) {
    this.pages = pages;
    this.type = type;
    this.abi = abi;
    this.size = type.entrySize(abi);
    this.slots = type.slots(abi, pages.length * PAGE);
    const rspProd = attach ? this.u32(RSP_PROD) : 0;
    this.state = { reqCons: rspProd, rspProd };
    this.bytes = new Uint8Array(this.size);
    this.request = new DataView(this.bytes.buffer);
    const prod = this.u32(REQ_PROD);
    if (prodOverflow(prod, rspProd, this.slots))
      throw new RingError(`req_prod ${prod} is ${(prod - rspProd) >>> 0} ahead of rsp_prod, the ring has ${this.slots} slots`);
  }

  /** RING_HAS_UNCONSUMED_REQUESTS, as a number. Throws RingError when the frontend's index cannot be. */
  get unconsumed(): number {
    const { reqCons, rspProd } = this.state;
    const prod = this.u32(REQ_PROD);
    // RING_REQUEST_PROD_OVERFLOW: against what has been answered, since only that frees slots.
    if (prodOverflow(prod, rspProd, this.slots))
      throw new RingError(`req_prod ${prod} is more than the ring's ${this.slots} slots ahead of rsp_prod ${rspProd}`);
    const unconsumed = (prod - reqCons) >>> 0;
    // Still ahead of what was answered, but behind what was taken: requests cannot be called back.
    if (unconsumed > this.slots) throw new RingError(`req_prod went back to ${prod}, and request ${reqCons - 1} was taken`);
    return unconsumed;
  }

  // TOUR block 30: The ring itself: free-running indices. Those that the other side writes are read once, and checked against what has been
  // answered.
  /** RING_COPY_REQUEST: copies the next request into `request` and returns its index. To be called only when there is one. */
  take(): number {
    const index = this.state.reqCons;
    this.peek(index);
    this.state.reqCons = (index + 1) >>> 0;
    return index;
  }

  /** Copies the request at a free-running index into `request` without taking it. */
  peek(index: number): DataView {
    const at = this.type.slotOffset(this.abi, index, this.slots);
    const first = PAGE - (at % PAGE);
    if (first >= this.size) this.page(at).readInto(at % PAGE, this.bytes);
    else {
      this.page(at).readInto(at % PAGE, this.bytes.subarray(0, first));
      this.page(at + first).readInto(0, this.bytes.subarray(first));
    }
    return this.request;
  }

  /** Takes `count` requests that were peeked at. */
  skip(count = 1): void {
    this.state.reqCons = (this.state.reqCons + count) >>> 0;
  }

  /** Writes a response into the next slot; push() publishes it. Returns its index. */
  put(response: Uint8Array): number {
    const index = this.state.rspProd;
    const at = this.type.slotOffset(this.abi, index, this.slots);
    const first = PAGE - (at % PAGE);
    if (first >= response.length) this.page(at).writeBytes(at % PAGE, response);
    else {
      this.page(at).writeBytes(at % PAGE, response.subarray(0, first));
      this.page(at + first).writeBytes(0, response.subarray(first));
    }
    this.state.rspProd = (index + 1) >>> 0;
    return index;
  }

  // TOUR block 70: The answers are published by one index, and the guest is told only if it asked to hear of one that is among them.
  /** RING_PUSH_RESPONSES_AND_CHECK_NOTIFY: must the frontend be told? */
  push(): boolean {
    const old = this.u32(RSP_PROD);
    const now = this.state.rspProd;
    this.setU32(RSP_PROD, now);
    return needsNotify(old, now, this.u32(RSP_EVENT));
  }

  /** RING_FINAL_CHECK_FOR_REQUESTS: asks for an event when the `ahead`-th request from here is published; true when there are some now. */
  finalCheck(ahead = 1): boolean {
    if (this.unconsumed > 0) return true;
    this.setU32(REQ_EVENT, (this.state.reqCons + ahead) >>> 0);
    return this.unconsumed > 0;
  }

  /** Are there `count` requests? If not, an event is asked for when there are. */
  awaits(count: number): boolean {
    if (this.unconsumed >= count) return true;
    this.setU32(REQ_EVENT, (this.state.reqCons + count) >>> 0);
    return this.unconsumed >= count;
  }

  private page(at: number): PageView {
    return this.pages[Math.floor(at / PAGE)]!;
  }
  private u32(offset: number): number {
    return this.pages[0]!.u32(offset);
  }
  private setU32(offset: number, value: number): void {
    this.pages[0]!.setU32(offset, value);
  }
}
