// Folders of the host in a stock Debian kernel: its own 9pnet_xen and v9fs mount, read, write, list and remove, and both sides compare.

import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = fs.mkdtempSync(join(tmpdir(), 'ringworld-p9-boot-'));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

/** Bytes that no compression or zero page explains, the same in every run. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0, x = seed; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function guest(name: string, p9: readonly string[], commands: readonly string[]): string {
  const kernel = debianKernel('amd64');
  const ramdisk = join(scratch, `${name}.gz`);
  fs.writeFileSync(ramdisk, busyboxInitramfs({ modules: { kernel, names: ['9pnet_xen', '9p'] }, commands, shell: false }));
  const cfg = join(scratch, `${name}.cfg`);
  const lines = [`name="${name}"`, 'type="pv"', 'memory=256', `kernel="${kernel.vmlinuz}"`, `ramdisk="${ramdisk}"`, 'extra="console=hvc0"'];
  fs.writeFileSync(cfg, `${lines.join('\n')}\np9=[${p9.map((p) => `'${p}'`).join(', ')}]\n`);
  return cfg;
}

describe.skipIf(!haveApt())('9pfs with a stock kernel (skipped where the host has no apt)', () => {
  const rw = join(scratch, 'rw');
  const ro = join(scratch, 'ro');
  const big = noise(3_000_001, 1);
  beforeAll(() => {
    for (const folder of [rw, ro]) fs.mkdirSync(join(folder, 'deep/er'), { recursive: true });
    fs.writeFileSync(join(ro, 'big'), big);
    fs.writeFileSync(join(ro, 'deep/er/note'), 'read only\n');
    fs.symlinkSync('deep/er/note', join(ro, 'link'));
    fs.symlinkSync('/etc/hostname', join(ro, 'outside'));
    fs.writeFileSync(join(scratch, 'secret'), 'secret');
    for (let i = 0; i < 300; i++) fs.writeFileSync(join(rw, `n${i}`), '');
  });

  it('mounts two folders, reads, writes, lists, renames and removes; what is read only stays', async () => {
    const cfg = guest(
      'p9',
      [`tag=work,path=${rw},security_model=none`, `tag=look,path=${ro},security_model=none,readonly=1`],
      [
        'mkdir /ro /rw',
        'mount -t 9p -o trans=xen,version=9p2000.L,ro look /ro && echo MOUNTED-RO',
        'mount -t 9p -o trans=xen,version=9p2000.L,msize=262144 work /rw && echo MOUNTED-RW',
        'sha256sum /ro/big',
        'cat /ro/link; readlink /ro/outside; cat /ro/../secret /ro/outside',
        'find /ro | sort',
        'mount -o remount,rw /ro; echo x > /ro/new || echo REFUSED-NEW; rm /ro/big || echo REFUSED-RM; mkdir /ro/d || echo REFUSED-MKDIR',
        'ls /rw | wc -l; ls /rw/deep -ld',
        'cp /ro/big /rw/copy && sync && cmp /ro/big /rw/copy && echo SAME',
        'dd if=/rw/copy of=/rw/odd bs=1000 skip=7 seek=3 count=500 2>/dev/null; sha256sum < /rw/odd',
        'echo one > /rw/a; echo two >> /rw/a; mv /rw/a /rw/deep/b; ln /rw/deep/b /rw/hard; ln -s ../copy /rw/deep/soft; chmod 600 /rw/hard',
        'mkdir -p /rw/x/y/z; rm -r /rw/x; rm /rw/n*; rmdir /rw/deep && echo WRONG; stat -c "%h %a %s %F" /rw/hard /rw/deep/soft',
        'truncate -s 10 /rw/short; date +%Y > /rw/year; stat -c %y /rw/year; df /rw | tail -1 | awk "{ print (\\$2 > 0) ? \\"SPACE\\" : \\"NONE\\" }"',
        'i=0; while [ $i -lt 200 ]; do echo $i > /rw/many-$i; i=$((i+1)); done; cat /rw/many-* | wc -l; rm /rw/many-*',
        'flock -x /rw/hard true 2>/dev/null; mknod /rw/dev c 1 3 || echo REFUSED-MKNOD',
        'umount /rw && umount /ro && echo UNMOUNTED',
      ],
    );
    const ran = await ringworld(['create', '-F', '--timeout', '900', cfg]);
    expect(ran.stderr).not.toMatch(/error/i);
    expect(ran.code).toBe(0);
    const out = ran.stdout.replaceAll('\r', '');
    for (const word of [
      'MOUNTED-RO',
      'MOUNTED-RW',
      'REFUSED-NEW',
      'REFUSED-RM',
      'REFUSED-MKDIR',
      'REFUSED-MKNOD',
      'SAME',
      'SPACE',
      'UNMOUNTED',
    ])
      expect(out, word).toContain(word);
    expect(out).toContain(`${sha256(big)}  /ro/big`);
    expect(out).toMatch(/^read only$/m);
    expect(out).toContain('/etc/hostname');
    expect(out).not.toContain('secret\n');
    expect(out).not.toContain('WRONG');
    expect(out).not.toMatch(/WARNING:|BUG:|Oops|Call Trace/);
    expect(out).toMatch(/^\/ro\n\/ro\/big\n\/ro\/deep\n\/ro\/deep\/er\n\/ro\/deep\/er\/note\n\/ro\/link\n\/ro\/outside$/m);
    expect(out).toMatch(/^301$/m);
    expect(out).toMatch(/^200$/m);
    const odd = new Uint8Array(3000 + 500_000);
    odd.set(big.subarray(7000, 507_000), 3000);
    expect(out).toContain(sha256(odd));
    // The guest's clock, not the host's.
    expect(out).toMatch(/^2026-01-01 00:00:/m);
    expect(out).toContain('2 600 8 regular file');
    expect(out).toMatch(/1 777 \d+ symbolic link/);
    // The host's side.
    expect(sha256(fs.readFileSync(join(rw, 'copy')))).toBe(sha256(big));
    expect(fs.readFileSync(join(rw, 'deep/b'), 'utf8')).toBe('one\ntwo\n');
    expect(fs.readlinkSync(join(rw, 'deep/soft'))).toBe('../copy');
    expect(fs.statSync(join(rw, 'hard')).mode & 0o777).toBe(0o600);
    expect(fs.statSync(join(rw, 'short')).size).toBe(10);
    expect(fs.readFileSync(join(rw, 'year'), 'utf8')).toBe('2026\n');
    expect(fs.readdirSync(rw).sort()).toEqual(['copy', 'deep', 'hard', 'odd', 'short', 'year']);
    expect(fs.readdirSync(ro).sort()).toEqual(['big', 'deep', 'link', 'outside']);
  });
});
