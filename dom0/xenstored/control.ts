// XS_CONTROL: what `xenstore-control` asks of the daemon (xenstored_control.c). The commands are those of 4.17's xenstored in a domain of
// its own, which has no files: so neither logfile nor live-update, and memreport goes to the log.
import type { Domains } from './domains.ts';
import { XsError } from './errors.ts';
import { HARD_QUOTAS, type NamedQuota, type Quotas, SOFT_QUOTAS } from './quotas.ts';
import { atoi } from './requests.ts';

export interface ControlTarget {
  readonly quotas: Quotas;
  readonly domains: Domains;
  transactionsOf(domid: number): number;
  log(line: string): void;
  /** Messages into the log from now on, or no longer. */
  setLogging(on: boolean): void;
  /** What is wrong with the store; nothing, unless there is a bug here. */
  check(): readonly string[];
  quotaChanged(): void;
}

interface Command {
  readonly parameters: string;
  run(t: ControlTarget, args: readonly string[]): string;
}

const OK = 'OK';

const need = (condition: boolean): void => {
  if (!condition) throw new XsError('EINVAL');
};

const showQuotas = (quotas: Quotas, named: readonly NamedQuota[]): string =>
  `Quota settings:\n${named.map((q) => `${q.name.padEnd(17)}: ${String(quotas[q.key]).padStart(8)} ${q.description}\n`).join('')}`;

function setQuota(t: ControlTarget, named: readonly NamedQuota[], args: readonly string[]): string {
  need(args.length === 2);
  const [name, value] = args as [string, string];
  const quota = named.find((q) => q.name === name);
  if (quota === undefined || atoi(value) < 1) throw new XsError('EINVAL');
  t.quotas[quota.key] = atoi(value);
  t.quotaChanged();
  return OK;
}

function showDomain(t: ControlTarget, domid: number): string {
  const record = t.domains.records.get(domid);
  if (record === undefined) throw new XsError('ENOENT');
  const { nodes, watches, outstanding, memory } = record;
  const rows = Object.entries({ nodes, watches, transactions: t.transactionsOf(domid), outstanding, memory });
  return `Domain ${domid}:\n${rows.map(([name, n]) => `${name.padEnd(16)}: ${String(n).padStart(8)}\n`).join('')}`;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  check: {
    parameters: '',
    run: (t, args) => {
      need(args.length === 0);
      t.log('Checking store ...');
      for (const line of t.check()) t.log(`check_store: ${line}`);
      t.log('Checking store complete.');
      return OK;
    },
  },
  log: {
    parameters: 'on|off',
    run: (t, args) => {
      need(args.length === 1 && (args[0] === 'on' || args[0] === 'off'));
      t.setLogging(args[0] === 'on');
      return OK;
    },
  },
  memreport: {
    parameters: '',
    run: (t, args) => {
      need(args.length === 0);
      for (const domid of [...t.domains.records.keys()].sort((a, b) => a - b))
        for (const line of showDomain(t, domid).trimEnd().split('\n')) t.log(line);
      return OK;
    },
  },
  print: {
    parameters: '<string>',
    run: (t, args) => {
      need(args.length === 1);
      t.log(args[0] ?? '');
      return OK;
    },
  },
  quota: {
    parameters: '[set <name> <val>|<domid>]',
    run: (t, args) => {
      if (args.length === 0) return showQuotas(t.quotas, HARD_QUOTAS);
      if (args[0] === 'set') return setQuota(t, HARD_QUOTAS, args.slice(1));
      need(args.length === 1);
      return showDomain(t, atoi(args[0] ?? ''));
    },
  },
  'quota-soft': {
    parameters: '[set <name> <val>]',
    run: (t, args) => {
      if (args.length === 0) return showQuotas(t.quotas, SOFT_QUOTAS);
      need(args[0] === 'set');
      return setQuota(t, SOFT_QUOTAS, args.slice(1));
    },
  },
  help: {
    parameters: '',
    run: (_, args) => {
      need(args.length === 0);
      return Object.entries(COMMANDS)
        .map(([name, c]) => `${name}\t${c.parameters}\n`)
        .join('');
    },
  },
};

/** The answer's text. */
export function control(target: ControlTarget, command: string, args: readonly string[]): string {
  const found = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined;
  if (found === undefined) throw new XsError('EINVAL');
  return found.run(target, args);
}
