// Checksums and segmentation against what Linux made of the same packets (testing/linux-capture.sh), and against bytes worked out by hand.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { findL4 } from './headers.ts';
import { sum16 } from './inet-checksum.ts';
import { checksumPlace, fillChecksum, Offloader, planGso, verifyChecksum } from './offload.ts';
import type { Packet } from './port.ts';
import { hex, large, packet, TAKES_ALL, TAKES_PLAIN, toHex } from './testing/frames.ts';

const capture = JSON.parse(readFileSync(new URL('./testing/linux-capture.json', import.meta.url), 'utf8')) as Record<
  'before' | 'after',
  string[]
>;
/** What host a sent: the bridge talks too. */
const ofA = (frames: readonly string[]): Uint8Array[] =>
  frames.map((f) => new Uint8Array(Buffer.from(f, 'base64'))).filter((f) => toHex(f.subarray(6, 12)) === '020000000001');
const before = ofA(capture.before);
const after = ofA(capture.after);

const isTcp = (f: Uint8Array) => checksumPlace(f)?.protocol === 6;
const isTransport = (f: Uint8Array) => checksumPlace(f) !== null;

/** As the bridge hands them to an end without any offload. */
function adapted(p: Packet, accepts = TAKES_PLAIN): Uint8Array[] | null {
  const out: Uint8Array[] = [];
  return new Offloader().adapt(p, accepts, (x) => out.push(x.bytes.slice())) ? out : null;
}
/** Linux's stack leaves TCP and UDP checksums of all its packets blank for such a card, and cuts for an MTU of 1500. */
function asSent(f: Uint8Array): Packet {
  if (!isTransport(f)) return packet(f);
  if (f.length <= 1514) return packet(f, { csumBlank: true, csumValid: true });
  const is4 = f[12] === 8;
  // 1500 less IP and TCP headers with their 12 bytes of options.
  return large(f, { type: is4 ? 'tcpv4' : 'tcpv6', size: is4 ? 1448 : 1428 });
}

describe('against Linux', () => {
  it('has both versions of IP, large packets, UDP and ICMP in the capture', () => {
    expect(before.filter((f) => f.length > 1514).map((f) => f.length)).toEqual([4067, 4087]);
    expect(before.filter((f) => checksumPlace(f)?.protocol === 17).length).toBe(4);
  });

  it('cuts and completes every packet as Linux did, to the bit', () => {
    const ours = before.filter(isTransport).flatMap((f) => adapted(asSent(f))!);
    const theirs = after.filter(isTransport);
    expect(ours.map(toHex)).toEqual(theirs.map(toHex));
    expect(ours.length).toBeGreaterThan(15);
  });

  it('finds their checksums good, ICMP and ICMPv6 too, and sees any bit that is turned', () => {
    const checked = after.filter((f) => verifyChecksum(f) !== 'none');
    expect(new Set(checked.map((f) => findL4(f)!.protocol))).toEqual(new Set([6, 17, 1, 58]));
    for (const f of checked) {
      expect(verifyChecksum(f)).toBe('good');
      const broken = f.slice();
      broken[f.length - 1] = broken[f.length - 1]! ^ 4;
      expect(verifyChecksum(broken)).toBe('bad');
    }
    // The blank ones were taken before anybody had filled them.
    for (const f of before.filter(isTcp)) expect(verifyChecksum(f)).toBe('bad');
  });

  it('leaves checksums blank for an end that takes them so, as Linux would hand them on', () => {
    const big = before.find((f) => f.length > 1514)!;
    const accepts = { ...TAKES_ALL, gso4: false };
    const segments: Packet[] = [];
    new Offloader().adapt(asSent(big), accepts, (p) => segments.push({ ...p, bytes: p.bytes.slice() }));
    expect(segments.map((s) => s.csumBlank)).toEqual([true, true, true]);
    const filled = segments.flatMap((s) => adapted(s)!);
    expect(filled.map(toHex)).toEqual(adapted(asSent(big))!.map(toHex));
  });

  it('hands a packet on as it is to an end that takes all', () => {
    for (const p of before.map(asSent)) {
      let got: Packet | null = null;
      new Offloader().adapt(p, TAKES_ALL, (x) => {
        got = x;
      });
      expect(got).toBe(p);
    }
  });
});

describe('sums', () => {
  it('agree with RFC 1071', () => {
    expect(sum16(hex('0001f203f4f5f6f7'), 0, 8)).toBe(0xddf2);
  });
  it('do not depend on where the bytes lie', () => {
    const bytes = Uint8Array.from({ length: 4000 }, (_, i) => (i * 31 + (i >> 5)) & 255);
    const slow = (b: Uint8Array, from: number, to: number) => {
      let s = 0;
      for (let i = from; i < to; i++) s += (i - from) % 2 === 0 ? b[i]! * 256 : b[i]!;
      while (s > 0xffff) s = (s & 0xffff) + Math.floor(s / 0x10000);
      return s;
    };
    for (let from = 0; from < 9; from++)
      for (const to of [from, from + 1, from + 63, from + 64, from + 65, from + 1461, 3999, 4000])
        expect(sum16(bytes, from, to)).toBe(slow(bytes, from, to));
    expect(sum16(new Uint8Array(65536).fill(255), 0, 65536)).toBe(0xffff);
  });
});

/** UDP over IPv4 from 10.0.0.1 to 10.0.0.2. */
const udp4 = (payload: string, check = '0000') => {
  const length = payload.length / 2;
  const h = (n: number) => n.toString(16).padStart(4, '0');
  return hex(`020000000002 020000000001 0800
    4500 ${h(28 + length)} 0001 0000 40 11 0000 0a000001 0a000002
    0035 0035 ${h(8 + length)} ${check} ${payload}`);
};

describe('a frame that claims what it is not', () => {
  const ip6 = (next: string, rest: string) =>
    hex(`020000000002 020000000001 86dd 60000000 ${(rest.replace(/\s/g, '').length / 2).toString(16).padStart(4, '0')} ${next} 40
      fd990000000000000000000000000001 fd990000000000000000000000000002 ${rest}`);
  const udp = '0035 0035 0008 0000';

  it('has no checksum to fill: fragments, other protocols, headers cut off', () => {
    expect(checksumPlace(udp4('00'))?.field).toBe(14 + 20 + 6);
    const fragment = udp4('00');
    fragment[20] = 0x20;
    expect(checksumPlace(fragment)).toBeNull();
    const later = udp4('00');
    later[21] = 1;
    expect(checksumPlace(later)).toBeNull();
    const icmp = udp4('00');
    icmp[23] = 1;
    expect(checksumPlace(icmp)).toBeNull();
    for (let cut = 0; cut < 14 + 28; cut++) expect(checksumPlace(udp4('').subarray(0, cut))).toBeNull();
    const longHeader = udp4('00');
    longHeader[14] = 0x4f;
    expect(checksumPlace(longHeader)).toBeNull();
    const shortHeader = udp4('00');
    shortHeader[14] = 0x44;
    expect(checksumPlace(shortHeader)).toBeNull();
  });

  it("follows IPv6's extension headers, and gives up where they lead nowhere", () => {
    expect(checksumPlace(ip6('11', udp))?.start).toBe(54);
    expect(checksumPlace(ip6('00', `11 00 0104 00000000 ${udp}`))?.start).toBe(62);
    expect(checksumPlace(ip6('3c', `2b 01 0104 00000000 0000000000000000 1100 0000 00000000 ${udp}`))?.start).toBe(78);
    // An authentication header counts in words of 4.
    expect(checksumPlace(ip6('33', `11 01 0000 00000000 00000000 ${udp}`))?.start).toBe(66);
    // An atomic fragment is whole; another is not.
    expect(checksumPlace(ip6('2c', `11 00 0000 00000000 ${udp}`))?.start).toBe(62);
    expect(checksumPlace(ip6('2c', `11 00 0001 00000000 ${udp}`))).toBeNull();
    expect(checksumPlace(ip6('2c', `11 00 0008 00000000 ${udp}`))).toBeNull();
    // Beyond the end, and round in circles.
    expect(checksumPlace(ip6('00', 'ffff'))).toBeNull();
    expect(checksumPlace(ip6('00', '00ff 0000 00000000'))).toBeNull();
    expect(checksumPlace(ip6('00', '0000 0000 00000000'.repeat(40)))).toBeNull();
  });

  it('is not cut: the wrong version, no TCP, no size, headers that reach past its end', () => {
    const tcp = before.find((f) => f.length > 1514 && f[12] === 8)!;
    expect(planGso(tcp, { type: 'tcpv4', size: 1448 })?.segments).toBe(3);
    expect(planGso(tcp, { type: 'tcpv6', size: 1448 })).toBeNull();
    expect(planGso(udp4('00'), { type: 'tcpv4', size: 1448 })).toBeNull();
    expect(planGso(tcp, { type: 'tcpv4', size: 0 })).toBeNull();
    const longHeader = tcp.slice(0, 60);
    longHeader[46] = 0xf0;
    expect(planGso(longHeader, { type: 'tcpv4', size: 1448 })).toBeNull();
    const shortHeader = tcp.slice();
    shortHeader[46] = 0x40;
    expect(planGso(shortHeader, { type: 'tcpv4', size: 1448 })).toBeNull();
    expect(adapted(large(udp4('00'), { type: 'tcpv4', size: 100 }))).toBeNull();
    expect(adapted(large(tcp, { type: 'tcpv4', size: 1461 }))).toBeNull();
  });
});

it('a checksum that comes to 0 is written as ffff, and UDP without one is not looked at', () => {
  // The payload that makes it so: the complement of all the rest.
  const frame = udp4('0000');
  const place = checksumPlace(frame)!;
  const sum = sum16(frame, 34, 44);
  const missing = 0xffff - sum;
  frame.set([missing >> 8, missing & 255], 42);
  fillChecksum(frame, place);
  expect(toHex(frame.subarray(40, 42))).toBe('ffff');
  expect(verifyChecksum(udp4('1234'))).toBe('none');
});

it('FIN and PSH stay with the last segment, CWR with the first, and numbers run over', () => {
  const tcp = before.find((f) => f.length > 1514 && f[12] === 8)!.slice();
  tcp[47] = 0x80 | 0x10 | 0x08 | 0x01;
  tcp.set(hex('ffffffff'), 38);
  tcp.set(hex('ffff'), 18);
  const out = adapted(large(tcp, { type: 'tcpv4', size: 1448 }))!;
  expect(out.map((f) => f[47])).toEqual([0x90, 0x10, 0x19]);
  expect(out.map((f) => toHex(f.subarray(38, 42)))).toEqual(['ffffffff', '000005a7', '00000b4f']);
  expect(out.map((f) => toHex(f.subarray(18, 20)))).toEqual(['ffff', '0000', '0001']);
});
