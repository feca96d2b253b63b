import { describe, expect, it } from 'vitest';
import { TraceRecorder } from './recorder.ts';
import { checkChromeTrace } from './testing.ts';
import { type ChromeEvent, chromeEvents } from './trace-chrome.ts';
import { classOf, parseClasses, type Trace, type TraceEvent, type TraceRecord } from './trace-event.ts';
import { encodeTrace, formatOf, TRACE_ENCODERS } from './trace-file.ts';
import { readTrace, TRACE_VERSION } from './trace-msgpack.ts';
import { textLine } from './trace-text.ts';

const device = 'vbd/1/51712';
const request = (id: number, index = id): TraceEvent => ({
  kind: 'request',
  device,
  queue: 0,
  index,
  op: 'BLKIF_OP_READ',
  id,
  bytes: 4096,
});
const response = (id: number, status = 0): TraceEvent => ({ kind: 'response', device, queue: 0, index: id, id, status });
const run = (vcpu: number, state: 'running' | 'blocked' | 'runnable'): TraceEvent => ({ kind: 'runstate', domid: 1, vcpu, state });
const trace = (records: readonly (readonly [number, TraceEvent])[], dropped = 0): Trace => ({
  domains: { 0: 'Domain-0', 1: 'guest' },
  dropped,
  records: records.map(([at, event]): TraceRecord => ({ at, event })),
});

/** A read from the guest's event to the guest's wake-up. */
const READ = trace([
  [1000, run(0, 'running')],
  [2000, { kind: 'hypercall', domid: 1, vcpu: 0, name: 'sched_op', op: 'SCHEDOP_yield', result: 0 }],
  [3000, { kind: 'send', domid: 1, vcpu: 0, port: 7, toDomid: 0, toVcpu: 0, toPort: 12 }],
  [3500, run(0, 'blocked')],
  [3600, { kind: 'deliver', port: 12 }],
  [3600, { kind: 'kick', device, queue: 0 }],
  [3600, request(1)],
  [3600, request(2)],
  [3600, { kind: 'grant', device, op: 'map', count: 2, bytes: 8192 }],
  [9000, response(2)],
  [9000, { kind: 'notify', device, queue: 0, sent: false }],
  [9500, response(1, -1)],
  [9500, { kind: 'notify', device, queue: 0, sent: true }],
  [9500, { kind: 'send', domid: 0, vcpu: 0, port: 12, toDomid: 1, toVcpu: 0, toPort: 7 }],
  [9500, run(0, 'running')],
  [9900, { kind: 'xenstore', domid: 1, request: 'READ', argument: 'device/vbd', error: 'ENOENT' }],
]);
const json = (t: Trace): string => encodeTrace(t, 'json').join('');
const packed = (t: Trace): Uint8Array => Buffer.concat(encodeTrace(t, 'msgpack').map((part) => Buffer.from(part)));
const named = (t: Trace, name: string): ChromeEvent[] => chromeEvents(t).filter((e) => e.name === name);

describe('a recorder', () => {
  const of = (count: number, capacity: number) => {
    let now = 0;
    const recorder = new TraceRecorder(() => ++now, capacity);
    for (let i = 0; i < count; i++) recorder.record(request(i));
    return recorder;
  };
  const ids = (records: readonly TraceRecord[]) => records.map((r) => (r.event.kind === 'request' ? r.event.id : -1));

  it('keeps the last records, and counts those that it lost', () => {
    const r = of(10, 4);
    expect(r.dropped).toBe(6);
    expect(r.read(0)).toMatchObject({ missed: 6, next: 10 });
    expect(ids(r.read(0).records)).toEqual([6, 7, 8, 9]);
    expect(r.read(0).records.map((x) => x.at)).toEqual([7, 8, 9, 10]);
    expect(of(4, 4).dropped).toBe(0);
  });

  it('holds no more than its capacity, however long it runs', () => {
    const r = of(100_000, 16);
    expect(r.read(0).records).toHaveLength(16);
    expect(r.position).toBe(100_000);
  });

  it('lets a reader go on where it was, in portions', () => {
    const r = of(10, 8);
    const first = r.read(3, 4);
    expect(ids(first.records)).toEqual([3, 4, 5, 6]);
    expect(first.missed).toBe(0);
    const rest = r.read(first.next);
    expect(ids(rest.records)).toEqual([7, 8, 9]);
    expect(r.read(rest.next)).toEqual({ records: [], next: 10, missed: 0 });
  });
});

describe('classes of events', () => {
  it('are chosen by name', () => {
    expect([...parseClasses('store,ring')!]).toEqual(['ring', 'store']);
    expect(parseClasses('ring,rings')).toBeNull();
    expect(classOf(request(1))).toBe('ring');
    expect(classOf({ kind: 'deliver', port: 1 })).toBe('event');
  });
});

describe('Chrome trace JSON', () => {
  it('is what Perfetto imports: named threads, slices that nest, time that does not run backwards', () => {
    expect(checkChromeTrace(json(READ))).toEqual({ spans: 2, unanswered: 0, arrows: 2, slices: 2 });
  });

  it('spans each request up to its own response, in virtual microseconds', () => {
    const spans = named(READ, 'BLKIF_OP_READ');
    const [first, second] = spans.filter((e) => e.ph === 'b');
    const end = (id: ChromeEvent['id']) => spans.find((e) => e.ph === 'e' && e.id === id)!;
    expect([first!.ts, end(first!.id).ts, end(first!.id).args?.status]).toEqual([3.6, 9.5, -1]);
    expect([second!.ts, end(second!.id).ts, end(second!.id).args?.status]).toEqual([3.6, 9, 0]);
  });

  it('has a process for each domain, and puts threads of one queue under dom0', () => {
    const names = named(READ, 'process_name').map((e) => [e.pid, e.args?.name]);
    expect(names).toEqual([
      [2, 'd1 guest'],
      [1, 'd0 Domain-0'],
    ]);
    const threads = named(READ, 'thread_name').map((e) => [e.pid, e.args?.name]);
    expect(threads).toContainEqual([1, `${device} q0`]);
    expect(threads).toContainEqual([2, 'vCPU 0']);
  });

  it('ends what was going on when the trace ended, and shows what began before it', () => {
    const t = trace(
      [
        [100, response(9)],
        [200, run(0, 'blocked')],
        [300, run(0, 'running')],
        [400, request(1)],
        [400, request(1)],
        [500, response(1)],
        [600, request(2)],
      ],
      5,
    );
    expect(checkChromeTrace(json(t))).toEqual({ spans: 3, unanswered: 2, arrows: 0, slices: 1 });
    expect(json(t)).toContain('"dropped":5');
  });

  it('keeps time on a thread from running backwards where two CPUs differ by part of a window', () => {
    const t = trace([
      [2000, run(0, 'runnable')],
      [1500, run(0, 'running')],
      [1600, { kind: 'hypercall', domid: 1, vcpu: 0, name: 'iret', op: null, result: null }],
      [2500, run(0, 'blocked')],
    ]);
    checkChromeTrace(json(t));
    expect(named(t, 'running').map((e) => e.ts)).toEqual([2, 2.5]);
  });

  it('tells apart equal ids on the rings of a network queue', () => {
    const on = (ring: 'tx' | 'rx') => ({ device: 'vif/1/0', queue: 0, ring, index: 0, id: 3 }) as const;
    const t = trace([
      [1, { kind: 'request', ...on('tx'), op: 'tx', bytes: 60 }],
      [2, { kind: 'request', ...on('rx'), op: 'rx', bytes: 4096 }],
      [3, { kind: 'response', ...on('rx'), status: 60 }],
      [4, { kind: 'response', ...on('tx'), status: 0 }],
    ]);
    expect(checkChromeTrace(json(t))).toMatchObject({ spans: 2, unanswered: 0 });
    expect(named(t, 'rx').map((e) => e.ts)).toEqual([0.002, 0.003]);
  });

  it('is checked by something that can fail', () => {
    const without = (needle: string) =>
      json(READ)
        .split('\n')
        .filter((l) => !l.includes(needle))
        .join('\n');
    expect(() => checkChromeTrace(without('"ph":"e"'))).toThrow(/not ended/);
    expect(() => checkChromeTrace(without('"ph":"B"'))).toThrow(/not begun/);
    expect(() => checkChromeTrace(without('thread_name'))).toThrow(/without a name/);
    expect(() => checkChromeTrace(without('"ph":"s"'))).toThrow(/from nowhere/);
  });
});

describe('text', () => {
  it('is a line for each record, aligned, with what was lost at the top', () => {
    const lines = encodeTrace({ ...READ, dropped: 3 }, 'txt')
      .join('')
      .split('\n');
    expect(lines).toHaveLength(READ.records.length + 2);
    expect(lines[0]).toContain('3 records lost');
    expect(textLine(READ.records[2]!)).toBe('    0.000003000 d1v0             sends by port 7 to d0v0 port 12');
    expect(textLine(READ.records[6]!)).toBe('    0.000003600 vbd/1/51712 q0   request 1: BLKIF_OP_READ id 1, 4096 bytes');
    expect(textLine(READ.records.at(-1)!)).toMatch(/xenstore READ device\/vbd -> ENOENT$/);
  });
});

describe('msgpack', () => {
  it('gives back the records that went in', () => {
    expect(readTrace(packed({ ...READ, dropped: 2 }))).toEqual({ ...READ, dropped: 2, domains: { '0': 'Domain-0', '1': 'guest' } });
  });

  it('of another version, or of something else, is refused by name', async () => {
    const { pack } = await import('msgpackr');
    expect(() => readTrace(pack({ format: 'ringworld-trace', version: TRACE_VERSION + 1 }))).toThrow(/version 2/);
    expect(() => readTrace(pack({ format: 'xentrace' }))).toThrow(/not a trace/);
    expect(() => readTrace(pack(17))).toThrow(/not a trace/);
  });
});

describe('a trace that is written as it comes', () => {
  it.each(['json', 'txt', 'msgpack'] as const)('is the same file as one written at once: %s', (format) => {
    const encoder = TRACE_ENCODERS[format]((domid) => READ.domains[domid] ?? null);
    const pieces = [encoder.begin(), ...READ.records.map((r) => encoder.records([r], 0)), encoder.end()];
    const bytes = Buffer.concat(pieces.map((p) => Buffer.from(p)));
    if (format === 'msgpack') expect(readTrace(bytes)).toEqual(readTrace(packed(READ)));
    else expect(bytes.toString()).toBe(encodeTrace(READ, format).join(''));
  });

  it('is of the kind that its name ends in', () => {
    expect(['a.json', 'b.txt', 'c.msgpack', 'd'].map(formatOf)).toEqual(['json', 'txt', 'msgpack', 'json']);
  });

  it('loses nothing when its writer takes what there is each time the recorder is full', () => {
    const recorder = new TraceRecorder(() => 0, 4);
    let at = 0;
    let got = 0;
    recorder.onFull = () => {
      const { records, next, missed } = recorder.read(at);
      expect(missed).toBe(0);
      got += records.length;
      at = next;
    };
    for (let i = 0; i < 11; i++) recorder.record(request(i));
    expect([got, recorder.read(at).records.length]).toEqual([8, 3]);
  });
});
