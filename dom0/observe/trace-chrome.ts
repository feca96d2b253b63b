// A trace as Chrome's trace event JSON, which Perfetto (ui.perfetto.dev) opens: a process for each domain, in it a thread for each vCPU; in
// dom0's, a thread for each device and for each of its queues. Requests are asynchronous spans up to their responses; arrows lead from an
// event that is sent to where it arrives.
//
// Perfetto's importer (src/trace_processor/importers/json) asks for this: B and E that nest on their thread, flows (s, f with bp e) right
// behind the slice that they belong to, b and e with an id of their own, thread ids that are unique among all processes, no process 0.
import type { SplitEvent } from '../kernel/observe.ts';
import type { NameOfDomain, Trace, TraceEncoder, TraceEvent } from './trace-event.ts';
import { queueName, stateName } from './trace-text.ts';

/** One entry of traceEvents. ts and dur are in us. */
export interface ChromeEvent {
  readonly name: string;
  readonly ph: 'B' | 'E' | 'X' | 'i' | 'b' | 'e' | 's' | 'f' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: number | string;
  readonly bp?: 'e';
  readonly s?: 't';
  readonly args?: Readonly<Record<string, unknown>>;
}

/** A domain's process id: Perfetto takes 0 for the idle task. */
const pidOf = (domid: number): number => domid + 1;
const TIDS_PER_PROCESS = 10_000;
/** Behind the vCPUs of dom0. */
const FIRST_QUEUE = 100;

interface Thread {
  readonly pid: number;
  readonly tid: number;
  /** ns; no event of the thread is earlier than the one before it. */
  last: number;
  /** A B without its E yet. */
  open: string | null;
}

interface OpenRequest {
  readonly thread: Thread;
  readonly name: string;
  readonly cat: string;
  readonly id: string;
}

class ChromeWriter {
  private readonly out: ChromeEvent[] = [];
  private readonly threads = new Map<string, Thread>();
  private readonly processes = new Set<number>();
  /** By queue and request id; a frontend may use an id twice at once. */
  private readonly open = new Map<string, OpenRequest[]>();
  /** Arrows that end where dom0 next hears from a port. */
  private readonly arriving = new Map<number, number[]>();
  private readonly nameOf: NameOfDomain;
  private nextId = 1;
  private nextQueue = FIRST_QUEUE;
  private end = 0;

  constructor(nameOf: NameOfDomain) {
    this.nameOf = nameOf;
  }

  /** The events so far. */
  take(): ChromeEvent[] {
    return this.out.splice(0);
  }

  add(at: number, e: TraceEvent): void {
    this.end = Math.max(this.end, at);
    switch (e.kind) {
      case 'runstate':
        this.runstate(at, e);
        break;
      case 'hypercall':
        // The sending of an event is an entry of its own, with its two ends.
        if (e.op !== 'EVTCHNOP_send')
          this.mark(this.vcpu(e.domid, e.vcpu), at, e.op ?? e.name, 'hypercall', { hypercall: e.name, result: e.result });
        break;
      case 'send':
        this.send(at, e);
        break;
      case 'deliver':
        this.deliver(at, e.port);
        break;
      case 'request':
        this.request(at, e);
        break;
      case 'response':
        this.response(at, e);
        break;
      case 'notify':
        this.mark(this.queue(e), at, e.sent ? 'notify' : 'notify suppressed', 'notify', {});
        break;
      case 'kick':
        this.mark(this.queue(e), at, 'kick', 'notify', {});
        break;
      case 'grant':
        this.mark(this.thread(0, e.device), at, `grant ${e.op}`, 'grant', { count: e.count, bytes: e.bytes });
        break;
      case 'state':
        this.mark(this.thread(0, e.device), at, `${e.end}: ${stateName(e.state)}`, 'state', {});
        break;
      case 'xenstore':
        this.mark(this.thread(e.domid, 'xenstore'), at, e.request, 'xenstore', { argument: e.argument, error: e.error });
        break;
      case 'watch':
        this.mark(this.thread(e.domid, 'xenstore'), at, 'watch event', 'xenstore', { path: e.path, token: e.token });
        break;
    }
  }

  /** Closes what is open. */
  finish(): void {
    for (const thread of this.threads.values()) this.close(thread, this.end);
    for (const list of this.open.values())
      for (const r of list) this.out.push({ ...asyncEnd(r, this.time(r.thread, this.end)), args: { unanswered: true } });
    this.open.clear();
  }

  private runstate(at: number, e: TraceEvent & { kind: 'runstate' }): void {
    const thread = this.vcpu(e.domid, e.vcpu);
    this.close(thread, at);
    if (e.state !== 'running' && e.state !== 'runnable') return;
    thread.open = e.state;
    this.out.push({ name: e.state, ph: 'B', cat: 'run', pid: thread.pid, tid: thread.tid, ts: this.time(thread, at) });
  }

  private close(thread: Thread, at: number): void {
    if (thread.open === null) return;
    this.out.push({ name: thread.open, ph: 'E', cat: 'run', pid: thread.pid, tid: thread.tid, ts: this.time(thread, at) });
    thread.open = null;
  }

  private send(at: number, e: TraceEvent & { kind: 'send' }): void {
    const from = this.vcpu(e.domid, e.vcpu);
    const id = this.nextId++;
    this.mark(from, at, 'EVTCHNOP_send', 'event', { port: e.port, to: `d${e.toDomid} port ${e.toPort}` });
    this.out.push({ name: 'event', ph: 's', cat: 'event', id, pid: from.pid, tid: from.tid, ts: from.last / 1000 });
    if (e.toDomid === 0) {
      const list = this.arriving.get(e.toPort);
      if (list === undefined) this.arriving.set(e.toPort, [id]);
      else list.push(id);
      return;
    }
    // A guest's own kernel decides when it looks; what can be seen is that the event is pending for that vCPU from now on.
    const to = this.vcpu(e.toDomid, e.toVcpu);
    this.mark(to, at, `port ${e.toPort} pending`, 'event', { from: `d${e.domid} port ${e.port}` });
    this.arrowEnd(to, id);
  }

  private deliver(at: number, port: number): void {
    const thread = this.vcpu(0, 0);
    this.mark(thread, at, `port ${port}`, 'event', {});
    for (const id of this.arriving.get(port) ?? []) this.arrowEnd(thread, id);
    this.arriving.delete(port);
  }

  private arrowEnd(thread: Thread, id: number): void {
    this.out.push({ name: 'event', ph: 'f', bp: 'e', cat: 'event', id, pid: thread.pid, tid: thread.tid, ts: thread.last / 1000 });
  }

  private request(at: number, e: SplitEvent & { kind: 'request' }): void {
    const thread = this.queue(e);
    const cat = queueName(e);
    const request: OpenRequest = { thread, name: e.op, cat, id: `0x${(this.nextId++).toString(16)}` };
    const key = `${cat} ${e.id}`;
    const list = this.open.get(key);
    if (list === undefined) this.open.set(key, [request]);
    else list.push(request);
    const args = { index: e.index, id: e.id, bytes: e.bytes };
    this.out.push({ name: e.op, ph: 'b', cat, id: request.id, pid: thread.pid, tid: thread.tid, ts: this.time(thread, at), args });
  }

  private response(at: number, e: SplitEvent & { kind: 'response' }): void {
    const key = `${queueName(e)} ${e.id}`;
    const list = this.open.get(key);
    const request = list?.shift();
    if (list?.length === 0) this.open.delete(key);
    const args = { index: e.index, status: e.status };
    if (request === undefined) {
      // Its request was before the first record.
      this.mark(this.queue(e), at, 'response', 'ring', { ...args, id: e.id });
      return;
    }
    this.out.push({ ...asyncEnd(request, this.time(request.thread, at)), args });
  }

  /** A slice of no length: instants take no arrows. */
  private mark(thread: Thread, at: number, name: string, cat: string, args: Readonly<Record<string, unknown>>): void {
    this.out.push({ name, ph: 'X', cat, pid: thread.pid, tid: thread.tid, ts: this.time(thread, at), dur: 0, args });
  }

  /** In us, never before what the thread did last: clocks of two CPUs differ a little. */
  private time(thread: Thread, at: number): number {
    thread.last = Math.max(thread.last, at);
    return thread.last / 1000;
  }

  private queue(e: Parameters<typeof queueName>[0]): Thread {
    return this.thread(0, queueName(e));
  }
  private vcpu(domid: number, vcpu: number): Thread {
    return this.thread(domid, `vCPU ${vcpu}`, vcpu);
  }

  private thread(domid: number, name: string, number?: number): Thread {
    const key = `${domid} ${name}`;
    let thread = this.threads.get(key);
    if (thread === undefined) {
      const pid = this.process(domid);
      thread = { pid, tid: pid * TIDS_PER_PROCESS + (number ?? this.nextQueue++), last: 0, open: null };
      this.threads.set(key, thread);
      this.out.push({ name: 'thread_name', ph: 'M', pid, tid: thread.tid, args: { name } });
      this.out.push({ name: 'thread_sort_index', ph: 'M', pid, tid: thread.tid, args: { sort_index: thread.tid } });
    }
    return thread;
  }

  private process(domid: number): number {
    const pid = pidOf(domid);
    if (this.processes.has(pid)) return pid;
    this.processes.add(pid);
    const name = `d${domid} ${this.nameOf(domid) ?? (domid === 0 ? 'Domain-0' : '')}`.trimEnd();
    this.out.push({ name: 'process_name', ph: 'M', pid, tid: pid * TIDS_PER_PROCESS, args: { name } });
    this.out.push({ name: 'process_sort_index', ph: 'M', pid, tid: pid * TIDS_PER_PROCESS, args: { sort_index: pid } });
    return pid;
  }
}

const asyncEnd = (r: OpenRequest, ts: number): ChromeEvent => ({
  name: r.name,
  ph: 'e',
  cat: r.cat,
  id: r.id,
  pid: r.thread.pid,
  tid: r.thread.tid,
  ts,
});

/** All of a trace at once. */
export function chromeEvents(trace: Trace): ChromeEvent[] {
  const writer = new ChromeWriter((domid) => trace.domains[domid] ?? null);
  for (const { at, event } of trace.records) writer.add(at, event);
  writer.finish();
  return writer.take();
}

export function chromeEncoder(nameOf: NameOfDomain): TraceEncoder {
  const writer = new ChromeWriter(nameOf);
  let separator = '';
  let dropped = 0;
  const written = (): string => {
    let text = '';
    for (const e of writer.take()) {
      text += separator + JSON.stringify(e);
      separator = ',\n';
    }
    return text;
  };
  return {
    begin: () => '{"displayTimeUnit":"ns","traceEvents":[\n',
    records: (records, missed) => {
      dropped += missed;
      for (const { at, event } of records) writer.add(at, event);
      return written();
    },
    end: () => {
      writer.finish();
      const otherData = JSON.stringify({ producer: 'ringworld', clock: 'virtual time', dropped });
      return `${written()}\n],"otherData":${otherData}}\n`;
    },
  };
}
