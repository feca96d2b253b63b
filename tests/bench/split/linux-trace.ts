// What a trace says of a stretch of a stock guest's I/O: the same figures that both ends count themselves where the frontend is ours.
import { type CpuProfile, costOf, Observer, type Trace, type TraceEvent, type WorkItem } from '@ringworld/dom0';
import { type Choice, CLOCK_HZ, type Measured, percentiles, perRequest } from './measure.ts';

/** Nothing asked of the device for so long (ns): the guest's script sleeps between its parts. */
const GAP = 0.5e9;

type Request = TraceEvent & { kind: 'request' };
const isRequest = (e: TraceEvent, device: string): e is Request => e.kind === 'request' && e.device.startsWith(device);

/** Stretches of requests on a device between silences: from the first request to the last answer. */
export function stretches(trace: Trace, device: string): { readonly from: number; readonly to: number }[] {
  const out: { from: number; to: number }[] = [];
  for (const { at, event } of trace.records) {
    if (event.kind !== 'request' && event.kind !== 'response') continue;
    if (!event.device.startsWith(device)) continue;
    const last = out.at(-1);
    if (last !== undefined && at - last.to < GAP) last.to = Math.max(last.to, at);
    else out.push({ from: at, to: at });
  }
  return out;
}

/** Each request with its answer, in ns. Unanswered ones are missing. */
export function latencies(trace: Trace, device: string, from: number, to: number): number[] {
  const open = new Map<string, number[]>();
  const out: number[] = [];
  for (const { at, event } of trace.records) {
    if (at < from || at > to || (event.kind !== 'request' && event.kind !== 'response') || !event.device.startsWith(device)) continue;
    const key = `${event.device} ${event.queue} ${event.ring ?? ''} ${event.id}`;
    if (event.kind === 'request') open.set(key, [...(open.get(key) ?? []), at]);
    else {
      const started = open.get(key)?.shift();
      if (started !== undefined) out.push(at - started);
    }
  }
  return out;
}

/** Units of dom0's work that a trace shows. */
export function workIn(trace: Trace, from: number, to: number): Record<WorkItem, number> {
  const { work } = new Observer();
  for (const { at, event: e } of trace.records) {
    if (at < from || at > to) continue;
    if (e.kind === 'hypercall' && e.domid === 0) work.hypercall++;
    else if (e.kind === 'send' && e.domid === 0) {
      // A hypercall too, which the trace tells once.
      work.hypercall++;
      work.evtchn_send++;
    } else if (e.kind === 'deliver') work.upcall++;
    else if (e.kind === 'request') {
      work.request++;
      work.host_io++;
    } else if (e.kind === 'response') work.response++;
    else if (e.kind === 'xenstore' || e.kind === 'watch') work.xenstore_message++;
    else if (e.kind === 'grant') {
      work[`grant_${e.op}`] += e.count;
      if (e.op === 'copy') work.byte_copied += e.bytes;
    }
  }
  return work;
}

/** ns for which a domain's vCPUs ran. */
export function ranFor(trace: Trace, domid: number, from: number, to: number): number {
  const since = new Map<number, number>();
  let total = 0;
  const clip = (at: number) => Math.min(Math.max(at, from), to);
  for (const { at, event: e } of trace.records) {
    if (e.kind !== 'runstate' || e.domid !== domid) continue;
    const start = since.get(e.vcpu);
    if (start !== undefined) total += clip(at) - clip(start);
    if (e.state === 'running') since.set(e.vcpu, at);
    else since.delete(e.vcpu);
  }
  for (const start of since.values()) total += to - clip(start);
  return total;
}

export function measuredFrom(
  trace: Trace,
  choice: Choice,
  options: {
    readonly device: string;
    readonly domid: number;
    readonly from: number;
    readonly to: number;
    readonly profile: CpuProfile;
    readonly wallMs: number;
  },
): Measured {
  const { device, domid, from, to, profile, wallMs } = options;
  const requests = trace.records.filter((r) => r.at >= from && r.at <= to && isRequest(r.event, device));
  const bytes = requests.reduce((n, r) => n + (r.event.kind === 'request' ? r.event.bytes : 0), 0);
  const backend = workIn(trace, from, to);
  const guest = trace.records.filter((r) => r.at >= from && r.at <= to && 'domid' in r.event && r.event.domid === domid);
  const sent = guest.filter((r) => r.event.kind === 'send').length;
  const n = requests.length;
  return {
    ...choice,
    ...{ requests: n, bytes, backend, wallMs },
    seconds: (to - from) / 1e9,
    latencyUs: percentiles(latencies(trace, device, from, to)),
    frontendWork: {
      hypercalls: guest.filter((r) => r.event.kind === 'hypercall').length + sent,
      sent,
      received: trace.records.filter((r) => r.at >= from && r.at <= to && r.event.kind === 'send' && r.event.toDomid === domid).length,
      ...{ granted: 0, revoked: 0, bytesCopied: 0 },
    },
    backendCycles: perRequest(costOf(backend, profile), n),
    guestCycles: (ranFor(trace, domid, from, to) / 1e9 / n) * CLOCK_HZ,
  };
}
