// Lets dom0's own services tell a recorder what they do: backends by the observer, the store by its message hooks. Nothing is told, and
// nothing costs anything, before attach or after detach.
import type { Dom0 } from '../kernel/dom0.ts';
import type { TraceClass, TraceTarget } from './trace-event.ts';

/** Of a message, what fits on a line. */
const MAX_ARGUMENT = 200;

/** Starts recording; returns what stops it. There is one recorder at a time. */
export function attachDom0(dom0: Dom0, target: TraceTarget, classes: ReadonlySet<TraceClass>): () => void {
  const { observer, xenstored } = dom0;
  const wantsRings = classes.has('ring');
  const wantsEvents = classes.has('event');
  if (wantsRings || wantsEvents)
    observer.sink = (event) => {
      if (event.kind === 'deliver' ? wantsEvents : wantsRings) target.record(event);
    };
  if (classes.has('store')) {
    xenstored.trace = (domid, request, message, reply) => {
      const error = reply.type === message.type ? null : reply.payload.replace(/\0$/, '');
      target.record({ kind: 'xenstore', domid, request, argument: readable(message.payload), error });
    };
    xenstored.traceEvent = (domid, event) => {
      const [path = '', token = ''] = event.payload.split('\0');
      target.record({ kind: 'watch', domid, path: readable(path), token: readable(token) });
    };
  }
  return () => {
    observer.sink = null;
    xenstored.trace = null;
    xenstored.traceEvent = null;
  };
}

/** A payload on one line: its parts apart, nothing in it that a terminal would act on. */
function readable(payload: string): string {
  const text = payload.slice(0, MAX_ARGUMENT).replace(/\0$/, '').replace(/\0/g, ' ');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\x00-\x1f\x7f-\xff]/g, '.') + (payload.length > MAX_ARGUMENT ? '...' : '');
}
