// A profile as tables.
import type { EngineStatistics } from '@ringworld/hypervisor';
import type { GuestLine } from './profile-guest.ts';
import type { Bucket } from './profile-host.ts';
import { table } from './tables.ts';

export interface ProfileFacts {
  readonly seconds: number;
  readonly host: readonly Bucket[];
  readonly guest: readonly GuestLine[];
  /** Cycles between two samples of the guest. */
  readonly every: number;
  readonly engine: EngineStatistics | null;
  readonly hasSymbols: boolean;
}

const GUEST_LINES = 30;
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const ms = (n: number): string => `${n.toFixed(0)} ms`;
/** A function is named where it has so much of the whole. */
const WORTH = 0.01;

export function profileReport(facts: ProfileFacts): string {
  const total = facts.host.reduce((sum, b) => sum + b.ms, 0);
  const parts = [`\nWhere the host's time went (${facts.seconds.toFixed(1)} s; this thread, without V8's compiler threads)\n`];
  const host = facts.host.flatMap((b): [string, string, string][] => [
    [b.name, ms(b.ms), percent(b.share)],
    ...b.functions
      .filter((f) => f.ms / total >= WORTH && !/^wasm-function/.test(f.name))
      .map((f): [string, string, string] => [`    ${f.name}`, ms(f.ms), percent(f.ms / total)]),
  ]);
  parts.push(table(['part', 'time', 'share'], host));
  if (facts.engine !== null) {
    const { jit, ...rest } = facts.engine;
    const counts = (o: object, prefix: string) => Object.entries(o).map(([k, v]): [string, string] => [`${prefix}${k}`, String(v)]);
    parts.push('\nThe engine\n', table(['count', ''], [...counts(rest, ''), ...counts(jit ?? {}, 'jit.')]));
  }
  const samples = facts.guest.reduce((n, l) => n + l.samples, 0);
  parts.push(`\nWhere the guest was (${samples} samples, one each ${facts.every} cycles)\n`);
  if (!facts.hasSymbols) parts.push("By page: --system-map=FILE (a System.map, the guest's /proc/kallsyms, or an ELF file) gives names.\n");
  const guest = facts.guest
    .slice(0, GUEST_LINES)
    .map((l): [string, string, string, string] => [l.name, String(l.samples), percent(l.share), ms(l.ms)]);
  parts.push(table(['symbol', 'samples', 'share', 'host time'], guest));
  return `${parts.join('\n')}\n`;
}
