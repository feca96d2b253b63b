// Which file a trace becomes, by its name.
import { chromeEncoder } from './trace-chrome.ts';
import type { NameOfDomain, Trace, TraceEncoder } from './trace-event.ts';
import { msgpackEncoder } from './trace-msgpack.ts';
import { textEncoder } from './trace-text.ts';

export const TRACE_FORMATS = ['json', 'txt', 'msgpack'] as const;
export type TraceFormat = (typeof TRACE_FORMATS)[number];

export const TRACE_ENCODERS = {
  json: chromeEncoder,
  txt: textEncoder,
  msgpack: msgpackEncoder,
} as const satisfies Record<TraceFormat, (nameOf: NameOfDomain) => TraceEncoder>;

/** By the ending; Chrome's JSON where there is none of these. */
export const formatOf = (file: string): TraceFormat => TRACE_FORMATS.find((f) => file.endsWith(`.${f}`)) ?? 'json';

/** A trace that is there in whole. */
export function encodeTrace(trace: Trace, format: TraceFormat): (string | Uint8Array)[] {
  const encoder = TRACE_ENCODERS[format]((domid) => trace.domains[domid] ?? null);
  return [encoder.begin(), encoder.records(trace.records, trace.dropped), encoder.end()];
}
