// RDRAND and RDSEED: every size, flags, and numbers that depend on the seed alone (SDM Vol 2B, RDRAND).

import { expect, it } from 'vitest';
import { EFLAGS, RAX } from '../state.ts';
import { longCpu } from './fake-cpu.ts';

const RDRAND_AX = [0x66, 0x0f, 0xc7, 0xf0];
const RDRAND_EAX = [0x0f, 0xc7, 0xf0];
const RDRAND_RAX = [0x48, 0x0f, 0xc7, 0xf0];
const RDSEED_RAX = [0x48, 0x0f, 0xc7, 0xf8];
const OLD = 0x1111_2222_3333_4444n;

/** One for all draws: its memory is large. */
const one = longCpu(3);
function draw(code: readonly number[], seed = 1, cpu = one): bigint {
  cpu.thread.random = seed;
  cpu.setReg(RAX, OLD);
  expect(cpu.outcome(...code)).toBe('ok');
  return cpu.reg(RAX);
}

it('a word leaves the rest of the register, a dword clears the upper half, a quadword fills all', () => {
  const all = draw(RDRAND_RAX);
  expect(draw(RDRAND_EAX)).toBe(all & 0xffff_ffffn);
  expect(draw(RDRAND_AX)).toBe((OLD & ~0xffffn) | (all & 0xffffn));
  expect(all >> 32n).not.toBe(0n);
});

it('CF is set and the other arithmetic flags are cleared', () => {
  const cpu = longCpu(3);
  cpu.rflags |= EFLAGS.OF | EFLAGS.SF | EFLAGS.ZF | EFLAGS.AF | EFLAGS.PF;
  cpu.outcome(...RDSEED_RAX);
  expect(cpu.rflags & 0x8d5).toBe(EFLAGS.CF);
});

it('equal seeds give equal numbers, others and later draws different ones', () => {
  expect(draw(RDRAND_RAX, 7)).toBe(draw(RDRAND_RAX, 7));
  const cpu = longCpu(3);
  const numbers = new Set<bigint>();
  for (let i = 0; i < 1000; i++) {
    cpu.outcome(...(i & 1 ? RDSEED_RAX : RDRAND_RAX));
    numbers.add(cpu.reg(RAX));
  }
  for (let seed = 2; seed < 1000; seed++) numbers.add(draw(RDRAND_RAX, seed));
  expect(numbers.size).toBe(1998);
});

it('memory operands are none of theirs', () => {
  const cpu = longCpu(3);
  // 0F C7 /6 with memory is VMPTRLD, /7 VMPTRST.
  expect(cpu.outcome(0x0f, 0xc7, 0x30)).not.toBe('ok');
});
