// Builds a PV domain that is ready to run: creates it, gives it memory, loads kernel and ramdisk, makes its first page tables,
// start_info and shared page, seeds its grant table, and sets vCPU 0's registers. The order of the steps is that of libxl and
// libxenguest (libxl_dom.c libxl__build_pre; xg_dom_boot.c), since the hypervisor checks some of them against others: the
// address size before memory exists, tables pinned once nobody else can write them.
//
// Everything happens through hypercalls and foreign mappings. The domain is left paused, as created.
import {
  __HYPERVISOR_event_channel_op,
  type Domid,
  domid,
  EVTCHNOP_alloc_unbound,
  type EvtchnPort,
  evtchn_alloc_unbound,
  guestHandle,
  type Mfn,
  MMUEXT_PIN_L3_TABLE,
  MMUEXT_PIN_L4_TABLE,
  mfn,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_hypercall_init,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_set_address_size,
  XEN_DOMCTL_setvcpucontext,
  xen_domctl_address_size,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
  xen_domctl_hypercall_init,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_vcpucontext,
} from '@ringworld/abi';
import { HypercallError } from '../kernel/hypercall.ts';
import { E820_RAM, type Privcmd } from '../kernel/privcmd.ts';
import { type Decompressors, formatOf } from './decompress/index.ts';
import { fillRange, moveBelow4G, type Piece, populate } from './domain-memory.ts';
import { PT_LOAD } from './elf.ts';
import { DomainBuildError } from './errors.ts';
import { seedGrantTable } from './grant-seed.ts';
import { type KernelImage, loadKernelImage } from './kernel-image.ts';
import { layOutPv, type PvLayout } from './pv-layout.ts';
import { entryPlace, fillPageTables } from './pv-page-tables.ts';
import { abiOf, bootVcpuContext, type Channels, sharedInfoPage, startInfoPage } from './start-of-day.ts';
import { PAGE_SIZE } from './virtual.ts';

/** A file's bytes under the name that messages use for it. */
export interface NamedBytes {
  readonly file: string;
  readonly bytes: Uint8Array;
}

export interface PvDomainSpec {
  readonly kernel: NamedBytes;
  readonly ramdisk?: NamedBytes;
  readonly cmdline: string;
  readonly memoryMiB: number;
  /** What the domain may balloon up to; memoryMiB unless given. */
  readonly maxMemoryMiB?: number;
  readonly vcpus: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** Who serves its console and store: dom0 unless given. */
  readonly consoleDomid?: Domid;
  readonly storeDomid?: Domid;
  readonly maxGrantFrames?: number;
  readonly maxMaptrackFrames?: number;
  readonly maxEventChannels?: number;
}

export interface BuiltDomain {
  readonly domid: Domid;
  readonly image: KernelImage;
  readonly layout: PvLayout;
  /** Machine frame of each ring page, and the guest's port, which a backend binds to. */
  readonly console: { readonly mfn: Mfn; readonly port: EvtchnPort };
  readonly store: { readonly mfn: Mfn; readonly port: EvtchnPort };
  readonly sharedInfoMfn: Mfn;
}

/** Defaults of libxl (libxl_types.idl, libxl_create.c) and of Xen's own command line. */
const MAX_GRANT_FRAMES = 64;
const MAX_MAPTRACK_FRAMES = 1024;
const MAX_EVENT_CHANNELS = 1023;
const MAX_GRANT_VERSION = 2;
/** libxl allows this much above the memory for its own needs (LIBXL_MAXMEM_CONSTANT). */
const MAXMEM_SLACK_KIB = 1024;
const PAGES_PER_MIB = 256;

/** Throws DomainBuildError; a domain that was begun is then destroyed again. */
export function buildPvDomain(privcmd: Privcmd, spec: PvDomainSpec, decompressors: Decompressors): BuiltDomain {
  const image = loadKernelImage(spec.kernel.file, spec.kernel.bytes, decompressors);
  const ramdisk = spec.ramdisk === undefined ? null : unzippedRamdisk(spec.ramdisk, decompressors);
  // Planned before anything is created: too little memory shows here.
  const layout = layOutPv(image, spec.memoryMiB * PAGES_PER_MIB, ramdisk?.length ?? null);
  const attempt = <T>(what: string, step: () => T): T => {
    try {
      return step();
    } catch (e) {
      if (e instanceof HypercallError) throw new DomainBuildError(spec.kernel.file, `${what}: ${e.message}`, { cause: e });
      throw e;
    }
  };
  const supported = attempt('the hypervisor does not say what it runs', () => privcmd.capabilities());
  if (!supported.includes(image.guestType))
    throw new DomainBuildError(
      spec.kernel.file,
      `this hypervisor does not run ${image.guestType} kernels (it runs ${supported.join(', ')})`,
    );

  const dom = attempt('the domain could not be created', () => createDomain(privcmd, spec));
  try {
    return attempt('the domain could not be built', () => new Builder(privcmd, spec, dom, image, layout).build(ramdisk));
  } catch (e) {
    privcmd.domctl(XEN_DOMCTL_destroydomain, dom);
    throw e;
  }
}

/** As libxc does: a gzipped ramdisk is handed over unpacked; anything else as it is, for the kernel to make sense of. */
function unzippedRamdisk(ramdisk: NamedBytes, decompressors: Decompressors): Uint8Array {
  if (ramdisk.bytes.length === 0) throw new DomainBuildError(ramdisk.file, 'the ramdisk file is empty');
  if (formatOf(ramdisk.bytes) !== 'gzip') return ramdisk.bytes;
  try {
    return decompressors.gzip(ramdisk.bytes, 0);
  } catch {
    return ramdisk.bytes;
  }
}

export function createDomain(privcmd: Privcmd, spec: DomainLimits): Domid {
  return privcmd.domctlWith(XEN_DOMCTL_createdomain, domid(0), xen_domctl_createdomain, {
    handle: spec.uuid,
    flags: 0,
    max_vcpus: spec.vcpus,
    max_evtchn_port: spec.maxEventChannels ?? MAX_EVENT_CHANNELS,
    max_grant_frames: spec.maxGrantFrames ?? MAX_GRANT_FRAMES,
    max_maptrack_frames: spec.maxMaptrackFrames ?? MAX_MAPTRACK_FRAMES,
    grant_opts: MAX_GRANT_VERSION,
  }).domain;
}

/** What a domain is made with and may grow to; a kernel or a saved image makes it more. */
export type DomainLimits = Omit<PvDomainSpec, 'kernel' | 'ramdisk' | 'cmdline'>;

export function setDomainLimits(privcmd: Privcmd, dom: Domid, spec: DomainLimits): void {
  const maxMiB = Math.max(spec.maxMemoryMiB ?? spec.memoryMiB, spec.memoryMiB);
  privcmd.domctlWith(XEN_DOMCTL_max_vcpus, dom, xen_domctl_max_vcpus, { max: spec.vcpus });
  privcmd.domctlWith(XEN_DOMCTL_max_mem, dom, xen_domctl_max_mem, { max_memkb: maxMiB * 1024 + MAXMEM_SLACK_KIB });
  // Without a map Linux would assume 8 MiB more than it has.
  privcmd.setMemoryMap(dom, [{ addr: 0, size: maxMiB * 1024 * 1024, type: E820_RAM }]);
}

/** A port of the domain's that `remote` may bind. */
export function allocChannel(privcmd: Privcmd, dom: Domid, remote: Domid = domid(0)): EvtchnPort {
  const argument = { dom, remote_dom: remote };
  return privcmd.xen.op(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, argument).out.port;
}

class Builder {
  private readonly privcmd: Privcmd;
  private readonly spec: PvDomainSpec;
  private readonly dom: Domid;
  private readonly image: KernelImage;
  private readonly layout: PvLayout;
  private p2m: Uint32Array = new Uint32Array(0);

  constructor(privcmd: Privcmd, spec: PvDomainSpec, dom: Domid, image: KernelImage, layout: PvLayout) {
    this.privcmd = privcmd;
    this.spec = spec;
    this.dom = dom;
    this.image = image;
    this.layout = layout;
  }

  build(ramdisk: Uint8Array | null): BuiltDomain {
    const { privcmd, dom, image, layout, spec } = this;
    const is64 = image.guestType === 'xen-3.0-x86_64';
    setDomainLimits(privcmd, dom, spec);
    const channels: Channels = {
      store: allocChannel(privcmd, dom, spec.storeDomid),
      console: allocChannel(privcmd, dom, spec.consoleDomid),
    };
    privcmd.domctlWith(XEN_DOMCTL_set_address_size, dom, xen_domctl_address_size, { size: is64 ? 64 : 32 });
    this.p2m = populate(privcmd, dom, layout.totalPages);
    // The top-level table comes first.
    if (!is64 && image.xen.pae === 'yes') moveBelow4G(privcmd, dom, this.p2m, layout.pageTables.pfn);

    this.loadKernel();
    if (ramdisk !== null && layout.ramdisk !== null) this.fill(layout.ramdisk, [{ offset: 0, data: ramdisk }]);
    const info = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, dom, xen_domctl_getdomaininfo, {}).out;
    const sharedInfoMfn = mfn(info.shared_info_frame);
    const startInfo = startInfoPage(image, layout, this.p2m, { sharedInfoMfn, channels, cmdline: spec.cmdline });
    this.fill({ pfn: layout.startInfoPfn, pages: 1 }, [{ offset: 0, data: startInfo }]);
    for (const page of [layout.xenstorePfn, layout.consolePfn, layout.bootStackPfn]) this.fill({ pfn: page, pages: 1 }, []);
    this.writePageTablesAndP2m();
    this.fillHypercallPage();

    // From here on the hypervisor counts the tables as such: no writable mapping of them may be left, dom0's own included.
    privcmd.mmuext(dom, is64 ? MMUEXT_PIN_L4_TABLE : MMUEXT_PIN_L3_TABLE, this.p2m[layout.pageTables.pfn]!);
    this.writeFrame(sharedInfoMfn, sharedInfoPage(abiOf(image)));
    this.setVcpuContext();
    seedGrantTable(privcmd, dom, spec.kernel.file, {
      console: { frame: this.p2m[layout.consolePfn]!, backend: spec.consoleDomid ?? domid(0) },
      store: { frame: this.p2m[layout.xenstorePfn]!, backend: spec.storeDomid ?? domid(0) },
    });
    return {
      domid: dom,
      image,
      layout,
      console: { mfn: mfn(this.p2m[layout.consolePfn]!), port: channels.console },
      store: { mfn: mfn(this.p2m[layout.xenstorePfn]!), port: channels.store },
      sharedInfoMfn,
    };
  }

  private fill(range: { readonly pfn: number; readonly pages: number }, pieces: readonly Piece[]): void {
    fillRange(this.privcmd, this.dom, this.p2m, range, pieces);
  }

  private loadKernel(): void {
    const { elf, xen } = this.image;
    const pieces = elf.segments
      .filter((s) => s.type === PT_LOAD && s.data.length > 0)
      .map((s): Piece => ({ offset: s.paddr + xen.virtOffset - xen.virtStart, data: s.data }));
    this.fill(this.layout.kernel, pieces);
  }

  private writePageTablesAndP2m(): void {
    const { layout, p2m } = this;
    const [initial, own] = layout.mappings;
    const first = new Uint8Array(layout.pageTables.pages * PAGE_SIZE);
    const second = new Uint8Array((own?.tables ?? 0) * PAGE_SIZE);
    const ownTablesPfn = layout.p2m.pfn + layout.p2m.pages - (own?.tables ?? 0);
    const views = { first: new DataView(first.buffer), second: new DataView(second.buffer) };
    fillPageTables(layout.mappings, p2m, (pfn, index, lo, hi) => {
      const { page, offset } = entryPlace(index);
      const inFirst = pfn >= layout.pageTables.pfn && pfn < layout.pageTables.pfn + initial!.tables;
      const at = (pfn + page - (inFirst ? layout.pageTables.pfn : ownTablesPfn)) * PAGE_SIZE + offset;
      const view = inFirst ? views.first : views.second;
      view.setUint32(at, lo, true);
      view.setUint32(at + 4, hi, true);
    });
    this.fill(layout.pageTables, [{ offset: 0, data: first }]);
    const list = abiOf(this.image) === 'x86_64' ? new Uint8Array(BigUint64Array.from(p2m, BigInt).buffer) : new Uint8Array(p2m.buffer);
    this.fill(layout.p2m, [
      { offset: 0, data: list },
      { offset: (layout.p2m.pages - (own?.tables ?? 0)) * PAGE_SIZE, data: second },
    ]);
  }

  private fillHypercallPage(): void {
    const { virtHypercall, virtBase } = this.image.xen;
    if (virtHypercall === null) return;
    const frame = this.p2m[Math.floor((virtHypercall - virtBase) / PAGE_SIZE)];
    if (frame === undefined) throw new DomainBuildError(this.image.elf.file, 'its hypercall page lies outside the domain');
    this.privcmd.domctlWith(XEN_DOMCTL_hypercall_init, this.dom, xen_domctl_hypercall_init, { gmfn: frame });
  }

  private writeFrame(frame: number, bytes: Uint8Array): void {
    const mapping = this.privcmd.mapForeign(this.dom, [frame]);
    mapping.write(0, bytes);
    mapping.unmap();
  }

  private setVcpuContext(): void {
    const context = bootVcpuContext(this.image, this.layout, this.p2m);
    this.privcmd.xen.memory.withArguments((args) => {
      const at = args.put(context);
      this.privcmd.domctlWith(XEN_DOMCTL_setvcpucontext, this.dom, xen_domctl_vcpucontext, { vcpu: 0, ctxt: guestHandle(at) });
    });
  }
}
