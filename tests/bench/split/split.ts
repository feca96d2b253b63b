// `npm run bench -- split`, and `ringworld bench split`: what each choice in the design of a split driver comes to, for block and net.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { CPU_PROFILES, type CpuProfile, DEFAULT_PROFILE } from '@ringworld/dom0';
import { blockChoices } from './block.ts';
import { linuxChoices } from './linux.ts';
import type { Choice, Measured } from './measure.ts';
import { netChoices } from './net.ts';
import { LEGEND, shapesTable, splitJson, splitTable } from './report.ts';
import { shapesOf } from './shapes.ts';

const ROOT = join(import.meta.dirname, '../../..');

const USAGE = `Usage: ringworld bench split [block] [net] [linux] [FILTER] [OPTIONS]

Runs the same work over each choice in a split driver's design, in virtual time: page flipping, grant copy, persistent or static grants,
mapping; events for each request or as the event indices ask; ring sizes; one queue or many. Prints operations, latency, events, hypercalls,
grant operations, copies and cycles for each, and which shapes known from print came out. The figures are the same on every machine.

  block, net        with frontends of our own, which are TypeScript domains
  linux             the choices that a stock Linux frontend sees (Debian's cloud kernel, fetched with apt)
  FILTER            only choices with this in their name
  --requests=N      for each choice of block and net (2000)
  --cpu=PROFILE     whose prices: ${CPU_PROFILES.join(', ')} (${DEFAULT_PROFILE})
  --json=FILE       where the figures go (out/bench-split.json)
`;

const SECTIONS = ['block', 'net', 'linux'] as const;

/** Returns the exit code. */
export async function split(args: string[]): Promise<number> {
  let values: { requests?: string; cpu?: string; json?: string; help?: boolean };
  let positionals: string[];
  try {
    const text = { type: 'string' } as const;
    const options = { requests: text, cpu: text, json: text, help: { type: 'boolean' } } as const;
    ({ values, positionals } = parseArgs({ args, allowPositionals: true, options }));
  } catch (e) {
    return wrong(e instanceof Error ? e.message : String(e));
  }
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const requests = Number(values.requests ?? 2000);
  if (!Number.isInteger(requests) || requests < 1) return wrong(`--requests=${values.requests}: a whole number is needed`);
  const profile = CPU_PROFILES.find((p) => p === (values.cpu ?? DEFAULT_PROFILE));
  if (profile === undefined) return wrong(`--cpu=${values.cpu}: there are ${CPU_PROFILES.join(', ')}`);
  const named = SECTIONS.filter((s) => positionals.includes(s));
  const filters = positionals.filter((p) => !(SECTIONS as readonly string[]).includes(p));
  if (filters.length > 1) return wrong(`one filter at most, not ${filters.join(' and ')}`);
  const wanted = (c: Choice) => `${c.group} ${c.name} ${c.workload}`.includes(filters[0] ?? '');
  const rows = await run(named.length === 0 ? SECTIONS : named, requests, wanted, profile);
  if (rows.length === 0) return wrong('nothing of that name');
  const shapes = shapesOf(rows);
  console.log(`\n${splitTable(rows)}\n\n${LEGEND}\n`);
  if (shapes.length > 0) console.log(`Shapes known from print (shared/facts/numbers.md): did they come out?\n\n${shapesTable(shapes)}\n`);
  const file = values.json ?? join(ROOT, 'out/bench-split.json');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, splitJson(rows, shapes, { requests, profile }));
  console.log(`written to ${file}`);
  return 0;
}

async function run(
  sections: readonly (typeof SECTIONS)[number][],
  requests: number,
  wanted: (c: Choice) => boolean,
  profile: CpuProfile,
): Promise<Measured[]> {
  const rows: Measured[] = [];
  if (sections.includes('block')) rows.push(...blockChoices(requests, wanted, profile));
  if (sections.includes('net')) rows.push(...netChoices(requests, wanted, profile));
  if (sections.includes('linux')) rows.push(...(await linuxChoices(wanted, profile, (line) => console.log(`  ${line}`))));
  return rows;
}

function wrong(message: string): number {
  console.error(`bench split: ${message}`);
  return 1;
}
