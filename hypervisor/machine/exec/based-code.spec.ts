// Code that rewrites itself in a segment whose base is not zero, as boot sectors do that were entered at 07C0:0000: blocks are found by RIP,
// which there is not the linear address.

import { expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { createMachine } from '../machine.ts';
import { CS, RBX, RCX, RSP, SS } from '../state.ts';
import { resetContext } from '../system/reset.ts';

const bytes = (s: string): Uint8Array => Uint8Array.from(s.trim().split(/\s+/), (b) => Number.parseInt(b, 16));

// The segment is not on a page boundary: a page of code holds offsets of two pages.
it.each([0x7c0, 0x1234, 0xf000])('sees its own stores under CS %i', (selector) => {
  const { ram, cpus } = createMachine({ ramBytes: 4 * 1024 * 1024, cpus: 1, contexts: 1 });
  const cpu = cpus[0]!;
  // Offset 0: call 10h; inc byte [cs:12h]; loop 0; hlt.   Offset 10h: add bx, 1 (whose immediate is at 12h); ret.
  ram.writeBytes((selector * 16) as Maddr, bytes('E8 0D 00  2E FE 06 12 00  E2 F6  F4  90 90 90 90 90  83 C3 01  C3'));
  resetContext(cpu, 0x600);
  cpu.setSegment(CS, selector, 0x9b, 0xffff, selector * 16);
  cpu.setSegment(SS, 0, 0x93, 0xffff, 0);
  cpu.setReg(RSP, 0x600n);
  cpu.setReg(RCX, 5n);
  cpu.setReg(RBX, 0n);
  cpu.rip = 0 as Lin;
  cpu.modeChanged();
  expect(cpu.run(1000)).toBe(RunExit.halt);
  expect(cpu.reg(RBX)).toBe(1n + 2n + 3n + 4n + 5n);
});
