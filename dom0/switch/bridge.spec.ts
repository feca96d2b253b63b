// The learning bridge and its wires, with ends that keep what they get.
import { expect, test } from 'vitest';
import { Observer } from '../kernel/observe.ts';
import { Network } from './network.ts';
import { frame, mac, packet, TAKES_ALL, TAKES_PLAIN, TestEnd, TestTimers } from './testing/frames.ts';
import { parseWire } from './wire.ts';

const BROADCAST = 'ffffffffffff';

function setUp(ends = 3) {
  const timers = new TestTimers();
  const observer = new Observer();
  const network = new Network(timers, observer);
  const clients = Array.from({ length: ends }, () => new TestEnd());
  const ports = clients.map((c, i) => network.attach('xenbr0', c, `vif${i + 1}.0`));
  /** `from` sends; who got it? */
  const send = (from: number, to: string, tag = '01', source = mac(from)): number[] => {
    ports[from]!.transmit(packet(frame(to, source, tag)));
    ports[from]!.flush();
    return clients.flatMap((c, i) => (c.take().length > 0 ? [i] : []));
  };
  return { timers, observer, network, clients, ports, send };
}

test('an unknown address is flooded to all others, a learned one goes to its port alone', () => {
  const { send, network } = setUp();
  expect(send(0, mac(1))).toEqual([1, 2]);
  expect(send(1, mac(0))).toEqual([0]);
  expect(send(0, mac(1))).toEqual([1]);
  expect(send(0, BROADCAST)).toEqual([1, 2]);
  expect(
    network
      .bridge('xenbr0')
      .fdb.list(0)
      .map((e) => e.port),
  ).toEqual([1, 2]);
});

test('no frame goes back where it came from', () => {
  const { send } = setUp();
  send(0, BROADCAST, '01', mac(7));
  expect(send(0, mac(7))).toEqual([]);
});

test('an address that moves is followed at once; one that is silent for 300 s is forgotten', () => {
  const { send, timers } = setUp();
  send(0, BROADCAST, '01', mac(9));
  expect(send(1, mac(9))).toEqual([0]);
  send(2, BROADCAST, '01', mac(9));
  expect(send(1, mac(9))).toEqual([2]);
  timers.pass(299e9);
  expect(send(1, mac(9))).toEqual([2]);
  timers.pass(1e9);
  expect(send(1, mac(9))).toEqual([0, 2]);
});

test('bridges are apart, and ports that close are forgotten', () => {
  const { network, send, ports, clients } = setUp();
  const other = new TestEnd();
  network.attach('xenbr1', other, 'vif9.0');
  send(1, BROADCAST);
  expect(other.got).toEqual([]);
  ports[1]!.close();
  expect(send(0, mac(1))).toEqual([2]);
  ports[1]!.transmit(packet(frame(BROADCAST, mac(1))));
  expect(clients[0]!.got).toEqual([]);
});

test('frames from groups or from nobody, and those of the link itself, are not forwarded', () => {
  const { send } = setUp();
  expect(send(0, mac(1), '01', '010000000001')).toEqual([]);
  expect(send(0, mac(1), '01', '000000000000')).toEqual([]);
  expect(send(0, '0180c2000001')).toEqual([]);
  expect(send(0, '0180c200000e')).toEqual([]);
  // Without spanning tree its own frames pass (br_handle_frame).
  expect(send(0, '0180c2000000')).toEqual([1, 2]);
});

test('multicast goes to those who want it, broadcast to all', () => {
  const { send, clients } = setUp();
  clients[1]!.accepts = { ...TAKES_ALL, wantsMulticast: (a) => a[5] === 1 };
  expect(send(0, '01005e000001')).toEqual([1, 2]);
  expect(send(0, '01005e000002')).toEqual([2]);
  expect(send(0, BROADCAST)).toEqual([1, 2]);
});

test('ports count, and an end without room loses the packet', () => {
  const { send, ports, clients, observer } = setUp(2);
  send(0, mac(1));
  clients[1]!.hasRoom = false;
  send(0, mac(1));
  expect(ports[0]!.stats).toEqual({ txPackets: 2, txBytes: 120, rxPackets: 0, rxBytes: 0, rxDropped: 0 });
  expect(ports[1]!.stats).toEqual({ txPackets: 0, txBytes: 0, rxPackets: 1, rxBytes: 60, rxDropped: 1 });
  expect(observer.work.packet_switched).toBe(2);
  // Between ends that take what they are sent nothing is copied.
  expect(observer.work.byte_copied).toBe(0);
});

test('a frame beyond what an end takes is lost for it alone', () => {
  const { ports, clients } = setUp();
  clients[2]!.accepts = { ...TAKES_PLAIN, maxFrame: 9014 };
  ports[0]!.transmit(packet(frame(BROADCAST, mac(0), '01', 4000)));
  expect(clients.map((c) => c.got.length)).toEqual([0, 0, 1]);
  expect(ports[1]!.stats.rxDropped).toBe(1);
});

test('ends that answer within the call take turns, and cannot keep the bridge for ever', () => {
  const { ports, clients, send } = setUp(2);
  const order: string[] = [];
  clients.forEach((c, i) => {
    c.onReceive = (p) => {
      order.push(`${i} got ${p.bytes[14]}`);
      ports[i]!.transmit(packet(frame(mac(1 - i), mac(i), (p.bytes[14]! + 1).toString(16).padStart(2, '0').slice(-2))));
    };
  });
  send(0, mac(1), '01');
  expect(order.slice(0, 3)).toEqual(['1 got 1', '0 got 2', '1 got 3']);
  expect(order.length).toBeLessThan(2000);
});

test('a port never holds more than 1024 addresses, and does not push out those of others', () => {
  const { network, ports, send } = setUp();
  send(1, BROADCAST);
  for (let i = 0; i < 5000; i++) ports[0]!.transmit(packet(frame(BROADCAST, `0a00${i.toString(16).padStart(8, '0')}`)));
  expect(network.bridge('xenbr0').fdb.list(0).length).toBe(1025);
  expect(send(2, mac(1)).includes(0)).toBe(false);
});

test('a wire takes its time: rate, delay, order, and a queue with an end', () => {
  const { network, timers, ports, clients } = setUp(2);
  network.setWire('xenbr0', parseWire('10Mb/s,delay=1ms,limit=3')!);
  for (const tag of ['01', '02', '03', '04']) ports[0]!.transmit(packet(frame(mac(1), mac(0), tag, 1514)));
  ports[0]!.flush();
  expect(clients[1]!.got).toEqual([]);
  // 1514 bytes and 24 of FCS, preamble and gap at 10 Mb/s.
  const onWire = (1538 * 8 * 1e9) / 10e6;
  timers.pass(1e6 + onWire - 1);
  expect(clients[1]!.take()).toEqual([]);
  timers.pass(1);
  expect(clients[1]!.take()).toEqual(['01']);
  expect(clients[1]!.flushes).toBe(1);
  timers.pass(2 * onWire);
  expect(clients[1]!.take()).toEqual(['02', '03']);
  expect(ports[1]!.stats.rxDropped).toBe(1);
  // Short frames are padded; the wire was free for a while.
  timers.pass(1e9);
  ports[0]!.transmit(packet(frame(mac(1), mac(0), '05', 20)));
  timers.pass(1e6 + (84 * 8 * 1e9) / 10e6);
  expect(clients[1]!.take()).toEqual(['05']);
});

test('what is on a wire is lost with its port', () => {
  const { network, timers, ports, clients } = setUp(2);
  network.setWire('*', parseWire('delay=1ms')!);
  ports[0]!.transmit(packet(frame(mac(1), mac(0))));
  ports[1]!.close();
  timers.pass(1e9);
  expect(clients[1]!.got).toEqual([]);
});

test('wires are written as xl writes rates', () => {
  expect(parseWire('ideal')).toEqual({ bitsPerSecond: null, delayNs: 0, limit: 1000 });
  expect(parseWire('1Gb/s')).toEqual({ bitsPerSecond: 1e9, delayNs: 0, limit: 1000 });
  expect(parseWire('10MB/s,delay=1.5us,limit=2')).toEqual({ bitsPerSecond: 80e6, delayNs: 1500, limit: 2 });
  for (const wrong of ['', 'fast', '0Mb/s', '1Gb', 'delay=1', 'limit=0', '1Gb/s;delay=1ms']) expect(parseWire(wrong)).toBeNull();
});
