// SIGINT, SIGTERM and SIGHUP under Node: the first asks for an end in good order, the second ends the process at once.
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interrupts {
  /** 128 + the number of the signal that came, as shells have it; null when none did. */
  readonly exitCode: number | null;
  /** Signals do again what they did. */
  stop(): void;
}

export function onInterrupt(asked: () => void): Interrupts {
  let exitCode: number | null = null;
  const handler = (signal: (typeof SIGNALS)[number]) => {
    if (exitCode !== null) process.exit(128 + constants.signals[signal]);
    exitCode = 128 + constants.signals[signal];
    asked();
  };
  for (const s of SIGNALS) process.on(s, handler);
  return {
    get exitCode() {
      return exitCode;
    },
    stop: () => {
      for (const s of SIGNALS) process.off(s, handler);
    },
  };
}
