// SVM as bare software sees it: the kernel of guests/examples/svm.ts on each processor that has it. Its expectations are the manual's, not the
// emulator's; README.md of that folder says where else it was run.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSvmTests, SVM_EXIT, SVM_EXITS_TAKEN } from '@ringworld/guests';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runVirtKernel } from './support/virt-report.ts';

let dir = '';
let kernel: Uint8Array;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-svm-'));
  kernel = buildSvmTests();
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Codes that no row takes, and why. */
const NOT_TAKEN: Readonly<Record<string, string>> = {
  SMI: 'the board sends none',
  INIT: 'the signal stays pending and would reset the host',
  FERR_FREEZE: 'FERR is for CR0.NE clear and IGNNE, which no board here drives',
  RDPRU: 'later than the processors here',
  EFER_WRITE_TRAP: 'later than the processors here',
  CR0_WRITE_TRAP: 'later than the processors here',
  INVALID: 'the rows of svm-checks.ts',
};

describe('SVM driven by opcodes', () => {
  it('takes every exit that one processor can take by itself', () => {
    const taken = new Set<string | number>(
      SVM_EXITS_TAKEN.map((c) => (typeof c.exit === 'number' ? c.exit : SVM_EXIT[c.exit])).map(Number),
    );
    // Ranges count by any of their codes.
    const covers = (name: string, code: number): boolean => {
      const size = { CR0_READ: 16, CR0_WRITE: 16, DR0_READ: 16, DR0_WRITE: 16, EXCEPTION: 32 }[name] ?? 1;
      return Array.from({ length: size }).some((_, i) => taken.has(code + i));
    };
    const missing = Object.entries(SVM_EXIT).filter(([name, code]) => !covers(name, Number(code)));
    expect(missing.map(([name]) => name)).toEqual(Object.keys(NOT_TAKEN));
  });

  it.each([
    ['k8-revf', 155, ['npf-read', 'npt-remap']],
    ['zen', 169, []],
  ] as const)('on %s, all that the processor has is as the manual says', async (cpu, least, absent) => {
    const report = await runVirtKernel(join(dir, cpu), kernel, '--cpu', cpu);
    expect(report.other).toEqual([]);
    expect(report.failed).toEqual([]);
    expect(report.passed.length).toBeGreaterThanOrEqual(least);
    expect(absent.filter((name) => !report.skipped.has(name))).toEqual([]);
  });

  it('is the same with code interpreted', async () => {
    const [a, b] = [
      await runVirtKernel(join(dir, 'a'), kernel, '--cpu', 'zen', '--engine', 'interp'),
      await runVirtKernel(join(dir, 'b'), kernel, '--cpu', 'zen'),
    ];
    expect(a).toEqual(b);
  });
});
