// What a BIOS leaves behind in the chipset, for kernels that are entered without one. Numbers are SeaBIOS's on QEMU's pc, and those of our
// ACPI tables.

import { PM_BASE } from '../devices/acpi-power.ts';
import { enterTextMode } from '../devices/vga-text-mode.ts';
import { placeBiosData } from './bios-data.ts';
import type { Pc } from './devices.ts';

const PIIX3_SLOT = 1;
const PMBA = 0x40;
const PMREGMISC = 0x80;
const PIRQRC = 0x60;
const IDETIM = 0x40;
const COMMAND = 0x04;
const BAR0 = 0x10;
/** Where SeaBIOS puts the bars of IDE's bus master and of the VGA. */
const IDE_BUS_MASTER = 0xc040;
const VGA_SLOT = 2;
const VGA_MEMORY = 0xfd00_0000;
const VGA_REGISTERS = 0xfebf_0000;
/** ISA interrupts of the PCI wires A to D. */
const PCI_IRQS = [10, 10, 11, 11] as const;

export function leaveAsFirmware(pc: Pc): void {
  const bridge = pc.pci.at(PIIX3_SLOT, 0)!;
  PCI_IRQS.forEach((irq, wire) => {
    bridge.write(PIRQRC + wire, 1, irq);
  });
  // PCI interrupts are level-triggered: 10 and 11 are bits 2 and 3 of the second ELCR.
  pc.board.pic.ports.out(0x4d1, 1, 0x0c);
  // Both IDE channels decode: Linux's ata_piix leaves one alone that does not.
  for (const channel of [0, 2]) pc.pci.at(PIIX3_SLOT, 1)!.write(IDETIM + channel, 2, 0x8000);
  const pm = pc.pci.at(PIIX3_SLOT, 3)!;
  pm.write(PMBA, 4, PM_BASE | 1);
  pm.write(PMREGMISC, 1, 1);
  enterTextMode(pc.vga.state, pc.vga.video);
  const ide = pc.pci.at(PIIX3_SLOT, 1)!;
  ide.write(BAR0 + 4 * 4, 4, IDE_BUS_MASTER);
  ide.write(COMMAND, 2, 1);
  const vga = pc.pci.at(VGA_SLOT, 0)!;
  vga.write(BAR0, 4, VGA_MEMORY);
  vga.write(BAR0 + 2 * 4, 4, VGA_REGISTERS);
  vga.write(COMMAND, 2, 3);
  pc.ps2.leaveAsFirmwareDoes();
  placeBiosData(pc.board.dma);
}
