// The reading tour: collects the tagged comments of the sources, in order, into TOUR.md. A stop is a comment
//
//   // TOUR <chapter> <number>: text, going on over
//   // the comment lines that follow.
//
// `npm run tour` writes TOUR.md; tour.spec.ts fails when it is out of date.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

const CHAPTERS: Readonly<Record<string, string>> = {
  hypercall: 'Chapter 1: a hypercall, from the guest’s instruction to its answer',
  add: 'Chapter 2: the life of an ADD, from its bytes to compiled code',
  block: 'Chapter 3: a block read across the ring',
};

interface Stop {
  readonly chapter: string;
  readonly number: number;
  readonly file: string;
  readonly text: string;
}

function sources(dir: string): string[] {
  return readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) => {
    if (e.name === 'node_modules') return [];
    const path = join(dir, e.name);
    return e.isDirectory() ? sources(path) : e.name.endsWith('.ts') && !e.name.endsWith('.spec.ts') ? [path] : [];
  });
}

const TAG = /^\s*\/\/ TOUR (\w+) (\d+): (.*)$/;

function stopsIn(file: string): Stop[] {
  const lines = readFileSync(join(root, file), 'utf8').split('\n');
  return lines.flatMap((line, i) => {
    const m = TAG.exec(line);
    if (m === null) return [];
    const text = [m[3]!];
    for (let j = i + 1; /^\s*\/\/ /.test(lines[j] ?? '') && !TAG.test(lines[j]!); j++) text.push(lines[j]!.trim().slice(3));
    return [{ chapter: m[1]!, number: Number(m[2]), file, text: text.join(' ') }];
  });
}

/** The text of TOUR.md. Throws on a chapter that is not known and on a number used twice. */
export function tour(): string {
  const stops = ['abi', 'hypervisor', 'dom0', 'guests'].flatMap((d) => sources(d).flatMap(stopsIn));
  const out = [
    '# The reading tour',
    '',
    'Made from tagged comments in the sources by `npm run tour`; do not edit. Open the files beside it and read along.',
    '',
  ];
  for (const chapter of new Set(stops.map((s) => s.chapter)))
    if (!(chapter in CHAPTERS)) throw new Error(`TOUR chapter '${chapter}' has no title`);
  for (const [chapter, title] of Object.entries(CHAPTERS)) {
    out.push(`## ${title}`, '');
    const own = stops.filter((s) => s.chapter === chapter).sort((a, b) => a.number - b.number);
    own.forEach((s, i) => {
      if (i > 0 && own[i - 1]!.number === s.number) throw new Error(`TOUR ${chapter} ${s.number} stands twice`);
      out.push(`${i + 1}. [${s.file}](${s.file}) — ${s.text}`);
    });
    out.push('');
  }
  return out.join('\n');
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) writeFileSync(join(root, 'TOUR.md'), tour());
