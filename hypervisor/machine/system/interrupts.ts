// Software interrupts: INT n, INT3, INTO, INT1, and IRET's entry in the table.
//
// In 'host' delivery they leave the run loop with RunExit.softInt, RIP still at the instruction, cpu.event holding the vector and the
// instruction's length (error code -1). The gate's DPL check is the hypervisor's there: it owns the trap table.

import { RunExit } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { EFLAGS } from '../state.ts';
import { EXC } from './bits.ts';
import type { Delivery } from './deliver.ts';
import { deliver } from './deliver.ts';
import { iret } from './iret.ts';
import { isVm86, next, nextRip } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { vm86Int } from './vme.ts';

function soft(cpu: SystemCpu, d: Decoded, vector: number, kind: Delivery['kind'] = 'soft'): boolean {
  if (cpu.delivery === 'host') {
    cpu.event.vector = vector;
    cpu.event.errorCode = -1;
    cpu.event.length = d.length;
    return cpu.leave(RunExit.softInt);
  }
  if (deliver(cpu, { vector, errorCode: -1, kind, returnRip: nextRip(cpu, d) }) === 'done') return true;
  return cpu.leave(RunExit.shutdown);
}

export const interruptHandlers = {
  INT(cpu: SystemCpu, d: Decoded) {
    const o = d.operands[0];
    const vector = o?.kind === 'imm' ? o.lo & 0xff : 0;
    // INT3 and INTO are not redirected, and do not ask for IOPL 3 (SDM Vol 3B, 20.3.3).
    const how = isVm86(cpu) ? vm86Int(cpu, vector, nextRip(cpu, d)) : 'protected';
    return how === 'protected' ? soft(cpu, d, vector) : how;
  },
  INT3: (cpu: SystemCpu, d: Decoded) => soft(cpu, d, EXC.BP, 'softException'),
  INTO: (cpu: SystemCpu, d: Decoded) => (cpu.rflags & EFLAGS.OF ? soft(cpu, d, EXC.OF, 'softException') : next(cpu, d)),
  INT1: (cpu: SystemCpu, d: Decoded) => soft(cpu, d, EXC.DB, 'privileged'),
  IRET: iret,
};
