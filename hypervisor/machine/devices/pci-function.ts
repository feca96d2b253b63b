// One PCI function: its configuration space with a type 0 header, and its base address registers (PCI Local Bus 2.2, chapter 6).
//
// A device says which bytes can be written and what a BAR leads to; the function keeps the registers, and moves the device on the bus when
// software sizes, programs or disables a BAR.

/** Offsets in a type 0 header (PCI 2.2, figure 6-1). */
export const PCI = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  progIf: 0x09,
  subclass: 0x0a,
  baseClass: 0x0b,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  rom: 0x30,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

export const COMMAND = { io: 1, memory: 2, master: 4, parity: 0x40, serr: 0x100, intxDisable: 0x400 } as const;

/** Register bits of BARs (PCI 2.2, 6.2.5). */
const BAR_IO = 1;
const BAR_PREFETCHABLE = 8;
const ROM_ENABLE = 1;

export interface Bar {
  /** 0 to 5, or 'rom' for the expansion ROM. */
  readonly index: number | 'rom';
  readonly kind: 'io' | 'memory';
  /** A power of two: at least 4 for ports, 4096 for memory (2048 would do by the specification; the bus maps pages). */
  readonly size: number;
  readonly prefetchable?: boolean;
  /** The BAR decodes from now on at this address; called again with another when it moves, after unmap(). */
  map(base: number): void;
  unmap(base: number): void;
}

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision?: number;
  /** Base class, subclass and programming interface: 0xccsspp. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 1 to 4 for INTA# to INTD#; 0 when it has none. */
  readonly interruptPin?: number;
  /** The device has further functions. */
  readonly multifunction?: boolean;
}

/** Plain data: what a saved function consists of. */
export interface PciFunctionState {
  config: Uint8Array;
}

export class PciFunction {
  readonly state: PciFunctionState = { config: new Uint8Array(256) };
  /** Which bits of each byte software can write. */
  protected readonly writable = new Uint8Array(256);
  private readonly bars: readonly Bar[];
  /** Where each BAR decodes at the moment; undefined: nowhere. */
  private readonly mapped: (number | undefined)[];
  /** The configuration space at power-on. */
  private readonly initial = new Uint8Array(256);

  constructor(identity: PciIdentity, bars: readonly Bar[] = []) {
    this.bars = bars;
    this.mapped = bars.map(() => undefined);
    this.set16(PCI.vendor, identity.vendor);
    this.set16(PCI.device, identity.device);
    this.config[PCI.revision] = identity.revision ?? 0;
    this.config[PCI.progIf] = identity.classCode;
    this.config[PCI.subclass] = identity.classCode >>> 8;
    this.config[PCI.baseClass] = identity.classCode >>> 16;
    this.config[PCI.headerType] = identity.multifunction ? 0x80 : 0;
    this.set16(PCI.subsystemVendor, identity.subsystemVendor ?? 0);
    this.set16(PCI.subsystem, identity.subsystem ?? 0);
    this.config[PCI.interruptPin] = identity.interruptPin ?? 0;
    const { io, memory, master, serr, intxDisable } = COMMAND;
    this.allow16(PCI.command, io | memory | master | serr | intxDisable);
    this.writable[PCI.interruptLine] = 0xff;
    for (const bar of bars) {
      const at = barOffset(bar);
      const rom = bar.index === 'rom';
      this.set32(at, rom ? 0 : bar.kind === 'io' ? BAR_IO : bar.prefetchable ? BAR_PREFETCHABLE : 0);
      this.allow32(at, (-bar.size | (rom ? ROM_ENABLE : 0)) >>> 0);
    }
    this.rememberInitial();
  }

  protected get config(): Uint8Array {
    return this.state.config;
  }
  /** To be called by a device that has filled in registers of its own: this is what a reset brings back. */
  protected rememberInitial(): void {
    this.initial.set(this.config);
  }
  protected set16(at: number, v: number): void {
    this.config[at] = v;
    this.config[at + 1] = v >>> 8;
  }
  protected set32(at: number, v: number): void {
    this.set16(at, v & 0xffff);
    this.set16(at + 2, v >>> 16);
  }
  protected allow16(at: number, mask: number): void {
    this.writable[at] = mask;
    this.writable[at + 1] = mask >>> 8;
  }
  protected allow32(at: number, mask: number): void {
    this.allow16(at, mask & 0xffff);
    this.allow16(at + 2, mask >>> 16);
  }
  get16(at: number): number {
    return this.config[at]! | (this.config[at + 1]! << 8);
  }
  get32(at: number): number {
    return (this.get16(at) | (this.get16(at + 2) << 16)) >>> 0;
  }
  get command(): number {
    return this.get16(PCI.command);
  }

  /** A configuration read; `at` is within 256 bytes and the access does not cross a dword. */
  read(at: number, size: number): number {
    let v = 0;
    for (let i = 0; i < size; i++) v += this.config[at + i]! * 2 ** (8 * i);
    return v;
  }
  write(at: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      const mask = this.writable[at + i]!;
      this.config[at + i] = (this.config[at + i]! & ~mask) | ((value >>> (8 * i)) & mask);
    }
    this.remap();
    this.written(at, size);
  }
  /** A device's own registers: called after each write to the configuration space. */
  protected written(_at: number, _size: number): void {}

  reset(): void {
    this.config.set(this.initial);
    this.remap();
    this.written(0, 256);
  }
  /** To be called when `state` was filled from a saved one. */
  restored(): void {
    this.remap();
    this.written(0, 256);
  }

  /** Where a BAR decodes: undefined when it is switched off, not programmed, or would wrap around (as while it is being sized). */
  private decodes(bar: Bar): number | undefined {
    const v = this.get32(barOffset(bar));
    const base = (v & -bar.size) >>> 0;
    const last = base + bar.size - 1;
    if (bar.kind === 'io') return this.command & COMMAND.io && base !== 0 && last < 0x10000 ? base : undefined;
    if (bar.index === 'rom' && !(v & ROM_ENABLE)) return undefined;
    return this.command & COMMAND.memory && base !== 0 && last < 0xffff_ffff ? base : undefined;
  }
  private remap(): void {
    this.bars.forEach((bar, i) => {
      const old = this.mapped[i];
      const base = this.decodes(bar);
      if (base === old) return;
      this.mapped[i] = base;
      if (old !== undefined) bar.unmap(old);
      if (base !== undefined) bar.map(base);
    });
  }
}

const barOffset = (bar: Bar): number => (bar.index === 'rom' ? PCI.rom : PCI.bar0 + 4 * bar.index);
