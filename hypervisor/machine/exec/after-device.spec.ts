// After an instruction that touched a device, and was therefore run by itself, code runs in whole blocks again: nothing is translated anew.

import { expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { createMachine, type EngineKind } from '../index.ts';
import { CS, DS } from '../state.ts';
import { resetContext } from '../system/reset.ts';

const bytes = (s: string): Uint8Array => Uint8Array.from(s.trim().split(/\s+/), (b) => Number.parseInt(b, 16));

it.each(['interp', 'jit'] as const)('goes on in blocks that it knows (%s)', (engine: EngineKind) => {
  const machine = createMachine({ ramBytes: 4 * 1024 * 1024, cpus: 1, contexts: 1, engine });
  const cpu = machine.cpus[0]!;
  const { physical, translator } = machine.engine;
  const written: number[] = [];
  physical.clear(4 * 1024 * 1024);
  physical.place(0, 0xa0000, 0);
  physical.outside = { read: () => 0, write: (_at, _size, value) => void written.push(value) };
  // mov [0], al (at B800:0, a device); then 1000 times CPUID, which leaves threaded code; hlt.
  machine.ram.writeBytes(0x1000 as Maddr, bytes('A2 00 00  BE E8 03  31 C0 0F A2 4E 75 F9  F4'));
  resetContext(cpu, 0x600);
  cpu.setSegment(CS, 0, 0x9b, 0xffff, 0);
  cpu.setSegment(DS, 0xb800, 0x93, 0xffff, 0xb8000);
  cpu.rip = 0x1000 as Lin;
  cpu.modeChanged();
  expect(cpu.run(100_000)).toBe(RunExit.halt);
  expect(written.length).toBe(1);
  expect(translator.blocks).toBeLessThan(50);
});
