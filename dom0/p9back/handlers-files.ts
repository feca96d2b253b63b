// Messages about open files and directories.
import type { Handler } from './handlers.ts';
import { PERMISSIONS } from './handlers-tree.ts';
import { HEADER, IO_HEADER, type MessageName, OPEN } from './protocol.ts';
import type { DirectoryEntry, Fid, P9Session } from './session.ts';
import { type OpenMode, S_IFDIR, S_IFMT, ShareError } from './share.ts';
import type { MessageReader, MessageWriter } from './wire.ts';

function modeOf(s: P9Session, flags: number): OpenMode {
  const access = flags & OPEN.accessMode;
  if (access === OPEN.accessMode) throw new ShareError('EINVAL');
  const write = access !== 0;
  const truncate = (flags & OPEN.truncate) !== 0;
  if (write || truncate) s.mustBeWritable();
  return {
    read: access !== OPEN.writeOnly,
    write: write || truncate,
    truncate,
    append: (flags & OPEN.append) !== 0,
    sync: (flags & (OPEN.sync | OPEN.dsync)) !== 0,
  };
}

/** What one read or write may carry. */
const iounit = (s: P9Session): number => s.msize - IO_HEADER;

function lopen(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const flags = request.u32();
  s.reserveOpen(fid);
  const stat = s.share.stat(fid.path);
  if ((stat.mode & S_IFMT) === S_IFDIR) {
    if ((flags & OPEN.accessMode) !== 0) throw new ShareError('EISDIR');
    s.openedDirectory(fid);
    s.writeQid(reply, stat);
  } else {
    if ((flags & OPEN.directory) !== 0) throw new ShareError('ENOTDIR');
    const mode = modeOf(s, flags);
    const file = s.share.open(fid.path, mode);
    const now = file.stat();
    s.opened(fid, file, now, mode.write);
    if (mode.truncate) s.inodes.modified(now.key, s.options.now());
    s.writeQid(reply, now);
  }
  reply.u32(iounit(s));
}

/** The directory's fid becomes the file's. */
function lcreate(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const path = s.child(fid.path, request.string(), 'EEXIST');
  const [flags, permissions] = [request.u32(), request.u32()];
  s.reserveOpen(fid);
  s.mustBeWritable();
  const mode = modeOf(s, flags);
  const directory = fid.path;
  let isNew = true;
  let file: ReturnType<typeof s.share.open>;
  try {
    file = s.share.create(path, mode, permissions & PERMISSIONS);
  } catch (e) {
    const mayExist = e instanceof ShareError && e.message === 'EEXIST' && (flags & OPEN.exclusive) === 0;
    if (!mayExist) throw e;
    isNew = false;
    file = s.share.open(path, mode);
  }
  const stat = file.stat();
  fid.path = path;
  s.opened(fid, file, stat, mode.write);
  if (isNew || mode.truncate) s.inodes.modified(stat.key, s.options.now());
  if (isNew) s.touched(directory);
  s.writeQid(reply, stat);
  reply.u32(iounit(s));
}

function read(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const offset = request.u64();
  const count = Math.min(request.u32(), s.msize - HEADER - 4);
  // A list of extended attributes, which is empty.
  if (fid.isXattr) {
    reply.u32(0);
    return;
  }
  const bytes = openFile(fid).read(offset, count);
  reply.u32(bytes.length).data(bytes);
}

function write(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const offset = request.u64();
  const data = request.data(request.u32());
  const file = openFile(fid);
  if (!fid.isWritable) throw new ShareError('EBADF');
  const count = file.write(offset, data);
  s.inodes.modified(fid.key, s.options.now());
  reply.u32(count);
}

function openFile(fid: Fid) {
  if (fid.directory !== null) throw new ShareError('EISDIR');
  if (fid.file === null) throw new ShareError('EBADF');
  return fid.file;
}

/** qid[13] offset[8] type[1] name[2+n] */
const ENTRY_FIXED = 24;

function readdir(s: P9Session, request: MessageReader, reply: MessageWriter): void {
  const fid = s.fid(request.u32());
  const offset = request.u64();
  const room = Math.min(request.u32(), s.msize - HEADER - 4);
  if (fid.directory === null) throw new ShareError(fid.file === null ? 'EBADF' : 'ENOTDIR');
  if (offset === 0) fid.directory = list(s, fid);
  const start = reply.length;
  reply.u32(0);
  let used = 0;
  // An entry's offset is where the next one begins.
  for (let i = offset; i < fid.directory.length; i++) {
    const { name, path } = fid.directory[i]!;
    if (used + ENTRY_FIXED + name.length > room) break;
    try {
      const stat = s.share.stat(path);
      s.writeQid(reply, stat);
      // DT_*: the type bits of st_mode, moved down.
      reply
        .u64(i + 1)
        .u8((stat.mode & S_IFMT) >> 12)
        .string(name);
      used += ENTRY_FIXED + name.length;
    } catch (e) {
      // Gone since the list was made.
      if (!(e instanceof ShareError)) throw e;
    }
  }
  reply.setU32(start, used);
}

/** The host's order is its own: by name, so that it is the same everywhere. */
function list(s: P9Session, fid: Fid): DirectoryEntry[] {
  const names = s.share.readdir(fid.path).sort((a, b) => (a < b ? -1 : 1));
  return [
    { name: '.', path: fid.path },
    { name: '..', path: fid.path.slice(0, -1) },
    ...names.map((name) => ({ name, path: [...fid.path, name] })),
  ];
}

function fsync(s: P9Session, request: MessageReader): void {
  const fid = s.fid(request.u32());
  // An older client sends no flag.
  const dataOnly = request.left >= 4 && request.u32() !== 0;
  if (fid.directory !== null) s.share.syncDirectory(fid.path);
  else if (!s.options.isReadOnly) openFile(fid).sync(dataOnly);
}

function clunk(s: P9Session, request: MessageReader): void {
  s.clunk(request.u32());
}

export const FILE_HANDLERS = {
  Tlopen: lopen,
  Tlcreate: lcreate,
  Tread: read,
  Twrite: write,
  Treaddir: readdir,
  Tfsync: fsync,
  Tclunk: clunk,
} as const satisfies Partial<Record<MessageName, Handler>>;
