// A third-party guest in both widths: Debian's GRUB for Xen, whose images nobody here built, from the command line to its prompt and off.

import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { debianPackage, haveApt } from './support/debian-kernel.ts';
import { ringworld } from './support/ringworld.ts';

describe.skipIf(!haveApt())('GRUB as a PV domain (skipped where the host has no apt)', () => {
  it.each(['x86_64', 'i386'])('of %s comes to its prompt, runs what is typed and halts', async (width) => {
    const image = join(debianPackage('grub-xen-host'), `usr/lib/grub-xen/grub-${width}-xen.bin`);
    const ran = await ringworld(
      ['create', '-c', '--timeout', '100', '--kernel', image, 'memory=64'],
      [
        { after: 'grub> ', type: 'echo six times seven is 42; date\n' },
        { after: '2026-01-01', type: 'halt\n' },
      ],
    );
    expect(ran.code).toBe(0);
    // Without the terminal's escape sequences: the answer stands at the start of a line, what was typed behind the prompt.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
    expect(ran.stdout.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]/g, '')).toMatch(/^six times seven is 42/m);
  });
});
