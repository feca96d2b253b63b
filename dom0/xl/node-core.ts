// Cores of domains as files on the host, under Node: `dump-core`, and on_crash="coredump-destroy" and its like.
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { asFileName } from '../consoled/index.ts';
import { HypercallError } from '../kernel/hypercall.ts';
import type { LiveDomain, Toolstack } from '../toolstack/lifecycle.ts';
import { hostCause } from './node-files.ts';
import { isForUser, UserError } from './user-error.ts';

/**
 * Writes the core of a domain at once: no guest runs meanwhile, so it is of one moment. Returns its size in bytes. Throws UserError, which names
 * the file or the domain; what was begun of the file is then taken away.
 */
export function writeCore(toolstack: Toolstack, live: LiveDomain, file: string): number {
  const onHost = <T>(act: () => T): T => {
    try {
      return act();
    } catch (e) {
      throw new UserError(`${file}: cannot be written: ${hostCause(e)}`);
    }
  };
  const fd = onHost(() => openSync(file, 'w', 0o600));
  let size = 0;
  try {
    for (const bytes of toolstack.dumpCore(live)) {
      for (let done = 0; done < bytes.length; ) done += onHost(() => writeSync(fd, bytes, done));
      size += bytes.length;
    }
    return size;
  } catch (e) {
    unlinkSync(file);
    if (isForUser(e) || e instanceof HypercallError) throw new UserError(e.message);
    throw e;
  } finally {
    closeSync(fd);
  }
}

/**
 * What an action coredump-... does before it goes on, as xl's handle_domain_death: whether there is a core in the end or not, it does go on.
 * The file is FOLDER/NAME.core, in place of an older one.
 */
export function dumpAtEnd(toolstack: Toolstack, live: LiveDomain, folder: string, note: (line: string) => void): void {
  const file = resolve(folder, `${asFileName(live.config.name) || `domain-${live.domid}`}.core`);
  note(`dumping core to ${file}`);
  try {
    writeCore(toolstack, live, file);
  } catch (e) {
    if (!isForUser(e)) throw e;
    note(`core dump failed: ${e.message}`);
  }
}
