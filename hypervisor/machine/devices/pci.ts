// PCI bus 0 behind configuration mechanism 1 (PCI Local Bus 2.2, 3.2.2.3.2): the ports 0xCF8 and 0xCFC, and the interrupt pins of the slots.

import type { Bus, IrqLine, PortDevice } from './bus.ts';
import type { PciFunction } from './pci-function.ts';

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const ENABLE = 0x8000_0000;

export interface PciBusState {
  address: number;
  /** Bit n: the device of slot n drives this pin; by pin, INTA# first. */
  pins: [number, number, number, number];
}

export class PciBus implements PortDevice {
  readonly state: PciBusState = { address: 0, pins: [0, 0, 0, 0] };
  /** By slot * 8 + function. */
  private readonly functions: (PciFunction | undefined)[] = new Array(256);
  /** The board's wires PIRQ0 to PIRQ3, from the slots to the interrupt router. */
  onPirq: (wire: number, level: boolean) => void = () => {};

  /** Port 0xCF9, in the middle, belongs to the chipset's reset control: that is to be attached after this. */
  attach(bus: Bus): void {
    bus.attachPorts(CONFIG_ADDRESS, 8, this);
  }
  /** Puts a function into a slot (0 to 31). */
  add(slot: number, fn: number, device: PciFunction): void {
    this.functions[slot * 8 + fn] = device;
  }
  /** Takes a function out of its slot. It is the caller's to see that it decodes nothing any more. */
  remove(slot: number, fn: number): void {
    this.functions[slot * 8 + fn] = undefined;
  }
  at(slot: number, fn: number): PciFunction | undefined {
    return this.functions[slot * 8 + fn];
  }

  in(port: number, size: number): number {
    // Narrower accesses to the address register pass through to the ISA bus, where nobody listens.
    if (port < CONFIG_DATA) return port === CONFIG_ADDRESS && size === 4 ? this.state.address : 2 ** (8 * size) - 1;
    const device = this.selected();
    return device ? device.read((this.state.address & 0xfc) + (port & 3), inDword(port, size)) : 2 ** (8 * size) - 1;
  }
  out(port: number, size: number, value: number): void {
    if (port >= CONFIG_DATA) {
      this.selected()?.write((this.state.address & 0xfc) + (port & 3), inDword(port, size), value);
      return;
    }
    if (port === CONFIG_ADDRESS && size === 4) this.state.address = value;
  }
  /** The function that the address register names: bus in bits 23:16, slot 15:11, function 10:8. */
  private selected(): PciFunction | undefined {
    const { address } = this.state;
    if (address < ENABLE || (address & 0x00ff_0000) !== 0) return undefined;
    return this.functions[(address >>> 8) & 0xff];
  }

  /** The interrupt pin (1 to 4) of a slot as a line. Boards turn the pins by one from slot to slot, so that they share evenly. */
  pin(slot: number, pin: number): IrqLine {
    const wire = (slot - 1 + pin - 1) & 3;
    return (level) => {
      const { pins } = this.state;
      const bit = 1 << slot;
      const drivers = level ? pins[wire]! | bit : pins[wire]! & ~bit;
      if (drivers === pins[wire]) return;
      pins[wire] = drivers;
      this.onPirq(wire, drivers !== 0);
    };
  }

  reset(): void {
    this.state.address = 0;
    for (const f of this.functions) f?.reset();
  }
}

/** Bytes of an access that lie in the dword that CONFIG_DATA stands for. */
const inDword = (port: number, size: number): number => Math.min(size, 4 - (port & 3));
