// The VGA as a PCI function: QEMU's `std` card (1234:1111; docs/specs/standard-vga), with its frame buffer in BAR 0, registers in BAR 2, and
// the video BIOS in the expansion ROM.

import type { Bus, MemoryDevice } from './bus.ts';
import { PciFunction } from './pci-function.ts';
import type { Vga } from './vga.ts';

/** Where memory of the card (video memory or ROM) appears in the physical address space. */
export interface MemoryWindow {
  readonly size: number;
  show(base: number): void;
  hide(base: number): void;
}

/** Offsets in BAR 2: VGA ports from 0x3C0 on, DISPI registers as words, and QEMU's extension (its size, and the byte order). */
const IO_PORTS = 0x400;
const DISPI = 0x500;
const EXTENSION = 0x600;
const LITTLE_ENDIAN = 0x1e1e1e1e;
const REGISTERS = 4096;

export class VgaPci extends PciFunction {
  constructor(bus: Bus, vga: Vga, frameBuffer: MemoryWindow, rom: MemoryWindow | undefined) {
    const registers = mmio(vga);
    super({ vendor: 0x1234, device: 0x1111, revision: 2, classCode: 0x030000, subsystemVendor: 0x1af4, subsystem: 0x1100 }, [
      {
        index: 0,
        kind: 'memory',
        size: frameBuffer.size,
        prefetchable: true,
        map: (base) => frameBuffer.show(base),
        unmap: (base) => frameBuffer.hide(base),
      },
      {
        index: 2,
        kind: 'memory',
        size: REGISTERS,
        map: (base) => bus.attachMemory(base, REGISTERS, registers),
        unmap: (base) => bus.detachMemory(base, REGISTERS),
      },
      ...(rom === undefined
        ? []
        : [
            {
              index: 'rom' as const,
              kind: 'memory' as const,
              size: rom.size,
              map: (base: number) => rom.show(base),
              unmap: (base: number) => rom.hide(base),
            },
          ]),
    ]);
  }
}

function mmio(vga: Vga): MemoryDevice {
  const readByte = (at: number): number => {
    if (at >= IO_PORTS && at < IO_PORTS + 0x20) return vga.readByte(0x3c0 + at - IO_PORTS);
    if (at >= DISPI && at < DISPI + 0x16) return (vga.vbe.read((at - DISPI) >>> 1) >>> (8 * (at & 1))) & 0xff;
    if (at >= EXTENSION && at < EXTENSION + 8) return ((at < EXTENSION + 4 ? 8 : LITTLE_ENDIAN) >>> (8 * (at & 3))) & 0xff;
    return 0xff;
  };
  return {
    read(at, size) {
      let v = 0;
      for (let i = 0; i < size; i++) v += readByte(at + i) * 2 ** (8 * i);
      return v;
    },
    write(at, size, value) {
      if (at >= DISPI && at < DISPI + 0x16) {
        // Registers are words; a byte alone does nothing.
        for (let i = 0; i + 1 < size; i += 2) vga.vbe.write((at + i - DISPI) >>> 1, (value >>> (8 * i)) & 0xffff);
        return;
      }
      for (let i = 0; i < size; i++)
        if (at + i >= IO_PORTS && at + i < IO_PORTS + 0x20) vga.writeByte(0x3c0 + at + i - IO_PORTS, (value >>> (8 * i)) & 0xff);
    },
  };
}
