// The two 8237A DMA controllers and their page registers (Intel data sheet 231466): registers only.
//
// No device of this board asks for a transfer: there is no floppy drive and no sound card. Firmware and kernels program the channels all the
// same, and some read back what they wrote to see whether the machine has ISA DMA at all.

import type { Bus, PortDevice } from './bus.ts';
import { type ByteDevice, bytePorts } from './byte-ports.ts';

interface Channel {
  baseAddress: number;
  baseCount: number;
  address: number;
  count: number;
  mode: number;
}

interface ControllerState {
  channels: Channel[];
  command: number;
  request: number;
  mask: number;
  /** The byte pointer: the next access to an address or count is to its high byte. */
  high: boolean;
}

const controller = (): ControllerState => ({
  channels: Array.from({ length: 4 }, () => ({ baseAddress: 0, baseCount: 0, address: 0, count: 0, mode: 0 })),
  command: 0,
  request: 0,
  mask: 0x0f,
  high: false,
});

/** One controller; `index` is the register, 0 to 15. */
function readController(c: ControllerState, index: number): number {
  if (index >= 8) return index === 8 ? c.request << 4 : index === 15 ? 0xf0 | c.mask : 0;
  const channel = c.channels[index >> 1]!;
  const value = index & 1 ? channel.count : channel.address;
  c.high = !c.high;
  return c.high ? value & 0xff : value >> 8;
}

function masterClear(c: ControllerState): void {
  c.command = 0;
  c.request = 0;
  c.mask = 0x0f;
  c.high = false;
}

function writeController(c: ControllerState, index: number, value: number): void {
  const bit = 1 << (value & 3);
  switch (index) {
    case 8:
      c.command = value;
      break;
    case 9:
      c.request = value & 4 ? c.request | bit : c.request & ~bit;
      break;
    case 10:
      c.mask = value & 4 ? c.mask | bit : c.mask & ~bit;
      break;
    case 11:
      c.channels[value & 3]!.mode = value & 0xfc;
      break;
    case 12:
      c.high = false;
      break;
    case 13:
      masterClear(c);
      break;
    case 14:
      c.mask = 0;
      break;
    case 15:
      c.mask = value & 0x0f;
      break;
    default: {
      const channel = c.channels[index >> 1]!;
      const [base, current] = index & 1 ? (['baseCount', 'count'] as const) : (['baseAddress', 'address'] as const);
      channel[base] = c.high ? (channel[base] & 0xff) | (value << 8) : (channel[base] & 0xff00) | value;
      channel[current] = channel[base];
      c.high = !c.high;
    }
  }
}

export class Dma8237 {
  state = { first: controller(), second: controller(), pages: new Array<number>(16).fill(0) };

  attach(bus: Bus): void {
    bus.attachPorts(
      0x00,
      16,
      this.#ports(
        (port) => readController(this.state.first, port),
        (port, v) => writeController(this.state.first, port, v),
      ),
    );
    // The second controller moves words: its registers are two ports apart.
    bus.attachPorts(
      0xc0,
      32,
      this.#ports(
        (port) => readController(this.state.second, (port - 0xc0) >> 1),
        (port, v) => writeController(this.state.second, (port - 0xc0) >> 1, v),
      ),
    );
    // 0x80 belongs to no channel: it is where firmware posts its progress, and where Linux writes to let time pass.
    bus.attachPorts(
      0x80,
      16,
      this.#ports(
        (port) => this.state.pages[port - 0x80]!,
        (port, v) => {
          this.state.pages[port - 0x80] = v;
        },
      ),
    );
  }

  reset(): void {
    masterClear(this.state.first);
    masterClear(this.state.second);
  }

  #ports(readByte: ByteDevice['readByte'], writeByte: ByteDevice['writeByte']): PortDevice {
    return bytePorts({ readByte, writeByte });
  }
}
