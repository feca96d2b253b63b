// What a trace is made of: plain records on one axis of virtual time. Backends say what happens on their rings (SplitEvent), the store
// daemon its messages, the hypervisor what guests' vCPUs do. The last group comes from xl/trace-hypervisor.ts, the only place that can see it.
import type { SplitEvent } from '../kernel/observe.ts';

/** RUNSTATE_* of vcpu.h. */
export type RunstateName = 'running' | 'runnable' | 'blocked' | 'offline';

export type HypervisorEvent =
  | {
      readonly kind: 'hypercall';
      readonly domid: number;
      readonly vcpu: number;
      readonly name: string;
      /** GNTTABOP_copy and its like, where the hypercall has such. */
      readonly op: string | null;
      /** Null where none is given: iret, or a call that is made again. */
      readonly result: number | null;
    }
  /** An event was sent from one domain's port to another's. */
  | {
      readonly kind: 'send';
      readonly domid: number;
      readonly vcpu: number;
      readonly port: number;
      readonly toDomid: number;
      readonly toVcpu: number;
      readonly toPort: number;
    }
  | { readonly kind: 'runstate'; readonly domid: number; readonly vcpu: number; readonly state: RunstateName };

export type StoreEvent =
  /** A request of xs_wire.h and what came of it: null for success, else the error's name. */
  | {
      readonly kind: 'xenstore';
      readonly domid: number;
      readonly request: string;
      readonly argument: string;
      readonly error: string | null;
    }
  /** A watch event that a client was sent. */
  | { readonly kind: 'watch'; readonly domid: number; readonly path: string; readonly token: string };

export type TraceEvent = SplitEvent | HypervisorEvent | StoreEvent;

export interface TraceRecord {
  /** System time, ns. Clocks of two CPUs differ by less than one window of the run loop: only records of one vCPU are in order. */
  readonly at: number;
  readonly event: TraceEvent;
}

/** What can be left out. */
export const TRACE_CLASSES = ['ring', 'store', 'event', 'hypercall', 'run'] as const;
export type TraceClass = (typeof TRACE_CLASSES)[number];

const CLASS_OF = {
  request: 'ring',
  response: 'ring',
  notify: 'ring',
  kick: 'ring',
  grant: 'ring',
  state: 'ring',
  deliver: 'event',
  send: 'event',
  hypercall: 'hypercall',
  runstate: 'run',
  xenstore: 'store',
  watch: 'store',
} as const satisfies Record<TraceEvent['kind'], TraceClass>;

export const classOf = (event: TraceEvent): TraceClass => CLASS_OF[event.kind];

/** 'ring,store' and the like; null where a word is none of the classes. */
export function parseClasses(text: string): ReadonlySet<TraceClass> | null {
  const words = text.split(',');
  const known = TRACE_CLASSES.filter((c) => words.includes(c));
  return words.every((w) => (TRACE_CLASSES as readonly string[]).includes(w)) ? new Set(known) : null;
}

/** What a written trace says about itself, and what it holds. */
export interface Trace {
  /** Names of domains by id. */
  readonly domains: Readonly<Record<number, string>>;
  /** How many records there were before the first one here, which were overwritten. */
  readonly dropped: number;
  readonly records: readonly TraceRecord[];
}

/** Names of domains, for who reads a trace; null for one that is not known. */
export type NameOfDomain = (domid: number) => string | null;

/** Writes a trace as it comes: begin() once, records() as often as there are some, end() once. */
export interface TraceEncoder {
  begin(): string | Uint8Array;
  /** `missed`: how many records before these were overwritten before they could be written. */
  records(records: readonly TraceRecord[], missed: number): string | Uint8Array;
  end(): string | Uint8Array;
}

/** Where sources put what happens: the time is now, or one of the event's own. */
export interface TraceTarget {
  record(event: TraceEvent): void;
  recordAt(at: number, event: TraceEvent): void;
}
