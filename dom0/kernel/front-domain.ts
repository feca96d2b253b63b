// A domain whose kernel is TypeScript and that is on the other side of a backend: memory, event channels, and a grant table of its own. What
// Linux's drivers/xen/grant-table.c does for frontends; gnttab.ts is the mapping side. For specs, and for the split driver bench.
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  type DomainPort,
  type Domid,
  domid,
  type Gfn,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_readonly,
  gfn,
  grant_entry_v1,
  type PageView,
  XENMAPSPACE_grant_table,
  XENMEM_add_to_physmap,
  xen_add_to_physmap,
} from '@ringworld/abi';
import { EventChannels } from './evtchn.ts';
import { DOM0_ABI, Hypercalls } from './hypercall.ts';
import { PAGE_SIZE } from './memory.ts';
import { Observer } from './observe.ts';

const ENTRY = grant_entry_v1.size(DOM0_ABI);
const FLAGS = grant_entry_v1.offset('flags', DOM0_ABI);
const DOMID = grant_entry_v1.offset('domid', DOM0_ABI);
const FRAME = grant_entry_v1.offset('frame', DOM0_ABI);
/** NR_RESERVED_ENTRIES of Linux: the console's, the store's, and others that the tools may use. */
const FIRST_REF = 8;

export interface FrontDomainOptions {
  /** Of its memory. */
  readonly pages: number;
  /** Pages of its grant table, of 512 entries each. */
  readonly grantFrames: number;
  /** Counts what it does. */
  readonly observer?: Observer;
}

export interface GrantOptions {
  readonly readonly?: boolean;
  /** A place for a page that comes (gnttab_grant_foreign_transfer), instead of access to one that is there. */
  readonly transfer?: boolean;
  /** dom0 unless given. */
  readonly to?: Domid;
}

export class FrontDomain {
  readonly id: Domid;
  readonly xen: Hypercalls;
  readonly events: EventChannels;
  readonly observer: Observer;
  /** Grants given and taken back: writes to the table, no hypercalls. */
  granted = 0;
  revoked = 0;
  private readonly table: readonly PageView[];
  private readonly free: number[] = [];
  private nextRef = FIRST_REF;

  /** Throws HypercallError when Xen gives it no such table. */
  constructor(port: DomainPort, options: FrontDomainOptions) {
    this.id = domid(port.domid);
    this.observer = options.observer ?? new Observer();
    this.xen = new Hypercalls(port, options.pages, this.observer);
    this.events = new EventChannels(this.xen, this.observer);
    const start = this.xen.memory.reserveFrames(options.grantFrames);
    this.table = Array.from({ length: options.grantFrames }, (_, idx) => {
      this.xen.op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, xen_add_to_physmap, {
        domid: domid(DOMID_SELF),
        space: XENMAPSPACE_grant_table,
        idx,
        gpfn: gfn(start + idx),
      });
      return this.xen.memory.page(gfn(start + idx));
    });
  }

  /** A page of its own. */
  allocate(): { readonly frame: Gfn; readonly page: PageView } {
    const frame = this.xen.memory.allocate(1);
    return { frame, page: this.xen.memory.page(frame) };
  }

  /** gnttab_grant_foreign_access. Throws when the table is full. */
  grant(frame: number, options: GrantOptions = {}): number {
    const ref = this.free.pop() ?? this.nextRef++;
    const [page, at] = this.entry(ref);
    page.setU16(at + DOMID, options.to ?? 0);
    page.setU32(at + FRAME, frame);
    // Last: from here on the grant is good.
    page.setU16(at + FLAGS, options.transfer ? GTF_accept_transfer : GTF_permit_access | (options.readonly ? GTF_readonly : 0));
    this.granted++;
    return ref;
  }

  /** GTF_* of a grant: what Xen has made of it. */
  flags(ref: number): number {
    const [page, at] = this.entry(ref);
    return page.u16(at + FLAGS);
  }

  /** gnttab_end_foreign_access. Returns the flags as they were: whether the grant was still in use. */
  revoke(ref: number): number {
    const [page, at] = this.entry(ref);
    const flags = page.u16(at + FLAGS);
    page.setU16(at + FLAGS, 0);
    this.free.push(ref);
    this.revoked++;
    return flags;
  }

  private entry(ref: number): [PageView, number] {
    const at = ref * ENTRY;
    const page = this.table[Math.floor(at / PAGE_SIZE)];
    if (page === undefined) throw new Error('the frontend has used up its grants');
    return [page, at % PAGE_SIZE];
  }
}
