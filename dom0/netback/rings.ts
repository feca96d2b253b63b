// The three rings of a network interface (netif.h), and where in their slots things are. Both layouts are the same.
import {
  netif_extra_info,
  netif_rx_request,
  netif_rx_response,
  netif_tx_request,
  netif_tx_response,
  ringType,
  xen_netif_ctrl_request,
  xen_netif_ctrl_response,
} from '@ringworld/abi';

export const TX_RING = ringType('netif_tx', [netif_tx_request, netif_tx_response]);
export const RX_RING = ringType('netif_rx', [netif_rx_request, netif_rx_response]);
export const CTRL_RING = ringType('xen_netif_ctrl', [xen_netif_ctrl_request, xen_netif_ctrl_response]);

const ABI = 'x86_64' as const;

export const TX_REQUEST = {
  gref: netif_tx_request.offset('gref', ABI),
  offset: netif_tx_request.offset('offset', ABI),
  flags: netif_tx_request.offset('flags', ABI),
  id: netif_tx_request.offset('id', ABI),
  size: netif_tx_request.offset('size', ABI),
} as const;

export const TX_RESPONSE = {
  id: netif_tx_response.offset('id', ABI),
  status: netif_tx_response.offset('status', ABI),
  bytes: netif_tx_response.size(ABI),
} as const;

export const RX_REQUEST = {
  id: netif_rx_request.offset('id', ABI),
  gref: netif_rx_request.offset('gref', ABI),
} as const;

export const RX_RESPONSE = {
  id: netif_rx_response.offset('id', ABI),
  offset: netif_rx_response.offset('offset', ABI),
  flags: netif_rx_response.offset('flags', ABI),
  status: netif_rx_response.offset('status', ABI),
  bytes: netif_rx_response.size(ABI),
} as const;

const U = netif_extra_info.offset('u', ABI);

/** An extra info takes the place of a request (tx) or a response (rx). */
export const EXTRA = {
  type: netif_extra_info.offset('type', ABI),
  flags: netif_extra_info.offset('flags', ABI),
  gsoSize: U,
  gsoType: U + 2,
  mcastAddr: U,
  hashType: U,
  hashAlgorithm: U + 1,
  hashValue: U + 2,
} as const;

export const CTRL_REQUEST = {
  id: xen_netif_ctrl_request.offset('id', ABI),
  type: xen_netif_ctrl_request.offset('type', ABI),
  data: xen_netif_ctrl_request.offset('data', ABI),
} as const;
