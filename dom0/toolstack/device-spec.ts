// What the settings of simple devices have in common: `key=value` pairs with commas between them (xl_parse.c, MATCH_OPTION).
import type { Device } from './device.ts';

/** In xl's words where xl has some. */
export class DeviceSpecError extends Error {
  override readonly name = 'DeviceSpecError';
}

export interface ParsedDevices {
  readonly devices: readonly Device[];
  /** One line each. */
  readonly warnings: readonly string[];
}

/** Throws DeviceSpecError for keys that are not among `known`. */
export function parsePairs(text: string, known: readonly string[]): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const token of text.split(',').map((t) => t.trim())) {
    if (token === '') continue;
    const [, key, value] = /^([a-z_-]+)=(.*)$/.exec(token) ?? [];
    if (key === undefined || value === undefined || !known.includes(key)) throw new DeviceSpecError(`unrecognized argument \`${token}'`);
    pairs.set(key, value);
  }
  const backend = pairs.get('backend') ?? '0';
  if (backend !== '0' && backend !== 'Domain-0') throw new DeviceSpecError(`backend=${backend}: driver domains are not supported yet`);
  return pairs;
}

/** A number of a pair; null where it is not set. */
export function pairNumber(pairs: ReadonlyMap<string, string>, key: string, min: number, max: number): number | null {
  const text = pairs.get(key);
  if (text === undefined) return null;
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new DeviceSpecError(`${key}=${text}: a number from ${min} to ${max} is wanted`);
  return value;
}

/** A flag as xl takes it: a number that is 0 or is not. */
export const pairFlag = (pairs: ReadonlyMap<string, string>, key: string, fallback: boolean): boolean =>
  pairs.has(key) ? pairNumber(pairs, key, 0, 0xffffffff) !== 0 : fallback;

/** The pairs of these keys that are set, as nodes. */
export const pairNodes = (pairs: ReadonlyMap<string, string>, keys: readonly string[]): Record<string, string> =>
  Object.fromEntries(keys.flatMap((k) => (pairs.has(k) ? [[k, pairs.get(k)!]] : [])));
