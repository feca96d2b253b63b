// Puts the first CPU where a boot loader would have left it.

import type { Lin } from '../addresses.ts';
import { CS, DS, ES, FS, GS, RAX, RBX, RSI, RSP, SS, STATE, TR } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import type { Board } from './board.ts';

/** Registers that are not named are as after RESET. Segments are flat. */
export interface Entry {
  /** protected32: paging off. long64: paging on with the tables at `cr3`. */
  readonly mode: 'protected32' | 'long64';
  readonly ip: number;
  readonly sp?: number;
  readonly eax?: number;
  readonly ebx?: number;
  readonly esi?: number;
  readonly cr3?: number;
  readonly codeSelector: number;
  readonly dataSelector: number;
  readonly gdt?: { readonly base: number; readonly limit: number };
}

/** Segment attributes: present, accessed, 4 KiB granularity; execute/read or read/write. */
const CODE32 = 0xc09b;
const CODE64 = 0xa09b;
const DATA = 0xc093;
const BUSY_TSS32 = 0x8b;
const FLAT_LIMIT = 0xffff_ffff;

/** After Board.reset(). The local APICs are left in virtual wire mode, as a BIOS would. */
export function enterAt(board: Board, entry: Entry): void {
  const cpu = board.machine.cpus[0]!;
  const long = entry.mode === 'long64';
  cpu.setSegment(CS, entry.codeSelector, long ? CODE64 : CODE32, FLAT_LIMIT, 0);
  for (const seg of [DS, ES, SS, FS, GS]) cpu.setSegment(seg, entry.dataSelector, DATA, FLAT_LIMIT, 0);
  cpu.setSegment(TR, 0, BUSY_TSS32, 0x67, 0);
  cpu.setLin(STATE.gdtrBase, entry.gdt?.base ?? 0);
  cpu.setU32(STATE.gdtrLimit, entry.gdt?.limit ?? 0xffff);
  const cr0 = CR0.PE | CR0.ET | (long ? CR0.PG : 0);
  cpu.setHalves(STATE.cr0, cr0, 0);
  if (long) {
    cpu.setHalves(STATE.cr4, CR4.PAE, 0);
    cpu.setHalves(STATE.efer, EFER.LME | EFER.LMA, 0);
    cpu.setLin(STATE.cr3, entry.cr3 ?? 0);
  }
  const registers: readonly (readonly [number, number | undefined])[] = [
    [RAX, entry.eax],
    [RBX, entry.ebx],
    [RSI, entry.esi],
    [RSP, entry.sp],
  ];
  for (const [n, v] of registers) cpu.setRegHalves(n, v ?? 0, 0);
  cpu.setRegHalves(2, 0, 0);
  cpu.rip = entry.ip as Lin;
  cpu.modeChanged();
  cpu.flushAll();
  board.machine.cpus.forEach((_, i) => {
    board.lapic(i).virtualWire();
  });
}
