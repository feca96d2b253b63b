// Messages about what a file is, beside its contents: attributes, links' targets, space, extended attributes (of which files here have none),
// and locks.
import type { Handler } from './handlers.ts';
import { PERMISSIONS } from './handlers-tree.ts';
import type { LockOwner, LockRange } from './locks.ts';
import {
  GETATTR_BASIC,
  LOCK_BLOCKED,
  LOCK_READ,
  LOCK_SUCCESS,
  LOCK_UNLOCK,
  LOCK_WRITE,
  type MessageName,
  SETATTR,
  V9FS_MAGIC,
} from './protocol.ts';
import type { P9Session } from './session.ts';
import { ShareError, type Time } from './share.ts';
import type { MessageReader, MessageWriter } from './wire.ts';

function statfs(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  s.fid(request.u32());
  const space = s.share.space();
  reply.u32(V9FS_MAGIC).u32(space.blockSize).u64(space.blocks).u64(space.free).u64(space.available);
  reply.u64(space.files).u64(space.filesFree).u64(0).u32(255);
}

function getattr(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const stat = s.stat(fid);
  const times = s.inodes.times(stat);
  reply.u64(GETATTR_BASIC);
  s.writeQid(reply, stat);
  reply.u32(stat.mode).u32(stat.uid).u32(stat.gid).u64(stat.nlink);
  // rdev: a device file of the host is none of the guest's. Blocks follow from the size, whatever the host's file system does.
  reply
    .u64(0)
    .u64(stat.size)
    .u64(s.msize - 24)
    .u64(Math.ceil(stat.size / 512));
  for (const t of [times.atime, times.mtime, times.ctime]) reply.u64(t.sec).u64(t.nsec);
  // btime, gen, data_version: not in what is valid.
  reply.u64(0).u64(0).u64(0).u64(0);
}

function setattr(s: P9Session, request: MessageReader): void {
  const fid = s.fid(request.u32());
  const valid = request.u32();
  const [mode, uid, gid] = [request.u32(), request.u32(), request.u32()];
  const size = request.u64();
  const time = (): Time => ({ sec: request.u64(), nsec: request.u64() });
  const [atime, mtime] = [time(), time()];
  const has = (flag: number) => (valid & flag) !== 0;
  if (atime.nsec >= 1e9 || mtime.nsec >= 1e9) throw new ShareError('EINVAL');
  s.mustBeWritable();
  const now = s.options.now();
  const { key } = s.stat(fid);
  if (has(SETATTR.mode)) s.share.chmod(fid.path, mode & PERMISSIONS);
  if (has(SETATTR.uid) || has(SETATTR.gid)) s.share.chown(fid.path, has(SETATTR.uid) ? uid : -1, has(SETATTR.gid) ? gid : -1);
  if (has(SETATTR.size)) {
    if (fid.file !== null && fid.isWritable) fid.file.truncate(size);
    else s.share.truncate(fid.path, size);
    s.inodes.modified(key, now);
  }
  if (has(SETATTR.atime) || has(SETATTR.mtime)) {
    const before = s.inodes.times(s.stat(fid));
    const a = !has(SETATTR.atime) ? null : has(SETATTR.atimeSet) ? atime : now;
    const m = !has(SETATTR.mtime) ? null : has(SETATTR.mtimeSet) ? mtime : now;
    s.share.utimes(fid.path, a ?? before.atime, m ?? before.mtime);
    s.inodes.setTimes(key, a, m);
  }
  s.inodes.changed(key, now);
}

function readlink(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  reply.string(s.share.readlink(s.fid(request.u32()).path));
}

function xattrwalk(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const { path } = s.fid(request.u32());
  const number = request.u32();
  if (request.string() !== '') throw new ShareError('ENODATA');
  s.newFid(number, path, true);
  reply.u64(0);
}

function xattrcreate(): void {
  throw new ShareError('EOPNOTSUPP');
}

interface LockRequest {
  readonly range: LockRange;
  readonly owner: LockOwner;
}

function lockRequest(s: P9Session, type: number, start: number, length: number, request: MessageReader): LockRequest {
  if (type > LOCK_UNLOCK) throw new ShareError('EINVAL');
  const process = request.u32();
  const owner = { session: s, client: request.string(), process };
  // A length of 0 reaches to the end of the file.
  return { range: { type, start, end: length === 0 ? Number.POSITIVE_INFINITY : start + length }, owner };
}

function lock(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const type = request.u8();
  // P9_LOCK_FLAGS_BLOCK: the client asks again by itself.
  request.u32();
  const { range, owner } = lockRequest(s, type, request.u64(), request.u64Rounded(), request);
  const done = s.options.locks.set(s.stat(fid).key, range, owner);
  reply.u8(done ? LOCK_SUCCESS : LOCK_BLOCKED);
}

function getlock(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const type = request.u8();
  const [start, length] = [request.u64(), request.u64Rounded()];
  const { range, owner } = lockRequest(s, type, start, length, request);
  const held = s.options.locks.conflict(s.stat(fid).key, range, owner);
  if (held === null)
    reply
      .u8(LOCK_UNLOCK)
      .u64(start)
      .u64(Number.isSafeInteger(length) ? length : 0)
      .u32(owner.process)
      .string(owner.client);
  else {
    const end = held.end === Number.POSITIVE_INFINITY ? 0 : held.end - held.start;
    reply
      .u8(held.type === LOCK_READ ? LOCK_READ : LOCK_WRITE)
      .u64(held.start)
      .u64(end)
      .u32(held.owner.process)
      .string(held.owner.client);
  }
}

export const ATTRIBUTE_HANDLERS = {
  Tstatfs: statfs,
  Tgetattr: getattr,
  Tsetattr: setattr,
  Treadlink: readlink,
  Txattrwalk: xattrwalk,
  Txattrcreate: xattrcreate,
  Tlock: lock,
  Tgetlock: getlock,
} as const satisfies Partial<Record<MessageName, Handler>>;
