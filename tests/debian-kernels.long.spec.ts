import { readFileSync } from 'node:fs';
import { decompressorsWith, gzipNode, loadKernelImage } from '@ringworld/dom0';
import { describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';

describe.skipIf(!haveApt())('Debian kernels (skipped where the host has no apt)', () => {
  for (const flavour of ['cloud-amd64', 'amd64'] as const) {
    it(`linux-image-${flavour} unpacks to a 64-bit PV kernel`, () => {
      const file = debianKernel(flavour).vmlinuz;
      const kernel = loadKernelImage(file, new Uint8Array(readFileSync(file)), decompressorsWith(gzipNode));
      expect(kernel.guestType).toBe('xen-3.0-x86_64');
      expect(kernel.xen).toMatchObject({
        virtBase: -0x80000000,
        p2mBase: 0x8000000000,
        unmappedInitrd: true,
        loader: 'generic',
        guestOs: 'linux',
      });
      expect(kernel.xen.virtStart).toBe(-0x80000000 + 0x1000000);
    });
  }
});
