// 9P2000.L: numbers of messages and flags (Linux's include/net/9p/9p.h; the protocol as diod's protocol.md describes it).

/** T-messages by name; the reply's number is one more. */
export const P9 = {
  Tstatfs: 8,
  Tlopen: 12,
  Tlcreate: 14,
  Tsymlink: 16,
  Tmknod: 18,
  Trename: 20,
  Treadlink: 22,
  Tgetattr: 24,
  Tsetattr: 26,
  Txattrwalk: 30,
  Txattrcreate: 32,
  Treaddir: 40,
  Tfsync: 50,
  Tlock: 52,
  Tgetlock: 54,
  Tlink: 70,
  Tmkdir: 72,
  Trenameat: 74,
  Tunlinkat: 76,
  Tversion: 100,
  Tattach: 104,
  Tflush: 108,
  Twalk: 110,
  Tread: 116,
  Twrite: 118,
  Tclunk: 120,
  Tremove: 122,
} as const;

export type MessageName = keyof typeof P9;
export const RLERROR = 7;

/** size[4] type[1] tag[2] */
export const HEADER = 7;
/** Room that a read's or a write's data leaves to the rest of its message (P9_IOHDRSZ). */
export const IO_HEADER = 24;
export const NOTAG = 0xffff;
export const NOFID = 0xffffffff;
export const MAX_WALK = 16;
export const VERSION = '9P2000.L';

export const QTDIR = 0x80;
export const QTSYMLINK = 0x02;
export const QTFILE = 0x00;

/** Open flags: Linux's numbers on x86, whatever the client is. */
export const OPEN = {
  accessMode: 0o3,
  writeOnly: 0o1,
  readWrite: 0o2,
  create: 0o100,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
  dsync: 0o10000,
  directory: 0o200000,
  sync: 0o4000000,
} as const;

export const GETATTR_BASIC = 0x7ff;

export const SETATTR = {
  mode: 0x1,
  uid: 0x2,
  gid: 0x4,
  size: 0x8,
  atime: 0x10,
  mtime: 0x20,
  ctime: 0x40,
  atimeSet: 0x80,
  mtimeSet: 0x100,
} as const;

export const AT_REMOVEDIR = 0x200;
/** What statfs shows as the kind of file system (V9FS_MAGIC). */
export const V9FS_MAGIC = 0x01021997;

export const LOCK_READ = 0;
export const LOCK_WRITE = 1;
export const LOCK_UNLOCK = 2;
export const LOCK_SUCCESS = 0;
export const LOCK_BLOCKED = 1;

const NAMES = new Map<number, MessageName>(Object.entries(P9).map(([name, number]) => [number, name as MessageName]));
export const messageName = (type: number): MessageName | null => NAMES.get(type) ?? null;
