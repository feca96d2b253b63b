// The options of commands that xl has too: parsed, complained about and explained as xl does.
import type { HostClient } from '../host-client.ts';
import { connectHost, socketPath } from '../node-host-socket.ts';
import { UserError, XlError } from '../user-error.ts';

/** What a command needs of the world. */
export interface Environment {
  out(text: string): void;
  err(text: string): void;
  /** The running host. Throws when there is none. */
  connect(socket: string | null): Promise<HostClient>;
}

export type HostCommand = (args: string[], env: Environment) => Promise<number>;

export const ENVIRONMENT: Environment = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  connect: async (socket) => {
    const path = socketPath(socket);
    const client = await connectHost(path);
    if (client === null) throw new UserError(`no host is running at ${path}: 'ringworld host' starts one, which then keeps the machine`);
    return client;
  },
};

/** How a command is used, in `xl help COMMAND`'s form. */
export interface Usage {
  readonly name: string;
  readonly synopsis: string;
  readonly about: string;
  /** By letter or long name: what it does. `value`: it takes one. `long`: another name for a letter. */
  readonly options?: Readonly<Record<string, { readonly text: string; readonly value?: boolean; readonly long?: string }>>;
  /** How many arguments it needs at least. */
  readonly needs?: number;
  /** And at most; as many as come unless given. */
  readonly most?: number;
}

export interface Parsed {
  readonly flags: ReadonlySet<string>;
  readonly values: ReadonlyMap<string, string>;
  /** All values of an option that was given several times. */
  readonly lists: (name: string) => readonly string[];
  readonly rest: readonly string[];
  readonly socket: string | null;
}

const EXIT_USAGE = 2;

export function usageText(u: Usage): string {
  const options = Object.entries(u.options ?? {}).map(([name, o]) => {
    const names = name.length === 1 ? [`-${name}`, ...(o.long === undefined ? [] : [`--${o.long}`])] : [`--${name}`];
    return `  ${(names.join(', ') + (o.value ? ' VALUE' : '')).padEnd(26)}  ${o.text}\n`;
  });
  const list = options.length === 0 ? '' : `\nOptions:\n\n${options.join('')}`;
  return `Usage: ringworld ${u.name} ${u.synopsis}\n\n${u.about}\n${list}`;
}

/** Thrown for -h: not an error, but the end of the command. */
export class HelpAsked extends Error {
  override readonly name = 'HelpAsked';
}

/** getopt_long as xl uses it: options may stand anywhere; `--` ends them. */
export function parseOptions(u: Usage, args: readonly string[]): Parsed {
  const flags = new Set<string>();
  const values = new Map<string, string>();
  const given: [string, string][] = [];
  const set = (name: string, value: string): void => {
    values.set(name, value);
    given.push([name, value]);
  };
  const rest: string[] = [];
  let socket: string | null = null;
  const options = u.options ?? {};
  const usage = (message: string): never => {
    throw new XlError(`${message}\n\n${usageText(u)}`.trimEnd(), EXIT_USAGE);
  };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') {
      rest.push(...args.slice(i + 1));
      break;
    }
    const next = (name: string): string => args[++i] ?? usage(`option \`${name}' needs a value.`);
    if (arg.startsWith('--')) {
      const [name, inline] = splitOnce(arg.slice(2));
      if (name === 'help') throw new HelpAsked(usageText(u));
      if (name === 'socket') {
        socket = inline ?? next(name);
        continue;
      }
      const found = Object.entries(options).find(([key, o]) => key === name || o.long === name);
      if (found === undefined) return usage(`option \`--${name}' not supported.`);
      const [key, o] = found;
      if (o.value) set(key, inline ?? next(name));
      else if (inline !== null) usage(`option \`--${name}' takes no value.`);
      else flags.add(key);
    } else if (arg.startsWith('-') && arg !== '-') {
      for (let at = 1; at < arg.length; at++) {
        const letter = arg[at]!;
        if (letter === 'h') throw new HelpAsked(usageText(u));
        const o = options[letter];
        if (o === undefined) return usage(`option \`${letter}' not supported.`);
        if (!o.value) {
          flags.add(letter);
          continue;
        }
        const inline = arg.slice(at + 1);
        set(letter, inline === '' ? next(letter) : inline);
        break;
      }
    } else rest.push(arg);
  }
  const needs = u.needs ?? 0;
  if (rest.length < needs) usage(`'ringworld ${u.name}' requires at least ${needs} argument${needs > 1 ? 's' : ''}.`);
  if (u.most !== undefined && rest.length > u.most)
    usage(`'ringworld ${u.name}' takes at most ${u.most} argument${u.most === 1 ? '' : 's'}.`);
  return { flags, values, lists: (name) => given.filter(([n]) => n === name).map(([, value]) => value), rest, socket };
}

function splitOnce(text: string): [string, string | null] {
  const at = text.indexOf('=');
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
}

/** Parses, connects, runs, disconnects. */
export const command = (
  u: Usage,
  run: (host: HostClient, parsed: Parsed, env: Environment) => Promise<number | undefined>,
): { usage: Usage; run: HostCommand } => ({
  usage: u,
  run: async (args, env) => {
    const parsed = parseOptions(u, args);
    const host = await env.connect(parsed.socket);
    try {
      return (await run(host, parsed, env)) ?? 0;
    } finally {
      host.close();
    }
  },
});

/** One number of an argument, decimal. */
export function whole(text: string, complaint: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new XlError(complaint);
  return Number(text);
}

export const json = (env: Environment, value: unknown): void => env.out(`${JSON.stringify(value, null, 2)}\n`);
