// The same image on a disk of its own, for emulators that know no -kernel (Bochs): a boot sector that reads it by INT 13h into low memory,
// goes to protected mode, moves it to where it is linked, and enters it as multiboot would.
import {
  addr,
  ah,
  al,
  assembler,
  at,
  at8,
  at16,
  at32,
  ax,
  cr0,
  dl,
  ds,
  eax,
  ecx,
  edi,
  es,
  esi,
  esp,
  far,
  Image,
  si,
  sp,
  ss,
} from '@ringworld/guests';
import { BASE, type MicroImage } from './image.ts';

const SECTOR = 512;
const CODE32 = 0x08;
const DATA32 = 0x10;
/** Where the BIOS puts the sector, and where the sector puts the image on its way. */
const LOADED_AT = 0x7c00;
const STAGE_AT = 0x1_0000;
/** 32 KiB at a time: a BIOS need not take more than 127 sectors, nor cross 64 KiB. */
const CHUNK_SECTORS = 64;
/** 16 heads of 63 sectors, as Bochs is told. */
export const HEADS = 16;
export const SECTORS_PER_TRACK = 63;
export const CYLINDERS = 2;
const DISK_BYTES = CYLINDERS * HEADS * SECTORS_PER_TRACK * SECTOR;

export function diskOf({ linked }: MicroImage): Uint8Array {
  const withBits = linked.sections.filter((s) => !s.noBits);
  const end = Math.max(...withBits.map((s) => Number(s.address) + s.size));
  const disk = new Uint8Array(DISK_BYTES);
  for (const s of withBits) disk.set(s.bytes, SECTOR + Number(s.address) - BASE);
  const chunks = Math.ceil((end - BASE) / (CHUNK_SECTORS * SECTOR));
  if (STAGE_AT + chunks * CHUNK_SECTORS * SECTOR > 0x9_0000)
    throw new RangeError(`an image of ${end - BASE} bytes is too long for low memory`);
  const memoryEnd = Number(linked.address('image_end'));
  disk.set(bootSector({ chunks, bytes: end - BASE, zero: memoryEnd - end, entry: Number(linked.address('start')) }));
  return disk;
}

function bootSector(what: { chunks: number; bytes: number; zero: number; entry: number }): Uint8Array {
  const image = new Image();
  const a = assembler(image, 16);
  a.label('boot').cli().xor(ax, ax).mov(ds, ax).mov(es, ax).mov(ss, ax).mov(sp, LOADED_AT).cld().sti().mov(at8('drive'), dl);
  // INT 13h AH=42h: extended read by a disk address packet (EDD 3.0).
  a.label('read').mov(si, addr('packet')).mov(dl, at8('drive')).mov(ah, 0x42).int(0x13).jc('failed');
  a.add(at16('packet', 6), (CHUNK_SECTORS * SECTOR) / 16)
    .add(at32('packet', 8), CHUNK_SECTORS)
    .dec(at16('left'))
    .jnz('read');
  // A20, by the fast gate.
  a.in(al, 0x92).or(al, 2).out(0x92, al);
  a.cli()
    .lgdt(at('pointer'))
    .mov(eax, cr0)
    .or(eax, 1)
    .mov(cr0, eax)
    .ljmp(far(CODE32, 'protected', 32));
  a.label('failed').hlt().jmp('failed');
  const b = assembler(image, 32);
  b.label('protected').mov(eax, DATA32).mov(ds, eax).mov(es, eax).mov(ss, eax).mov(esp, LOADED_AT);
  b.mov(esi, STAGE_AT).mov(edi, BASE).mov(ecx, what.bytes).rep().movsb().xor(eax, eax).mov(ecx, what.zero).rep().stosb();
  b.mov(eax, what.entry).jmp(eax);
  b.section('.data').align(8).label('gdt').dq(0).dq(0x00cf_9b00_0000_ffffn).dq(0x00cf_9300_0000_ffffn);
  b.label('pointer').dw(23).dd(addr('gdt'));
  b.align(4)
    .label('packet')
    .dw(16, CHUNK_SECTORS, 0, STAGE_AT / 16)
    .dq(1)
    .label('left')
    .dw(what.chunks)
    .label('drive')
    .db(0);
  const sector = new Uint8Array(SECTOR);
  for (const s of image.link(BigInt(LOADED_AT)).sections) {
    if (Number(s.address) - LOADED_AT + s.size > 510) throw new RangeError('the boot sector is full');
    sector.set(s.bytes, Number(s.address) - LOADED_AT);
  }
  sector.set([0x55, 0xaa], 510);
  return sector;
}
