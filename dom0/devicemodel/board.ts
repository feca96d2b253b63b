// The board of an HVM domain's PC as emulated devices see it, and what the device model needs of the devices. dom0 may not import the machine, so
// these are the shapes of machine/devices/bus.ts again; whoever hands the devices in (xl/device-model-parts.ts) has both types checked
// against each other.

/** An interrupt line: the device says whether it drives it. */
export type IrqLine = (level: boolean) => void;

export interface Timer {
  cancel(): void;
}
/** Virtual time: ns of system time, a double. */
export interface Timeline {
  readonly now: number;
  schedule(at: number, run: () => void): Timer;
}

/** Sizes are 1, 2 or 4 bytes, values unsigned; `port` is the absolute port number. */
export interface PortDevice {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
}
/** Sizes are 1, 2 or 4, values unsigned; `offset` is relative to the range. */
export interface MemoryDevice {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

export interface Bus {
  attachPorts(first: number, count: number, device: PortDevice): void;
  detachPorts(first: number, count: number): void;
  /** Guest-physical [base, base + size); both multiples of 4096. */
  attachMemory(base: number, size: number, device: MemoryDevice): void;
  detachMemory(base: number, size: number): void;
}

/** Guest memory as a bus master reaches it. What is not there reads as ones and ignores writes. */
export interface Dma {
  read(address: number, length: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
}

/** One function's configuration space, as mechanism 1 reaches it. `at` is within 256 bytes; an access does not cross a dword. */
export interface PciConfig {
  read(at: number, size: number): number;
  write(at: number, size: number, value: number): void;
}

/** What devices are wired to. */
export interface DmBoard {
  readonly bus: Bus;
  readonly timeline: Timeline;
  readonly dma: Dma;
  /** ISA interrupt 0 to 15, at the vPIC and the vIO-APIC alike. */
  isaIrq(irq: number): IrqLine;
  /** INTA# (1) to INTD# (4) of a slot of bus 0: the hypervisor routes it (hvm_pci_intx_gsi, hvm_pci_intx_link). */
  pciIntx(slot: number, pin: number): IrqLine;
  /** The PIIX3's PIRQRC registers: ISA interrupt of link 0 to 3, or 0 for none. */
  setPciLinkRoute(link: number, isaIrq: number): void;
  /** The domain shuts down: the guest entered S5, or asked for a reset by a chipset register. */
  shutdown(reason: 'poweroff' | 'reboot'): void;
}

/** A base address register of a function described by the device model. Sizes are powers of two. */
export interface BarSpec {
  readonly index: number;
  readonly kind: 'io' | 'memory';
  readonly size: number;
  readonly prefetchable?: boolean;
  map(base: number): void;
  unmap(base: number): void;
}
export interface FunctionSpec {
  readonly vendor: number;
  readonly device: number;
  readonly revision?: number;
  /** 0xccsspp. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  readonly interruptPin?: number;
}

/** What a drive keeps its data in: see devicemodel/drive-store.ts. Exactly one answer for each call, at once or later. */
export interface DriveStore {
  readonly isAsync: true;
  /** Of 512 bytes. */
  readonly sectors: number;
  readonly readOnly: boolean;
  read(lba: number, count: number, done: (bytes: Uint8Array | undefined) => void): void;
  /** The bytes are the store's until `done`. */
  write(lba: number, bytes: Uint8Array, done: (ok: boolean) => void): void;
  flush(done: (ok: boolean) => void): void;
}

export type DriveSpec =
  | { readonly kind: 'disk'; readonly store: DriveStore }
  | { readonly kind: 'cdrom'; readonly store: DriveStore | undefined };

/** An emulated network card's end of the cable. */
export interface NicSpec {
  readonly mac: Uint8Array;
  /** The card sends; the frame is borrowed. */
  transmit(frame: Uint8Array): void;
}
export interface Nic {
  /** False: no room, or the receiver is off. The frame is borrowed. */
  receive(frame: Uint8Array): boolean;
}

export interface PlatformOptions {
  /** Primary master, primary slave, secondary master, secondary slave. */
  readonly drives: readonly (DriveSpec | undefined)[];
  readonly nics: readonly NicSpec[];
  readonly videoBios: Uint8Array | undefined;
  /** Bytes of memory for the CMOS sizes. */
  readonly ramBelow4G: number;
  readonly ramAbove4G: number;
  readonly vcpus: number;
  /** Letters of xl.cfg's boot=: c disk, d CD, n network, a floppy. */
  readonly boot: string;
  /** Seconds since 1970 for the clock's date registers that the hypervisor does not own. */
  readonly epoch: number;
  /** COM1, when there is one. */
  readonly serial: ((byte: number) => void) | undefined;
  /** Told when the wire to COM1 has room again. */
  readonly serialDrained: () => void;
  /** Text of the debug ports. */
  readonly debug: (byte: number) => void;
}

/** The devices, put together for one domain. */
export interface Platform {
  /** The function in a slot of bus 0, or undefined. */
  pci(slot: number, fn: number): PciConfig | undefined;
  addFunction(slot: number, spec: FunctionSpec, bars: readonly BarSpec[]): void;
  readonly nics: readonly Nic[];
  /** What is typed at COM1's other end; returns how many bytes it took. */
  typeSerial(bytes: Uint8Array): number;
  /** A key by QEMU's sendkey name goes down or up at the PS/2 keyboard; false for a name that is no key's. */
  key(name: string, isDown: boolean): boolean;
  /** The lines of the screen in a text mode, or undefined. */
  screenText(): string[] | undefined;
  /** Disks (not CD drives) leave their channels; `onlyAuxiliary` spares the primary master. */
  unplugDisks(onlyAuxiliary: boolean): void;
  unplugNics(): void;
  pressPowerButton(): void;
  reset(): void;
}

/** Makes the devices on a board. From xl, which knows the machine. */
export type CreatePlatform = (board: DmBoard, options: PlatformOptions) => Platform;
