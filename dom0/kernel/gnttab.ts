// Grants from the mapping side: other domains' pages in dom0's frames (grant_table.h). Copies without mapping: grant-copy.ts.
import {
  __HYPERVISOR_grant_table_op,
  type Domid,
  type Gfn,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  type GrantHandle,
  type GrantRef,
  gfn,
  gnttab_map_grant_ref,
  gnttab_unmap_grant_ref,
  type PageView,
} from '@ringworld/abi';
import { DOM0_ABI, type Hypercalls } from './hypercall.ts';
import { PAGE_SIZE } from './memory.ts';
import { Observer } from './observe.ts';

/** A grant that could not be used: the status says why (GNTST_*). */
export class GrantError extends Error {
  override readonly name = 'GrantError';
  readonly status: number;

  constructor(what: string, status: number) {
    super(`${what}: grant status ${status}`);
    this.status = status;
  }
}

/** Pages mapped by grant, consecutive in dom0. Touching them after unmap() throws. */
export interface GrantMapping {
  readonly start: Gfn;
  readonly count: number;
  page(index: number): PageView;
  unmap(): void;
}

export class GrantTable {
  private readonly xen: Hypercalls;
  private readonly observer: Observer;

  constructor(xen: Hypercalls, observer: Observer = new Observer()) {
    this.xen = xen;
    this.observer = observer;
  }

  /** Maps grants of one domain. Either all are mapped or a GrantError is thrown and none is. */
  map(dom: Domid, refs: readonly GrantRef[], options: { readonly readonly?: boolean } = {}): GrantMapping {
    const { memory } = this.xen;
    this.observer.count('grant_map', refs.length);
    const start = memory.reserveFrames(refs.length);
    const size = gnttab_map_grant_ref.size(DOM0_ABI);
    const flags = GNTMAP_host_map | (options.readonly ? GNTMAP_readonly : 0);
    const results = memory.withArguments((args) => {
      const at = args.reserve(size * refs.length);
      refs.forEach((ref, i) => {
        memory.write(at + i * size, gnttab_map_grant_ref.encode(DOM0_ABI, { host_addr: (start + i) * PAGE_SIZE, flags, ref, dom }));
      });
      this.xen.call('GNTTABOP_map_grant_ref', __HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, at, refs.length);
      return refs.map((_, i) => gnttab_map_grant_ref.decode(DOM0_ABI, memory.read(at + i * size, size)));
    });
    const mapped = results.map((r, i) => ({ frame: start + i, handle: r.handle, status: r.status })).filter((r) => r.status === GNTST_okay);
    const failed = results.findIndex((r) => r.status !== GNTST_okay);
    let live = true;
    const unmap = () => {
      if (!live) return;
      live = false;
      this.unmapHandles(mapped);
      memory.releaseFrames(start, refs.length);
    };
    if (failed >= 0) {
      unmap();
      throw new GrantError(`mapping grant ${refs[failed]} of domain ${dom}`, results[failed]!.status);
    }
    return { start, count: refs.length, page: (i) => memory.page(gfn(start + i)), unmap };
  }

  private unmapHandles(mapped: readonly { readonly frame: number; readonly handle: GrantHandle }[]): void {
    if (mapped.length === 0) return;
    const { memory } = this.xen;
    this.observer.count('grant_unmap', mapped.length);
    const size = gnttab_unmap_grant_ref.size(DOM0_ABI);
    memory.withArguments((args) => {
      const at = args.reserve(size * mapped.length);
      mapped.forEach(({ frame, handle }, i) => {
        memory.write(at + i * size, gnttab_unmap_grant_ref.encode(DOM0_ABI, { host_addr: frame * PAGE_SIZE, dev_bus_addr: 0, handle }));
      });
      this.xen.call('GNTTABOP_unmap_grant_ref', __HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, at, mapped.length);
    });
  }
}
