// The block backend against a frontend in plain memory: every operation and feature of blkif.h, by each way of moving data, in both ABIs.
import {
  BLKIF_DISCARD_SECURE,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
} from '@ringworld/abi';
import { describe, expect, it, test } from 'vitest';
import type { SplitEvent } from '../kernel/observe.ts';
import { PlainXen } from '../kernel/testing/plain-xen.ts';
import { StoreError } from '../storage/block-store.ts';
import { beginDetach, isDetached, removeDevice } from '../toolstack/device.ts';
import { type Blkback, type BlkbackOptions, startBlkback } from './index.ts';
import { PersistentGrants } from './persistent.ts';
import { type FrontendOptions, TestFrontend } from './testing/frontend.ts';
import { MemoryStore } from './testing/memory-store.ts';

const SECTORS = 4096;

interface World {
  readonly xen: PlainXen;
  readonly store: MemoryStore;
  readonly blkback: Blkback;
  readonly front: TestFrontend;
  page(fill?: number): { bytes: Uint8Array; ref: number };
}

function world(options: Partial<BlkbackOptions> = {}, frontend: FrontendOptions = {}, prepare: (s: MemoryStore) => void = () => {}): World {
  const xen = new PlainXen();
  const store = new MemoryStore(SECTORS);
  prepare(store);
  const blkback = startBlkback(xen.dom0, () => store, options);
  const domain = xen.addDomain(1);
  const front = new TestFrontend(xen, domain, frontend);
  return {
    ...{ xen, store, blkback, front },
    page: (fill = 0) => {
      const bytes = new Uint8Array(4096).fill(fill);
      return { bytes, ref: domain.grant(bytes) };
    },
  };
}
const connected: typeof world = (...args) => {
  const w = world(...args);
  w.front.connect();
  expect(w.front.error).toBeNull();
  expect(w.front.backState).toBe(4);
  return w;
};
/** expect().toEqual() of long arrays takes seconds. */
const areSame = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
const sectorsOf = (store: MemoryStore, sector: number, count: number) => store.bytes.slice(sector * 512, (sector + count) * 512);

describe.each([
  ['map', 'x86_64', false],
  ['map', 'x86_32', false],
  ['copy', 'x86_64', false],
  ['copy', 'x86_32', true],
  ['persistent', 'x86_64', true],
  ['persistent', 'x86_32', true],
  ['persistent', 'x86_64', false],
] as const)('data by %s, a frontend of %s, persistent grants on its side: %s', (data, abi, persistent) => {
  const open = (frontend: FrontendOptions = {}, options: Partial<BlkbackOptions> = {}) =>
    connected({ data, ...options }, { abi, persistent, ...frontend });

  it('reads sectors into parts of pages', () => {
    const { xen, front, store, page } = open();
    const [a, b] = [page(), page()];
    front.ring.put(BLKIF_OP_READ, 7, 100, [{ ref: a.ref, first: 2, last: 4 }, { ref: b.ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.answers).toEqual([{ id: 7, operation: BLKIF_OP_READ, status: BLKIF_RSP_OKAY }]);
    expect(areSame(a.bytes.subarray(1024, 2560), sectorsOf(store, 100, 3))).toBe(true);
    expect(a.bytes.slice(0, 1024).every((x) => x === 0)).toBe(true);
    expect(areSame(b.bytes, sectorsOf(store, 103, 8))).toBe(true);
  });

  it('writes as many sectors as the segments have', () => {
    const { xen, front, store, page } = open();
    const [a, b] = [page(0xaa), page(0xbb)];
    front.ring.put(BLKIF_OP_WRITE, 1, 8, [
      { ref: a.ref, first: 7, last: 7 },
      { ref: b.ref, first: 0, last: 1 },
    ]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.status(1)).toBe(BLKIF_RSP_OKAY);
    expect(store.log).toEqual(['write 8+3']);
    expect([...sectorsOf(store, 8, 3)]).toEqual([...new Array(512).fill(0xaa), ...new Array(1024).fill(0xbb)]);
  });

  it('takes 256 segments by indirect descriptors', () => {
    const { xen, front, store, page } = open();
    const pages = Array.from({ length: 256 }, () => page());
    const refs = front.ring.putIndirect(
      BLKIF_OP_READ,
      9,
      1000,
      pages.map((p) => ({ ref: p.ref })),
    );
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.answers).toEqual([{ id: 9, operation: BLKIF_OP_READ, status: BLKIF_RSP_OKAY }]);
    expect(store.log).toEqual(['read 1000+2048']);
    for (const [i, p] of pages.entries()) expect(areSame(p.bytes, sectorsOf(store, 1000 + i * 8, 8)), `page ${i}`).toBe(true);
    expect(refs.length).toBe(1);
  });

  it('leaves no page mapped that the frontend may want back', () => {
    const { xen, front, page } = open();
    const before = xen.mapped;
    const p = page();
    for (let i = 0; i < 40; i++) {
      front.ring.put(i % 2 === 0 ? BLKIF_OP_READ : BLKIF_OP_WRITE, i, i, [{ ref: p.ref }]);
      front.ring.push();
      xen.runUntilIdle();
    }
    expect(front.ring.answers.length).toBe(40);
    const stays = data === 'persistent' && persistent ? 1 : 0;
    expect(xen.mapped - before).toBe(stays);
    expect(front.domain.endAccess(p.ref)).toBe(stays === 0);
  });

  it('refuses grants of others and of nobody, that request only', () => {
    const { xen, front, page } = open();
    const theirs = front.domain.grant(new Uint8Array(4096), { to: 5 });
    const readonly = front.domain.grant(new Uint8Array(4096), { readonly: true });
    const good = page();
    front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: good.ref }, { ref: theirs }]);
    front.ring.put(BLKIF_OP_WRITE, 2, 0, [{ ref: 99999 }]);
    front.ring.put(BLKIF_OP_READ, 3, 0, [{ ref: readonly }]);
    front.ring.put(BLKIF_OP_READ, 4, 0, [{ ref: good.ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect([1, 2, 3, 4].map((id) => front.ring.status(id))).toEqual([BLKIF_RSP_ERROR, BLKIF_RSP_ERROR, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY]);
    expect(front.backState).toBe(4);
  });

  it('lets go of everything when the frontend closes', () => {
    const { xen, front, page } = open();
    front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }]);
    front.ring.push();
    xen.runUntilIdle();
    front.setState(5);
    expect(front.backState).toBe(5);
    // Closing frontends may still write back.
    front.ring.put(BLKIF_OP_READ, 2, 0, [{ ref: page().ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.status(2)).toBe(BLKIF_RSP_OKAY);
    front.setState(6);
    expect(front.backState).toBe(6);
    expect(xen.mapped).toBe(0);
  });
});

describe('what a disk says of itself', () => {
  it('is in XenStore when the frontend looks: features before, properties after it has connected', () => {
    const { front } = world();
    const nodes = (...keys: string[]) => keys.map((k) => front.node(k));
    expect(front.backState).toBe(2);
    expect(nodes('feature-max-indirect-segments', 'multi-queue-max-queues', 'max-ring-page-order')).toEqual(['256', '4', '4']);
    front.connect();
    expect(nodes('sectors', 'sector-size', 'physical-sector-size', 'info')).toEqual(['4096', '512', '512', '0']);
    expect(nodes('feature-flush-cache', 'feature-barrier', 'feature-persistent')).toEqual(['1', '1', '1']);
    expect(nodes('feature-discard', 'discard-granularity', 'discard-alignment', 'discard-secure')).toEqual(['1', '4096', '0', '1']);
  });

  it('differs for drives and for what is only read', () => {
    expect(connected({}, { spec: '/test,,xvda,r' }).front.node('info')).toBe('4');
    expect(connected({}, { spec: '/test,,xvda,cdrom' }).front.node('info')).toBe('7');
    expect(connected({}, { spec: '/test,,xvda,r' }).front.node('feature-discard')).toBe('0');
    expect(connected({}, { spec: '/test,,xvda,no-discard' }).front.node('feature-discard')).toBe('0');
  });

  it('follows the switches', () => {
    const off = {
      data: 'map',
      maxIndirectSegments: 0,
      flush: false,
      barrier: false,
      discard: false,
      maxQueues: 1,
      maxRingPageOrder: 0,
    } as const;
    const { front } = connected(off);
    const keys = ['feature-max-indirect-segments', 'feature-flush-cache', 'feature-barrier', 'feature-discard', 'feature-persistent'];
    expect(keys.map((k) => front.node(k))).toEqual([null, '0', '0', '0', '0']);
    expect(['multi-queue-max-queues', 'max-ring-page-order'].map((k) => front.node(k))).toEqual(['1', '0']);
  });
});

describe('operations', () => {
  it('of a disk that is only read fail unless they read', () => {
    const { xen, front, store, page } = connected({}, { spec: '/test,,xvda,r' });
    const { ref } = page();
    front.ring.put(BLKIF_OP_WRITE, 1, 0, [{ ref }]);
    front.ring.put(BLKIF_OP_WRITE_BARRIER, 2, 0, [{ ref }]);
    front.ring.putDiscard(3, 0, 8);
    front.ring.put(BLKIF_OP_READ, 4, 0, [{ ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect([1, 2, 3, 4].map((id) => front.ring.status(id))).toEqual([
      BLKIF_RSP_ERROR,
      BLKIF_RSP_ERROR,
      BLKIF_RSP_EOPNOTSUPP,
      BLKIF_RSP_OKAY,
    ]);
    expect(store.log).toEqual(['read 0+8']);
  });

  it('that are not on offer, or not known, are answered EOPNOTSUPP', () => {
    const { xen, front, page } = connected({ flush: false, barrier: false, discard: false, maxIndirectSegments: 0 });
    const { ref } = page();
    front.ring.put(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, []);
    front.ring.put(BLKIF_OP_WRITE_BARRIER, 2, 0, [{ ref }]);
    front.ring.putDiscard(3, 0, 8);
    front.ring.putIndirect(BLKIF_OP_READ, 4, 0, [{ ref }]);
    front.ring.put(4, 5, 0, [{ ref }]);
    front.ring.put(255, 6, 0, [{ ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect([1, 2, 3, 4, 5, 6].map((id) => front.ring.status(id))).toEqual(new Array(6).fill(BLKIF_RSP_EOPNOTSUPP));
  });

  it('flush what was written', () => {
    const { xen, front, store, page } = connected();
    front.ring.put(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, []);
    front.ring.put(BLKIF_OP_FLUSH_DISKCACHE, 2, 4, [{ ref: page().ref, last: 0 }]);
    front.ring.push();
    xen.runUntilIdle();
    expect([front.ring.status(1), front.ring.status(2)]).toEqual([0, 0]);
    expect(store.log).toEqual(['flush', 'flush', 'write 4+1']);
  });

  it('keep their side of a write barrier, across many batches', () => {
    const { xen, front, store, page } = connected();
    const put = (operation: number, id: number) => front.ring.put(operation, id, id, [{ ref: page().ref, last: 0 }]);
    for (const id of [1, 2]) put(BLKIF_OP_WRITE, id);
    put(BLKIF_OP_WRITE_BARRIER, 3);
    for (const id of [4, 5]) put(BLKIF_OP_WRITE, id);
    front.ring.push();
    xen.runUntilIdle(xen.now);
    // Nothing is over yet, so the barrier has not begun.
    expect(store.log).toEqual(['write 1+1', 'write 2+1']);
    put(BLKIF_OP_WRITE, 6);
    front.ring.push();
    xen.runUntilIdle();
    expect(store.log.slice(2)).toEqual(['flush', 'write 3+1', 'flush', 'write 4+1', 'write 5+1', 'write 6+1']);
    expect(front.ring.answers.map((a) => a.id)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(front.ring.answers.every((a) => a.status === 0)).toBe(true);
  });

  it('discard, securely where that is offered', () => {
    const { xen, front, store } = connected();
    front.ring.putDiscard(1, 8, 16);
    front.ring.putDiscard(2, 32, 8, BLKIF_DISCARD_SECURE);
    front.ring.putDiscard(3, 0, 0);
    front.ring.push();
    xen.runUntilIdle();
    expect([1, 2, 3].map((id) => front.ring.status(id))).toEqual([0, 0, 0]);
    expect(store.log).toEqual(['discard 8+16', 'discard 32+8 securely']);
    const plain = connected({}, {}, (s) => {
      s.canDiscardSecurely = false;
    });
    plain.front.ring.putDiscard(1, 0, 8, BLKIF_DISCARD_SECURE);
    plain.front.ring.push();
    plain.xen.runUntilIdle();
    expect(plain.store.log).toEqual(['discard 0+8']);
  });

  it('that the host fails are answered with an error, and the next ones work', async () => {
    for (const isAsync of [false, true]) {
      const { xen, front, store, page } = connected();
      store.isAsync = isAsync;
      store.error = new Error('EIO');
      const { ref } = page();
      front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref }]);
      front.ring.put(BLKIF_OP_WRITE_BARRIER, 2, 0, [{ ref }]);
      front.ring.push();
      await xen.run();
      expect([front.ring.status(1), front.ring.status(2)]).toEqual([BLKIF_RSP_ERROR, BLKIF_RSP_ERROR]);
      store.error = null;
      front.ring.put(BLKIF_OP_WRITE, 3, 0, [{ ref }]);
      front.ring.push();
      await xen.run();
      expect(front.ring.status(3)).toBe(BLKIF_RSP_OKAY);
    }
  });

  it('take the time of the model, whatever the host takes', async () => {
    const times = async (isAsync: boolean) => {
      const { xen, front, store, page } = connected();
      store.isAsync = isAsync;
      store.delay = 5000;
      const start = xen.now;
      front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }]);
      front.ring.push();
      await xen.run();
      expect(front.ring.status(1)).toBe(BLKIF_RSP_OKAY);
      return xen.now - start;
    };
    expect([await times(false), await times(true)]).toEqual([5000, 5000]);
  });
});

describe('rings', () => {
  it('of several pages, and several of them, work side by side', () => {
    const { xen, front, store, page } = connected({}, { pageOrder: 4, queues: 4 });
    expect(front.ring.slots).toBe(512);
    front.rings.forEach((ring, q) => {
      // All slots at once, so that requests lie across page boundaries too.
      for (let i = 0; i < ring.slots; i++) ring.put(BLKIF_OP_WRITE, i, q * 512 + i, [{ ref: page(q + 1).ref, last: 0 }]);
      ring.push();
    });
    xen.runUntilIdle();
    front.rings.forEach((ring, q) => {
      expect(ring.answers.length).toBe(512);
      expect(ring.answers.every((a) => a.status === 0)).toBe(true);
      expect(store.bytes[q * 512 * 512]).toBe(q + 1);
      expect(store.bytes[(q * 512 + 511) * 512]).toBe(q + 1);
    });
  });

  it('are filled again and again, past the end of indices', () => {
    const { xen, front, page } = world();
    front.publish();
    front.setState(6);
    // A ring that has run for a while: a backend attaches where it stands.
    front.setState(1);
    const start = 0xffffffe0;
    for (const name of ['req_prod', 'rsp_prod'] as const) front.ring.setIndex(name, start);
    front.ring.setIndex('req_event', start + 1);
    front.ring.setIndex('rsp_event', start + 1);
    front.ring.reqProd = start;
    front.ring.rspCons = start;
    front.setState(3);
    expect(front.backState).toBe(4);
    const { ref } = page();
    for (let i = 0; i < 100; i++) {
      front.ring.put(BLKIF_OP_READ, i, i, [{ ref }]);
      front.ring.push();
      if (i % 3 === 0) xen.runUntilIdle();
    }
    xen.runUntilIdle();
    expect(front.ring.answers.map((a) => a.id)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it('wait for buffers rather than take them without end', () => {
    const { xen, front, store, page } = connected({ maxBytesInFlight: 8192 }, { queues: 2 });
    for (const ring of front.rings) for (let i = 0; i < 32; i++) ring.put(BLKIF_OP_READ, i, i, [{ ref: page().ref }, { ref: page().ref }]);
    // One at a time, so that the limit is met between batches.
    for (const ring of front.rings) ring.push();
    xen.runUntilIdle(xen.now);
    expect(store.log.length).toBe(1);
    xen.runUntilIdle();
    for (const ring of front.rings) expect(ring.answers.length).toBe(32);
  });

  it('send no event that was not asked for, unless the switch says each', () => {
    const events = (notify: 'asked' | 'each') => {
      const { xen, front, page } = connected({ notify });
      const seen: SplitEvent[] = [];
      const before = xen.dom0.observer.work.evtchn_send;
      xen.dom0.observer.sink = (e) => seen.push(e);
      front.ring.setIndex('rsp_event', 4);
      for (let i = 0; i < 8; i++) front.ring.put(BLKIF_OP_READ, i, i, [{ ref: page().ref }]);
      front.ring.push();
      xen.runUntilIdle();
      const told = seen.filter((e) => e.kind === 'notify');
      return { sent: xen.dom0.observer.work.evtchn_send - before, told: told.map((e) => e.sent) };
    };
    expect(events('asked')).toEqual({ sent: 1, told: [true] });
    expect(events('each')).toEqual({ sent: 8, told: new Array(8).fill(true) });
    const { xen, front, page } = connected();
    front.ring.setIndex('rsp_event', 100);
    front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.events).toBe(1);
    expect(front.ring.answers).toEqual([]);
  });

  it('may ask for an event every few requests only, and look themselves meanwhile', () => {
    const { xen, front, page } = connected({ kickEvery: 4, kickWithinNs: 50_000 });
    xen.runUntilIdle();
    const asked = [1, 2, 3, 4].map((id) => {
      front.ring.put(BLKIF_OP_READ, id, id, [{ ref: page().ref }]);
      return front.ring.push();
    });
    expect(asked).toEqual([true, false, false, false]);
    xen.runUntilIdle(xen.now + 10_000);
    // They came before the backend looked.
    expect(front.ring.answers.length).toBe(4);
    for (const id of [5, 6]) {
      front.ring.put(BLKIF_OP_READ, id, id, [{ ref: page().ref }]);
      expect(front.ring.push()).toBe(false);
    }
    xen.runUntilIdle(xen.now + 10_000);
    expect(front.ring.answers.length).toBe(4);
    xen.runUntilIdle();
    expect(front.ring.answers.length).toBe(6);
  });
});

describe('life', () => {
  it('a disk that cannot be opened is closed, and says why', () => {
    const xen = new PlainXen();
    startBlkback(xen.dom0, () => {
      throw new StoreError('/test: no such file');
    });
    const front = new TestFrontend(xen, xen.addDomain(1));
    expect(front.backState).toBe(5);
    expect(front.error).toBe('/test: no such file');
  });

  it('is plugged and unplugged ten times, and nothing is left', () => {
    const xen = new PlainXen();
    const stores: MemoryStore[] = [];
    const { vbds } = startBlkback(xen.dom0, () => {
      stores.push(new MemoryStore(64));
      return stores.at(-1)!;
    });
    const domain = xen.addDomain(1);
    for (let i = 0; i < 10; i++) {
      const front = new TestFrontend(xen, domain, { persistent: true }).connect();
      const ref = domain.grant(new Uint8Array(4096));
      front.ring.put(BLKIF_OP_READ, i, 0, [{ ref }]);
      front.ring.push();
      xen.runUntilIdle();
      expect(front.ring.status(i)).toBe(BLKIF_RSP_OKAY);
      expect(vbds.size).toBe(1);
      beginDetach(xen.dom0.xs, 1, 'vbd', front.devid);
      // What blkfront does when it sees Closing.
      front.setState(5);
      expect(isDetached(xen.dom0.xs, 1, 'vbd', front.devid)).toBe(false);
      front.setState(6);
      expect(isDetached(xen.dom0.xs, 1, 'vbd', front.devid)).toBe(true);
      removeDevice(xen.dom0.xs, 1, 'vbd', front.devid);
      xen.runUntilIdle();
      expect(vbds.size).toBe(0);
    }
    expect(stores.length).toBe(10);
    expect(stores.every((s) => s.isClosed)).toBe(true);
    expect(xen.mapped).toBe(0);
  });

  it('grows while attached: the state is written again with the new size', () => {
    const { xen, front, store, page } = connected();
    let seen = 0;
    xen.dom0.xs.watch(`${front.back}/state`, () => seen++);
    const before = seen;
    store.resize(SECTORS * 2);
    xen.runUntilIdle();
    expect(front.node('sectors')).toBe('8192');
    expect(front.backState).toBe(4);
    expect(seen).toBeGreaterThan(before);
    front.ring.put(BLKIF_OP_READ, 1, SECTORS, [{ ref: page().ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.status(1)).toBe(BLKIF_RSP_OKAY);
  });

  it('changes the medium of a drive', () => {
    const xen = new PlainXen();
    startBlkback(xen.dom0, ({ target }) => new MemoryStore(Number(target.slice(1))));
    const front = new TestFrontend(xen, xen.addDomain(1), { spec: 'vdev=hdc,cdrom' }).connect();
    expect(front.node('sectors')).toBe('0');
    xen.dom0.xs.write(`${front.back}/params`, '/1234');
    expect(front.node('sectors')).toBe('1234');
    xen.dom0.xs.write(`${front.back}/params`, '');
    expect(front.node('sectors')).toBe('0');
  });

  it('a restarted backend goes on with the rings: nothing is lost, nothing done twice, the frontend notices nothing', async () => {
    const { xen, front, store, page, blkback } = connected({ data: 'persistent' }, { persistent: true, queues: 2 });
    store.isAsync = true;
    const states: (string | null)[] = [];
    xen.dom0.xs.watch(`${front.back}/state`, () => states.push(front.node('state')));
    states.length = 0;
    const put = (id: number) => {
      for (const ring of front.rings) ring.put(BLKIF_OP_WRITE, id, id, [{ ref: page(id).ref, last: 0 }]);
    };
    for (let id = 1; id <= 10; id++) put(id);
    for (const ring of front.rings) ring.push();
    xen.runUntilIdle(xen.now);
    blkback.restart({ data: 'copy' });
    for (let id = 11; id <= 20; id++) put(id);
    for (const ring of front.rings) ring.push();
    await xen.run();
    for (const ring of front.rings) {
      expect(ring.answers.map((a) => a.id)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
      expect(ring.answers.every((a) => a.status === 0)).toBe(true);
    }
    expect(store.log.length).toBe(40);
    expect(states).toEqual([]);
    expect(blkback.vbds.size).toBe(1);
    // Only the rings are mapped: the new backend copies.
    expect(xen.mapped).toBe(2);
  });

  it('a frontend that starts again, as a new kernel does, finds a disk', () => {
    const { xen, front, page } = connected();
    front.setState(1);
    expect(front.backState).toBe(2);
    front.connect();
    front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.ring.status(1)).toBe(BLKIF_RSP_OKAY);
  });
});

test('every step of a request can be seen', () => {
  const { xen, front, page } = connected({ data: 'map' });
  const seen: SplitEvent[] = [];
  const { work } = xen.dom0.observer;
  const before = { ...work };
  xen.dom0.observer.sink = (e) => seen.push(e);
  front.ring.putIndirect(BLKIF_OP_READ, 5, 0, [{ ref: page().ref }, { ref: page().ref }]);
  front.ring.push();
  xen.runUntilIdle();
  const mine = seen.filter((e) => e.kind !== 'deliver');
  expect(mine.map((e) => e.kind)).toEqual(['kick', 'grant', 'request', 'grant', 'grant', 'grant', 'response', 'notify']);
  const device = 'vbd/1/51712';
  expect(mine).toContainEqual({ kind: 'request', device, queue: 0, index: 0, op: 'read', id: 5, bytes: 8192 });
  expect(mine).toContainEqual({ kind: 'response', device, queue: 0, index: 0, id: 5, status: 0 });
  expect(mine).toContainEqual({ kind: 'grant', device, op: 'map', count: 2, bytes: 8192 });
  const spent = (item: keyof typeof work) => work[item] - before[item];
  expect((['request', 'response', 'host_io', 'grant_map', 'grant_unmap', 'evtchn_send'] as const).map(spent)).toEqual([1, 1, 1, 3, 3, 1]);
});

describe('persistent grants', () => {
  it('are bounded; the least recently used ones go first', () => {
    const grants = new PersistentGrants(100, 60e9);
    for (let i = 0; i < 100; i++) grants.put(grants.add(i, i, i, i)!, 1000 - i);
    expect(grants.add(100, 100, 100, 0)).toBeNull();
    const used = grants.take(99)!;
    expect(grants.take(99)).toBeNull();
    // A twentieth of the bound; number 99 is in use.
    expect(grants.purge(1e9).map((g) => g.gref)).toEqual([98, 97, 96, 95, 94]);
    expect(grants.count).toBe(95);
    grants.put(used, 2e9);
    expect(grants.purge(1.05e9)).toEqual([]);
    expect(grants.purge(62e9).length).toBe(95);
    expect(grants.count).toBe(0);
  });

  it('beyond the bound are mapped for each request, and purged to make room', () => {
    const { xen, front, page } = connected({ maxPersistentGrants: 100 }, { persistent: true });
    const pages = Array.from({ length: 130 }, () => page());
    pages.forEach((p, i) => {
      front.ring.put(BLKIF_OP_READ, i, i, [{ ref: p.ref }]);
      front.ring.push();
      xen.runUntilIdle();
    });
    expect(front.ring.answers.every((a) => a.status === 0)).toBe(true);
    expect(front.domain.pins - 1).toBeLessThanOrEqual(100);
    expect(front.domain.pins - 1).toBeGreaterThan(90);
    xen.now += 200e6;
    front.ring.put(BLKIF_OP_READ, 200, 0, [{ ref: pages[129]!.ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect(front.domain.pins - 1).toBeLessThanOrEqual(96);
  });
});
