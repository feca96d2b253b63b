// Seeded random 9P messages, made from what the protocol has: mostly right in form and wrong in content, sometimes wrong in form.
import { P9 } from '../protocol.ts';
import type { MessageWriter } from '../wire.ts';
import { message } from './client.ts';

/** A whole number from 0 to below `n`. */
export type Rng = (n: number) => number;

/** xorshift32 */
export function seeded(seed: number): Rng {
  let x = (seed * 2654435761) >>> 0 || 1;
  return (n) => {
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x % n;
  };
}

const TYPES: readonly number[] = Object.values(P9);
const NAMES = [
  'a',
  'b',
  'file',
  'up',
  'etc',
  '..',
  '.',
  '',
  'new',
  'x/y',
  '../secret',
  '/etc/passwd',
  'n\0',
  'd'.repeat(255),
  'e'.repeat(300),
];
const NUMBERS = [0, 1, 2, 3, 7, 8, 512, 4096, 8192, 0o100644, 0o040755, 0o120777, 0x7fffffff, 0x80000000, 0xffffffff];

const pick = <T>(rng: Rng, list: readonly T[]): T => list[rng(list.length)]!;
const fid = (rng: Rng) => (rng(8) === 0 ? pick(rng, NUMBERS) : rng(12));
const number = (rng: Rng) => (rng(3) === 0 ? rng(0x100000000) : pick(rng, NUMBERS));
const name = (rng: Rng) => pick(rng, NAMES);
/** Both halves random at times: offsets beyond any file. Sizes stay small mostly, or the host's disk would fill. */
const long = (rng: Rng) => (w: MessageWriter) => (rng(5) === 0 ? w.u32(number(rng)).u32(number(rng)) : w.u32(rng(20000)).u32(0));

type Body = (rng: Rng, w: MessageWriter) => unknown;

const BODIES: Readonly<Record<number, Body>> = {
  [P9.Tversion]: (rng, w) => w.u32(rng(3) === 0 ? number(rng) : 8192).string(rng(4) === 0 ? '9P2000' : '9P2000.L'),
  [P9.Tattach]: (rng, w) => w.u32(fid(rng)).u32(0xffffffff).string('').string(name(rng)).u32(0),
  [P9.Twalk]: (rng, w) => {
    const count = rng(10) === 0 ? rng(40) : rng(4);
    w.u32(fid(rng)).u32(fid(rng)).u16(count);
    for (let i = 0; i < count; i++) w.string(name(rng));
  },
  [P9.Tlopen]: (rng, w) => w.u32(fid(rng)).u32(rng(2) === 0 ? rng(3) : number(rng)),
  [P9.Tlcreate]: (rng, w) =>
    w
      .u32(fid(rng))
      .string(name(rng))
      .u32(0o100 | rng(3))
      .u32(number(rng))
      .u32(0),
  [P9.Tmkdir]: (rng, w) => w.u32(fid(rng)).string(name(rng)).u32(0o755).u32(0),
  [P9.Tsymlink]: (rng, w) => w.u32(fid(rng)).string(name(rng)).string(name(rng)).u32(0),
  [P9.Tmknod]: (rng, w) => w.u32(fid(rng)).string(name(rng)).u32(number(rng)).u32(1).u32(3).u32(0),
  [P9.Tlink]: (rng, w) => w.u32(fid(rng)).u32(fid(rng)).string(name(rng)),
  [P9.Trename]: (rng, w) => w.u32(fid(rng)).u32(fid(rng)).string(name(rng)),
  [P9.Trenameat]: (rng, w) => w.u32(fid(rng)).string(name(rng)).u32(fid(rng)).string(name(rng)),
  [P9.Tunlinkat]: (rng, w) =>
    w
      .u32(fid(rng))
      .string(name(rng))
      .u32(rng(2) * 0x200),
  [P9.Tread]: (rng, w) => long(rng)(w.u32(fid(rng))).u32(number(rng)),
  [P9.Treaddir]: (rng, w) => long(rng)(w.u32(fid(rng))).u32(number(rng)),
  [P9.Twrite]: (rng, w) => {
    const length = rng(500);
    w.u32(fid(rng))
      .u32(rng(20000))
      .u32(0)
      .u32(rng(10) === 0 ? number(rng) : length)
      .data(new Uint8Array(length));
  },
  [P9.Tsetattr]: (rng, w) => {
    // Sizes only up to what a test may cost the host.
    w.u32(fid(rng))
      .u32(rng(0x200))
      .u32(number(rng) | 0o700)
      .u32(0xffffffff)
      .u32(0xffffffff)
      .u32(rng(20000))
      .u32(0);
    for (let i = 0; i < 4; i++) w.u32(rng(1e9)).u32(0);
  },
  [P9.Txattrwalk]: (rng, w) =>
    w
      .u32(fid(rng))
      .u32(fid(rng))
      .string(rng(2) === 0 ? '' : 'user.x'),
  [P9.Tlock]: (rng, w) => {
    w.u32(fid(rng)).u8(rng(4)).u32(0);
    long(rng)(w);
    long(rng)(w);
    return w.u32(rng(3)).string('c');
  },
  [P9.Tgetlock]: (rng, w) => {
    w.u32(fid(rng)).u8(rng(4));
    long(rng)(w);
    long(rng)(w);
    return w.u32(rng(3)).string('c');
  },
  [P9.Tflush]: (rng, w) => w.u16(rng(8)),
};

/** At most a few hundred bytes long. */
export function randomMessage(rng: Rng): Uint8Array {
  const type = rng(30) === 0 ? rng(256) : pick(rng, TYPES);
  // A conversation that is begun anew all the time gets nowhere.
  if (type === P9.Tversion && rng(20) !== 0) return randomMessage(rng);
  const body: Body = BODIES[type] ?? ((r, w) => w.u32(fid(r)).u32(number(r)));
  const bytes = message(type, rng(8), (w) => body(rng, w)).slice();
  if (rng(12) === 0 && bytes.length > 7) {
    // Cut short, with a length that is right again or not.
    const cut = bytes.slice(0, 7 + rng(bytes.length - 7));
    if (rng(4) !== 0) new DataView(cut.buffer).setUint32(0, cut.length, true);
    return cut;
  }
  if (rng(12) === 0) bytes[7 + rng(Math.max(1, bytes.length - 7))] = rng(256);
  if (rng(200) === 0) bytes[rng(4)] = rng(256);
  return bytes;
}
