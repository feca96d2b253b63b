// Disks and CDs with programs of our own on them, for firmware to boot: they use BIOS services in real mode, and end at the exit port.
import {
  type Assembler,
  addr,
  ah,
  al,
  assembler,
  ax,
  bl,
  bx,
  cx,
  dl,
  ds,
  dx,
  es,
  Image,
  mem8,
  mem16,
  short,
  si,
  sp,
  ss,
} from '@ringworld/guests';

const SECTOR = 512;
const CD_BLOCK = 2048;
const LOADED_AT = 0x7c00;
/** Where programs read sectors to. */
const BUFFER = 0x8000;
const COM1 = 0x3f8;
const EXIT_PORT = 0xf4;
/** What a program writes to the exit port: a process that runs it ends with 2n + 1. */
const DONE = 0x10;
const FAILED = 0x20;
export const EXIT_DONE = DONE * 2 + 1;

type Real = Assembler<16>;

/** Segments zero, a stack below the program, the boot drive in `drive`. */
function begin(a: Real): void {
  a.cli()
    .xor(ax, ax)
    .mov(ds, ax)
    .mov(es, ax)
    .mov(ss, ax)
    .mov(sp, LOADED_AT)
    .cld()
    .sti()
    .mov(mem8(addr('drive')), dl);
}

/** `say` prints the string at SI on the screen by INT 10h and on the serial port; `send` sends AL. */
function library(a: Real): void {
  a.label('say').lodsb().test(al, al).jz('said');
  a.call('send').mov(ah, 0x0e).mov(bx, 7).int(0x10).jmp('say');
  a.label('said').ret();
  a.label('send')
    .push(dx)
    .push(ax)
    .mov(dx, COM1 + 5);
  a.label('sendWait').in(al, dx).test(al, 0x20).jz('sendWait');
  a.pop(ax).mov(dx, COM1).out(dx, al).pop(dx).ret();
  a.label('failed').mov(si, addr('failure')).call('say').mov(al, FAILED).mov(dx, EXIT_PORT).out(dx, al);
  a.label('stop').hlt().jmp('stop');
  a.label('failure').asciz('FAILED\r\n');
}

/** Disk address packet (EDD 3.0): `count` blocks at `lba` to BUFFER. */
function packet(a: Real, name: string, lba: number, count = 1): void {
  a.align(4).label(name).dw(16, count, BUFFER, 0).dq(lba);
}
/** INT 13h with AH = `fn` and the packet. */
const extended = (a: Real, fn: number, name: string): Real =>
  a
    .mov(ah, fn)
    .mov(al, 0)
    .mov(dl, mem8(addr('drive')))
    .mov(si, addr(name))
    .int(0x13)
    .jc('failed');
const finish = (a: Real): Real => a.mov(al, DONE).mov(dx, EXIT_PORT).out(dx, al).jmp('stop');

function assemble(length: number, write: (a: Real) => void): Uint8Array {
  const image = new Image();
  const a = assembler(image, 16);
  write(a);
  library(a);
  a.label('drive').db(0);
  const bytes = new Uint8Array(length);
  for (const s of image.link(BigInt(LOADED_AT)).sections) {
    const at = Number(s.address) - LOADED_AT;
    if (at + s.bytes.length > length - 2) throw new RangeError(`the program takes ${at + s.bytes.length} bytes of ${length - 2}`);
    bytes.set(s.bytes, at);
  }
  bytes.set([0x55, 0xaa], length - 2);
  return bytes;
}

const text = (s: string): Uint8Array => new TextEncoder().encode(`${s}\0`);

export const HELLO = 'Hello from INT 10h';
export const SECTOR_1 = 'This is sector 1, by LBA.';
export const SECTOR_2 = 'This is sector 2, by cylinder, head and sector.';

/**
 * A hard disk: greets, reads sectors 1 and 2 by INT 13h functions 42h and 02h and prints them, writes what it last read to sector 3 by
 * 43h, and sends the 25 lines of the screen.
 */
export function talkingDisk(): Uint8Array {
  const boot = assemble(SECTOR, (a) => {
    begin(a);
    a.mov(si, addr('hello')).call('say');
    extended(a, 0x42, 'packet').mov(si, BUFFER).call('say').mov(si, addr('newline')).call('say');
    a.mov(ax, 0x0201)
      .mov(bx, BUFFER)
      .mov(cx, 3)
      .mov(dl, mem8(addr('drive')))
      .mov(mem8(addr('head')), 0);
    a.xor(ah, ah)
      .mov(ax, 0x0201)
      .xor(dx, dx)
      .mov(dl, mem8(addr('drive')))
      .int(0x13)
      .jc('failed');
    a.mov(si, BUFFER).call('say').mov(si, addr('newline')).call('say');
    a.mov(mem16(addr('packet', 8)), 3);
    extended(a, 0x43, 'packet');
    // The screen, row by row, from text memory.
    a.push(0xb800).pop(ds).xor(si, si).mov(cx, 25);
    a.label('row').push(cx).mov(cx, 80);
    a.label('column').lodsw().call('send').loop(short('column'));
    a.mov(al, 10).call('send').pop(cx).loop(short('row'));
    finish(a);
    a.label('hello').asciz(`${HELLO}\r\n`);
    a.label('newline').asciz('\r\n');
    a.label('head').db(0);
    packet(a, 'packet', 1);
  });
  const disk = new Uint8Array(4 * 1024 * 1024);
  disk.set(boot);
  disk.set(text(SECTOR_1), SECTOR);
  disk.set(text(SECTOR_2), 2 * SECTOR);
  return disk;
}

/** A hard disk that sets a mode by INT 10h (`ax`, and `bx` for VBE), writes bytes into it at A000:offset, and ends. */
export function drawingDisk(mode: { ax: number; bx?: number }, offset: number, bytes: readonly number[]): Uint8Array {
  const boot = assemble(SECTOR, (a) => {
    begin(a);
    a.mov(ax, mode.ax)
      .mov(bx, mode.bx ?? 0)
      .int(0x10);
    a.push(0xa000).pop(es);
    bytes.forEach((b, i) => {
      a.mov(mem8(offset + i, { seg: es }), b);
    });
    finish(a);
  });
  const disk = new Uint8Array(1024 * 1024);
  disk.set(boot);
  return disk;
}

export const CD_BLOCK_TEXT = 'This is block 40 of a CD.';

/** An El Torito CD (no emulation): greets, reads block 40 by INT 13h function 42h in blocks of 2048 bytes, and prints it. */
export function talkingCd(): Uint8Array {
  const cd = new Uint8Array(64 * CD_BLOCK);
  const descriptor = (block: number, type: number): Uint8Array => {
    const d = cd.subarray(block * CD_BLOCK, (block + 1) * CD_BLOCK);
    d[0] = type;
    d.set(new TextEncoder().encode('CD001'), 1);
    d[6] = 1;
    return d;
  };
  // ISO 9660 volume descriptors: primary, boot record (El Torito 1.0, figure 7), terminator.
  descriptor(16, 1);
  const record = descriptor(17, 0);
  record.set(new TextEncoder().encode('EL TORITO SPECIFICATION'), 7);
  new DataView(record.buffer, record.byteOffset).setUint32(0x47, 19, true);
  descriptor(18, 255);
  // The catalogue: validation entry, whose words add up to zero, and the initial entry: four 512-byte sectors from block 20.
  const catalogue = cd.subarray(19 * CD_BLOCK, 20 * CD_BLOCK);
  catalogue[0] = 1;
  catalogue.set([0xaa, 0x55, 0x55, 0xaa], 0x1c);
  catalogue.set([0x88, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0], 0x20);
  cd.set(
    assemble(CD_BLOCK, (a) => {
      begin(a);
      a.mov(si, addr('hello')).call('say');
      extended(a, 0x42, 'packet').mov(si, BUFFER).call('say').mov(bl, 0);
      finish(a);
      a.label('hello').asciz(`${HELLO}\r\n`);
      packet(a, 'packet', 40);
    }),
    20 * CD_BLOCK,
  );
  cd.set(text(CD_BLOCK_TEXT), 40 * CD_BLOCK);
  return cd;
}
