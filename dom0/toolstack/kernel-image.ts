// From the bytes of a kernel file to an image that can be loaded: a bzImage, an ELF, or either behind gzip.
import { extractBzImage, isBzImage, unpack } from './bzimage.ts';
import type { Decompressors } from './decompress/index.ts';
import { type ElfImage, EM_386, isElf, parseElf } from './elf.ts';
import { DomainBuildError } from './errors.ts';
import { featureNames } from './features.ts';
import { readXenKernel, type XenKernel } from './xen-notes.ts';

/** start_info.magic, and a word of XENVER_capabilities. */
export type GuestType = 'xen-3.0-x86_64' | 'xen-3.0-x86_32p';

export interface KernelImage {
  readonly elf: ElfImage;
  readonly xen: XenKernel;
  readonly guestType: GuestType;
}

/** Throws DomainBuildError naming `file`. */
export function loadKernelImage(file: string, bytes: Uint8Array, decompressors: Decompressors): KernelImage {
  if (bytes.length === 0) throw new DomainBuildError(file, 'the kernel file is empty');
  const plain = isBzImage(bytes) ? bytes : unpack(file, bytes, 0, decompressors);
  const kernel = isBzImage(plain) ? extractBzImage(file, plain, decompressors) : plain;
  if (!isElf(kernel)) throw new DomainBuildError(file, 'not a kernel: neither an ELF image nor a Linux bzImage');
  const elf = parseElf(file, kernel);
  const xen = readXenKernel(elf);
  const is32 = elf.machine === EM_386;
  if (is32 && xen.pae === 'no') throw new DomainBuildError(file, 'a 32-bit kernel without PAE: Xen runs 32-bit PV kernels with PAE only');
  const missing = xen.features.required & ~xen.features.supported;
  if (missing !== 0) throw new DomainBuildError(file, `requires features it does not support: ${featureNames(missing).join(', ')}`);
  if (featureNames(xen.features.required).includes('dom0'))
    throw new DomainBuildError(file, 'can only run as the privileged domain (it requires the feature "dom0")');
  return { elf, xen, guestType: is32 ? 'xen-3.0-x86_32p' : 'xen-3.0-x86_64' };
}
