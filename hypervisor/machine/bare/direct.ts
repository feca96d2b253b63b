// Starting a kernel without firmware: what a BIOS and a boot loader would have left in chipset, memory and CPU.

import { BIOS_AREA, placeAcpi, type Rsdp } from './acpi.ts';
import { EBDA } from './bios-data.ts';
import type { Pc } from './devices.ts';
import { type Entry, enterAt } from './entry.ts';
import { leaveAsFirmware } from './firmware-state.ts';
import { VIDEO_HOLE } from './memory-map.ts';

/** Types as in E820 (ACPI 6.5, 15.1). */
export interface E820Range {
  readonly base: number;
  readonly size: number;
  readonly type: number;
}
const RAM = 1;
const RESERVED = 2;

/** Chipset and ACPI tables. After Board.reset(). */
export function prepareDirect(pc: Pc): { memory: E820Range[]; rsdp: Rsdp } {
  leaveAsFirmware(pc);
  const rsdp = placeAcpi(pc);
  const memory = pc.board.memoryMap.ranges.flatMap((r): E820Range[] =>
    r.base > 0
      ? [{ ...r, type: RAM }]
      : [
          { base: 0, size: EBDA, type: RAM },
          { base: EBDA, size: VIDEO_HOLE - EBDA, type: RESERVED },
          { ...BIOS_AREA, type: RESERVED },
        ],
  );
  return { memory, rsdp };
}

export interface Segment {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly size: number;
}

/** Places a kernel and stands the first CPU at its entry. */
export function startDirect(pc: Pc, segments: readonly Segment[], entry: Entry): void {
  for (const s of segments) {
    pc.board.dma.write(s.at, s.bytes);
    if (s.size > s.bytes.length) pc.board.memoryMap.zero(s.at + s.bytes.length, s.size - s.bytes.length);
  }
  enterAt(pc.board, entry);
}
