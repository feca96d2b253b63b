// Watches: a client that watches a path hears of every change of the node and of what is below it (xenstored_watch.c). They are found by
// the path that changed and those above it, not by asking every client.
import type { Connection } from './connection.ts';
import { isSpecial, parentOf } from './paths.ts';
import type { Identity } from './perms.ts';

export interface Watch {
  readonly path: string;
  readonly token: string;
  /** Set when the client gave a relative path: events then name relative paths too. */
  readonly relativeTo: string | null;
  /** Levels below `path` that are watched too; -1 for all (newer than 4.17: XENSTORE_SERVER_FEATURE_WATCHDEPTH). */
  readonly depth: number;
  /** The connection's id, and the watch's place among all. */
  readonly connection: number;
  readonly order: number;
}

/** What happened to one path. */
export interface Change {
  readonly path: string;
  /** Gone together with a node above it: watches of nodes above hear of that one alone. */
  readonly exact: boolean;
  readonly mayHear: (who: Identity) => boolean;
}

export const watchKey = (path: string, token: string): string => `${path}\0${token}`;

/** What of a watch counts as the domain's memory. */
export const watchBytes = (w: Watch): number => w.path.length + w.token.length;

/** The path that the watcher is told. */
export const watchedAs = (w: Watch, path: string): string => (w.relativeTo === null ? path : path.slice(w.relativeTo.length + 1));

export class WatchIndex {
  /** All of it follows from the connections. */
  private readonly byPath = new Map<string, Watch[]>();
  private next = 1;

  /** The place of a new watch among all. */
  nextOrder(): number {
    return this.next++;
  }

  add(w: Watch): void {
    const there = this.byPath.get(w.path);
    if (there === undefined) this.byPath.set(w.path, [w]);
    else there.push(w);
  }

  remove(w: Watch): void {
    const there = this.byPath.get(w.path);
    if (there === undefined) return;
    const at = there.indexOf(w);
    if (at >= 0) there.splice(at, 1);
    if (there.length === 0) this.byPath.delete(w.path);
  }

  count(): number {
    let n = 0;
    for (const list of this.byPath.values()) n += list.length;
    return n;
  }

  has(w: Watch): boolean {
    return this.byPath.get(w.path)?.includes(w) ?? false;
  }

  /** Those that hear of the change, as xenstored tells them: by client, then as they were set. */
  matching(path: string, exact: boolean): Watch[] {
    const here = this.byPath.get(path);
    if (exact || isSpecial(path)) return here === undefined ? [] : [...here].sort(inOrder);
    const found = here === undefined ? [] : [...here];
    for (let at = path, below = 1; at !== '/'; below++) {
      at = parentOf(at);
      for (const w of this.byPath.get(at) ?? []) if (w.depth < 0 || below <= w.depth) found.push(w);
    }
    return found.length > 1 ? found.sort(inOrder) : found;
  }
}

const inOrder = (a: Watch, b: Watch): number => a.connection - b.connection || a.order - b.order;

/** Calls `tell` for each watch that hears of the change. */
export function fireWatches(
  index: WatchIndex,
  connections: ReadonlyMap<number, Connection>,
  change: Change,
  tell: (c: Connection, w: Watch) => void,
): void {
  let client: Connection | undefined;
  let mayHear = false;
  for (const w of index.matching(change.path, change.exact)) {
    if (client?.id !== w.connection) {
      client = connections.get(w.connection);
      mayHear = client !== undefined && change.mayHear(client);
    }
    if (mayHear && client !== undefined) tell(client, w);
  }
}
