// POSIX locks of bytes of files, between the guests that share a folder. (Within one guest its kernel has settled them before it asks.)
import { LOCK_READ, LOCK_UNLOCK } from './protocol.ts';
import { ShareError } from './share.ts';

export interface LockRange {
  /** LOCK_READ or LOCK_WRITE. */
  readonly type: number;
  readonly start: number;
  /** Exclusive; Infinity for the end of the file. */
  readonly end: number;
}

export interface LockOwner {
  /** Which connection: its locks go with it. */
  readonly session: object;
  readonly client: string;
  readonly process: number;
}

export interface HeldLock extends LockRange {
  readonly owner: LockOwner;
}

/** On one file, and files with locks. */
const MAX_LOCKS = 4096;
const MAX_FILES = 16384;

const isSame = (a: LockOwner, b: LockOwner): boolean => a.session === b.session && a.client === b.client && a.process === b.process;
const overlaps = (a: LockRange, b: LockRange): boolean => a.start < b.end && b.start < a.end;

export class LockTable {
  private readonly files = new Map<string, HeldLock[]>();

  /** The first lock of somebody else that is in the way. */
  conflict(file: string, wanted: LockRange, owner: LockOwner): HeldLock | null {
    if (wanted.type === LOCK_UNLOCK) return null;
    const isInTheWay = (held: HeldLock) =>
      !isSame(held.owner, owner) && overlaps(held, wanted) && (held.type !== LOCK_READ || wanted.type !== LOCK_READ);
    return this.files.get(file)?.find(isInTheWay) ?? null;
  }

  /** Replaces what the owner holds in the range. False where somebody is in the way. Throws ENOLCK. */
  set(file: string, wanted: LockRange, owner: LockOwner): boolean {
    if (this.conflict(file, wanted, owner) !== null) return false;
    const held = (this.files.get(file) ?? []).flatMap((l): HeldLock[] => {
      if (!isSame(l.owner, owner) || !overlaps(l, wanted)) return [l];
      const rest: HeldLock[] = [];
      if (l.start < wanted.start) rest.push({ ...l, end: wanted.start });
      if (l.end > wanted.end) rest.push({ ...l, start: wanted.end });
      return rest;
    });
    if (wanted.type !== LOCK_UNLOCK) held.push({ ...wanted, owner });
    if (held.length > MAX_LOCKS || (this.files.size >= MAX_FILES && !this.files.has(file))) throw new ShareError('ENOLCK');
    if (held.length === 0) this.files.delete(file);
    else this.files.set(file, held);
    return true;
  }

  /** The connection is gone. */
  release(session: object): void {
    for (const [file, held] of [...this.files]) {
      const rest = held.filter((l) => l.owner.session !== session);
      if (rest.length === 0) this.files.delete(file);
      else this.files.set(file, rest);
    }
  }
}
