// Long random conversations with the 9P server: many seeds, many messages, writable and read-only shares. After each conversation what lies
// beside the folder is as it was, a read-only folder is as it was, and every descriptor has been given back.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NodeShare } from '../xl/node-share.ts';
import { LockTable } from './locks.ts';
import { P9, RLERROR, VERSION } from './protocol.ts';
import { P9Session } from './session.ts';
import { message } from './testing/client.ts';
import { randomMessage, seeded } from './testing/fuzz.ts';

const MESSAGES = 10_000;

/** Names, kinds, modes and contents of everything below a folder. */
function snapshot(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const path = join(folder, name);
      const stat = fs.lstatSync(path);
      const contents = stat.isFile() ? fs.readFileSync(path, 'latin1') : stat.isSymbolicLink() ? fs.readlinkSync(path) : '';
      return `${name} ${stat.mode} ${stat.uid} ${stat.gid} ${contents}`;
    })
    .sort();
}

function conversation(seed: number, isReadOnly: boolean): number {
  const rng = seeded(seed);
  const base = fs.mkdtempSync(join(tmpdir(), 'ringworld-p9long-'));
  const folder = join(base, 'share');
  const open = fs.readdirSync('/proc/self/fd').length;
  try {
    fs.mkdirSync(join(base, 'other'));
    fs.writeFileSync(join(base, 'other/secret'), 'secret');
    fs.mkdirSync(join(folder, 'a/b'), { recursive: true });
    fs.writeFileSync(join(folder, 'a/file'), 'text');
    fs.symlinkSync('../../other', join(folder, 'a/up'));
    fs.symlinkSync(join(base, 'other'), join(folder, 'etc'));
    const [outside, inside] = [snapshot(join(base, 'other')), snapshot(folder)];
    const share = new NodeShare(folder);
    const options = { isReadOnly, maxMessage: 8192, now: () => ({ sec: 1, nsec: 0 }), locks: new LockTable(), maxOpen: 50 };
    const session = new P9Session(share, options);
    const begin = () => {
      session.handle(message(P9.Tversion, 0, (w) => w.u32(8192).string(VERSION)));
      session.handle(message(P9.Tattach, 0, (w) => w.u32(0).u32(0xffffffff).string('').string('').u32(0)));
    };
    begin();
    let done = 0;
    for (let i = 0; i < MESSAGES; i++) {
      const reply = session.handle(randomMessage(rng));
      expect(reply.length).toBeLessThanOrEqual(8192);
      expect(new DataView(reply.buffer, reply.byteOffset).getUint32(0, true)).toBe(reply.length);
      if (reply[4] !== RLERROR) done++;
      if (rng(500) === 0) begin();
    }
    session.end();
    share.close();
    expect(snapshot(join(base, 'other'))).toEqual(outside);
    expect(fs.readdirSync(base).sort()).toEqual(['other', 'share']);
    if (isReadOnly) expect(snapshot(folder)).toEqual(inside);
    return done;
  } finally {
    fs.rmSync(base, { recursive: true, force: true });
    expect(fs.readdirSync('/proc/self/fd').length).toBe(open);
  }
}

/** vitest gives up a worker that computes for a minute without a pause. */
const pause = () => new Promise((done) => setImmediate(done));

test.each(Array.from({ length: 20 }, (_, i) => i + 100))(
  `seed %i: ${MESSAGES} messages, to a writable and to a read-only share`,
  async (seed) => {
    await pause();
    expect(conversation(seed, false)).toBeGreaterThan(MESSAGES / 20);
    await pause();
    expect(conversation(seed, true)).toBeGreaterThan(MESSAGES / 40);
  },
);
