// The control ring: how a frontend says by what hash its receive queues are chosen (netif.h, "Control ring"; Linux's process_ctrl_request
// and hash.c), and which of its grants it will use for good.
import {
  type Domid,
  GNTST_okay,
  type GrantRef,
  type PageView,
  XEN_NETIF_CTRL_HASH_ALGORITHM_NONE,
  XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ,
  XEN_NETIF_CTRL_HASH_TYPE_IPV4,
  XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP,
  XEN_NETIF_CTRL_HASH_TYPE_IPV6,
  XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP,
  XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
  XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED,
  XEN_NETIF_CTRL_STATUS_SUCCESS,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS,
  XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM,
  XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS,
  XEN_NETIF_CTRL_TYPE_SET_HASH_KEY,
  XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING,
  XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE,
  XEN_NETIF_CTRLF_GREF_readonly,
  xen_netif_ctrl_response,
  xen_netif_gref,
} from '@ringworld/abi';
import type { BackRing } from '../kernel/back-ring.ts';
import { GrantError, type GrantMapping } from '../kernel/gnttab.ts';
import type { DeviceName } from '../kernel/observe.ts';
import { type HashState, MAX_HASH_KEY, MAX_HASH_MAPPING, newHashState, Toeplitz } from './hash.ts';
import { CTRL_REQUEST } from './rings.ts';
import { PAGE, type Shared } from './shared.ts';

const ALL_TYPES =
  XEN_NETIF_CTRL_HASH_TYPE_IPV4 | XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP | XEN_NETIF_CTRL_HASH_TYPE_IPV6 | XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP;

/** A grant that stays mapped. */
export interface StaticPage {
  readonly view: PageView;
  readonly readonly: boolean;
}

interface Outcome {
  readonly status: number;
  readonly data?: number;
}
const DONE: Outcome = { status: XEN_NETIF_CTRL_STATUS_SUCCESS };
const INVALID: Outcome = { status: XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER };
const UNSUPPORTED: Outcome = { status: XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED };

const GREF_SIZE = xen_netif_gref.size('x86_64');

/** What the frontend has configured, and the means to serve its requests. */
export class Control {
  readonly hash: HashState = newHashState();
  toeplitz = new Toeplitz(this.hash.key);
  private readonly shared: Shared;
  private readonly dom: Domid;
  private readonly statics = new Map<number, StaticPage & { readonly mapping: GrantMapping }>();
  /** Queues of the frontend: what a mapping may name. */
  private readonly queues: number;

  constructor(shared: Shared, dom: Domid, queues: number) {
    this.shared = shared;
    this.dom = dom;
    this.queues = queues;
  }

  staticPage(gref: number): StaticPage | null {
    return this.statics.size === 0 ? null : (this.statics.get(gref) ?? null);
  }

  /** Serves what there is; `notify` for each answer that the frontend wants to hear of. `device` is its name in traces. Throws RingError. */
  serve(ring: BackRing, device: DeviceName, notify: () => void): void {
    const { observer } = this.shared.dom0;
    const where = { device, queue: 0, ring: 'ctrl' } as const;
    do {
      while (ring.unconsumed > 0) {
        const taken = ring.take();
        const r = ring.request;
        const id = r.getUint16(CTRL_REQUEST.id, true);
        const type = r.getUint16(CTRL_REQUEST.type, true);
        const data = [0, 4, 8].map((at) => r.getUint32(CTRL_REQUEST.data + at, true));
        observer.count('request');
        observer.sink?.({ kind: 'request', ...where, index: taken, op: `ctrl.${type}`, id, bytes: 0 });
        const { status, data: result = 0 } = this.request(type, data[0]!, data[1]!, data[2]!);
        const index = ring.put(xen_netif_ctrl_response.encode('x86_64', { id, type, status, data: result }));
        observer.count('response');
        observer.sink?.({ kind: 'response', ...where, index, id, status });
        const sent = ring.push();
        observer.sink?.({ kind: 'notify', ...where, sent });
        if (sent) notify();
      }
    } while (ring.finalCheck());
  }

  stop(): void {
    for (const s of this.statics.values()) s.mapping.unmap();
    this.statics.clear();
  }

  private request(type: number, a: number, b: number, c: number): Outcome {
    const { hash } = this;
    switch (type) {
      case XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS:
        return hash.algorithm === XEN_NETIF_CTRL_HASH_ALGORITHM_NONE ? UNSUPPORTED : { ...DONE, data: ALL_TYPES };
      case XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS:
        if ((a & ~ALL_TYPES) !== 0 || hash.algorithm === XEN_NETIF_CTRL_HASH_ALGORITHM_NONE) return INVALID;
        hash.flags = a;
        return DONE;
      case XEN_NETIF_CTRL_TYPE_SET_HASH_KEY:
        return this.setKey(a, b);
      case XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE:
        return { ...DONE, data: MAX_HASH_MAPPING };
      case XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE:
        if (a > MAX_HASH_MAPPING) return INVALID;
        hash.mappingSize = a;
        hash.mapping.fill(0, 0, a);
        return DONE;
      case XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING:
        return this.setMapping(a, b, c);
      case XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM:
        if (a !== XEN_NETIF_CTRL_HASH_ALGORITHM_NONE && a !== XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ) return INVALID;
        hash.algorithm = a;
        return DONE;
      // The queue is named, but a grant serves all of them.
      case XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE:
      case XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING:
      case XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING: {
        const { staticGrants } = this.shared.options;
        if (staticGrants === 0) return UNSUPPORTED;
        if (a >= this.queues) return INVALID;
        if (type === XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE) return { ...DONE, data: staticGrants };
        return type === XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING ? this.addStatics(b, c) : this.removeStatics(b, c);
      }
      default:
        return UNSUPPORTED;
    }
  }

  private setKey(ref: number, length: number): Outcome {
    if (length > MAX_HASH_KEY) return INVALID;
    const bytes = this.copyIn(ref, 0, length);
    if (bytes === null) return INVALID;
    this.hash.key.fill(0);
    this.hash.key.set(bytes);
    this.toeplitz = new Toeplitz(this.hash.key);
    return DONE;
  }

  private setMapping(ref: number, length: number, offset: number): Outcome {
    const { mapping, mappingSize } = this.hash;
    if (length > mappingSize || offset + length > mappingSize) return INVALID;
    const bytes = this.copyIn(ref, 0, length * 4);
    if (bytes === null) return INVALID;
    const entries = Array.from({ length }, (_, i) => new DataView(bytes.buffer).getUint32(i * 4, true));
    if (entries.some((q) => q >= this.queues)) return INVALID;
    mapping.set(entries, offset);
    return DONE;
  }

  /** All of the frontend's list, or none of it. */
  private addStatics(ref: number, count: number): Outcome {
    const { staticGrants } = this.shared.options;
    const added: number[] = [];
    const isRead = this.withList(ref, count, (entry) => {
      if (this.addStatic(entry.ref, entry.flags)) added.push(entry.ref);
      return null;
    });
    if (isRead && added.length === count) return DONE;
    const isFull = this.statics.size >= staticGrants;
    for (const r of added) this.removeStatic(r);
    return isFull ? { status: XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW } : INVALID;
  }

  /** Each entry gets a status of its own, and the answer says how many went; the request fails when one of them did. */
  private removeStatics(ref: number, count: number): Outcome {
    let removed = 0;
    const isRead = this.withList(ref, count, (entry) => {
      const isDone = this.removeStatic(entry.ref);
      if (isDone) removed++;
      return isDone ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
    });
    return isRead && removed === count ? { ...DONE, data: removed } : { ...INVALID, data: removed };
  }

  /** Private copies of a list's entries; what `change` returns is written back as their status. False: the list cannot be had. */
  private withList(
    ref: number,
    count: number,
    change: (entry: { readonly ref: number; readonly flags: number }) => number | null,
  ): boolean {
    if (count * GREF_SIZE > PAGE) return false;
    let list: GrantMapping;
    try {
      // SAFE: any number may stand in a request; Xen checks it.
      list = this.shared.dom0.grants.map(this.dom, [ref as GrantRef]);
    } catch (e) {
      if (e instanceof GrantError) return false;
      throw e;
    }
    const page = list.page(0);
    const own = page.bytes(0, count * GREF_SIZE);
    for (let i = 0; i < count; i++) {
      const status = change(xen_netif_gref.decode('x86_64', own.subarray(i * GREF_SIZE, (i + 1) * GREF_SIZE)));
      if (status !== null) page.setU16(i * GREF_SIZE + xen_netif_gref.offset('status', 'x86_64'), status);
    }
    list.unmap();
    return true;
  }

  private addStatic(ref: number, flags: number): boolean {
    if (this.statics.size >= this.shared.options.staticGrants || this.statics.has(ref)) return false;
    const isReadonly = (flags & XEN_NETIF_CTRLF_GREF_readonly) !== 0;
    try {
      // SAFE: as above.
      const mapping = this.shared.dom0.grants.map(this.dom, [ref as GrantRef], { readonly: isReadonly });
      this.statics.set(ref, { view: mapping.page(0), readonly: isReadonly, mapping });
      return true;
    } catch (e) {
      if (e instanceof GrantError) return false;
      throw e;
    }
  }

  private removeStatic(ref: number): boolean {
    const s = this.statics.get(ref);
    s?.mapping.unmap();
    return this.statics.delete(ref);
  }

  /** Bytes of a granted page, or null when Xen does not copy them. */
  private copyIn(ref: number, offset: number, length: number): Uint8Array<ArrayBuffer> | null {
    const { txCopies, txPages } = this.shared;
    const result = new Uint8Array(length);
    if (length === 0) return result;
    const copy = txCopies.fromGrant(this.dom, ref, offset, txPages.first, 0, length);
    txCopies.flush();
    if (txCopies.status(copy) !== GNTST_okay) return null;
    txPages.views[0]!.readInto(0, result);
    return result;
  }
}
