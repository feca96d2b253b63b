// Numbers and layouts of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md); all fields are big-endian.

export const NBDMAGIC = 0x4e42444d41474943n;
export const IHAVEOPT = 0x49484156454f5054n;
export const NBD_REP_MAGIC = 0x3e889045565a9n;

export const NBD_FLAG_FIXED_NEWSTYLE = 1;
export const NBD_FLAG_NO_ZEROES = 2;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;

export const NBD_REP_ACK = 1;
export const NBD_REP_INFO = 3;
export const NBD_REP_ERR = 0x8000_0000;
export const NBD_REP_ERR_UNSUP = NBD_REP_ERR + 1;

export const OPTION_ERRORS: Readonly<Record<number, string>> = {
  [NBD_REP_ERR + 1]: 'the server does not know the option',
  [NBD_REP_ERR + 2]: 'the server forbids it',
  [NBD_REP_ERR + 3]: 'the server finds the request invalid',
  [NBD_REP_ERR + 4]: 'the server cannot do it on this platform',
  [NBD_REP_ERR + 5]: 'the server demands TLS, which is not supported',
  [NBD_REP_ERR + 6]: 'the server has no such export',
  [NBD_REP_ERR + 7]: 'the server is shutting down',
  [NBD_REP_ERR + 8]: 'the server demands that block sizes are obeyed',
  [NBD_REP_ERR + 9]: 'the request is too large for the server',
};

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_BLOCK_SIZE = 3;

export const NBD_FLAG_READ_ONLY = 1 << 1;
export const NBD_FLAG_SEND_FLUSH = 1 << 2;
export const NBD_FLAG_SEND_TRIM = 1 << 5;
export const NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6;

export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_WRITE_ZEROES = 6;

/** NBD_CMD_FLAG_NO_HOLE: the zeros are to take up room. */
export const NBD_CMD_FLAG_NO_HOLE = 1 << 1;

export const NBD_REPLY_FLAG_DONE = 1;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
/** Types with this bit report errors. */
export const NBD_REPLY_TYPE_ERROR_BIT = 1 << 15;

/** Clients may not ask for more at once unless the server says that it takes more. */
export const DEFAULT_MAX_BLOCK = 32 << 20;

const ERRORS: Readonly<Record<number, string>> = {
  1: 'operation not permitted',
  5: 'input/output error',
  12: 'out of memory',
  22: 'invalid argument',
  28: 'no space left',
  75: 'value too large',
  95: 'operation not supported',
  108: 'the server is shutting down',
};
export const errorName = (error: number): string => ERRORS[error] ?? `error ${error}`;

export interface NbdExport {
  readonly size: number;
  /** NBD_FLAG_*: transmission flags. */
  readonly flags: number;
  readonly minBlock: number;
  readonly preferredBlock: number;
  readonly maxBlock: number;
  readonly isStructured: boolean;
}

export function optionRequest(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, IHAVEOPT);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, 16);
  return bytes;
}

/** The data of NBD_OPT_GO. */
export function goRequest(name: string, infos: readonly number[]): Uint8Array {
  const text = new TextEncoder().encode(name);
  const bytes = new Uint8Array(6 + text.length + infos.length * 2);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, text.length);
  bytes.set(text, 4);
  view.setUint16(4 + text.length, infos.length);
  for (const [i, info] of infos.entries()) view.setUint16(6 + text.length + i * 2, info);
  return bytes;
}

export function commandHeader(type: number, flags: number, cookie: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, NBD_REQUEST_MAGIC);
  view.setUint16(4, flags);
  view.setUint16(6, type);
  // The cookie is ours to choose: its upper half stays 0.
  view.setUint32(12, cookie);
  view.setUint32(16, Math.floor(offset / 2 ** 32));
  view.setUint32(20, offset % 2 ** 32);
  view.setUint32(24, length);
  return bytes;
}
