// Carries out one request against the devices: what QEMU's xen-hvm.c calls cpu_ioreq_pio, cpu_ioreq_move and cpu_ioreq_config. A request is the
// guest's instruction as Xen decoded it, so nothing in it is trusted: sizes are checked, and what leads nowhere reads as ones.
import { IOREQ_TYPE_COPY, IOREQ_TYPE_INVALIDATE, IOREQ_TYPE_PCI_CONFIG, IOREQ_TYPE_PIO, IOREQ_TYPE_TIMEOFFSET } from '@ringworld/abi';
import type { PciConfig } from './board.ts';
import type { GuestMemory } from './guest-memory.ts';
import { type IoSpace, ones } from './io-space.ts';
import type { Ioreq } from './ioreq-page.ts';

/** Items of one request: Xen never sends more than fit a page. */
const MAX_COUNT = 4096;

export interface IoreqTargets {
  readonly space: IoSpace;
  readonly memory: GuestMemory;
  /** The function at segment, bus, device and function (XEN_DMOP_PCI_SBDF), or undefined. */
  pci(sbdf: number): PciConfig | undefined;
  /** The guest has set its clock: seconds that it is ahead of the host's. */
  timeOffset(seconds: number): void;
}

export class IoreqHandler {
  /** Of the last request that was a read and no pointer: unsigned halves. */
  low = 0;
  high = 0;
  private readonly targets: IoreqTargets;

  constructor(targets: IoreqTargets) {
    this.targets = targets;
  }

  /** Carries out `r`; what a read gave is in `low` and `high`. False: this is no request that Xen makes. */
  handle(r: Ioreq): boolean {
    switch (r.type) {
      case IOREQ_TYPE_PIO:
        return this.isSane(r, 4) && this.portAccess(r);
      case IOREQ_TYPE_COPY:
        return this.isSane(r, 8) && this.memoryAccess(r);
      case IOREQ_TYPE_PCI_CONFIG:
        return this.isSane(r, 4) && this.configAccess(r);
      case IOREQ_TYPE_TIMEOFFSET:
        this.targets.timeOffset(r.data + (r.dataHigh | 0) * 0x1_0000_0000);
        return true;
      case IOREQ_TYPE_INVALIDATE:
        this.targets.memory.invalidate();
        return true;
      default:
        return false;
    }
  }

  private isSane(r: Ioreq, maxSize: number): boolean {
    const { size } = r;
    if ((size !== 1 && size !== 2 && size !== 4 && size !== 8) || size > maxSize) return false;
    // Without a pointer there is room for one item only.
    return r.count >= 1 && r.count <= (r.isPointer ? MAX_COUNT : 1);
  }

  /** IN, OUT, INS and OUTS. All items go to the same port. */
  private portAccess(r: Ioreq): boolean {
    const { space, memory } = this.targets;
    const port = r.addr & 0xffff;
    if (!r.isPointer) {
      if (r.isRead) this.result(space.in(port, r.size), 0);
      else space.out(port, r.size, cut(r.data, r.size));
      return true;
    }
    for (let i = 0; i < r.count; i++) {
      const at = r.item(r.pointer, i);
      if (r.isRead) memory.writeItem(at, r.size, space.in(port, r.size));
      else space.out(port, r.size, memory.readItem(at, r.size));
    }
    return true;
  }

  /** An access to memory that is a device's; with a pointer MOVS, STOS or LODS between it and RAM. Both addresses step. */
  private memoryAccess(r: Ioreq): boolean {
    const { space, memory } = this.targets;
    const { size } = r;
    const base = r.addr + r.addrHigh * 0x1_0000_0000;
    const half = Math.min(size, 4);
    if (!r.isPointer) {
      if (r.isRead) this.result(space.read(base, half), size === 8 ? space.read(base + 4, 4) : 0);
      else {
        space.write(base, half, cut(r.data, half));
        if (size === 8) space.write(base + 4, 4, r.dataHigh);
      }
      return true;
    }
    for (let i = 0; i < r.count; i++) {
      const device = r.item(base, i);
      const ram = r.item(r.pointer, i);
      for (let part = 0; part < size; part += half) {
        if (r.isRead) memory.writeItem(ram + part, half, space.read(device + part, half));
        else space.write(device + part, half, memory.readItem(ram + part, half));
      }
    }
    return true;
  }

  /** An access to the configuration data port, already translated: the register is in the low half of addr. */
  private configAccess(r: Ioreq): boolean {
    const { memory } = this.targets;
    const fn = this.targets.pci(r.addrHigh);
    const at = r.addr;
    // Beyond 256 bytes is PCI Express's space, which these functions have not; nor may an access cross a dword.
    const exists = fn !== undefined && at + r.size <= 0x100 && (at & 3) + r.size <= 4;
    for (let i = 0; i < r.count; i++) {
      const ram = r.item(r.pointer, i);
      if (r.isRead) {
        const value = exists ? fn.read(at, r.size) : ones(r.size);
        if (r.isPointer) memory.writeItem(ram, r.size, value);
        else this.result(value, 0);
      } else if (exists) fn.write(at, r.size, r.isPointer ? memory.readItem(ram, r.size) : cut(r.data, r.size));
    }
    return true;
  }

  private result(low: number, high: number): void {
    this.low = low >>> 0;
    this.high = high >>> 0;
  }
}

/** The low `size` bytes of an unsigned number. */
const cut = (value: number, size: number): number => (size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value);
