// A Linux bzImage by its 64-bit or its 32-bit boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst): the kernel proper is placed
// and entered as it is, and unpacks itself.
import {
  type BareFile,
  type BareLoad,
  type BarePlatform,
  cString,
  E820,
  FLAT_CODE,
  FLAT_DATA,
  flatGdt,
  identityTables,
  LOW_MEMORY,
  Placement,
} from './bare-image.ts';
import { isBzImage } from './bzimage.ts';

/** Offsets in the setup header, as in the file and in the zero page. */
const HDR = {
  start: 0x1f1,
  setupSects: 0x1f1,
  vidMode: 0x1fa,
  jump: 0x201,
  version: 0x206,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatable: 0x234,
  xloadflags: 0x236,
  cmdlineSize: 0x238,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;

/** Offsets in the zero page (struct boot_params). */
const ZERO = {
  origVideoMode: 0x06,
  origVideoCols: 0x07,
  origVideoLines: 0x0e,
  origVideoIsVga: 0x0f,
  origVideoPoints: 0x10,
  acpiRsdpAddr: 0x70,
  e820Entries: 0x1e8,
  sentinel: 0x1ef,
  e820Table: 0x2d0,
} as const;
const E820_MAX = 128;

const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
/** "Undefined" boot loader. */
const LOADER_OTHER = 0xff;
const VIDEO_NORMAL = 0xffff;
/** Where a kernel that cannot be moved lives. */
const BZIMAGE_START = 0x10_0000;
/** Protocol 2.12 has xloadflags; 2.10 pref_address and init_size. */
const WITH_XLOADFLAGS = 0x20c;
const WITH_PREF_ADDRESS = 0x20a;
const OLDEST = 0x204;

const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);

export interface LinuxFiles {
  readonly kernel: BareFile;
  readonly ramdisk: BareFile | null;
  readonly cmdline: string;
}

/** Throws DomainBuildError. */
export function loadLinux(platform: BarePlatform, files: LinuxFiles, bits: 32 | 64): BareLoad {
  const { file, bytes } = files.kernel;
  const place = new Placement(platform, file);
  if (!isBzImage(bytes)) place.fail('not a Linux bzImage');
  const header = viewOf(bytes);
  const version = header.getUint16(HDR.version, true);
  const spelled = `${version >> 8}.${version & 0xff}`;
  if (version < OLDEST) place.fail(`Linux boot protocol ${spelled} is too old: 2.4 or later is needed`);
  if (!(header.getUint8(HDR.loadflags) & LOADED_HIGH)) place.fail('a zImage, loaded low: only bzImages can be booted');
  const has64 = version >= WITH_XLOADFLAGS && (header.getUint16(HDR.xloadflags, true) & XLF_KERNEL_64) !== 0;
  if (bits === 64 && !has64) place.fail('has no 64-bit entry (XLF_KERNEL_64): boot it by the 32-bit protocol');
  const setupSects = header.getUint8(HDR.setupSects) || 4;
  const kernel = bytes.subarray((setupSects + 1) * 512);
  if (kernel.length === 0) place.fail('the image is cut short: nothing follows its setup code');
  const relocatable = version >= 0x205 && header.getUint8(HDR.relocatable) !== 0;
  const modern = version >= WITH_PREF_ADDRESS;
  const at = modern && relocatable ? Number(header.getBigUint64(HDR.prefAddress, true)) : BZIMAGE_START;
  const size = Math.max(kernel.length, modern ? header.getUint32(HDR.initSize, true) : 0);
  place.put('the kernel', at, kernel, size);

  const zero = new Uint8Array(4096);
  const params = viewOf(zero);
  zero.set(bytes.subarray(HDR.start, Math.min(0x202 + header.getUint8(HDR.jump), 0x290)), HDR.start);
  params.setUint8(HDR.typeOfLoader, LOADER_OTHER);
  params.setUint16(HDR.vidMode, VIDEO_NORMAL, true);
  params.setUint32(HDR.code32Start, at, true);
  params.setUint8(ZERO.sentinel, 0);
  describeScreen(params, platform.vga);
  if (platform.rsdp) params.setBigUint64(ZERO.acpiRsdpAddr, BigInt(platform.rsdp.address), true);
  describeMemory(place, params, platform);

  const longest = version >= 0x206 ? header.getUint32(HDR.cmdlineSize, true) : 255;
  const cmdline = cString(files.cmdline);
  if (cmdline.length - 1 > longest) place.fail(`its command line may have ${longest} bytes, and has ${cmdline.length - 1}`);
  params.setUint32(HDR.cmdLinePtr, place.low('the command line', cmdline, LOW_MEMORY.start, LOW_MEMORY.end, 16), true);
  if (files.ramdisk) {
    const { bytes: initrd } = files.ramdisk;
    const max = header.getUint32(HDR.initrdAddrMax, true) || 0x37ff_ffff;
    params.setUint32(HDR.ramdiskImage, place.high('the ramdisk', initrd, max + 1, 4096), true);
    params.setUint32(HDR.ramdiskSize, initrd.length, true);
  }
  const zeroAt = place.low('the zero page', zero, LOW_MEMORY.start, LOW_MEMORY.end, 4096);
  const gdt = flatGdt(bits === 64);
  const gdtAt = place.low('the GDT', gdt, LOW_MEMORY.start, LOW_MEMORY.end, 16);
  const common = { esi: zeroAt, codeSelector: FLAT_CODE, dataSelector: FLAT_DATA, gdt: { base: gdtAt, limit: gdt.length - 1 } };
  if (bits === 32) return { protocol: 'linux32', segments: place.segments, entry: { mode: 'protected32', ip: at, ...common } };
  const cr3 = place.low('page tables', new Uint8Array(6 * 4096), LOW_MEMORY.start, LOW_MEMORY.end, 4096);
  const tables = place.segments.find((s) => s.at === cr3)!;
  tables.bytes.set(identityTables(cr3));
  // The 64-bit entry is 512 bytes after the 32-bit one.
  return { protocol: 'linux64', segments: place.segments, entry: { mode: 'long64', ip: at + 0x200, cr3, ...common } };
}

/** What the real-mode code would have found by asking the video BIOS. */
function describeScreen(params: DataView, vga: boolean): void {
  if (!vga) return;
  params.setUint8(ZERO.origVideoMode, 3);
  params.setUint8(ZERO.origVideoCols, 80);
  params.setUint8(ZERO.origVideoLines, 25);
  params.setUint8(ZERO.origVideoIsVga, 1);
  params.setUint16(ZERO.origVideoPoints, 16, true);
}

function describeMemory(place: Placement, params: DataView, platform: BarePlatform): void {
  const { memory } = platform;
  if (memory.length > E820_MAX) place.fail(`the memory map has ${memory.length} ranges, and the zero page room for ${E820_MAX}`);
  params.setUint8(ZERO.e820Entries, memory.length);
  memory.forEach((m, i) => {
    const at = ZERO.e820Table + i * 20;
    params.setBigUint64(at, BigInt(m.base), true);
    params.setBigUint64(at + 8, BigInt(m.size), true);
    params.setUint32(at + 16, m.type, true);
  });
  if (!memory.some((m) => m.type === E820.ram)) place.fail('the machine has no RAM');
}
