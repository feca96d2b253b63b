// What the builders of PVH and HVM domains share: making the domain, its memory and special pages, parameters, grants, and the registers of
// vCPU 0 (libxl_create.c, libxl__domain_make; libxl_dom.c, libxl__build_hvm; xg_dom_x86.c, alloc_magic_pages_hvm and vcpu_hvm).
//
// Guest frame numbers here are the guest's own: the hypervisor keeps the map from them to machine frames.
import {
  __HYPERVISOR_hvm_op,
  __HYPERVISOR_memory_op,
  type Domid,
  domid,
  type Gfn,
  GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE,
  GTF_permit_access,
  gfn,
  grant_entry_v1,
  guestHandle,
  HVM_FILE_MAGIC,
  HVM_FILE_VERSION,
  HVM_PARAM_BUFIOREQ_PFN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_IDENT_PT,
  HVM_PARAM_IOREQ_PFN,
  HVM_PARAM_IOREQ_SERVER_PFN,
  HVM_PARAM_MONITOR_RING_PFN,
  HVM_PARAM_NR_IOREQ_SERVER_PAGES,
  HVM_PARAM_PAGING_RING_PFN,
  HVM_PARAM_SHARING_RING_PFN,
  HVM_PARAM_STORE_PFN,
  HVM_SAVE_CODES,
  HVMOP_set_param,
  hvm_hw_cpu,
  hvm_save_descriptor,
  hvm_save_header,
  XEN_DOMCTL_CDF_hap,
  XEN_DOMCTL_CDF_hvm,
  XEN_DOMCTL_CDF_oos_off,
  XEN_DOMCTL_CDF_s3_integrity,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_sethvmcontext,
  XEN_EINVAL,
  XEN_EOPNOTSUPP,
  XENMAPSPACE_grant_table,
  XENMEM_add_to_physmap,
  XENMEM_remove_from_physmap,
  xen_add_to_physmap,
  xen_domctl_createdomain,
  xen_domctl_hvmcontext,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_hvm_param,
  xen_remove_from_physmap,
} from '@ringworld/abi';
import { DOM0_ABI, HypercallError } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import type { DomainLimits } from './domain-builder.ts';
import { DomainBuildError } from './errors.ts';
import { PAGE_SIZE } from './virtual.ts';

/** Pages that every HVM-like domain has below the end of its special region (xg_dom_x86.c, SPECIALPAGE_*). */
const SPECIAL_PAGES = ['paging', 'access', 'sharing', 'bufioreq', 'xenstore', 'ioreq', 'identPt', 'console'] as const;
type SpecialPage = (typeof SPECIAL_PAGES)[number];
/** X86_HVM_END_SPECIAL_REGION. */
const SPECIAL_END = 0xff000;
export const SPECIAL_REGION = { first: SPECIAL_END - SPECIAL_PAGES.length, pages: SPECIAL_PAGES.length } as const;
export const specialGfn = (page: SpecialPage): Gfn => gfn(SPECIAL_REGION.first + SPECIAL_PAGES.indexOf(page));
/** NR_IOREQ_SERVER_PAGES, below the special ones; domains with a device model have them. */
export const IOREQ_SERVER_REGION = { first: SPECIAL_REGION.first - 8, pages: 8 } as const;
/** SCRATCH_PFN_GNTTAB: where a grant table frame is placed for a moment. */
const SCRATCH = gfn(0xffffe);

const FRAMES_4G = 0x10_0000;
const PAGES_PER_MIB = 256;
const SUPERPAGE_ORDER = 9;
const SUPERPAGE_PAGES = 1 << SUPERPAGE_ORDER;

/** RAM of a domain in frames: from 0 to lowEnd, and from 4 GiB to highEnd (equal to 4 GiB when there is none). */
export interface RamLayout {
  readonly lowEnd: number;
  readonly highEnd: number;
}
/** What does not fit below `holeStart` (bytes) lies from 4 GiB up. */
export function ramLayout(memoryMiB: number, holeStart: number): RamLayout {
  const pages = memoryMiB * PAGES_PER_MIB;
  const lowEnd = Math.min(pages, holeStart / PAGE_SIZE);
  return { lowEnd, highEnd: FRAMES_4G + (pages - lowEnd) };
}

export interface HvmKind {
  readonly type: 'pvh' | 'hvm';
  /** Hardware-assisted paging; null: where the machine has it. */
  readonly hap: boolean | null;
  readonly outOfSync: boolean;
  /** XEN_X86_EMU_*. */
  readonly emulationFlags: number;
}

const MAX_GRANT_FRAMES = 64;
const MAX_MAPTRACK_FRAMES = 1024;
const MAX_EVENT_CHANNELS = 1023;
const MAX_GRANT_VERSION = 2;
const MAXMEM_SLACK_KIB = 1024;

/** XEN_DOMCTL_createdomain. Throws HypercallError: -EOPNOTSUPP when the processor has no virtualization extension, or not the paging asked for. */
export function createHvmDomain(privcmd: Privcmd, spec: DomainLimits, kind: HvmKind): Domid {
  const attempt = (hap: boolean): Domid =>
    privcmd.domctlWith(XEN_DOMCTL_createdomain, domid(0), xen_domctl_createdomain, {
      handle: spec.uuid,
      flags:
        XEN_DOMCTL_CDF_hvm |
        (kind.type === 'hvm' ? XEN_DOMCTL_CDF_s3_integrity : 0) |
        (hap ? XEN_DOMCTL_CDF_hap : 0) |
        (kind.outOfSync ? 0 : XEN_DOMCTL_CDF_oos_off),
      max_vcpus: spec.vcpus,
      max_evtchn_port: spec.maxEventChannels ?? MAX_EVENT_CHANNELS,
      max_grant_frames: spec.maxGrantFrames ?? MAX_GRANT_FRAMES,
      max_maptrack_frames: spec.maxMaptrackFrames ?? MAX_MAPTRACK_FRAMES,
      grant_opts: MAX_GRANT_VERSION,
      arch: { emulation_flags: kind.emulationFlags, misc_flags: 0 },
    }).domain;
  if (kind.hap !== null) return attempt(kind.hap);
  try {
    return attempt(true);
  } catch (e) {
    if (e instanceof HypercallError && (e.errno === XEN_EOPNOTSUPP || e.errno === XEN_EINVAL)) return attempt(false);
    throw e;
  }
}

/** vCPUs and the most memory: special pages count. */
export function setHvmLimits(privcmd: Privcmd, dom: Domid, spec: DomainLimits): void {
  const maxMiB = Math.max(spec.maxMemoryMiB ?? spec.memoryMiB, spec.memoryMiB);
  privcmd.domctlWith(XEN_DOMCTL_max_vcpus, dom, xen_domctl_max_vcpus, { max: spec.vcpus });
  privcmd.domctlWith(XEN_DOMCTL_max_mem, dom, xen_domctl_max_mem, { max_memkb: maxMiB * 1024 + MAXMEM_SLACK_KIB });
}

export function setHvmParam(privcmd: Privcmd, dom: Domid, index: number, value: number | bigint): void {
  privcmd.xen.op(__HYPERVISOR_hvm_op, HVMOP_set_param, xen_hvm_param, { domid: dom, index, value: BigInt(value) });
}

/** Gives the domain `pages` frames from `first` on, in 2 MiB extents where they are aligned. Throws DomainBuildError when memory is out. */
export function populateRange(privcmd: Privcmd, dom: Domid, first: number, pages: number): void {
  const end = first + pages;
  const from = Math.min(Math.ceil(first / SUPERPAGE_PAGES) * SUPERPAGE_PAGES, end);
  const large = Math.floor((end - from) / SUPERPAGE_PAGES);
  const extents = Array.from({ length: large }, (_, i) => from + i * SUPERPAGE_PAGES);
  const got = large === 0 ? 0 : privcmd.populatePhysmap(dom, extents, SUPERPAGE_ORDER).length;
  const rest = [...numbers(first, from), ...numbers(from + got * SUPERPAGE_PAGES, end)];
  if (rest.length > 0 && privcmd.populatePhysmap(dom, rest, 0).length < rest.length)
    throw new DomainBuildError('memory', `the machine has not the ${Math.ceil(pages / PAGES_PER_MIB)} MiB free that are asked for`);
}
export function populateRam(privcmd: Privcmd, dom: Domid, ram: RamLayout): void {
  populateRange(privcmd, dom, 0, ram.lowEnd);
  if (ram.highEnd > FRAMES_4G) populateRange(privcmd, dom, FRAMES_4G, ram.highEnd - FRAMES_4G);
}

/** Writes bytes at a guest-physical address that has RAM. */
export function writeGuest(privcmd: Privcmd, dom: Domid, at: number, bytes: Uint8Array): void {
  const WINDOW = 2048;
  for (let done = 0; done < bytes.length; ) {
    const offset = (at + done) % PAGE_SIZE;
    const first = (at + done - offset) / PAGE_SIZE;
    const length = Math.min(bytes.length - done, WINDOW * PAGE_SIZE - offset);
    const window = privcmd.mapForeign(dom, numbers(first, first + Math.ceil((offset + length) / PAGE_SIZE)));
    window.write(offset, bytes.subarray(done, done + length));
    window.unmap();
    done += length;
  }
}

/** PDE of a 4 MiB page: present, writable, user, accessed, dirty. */
const IDENT_PDE = 0xe7;

/** Special pages, told to the hypervisor by parameter; with a device model, pages for its requests too. All of them zero. */
export function placeSpecialPages(privcmd: Privcmd, dom: Domid, hasDeviceModel: boolean): void {
  populateRange(privcmd, dom, SPECIAL_REGION.first, SPECIAL_REGION.pages);
  const params: [number, SpecialPage][] = [
    [HVM_PARAM_STORE_PFN, 'xenstore'],
    [HVM_PARAM_BUFIOREQ_PFN, 'bufioreq'],
    [HVM_PARAM_IOREQ_PFN, 'ioreq'],
    [HVM_PARAM_CONSOLE_PFN, 'console'],
    [HVM_PARAM_PAGING_RING_PFN, 'paging'],
    [HVM_PARAM_MONITOR_RING_PFN, 'access'],
    [HVM_PARAM_SHARING_RING_PFN, 'sharing'],
  ];
  for (const [index, page] of params) setHvmParam(privcmd, dom, index, specialGfn(page));
  if (hasDeviceModel) {
    populateRange(privcmd, dom, IOREQ_SERVER_REGION.first, IOREQ_SERVER_REGION.pages);
    setHvmParam(privcmd, dom, HVM_PARAM_IOREQ_SERVER_PFN, IOREQ_SERVER_REGION.first);
    setHvmParam(privcmd, dom, HVM_PARAM_NR_IOREQ_SERVER_PAGES, IOREQ_SERVER_REGION.pages);
  }
  // VT-x without unrestricted guest runs a guest that has paging off with this one: 4 GiB, one to one.
  const table = Uint32Array.from({ length: PAGE_SIZE / 4 }, (_, i) => ((i << 22) | IDENT_PDE) >>> 0);
  writeGuest(privcmd, dom, specialGfn('identPt') * PAGE_SIZE, new Uint8Array(table.buffer));
  setHvmParam(privcmd, dom, HVM_PARAM_IDENT_PT, specialGfn('identPt') * PAGE_SIZE);
}

export interface HvmGrants {
  readonly console: Domid;
  readonly store: Domid;
}
/** Grants the rings of console and store to who serves them (xc_dom_gnttab_hvm_seed): the table's first frame is placed for a moment. */
export function seedHvmGrants(privcmd: Privcmd, dom: Domid, backends: HvmGrants): void {
  privcmd.xen.op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, xen_add_to_physmap, {
    domid: dom,
    space: XENMAPSPACE_grant_table,
    gpfn: SCRATCH,
  });
  const table = privcmd.mapForeign(dom, [SCRATCH]);
  const put = (ref: number, frame: Gfn, backend: Domid): void => {
    const entry = { flags: GTF_permit_access, domid: backend, frame };
    table.write(ref * grant_entry_v1.size(DOM0_ABI), grant_entry_v1.encode(DOM0_ABI, entry));
  };
  put(GNTTAB_RESERVED_CONSOLE, specialGfn('console'), backends.console);
  put(GNTTAB_RESERVED_XENSTORE, specialGfn('xenstore'), backends.store);
  table.unmap();
  privcmd.xen.op(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, xen_remove_from_physmap, { domid: dom, gpfn: SCRATCH });
}

type Registers = NonNullable<Parameters<typeof hvm_hw_cpu.encode>[1]>;

/** Access rights: 32-bit code and data, present, accessed, 4 GiB; a busy 32-bit TSS. */
const CODE32 = 0xc9b;
const DATA32 = 0xc93;
const TSS32 = 0x8b;
const FLAT_LIMIT = 0xffff_ffff;
const TSS_LIMIT = 0x67;
const CR0_PE = 1n;
const CR0_ET = 1n << 4n;

/** Flat protected mode without paging at `entry`, as vcpu_hvm() sets it. `ebx`: guest-physical address of hvm_start_info. */
export const flatRegisters = (entry: number, ebx: number): Registers => ({
  cr0: CR0_PE | CR0_ET,
  rip: BigInt(entry),
  rbx: BigInt(ebx),
  rflags: 2n,
  cs_limit: FLAT_LIMIT,
  cs_arbytes: CODE32,
  ...{ ds_limit: FLAT_LIMIT, es_limit: FLAT_LIMIT, ss_limit: FLAT_LIMIT },
  ...{ ds_arbytes: DATA32, es_arbytes: DATA32, ss_arbytes: DATA32 },
  tr_limit: TSS_LIMIT,
  tr_arbytes: TSS32,
  dr6: 0xffff_0ff0n,
  dr7: 0x400n,
});

/** XEN_DOMCTL_sethvmcontext with a record of vCPU 0, which is up thereafter. What `registers` leaves out is zero. */
export function setBootRegisters(privcmd: Privcmd, dom: Domid, registers: Registers): void {
  const record = (typecode: number, payload: Uint8Array): Uint8Array[] => [
    hvm_save_descriptor.encode(DOM0_ABI, { typecode, instance: 0, length: payload.length }),
    payload,
  ];
  const parts = [
    ...record(HVM_SAVE_CODES.HEADER, hvm_save_header.encode(DOM0_ABI, { magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION })),
    ...record(HVM_SAVE_CODES.CPU, hvm_hw_cpu.encode(DOM0_ABI, registers)),
    ...record(HVM_SAVE_CODES.END, new Uint8Array(0)),
  ];
  const context = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    context.set(p, at);
    at += p.length;
  }
  privcmd.xen.memory.withArguments((args) => {
    privcmd.domctlWith(XEN_DOMCTL_sethvmcontext, dom, xen_domctl_hvmcontext, {
      size: context.length,
      buffer: guestHandle(args.put(context)),
    });
  });
}

const numbers = (from: number, to: number): number[] => Array.from({ length: Math.max(to - from, 0) }, (_, i) => from + i);
