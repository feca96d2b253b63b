// The bare PC with Debian's SeaBIOS, driven from tests; and the same disks in QEMU's `pc`, where it is installed.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BoardEnd, createPc, type EngineKind, MemoryBlockStore, type Pc, screenText } from '@ringworld/hypervisor';
import { debianPackage } from './debian-kernel.ts';

const QEMU = 'qemu-system-x86_64';
export const haveQemu = (): boolean => spawnSync(QEMU, ['--version']).error === undefined;

export interface Medium {
  readonly disk?: Uint8Array;
  readonly cd?: Uint8Array;
}
export interface FirmwareRun {
  /** What came through COM1. */
  readonly serial: string;
  /** SeaBIOS's own log (port 0x402). */
  readonly log: string;
  /** What a program wrote to the exit port, as a process would return it. */
  readonly exitCode: number | undefined;
}

const seabios = (file: string): Uint8Array => readFileSync(join(debianPackage('seabios'), 'usr/share/seabios', file));

export function firmwarePc(
  medium: Medium,
  options: { engine?: EngineKind; ramMiB?: number; cpus?: number; log?: (byte: number) => void; serial?: (byte: number) => void } = {},
): Pc {
  const { engine, ramMiB = 64, cpus = 1, log, serial } = options;
  return createPc({
    ramBytes: ramMiB * 2 ** 20,
    cpus,
    epoch: 1_700_000_000,
    firmware: seabios('bios-256k.bin'),
    videoBios: seabios('vgabios-stdvga.bin'),
    drives: [
      medium.disk && { kind: 'disk', store: new MemoryBlockStore(medium.disk) },
      undefined,
      medium.cd && { kind: 'cdrom', store: new MemoryBlockStore(medium.cd, true) },
    ],
    ...(engine && { engine }),
    ...(log && { debug: log }),
    ...(serial && { serial }),
  });
}

/** Runs to the exit port, or for `seconds` of virtual time. */
export function runFirmware(
  medium: Medium,
  options: { engine?: EngineKind; seconds?: number; cpus?: number } = {},
): FirmwareRun & { pc: Pc; end: BoardEnd; screen: string[] } {
  let serial = '';
  let log = '';
  const pc = firmwarePc(medium, {
    ...options,
    log: (b) => {
      log += String.fromCharCode(b);
    },
    serial: (b) => {
      serial += String.fromCharCode(b);
    },
  });
  const end = pc.board.run({ untilNs: (options.seconds ?? 20) * 1e9 });
  const screen = screenText(pc.vga.state, pc.vga.video) ?? [];
  return { serial, log, pc, end, screen, exitCode: end.kind === 'exit' ? end.code : undefined };
}

export function runQemu(medium: Medium): FirmwareRun {
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-firmware-'));
  try {
    const drives = (['disk', 'cd'] as const).flatMap((kind) => {
      const bytes = medium[kind];
      if (bytes === undefined) return [];
      writeFileSync(join(dir, kind), bytes);
      const place = kind === 'disk' ? 'index=0,media=disk' : 'index=2,media=cdrom';
      return ['-drive', `file=${join(dir, kind)},format=raw,if=ide,${place}`];
    });
    const log = join(dir, 'log');
    const { stdout, status } = spawnSync(
      QEMU,
      [
        ...['-machine', 'pc,smm=off', '-accel', 'tcg,thread=single', '-m', '64', '-nodefaults', '-vga', 'std', '-display', 'none'],
        ...['-serial', 'stdio', '-chardev', `file,id=log,path=${log}`, '-device', 'isa-debugcon,iobase=0x402,chardev=log'],
        ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4', ...drives],
      ],
      { encoding: 'latin1', timeout: 120_000 },
    );
    return { serial: stdout, log: readFileSync(log, 'latin1'), exitCode: status ?? undefined };
  } finally {
    rmSync(dir, { recursive: true });
  }
}
