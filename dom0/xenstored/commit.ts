// The successful end of a transaction: checked as a whole, then taken over node by node, each with its watch event
// (xenstored_transaction.c, do_transaction_end(), finalize_transaction()).
import { type Book, replace } from './access.ts';
import { XsError } from './errors.ts';
import { mayHear } from './nodes.ts';
import { type Identity, isPrivileged } from './perms.ts';
import type { Transaction } from './transaction.ts';
import type { Change } from './watches.ts';

/** Throws ENOMEM (it could not be made whole), ENOSPC (too many nodes) or EAGAIN (somebody was faster), and then nothing is changed. */
export function commitTransaction(book: Book, who: Identity, t: Transaction, changed: (change: Change) => void): void {
  const { store, domains, quotas } = book;
  if (t.hasFailed) throw new XsError('ENOMEM');
  for (const [domid, by] of t.owned) {
    const record = domains.know(domid, store);
    // Its nodes' owner has gone meanwhile.
    if (record === null) throw new XsError('ENOMEM');
    const isCounted = t.hasCreated && !isPrivileged(who) && domid !== 0;
    if (isCounted && record.nodes + by >= quotas.nodes) throw new XsError('ENOSPC');
  }
  for (const [path, entry] of t.accessed)
    if ((store.nodes.get(path)?.generation ?? 0) !== (entry.before?.generation ?? 0)) throw new XsError('EAGAIN');
  for (const [path, entry] of t.accessed) {
    if (!entry.isModified) continue;
    const node = entry.node === null ? null : { ...entry.node, generation: ++store.generation };
    replace(book, path, node, false);
    if (entry.event !== 'none')
      changed({ path, exact: entry.event === 'exact', mayHear: (to) => mayHear(book, to, path, node, entry.before?.perms ?? null) });
  }
}
