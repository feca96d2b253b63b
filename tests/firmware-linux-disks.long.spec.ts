// Linux's own drivers (libata, ata_piix, sd, sr) on the IDE channels: bus-master DMA and interrupts both ways, ATAPI packets, and a kernel
// that has nothing to complain about.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type BoardEnd, createPc, MemoryBlockStore, prepareDirect, startDirect } from '@ringworld/hypervisor';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadBareKernel } from '../dom0/toolstack/bare-kernel.ts';
import { gzipNode } from '../dom0/toolstack/decompress/gzip-node.ts';
import { decompressorsWith } from '../dom0/toolstack/decompress/index.ts';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';

const MODULES = [
  ...['crypto/crct10dif_common', 'lib/crc-t10dif', 'lib/crc64', 'crypto/crc64_rocksoft_generic', 'lib/crc64-rocksoft', 'block/t10-pi'],
  ...['drivers/scsi/scsi_common', 'drivers/scsi/scsi_mod', 'drivers/ata/libata', 'drivers/ata/ata_piix'],
  ...['drivers/scsi/sd_mod', 'drivers/cdrom/cdrom', 'drivers/scsi/sr_mod'],
];
const DISK_BYTES = 8 * 2 ** 20;
const CD_BYTES = 2 * 2 ** 20;
/** One MiB, read and hashed by the guest. */
const PIECE = 2 ** 20;

/** Bytes that differ from sector to sector. */
function content(bytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(bytes / 4);
  let v = seed;
  for (let i = 0; i < words.length; i++) {
    v = (Math.imul(v, 1664525) + 1013904223) | 0;
    words[i] = v;
  }
  return new Uint8Array(words.buffer);
}
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

describe.skipIf(!haveApt())("Debian's kernel on the IDE channels", () => {
  const disk = content(DISK_BYTES, 1);
  const cd = content(CD_BYTES, 2);
  const before = md5(disk.subarray(0, PIECE));
  let serial = '';
  let end: BoardEnd | undefined;

  beforeAll(async () => {
    const kernel = debianKernel('amd64');
    const modules = Object.fromEntries(
      MODULES.map((m) => [`root/${m.split('/').at(-1)}.ko`, new Uint8Array(readFileSync(join(kernel.modulesDir, 'kernel', `${m}.ko`)))]),
    );
    const ramdisk = busyboxInitramfs({
      shell: false,
      compress: false,
      files: modules,
      commands: [
        ...MODULES.map((m) => `insmod /root/${m.split('/').at(-1)}.ko`),
        'for i in 1 2 3 4 5 6 7 8 9 10; do test -b /dev/sda && test -b /dev/sr0 && break; sleep 1; done',
        `busybox dd if=/dev/sda bs=64k count=${PIECE / 65536} 2>/dev/null | busybox md5sum`,
        `busybox dd if=/dev/sr0 bs=64k count=${PIECE / 65536} 2>/dev/null | busybox md5sum`,
        `busybox dd if=/dev/sr0 of=/dev/sda bs=64k count=${PIECE / 65536} seek=${(4 * PIECE) / 65536} conv=fsync 2>/dev/null`,
        'for d in 1 2; do echo "dma_mode: $(cat /sys/class/ata_device/dev$d.0/dma_mode)"; done',
        "dmesg | grep -E 'ata|scsi|sd |sr |nobody'",
        'sleep 1',
      ],
    });
    const pc = createPc({
      ramBytes: 256 * 2 ** 20,
      cpus: 1,
      epoch: 1_767_225_600,
      drives: [{ kind: 'disk', store: new MemoryBlockStore(disk) }, undefined, { kind: 'cdrom', store: new MemoryBlockStore(cd, true) }],
      serial: (b) => {
        serial += String.fromCharCode(b);
      },
    });
    const { memory, rsdp } = prepareDirect(pc);
    const { segments, entry } = loadBareKernel(
      { memory, rsdp, vga: true },
      {
        kernel: { file: kernel.vmlinuz, bytes: readFileSync(kernel.vmlinuz) },
        ramdisk: { file: 'initramfs', bytes: ramdisk },
        modules: [],
        cmdline: 'console=ttyS0 rdinit=/init loglevel=3',
      },
      null,
      decompressorsWith(gzipNode),
    );
    startDirect(pc, segments, entry);
    for (let t = 0.25; t < 120; t += 0.25) {
      end = pc.board.run({ untilNs: t * 1e9 });
      if (end.kind !== 'limit') break;
      // The test runner wants to hear of us now and then.
      await setImmediate();
    }
  }, 1_200_000);

  it('finds the disk and the CD drive, in multiword DMA (a PIIX3 has no ultra DMA)', () => {
    expect(end, serial.slice(-3000)).toEqual({ kind: 'off' });
    expect(serial).toMatch(/ata1\.00: ATA-6: RINGWORLD HARDDISK/);
    expect(serial).toMatch(/ata2\.00: ATAPI: RINGWORLD DVD-ROM/);
    expect(serial).toMatch(/dma_mode: XFER_MW_DMA_2\s+dma_mode: XFER_MW_DMA_2/);
  });

  it('reads both by DMA', () => {
    expect(serial).toContain(before);
    expect(serial).toContain(md5(cd.subarray(0, PIECE)));
  });

  it('writes the disk by DMA', () => {
    expect(md5(disk.subarray(4 * PIECE, 5 * PIECE))).toBe(md5(cd.subarray(0, PIECE)));
  });

  it('has no error, time-out or reset to tell of', () => {
    const bad = serial.split('\n').filter((line) => /ata\d.*(exception|failed|error|timeout|reset)|I\/O error|nobody cared/i.test(line));
    expect(bad).toEqual([]);
  });
});
