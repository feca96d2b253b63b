// The lockstep of bare machines: a kernel of a few instructions, with its engines as they are and with one broken on purpose.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { al, assembler, dx, eax, ecx, edx, Image, writeElf } from '@ringworld/guests';
import { type EmulatedCpu, RAX } from '@ringworld/hypervisor/machine';
import { afterAll, expect, test } from 'vitest';
import { parseBareArguments, readBareMachine } from './bare-options.ts';
import { Lockstep } from './lockstep.ts';
import { bareTwins } from './lockstep-bare.ts';

const dir = mkdtempSync(join(tmpdir(), 'ringworld-lockstep-'));
afterAll(() => rmSync(dir, { recursive: true }));

const MAGIC = 0x1badb002;
const ROUNDS = 100_000;
const COM1 = 0x3f8;
const EXIT_PORT = 0xf4;

/** Counts in EAX, says so on the serial port, and switches off. */
function countingKernel(): string {
  const image = new Image();
  const a = assembler(image, 32);
  a.label('multiboot').dd(MAGIC, 0, 0x1_0000_0000 - MAGIC);
  a.label('start').xor(eax, eax).mov(ecx, ROUNDS).label('loop').add(eax, 3).dec(ecx).jnz('loop');
  a.mov(edx, COM1).and(eax, 7).add(eax, 0x30).out(dx, al).mov(eax, 0).out(EXIT_PORT, al).label('stop').hlt().jmp('stop');
  const file = join(dir, 'count.elf');
  const linked = image.link(0x10_0000n);
  writeFileSync(file, writeElf(linked, { bits: 32, entry: 'start', notes: [], virtToPhys: 0n }));
  return file;
}

const machine = readBareMachine(parseBareArguments(['-F', '--memory=16', countingKernel()]), () => {});
function run(broken?: (cpu: EmulatedCpu) => void) {
  let output = '';
  const write = (bytes: Uint8Array) => {
    output += new TextDecoder().decode(bytes);
  };
  const make = bareTwins({ machine, note: () => {}, write });
  const lockstep = new Lockstep({
    make: (engine, isShown) => {
      const twin = make(engine, isShown);
      if (engine === 'jit') broken?.(twin.machine.cpus[0]!);
      return twin;
    },
    deadline: Number.POSITIVE_INFINITY,
    say: () => {},
    window: 50_000,
  });
  return lockstep.run().then((end) => ({ end, output }));
}

test('both engines come to the same end, the serial port shown once', async () => {
  const { end, output } = await run();
  expect(end).toMatchObject({ kind: 'same', how: expect.stringContaining('"exitReason":"exit"') });
  expect(output).toBe('0');
});

test('an engine with one wrong result is caught at that instruction', async () => {
  let cycle = 0;
  const { end } = await run((cpu) => {
    const inner = cpu.run.bind(cpu);
    cpu.run = (deadline) => {
      // The ADD of some round: the first of three instructions.
      const at = 3 * 40_000 + 3;
      if (cpu.cycles >= at || deadline < at) return inner(deadline);
      const exit = inner(at);
      cpu.setReg(RAX, cpu.reg(RAX) + 1n);
      cycle = at;
      return exit;
    };
  });
  if (end.kind !== 'differs') throw new Error(`the lockstep ended with ${end.kind}`);
  expect([end.from, end.to]).toEqual([cycle - 1, cycle]);
  expect(end.steps).toMatchObject([{ text: 'add eax, 0x3', changed: expect.arrayContaining(['rax']) }]);
  expect(end.differences.contexts).toMatchObject([{ context: 'cpu0', fields: [{ field: 'rax' }] }]);
});
