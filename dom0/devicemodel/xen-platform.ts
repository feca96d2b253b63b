// The Xen platform PCI device (5853:0001): how PV drivers in an HVM domain find out that they may have the emulated devices taken away (Xen's
// docs/misc/hvm-emulated-unplug.pandoc, version 1 of the protocol), and a place where they log. Its memory BAR is room for grant tables and
// shared pages: Xen puts RAM there, so nothing answers.
import type { BarSpec, Bus, FunctionSpec, PortDevice, Timeline } from './board.ts';
import { ones } from './io-space.ts';

/** The ports that are there whether or not the function is programmed. */
export const PLATFORM_PORT = 0x10;
const PLATFORM_PORTS = 16;
export const PLATFORM_MAGIC = 0x49d2;
/** Read instead once drivers are on the list of those that must not be loaded. */
export const PLATFORM_BLOCKED = 0xd249;
const PROTOCOL_VERSION = 1;
export const UNPLUG = { ideDisks: 1, nics: 2, auxIdeDisks: 4, nvmeDisks: 8 } as const;

/** public/hvm/pvdrivers.h. */
const PRODUCTS: Readonly<Record<number, string>> = {
  1: 'xensource-windows',
  2: 'gplpv-windows',
  3: 'linux',
  4: 'xenserver-windows-v7.0+',
  5: 'xenserver-windows-v7.2+',
  6: 'experimental',
};

const IO_BYTES = 0x100;
const MEMORY_BYTES = 0x100_0000;
export const PLATFORM_FUNCTION: FunctionSpec = {
  vendor: 0x5853,
  device: 0x0001,
  revision: 1,
  classCode: 0xff8000,
  subsystemVendor: 0x5853,
  subsystem: 0x0001,
  interruptPin: 1,
};

/** A driver's log: so many bytes at once, and so many more each second of virtual time. */
const LOG_BURST = 16 * 1024;
const LOG_PER_NS = 4096 / 1e9;
const MAX_LINE = 4095;

export interface XenPlatformOptions {
  readonly timeline: Pick<Timeline, 'now'>;
  /** Are drivers of this product and build on the blacklist (/mh/driver-blacklist/<product>/<build>)? */
  isBlocked(product: string, build: number): boolean;
  unplugDisks(onlyAuxiliary: boolean): void;
  unplugNics(): void;
  /** A line that drivers have logged, cut where they log too much. */
  log(line: string): void;
}

export interface XenPlatformState {
  flags: number;
  product: number;
  build: number;
  isBlocked: boolean;
  /** UNPLUG bits that the guest has asked for. */
  unplugged: number;
}

export class XenPlatform {
  readonly state: XenPlatformState = { flags: 0, product: 0, build: 0, isBlocked: false, unplugged: 0 };
  private readonly options: XenPlatformOptions;
  private line = '';
  private credit = LOG_BURST;
  private creditAt = 0;

  constructor(options: XenPlatformOptions) {
    this.options = options;
  }

  attach(bus: Bus): void {
    bus.attachPorts(PLATFORM_PORT, PLATFORM_PORTS, this.ports);
  }

  /** For the function: ports with the flags and the log, and the room for shared pages. */
  bars(bus: Bus): BarSpec[] {
    const registers: PortDevice & { base: number } = {
      base: 0,
      in: (port, size) => (port === registers.base && size === 1 ? this.state.flags : ones(size)),
      out: (port, size, value) => {
        if (size !== 1) return;
        if (port === registers.base) this.state.flags = value & 1;
        else if (port === registers.base + 8) this.logByte(value);
      },
    };
    return [
      {
        index: 0,
        kind: 'io',
        size: IO_BYTES,
        map: (base) => {
          registers.base = base;
          bus.attachPorts(base, IO_BYTES, registers);
        },
        unmap: (base) => bus.detachPorts(base, IO_BYTES),
      },
      { index: 1, kind: 'memory', size: MEMORY_BYTES, prefetchable: true, map: () => {}, unmap: () => {} },
    ];
  }

  /** The meaning of a port depends on the width of the access: that is the protocol. */
  private readonly ports: PortDevice = {
    in: (port, size) => {
      const at = port - PLATFORM_PORT;
      if (size === 2 && at === 0) return this.state.isBlocked ? PLATFORM_BLOCKED : PLATFORM_MAGIC;
      if (size === 1 && at === 0) return this.state.flags;
      if (size === 1 && at === 2) return PROTOCOL_VERSION;
      return ones(size);
    },
    out: (port, size, value) => {
      const at = port - PLATFORM_PORT;
      if (at === 0) {
        if (size === 1) this.state.flags = value & 1;
        else if (size === 2) this.unplug(value);
        else this.setBuild(value);
      } else if (at === 2) {
        if (size === 1) this.logByte(value);
        else if (size === 2) this.state.product = value;
      }
    },
  };

  private setBuild(build: number): void {
    const s = this.state;
    s.build = build;
    const product = PRODUCTS[s.product];
    s.isBlocked = product !== undefined && this.options.isBlocked(product, build);
  }

  private unplug(mask: number): void {
    const { options, state } = this;
    // What is gone stays gone; a driver may ask again.
    const wanted = mask & ~state.unplugged;
    state.unplugged |= mask & (UNPLUG.ideDisks | UNPLUG.nics | UNPLUG.auxIdeDisks);
    if (wanted & UNPLUG.ideDisks) options.unplugDisks(false);
    else if (wanted & UNPLUG.auxIdeDisks && !(state.unplugged & UNPLUG.ideDisks)) options.unplugDisks(true);
    if (wanted & UNPLUG.nics) options.unplugNics();
  }

  private logByte(byte: number): void {
    const { now } = this.options.timeline;
    this.credit = Math.min(LOG_BURST, this.credit + (now - this.creditAt) * LOG_PER_NS);
    this.creditAt = now;
    if (this.credit < 1) return;
    this.credit--;
    if (byte !== 0x0a) this.line += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?';
    if (byte !== 0x0a && this.line.length < MAX_LINE) return;
    this.options.log(this.line);
    this.line = '';
  }
}
