// Frame buffer and keyboard of a stock Debian kernel: its own xen-fbfront and xen-kbdfront. What the guest draws is found in the PNG's pixels,
// what is typed here is read from its input devices.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseCreateArguments, readGuests } from '../dom0/xl/create-options.ts';
import { pngOf } from '../dom0/xl/node-png.ts';
import { ConsoleOutput } from '../dom0/xl/output.ts';
import { Session } from '../dom0/xl/session.ts';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { decodePng } from './support/png.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-fb-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const KEY_A = 30;
const KEY_LEFTSHIFT = 42;
const BTN_LEFT = 0x110;

describe.skipIf(!haveApt())('frame buffer and keyboard with a stock kernel (skipped where the host has no apt)', () => {
  it('what is drawn is in the PNG, at its place and in its colours; what is typed and pointed at arrives', async () => {
    const kernel = debianKernel('amd64');
    const [width, height] = [640, 400];
    // 32 rows of a pattern in which every pixel differs from its neighbours.
    const rows = 32;
    const pattern = new Uint8Array(width * rows * 4);
    for (let i = 0; i < width * rows; i++) pattern.set([i & 0xff, (i * 7) & 0xff, (i >> 6) & 0xff, 0], i * 4);
    const ramdisk = join(scratch, 'ramdisk.gz');
    const commands = [
      'cat /sys/class/graphics/fb0/name /sys/class/graphics/fb0/virtual_size',
      'dd if=/pattern of=/dev/fb0 bs=2560 seek=200 2>/dev/null',
      'sleep 1; echo DRAWN',
      'for i in 0 1; do cat /sys/class/input/input$i/name; done',
      'dd if=/dev/input/event0 of=/tmp/keys bs=24 count=8 2>/dev/null & dd if=/dev/input/event1 of=/tmp/pointer bs=24 count=5 2>/dev/null &',
      'sleep 1; echo LISTENING; wait',
      'echo KEYS; od -An -v -tx2 -w24 /tmp/keys; echo POINTER; od -An -v -tx2 -w24 /tmp/pointer; echo END',
    ];
    writeFileSync(
      ramdisk,
      busyboxInitramfs({ modules: { kernel, names: ['evdev'] }, commands, shell: false, files: { pattern }, compress: true }),
    );
    const cfg = join(scratch, 'fb.cfg');
    writeFileSync(
      cfg,
      `name="fb"\ntype="pv"\nmemory=256\nkernel="${kernel.vmlinuz}"\nramdisk="${ramdisk}"\nextra="console=tty0 console=hvc0 vt.global_cursor_default=0"
vfb=['width=${width},height=${height}']\n`,
    );
    let text = '';
    let drawn: Uint8Array | null = null;
    let isTyped = false;
    let areas = 0;
    const output = new ConsoleOutput({
      room: () => 1 << 20,
      write: (bytes) => {
        text += new TextDecoder().decode(bytes);
        if (text.includes('DRAWN\r') && drawn === null) drawn = pngOf(session.host.screens.framebuffer(domid)!.picture()!);
        if (!text.includes('LISTENING\r') || isTyped) return;
        isTyped = true;
        const keyboard = session.host.screens.keyboard(domid)!;
        for (const [code, pressed] of [
          [KEY_LEFTSHIFT, true],
          [KEY_A, true],
          [KEY_A, false],
          [KEY_LEFTSHIFT, false],
        ] as const)
          keyboard.key(code, pressed);
        keyboard.position(321, 123);
        keyboard.key(BTN_LEFT, true);
      },
    });
    const guests = readGuests(parseCreateArguments([cfg]), () => {});
    const session = new Session({
      guests,
      cpus: null,
      deadline: performance.now() + 900_000,
      pace: () => false,
      world: { canWake: () => false, wait: () => Promise.resolve() },
      outputs: [output],
      note: (line) => {
        text += `NOTE ${line}\n`;
      },
      log: null,
    });
    const domid = [...session.host.toolstack.domains.values()][0]!.domid;
    session.host.screens.framebuffer(domid)?.subscribe(() => areas++);
    const { domains } = await session.run();
    expect(domains[0]?.exitReason, text).toBe('poweroff');
    const out = text.replaceAll('\r', '');
    expect(out).not.toMatch(/WARNING:|BUG:|Oops|Call Trace/);
    expect(out).toMatch(/^xen\n640,400$/m);
    expect(out).toMatch(/^Xen Virtual Keyboard\nXen Virtual Pointer$/m);
    expect(areas).toBeGreaterThan(0);

    const png = decodePng(drawn!);
    expect([png.width, png.height]).toEqual([width, height]);
    const seen = png.rgb.subarray(200 * width * 3, (200 + rows) * width * 3);
    const wanted = Uint8Array.from({ length: width * rows * 3 }, (_, i) => pattern[Math.floor(i / 3) * 4 + 2 - (i % 3)]!);
    expect(Buffer.compare(seen, wanted)).toBe(0);
    // The kernel's own messages stand on the same screen: some pixels above are lit.
    expect(png.rgb.subarray(0, 200 * width * 3).some((v) => v !== 0)).toBe(true);

    /** type, code and value of each event, without its time. */
    const events = (from: string, to: string) =>
      out
        .slice(out.indexOf(`\n${from}\n`), out.indexOf(`\n${to}\n`))
        .split('\n')
        .slice(2)
        .map((l) =>
          l
            .trim()
            .split(/\s+/)
            .slice(8)
            .map((w) => Number.parseInt(w, 16)),
        )
        .map(([type, code, low]) => [type, code, low]);
    const SYN = [0, 0, 0];
    expect(events('KEYS', 'POINTER')).toEqual([
      [1, KEY_LEFTSHIFT, 1],
      SYN,
      [1, KEY_A, 1],
      SYN,
      [1, KEY_A, 0],
      SYN,
      [1, KEY_LEFTSHIFT, 0],
      SYN,
    ]);
    expect(events('POINTER', 'END')).toEqual([[3, 0, 321], [3, 1, 123], SYN, [1, BTN_LEFT, 1], SYN]);
  });
});
