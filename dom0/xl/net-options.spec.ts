// --uplink, --capture and --wire as they are written.
import { expect, test } from 'vitest';
import { captureTarget, parseNetOptions } from './net-options.ts';
import { parseUplink } from './uplink-spec.ts';

test('an uplink is passt with its arguments, or a socket', () => {
  expect(parseUplink('passt')).toEqual({ text: 'passt', bridge: 'xenbr0', kind: 'passt', args: [] });
  expect(parseUplink('passt,bridge=br1,args=-t 22,80 -u 53')).toEqual({
    text: 'passt',
    bridge: 'br1',
    kind: 'passt',
    args: ['-t', '22,80', '-u', '53'],
  });
  expect(parseUplink('unix:/run/x.sock,server=on')).toMatchObject({ kind: 'unix', path: '/run/x.sock', isServer: true, bridge: 'xenbr0' });
  expect(parseUplink('tcp:localhost:1234,bridge=b')).toMatchObject({
    kind: 'tcp',
    host: 'localhost',
    port: 1234,
    isServer: false,
    bridge: 'b',
  });
  expect(parseUplink('tcp:[::1]:1234')).toMatchObject({ host: '::1', port: 1234 });
});

test('an uplink that makes no sense is refused with the reason', () => {
  expect(() => parseUplink('slirp')).toThrow('--uplink=slirp: there are passt, unix:PATH and tcp:HOST:PORT');
  expect(() => parseUplink('passt,server=on')).toThrow('"server=on" is no setting of it');
  expect(() => parseUplink('unix:/x,bridge=')).toThrow('"bridge="');
  expect(() => parseUplink('tcp:host:99999')).toThrow('there are');
  expect(() => parseUplink('unix:/x,args=-t 1')).toThrow('args= goes with passt');
});

test('a capture has a file, and a bridge or an interface; a wire may be for one bridge', () => {
  expect(parseNetOptions({ capture: ['a.pcapng', 'b.pcapng,xenbr1', 'c,web/0'], wire: ['1Gb/s,delay=1ms', 'br1:ideal'] })).toMatchObject({
    captures: [
      { file: 'a.pcapng', target: null },
      { file: 'b.pcapng', target: 'xenbr1' },
      { file: 'c', target: 'web/0' },
    ],
    wires: [
      { bridge: '*', wire: { bitsPerSecond: 1e9, delayNs: 1e6 } },
      { bridge: 'br1', wire: { bitsPerSecond: null } },
    ],
  });
  for (const wrong of ['', ',xenbr0', '-', 'x,']) expect(() => parseNetOptions({ capture: [wrong] })).toThrow(`--capture=${wrong}`);
  for (const wrong of ['fast', ':1Gb/s', 'br1:']) expect(() => parseNetOptions({ wire: [wrong] })).toThrow(`--wire=${wrong}`);
});

test('a target by domain follows the port that the domain has at the time', () => {
  let port = 'vif1.0';
  const target = captureTarget('web/0', (domain, devid) => (domain === 'web' && devid === 0 ? port : null));
  if (target.kind !== 'port') throw new Error('not a port');
  expect(target.isPort('vif1.0')).toBe(true);
  port = 'vif2.0';
  expect([target.isPort('vif1.0'), target.isPort('vif2.0')]).toEqual([false, true]);
  expect(() => captureTarget('web/x', () => null)).toThrow('DOMAIN/DEVID');
});
