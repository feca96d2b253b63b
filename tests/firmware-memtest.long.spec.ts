// The whole way of a PC: SeaBIOS, GRUB from a disk, and Debian's memtest86+ through the Linux boot protocol, which makes one pass over
// 64 MiB and finds no error. Nothing is told to the guest beside GRUB's command line.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { screenText } from '@ringworld/hypervisor';
import { describe, expect, it } from 'vitest';
import { debianPackage, haveApt } from './support/debian-kernel.ts';
import { firmwarePc, runFirmware } from './support/firmware-pc.ts';
import { grubDisk, haveGrub } from './support/grub-disk.ts';

/** No questions and no bandwidth measurement at the start: both take seconds of virtual time in loops. */
const OPTIONS = 'nopause nobench nosmp nosm';
/** Virtual seconds; a pass takes about thirty. */
const LIMIT = 90;
/** Keys, and what shows that they were understood. */
const MENUS: readonly (readonly [string, RegExp])[] = [
  ['1', /Settings:/],
  ['1', /Test Selection:/],
  ['2', /test number|Remove one test/i],
  ['1', /Test Selection:/],
  ['0', /Test Selection:/],
  ['\n', /Test Selection:/],
  ['0', /Settings:/],
  ['0', /Testing: /],
];
const PASS_COMPLETE = /Pass: *1 /;

describe.skipIf(!haveApt() || !haveGrub())('GRUB, booted by SeaBIOS', () => {
  it('runs its script', () => {
    const script = 'serial --unit=0 --speed=115200\nterminal_output serial\necho "GRUB is here"\nls\noutb 0xf4 0x10\n';
    const run = runFirmware({ disk: grubDisk(script) });
    expect(run.end).toEqual({ kind: 'exit', code: 33 });
    expect(run.serial).toContain('GRUB is here');
    expect(run.serial).toContain('(hd0)');
    expect(run.screen).toContain('Welcome to GRUB!');
  });

  it('starts memtest86+, which makes a pass of tests 0 to 9 over 64 MiB without an error', async () => {
    const memtest = readFileSync(join(debianPackage('memtest86+'), 'boot/memtest86+x64.bin'));
    const disk = grubDisk(`linux (memdisk)/memtest.bin ${OPTIONS}\nboot\n`, new Map([['memtest.bin', memtest]]));
    const pc = firmwarePc({ disk });
    let time = 0;
    let screen = '';
    const run = async (seconds: number): Promise<void> => {
      // The test runner wants to hear of us now and then.
      await setImmediate();
      time += seconds;
      expect(pc.board.run({ untilNs: time * 1e9 })).toEqual({ kind: 'limit' });
      screen = screenText(pc.vga.state, pc.vga.video)?.join('\n') ?? '';
    };
    const until = async (wanted: RegExp, step: number, limit: number): Promise<void> => {
      for (const end = time + limit; time < end && !wanted.test(screen); ) await run(step);
      expect(screen).toMatch(wanted);
    };
    await until(/Testing: /, 0.1, 5);
    // Through its menus on the keyboard: the bit fade test (10) waits for minutes, by the clock and in a loop.
    for (const [key, answer] of MENUS) {
      pc.ps2.keyboard.type(key);
      await until(answer, 0.02, 1);
      await run(0.06);
    }
    for (const end = time + LIMIT; time < end && !PASS_COMPLETE.test(screen); ) {
      await run(0.5);
      const errors = /Errors: *(\d+)/.exec(screen)?.[1];
      expect(errors ?? '0', screen).toBe('0');
    }
    expect(screen).toMatch(PASS_COMPLETE);
    expect(screen).toMatch(/Errors: *0/);
    expect(screen).toMatch(/Memory +: +64MB/);
  });
});
