// The split driver bench's frontends and counts: every choice moves the right data, and what is counted is what was done. Nothing here is
// a matter of time.
import { costOf, WORK_ITEMS } from '@ringworld/dom0';
import { describe, expect, it } from 'vitest';
import { startBlkback } from '../dom0/blkback/index.ts';
import { attachDom0 } from '../dom0/observe/dom0-source.ts';
import { TraceRecorder } from '../dom0/observe/recorder.ts';
import { TRACE_CLASSES } from '../dom0/observe/trace-event.ts';
import { attachHypervisor } from '../dom0/xl/trace-hypervisor.ts';
import { blockChoices, stampedDisk } from './bench/split/block.ts';
import { BlockFront } from './bench/split/block-front.ts';
import { workIn } from './bench/split/linux-trace.ts';
import type { Measured } from './bench/split/measure.ts';
import { netChoices } from './bench/split/net.ts';
import { splitJson, splitTable } from './bench/split/report.ts';
import { shapesOf } from './bench/split/shapes.ts';
import { BenchWorld } from './bench/split/world.ts';

const N = 128;
const block = (group: string, workload: string) => blockChoices(N, (c) => c.group === `block: ${group}` && c.workload === workload);
const net = (group: string, workload: string) => netChoices(N, (c) => c.group === `net: ${group}` && c.workload.startsWith(workload));
const named = (rows: readonly Measured[], name: string): Measured => {
  const row = rows.find((m) => m.name === name);
  if (row === undefined) throw new Error(`no row ${name} among ${rows.map((m) => m.name)}`);
  return row;
};

describe('block: what each choice does', () => {
  it('data paths differ in grant operations, and in who copies', () => {
    const rows = block('data path', '4 KiB random read, 32 deep');
    const [copy, map, kept] = [named(rows, 'grant copy'), named(rows, 'map each request'), named(rows, 'persistent grants')];
    for (const m of rows) expect([m.requests, m.backend.request, m.backend.response, m.backend.host_io]).toEqual([N, N, N, N]);
    expect([copy.backend.grant_copy, copy.backend.byte_copied, copy.backend.grant_map]).toEqual([N, N * 4096, 0]);
    expect([map.backend.grant_copy, map.backend.grant_map, map.backend.grant_unmap]).toEqual([0, N, N]);
    expect([kept.backend.grant_copy, kept.backend.grant_map, kept.backend.grant_unmap]).toEqual([0, 32, 0]);
    expect([copy.frontendWork.bytesCopied, kept.frontendWork.bytesCopied]).toEqual([0, N * 4096]);
    expect([copy.frontendWork.granted, copy.frontendWork.revoked]).toEqual([N, N]);
    // Without unmapping, fewer hypercalls.
    expect(kept.backend.hypercall).toBeLessThan(copy.backend.hypercall);
    expect(copy.backend.hypercall).toBeLessThan(map.backend.hypercall);
  });

  it('event indices save events where answers come together, and nothing else changes', () => {
    const rows = block('notification', '4 KiB random read, 32 deep, a disk that takes no time');
    const [each, asked] = [named(rows, 'an event for each'), named(rows, 'as req_event, rsp_event ask')];
    expect([each.backend.evtchn_send, each.frontendWork.sent]).toEqual([N, N]);
    expect(asked.backend.evtchn_send).toBe(N / 32);
    expect(asked.frontendWork.sent).toBe(N / 32);
    expect(asked.backend.grant_copy).toBe(each.backend.grant_copy);
  });

  it('a ring holds as many requests as its pages have slots for', () => {
    const rows = blockChoices(N, (c) => c.group === 'block: ring size' && ['1 page', '4 pages'].includes(c.name));
    // All take 1 ms, so requests over time is what was under way.
    for (const [name, slots] of [
      ['1 page', 32],
      ['4 pages', 128],
    ] as const) {
      const m = named(rows, name);
      expect(Math.round((m.requests / m.seconds) * 1e-3)).toBe(slots);
    }
  });

  it('queues share the work', () => {
    const rows = blockChoices(N, (c) => c.group === 'block: queues');
    for (const m of rows) expect([m.requests, m.backend.request, m.backend.response]).toEqual([m.requests, m.requests, m.requests]);
    expect(rows.map((m) => m.name)).toEqual(['1 queue', '2 queues', '4 queues']);
  });
});

describe('net: what each choice does', () => {
  it('receiving by copy, by flip, and into grants that stay', () => {
    const rows = net('data path', 'rx, 1514');
    const [copy, flip, kept] = [named(rows, 'grant copy'), named(rows, 'page flip'), named(rows, 'static grants')];
    expect([copy.backend.grant_copy, copy.backend.grant_transfer]).toEqual([N, 0]);
    expect([flip.backend.grant_copy, flip.backend.grant_transfer]).toEqual([0, N]);
    expect([kept.backend.grant_copy, kept.backend.grant_transfer, kept.backend.grant_map]).toEqual([0, 0, 0]);
    // The page that went is made up for, one by one; the frontend gives its places up in batches.
    expect(flip.backend.hypercall).toBeGreaterThan(copy.backend.hypercall + N - 1);
    expect(flip.frontendWork.hypercalls).toBeGreaterThan(copy.frontendWork.hypercalls);
  });

  it('sending by copy, by mapping, and from grants that stay', () => {
    const rows = net('data path', 'tx, 64');
    const [copy, map, kept] = [named(rows, 'grant copy'), named(rows, 'map each packet'), named(rows, 'static grants')];
    expect([copy.backend.grant_copy, copy.backend.grant_map]).toEqual([N, 0]);
    expect([map.backend.grant_copy, map.backend.grant_map, map.backend.grant_unmap]).toEqual([0, N, N]);
    expect([kept.backend.grant_copy, kept.backend.grant_map]).toEqual([0, 0]);
    for (const m of rows) expect([m.backend.request, m.backend.response, m.backend.packet_switched]).toEqual([N, N, N]);
  });

  it('one event for a burst, or one for each packet', () => {
    const rows = net('notification', 'tx, 1514');
    expect([named(rows, 'an event for each').backend.evtchn_send, named(rows, 'as req_event, rsp_event ask').backend.evtchn_send]).toEqual([
      N,
      N / 16,
    ]);
  });
});

describe('the account', () => {
  it('has every hypercall that dom0 made, every event, copy and ring event: counters, trace and hypervisor agree', () => {
    for (const data of ['copy', 'map', 'persistent'] as const) {
      const world = new BenchWorld();
      startBlkback(world.dom0, () => stampedDisk('nvme'), { data });
      const front = new BlockFront(world, { pageOrder: 0, queues: 1, persistent: data === 'persistent', kick: 'asked', wakeEvery: 1 });
      const recorder = new TraceRecorder(() => world.now());
      const classes = new Set(TRACE_CLASSES);
      const stop = [attachDom0(world.dom0, recorder, classes), attachHypervisor(world.hv, recorder, classes)];
      const { work } = world.dom0.observer;
      const statistics = () => [...world.hv.domain(0)!.statistics.values()].reduce((a, b) => a + b, 0);
      const before = { ...work };
      const made = statistics();
      front.run({ op: 'write', pattern: 'random', segments: 3, depth: 16, requests: N, diskPages: 1 << 16 });
      const done = Object.fromEntries(WORK_ITEMS.map((i) => [i, work[i] - before[i]])) as Record<(typeof WORK_ITEMS)[number], number>;
      for (const s of stop) s();
      expect(done.hypercall).toBe(statistics() - made);
      const traced = workIn({ domains: {}, dropped: 0, records: recorder.read(0).records }, 0, Number.POSITIVE_INFINITY);
      for (const item of ['hypercall', 'evtchn_send', 'request', 'response', 'host_io', 'grant_map', 'grant_unmap', 'grant_copy'] as const)
        expect([item, traced[item]]).toEqual([item, done[item]]);
      if (data === 'copy') expect(traced.byte_copied).toBe(done.byte_copied);
      // Nothing was done that has no price.
      expect(costOf(done).nominal).toBeGreaterThan(0);
    }
  });

  it('is the same each time, but for the time it took here', () => {
    const one = () =>
      [...block('data path', '44 KiB sequential read, 32 deep'), ...net('data path', 'rx, 64')].map((m) => ({ ...m, wallMs: 0 }));
    expect(one()).toEqual(one());
  });
});

describe('the report', () => {
  it('has a line for each choice, and says of each shape whether it came out', () => {
    const rows = [
      ...block('data path', '4 KiB random read, 32 deep'),
      ...net('data path', 'rx, 1514'),
      ...blockChoices(N, (c) => c.group === 'block: ring size' && ['1 page', '64 pages'].includes(c.name)),
    ];
    const table = splitTable(rows);
    for (const m of rows) expect(table).toContain(m.name);
    const shapes = shapesOf(rows);
    const verdicts = Object.fromEntries(shapes.map((s) => [s.claim.slice(0, 24), s.verdict]));
    expect(verdicts).toMatchObject({
      'a single page allows 32 ': 'yes',
      'copying into the guest b': 'yes',
      'unmapping means flushing': 'yes',
    });
    const json = JSON.parse(splitJson(rows, shapes, { requests: N, profile: 'core2' }));
    expect(json).toMatchObject({ format: 'ringworld-bench-split', version: 1, profile: 'core2' });
    expect(json.rows).toHaveLength(rows.length);
    expect(json.prices.grant_copy.source).toContain('A5');
  });
});
