// ACPI tables in memory for a kernel that is entered without firmware: in the BIOS area below 1 MiB, where kernels look for them.

import { createAcpiTables } from '../devices/acpi-tables.ts';
import type { AcpiConfig } from '../devices/acpi-tables-dsdt.ts';
import { linkAcpi } from '../devices/acpi-tables-loader.ts';
import type { Board } from './board.ts';
import type { Pc } from './devices.ts';

/** The BIOS area; all of it is reserved in the memory map. */
export const BIOS_AREA = { base: 0xe_0000, size: 0x2_0000 } as const;
/** The RSDP lies on a boundary of 16 in [0xe0000, 0x100000) (ACPI 6.5, 5.2.5.1); tables of 64. */
const RSDP_AT = BIOS_AREA.base;
const TABLES_AT = BIOS_AREA.base + 64;

export interface Rsdp {
  readonly address: number;
  readonly bytes: Uint8Array;
}

export function acpiConfig(board: Board): AcpiConfig {
  return { apicIds: board.machine.cpus.map((c) => c.id), ioapicId: 0, pciHole: board.memoryMap.lowEnd };
}

export function placeAcpi(pc: Pc): Rsdp {
  const { board } = pc;
  const { tables, rsdp } = linkAcpi(createAcpiTables(acpiConfig(board)), TABLES_AT);
  board.dma.write(TABLES_AT, tables);
  board.dma.write(RSDP_AT, rsdp);
  return { address: RSDP_AT, bytes: rsdp };
}
