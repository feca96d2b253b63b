// What `ringworld bare` understands and what it refuses, before anything is switched on.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseBareArguments, readBareMachine } from './bare-options.ts';
import { isForUser } from './user-error.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-bare-'));
  for (const name of ['k', 'i', 'b', 'd.img', 'm1']) writeFileSync(join(dir, name), Uint8Array.of(0, 1, 2));
  writeFileSync(
    join(dir, 'g.cfg'),
    `name="web"\nkernel="${dir}/k"\nramdisk="${dir}/i"\nmemory=64\nvcpus=2\nextra="quiet"\nroot="/dev/sda"\nvif=['']\n`,
  );
});
afterAll(() => rmSync(dir, { recursive: true }));

const warnings: string[] = [];
const read = (...args: string[]) => {
  warnings.length = 0;
  return readBareMachine(parseBareArguments(args.map((a) => a.replaceAll('@', dir))), (line) => warnings.push(line));
};
const refusal = (...args: string[]): string => {
  try {
    read(...args);
  } catch (e) {
    if (isForUser(e)) return e.message.replaceAll(dir, '@');
    throw e;
  }
  return 'accepted';
};

describe('a bare machine is described', () => {
  it('by an image alone, with defaults', () => {
    const { config, files } = read('@/k');
    expect(config).toMatchObject({
      name: 'k',
      memoryMiB: 256,
      vcpus: 1,
      cmdline: '',
      bios: null,
      disks: [],
      onReboot: 'restart',
      onCrash: 'destroy',
    });
    expect(files.kernel?.bytes).toHaveLength(3);
  });
  it('by an xl.cfg file, with what a bare machine cannot use named', () => {
    const { config, files } = read('@/g.cfg');
    expect(config).toMatchObject({ name: 'web', memoryMiB: 64, vcpus: 2, cmdline: 'root=/dev/sda quiet' });
    expect(files.ramdisk?.file).toBe(`${dir}/i`);
    expect(warnings).toEqual([`${dir}/g.cfg:8: setting \`vif' means nothing to a bare machine: ignored`]);
  });
  it('by options and overrides, which win', () => {
    const { config } = read('@/g.cfg', '--memory', '32', 'memory=48', '--cpus', '3', 'cmdline=panic=1');
    expect(config).toMatchObject({ memoryMiB: 48, vcpus: 3, cmdline: 'panic=1' });
  });
  it('by a BIOS with disks', () => {
    const { config } = read('--bios', '@/b', "disk=['@/d.img,raw,hdb,ro', 'target=@/d.img,vdev=hdc,devtype=cdrom']");
    expect(config.disks).toEqual([
      { file: `${dir}/d.img`, slot: 1, readOnly: true, cdrom: false },
      { file: `${dir}/d.img`, slot: 2, readOnly: false, cdrom: true },
    ]);
  });
  it('by a multiboot kernel with modules and their arguments', () => {
    expect(read('@/k', "modules=['@/m1 a b', '@/i']").files.modules.map((m) => [m.file, m.cmdline])).toEqual([
      [`${dir}/m1`, 'a b'],
      [`${dir}/i`, ''],
    ]);
  });
});

describe('is refused', () => {
  it.each([
    ['nothing', [], 'bare: what is to run? Give an image, an xl.cfg file, or --kernel or --bios'],
    ['a file that is not there', ['@/none'], '@/none: cannot read the image: no such file'],
    ['two images', ['@/k', '@/i'], 'bare: one image or configuration, and not 2: @/k, @/i'],
    ['an image and a kernel', ['@/k', '--kernel', '@/i'], 'bare: @/k and --kernel are both given: one image starts'],
    [
      'a kernel and a BIOS',
      ['--kernel', '@/k', '--bios', '@/b'],
      '--bios: bios and kernel are both given: the machine starts with one of them',
    ],
    ['an unknown option', ['--frob'], /^bare: Unknown option '--frob'/],
    ['a time that is none', ['@/k', '--timeout', 'x'], 'bare: --timeout x: not a usable number'],
    ['an engine that is none', ['@/k', '--engine', 'turbo'], /^bare: --engine turbo: there are/],
    ['a protocol that is none', ['@/k', 'protocol=uefi'], /protocol is "uefi": there are linux64, linux32, pvh, multiboot1, multiboot2$/],
    ['too many CPUs', ['@/k', 'vcpus=65'], /vcpus must be from 1 to 64, and is 65$/],
    ['too much memory', ['@/k', 'memory=4096'], /memory must be from 2 to 3800, and is 4096$/],
    ['memory that is no number', ['@/k', 'memory=lots'], /memory is not a valid number: `lots'$/],
    ['a disk without a file', ['@/k', "disk=[',raw,hda,w']"], /disk entry 1 names no file/],
    ['a disk of another format', ['@/k', "disk=['@/d.img,qcow2,hda,w']"], /disk entry 1 has format "qcow2": raw images are what there is$/],
    [
      'a disk on a bus that is not there',
      ['@/k', "disk=['@/d.img,raw,xvda,w']"],
      /disk entry 1 is to be "xvda": IDE drives are hda to hdd$/,
    ],
    ['a second serial port', ['@/k', 'serial=tcp:1234'], /serial is "tcp:1234": the first serial port goes to the terminal \(stdio\)$/],
    ['a module that is not there', ['@/k', "modules=['@/none']"], '@/none: cannot read the module: no such file'],
    [
      'modules and a ramdisk',
      ['@/k', '--ramdisk', '@/i', "modules=['@/m1']"],
      /ramdisk and modules are both given: modules are for multiboot kernels$/,
    ],
  ] as [string, string[], string | RegExp][])('%s', (_what, args, message) => {
    expect(refusal(...args)).toMatch(
      message instanceof RegExp ? message : new RegExp(`^${message.replaceAll(/[.?*+^$[\](){}|\\]/g, '\\$&')}$`),
    );
  });
});
