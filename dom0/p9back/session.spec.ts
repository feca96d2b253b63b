// The 9P server on folders of the host: what v9fs does with it, and what nobody may do.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NodeShare } from '../xl/node-share.ts';
import { ERRNO, type ErrnoName } from './linux-errno.ts';
import { LockTable } from './locks.ts';
import { P9 } from './protocol.ts';
import { P9Session } from './session.ts';
import { P9Client, P9Failure } from './testing/client.ts';

let base: string;
let folder: string;
let share: NodeShare;
let session: P9Session;
let client: P9Client;
let seconds: number;
const locks = new LockTable();

function connect(isReadOnly = false): P9Client {
  session = new P9Session(share, { isReadOnly, maxMessage: 1 << 20, now: () => ({ sec: seconds, nsec: 5 }), locks });
  const own = session;
  client = new P9Client((request) => own.handle(request));
  client.version();
  client.attach(0);
  return client;
}

beforeEach(() => {
  base = fs.mkdtempSync(join(tmpdir(), 'ringworld-p9-'));
  folder = join(base, 'share');
  fs.mkdirSync(folder);
  fs.writeFileSync(join(base, 'secret'), 'secret');
  fs.writeFileSync(join(folder, 'hello'), 'hello, guest\n');
  fs.mkdirSync(join(folder, 'sub'));
  fs.writeFileSync(join(folder, 'sub', 'inner'), 'inner');
  seconds = 1_767_225_600;
  share = new NodeShare(folder);
  connect();
});
afterEach(() => {
  session.end();
  share.close();
  fs.rmSync(base, { recursive: true, force: true });
});

function failure(act: () => unknown): string {
  try {
    act();
  } catch (e) {
    if (!(e instanceof P9Failure)) throw e;
    return Object.entries(ERRNO).find(([, n]) => n === e.errno)?.[0] ?? String(e.errno);
  }
  return 'none';
}
const openFds = (): number => fs.readdirSync('/proc/self/fd').length;

describe('files', () => {
  test('are read, at any offset and beyond their end', () => {
    client.walk(0, 1, 'hello');
    client.open(1);
    expect([client.read(1), client.read(1, 7), client.read(1, 7, 3), client.read(1, 100)]).toEqual([
      'hello, guest\n',
      'guest\n',
      'gue',
      '',
    ]);
  });

  test('are read in pieces as large as a message', () => {
    const text = '0123456789'.repeat(5000);
    fs.writeFileSync(join(folder, 'large'), text);
    client.walk(0, 1, 'large');
    client.open(1);
    expect(client.read(1)).toBe(text);
  });

  test('are created, written, grown and cut, and the host sees it', () => {
    client.walk(0, 1);
    client.create(1, 'new', 0o102, 0o640);
    expect(client.write(1, 'abcdef')).toBe(6);
    client.write(1, 'Z', 9);
    client.setattr(1, 0x8, { size: 8 });
    client.clunk(1);
    expect(fs.readFileSync(join(folder, 'new'), 'latin1')).toBe('abcdef\0\0');
    expect(fs.statSync(join(folder, 'new')).mode & 0o7777).toBe(0o640);
  });

  test('that exist are refused to O_EXCL, else opened, and emptied by O_TRUNC', () => {
    client.walk(0, 1);
    expect(failure(() => client.create(1, 'hello', 0o302))).toBe('EEXIST');
    client.create(1, 'hello', 0o102);
    expect(client.read(1)).toBe('hello, guest\n');
    client.walk(0, 2);
    client.create(2, 'hello', 0o1101);
    expect(fs.statSync(join(folder, 'hello')).size).toBe(0);
  });

  test('opened to read are not written, and the other way round', () => {
    client.walk(0, 1, 'hello');
    client.open(1);
    expect(failure(() => client.write(1, 'x'))).toBe('EBADF');
    client.walk(0, 2, 'hello');
    client.open(2, 1);
    expect(failure(() => client.read(2))).toBe('EBADF');
    expect(failure(() => client.open(2, 0))).toBe('EINVAL');
  });

  test('keep their contents while they are open and have no name any more', () => {
    client.walk(0, 1, 'hello');
    client.open(1, 2);
    client.unlinkat(0, 'hello');
    expect(failure(() => client.walk(0, 2, 'hello'))).toBe('ENOENT');
    expect(client.read(1)).toBe('hello, guest\n');
    expect(client.getattr(1).nlink).toBe(0);
    client.clunk(1);
  });

  test('never become set-user-ID on the host', () => {
    client.walk(0, 1);
    client.create(1, 'tool', 0o102, 0o6755);
    client.setattr(1, 0x1, { mode: 0o6711 });
    expect(fs.statSync(join(folder, 'tool')).mode & 0o7777).toBe(0o711);
  });
});

describe('names', () => {
  test('a directory lists itself, its parent and its entries by name, in pieces too', () => {
    for (let i = 0; i < 100; i++) fs.writeFileSync(join(folder, `file-${String(i).padStart(3, '0')}`), '');
    fs.symlinkSync('hello', join(folder, 'a-link'));
    client.walk(0, 1);
    client.open(1, 0o200000);
    const all = client.list(1);
    expect(all.slice(0, 4).map((e) => [e.name, e.type])).toEqual([
      ['.', 4],
      ['..', 4],
      ['a-link', 10],
      ['file-000', 8],
    ]);
    expect(all.length).toBe(105);
    expect(client.list(1, 100).map((e) => e.name)).toEqual(all.map((e) => e.name));
  });

  test('need not be UTF-8', () => {
    client.walk(0, 1);
    client.create(1, 'na\xefve');
    client.walk(0, 2);
    client.open(2);
    expect(client.list(2).map((e) => e.name)).toContain('na\xefve');
    expect(fs.readdirSync(folder, { encoding: 'buffer' }).some((n) => n.toString('latin1') === 'na\xefve')).toBe(true);
  });

  test('walks stop at the first that is missing, and then make no fid', () => {
    expect(client.walk(0, 1, 'sub', 'nothing', 'more')).toBe(1);
    expect(failure(() => client.getattr(1))).toBe('EBADF');
    expect(failure(() => client.walk(0, 1, 'nothing'))).toBe('ENOENT');
    expect(client.walk(0, 1, 'hello', 'below')).toBe(1);
    expect(failure(() => client.walk(0, 1, ...new Array(17).fill('sub')))).toBe('EINVAL');
    expect(client.walk(0, 1, 'sub', '..', 'sub', 'inner')).toBe(4);
    expect(failure(() => client.walk(0, 1))).toBe('EINVAL');
  });

  test('are moved with all fids below them', () => {
    client.walk(0, 1, 'sub', 'inner');
    client.walk(0, 2, 'sub');
    client.mkdir(0, 'other');
    client.walk(0, 3, 'other');
    client.renameat(0, 'sub', 3, 'moved');
    expect(client.getattr(1).size).toBe(5);
    client.create(2, 'fresh');
    expect(fs.readdirSync(join(folder, 'other', 'moved')).sort()).toEqual(['fresh', 'inner']);
    expect(failure(() => client.renameat(0, 'other', 3, 'self'))).toBe('EINVAL');
  });

  test('are linked, removed, and removed in the right way only', () => {
    client.walk(0, 1, 'hello');
    client.link(0, 1, 'again');
    expect(client.getattr(1).nlink).toBe(2);
    expect(failure(() => client.unlinkat(0, 'sub'))).toMatch(/EISDIR|EPERM/);
    expect(failure(() => client.unlinkat(0, 'sub', 0x200))).toBe('ENOTEMPTY');
    expect(failure(() => client.unlinkat(0, 'hello', 0x200))).toBe('ENOTDIR');
    client.remove(1);
    expect(fs.existsSync(join(folder, 'hello'))).toBe(false);
    expect(failure(() => client.getattr(1))).toBe('EBADF');
    expect(failure(() => client.remove(0))).toBe('EBUSY');
  });

  test('devices, pipes and sockets are not made; regular files are', () => {
    for (const mode of [0o020666, 0o060666, 0o010666, 0o140666]) expect(failure(() => client.mknod(0, 'node', mode))).toBe('EPERM');
    client.mknod(0, 'plain', 0o100600);
    expect(fs.statSync(join(folder, 'plain')).mode & 0o777).toBe(0o600);
  });
});

describe('times and numbers', () => {
  test('what the guest changes is dated by its own clock; the rest by the host', () => {
    fs.utimesSync(join(folder, 'hello'), 1000, 1000);
    client.walk(0, 1, 'hello');
    expect(client.getattr(1).mtime).toBe(1000);
    client.open(1, 2);
    seconds += 60;
    client.write(1, 'J');
    expect(client.getattr(1).mtime).toBe(seconds);
    client.setattr(1, 0x120, { mtime: 77 });
    expect(client.getattr(1).mtime).toBe(77);
    expect(fs.statSync(join(folder, 'hello')).mtimeMs).toBe(77000);
  });

  test('files are numbered as they are met, links to one file alike', () => {
    fs.linkSync(join(folder, 'hello'), join(folder, 'twin'));
    client.walk(0, 1, 'hello');
    client.walk(0, 2, 'twin');
    client.walk(0, 3, 'sub');
    const numbers = [0, 1, 2, 3].map((f) => client.getattr(f).number);
    expect(numbers).toEqual([1, 2, 2, 3]);
  });
});

describe('a read-only share', () => {
  test('is read, and refuses every change', () => {
    connect(true);
    client.walk(0, 1, 'hello');
    client.open(1);
    expect(client.read(1)).toBe('hello, guest\n');
    const before = fs.readdirSync(folder, { recursive: true }).sort();
    const attempts: (() => unknown)[] = [
      () => client.create(0, 'x'),
      () => client.mkdir(0, 'x'),
      () => client.symlink(0, 'x', 'y'),
      () => client.mknod(0, 'x', 0o100644),
      () => client.link(0, 1, 'x'),
      () => client.renameat(0, 'hello', 0, 'x'),
      () => client.unlinkat(0, 'hello'),
      () => client.setattr(1, 1, { mode: 0 }),
      () => client.setattr(1, 8, { size: 0 }),
      () => {
        client.walk(0, 2, 'hello');
        client.open(2, 1);
      },
      () => client.open(2, 0o1000),
      () => client.remove(2),
    ];
    expect(attempts.map(failure)).toEqual(attempts.map(() => 'EROFS'));
    expect(fs.readdirSync(folder, { recursive: true }).sort()).toEqual(before);
    expect(fs.readFileSync(join(folder, 'hello'), 'utf8')).toBe('hello, guest\n');
  });
});

describe('out of the folder', () => {
  test('no name leads: not .., not a slash, not a NUL', () => {
    client.walk(0, 1, '..', '..', '..', '..');
    client.open(1);
    expect(client.list(1).map((e) => e.name)).toEqual(['.', '..', 'hello', 'sub']);
    for (const name of ['../secret', '/etc/passwd', 'sub/../../secret', 'hello\0', '']) {
      expect(failure(() => client.walk(0, 2, name))).toBe('ENOENT');
      expect(failure(() => client.create(0, name))).toBe('ENOENT');
      expect(failure(() => client.mkdir(0, name))).toBe('ENOENT');
    }
    for (const name of ['.', '..']) {
      expect(failure(() => client.renameat(0, 'hello', 0, name))).toBe('EISDIR');
      expect(failure(() => client.unlinkat(0, name, 0x200))).toBe('EINVAL');
      expect(failure(() => client.mkdir(0, name))).toBe('EEXIST');
    }
    expect(failure(() => client.create(0, 'x'.repeat(256)))).toBe('ENAMETOOLONG');
  });

  test('no link leads: neither one that the guest made, nor as a directory, nor as a file', () => {
    client.symlink(0, 'up', '..');
    client.symlink(0, 'abs', join(base, 'secret'));
    client.walk(0, 1, 'abs');
    expect(client.readlink(1)).toBe(join(base, 'secret'));
    expect(failure(() => client.open(1))).toBe('ELOOP');
    expect(client.walk(0, 2, 'up', 'secret')).toBe(1);
    client.walk(0, 3);
    expect(failure(() => client.create(3, 'abs'))).toBe('ELOOP');
    expect(failure(() => client.setattr(1, 1, { mode: 0 }))).toBe('EOPNOTSUPP');
    expect(failure(() => client.setattr(1, 8, { size: 0 }))).toBe('ELOOP');
    client.walk(0, 4, 'up');
    for (const act of [() => client.mkdir(4, 'd'), () => client.mknod(4, 'f', 0o100644), () => client.symlink(4, 'l', 'x')])
      expect(failure(act)).toBe('ENOTDIR');
    expect(failure(() => client.open(4, 0))).toBe('ELOOP');
  });

  test('a directory that the host swaps for a link in the middle of things leads nowhere', () => {
    client.walk(0, 1, 'sub');
    client.walk(1, 2, 'inner');
    fs.renameSync(join(folder, 'sub'), join(folder, 'away'));
    fs.symlinkSync(base, join(folder, 'sub'));
    fs.writeFileSync(join(base, 'inner'), 'outside');
    expect(failure(() => client.open(2))).toBe('ENOTDIR');
    expect(failure(() => client.create(1, 'made'))).toBe('ENOTDIR');
    expect(failure(() => client.unlinkat(1, 'inner'))).toBe('ENOTDIR');
    expect(fs.readdirSync(base).sort()).toEqual(['inner', 'secret', 'share']);
  });

  test('pipes and devices of the host are not opened', () => {
    fs.symlinkSync('/dev/zero', join(folder, 'zero'));
    const fifo = join(folder, 'fifo');

    execFileSync('mkfifo', [fifo]);
    client.walk(0, 1, 'fifo');
    expect(failure(() => client.open(1, 0))).toBe('ENXIO');
    expect(failure(() => client.open(1, 2))).toBe('ENXIO');
    client.walk(0, 2);
    expect(failure(() => client.create(2, 'fifo'))).toBe('ENXIO');
  });
});

describe('bounds', () => {
  test('paths end at PATH_MAX, whatever is nested', () => {
    client.walk(0, 1);
    const name = 'd'.repeat(200);
    let depth = 0;
    for (; depth < 100; depth++) {
      if (failure(() => client.mkdir(1, name)) !== 'none') break;
      client.walk(1, 1, name);
    }
    expect(depth).toBe(20);
    expect(failure(() => client.mkdir(1, name))).toBe('ENAMETOOLONG');
  });

  test('so many files may be open, and descriptors are given back', () => {
    const before = openFds();
    session.end();
    session = new P9Session(share, { isReadOnly: false, maxMessage: 1 << 20, now: () => ({ sec: 0, nsec: 0 }), locks, maxOpen: 10 });
    client = new P9Client((request) => session.handle(request));
    client.version();
    client.attach(0);
    let result = 'none';
    for (let i = 1; i < 100 && result === 'none'; i++)
      result = failure(() => {
        client.walk(0, i, 'hello');
        client.open(i);
      });
    expect(result).toBe('EMFILE');
    expect(openFds()).toBe(before + 10);
    client.version();
    expect(openFds()).toBe(before);
  });

  test('messages are agreed to fit the ring; too small ones and other protocols are refused', () => {
    expect(client.version(1 << 30)).toEqual([1 << 20, '9P2000.L']);
    expect(client.version(8192, '9P2000')).toEqual([8192, 'unknown']);
    expect(failure(() => client.attach(0))).toBe('EPROTO');
    expect(failure(() => client.version(100))).toBe('EINVAL');
  });

  test('a message that ends early, or claims more than it has, is an error and nothing else', () => {
    const cases: [number, (w: { u32(n: number): unknown }) => unknown][] = [
      [P9.Twalk, (w) => w.u32(0)],
      [P9.Tread, (w) => w.u32(0)],
      [P9.Tattach, () => {}],
    ];
    for (const [type, body] of cases) expect(failure(() => client.call(type, body))).toBe('EINVAL');
    client.walk(0, 1, 'hello');
    client.open(1, 2);
    expect(failure(() => client.call(P9.Twrite, (w) => w.u32(1).u64(0).u32(0xffffffff)))).toBe('EINVAL');
    expect(failure(() => client.call(P9.Twrite, (w) => w.u32(1).u32(-1).u32(-1).u32(0)))).toBe('EINVAL');
    expect(failure(() => client.call(99))).toBe('EOPNOTSUPP');
    expect(failure(() => client.call(200))).toBe('EOPNOTSUPP');
  });
});

test('locks keep guests apart that share a folder', () => {
  client.walk(0, 1, 'hello');
  const mine = client;
  const first = session;
  connect();
  client.walk(0, 1, 'hello');
  const codes = (...c: number[]) => c;
  expect(codes(mine.lock(1, 1, 0, 10), client.lock(1, 0, 5, 1), client.lock(1, 1, 10, 0), mine.lock(1, 0, 20, 1))).toEqual([0, 1, 0, 1]);
  expect(codes(mine.lock(1, 2, 0, 5), client.lock(1, 1, 0, 5), client.lock(1, 1, 0, 6))).toEqual([0, 0, 1]);
  const held = client.call(P9.Tgetlock, (w) => w.u32(1).u8(1).u64(7).u64(1).u32(9).string('me'));
  expect([held.u8(), held.u64(), held.u64(), held.u32(), held.string()]).toEqual([1, 5, 5, 1, 'client']);
  first.end();
  expect(client.lock(1, 1, 0, 0)).toBe(0);
});

test('files have no extended attributes', () => {
  client.walk(0, 1, 'hello');
  expect(failure(() => client.call(P9.Txattrwalk, (w) => w.u32(1).u32(5).string('user.x')))).toBe('ENODATA' satisfies ErrnoName);
  expect(client.call(P9.Txattrwalk, (w) => w.u32(1).u32(5).string('')).u64()).toBe(0);
  expect(client.read(5)).toBe('');
  client.clunk(5);
  expect(failure(() => client.call(P9.Txattrcreate, (w) => w.u32(1).string('user.x').u64(1).u32(0)))).toBe('EOPNOTSUPP');
});
