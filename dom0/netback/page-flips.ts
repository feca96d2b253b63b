// Page flipping, as the first netbacks moved packets: the page with the bytes changes owner (GNTTABOP_transfer) into a place that the
// frontend had left empty and offered for it, and dom0 asks Xen for a fresh page in its stead. Kept for study: what copying replaced.
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  type Domid,
  domid,
  GNTST_okay,
  GNTTABOP_transfer,
  type GrantRef,
  gnttab_transfer,
  guestHandle,
  type Mfn,
  XENMEM_populate_physmap,
  xen_memory_reservation,
} from '@ringworld/abi';
import { DOM0_ABI, type Hypercalls } from '../kernel/hypercall.ts';
import type { Observer } from '../kernel/observe.ts';

export class PageFlips {
  private readonly xen: Hypercalls;
  private readonly observer: Observer;
  private readonly waiting: { readonly frame: number; readonly dom: Domid; readonly ref: GrantRef }[] = [];
  private results: number[] = [];

  constructor(xen: Hypercalls, observer: Observer) {
    this.xen = xen;
    this.observer = observer;
  }

  /** Gives frame `frame` of dom0's to the domain at the next flush. Returns the flip's number. */
  add(frame: number, dom: number, ref: number): number {
    // SAFE: a reference is whatever number the frontend wrote; Xen checks it.
    this.waiting.push({ frame, dom: domid(dom), ref: ref as GrantRef });
    return this.waiting.length - 1;
  }

  /** GNTST_* of a flip of the last flush. */
  status(index: number): number {
    return this.results[index] ?? GNTST_okay;
  }

  flush(): void {
    const flips = this.waiting.splice(0);
    this.results = [];
    if (flips.length === 0) return;
    const { memory } = this.xen;
    this.observer.count('grant_transfer', flips.length);
    const size = gnttab_transfer.size(DOM0_ABI);
    memory.withArguments((args) => {
      const at = args.reserve(size * flips.length);
      flips.forEach((f, i) => {
        // SAFE: dom0 is auto-translated: its frames are named by their place.
        memory.write(at + i * size, gnttab_transfer.encode(DOM0_ABI, { mfn: f.frame as Mfn, domid: f.dom, ref: f.ref }));
      });
      this.xen.call('GNTTABOP_transfer', __HYPERVISOR_grant_table_op, GNTTABOP_transfer, at, flips.length);
      this.results = flips.map((_, i) => gnttab_transfer.decode(DOM0_ABI, memory.read(at + i * size, size)).status);
    });
    // Whether the page arrived or was lost on the way, it is not ours any more. One that Xen did not take stays, and is not filled again.
    for (const f of flips) this.refill(f.frame);
  }

  private refill(frame: number): void {
    const { memory } = this.xen;
    memory.withArguments((args) => {
      const list = new Uint8Array(8);
      new DataView(list.buffer).setUint32(0, frame, true);
      this.xen.op(__HYPERVISOR_memory_op, XENMEM_populate_physmap, xen_memory_reservation, {
        extent_start: guestHandle(args.put(list)),
        nr_extents: 1,
        extent_order: 0,
        domid: domid(this.xen.port.domid),
      });
    });
  }
}
