// Builds a PVH domain that is ready to run: an ELF kernel at its physical addresses, entered at its XEN_ELFNOTE_PHYS32_ENTRY with
// hvm_start_info at EBX (Xen's docs/misc/pvh.pandoc; libxl_dom.c, libxl__build_hvm; xg_dom_elfloader.c and xg_dom_x86.c of 4.17).
//
// Memory: RAM from 0, kernel where it was linked, behind it the ramdisk, then start info with module list, command line and memory map.
// ACPI tables lie at 0xfc000000, special pages below 0xff000000, RAM that has no room below 0xf0000000 from 4 GiB up.
import {
  type Domid,
  type EvtchnPort,
  type Gfn,
  HVM_BELOW_4G_MMIO_START,
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_STORE_EVTCHN,
  hvm_memmap_table_entry,
  hvm_modlist_entry,
  hvm_start_info,
  mfn,
  XEN_DOMCTL_destroydomain,
  XEN_EOPNOTSUPP,
  XEN_HVM_MEMMAP_TYPE_ACPI,
  XEN_HVM_MEMMAP_TYPE_RAM,
  XEN_HVM_MEMMAP_TYPE_RESERVED,
  XEN_HVM_START_MAGIC_VALUE,
  XEN_X86_EMU_LAPIC,
} from '@ringworld/abi';
import { DOM0_ABI, HypercallError } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import { pvhEntry } from './bare-pvh.ts';
import { extractBzImage, isBzImage, unpack } from './bzimage.ts';
import type { Decompressors } from './decompress/index.ts';
import { allocChannel, type NamedBytes, type PvDomainSpec } from './domain-builder.ts';
import { type ElfImage, isElf, PT_LOAD, parseElf } from './elf.ts';
import { DomainBuildError } from './errors.ts';
import {
  createHvmDomain,
  flatRegisters,
  placeSpecialPages,
  populateRam,
  populateRange,
  type RamLayout,
  ramLayout,
  SPECIAL_REGION,
  seedHvmGrants,
  setBootRegisters,
  setHvmLimits,
  setHvmParam,
  specialGfn,
  writeGuest,
} from './hvm-domain.ts';
import { pvhAcpi } from './pvh-acpi.ts';
import { PAGE_SIZE } from './virtual.ts';

export interface PvhDomainSpec extends PvDomainSpec {
  /** null: hardware-assisted paging where the machine has it. */
  readonly hap: boolean | null;
  readonly outOfSync: boolean;
  readonly acpi: boolean;
  /** vCPUs that are there at start. */
  readonly online: number;
}

export interface BuiltPvhDomain {
  readonly domid: Domid;
  readonly console: { readonly mfn: ReturnType<typeof mfn>; readonly port: EvtchnPort };
  readonly store: { readonly mfn: ReturnType<typeof mfn>; readonly port: EvtchnPort };
  readonly layout: PvhLayout;
}

interface Piece {
  /** Guest-physical address. */
  readonly at: number;
  readonly bytes: Uint8Array;
}
export interface MemoryRange {
  readonly addr: number;
  readonly size: number;
  /** XEN_HVM_MEMMAP_TYPE_*, which are e820's. */
  readonly type: number;
}
export interface PvhLayout {
  readonly ram: RamLayout;
  readonly entry: number;
  readonly startInfo: number;
  readonly memoryMap: readonly MemoryRange[];
  readonly pieces: readonly Piece[];
  /** Pages of ACPI tables, which lie outside RAM. */
  readonly acpi: { readonly first: Gfn; readonly pages: number } | null;
}

/** ACPI_INFO_PHYSICAL_ADDRESS of libacpi. */
const ACPI_AT = 0xfc00_0000;
const GIB4 = 2 ** 32;
const START_INFO_VERSION = 1;

const pageUp = (n: number): number => Math.ceil(n / PAGE_SIZE) * PAGE_SIZE;

/** The kernel's ELF, out of whatever it is packed in, and its PVH entry. Throws DomainBuildError. */
export function loadPvhKernel({ file, bytes }: NamedBytes, decompressors: Decompressors): { elf: ElfImage; entry: number } {
  if (bytes.length === 0) throw new DomainBuildError(file, 'the kernel file is empty');
  const plain = isBzImage(bytes) ? bytes : unpack(file, bytes, 0, decompressors);
  const kernel = isBzImage(plain) ? extractBzImage(file, plain, decompressors) : plain;
  if (!isElf(kernel)) throw new DomainBuildError(file, 'not a kernel: neither an ELF image nor a Linux bzImage');
  const elf = parseElf(file, kernel);
  const entry = pvhEntry(elf);
  if (entry === undefined)
    throw new DomainBuildError(file, 'has no PVH entry (the ELF note XEN_ELFNOTE_PHYS32_ENTRY): try type="pv" or "hvm"');
  return { elf, entry };
}

/** Where everything goes. Throws DomainBuildError where it does not fit. */
export function layOutPvh(kernel: { elf: ElfImage; entry: number }, spec: Omit<PvhDomainSpec, 'kernel'>): PvhLayout {
  const { elf, entry } = kernel;
  const fail = (reason: string): never => {
    throw new DomainBuildError(elf.file, reason);
  };
  const ram = ramLayout(spec.memoryMiB, HVM_BELOW_4G_MMIO_START);
  const lowEnd = ram.lowEnd * PAGE_SIZE;
  const pieces: Piece[] = [];
  let end = 0;
  for (const s of elf.segments.filter((seg) => seg.type === PT_LOAD && seg.memsz > 0)) {
    if (s.paddr + s.memsz > lowEnd)
      fail(`needs memory up to ${Math.ceil((s.paddr + s.memsz) / 2 ** 20)} MiB, and the domain has ${spec.memoryMiB}`);
    pieces.push({ at: s.paddr, bytes: s.data });
    end = Math.max(end, s.paddr + s.memsz);
  }
  if (end === 0) fail('has nothing to load');
  if (entry >= end) fail(`its PVH entry 0x${entry.toString(16)} lies outside of it`);
  const place = (bytes: Uint8Array, what: string): number => {
    const at = pageUp(end);
    end = at + bytes.length;
    if (end > lowEnd) fail(`${spec.memoryMiB} MiB of memory have no room for ${what}`);
    pieces.push({ at, bytes });
    return at;
  };

  const modules = spec.ramdisk === undefined ? [] : [{ paddr: place(spec.ramdisk.bytes, 'the ramdisk'), size: spec.ramdisk.bytes.length }];
  const acpi = spec.acpi ? pvhAcpi(ACPI_AT, spec.vcpus, spec.online) : null;
  const memoryMap: MemoryRange[] = [
    { addr: 0, size: lowEnd, type: XEN_HVM_MEMMAP_TYPE_RAM },
    ...(acpi === null ? [] : [{ addr: ACPI_AT, size: pageUp(acpi.bytes.length), type: XEN_HVM_MEMMAP_TYPE_ACPI }]),
    { addr: SPECIAL_REGION.first * PAGE_SIZE, size: SPECIAL_REGION.pages * PAGE_SIZE, type: XEN_HVM_MEMMAP_TYPE_RESERVED },
    ...(ram.highEnd * PAGE_SIZE > GIB4 ? [{ addr: GIB4, size: ram.highEnd * PAGE_SIZE - GIB4, type: XEN_HVM_MEMMAP_TYPE_RAM }] : []),
  ];
  const startInfo = startInfoBlock(pageUp(end), { modules, cmdline: spec.cmdline, memoryMap, rsdp: acpi?.rsdp ?? 0 });
  if (acpi !== null) pieces.push({ at: acpi.at, bytes: acpi.bytes });
  const startInfoAt = place(startInfo, 'its start information');
  return {
    ram,
    entry,
    startInfo: startInfoAt,
    memoryMap,
    pieces,
    acpi: acpi === null ? null : { first: (ACPI_AT / PAGE_SIZE) as Gfn, pages: pageUp(acpi.bytes.length) / PAGE_SIZE },
  };
}

interface StartInfo {
  readonly modules: readonly { readonly paddr: number; readonly size: number }[];
  readonly cmdline: string;
  readonly memoryMap: readonly MemoryRange[];
  readonly rsdp: number;
}
/** hvm_start_info at `at`, and behind it what it points at. */
function startInfoBlock(at: number, { modules, cmdline, memoryMap, rsdp }: StartInfo): Uint8Array {
  const modlist = modules.map((m) => hvm_modlist_entry.encode(DOM0_ABI, m));
  const memmap = memoryMap.map((m) => hvm_memmap_table_entry.encode(DOM0_ABI, m));
  const text = new Uint8Array([...new TextEncoder().encode(cmdline), 0]);
  const modlistAt = hvm_start_info.size(DOM0_ABI);
  const memmapAt = modlistAt + modlist.length * hvm_modlist_entry.size(DOM0_ABI);
  const cmdlineAt = memmapAt + memmap.length * hvm_memmap_table_entry.size(DOM0_ABI);
  const block = new Uint8Array(cmdlineAt + text.length);
  block.set(
    hvm_start_info.encode(DOM0_ABI, {
      magic: XEN_HVM_START_MAGIC_VALUE,
      version: START_INFO_VERSION,
      nr_modules: modules.length,
      modlist_paddr: modules.length > 0 ? at + modlistAt : 0,
      cmdline_paddr: at + cmdlineAt,
      rsdp_paddr: rsdp,
      memmap_paddr: at + memmapAt,
      memmap_entries: memoryMap.length,
    }),
  );
  modlist.forEach((bytes, i) => {
    block.set(bytes, modlistAt + i * bytes.length);
  });
  memmap.forEach((bytes, i) => {
    block.set(bytes, memmapAt + i * bytes.length);
  });
  block.set(text, cmdlineAt);
  return block;
}

/** Throws DomainBuildError; a domain that was begun is then destroyed again. It is left paused. */
export function buildPvhDomain(privcmd: Privcmd, spec: PvhDomainSpec, decompressors: Decompressors): BuiltPvhDomain {
  const layout = layOutPvh(loadPvhKernel(spec.kernel, decompressors), spec);
  const attempt = <T>(what: string, step: () => T): T => {
    try {
      return step();
    } catch (e) {
      if (!(e instanceof HypercallError)) throw e;
      if (e.errno === XEN_EOPNOTSUPP)
        throw new DomainBuildError(spec.kernel.file, `${what}: the processor does not have the hardware virtualization asked for`, {
          cause: e,
        });
      throw new DomainBuildError(spec.kernel.file, `${what}: ${e.message}`, { cause: e });
    }
  };
  const kind = { type: 'pvh', hap: spec.hap, outOfSync: spec.outOfSync, emulationFlags: XEN_X86_EMU_LAPIC } as const;
  const dom = attempt('the domain could not be created', () => createHvmDomain(privcmd, spec, kind));
  try {
    return attempt('the domain could not be built', () => fill(privcmd, dom, spec, layout));
  } catch (e) {
    privcmd.domctl(XEN_DOMCTL_destroydomain, dom);
    throw e;
  }
}

function fill(privcmd: Privcmd, dom: Domid, spec: PvhDomainSpec, layout: PvhLayout): BuiltPvhDomain {
  setHvmLimits(privcmd, dom, spec);
  privcmd.setMemoryMap(dom, layout.memoryMap);
  const store = allocChannel(privcmd, dom, spec.storeDomid);
  const console = allocChannel(privcmd, dom, spec.consoleDomid);
  populateRam(privcmd, dom, layout.ram);
  placeSpecialPages(privcmd, dom, false);
  setHvmParam(privcmd, dom, HVM_PARAM_STORE_EVTCHN, store);
  setHvmParam(privcmd, dom, HVM_PARAM_CONSOLE_EVTCHN, console);
  if (layout.acpi !== null) populateRange(privcmd, dom, layout.acpi.first, layout.acpi.pages);
  for (const { at, bytes } of layout.pieces) writeGuest(privcmd, dom, at, bytes);
  seedHvmGrants(privcmd, dom, { console: spec.consoleDomid ?? (0 as Domid), store: spec.storeDomid ?? (0 as Domid) });
  setBootRegisters(privcmd, dom, flatRegisters(layout.entry, layout.startInfo));
  return {
    domid: dom,
    layout,
    console: { mfn: mfn(specialGfn('console')), port: console },
    store: { mfn: mfn(specialGfn('xenstore')), port: store },
  };
}
