// Watching a stock kernel's block I/O: traced from the guest's event to the backend's answer, on one axis of virtual time; a live ring shown
// by a running host; and the bench of split drivers from the command line.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeTrace, type Trace, type TraceEvent } from '@ringworld/dom0';
import { afterAll, describe, expect, it } from 'vitest';
import { checkChromeTrace } from '../dom0/observe/testing.ts';
import { partsOf, tracedLinux } from './bench/split/linux.ts';
import { latencies, measuredFrom, stretches } from './bench/split/linux-trace.ts';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-trace-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const DEVICE = 'vbd/1/51712';
const of = <K extends TraceEvent['kind']>(trace: Trace, kind: K) =>
  trace.records.flatMap(({ at, event }) => (event.kind === kind ? [{ at, ...(event as Extract<TraceEvent, { kind: K }>) }] : []));

describe.skipIf(!haveApt())("a stock kernel's block I/O (skipped where the host has no apt)", () => {
  it('is traced whole: each request has its answer, and between them what both ends did', async () => {
    const READS = 24;
    const commands = [
      'sleep 1',
      `dd if=/dev/xvda of=/dev/null bs=4k count=${READS} iflag=direct skip=300`,
      'sleep 1',
      'dd if=/dev/zero of=/dev/xvda bs=64k count=4 oflag=direct',
    ];
    const trace = await tracedLinux(scratch, 'data=copy', 1, commands);
    expect(trace.dropped).toBe(0);
    const requests = of(trace, 'request');
    const responses = of(trace, 'response');
    expect(requests.length).toBe(responses.length);
    expect(responses.every((r) => r.status === 0)).toBe(true);

    const [reads, writes] = partsOf(trace, 2);
    const within = (at: number, part = reads!) => at >= part.from && at <= part.to;
    const own = requests.filter((r) => within(r.at));
    expect(own).toHaveLength(READS);
    expect(own.every((r) => r.op === 'read' && r.bytes === 4096 && r.device === DEVICE)).toBe(true);
    expect(requests.filter((r) => within(r.at, writes)).reduce((n, r) => n + r.bytes, 0)).toBe(4 * 65536);
    // The model says how long a read takes; none is answered before that, nor at once.
    const ns = latencies(trace, DEVICE, reads!.from, reads!.to);
    expect(ns).toHaveLength(READS);
    expect(Math.min(...ns)).toBeGreaterThan(9_000);

    // The guest's side of each: an event to dom0's port, a wait for the answer, an event back.
    const sends = of(trace, 'send').filter((s) => within(s.at));
    const toBack = sends.filter((s) => s.domid === 1 && s.toDomid === 0);
    expect(toBack.length).toBeGreaterThanOrEqual(READS);
    expect(sends.filter((s) => s.domid === 0 && s.toDomid === 1).length).toBeGreaterThanOrEqual(READS);
    const ports = new Set(
      of(trace, 'deliver')
        .filter((d) => within(d.at))
        .map((d) => d.port),
    );
    expect(toBack.every((s) => ports.has(s.toPort))).toBe(true);
    const states = of(trace, 'runstate').filter((r) => r.domid === 1 && within(r.at));
    expect(states.filter((r) => r.state === 'blocked').length).toBeGreaterThanOrEqual(READS - 1);
    const grants = of(trace, 'grant').filter((g) => within(g.at));
    expect(grants.reduce((n, g) => n + g.count, 0)).toBe(READS);
    expect(grants.every((g) => g.op === 'copy')).toBe(true);
    // How the two found each other.
    const front = of(trace, 'state').filter((s) => s.device === DEVICE && s.end === 'front');
    expect(front.map((s) => s.state)).toEqual(expect.arrayContaining([1, 3, 4]));
    expect(of(trace, 'xenstore').some((x) => x.domid === 1 && x.request === 'WRITE' && x.argument.includes('ring-ref'))).toBe(true);
    expect(of(trace, 'watch').some((w) => w.domid === 1)).toBe(true);

    const checked = checkChromeTrace(encodeTrace(trace, 'json').join(''));
    expect(checked.spans).toBe(requests.length);
    expect(checked.unanswered).toBe(0);
    expect(checked.arrows).toBeGreaterThan(2 * READS);

    const m = measuredFrom(
      trace,
      { group: 'test', name: 'reads', workload: 'dd', frontend: 'blkfront' },
      { device: DEVICE, domid: 1, ...reads!, profile: 'skylake-sp', wallMs: 0 },
    );
    expect([m.requests, m.backend.grant_copy, m.backend.byte_copied]).toEqual([READS, READS, READS * 4096]);
    expect(m.guestCycles).toBeGreaterThan(1000);
    expect(stretches(trace, DEVICE).length).toBeGreaterThanOrEqual(2);
  });

  it("is followed while a host runs it; its rings are shown by 'dump ring'", async () => {
    const socket = join(scratch, 'host.sock');
    const at = ['--socket', socket];
    const kernel = debianKernel('cloud-amd64');
    const loop = 'while sleep 0.2; do dd if=/dev/xvda of=/dev/null bs=4k count=4 iflag=direct 2>/dev/null; done';
    const modules = { kernel, names: ['xen-blkfront'] };
    writeFileSync(join(scratch, 'live.initrd'), busyboxInitramfs({ compress: false, shell: false, modules, commands: [loop] }));
    writeFileSync(join(scratch, 'live.img'), '');
    truncateSync(join(scratch, 'live.img'), 8 << 20);
    const settings = {
      name: 'live',
      kernel: kernel.vmlinuz,
      ramdisk: join(scratch, 'live.initrd'),
      extra: 'console=hvc0 quiet',
    };
    const lines = Object.entries(settings).map(([k, v]) => `${k} = "${v}"\n`);
    writeFileSync(join(scratch, 'live.cfg'), `${lines.join('')}memory = 128\ndisk = ['${join(scratch, 'live.img')},raw,xvda,w']\n`);
    expect((await ringworld(['host', '--daemon', ...at, '--memory', '256', '--log', join(scratch, 'host.log')])).code).toBe(0);
    try {
      expect((await ringworld(['create', ...at, join(scratch, 'live.cfg')])).code).toBe(0);
      const missing = await ringworld(['dump', ...at, 'ring', 'live', 'xvdz']);
      expect([missing.code, missing.stderr]).toEqual([1, expect.stringMatching(/has no vbd/)]);
      const follow = await traced([...at, '-f', '-e', 'ring,event'], /response \d+: id \d+, status 0/);
      expect(follow.stdout).toMatch(/d1v0 +sends by port \d+ to d0v0 port \d+/);
      expect(follow.stdout).toMatch(/vbd\/1\/51712 q0 +request \d+: read id \d+, 4096 bytes/);
      expect(follow.stdout).not.toMatch(/sched_op/);
      const ring = await ringworld(['dump', ...at, 'ring', 'live', 'xvda']);
      expect(ring.stdout).toMatch(/vbd\/1\/51712: 32 slots, 1 page, x86_64\n {2}req_prod (\d+) +req_event \d+ +rsp_prod \d+/);
      expect(ring.stdout).toMatch(/struct blkif_response\n {4}0x0000 {2}id: 0x/);
      expect((await ringworld(['dump', ...at, 'ring', 'live', 'console'])).stdout).toMatch(/out: 2048 bytes, out_prod \d+/);
      expect((await ringworld(['dump', ...at, 'ring', 'live', 'xenstore'])).stdout).toMatch(/server_features: 0x/);
      const file = join(scratch, 'live.json');
      await traced([...at, '-w', file, '-e', 'ring,event,run'], null, 4000);
      expect(checkChromeTrace(readFileSync(file, 'utf8')).slices).toBeGreaterThan(0);
    } finally {
      await ringworld(['host', '--stop', ...at]);
    }
  });
});

describe('ringworld bench split', () => {
  it('runs every choice for block and net, and says which shapes of print came out', async () => {
    const file = join(scratch, 'split.json');
    const ran = await ringworld(['bench', 'split', 'block', 'net', '--requests=256', `--json=${file}`]);
    expect(ran.stderr).toBe('');
    expect(ran.code).toBe(0);
    expect(ran.stdout).toContain('a single page allows 32 requests');
    const { rows, shapes } = JSON.parse(readFileSync(file, 'utf8')) as {
      rows: {
        group: string;
        requests: number;
        backend: Record<string, number>;
        backendCycles: { low: number; nominal: number; high: number };
      }[];
      shapes: { verdict: string }[];
    };
    expect(new Set(rows.map((r) => r.group))).toEqual(
      new Set(['data path', 'notification', 'ring size', 'queues'].flatMap((g) => [`block: ${g}`, `net: ${g}`])),
    );
    for (const r of rows) {
      expect([r.backend.request, r.backend.response]).toEqual([r.requests, r.requests]);
      expect(r.backendCycles.low).toBeLessThan(r.backendCycles.nominal);
      expect(r.backendCycles.nominal).toBeLessThan(r.backendCycles.high);
    }
    expect(shapes.length).toBeGreaterThanOrEqual(8);
    expect(shapes.filter((s) => s.verdict === 'yes').length).toBeGreaterThanOrEqual(5);
  });
});

/** `ringworld trace` until its output has `until`, or so long; then interrupted, as by Ctrl-C. */
function traced(args: readonly string[], until: RegExp | null, ms = 120_000): Promise<{ readonly stdout: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../dom0/xl/ringworld.mjs'), 'trace', ...args]);
    let stdout = '';
    const timer = setTimeout(() => child.kill('SIGINT'), ms);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (until?.test(stdout)) child.kill('SIGINT');
    });
    child.on('error', reject).on('close', () => {
      clearTimeout(timer);
      resolve({ stdout });
    });
  });
}
