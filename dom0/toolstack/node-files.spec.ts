import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { DomainBuildError } from './errors.ts';
import { readNamedFile } from './node-files.ts';

const dir = mkdtempSync(join(tmpdir(), 'ringworld-'));
afterAll(() => rmSync(dir, { recursive: true }));

it('a file is read under its name', () => {
  writeFileSync(join(dir, 'k'), 'abc');
  expect(readNamedFile(join(dir, 'k'))).toEqual({ file: join(dir, 'k'), bytes: new TextEncoder().encode('abc') });
});

it('a file that cannot be read is named with the reason', () => {
  expect(() => readNamedFile(join(dir, 'none'))).toThrow(DomainBuildError);
  expect(() => readNamedFile(join(dir, 'none'))).toThrow(`${join(dir, 'none')}: no such file`);
  expect(() => readNamedFile(dir)).toThrow(`${dir}: it is a directory`);
  expect(() => readNamedFile(join(dir, 'k', 'x'))).toThrow(/part of its path is not a directory/);
});
