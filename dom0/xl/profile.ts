// `ringworld profile`: runs `create` or `bare` and tells where the host's time went, by part of the emulator; and where the guest was, by
// its own symbols.
//
// Two instruments. V8's sampling profiler (node:inspector) knows the TypeScript functions and the generated modules, which are named after
// what they are; it sees this thread alone, not V8's own compiler threads beside it. And each CPU is stopped at multiples of a fixed number
// of virtual cycles, where its RIP is noted: always at the same points, so that two profiles of one guest are the same.
import { type Profiler, Session } from 'node:inspector/promises';
import type { Machine } from '@ringworld/hypervisor';
import { type GuestSample, guestProfile, watchGuest } from './profile-guest.ts';
import { bucketsOf } from './profile-host.ts';
import { profileReport } from './profile-report.ts';
import { sourceFinder } from './profile-source.ts';
import { readSymbols } from './symbols.ts';
import { UserError } from './user-error.ts';

/** Microseconds between two samples of the host. */
const INTERVAL_US = 500;
const DEFAULT_EVERY = 50_000;

export async function profile(args: string[]): Promise<number> {
  const [first, ...others] = args;
  const isBare = first === 'bare';
  const { own, rest } = ownOptions(isBare || first === 'create' ? others : args);
  if (rest.some((a, i) => a === '--engine=both' || (a === 'both' && rest[i - 1] === '--engine')))
    throw new UserError('profile: --engine both runs two machines: profile one of them');
  const symbols = own.systemMap === null ? null : readSymbols(own.systemMap, []);
  const samples: GuestSample[] = [];
  const machines: Machine[] = [];
  const observe = (machine: Machine) => {
    machines.push(machine);
    watchGuest(machine, own.every, samples);
  };
  const run = isBare ? (await import('./bare.ts')).bare : (await import('./create.ts')).create;
  if (!isBare && !rest.some((a) => /^(-F|-c|--foreground|--console|-[a-zA-Z]*[Fc][a-zA-Z]*)$/.test(a))) rest.unshift('-F');

  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: INTERVAL_US });
  await session.post('Profiler.start');
  const start = performance.now();
  let code: number;
  let recorded: Profiler.Profile;
  try {
    code = await run(rest, observe);
  } finally {
    recorded = (await session.post('Profiler.stop')).profile;
    session.disconnect();
  }
  const facts = {
    seconds: (performance.now() - start) / 1000,
    host: bucketsOf(recorded, sourceFinder()),
    guest: guestProfile(samples, symbols),
    every: own.every,
    engine: machines.at(-1)?.engine.statistics ?? null,
    hasSymbols: symbols !== null,
  };
  // The guest's console has standard output; a report goes beside it, or into a file.
  if (own.json !== null) (await import('node:fs')).writeFileSync(own.json, `${JSON.stringify(facts, null, 2)}\n`);
  process.stderr.write(profileReport(facts));
  return code;
}

interface OwnOptions {
  readonly systemMap: string | null;
  readonly every: number;
  readonly json: string | null;
}

/** Takes --system-map, --every and --profile-json out; all else is for the command that is profiled. */
function ownOptions(args: readonly string[]): { own: OwnOptions; rest: string[] } {
  const rest: string[] = [];
  const found = new Map<string, string>();
  for (let i = 0; i < args.length; i++) {
    const [, name, value] = /^--(system-map|every|profile-json)(?:=(.*))?$/.exec(args[i]!) ?? [];
    if (name === undefined) rest.push(args[i]!);
    else {
      const text = value ?? args[++i];
      if (text === undefined) throw new UserError(`profile: --${name} needs a value`);
      found.set(name, text);
    }
  }
  const every = Number(found.get('every') ?? DEFAULT_EVERY);
  if (!Number.isInteger(every) || every < 100)
    throw new UserError(`profile: --every ${found.get('every')}: a number of cycles, 100 at least`);
  return { own: { systemMap: found.get('system-map') ?? null, every, json: found.get('profile-json') ?? null }, rest };
}
