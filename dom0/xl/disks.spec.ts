// Mistakes in disk settings, from the command line: one line that names the target and the cause, before anything is built.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-disks-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, 'disk.img');
const cfg = join(scratch, 'guest.cfg');
writeFileSync(image, new Uint8Array(4096));
writeFileSync(cfg, `name = "guest"\ntype = "pv"\nkernel = "${image}"\n`);

const MISTAKES: [disk: string, complaint: RegExp, ...more: string[]][] = [
  [`${scratch}/none.img,raw,xvda,w`, /none\.img: cannot open the disk image for writing: no such file$/],
  [`${scratch},raw,xvda,w`, /cannot open the disk image for writing: is a directory$/],
  [`${image},raw,xvda,w,model=tape`, /disk\.img: disk model tape: there are ideal, nvme, hdd$/],
  [`${image},raw,xvda,w`, /disk model floppy: there are ideal, nvme, hdd$/, '--disk-model=floppy'],
  [`${image},raw,xvda,w', '${image},raw,xvdb,r`, /disk\.img: is in use by another disk, which writes it$/],
  [`format=raw,vdev=xvda,target=nbd+unix:///x?socket=${scratch}/none`, /none: cannot open the disk: no such file$/],
  [`${image},raw,xvda,w,overlay=${image}`, /disk\.img: is in use by another disk/],
];

describe('a disk that cannot be opened is exit code 1 and one line', () => {
  it.each(MISTAKES)('%s', (disk, complaint, ...more) => {
    const command = join(import.meta.dirname, 'ringworld.mjs');
    const ran = spawnSync(process.execPath, [command, 'create', '-F', ...more, cfg, `disk=['${disk}']`], { encoding: 'utf8' });
    expect(ran.stderr.trim()).toMatch(complaint);
    expect(ran.stderr.trim().split('\n').length).toBe(1);
    expect([ran.status, ran.stdout]).toEqual([1, '']);
  });
});
