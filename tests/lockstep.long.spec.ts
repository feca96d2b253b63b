// Debian's cloud kernel from start to power-off in interpreter and JIT side by side: no register, no flag, no byte of RAM and no cycle may
// differ.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

describe.skipIf(!haveApt())('the stock kernel in lockstep (skipped where apt-get is missing)', () => {
  let dir: string;
  let files: string[];
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'ringworld-lockstep-'));
    const ramdisk = join(dir, 'initramfs.gz');
    // Something of everything that programs do: processes, pipes, a compressor, the shell's arithmetic, floating point.
    const commands = [
      'i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; echo loop $i',
      'i=0; while [ $i -lt 20 ]; do /bin/busybox true; i=$((i+1)); done; echo forked $i',
      'busybox sha256sum /bin/busybox; busybox gzip -c /bin/busybox | busybox gunzip | busybox cmp - /bin/busybox && echo unpacked',
      `busybox awk 'BEGIN { for (i = 1; i < 500; i++) s += 1 / i; print "sum", s }'`,
    ];
    writeFileSync(ramdisk, busyboxInitramfs({ shell: false, commands }));
    files = ['--kernel', debianKernel('cloud-amd64').vmlinuz, '--ramdisk', ramdisk, '--memory=192'];
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test.each([
    ['a PV domain', ['create', '-F', '--cmdline', 'console=hvc0']],
    ['a PV domain of two vCPUs', ['create', '-F', '--vcpus=2', '--cmdline', 'console=hvc0']],
    ['a bare machine', ['bare', '-F', '--cmdline', 'console=ttyS0']],
    ['a bare machine of two CPUs', ['bare', '-F', '--cpus=2', '--cmdline', 'console=ttyS0']],
  ])('%s', async (_, args) => {
    const { code, stdout, stderr } = await ringworld([...args, '--engine=both', ...files]);
    expect(stderr).toMatch(/interpreter and JIT agree over \d+ cycles/);
    expect(code).toBe(0);
    expect(stdout).toContain('unpacked');
    expect(stdout).toContain('sum 6.79');
  });
});
