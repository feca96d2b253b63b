// What a BIOS finds through fw_cfg on this board: memory, processors, and the ACPI tables with the script that places them.

import { createAcpiTables } from '../devices/acpi-tables.ts';
import { acpiFiles } from '../devices/acpi-tables-loader.ts';
import { FwCfg } from '../devices/fw-cfg.ts';
import { pcFirmwareConfig } from '../devices/fw-cfg-pc.ts';
import { acpiConfig } from './acpi.ts';
import type { Board } from './board.ts';

/** The BIOS image's own place, and that of the local APIC's and I/O APIC's pages: no RAM, and nothing for PCI. */
const BIOS_IMAGE = { address: 0xfffc_0000, length: 0x4_0000 };

export function createFwCfg(board: Board): FwCfg {
  const { machine, memoryMap, dma } = board;
  return new FwCfg({
    dma,
    ...pcFirmwareConfig({
      ramBelow4G: memoryMap.lowEnd,
      ramAbove4G: memoryMap.highEnd - 2 ** 32,
      reserved: [BIOS_IMAGE],
      cpus: machine.cpus.length,
      files: acpiFiles(createAcpiTables({ ...acpiConfig(board), fwCfg: true })),
    }),
  });
}
