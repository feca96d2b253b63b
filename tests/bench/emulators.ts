// The emulators that are compared, and how each is told to run what is measured. All run one guest CPU on one thread of their own.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

export const RINGWORLD = join(import.meta.dirname, '../../dom0/xl/ringworld.mjs');
export const QEMU = 'qemu-system-x86_64';
export const BOCHS = 'bochs';

export type EmulatorName = 'here' | 'pv' | 'bare' | 'qemu' | 'bochs';
/** For table headings. */
export const TITLES: Readonly<Record<EmulatorName, string>> = {
  here: 'ringworld',
  pv: 'PV here',
  bare: 'bare here',
  qemu: 'QEMU TCG',
  bochs: 'Bochs',
};

/** First line of what a program says of itself; null when it is not installed. */
function versionOf(command: string, args: readonly string[], pattern: RegExp): string | null {
  const { error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined) return null;
  return pattern.exec(stdout + stderr)?.[0] ?? command;
}

export interface Versions {
  readonly qemu: string | null;
  readonly bochs: string | null;
}
export const versions = (): Versions => ({
  qemu: versionOf(QEMU, ['--version'], /QEMU emulator version \S+.*/),
  bochs: versionOf(BOCHS, ['--help', 'cpu'], /Bochs x86 Emulator \S+/),
});

const QUIET = ['-accel', 'tcg,thread=single', '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot', '-net', 'none'];

/** A micro kernel's ELF, by multiboot. */
export const qemuKernel = (elf: string, memoryMib = 128): string[] => [
  ...QUIET,
  '-m',
  String(memoryMib),
  '-device',
  'isa-debug-exit,iobase=0xf4,iosize=4',
  '-kernel',
  elf,
];

export interface LinuxGuest {
  readonly kernel: string;
  readonly ramdisk: string;
  readonly cmdline: string;
  readonly memoryMib: number;
}

export const qemuLinux = (g: LinuxGuest): string[] => [
  ...QUIET,
  '-m',
  String(g.memoryMib),
  '-kernel',
  g.kernel,
  '-initrd',
  g.ramdisk,
  '-append',
  `console=ttyS0 ${g.cmdline}`.trim(),
];

const linuxHere = (g: LinuxGuest, console: string): string[] => [
  ...['--kernel', g.kernel, '--ramdisk', g.ramdisk, '--cmdline', `console=${console} ${g.cmdline}`.trim()],
  `--memory=${g.memoryMib}`,
];
export const ringworldPv = (g: LinuxGuest, engine: string): string[] => [
  RINGWORLD,
  'create',
  '-F',
  '-q',
  `--engine=${engine}`,
  ...linuxHere(g, 'hvc0'),
];
export const ringworldBare = (g: LinuxGuest, engine: string): string[] => [
  RINGWORLD,
  'bare',
  '-F',
  '-q',
  `--engine=${engine}`,
  ...linuxHere(g, 'ttyS0'),
];
export const ringworldKernel = (elf: string, engine: string, memoryMib = 128): string[] => [
  RINGWORLD,
  'bare',
  '-F',
  `--engine=${engine}`,
  '--kernel',
  elf,
  `--memory=${memoryMib}`,
];
export const haveBare = (): boolean => existsSync(join(import.meta.dirname, '../../dom0/xl/bare.ts'));

/** Debian puts Bochs's firmware here. */
const BOCHS_SHARE = '/usr/share/bochs';

/** A bochsrc. With `panic: fatal` a triple fault, or the shutdown port, ends it. */
export function bochsConfig(options: {
  readonly memoryMib: number;
  readonly serial: string;
  readonly drive: { readonly disk: string; readonly chs: readonly [number, number, number] } | { readonly iso: string };
}): string {
  const { drive } = options;
  const master =
    'disk' in drive
      ? `type=disk, path=${drive.disk}, mode=flat, cylinders=${drive.chs[0]}, heads=${drive.chs[1]}, spt=${drive.chs[2]}`
      : `type=cdrom, path=${drive.iso}, status=inserted`;
  return [
    'config_interface: textconfig',
    'display_library: term',
    `romimage: file=${BOCHS_SHARE}/BIOS-bochs-latest`,
    `vgaromimage: file=${BOCHS_SHARE}/VGABIOS-lgpl-latest`,
    `megs: ${options.memoryMib}`,
    'cpu: count=1, ips=50000000, reset_on_triple_fault=0',
    'clock: sync=none',
    'ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14',
    `ata0-master: ${master}`,
    `boot: ${'disk' in drive ? 'disk' : 'cdrom'}`,
    `com1: enabled=1, mode=file, dev=${options.serial}`,
    'log: /dev/null',
    'panic: action=fatal',
    'error: action=ignore',
    'info: action=ignore',
    'debug: action=ignore',
    '',
  ].join('\n');
}

/** `script` holds the debugger's "c": Debian builds Bochs with its debugger, which waits for it. */
export const bochsArguments = (config: string, script: string): string[] => ['-q', '-f', config, '-rc', script];
