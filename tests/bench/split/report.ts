// The bench's tables, and its JSON. All figures but the last column are of virtual time and repeat exactly.
import { type CpuProfile, WORK_ITEMS, WORK_PRICES } from '@ringworld/dom0';
import { backendLimit, effectiveIops, iops, type Measured } from './measure.ts';
import type { Shape } from './shapes.ts';

const number = (x: number, digits = 0): string =>
  !Number.isFinite(x) ? 'no limit' : x.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, digits === 0 ? ' ' : '');
const each = (m: Measured, n: number): string => (n / m.requests).toFixed(2);

const COLUMNS: readonly { readonly head: string; readonly cell: (m: Measured) => string }[] = [
  { head: 'choice', cell: (m) => m.name },
  { head: 'frontend', cell: (m) => m.frontend },
  { head: 'ops/s', cell: (m) => number(iops(m)) },
  { head: '1 CPU', cell: (m) => number(effectiveIops(m)) },
  { head: 'MB/s', cell: (m) => number((effectiveIops(m) * m.bytes) / m.requests / 1e6) },
  { head: 'p50 us', cell: (m) => number(m.latencyUs.p50, 1) },
  { head: 'p95', cell: (m) => number(m.latencyUs.p95, 1) },
  { head: 'p99', cell: (m) => number(m.latencyUs.p99, 1) },
  { head: 'ev out', cell: (m) => each(m, m.backend.evtchn_send) },
  { head: 'ev in', cell: (m) => each(m, m.frontendWork.sent) },
  { head: 'hyp d0', cell: (m) => each(m, m.backend.hypercall) },
  { head: 'hyp dU', cell: (m) => each(m, m.frontendWork.hypercalls) },
  { head: 'map', cell: (m) => each(m, m.backend.grant_map) },
  { head: 'unmap', cell: (m) => each(m, m.backend.grant_unmap) },
  { head: 'copy', cell: (m) => each(m, m.backend.grant_copy) },
  { head: 'flip', cell: (m) => each(m, m.backend.grant_transfer) },
  { head: 'B d0', cell: (m) => number(m.backend.byte_copied / m.requests) },
  { head: 'B dU', cell: (m) => number(m.frontendWork.bytesCopied / m.requests) },
  { head: 'd0 kcyc low', cell: (m) => number(m.backendCycles.low / 1000, 1) },
  { head: 'nom', cell: (m) => number(m.backendCycles.nominal / 1000, 1) },
  { head: 'high', cell: (m) => number(m.backendCycles.high / 1000, 1) },
  { head: 'dU kcyc', cell: (m) => (m.guestCycles === null ? '-' : number(m.guestCycles / 1000, 1)) },
  { head: 'wall ms', cell: (m) => number(m.wallMs) },
];

function grid(head: readonly string[], rows: readonly (readonly string[])[], left: number): string {
  const widths = head.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((c, i) => (i < left ? c.padEnd(widths[i]!) : c.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((w) => '-'.repeat(w)).join('  '), ...rows.map(line)].join('\n');
}

export function splitTable(rows: readonly Measured[]): string {
  const groups = [...new Set(rows.map((m) => `${m.group}, ${m.workload}`))];
  const used = COLUMNS.filter((c) => c.head === 'choice' || rows.some((m) => !/^(0|0\.00|-)$/.test(c.cell(m))));
  const tables = groups.map((g) => {
    const own = rows.filter((m) => `${m.group}, ${m.workload}` === g);
    return `${g}\n\n${grid(
      used.map((c) => c.head),
      own.map((m) => used.map((c) => c.cell(m))),
      2,
    )}`;
  });
  return tables.join('\n\n');
}

/** What the columns mean. */
export const LEGEND = `ops/s: by the model of disk or offered load, in virtual time. 1 CPU: the same, but no more than one dom0 CPU does at nominal prices.
ev out, ev in: events to the frontend, and to the backend. hyp: hypercalls of dom0, of the frontend. B: bytes copied by dom0 (or Xen for it), by
the frontend. All per request. d0 kcyc: thousands of cycles of dom0's work, priced. dU kcyc: measured on the guest's vCPU; '-' for our own
frontends, which take none. wall ms is of the host and for information only.`;

export function shapesTable(shapes: readonly Shape[]): string {
  return shapes
    .map((s) =>
      [
        `${s.verdict.toUpperCase()}: ${s.claim}`,
        `    in print: ${s.source}`,
        `    here: ${s.measured}`,
        ...(s.why === undefined ? [] : [`    (${s.why})`]),
      ].join('\n'),
    )
    .join('\n');
}

export function splitJson(
  rows: readonly Measured[],
  shapes: readonly Shape[],
  conditions: { readonly requests: number; readonly profile: CpuProfile },
): string {
  const priced = rows.map((m) => ({
    ...m,
    operationsPerSecond: finite(iops(m)),
    backendLimit: finite(backendLimit(m)),
    effective: finite(effectiveIops(m)),
  }));
  const prices = Object.fromEntries(WORK_ITEMS.map((i) => [i, WORK_PRICES[i]]));
  return `${JSON.stringify({ format: 'ringworld-bench-split', version: 1, ...conditions, rows: priced, shapes, prices }, null, 2)}\n`;
}

const finite = (x: number): number | null => (Number.isFinite(x) ? x : null);
