// One 9P connection: its fids, and one reply for each message. Every request is carried out whole when it arrives, in the order of arrival; the
// device (p9back.ts) says when the reply is due.
import { HANDLERS } from './handlers.ts';
import { Inodes } from './inodes.ts';
import type { LockTable } from './locks.ts';
import { HEADER, messageName, P9, QTDIR, QTFILE, QTSYMLINK, RLERROR, VERSION } from './protocol.ts';
import { type OpenFile, type Path, S_IFDIR, S_IFLNK, S_IFMT, type Share, ShareError, type ShareStat, type Time } from './share.ts';
import { MessageReader, MessageWriter } from './wire.ts';

/** The smallest message size that makes sense (QEMU's P9_MIN_MSIZE). */
const MIN_MSIZE = 4096;
/** Bounds of what one guest can make this process hold. */
const MAX_FIDS = 32768;
const MAX_OPEN = 1024;
/** PATH_MAX */
const MAX_PATH = 4096;

export interface DirectoryEntry {
  readonly name: string;
  readonly path: Path;
}

export interface Fid {
  path: Path;
  file: OpenFile | null;
  isWritable: boolean;
  /** The key of the open file, for its count. */
  key: string;
  /** Entries as they were when they were last read from the start. */
  directory: readonly DirectoryEntry[] | null;
  /** Made by xattrwalk: an empty list. */
  isXattr: boolean;
}

export interface SessionOptions {
  readonly isReadOnly: boolean;
  /** No message may be larger: what the ring holds. */
  readonly maxMessage: number;
  /** The guests' wall clock. */
  readonly now: () => Time;
  readonly locks: LockTable;
  readonly maxOpen?: number;
}

export class P9Session {
  readonly share: Share;
  readonly options: SessionOptions;
  readonly fids = new Map<number, Fid>();
  readonly inodes = new Inodes();
  /** 0 until the version is agreed upon. */
  msize = 0;
  private openCount = 0;

  constructor(share: Share, options: SessionOptions) {
    this.share = share;
    this.options = options;
  }

  /** The reply to a message that is as long as it says. */
  handle(message: Uint8Array): Uint8Array {
    const header = new MessageReader(message, 4);
    const [type, tag] = [header.u8(), header.u16()];
    const out = new MessageWriter()
      .u32(0)
      .u8(type + 1)
      .u16(tag);
    try {
      const name = messageName(type);
      if (name === null) throw new ShareError('EOPNOTSUPP');
      if (this.msize === 0 && type !== P9.Tversion) throw new ShareError('EPROTO');
      HANDLERS[name](this, new MessageReader(message, HEADER), out);
      return finish(out);
    } catch (e) {
      if (!(e instanceof ShareError)) throw e;
      return finish(new MessageWriter(11).u32(0).u8(RLERROR).u16(tag).u32(e.errno));
    }
  }

  /** Tversion: everything of an earlier conversation goes. Returns the version to answer. */
  begin(msize: number, version: string): string {
    this.end();
    const agreed = Math.min(msize, this.options.maxMessage);
    if (agreed < MIN_MSIZE) throw new ShareError('EINVAL');
    if (version !== VERSION) return 'unknown';
    this.msize = agreed;
    return VERSION;
  }

  /** Lets go of all files. */
  end(): void {
    for (const fid of this.fids.values()) this.release(fid);
    this.fids.clear();
    this.options.locks.release(this);
    this.msize = 0;
  }

  fid(number: number): Fid {
    const fid = this.fids.get(number);
    if (fid === undefined) throw new ShareError('EBADF');
    return fid;
  }

  newFid(number: number, path: Path, isXattr = false): Fid {
    if (this.fids.has(number)) throw new ShareError('EINVAL');
    if (this.fids.size >= MAX_FIDS) throw new ShareError('ENFILE');
    const fid: Fid = { path, file: null, isWritable: false, key: '', directory: null, isXattr };
    this.fids.set(number, fid);
    return fid;
  }

  clunk(number: number): void {
    this.release(this.fid(number));
    this.fids.delete(number);
  }

  /** Asks before a file is opened or created. */
  reserveOpen(fid: Fid): void {
    if (fid.file !== null || fid.directory !== null || fid.isXattr) throw new ShareError('EINVAL');
    if (this.openCount >= (this.options.maxOpen ?? MAX_OPEN)) throw new ShareError('EMFILE');
  }

  opened(fid: Fid, file: OpenFile, stat: ShareStat, isWritable: boolean): void {
    fid.file = file;
    fid.isWritable = isWritable;
    fid.key = stat.key;
    this.openCount++;
    this.inodes.opened(stat.key);
  }

  openedDirectory(fid: Fid): void {
    fid.directory = [];
    this.openCount++;
  }

  /** Refuses what would change a share that is to be read only. */
  mustBeWritable(): void {
    if (this.options.isReadOnly) throw new ShareError('EROFS');
  }

  /** The path of an entry of a directory. `dots`: the error for . and .., which no operation that names an entry takes. */
  child(parent: Path, name: string, dots: 'EEXIST' | 'EINVAL' | 'EISDIR' = 'EINVAL'): Path {
    if (name === '.' || name === '..') throw new ShareError(dots);
    // As QEMU's name_is_illegal(); a NUL would end the name in C.
    if (name === '' || name.includes('/') || name.includes('\0')) throw new ShareError('ENOENT');
    if (name.length > 255) throw new ShareError('ENAMETOOLONG');
    const path = [...parent, name];
    if (path.reduce((n, p) => n + p.length + 1, 0) >= MAX_PATH) throw new ShareError('ENAMETOOLONG');
    return path;
  }

  stat(fid: Fid): ShareStat {
    return fid.file === null ? this.share.stat(fid.path) : fid.file.stat();
  }

  /** A directory got or lost an entry. That is done, so a failure to look at it is none of the operation's. */
  touched(directory: Path): void {
    try {
      this.inodes.modified(this.share.stat(directory).key, this.options.now());
    } catch (e) {
      if (!(e instanceof ShareError)) throw e;
    }
  }

  /** Fids follow what was renamed. */
  renamed(from: Path, to: Path): void {
    for (const fid of this.fids.values()) if (isBelow(fid.path, from)) fid.path = [...to, ...fid.path.slice(from.length)];
  }

  writeQid(out: MessageWriter, stat: ShareStat): void {
    const kind = stat.mode & S_IFMT;
    const { mtime } = this.inodes.times(stat);
    out
      .u8(kind === S_IFDIR ? QTDIR : kind === S_IFLNK ? QTSYMLINK : QTFILE)
      // As QEMU's stat_to_qid(): it changes when the contents do.
      .u32((mtime.sec ^ (stat.size << 8)) >>> 0)
      .u64(this.inodes.number(stat));
  }

  private release(fid: Fid): void {
    if (fid.file !== null) {
      let isGone = false;
      try {
        isGone = fid.file.stat().nlink === 0;
        fid.file.close();
      } catch (e) {
        // The file is let go of all the same; what could not be written was the write's to report.
        if (!(e instanceof ShareError)) throw e;
      }
      this.inodes.closed(fid.key, isGone);
    }
    if (fid.file !== null || fid.directory !== null) this.openCount--;
    fid.file = null;
    fid.directory = null;
  }
}

const isBelow = (path: Path, above: Path): boolean => path.length >= above.length && above.every((name, i) => name === path[i]);

function finish(out: MessageWriter): Uint8Array {
  out.setU32(0, out.length);
  return out.finish();
}
