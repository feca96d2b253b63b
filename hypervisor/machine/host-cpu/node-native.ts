// The host's CPU as an executor: builds harness.c with the system's compiler and feeds it cases.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeResults, type Executor, encodeCases, RESULT_SIZE } from './case.ts';

export interface Native extends Executor {
  /** Removes the built program. */
  dispose(): void;
}

/** The executor, or in a word why there is none. */
export function nodeNative(): Native | string {
  if (platform() !== 'linux' || arch() !== 'x64') return `the host is ${platform()}/${arch()}, not linux/x64`;
  const source = fileURLToPath(new URL('./harness.c', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'ringworld-host-cpu-'));
  const program = join(folder, 'harness');
  // No stack protector and no lazy binding: the handler runs for a moment with FS another's (harness.c).
  const built = spawnSync('cc', ['-O1', '-fno-stack-protector', '-Wl,-z,now', '-o', program, source], { encoding: 'utf8' });
  if (built.status !== 0 || !existsSync(program)) {
    rmSync(folder, { recursive: true });
    return `no C compiler, or it refused harness.c: ${built.error?.message ?? built.stderr}`;
  }
  return {
    name: 'native',
    run(cases) {
      const done = spawnSync(program, { input: encodeCases(cases), maxBuffer: cases.length * RESULT_SIZE + 4096 });
      if (done.status !== 0 || done.stdout.length !== cases.length * RESULT_SIZE) {
        throw new Error(
          `harness ended with ${done.status ?? done.signal} after ${done.stdout.length / RESULT_SIZE} of ${cases.length} cases`,
        );
      }
      return decodeResults(done.stdout, cases);
    },
    dispose: () => rmSync(folder, { recursive: true }),
  };
}
