// The interpreter alone on code that stays in registers: eight instructions, one of them a taken branch.

import { CS, createMachine, type Lin, type Maddr, RBX, RCX, SS, STATE } from '@ringworld/hypervisor/machine';

// add rax,rbx; xor rdx,rax; add rbp,rdx; xor rdx,rbp; add r8,rdx; add r9,r8; dec rcx; jnz; ud2
const LOOP = [
  0x48, 0x01, 0xd8, 0x48, 0x31, 0xc2, 0x48, 0x01, 0xd5, 0x48, 0x31, 0xea, 0x49, 0x01, 0xd0, 0x4d, 0x01, 0xc1, 0x48, 0xff, 0xc9, 0x75, 0xe9,
  0x0f, 0x0b,
];
const AT = 0x10000;
const ROUNDS = 10_000_000n;

/** Millions of instructions a second, `times` times. */
export function registerLoop(times: number): number[] {
  const machine = createMachine({ ramBytes: 4 << 20, cpus: 1 });
  const [cpu] = machine.cpus;
  if (!cpu) throw new Error('a machine without a CPU');
  const put = (at: number, v: number) => machine.ram.write32(at as Maddr, v);
  // Long mode on tables that map the first 2 MiB one to one.
  put(0x1000, 0x2007);
  put(0x2000, 0x3007);
  put(0x3000, 0x87);
  machine.ram.writeBytes(AT as Maddr, Uint8Array.from(LOOP));
  cpu.setU32(STATE.cr0, 0x8001_0033);
  cpu.setU32(STATE.cr4, 0x620);
  cpu.setU32(STATE.efer, 0xd01);
  cpu.setLin(STATE.cr3, 0x1000);
  cpu.setSegment(CS, 0xe033, 0xa0fb, 0xffffffff, 0);
  cpu.setSegment(SS, 0xe02b, 0xc0f3, 0xffffffff, 0);
  cpu.setU32(STATE.cpl, 3);
  cpu.delivery = 'host';
  cpu.modeChanged();
  cpu.setReg(RBX, 3n);
  const run = (rounds: bigint): number => {
    cpu.setReg(RCX, rounds);
    cpu.rip = AT as Lin;
    const [before, start] = [cpu.cycles, performance.now()];
    cpu.run(Number.MAX_SAFE_INTEGER);
    return (cpu.cycles - before) / (performance.now() - start) / 1e3;
  };
  // The handlers are compiled with the optimizing compiler only once they are hot.
  run(1_000_000n);
  return Array.from({ length: times }, () => run(ROUNDS));
}
