// Which source a line of a bundle came from: esbuild writes the path of each module above it (bundle.mjs).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { SourceOf } from './profile-host.ts';

interface Start {
  readonly line: number;
  readonly path: string;
}

/** The modules of a bundle by their first lines. */
export function modulesOf(text: string): Start[] {
  const starts: Start[] = [];
  text.split('\n').forEach((content, line) => {
    const path = /^\/\/ ((?:abi|hypervisor|dom0|guests)\/\S+\.ts)$/.exec(content)?.[1];
    if (path !== undefined) starts.push({ line, path });
  });
  return starts;
}

export function sourceFinder(): SourceOf {
  const bundles = new Map<string, readonly Start[]>();
  return (url, line) => {
    if (!/^file:.*\/\.cache\/.*\.mjs$/.test(url)) return url;
    let starts = bundles.get(url);
    if (starts === undefined) {
      starts = modulesOf(readFileSync(fileURLToPath(url), 'utf8'));
      bundles.set(url, starts);
    }
    return starts.findLast((s) => s.line <= line)?.path ?? url;
  };
}
