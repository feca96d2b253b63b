// The frame buffer back end (fbif.h; QEMU's hw/display/xenfb.c): maps the pages that a frontend's directory names, and shows what is in them to
// whoever asks. The frames are named by number, not granted; that they are the domain's own is the hypervisor's to check.
import {
  type Abi,
  evtchnPort,
  type PageView,
  XEN_IO_PROTO_ABI_X86_32,
  XEN_IO_PROTO_ABI_X86_64,
  XENFB_TYPE_RESIZE,
  XENFB_TYPE_UPDATE,
  xenfb_out_event,
  xenfb_page,
} from '@ringworld/abi';
import { RingError } from '../kernel/back-ring.ts';
import type { EventChannels } from '../kernel/evtchn.ts';
import type { GrantTable } from '../kernel/gnttab.ts';
import type { Observer } from '../kernel/observe.ts';
import type { ForeignMapping, Privcmd } from '../kernel/privcmd.ts';
import { type BackendDevice, type BackendNode, XenbusError } from '../kernel/xenbus.ts';
import { type Geometry, geometryFault, type Picture, readPicture, takeEvents } from './picture.ts';

const PAGE = 4096;
const PD_ENTRIES = 256;
/** The largest frame buffer that is mapped, in MiB, where the toolstack names none: what 2560x1600 takes, and twice that. */
const DEFAULT_VIDEORAM = 32;

export interface FbHost {
  readonly evtchn: Pick<EventChannels, 'bindInterdomain' | 'notify' | 'close'>;
  readonly grants: Pick<GrantTable, 'map'>;
  readonly privcmd: Pick<Privcmd, 'mapForeign'>;
  readonly observer: Observer;
}

/** What changed, in pixels; inside the picture. */
export interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface FrameBuffer {
  readonly geometry: Geometry | null;
  /** Null while no frontend is connected. */
  picture(): Picture | null;
  /** Told of what the guest has drawn, where its frontend says so. Returns what ends it. */
  subscribe(changed: (area: Area) => void): () => void;
}

/** Plain data. */
export interface FbState {
  geometry: Geometry;
  memory: number;
}

export class FbDevice implements BackendDevice, FrameBuffer {
  private readonly host: FbHost;
  private readonly node: BackendNode;
  private readonly gone: () => void;
  private readonly watchers = new Set<(area: Area) => void>();
  private state: FbState | null = null;
  private shared: PageView | null = null;
  private pixels: ForeignMapping | null = null;
  /** How to let go of what is held, in the order in which it came. */
  private readonly undo: (() => void)[] = [];
  private notify: () => void = () => {};

  constructor(host: FbHost, node: BackendNode, gone: () => void) {
    this.host = host;
    this.node = node;
    this.gone = gone;
    node.write('feature-resize', '1');
  }

  get geometry(): Geometry | null {
    return this.state?.geometry ?? null;
  }

  picture(): Picture | null {
    const { state, pixels } = this;
    if (state === null || pixels === null) return null;
    this.host.observer.count('byte_copied', state.geometry.stride * state.geometry.height);
    return readPicture((i) => pixels.page(i), state.geometry);
  }

  subscribe(changed: (area: Area) => void): () => void {
    this.watchers.add(changed);
    return () => void this.watchers.delete(changed);
  }

  connect(): void {
    const { host, node, undo } = this;
    const abi = protocolOf(node);
    try {
      const mapping = host.privcmd.mapForeign(node.frontend, [node.frontendNumber('page-ref')]);
      undo.push(() => mapping.unmap());
      const shared = mapping.page(0);
      const page = xenfb_page.decode(abi, shared.bytes(0, xenfb_page.size(abi)));
      const geometry = { width: page.width, height: page.height, stride: page.line_length, offset: 0, depth: page.depth };
      const fault =
        memoryFault(page.mem_length, Number(node.read('videoram') ?? DEFAULT_VIDEORAM)) ?? geometryFault(geometry, page.mem_length);
      if (fault !== null) throw new XenbusError(fault);
      const pixels = host.privcmd.mapForeign(node.frontend, this.framesOf(page.pd, page.mem_length, abi));
      undo.push(() => pixels.unmap());
      const port = host.evtchn.bindInterdomain(node.frontend, evtchnPort(node.frontendNumber('event-channel')), () => this.kicked());
      undo.push(() => host.evtchn.close(port));
      this.notify = () => host.evtchn.notify(port);
      this.shared = shared;
      this.pixels = pixels;
      this.state = { geometry, memory: page.mem_length };
      if (node.readFrontend('feature-update') === '1') node.write('request-update', '1');
    } catch (e) {
      this.disconnect();
      throw e;
    }
  }

  disconnect(): void {
    this.state = null;
    this.shared = null;
    this.pixels = null;
    for (const undo of this.undo.splice(0).reverse()) undo();
  }

  remove(): void {
    this.watchers.clear();
    this.gone();
  }

  /** The frames of the frame buffer, from the pages that the directory names. Mapping those is how a wrong number is found out. */
  private framesOf(pd: readonly number[], memory: number, abi: Abi): number[] {
    const { host, node } = this;
    const count = Math.ceil(memory / PAGE);
    const entry = abi === 'x86_64' ? 8 : 4;
    const perPage = PAGE / entry;
    const directories = host.privcmd.mapForeign(node.frontend, pd.slice(0, Math.ceil(count / perPage)));
    try {
      return Array.from({ length: count }, (_, i) => {
        const directory = directories.page(Math.floor(i / perPage));
        const at = (i % perPage) * entry;
        return directory.u32(at) + (entry === 8 ? directory.u32(at + 4) * 2 ** 32 : 0);
      });
    } finally {
      directories.unmap();
    }
  }

  private kicked(): void {
    const { shared } = this;
    if (shared === null) return;
    this.host.observer.sink?.({ kind: 'kick', device: this.node.name, queue: 0 });
    try {
      if (takeEvents(shared, (bytes) => this.event(bytes))) this.notify();
    } catch (e) {
      if (!(e instanceof RingError)) throw e;
      this.node.fatal(e.message);
    }
  }

  private event(bytes: Uint8Array): void {
    const { state } = this;
    if (state === null) return;
    const { type, update, resize } = xenfb_out_event.decode('x86_64', bytes);
    if (type === XENFB_TYPE_UPDATE) {
      const area = clip(update, state.geometry);
      if (area !== null) for (const w of this.watchers) w(area);
    } else if (type === XENFB_TYPE_RESIZE) {
      const { width, height, stride, offset, depth } = resize;
      const geometry = { width, height, stride, offset, depth };
      const fault = geometryFault(geometry, state.memory);
      if (fault !== null) throw new RingError(`resize: ${fault}`);
      state.geometry = geometry;
      for (const w of this.watchers) w({ x: 0, y: 0, width, height });
    }
    // Others are to come from later frontends, and are passed over as QEMU passes them over.
  }
}

/** XEN_IO_PROTO_ABI_*: how long the frontend's `unsigned long` is. 64-bit ones need not say. */
export function protocolOf(node: BackendNode): Abi {
  const protocol = node.readFrontend('protocol') ?? XEN_IO_PROTO_ABI_X86_64;
  if (protocol === XEN_IO_PROTO_ABI_X86_64) return 'x86_64';
  if (protocol === XEN_IO_PROTO_ABI_X86_32) return 'x86_32';
  throw new XenbusError(`protocol "${protocol}" is not known`);
}

function memoryFault(bytes: number, videoramMiB: number): string | null {
  const most = Math.min(videoramMiB * 1024 * 1024, PD_ENTRIES * 512 * PAGE);
  return bytes >= 1 && bytes <= most ? null : `a frame buffer of ${bytes} bytes, up to ${most} can be had`;
}

function clip(area: Area, g: Geometry): Area | null {
  const x = Math.max(0, area.x);
  const y = Math.max(0, area.y);
  const width = Math.min(g.width, area.x + area.width) - x;
  const height = Math.min(g.height, area.y + area.height) - y;
  return width > 0 && height > 0 ? { x, y, width, height } : null;
}
