// Devices with an 8-bit data path: the ISA bridge splits a wider access into single bytes, lowest port first.

import type { PortDevice } from './bus.ts';

export interface ByteDevice {
  readByte(port: number): number;
  writeByte(port: number, value: number): void;
}

export function bytePorts(device: ByteDevice): PortDevice {
  return {
    in(port, size) {
      let value = 0;
      for (let i = 0; i < size; i++) value += device.readByte(port + i) * 2 ** (8 * i);
      return value;
    },
    out(port, size, value) {
      for (let i = 0; i < size; i++) device.writeByte(port + i, (value >>> (8 * i)) & 0xff);
    },
  };
}
