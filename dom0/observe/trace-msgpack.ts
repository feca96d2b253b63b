// A trace as msgpack, for programs: a sequence of maps, first one with a format name and a version, then ones with records as they are, last
// one with what is known at the end. Read with readTrace() or any msgpack decoder: nothing in it needs an extension.
import { pack, unpackMultiple } from 'msgpackr';
import type { NameOfDomain, Trace, TraceEncoder, TraceRecord } from './trace-event.ts';

export const TRACE_FORMAT = 'ringworld-trace';
/** Changed whenever a reader of the old version would misunderstand the new one. */
export const TRACE_VERSION = 1;

export function msgpackEncoder(nameOf: NameOfDomain): TraceEncoder {
  const domains: Record<number, string> = {};
  let dropped = 0;
  return {
    begin: () => pack({ format: TRACE_FORMAT, version: TRACE_VERSION, clock: 'ns of system time' }),
    records: (records, missed) => {
      dropped += missed;
      for (const { event } of records) if ('domid' in event) domains[event.domid] ??= nameOf(event.domid) ?? '';
      return pack({ missed, records });
    },
    end: () => pack({ domains, dropped }),
  };
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Throws where the bytes are no trace, or of another version. A trace that was cut off is read as far as it goes. */
export function readTrace(bytes: Uint8Array): Trace {
  const parts: unknown[] = [];
  unpackMultiple(bytes, (value: unknown) => {
    parts.push(value);
  });
  const [head, ...rest] = parts.filter(isMap);
  if (head?.format !== TRACE_FORMAT) throw new Error(`not a trace: its format is not ${TRACE_FORMAT}`);
  if (head.version !== TRACE_VERSION)
    throw new Error(`a trace of version ${String(head.version)}; this program reads version ${TRACE_VERSION}`);
  const records: TraceRecord[] = [];
  let domains: Trace['domains'] = {};
  let dropped = 0;
  for (const part of rest) {
    // SAFE: format and version say what the encoder above wrote.
    if (part.records !== undefined) for (const r of part.records as TraceRecord[]) records.push(r);
    if (part.domains !== undefined) domains = part.domains as Trace['domains'];
    dropped += Number(part.missed ?? 0);
  }
  return { domains, dropped, records };
}
