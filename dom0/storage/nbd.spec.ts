// The NBD client against a server played by hand: old and new negotiation, answers in any order and in pieces, a server that goes away and
// comes back, one that lies. Real servers are in tests/block-storage.long.spec.ts.
import { describe, expect, it } from 'vitest';
import type { ByteChannel } from './byte-channel.ts';
import { latencyModel } from './latency.ts';
import { NbdStore } from './nbd-store.ts';
import { isNbdUri, parseNbdScriptTarget, parseNbdUri } from './nbd-uri.ts';
import { pattern } from './testing.ts';

const SIZE = 1 << 20;
const latency = (sectors: number) => latencyModel('ideal', sectors)!;
const turn = () => new Promise((done) => setImmediate(done));

type Field = ['u16' | 'u32' | 'u64', number | bigint] | Uint8Array;
const pack = (...fields: Field[]): Uint8Array<ArrayBuffer> => {
  const parts = fields.map((f) => {
    if (f instanceof Uint8Array) return f;
    const bytes = new Uint8Array({ u16: 2, u32: 4, u64: 8 }[f[0]]);
    const view = new DataView(bytes.buffer);
    if (f[0] === 'u16') view.setUint16(0, Number(f[1]));
    else if (f[0] === 'u32') view.setUint32(0, Number(f[1]));
    else view.setBigUint64(0, BigInt(f[1]));
    return bytes;
  });
  return new Uint8Array(Buffer.concat(parts));
};

interface Command {
  readonly flags: number;
  readonly type: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  readonly data: Buffer;
}

interface Habits {
  readonly isStructured?: boolean;
  readonly knowsGo?: boolean;
  readonly refusesWith?: number;
  readonly flags?: number;
  readonly blocks?: readonly [number, number, number];
}

/** HAS_FLAGS, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES. */
const FLAGS = 1 | 4 | 32 | 64;

/** One connection at the server's end. Options are answered by themselves; commands wait in `commands` for the test to answer them. */
class FakeServer {
  readonly commands: Command[] = [];
  readonly channel: ByteChannel;
  isClosed = false;
  private readonly habits: Habits;
  private inbox: Buffer = Buffer.alloc(0);
  private phase: 'flags' | 'options' | 'commands' = 'flags';

  constructor(habits: Habits = {}) {
    this.habits = habits;
    this.channel = {
      onData: null,
      onEnd: null,
      write: (bytes) => {
        this.inbox = Buffer.concat([this.inbox, bytes]);
        while (this.step());
      },
      close: () => {
        this.isClosed = true;
      },
    };
    setImmediate(() => this.send(pack(new TextEncoder().encode('NBDMAGICIHAVEOPT'), ['u16', 3])));
  }
  send(bytes: Uint8Array): void {
    this.channel.onData?.(bytes);
  }
  drop(): void {
    const { onEnd } = this.channel;
    this.channel.onData = null;
    onEnd?.('dropped');
  }
  simple(c: Command, error = 0, data: Uint8Array = new Uint8Array(0)): void {
    this.send(pack(['u32', 0x67446698], ['u32', error], ['u64', c.cookie], data));
  }
  chunk(c: Command, flags: number, type: number, body: Uint8Array): void {
    this.send(pack(['u32', 0x668e33ef], ['u16', flags], ['u16', type], ['u64', c.cookie], ['u32', body.length], body));
  }

  private step(): boolean {
    const { inbox } = this;
    const need = (n: number): boolean => inbox.length >= n;
    if (this.phase === 'flags') {
      if (!need(4)) return false;
      expect(inbox.readUInt32BE(0)).toBe(3);
      this.inbox = inbox.subarray(4);
      this.phase = 'options';
      return true;
    }
    if (this.phase === 'options') {
      if (!need(16) || !need(16 + inbox.readUInt32BE(12))) return false;
      const length = inbox.readUInt32BE(12);
      expect(inbox.toString('latin1', 0, 8)).toBe('IHAVEOPT');
      this.inbox = inbox.subarray(16 + length);
      this.option(inbox.readUInt32BE(8), inbox.subarray(16, 16 + length));
      return true;
    }
    if (!need(28)) return false;
    const type = inbox.readUInt16BE(6);
    const length = inbox.readUInt32BE(24);
    const data = type === 1 ? length : 0;
    if (!need(28 + data)) return false;
    expect(inbox.readUInt32BE(0)).toBe(0x25609513);
    this.inbox = inbox.subarray(28 + data);
    this.commands.push({
      ...{ type, length, flags: inbox.readUInt16BE(4), cookie: inbox.readBigUInt64BE(8), offset: Number(inbox.readBigUInt64BE(16)) },
      data: inbox.subarray(28, 28 + data),
    });
    return true;
  }

  private option(option: number, data: Buffer): void {
    const { isStructured = false, knowsGo = true, refusesWith, flags = FLAGS, blocks } = this.habits;
    const reply = (type: number, body: Uint8Array = new Uint8Array(0)): void =>
      this.send(pack(['u64', 0x3e889045565a9n], ['u32', option], ['u32', type], ['u32', body.length], body));
    if (option === 8) return void reply(isStructured ? 1 : 0x8000_0001);
    if (option === 7) {
      if (refusesWith !== undefined) return void reply(refusesWith, new TextEncoder().encode('sorry'));
      if (!knowsGo) return void reply(0x8000_0001);
      expect(data.toString('latin1', 4, 4 + data.readUInt32BE(0))).toBe('disk');
      reply(3, pack(['u16', 0], ['u64', SIZE], ['u16', flags]));
      if (blocks !== undefined) reply(3, pack(['u16', 3], ['u32', blocks[0]], ['u32', blocks[1]], ['u32', blocks[2]]));
      this.phase = 'commands';
      return void reply(1);
    }
    expect([option, data.toString()]).toEqual([1, 'disk']);
    this.phase = 'commands';
    this.send(pack(['u64', SIZE], ['u16', flags]));
  }
}

/** A store over connections that are made as it asks for them. */
async function connected(...habits: Habits[]) {
  const servers: FakeServer[] = [];
  const pauses: number[] = [];
  const store = await NbdStore.open(
    {
      ...{ name: 'nbd://test/disk', exportName: 'disk', canReconnect: true },
      connect: async () => {
        const next = habits[servers.length];
        if (next === undefined) throw new Error('connection refused');
        servers.push(new FakeServer(next));
        return servers.at(-1)!.channel;
      },
      wait: async (ms) => void pauses.push(ms),
    },
    false,
    latency,
  );
  return { store, servers, pauses, server: servers[0]! };
}

describe('the NBD client', () => {
  it('takes answers in any order, and the bytes of each in pieces', async () => {
    const { store, server } = await connected({});
    expect([store.sectors, store.sectorSize, store.canDiscard, store.isReadonly]).toEqual([2048, 512, true, false]);
    const [a, b] = [new Uint8Array(1024), new Uint8Array(512)];
    const reads = [store.read(8, a), store.read(2, b)];
    expect(server.commands.map((c) => [c.type, c.offset, c.length])).toEqual([
      [0, 4096, 1024],
      [0, 1024, 512],
    ]);
    const [first, second] = server.commands as [Command, Command];
    server.simple(second, 0, pattern(512, 2));
    await reads[1];
    const whole = pack(['u32', 0x67446698], ['u32', 0], ['u64', first.cookie], pattern(1024, 1));
    for (let at = 0; at < whole.length; at += 100) server.send(whole.subarray(at, at + 100));
    await reads[0];
    expect(Buffer.compare(a, pattern(1024, 1)) === 0 && Buffer.compare(b, pattern(512, 2)) === 0).toBe(true);
  });

  it('reads what comes in chunks: data, holes, errors', async () => {
    const { store, server } = await connected({ isStructured: true });
    const into = new Uint8Array(4096).fill(1);
    const read = store.read(8, into);
    const [c] = server.commands as [Command];
    server.chunk(c, 0, 1, pack(['u64', 4096 + 2048], pattern(2048)));
    server.chunk(c, 0, 2, pack(['u64', 4096], ['u32', 2048]));
    server.chunk(c, 1, 0, new Uint8Array(0));
    await read;
    expect(into.subarray(0, 2048).every((x) => x === 0) && Buffer.compare(into.subarray(2048), pattern(2048)) === 0).toBe(true);
    const failing = store.read(8, into) as Promise<void>;
    server.chunk(server.commands[1]!, 0, 1, pack(['u64', 4096], pattern(512)));
    server.chunk(server.commands[1]!, 1, 0x8002, pack(['u32', 5], ['u16', 2], new TextEncoder().encode('no'), ['u64', 4608]));
    await expect(failing).rejects.toThrow('nbd://test/disk: input/output error');
    const short = store.read(8, into) as Promise<void>;
    server.chunk(server.commands[2]!, 1, 1, pack(['u64', 4096], pattern(512)));
    await expect(short).rejects.toThrow('512 of 4096 bytes');
  });

  it('writes, flushes, trims, and writes zeros where a discard is to be secure', async () => {
    const { store, server } = await connected({});
    const answer = async (work: Promise<void> | void, error = 0) => {
      await turn();
      server.simple(server.commands.at(-1)!, error);
      await work;
    };
    await answer(store.write(1, pattern(512)));
    await answer(store.flush());
    await answer(store.discard(16, 8, false));
    expect(server.commands.map((c) => [c.type, c.offset, c.length])).toEqual([
      [1, 512, 512],
      [3, 0, 0],
      [4, 8192, 4096],
    ]);
    expect(Buffer.compare(server.commands[0]!.data, pattern(512))).toBe(0);
    const secure = store.discard(16, 8, true);
    for (let i = 3; i < 6; i++) await answer(undefined);
    await secure;
    expect(server.commands.slice(3).map((c) => [c.type, c.flags])).toEqual([
      [6, 2],
      [3, 0],
      [4, 0],
    ]);
    await expect(answer(store.write(1, pattern(512)), 28)).rejects.toThrow('no space left');
  });

  it('asks servers that know no GO by the old option', async () => {
    const { store } = await connected({ knowsGo: false });
    expect(store.sectors).toBe(2048);
  });

  it('obeys block sizes, and cuts what is too long for the server', async () => {
    const { store, server } = await connected({ blocks: [4096, 4096, 65536] });
    expect([store.sectorSize, store.discardGranularity]).toEqual([4096, 4096]);
    const write = store.write(0, pattern(100 * 1024));
    expect(server.commands.map((c) => [c.offset, c.length])).toEqual([
      [0, 65536],
      [65536, 36864],
    ]);
    server.simple(server.commands[1]!);
    server.simple(server.commands[0]!);
    await write;
  });

  it('says why it cannot begin', async () => {
    await expect(connected({ refusesWith: 0x8000_0006 })).rejects.toThrow('export "disk": the server has no such export (sorry)');
    await expect(connected({ refusesWith: 0x8000_0005 })).rejects.toThrow('demands TLS');
    await expect(connected({ blocks: [3, 4096, 65536] })).rejects.toThrow('block sizes make no sense');
    await expect(connected()).rejects.toThrow('connection refused');
  });

  it('comes back after the connection broke, and asks again what was not answered', async () => {
    const { store, servers, server } = await connected({}, {});
    const into = new Uint8Array(512);
    const work = [store.read(8, into), store.write(9, pattern(512, 3)), store.read(0, new Uint8Array(512))];
    server.simple(server.commands[2]!, 0, pattern(512));
    await work[2];
    server.drop();
    await turn();
    await turn();
    const again = servers[1]!;
    expect(again.commands.map((c) => [c.type, c.offset])).toEqual([
      [0, 4096],
      [1, 4608],
    ]);
    again.simple(again.commands[0]!, 0, pattern(512, 4));
    again.simple(again.commands[1]!);
    await Promise.all(work);
    expect(Buffer.compare(into, pattern(512, 4))).toBe(0);
  });

  it('gives up after about ten seconds, and then looks once for each request', async () => {
    const { store, server, pauses } = await connected({});
    const read = store.read(8, new Uint8Array(512)) as Promise<void>;
    server.drop();
    await expect(read).rejects.toThrow('nbd://test/disk: connection refused');
    expect(pauses.reduce((a, b) => a + b)).toBe(9550);
    await expect(store.read(8, new Uint8Array(512))).rejects.toThrow('connection refused');
    expect(pauses.length).toBe(8);
    await store.close();
  });

  it('drops a server that breaks the protocol', async () => {
    const lies: ((s: FakeServer, c: Command) => void)[] = [
      (s) => s.send(pack(['u32', 0xdeadbeef], ['u32', 0], ['u64', 0])),
      (s, c) => s.simple({ ...c, cookie: c.cookie + 7n }),
      (s, c) => s.simple({ ...c, cookie: c.cookie + (1n << 32n) }),
      (s, c) => s.simple(c, 0, new Uint8Array(512)),
      (s, c) => s.chunk(c, 0, 1, pack(['u64', c.offset + 1], pattern(512))),
      (s, c) => s.chunk(c, 0, 2, pack(['u64', c.offset], ['u32', 0xffff_ffff])),
      (s, c) => s.chunk(c, 0, 99, pack(['u64', c.offset], ['u32', 4])),
      (s, c) => s.chunk(c, 0, 0x8001, new Uint8Array(2)),
    ];
    for (const [i, lie] of lies.entries()) {
      const { store, server } = await connected({ isStructured: true });
      const read = store.read(8, new Uint8Array(512)) as Promise<void>;
      lie(server, server.commands[0]!);
      await expect(read, `lie ${i}`).rejects.toThrow('connection refused');
      expect(server.isClosed, `lie ${i}`).toBe(true);
    }
  });
});

describe('NBD addresses', () => {
  it('are URIs', () => {
    expect(isNbdUri('nbd://a/b') && isNbdUri('nbd+unix:///?socket=/x') && !isNbdUri('/nbd://a')).toBe(true);
    expect(parseNbdUri('nbd://localhost')).toEqual({ address: { host: 'localhost', port: 10809 }, exportName: '' });
    expect(parseNbdUri('nbd://[::1]:1234/a%20b')).toEqual({ address: { host: '::1', port: 1234 }, exportName: 'a b' });
    expect(parseNbdUri('nbd+unix:///x?socket=/run/a b')).toEqual({ address: { socket: '/run/a b' }, exportName: 'x' });
    for (const wrong of ['nbd:///x', 'nbd+unix:///x', 'nbd+vsock://1', 'nbds://a', 'nbd://a:0/', 'nbd+unix://host/x?socket=/y'])
      expect(() => parseNbdUri(wrong), wrong).toThrow(wrong);
  });
  it('are what nbd-client takes, for script=block-nbd', () => {
    expect(parseNbdScriptTarget('server:2000')).toEqual({ address: { host: 'server', port: 2000 }, exportName: '' });
    expect(parseNbdScriptTarget('server 2000')).toEqual({ address: { host: 'server', port: 2000 }, exportName: '' });
    expect(() => parseNbdScriptTarget('')).toThrow('HOST:PORT');
  });
});
