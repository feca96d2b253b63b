// A PV domain's memory and registers as a file that debuggers read: an ELF without program headers, its sections as docs/misc/dump-core-format.txt
// has them, in the order of libxc's xc_domain_dumpcore_via_callback (tools/libs/ctrl/xc_core.c). The domain is only read, and need not have
// stopped; whoever takes all pieces between two slices of the machine has a core of one moment.
import {
  array,
  bytes,
  type Domid,
  struct,
  u16,
  u32,
  u64_number,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_DOMCTL_get_address_size,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMINF_hvm_guest,
  XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION,
  XEN_ELFNOTE_DUMPCORE_HEADER,
  XEN_ELFNOTE_DUMPCORE_NONE,
  XEN_ELFNOTE_DUMPCORE_XEN_VERSION,
  XEN_EXTRAVERSION_LEN,
  XENVER_capabilities,
  XENVER_changeset,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_platform_parameters,
  xen_compile_info,
  xen_domctl_address_size,
  xen_domctl_getdomaininfo,
  xen_platform_parameters,
} from '@ringworld/abi';
import { DOM0_ABI, HypercallError } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import { EM_X86_64, SHT_NOTE } from './elf.ts';
import { DomainBuildError } from './errors.ts';
import { readGuestP2m } from './guest-p2m.ts';
import { xenVersion, xenVersionOf } from './machine-info.ts';
import { contextSize } from './pv-context.ts';
import { readVcpuContext } from './save-pv.ts';
import { PAGE_SIZE } from './virtual.ts';

/** elf.h. ELFCLASS64 whatever the guest is, and the machine is the one that dumps. */
const ET_CORE = 4;
const EV_CURRENT = 1;
const SHT_PROGBITS = 1;
const SHT_STRTAB = 3;
const PHDR_SIZE = 56;

const Elf64_Ehdr = struct('Elf64_Ehdr', {
  e_ident: bytes(16),
  e_type: u16,
  e_machine: u16,
  e_version: u32,
  e_entry: u64_number,
  e_phoff: u64_number,
  e_shoff: u64_number,
  e_flags: u32,
  e_ehsize: u16,
  e_phentsize: u16,
  e_phnum: u16,
  e_shentsize: u16,
  e_shnum: u16,
  e_shstrndx: u16,
});

const Elf64_Shdr = struct('Elf64_Shdr', {
  sh_name: u32,
  sh_type: u32,
  sh_flags: u64_number,
  sh_addr: u64_number,
  sh_offset: u64_number,
  sh_size: u64_number,
  sh_link: u32,
  sh_info: u32,
  sh_addralign: u64_number,
  sh_entsize: u64_number,
});

/** tools/libs/ctrl/xc_core.h. */
export const XC_CORE_MAGIC = 0xf00febed;
const FORMAT_VERSION = { major: 0, minor: 1 };

export const elfnote = struct('elfnote', { namesz: u32, descsz: u32, type: u32, name: bytes(4) });

export const xen_dumpcore_elfnote_header_desc = struct('xen_dumpcore_elfnote_header_desc', {
  xch_magic: u64_number,
  xch_nr_vcpus: u64_number,
  xch_nr_pages: u64_number,
  xch_page_size: u64_number,
});

export const xen_dumpcore_elfnote_xen_version_desc = struct('xen_dumpcore_elfnote_xen_version_desc', {
  major_version: u64_number,
  minor_version: u64_number,
  extra_version: bytes(XEN_EXTRAVERSION_LEN),
  compile_info: bytes(xen_compile_info.size(DOM0_ABI)),
  capabilities: bytes(XEN_CAPABILITIES_INFO_LEN),
  changeset: bytes(XEN_CHANGESET_INFO_LEN),
  platform_parameters: bytes(xen_platform_parameters.size(DOM0_ABI)),
  pagesize: u64_number,
});

/** One uint64_t: the minor version in its lower half, the major one in its upper. */
export const xen_dumpcore_elfnote_format_version_desc = struct('xen_dumpcore_elfnote_format_version_desc', {
  version: array(2, u32),
});

/** XC_CORE_INVALID_PFN, XC_CORE_INVALID_GMFN (all ones): of pages that could not be read, which are zero in the file. */
export const XC_CORE_INVALID = 2 ** 64;
export const xen_dumpcore_p2m = struct('xen_dumpcore_p2m', { pfn: u64_number, gmfn: u64_number });

const PAGES = '.xen_pages';
/** Pages mapped at once. */
const BATCH = 1024;
const NONE = 0xffff_ffff;
/** vcpu_guest_context_any_t: entries have room for either width, whatever the guest's. */
const CONTEXT_SIZE = Math.max(contextSize(false), contextSize(true));

/** The file's pieces, in their order. Throws DomainBuildError and HypercallError: `subject` names the domain. */
export function* dumpCore(privcmd: Privcmd, dom: Domid, subject: string): Generator<Uint8Array, void> {
  const info = privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, dom, xen_domctl_getdomaininfo, {}).out;
  if ((info.flags & XEN_DOMINF_hvm_guest) !== 0) throw new DomainBuildError(subject, 'only cores of PV domains can be written');
  const is32bit = privcmd.domctlWith(XEN_DOMCTL_get_address_size, dom, xen_domctl_address_size, {}).out.size === 32;
  const contexts = readContexts(privcmd, dom, info.max_vcpu_id, is32bit, subject);
  const shared = readFrame(privcmd, dom, info.shared_info_frame);
  const { p2m } = readGuestP2m(privcmd, dom, shared, is32bit, subject);
  // A guest can name one frame as often as it likes: no more pages than it has.
  const pages: { readonly pfn: number; readonly gmfn: number }[] = [];
  for (let pfn = 0; pfn < p2m.length && pages.length < info.tot_pages; pfn++) if (p2m[pfn] !== NONE) pages.push({ pfn, gmfn: p2m[pfn]! });

  const notes = notesOf(privcmd, { vcpus: contexts.length / CONTEXT_SIZE, pages: pages.length, is32bit });
  const entry = xen_dumpcore_p2m.size(DOM0_ABI);
  const { head, padding, names } = framing([
    { name: '.note.Xen', type: SHT_NOTE, size: notes.length, align: 0, entry: 0 },
    { name: '.xen_prstatus', type: SHT_PROGBITS, size: contexts.length, align: 8, entry: CONTEXT_SIZE },
    { name: '.xen_shared_info', type: SHT_PROGBITS, size: shared.length, align: 8, entry: PAGE_SIZE },
    { name: PAGES, type: SHT_PROGBITS, size: pages.length * PAGE_SIZE, align: PAGE_SIZE, entry: PAGE_SIZE },
    { name: '.xen_p2m', type: SHT_PROGBITS, size: pages.length * entry, align: 8, entry },
  ]);
  yield head;
  yield notes;
  yield contexts;
  yield shared;
  yield new Uint8Array(padding);

  const read: (typeof pages)[number][] = [];
  for (let from = 0; from < pages.length; from += BATCH) yield* readPages(privcmd, dom, pages.slice(from, from + BATCH), read);
  // What could not be mapped is made up for at the end, as libxc does it.
  for (let i = read.length; i < pages.length; i++) yield new Uint8Array(PAGE_SIZE);
  const table = new Uint8Array(pages.length * entry);
  const view = new DataView(table.buffer);
  for (let i = 0; i < pages.length; i++)
    xen_dumpcore_p2m.write(view, i * entry, DOM0_ABI, read[i] ?? { pfn: XC_CORE_INVALID, gmfn: XC_CORE_INVALID });
  yield table;
  yield names;
}

/** vcpu_guest_context of every vCPU that has one. */
function readContexts(privcmd: Privcmd, dom: Domid, maxVcpuId: number, is32bit: boolean, subject: string): Uint8Array {
  const found: Uint8Array[] = [];
  for (let id = 0; id <= maxVcpuId; id++) {
    try {
      found.push(readVcpuContext(privcmd, dom, id, is32bit));
    } catch (e) {
      // Never brought up.
      if (!(e instanceof HypercallError)) throw e;
    }
  }
  if (found.length === 0) throw new DomainBuildError(subject, 'none of its vCPUs has ever run');
  const all = new Uint8Array(found.length * CONTEXT_SIZE);
  for (const [i, context] of found.entries()) all.set(context, i * CONTEXT_SIZE);
  return all;
}

function readFrame(privcmd: Privcmd, dom: Domid, frame: number): Uint8Array {
  const mapping = privcmd.mapForeign(dom, [frame]);
  const page = mapping.read(0, PAGE_SIZE);
  mapping.unmap();
  return page;
}

/** The bytes of what can be read of `pages`, which is added to `read`. */
function* readPages<P extends { readonly gmfn: number }>(
  privcmd: Privcmd,
  dom: Domid,
  pages: readonly P[],
  read: P[],
): Generator<Uint8Array, void> {
  try {
    const mapping = privcmd.mapForeign(
      dom,
      pages.map((p) => p.gmfn),
    );
    const data = mapping.read(0, pages.length * PAGE_SIZE);
    mapping.unmap();
    read.push(...pages);
    yield data;
  } catch (e) {
    if (!(e instanceof HypercallError)) throw e;
    // One of them is not the domain's: halves are tried until it is alone.
    if (pages.length === 1) return;
    const half = pages.length >> 1;
    yield* readPages(privcmd, dom, pages.slice(0, half), read);
    yield* readPages(privcmd, dom, pages.slice(half), read);
  }
}

function notesOf(privcmd: Privcmd, of: { readonly vcpus: number; readonly pages: number; readonly is32bit: boolean }): Uint8Array {
  const note = (type: number, desc: Uint8Array): Uint8Array => {
    const name = Uint8Array.from('Xen\0', (c) => c.charCodeAt(0));
    return concat([elfnote.encode(DOM0_ABI, { namesz: name.length, descsz: desc.length, type, name }), desc]);
  };
  const { major, minor } = xenVersionOf(privcmd);
  const version = xen_dumpcore_elfnote_xen_version_desc.encode(DOM0_ABI, {
    major_version: major,
    minor_version: minor,
    extra_version: xenVersion(privcmd, XENVER_extraversion, XEN_EXTRAVERSION_LEN),
    compile_info: xenVersion(privcmd, XENVER_compile_info, xen_compile_info.size(DOM0_ABI)),
    capabilities: xenVersion(privcmd, XENVER_capabilities, XEN_CAPABILITIES_INFO_LEN),
    changeset: xenVersion(privcmd, XENVER_changeset, XEN_CHANGESET_INFO_LEN),
    platform_parameters: xenVersion(privcmd, XENVER_platform_parameters, xen_platform_parameters.size(DOM0_ABI)),
    pagesize: PAGE_SIZE,
  });
  if (of.is32bit) {
    // libxc moves the page size to where a 32-bit dumper's alignment had it.
    const at = xen_dumpcore_elfnote_xen_version_desc.offset('pagesize', DOM0_ABI);
    version.copyWithin(at - 4, at);
  }
  const header = { xch_magic: XC_CORE_MAGIC, xch_nr_vcpus: of.vcpus, xch_nr_pages: of.pages, xch_page_size: PAGE_SIZE };
  const format = { version: [FORMAT_VERSION.minor, FORMAT_VERSION.major] };
  return concat([
    note(XEN_ELFNOTE_DUMPCORE_NONE, new Uint8Array(0)),
    note(XEN_ELFNOTE_DUMPCORE_HEADER, xen_dumpcore_elfnote_header_desc.encode(DOM0_ABI, header)),
    note(XEN_ELFNOTE_DUMPCORE_XEN_VERSION, version),
    note(XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, xen_dumpcore_elfnote_format_version_desc.encode(DOM0_ABI, format)),
  ]);
}

interface Section {
  readonly name: string;
  readonly type: number;
  /** In bytes, as the others. */
  readonly size: number;
  readonly align: number;
  /** Of one entry; 0 where it is no table. */
  readonly entry: number;
}

/** The ELF header and the section headers; how much room is left free before the pages; and the sections' names, which come last. */
function framing(sections: readonly Section[]): { readonly head: Uint8Array; readonly padding: number; readonly names: Uint8Array } {
  const text = ['', '.shstrtab', ...sections.map((s) => s.name), ''].join('\0');
  const names = Uint8Array.from(text, (c) => c.charCodeAt(0));
  const nameAt = (name: string): number => text.indexOf(`\0${name}\0`) + 1;
  const headSize = Elf64_Ehdr.size(DOM0_ABI);
  const headerSize = Elf64_Shdr.size(DOM0_ABI);
  // Section 0 is none.
  const count = sections.length + 2;
  let at = headSize + count * headerSize;
  let padding = 0;
  const headers = sections.map((s) => {
    if (s.name === PAGES) {
      padding = -at & (PAGE_SIZE - 1);
      at += padding;
    }
    const place = { sh_offset: at, sh_size: s.size, sh_addralign: s.align, sh_entsize: s.entry };
    at += s.size;
    return Elf64_Shdr.encode(DOM0_ABI, { sh_name: nameAt(s.name), sh_type: s.type, ...place });
  });
  const strings = { sh_name: nameAt('.shstrtab'), sh_type: SHT_STRTAB, sh_offset: at, sh_size: names.length };
  const header = Elf64_Ehdr.encode(DOM0_ABI, {
    // Magic, ELFCLASS64, ELFDATA2LSB, version, ELFOSABI_SYSV, ABI version.
    e_ident: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, EV_CURRENT, 0, EV_CURRENT),
    e_type: ET_CORE,
    e_machine: EM_X86_64,
    e_version: EV_CURRENT,
    e_shoff: headSize,
    e_ehsize: headSize,
    e_phentsize: PHDR_SIZE,
    e_shentsize: headerSize,
    e_shnum: count,
    e_shstrndx: 1,
  });
  return { head: concat([header, new Uint8Array(headerSize), Elf64_Shdr.encode(DOM0_ABI, strings), ...headers]), padding, names };
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}
