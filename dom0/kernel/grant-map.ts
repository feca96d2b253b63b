// Grants mapped and unmapped in batches, each at a frame that the caller chose (GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref): for
// backends that do so all the time. Operations are laid out in plain memory as they are added and made by one hypercall; a grant that cannot
// be mapped is the status of that operation, nobody else's.
import {
  __HYPERVISOR_grant_table_op,
  type Domid,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  gnttab_map_grant_ref,
  gnttab_unmap_grant_ref,
} from '@ringworld/abi';
import { DOM0_ABI, type Hypercalls } from './hypercall.ts';
import type { Observer } from './observe.ts';

const MAP = gnttab_map_grant_ref.size(DOM0_ABI);
const MAP_ADDR = gnttab_map_grant_ref.offset('host_addr', DOM0_ABI);
const MAP_FLAGS = gnttab_map_grant_ref.offset('flags', DOM0_ABI);
const MAP_REF = gnttab_map_grant_ref.offset('ref', DOM0_ABI);
const MAP_DOM = gnttab_map_grant_ref.offset('dom', DOM0_ABI);
const MAP_STATUS = gnttab_map_grant_ref.offset('status', DOM0_ABI);
const MAP_HANDLE = gnttab_map_grant_ref.offset('handle', DOM0_ABI);
const UNMAP = gnttab_unmap_grant_ref.size(DOM0_ABI);
const UNMAP_ADDR = gnttab_unmap_grant_ref.offset('host_addr', DOM0_ABI);
const UNMAP_HANDLE = gnttab_unmap_grant_ref.offset('handle', DOM0_ABI);

/** What fits into dom0's argument area with room to spare (memory.ts). */
const CAPACITY = 512;

/** Frame number times 4096 may pass 2^32. */
function setAddress(view: DataView, at: number, frame: number): void {
  view.setUint32(at, (frame << 12) >>> 0, true);
  view.setUint32(at + 4, frame >>> 20, true);
}

/** Mappings of one domain's grants. Only one batch may be in the making at a time, which holds by itself: flush before you return. */
export class GrantMapBatch {
  readonly dom: Domid;
  private readonly xen: Hypercalls;
  private readonly observer: Observer;
  private readonly maps = new DataView(new ArrayBuffer(MAP * CAPACITY));
  private readonly unmaps = new DataView(new ArrayBuffer(UNMAP * CAPACITY));
  private mapCount = 0;
  private unmapCount = 0;
  private readonly done: (status: number, handle: number, tag: number) => void;
  private readonly tags = new Uint32Array(CAPACITY);

  /** `mapped` is told of each operation of map(), in order: its status (GNTST_*), the handle, and the caller's tag. */
  constructor(xen: Hypercalls, observer: Observer, dom: Domid, mapped: (status: number, handle: number, tag: number) => void) {
    this.xen = xen;
    this.observer = observer;
    this.dom = dom;
    this.done = mapped;
  }

  map(ref: number, frame: number, readonly: boolean, tag: number): void {
    // With the unmapping, which may have set the frame free.
    if (this.mapCount === CAPACITY) this.flush();
    const at = this.mapCount * MAP;
    const { maps } = this;
    setAddress(maps, at + MAP_ADDR, frame);
    maps.setUint32(at + MAP_FLAGS, readonly ? GNTMAP_host_map | GNTMAP_readonly : GNTMAP_host_map, true);
    maps.setUint32(at + MAP_REF, ref, true);
    maps.setUint16(at + MAP_DOM, this.dom, true);
    this.tags[this.mapCount++] = tag;
  }

  unmap(frame: number, handle: number): void {
    if (this.unmapCount === CAPACITY) this.flushUnmaps();
    const at = this.unmapCount * UNMAP;
    setAddress(this.unmaps, at + UNMAP_ADDR, frame);
    this.unmaps.setUint32(at + UNMAP_HANDLE, handle, true);
    this.unmapCount++;
  }

  /** Makes what was added: first the unmapping. */
  flush(): void {
    this.flushUnmaps();
    this.flushMaps();
  }

  private flushMaps(): void {
    const count = this.mapCount;
    if (count === 0) return;
    this.mapCount = 0;
    this.observer.count('grant_map', count);
    const { memory } = this.xen;
    const image = new Uint8Array(this.maps.buffer, 0, count * MAP);
    memory.withArguments((args) => {
      const at = args.put(image);
      this.xen.call('GNTTABOP_map_grant_ref', __HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, at, count);
      image.set(memory.read(at, count * MAP));
    });
    for (let i = 0; i < count; i++) {
      const at = i * MAP;
      this.done(this.maps.getInt16(at + MAP_STATUS, true), this.maps.getUint32(at + MAP_HANDLE, true), this.tags[i]!);
    }
  }

  private flushUnmaps(): void {
    const count = this.unmapCount;
    if (count === 0) return;
    this.unmapCount = 0;
    this.observer.count('grant_unmap', count);
    const { memory } = this.xen;
    const image = new Uint8Array(this.unmaps.buffer, 0, count * UNMAP);
    memory.withArguments((args) => {
      const at = args.put(image);
      this.xen.call('GNTTABOP_unmap_grant_ref', __HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, at, count);
    });
  }
}

export const isMapped = (status: number): boolean => status === GNTST_okay;
