// A folder of the host as the 9P server sees it. Names are byte strings (one character per byte: names of files need not be UTF-8), a path is
// the names from the folder's root downwards. An implementation never leaves the folder and never follows a symbolic link, whatever
// happens on the host meanwhile: see dom0/xl/node-share.ts.
//
// Calls answer at once. That keeps what a guest sees in the order of its requests, and so the same in every run; how long they take is the
// back end's model to say.
import { ERRNO, type ErrnoName } from './linux-errno.ts';

/** What a file operation came to when it did not succeed: the guest gets the number. */
export class ShareError extends Error {
  override readonly name = 'ShareError';
  readonly errno: number;

  constructor(code: ErrnoName) {
    super(code);
    this.errno = ERRNO[code];
  }
}

export type Path = readonly string[];

export interface Time {
  readonly sec: number;
  readonly nsec: number;
}

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

export interface ShareStat {
  /** The same for all names of one file, another for any other file that exists. */
  readonly key: string;
  /** Type and permissions, as st_mode has them on Linux. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly mtime: Time;
}

export interface ShareSpace {
  readonly blockSize: number;
  readonly blocks: number;
  readonly free: number;
  readonly available: number;
  readonly files: number;
  readonly filesFree: number;
}

export interface OpenMode {
  readonly read: boolean;
  readonly write: boolean;
  readonly truncate: boolean;
  readonly append: boolean;
  /** Each write is on the disk before it is answered. */
  readonly sync: boolean;
}

/** A regular file. Offsets and sizes are whole numbers below 2^53. */
export interface OpenFile {
  stat(): ShareStat;
  /** Shorter at the end of the file. */
  read(offset: number, count: number): Uint8Array;
  write(offset: number, bytes: Uint8Array): number;
  truncate(size: number): void;
  sync(dataOnly: boolean): void;
  close(): void;
}

/** Everything throws ShareError. Modes are permission bits. */
export interface Share {
  stat(path: Path): ShareStat;
  /** In no order, without . and .. */
  readdir(path: Path): string[];
  readlink(path: Path): string;
  /** Regular files only; ENXIO for what is none, since opening a pipe or a device of the host does things. */
  open(path: Path, mode: OpenMode): OpenFile;
  /** EEXIST where the name is taken. */
  create(path: Path, mode: OpenMode, permissions: number): OpenFile;
  mkdir(path: Path, permissions: number): void;
  symlink(path: Path, target: string): void;
  link(existing: Path, path: Path): void;
  rename(from: Path, to: Path): void;
  unlink(path: Path): void;
  rmdir(path: Path): void;
  chmod(path: Path, permissions: number): void;
  /** -1 leaves one as it is. */
  chown(path: Path, uid: number, gid: number): void;
  utimes(path: Path, atime: Time, mtime: Time): void;
  truncate(path: Path, size: number): void;
  syncDirectory(path: Path): void;
  space(): ShareSpace;
  close(): void;
}
