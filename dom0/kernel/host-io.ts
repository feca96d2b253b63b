// Host I/O in virtual time. How long a disk or a wire takes is a model's to say, so that a run repeats to the cycle: an operation that was
// started at virtual time t with latency d is over at t + d, whatever the host did meanwhile. Where the host is slower than the model,
// virtual time stands and waits for it (DomainPort.hold); where it is faster, the result waits.
import type { DomainPort } from '@ringworld/abi';
import type { Timers } from './timers.ts';

/** What a host operation came to: a value, or the host's error, which is no exception here. */
export type HostResult<T> = { readonly value: T } | { readonly error: Error };

interface Operation {
  readonly due: number;
  readonly finish: () => void;
  settled: boolean;
}

export class HostIo {
  private readonly port: DomainPort;
  private readonly timers: Timers;
  /** By the time at which they are over; equal ones in the order of their start. */
  private readonly pending: Operation[] = [];
  private release: (() => void) | null = null;
  private readonly afterwards: (() => void)[] = [];
  /** Called when virtual time goes on after it stood: dom0 goes on where it stopped. */
  onRelease: () => void = () => {};

  constructor(port: DomainPort, timers: Timers) {
    this.port = port;
    this.timers = timers;
  }

  /** Whether virtual time stands because of an operation. */
  get isHolding(): boolean {
    return this.release !== null;
  }

  /** How many operations are not over. */
  get inFlight(): number {
    return this.pending.length;
  }

  /**
   * `work` has been started on the host (or is done, when it is no promise). `done` is called `latencyNs` of virtual time from now, never
   * before this returns, and in the same order in every run.
   */
  start<T>(work: Promise<T> | T, latencyNs: number, done: (result: HostResult<T>) => void): void {
    let result: HostResult<T> | null = null;
    const operation: Operation = {
      due: this.timers.now() + Math.max(0, Math.ceil(latencyNs)),
      finish: () => done(result!),
      settled: false,
    };
    const settle = (r: HostResult<T>) => {
      result = r;
      operation.settled = true;
    };
    if (work instanceof Promise) {
      const late = (r: HostResult<T>) => {
        settle(r);
        // Nobody waits for it yet, unless the machine stands.
        if (this.release !== null) this.finishDue();
      };
      work.then(
        (value) => late({ value }),
        (e: unknown) => late({ error: e instanceof Error ? e : new Error(String(e)) }),
      );
    } else settle({ value: work });
    const at = this.pending.findIndex((o) => o.due > operation.due);
    this.pending.splice(at < 0 ? this.pending.length : at, 0, operation);
    this.timers.after(latencyNs, () => this.finishDue());
  }

  /**
   * Within a `done`: calls `fn` once, when all that is over at this moment of virtual time has been told. So a backend can answer what
   * finished together with one event, one hypercall.
   */
  atEnd(fn: () => void): void {
    this.afterwards.push(fn);
  }

  // TOUR block 60: An operation that by the model is over and on the host is not makes virtual time stand. So a slow host makes a slow run, and
  // the same one.
  /** Finishes what is over, in order, up to the first that the host has not done; for that one the machine stands. */
  private finishDue(): void {
    const now = this.timers.now();
    for (let first = this.pending[0]; first !== undefined && first.due <= now; first = this.pending[0]) {
      if (!first.settled) {
        // Nobody is told of the others late because of this one: what follows `done` is not to depend on the host.
        this.release ??= this.port.hold();
        return;
      }
      this.pending.shift();
      first.finish();
    }
    const { release } = this;
    release?.();
    this.release = null;
    for (const fn of this.afterwards.splice(0)) fn();
    if (release !== null) this.onRelease();
  }
}
