// Which boot protocol an image wants, and its loader.

import type { Protocol } from './bare-config.ts';
import type { BareFile, BareLoad, BarePlatform } from './bare-image.ts';
import { loadLinux } from './bare-linux.ts';
import { findMultiboot1, loadMultiboot1, type Module } from './bare-multiboot.ts';
import { findMultiboot2, loadMultiboot2 } from './bare-multiboot2.ts';
import { loadPvh, pvhEntry } from './bare-pvh.ts';
import { extractBzImage, isBzImage, unpack } from './bzimage.ts';
import type { Decompressors } from './decompress/index.ts';
import { isElf, parseElf } from './elf.ts';
import { DomainBuildError } from './errors.ts';

export interface KernelFiles {
  readonly kernel: BareFile;
  readonly ramdisk: BareFile | null;
  readonly modules: readonly Module[];
  readonly cmdline: string;
}

/** Multiboot before PVH, as QEMU's -kernel decides: Xen itself has both. */
function protocolOf(file: BareFile): Protocol {
  const { bytes } = file;
  if (isBzImage(bytes)) return has64BitEntry(bytes) ? 'linux64' : 'linux32';
  if (findMultiboot2(bytes) !== undefined) return 'multiboot2';
  if (findMultiboot1(bytes) !== undefined) return 'multiboot1';
  if (isElf(bytes) && pvhEntry(parseElf(file.file, bytes)) !== undefined) return 'pvh';
  throw new DomainBuildError(
    file.file,
    isElf(bytes)
      ? 'an ELF without a way to start on a bare machine: no multiboot header, no PVH entry'
      : 'not a kernel for a bare machine: neither a Linux bzImage, nor a multiboot image, nor an ELF with a PVH entry',
  );
}

/** boot.rst: protocol 2.12 and XLF_KERNEL_64. */
function has64BitEntry(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return view.getUint16(0x206, true) >= 0x20c && (view.getUint16(0x236, true) & 1) !== 0;
}

/** `protocol` null: as the image says. An image behind gzip is unpacked first. Throws DomainBuildError. */
export function loadBareKernel(
  platform: BarePlatform,
  files: KernelFiles,
  protocol: Protocol | null,
  decompressors: Decompressors,
): BareLoad {
  const { file } = files.kernel;
  if (files.kernel.bytes.length === 0) throw new DomainBuildError(file, 'the kernel file is empty');
  const bytes = isBzImage(files.kernel.bytes) ? files.kernel.bytes : unpack(file, files.kernel.bytes, 0, decompressors);
  const kernel = { file, bytes };
  const how = protocol ?? protocolOf(kernel);
  const linux = how.startsWith('linux') || how === 'pvh';
  if (linux && files.modules.length > 0) throw new DomainBuildError(file, 'modules are for multiboot kernels: this one takes a ramdisk');
  // A ramdisk is to a multiboot kernel its only module.
  const modules = files.ramdisk ? [{ ...files.ramdisk, cmdline: files.ramdisk.file }] : files.modules;
  switch (how) {
    case 'linux64':
      return loadLinux(platform, { ...files, kernel }, 64);
    case 'linux32':
      return loadLinux(platform, { ...files, kernel }, 32);
    case 'pvh': {
      const elf = isBzImage(bytes) ? extractBzImage(file, bytes, decompressors) : bytes;
      return loadPvh(platform, parseElf(file, elf), { ...files, kernel });
    }
    case 'multiboot1':
      return loadMultiboot1(platform, { kernel, modules, cmdline: files.cmdline });
    case 'multiboot2':
      return loadMultiboot2(platform, { kernel, modules, cmdline: files.cmdline });
  }
}
