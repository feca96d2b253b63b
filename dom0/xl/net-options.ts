// What the command line says about the network of a machine: `--uplink`, `--capture` and `--wire`, of `create -F` and of `host`.
import type { CaptureTarget } from '../switch/capture.ts';
import { parseWire, type Wire } from '../switch/wire.ts';
import { parseUplink, type UplinkSpec } from './uplink-spec.ts';
import { UserError } from './user-error.ts';

export interface CaptureSpec {
  readonly file: string;
  /** See captureTarget(); null for all bridges. */
  readonly target: string | null;
}

export interface NetOptions {
  readonly uplinks: readonly UplinkSpec[];
  readonly captures: readonly CaptureSpec[];
  /** By bridge; '*' for all others. */
  readonly wires: readonly { readonly bridge: string; readonly wire: Wire }[];
}

export interface NetArguments {
  readonly uplink?: readonly string[];
  readonly capture?: readonly string[];
  readonly wire?: readonly string[];
}

/** Throws UserError. */
export function parseNetOptions(given: NetArguments): NetOptions {
  return {
    uplinks: (given.uplink ?? []).map(parseUplink),
    captures: (given.capture ?? []).map(parseCapture),
    wires: (given.wire ?? []).map(parseWireOption),
  };
}

/** FILE, FILE,BRIDGE or FILE,DOMAIN/DEVID. */
function parseCapture(text: string): CaptureSpec {
  const comma = text.lastIndexOf(',');
  const file = comma < 0 ? text : text.slice(0, comma);
  const target = comma < 0 ? null : text.slice(comma + 1);
  if (file === '') throw new UserError(`--capture=${text}: which file?`);
  if (file === '-') throw new UserError(`--capture=${text}: standard output is the consoles'`);
  if (target === '') throw new UserError(`--capture=${text}: which bridge, or DOMAIN/DEVID?`);
  return { file, target };
}

/** [BRIDGE:]WIRE */
function parseWireOption(text: string): { bridge: string; wire: Wire } {
  const colon = text.indexOf(':');
  const wire = parseWire(text.slice(colon + 1));
  if (wire === null || colon === 0)
    throw new UserError(`--wire=${text}: [BRIDGE:]ideal, or a rate, delay=TIME and limit=PACKETS (1Gb/s,delay=50us,limit=1000)`);
  return { bridge: colon < 0 ? '*' : text.slice(0, colon), wire };
}

/**
 * `null` is everything, 'xenbr0' a bridge, 'web/0' or '3/0' a domain's interface by devid: that of whichever domain has the name or id when it
 * appears, so that a restarted domain is followed. `portOf` gives the name of the port of an interface that is there.
 */
export function captureTarget(text: string | null, portOf: (domain: string, devid: number) => string | null): CaptureTarget {
  if (text === null) return { kind: 'all' };
  const slash = text.lastIndexOf('/');
  if (slash < 0) return { kind: 'bridge', bridge: text };
  const [domain, devid] = [text.slice(0, slash), text.slice(slash + 1)];
  if (domain === '' || !/^\d+$/.test(devid)) throw new UserError(`${text}: a bridge, or DOMAIN/DEVID, can be captured`);
  return { kind: 'port', isPort: (name) => name === portOf(domain, Number(devid)) };
}
