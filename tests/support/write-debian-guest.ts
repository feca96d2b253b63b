// `npm run debian-guest`: fetches Debian's cloud kernel and busybox by package name and writes out/debian.cfg, ready for `ringworld create`.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { debianKernel, haveApt } from './debian-kernel.ts';
import { busyboxInitramfs } from './initramfs.ts';

if (!haveApt()) {
  console.error('debian-guest: apt-get is needed to fetch linux-image-cloud-amd64 and busybox-static');
  process.exit(1);
}
const out = join(import.meta.dirname, '../../out');
const ramdisk = join(out, 'initramfs.gz');
const cfg = join(out, 'debian.cfg');
mkdirSync(out, { recursive: true });
writeFileSync(ramdisk, busyboxInitramfs());
const settings = {
  name: 'debian',
  type: 'pv',
  kernel: debianKernel('cloud-amd64').vmlinuz,
  ramdisk,
  extra: 'console=hvc0',
  memory: 256,
  vcpus: 1,
};
writeFileSync(
  cfg,
  Object.entries(settings)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join(''),
);
console.log(`${cfg} is written; boot it with: npx ringworld create -c out/debian.cfg`);
