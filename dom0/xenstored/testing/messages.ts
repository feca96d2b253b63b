// Random messages for fuzzers, made from what xs_wire.h and docs/misc/xenstore.txt say that requests consist of: each argument is of a kind,
// and a kind has good, odd and bad values. The same seed gives the same messages.
import {
  XS_CONTROL,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RESUME,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
} from '@ringworld/abi';

/** Mulberry32. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** 0 to n - 1. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }

  /** True once in n times. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    // SAFE: lists here are not empty.
    return list[this.below(list.length)]!;
  }
}

export type Kind = 'path' | 'value' | 'perms' | 'wpath' | 'token' | 'domid' | 'offset' | 'verdict' | 'port' | 'nothing' | 'control';

/** The arguments of each request; `weight`: how often it is made. */
export const REQUEST_KINDS: readonly { readonly type: number; readonly args: readonly Kind[]; readonly weight: number }[] = [
  { type: XS_DIRECTORY, args: ['path'], weight: 4 },
  { type: XS_READ, args: ['path'], weight: 8 },
  { type: XS_GET_PERMS, args: ['path'], weight: 4 },
  { type: XS_WATCH, args: ['wpath', 'token'], weight: 6 },
  { type: XS_UNWATCH, args: ['wpath', 'token'], weight: 3 },
  { type: XS_TRANSACTION_START, args: ['nothing'], weight: 6 },
  { type: XS_TRANSACTION_END, args: ['verdict'], weight: 6 },
  { type: XS_WRITE, args: ['path', 'value'], weight: 16 },
  { type: XS_MKDIR, args: ['path'], weight: 6 },
  { type: XS_RM, args: ['path'], weight: 5 },
  { type: XS_SET_PERMS, args: ['path', 'perms'], weight: 8 },
  { type: XS_DIRECTORY_PART, args: ['path', 'offset'], weight: 3 },
  { type: XS_RESET_WATCHES, args: ['nothing'], weight: 1 },
  { type: XS_GET_DOMAIN_PATH, args: ['domid'], weight: 1 },
  { type: XS_IS_DOMAIN_INTRODUCED, args: ['domid'], weight: 1 },
  { type: XS_RESUME, args: ['domid'], weight: 1 },
  { type: XS_SET_TARGET, args: ['domid', 'domid'], weight: 1 },
  { type: XS_INTRODUCE, args: ['domid', 'offset', 'port'], weight: 1 },
  { type: XS_RELEASE, args: ['domid'], weight: 1 },
  { type: XS_CONTROL, args: ['control'], weight: 2 },
  { type: XS_WATCH_EVENT, args: ['path', 'token'], weight: 1 },
  { type: XS_ERROR, args: ['value'], weight: 1 },
  { type: 20, args: ['domid'], weight: 1 },
  { type: 0xffff, args: ['nothing'], weight: 1 },
];

const NAMES = ['a', 'b', 'c', 'data', 'device', 'Q-_@9', 'a-longer-name'];
const BAD_PATHS = ['', '/', '//', 'a//b', 'a/', '/local/', 'da ta', '@releaseDomain', '@introduceDomain', '@any thing', '\xff', '.'];
const BAD_PERMS = ['', 'q1', 'r', 'n-1', 'b0x1', 'w01', 'r 2', 'r1x', 'n99999', 'b65535'];

export class MessageMaker {
  readonly random: Random;
  private readonly domids: readonly number[];
  private readonly bag: readonly (typeof REQUEST_KINDS)[number][];
  private readonly controls: readonly string[];

  /** `leaveOut`: requests not to make. `controls`: what XS_CONTROL is asked. */
  constructor(random: Random, domids: readonly number[], controls: readonly string[], leaveOut: readonly number[] = []) {
    this.random = random;
    this.domids = domids;
    this.controls = controls;
    this.bag = REQUEST_KINDS.filter((k) => !leaveOut.includes(k.type)).flatMap((k) => Array.from({ length: k.weight }, () => k));
  }

  make(): { readonly type: number; readonly payload: string } {
    const { random } = this;
    const { type, args } = random.pick(this.bag);
    // A value and a control's text may hold NULs, so nothing ends them.
    let payload = args.map((kind) => this.argument(kind) + (kind === 'value' ? '' : '\0')).join('');
    if (random.once(40)) payload = payload.slice(0, random.below(payload.length + 1));
    if (random.once(60)) payload += random.pick(['\0', 'x', 'x\0']);
    return { type, payload };
  }

  argument(kind: Kind): string {
    const { random } = this;
    switch (kind) {
      case 'path':
        return this.path();
      case 'wpath':
        return random.once(5) ? random.pick(['@releaseDomain', '@introduceDomain', '@x']) : this.path();
      case 'value':
        return random.once(30) ? 'v'.repeat(random.below(2200)) : random.pick(['', '1', 'text', '\0\xff\0', 'x'.repeat(random.below(60))]);
      case 'token':
        return random.pick(['', 't', 'u', 'token']);
      case 'perms': {
        const count = random.once(20) ? random.below(8) : 1 + random.below(3);
        const one = () => (random.once(20) ? random.pick(BAD_PERMS) : `${random.pick(['n', 'r', 'w', 'b'])}${random.pick(this.domids)}`);
        return Array.from({ length: count }, one).join('\0');
      }
      case 'domid':
        return random.once(8) ? random.pick(['', 'x', '32752', '77', '-1', '65536']) : String(random.pick(this.domids));
      case 'offset':
        return random.pick(['0', '0', '2', '7', '100', '', '-1', 'x']);
      case 'port':
        return random.pick(['0', '1', '2', '-4', '']);
      case 'verdict':
        return random.once(12) ? random.pick(['', 'X', 'TT']) : random.pick(['T', 'T', 'T', 'F']);
      case 'control':
        return random.pick(this.controls);
      case 'nothing':
        return '';
    }
  }

  private path(): string {
    const { random } = this;
    if (random.once(25)) return random.pick(BAD_PATHS);
    if (random.once(200)) return `data${'/a'.repeat(random.below(1200))}`;
    const names = Array.from({ length: random.below(4) }, () => random.pick(NAMES));
    const base = random.pick(['', 'data', 'data', `/local/domain/${random.pick(this.domids)}`, '/local/domain/1/data', '/shared', '/tool']);
    return [base, ...names].filter((s, i) => s !== '' || i > 0).join('/');
  }
}
