// Multiboot, version 1 (Multiboot Specification 0.6.96): finds the header, places the image and its modules, and leaves the information
// structure at EBX.
import {
  type BareFile,
  type BareLoad,
  type BarePlatform,
  cString,
  E820,
  FLAT_CODE,
  FLAT_DATA,
  flatGdt,
  LOW_MEMORY,
  Placement,
} from './bare-image.ts';
import { type Image, placeElf } from './bare-multiboot-image.ts';
import { isElf } from './elf.ts';

const HEADER_MAGIC = 0x1bad_b002;
const LOADER_MAGIC = 0x2bad_b002;
/** The header lies within the first 8192 bytes, on a boundary of 4 (3.1). */
const SEARCH = 8192;

/** Bits of the header's flags (3.1.2). Of bits 0 to 15 a loader must know all that are set. */
const WANTS = { pageAligned: 1, memory: 2, video: 4, addresses: 1 << 16 } as const;
const MUST_KNOW = 0xffff;
const KNOWN = WANTS.pageAligned | WANTS.memory | WANTS.video;

/** Bits of the information's flags, and its fields (3.3). */
const HAS = { memory: 1, cmdline: 4, modules: 8, memoryMap: 0x40, loaderName: 0x200, framebuffer: 0x1000 } as const;
const INFO = {
  flags: 0,
  memLower: 4,
  memUpper: 8,
  cmdline: 16,
  modsCount: 20,
  modsAddr: 24,
  mmapLength: 44,
  mmapAddr: 48,
  loaderName: 64,
  framebufferAddr: 88,
  framebufferPitch: 96,
  framebufferWidth: 100,
  framebufferHeight: 104,
  framebufferBpp: 108,
  framebufferType: 109,
  size: 116,
} as const;
/** Framebuffer type: EGA text. */
const TEXT = 2;
const TEXT_AT = 0xb8000;

const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);

export interface Module extends BareFile {
  readonly cmdline: string;
}
export interface MultibootFiles {
  readonly kernel: BareFile;
  readonly modules: readonly Module[];
  /** As GRUB passes it: arguments only. */
  readonly cmdline: string;
}

/** Offset of the header, or undefined. */
export function findMultiboot1(bytes: Uint8Array): number | undefined {
  const view = viewOf(bytes);
  for (let at = 0; at + 12 <= Math.min(bytes.length, SEARCH); at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    if ((HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true)) >>> 0 === 0) return at;
  }
  return undefined;
}

/** Throws DomainBuildError. */
export function loadMultiboot1(platform: BarePlatform, files: MultibootFiles): BareLoad {
  const { file, bytes } = files.kernel;
  const place = new Placement(platform, file);
  const header = findMultiboot1(bytes) ?? place.fail('has no multiboot header in its first 8192 bytes');
  const view = viewOf(bytes);
  const flags = view.getUint32(header + 4, true);
  const unknown = flags & MUST_KNOW & ~KNOWN;
  if (unknown) place.fail(`its multiboot header asks for features that are not known: flags 0x${unknown.toString(16)}`);
  const image = flags & WANTS.addresses ? placeByAddresses(place, bytes, header) : undefined;
  if (!image && !isElf(bytes)) place.fail('is neither an ELF nor says in its multiboot header where it is to be loaded');
  const { ip } = image ?? placeElf(place, files.kernel, 'executable');

  const low = (what: string, data: Uint8Array, align = 16) => place.low(what, data, LOW_MEMORY.start, LOW_MEMORY.end, align);
  // Modules lie above 1 MiB: a kernel uses low memory before it looks.
  const mods = new Uint8Array(files.modules.length * 16);
  files.modules.forEach((m, i) => {
    const at = place.low(`module ${m.file}`, m.bytes, 0x10_0000, 0x1_0000_0000, flags & WANTS.pageAligned ? 4096 : 16);
    const entry = viewOf(mods);
    entry.setUint32(i * 16, at, true);
    entry.setUint32(i * 16 + 4, at + m.bytes.length, true);
    entry.setUint32(i * 16 + 8, low('a module command line', cString(m.cmdline)), true);
  });
  const map = memoryMap(platform);
  const info = new Uint8Array(INFO.size);
  const put = (field: number, value: number) => viewOf(info).setUint32(field, value, true);
  put(INFO.flags, HAS.memory | HAS.cmdline | HAS.modules | HAS.memoryMap | HAS.loaderName | (platform.vga ? HAS.framebuffer : 0));
  put(INFO.memLower, memoryBelow1M(platform));
  put(INFO.memUpper, memoryAbove1M(platform));
  put(INFO.cmdline, low('the command line', cString(files.cmdline)));
  put(INFO.modsCount, files.modules.length);
  put(INFO.modsAddr, mods.length > 0 ? low('the module list', mods) : 0);
  put(INFO.mmapLength, map.length);
  put(INFO.mmapAddr, low('the memory map', map));
  put(INFO.loaderName, low('the loader name', cString('ringworld')));
  if (platform.vga) {
    put(INFO.framebufferAddr, TEXT_AT);
    put(INFO.framebufferPitch, 160);
    put(INFO.framebufferWidth, 80);
    put(INFO.framebufferHeight, 25);
    info[INFO.framebufferBpp] = 16;
    info[INFO.framebufferType] = TEXT;
  }
  const gdt = flatGdt(false);
  return {
    protocol: 'multiboot1',
    entry: {
      mode: 'protected32',
      ip,
      eax: LOADER_MAGIC,
      ebx: low('the multiboot information', info),
      codeSelector: FLAT_CODE,
      dataSelector: FLAT_DATA,
      gdt: { base: low('the GDT', gdt), limit: gdt.length - 1 },
    },
    segments: place.segments,
  };
}

/** The address fields of the header (3.1.3). */
function placeByAddresses(place: Placement, bytes: Uint8Array, header: number): Image {
  const view = viewOf(bytes);
  if (header + 32 > bytes.length) place.fail('its multiboot header is cut short');
  const [headerAddr, loadAddr, loadEnd, bssEnd, ip] = [12, 16, 20, 24, 28].map((o) => view.getUint32(header + o, true)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return placeFlat(place, bytes, { header, headerAddr, loadAddr, loadEnd, bssEnd, ip });
}

/** An image that says itself where it goes; version 2 has the same fields. */
export interface FlatFields {
  /** Offset of the header in the file, and the address that it is to have. */
  readonly header: number;
  readonly headerAddr: number;
  readonly loadAddr: number;
  /** Zero: all of the file, no bss. */
  readonly loadEnd: number;
  readonly bssEnd: number;
  readonly ip: number;
}
export function placeFlat(place: Placement, bytes: Uint8Array, f: FlatFields): Image {
  const from = f.loadAddr === 0xffff_ffff ? 0 : f.header - (f.headerAddr - f.loadAddr);
  const loadAddr = f.loadAddr === 0xffff_ffff ? f.headerAddr - f.header : f.loadAddr;
  if (f.headerAddr < loadAddr || from < 0) place.fail('its multiboot header lies below its own load address');
  const length = f.loadEnd === 0 ? bytes.length - from : f.loadEnd - loadAddr;
  if (length <= 0 || from + length > bytes.length) place.fail('its multiboot header names more bytes than the file has');
  const size = f.bssEnd === 0 ? length : f.bssEnd - loadAddr;
  if (size < length) place.fail('its multiboot header ends the bss before the data');
  place.put('the image', loadAddr, bytes.subarray(from, from + length), size);
  return { ip: f.ip, end: loadAddr + size };
}

/** KiB of RAM from 0, at most 640. */
export const memoryBelow1M = (p: BarePlatform): number => {
  const first = p.memory.find((m) => m.base === 0 && m.type === E820.ram);
  return Math.min(640, Math.floor((first?.size ?? 0) / 1024));
};
/** KiB of RAM from 1 MiB to the first hole. */
export const memoryAbove1M = (p: BarePlatform): number => {
  const r = p.memory.find((m) => m.type === E820.ram && m.base <= 0x10_0000 && m.base + m.size > 0x10_0000);
  return r ? Math.floor((r.base + r.size - 0x10_0000) / 1024) : 0;
};

/** Entries of 20 bytes, each after its own size (3.3). */
function memoryMap(platform: BarePlatform): Uint8Array {
  const map = new Uint8Array(platform.memory.length * 24);
  const view = viewOf(map);
  platform.memory.forEach((m, i) => {
    view.setUint32(i * 24, 20, true);
    view.setBigUint64(i * 24 + 4, BigInt(m.base), true);
    view.setBigUint64(i * 24 + 12, BigInt(m.size), true);
    view.setUint32(i * 24 + 20, m.type, true);
  });
  return map;
}
