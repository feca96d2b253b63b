// The outside world through Debian's passt: a stock Debian guest takes an address by DHCP, asks a name server, and moves data by TCP both ways
// with servers of this process on the host's loopback (which passt maps to the gateway's address).
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { debianKernel, debianPackage, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-uplink-'));
const COMMAND = join(import.meta.dirname, '../dom0/xl/ringworld.mjs');
const closers: (() => void)[] = [];
afterAll(() => {
  for (const close of closers) close();
  rmSync(scratch, { recursive: true, force: true });
});

const UDHCPC_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router dev $interface
echo LEASE $ip router $router
echo $router > /tmp/router
`;

/** A guest with netfront that runs the commands; the configuration's path. */
function guest(name: string, commands: readonly string[], mac: string): string {
  const kernel = debianKernel('cloud-amd64');
  const files = { 'etc/udhcpc.sh': new TextEncoder().encode(UDHCPC_SCRIPT) };
  const ramdisk = join(scratch, `${name}.initramfs`);
  writeFileSync(
    ramdisk,
    busyboxInitramfs({ commands, shell: false, files, modules: { kernel, names: ['xen-netfront'] }, compress: false }),
  );
  const config = join(scratch, `${name}.cfg`);
  writeFileSync(
    config,
    `type = "pv"\nname = "${name}"\nmemory = 192\nkernel = "${kernel.vmlinuz}"\nramdisk = "${ramdisk}"\nextra = "console=hvc0 quiet"\n` +
      `vif = [ "mac=${mac},bridge=xenbr0" ]\n`,
  );
  return config;
}

/** Bytes that are the same in every run. */
const data = (length: number, seed: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  let x = seed;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    bytes[i] = x >>> 16;
  }
  return bytes;
};
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Answers each question for an address with 198.51.100.7. Only loopback reaches it. */
function dnsServer(): Promise<{ readonly port: number; readonly asked: string[] }> {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (query, from) => {
    let at = 12;
    const labels: string[] = [];
    for (let n = query[at]!; n !== 0; n = query[at]!) {
      labels.push(query.toString('latin1', at + 1, at + 1 + n));
      at += 1 + n;
    }
    const type = query.readUInt16BE(at + 1);
    asked.push(labels.join('.'));
    const answer = Buffer.concat([
      query.subarray(0, at + 5),
      type === 1 ? Buffer.from('c00c000100010000003c0004c6336407', 'hex') : Buffer.alloc(0),
    ]);
    answer.writeUInt16BE(0x8180, 2);
    answer.writeUInt16BE(type === 1 ? 1 : 0, 6);
    socket.send(answer, from.port, from.address);
  });
  closers.push(() => socket.close());
  return new Promise((done) => socket.bind(0, '127.0.0.1', () => done({ port: socket.address().port, asked })));
}

/** What web servers were asked for. */
const asked: string[] = [];

function webServer(body: Uint8Array): Promise<number> {
  const server = createHttpServer((request, response) => {
    asked.push(request.url ?? '');
    response.end(body);
  });
  closers.push(() => server.close());
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done((server.address() as AddressInfo).port)));
}

/** Takes one connection's bytes. */
function sink(): Promise<{ readonly port: number; readonly got: Promise<Uint8Array> }> {
  let over: (bytes: Uint8Array) => void = () => {};
  const got = new Promise<Uint8Array>((done) => {
    over = done;
  });
  const server = createServer((socket) => {
    const parts: Buffer[] = [];
    socket.on('data', (b) => parts.push(b)).on('end', () => over(Buffer.concat(parts)));
    socket.on('error', () => {});
  });
  closers.push(() => server.close());
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done({ port: (server.address() as AddressInfo).port, got })));
}

describe.skipIf(!haveApt())('the outside world of a stock Debian guest (skipped where the host has no apt)', () => {
  it('gets an address by DHCP, resolves a name, and moves data by TCP both ways, through passt', async () => {
    process.env.PATH = `${process.env.PATH}:${join(debianPackage('passt'), 'usr/bin')}`;
    const body = data(1 << 20, 1);
    const [dns, web, upload] = [await dnsServer(), await webServer(body), await sink()];
    const config = guest(
      'outside',
      [
        'ip link set eth0 up',
        'udhcpc -i eth0 -n -q -t 5 -T 3 -s /etc/udhcpc.sh',
        'gw=$(cat /tmp/router)',
        `busybox nslookup ringworld.test $gw:${dns.port}`,
        `wget -q -O /tmp/body http://$gw:${web}/ && echo BODY $(sha256sum < /tmp/body)`,
        `busybox nc $gw ${upload.port} < /tmp/body && echo SENT`,
        'echo DROPS $(cat /sys/class/net/eth0/statistics/rx_errors /sys/class/net/eth0/statistics/tx_errors)',
      ],
      '00:16:3e:00:00:11',
    );
    const file = join(scratch, 'outside.pcapng');
    const ran = await ringworld(['create', '-F', '--timeout', '300', '--uplink=passt', `--capture=${file},outside/0`, config]);
    expect(ran.stderr).not.toMatch(/uplink|error/i);
    expect(ran.stdout).not.toContain('MODULE-FAILED');
    expect(ran.stdout).toMatch(/LEASE \d+\.\d+\.\d+\.\d+ router \d+\.\d+\.\d+\.\d+/);
    expect(ran.stdout).toContain('198.51.100.7');
    expect(dns.asked).toContain('ringworld.test');
    expect(ran.stdout).toContain(`BODY ${sha(body)}`);
    expect(ran.stdout).toContain('SENT');
    expect(sha(await upload.got)).toBe(sha(body));
    expect(ran.stdout).toContain('DROPS 0 0');
    expect(ran.code).toBe(0);
    // The capture saw the guest ask for its address.
    expect(readFileSync(file).includes(Buffer.from('00163e000011', 'hex'))).toBe(true);
    expect(readFileSync(file).includes('ringworld')).toBe(true);
  });

  it('says what passt has against its arguments', async () => {
    process.env.PATH = `${process.env.PATH}:${join(debianPackage('passt'), 'usr/bin')}`;
    const config = guest('never', [], '00:16:3e:00:00:13');
    const ran = await ringworld(['create', '-F', '--uplink=passt,args=-t 99999999', config]);
    expect(ran.code).toBe(1);
    expect(ran.stderr.trim()).toBe('ringworld: --uplink=passt: passt ended (exit code 1): Invalid port specifier 99999999');
  });

  it('serves the domains of a host too, whose network can be watched meanwhile', async () => {
    process.env.PATH = `${process.env.PATH}:${join(debianPackage('passt'), 'usr/bin')}`;
    const body = data(100_000, 2);
    const web = await webServer(body);
    const config = guest(
      'resident',
      [
        'ip link set eth0 up',
        'udhcpc -i eth0 -n -q -t 5 -T 3 -s /etc/udhcpc.sh',
        `wget -q -O /tmp/body http://$(cat /tmp/router):${web}/ && wget -q -O /dev/null http://$(cat /tmp/router):${web}/$(sha256sum < /tmp/body)`,
      ],
      '00:16:3e:00:00:12',
    );
    const socket = ['--socket', join(scratch, 'host.sock')];
    const up = await ringworld(['host', '--daemon', '--memory', '256', '--uplink=passt', ...socket]);
    expect(up.stderr).toBe('');
    try {
      const file = join(scratch, 'host.pcapng');
      const watching = spawn(process.execPath, [COMMAND, 'net', 'capture', '-w', file, 'resident/0', ...socket], { stdio: 'ignore' });
      const watched = new Promise((done) => watching.once('exit', done));
      const made = await ringworld(['create', ...socket, config]);
      expect(made.code).toBe(0);
      // The guest tells by what it asks for that it has got everything.
      const hash = sha(body);
      for (const end = performance.now() + 300_000; !asked.some((url) => url.includes(hash)) && performance.now() < end; )
        await new Promise((done) => setTimeout(done, 200));
      expect(asked.some((url) => url.includes(hash))).toBe(true);
      const listed = await ringworld(['net', 'list', ...socket]);
      expect(listed.stdout).toMatch(/^xenbr0\n {2}uplink0 +tx [1-9]/);
      watching.kill('SIGINT');
      await watched;
      expect(readFileSync(file).includes(Buffer.from('00163e000012', 'hex'))).toBe(true);
    } finally {
      await ringworld(['host', '--stop', ...socket]);
    }
  });
});
