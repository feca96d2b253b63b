// A kernel with a PVH entry (XEN_ELFNOTE_PHYS32_ENTRY): an ELF, loaded at its physical addresses and entered in 32-bit protected mode with
// hvm_start_info at EBX (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h). QEMU's -kernel starts such kernels the same way.
import { hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info, XEN_HVM_START_MAGIC_VALUE } from '@ringworld/abi';
import { type BareLoad, type BarePlatform, cString, FLAT_CODE, FLAT_DATA, flatGdt, LOW_MEMORY, Placement } from './bare-image.ts';
import type { LinuxFiles } from './bare-linux.ts';
import { type ElfImage, PT_LOAD, PT_NOTE, parseNotes, SHT_NOTE } from './elf.ts';
import { XEN_ELFNOTE } from './elfnote-numbers.ts';

const joined = (parts: readonly Uint8Array[]): Uint8Array => {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
};

/** Physical address of the PVH entry, or undefined. */
export function pvhEntry(elf: ElfImage): number | undefined {
  const data = [
    ...elf.segments.filter((s) => s.type === PT_NOTE).map((s) => s.data),
    ...elf.sections.filter((s) => s.type === SHT_NOTE).map((s) => s.data),
  ];
  const note = data.flatMap(parseNotes).find((n) => n.name === 'Xen' && n.type === XEN_ELFNOTE.PHYS32_ENTRY);
  if (!note || note.desc.length < 4) return undefined;
  return new DataView(note.desc.buffer, note.desc.byteOffset).getUint32(0, true);
}

/** Throws DomainBuildError. */
export function loadPvh(platform: BarePlatform, elf: ElfImage, files: LinuxFiles): BareLoad {
  const place = new Placement(platform, elf.file);
  const ip = pvhEntry(elf) ?? place.fail('has no PVH entry (the ELF note XEN_ELFNOTE_PHYS32_ENTRY)');
  const loads = elf.segments.filter((s) => s.type === PT_LOAD && s.memsz > 0);
  if (loads.length === 0) place.fail('has nothing to load');
  loads.forEach((s, i) => {
    place.put(`segment ${i}`, s.paddr, s.data, s.memsz);
  });
  if (!loads.some((s) => ip >= s.paddr && ip < s.paddr + s.memsz)) place.fail(`its PVH entry 0x${ip.toString(16)} lies in no segment`);

  const low = (what: string, bytes: Uint8Array, align = 16) => place.low(what, bytes, LOW_MEMORY.start, LOW_MEMORY.end, align);
  const memmap = joined(platform.memory.map((m) => hvm_memmap_table_entry.encode('x86_64', { addr: m.base, size: m.size, type: m.type })));
  const modules = files.ramdisk
    ? [{ paddr: place.high('the ramdisk', files.ramdisk.bytes, 0x1_0000_0000, 4096), size: files.ramdisk.bytes.length }]
    : [];
  const modlist = joined(modules.map((m) => hvm_modlist_entry.encode('x86_64', m)));
  const info = hvm_start_info.encode('x86_64', {
    magic: XEN_HVM_START_MAGIC_VALUE,
    version: 1,
    nr_modules: modules.length,
    modlist_paddr: modules.length > 0 ? low('the module list', modlist) : 0,
    cmdline_paddr: low('the command line', cString(files.cmdline)),
    rsdp_paddr: platform.rsdp?.address ?? 0,
    memmap_paddr: low('the memory map', memmap),
    memmap_entries: platform.memory.length,
  });
  const gdt = flatGdt(false);
  const gdtAt = low('the GDT', gdt);
  return {
    protocol: 'pvh',
    entry: {
      mode: 'protected32',
      ip,
      ebx: low('hvm_start_info', info),
      codeSelector: FLAT_CODE,
      dataSelector: FLAT_DATA,
      gdt: { base: gdtAt, limit: gdt.length - 1 },
    },
    segments: place.segments,
  };
}
