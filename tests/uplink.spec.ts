// An uplink against a peer on the host that speaks QEMU's stream framing, as QEMU and passt do: frames both ways, in order, in time, and what
// happens when the peer goes. No guest runs here; tests/uplink.long.spec.ts has stock ones.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect as dial, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { frameForStream, StreamFrames } from '../dom0/switch/stream-framing.ts';
import { frame, hex, mac, packet, TestEnd, toHex } from '../dom0/switch/testing/frames.ts';
import { Bell } from '../dom0/xl/bell.ts';
import { switchOn } from '../dom0/xl/host.ts';
import { parseNetOptions } from '../dom0/xl/net-options.ts';
import { HostNet } from '../dom0/xl/node-net.ts';
import { pump } from '../dom0/xl/pump.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-uplink-'));
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A machine without guests, with an end of the test's own on its bridge. */
async function machine(...uplink: string[]) {
  const host = switchOn({ guestMiB: 4, cpus: 1 });
  const bell = new Bell();
  const notes: string[] = [];
  const net = new HostNet(
    host,
    () => bell.ring(),
    (line) => notes.push(line),
  );
  await net.open(parseNetOptions({ uplink }));
  closers.push(() => net.close());
  const end = new TestEnd({ gso4: false, gso6: false, csum4: false, csum6: false, wantsMulticast: () => true, maxFrame: 65535 });
  const port = host.network.attach('xenbr0', end, 'vif1.0');
  /** Lets the machine run until `stop`, in real time as its world asks for. */
  const run = (stop: () => boolean, ms = 5000) =>
    pump(host.hv, {
      stop,
      deadline: performance.now() + ms,
      pace: () => false,
      world: { canWake: () => net.isLive(), wait: (most) => bell.wait(most), isLive: net.isLive, admit: net.admit },
    });
  return { host, end, port, notes, run, net };
}

/** The other end of the wire. */
class Peer {
  readonly socket: Socket;
  readonly got: Uint8Array[] = [];
  private readonly reader = new StreamFrames();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (b: Buffer) => this.got.push(...(this.reader.push(b) ?? [])));
    socket.on('error', () => {});
    closers.push(() => socket.destroy());
  }
  send(bytes: Uint8Array): void {
    this.socket.write(frameForStream(bytes));
  }
  async has(count: number): Promise<void> {
    while (this.got.length < count) await new Promise((done) => setTimeout(done, 1));
  }
}

/** Listens at a path; resolves with whoever connects. */
function listening(path: string): Promise<{ readonly peer: Promise<Peer> }> {
  return new Promise((resolve) => {
    let connected: (p: Peer) => void = () => {};
    const peer = new Promise<Peer>((done) => {
      connected = done;
    });
    const server = createServer((s) => connected(new Peer(s)));
    closers.push(() => server.close());
    server.listen(path, () => resolve({ peer }));
  });
}

async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await new Promise<number>((done) =>
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      done(typeof address === 'object' && address !== null ? address.port : 0);
    }),
  );
  await new Promise((done) => probe.close(done));
  return port;
}

const hasQemu = (): boolean => spawnSync('qemu-system-x86_64', ['--version'], { stdio: 'ignore' }).status === 0;

describe('an uplink', () => {
  it('carries frames both ways, in order, long ones and bursts', async () => {
    const path = join(scratch, 'a.sock');
    const { peer: connected } = await listening(path);
    const { end, port, run } = await machine(`unix:${path}`);
    const peer = await connected;
    const sizes = [60, 1514, 9014, 65535, 14, 60];
    for (const [i, size] of sizes.entries())
      port.transmit(packet(frame(mac(9), mac(1), i.toString(16).padStart(2, '0'), Math.max(16, size))));
    port.flush();
    await peer.has(sizes.length);
    expect(peer.got.map((f) => f.length)).toEqual([60, 1514, 9014, 65535, 16, 60]);
    expect(peer.got.map((f) => f[14])).toEqual([0, 1, 2, 3, 4, 5]);
    for (let i = 0; i < 3000; i++) peer.send(frame(mac(1), mac(9), (i & 255).toString(16).padStart(2, '0'), 100));
    expect(await run(() => end.got.length >= 3000)).toBe('stopped');
    expect(end.got.every((p, i) => p.bytes[14] === (i & 255) && p.bytes.length === 100)).toBe(true);
    // The peer's address has been learned: nothing else is flooded to it.
    expect(end.flushes).toBeLessThan(3000);
  });

  it('wakes a machine that sleeps, and until then virtual time is real time', async () => {
    const path = join(scratch, 'b.sock');
    const { peer: connected } = await listening(path);
    const { host, end, run } = await machine(`unix:${path}`);
    const peer = await connected;
    // A timeout of ten seconds, as a DHCP client's: without the uplink it would have passed at once.
    let hasTimedOut = false;
    host.toolstack.dom0.timers.after(10e9, () => {
      hasTimedOut = true;
    });
    const start = performance.now();
    setTimeout(() => peer.send(frame(mac(1), mac(9), '77')), 150);
    expect(await run(() => end.got.length > 0)).toBe('stopped');
    const real = (performance.now() - start) * 1e6;
    expect(hasTimedOut).toBe(false);
    expect(host.hv.now()).toBeGreaterThan(100e6);
    expect(host.hv.now()).toBeLessThan(real + 5e6);
  });

  it('is never stuck while it is there, and says when its peer goes; then time is skipped again', async () => {
    const path = join(scratch, 'c.sock');
    const { peer: connected } = await listening(path);
    const { host, end, run, notes, net } = await machine(`unix:${path}`);
    const peer = await connected;
    expect(await run(() => false, 100)).toBe('timeout');
    peer.send(frame(mac(1), mac(9), '01'));
    peer.socket.end();
    const skipped = host.hv.now() + 3600e9;
    host.toolstack.dom0.timers.after(3600e9, () => {});
    expect(await run(() => false)).toBe('stuck');
    expect(host.hv.now()).toBeGreaterThanOrEqual(skipped);
    // What it had sent last was not lost.
    expect(end.got.length).toBe(1);
    expect(notes).toEqual([`uplink unix:${path} is gone: the other end has closed the connection`]);
    expect(net.isLive()).toBe(false);
    expect(host.network.bridge('xenbr0').ports.map((p) => p.name)).toEqual(['vif1.0']);
  });

  it('ends when the other side talks of something else', async () => {
    const path = join(scratch, 'd.sock');
    const { peer: connected } = await listening(path);
    const { run, notes } = await machine(`unix:${path}`);
    (await connected).socket.write('GET / HTTP/1.1\r\n\r\n');
    expect(await run(() => false)).toBe('stuck');
    expect(notes[0]).toContain('it sent something that is no frame');
  });

  it('also waits for the other end, over TCP', async () => {
    const port = await freePort();
    const { end, port: ours, run } = await machine(`tcp:127.0.0.1:${port},server=on`);
    // Before anybody is there frames are lost, as on a cable with nothing at its end.
    ours.transmit(packet(frame(mac(9), mac(1), '01')));
    ours.flush();
    const peer = new Peer(dial(port, '127.0.0.1'));
    await new Promise((done) => peer.socket.once('connect', done));
    peer.send(frame(mac(1), mac(9), '02'));
    expect(await run(() => end.got.length > 0)).toBe('stopped');
    ours.transmit(packet(frame(mac(9), mac(1), '03')));
    ours.flush();
    await peer.has(1);
    expect(toHex(peer.got[0]!.subarray(14, 15))).toBe('03');
  });

  it.skipIf(!hasQemu())("talks with QEMU's stream and socket netdevs (skipped where there is no QEMU)", async () => {
    const path = join(scratch, 'qemu.sock');
    const tcp = await freePort();
    const others = [
      { netdev: `stream,server=on,addr.type=unix,addr.path=${path}`, uplink: `unix:${path}` },
      { netdev: `socket,listen=127.0.0.1:${tcp}`, uplink: `tcp:127.0.0.1:${tcp}` },
    ];
    for (const { netdev, uplink } of others) {
      const hub = (name: string) => ['-netdev', `hubport,id=hub-${name},hubid=0,netdev=${name}`];
      const netdevs = ['-netdev', 'user,id=user', ...hub('user'), '-netdev', `${netdev},id=wire`, ...hub('wire')];
      const qemu = spawn('qemu-system-x86_64', ['-M', 'none', '-display', 'none', '-monitor', 'none', ...netdevs], { stdio: 'ignore' });
      closers.push(() => qemu.kill());
      let made: Awaited<ReturnType<typeof machine>> | null = null;
      for (const deadline = performance.now() + 10_000; made === null; ) {
        try {
          made = await machine(uplink);
        } catch (e) {
          // It is not listening yet.
          if (performance.now() > deadline) throw e;
          await new Promise((done) => setTimeout(done, 50));
        }
      }
      const { end, port, run, notes } = made;
      // Who has 10.0.2.2? QEMU's user network does.
      port.transmit(packet(hex(`ffffffffffff ${mac(1)} 0806 0001080006040001 ${mac(1)} 0a00020f 000000000000 0a000202`)));
      port.flush();
      expect(await run(() => end.got.length > 0)).toBe('stopped');
      expect(toHex(end.got[0]!.bytes.subarray(0, 32))).toBe(`${mac(1)}52550a0002020806000108000604000252550a0002020a000202`);
      qemu.kill();
      expect(await run(() => notes.length > 0)).toBe('stopped');
      expect(notes[0]).toContain('is gone');
    }
  });

  it('says what is missing', async () => {
    await expect(machine('unix:/nowhere/x.sock')).rejects.toThrow('--uplink=unix:/nowhere/x.sock: connect ENOENT');
    const { PATH } = process.env;
    process.env.PATH = scratch;
    try {
      await expect(machine('passt')).rejects.toThrow('--uplink=passt: there is no passt in PATH; Debian has it in its package passt');
    } finally {
      process.env.PATH = PATH;
    }
  });
});
