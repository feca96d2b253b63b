// What a guest sees of a file's identity and times. Numbers of the host's inodes differ from copy to copy of a folder, and the host's clock is
// not the guest's. So files are numbered in the order in which they were first seen, and what the guest itself did to a file happened at the
// guest's time, for as long as the share is connected. All else about a file is the host's.
import type { ShareStat, Time } from './share.ts';

interface Inode {
  readonly number: number;
  /** Null: as the host has it. */
  atime: Time | null;
  mtime: Time | null;
  ctime: Time | null;
  opens: number;
}

export class Inodes {
  private readonly byKey = new Map<string, Inode>();
  private next = 1;

  number(stat: ShareStat): number {
    return this.of(stat.key).number;
  }

  /** Nobody knows when the host last looked at a file, so its atime is when it was last written. */
  times(stat: ShareStat): { readonly atime: Time; readonly mtime: Time; readonly ctime: Time } {
    const inode = this.of(stat.key);
    const mtime = inode.mtime ?? stat.mtime;
    return { mtime, atime: inode.atime ?? mtime, ctime: inode.ctime ?? mtime };
  }

  /** The file's contents, or a directory's entries, changed. */
  modified(key: string, now: Time): void {
    const inode = this.of(key);
    inode.mtime = now;
    inode.ctime = now;
  }

  changed(key: string, now: Time): void {
    this.of(key).ctime = now;
  }

  setTimes(key: string, atime: Time | null, mtime: Time | null): void {
    const inode = this.of(key);
    if (atime !== null) inode.atime = atime;
    if (mtime !== null) inode.mtime = mtime;
  }

  opened(key: string): void {
    this.of(key).opens++;
  }

  closed(key: string, isGone: boolean): void {
    const inode = this.byKey.get(key);
    if (inode === undefined) return;
    inode.opens--;
    if (isGone) this.gone(key);
  }

  /** The last name went: the host may give its number to another file. */
  gone(key: string): void {
    if (this.byKey.get(key)?.opens === 0) this.byKey.delete(key);
  }

  private of(key: string): Inode {
    let inode = this.byKey.get(key);
    if (inode === undefined) {
      inode = { number: this.next++, atime: null, mtime: null, ctime: null, opens: 0 };
      this.byKey.set(key, inode);
    }
    return inode;
  }
}
