// VT-x as bare software sees it: the kernel of guests/examples/vmx.ts on each processor that has it. Its expectations are the manual's, not the
// emulator's; README.md of that folder says where else it was run.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildVmxTests, VMX_EXITS_TAKEN, VMX_REASON } from '@ringworld/guests';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runVirtKernel } from './support/virt-report.ts';

let dir = '';
let kernel: Uint8Array;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-vmx-'));
  kernel = buildVmxTests();
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Reasons that no row takes, and why. */
const NOT_TAKEN: Readonly<Record<string, string>> = {
  SIPI: 'the IPI comes from another processor',
  INVALID_GUEST_STATE: 'the rows of vmx-checks.ts',
  MSR_LOADING: 'the rows of vmx-checks.ts',
  XSAVES: 'no processor here has a bit in IA32_XSS',
  XRSTORS: 'no processor here has a bit in IA32_XSS',
};

describe('VT-x driven by opcodes', () => {
  it('takes every exit reason that one processor can take by itself', () => {
    const taken = new Set<string>(VMX_EXITS_TAKEN.map((c) => c.exit));
    expect(Object.keys(VMX_REASON).filter((r) => !taken.has(r))).toEqual(Object.keys(NOT_TAKEN));
  });

  it.each([
    // Least that passes; what a processor of that year must skip.
    ['p4-672', 290, ['ept-read', 'invvpid', 'preemption-timer', 'rdtscp', 'real-mode', 'wbinvd']],
    ['core2', 290, ['ept-read', 'preemption-timer', 'real-mode']],
    ['nehalem', 350, ['pml-full', 'rdrand', 'vmfunc']],
    ['skylake-sp', 368, ['getsec', 'virtualization-exception']],
  ] as const)('on %s, all that the processor has is as the manual says', async (cpu, least, absent) => {
    const report = await runVirtKernel(join(dir, cpu), kernel, '--cpu', cpu);
    expect(report.other).toEqual([]);
    expect(report.failed).toEqual([]);
    expect(report.passed.length).toBeGreaterThanOrEqual(least);
    expect(absent.filter((name) => !report.skipped.has(name))).toEqual([]);
  });

  it('is the same with code interpreted', async () => {
    const [a, b] = [
      await runVirtKernel(join(dir, 'a'), kernel, '--cpu', 'skylake-sp', '--engine', 'interp'),
      await runVirtKernel(join(dir, 'b'), kernel, '--cpu', 'skylake-sp'),
    ];
    expect(a).toEqual(b);
  });
});
