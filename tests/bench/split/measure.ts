// What one choice came to: counted by both ends, timed in virtual time, priced afterwards.
import { type CpuProfile, type Cycles, costOf, DEFAULT_PROFILE, type Observer, snapshot, type Work, workBetween } from '@ringworld/dom0';

export interface Choice {
  /** What is compared: 'data path', 'notification', ... */
  readonly group: string;
  readonly name: string;
  readonly workload: string;
  /** Who the frontend was: ours, or which stock one. */
  readonly frontend: string;
}

export interface Measured extends Choice {
  readonly requests: number;
  readonly bytes: number;
  /** Virtual. */
  readonly seconds: number;
  readonly latencyUs: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };
  /** Of dom0, and of the frontend. */
  readonly backend: Work;
  readonly frontendWork: FrontendWork;
  /** dom0's work priced, per request. */
  readonly backendCycles: Cycles;
  /** Measured on the guest's vCPU, per request; null where the frontend is TypeScript and takes no cycles. */
  readonly guestCycles: number | null;
  /** For information only: of the host, at this moment. */
  readonly wallMs: number;
}

export interface FrontendWork {
  readonly hypercalls: number;
  /** Events sent to dom0, and those that came. */
  readonly sent: number;
  readonly received: number;
  readonly granted: number;
  readonly revoked: number;
  readonly bytesCopied: number;
}

/** By nearest rank, of values in ns. */
export function percentiles(ns: readonly number[]): Measured['latencyUs'] {
  const sorted = Float64Array.from(ns).sort();
  const at = (p: number) => (sorted.length === 0 ? 0 : sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)]! / 1000);
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

export interface Run {
  readonly requests: number;
  readonly bytes: number;
  readonly latenciesNs: readonly number[];
}

/** A row of block or net: what is compared, with a frontend of ours. */
export interface Row {
  readonly group: string;
  readonly name: string;
  readonly workload: string;
}

/** Runs the rows that are wanted. */
export function measureRows<R extends Row>(
  kind: 'block' | 'net',
  rows: readonly R[],
  wanted: (choice: Choice) => boolean,
  run: (row: R, choice: Choice) => Measured,
): Measured[] {
  return rows.flatMap((row) => {
    const choice = { group: `${kind}: ${row.group}`, name: row.name, workload: row.workload, frontend: 'ours' };
    return wanted(choice) ? [run(row, choice)] : [];
  });
}

/** Watches both ends while `run` runs. `sides`: the frontends' counters, added up. */
export function measure(
  choice: Choice,
  now: () => number,
  dom0: Observer,
  sides: () => FrontendWork,
  run: () => Run,
  profile: CpuProfile = DEFAULT_PROFILE,
): Measured {
  const wall = performance.now();
  const before = snapshot(dom0.work);
  const frontBefore = sides();
  const start = now();
  const { requests, bytes, latenciesNs } = run();
  const seconds = (now() - start) / 1e9;
  const backend = workBetween(before, dom0.work);
  const front = sides();
  return {
    ...choice,
    ...{ requests, bytes, seconds, backend },
    latencyUs: percentiles(latenciesNs),
    frontendWork: {
      hypercalls: front.hypercalls - frontBefore.hypercalls,
      sent: front.sent - frontBefore.sent,
      received: front.received - frontBefore.received,
      granted: front.granted - frontBefore.granted,
      revoked: front.revoked - frontBefore.revoked,
      bytesCopied: front.bytesCopied - frontBefore.bytesCopied,
    },
    backendCycles: perRequest(costOf(backend, profile), requests),
    guestCycles: null,
    wallMs: Math.round(performance.now() - wall),
  };
}

export const perRequest = (c: Cycles, requests: number): Cycles => ({
  low: c.low / requests,
  nominal: c.nominal / requests,
  high: c.high / requests,
});

/** Of the machine: cycles of virtual time are of this length. */
export const CLOCK_HZ = 2.1e9;

/** How many requests a second one CPU of dom0's could serve at the nominal price. */
export const backendLimit = (m: Measured): number => CLOCK_HZ / m.backendCycles.nominal;

/** What a second comes to when dom0's work takes the time that it costs: the slower of disk (or wire) and backend. */
export const iops = (m: Measured): number => (m.seconds > 0 ? m.requests / m.seconds : Number.POSITIVE_INFINITY);
export const effectiveIops = (m: Measured, cpus = 1): number => Math.min(iops(m), backendLimit(m) * cpus);
