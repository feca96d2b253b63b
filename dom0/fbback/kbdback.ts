// The keyboard and pointer back end (kbdif.h; QEMU's hw/display/xenfb.c and hw/input): what somebody types or points at goes as events into the
// frontend's ring, and waits while that is full.
import {
  evtchnPort,
  grantRef,
  type InferWrite,
  type PageView,
  ringDistance,
  XENKBD_FIELD_EVT_CHANNEL,
  XENKBD_FIELD_FEAT_ABS_POINTER,
  XENKBD_FIELD_FEAT_MTOUCH,
  XENKBD_FIELD_FEAT_RAW_POINTER,
  XENKBD_FIELD_HEIGHT,
  XENKBD_FIELD_REQ_ABS_POINTER,
  XENKBD_FIELD_REQ_MTOUCH,
  XENKBD_FIELD_REQ_RAW_POINTER,
  XENKBD_FIELD_RING_GREF,
  XENKBD_FIELD_RING_REF,
  XENKBD_FIELD_WIDTH,
  XENKBD_IN_EVENT_SIZE,
  XENKBD_IN_RING_LEN,
  XENKBD_IN_RING_OFFS,
  XENKBD_MT_EV_DOWN,
  XENKBD_MT_EV_MOTION,
  XENKBD_MT_EV_SYN,
  XENKBD_MT_EV_UP,
  XENKBD_TYPE_KEY,
  XENKBD_TYPE_MOTION,
  XENKBD_TYPE_MTOUCH,
  XENKBD_TYPE_POS,
  xenkbd_in_event,
  xenkbd_page,
} from '@ringworld/abi';
import { RingError } from '../kernel/back-ring.ts';
import type { BackendDevice, BackendNode } from '../kernel/xenbus.ts';
import type { FbHost } from './fbback.ts';

const IN_CONS = xenkbd_page.offset('in_cons', 'x86_64');
const IN_PROD = xenkbd_page.offset('in_prod', 'x86_64');
const OUT_CONS = xenkbd_page.offset('out_cons', 'x86_64');
const OUT_PROD = xenkbd_page.offset('out_prod', 'x86_64');
/** XENFB_WIDTH and XENFB_HEIGHT: what a frontend takes its picture to be unless it is told. */
const WIDTH = 800;
const HEIGHT = 600;
/** Events that wait for a guest that does not look; then further ones are lost, as on a keyboard. */
const MAX_WAITING = 1024;
const RAW_MAX = 0x7fff;

export interface Keyboard {
  /** Linux's KEY_* and BTN_* numbers (input-event-codes.h). */
  key(code: number, pressed: boolean): void;
  motion(dx: number, dy: number, wheel?: number): void;
  /** In pixels of the picture. A frontend that wants no absolute positions is not told. */
  position(x: number, y: number, wheel?: number): void;
  touch(kind: 'down' | 'up' | 'motion' | 'sync', contact: number, x?: number, y?: number): void;
  readonly isConnected: boolean;
}

export class KbdDevice implements BackendDevice, Keyboard {
  private readonly host: FbHost;
  private readonly node: BackendNode;
  private readonly gone: () => void;
  private readonly waiting: Uint8Array[] = [];
  private shared: PageView | null = null;
  /** How to let go of what is held, in the order in which it came. */
  private readonly undo: (() => void)[] = [];
  private notify: () => void = () => {};

  constructor(host: FbHost, node: BackendNode, gone: () => void) {
    this.host = host;
    this.node = node;
    this.gone = gone;
    for (const feature of [XENKBD_FIELD_FEAT_ABS_POINTER, XENKBD_FIELD_FEAT_RAW_POINTER])
      if (node.read(feature) === null) node.write(feature, '1');
  }

  get isConnected(): boolean {
    return this.shared !== null;
  }

  key(code: number, pressed: boolean): void {
    this.send({ key: { type: XENKBD_TYPE_KEY, pressed: pressed ? 1 : 0, keycode: code } });
  }

  motion(dx: number, dy: number, wheel = 0): void {
    this.send({ motion: { type: XENKBD_TYPE_MOTION, rel_x: dx, rel_y: dy, rel_z: wheel } });
  }

  position(x: number, y: number, wheel = 0): void {
    if (!this.isWanted(XENKBD_FIELD_FEAT_ABS_POINTER, XENKBD_FIELD_REQ_ABS_POINTER)) return;
    const isRaw = this.isWanted(XENKBD_FIELD_FEAT_RAW_POINTER, XENKBD_FIELD_REQ_RAW_POINTER);
    const scaled = (value: number, size: number) => (isRaw ? Math.round((value * RAW_MAX) / Math.max(1, size - 1)) : value);
    const width = Number(this.node.read(XENKBD_FIELD_WIDTH) ?? WIDTH);
    const height = Number(this.node.read(XENKBD_FIELD_HEIGHT) ?? HEIGHT);
    this.send({ pos: { type: XENKBD_TYPE_POS, abs_x: scaled(x, width), abs_y: scaled(y, height), rel_z: wheel } });
  }

  touch(kind: 'down' | 'up' | 'motion' | 'sync', contact: number, x = 0, y = 0): void {
    if (!this.isWanted(XENKBD_FIELD_FEAT_MTOUCH, XENKBD_FIELD_REQ_MTOUCH)) return;
    const event_type = { down: XENKBD_MT_EV_DOWN, up: XENKBD_MT_EV_UP, motion: XENKBD_MT_EV_MOTION, sync: XENKBD_MT_EV_SYN }[kind];
    const u = { pos: { abs_x: x, abs_y: y } };
    this.send({ mtouch: { type: XENKBD_TYPE_MTOUCH, event_type, contact_id: contact, reserved: new Uint8Array(5), u } });
  }

  connect(): void {
    const { host, node, undo } = this;
    try {
      // Old frontends share the page by its frame number only.
      const mapping =
        node.readFrontend(XENKBD_FIELD_RING_GREF) !== null
          ? host.grants.map(node.frontend, [grantRef(node.frontendNumber(XENKBD_FIELD_RING_GREF))])
          : host.privcmd.mapForeign(node.frontend, [node.frontendNumber(XENKBD_FIELD_RING_REF)]);
      undo.push(() => mapping.unmap());
      const remote = evtchnPort(node.frontendNumber(XENKBD_FIELD_EVT_CHANNEL));
      const port = host.evtchn.bindInterdomain(node.frontend, remote, () => this.kicked());
      undo.push(() => host.evtchn.close(port));
      this.notify = () => host.evtchn.notify(port);
      this.shared = mapping.page(0);
    } catch (e) {
      this.disconnect();
      throw e;
    }
  }

  disconnect(): void {
    this.shared = null;
    this.waiting.length = 0;
    for (const undo of this.undo.splice(0).reverse()) undo();
  }

  remove(): void {
    this.gone();
  }

  private isWanted(feature: string, request: string): boolean {
    return this.node.read(feature) === '1' && this.node.readFrontend(request) === '1';
  }

  private send(event: InferWrite<typeof xenkbd_in_event>): void {
    if (this.shared === null || this.waiting.length >= MAX_WAITING) return;
    this.waiting.push(xenkbd_in_event.encode('x86_64', event));
    this.fill();
  }

  /** The frontend has read, or sent something: no such event is defined, so those are passed over. */
  private kicked(): void {
    const { shared } = this;
    if (shared === null) return;
    shared.setU32(OUT_CONS, shared.u32(OUT_PROD));
    this.fill();
  }

  private fill(): void {
    const { shared } = this;
    if (shared === null) return;
    const prod = shared.u32(IN_PROD);
    const used = ringDistance(prod, shared.u32(IN_CONS));
    if (used > XENKBD_IN_RING_LEN) {
      this.node.fatal(new RingError(`in_cons is ${used} behind in_prod, the ring has ${XENKBD_IN_RING_LEN} events`).message);
      return;
    }
    const events = this.waiting.splice(0, XENKBD_IN_RING_LEN - used);
    if (events.length === 0) return;
    for (const [i, event] of events.entries())
      shared.writeBytes(XENKBD_IN_RING_OFFS + (((prod + i) >>> 0) % XENKBD_IN_RING_LEN) * XENKBD_IN_EVENT_SIZE, event);
    shared.setU32(IN_PROD, (prod + events.length) >>> 0);
    this.host.observer.count('response', events.length);
    this.notify();
  }
}
