// Which of a domain's disks and interfaces its device model emulates as well, and as what (libxl_dm.c, libxl__build_device_model_args_new). An HVM
// domain has every device twice: the PV one, and until PV drivers unplug it the emulated one beside it.
import { type Domid, hvm_hw_cpu, type Infer } from '@ringworld/abi';
import { backendParams } from '../storage/backend-params.ts';
import type { BackendParams } from '../storage/block-store.ts';
import type { Device } from './device.ts';
import type { LoadedFirmware } from './hvm-loader.ts';

export interface EmulatedDisk {
  /** 0 to 3: primary master and slave, secondary master and slave. */
  readonly unit: number;
  readonly kind: 'disk' | 'cdrom';
  readonly isReadonly: boolean;
  /** What the storage opens; null for a drive without a medium. */
  readonly params: BackendParams | null;
}

/** Whole disks a to d, whatever their bus is called; SCSI ones and all others are for PV drivers alone. Of two for one place the first counts. */
export function emulatedDisks(disks: readonly Device[]): EmulatedDisk[] {
  const found = new Map<number, EmulatedDisk>();
  for (const { back } of disks) {
    const letter = /^(?:hd|xvd)([a-d])$/.exec(back.dev ?? '')?.[1];
    if (letter === undefined) continue;
    const unit = letter.charCodeAt(0) - 97;
    const params = backendParams((key) => back[key] ?? null);
    const isEmpty = params.format === 'empty';
    if (found.has(unit) || (isEmpty && !params.isCdrom)) continue;
    const kind = params.isCdrom ? 'cdrom' : 'disk';
    found.set(unit, { unit, kind, isReadonly: params.mode === 'r', params: isEmpty ? null : params });
  }
  return [...found.values()].sort((a, b) => a.unit - b.unit);
}

export interface EmulatedNic {
  readonly mac: Uint8Array;
  readonly bridge: string;
  /** Of its port on the bridge, as QEMU's tap device is called. */
  readonly name: string;
}

/** Slots 4 to 31 take network cards. */
const MAX_NICS = 28;

/** One card for each interface, with the same address on the same bridge. */
export const emulatedNics = (dom: Domid, nics: readonly Device[]): EmulatedNic[] =>
  nics.slice(0, MAX_NICS).map(({ devid, back }) => ({
    mac: Uint8Array.from((back.mac ?? '').split(':'), (group) => Number.parseInt(group, 16)),
    bridge: back.bridge ?? 'xenbr0',
    name: `${back.vifname ?? `vif${dom}.${devid}`}-emu`,
  }));

/** serial=: the first port is COM1; only one that somebody listens to is there. */
export const hasSerialPort = (serial: readonly string[]): boolean => serial[0] !== undefined && serial[0] !== 'none';

type Registers = Infer<typeof hvm_hw_cpu>;
const CODE16 = 0x9b;
const DATA16 = 0x93;

/** vCPU 0 in real mode at the firmware's start, for XEN_DOMCTL_sethvmcontext; the rest is as after RESET (SDM Vol 3A, table 9-1). */
export function realModeRegisters(entry: LoadedFirmware['entry']): Registers {
  const zero = hvm_hw_cpu.decode('x86_64', new Uint8Array(hvm_hw_cpu.size('x86_64')));
  const data = { limit: 0xffff, arbytes: DATA16 };
  return {
    ...zero,
    ...{ cr0: 0x10n, rip: BigInt(entry.ip), rflags: 2n, dr6: 0xffff_0ff0n, dr7: 0x400n },
    ...{ cs_sel: entry.selector, cs_base: BigInt(entry.base), cs_limit: 0xffff, cs_arbytes: CODE16 },
    ...{ ds_limit: data.limit, es_limit: data.limit, fs_limit: data.limit, gs_limit: data.limit, ss_limit: data.limit },
    ...{ ds_arbytes: data.arbytes, es_arbytes: data.arbytes, fs_arbytes: data.arbytes, gs_arbytes: data.arbytes, ss_arbytes: data.arbytes },
    ...{ idtr_limit: 0x3ff, tr_limit: 0x67, tr_arbytes: 0x8b, ldtr_arbytes: 0x82 },
  };
}
