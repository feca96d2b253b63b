// An unmodified system on an HVM domain from its first instruction: Debian's SeaBIOS, GRUB from a CD, Debian's stock kernel on emulated devices,
// and off by ACPI.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, debianPackage, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const MENU = `serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
menuentry "linux" {
  linux /boot/vmlinuz console=ttyS0
  initrd /boot/initrd.gz
}
`;
const works = (command: string, ...args: string[]): boolean => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
const canMakeCd = works('grub-mkrescue', '--version') && works('xorriso', '--version') && works('mformat', '--version');

describe.skipIf(!haveApt() || !canMakeCd)('GRUB and a stock kernel in an HVM domain (skipped without apt or grub-mkrescue)', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'ringworld-hvm-grub-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  const cd = join(scratch, 'cd.iso');
  beforeAll(() => {
    const boot = join(scratch, 'iso/boot');
    mkdirSync(join(boot, 'grub'), { recursive: true });
    copyFileSync(debianKernel('cloud-amd64').vmlinuz, join(boot, 'vmlinuz'));
    writeFileSync(
      join(boot, 'initrd.gz'),
      busyboxInitramfs({ shell: false, commands: ['echo on $(cat /sys/hypervisor/type)', 'cat /proc/interrupts'] }),
    );
    writeFileSync(join(boot, 'grub/grub.cfg'), MENU);
    const made = spawnSync('grub-mkrescue', ['-o', cd, join(scratch, 'iso')], { encoding: 'utf8' });
    if (made.status !== 0) throw new Error(`grub-mkrescue: ${made.stderr}`);
  });

  it.each(['skylake-sp', 'zen'])('on %s', async (profile) => {
    const cfg = join(scratch, 'guest.cfg');
    const lines = [
      ...['name = "grub"', 'type = "hvm"', 'memory = 256', 'serial = "pty"', 'boot = "d"', `cpu_profile = "${profile}"`],
      `firmware = "${join(debianPackage('seabios'), 'usr/share/seabios/bios-256k.bin')}"`,
      `disk = [ "${cd},raw,hdc:cdrom,r" ]`,
    ];
    writeFileSync(cfg, lines.map((l) => `${l}\n`).join(''));
    const ran = await ringworld(['create', '-F', '--timeout', '1200', cfg]);
    expect(ran.stderr).not.toMatch(/error/i);
    expect(ran.stdout).toContain("Booting `linux'");
    expect(ran.stdout).toContain('Hypervisor detected: Xen HVM');
    expect(ran.stdout).toContain('on xen');
    // The serial port that printed this interrupts through the I/O APIC.
    expect(ran.stdout).toMatch(/IO-APIC\s+4-edge\s+ttyS0/);
    expect(ran.stdout).not.toMatch(/BUG:|Oops|Call Trace|Kernel panic|general protection|invalid opcode/);
    expect(ran.stdout).toContain('reboot: Power down');
    expect(ran.code).toBe(0);
  });
});
