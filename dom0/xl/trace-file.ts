// A trace into a file of the host, while the machine runs: the recorder is emptied whenever it is full, so that nothing is lost and memory
// stays bounded.
import { closeSync, openSync, writeSync } from 'node:fs';
import { formatOf, parseClasses, TRACE_CLASSES, TRACE_ENCODERS, type TraceClass } from '../observe/index.ts';
import type { Tracing } from './tracing.ts';
import { UserError } from './user-error.ts';

/** Records between two writes. */
const BATCH = 1 << 14;

/** Begins at once; returns what ends the file, to be called when the machine stands. Throws where the file cannot be written. */
export function traceToFile(tracing: Tracing, file: string, classes?: ReadonlySet<TraceClass>): () => void {
  const fd = open(file);
  const trace = tracing.start({ capacity: BATCH, ...(classes === undefined ? {} : { classes }) });
  const { recorder } = trace;
  const encoder = TRACE_ENCODERS[formatOf(file)](trace.nameOf);
  const write = (part: string | Uint8Array) => {
    if (part.length > 0) writeSync(fd, typeof part === 'string' ? Buffer.from(part) : part);
  };
  let position = 0;
  const take = () => {
    const { records, next, missed } = recorder.read(position);
    position = next;
    if (records.length > 0) write(encoder.records(records, missed));
  };
  recorder.onFull = take;
  write(encoder.begin());
  return () => {
    trace.close();
    take();
    write(encoder.end());
    closeSync(fd);
  };
}

function open(file: string): number {
  try {
    return openSync(file, 'w');
  } catch (e) {
    throw new UserError(`--trace=${file}: ${e instanceof Error ? e.message : String(e)}`);
  }
}

/** The value of --trace-events. */
export function traceClasses(text: string | null): ReadonlySet<TraceClass> | undefined {
  if (text === null) return undefined;
  const classes = parseClasses(text);
  if (classes === null) throw new UserError(`--trace-events=${text}: there are ${TRACE_CLASSES.join(', ')}`);
  return classes;
}
