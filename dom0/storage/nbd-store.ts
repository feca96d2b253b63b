// A disk behind an NBD server. When the connection breaks it is made again, and what was not answered is asked again: every command may be
// carried out twice without harm. What cannot be known is whether a server that died has kept what it had answered and not yet flushed;
// as with Linux's nbd-client and with QEMU, the next flush covers what the new server has.
import type { BlockStore, LatencyModel } from './block-store.ts';
import type { ByteChannel } from './byte-channel.ts';
import { InOrder } from './in-order.ts';
import { NbdConnection, NbdLost, type NbdRequest } from './nbd-connection.ts';
import {
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from './nbd-protocol.ts';

const SECTOR = 512;
/** How often the server is looked for after it has gone, and the pauses between (ms of the host), about ten seconds in all. */
const PAUSES = [50, 100, 200, 400, 800, 1600, 3200, 3200];
/** A request that was in flight so often when the connection broke is not tried again. */
const MAX_TRIES = 4;

export interface NbdServer {
  /** For messages: the address as the user wrote it. */
  readonly name: string;
  readonly exportName: string;
  connect(): Promise<ByteChannel>;
  /** Is there somebody to connect to again? */
  readonly canReconnect: boolean;
  /** Of the host's time. */
  wait(ms: number): Promise<void>;
  /** Resolves when a server that is ours alone has ended: only then has it written what its image's format keeps in memory. */
  ended?(): Promise<void>;
}

export class NbdStore implements BlockStore {
  readonly sectors: number;
  readonly sectorSize: number;
  readonly isReadonly: boolean;
  readonly canDiscard: boolean;
  readonly discardGranularity: number;
  readonly canDiscardSecurely: boolean;
  readonly latency: LatencyModel;
  onResize: ((sectors: number) => void) | null = null;
  private readonly server: NbdServer;
  private readonly order = new InOrder();
  private readonly size: number;
  private readonly flags: number;
  private readonly maxBytes: number;
  private connection: NbdConnection;
  private reconnecting: Promise<NbdConnection> | null = null;
  /** The server did not come back: until it does, a request looks for it once. */
  private isGone = false;

  private constructor(server: NbdServer, connection: NbdConnection, isReadonly: boolean, latency: (sectors: number) => LatencyModel) {
    const { size, flags, minBlock, preferredBlock, maxBlock } = connection.info;
    this.server = server;
    this.connection = connection;
    this.size = size;
    this.flags = flags;
    this.sectorSize = Math.max(SECTOR, minBlock);
    this.sectors = Math.floor(size / this.sectorSize) * (this.sectorSize / SECTOR);
    this.isReadonly = isReadonly || (flags & NBD_FLAG_READ_ONLY) !== 0;
    this.canDiscard = !this.isReadonly && (flags & NBD_FLAG_SEND_TRIM) !== 0;
    this.canDiscardSecurely = this.canDiscard && (flags & NBD_FLAG_SEND_WRITE_ZEROES) !== 0;
    this.discardGranularity = Math.max(this.sectorSize, preferredBlock);
    this.maxBytes = maxBlock - (maxBlock % this.sectorSize);
    this.latency = latency(this.sectors);
  }

  /** Rejects when there is no such server, or it refuses. */
  static async open(server: NbdServer, isReadonly: boolean, latency: (sectors: number) => LatencyModel): Promise<NbdStore> {
    return new NbdStore(server, await NbdConnection.open(await server.connect(), server.exportName), isReadonly, latency);
  }

  read(sector: number, into: Uint8Array): Promise<void> | void {
    const at = sector * SECTOR;
    return this.order.run(at, at + into.length, false, () =>
      this.inPieces(at, into.length, (offset, length) => ({
        ...{ type: NBD_CMD_READ, flags: 0, offset, length },
        into: into.subarray(offset - at, offset - at + length),
        from: null,
      })),
    );
  }

  write(sector: number, from: Uint8Array): Promise<void> | void {
    const at = sector * SECTOR;
    return this.order.run(at, at + from.length, true, () =>
      this.inPieces(at, from.length, (offset, length) => ({
        ...{ type: NBD_CMD_WRITE, flags: 0, offset, length },
        into: null,
        from: from.subarray(offset - at, offset - at + length),
      })),
    );
  }

  /** A server that knows no flush has nothing to flush. */
  flush(): Promise<void> | void {
    if ((this.flags & NBD_FLAG_SEND_FLUSH) === 0 || this.isReadonly) return;
    return this.order.track(() => this.send(plain(NBD_CMD_FLUSH, 0, 0, 0)));
  }

  discard(sector: number, count: number, secure: boolean): Promise<void> | void {
    const at = sector * SECTOR;
    const length = count * SECTOR;
    return this.order.run(at, at + length, true, async () => {
      if (secure) {
        await this.inPieces(at, length, (offset, n) => plain(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, offset, n));
        await this.flush();
      }
      await this.inPieces(at, length, (offset, n) => plain(NBD_CMD_TRIM, 0, offset, n));
    });
  }

  async close(): Promise<void> {
    await this.order.idle();
    try {
      if (!this.isGone) await this.flush();
    } finally {
      this.connection.close();
    }
    await this.server.ended?.();
  }

  private async inPieces(at: number, length: number, piece: (offset: number, length: number) => NbdRequest): Promise<void> {
    if (length <= this.maxBytes) return this.send(piece(at, length));
    const pieces: Promise<void>[] = [];
    for (let done = 0; done < length; done += this.maxBytes)
      pieces.push(this.send(piece(at + done, Math.min(this.maxBytes, length - done))));
    // All must be over before the caller's buffer is its own again.
    const results = await Promise.allSettled(pieces);
    for (const r of results) if (r.status === 'rejected') throw r.reason;
  }

  private async send(request: NbdRequest): Promise<void> {
    for (let tries = 1; ; tries++) {
      const connection = this.connection.isLost ? await this.reconnect() : this.connection;
      try {
        return await connection.request(request);
      } catch (e) {
        if (!(e instanceof NbdLost) || tries === MAX_TRIES || !this.server.canReconnect) throw this.error(e);
      }
    }
  }

  private reconnect(): Promise<NbdConnection> {
    this.reconnecting ??= this.connectAgain().finally(() => {
      this.reconnecting = null;
    });
    return this.reconnecting;
  }

  private async connectAgain(): Promise<NbdConnection> {
    if (!this.server.canReconnect) throw this.error(new NbdLost('the server has ended'));
    const pauses = this.isGone ? [] : PAUSES;
    for (let i = 0; ; i++) {
      try {
        const connection = await NbdConnection.open(await this.server.connect(), this.server.exportName);
        const { size, flags } = connection.info;
        if (size !== this.size || flags !== this.flags) {
          connection.close();
          throw new Error('the server came back with another disk');
        }
        this.connection = connection;
        this.isGone = false;
        return connection;
      } catch (e) {
        const pause = pauses[i];
        if (pause === undefined) {
          this.isGone = true;
          throw this.error(e);
        }
        await this.server.wait(pause);
      }
    }
  }

  private error(e: unknown): Error {
    return new Error(`${this.server.name}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
}

const plain = (type: number, flags: number, offset: number, length: number): NbdRequest => ({
  ...{ type, flags, offset, length },
  into: null,
  from: null,
});
