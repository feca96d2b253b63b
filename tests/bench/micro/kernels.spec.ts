// Every micro kernel, with few rounds: both engines and (where it is installed) QEMU must come to the same checksum.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { QEMU, qemuKernel } from '../emulators.ts';
import { runOnBoard } from './board.ts';
import { diskOf } from './disk.ts';
import { buildImage } from './image.ts';
import { EMPTY, KERNELS } from './kernels.ts';

const dir = mkdtempSync(join(tmpdir(), 'ringworld-micro-'));
afterAll(() => rmSync(dir, { recursive: true }));
const few = (rounds: number): number => Math.max(2, Math.floor(rounds / 5000));
const haveQemu = spawnSync(QEMU, ['--version']).error === undefined;
const onQemu = (args: readonly string[]): string => spawnSync(QEMU, args, { encoding: 'utf8', timeout: 60_000 }).stdout;

describe.each([EMPTY, ...KERNELS].map((k) => [k.name, k] as const))('%s', (name, kernel) => {
  const image = buildImage(kernel, few(kernel.rounds));
  const interpreted = runOnBoard(image, { engine: 'interp', maxCycles: 1e9 });

  test('runs to its end, in the same cycles and to the same checksum in both engines', () => {
    expect(interpreted.output).toMatch(new RegExp(`^CHECK ${name} [0-9a-f]+ DONE\r\n$`));
    expect(interpreted.isOff).toBe(true);
    const compiled = runOnBoard(image, { engine: 'jit', maxCycles: 1e9 });
    expect(compiled.output).toBe(interpreted.output);
    expect(compiled.machine.cpus[0]!.cycles).toBe(interpreted.machine.cpus[0]!.cycles);
  });

  test.skipIf(!haveQemu)('comes to the same checksum in QEMU (skipped where it is not installed)', () => {
    const file = join(dir, `${name}.elf`);
    writeFileSync(file, image.elf);
    expect(onQemu(qemuKernel(file))).toBe(interpreted.output);
  });
});

test.skipIf(!haveQemu)('the image also starts from a disk', () => {
  const file = join(dir, 'empty.img');
  const image = buildImage(EMPTY);
  writeFileSync(file, diskOf(image));
  const drive = ['-drive', `file=${file},format=raw,if=ide`];
  const args = qemuKernel('').flatMap((a, i, all) => (a === '-kernel' ? drive : all[i - 1] === '-kernel' ? [] : [a]));
  expect(onQemu(args)).toBe(runOnBoard(image, { engine: 'interp' }).output);
});
