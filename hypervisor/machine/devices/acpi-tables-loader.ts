// How the ACPI tables get their addresses: as files with a script that SeaBIOS carries out (QEMU's table loader; hw/acpi/bios-linker-loader.c
// and SeaBIOS's src/fw/romfile_loader.c say the format), or linked by us where no firmware runs.

import type { AcpiFile, AcpiTables } from './acpi-tables.ts';
import type { FwCfgFile } from './fw-cfg.ts';

const FILE: Record<AcpiFile, string> = { tables: 'etc/acpi/tables', rsdp: 'etc/acpi/rsdp' };
const COMMAND = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
const ZONE = { HIGH: 1, FSEG: 2 } as const;
const ENTRY_SIZE = 128;
const NAME_SIZE = 56;

/** One entry of the script: a command, file names, and numbers with their sizes. */
function entry(command: number, names: readonly AcpiFile[], ...numbers: [value: number, size: number][]): Uint8Array {
  const bytes = new Uint8Array(ENTRY_SIZE);
  bytes[0] = command;
  let at = 4;
  for (const file of names) {
    for (const [i, c] of [...FILE[file]].entries()) bytes[at + i] = c.charCodeAt(0);
    at += NAME_SIZE;
  }
  for (const [value, size] of numbers) for (let i = 0; i < size; i++) bytes[at++] = (value >>> (8 * i)) & 0xff;
  return bytes;
}

/** The three files for fw_cfg. */
export function acpiFiles(acpi: AcpiTables): FwCfgFile[] {
  const script = [
    entry(COMMAND.ALLOCATE, ['rsdp'], [16, 4], [ZONE.FSEG, 1]),
    entry(COMMAND.ALLOCATE, ['tables'], [64, 4], [ZONE.HIGH, 1]),
    ...acpi.pointers.map((p) => entry(COMMAND.ADD_POINTER, [p.file, 'tables'], [p.offset, 4], [p.size, 1])),
    // In this order: a checksum counts the pointers, and the second one of the RSDP the first.
    ...acpi.checksums.map((c) => entry(COMMAND.ADD_CHECKSUM, [c.file], [c.offset, 4], [c.start, 4], [c.length, 4])),
  ];
  const content = new Uint8Array(ENTRY_SIZE * script.length);
  for (const [i, bytes] of script.entries()) content.set(bytes, ENTRY_SIZE * i);
  return [
    { name: FILE.tables, content: acpi.tables },
    { name: FILE.rsdp, content: acpi.rsdp },
    { name: 'etc/table-loader', content },
  ];
}

/** Tables and RSDP as they stand in memory, the tables at `base` (a multiple of 64, below 4 GiB). */
export function linkAcpi(acpi: AcpiTables, base: number): { tables: Uint8Array; rsdp: Uint8Array } {
  const files = { tables: acpi.tables.slice(), rsdp: acpi.rsdp.slice() };
  for (const { file, offset } of acpi.pointers) {
    const view = new DataView(files[file].buffer);
    view.setUint32(offset, view.getUint32(offset, true) + base, true);
  }
  for (const { file, offset, start, length } of acpi.checksums) {
    const sum = files[file].subarray(start, start + length).reduce((a, b) => a + b, 0);
    files[file][offset] = files[file][offset]! - sum;
  }
  return files;
}
