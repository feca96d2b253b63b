// errno.h: the error numbers that hypercalls return negated, and their names for messages and traces.
// The header keeps EINTR and ERESTART from guests, so they are not here.

export const XEN_EPERM = 1;
export const XEN_ENOENT = 2;
export const XEN_ESRCH = 3;
export const XEN_EIO = 5;
export const XEN_ENXIO = 6;
export const XEN_E2BIG = 7;
export const XEN_ENOEXEC = 8;
export const XEN_EBADF = 9;
export const XEN_ECHILD = 10;
export const XEN_EAGAIN = 11;
export const XEN_EWOULDBLOCK = 11;
export const XEN_ENOMEM = 12;
export const XEN_EACCES = 13;
export const XEN_EFAULT = 14;
export const XEN_EBUSY = 16;
export const XEN_EEXIST = 17;
export const XEN_EXDEV = 18;
export const XEN_ENODEV = 19;
export const XEN_ENOTDIR = 20;
export const XEN_EISDIR = 21;
export const XEN_EINVAL = 22;
export const XEN_ENFILE = 23;
export const XEN_EMFILE = 24;
export const XEN_ENOSPC = 28;
export const XEN_EROFS = 30;
export const XEN_EMLINK = 31;
export const XEN_EDOM = 33;
export const XEN_ERANGE = 34;
export const XEN_EDEADLK = 35;
export const XEN_EDEADLOCK = 35;
export const XEN_ENAMETOOLONG = 36;
export const XEN_ENOLCK = 37;
export const XEN_ENOSYS = 38;
export const XEN_ENOTEMPTY = 39;
export const XEN_ENODATA = 61;
export const XEN_ETIME = 62;
export const XEN_EBADMSG = 74;
export const XEN_EOVERFLOW = 75;
export const XEN_EILSEQ = 84;
export const XEN_ENOTSOCK = 88;
export const XEN_EMSGSIZE = 90;
export const XEN_EOPNOTSUPP = 95;
export const XEN_EADDRINUSE = 98;
export const XEN_EADDRNOTAVAIL = 99;
export const XEN_ENOBUFS = 105;
export const XEN_EISCONN = 106;
export const XEN_ENOTCONN = 107;
export const XEN_ETIMEDOUT = 110;
export const XEN_ECONNREFUSED = 111;

const NAMED = {
  XEN_EPERM,
  XEN_ENOENT,
  XEN_ESRCH,
  XEN_EIO,
  XEN_ENXIO,
  XEN_E2BIG,
  XEN_ENOEXEC,
  XEN_EBADF,
  XEN_ECHILD,
  XEN_EAGAIN,
  XEN_EWOULDBLOCK,
  XEN_ENOMEM,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EXDEV,
  XEN_ENODEV,
  XEN_ENOTDIR,
  XEN_EISDIR,
  XEN_EINVAL,
  XEN_ENFILE,
  XEN_EMFILE,
  XEN_ENOSPC,
  XEN_EROFS,
  XEN_EMLINK,
  XEN_EDOM,
  XEN_ERANGE,
  XEN_EDEADLK,
  XEN_EDEADLOCK,
  XEN_ENAMETOOLONG,
  XEN_ENOLCK,
  XEN_ENOSYS,
  XEN_ENOTEMPTY,
  XEN_ENODATA,
  XEN_ETIME,
  XEN_EBADMSG,
  XEN_EOVERFLOW,
  XEN_EILSEQ,
  XEN_ENOTSOCK,
  XEN_EMSGSIZE,
  XEN_EOPNOTSUPP,
  XEN_EADDRINUSE,
  XEN_EADDRNOTAVAIL,
  XEN_ENOBUFS,
  XEN_EISCONN,
  XEN_ENOTCONN,
  XEN_ETIMEDOUT,
  XEN_ECONNREFUSED,
};

// Aliases (EWOULDBLOCK, EDEADLOCK) come after the name they alias: the first name wins.
const NAMES = new Map<number, string>();
for (const [name, value] of Object.entries(NAMED)) if (!NAMES.has(value)) NAMES.set(value, name.slice('XEN_'.length));

/** 'EINVAL' for 22 or -22; the bare number for one that Xen does not define. */
export function errnoName(errno: number): string {
  return NAMES.get(Math.abs(errno)) ?? String(errno);
}
