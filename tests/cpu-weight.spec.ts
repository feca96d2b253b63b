// xl.cfg's cpu_weight goes from the configuration through dom0's domctl to the scheduler: toolstack and hypervisor must mean the same one.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHello64 } from '@ringworld/guests';
import { expect, it } from 'vitest';
import { ringworld } from './support/ringworld.ts';

it('a domain with cpu_weight is created and runs', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-weight-'));
  const kernel = join(dir, 'hello64.elf');
  writeFileSync(kernel, buildHello64());
  const ran = await ringworld(['create', '-F', '--kernel', kernel, 'memory=16', 'cpu_weight=512']);
  rmSync(dir, { recursive: true });
  expect(ran.stderr).toBe('');
  expect(ran.code).toBe(0);
});
