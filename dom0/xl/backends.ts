// Which backends dom0 runs, and what of the host each gets.
import type { Dom0 } from '../kernel/dom0.ts';

/** Called once, when the machine is switched on: every driver registers with dom0.backends. */
export function startBackends(_dom0: Dom0): void {}
