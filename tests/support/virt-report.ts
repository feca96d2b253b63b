// What the kernels in guests/examples that drive VT-x and SVM by their opcodes report, line by line.

import { writeFileSync } from 'node:fs';
import { ringworld } from './ringworld.ts';

export interface Report {
  readonly passed: readonly string[];
  /** Name and what differed. */
  readonly failed: readonly string[];
  /** By name: what the processor does not have. */
  readonly skipped: ReadonlyMap<string, string>;
  /** Output that is no line of a test. */
  readonly other: readonly string[];
}

const LINE = /^test-(?:vmx|svm)-(\S+): (Success|Failure|Skip)(?: (.*))?$/;

/** Runs such a kernel on the bare machine with this processor. */
export async function runVirtKernel(file: string, kernel: Uint8Array, ...args: string[]): Promise<Report> {
  writeFileSync(file, kernel);
  const ran = await ringworld(['bare', '-F', '--timeout', '300', '--memory', '32', ...args, file]);
  const passed: string[] = [];
  const failed: string[] = [];
  const skipped = new Map<string, string>();
  const other: string[] = ran.stderr === '' ? [] : [ran.stderr];
  for (const line of ran.stdout.split('\n')) {
    const [, name, outcome, text = ''] = LINE.exec(line) ?? [];
    if (name === undefined) {
      if (line !== '' && !/^\d+ Success, \d+ Failure, \d+ Skip$/.test(line)) other.push(line);
    } else if (outcome === 'Success') passed.push(name);
    else if (outcome === 'Failure') failed.push(`${name}: ${text}`);
    else skipped.set(name, text);
  }
  return { passed, failed, skipped, other };
}
