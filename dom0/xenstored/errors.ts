// The ways in which a request can fail, by the names that go into an XS_ERROR reply (xs_wire.h, xsd_errors).

export type XsErrorName =
  | 'EINVAL'
  | 'EACCES'
  | 'EEXIST'
  | 'EISDIR'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'EIO'
  | 'ENOTEMPTY'
  | 'ENOSYS'
  | 'EROFS'
  | 'EBUSY'
  | 'EAGAIN'
  | 'EISCONN'
  | 'E2BIG'
  | 'EPERM';

/** Ends the handling of one request; the connection goes on. */
export class XsError extends Error {
  override readonly name = 'XsError';
  readonly code: XsErrorName;

  constructor(code: XsErrorName) {
    super(code);
    this.code = code;
  }
}
