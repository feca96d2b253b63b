// Looking at split drivers from outside: traces that go to whoever asked, and rings as they are.
import { DumpError, dumpRings, TRACE_CLASSES, TRACE_ENCODERS, TRACE_FORMATS } from '../observe/index.ts';
import type { Host } from './host.ts';
import { domainOf, type Handlers } from './host-handlers.ts';
import { Tracing } from './tracing.ts';
import { UserError } from './user-error.ts';

/** How often a client is sent what there is: of the host's time, since virtual time may stand. */
const SEND_MS = 100;
/** Records in one message at most. */
const PORTION = 4096;

const tracings = new WeakMap<Host, Tracing>();

/** All traces of one machine share its hooks. */
export function tracingOf(host: Host): Tracing {
  let tracing = tracings.get(host);
  if (tracing === undefined) {
    tracing = new Tracing(host);
    tracings.set(host, tracing);
  }
  return tracing;
}

export const traceHandlers: Handlers<'trace' | 'dumpRing'> = {
  /** Until it is taken back. A client that is too slow loses the oldest records, and is told how many. */
  trace: (m, call) => {
    const format = call.args.oneOf('format', TRACE_FORMATS);
    const wanted = call.args.texts('classes');
    const chosen = TRACE_CLASSES.filter((c) => Object.hasOwn(wanted, c));
    const trace = tracingOf(m.host).start({ classes: new Set(chosen.length === 0 ? TRACE_CLASSES : chosen) });
    const { recorder } = trace;
    const encoder = TRACE_ENCODERS[format](trace.nameOf);
    const encode = new TextEncoder();
    const emit = (part: string | Uint8Array) => {
      if (part.length > 0) call.emit(typeof part === 'string' ? encode.encode(part) : part);
    };
    let position = recorder.position;
    let missed = 0;
    let sent = 0;
    const send = (isLast: boolean) => {
      while (isLast || call.room() > 0) {
        const part = recorder.read(position, PORTION);
        if (part.records.length === 0) return;
        position = part.next;
        missed += part.missed;
        sent += part.records.length;
        emit(encoder.records(part.records, part.missed));
      }
    };
    emit(encoder.begin());
    const timer = setInterval(() => send(false), SEND_MS);
    return new Promise((done) => {
      call.onCancel(() => {
        clearInterval(timer);
        trace.close();
        send(true);
        emit(encoder.end());
        done({ records: sent, missed });
      });
    });
  },

  dumpRing: (m, call) => {
    const { domid } = domainOf(m, call.args);
    const history = call.args.integerOrNull('history', 0, 65536);
    try {
      return dumpRings(m.host.toolstack.dom0, domid, call.args.string('device'), history === null ? {} : { history });
    } catch (e) {
      if (e instanceof DumpError) throw new UserError(`dump ring: ${e.message}`);
      throw e;
    }
  },
};
