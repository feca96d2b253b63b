// Two stock Debian domains on one bridge: the judge of netback is Linux's xen-netfront. They ping each other and copy data by TCP, checksums
// compared at both ends, with all offloads and with none.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { type Ran, ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-net-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** RINGWORLD_NET_MIB=256 for the size of the issue: it takes minutes. */
const MIB = Number(process.env.RINGWORLD_NET_MIB ?? 64);
const UNHEALTHY =
  /WARNING:|BUG:|Oops|Call Trace|Kernel panic|general protection|MODULE-FAILED|xen_netfront: (?!backend supports|Initialising)/;

interface GuestOptions {
  readonly commands: readonly string[];
  readonly memory: number;
  readonly vif?: string;
  readonly vcpus?: number;
}

let files = 0;
function guest(name: string, options: GuestOptions): string {
  const kernel = debianKernel('cloud-amd64');
  const base = join(scratch, `${name}-${files++}`);
  const modules = { kernel, names: ['xen-netfront'] };
  writeFileSync(`${base}.img`, busyboxInitramfs({ commands: options.commands, shell: false, compress: false, modules }));
  const settings = {
    name,
    type: 'pv',
    memory: options.memory,
    vcpus: options.vcpus ?? 1,
    kernel: kernel.vmlinuz,
    ramdisk: `${base}.img`,
    extra: 'console=hvc0 quiet',
  };
  const lines = Object.entries(settings).map(([k, v]) => `${k} = ${JSON.stringify(v)}`);
  writeFileSync(`${base}.cfg`, `${lines.join('\n')}\nvif = [ ${JSON.stringify(options.vif ?? '')} ]\n`);
  return `${base}.cfg`;
}

const up = (address: string) => [`ip addr add ${address}/24 dev eth0`, 'ip link set eth0 up'];
const STATISTICS = ['grep eth0 /proc/net/dev', 'grep ^Tcp: /proc/net/snmp', 'grep -c -E "eth0|vif0" /proc/interrupts'];

/** A number of /proc/net/snmp's Tcp lines, as one domain printed them. */
function tcp(ran: Ran, domain: string, name: string): number {
  const rows = [...ran.stdout.matchAll(new RegExp(`\\(${domain}\\) Tcp: (.*)`, 'g'))].map((m) => m[1]!.trim().split(' '));
  return Number(rows[1]![rows[0]!.indexOf(name)]);
}
/** Bytes and packets of eth0: received, then sent. */
function device(ran: Ran, domain: string): { rxBytes: number; rxPackets: number; txBytes: number; txPackets: number; errors: number } {
  const [, text = ''] = new RegExp(`\\(${domain}\\)\\s+eth0:(.*)`).exec(ran.stdout) ?? [];
  const n = text.trim().split(/\s+/).map(Number);
  return { rxBytes: n[0]!, rxPackets: n[1]!, txBytes: n[8]!, txPackets: n[9]!, errors: n[2]! + n[10]! };
}
const sums = (ran: Ran): string[] => [...ran.stdout.matchAll(/([0-9a-f]{64}) {2}/g)].map((m) => m[1]!);

async function run(server: string, client: string, args: readonly string[] = []): Promise<Ran> {
  const ran = await ringworld(['create', '-F', '--timeout', '1500', ...args, server, client]);
  expect(ran.stderr).not.toMatch(/error/i);
  expect(ran.code).toBe(0);
  expect(ran.stdout).not.toMatch(UNHEALTHY);
  return ran;
}

describe.skipIf(!haveApt())('stock Debian domains on a bridge (skipped where the host has no apt)', () => {
  it(`ping each other, and copy ${MIB} MiB by TCP with offloads: the packets are GSO's, nothing is sent twice`, async () => {
    const server = guest('server', {
      memory: 192 + 2 * MIB,
      // Large writes: busybox httpd hands the file to the kernel whole.
      commands: [
        `dd if=/dev/urandom of=/tmp/data bs=1M count=${MIB}`,
        'sha256sum /tmp/data',
        ...up('10.0.0.1'),
        'busybox httpd -p 80 -h /tmp',
        'nc -l -p 5000 > /tmp/done',
        ...STATISTICS,
      ],
    });
    const client = guest('client', {
      memory: 192 + 2 * MIB,
      commands: [
        ...up('10.0.0.2'),
        'until ping -c 1 -W 1 10.0.0.1 > /dev/null; do :; done',
        'ping -c 3 10.0.0.1',
        'ping -c 2 -s 1400 10.0.0.1',
        'until wget -q -O /tmp/data http://10.0.0.1/data; do sleep 1; done',
        'sha256sum /tmp/data',
        ...STATISTICS,
        'echo done | nc 10.0.0.1 5000',
      ],
    });
    const ran = await run(server, client);
    expect(ran.stdout).toContain('3 packets transmitted, 3 packets received, 0% packet loss');
    expect(ran.stdout).toContain('2 packets transmitted, 2 packets received, 0% packet loss');
    const [sent, received] = sums(ran);
    expect(received).toBe(sent);
    expect(sums(ran)).toHaveLength(2);
    for (const domain of ['server', 'client']) {
      expect(tcp(ran, domain, 'InCsumErrors')).toBe(0);
      expect(tcp(ran, domain, 'RetransSegs')).toBe(0);
      expect(device(ran, domain).errors).toBe(0);
    }
    const { rxBytes, rxPackets } = device(ran, 'client');
    expect(rxBytes).toBeGreaterThan(MIB << 20);
    expect(rxBytes / rxPackets).toBeGreaterThan(8000);
    // Two event channels, one each way.
    expect(ran.stdout).toMatch(/\(client\) 2\r?\n/);
  });

  it('copy by busybox nc as well without any offload, one queue and one event channel: each packet fits the wire, each checksum is right', async () => {
    const mib = Math.min(4, MIB);
    const server = guest('server', {
      memory: 192 + 2 * mib,
      commands: [...up('10.0.0.1'), 'nc -l -p 5000 > /tmp/data', 'sha256sum /tmp/data', ...STATISTICS],
    });
    const client = guest('client', {
      memory: 192 + 2 * mib,
      commands: [
        `dd if=/dev/urandom of=/tmp/data bs=1M count=${mib}`,
        ...up('10.0.0.2'),
        'until ping -c 1 -W 1 10.0.0.1 > /dev/null; do :; done',
        'nc 10.0.0.1 5000 < /tmp/data',
        'sha256sum /tmp/data',
        ...STATISTICS,
      ],
    });
    const off = 'sg=0,gsoTcpv4=0,gsoTcpv6=0,csumOffload=0,ipv6CsumOffload=0,splitEventChannels=0,maxQueues=1,ctrlRing=0,multicastControl=0';
    const ran = await run(server, client, ['--netback', off]);
    expect(sums(ran)).toHaveLength(2);
    expect(sums(ran)[0]).toBe(sums(ran)[1]);
    for (const domain of ['server', 'client']) {
      expect(tcp(ran, domain, 'InCsumErrors')).toBe(0);
      expect(device(ran, domain).errors).toBe(0);
    }
    const { rxBytes, rxPackets } = device(ran, 'server');
    expect(rxBytes).toBeGreaterThan(mib << 20);
    expect(rxBytes / rxPackets).toBeLessThan(1515);
    expect(ran.stdout).toMatch(/\(client\) 1\r?\n/);
  });

  it('with 4 vCPUs there are 4 queues; a rate is kept in virtual time; a jumbo MTU and a MAC are what the configuration says', async () => {
    const server = guest('server', {
      memory: 256,
      vcpus: 4,
      vif: 'mtu=9000',
      commands: [...up('10.0.0.1'), 'ip link set eth0 mtu 9000', 'nc -l -p 5000 > /tmp/data', 'sha256sum /tmp/data', ...STATISTICS],
    });
    const client = guest('client', {
      memory: 256,
      vif: 'mac=00:16:3e:12:34:56,rate=2MB/s,mtu=9000',
      commands: [
        'dd if=/dev/urandom of=/tmp/data bs=1M count=4',
        ...up('10.0.0.2'),
        'ip link set eth0 mtu 9000',
        'ip link show eth0',
        'until ping -c 1 -W 1 10.0.0.1 > /dev/null; do :; done',
        'ping -c 1 -s 8000 10.0.0.1',
        'sha256sum /tmp/data',
        'time nc 10.0.0.1 5000 < /tmp/data',
      ],
    });
    const ran = await run(server, client);
    expect(ran.stdout).toContain('link/ether 00:16:3e:12:34:56');
    expect(ran.stdout).toContain('8008 bytes from 10.0.0.1');
    expect(sums(ran)[0]).toBe(sums(ran)[1]);
    // Four queues with two event channels each.
    expect(ran.stdout).toMatch(/\(server\) 8\r?\n/);
    const [, seconds] = /\(client\) real\s+0m ([\d.]+)s/.exec(ran.stdout) ?? [];
    // 4 MiB at 2 MB/s; what fits the guest's buffers is sent by nc without waiting.
    expect(Number(seconds)).toBeGreaterThan(1.2);
    expect(Number(seconds)).toBeLessThan(2.6);
  });
});
