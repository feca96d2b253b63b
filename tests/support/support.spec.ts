import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { cpioNewc } from './cpio.ts';

const haveCpio = (() => {
  try {
    execFileSync('cpio', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('cpio archives', () => {
  const archive = cpioNewc([
    { path: 'bin', kind: 'directory' },
    { path: 'bin/x', mode: 0o755, kind: { file: new TextEncoder().encode('hello') } },
    { path: 'bin/y', kind: { symlink: 'x' } },
    { path: 'dev', kind: { char: [5, 1] } },
  ]);

  it('have records of aligned headers, names and data, and a trailer', () => {
    const view = Buffer.from(archive);
    const seen: [string, string, number][] = [];
    for (let at = 0; at < view.length; ) {
      const field = (n: number) => Number.parseInt(view.toString('latin1', at + 6 + n * 8, at + 14 + n * 8), 16);
      expect(view.toString('latin1', at, at + 6)).toBe('070701');
      const name = view.toString('latin1', at + 110, at + 110 + field(11) - 1);
      const dataAt = (at + 110 + field(11) + 3) & ~3;
      seen.push([name, view.toString('latin1', dataAt, dataAt + field(6)), field(1)]);
      at = (dataAt + field(6) + 3) & ~3;
    }
    expect(seen).toEqual([
      ['bin', '', 0o040755],
      ['bin/x', 'hello', 0o100755],
      ['bin/y', 'x', 0o120777],
      ['dev', '', 0o020600],
      ['TRAILER!!!', '', 0],
    ]);
  });

  it.skipIf(!haveCpio)('are read by cpio (skipped where the host has none)', () => {
    const listing = execFileSync('cpio', ['-itv'], { input: archive, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] });
    expect(listing).toMatch(/-rwxr-xr-x .* bin\/x/);
    expect(listing).toMatch(/crw------- .* 5, +1 .* dev/);
  });
});
