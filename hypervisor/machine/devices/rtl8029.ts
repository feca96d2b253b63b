// An NE2000 on PCI: the Realtek RTL8029 (10ec:8029; data sheet RTL8029AS), a DP8390 with its registers in the first 16 ports of BAR 0, the data
// port at 0x10 and the reset port at 0x1f.

import type { Bus, IrqLine, PortDevice } from './bus.ts';
import { Dp8390 } from './dp8390.ts';
import { PciFunction } from './pci-function.ts';

const PORTS = 0x100;
const DATA = 0x10;
const RESET = 0x18;
const CORE_PORTS = 0x20;

export class Rtl8029 extends PciFunction {
  readonly core: Dp8390;

  /** `irq` is the INTA# line of its slot. The frame that is sent is borrowed. */
  constructor(bus: Bus, mac: Uint8Array, irq: IrqLine, transmit: (frame: Uint8Array) => void) {
    const core = new Dp8390({ mac, irq, transmit });
    super({ vendor: 0x10ec, device: 0x8029, classCode: 0x020000, subsystemVendor: 0x1af4, subsystem: 0x1100, interruptPin: 1 }, [
      {
        index: 0,
        kind: 'io',
        size: PORTS,
        map: (base) => bus.attachPorts(base, PORTS, ports(core, base)),
        unmap: (base) => bus.detachPorts(base, PORTS),
      },
    ]);
    this.core = core;
  }

  /** See Dp8390.receive. */
  receive(frame: Uint8Array): boolean {
    return this.core.receive(frame);
  }
  override reset(): void {
    super.reset();
    this.core.reset();
  }
}

function ports(core: Dp8390, base: number): PortDevice {
  return {
    in(port, size) {
      const at = port - base;
      if (at >= DATA && at < RESET) return core.readData(size);
      if (at >= RESET && at < CORE_PORTS) {
        core.reset();
        return 0;
      }
      let value = 0;
      for (let i = 0; i < size; i++) value += (at + i < DATA ? core.read(at + i) : 0xff) * 2 ** (8 * i);
      return value;
    },
    out(port, size, value) {
      const at = port - base;
      if (at >= DATA && at < RESET) core.writeData(size, value);
      else for (let i = 0; i < size && at + i < DATA; i++) core.write(at + i, (value >>> (8 * i)) & 0xff);
    },
  };
}
