// Permissions of a node: who owns it, what others may do, and what named domains may (docs/misc/xenstore.txt, "Permissions";
// xenstored_core.c, perm_for_conn(); xs_lib.c, xs_strings_to_perms()).
import { XsError } from './errors.ts';

export type Access = 'r' | 'w' | 'b' | 'n';

export interface Perm {
  readonly domid: number;
  readonly access: Access;
  /** The domain is gone: a later one with the same id inherits nothing (XS_PERM_IGNORE). */
  readonly ignored?: true;
}

/** The first entry is the owner, who may do anything; its access is everybody else's. Plain data. */
export type Perms = readonly Perm[];

export const READ = 1;
export const WRITE = 2;
/** May change the permissions. */
export const OWNER = 4;
const ALL = READ | WRITE | OWNER;
const BITS: Record<Access, number> = { n: 0, r: READ, w: WRITE, b: READ | WRITE };

/** In whose name something is done. */
export interface Identity {
  readonly domid: number;
  /** The domain that this one may act for (XS_SET_TARGET). */
  readonly target: number | null;
}

/** Quotas and permissions are for guests. */
export const isPrivileged = (who: Identity): boolean => who.domid === 0;

/** READ, WRITE and OWNER as far as `who` has them. */
export function accessOf(perms: Perms, who: Identity): number {
  const owner = perms[0];
  if (owner === undefined || isPrivileged(who) || owner.domid === who.domid || owner.domid === who.target) return ALL;
  for (let i = 1; i < perms.length; i++) {
    // SAFE: i < length.
    const p = perms[i]!;
    if (p.ignored !== true && (p.domid === who.domid || p.domid === who.target)) return BITS[p.access];
  }
  return BITS[owner.access];
}

export const ownerOf = (perms: Perms): number => perms[0]?.domid ?? 0;

/** What a new node gets from its parent: the same list, but what a guest makes is its own. */
export function inherited(parent: Perms, creator: Identity): Perms {
  if (isPrivileged(creator) || ownerOf(parent) === creator.domid) return parent;
  return [{ domid: creator.domid, access: parent[0]?.access ?? 'n' }, ...parent.slice(1)];
}

/** 'b7': domain 7 may read and write. */
export const formatPerms = (perms: Perms): string[] => perms.map((p) => `${p.access}${p.domid}`);

/** Numbers as strtol(3) with base 0 reads them, cut to 32 bits as xenstored stores them. */
export function parsePerms(texts: readonly string[]): Perm[] {
  return texts.map((text) => {
    const [, access, sign, digits] = /^([rwbn])[ \t-\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text) ?? [];
    if (access === undefined || digits === undefined) throw new XsError('EINVAL');
    const octal = /^0[0-7]/.test(digits);
    const value = octal ? Number.parseInt(digits, 8) : Number(digits);
    // What overflows a long is LONG_MAX, whose low half is -1.
    const domid = value >= 2 ** 63 ? -1 : value | 0;
    // SAFE: the expression admits these four letters only.
    return { access: access as Access, domid: sign === '-' ? -domid | 0 : domid };
  });
}
