// Multiboot2 (Multiboot2 Specification 2.0): a header of tags, and an information structure of tags at EBX.
import { type BareLoad, type BarePlatform, cString, FLAT_CODE, FLAT_DATA, flatGdt, LOW_MEMORY, Placement } from './bare-image.ts';
import { type FlatFields, type MultibootFiles, memoryAbove1M, memoryBelow1M, placeFlat } from './bare-multiboot.ts';
import { type Image, placeElf } from './bare-multiboot-image.ts';
import { isElf } from './elf.ts';

const HEADER_MAGIC = 0xe852_50d6;
const LOADER_MAGIC = 0x36d7_6289;
const ARCHITECTURE_I386 = 0;
/** The header lies within the first 32768 bytes, on a boundary of 8 (3.1.1). */
const SEARCH = 32768;

/** Types of header tags (3.1.3 to 3.1.12). */
const TAG = {
  end: 0,
  informationRequest: 1,
  address: 2,
  entry: 3,
  flags: 4,
  framebuffer: 5,
  moduleAlignment: 6,
  efiBootServices: 7,
  entryEfi32: 8,
  entryEfi64: 9,
  relocatable: 10,
} as const;
const OPTIONAL = 1;
/** Of a console tag: a console must be there, and an EGA text one is understood. */
const CONSOLE_REQUIRED = 1;

/** Types of information tags (3.6). */
const INFO = {
  end: 0,
  cmdline: 1,
  loaderName: 2,
  module: 3,
  basicMemory: 4,
  memoryMap: 6,
  framebuffer: 8,
  acpiOld: 14,
  acpiNew: 15,
  loadBase: 21,
} as const;
const TEXT = 2;

const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);
const aligned8 = (n: number): number => (n + 7) & ~7;

export function findMultiboot2(bytes: Uint8Array): number | undefined {
  const view = viewOf(bytes);
  for (let at = 0; at + 16 <= Math.min(bytes.length, SEARCH); at += 8) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const sum = HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true) + view.getUint32(at + 12, true);
    if (sum % 0x1_0000_0000 === 0) return at;
  }
  return undefined;
}

interface Tag {
  readonly type: number;
  readonly optional: boolean;
  readonly at: number;
  readonly size: number;
}

/** What the header asks for. */
interface Header {
  readonly addresses: FlatFields | undefined;
  readonly entry: number | undefined;
  readonly pageAligned: boolean;
}

function readTags(place: Placement, bytes: Uint8Array, header: number): Tag[] {
  const view = viewOf(bytes);
  const end = header + view.getUint32(header + 8, true);
  if (end > bytes.length) place.fail('its multiboot2 header is cut short');
  const tags: Tag[] = [];
  for (let at = header + 16; ; ) {
    if (at + 8 > end) place.fail('its multiboot2 header has no end tag');
    const size = view.getUint32(at + 4, true);
    const type = view.getUint16(at, true);
    if (size < 8 || at + size > end) place.fail(`a tag of its multiboot2 header has a size of ${size}`);
    if (type === TAG.end) return tags;
    tags.push({ type, optional: (view.getUint16(at + 2, true) & OPTIONAL) !== 0, at, size });
    at += aligned8(size);
  }
}

function readHeader(place: Placement, platform: BarePlatform, bytes: Uint8Array, header: number): Header {
  const view = viewOf(bytes);
  const architecture = view.getUint32(header + 4, true);
  if (architecture !== ARCHITECTURE_I386) place.fail(`its multiboot2 header is for another architecture (${architecture})`);
  let addresses: Omit<FlatFields, 'ip'> | undefined;
  let entry: number | undefined;
  let pageAligned = false;
  const known = informationOf(platform);
  for (const t of readTags(place, bytes, header)) {
    const word = (n: number): number => {
      if (8 + 4 * n + 4 > t.size) place.fail(`tag ${t.type} of its multiboot2 header is too short`);
      return view.getUint32(t.at + 8 + 4 * n, true);
    };
    switch (t.type) {
      case TAG.informationRequest:
        for (let i = 0; 8 + 4 * i < t.size; i++)
          if (!t.optional && !known.has(word(i)))
            place.fail(`its multiboot2 header asks for information of type ${word(i)}, which is not there`);
        break;
      case TAG.address:
        addresses = { header, headerAddr: word(0), loadAddr: word(1), loadEnd: word(2), bssEnd: word(3) };
        break;
      case TAG.entry:
        entry = word(0);
        break;
      case TAG.flags:
        if (!t.optional && word(0) & CONSOLE_REQUIRED && !platform.vga) place.fail('needs a console, and the machine has none');
        break;
      case TAG.moduleAlignment:
        pageAligned = true;
        break;
      // A wish for a mode: text is what there is. EFI entries do not concern a machine that has no EFI; an image that may be moved need not be.
      case TAG.framebuffer:
      case TAG.entryEfi32:
      case TAG.entryEfi64:
      case TAG.relocatable:
        break;
      default:
        if (!t.optional) place.fail(`its multiboot2 header asks for a feature that is not known (tag ${t.type})`);
    }
  }
  if (addresses && entry === undefined) place.fail('its multiboot2 header has an address tag and no entry tag');
  return { addresses: addresses && { ...addresses, ip: entry ?? 0 }, entry, pageAligned };
}

const informationOf = (p: BarePlatform): ReadonlySet<number> =>
  new Set([
    INFO.cmdline,
    INFO.loaderName,
    INFO.module,
    INFO.basicMemory,
    INFO.memoryMap,
    INFO.loadBase,
    ...(p.vga ? [INFO.framebuffer] : []),
    ...(p.rsdp ? [p.rsdp.bytes.length > 20 ? INFO.acpiNew : INFO.acpiOld] : []),
  ]);

/** Throws DomainBuildError. */
export function loadMultiboot2(platform: BarePlatform, files: MultibootFiles): BareLoad {
  const { file, bytes } = files.kernel;
  const place = new Placement(platform, file);
  const at = findMultiboot2(bytes) ?? place.fail('has no multiboot2 header in its first 32768 bytes');
  const header = readHeader(place, platform, bytes, at);
  if (!header.addresses && !isElf(bytes)) place.fail('is neither an ELF nor says in its multiboot2 header where it is to be loaded');
  const image: Image = header.addresses ? placeFlat(place, bytes, header.addresses) : placeElf(place, files.kernel, 'executable');
  const base = Math.min(...place.segments.map((s) => s.at));
  const tags = new Tags();
  tags.add(INFO.cmdline, cString(files.cmdline));
  tags.add(INFO.loaderName, cString('ringworld'));
  for (const m of files.modules) {
    const start = place.low(`module ${m.file}`, m.bytes, 0x10_0000, 0x1_0000_0000, header.pageAligned ? 4096 : 16);
    tags.add(INFO.module, words(start, start + m.bytes.length), cString(m.cmdline));
  }
  tags.add(INFO.basicMemory, words(memoryBelow1M(platform), memoryAbove1M(platform)));
  tags.add(INFO.memoryMap, words(24, 0), memoryEntries(platform));
  if (platform.vga) tags.add(INFO.framebuffer, words(0xb8000, 0, 160, 80, 25), Uint8Array.of(16, TEXT, 0, 0));
  if (platform.rsdp) tags.add(platform.rsdp.bytes.length > 20 ? INFO.acpiNew : INFO.acpiOld, platform.rsdp.bytes);
  tags.add(INFO.loadBase, words(base));
  const low = (what: string, data: Uint8Array) => place.low(what, data, LOW_MEMORY.start, LOW_MEMORY.end, 16);
  const gdt = flatGdt(false);
  return {
    protocol: 'multiboot2',
    entry: {
      mode: 'protected32',
      ip: header.entry ?? image.ip,
      eax: LOADER_MAGIC,
      ebx: low('the multiboot2 information', tags.finish()),
      codeSelector: FLAT_CODE,
      dataSelector: FLAT_DATA,
      gdt: { base: low('the GDT', gdt), limit: gdt.length - 1 },
    },
    segments: place.segments,
  };
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

function memoryEntries(platform: BarePlatform): Uint8Array {
  const out = new Uint8Array(platform.memory.length * 24);
  const view = viewOf(out);
  platform.memory.forEach((m, i) => {
    view.setBigUint64(i * 24, BigInt(m.base), true);
    view.setBigUint64(i * 24 + 8, BigInt(m.size), true);
    view.setUint32(i * 24 + 16, m.type, true);
  });
  return out;
}

/** The information structure (3.6.1): total size, a reserved word, tags on boundaries of 8. */
class Tags {
  private readonly bytes: number[] = new Array<number>(8).fill(0);

  add(type: number, ...parts: readonly Uint8Array[]): void {
    const size = 8 + parts.reduce((n, p) => n + p.length, 0);
    this.bytes.push(...words(type, size));
    for (const p of parts) for (const b of p) this.bytes.push(b);
    while (this.bytes.length % 8 !== 0) this.bytes.push(0);
  }
  finish(): Uint8Array {
    this.add(INFO.end);
    const out = Uint8Array.from(this.bytes);
    viewOf(out).setUint32(0, out.length, true);
    return out;
  }
}
