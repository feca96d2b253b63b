// What a PC's firmware is given through fw_cfg: the numbers and files that SeaBIOS's qemu_cfg_init() and its romfile users look for.

import { FW_CFG, type FwCfgFile, le } from './fw-cfg.ts';

/** Memory map entries as E820 has them: 1 is RAM, 2 reserved. */
export interface E820Entry {
  address: number;
  length: number;
  type: number;
}

export interface PcFirmwareConfig {
  ramBelow4G: number;
  ramAbove4G?: number;
  /** Reserved ranges beside RAM. */
  reserved?: readonly { address: number; length: number }[];
  cpus: number;
  maxCpus?: number;
  /** OpenFirmware device paths, most wanted first ("/pci@i0cf8/ide@1,1/drive@0/disk@0"). */
  bootOrder?: readonly string[];
  /** Milliseconds that the boot menu waits for a key; without it there is no menu. */
  bootMenuMs?: number;
  /** etc/acpi/tables, etc/acpi/rsdp and etc/table-loader, from acpi-tables-loader.ts. */
  files?: readonly FwCfgFile[];
}

export function e820File(entries: readonly E820Entry[]): Uint8Array {
  const out = new Uint8Array(20 * entries.length);
  for (const [i, e] of entries.entries()) {
    out.set(le(e.address, 8), 20 * i);
    out.set(le(e.length, 8), 20 * i + 8);
    out.set(le(e.type, 4), 20 * i + 16);
  }
  return out;
}

export function pcFirmwareConfig(config: PcFirmwareConfig): { items: Map<number, Uint8Array>; files: FwCfgFile[] } {
  const { ramBelow4G, ramAbove4G = 0, cpus, maxCpus = cpus, bootOrder, bootMenuMs, reserved = [] } = config;
  const ram: E820Entry[] = [{ address: 0, length: ramBelow4G, type: 1 }];
  if (ramAbove4G > 0) ram.push({ address: 2 ** 32, length: ramAbove4G, type: 1 });
  const items = new Map<number, Uint8Array>([
    [FW_CFG.UUID, new Uint8Array(16)],
    [FW_CFG.RAM_SIZE, le(ramBelow4G + ramAbove4G, 8)],
    [FW_CFG.NOGRAPHIC, le(0, 2)],
    [FW_CFG.NB_CPUS, le(cpus, 2)],
    [FW_CFG.NUMA, new Uint8Array(8 * (1 + maxCpus))],
    [FW_CFG.BOOT_MENU, le(bootMenuMs === undefined ? 0 : 1, 2)],
    [FW_CFG.MAX_CPUS, le(maxCpus, 2)],
    [FW_CFG.ACPI_TABLES, le(0, 2)],
    [FW_CFG.SMBIOS_ENTRIES, le(0, 2)],
    // The PIT is on the I/O APIC's pin 2.
    [FW_CFG.IRQ0_OVERRIDE, le(1, 1)],
    [FW_CFG.E820_TABLE, le(0, 4)],
  ]);
  const text = (s: string): Uint8Array => Uint8Array.from(`${s}\0`, (c) => c.charCodeAt(0));
  const files: FwCfgFile[] = [
    { name: 'etc/e820', content: e820File([...ram, ...reserved.map((r) => ({ ...r, type: 2 }))]) },
    { name: 'etc/boot-cpus', content: le(cpus, 2) },
    ...(config.files ?? []),
  ];
  if (bootOrder?.length) files.push({ name: 'bootorder', content: text(bootOrder.join('\n')) });
  if (bootMenuMs !== undefined) files.push({ name: 'etc/boot-menu-wait', content: le(bootMenuMs, 8) });
  return { items, files };
}
