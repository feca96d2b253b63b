// An ELF under multiboot, either version: placed at its physical addresses, its entry translated the same way.
import type { BareFile, Placement } from './bare-image.ts';
import { EM_386, EM_X86_64, PT_LOAD, parseElf } from './elf.ts';

export interface Image {
  readonly ip: number;
  /** Where it ends in memory. */
  readonly end: number;
}

/** Throws DomainBuildError. GRUB takes 64-bit ELFs as well, and enters them in 32-bit mode: so does this. */
export function placeElf(place: Placement, kernel: BareFile, what: string): Image {
  const elf = parseElf(kernel.file, kernel.bytes);
  if (elf.machine !== EM_386 && elf.machine !== EM_X86_64) place.fail(`is an ${what} for another processor (ELF machine ${elf.machine})`);
  const loads = elf.segments.filter((s) => s.type === PT_LOAD && s.memsz > 0);
  if (loads.length === 0) place.fail('has nothing to load');
  loads.forEach((s, i) => {
    place.put(`segment ${i}`, s.paddr, s.data, s.memsz);
  });
  // The entry is a virtual address; loaders take it to the segment's physical one.
  const home = loads.find((s) => elf.entry >= s.vaddr && elf.entry < s.vaddr + s.memsz);
  const ip = home ? elf.entry - home.vaddr + home.paddr : elf.entry;
  if (ip < 0 || ip > 0xffff_ffff) place.fail(`its entry 0x${ip.toString(16)} is not below 4 GiB`);
  return { ip, end: Math.max(...loads.map((s) => s.paddr + s.memsz)) };
}
