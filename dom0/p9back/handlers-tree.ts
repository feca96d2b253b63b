// Messages about names: attach, walk, and what makes, moves and removes entries.
import type { Handler } from './handlers.ts';
import { AT_REMOVEDIR, MAX_WALK, type MessageName, NOFID } from './protocol.ts';
import type { P9Session } from './session.ts';
import { type Path, S_IFDIR, S_IFMT, S_IFREG, ShareError, type ShareStat } from './share.ts';
import type { MessageReader, MessageWriter } from './wire.ts';

/** Set-user-ID and set-group-ID are never put on files of the host: they would act there, with dom0's rights. */
export const PERMISSIONS = 0o1777;

const parentOf = (path: Path): Path => path.slice(0, -1);

function version(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const msize = request.u32();
  const agreed = s.begin(msize, request.string());
  reply.u32(s.msize === 0 ? Math.min(msize, s.options.maxMessage) : s.msize).string(agreed);
}

function attach(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const [number, afid] = [request.u32(), request.u32()];
  // Nobody can authenticate: there is no Tauth. The names of user and tree mean nothing here, as in QEMU.
  if (afid !== NOFID) throw new ShareError('EINVAL');
  const stat = s.share.stat([]);
  s.newFid(number, []);
  s.writeQid(reply, stat);
}

function flush(): void {
  // The device answers only when what is flushed has been answered.
}

function walk(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const [from, to, count] = [request.u32(), request.u32(), request.u16()];
  const fid = s.fid(from);
  if (count > MAX_WALK || fid.isXattr) throw new ShareError('EINVAL');
  if (from === to ? fid.file !== null || fid.directory !== null : s.fids.has(to)) throw new ShareError('EINVAL');
  const names = Array.from({ length: count }, () => request.string());
  const stats: ShareStat[] = [];
  let { path } = fid;
  for (const [i, name] of names.entries()) {
    try {
      // What is walked through must be a directory, also where the next step goes up again.
      if (name === '..' || name === '.') mustBeDirectory(stats.at(-1) ?? s.share.stat(path));
      // Above the folder there is nothing.
      const next = name === '..' ? parentOf(path) : name === '.' ? path : s.child(path, name);
      stats.push(s.share.stat(next));
      path = next;
    } catch (e) {
      // Only the first name's failure is one; later ones show in the number of qids.
      if (i === 0 || !(e instanceof ShareError)) throw e;
      break;
    }
  }
  if (stats.length === count) {
    if (from === to) fid.path = path;
    else s.newFid(to, path);
  }
  reply.u16(stats.length);
  for (const stat of stats) s.writeQid(reply, stat);
}

function mustBeDirectory(stat: ShareStat): void {
  if ((stat.mode & S_IFMT) !== S_IFDIR) throw new ShareError('ENOTDIR');
}

/** A new entry: made by `make`, then its qid. */
function add(s: P9Session, directory: Path, path: Path, make: () => void, reply: MessageWriter): void {
  make();
  const stat = s.share.stat(path);
  s.inodes.modified(stat.key, s.options.now());
  s.touched(directory);
  s.writeQid(reply, stat);
}

function mkdir(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const { path: dir } = s.fid(request.u32());
  const path = s.child(dir, request.string(), 'EEXIST');
  const mode = request.u32();
  s.mustBeWritable();
  add(s, dir, path, () => s.share.mkdir(path, mode & PERMISSIONS), reply);
}

function symlink(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const { path: dir } = s.fid(request.u32());
  const path = s.child(dir, request.string(), 'EEXIST');
  const target = request.string();
  if (target === '' || target.includes('\0')) throw new ShareError('ENOENT');
  s.mustBeWritable();
  add(s, dir, path, () => s.share.symlink(path, target), reply);
}

/** Linux makes regular files so when it does not open them too. Pipes, sockets and devices of the host are not for guests to make. */
function mknod(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const { path: dir } = s.fid(request.u32());
  const path = s.child(dir, request.string(), 'EEXIST');
  const mode = request.u32();
  s.mustBeWritable();
  if ((mode & S_IFMT) !== S_IFREG && (mode & S_IFMT) !== 0) throw new ShareError('EPERM');
  const open = { read: false, write: true, truncate: false, append: false, sync: false };
  add(s, dir, path, () => s.share.create(path, open, mode & PERMISSIONS).close(), reply);
}

function link(s: P9Session, request: MessageReader): void {
  const { path: dir } = s.fid(request.u32());
  const { path: existing } = s.fid(request.u32());
  const path = s.child(dir, request.string(), 'EEXIST');
  s.mustBeWritable();
  s.share.link(existing, path);
  s.inodes.changed(s.share.stat(path).key, s.options.now());
  s.touched(dir);
}

function moved(s: P9Session, from: Path, to: Path): void {
  s.mustBeWritable();
  if (from.length === 0) throw new ShareError('EBUSY');
  s.share.rename(from, to);
  s.renamed(from, to);
  s.inodes.changed(s.share.stat(to).key, s.options.now());
  s.touched(parentOf(from));
  s.touched(parentOf(to));
}

function rename(s: P9Session, request: MessageReader): void {
  const { path } = s.fid(request.u32());
  const { path: dir } = s.fid(request.u32());
  moved(s, path, s.child(dir, request.string(), 'EISDIR'));
}

function renameat(s: P9Session, request: MessageReader): void {
  const from = s.child(s.fid(request.u32()).path, request.string(), 'EISDIR');
  const to = s.child(s.fid(request.u32()).path, request.string(), 'EISDIR');
  moved(s, from, to);
}

function removeEntry(s: P9Session, path: Path, isDirectory: boolean): void {
  s.mustBeWritable();
  const stat = s.share.stat(path);
  if (isDirectory) s.share.rmdir(path);
  else s.share.unlink(path);
  if (isDirectory || stat.nlink <= 1) s.inodes.gone(stat.key);
  else s.inodes.changed(stat.key, s.options.now());
  s.touched(parentOf(path));
}

function unlinkat(s: P9Session, request: MessageReader): void {
  const { path: dir } = s.fid(request.u32());
  const name = request.string();
  const flags = request.u32();
  if ((flags & ~AT_REMOVEDIR) !== 0) throw new ShareError('EINVAL');
  removeEntry(s, s.child(dir, name), (flags & AT_REMOVEDIR) !== 0);
}

/** The fid goes, whatever becomes of the file. */
function remove(s: P9Session, request: MessageReader): void {
  const number = request.u32();
  const { path } = s.fid(number);
  s.clunk(number);
  if (path.length === 0) throw new ShareError('EBUSY');
  removeEntry(s, path, (s.share.stat(path).mode & S_IFMT) === S_IFDIR);
}

export const TREE_HANDLERS = {
  Tversion: version,
  Tattach: attach,
  Tflush: flush,
  Twalk: walk,
  Tmkdir: mkdir,
  Tsymlink: symlink,
  Tmknod: mknod,
  Tlink: link,
  Trename: rename,
  Trenameat: renameat,
  Tunlinkat: unlinkat,
  Tremove: remove,
} as const satisfies Partial<Record<MessageName, Handler>>;
