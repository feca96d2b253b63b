// The requests of xs_wire.h, one handler each. A handler returns the payload of its reply or throws an XsError.
import {
  XENSTORE_PAYLOAD_MAX,
  XS_CONTROL,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
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
  XS_WRITE,
} from '@ringworld/abi';
import { type Connection, pushEvent } from './connection.ts';
import { XsError } from './errors.ts';
import { type Actor, getNode, makeNode, removeNode, setPerms, writeNode } from './nodes.ts';
import { canonical, domainPath, isSpecial, nodePath } from './paths.ts';
import { formatPerms, parsePerms, READ } from './perms.ts';
import { newTransaction } from './transaction.ts';

export const OK = 'OK\0';

/** What a handler may use beside the payload. */
export interface Request {
  readonly connection: Connection;
  readonly actor: Actor;
  readonly payload: string;
  readonly txId: number;
  /** Done once the reply is queued. */
  afterwards(action: () => void): void;
  readonly domains: DomainRequests;
  /** Ends transaction `id` of the connection; false on a conflict. */
  endTransaction(id: number, commit: boolean): boolean;
}

/** Requests about domains, which the daemon answers. */
export interface DomainRequests {
  isIntroduced(domid: number): boolean;
  introduce(domid: number, gfn: number, port: number): void;
  release(domid: number): void;
  resume(domid: number): void;
}

interface RequestKind {
  readonly name: string;
  /** For dom0 only. */
  readonly privileged?: true;
  /** The transaction id of the message means nothing. */
  readonly noTransaction?: true;
  handle(r: Request): string;
}

/** The payload as strings, each ended by a NUL; exactly `count` of them, or at least `count` with `more`. */
function strings(r: Request, count: number, more = false): string[] {
  if (!r.payload.endsWith('\0')) throw new XsError('EINVAL');
  const parts = r.payload.slice(0, -1).split('\0');
  if (more ? parts.length < count : parts.length !== count) throw new XsError('EINVAL');
  return parts;
}

/** The payload as one path. */
const path = (r: Request, special = false): string => nodePath(r.actor.domid, strings(r, 1)[0]!, special);

const number = (text: string): number => {
  if (!/^[0-9]{1,10}$/.test(text)) throw new XsError('EINVAL');
  return Number(text);
};

const list = (names: readonly string[]): string => names.map((n) => `${n}\0`).join('');

function watch(r: Request): string {
  const [given, token] = strings(r, 2) as [string, string];
  const { connection: c, actor } = r;
  const full = nodePath(c.domid, given, true);
  if (c.watches.some((w) => w.path === full && w.token === token)) throw new XsError('EEXIST');
  if (c.domid !== 0 && c.watches.length >= actor.quotas.watchesPerDomain) throw new XsError('E2BIG');
  const isRelative = !given.startsWith('/') && !isSpecial(given);
  c.watches.push({ path: full, token, relativeTo: isRelative ? domainPath(c.domid) : null });
  r.afterwards(() => pushEvent(c, given, token));
  return OK;
}

function unwatch(r: Request): string {
  const [given, token] = strings(r, 2) as [string, string];
  const { watches, domid } = r.connection;
  const full = canonical(domid, given);
  const at = watches.findIndex((w) => w.path === full && w.token === token);
  if (at < 0) throw new XsError('ENOENT');
  watches.splice(at, 1);
  return OK;
}

function transactionStart(r: Request): string {
  const { connection: c, actor } = r;
  if (c.domid !== 0 && c.transactions.size >= actor.quotas.transactionsPerDomain) throw new XsError('ENOSPC');
  while (c.nextTransaction === 0 || c.transactions.has(c.nextTransaction)) c.nextTransaction = (c.nextTransaction + 1) >>> 0;
  const id = c.nextTransaction;
  c.nextTransaction = (id + 1) >>> 0;
  c.transactions.set(id, newTransaction(id));
  return `${id}\0`;
}

function transactionEnd(r: Request): string {
  const [verdict] = strings(r, 1);
  if (verdict !== 'T' && verdict !== 'F') throw new XsError('EINVAL');
  if (r.txId === 0) throw new XsError('ENOENT');
  if (!r.endTransaction(r.txId, verdict === 'T')) throw new XsError('EAGAIN');
  return OK;
}

function directoryPart(r: Request): string {
  const [given, from] = strings(r, 2) as [string, string];
  const node = getNode(r.actor, nodePath(r.actor.domid, given), READ);
  const all = list(node.children);
  const offset = number(from);
  if (offset > all.length) throw new XsError('EINVAL');
  const head = `${node.generation}\0`;
  const room = XENSTORE_PAYLOAD_MAX - head.length - 1;
  if (all.length - offset <= room) return `${head}${all.slice(offset)}\0`;
  // Whole names only.
  const end = all.lastIndexOf('\0', offset + room - 1) + 1;
  return head + all.slice(offset, end);
}

export const REQUESTS: Readonly<Record<number, RequestKind>> = {
  [XS_DIRECTORY]: {
    name: 'DIRECTORY',
    handle: (r) => {
      const names = list(getNode(r.actor, path(r), READ).children);
      if (names.length > XENSTORE_PAYLOAD_MAX) throw new XsError('E2BIG');
      return names;
    },
  },
  [XS_DIRECTORY_PART]: { name: 'DIRECTORY_PART', handle: directoryPart },
  [XS_READ]: { name: 'READ', handle: (r) => getNode(r.actor, path(r), READ).value },
  [XS_WRITE]: {
    name: 'WRITE',
    handle: (r) => {
      const end = r.payload.indexOf('\0');
      if (end < 0) throw new XsError('EINVAL');
      writeNode(r.actor, nodePath(r.actor.domid, r.payload.slice(0, end)), r.payload.slice(end + 1));
      return OK;
    },
  },
  [XS_MKDIR]: {
    name: 'MKDIR',
    handle: (r) => {
      makeNode(r.actor, path(r));
      return OK;
    },
  },
  [XS_RM]: {
    name: 'RM',
    handle: (r) => {
      removeNode(r.actor, path(r));
      return OK;
    },
  },
  [XS_GET_PERMS]: { name: 'GET_PERMS', handle: (r) => list(formatPerms(getNode(r.actor, path(r, true), READ).perms)) },
  [XS_SET_PERMS]: {
    name: 'SET_PERMS',
    handle: (r) => {
      const [given, ...perms] = strings(r, 2, true) as [string, ...string[]];
      setPerms(r.actor, nodePath(r.actor.domid, given, true), parsePerms(perms));
      return OK;
    },
  },
  [XS_WATCH]: { name: 'WATCH', noTransaction: true, handle: watch },
  [XS_UNWATCH]: { name: 'UNWATCH', noTransaction: true, handle: unwatch },
  [XS_RESET_WATCHES]: {
    name: 'RESET_WATCHES',
    noTransaction: true,
    handle: ({ connection: c }) => {
      c.watches.length = 0;
      c.transactions.clear();
      return OK;
    },
  },
  [XS_TRANSACTION_START]: { name: 'TRANSACTION_START', noTransaction: true, handle: transactionStart },
  [XS_TRANSACTION_END]: { name: 'TRANSACTION_END', handle: transactionEnd },
  [XS_GET_DOMAIN_PATH]: { name: 'GET_DOMAIN_PATH', handle: (r) => `${domainPath(number(strings(r, 1)[0]!))}\0` },
  [XS_IS_DOMAIN_INTRODUCED]: {
    name: 'IS_DOMAIN_INTRODUCED',
    handle: (r) => (r.domains.isIntroduced(number(strings(r, 1)[0]!)) ? 'T\0' : 'F\0'),
  },
  [XS_INTRODUCE]: {
    name: 'INTRODUCE',
    privileged: true,
    noTransaction: true,
    handle: (r) => {
      const [id, gfn, port] = strings(r, 3, true) as [string, string, string];
      r.domains.introduce(number(id), number(gfn), number(port));
      return OK;
    },
  },
  [XS_RELEASE]: {
    name: 'RELEASE',
    privileged: true,
    noTransaction: true,
    handle: (r) => {
      r.domains.release(number(strings(r, 1)[0]!));
      return OK;
    },
  },
  [XS_RESUME]: {
    name: 'RESUME',
    privileged: true,
    noTransaction: true,
    handle: (r) => {
      r.domains.resume(number(strings(r, 1)[0]!));
      return OK;
    },
  },
  [XS_CONTROL]: {
    name: 'CONTROL',
    privileged: true,
    noTransaction: true,
    handle: () => {
      throw new XsError('EINVAL');
    },
  },
  // A stub domain's right to act for its HVM domain: there are none.
  [XS_SET_TARGET]: {
    name: 'SET_TARGET',
    privileged: true,
    noTransaction: true,
    handle: () => {
      throw new XsError('ENOSYS');
    },
  },
};
