// Two stock Debian guests on a bridge whose ports have wires with a rate and a delay: what their own ping and clock say of it, the same in
// every run, and what a capture shows.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-switch-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A guest with the address 192.0.2.`n`; the configuration's path. */
function guest(name: string, n: number, commands: readonly string[]): string {
  const kernel = debianKernel('cloud-amd64');
  const ramdisk = join(scratch, `${name}.initramfs`);
  const all = [`ip addr add 198.51.100.${n}/24 dev eth0`, 'ip link set eth0 up', ...commands];
  writeFileSync(ramdisk, busyboxInitramfs({ commands: all, shell: false, compress: false, modules: { kernel, names: ['xen-netfront'] } }));
  const config = join(scratch, `${name}.cfg`);
  writeFileSync(
    config,
    `type = "pv"\nname = "${name}"\nmemory = 160\nkernel = "${kernel.vmlinuz}"\nramdisk = "${ramdisk}"\nextra = "console=hvc0 quiet"\n` +
      `vif = [ "mac=00:16:3e:00:00:0${n}" ]\n`,
  );
  return config;
}

const MIB = 1 << 20;

/** Blocks of a pcapng file by type. */
function blockCounts(file: Uint8Array): Map<number, number> {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const counts = new Map<number, number>();
  for (let at = 0; at < file.length; at += view.getUint32(at + 4, true)) {
    const type = view.getUint32(at, true);
    counts.set(type, (counts.get(type) ?? 0) + 1);
  }
  return counts;
}

describe.skipIf(!haveApt())('two stock Debian guests on a bridge (skipped where the host has no apt)', () => {
  it('see its wires: 5 ms each way and 50 Mb/s, twice the same to the cycle, and all of it captured', async () => {
    const left = guest('left', 1, ['busybox nc -l -p 5000 > /tmp/got', 'echo GOT $(sha256sum < /tmp/got)']);
    const right = guest('right', 2, [
      'ping -c 3 198.51.100.1 > /dev/null',
      'ping -c 3 -i 0.1 198.51.100.1',
      `head -c ${MIB} /bin/busybox > /tmp/sent`,
      'echo SENT $(sha256sum < /tmp/sent)',
      'time busybox nc 198.51.100.1 5000 < /tmp/sent',
    ]);
    const run = async (capture: string) => {
      const file = join(scratch, capture);
      const args = ['--timeout', '300', '--json', '--wire=50Mb/s,delay=5ms', `--capture=${file}`];
      const ran = await ringworld(['create', '-F', ...args, left, right]);
      return { ran, capture: new Uint8Array(readFileSync(file)) };
    };
    const first = await run('first.pcapng');
    const text = first.ran.stderr;
    expect(first.ran.code).toBe(0);
    const times = [...text.matchAll(/seq=\d+ ttl=64 time=([\d.]+) ms/g)].map((m) => Number(m[1]));
    expect(times.length).toBe(3);
    for (const t of times) {
      expect(t).toBeGreaterThan(10);
      expect(t).toBeLessThan(11);
    }
    const sent = /SENT ([0-9a-f]{64})/.exec(text)?.[1];
    expect(sent).toBeDefined();
    expect(text).toContain(`GOT ${sent}`);
    // A MiB at 50 Mb/s is 0.168 s at least, and slow start over 10 ms takes its time.
    const real = /real\s+(\d+)m ([\d.]+)s/.exec(text);
    const seconds = Number(real?.[1]) * 60 + Number(real?.[2]);
    expect(seconds).toBeGreaterThan(0.168);
    expect(seconds).toBeLessThan(1.5);
    const counts = blockCounts(first.capture);
    expect(counts.get(1)).toBe(2);
    expect(counts.get(6)).toBeGreaterThan(50);
    expect(counts.get(5)).toBe(2);

    const second = await run('second.pcapng');
    const cycles = (json: string): number => JSON.parse(json).machine?.virtualCycles ?? JSON.parse(json).virtualCycles;
    expect(cycles(first.ran.stdout)).toBeGreaterThan(1e9);
    expect(cycles(second.ran.stdout)).toBe(cycles(first.ran.stdout));
    expect(Buffer.compare(second.capture, first.capture)).toBe(0);
  });
});
