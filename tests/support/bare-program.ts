// Programs for a board without firmware: assembled code at 0x10000 in flat 32-bit protected mode, a stack, and an IDT whose gates lead to
// labels of the program.

import { type Assembler, assembler, Image } from '@ringworld/guests';
import { Board, type BoardOptions, enterAt } from '@ringworld/hypervisor';

const CODE = 0x1_0000;
const STACK = 0x8_0000;
const GDT = 0x500;
const IDT = 0x1000;
/** Where IDTR's image lies, for LIDT. */
export const IDTR = 0x600;
export const LAPIC = 0xfee0_0000;

export interface Program {
  readonly board: Board;
  read32(at: number): number;
  address(label: string): number;
}

/** A board with the program loaded and the first CPU at its start. `gates`: label by vector. */
export function program(
  build: (a: Assembler<32>, image: Image) => void,
  options: Partial<BoardOptions> & { gates?: Readonly<Record<number, string>> } = {},
): Program {
  const { gates = {}, ...rest } = options;
  const board = new Board({ ramBytes: 4 << 20, cpus: 1, engine: 'interp', ...rest });
  board.reset();
  const image = new Image();
  build(assembler(image, 32), image);
  const linked = image.link(BigInt(CODE));
  for (const s of linked.sections) board.dma.write(Number(s.address), s.bytes);
  const tables = new DataView(new ArrayBuffer(0x1000));
  const write = (at: number, bytes: ArrayBuffer) => board.dma.write(at, new Uint8Array(bytes));
  tables.setBigUint64(0x10, 0x00cf_9b00_0000_ffffn, true);
  tables.setBigUint64(0x18, 0x00cf_9300_0000_ffffn, true);
  write(GDT, tables.buffer.slice(0, 32));
  tables.setUint16(0, 0x7ff, true);
  tables.setUint32(2, IDT, true);
  write(IDTR, tables.buffer.slice(0, 6));
  const idt = new DataView(new ArrayBuffer(0x800));
  for (const [vector, label] of Object.entries(gates)) {
    const to = Number(linked.address(label));
    idt.setUint32(Number(vector) * 8, (0x10 << 16) | (to & 0xffff), true);
    idt.setUint32(Number(vector) * 8 + 4, ((to & 0xffff_0000) | 0x8e00) >>> 0, true);
  }
  write(IDT, idt.buffer);
  enterAt(board, {
    mode: 'protected32',
    ip: CODE,
    sp: STACK,
    codeSelector: 0x10,
    dataSelector: 0x18,
    gdt: { base: GDT, limit: 31 },
  });
  return {
    board,
    read32: (at) => new DataView(board.dma.read(at, 4).buffer).getUint32(0, true),
    address: (label) => Number(linked.address(label)),
  };
}
