// `xenstore ls`: the tree with values, cut to the width of the terminal, and permissions at the right (xenstore_client.c, do_ls()).
import { XsError, type XsOperations } from '../xenstored/index.ts';
import { sanitise } from './xenstore-text.ts';

export interface LsOptions {
  /** Whole paths, nothing cut. */
  readonly flat: boolean;
  readonly perms: boolean;
  readonly columns: number | null;
}

/** What follows a name at least: ` = "..."`. */
const TAG_LENGTH = 8;
const DEFAULT_WIDTH = 80;
/** Where permissions begin, if there is room. */
const DESIRED_WIDTH = 60;

/** Everything below `path`, line by line. Throws XsError when the path is not there. */
export function listTree(store: XsOperations, path: string, options: LsOptions, out: (text: string) => void): void {
  if (store.read(path) === null) throw new XsError('ENOENT');
  const maxWidth = options.flat ? Number.POSITIVE_INFINITY : options.columns === null ? DEFAULT_WIDTH : options.columns - 2;
  const desiredWidth = options.flat ? 0 : DESIRED_WIDTH;
  const list = (at: string, depth: number): void => {
    for (const name of store.directory(at)) {
      const below = `${at}${at.endsWith('/') ? '' : '/'}${name}`;
      let line = options.flat ? below : ' '.repeat(depth) + cut(name, maxWidth - TAG_LENGTH - depth);
      // The path does not count.
      let width = options.flat ? 0 : line.length;
      const value = store.readBytes(below);
      if (value === null) line += ':\n';
      else if (maxWidth < width + value.length + TAG_LENGTH) line += ` = "${cut(sanitise(value), maxWidth - TAG_LENGTH - width)}\\..."`;
      else {
        const text = ` = "${sanitise(value)}"`;
        line += text;
        width += text.length;
        if (options.perms) {
          line += ' ';
          for (width++; width < Math.min(desiredWidth, maxWidth); width++) line += width & 1 ? '.' : ' ';
        }
      }
      if (options.perms) line += `  (${permsOf(store, below)})`;
      out(`${line}\n`);
      list(below, depth + 1);
    }
  };
  list(path, 0);
}

/** As printf's precision: one below 0 cuts nothing. */
const cut = (text: string, length: number): string => (length < 0 ? text : text.slice(0, length));

/** A node may go while the tree is being read. */
function permsOf(store: XsOperations, path: string): string {
  try {
    return store.getPerms(path).join(',');
  } catch (e) {
    if (e instanceof XsError) return '';
    throw e;
  }
}
