// netback's switches for study: what each changes in the work that is counted, and what is seen in the trace.
import {
  NETIF_RSP_ERROR,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  XenbusStateConnected,
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import type { SplitEvent } from '../kernel/observe.ts';
import { tcpPacket } from './testing/packets.ts';
import { hex, open } from './testing/wire.ts';

describe('choices for study', () => {
  it('pages mapped for each packet instead of copied', () => {
    const { world, wire, f, q } = open({ tx: 'map' });
    const { work } = world.dom0.observer;
    const before = { ...work };
    const packet = tcpPacket({ payload: 6000 });
    q.send(packet);
    q.putTx(q.request({ gref: 4000, size: 60, id: 1 }));
    q.kickTx();
    world.run();
    expect(hex(wire.take()[0]!.bytes)).toBe(hex(packet));
    expect([work.grant_map - before.grant_map, work.grant_unmap - before.grant_unmap, work.grant_copy - before.grant_copy]).toEqual([
      3, 2, 0,
    ]);
    expect(q.responses().map((r) => r.status)).toEqual([0, 0, NETIF_RSP_ERROR]);
    expect(f.state).toBe(XenbusStateConnected);
  });

  it('an event for each packet instead of each burst', () => {
    const { world, wire, q } = open({ notify: 'each' });
    q.post(20);
    const { work } = world.dom0.observer;
    const before = work.evtchn_send;
    for (let i = 0; i < 10; i++) q.send(tcpPacket(), { kick: false });
    q.kickTx();
    world.run();
    expect(work.evtchn_send - before).toBe(10);
    for (let i = 0; i < 5; i++)
      wire.port.transmit({ bytes: tcpPacket({ to: 1 }), csumBlank: false, csumValid: false, gso: null, hash: null });
    wire.port.flush();
    expect(work.evtchn_send - before).toBe(15);
  });

  it('pages that change owner instead of copies', () => {
    const { world, wire, f, q } = open({ rx: 'flip' }, { flip: true, nodes: { 'request-rx-copy': '0' } });
    expect(world.dom0.xs.read(`${f.back}/feature-rx-flip`)).toBe('1');
    q.post(8);
    const { work } = world.dom0.observer;
    const packet = tcpPacket({ to: 1, payload: 1400 });
    for (let i = 0; i < 3; i++) {
      const before = { ...work };
      wire.send(packet);
      world.run();
      expect(hex(q.received()[0]!.bytes)).toBe(hex(packet));
      expect([work.grant_transfer - before.grant_transfer, work.grant_copy - before.grant_copy]).toEqual([1, 0]);
    }
  });

  it('grants registered for good over the control ring need nothing of Xen', () => {
    const { world, wire, f, q } = open({ staticGrants: 4 }, { ctrl: true });
    const list = f.domain.allocate();
    const listRef = f.domain.grant(list.frame);
    const data = f.domain.allocate();
    const ref = f.domain.grant(data.frame);
    const buffer = f.domain.allocate();
    const bufferRef = f.domain.grant(buffer.frame);
    expect(f.control(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE)).toEqual({ status: 0, data: 4 });
    list.page.setU32(0, ref);
    list.page.setU16(4, 1);
    list.page.setU32(8, bufferRef);
    expect(f.control(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 1, listRef, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 0, listRef, 2).status).toBe(0);
    // All or none: the second time both are there already, and none is added.
    expect(f.control(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 0, listRef, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    const packet = tcpPacket({ payload: 300 });
    data.page.writeBytes(100, packet);
    const { work } = world.dom0.observer;
    const before = { ...work };
    q.putTx(q.request({ gref: ref, offset: 100, size: packet.length }));
    q.kickTx();
    q.putRx(5, bufferRef);
    q.kickRx();
    wire.send(tcpPacket({ to: 1, payload: 99 }));
    world.run();
    expect(hex(wire.take()[0]!.bytes)).toBe(hex(packet));
    expect(q.rxResponse()).toMatchObject({ id: 5, status: 153 });
    expect(hex(buffer.page.bytes(0, 153))).toBe(hex(tcpPacket({ to: 1, payload: 99 })));
    expect([work.grant_map - before.grant_map, work.grant_copy - before.grant_copy]).toEqual([0, 0]);
    expect(f.control(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING, 0, listRef, 2)).toEqual({ status: 0, data: 2 });
    expect(f.domain.flags(ref) & 0x18).toBe(0);
    expect(f.control(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING, 0, listRef, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  });

  it('the control ring is seen by who watches, too', () => {
    const { world, f } = open({}, { ctrl: true });
    const events: SplitEvent[] = [];
    world.dom0.observer.sink = (e) => e.kind !== 'deliver' && events.push(e);
    f.control(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE);
    const where = { device: `vif/${f.domain.id}/0`, ring: 'ctrl' };
    expect(events).toMatchObject([
      { kind: 'request', ...where, op: 'ctrl.8', index: 0 },
      { kind: 'response', ...where, status: 1 },
      { kind: 'notify', ...where, sent: true },
    ]);
  });

  it('everything is seen by who watches', () => {
    const { world, wire, q } = open();
    const events: SplitEvent[] = [];
    world.dom0.observer.sink = (e) => e.kind !== 'deliver' && events.push(e);
    q.post(4);
    q.send(tcpPacket({ payload: 10 }));
    world.run();
    wire.send(tcpPacket({ to: 1 }));
    expect(events.map((e) => e.kind)).toEqual([
      'kick',
      'request',
      'grant',
      'response',
      'notify',
      'kick',
      'request',
      'grant',
      'response',
      'notify',
    ]);
    expect(events.filter((e) => e.kind === 'grant')).toMatchObject([
      { op: 'copy', count: 1, bytes: 64 },
      { op: 'copy', count: 1, bytes: 154 },
    ]);
    expect(events.filter((e) => e.kind === 'request')).toMatchObject([{ op: 'tx', bytes: 64 }, { op: 'rx' }]);
  });
});
