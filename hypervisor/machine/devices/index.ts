// The devices that others than the bare PC's board put together: dom0's device model (dom0/xl/device-model-parts.ts).

export { AcpiPower } from './acpi-power.ts';
export { createAcpiTables } from './acpi-tables.ts';
export type { AcpiConfig } from './acpi-tables-dsdt.ts';
export { linkAcpi } from './acpi-tables-loader.ts';
export { AtaDisk } from './ata.ts';
export { AtapiCdrom } from './atapi.ts';
export type { AsyncBlockStore } from './block-store.ts';
export { BOCHS_DEBUG_PORT, createDebugPort, SEABIOS_DEBUG_PORT } from './debug-port.ts';
export { Dma8237 } from './dma8237.ts';
export { I440fx } from './i440fx.ts';
export { IdeChannel, PC_CHANNELS } from './ide.ts';
export { PciBus } from './pci.ts';
export { PciFunction } from './pci-function.ts';
export { Piix3 } from './piix3.ts';
export { Piix3Ide } from './piix3-ide.ts';
export { Piix4Pm } from './piix4-pm.ts';
export { Ps2Controller } from './ps2.ts';
export { ResetControl } from './reset-control.ts';
export { Rtc } from './rtc.ts';
export { type BootDevice, cmosBytes } from './rtc-cmos.ts';
export { Rtl8029 } from './rtl8029.ts';
export { Uart } from './uart.ts';
export { Vga } from './vga.ts';
export { type MemoryWindow, VgaPci } from './vga-pci.ts';
export { screenText as vgaScreenText } from './vga-text.ts';
