// The real engine through its modes: real mode, protected mode, long mode, exceptions through the IDT, user level by IRETQ, and back by
// SYSCALL. What the slow paths tell the run loop (mode changes, faults delivered, exits) is at stake here, not single rules.

import { expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { createMachine } from '../index.ts';
import { CS, RAX, RBX, RCX, RSP, SS } from '../state.ts';
import { resetContext } from './reset.ts';

const hex = (s: string): Uint8Array => Uint8Array.from(s.trim().split(/\s+/), (b) => Number.parseInt(b, 16));

const REAL = hex(`
  FA  0F 01 16 00 7E
  0F 20 C0  0C 01  0F 22 C0
  66 EA 00 80 00 00 08 00`);
/** Flat data segments, PAE, CR3, EFER.LME|NXE|SCE, paging on, far jump to 64-bit code. */
const PROTECTED = hex(`
  66 B8 10 00  8E D8  8E D0  BC 00 90 00 00
  B8 20 00 00 00  0F 22 E0
  B8 00 00 10 00  0F 22 D8
  B9 80 00 00 C0  0F 32  0D 01 09 00 00  0F 30
  0F 20 C0  0D 00 00 00 80  0F 22 C0
  EA 00 81 00 00 18 00`);
/** LIDT, LTR, STAR, LSTAR; INT3 and UD2, whose handlers count in EBX; IRETQ to level 3. */
const LONG = hex(`
  0F 01 1C 25 20 7E 00 00
  66 B8 28 00  0F 00 D8
  B9 81 00 00 C0  BA 18 00 00 00  31 C0  0F 30
  B9 82 00 00 C0  31 D2  B8 00 83 00 00  0F 30
  CC  0F 0B
  6A 43  68 00 90 00 00  68 02 02 00 00  6A 4B  68 00 84 00 00  48 CF`);
const COUNT_BP = hex('FF C3  48 CF');
const COUNT_UD = hex('48 83 04 24 02  FF C3  48 CF');
/** Steps over the one-byte HLT that raised #GP(0). */
const COUNT_GP = hex('48 83 C4 08  48 FF 04 24  FF C3  48 CF');
const USER = hex('F4  B8 4D 00 00 00  0F 05');

it('boots by hand from real mode to user level and back', () => {
  const { ram, cpus } = createMachine({ ramBytes: 16 * 1024 * 1024, cpus: 1, contexts: 1 });
  const cpu = cpus[0]!;
  const write = (at: number, bytes: Uint8Array) => ram.writeBytes(at as Maddr, bytes);
  const quad = (at: number, v: bigint) => ram.write64(at as Maddr, v);
  write(0x7c00, REAL);
  write(0x8000, PROTECTED);
  write(0x8100, LONG);
  write(0x8200, COUNT_BP);
  write(0x8210, COUNT_UD);
  write(0x8220, COUNT_GP);
  write(0x8300, hex('F4'));
  write(0x8400, USER);
  // GDT: 08 code32, 10 data, 18 code64, 20 data, 28 TSS, 40 user data, 48 user code64.
  const gdt = [0n, 0xcf9a000000ffffn, 0xcf92000000ffffn, 0xaf9a000000ffffn, 0xcf92000000ffffn, 0x0000890070000067n, 0n, 0n];
  [...gdt, 0xcff2000000ffffn, 0xaffa000000ffffn].forEach((v, i) => {
    quad(0x7e40 + 8 * i, v);
  });
  write(0x7e00, hex('4F 00 40 7E 00 00'));
  write(0x7e20, hex('FF 0F 00 60 00 00 00 00 00 00'));
  for (const [vector, handler] of [
    [3, 0x8200],
    [6, 0x8210],
    [13, 0x8220],
  ] as const)
    quad(0x6000 + 16 * vector, BigInt(handler) | (0x18n << 16n) | (0xeen << 40n));
  quad(0x7004, 0x9800n);
  quad(0x100000, 0x101007n);
  quad(0x101000, 0x102007n);
  quad(0x102000, 0x87n);

  resetContext(cpu, cpu.profile.signature);
  cpu.setSegment(CS, 0, 0x9b, 0xffff, 0);
  cpu.rip = 0x7c00 as Lin;
  cpu.delivery = 'idt';
  cpu.modeChanged();
  expect(cpu.run(10_000)).toBe(RunExit.halt);
  expect([cpu.rip, cpu.reg(RAX), cpu.reg(RBX), cpu.reg(RCX)]).toEqual([0x8301, 77n, 3n, 0x8408n]);
  expect([cpu.cpl, cpu.selector(CS), cpu.selector(SS), cpu.regLin(RSP)]).toEqual([0, 0x18, 0x20, 0x9000]);
});
