// The traces that people take of one machine: they share its hooks, and each has its own recorder. While there is none, the hooks are null.
import {
  attachDom0,
  classOf,
  DEFAULT_CAPACITY,
  type NameOfDomain,
  TRACE_CLASSES,
  type TraceClass,
  type TraceEvent,
  TraceRecorder,
  type TraceTarget,
} from '../observe/index.ts';
import type { Host } from './host.ts';
import { attachHypervisor } from './trace-hypervisor.ts';

export interface OpenTrace {
  readonly recorder: TraceRecorder;
  readonly nameOf: NameOfDomain;
  close(): void;
}

export interface TraceOptions {
  /** Everything unless told. */
  readonly classes?: ReadonlySet<TraceClass>;
  /** Records that are kept for a reader that comes late. */
  readonly capacity?: number;
}

export class Tracing implements TraceTarget {
  private readonly host: Pick<Host, 'hv' | 'toolstack'>;
  private readonly open = new Map<TraceRecorder, ReadonlySet<TraceClass>>();
  /** Kept beyond a domain's life. */
  private readonly names = new Map<number, string>();
  private detach = () => {};

  constructor(host: Pick<Host, 'hv' | 'toolstack'>) {
    this.host = host;
  }

  start(options: TraceOptions = {}): OpenTrace {
    const recorder = new TraceRecorder(() => this.host.hv.now(), options.capacity ?? DEFAULT_CAPACITY);
    this.open.set(recorder, options.classes ?? new Set(TRACE_CLASSES));
    this.attach();
    return {
      recorder,
      nameOf: (domid) => this.names.get(domid) ?? null,
      close: () => {
        if (this.open.delete(recorder)) this.attach();
      },
    };
  }

  record(event: TraceEvent): void {
    this.recordAt(this.host.hv.now(), event);
  }

  recordAt(at: number, event: TraceEvent): void {
    if ('domid' in event && !this.names.has(event.domid)) this.learnName(event.domid);
    const own = classOf(event);
    for (const [recorder, classes] of this.open) if (classes.has(own)) recorder.recordAt(at, event);
  }

  /** Asked of the toolstack, not of the store: that would be traced. */
  private learnName(domid: number): void {
    const name = domid === 0 ? 'Domain-0' : [...this.host.toolstack.domains.values()].find((d) => d.domid === domid)?.config.name;
    if (name !== undefined) this.names.set(domid, name);
  }

  private attach(): void {
    this.detach();
    this.detach = () => {};
    if (this.open.size === 0) return;
    const { hv, toolstack } = this.host;
    const classes = new Set([...this.open.values()].flatMap((c) => [...c]));
    const parts = [attachDom0(toolstack.dom0, this, classes), attachHypervisor(hv, this, classes)];
    this.detach = () => {
      for (const stop of parts) stop();
    };
  }
}
