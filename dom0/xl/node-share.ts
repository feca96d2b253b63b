// A folder of the host as a share, for Node on Linux. A guest must never get out of the folder, whatever names it uses, whatever links lie in
// it, and whatever is renamed on the host while a path is being walked. So a path is walked one name at a time: each directory is opened
// with O_PATH | O_NOFOLLOW relative to the one above, through /proc/self/fd (what openat() does in C), and the last name is never followed.
// No path is ever looked at and then used: what was opened is what is used.
import * as fs from 'node:fs';
import {
  errnoOf,
  type OpenFile,
  type OpenMode,
  type Path,
  type Share,
  ShareError,
  type ShareParams,
  type ShareSpace,
  type ShareStat,
  type Time,
} from '../p9back/index.ts';
import { UserError } from './user-error.ts';

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_SYNC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } =
  fs.constants;
/** Linux on x86 and arm; Node does not name it. */
const O_PATH = 0o10000000;
const HANDLE = O_PATH | O_NOFOLLOW;

const self = (fd: number): string => `/proc/self/fd/${fd}`;

/** The host's failures as the guest's. */
function asked<T>(ask: () => T): T {
  try {
    return ask();
  } catch (e) {
    if (e instanceof ShareError) throw e;
    const code = (e as NodeJS.ErrnoException).code;
    if (typeof code !== 'string') throw e;
    // A component that is a link: to the walk it is no directory.
    throw new ShareError(errnoOf(code.startsWith('ERR_') ? 'EINVAL' : code));
  }
}

/** Runs `use` with an open descriptor and closes it. */
function withFd<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Names are byte strings; a session has checked them, and this is where it would hurt. */
function entry(directory: number, name: string): Buffer {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) throw new ShareError('EINVAL');
  return Buffer.from(`${self(directory)}/${name}`, 'latin1');
}

function statOf(fd: number): ShareStat {
  const s = fs.fstatSync(fd, { bigint: true });
  const mtime = { sec: Math.max(0, Number(s.mtimeNs / 1_000_000_000n)), nsec: Math.max(0, Number(s.mtimeNs % 1_000_000_000n)) };
  return {
    key: `${s.dev}:${s.ino}`,
    mode: Number(s.mode),
    uid: Number(s.uid),
    gid: Number(s.gid),
    nlink: Number(s.nlink),
    size: Number(s.size),
    mtime,
  };
}

const flagsOf = (m: OpenMode): number =>
  (m.write ? (m.read ? O_RDWR : O_WRONLY) : O_RDONLY) |
  (m.truncate ? O_TRUNC : 0) |
  (m.append ? O_APPEND : 0) |
  (m.sync ? O_SYNC : 0) |
  O_NONBLOCK |
  O_NOCTTY;

class NodeFile implements OpenFile {
  private readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }
  stat(): ShareStat {
    return asked(() => statOf(this.fd));
  }
  read(offset: number, count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    const n = asked(() => fs.readSync(this.fd, bytes, 0, count, offset));
    return bytes.subarray(0, n);
  }
  write(offset: number, bytes: Uint8Array): number {
    return asked(() => fs.writeSync(this.fd, bytes, 0, bytes.length, offset));
  }
  truncate(size: number): void {
    asked(() => fs.ftruncateSync(this.fd, size));
  }
  sync(dataOnly: boolean): void {
    asked(() => (dataOnly ? fs.fdatasyncSync(this.fd) : fs.fsyncSync(this.fd)));
  }
  close(): void {
    asked(() => fs.closeSync(this.fd));
  }
}

export class NodeShare implements Share {
  private readonly root: number;

  /** Throws ShareError. */
  constructor(folder: string) {
    this.root = asked(() => fs.openSync(folder, O_PATH | O_DIRECTORY));
  }

  stat(path: Path): ShareStat {
    return this.object(path, statOf);
  }

  readdir(path: Path): string[] {
    return this.object(path, (fd) => fs.readdirSync(self(fd), { encoding: 'buffer' }).map((name) => name.toString('latin1')));
  }

  readlink(path: Path): string {
    return this.named(path, (at) => fs.readlinkSync(at, { encoding: 'buffer' }).toString('latin1'));
  }

  open(path: Path, mode: OpenMode): OpenFile {
    return this.object(path, (fd) => {
      const { mode: is } = fs.fstatSync(fd);
      if ((is & fs.constants.S_IFMT) === fs.constants.S_IFDIR) throw new ShareError('EISDIR');
      if ((is & fs.constants.S_IFMT) === fs.constants.S_IFLNK) throw new ShareError('ELOOP');
      if ((is & fs.constants.S_IFMT) !== fs.constants.S_IFREG) throw new ShareError('ENXIO');
      // The same file again, for reading and writing: no name is looked up.
      return new NodeFile(fs.openSync(self(fd), flagsOf(mode)));
    });
  }

  create(path: Path, mode: OpenMode, permissions: number): OpenFile {
    return this.named(path, (at) => {
      const fd = fs.openSync(at, flagsOf(mode) | O_CREAT | O_EXCL | O_NOFOLLOW, permissions);
      // The guest has applied its umask; the host's is not to.
      fs.fchmodSync(fd, permissions);
      return new NodeFile(fd);
    });
  }

  mkdir(path: Path, permissions: number): void {
    this.named(path, (at) => fs.mkdirSync(at, permissions));
    this.object(path, (fd) => fs.chmodSync(self(fd), permissions));
  }

  symlink(path: Path, target: string): void {
    this.named(path, (at) => fs.symlinkSync(Buffer.from(target, 'latin1'), at));
  }

  link(existing: Path, path: Path): void {
    this.named(existing, (from) => this.named(path, (to) => fs.linkSync(from, to)));
  }

  rename(from: Path, to: Path): void {
    this.named(from, (a) => this.named(to, (b) => fs.renameSync(a, b)));
  }

  unlink(path: Path): void {
    this.named(path, (at) => fs.unlinkSync(at));
  }

  rmdir(path: Path): void {
    this.named(path, (at) => fs.rmdirSync(at));
  }

  chmod(path: Path, permissions: number): void {
    this.object(path, (fd) => {
      refuseLink(fd);
      fs.chmodSync(self(fd), permissions);
    });
  }

  chown(path: Path, uid: number, gid: number): void {
    // Node has no "as it is", and takes -1 for it as the system call does.
    if (path.length === 0) this.object(path, (fd) => fs.chownSync(self(fd), uid, gid));
    else this.named(path, (at) => fs.lchownSync(at, uid, gid));
  }

  utimes(path: Path, atime: Time, mtime: Time): void {
    const seconds = (t: Time) => t.sec + t.nsec / 1e9;
    if (path.length === 0) this.object(path, (fd) => fs.utimesSync(self(fd), seconds(atime), seconds(mtime)));
    else this.named(path, (at) => fs.lutimesSync(at, seconds(atime), seconds(mtime)));
  }

  truncate(path: Path, size: number): void {
    const file = this.open(path, { read: false, write: true, truncate: false, append: false, sync: false });
    try {
      file.truncate(size);
    } finally {
      file.close();
    }
  }

  syncDirectory(path: Path): void {
    this.object(path, (fd) => withFd(fs.openSync(self(fd), O_RDONLY | O_DIRECTORY), (d) => fs.fsyncSync(d)));
  }

  space(): ShareSpace {
    const s = asked(() => fs.statfsSync(self(this.root)));
    return { blockSize: s.bsize, blocks: s.blocks, free: s.bfree, available: s.bavail, files: s.files, filesFree: s.ffree };
  }

  close(): void {
    fs.closeSync(this.root);
  }

  /** The directory that holds the last name, open; and that name in it. The share itself has none. */
  private named<T>(path: Path, use: (at: Buffer) => T): T {
    const name = path.at(-1);
    if (name === undefined) throw new ShareError('EBUSY');
    return asked(() => this.directory(path.length - 1, path, (fd) => use(entry(fd, name))));
  }

  /** The thing itself, open with O_PATH: nothing happens to it, and it may be a link. */
  private object<T>(path: Path, use: (fd: number) => T): T {
    if (path.length === 0) return asked(() => use(this.root));
    return this.named(path, (at) => withFd(fs.openSync(at, HANDLE), use));
  }

  private directory<T>(depth: number, path: Path, use: (fd: number) => T): T {
    let fd = this.root;
    try {
      for (let i = 0; i < depth; i++) {
        const next = fs.openSync(entry(fd, path[i]!), HANDLE | O_DIRECTORY);
        if (fd !== this.root) fs.closeSync(fd);
        fd = next;
      }
      return use(fd);
    } finally {
      if (fd !== this.root) fs.closeSync(fd);
    }
  }
}

/** chmod of what /proc/self/fd names would reach a link's own mode, which has no meaning. */
function refuseLink(fd: number): void {
  if ((fs.fstatSync(fd).mode & fs.constants.S_IFMT) === fs.constants.S_IFLNK) throw new ShareError('EOPNOTSUPP');
}

/** What dom0's back end is given. */
export function openNodeShare(params: ShareParams): Share {
  if (process.platform !== 'linux') throw new ShareError('EOPNOTSUPP');
  return new NodeShare(params.path);
}

/** Complains before a domain is built: the folder must be there. */
export function checkShareFolder(tag: string, path: string): void {
  if (process.platform !== 'linux') throw new UserError(`p9: ${tag}: sharing folders needs a Linux host (/proc/self/fd)`);
  try {
    new NodeShare(path).close();
  } catch (e) {
    if (!(e instanceof ShareError)) throw e;
    const causes: Record<string, string> = { ENOENT: 'no such folder', ENOTDIR: 'is no folder', EACCES: 'permission denied' };
    throw new UserError(`p9: ${tag}: ${path}: ${causes[e.message] ?? e.message}`);
  }
}
