// What lies in the slots of a ring, decoded from the declarations of abi/io. Works on a copy of the ring's pages, so that it is one moment's.
import {
  type Abi,
  type AnyCodec,
  BLKIF_OP_DISCARD,
  BLKIF_OP_INDIRECT,
  blkif_request,
  blkif_request_discard,
  blkif_request_indirect,
  blkif_response,
  dump,
  NETRXF_extra_info,
  NETTXF_extra_info,
  netif_extra_info,
  netif_rx_request,
  netif_rx_response,
  netif_tx_request,
  netif_tx_response,
  prodOverflow,
  type RingType,
  ringDistance,
  sring,
  XEN_NETIF_EXTRA_FLAG_MORE,
  xen_netif_ctrl_request,
  xen_netif_ctrl_response,
} from '@ringworld/abi';
import { BLKIF_RING } from '../blkback/layout.ts';
import { CTRL_RING, RX_RING, TX_RING } from '../netback/rings.ts';

/** A ring of requests and responses as a dump shows it. */
export interface RingKind {
  readonly type: RingType;
  request(slot: DataView, abi: Abi): AnyCodec;
  response(slot: DataView, abi: Abi): AnyCodec;
  /** Does the slot after this one hold an extra info instead? */
  hasExtra(slot: DataView, codec: AnyCodec): boolean;
}

const never = () => false;
const flag16 = (codec: { offset(field: 'flags', abi: Abi): number }, bit: number) => (slot: DataView) =>
  (slot.getUint16(codec.offset('flags', 'x86_64'), true) & bit) !== 0;
const more = (slot: DataView) => (slot.getUint8(netif_extra_info.offset('flags', 'x86_64')) & XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
const txExtra = flag16(netif_tx_request, NETTXF_extra_info);
const rxExtra = flag16(netif_rx_response, NETRXF_extra_info);

export const RING_KINDS = {
  blkif: {
    type: BLKIF_RING,
    request: (slot) => {
      const op = slot.getUint8(0);
      return op === BLKIF_OP_INDIRECT ? blkif_request_indirect : op === BLKIF_OP_DISCARD ? blkif_request_discard : blkif_request;
    },
    response: () => blkif_response,
    hasExtra: never,
  },
  netif_tx: {
    type: TX_RING,
    request: () => netif_tx_request,
    response: () => netif_tx_response,
    hasExtra: (slot, codec) => (codec === netif_tx_request && txExtra(slot)) || (codec === netif_extra_info && more(slot)),
  },
  netif_rx: {
    type: RX_RING,
    request: () => netif_rx_request,
    response: () => netif_rx_response,
    hasExtra: (slot, codec) => (codec === netif_rx_response && rxExtra(slot)) || (codec === netif_extra_info && more(slot)),
  },
  netif_ctrl: {
    type: CTRL_RING,
    request: () => xen_netif_ctrl_request,
    response: () => xen_netif_ctrl_response,
    hasExtra: never,
  },
} as const satisfies Record<string, RingKind>;

export interface Slot {
  /** Free-running, and where it falls. */
  readonly index: number;
  readonly slot: number;
  readonly kind: 'request' | 'response' | 'extra';
  readonly codec: AnyCodec;
  readonly at: number;
}

export interface RingDump {
  readonly slots: number;
  readonly reqProd: number;
  readonly reqEvent: number;
  readonly rspProd: number;
  readonly rspEvent: number;
  /** More requests than the ring can hold: the frontend's index is wrong, and its slots mean nothing. */
  readonly isBroken: boolean;
  /** Requests without a response, oldest first. */
  readonly outstanding: readonly Slot[];
  /** The last responses, oldest first. */
  readonly answered: readonly Slot[];
}

/** `bytes`: a copy of the ring's pages. `history`: how many responses are wanted. */
export function readRing(kind: RingKind, abi: Abi, bytes: Uint8Array, history: number): RingDump {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const index = (field: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event') => view.getUint32(sring.offset(field, abi), true);
  const slots = kind.type.slots(abi, bytes.length);
  const [reqProd, rspProd] = [index('req_prod'), index('rsp_prod')];
  const isBroken = prodOverflow(reqProd, rspProd, slots);
  const count = isBroken ? 0 : ringDistance(reqProd, rspProd);
  const walk = (from: number, n: number, what: 'request' | 'response'): Slot[] => {
    const out: Slot[] = [];
    let isExtra = false;
    for (let i = 0; i < n; i++) {
      const at = kind.type.slotOffset(abi, from + i, slots);
      const slot = new DataView(view.buffer, view.byteOffset + at, kind.type.entrySize(abi));
      const codec = isExtra ? netif_extra_info : kind[what](slot, abi);
      out.push({ index: (from + i) >>> 0, slot: (from + i) & (slots - 1), kind: isExtra ? 'extra' : what, codec, at });
      isExtra = kind.hasExtra(slot, codec);
    }
    return out;
  };
  // Slots that outstanding requests do not use still hold what was answered last.
  const past = isBroken ? 0 : Math.min(history, slots - count, rspProd);
  return {
    ...{ slots, reqProd, reqEvent: index('req_event'), rspProd, rspEvent: index('rsp_event'), isBroken },
    outstanding: walk(rspProd, count, 'request'),
    answered: walk(rspProd - past, past, 'response'),
  };
}

/** The dump as text; `bytes` and `abi` as before. */
export function showRing(title: string, ring: RingDump, abi: Abi, bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { outstanding } = ring;
  const lines = [
    `${title}: ${ring.slots} slots, ${bytes.length / 4096} page${bytes.length > 4096 ? 's' : ''}, ${abi}`,
    `  req_prod ${ring.reqProd}  req_event ${ring.reqEvent}  rsp_prod ${ring.rspProd}  rsp_event ${ring.rspEvent}`,
    ring.isBroken
      ? `  req_prod cannot be: ${ringDistance(ring.reqProd, ring.rspProd)} ahead of rsp_prod`
      : `  ${outstanding.length} request${outstanding.length === 1 ? '' : 's'} without a response`,
  ];
  const show = (s: Slot) => {
    lines.push(`  slot ${s.slot}  ${s.kind} ${s.index}  ${s.codec.ctype}`);
    for (const line of dump(s.codec, view, s.at, abi).split('\n')) lines.push(`    ${line}`);
  };
  outstanding.forEach(show);
  if (ring.answered.length > 0) lines.push('  answered last:');
  ring.answered.forEach(show);
  return `${lines.join('\n')}\n`;
}
