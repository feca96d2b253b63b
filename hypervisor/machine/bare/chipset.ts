// The PCI side of the PC, as QEMU's `pc` machine has it: slot 0 the i440FX host bridge, slot 1 the PIIX3 with its ISA bridge (1.0), IDE (1.1)
// and power management (1.3), slot 2 the VGA.

import type { AcpiPower } from '../devices/acpi-power.ts';
import { AtaDisk } from '../devices/ata.ts';
import { AtapiCdrom } from '../devices/atapi.ts';
import type { BlockStore } from '../devices/block-store.ts';
import { I440fx } from '../devices/i440fx.ts';
import { IdeChannel, PC_CHANNELS } from '../devices/ide.ts';
import type { IdeDrive } from '../devices/ide-drive.ts';
import { PciBus } from '../devices/pci.ts';
import { Piix3 } from '../devices/piix3.ts';
import { Piix3Ide } from '../devices/piix3-ide.ts';
import { Piix4Pm } from '../devices/piix4-pm.ts';
import { Vga } from '../devices/vga.ts';
import { type MemoryWindow, VgaPci } from '../devices/vga-pci.ts';
import type { Board } from './board.ts';

/** A drive on the IDE channels. A CD drive may be empty. */
export type DriveOptions =
  | { readonly kind: 'disk'; readonly store: BlockStore }
  | { readonly kind: 'cdrom'; readonly store: BlockStore | undefined };

export interface ChipsetOptions {
  /** In the order primary master, primary slave, secondary master, secondary slave. */
  readonly drives?: readonly (DriveOptions | undefined)[];
  /** The video BIOS, as the VGA's expansion ROM (Debian's vgabios-stdvga.bin). */
  readonly videoBios?: Uint8Array;
}

export interface Chipset {
  readonly pci: PciBus;
  readonly vga: Vga;
  readonly channels: readonly [IdeChannel, IdeChannel];
  readonly drives: readonly (IdeDrive | undefined)[];
}

const VIDEO_BYTES = 16 * 1024 * 1024;
const PIIX3_SLOT = 1;
const VGA_SLOT = 2;

/** `power` is where PIIX4's PMBA register puts the ACPI registers. */
export function attachChipset(board: Board, power: AcpiPower, options: ChipsetOptions = {}): Chipset {
  const { bus, timeline, dma, memoryMap } = board;
  const pci = new PciBus();
  pci.attach(bus);

  const isa = new Piix3(Array.from({ length: 16 }, (_, n) => board.irq(n)));
  pci.onPirq = isa.pirq;
  const channels = [new IdeChannel(dma, board.irq(PC_CHANNELS[0].irq)), new IdeChannel(dma, board.irq(PC_CHANNELS[1].irq))] as const;
  const drives = (options.drives ?? []).map((d, i) => {
    if (d === undefined) return undefined;
    const names = { serial: `RW0000${i + 1}`, firmware: '1.0' };
    const drive =
      d.kind === 'disk'
        ? new AtaDisk(timeline, d.store, { model: 'RINGWORLD HARDDISK', ...names })
        : new AtapiCdrom(timeline, d.store, { model: 'RINGWORLD DVD-ROM', ...names });
    channels[i < 2 ? 0 : 1].attachDrive(i % 2 === 0 ? 0 : 1, drive);
    return drive;
  });

  pci.add(0, 0, new I440fx(memoryMap));
  pci.add(PIIX3_SLOT, 0, isa);
  pci.add(PIIX3_SLOT, 1, new Piix3Ide(bus, channels));
  pci.add(PIIX3_SLOT, 3, new Piix4Pm({ place: (base) => power.moveTo(base ?? 0) }));

  const video = memoryMap.reserve(VIDEO_BYTES);
  const vga = new Vga(timeline, memoryMap.bytes(video, VIDEO_BYTES));
  vga.attach(bus);
  const window = (offset: number, size: number, access: 'rw' | 'ro'): MemoryWindow => ({
    size,
    show: (base) => memoryMap.show(base, size, offset, access),
    hide: (base) => memoryMap.hide(base, size),
  });
  let rom: MemoryWindow | undefined;
  if (options.videoBios) {
    // An expansion ROM decodes a power of two.
    const size = 2 ** Math.ceil(Math.log2(Math.max(4096, options.videoBios.length)));
    const offset = memoryMap.reserve(size);
    memoryMap.fill(offset, options.videoBios);
    rom = window(offset, size, 'ro');
  }
  pci.add(VGA_SLOT, 0, new VgaPci(bus, vga, window(video, VIDEO_BYTES, 'rw'), rom));

  board.onReset(() => {
    pci.reset();
    vga.reset();
  });
  return { pci, vga, channels, drives };
}
