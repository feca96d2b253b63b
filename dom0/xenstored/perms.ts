// Permissions of a node: who owns it, what others may do, and what named domains may (docs/misc/xenstore.txt, "Permissions").
import { XsError } from './errors.ts';

export type Access = 'r' | 'w' | 'b' | 'n';

/** The first entry is the owner, who may do anything; its access is everybody else's. Plain data. */
export type Perms = readonly { readonly domid: number; readonly access: Access }[];

export const READ = 1;
export const WRITE = 2;
const BITS: Record<Access, number> = { n: 0, r: READ, w: WRITE, b: READ | WRITE };

/** Highest domain id that a permission may name (DOMID_FIRST_RESERVED). */
const MAX_DOMID = 0x7ff0;

/** READ | WRITE of `domid`; dom0 may do everything. */
export function accessOf(perms: Perms, domid: number): number {
  const owner = perms[0];
  if (domid === 0 || owner === undefined || owner.domid === domid) return READ | WRITE;
  const own = perms.slice(1).find((p) => p.domid === domid);
  return BITS[(own ?? owner).access];
}

export const ownerOf = (perms: Perms): number => perms[0]?.domid ?? 0;

export const isOwner = (perms: Perms, domid: number): boolean => domid === 0 || ownerOf(perms) === domid;

/** What a new node gets from its parent: the same list, but what a guest makes is its own. */
export function inherited(parent: Perms, creator: number): Perms {
  if (creator === 0 || parent.length === 0) return parent;
  return [{ domid: creator, access: parent[0]!.access }, ...parent.slice(1)];
}

/** 'b7': domain 7 may read and write. */
export const formatPerms = (perms: Perms): string[] => perms.map((p) => `${p.access}${p.domid}`);

export function parsePerms(texts: readonly string[]): Perms {
  if (texts.length === 0) throw new XsError('EINVAL');
  return texts.map((text) => {
    const [, access, id] = /^([rwbn])([0-9]{1,5})$/.exec(text) ?? [];
    const domid = Number(id);
    if (access === undefined || domid > MAX_DOMID) throw new XsError('EINVAL');
    return { access: access as Access, domid };
  });
}
