// Watches: a client that watches a path hears of every change of the node and of what is below it (xenstored_watch.c).
import { type Connection, pushEvent } from './connection.ts';
import { isBelow } from './paths.ts';
import { accessOf, type Perms, READ } from './perms.ts';

export interface Watch {
  readonly path: string;
  /** Set when the client gave a relative path: events then name relative paths too. */
  readonly relativeTo: string | null;
  readonly token: string;
}

/** One node that has changed, or gone. */
export interface Change {
  readonly path: string;
  /** Gone together with a node above it: watches of nodes above hear of that one alone. */
  readonly exact: boolean;
  /** Who may hear of it: the permissions of the node, of its parent once it is gone. */
  readonly perms: Perms;
}

export function fireWatches(connections: Iterable<Connection>, change: Change): void {
  const { path, exact, perms } = change;
  for (const c of connections) {
    if ((accessOf(perms, c.domid) & READ) === 0) continue;
    for (const w of c.watches) {
      if (w.path !== path && (exact || !isBelow(path, w.path))) continue;
      pushEvent(c, w.relativeTo === null ? path : path.slice(w.relativeTo.length + 1), w.token);
    }
  }
}
