// xenstore(1): ls, read, write, rm, exists, list, chmod and watch as the tools of Xen print them (tools/xenstore/xenstore_client.c), on
// dom0's connection to the store. Who calls it has the arguments and a place for the output; there is no process and no terminal here.
import { XsError, type XsErrorName, type XsOperations } from '../xenstored/index.ts';
import { listTree } from './xenstore-ls.ts';
import { bytesOf, sanitise, unsanitise } from './xenstore-text.ts';

/** The store, e.g. an XsClient. */
export interface XenstoreTarget extends XsOperations {
  transaction<T>(body: (t: XsOperations) => T): T;
  watch(path: string, handler: (path: string) => void): () => void;
}

export interface XenstoreIo {
  /** Standard output. A byte string: one character per byte. */
  out(bytes: string): void;
  /** One line for standard error. */
  err(line: string): void;
  /** Of the terminal; null when the output goes elsewhere. */
  readonly columns: number | null;
  /** `watch -n` has seen enough. */
  ended(code: number): void;
}

/** A command that is over, or one that goes on until it is stopped or says that it has ended. */
export type XenstoreOutcome = { readonly code: number } | { readonly stop: () => void };

type Mode = 'ls' | 'read' | 'write' | 'rm' | 'exists' | 'list' | 'chmod' | 'watch';

/** Option letters of each mode, and how its arguments are shown. */
const MODES: Readonly<Record<Mode, { readonly options: string; readonly usage: string }>> = {
  ls: { options: 'fp', usage: '[-h] [-f] [-p] [-s] [path]' },
  read: { options: 'pR', usage: '[-h] [-p] [-s] [-R] key [...]' },
  write: { options: 'R', usage: '[-h] [-s] [-R] key value [...]' },
  rm: { options: 't', usage: '[-h] [-s] [-t] key [...]' },
  exists: { options: '', usage: '[-h] [-p] [-s] key [...]' },
  list: { options: 'p', usage: '[-h] [-p] [-s] key [...]' },
  chmod: { options: 'ur', usage: '[-h] [-u] [-r] [-s] key <mode [modes...]>' },
  watch: { options: 'n', usage: '[-h] [-n NR] key' },
};

const LONG: Readonly<Record<string, string>> = {
  help: 'h',
  flat: 'f',
  prefix: 'p',
  tidy: 't',
  upto: 'u',
  recurse: 'r',
  number: 'n',
  raw: 'R',
};

/** strerror(3) of the errors that the daemon answers with. */
const STRERROR: Readonly<Partial<Record<XsErrorName, string>>> = {
  EINVAL: 'Invalid argument',
  EACCES: 'Permission denied',
  EEXIST: 'File exists',
  ENOENT: 'No such file or directory',
  ENOMEM: 'Cannot allocate memory',
  ENOSPC: 'No space left on device',
  EIO: 'Input/output error',
  EBUSY: 'Device or resource busy',
  EAGAIN: 'Resource temporarily unavailable',
  E2BIG: 'Argument list too long',
  EPERM: 'Operation not permitted',
};
export const strerror = (e: XsError): string => STRERROR[e.code] ?? e.code;

/** The command ends here, with this on standard error. */
class Failure extends Error {}

interface Arguments {
  readonly mode: Mode;
  readonly flags: ReadonlySet<string>;
  readonly count: number;
  readonly rest: readonly string[];
}

const isMode = (text: string): text is Mode => Object.hasOwn(MODES, text);

/** As getopt_long(3): options may stand anywhere before `--`. */
function parse(args: readonly string[]): Arguments {
  const [command, ...given] = args;
  if (command === undefined) throw new Failure('Usage: xenstore <mode> [-h] [...]');
  if (!isMode(command)) throw new Failure(`unknown mode ${command}`);
  const { options, usage } = MODES[command];
  const wrong = () => new Failure(`Usage: xenstore ${command} ${usage}`);
  const flags = new Set<string>();
  const rest: string[] = [];
  let count = -1;
  const take = (letter: string, value: () => string | undefined) => {
    // -s once chose the socket.
    if (letter === 's') return;
    if (!options.includes(letter)) throw wrong();
    flags.add(letter);
    if (letter !== 'n') return;
    const text = value();
    if (text === undefined) throw wrong();
    count = Number.parseInt(text, 10) || 0;
  };
  for (let i = 0; i < given.length; i++) {
    const arg = given[i] ?? '';
    if (arg === '--') {
      rest.push(...given.slice(i + 1));
      break;
    }
    if (arg.startsWith('--')) {
      const [name = '', value] = arg.slice(2).split('=', 2);
      take(LONG[name] ?? '?', () => value ?? given[++i]);
    } else if (arg.startsWith('-') && arg.length > 1) {
      for (let at = 1; at < arg.length; at++) {
        const letter = arg[at] ?? '';
        const attached = arg.slice(at + 1);
        take(letter, () => (attached === '' ? given[++i] : attached));
        if (letter === 'n') break;
      }
    } else rest.push(arg);
  }
  if (command !== 'ls' && rest.length === 0) throw wrong();
  if (command === 'write' && rest.length % 2 === 1) throw wrong();
  return { mode: command, flags, count, rest };
}

/** Relative paths are dom0's own, so the parent of a bare name exists. */
const parentExists = (t: XsOperations, path: string): boolean => {
  const slash = path.lastIndexOf('/');
  return slash < 0 || t.read(slash === 0 ? '/' : path.slice(0, slash)) !== null;
};

/** Null when it could not be done, whatever the reason (the tools do not say either). */
function attempt<T>(act: () => T): T | null {
  try {
    return act();
  } catch (e) {
    if (e instanceof XsError) return null;
    throw e;
  }
}

function remove(t: XsOperations, path: string, tidy: boolean): void {
  const failed = attempt(() => {
    if (!parentExists(t, path)) return null;
    t.rm(path);
    return true;
  });
  if (failed === null) throw new Failure(`could not remove path ${path}`);
  // Directories that hold nothing any more go, too.
  const above = path.slice(0, Math.max(0, path.lastIndexOf('/')));
  if (tidy && above !== '' && t.readBytes(above) === '' && t.directory(above).length === 0) remove(t, above, true);
}

function chmod(t: XsOperations, path: string, perms: readonly string[], upto: boolean, recurse: boolean): void {
  if (path === '') return;
  try {
    t.setPerms(path, perms);
  } catch (e) {
    if (!(e instanceof XsError)) throw e;
    throw new Failure(`Error occurred setting permissions on '${path}': ${strerror(e)}`);
  }
  if (upto) {
    const slash = path.lastIndexOf('/');
    if (slash < 0) throw new Failure(`Unable to locate path separator '/' in '${path}'`);
    chmod(t, path.slice(0, slash), perms, true, false);
  }
  if (recurse) for (const name of t.directory(path)) chmod(t, `${path}/${name}`, perms, false, true);
}

const permission = (text: string): string => {
  if (!/^[nrwb]/.test(text)) throw new Failure(`Invalid permission specification: '${text[0] ?? ''}'`);
  return `${text[0]}${Number.parseInt(text.slice(1), 10) || 0}`;
};

/** What is done within one transaction; returns what goes to standard output. */
function perform(
  t: XsOperations,
  { mode, flags, rest }: Arguments,
): { readonly code: number; readonly output: string; readonly error?: string } {
  let output = '';
  const done = { code: 0 };
  const failed = (error: string) => ({ code: 1, output, error });
  switch (mode) {
    case 'read':
      for (const path of rest) {
        const value = attempt(() => t.readBytes(path));
        if (value === null) return failed(`couldn't read path ${path}`);
        output += (flags.has('p') ? `${path}: ` : '') + (flags.has('R') ? value : `${sanitise(value)}\n`);
      }
      return { ...done, output };
    case 'write':
      for (let i = 0; i + 1 < rest.length; i += 2) {
        const [path = '', text = ''] = rest.slice(i, i + 2);
        const value = flags.has('R') ? bytesOf(text) : unsanitise(bytesOf(text));
        if (attempt(() => t.writeBytes(path, value)) === null) return failed(`could not write path ${path}`);
      }
      return { ...done, output };
    case 'exists':
      return { code: rest.every((path) => attempt(() => t.read(path)) !== null) ? 0 : 1, output };
    case 'list':
      for (const path of rest) {
        const names = attempt(() => (t.read(path) === null ? null : t.directory(path)));
        if (names === null) return failed(`could not list path ${path}`);
        output += names.map((n) => `${flags.has('p') ? `${path}/` : ''}${n}\n`).join('');
      }
      return { ...done, output };
    case 'rm':
      for (const path of rest) remove(t, path, flags.has('t'));
      return { ...done, output };
    case 'chmod': {
      const [path = '', ...perms] = rest;
      chmod(t, path, perms.map(permission), flags.has('u'), flags.has('r'));
      return { ...done, output };
    }
    default:
      throw new Error(`xenstore ${mode} has no transaction`);
  }
}

/** Thrown to give a transaction up. */
class Abandoned extends Error {
  readonly result: ReturnType<typeof perform>;
  constructor(result: ReturnType<typeof perform>) {
    super();
    this.result = result;
  }
}

/** Nothing is changed unless all of it could be done. */
function inTransaction(store: XenstoreTarget, args: Arguments): ReturnType<typeof perform> {
  try {
    return store.transaction((t) => {
      const result = perform(t, args);
      if (result.code !== 0) throw new Abandoned(result);
      return result;
    });
  } catch (e) {
    if (e instanceof Abandoned) return e.result;
    if (e instanceof XsError) throw new Failure("couldn't end transaction");
    throw e;
  }
}

function watch(store: XenstoreTarget, { rest, count }: Arguments, io: XenstoreIo): XenstoreOutcome {
  const stops: (() => void)[] = [];
  let left = count;
  let isOver = count === 0;
  const stop = () => {
    isOver = true;
    for (const s of stops.splice(0)) s();
  };
  const seen = (path: string) => {
    if (isOver) return;
    io.out(`${path}\n`);
    if (left < 0 || --left > 0) return;
    stop();
    io.ended(0);
  };
  for (const path of rest) {
    try {
      const unwatch = store.watch(path, seen);
      // Its first event, which comes at once, may have been the last that is wanted.
      if (isOver) unwatch();
      else stops.push(unwatch);
    } catch (e) {
      stop();
      if (e instanceof XsError) throw new Failure(`Unable to add watch on ${path}`);
      throw e;
    }
  }
  return isOver ? { code: 0 } : { stop };
}

function list(store: XenstoreTarget, { rest, flags }: Arguments, io: XenstoreIo): XenstoreOutcome {
  const options = { flat: flags.has('f'), perms: flags.has('p'), columns: io.columns };
  for (const path of rest.length === 0 ? ['/'] : rest) {
    try {
      listTree(store, path, options, (text) => io.out(text));
    } catch (e) {
      if (e instanceof XsError) throw new Failure(`xs_directory (${path}): ${strerror(e)}`);
      throw e;
    }
  }
  return { code: 0 };
}

/** `args`: what follows `xenstore` on the command line. */
export function xenstoreCommand(store: XenstoreTarget, args: readonly string[], io: XenstoreIo): XenstoreOutcome {
  try {
    const parsed = parse(args);
    if (parsed.mode === 'watch') return watch(store, parsed, io);
    if (parsed.mode === 'ls') return list(store, parsed, io);
    const { code, output, error } = inTransaction(store, parsed);
    if (output !== '') io.out(output);
    if (error !== undefined) io.err(`xenstore: ${error}`);
    return { code };
  } catch (e) {
    if (!(e instanceof Failure) && !(e instanceof XsError)) throw e;
    io.err(`xenstore: ${e instanceof XsError ? strerror(e) : e.message}`);
    return { code: 1 };
  }
}
