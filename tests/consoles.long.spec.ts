// Several consoles of a stock Debian kernel: the domain's own, a channel for `console -n`, and one at a Unix socket; with a log of each.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-consoles-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Talks to the channel's socket once it is there: answers "ready" with a line, collects what comes until the end. */
async function talk(path: string, line: string): Promise<string> {
  for (;;) {
    const socket = connect(path);
    const isOpen = await new Promise<boolean>((done) => {
      socket.once('connect', () => done(true));
      socket.once('error', () => done(false));
    });
    if (!isOpen) {
      await new Promise((done) => setTimeout(done, 50));
      continue;
    }
    let text = '';
    for await (const bytes of socket) {
      const before = text;
      text += String(bytes);
      if (text.includes('ready') && !before.includes('ready')) socket.write(line);
    }
    return text;
  }
}

describe.skipIf(!haveApt())('several consoles of a stock kernel (skipped where the host has no apt)', () => {
  it('channels are /dev/hvc1 and /dev/hvc2; one talks at a socket; each has a log, also of what nobody read', async () => {
    const kernel = debianKernel('cloud-amd64');
    const ramdisk = join(scratch, 'ramdisk.gz');
    const commands = [
      'cat /sys/bus/xen/devices/console-1/nodename',
      'echo from the guest > /dev/hvc1',
      'i=0; while [ $i -lt 400 ]; do echo "line $i of many that go by on the first channel"; i=$((i+1)); done > /dev/hvc1',
      // Held open: a terminal that is closed forgets what was typed.
      'exec 3<>/dev/hvc2; echo ready >&3; read line <&3; echo "socket said: $line"; echo "you said: $line" >&3; sleep 1',
    ];
    writeFileSync(ramdisk, busyboxInitramfs({ commands, shell: false }));
    const socket = join(scratch, 'channel.sock');
    const cfg = join(scratch, 'consoles.cfg');
    writeFileSync(
      cfg,
      `name="consoles"\ntype="pv"\nmemory=192\nkernel="${kernel.vmlinuz}"\nramdisk="${ramdisk}"\nextra="console=hvc0"
channel=['connection=pty,name=org.example.first', 'connection=socket,name=org.example.second,path=${socket}']\n`,
    );
    const logs = join(scratch, 'logs');
    const [ran, said] = await Promise.all([
      ringworld(['create', '-F', '--timeout', '900', '--log-dir', logs, cfg]),
      talk(socket, 'hello over there\n'),
    ]);
    expect(ran.stderr).not.toMatch(/error/i);
    expect(ran.code).toBe(0);
    const out = ran.stdout.replaceAll('\r', '');
    expect(out).toContain('device/console/1');
    expect(out).toContain('socket said: hello over there');
    expect(out).not.toContain('from the guest');
    expect(said).toContain('ready');
    expect(said).toContain('you said: hello over there');
    const log = (name: string) => readFileSync(join(logs, name), 'utf8').replaceAll('\r', '');
    expect(log('guest-consoles.log')).toBe(out);
    const first = log('guest-consoles-1.log').trimEnd().split('\n');
    expect(first[0]).toBe('from the guest');
    expect(first.length).toBe(401);
    expect(first.at(-1)).toBe('line 399 of many that go by on the first channel');
    expect(log('guest-consoles-2.log')).toBe(said.replaceAll('\r', ''));
  });
});
