// The smallest board a micro kernel runs on, for tests: a CPU in 32-bit protected mode, a serial port that is always ready, and the port
// that switches off. Benchmarks run the whole machine (`ringworld bare`).
import {
  CS,
  createMachine,
  DS,
  type EngineKind,
  ES,
  type Lin,
  type Machine,
  type Maddr,
  RunExit,
  SS,
  STATE,
} from '@ringworld/hypervisor/machine';
import { MEMORY_MIB, type MicroImage } from './image.ts';

export interface BoardRun {
  readonly machine: Machine;
  readonly output: string;
  readonly exit: RunExit;
  readonly isOff: boolean;
}

export function runOnBoard(image: MicroImage, options: { readonly engine: EngineKind; readonly maxCycles?: number }): BoardRun {
  const machine = createMachine({ ramBytes: MEMORY_MIB << 20, cpus: 1, engine: options.engine });
  const cpu = machine.cpus[0]!;
  for (const s of image.linked.sections) machine.ram.writeBytes(Number(s.address) as Maddr, s.bytes);
  let output = '';
  let isOff = false;
  let lineControl = 0;
  cpu.io = {
    in: (port, size) => (port === 0x3fd ? 0x60 : 2 ** (8 * size) - 1),
    out: (port, _size, value) => {
      if (port === 0x3fb) lineControl = value;
      // With DLAB set this is the divisor.
      if (port === 0x3f8 && (lineControl & 0x80) === 0) output += String.fromCharCode(value);
      if (port === 0xf4) isOff = cpu.leave(RunExit.shutdown);
    },
  };
  cpu.setU32(STATE.cr0, 0x11);
  cpu.setSegment(CS, 8, 0xc09b, 0xffff_ffff, 0);
  for (const seg of [DS, ES, SS]) cpu.setSegment(seg, 16, 0xc093, 0xffff_ffff, 0);
  cpu.modeChanged();
  cpu.rip = Number(image.linked.address('start')) as Lin;
  const exit = cpu.run(options.maxCycles ?? Number.MAX_SAFE_INTEGER);
  return { machine, output, exit, isOff };
}
