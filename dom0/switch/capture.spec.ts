// Captures: the bytes of the file by the specification, what is seen where, and what Wireshark's own reader makes of it where there is one.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Observer } from '../kernel/observe.ts';
import { type CaptureTarget, startCapture } from './capture.ts';
import { Network } from './network.ts';
import { frame, large, mac, packet, TestEnd, TestTimers, toHex } from './testing/frames.ts';
import { parseWire } from './wire.ts';

/** 2026-01-01. */
const EPOCH = 1_767_225_600_000_000_000n;

function setUp(target: CaptureTarget) {
  const timers = new TestTimers();
  const network = new Network(timers, new Observer());
  const parts: Uint8Array[] = [];
  const capture = startCapture(network, target, { now: () => timers.now(), epoch: EPOCH }, (b) => parts.push(b));
  const ports = [1, 2].map((n) => network.attach('xenbr0', new TestEnd(), `vif${n}.0`));
  return { timers, network, ports, capture, file: () => Buffer.concat(parts) };
}

interface Block {
  readonly type: number;
  readonly body: Buffer;
}
function blocks(file: Buffer): Block[] {
  const out: Block[] = [];
  for (let at = 0; at < file.length; ) {
    const length = file.readUInt32LE(at + 4);
    expect(length % 4).toBe(0);
    expect(file.readUInt32LE(at + length - 4)).toBe(length);
    out.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return out;
}

test('a file is a section header, an interface with its name and resolution, packets, statistics', () => {
  const { ports, capture, file, timers } = setUp({ kind: 'all' });
  timers.pass(1_500_000_007);
  ports[0]!.transmit(packet(frame(mac(1), mac(0), 'aa', 61)));
  capture.stop();
  const [section, description, sent, statistics, ...none] = blocks(file());
  expect(none).toEqual([]);
  expect(section!.type).toBe(0x0a0d0d0a);
  expect(toHex(section!.body.subarray(0, 16))).toBe('4d3c2b1a01000000ffffffffffffffff');
  expect(description!.type).toBe(1);
  expect(toHex(description!.body)).toBe(
    '0100000000000000' +
      `02000600${Buffer.from('vif1.0').toString('hex')}0000` +
      `03001000${Buffer.from('port 1 of xenbr0').toString('hex')}` +
      '0900010009000000' +
      '00000000',
  );
  expect(sent!.type).toBe(6);
  const time = EPOCH + 1_500_000_007n;
  expect([sent!.body.readUInt32LE(0), sent!.body.readUInt32LE(4), sent!.body.readUInt32LE(8)]).toEqual([
    0,
    Number(time >> 32n),
    Number(time & 0xffff_ffffn),
  ]);
  expect([sent!.body.readUInt32LE(12), sent!.body.readUInt32LE(16)]).toEqual([61, 61]);
  // Padded to 64, then epb_flags: inbound.
  expect(toHex(sent!.body.subarray(20 + 61))).toBe('000000' + '0200040001000000' + '00000000');
  expect(statistics!.type).toBe(5);
});

test('on a bridge a packet is seen once, on a port in both directions, and ports that come later too', () => {
  const onBridge = setUp({ kind: 'bridge', bridge: 'xenbr0' });
  const onPort = setUp({ kind: 'port', isPort: (n) => n === 'vif2.0' });
  const elsewhere = setUp({ kind: 'bridge', bridge: 'xenbr1' });
  for (const { ports } of [onBridge, onPort, elsewhere]) {
    ports[0]!.transmit(packet(frame(mac(1), mac(0))));
    ports[1]!.transmit(packet(frame(mac(0), mac(1))));
  }
  expect([onBridge, onPort, elsewhere].map((s) => s.capture.packets)).toEqual([2, 2, 0]);
  const flags = blocks(onPort.file())
    .filter((b) => b.type === 6)
    .map((b) => b.body.readUInt32LE(20 + 60 + 4));
  // Out to the guest, then in from it.
  expect(flags).toEqual([2, 1]);
  onBridge.capture.stop();
  onBridge.ports[0]!.transmit(packet(frame(mac(1), mac(0))));
  expect(onBridge.capture.packets).toBe(2);
});

const tool = (name: string, args: string[]): string => execFileSync(name, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
const has = (name: string): boolean => {
  try {
    tool(name, ['--version']);
    return true;
  } catch {
    return false;
  }
};

test.skipIf(!has('tcpdump'))('tcpdump reads it whole (skipped where it is not installed)', () => {
  const { ports, capture, file, timers } = setUp({ kind: 'all' });
  timers.pass(250);
  ports[0]!.transmit(packet(frame(mac(1), mac(0), 'aa', 61)));
  timers.pass(1e9);
  ports[1]!.transmit(large(frame(mac(0), mac(1), 'bb', 9000), { type: 'tcpv4', size: 1448 }));
  capture.stop();
  const lines = execFileSync('tcpdump', ['-r', '-', '-n', '-e', '-tt', '--nano'], { input: file(), stdio: ['pipe', 'pipe', 'ignore'] });
  const [first, second, ...none] = lines
    .toString()
    .split('\n')
    .filter((l) => /^\d/.test(l));
  expect(none).toEqual([]);
  expect(first).toMatch(/^1767225600\.000000250 02:00:00:00:00:00 > 02:00:00:00:00:01, .*length 61/);
  expect(second).toMatch(/^1767225601\.000000250 02:00:00:00:00:01 > 02:00:00:00:00:00, .*length 9000/);
});

test.skipIf(!has('tshark') || !has('capinfos'))('tshark and capinfos read it whole (skipped where they are not installed)', () => {
  const { ports, network, capture, file, timers } = setUp({ kind: 'all' });
  network.setWire('xenbr0', parseWire('1Gb/s')!);
  timers.pass(250);
  ports[0]!.transmit(packet(frame(mac(1), mac(0), 'aa', 61)));
  timers.pass(1e9);
  ports[1]!.transmit(large(frame(mac(0), mac(1), 'bb', 9000), { type: 'tcpv4', size: 1448 }));
  capture.stop();
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-pcap-'));
  try {
    const path = join(dir, 'x.pcapng');
    writeFileSync(path, file());
    const fields = ['frame.time_epoch', 'frame.interface_name', 'frame.len', 'frame.comment'].flatMap((f) => ['-e', f]);
    expect(
      tool('tshark', ['-r', path, '-T', 'fields', ...fields])
        .trimEnd()
        .split('\n'),
    ).toEqual(['1767225600.000000250\tvif1.0\t61\t', '1767225601.000000250\tvif2.0\t9000\tGSO tcpv4, MSS 1448, checksum blank']);
    const info = tool('capinfos', [path]);
    expect(info).toMatch(/File type:\s+Wireshark\/\.\.\. - pcapng/);
    expect(info).toMatch(/Number of interfaces in file: 2/);
    expect(info).toMatch(/Name = vif1\.0/);
    expect(info).toMatch(/Time precision = nanoseconds \(9\)/);
    expect(info).toMatch(/Speed = 1000000000/);
    expect(info).toMatch(/Number of packets\s*=\s*1|Number of packets:\s+2/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
