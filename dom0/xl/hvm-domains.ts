// What makes a domain of type "hvm" whole once it is built: its device model, and firmware in its memory (libxl__spawn_local_dm, and hvmloader's
// part). SeaBIOS is Debian's, from its package.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Machine } from '@ringworld/hypervisor';
import { cpuidOf } from '@ringworld/hypervisor/machine';
import type { Consoled } from '../consoled/index.ts';
import { startDeviceModel } from '../devicemodel/index.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import type { OpenStore } from '../storage/block-store.ts';
import type { Network } from '../switch/network.ts';
import { DomainBuildError } from '../toolstack/errors.ts';
import { installFirmware, ramBytes } from '../toolstack/hvm-builder.ts';
import { emulatedDisks, emulatedNics, hasSerialPort } from '../toolstack/hvm-devices.ts';
import type { HvmServices } from '../toolstack/lifecycle.ts';
import { createPlatform, hvmAcpi } from './device-model-parts.ts';

/** Where Debian's `seabios` puts its images. */
const SEABIOS = '/usr/share/seabios/bios-256k.bin';
const VIDEO_BIOS = 'vgabios-stdvga.bin';
const XEN_VERSION = '4.17';

export interface HvmHost {
  readonly machine: Machine;
  readonly dom0: Dom0;
  readonly network: Network;
  readonly consoled: Consoled;
  readonly openStore: OpenStore;
  /** Seconds since 1970 when the machine was switched on. */
  readonly epoch: number;
  /** One line: what the firmware and PV drivers log, complaints of the device model. */
  readonly log: (line: string) => void;
}

export const hvmServices = (host: HvmHost): HvmServices => ({
  start(config, built, serialSink) {
    const { hvm } = config;
    const image = hvm.firmware ?? SEABIOS;
    const bios = read(
      image,
      hvm.firmware === null ? `there is no SeaBIOS at ${image}: install Debian's package seabios, or set firmware="PATH"` : undefined,
    );
    const video = join(dirname(image), VIDEO_BIOS);
    const ram = ramBytes(built.ram);
    const { disks, nics } = config.devices;
    const model = startDeviceModel(
      host.dom0,
      built.domid,
      {
        vcpus: config.maxVcpus,
        ...ram,
        disks: emulatedDisks(disks).map(({ params, ...drive }) => ({ ...drive, store: params === null ? null : host.openStore(params) })),
        nics: emulatedNics(built.domid, nics),
        boot: hvm.boot,
        hasSerial: hasSerialPort(hvm.serial),
        serialSink,
        hasPlatformPci: hvm.xenPlatformPci,
        videoBios: hvm.vga !== 'none' && existsSync(video) ? read(video) : undefined,
        epoch: host.epoch,
        log: host.log,
      },
      { createPlatform, attachPort: host.network.attach, consoled: host.consoled },
    );
    const { profile } = host.machine;
    installFirmware(
      host.dom0.privcmd,
      built.domid,
      {
        vcpus: config.maxVcpus,
        ...ram,
        uuid: config.uuid,
        xenVersion: XEN_VERSION,
        cpuSignature: profile.signature,
        cpuFeatures: cpuidOf(profile, 1, 0, 0)[3],
      },
      { bios, acpi: hvmAcpi(config.maxVcpus) },
      model.pciAccess,
    );
    return model;
  },
});

function read(path: string, missing = `${path} cannot be read`): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (e) {
    throw new DomainBuildError('firmware', missing, { cause: e });
  }
}
