// Kernel and ramdisk files from the host's file system, with errors that a user can act on.
import { readFileSync } from 'node:fs';
import type { NamedBytes } from './domain-builder.ts';
import { DomainBuildError } from './errors.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'part of its path is not a directory',
  ERR_FS_FILE_TOO_LARGE: 'the file is larger than 2 GiB',
};

/** Throws DomainBuildError naming the file. */
export function readNamedFile(file: string): NamedBytes {
  try {
    return { file, bytes: new Uint8Array(readFileSync(file)) };
  } catch (e) {
    const code = e instanceof Error && 'code' in e ? String(e.code) : String(e);
    throw new DomainBuildError(file, REASONS[code] ?? `cannot be read (${code})`, { cause: e });
  }
}
