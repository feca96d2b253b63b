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
import type { Connection } from './connection.ts';
import { XsError } from './errors.ts';
import { type Actor, getNode, makeNode, removeNode, setPerms, writeValue } from './nodes.ts';
import { domainPath, isSpecial, nodePath } from './paths.ts';
import { formatPerms, isPrivileged, type Perms, parsePerms, READ } from './perms.ts';

export const OK = 'OK\0';

/** What a handler may use beside the payload. */
export interface Request {
  readonly connection: Connection;
  readonly actor: Actor;
  readonly payload: string;
  readonly txId: number;
  readonly daemon: RequestTarget;
  /** What is done once the reply is queued. */
  readonly afterwards: (() => void)[];
}

/** Requests that are about more than nodes, which the daemon answers. */
export interface RequestTarget {
  addWatch(r: Request, path: string, token: string, depth: number): void;
  removeWatch(c: Connection, path: string, token: string): void;
  resetWatches(c: Connection): void;
  startTransaction(c: Connection): number;
  endTransaction(r: Request, commit: boolean): void;
  /** Marks entries of domains that do not exist; ENOENT when the owner does not. */
  checkPerms(perms: Perms): Perms;
  setSpecialPerms(actor: Actor, name: string, perms: Perms): void;
  isIntroduced(domid: number): boolean;
  introduce(domid: number, port: number): void;
  release(domid: number): void;
  resume(domid: number): void;
  setTarget(domid: number, target: number): void;
  control(command: string, args: readonly string[]): string;
}

interface RequestKind {
  readonly name: string;
  /** For dom0 only. */
  readonly privileged?: true;
  /** The transaction id of the message means nothing. */
  readonly noTransaction?: true;
  handle(r: Request): string;
}

/** The payload as strings, each ended by a NUL (get_strings()); what follows the last NUL does not count. */
const strings = (payload: string): string[] => payload.split('\0').slice(0, -1);

function atLeast(r: Request, count: number): string[] {
  const parts = strings(r.payload);
  if (parts.length < count) throw new XsError('EINVAL');
  return parts;
}

function exactly(r: Request, count: number): string[] {
  const parts = strings(r.payload);
  if (parts.length !== count) throw new XsError('EINVAL');
  return parts;
}

/** xenstore.txt of Xen 4.20, WATCH: how many levels below the path; without it all. */
function watchDepth(text: string | undefined): number {
  if (text === undefined) return -1;
  if (!/^[0-9]+$/.test(text)) throw new XsError('EINVAL');
  return Math.min(Number(text), 0x7fffffff);
}

/** The payload as one string: exactly one NUL, at its end (onearg()). */
function only(r: Request): string {
  const { payload } = r;
  if (payload.length === 0 || payload.indexOf('\0') !== payload.length - 1) throw new XsError('EINVAL');
  return payload.slice(0, -1);
}

const path = (r: Request, given: string): string => nodePath(r.actor.domid, given, r.actor.book.quotas.pathMax);

/** atoi(3). */
export const atoi = (text: string): number => Number(/^[ \t-\r]*([+-]?\d{1,10})/.exec(text)?.[1] ?? 0) | 0;

/** A domain other than dom0, by its number. */
function guestDomid(r: Request): number {
  const domid = atoi(only(r));
  if (domid === 0) throw new XsError('EINVAL');
  return domid;
}

const list = (names: readonly string[]): string => (names.length === 0 ? '' : `${names.join('\0')}\0`);

function directoryPart(r: Request): string {
  const [given, from] = exactly(r, 2) as [string, string];
  const node = getNode(r.actor, path(r, given), READ);
  const offset = atoi(from);
  const head = `${node.generation}\0`;
  // Behind the list: an empty name, as after the last one.
  if (offset < 0 || offset >= node.childBytes) return `${head}\0`;
  const all = list(node.children);
  const room = XENSTORE_PAYLOAD_MAX - head.length - 1;
  if (all.length - offset <= room) return `${head}${all.slice(offset)}\0`;
  // Whole names only.
  const end = all.lastIndexOf('\0', offset + room - 1) + 1;
  return head + all.slice(offset, end);
}

function write(r: Request): string {
  const end = r.payload.indexOf('\0');
  if (end < 0) throw new XsError('EINVAL');
  writeValue(r.actor, path(r, r.payload.slice(0, end)), r.payload.slice(end + 1));
  return OK;
}

function changePerms(r: Request): string {
  const [given, ...texts] = atLeast(r, 2) as [string, ...string[]];
  const { actor, daemon } = r;
  if (!isPrivileged(actor) && texts.length > actor.book.quotas.permissions) throw new XsError('ENOSPC');
  const perms = daemon.checkPerms(parsePerms(texts));
  if (isSpecial(given)) daemon.setSpecialPerms(actor, given, perms);
  else setPerms(actor, path(r, given), perms);
  return OK;
}

function transactionStart(r: Request): string {
  if (r.actor.transaction !== null) throw new XsError('EBUSY');
  return `${r.daemon.startTransaction(r.connection)}\0`;
}

function transactionEnd(r: Request): string {
  const verdict = only(r);
  if (verdict !== 'T' && verdict !== 'F') throw new XsError('EINVAL');
  r.daemon.endTransaction(r, verdict === 'T');
  return OK;
}

function introduce(r: Request): string {
  // The frame's number is not needed: the page is reached by its grant.
  const [domid, , port] = atLeast(r, 3) as [string, string, string];
  if (atoi(port) <= 0) throw new XsError('EINVAL');
  r.daemon.introduce(atoi(domid), atoi(port));
  return OK;
}

function release(r: Request): void {
  const domid = guestDomid(r);
  if (!r.daemon.isIntroduced(domid)) throw new XsError('ENOENT');
  r.daemon.release(domid);
}

/** A request that answers OK when it could be done. */
const done = (act: (r: Request) => void) => (r: Request) => {
  act(r);
  return OK;
};

export const REQUESTS: Readonly<Record<number, RequestKind>> = {
  [XS_CONTROL]: {
    name: 'CONTROL',
    privileged: true,
    handle: (r) => {
      const [command, ...args] = atLeast(r, 1) as [string, ...string[]];
      return r.daemon.control(command, args);
    },
  },
  [XS_DIRECTORY]: { name: 'DIRECTORY', handle: (r) => list(getNode(r.actor, path(r, only(r)), READ).children) },
  [XS_READ]: { name: 'READ', handle: (r) => getNode(r.actor, path(r, only(r)), READ).value },
  [XS_GET_PERMS]: { name: 'GET_PERMS', handle: (r) => list(formatPerms(getNode(r.actor, path(r, only(r)), READ).perms)) },
  [XS_WATCH]: {
    name: 'WATCH',
    noTransaction: true,
    handle: done((r) => {
      const [given, token, depth] = strings(r.payload);
      if (given === undefined || token === undefined || strings(r.payload).length > 3) throw new XsError('EINVAL');
      r.daemon.addWatch(r, given, token, watchDepth(depth));
    }),
  },
  [XS_UNWATCH]: {
    name: 'UNWATCH',
    noTransaction: true,
    handle: done((r) => {
      const [given, token] = exactly(r, 2) as [string, string];
      r.daemon.removeWatch(r.connection, given, token);
    }),
  },
  [XS_TRANSACTION_START]: { name: 'TRANSACTION_START', handle: transactionStart },
  [XS_TRANSACTION_END]: { name: 'TRANSACTION_END', handle: transactionEnd },
  [XS_INTRODUCE]: { name: 'INTRODUCE', privileged: true, handle: introduce },
  [XS_RELEASE]: { name: 'RELEASE', privileged: true, handle: done(release) },
  [XS_GET_DOMAIN_PATH]: { name: 'GET_DOMAIN_PATH', handle: (r) => `${domainPath(atoi(only(r)) >>> 0)}\0` },
  [XS_WRITE]: { name: 'WRITE', handle: write },
  [XS_MKDIR]: { name: 'MKDIR', handle: done((r) => makeNode(r.actor, path(r, only(r)))) },
  [XS_RM]: { name: 'RM', handle: done((r) => removeNode(r.actor, path(r, only(r)))) },
  [XS_SET_PERMS]: { name: 'SET_PERMS', handle: changePerms },
  [XS_IS_DOMAIN_INTRODUCED]: {
    name: 'IS_DOMAIN_INTRODUCED',
    privileged: true,
    handle: (r) => (r.daemon.isIntroduced(atoi(only(r))) ? 'T\0' : 'F\0'),
  },
  [XS_RESUME]: { name: 'RESUME', privileged: true, handle: done((r) => r.daemon.resume(guestDomid(r))) },
  [XS_SET_TARGET]: {
    name: 'SET_TARGET',
    privileged: true,
    handle: done((r) => {
      const [domid, target] = atLeast(r, 2) as [string, string];
      r.daemon.setTarget(atoi(domid), atoi(target));
    }),
  },
  [XS_RESET_WATCHES]: { name: 'RESET_WATCHES', handle: done((r) => r.daemon.resetWatches(r.connection)) },
  [XS_DIRECTORY_PART]: { name: 'DIRECTORY_PART', handle: directoryPart },
};

/** As the trace names them. */
export const requestName = (type: number): string => REQUESTS[type]?.name ?? `type ${type}`;
