// fw_cfg: how QEMU hands its firmware files and numbers (QEMU, docs/specs/fw_cfg). Selector at 0x510, data at 0x511, DMA at 0x514.
//
// SeaBIOS looks for it when the host bridge has QEMU's subsystem identity, and takes memory map, CPU count, boot order and ACPI tables from
// here. Numbers in the DMA interface and the file directory are big-endian, values of the old numbered items little-endian.

import type { Bus, Dma, PortDevice } from './bus.ts';

const SELECTOR = 0x510;
const DATA = 0x511;
const DMA_ADDRESS = 0x514;

/** Keys of the old numbered items. */
export const FW_CFG = {
  SIGNATURE: 0x00,
  ID: 0x01,
  UUID: 0x02,
  RAM_SIZE: 0x03,
  NOGRAPHIC: 0x04,
  NB_CPUS: 0x05,
  NUMA: 0x0d,
  BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  FILE_DIR: 0x19,
  FILE_FIRST: 0x20,
  ACPI_TABLES: 0x8000,
  SMBIOS_ENTRIES: 0x8001,
  IRQ0_OVERRIDE: 0x8002,
  E820_TABLE: 0x8003,
} as const;

const KEY_MASK = 0xbfff;
const WRITE_CHANNEL = 0x4000;
/** Traditional interface and DMA. */
const VERSION = 0x03;
const DMA_SIGNATURE = 'QEMU CFG';
const DMA_CTL = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const;
const NAME_SIZE = 56;
const ENTRY_SIZE = 64;

export interface FwCfgFile {
  name: string;
  content: Uint8Array;
  /** Called after the guest wrote into the file (through DMA); a file without it is read-only. */
  written?: (content: Uint8Array) => void;
}

export interface FwCfgOptions {
  dma: Dma;
  /** Numbered items beside signature, ID and file directory. */
  items?: ReadonlyMap<number, Uint8Array>;
  files?: readonly FwCfgFile[];
}

export interface FwCfgState {
  selector: number;
  offset: number;
  /** High half of the DMA address; writing the low one starts the transfer. */
  dmaHigh: number;
  /** Contents by key, as the guest may have changed them. */
  contents: Map<number, Uint8Array>;
}

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
/** A little-endian number of `size` bytes. */
export function le(value: number, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
}
/** 4 bytes with the first one highest. */
const swap32 = (v: number): number => ((v >>> 24) | ((v >>> 8) & 0xff00) | ((v << 8) & 0xff_0000) | (v << 24)) >>> 0;

export class FwCfg {
  state: FwCfgState;
  readonly #dma: Dma;
  readonly #written = new Map<number, (content: Uint8Array) => void>();

  constructor(options: FwCfgOptions) {
    this.#dma = options.dma;
    const contents = new Map(options.items ?? []);
    contents.set(FW_CFG.SIGNATURE, ascii('QEMU'));
    contents.set(FW_CFG.ID, le(VERSION, 4));
    // As in QEMU, names are in order: so the same files have the same keys whoever came first.
    const files = [...(options.files ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1));
    const directory = new Uint8Array(4 + ENTRY_SIZE * files.length);
    const view = new DataView(directory.buffer);
    view.setUint32(0, files.length);
    for (const [i, file] of files.entries()) {
      if (file.name.length >= NAME_SIZE) throw new RangeError(`fw_cfg: the name ${file.name} is longer than ${NAME_SIZE - 1} bytes`);
      const key = FW_CFG.FILE_FIRST + i;
      const entry = 4 + ENTRY_SIZE * i;
      view.setUint32(entry, file.content.length);
      view.setUint16(entry + 4, key);
      directory.set(ascii(file.name), entry + 8);
      contents.set(key, file.content.slice());
      if (file.written) this.#written.set(key, file.written);
    }
    contents.set(FW_CFG.FILE_DIR, directory);
    this.state = { selector: 0, offset: 0, dmaHigh: 0, contents };
  }

  attach(bus: Bus): void {
    // One after the other: a word at the selector must not run into the data port.
    bus.attachPorts(SELECTOR, 1, this.#selectorPort);
    bus.attachPorts(DATA, 1, this.#dataPort);
    bus.attachPorts(DMA_ADDRESS, 8, this.#dmaPort);
  }

  readonly #selectorPort: PortDevice = {
    in: (_port, size) => 2 ** (8 * size) - 1,
    out: (_port, size, value) => {
      if (size === 2) this.#select(value);
    },
  };
  readonly #dataPort: PortDevice = {
    in: (_port, size) => {
      let value = 0;
      for (let i = 0; i < size; i++) value += this.#next() * 2 ** (8 * i);
      return value;
    },
    // Writing through the data port left with QEMU 2.4; DMA is the way.
    out: () => {},
  };
  readonly #dmaPort: PortDevice = {
    in: (port, size) => {
      let value = 0;
      for (let i = 0; i < size; i++) value += (DMA_SIGNATURE.charCodeAt(port - DMA_ADDRESS + i) || 0) * 2 ** (8 * i);
      return value;
    },
    out: (port, size, value) => {
      if (size !== 4) return;
      if (port === DMA_ADDRESS) this.state.dmaHigh = swap32(value);
      else if (port === DMA_ADDRESS + 4) {
        const address = this.state.dmaHigh * 2 ** 32 + swap32(value);
        this.state.dmaHigh = 0;
        this.#transfer(address);
      }
    },
  };

  #select(selector: number): void {
    this.state.selector = selector;
    this.state.offset = 0;
  }

  #content(): Uint8Array | undefined {
    return this.state.contents.get(this.state.selector & KEY_MASK);
  }

  /** Past its end, and where nothing is, an item is zeros. */
  #next(): number {
    return this.#content()?.[this.state.offset++] ?? 0;
  }

  /** Carries out a FWCfgDmaAccess (control, length, address; big-endian) and writes the outcome over its control word. */
  #transfer(at: number): void {
    const view = new DataView(this.#dma.read(at, 16).slice().buffer);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    const address = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
    if (control & DMA_CTL.SELECT) this.#select(control >>> 16);
    // The operation bits are looked at in this order; none of them with SELECT alone is no error.
    const ok =
      control & DMA_CTL.READ
        ? this.#dmaRead(address, length)
        : control & DMA_CTL.WRITE
          ? this.#dmaWrite(address, length)
          : this.#skip(control & DMA_CTL.SKIP ? length : 0);
    const outcome = new Uint8Array(4);
    if (!ok) outcome[3] = DMA_CTL.ERROR;
    this.#dma.write(at, outcome);
  }

  #skip(length: number): boolean {
    this.state.offset += length;
    return true;
  }

  #dmaRead(address: number, length: number): boolean {
    const content = this.#content() ?? new Uint8Array(0);
    const CHUNK = 65_536;
    // The guest chooses the length: zeros past the end go out in pieces.
    for (let done = 0; done < length; done += CHUNK) {
      const out = new Uint8Array(Math.min(CHUNK, length - done));
      out.set(content.subarray(this.state.offset, this.state.offset + out.length));
      this.state.offset += out.length;
      this.#dma.write(address + done, out);
    }
    return true;
  }

  #dmaWrite(address: number, length: number): boolean {
    const content = this.#content();
    const written = this.#written.get(this.state.selector & KEY_MASK);
    const { offset, selector } = this.state;
    if (!content || !written || !(selector & WRITE_CHANNEL || selector >= FW_CFG.FILE_FIRST) || offset + length > content.length)
      return false;
    content.set(this.#dma.read(address, length), offset);
    this.state.offset += length;
    written(content);
    return true;
  }
}
