// How an NBD session begins: fixed newstyle negotiation, structured replies if the server has them, then NBD_OPT_GO; for servers that know
// no GO, NBD_OPT_EXPORT_NAME. What the server says is checked, since it may be anybody.
import type { ByteChannel, Inbox } from './byte-channel.ts';
import {
  DEFAULT_MAX_BLOCK,
  goRequest,
  IHAVEOPT,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_MAGIC,
  NBDMAGIC,
  type NbdExport,
  OPTION_ERRORS,
  optionRequest,
} from './nbd-protocol.ts';

/** The server speaks something else, or refuses. Trying again would change nothing. */
export class NbdError extends Error {
  override readonly name = 'NbdError';
}

/** No reply to an option is longer: a name and a message of 4 KiB each. */
const MAX_REPLY = 64 * 1024;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

interface Reply {
  readonly type: number;
  readonly data: Uint8Array;
}

/** Ends where transmission begins. Rejects with NbdError; when the connection breaks it never ends (the caller sees that). */
export async function handshake(channel: ByteChannel, inbox: Inbox, exportName: string): Promise<NbdExport> {
  const hello = viewOf(await inbox.take(18));
  if (hello.getBigUint64(0) !== NBDMAGIC) throw new NbdError('it is no NBD server');
  if (hello.getBigUint64(8) !== IHAVEOPT) throw new NbdError('the server speaks only the oldstyle protocol');
  const server = hello.getUint16(16);
  if ((server & NBD_FLAG_FIXED_NEWSTYLE) === 0) throw new NbdError('the server does not know the fixed newstyle protocol');
  const noZeroes = server & NBD_FLAG_NO_ZEROES;
  const client = new Uint8Array(4);
  viewOf(client).setUint32(0, NBD_FLAG_FIXED_NEWSTYLE | noZeroes);
  channel.write(client);

  channel.write(optionRequest(NBD_OPT_STRUCTURED_REPLY, new Uint8Array(0)));
  const isStructured = (await reply(inbox, NBD_OPT_STRUCTURED_REPLY)).type === NBD_REP_ACK;

  channel.write(optionRequest(NBD_OPT_GO, goRequest(exportName, [NBD_INFO_BLOCK_SIZE])));
  let size: number | null = null;
  let flags = 0;
  let blocks = { minBlock: 1, preferredBlock: 4096, maxBlock: DEFAULT_MAX_BLOCK };
  for (;;) {
    const { type, data } = await reply(inbox, NBD_OPT_GO);
    if (type === NBD_REP_ACK) break;
    if (type === NBD_REP_ERR_UNSUP) return exportByName(channel, inbox, exportName, noZeroes !== 0, isStructured);
    if (type >= NBD_REP_ERR) throw refusal(exportName, type, data);
    if (type !== NBD_REP_INFO || data.length < 2) throw new NbdError(`the server answered NBD_OPT_GO with a reply of type ${type}`);
    const view = viewOf(data);
    const info = view.getUint16(0);
    if (info === NBD_INFO_EXPORT && data.length === 12) [size, flags] = [sizeOf(view.getBigUint64(2)), view.getUint16(10)];
    if (info === NBD_INFO_BLOCK_SIZE && data.length === 14) blocks = blockSizes(view);
  }
  if (size === null) throw new NbdError('the server did not say how large the export is');
  return { size, flags, ...blocks, isStructured };
}

async function reply(inbox: Inbox, option: number): Promise<Reply> {
  const view = viewOf(await inbox.take(20));
  const length = view.getUint32(16);
  if (view.getBigUint64(0) !== NBD_REP_MAGIC || view.getUint32(8) !== option || length > MAX_REPLY)
    throw new NbdError('the server answered an option with something else');
  return { type: view.getUint32(12), data: await inbox.take(length) };
}

function refusal(name: string, type: number, data: Uint8Array): NbdError {
  // Servers may add a message for people.
  const said = new TextDecoder().decode(data).replace(/[^\x20-\x7e]/g, '');
  const why = OPTION_ERRORS[type] ?? `the server answered with error ${(type - NBD_REP_ERR) >>> 0}`;
  return new NbdError(`export "${name}": ${why}${said === '' ? '' : ` (${said})`}`);
}

async function exportByName(
  channel: ByteChannel,
  inbox: Inbox,
  name: string,
  noZeroes: boolean,
  isStructured: boolean,
): Promise<NbdExport> {
  channel.write(optionRequest(NBD_OPT_EXPORT_NAME, new TextEncoder().encode(name)));
  const view = viewOf(await inbox.take(10));
  if (!noZeroes) await inbox.take(124);
  const blocks = { minBlock: 1, preferredBlock: 4096, maxBlock: DEFAULT_MAX_BLOCK };
  return { size: sizeOf(view.getBigUint64(0)), flags: view.getUint16(8), ...blocks, isStructured };
}

function sizeOf(size: bigint): number {
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new NbdError(`the server offers ${size} bytes: that is more than can be counted here`);
  return Number(size);
}

function blockSizes(view: DataView): { minBlock: number; preferredBlock: number; maxBlock: number } {
  const [minBlock, preferredBlock, max] = [2, 6, 10].map((at) => view.getUint32(at)) as [number, number, number];
  const isPower = (n: number) => n > 0 && Number.isInteger(Math.log2(n));
  if (!isPower(minBlock) || minBlock > 65536 || !isPower(preferredBlock) || preferredBlock < minBlock || max < Math.max(512, minBlock))
    throw new NbdError(`the server's block sizes make no sense: ${minBlock}, ${preferredBlock}, ${max}`);
  return { minBlock, preferredBlock, maxBlock: Math.min(DEFAULT_MAX_BLOCK, max - (max % minBlock)) };
}
