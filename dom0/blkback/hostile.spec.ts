// Frontends that do what they should not. Whatever it is, it ends in an error to that frontend or in its device being closed: dom0 throws
// nothing, keeps nothing mapped, touches no page that was not granted, and other domains' disks go on.
import {
  BLKIF_OP_DISCARD,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  blkif_request,
  domid,
  grantRef,
} from '@ringworld/abi';
import { describe, expect, it, test } from 'vitest';
import { PlainXen } from '../kernel/testing/plain-xen.ts';
import { type BlkbackOptions, startBlkback } from './index.ts';
import { type FrontendOptions, TestFrontend } from './testing/frontend.ts';
import { MemoryStore } from './testing/memory-store.ts';

const SECTORS = 1024;

/** A rude domain 1 and a quiet domain 2. */
function world(options: Partial<BlkbackOptions> = {}, frontend: FrontendOptions = {}) {
  const xen = new PlainXen();
  const stores: MemoryStore[] = [];
  startBlkback(
    xen.dom0,
    () => {
      stores.push(new MemoryStore(SECTORS));
      return stores.at(-1)!;
    },
    options,
  );
  const front = new TestFrontend(xen, xen.addDomain(1), frontend);
  const quiet = new TestFrontend(xen, xen.addDomain(2)).connect();
  const quietPage = new Uint8Array(4096);
  const quietRef = quiet.domain.grant(quietPage);
  let id = 0;
  return {
    ...{ xen, front, store: stores[0]! },
    page: (fill = 0) => {
      const bytes = new Uint8Array(4096).fill(fill);
      return { bytes, ref: front.domain.grant(bytes) };
    },
    /** The other domain's disk works, and nothing reached its page. */
    allIsWell: () => {
      expect(quietPage.every((b) => b === 0)).toBe(true);
      quiet.ring.put(BLKIF_OP_READ, ++id, 0, [{ ref: quietRef }]);
      quiet.ring.push();
      xen.runUntilIdle();
      expect(quiet.ring.status(id)).toBe(BLKIF_RSP_OKAY);
      quietPage.fill(0);
      for (const s of stores) expect(s.violations).toEqual([]);
    },
    /** The device was shut for a reason that is told, and nothing of the domain's is mapped. */
    isShut: (reason: RegExp) => {
      expect(front.backState).toBe(5);
      expect(front.error).toMatch(reason);
      expect(front.domain.pins).toBe(0);
      expect([...front.domain.ports.values()].every((p) => p.remote === null)).toBe(true);
    },
  };
}
const connected: typeof world = (...args) => {
  const w = world(...args);
  w.front.connect();
  expect(w.front.backState).toBe(4);
  return w;
};

describe.each(['map', 'copy', 'persistent'] as const)('with data by %s', (data) => {
  test.each([
    ['far ahead', 1000],
    ['one slot ahead of the ring', 33],
    ['behind', -1],
    ['half the world away', 0x80000000],
  ])('a producer index %s shuts the device', (_, prod) => {
    const { xen, front, isShut, allIsWell } = connected({ data });
    front.ring.setIndex('req_prod', prod);
    front.ring.kick();
    xen.runUntilIdle();
    isShut(/req_prod/);
    allIsWell();
  });

  it('a request called back while it is under way shuts the device', async () => {
    const { xen, front, store, page, isShut, allIsWell } = connected({ data });
    store.isAsync = true;
    for (let i = 0; i < 4; i++) front.ring.put(BLKIF_OP_WRITE, i, 0, [{ ref: page().ref }]);
    front.ring.push();
    xen.runUntilIdle(xen.now);
    front.ring.setIndex('req_prod', 2);
    front.ring.kick();
    await xen.run();
    isShut(/went back/);
    allIsWell();
  });

  it('a ring that is wiped under load shuts the device, and what is under way ends in nothing', async () => {
    const { xen, front, store, page, isShut, allIsWell } = connected({ data }, { persistent: true });
    store.isAsync = true;
    const p = page();
    for (let i = 0; i < 40; i++) {
      front.ring.put(BLKIF_OP_READ, i, 0, [{ ref: p.ref }]);
      front.ring.push();
      if (i === 20) await xen.run();
    }
    xen.runUntilIdle(xen.now);
    front.ring.pages[0]!.fill(0);
    p.bytes.fill(0xee);
    front.ring.kick();
    await xen.run();
    isShut(/req_prod/);
    expect(p.bytes.every((b) => b === 0xee)).toBe(true);
    allIsWell();
  });

  it('a domain that is destroyed under load leaves nothing behind', async () => {
    const { xen, front, store, page, allIsWell } = connected({ data }, { persistent: true, queues: 4 });
    store.isAsync = true;
    for (const ring of front.rings) {
      for (let i = 0; i < 30; i++) ring.put(i % 2 === 0 ? BLKIF_OP_READ : BLKIF_OP_WRITE, i, i, [{ ref: page().ref }]);
      ring.put(BLKIF_OP_WRITE_BARRIER, 31, 0, [{ ref: page().ref }]);
      ring.push();
    }
    xen.runUntilIdle(xen.now);
    xen.dom0.backends.removeDomain(domid(1));
    expect(front.domain.pins).toBe(0);
    xen.domains.delete(1);
    await xen.run();
    expect(store.isClosed).toBe(true);
    expect(store.log.length).toBe(120);
    allIsWell();
  });

  it('what is written into a request after it was published changes nothing', async () => {
    const { xen, front, store, page, allIsWell } = connected({ data });
    store.isAsync = true;
    const [mine, other] = [page(0x11), page(0x22)];
    const refs = front.ring.putIndirect(BLKIF_OP_READ, 1, 16, [{ ref: mine.ref }]);
    front.ring.put(BLKIF_OP_WRITE, 2, 64, [{ ref: other.ref }]);
    front.ring.push();
    xen.runUntilIdle(xen.now);
    // Both slots, the descriptor page, and the data of the write.
    for (const index of [0, 1]) {
      const seg = Array.from({ length: 11 }, () => ({ gref: grantRef(other.ref), first_sect: 0, last_sect: 7 }));
      front.ring.poke(index, blkif_request.encode('x86_64', { operation: 1, nr_segments: 11, id: 99n, sector_number: 2 ** 40, seg }));
    }
    front.domain.grants.get(refs[0]!)!.page.fill(0xff);
    other.bytes.fill(0x33);
    await xen.run();
    expect(front.ring.answers.map((a) => [a.id, a.status])).toEqual([
      [1, BLKIF_RSP_OKAY],
      [2, BLKIF_RSP_OKAY],
    ]);
    expect(Buffer.compare(mine.bytes, store.bytes.subarray(16 * 512, 24 * 512))).toBe(0);
    expect(store.bytes.subarray(64 * 512, 72 * 512).every((b) => b === 0x22)).toBe(true);
    allIsWell();
  });

  it('segments may overlap: that is the frontend’s loss', () => {
    const { xen, front, page, allIsWell } = connected({ data }, { persistent: true });
    const p = page();
    const twice = [{ ref: p.ref }, { ref: p.ref }, { ref: p.ref, first: 3, last: 5 }];
    front.ring.put(BLKIF_OP_READ, 1, 0, twice);
    front.ring.put(BLKIF_OP_WRITE, 2, 0, twice);
    front.ring.put(BLKIF_OP_READ, 3, 0, [{ ref: p.ref }]);
    front.ring.push();
    xen.runUntilIdle();
    expect([1, 2, 3].map((id) => front.ring.status(id))).toEqual([0, 0, 0]);
    allIsWell();
    front.setState(6);
    expect(front.domain.pins).toBe(0);
  });

  it('a ring page that cannot be mapped shuts the device before it opens', () => {
    for (const nodes of [{ 'ring-ref': '4000000' }, { 'event-channel': '77' }]) {
      const { front, isShut, allIsWell } = world({ data }, { nodes });
      front.publish();
      isShut(/grant|EVTCHNOP_bind_interdomain/);
      allIsWell();
    }
  });
});

describe('requests that cannot be', () => {
  const cases: readonly [string, (w: ReturnType<typeof world>) => void][] = [
    ['no segment', ({ front }) => front.ring.put(BLKIF_OP_READ, 1, 0, [])],
    ['twelve segments', ({ front, page }) => front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }], { nr_segments: 12 })],
    ['255 segments', ({ front, page }) => front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }], { nr_segments: 255 })],
    [
      'a segment that ends before it begins',
      ({ front, page }) => front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref, first: 5, last: 4 }]),
    ],
    ['a segment past its page', ({ front, page }) => front.ring.put(BLKIF_OP_READ, 1, 0, [{ ref: page().ref, first: 0, last: 8 }])],
    ['a sector past the end', ({ front, page }) => front.ring.put(BLKIF_OP_READ, 1, SECTORS - 7, [{ ref: page().ref }])],
    ['a sector far past the end', ({ front, page }) => front.ring.put(BLKIF_OP_WRITE, 1, 2 ** 52, [{ ref: page().ref }])],
    ['a discard past the end', ({ front }) => front.ring.putDiscard(1, SECTORS - 1, 2)],
    ['a discard without end', ({ front }) => front.ring.putDiscard(1, 8, 2 ** 52)],
    ['an indirect request without segments', ({ front }) => front.ring.putIndirect(BLKIF_OP_READ, 1, 0, [])],
    ['an indirect request of 257 segments', ({ front, page }) => front.ring.putIndirect(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }], 257)],
    ['an indirect request of 65535 segments', ({ front }) => front.ring.putIndirect(BLKIF_OP_READ, 1, 0, [], 65535)],
    ['an indirect barrier', ({ front, page }) => front.ring.putIndirect(BLKIF_OP_WRITE_BARRIER, 1, 0, [{ ref: page().ref }])],
    ['an indirect discard', ({ front, page }) => front.ring.putIndirect(BLKIF_OP_DISCARD, 1, 0, [{ ref: page().ref }])],
    ['a bad segment in a descriptor', ({ front, page }) => front.ring.putIndirect(BLKIF_OP_READ, 1, 0, [{ ref: page().ref, last: 9 }])],
    ['an indirect request past the end', ({ front, page }) => front.ring.putIndirect(BLKIF_OP_READ, 1, SECTORS, [{ ref: page().ref }])],
    [
      'a descriptor of nobody’s',
      ({ front, page }) => {
        for (const ref of front.ring.putIndirect(BLKIF_OP_READ, 1, 0, [{ ref: page().ref }])) front.domain.grants.delete(ref);
      },
    ],
  ];
  test.each(cases)('%s: an error, and the ring goes on', (_, put) => {
    for (const [data, abi] of [
      ['map', 'x86_64'],
      ['copy', 'x86_32'],
      ['persistent', 'x86_64'],
    ] as const) {
      const w = connected({ data }, { abi, persistent: true });
      put(w);
      w.front.ring.put(BLKIF_OP_READ, 2, 0, [{ ref: w.page().ref }]);
      w.front.ring.push();
      w.xen.runUntilIdle();
      expect([1, 2].map((id) => w.front.ring.status(id))).toEqual([BLKIF_RSP_ERROR, BLKIF_RSP_OKAY]);
      expect(w.store.log).toEqual(['read 0+8']);
      w.allIsWell();
      w.front.setState(6);
      expect(w.front.domain.pins).toBe(0);
    }
  });
});

test.each([
  [{ 'ring-ref': '' }, /ring-ref: "" is not a number/],
  [{ 'ring-ref': '-1' }, /is not a number/],
  [{ 'ring-ref': '99999999999' }, /out of range/],
  [{ 'event-channel': 'x'.repeat(1000) }, /is not a number/],
  [{ 'ring-page-order': '5' }, /ring page order exceed max:4/],
  [{ 'ring-page-order': '31' }, /ring page order exceed max:4/],
  [{ 'ring-page-order': '2' }, /ring-ref0: missing/],
  [{ 'num-ring-pages': '3' }, /a power of two/],
  [{ 'multi-queue-num-queues': '0' }, /guest requested 0 queues/],
  [{ 'multi-queue-num-queues': '5' }, /guest requested 5 queues, exceeding the maximum of 4/],
  [{ 'multi-queue-num-queues': '2' }, /queue-0\/event-channel: missing/],
  [{ protocol: 'powerpc64-abi' }, /unknown fe protocol powerpc64-abi/],
])('a frontend that publishes %j is shut', (nodes, reason) => {
  const { front, isShut, allIsWell } = world({}, { nodes });
  front.publish();
  isShut(reason);
  allIsWell();
});
