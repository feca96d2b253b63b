// The host's calls about its network, on a machine without domains.
import { expect, test } from 'vitest';
import { frame, mac, packet, TestEnd } from '../switch/testing/frames.ts';
import { switchOn } from './host.ts';
import { Args } from './host-args.ts';
import { type Call, HANDLERS } from './host-handlers.ts';
import { HostMachine } from './host-machine.ts';

/** A call with what came of it. */
function called(args: unknown, room = () => Number.POSITIVE_INFINITY) {
  const events: Uint8Array[] = [];
  let cancel = () => {};
  const call: Call = {
    args: new Args('test', args),
    emit: (value) => events.push(value as Uint8Array),
    room,
    onInput: () => {},
    holdInput: () => () => {},
    onCancel: (handler) => {
      cancel = handler;
    },
  };
  return { call, events, cancel: () => cancel() };
}

function machine() {
  const m = new HostMachine(switchOn({ guestMiB: 4, cpus: 1 }), () => {});
  const ports = [1, 2].map((n) => m.host.network.attach('xenbr0', new TestEnd(), `vif${n}.0`));
  return { m, ports };
}

test('net list: bridges, ports, counters, addresses', async () => {
  const { m, ports } = machine();
  ports[0]!.transmit(packet(frame(mac(9), mac(1))));
  expect(await HANDLERS.netList(m, called({}).call)).toEqual([
    {
      name: 'xenbr0',
      ports: [
        { name: 'vif1.0', txPackets: 1, txBytes: 60, rxPackets: 0, rxBytes: 0, rxDropped: 0, addresses: ['02:00:00:00:00:01'] },
        { name: 'vif2.0', txPackets: 0, txBytes: 0, rxPackets: 1, rxBytes: 60, rxDropped: 0, addresses: [] },
      ],
    },
  ]);
});

test('net capture: a file as events, until it is taken back; what there is no room for is counted', async () => {
  const { m, ports } = machine();
  let room = 1 << 20;
  const { call, events, cancel } = called({ target: 'xenbr0' }, () => room);
  const reply = HANDLERS.netCapture(m, call);
  for (const n of [1, 2, 3]) {
    room = n === 2 ? 10 : 1 << 20;
    ports[0]!.transmit(packet(frame(mac(9), mac(1))));
  }
  cancel();
  expect(await reply).toEqual({ packets: 2, dropped: 1 });
  const types = events.map((e) => new DataView(e.buffer, e.byteOffset).getUint32(0, true));
  expect(types).toEqual([0x0a0d0d0a, 1, 6, 6, 5]);
  ports[0]!.transmit(packet(frame(mac(9), mac(1))));
  expect(events.length).toBe(5);
  await expect(async () => HANDLERS.netCapture(m, called({ target: 'web/x' }).call)).rejects.toThrow('DOMAIN/DEVID');
});
