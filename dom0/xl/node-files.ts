// Files that the user names, under Node: read, or a complaint that names the file and the cause.
import { readFileSync } from 'node:fs';
import { UserError } from './user-error.ts';

const CAUSES: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EISDIR: 'is a directory',
  EACCES: 'permission denied',
  ENOTDIR: 'part of the path is not a directory',
  ERR_FS_FILE_TOO_LARGE: 'the file is larger than 2 GiB',
  ENOSPC: 'no space left on the device',
  EROFS: 'the file system is read-only',
  EIO: 'input/output error',
  ECONNREFUSED: 'connection refused',
};

/** What went wrong on the host, in a few words. */
export function hostCause(e: unknown): string {
  const code = (e as NodeJS.ErrnoException).code ?? '';
  return CAUSES[code] ?? (code || String(e));
}

/** `role` says what the file was wanted for, e.g. 'kernel'. */
export function readInputFile(file: string, role: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (e) {
    throw new UserError(`${file}: cannot read the ${role}: ${hostCause(e)}`);
  }
}
