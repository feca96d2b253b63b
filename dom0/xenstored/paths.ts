// Paths of XenStore: what is valid, and what a relative one stands for (docs/misc/xenstore.txt, "Paths"; xenstored_core.c,
// is_valid_nodename() and canonicalize()).
import { XENSTORE_REL_PATH_MAX } from '@ringworld/abi';
import { XsError } from './errors.ts';

const VALID = /^\/$|^(?:\/[A-Za-z0-9\-_@]+)+$/;
/** What does not count towards the longest path: a guest's relative path may be as long as any guest's. */
const OF_A_DOMAIN = /^\/local\/domain\/[0-9]{1,5}\//;

export const domainPath = (domid: number): string => `/local/domain/${domid}`;

/** The names of watches that are no nodes: they fire when domains come and go. */
export const isSpecial = (path: string): boolean => path.startsWith('@');
export const INTRODUCE_DOMAIN = '@introduceDomain';
export const RELEASE_DOMAIN = '@releaseDomain';

/** The absolute path that `path` means to a connection of domain `domid`. */
export const canonical = (domid: number, path: string): string =>
  path.startsWith('/') || isSpecial(path) ? path : `${domainPath(domid)}/${path}`;

/** canonical(), and it must be able to name a node. */
export function nodePath(domid: number, path: string, pathMax: number): string {
  const full = canonical(domid, path);
  if (!VALID.test(full)) throw new XsError('EINVAL');
  if (full.length > pathMax && full.length > pathMax + (OF_A_DOMAIN.exec(full)?.[0].length ?? 0)) throw new XsError('EINVAL');
  return full;
}

/** canonical(), and it must be able to name a node or a special watch, of which any name will do. */
export function watchPath(domid: number, path: string, pathMax: number): string {
  if (!isSpecial(path)) return nodePath(domid, path, pathMax);
  if (path.length > XENSTORE_REL_PATH_MAX) throw new XsError('EINVAL');
  return path;
}

/** '/' for a top-level node. Of '/' itself: '/'. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
export const childPath = (path: string, name: string): string => (path === '/' ? `/${name}` : `${path}/${name}`);
