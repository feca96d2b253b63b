// `ringworld bare` as a user runs it, with a small multiboot kernel: output, typed input, exit codes, the report.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Assembler, addr, al, assembler, dx, eax, ebx, edx, esi, Image, mem, mem8, mem32 } from '@ringworld/guests';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ringworld } from './support/ringworld.ts';

const MAGIC = 0x1bad_b002;
const FLAGS = 0x1_0000;
const BASE = 0x10_0000;

/** A flat multiboot image; `putc` and `getc` use COM1 by polling. */
function kernel(build: (a: Assembler<32>) => void): Uint8Array {
  const image = new Image();
  const a = assembler(image, 32);
  a.label('header').dd(MAGIC, FLAGS, -(MAGIC + FLAGS) >>> 0, addr('header'), addr('header'), 0, 0, addr('start'));
  a.label('putc').mov(edx, 0x3f8).out(dx, al).ret();
  a.label('getc').mov(edx, 0x3fd).label('.w').in(al, dx).test(al, 1).jz('.w').mov(edx, 0x3f8).in(al, dx).ret();
  a.label('start')
    .cmp(eax, 0x2bad_b002)
    .jz('go')
    .mov(al, 0x7f)
    .mov(edx, 0xf4)
    .out(dx, al)
    .label('go')
    .mov(mem32(null, { disp: 0x5000 }), 0)
    .mov(esi, ebx)
    .db(0xbc)
    .dd(0x9_0000);
  build(a);
  return image.link(BigInt(BASE)).sections[0]!.bytes;
}
const print = (a: Assembler<32>, text: string) => {
  for (const c of text) a.mov(al, c.charCodeAt(0)).call('putc');
};

let dir = '';
const file = (name: string) => join(dir, name);
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-bare-'));
  // Its command line, then what is typed, a letter further; 'q' ends it with 2 * 21 + 1.
  writeFileSync(
    file('echo'),
    kernel((a) => {
      a.mov(esi, mem(ebx, { disp: 16 }))
        .label('c')
        .mov(al, mem8(esi))
        .test(al, al)
        .jz('typed')
        .call('putc')
        .inc(esi)
        .jmp('c');
      a.label('typed').call('getc').cmp(al, 0x71).jz('end').inc(al).call('putc').jmp('typed');
      a.label('end').mov(al, 21).mov(edx, 0xf4).out(dx, al);
    }),
  );
  const ends: Record<string, (a: Assembler<32>) => void> = {
    reset: (a) => a.mov(al, 6).mov(edx, 0xcf9).out(dx, al),
    // An IDT without room for a single gate.
    fault: (a) => {
      print(a, 'panic: no\n');
      a.db(0x0f, 0x01, 0x1d).dd(0x5000).ud2();
    },
    sleep: (a) => a.cli().hlt(),
    loop: (a) => a.label('l').jmp('l'),
  };
  for (const [name, build] of Object.entries(ends)) writeFileSync(file(name), kernel(build));
});
afterAll(() => rmSync(dir, { recursive: true }));

describe('ringworld bare', () => {
  it('gives a kernel its command line and what is typed, shows what it prints, and ends with its code', async () => {
    const ran = await ringworld(
      ['bare', '--timeout', '60', file('echo'), 'memory=4', 'cmdline=hello?'],
      [{ after: 'hello?', type: 'HALq' }],
    );
    expect(ran).toEqual({ code: 43, stdout: 'hello?IBM', stderr: '' });
  });

  it.each([
    ['reset', ['on_reboot=destroy'], 4, 'ringworld: reset rebooted (reset control register): on_reboot ends it\n'],
    ['fault', [], 3, /^ringworld: fault crashed: triple fault/],
    ['sleep', [], 6, 'ringworld: sleep sleeps for ever: no timer is set, nothing can be typed\n'],
    ['loop', ['--timeout', '1'], 5, 'ringworld: loop did not end in time\n'],
    ['none', [], 1, /^ringworld: .*none: cannot read the image: no such file\n$/],
  ] as [string, string[], number, string | RegExp][])('%s ends with its exit code and a word why', async (name, args, code, message) => {
    const ran = await ringworld(['bare', '-F', '--timeout', '60', file(name), 'memory=4', ...args]);
    expect(ran.code).toBe(code);
    expect(ran.stderr).toMatch(message);
  });

  it('--json reports on standard output, the console goes to standard error', async () => {
    const ran = await ringworld(['bare', '-F', '--json', file('fault'), 'memory=4']);
    expect(ran.code).toBe(3);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      name: 'fault',
      exitReason: 'crash',
      crashReason: 'panic: no',
      exitCode: null,
      restarts: 0,
    });
    expect(ran.stderr).toContain('panic: no');
  });

  it('a restart begins anew: on_reboot=restart until the time is up', async () => {
    const ran = await ringworld(['bare', '-F', '--timeout', '2', file('reset'), 'memory=4']);
    expect(ran.code).toBe(5);
    expect(ran.stderr).toContain('reset control register: starting again');
  });
});
