// Virtual-8086 mode extensions: INT n by way of the redirection bit map in the TSS (SDM Vol 3B, 20.3.3, Table 20-2).

import type { Lin } from '../addresses.ts';
import { CS, EFLAGS, SEG, STATE, TR } from '../state.ts';
import { CR4, EXC } from './bits.ts';
import { load } from './linear.ts';
import { iopl } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { loadRealSegment } from './segments.ts';
import { currentStack } from './stack.ts';

const IO_MAP_BASE = 0x66;
/** The redirection bit map: the 32 bytes below the I/O permission bit map. */
const REDIRECTION = 32;

/** The bit of a vector: 1 sends it to a protected-mode handler. Undefined with a fault recorded, where the TSS has no such bit. */
function redirectionBit(cpu: SystemCpu, vector: number): number | undefined {
  const limit = cpu.segLimit(TR);
  const is32 = (cpu.segAttributes(TR) & SEG.type & 8) !== 0;
  const base = is32 && IO_MAP_BASE + 1 <= limit ? load(cpu, (cpu.segBase(TR) + IO_MAP_BASE) as Lin, 2, true) : -1;
  if (base === undefined) return undefined;
  const at = base - REDIRECTION + (vector >>> 3);
  if (base < 0 || at < 0 || at > limit) {
    cpu.fault(EXC.GP, 0);
    return undefined;
  }
  const byte = load(cpu, (cpu.segBase(TR) + at) as Lin, 1, true);
  return byte === undefined ? undefined : (byte >>> (vector & 7)) & 1;
}

/** Methods 5 and 6: as in real mode, through the vector table at linear address 0 of the task. */
function toVectorTable(cpu: SystemCpu, vector: number, returnRip: number): boolean {
  const virtual = iopl(cpu) < 3;
  const flags = cpu.rflags;
  const seen = virtual ? (flags & ~EFLAGS.IF) | EFLAGS.IOPL | (flags & EFLAGS.VIF ? EFLAGS.IF : 0) : flags;
  const stack = currentStack(cpu);
  if (!stack.pushAll([seen & 0xffff, cpu.selector(CS), returnRip & 0xffff], 2)) return false;
  const entry = load(cpu, (vector * 4) as Lin, 4, true);
  if (entry === undefined) return false;
  stack.commit();
  cpu.rflags = flags & ~(EFLAGS.TF | EFLAGS.RF | (virtual ? EFLAGS.VIF : EFLAGS.IF));
  loadRealSegment(cpu, CS, entry >>> 16);
  cpu.rip = (entry & 0xffff) as Lin;
  cpu.modeChanged();
  return true;
}

/** INT n in virtual-8086 mode: 'protected' where it is to go through the IDT, else done, or not with a fault recorded. */
export function vm86Int(cpu: SystemCpu, vector: number, returnRip: number): 'protected' | boolean {
  const free = iopl(cpu) === 3;
  if (cpu.lo(STATE.cr4) & CR4.VME) {
    const bit = redirectionBit(cpu, vector);
    if (bit === undefined) return false;
    if (bit === 0) return toVectorTable(cpu, vector, returnRip);
  }
  return free ? 'protected' : cpu.fault(EXC.GP, 0);
}
