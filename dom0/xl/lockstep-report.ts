// What a lockstep found, for a reader: the differing fields in three columns, and the instructions that ran since the engines agreed.
import type { Differences, LockstepEnd, Step } from './lockstep.ts';
import type { SymbolAt } from './symbols.ts';

type Found = Extract<LockstepEnd, { kind: 'differs' }>;

/** Steps shown before the last. */
const STEPS_SHOWN = 24;

export const address = (n: number): string => BigInt.asUintN(64, BigInt(n)).toString(16).padStart(16, '0');

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  return rows.map((r) => `  ${r.map((cell, i) => cell.padEnd(widths[i]!)).join('  ')}`.trimEnd());
}

function fieldRows({ contexts, cycles, ends, ram }: Differences): string[][] {
  const rows: string[][] = [];
  if (ends !== null) rows.push(['end', ...ends]);
  if (cycles !== null) rows.push(['cycles', ...cycles.map(String)]);
  for (const { context, fields } of contexts) for (const f of fields) rows.push([`${context} ${f.field}`, f.a, f.b]);
  const word = (n: number) => n.toString(16).padStart(8, '0');
  for (const w of ram.first) rows.push([`memory ${w.at.toString(16).padStart(9, '0')}`, word(w.a), word(w.b)]);
  if (ram.count > ram.first.length) rows.push([`and ${ram.count - ram.first.length} more words of memory`, '', '']);
  return rows;
}

/** Of each differing field the step that wrote it last: the one to look at. */
function writers(found: Found): Map<Step, string[]> {
  const by = new Map<Step, string[]>();
  for (const { context, fields } of found.differences.contexts)
    for (const { field } of fields) {
      const step = found.steps.findLast((s) => s.context === context && (field === 'rip' || s.changed.includes(field)));
      if (step !== undefined) by.set(step, [...(by.get(step) ?? []), field]);
    }
  return by;
}

export function lockstepReport(found: Found, symbolAt: SymbolAt): string {
  const where = (rip: number) => {
    const symbol = symbolAt(rip);
    return `${address(rip)}${symbol === null ? '' : ` <${symbol}>`}`;
  };
  const { steps, from, to } = found;
  const lines = [`interpreter and JIT differ: they agree at cycle ${from} and do not at cycle ${to}`, ''];
  lines.push(...columns([['field', 'interpreter', 'JIT'], ...fieldRows(found.differences)]), '');
  const by = writers(found);
  const shown = steps.slice(-STEPS_SHOWN);
  if (steps.length === 1) lines.push('the instruction:');
  else
    lines.push(
      `the interpreter's way from ${from} to ${to}${steps.length > shown.length ? `, the last ${shown.length} of ${steps.length} instructions` : ''}:`,
    );
  const rows = shown.map((s) => {
    const wrote = by.get(s);
    return [String(s.cycle), s.context, where(s.rip), s.text, wrote === undefined ? '' : `<- last to write ${wrote.join(', ')}`];
  });
  if (rows.length > 0) lines.push(...columns(rows));
  lines.push('', 'and after it:', ...columns(found.at.map((a) => [a.context, where(a.rip), a.text])));
  return `${lines.join('\n')}\n`;
}
