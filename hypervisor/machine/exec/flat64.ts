// A machine for tests of the engine: 64-bit code at CPL 3 under host delivery, the low memory mapped one to one by 4 KiB pages.

import type { Lin, Maddr } from '../addresses.ts';
import { createMachine, type Machine, type MachineOptions } from '../index.ts';
import { CS, RSP, SS, STATE } from '../state.ts';
import type { EmulatedCpu } from './cpu.ts';

const ALL = 0xffffffff;
/** Physical addresses of the tables; the leaf tables follow. */
const ROOT = 0x1000;
export const MAPPED_PAGES = 1024;

export interface Flat64 {
  readonly machine: Machine;
  readonly cpu: EmulatedCpu;
  /** Points a linear page at a physical page with the low flag bits given (default present, writable, user), without flushing. */
  map(lin: number, physical: number, flags?: number): void;
  /** Places code and runs it from its start until an event; cycles are counted from 0. */
  run(at: number, code: readonly number[] | Uint8Array, deadline?: number): ReturnType<EmulatedCpu['run']>;
}

/** Engines that every test of the engine runs on: in the last all code is compiled before it runs. */
export const ENGINES: readonly Pick<MachineOptions, 'engine' | 'eager'>[] = [
  { engine: 'interp' },
  { engine: 'jit' },
  { engine: 'jit', eager: true },
];

/** `profile`: name of the CPUID profile, if not the default one. */
export function flat64(profile?: string, options: Partial<MachineOptions> = {}): Flat64 {
  const machine = createMachine({ ramBytes: 16 << 20, cpus: 1, ...(profile === undefined ? {} : { profile }), ...options });
  const { ram } = machine;
  const cpu = machine.cpus[0]!;
  const put = (at: number, v: number) => ram.write32(at as Maddr, v);
  put(ROOT, 0x2007);
  put(0x2000, 0x3007);
  put(0x3000, 0x4007);
  put(0x3008, 0x5007);
  const map = (lin: number, physical: number, flags = 7) => put(0x4000 + (lin >>> 12) * 8, physical | flags);
  for (let p = 0; p < MAPPED_PAGES; p++) map(p << 12, p << 12);
  cpu.setU32(STATE.cr0, 0x80010033);
  cpu.setU32(STATE.cr4, 0x620);
  cpu.setU32(STATE.efer, 0xd01);
  cpu.setLin(STATE.cr3, ROOT);
  cpu.setU32(STATE.mxcsr, 0x1f80);
  cpu.setSegment(CS, 0xe033, 0xa0fb, ALL, 0);
  cpu.setSegment(SS, 0xe02b, 0xc0f3, ALL, 0);
  cpu.setU32(STATE.cpl, 3);
  cpu.delivery = 'host';
  cpu.modeChanged();
  return {
    machine,
    cpu,
    map,
    run(at, code, deadline = 1e6) {
      ram.writeBytes(at as Maddr, Uint8Array.from(code));
      cpu.rip = at as Lin;
      if (cpu.reg(RSP) === 0n) cpu.setReg(RSP, 0x20_0000n);
      cpu.cycles = 0;
      return cpu.run(deadline);
    },
  };
}
