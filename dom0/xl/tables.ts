// Text tables: columns as wide as their widest cell, numbers to the right.

export type Cell = string | number;

export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const text = (c: Cell): string => (typeof c === 'number' ? groups(c) : c);
  const widths = head.map((h, i) => Math.max(h.length, ...rows.map((r) => text(r[i] ?? '').length)));
  const isNumber = head.map((_, i) => rows.some((r) => typeof r[i] === 'number'));
  const line = (cells: readonly Cell[]) =>
    head.map((_, i) => (isNumber[i] ? text(cells[i] ?? '').padStart(widths[i]!) : text(cells[i] ?? '').padEnd(widths[i]!))).join('  ');
  const rule = widths.map((w) => '─'.repeat(w)).join('  ');
  return `${[line(head), rule, ...rows.map(line)].map((l) => l.trimEnd()).join('\n')}\n`;
}

/** 1234567 as "1 234 567"; fractions as they are. */
export const groups = (n: number): string => (Number.isInteger(n) ? String(n).replace(/\B(?=(\d{3})+$)/g, ' ') : String(n));
