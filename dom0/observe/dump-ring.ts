// `ringworld dump ring`: the rings that a domain shares, as they are at this moment. Found by what the frontend wrote into XenStore, looked at
// through mappings of dom0's own that are read-only and gone again before this returns. Everything read is the guest's, and believed in nothing.
import {
  type Abi,
  domid,
  dump,
  GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE,
  grantRef,
  ringDistance,
  xencons_interface,
  xenstore_domain_interface,
} from '@ringworld/abi';
import { protocolAbi } from '../blkback/layout.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import { GrantError } from '../kernel/gnttab.ts';
import { vdevToDevid } from '../toolstack/vdev.ts';
import { RING_KINDS, type RingKind, readRing, showRing } from './ring-slots.ts';

/** There is no such device, or its ring cannot be seen; the message says why. */
export class DumpError extends Error {
  override readonly name = 'DumpError';
}

export interface DumpOptions {
  /** How many of the last responses are shown beside what is outstanding. */
  readonly history?: number;
}

/** More pages than any protocol allows are not mapped for a number in XenStore. */
const MAX_RING_PAGE_ORDER = 10;
const MAX_QUEUES = 64;
const DEFAULT_HISTORY = 4;

/** `device`: 'console', 'xenstore', 'vbd/51712', 'xvda', 'vif/0'; 'vif/0/1' and 'vbd/51712/1' for queue 1 alone. */
export function dumpRings(dom0: Dom0, dom: number, device: string, options: DumpOptions = {}): string {
  const dumper = new Dumper(dom0, dom, options.history ?? DEFAULT_HISTORY);
  if (device === 'console' || device === 'console/0') return dumper.console();
  if (device === 'xenstore' || device === 'store') return dumper.xenstore();
  const [type, id, queue] = device.split('/');
  if (type === 'vif' && id !== undefined && /^\d+$/.test(id)) return dumper.vif(Number(id), queueNumber(device, queue));
  const isPlain = type !== 'vbd';
  const devid = vdevToDevid((isPlain ? type : id) ?? '');
  if (devid === null) throw new DumpError(`${device}: there are console, xenstore, vbd/ID (or xvda), vif/ID`);
  return dumper.vbd(devid, queueNumber(device, isPlain ? id : queue));
}

function queueNumber(device: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\d+$/.test(text)) throw new DumpError(`${device}: ${text} is no queue`);
  return Number(text);
}

class Dumper {
  private readonly dom0: Dom0;
  private readonly dom: number;
  private readonly history: number;

  constructor(dom0: Dom0, dom: number, history: number) {
    this.dom0 = dom0;
    this.dom = dom;
    this.history = history;
  }

  vbd(devid: number, only: number | null): string {
    const path = this.frontend('vbd', devid);
    const protocol = this.read(`${path}/protocol`);
    const abi = protocolAbi(protocol);
    if (abi === null) throw new DumpError(`${path}/protocol: ${protocol} is no protocol`);
    return this.queues(path, only, (prefix, name) => {
      const order = this.optional(`${path}/ring-page-order`) ?? 0;
      if (order > MAX_RING_PAGE_ORDER) throw new DumpError(`${path}/ring-page-order: ${order}`);
      const pages = 1 << order;
      const isNumbered = pages > 1 || this.read(`${prefix}/ring-ref`) === null;
      const refs = Array.from({ length: pages }, (_, i) => this.number(`${prefix}/ring-ref${isNumbered ? i : ''}`));
      return this.ring(`vbd/${this.dom}/${devid}${name}`, RING_KINDS.blkif, abi, refs);
    });
  }

  vif(devid: number, only: number | null): string {
    const path = this.frontend('vif', devid);
    const device = `vif/${this.dom}/${devid}`;
    const one = (title: string, kind: RingKind, key: string) => this.ring(title, kind, 'x86_64', [this.number(key)]);
    let text = this.queues(
      path,
      only,
      (prefix, name) =>
        one(`${device}${name} tx`, RING_KINDS.netif_tx, `${prefix}/tx-ring-ref`) +
        one(`${device}${name} rx`, RING_KINDS.netif_rx, `${prefix}/rx-ring-ref`),
    );
    if (only === null && this.read(`${path}/ctrl-ring-ref`) !== null)
      text += one(`${device} ctrl`, RING_KINDS.netif_ctrl, `${path}/ctrl-ring-ref`);
    return text;
  }

  console(): string {
    const bytes = this.pages([GNTTAB_RESERVED_CONSOLE], 'console');
    const at = (field: Parameters<typeof xencons_interface.offset>[0]) => xencons_interface.offset(field, 'x86_64');
    const inSize = at('out') - at('in');
    return (
      `console of domain ${this.dom}\n` +
      byteRing('in', bytes, { start: at('in'), size: inSize, cons: at('in_cons'), prod: at('in_prod') }) +
      byteRing('out', bytes, { start: at('out'), size: at('in_cons') - at('out'), cons: at('out_cons'), prod: at('out_prod') })
    );
  }

  xenstore(): string {
    const bytes = this.pages([GNTTAB_RESERVED_XENSTORE], 'xenstore');
    const at = (field: Parameters<typeof xenstore_domain_interface.offset>[0]) => xenstore_domain_interface.offset(field, 'x86_64');
    const size = at('rsp') - at('req');
    const rest = dump(xenstore_domain_interface, new DataView(bytes.buffer), 0, 'x86_64')
      .split('\n')
      .filter((line) => /(server_features|connection|error)/.test(line));
    return (
      `xenstore of domain ${this.dom}\n` +
      byteRing('req', bytes, { start: at('req'), size, cons: at('req_cons'), prod: at('req_prod') }) +
      byteRing('rsp', bytes, { start: at('rsp'), size, cons: at('rsp_cons'), prod: at('rsp_prod') }) +
      rest.map((line) => `  ${line}\n`).join('')
    );
  }

  /** One dump after the other, of all queues or of one. */
  private queues(path: string, only: number | null, one: (prefix: string, name: string) => string): string {
    const count = this.optional(`${path}/multi-queue-num-queues`) ?? 1;
    if (count < 1 || count > MAX_QUEUES) throw new DumpError(`${path}/multi-queue-num-queues: ${count}`);
    if (only !== null && only >= count) throw new DumpError(`${path} has ${count === 1 ? 'one queue' : `${count} queues`}, from 0 on`);
    const wanted = only === null ? Array.from({ length: count }, (_, i) => i) : [only];
    return wanted.map((i) => one(count === 1 ? path : `${path}/queue-${i}`, count === 1 ? '' : ` q${i}`)).join('');
  }

  private ring(title: string, kind: RingKind, abi: Abi, refs: readonly number[]): string {
    const bytes = this.pages(refs, title);
    return showRing(title, readRing(kind, abi, bytes, this.history), abi, bytes);
  }

  /** A copy of granted pages. */
  private pages(refs: readonly number[], what: string): Uint8Array {
    const bytes = new Uint8Array(refs.length * 4096);
    try {
      const mapping = this.dom0.grants.map(domid(this.dom), refs.map(grantRef), { readonly: true });
      for (let i = 0; i < refs.length; i++) bytes.set(mapping.page(i).bytes(0, 4096), i * 4096);
      mapping.unmap();
    } catch (e) {
      if (e instanceof GrantError) throw new DumpError(`${what}: ${e.message}`);
      throw e;
    }
    return bytes;
  }

  private frontend(type: string, devid: number): string {
    const path = `/local/domain/${this.dom}/device/${type}/${devid}`;
    if (this.read(`${path}/backend`) === null) throw new DumpError(`domain ${this.dom} has no ${type} ${devid}`);
    return path;
  }

  private read(path: string): string | null {
    return this.dom0.xs.read(path);
  }
  private optional(path: string): number | null {
    return this.read(path) === null ? null : this.number(path);
  }
  private number(path: string): number {
    const text = this.read(path);
    if (text === null) throw new DumpError(`${path} is not there: the frontend has not connected`);
    if (!/^\d{1,10}$/.test(text) || Number(text) > 0xffff_ffff) throw new DumpError(`${path}: "${text}" is no number`);
    return Number(text);
  }
}

interface ByteRing {
  readonly start: number;
  readonly size: number;
  readonly cons: number;
  readonly prod: number;
}

function byteRing(name: string, bytes: Uint8Array, ring: ByteRing): string {
  const view = new DataView(bytes.buffer);
  const cons = view.getUint32(ring.cons, true);
  const prod = view.getUint32(ring.prod, true);
  const count = ringDistance(prod, cons);
  const head = `  ${name}: ${ring.size} bytes, ${name}_prod ${prod}, ${name}_cons ${cons}`;
  if (count > ring.size) return `${head}: these cannot be, ${count} bytes apart\n`;
  let text = '';
  for (let i = 0; i < count; i++) {
    const b = bytes[ring.start + ((cons + i) & (ring.size - 1))]!;
    text += b >= 0x20 && b < 0x7f && b !== 0x5c ? String.fromCharCode(b) : `\\x${b.toString(16).padStart(2, '0')}`;
  }
  return `${head}, ${count} waiting${count > 0 ? `\n    "${text}"` : ''}\n`;
}
