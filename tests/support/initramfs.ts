// The initramfs of the boot tests: Debian's static busybox and an init script that reports BOOT-OK with the uptime, runs the
// test's commands, and offers a shell on the console. When the shell ends, the domain powers off.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type CpioEntry, cpioNewc } from './cpio.ts';
import { type DebianKernel, debianBusybox } from './debian-kernel.ts';
import { type KernelModule, kernelModules } from './kernel-modules.ts';

export interface InitramfsOptions {
  /** Shell commands to run after BOOT-OK. */
  readonly commands?: readonly string[];
  /** A shell on the console after the commands (yes unless told). */
  readonly shell?: boolean;
  /** Further files, by path without leading slash. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** gzip (yes unless told): a plain archive spares the guest the unpacking. */
  readonly compress?: boolean;
  /** Modules of the kernel that is booted, loaded with all they depend on before BOOT-OK. */
  readonly modules?: { readonly kernel: DebianKernel; readonly names: readonly string[] };
}

const APPLETS = `
  sh mount umount echo cat ls ps date sleep uname poweroff reboot dmesg setsid cttyhack grep head tail wc id free top mkdir mknod insmod
  modprobe rmmod lsmod true false dd sha256sum md5sum sync blockdev cmp seq time ip ifconfig ping udhcpc nc wget route fstrim df stat rm cp mv
  ln touch chmod kill killall printf test tr cut sed awk sort hexdump od find chroot switch_root nproc env expr usleep tee xargs basename
  blkdiscard mktemp truncate fallocate losetup
`
  .trim()
  .split(/\s+/);

const initScript = (options: InitramfsOptions, modules: readonly KernelModule[]): string => `#!/bin/sh
export PATH=/bin:/sbin HOME=/ TERM=vt100
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
${modules.map((m) => `insmod /lib/modules/${m.name}.ko ${m.parameters} || echo MODULE-FAILED ${m.name}\n`).join('')}echo BOOT-OK
cat /proc/uptime
${(options.commands ?? []).join('\n')}
${options.shell === false ? '' : 'setsid cttyhack sh'}
poweroff -f
`;

/** The archive, ready to be handed to a kernel as its ramdisk. */
export function busyboxInitramfs(options: InitramfsOptions = {}): Uint8Array {
  const text = (s: string) => ({ file: new TextEncoder().encode(s) });
  const modules = options.modules === undefined ? [] : kernelModules(options.modules.kernel, options.modules.names);
  const directories = ['lib', 'lib/modules', 'bin', 'sbin', 'dev', 'proc', 'sys', 'etc', 'tmp', 'root'];
  const entries: CpioEntry[] = [
    ...directories.map((path): CpioEntry => ({ path, kind: 'directory' })),
    // The kernel opens /dev/console for init before devtmpfs is mounted.
    { path: 'dev/console', kind: { char: [5, 1] } },
    { path: 'dev/null', mode: 0o666, kind: { char: [1, 3] } },
    { path: 'bin/busybox', mode: 0o755, kind: { file: new Uint8Array(readFileSync(debianBusybox())) } },
    ...APPLETS.map((name): CpioEntry => ({ path: `bin/${name}`, kind: { symlink: 'busybox' } })),
    {
      path: 'init',
      mode: 0o755,
      kind: text(initScript(options, modules)),
    },
    ...modules.map((m): CpioEntry => ({ path: `lib/modules/${m.name}.ko`, kind: { file: m.bytes } })),
    ...Object.entries(options.files ?? {}).map(([path, file]): CpioEntry => ({ path, mode: 0o755, kind: { file } })),
  ];
  const archive = cpioNewc(entries);
  return options.compress === false ? archive : new Uint8Array(gzipSync(archive));
}
