// Which queue of a frontend a packet goes to: the Toeplitz hash that the frontend configured over its control ring (netif.h; Linux's
// hash.c), or one of ours where it did not.
import {
  _XEN_NETIF_CTRL_HASH_TYPE_IPV4,
  _XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP,
  _XEN_NETIF_CTRL_HASH_TYPE_IPV6,
  _XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP,
  XEN_NETIF_CTRL_HASH_ALGORITHM_NONE,
  XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ,
} from '@ringworld/abi';
import type { PacketHash } from '../switch/port.ts';

export const MAX_HASH_KEY = 40;
export const MAX_HASH_MAPPING = 128;

const ETH = 14;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const TCP = 6;

/** Plain data: what the frontend has configured. */
export interface HashState {
  algorithm: number;
  /** XEN_NETIF_CTRL_HASH_TYPE_*: what is hashed. */
  flags: number;
  key: Uint8Array;
  /** Entries in use of `mapping`; 0: the hash modulo the number of queues. */
  mappingSize: number;
  mapping: Uint32Array;
}

export const newHashState = (): HashState => ({
  algorithm: XEN_NETIF_CTRL_HASH_ALGORITHM_NONE,
  flags: 0,
  key: new Uint8Array(MAX_HASH_KEY),
  mappingSize: 0,
  mapping: new Uint32Array(MAX_HASH_MAPPING),
});

/** Longest input: two IPv6 addresses and two ports. */
const MAX_INPUT = 36;

/**
 * The Toeplitz hash is linear in its input: for each position and byte value there is one word to be XORed in. Made anew when the key
 * changes.
 */
export class Toeplitz {
  private readonly table = new Uint32Array(MAX_INPUT * 256);

  constructor(key: Uint8Array) {
    /** 32 bits of the key from bit `at`. */
    const window = (at: number): number => {
      let word = 0;
      for (let i = 0; i < 32; i++) {
        const bit = at + i;
        word = (word << 1) | (((key[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1);
      }
      return word >>> 0;
    };
    for (let position = 0; position < MAX_INPUT; position++) {
      const at = position * 256;
      for (let bit = 0; bit < 8; bit++) this.table[at + (0x80 >> bit)] = window(position * 8 + bit);
      for (let value = 1; value < 256; value++) {
        const low = value & -value;
        this.table[at + value] = this.table[at + (value ^ low)]! ^ this.table[at + low]!;
      }
    }
  }

  /** Of `length` bytes at `from`, then `more` bytes at `then`, as they follow each other in the input. */
  hash(bytes: Uint8Array, from: number, length: number, then: number, more: number): number {
    let h = 0;
    for (let i = 0; i < length; i++) h ^= this.table[i * 256 + bytes[from + i]!]!;
    for (let i = 0; i < more; i++) h ^= this.table[(length + i) * 256 + bytes[then + i]!]!;
    return h >>> 0;
  }
}

/** Where a frame's addresses and ports are. */
interface Flow {
  readonly v6: boolean;
  /** The two addresses lie behind each other. */
  readonly addresses: number;
  /** Of the ports of TCP or UDP; 0 where there are none to be seen (fragments, other protocols). */
  readonly ports: number;
  readonly protocol: number;
}

function flowOf(bytes: Uint8Array): Flow | null {
  const type = (bytes[12]! << 8) | bytes[13]!;
  if (type === ETH_P_IP && bytes.length >= ETH + 20) {
    const header = (bytes[ETH]! & 15) * 4;
    const protocol = bytes[ETH + 9]!;
    const isFragment = (((bytes[ETH + 6]! << 8) | bytes[ETH + 7]!) & 0x3fff) !== 0;
    const at = ETH + header;
    const hasPorts = !isFragment && (protocol === TCP || protocol === 17) && header >= 20 && bytes.length >= at + 4;
    return { v6: false, addresses: ETH + 12, ports: hasPorts ? at : 0, protocol };
  }
  if (type === ETH_P_IPV6 && bytes.length >= ETH + 40) {
    // Extension headers are not followed: such packets are hashed by their addresses.
    const protocol = bytes[ETH + 6]!;
    const at = ETH + 40;
    const hasPorts = (protocol === TCP || protocol === 17) && bytes.length >= at + 4;
    return { v6: true, addresses: ETH + 8, ports: hasPorts ? at : 0, protocol };
  }
  return null;
}

/** The hash that the frontend is told with the packet; null where none of the kinds that it enabled fits. */
export function packetHash(state: HashState, toeplitz: Toeplitz, bytes: Uint8Array): PacketHash | null {
  if (state.algorithm === XEN_NETIF_CTRL_HASH_ALGORITHM_NONE || state.flags === 0) return null;
  const flow = flowOf(bytes);
  if (flow === null) return null;
  const l4 = flow.v6 ? _XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP : _XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP;
  const l3 = flow.v6 ? _XEN_NETIF_CTRL_HASH_TYPE_IPV6 : _XEN_NETIF_CTRL_HASH_TYPE_IPV4;
  const length = flow.v6 ? 32 : 8;
  const isTcp = flow.protocol === TCP && flow.ports !== 0;
  const type = isTcp && (state.flags & (1 << l4)) !== 0 ? l4 : (state.flags & (1 << l3)) !== 0 ? l3 : -1;
  if (type < 0) return null;
  const value = toeplitz.hash(bytes, flow.addresses, length, flow.ports, type === l4 ? 4 : 0);
  return { type, algorithm: XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ, value };
}

/** xenvif_select_queue. */
export function selectQueue(state: HashState, hash: PacketHash | null, bytes: Uint8Array, queues: number): number {
  if (queues <= 1) return 0;
  if (state.algorithm === XEN_NETIF_CTRL_HASH_ALGORITHM_NONE) return spread(bytes) % queues;
  const value = hash?.value ?? 0;
  if (state.mappingSize === 0) return value % queues;
  // The mapping was checked against the number of queues when it was set.
  return state.mapping[value % state.mappingSize]! % queues;
}

/** Keeps a flow on one queue where the frontend has no say: Linux's skb_tx_hash likewise. */
function spread(bytes: Uint8Array): number {
  const flow = flowOf(bytes);
  if (flow === null) return 0;
  let h = flow.protocol;
  const end = flow.addresses + (flow.v6 ? 32 : 8);
  for (let i = flow.addresses; i < end; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
  if (flow.ports !== 0) for (let i = 0; i < 4; i++) h = Math.imul(h ^ bytes[flow.ports + i]!, 0x01000193);
  return (h ^ (h >>> 15)) >>> 0;
}
