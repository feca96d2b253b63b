// Paths of XenStore: what is valid, and what a relative one stands for (docs/misc/xenstore.txt, "Paths").
import { XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX } from '@ringworld/abi';
import { XsError } from './errors.ts';

const VALID = /^\/$|^(?:\/[A-Za-z0-9\-_@]+)+$/;

export const domainPath = (domid: number): string => `/local/domain/${domid}`;

/** The names of watches that are no nodes: they fire when domains come and go. */
export const isSpecial = (path: string): boolean => path.startsWith('@');
export const INTRODUCE_DOMAIN = '@introduceDomain';
export const RELEASE_DOMAIN = '@releaseDomain';

/** The absolute path that `path` means to a connection of domain `domid`. */
export function canonical(domid: number, path: string): string {
  if (path.startsWith('/') || isSpecial(path)) {
    if (path.length > XENSTORE_ABS_PATH_MAX) throw new XsError('EINVAL');
    return path;
  }
  if (path.length > XENSTORE_REL_PATH_MAX) throw new XsError('EINVAL');
  return path === '' ? domainPath(domid) : `${domainPath(domid)}/${path}`;
}

/** canonical(), and it must name a node, or a special name where those are allowed. */
export function nodePath(domid: number, path: string, allowSpecial = false): string {
  if (path === '') throw new XsError('EINVAL');
  const full = canonical(domid, path);
  const valid = isSpecial(full) ? allowSpecial && /^@[A-Za-z0-9\-_@/]+$/.test(full) : VALID.test(full);
  if (!valid) throw new XsError('EINVAL');
  return full;
}

/** '/' for a top-level node. Of '/' itself: '/'. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
export const childPath = (path: string, name: string): string => (path === '/' ? `/${name}` : `${path}/${name}`);
export const isBelow = (path: string, ancestor: string): boolean => path.startsWith(ancestor === '/' ? '/' : `${ancestor}/`);
