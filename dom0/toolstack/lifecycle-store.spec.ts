// What a new domain finds in XenStore, and what is left when it has gone.
import { mfn } from '@ringworld/abi';
import { beforeEach, expect, test } from 'vitest';
import { Xenstored, XsClient } from '../xenstored/index.ts';
import { removeDomainNodes, writeDom0Nodes, writeDomainNodes } from './lifecycle-store.ts';
import { parseXlcfg, readDomainConfig } from './xlcfg.ts';

const { config } = readDomainConfig(
  'g.cfg',
  parseXlcfg('g.cfg', 'name="g"\nkernel="k"\nmemory=64\nmaxmem=128\nvcpus=1\nmaxvcpus=2\nuuid="00112233-4455-6677-8899-aabbccddeeff"'),
);
let xs: XsClient;
let guest: XsClient;

beforeEach(() => {
  const daemon = new Xenstored({ open: () => {}, close: () => {} });
  xs = new XsClient(daemon);
  writeDom0Nodes(xs);
  writeDomainNodes(xs, { domid: 3, config, console: { mfn: mfn(0x123), port: 2 }, store: { mfn: mfn(0x124), port: 1 } });
  guest = new XsClient(daemon, 3);
});

test('the guest can read who it is, its memory, its vCPUs and its console', () => {
  const read = (path: string) => guest.read(path);
  expect(read('name')).toBe('g');
  expect(read('domid')).toBe('3');
  expect(read('vm')).toBe('/vm/00112233-4455-6677-8899-aabbccddeeff');
  expect(read('/vm/00112233-4455-6677-8899-aabbccddeeff/name')).toBe('g');
  expect([read('memory/target'), read('memory/static-max')]).toEqual(['65536', '131072']);
  expect([read('cpu/0/availability'), read('cpu/1/availability')]).toEqual(['online', 'offline']);
  expect([read('console/ring-ref'), read('console/port'), read('console/type')]).toEqual(['291', '2', 'xenconsoled']);
  expect([read('store/ring-ref'), read('store/port')]).toEqual(['292', '1']);
  expect(guest.directory('device')).toEqual(['suspend']);
});

test('it may write where libxl lets it, and nowhere else', () => {
  guest.write('data/hello', 'x');
  guest.write('control/shutdown', '');
  guest.write('control/feature-suspend', '1');
  for (const path of ['name', 'memory/target', 'console/tty', 'device/vbd/0', 'new', '/local/domain/0/name'])
    expect(() => guest.write(path, 'x'), path).toThrow('EACCES');
  expect(() => guest.read('/libxl/3/type')).toThrow('EACCES');
});

test('nothing is left of a domain that was destroyed', () => {
  removeDomainNodes(xs, 3, config);
  expect(xs.directory('/local/domain')).toEqual(['0']);
  expect([xs.directory('/vm'), xs.directory('/libxl'), xs.directory('/local/domain/0/backend/console/3')]).toEqual([[], [], []]);
});
