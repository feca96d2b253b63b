// What print says about split drivers (shared/facts/numbers.md, A4 and A5), and whether the rows show it. Where a figure in print is also
// where one of our prices comes from, the shape cannot but come out, and the table says so.
import { backendLimit, CLOCK_HZ, effectiveIops, iops, type Measured } from './measure.ts';

export type Verdict = 'yes' | 'no' | 'in direction' | 'by the price' | 'cannot be seen here';

export interface Shape {
  readonly source: string;
  readonly claim: string;
  readonly measured: string;
  readonly verdict: Verdict;
  readonly why?: string;
}

type Rows = readonly Measured[];

const find = (rows: Rows, group: string, name: string, workload?: string): Measured | null =>
  rows.find((m) => m.group === group && m.name === name && (workload === undefined || m.workload.includes(workload))) ?? null;

const times = (x: number): string => `x${x < 10 ? x.toFixed(2) : x.toFixed(0)}`;
const per = (m: Measured, n: number): string => (n / m.requests).toFixed(2);

/** Nothing is said of rows that were not run. */
type Claim = (rows: Rows) => Shape | null;

const CLAIMS: readonly Claim[] = [
  (rows) => {
    const [one, many] = [find(rows, 'block: ring size', '1 page'), find(rows, 'block: ring size', '64 pages')];
    if (one === null || many === null) return null;
    const bare = iops(many) / iops(one);
    const real = effectiveIops(many) / effectiveIops(one);
    return {
      source: 'A5, Linux 86839c56',
      claim: 'a ring of 64 pages: IOPS x15 where depth is what counts',
      measured: `${times(bare)} by the disk alone, ${times(real)} with one dom0 CPU at nominal prices`,
      verdict: real <= 15 && bare >= 15 ? 'yes' : real > 2 ? 'in direction' : 'no',
      why: 'what it comes to depends on how soon the CPU is what limits',
    };
  },
  (rows) => {
    const one = find(rows, 'block: ring size', '1 page');
    if (one === null) return null;
    const depth = (iops(one) * one.latencyUs.p50) / 1e6;
    return {
      source: 'A5, Linux 86839c56',
      claim: 'a single page allows 32 requests',
      measured: `${depth.toFixed(1)} under way (IOPS times latency)`,
      verdict: Math.abs(depth - 32) < 1 ? 'yes' : 'no',
    };
  },
  (rows) => {
    const read = '4 KiB random read';
    const [map, kept] = [
      find(rows, 'block: data path', 'map each request', read),
      find(rows, 'block: data path', 'persistent grants', read),
    ];
    if (map === null || kept === null) return null;
    const saved = map.backendCycles.nominal - kept.backendCycles.nominal;
    const holds = map.backendCycles.low > kept.backendCycles.low && map.backendCycles.high > kept.backendCycles.high;
    return {
      source: 'A5, netif staging grants',
      claim: 'unmapping means flushing TLBs: grants that stay mapped cost the backend less than mapping each request',
      measured: `${Math.round(saved)} cycles a request less, ${per(map, map.backend.grant_unmap)} against ${per(kept, kept.backend.grant_unmap)} unmaps`,
      verdict: holds ? 'yes' : 'no',
      why: 'holds in all three columns; the frontend pays with a copy of 4 KiB',
    };
  },
  (rows) => {
    const [flip, copy] = [find(rows, 'net: data path', 'page flip', 'rx, 1514'), find(rows, 'net: data path', 'grant copy', 'rx, 1514')];
    if (flip === null || copy === null) return null;
    const holds = (['low', 'nominal', 'high'] as const).every((c) => flip.backendCycles[c] > copy.backendCycles[c]);
    return {
      source: 'A4, e1811a4877, 98c075c804',
      claim: 'copying into the guest beats flipping pages at 1500 bytes: netfront and netback gave flipping up in 2006',
      measured: `${Math.round(copy.backendCycles.nominal)} against ${Math.round(flip.backendCycles.nominal)} cycles a packet; ${per(copy, copy.backend.hypercall)} against ${per(flip, flip.backend.hypercall)} hypercalls`,
      verdict: holds ? 'yes' : 'no',
      why: 'the hypercalls are counted, the price of a transfer is derived',
    };
  },
  (rows) => {
    const [copy, kept] = [find(rows, 'net: data path', 'grant copy', 'tx, 64'), find(rows, 'net: data path', 'static grants', 'tx, 64')];
    if (copy === null || kept === null) return null;
    return {
      source: 'A5, netback gref mappings',
      claim: 'TX of 64-byte packets with grants that stay mapped: 1.24 to 3.6 Mpps, x2.9',
      measured: `${times(backendLimit(kept) / backendLimit(copy))}: ${(backendLimit(copy) / 1e6).toFixed(2)} to ${(backendLimit(kept) / 1e6).toFixed(2)} Mpps a CPU`,
      verdict: 'by the price',
      why: 'the price of a grant copy comes from these figures; what is ours is that nothing else changed',
    };
  },
  (rows) => {
    const [copy, kept] = [find(rows, 'net: data path', 'grant copy', 'rx, 64'), find(rows, 'net: data path', 'static grants', 'rx, 64')];
    if (copy === null || kept === null) return null;
    const gain = backendLimit(kept) / backendLimit(copy);
    return {
      source: 'A5, netback gref mappings',
      claim: 'RX of small packets with grants that stay mapped: twice grant copy',
      measured: times(gain),
      verdict: gain > 1.7 && gain < 2.6 ? 'yes' : gain > 1 ? 'in direction' : 'no',
      why: 'the price is from the TX figures of the same work',
    };
  },
  (rows) => {
    const bulk = find(rows, 'net: data path', 'grant copy', 'rx, 1514');
    if (bulk === null) return null;
    const gbps = (cycles: number) => ((CLOCK_HZ / cycles) * 1514 * 8) / 1e9;
    const { low, nominal, high } = bulk.backendCycles;
    return {
      source: 'A5, HPCA 2010',
      claim: 'a single-threaded netback moves 3.6 Gb/s (Xeon 5500, 2.8 GHz)',
      measured: `${gbps(high).toFixed(1)} to ${gbps(low).toFixed(1)} Gb/s, nominal ${gbps(nominal).toFixed(1)}`,
      verdict: gbps(high) <= 3.6 && gbps(low) >= 3.6 ? 'yes' : 'no',
      why: "at this machine's 2.1 GHz, full-size packets, bursts of 16",
    };
  },
  (rows) => {
    const notes = rows.filter((m) => m.group.endsWith(': notification'));
    const each = notes.filter((m) => m.name === 'an event for each');
    const asked = notes.filter((m) => m.name.startsWith('as req_event'));
    if (each.length === 0 || asked.length === 0) return null;
    const better = asked.filter((a) =>
      each.some((e) => e.workload === a.workload && e.group === a.group && a.backend.evtchn_send < e.backend.evtchn_send),
    );
    return {
      source: 'ring.h; A5, staging grants, list of TX steps',
      claim: 'event indices save notifications where several answers are ready at once, and none where they come one by one',
      measured: `fewer events in ${better.length} of ${asked.length} workloads`,
      verdict: better.length > 0 && better.length < asked.length ? 'yes' : better.length > 0 ? 'in direction' : 'no',
    };
  },
  (rows) => {
    if (find(rows, 'net: queues', '4 queues') === null) return null;
    return {
      source: 'A5, netif staging grants; A4, eede22972f',
      claim: 'queues scale: 64-byte TX 0.68, 0.95, 1.89 Mpps with 1, 2, 4 queues',
      measured: 'dom0 has one vCPU, whatever the number of queues',
      verdict: 'cannot be seen here',
      why: 'queues show in events and hypercalls a request only',
    };
  },
];

export const shapesOf = (rows: Rows): Shape[] => CLAIMS.map((claim) => claim(rows)).filter((s) => s !== null);
