// What specs ask of a trace in Chrome's JSON: that Perfetto's importer would take all of it. Not part of the product.
import type { ChromeEvent } from './trace-chrome.ts';

export interface ChromeSummary {
  readonly spans: number;
  readonly unanswered: number;
  readonly arrows: number;
  readonly slices: number;
}

/** Throws at the first thing that is wrong. */
export function checkChromeTrace(text: string): ChromeSummary {
  const file = JSON.parse(text) as { traceEvents: ChromeEvent[]; displayTimeUnit: string };
  const last = new Map<number, number>();
  const stacks = new Map<number, string[]>();
  const owners = new Map<number, number>();
  const named = new Set<number>();
  const spans = new Map<string, ChromeEvent>();
  const arrows = new Map<number, number>();
  let previous: ChromeEvent | null = null;
  const summary = { spans: 0, unanswered: 0, arrows: 0, slices: 0 };
  const fail = (e: ChromeEvent, why: string): never => {
    throw new Error(`${why}: ${JSON.stringify(e)}`);
  };
  if (file.displayTimeUnit !== 'ns') throw new Error('no displayTimeUnit');
  for (const e of file.traceEvents) {
    if (typeof e.name !== 'string' || !Number.isInteger(e.pid) || !Number.isInteger(e.tid)) fail(e, 'no name, pid or tid');
    if (e.pid === 0 || e.tid === 0) fail(e, 'process or thread 0 is the idle task');
    if ((owners.get(e.tid) ?? e.pid) !== e.pid) fail(e, 'a thread in two processes');
    owners.set(e.tid, e.pid);
    if (e.ph === 'M') {
      if (e.name === 'thread_name') named.add(e.tid);
      continue;
    }
    if (!named.has(e.tid)) fail(e, 'a thread without a name');
    const { ts } = e;
    if (typeof ts !== 'number' || !Number.isFinite(ts) || ts < 0) return fail(e, 'no time');
    if (ts < (last.get(e.tid) ?? 0)) fail(e, 'time runs backwards');
    last.set(e.tid, ts);
    const stack = stacks.get(e.tid) ?? [];
    stacks.set(e.tid, stack);
    const key = `${e.cat} ${e.id}`;
    switch (e.ph) {
      case 'B':
        stack.push(e.name);
        break;
      case 'E':
        if (stack.pop() !== e.name) fail(e, 'ends what was not begun last');
        summary.slices++;
        break;
      case 'X':
        if (typeof e.dur !== 'number' || e.dur < 0) fail(e, 'no duration');
        break;
      case 'b':
        if (spans.has(key)) fail(e, 'two spans of one id');
        spans.set(key, e);
        summary.spans++;
        break;
      case 'e': {
        const begin = spans.get(key);
        if (begin === undefined || begin.name !== e.name || begin.pid !== e.pid || begin.ts! > ts) fail(e, 'ends no span');
        spans.delete(key);
        if (e.args?.unanswered === true) summary.unanswered++;
        break;
      }
      case 's':
      case 'f':
        if (previous === null || previous.tid !== e.tid || previous.ts !== ts) fail(e, 'an arrow without a slice before it');
        if (previous!.ph !== 'X' && previous!.ph !== 'f') fail(e, 'an arrow without a slice before it');
        arrows.set(Number(e.id), (arrows.get(Number(e.id)) ?? 0) + (e.ph === 's' ? 1 : -1));
        if (e.ph === 'f') {
          if (e.bp !== 'e' || arrows.get(Number(e.id)) !== 0) fail(e, 'an arrow that leads from nowhere');
          summary.arrows++;
        }
        break;
      default:
        fail(e, 'unknown phase');
    }
    previous = e;
  }
  for (const [tid, stack] of stacks) if (stack.length > 0) throw new Error(`${stack} is not ended on thread ${tid}`);
  if (spans.size > 0) throw new Error(`${spans.size} spans are not ended`);
  return summary;
}
