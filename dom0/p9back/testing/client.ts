// A 9P client for specs: builds requests, takes replies apart. `send` is the way to the server.
import { P9, RLERROR, VERSION } from '../protocol.ts';
import { MessageReader, MessageWriter } from '../wire.ts';

export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly nlink: number;
  readonly size: number;
  readonly mtime: number;
  readonly number: number;
}

export function message(type: number, tag: number, body: (w: MessageWriter) => unknown = () => {}): Uint8Array {
  const w = new MessageWriter().u32(0).u8(type).u16(tag);
  body(w);
  w.setU32(0, w.length);
  return w.finish();
}

/** An Rlerror, thrown. */
export class P9Failure extends Error {
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

export class P9Client {
  private readonly send: (request: Uint8Array) => Uint8Array;

  constructor(send: (request: Uint8Array) => Uint8Array) {
    this.send = send;
  }

  call(type: number, body: (w: MessageWriter) => unknown = () => {}): MessageReader {
    const reply = new MessageReader(this.send(message(type, 1, body)), 4);
    const kind = reply.u8();
    reply.u16();
    if (kind === RLERROR) throw new P9Failure(reply.u32());
    if (kind !== type + 1) throw new Error(`reply ${kind} to ${type}`);
    return reply;
  }

  version(msize = 65536, version: string = VERSION): [number, string] {
    const r = this.call(P9.Tversion, (w) => w.u32(msize).string(version));
    return [r.u32(), r.string()];
  }
  attach(fid: number): void {
    this.call(P9.Tattach, (w) => w.u32(fid).u32(0xffffffff).string('root').string('').u32(0));
  }
  /** Returns how many names were walked. */
  walk(fid: number, newFid: number, ...names: string[]): number {
    return this.call(P9.Twalk, (w) => {
      w.u32(fid).u32(newFid).u16(names.length);
      for (const n of names) w.string(n);
    }).u16();
  }
  open(fid: number, flags = 0): void {
    this.call(P9.Tlopen, (w) => w.u32(fid).u32(flags));
  }
  create(fid: number, name: string, flags = 0o102, mode = 0o644): void {
    this.call(P9.Tlcreate, (w) => w.u32(fid).string(name).u32(flags).u32(mode).u32(0));
  }
  read(fid: number, offset = 0, count = 60000): string {
    const r = this.call(P9.Tread, (w) => w.u32(fid).u64(offset).u32(count));
    return new TextDecoder().decode(r.data(r.u32()));
  }
  write(fid: number, text: string, offset = 0): number {
    const bytes = new TextEncoder().encode(text);
    return this.call(P9.Twrite, (w) => w.u32(fid).u64(offset).u32(bytes.length).data(bytes)).u32();
  }
  clunk(fid: number): void {
    this.call(P9.Tclunk, (w) => w.u32(fid));
  }
  mkdir(fid: number, name: string): void {
    this.call(P9.Tmkdir, (w) => w.u32(fid).string(name).u32(0o755).u32(0));
  }
  symlink(fid: number, name: string, target: string): void {
    this.call(P9.Tsymlink, (w) => w.u32(fid).string(name).string(target).u32(0));
  }
  mknod(fid: number, name: string, mode: number): void {
    this.call(P9.Tmknod, (w) => w.u32(fid).string(name).u32(mode).u32(0).u32(0).u32(0));
  }
  link(directory: number, fid: number, name: string): void {
    this.call(P9.Tlink, (w) => w.u32(directory).u32(fid).string(name));
  }
  readlink(fid: number): string {
    return this.call(P9.Treadlink, (w) => w.u32(fid)).string();
  }
  renameat(from: number, name: string, to: number, newName: string): void {
    this.call(P9.Trenameat, (w) => w.u32(from).string(name).u32(to).string(newName));
  }
  unlinkat(fid: number, name: string, flags = 0): void {
    this.call(P9.Tunlinkat, (w) => w.u32(fid).string(name).u32(flags));
  }
  remove(fid: number): void {
    this.call(P9.Tremove, (w) => w.u32(fid));
  }
  getattr(fid: number): Attributes {
    const r = this.call(P9.Tgetattr, (w) => w.u32(fid).u64(0x7ff));
    r.u64();
    r.data(5);
    const number = r.u64();
    const [mode, uid] = [r.u32(), r.u32()];
    r.u32();
    const nlink = r.u64();
    r.u64();
    const size = r.u64();
    r.data(16 + 16);
    return { number, mode, uid, nlink, size, mtime: r.u64() };
  }
  setattr(fid: number, valid: number, values: { mode?: number; size?: number; mtime?: number } = {}): void {
    this.call(P9.Tsetattr, (w) =>
      w
        .u32(fid)
        .u32(valid)
        .u32(values.mode ?? 0)
        .u32(0)
        .u32(0)
        .u64(values.size ?? 0)
        .u64(0)
        .u64(0)
        .u64(values.mtime ?? 0)
        .u64(0),
    );
  }
  /** All entries, in the pieces that `count` allows. */
  list(fid: number, count = 8000): { name: string; type: number; offset: number }[] {
    const entries: { name: string; type: number; offset: number }[] = [];
    for (let offset = 0; ; ) {
      const r = this.call(P9.Treaddir, (w) => w.u32(fid).u64(offset).u32(count));
      const data = new MessageReader(r.data(r.u32()));
      if (data.left === 0) return entries;
      while (data.left > 0) {
        data.data(13);
        offset = data.u64();
        entries.push({ offset, type: data.u8(), name: data.string() });
      }
    }
  }
  lock(fid: number, type: number, start: number, length: number, process = 1): number {
    return this.call(P9.Tlock, (w) => w.u32(fid).u8(type).u32(0).u64(start).u64(length).u32(process).string('client')).u8();
  }
}
