// The IDE function of the PIIX3 (Intel 82371SB, order 290550, chapter 2.3): two channels at the PC's own ports and their bus masters in
// BAR 4.

import type { Bus } from './bus.ts';
import { bytePorts } from './byte-ports.ts';
import type { IdeChannel } from './ide.ts';
import { PC_CHANNELS } from './ide.ts';
import { PCI, PciFunction } from './pci-function.ts';

/** IDETIM of the two channels (290550, 2.3.9): bit 15 lets the channel decode its ports. */
const IDETIM = 0x40;
const BUS_MASTER_PORTS = 16;

export class Piix3Ide extends PciFunction {
  private readonly channels: readonly [IdeChannel, IdeChannel];

  constructor(bus: Bus, channels: readonly [IdeChannel, IdeChannel]) {
    const masters = (base: number) =>
      bytePorts({
        readByte: (port) => channels[(port - base) & 8 ? 1 : 0].busMaster.readByte((port - base) & 7),
        writeByte: (port, value) => channels[(port - base) & 8 ? 1 : 0].busMaster.writeByte((port - base) & 7, value),
      });
    super({ vendor: 0x8086, device: 0x7010, classCode: 0x010180, subsystemVendor: 0x1af4, subsystem: 0x1100 }, [
      {
        index: 4,
        kind: 'io',
        size: BUS_MASTER_PORTS,
        map: (base) => bus.attachPorts(base, BUS_MASTER_PORTS, masters(base)),
        unmap: (base) => bus.detachPorts(base, BUS_MASTER_PORTS),
      },
    ]);
    this.channels = channels;
    this.set16(PCI.status, 0x0280);
    for (let at = IDETIM; at < 0x100; at++) this.writable[at] = 0xff;
    this.rememberInitial();
    // The ports of a PC answer from power-on, whatever IDETIM says: so it is in QEMU, and SeaBIOS does not always set it first.
    for (const i of [0, 1] as const) channels[i].attachPorts(bus, PC_CHANNELS[i].command, PC_CHANNELS[i].control);
  }

  override reset(): void {
    super.reset();
    for (const c of this.channels) c.reset();
  }
}
