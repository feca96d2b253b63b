// What `create` and `bare` share when they run in lockstep: the terminal, whose input both twins get at the same cycle, and the verdict.
import type { LockstepEnd } from './lockstep.ts';
import { lockstepReport } from './lockstep-report.ts';
import { Keyboard } from './node-terminal.ts';
import type { SymbolAt } from './symbols.ts';
import { EXIT } from './user-error.ts';

const NAP_MS = 200;

export const deadlineOf = (timeoutSeconds: number | null): number =>
  timeoutSeconds === null ? Number.POSITIVE_INFINITY : performance.now() + timeoutSeconds * 1000;

/** Keeps what is typed until the twins are between two windows. */
export class Terminal {
  private readonly keyboard: Keyboard;
  private held: Uint8Array[] = [];

  constructor() {
    this.keyboard = new Keyboard({
      typed: (bytes) => void this.held.push(Uint8Array.from(bytes)),
      backlog: () => this.held.reduce((n, t) => n + t.length, 0),
      left: () => process.exit(EXIT.ok),
    });
  }
  take(): Uint8Array | null {
    if (this.held.length === 0) return null;
    const all = Buffer.concat(this.held);
    this.held = [];
    return all;
  }
  /** For twins that wait for input: false when none can come. */
  async wait(): Promise<boolean> {
    while (this.held.length === 0 && this.keyboard.canWake()) await this.keyboard.wait(NAP_MS);
    return this.held.length > 0;
  }
  close(): void {
    this.keyboard.close();
  }
}

/** Says what was found; the exit code. */
export function tellDifference(end: Extract<LockstepEnd, { kind: 'differs' }>, json: boolean, symbolAt: SymbolAt): number {
  const named = (x: { readonly rip: number }) => ({ ...x, symbol: symbolAt(x.rip) });
  if (json) process.stdout.write(`${JSON.stringify({ ...end, steps: end.steps.map(named), at: end.at.map(named) }, null, 2)}\n`);
  else process.stderr.write(`\nringworld: ${lockstepReport(end, symbolAt)}`);
  return EXIT.differs;
}
