// What Debian's stock kernel makes of the VMX capability MSRs, bare, on each profile that has them: the "vmx flags" of /proc/cpuinfo, after
// it has found IA32_FEATURE_CONTROL open, switched VMX on and locked it (arch/x86/kernel/cpu/feat_ctl.c).

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

describe.skipIf(!haveApt())("Debian's cloud kernel on processors with VMX (skipped where the host has no apt)", () => {
  let dir = '';
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'ringworld-vmx-'));
    writeFileSync(join(dir, 'initrd'), busyboxInitramfs({ shell: false, commands: ['grep -m1 "^vmx flags" /proc/cpuinfo', 'sleep 1'] }));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it.each([
    ['p4-672', 'tsc_offset vtpr'],
    ['core2', 'tsc_offset vtpr'],
    ['nehalem', 'vnmi preemption_timer invvpid ept_x_only flexpriority tsc_offset vtpr mtf vapic ept vpid'],
    [
      'skylake-sp',
      'vnmi preemption_timer invvpid ept_x_only ept_ad ept_1gb flexpriority tsc_offset vtpr mtf vapic ept vpid unrestricted_guest ple ' +
        'shadow_vmcs pml',
    ],
  ])('%s: %s', async (cpu, flags) => {
    const ran = await ringworld([
      ...['bare', '-F', '--timeout', '600', debianKernel('cloud-amd64').vmlinuz, `ramdisk=${dir}/initrd`, 'memory=256'],
      ...['on_reboot=destroy', 'extra=console=ttyS0 panic=-1', `cpu=${cpu}`],
    ]);
    expect(ran.code).toBe(0);
    expect(/^vmx flags\s*: (.*?)\s*$/m.exec(ran.stdout)?.[1]).toBe(flags);
  });
});
