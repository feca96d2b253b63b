// event_channel.h: event channels: operations, and the FIFO layout (each event is one 32-bit word, linked into per-vCPU queues).
import { array, bytes } from '../layout/array.ts';
import { bits } from '../layout/bits.ts';
import { domid_t, evtchn_port_t, u8, u32, u64_number } from '../layout/scalars.ts';
import { inline, struct, union } from '../layout/struct.ts';

export const EVTCHNOP_bind_interdomain = 0;
export const EVTCHNOP_bind_virq = 1;
export const EVTCHNOP_bind_pirq = 2;
export const EVTCHNOP_close = 3;
export const EVTCHNOP_send = 4;
export const EVTCHNOP_status = 5;
export const EVTCHNOP_alloc_unbound = 6;
export const EVTCHNOP_bind_ipi = 7;
export const EVTCHNOP_bind_vcpu = 8;
export const EVTCHNOP_unmask = 9;
export const EVTCHNOP_reset = 10;
export const EVTCHNOP_init_control = 11;
export const EVTCHNOP_expand_array = 12;
export const EVTCHNOP_set_priority = 13;

export const evtchn_alloc_unbound = struct('evtchn_alloc_unbound', {
  dom: domid_t,
  remote_dom: domid_t,
  port: evtchn_port_t,
});

export const evtchn_bind_interdomain = struct('evtchn_bind_interdomain', {
  remote_dom: domid_t,
  remote_port: evtchn_port_t,
  local_port: evtchn_port_t,
});

export const evtchn_bind_virq = struct('evtchn_bind_virq', {
  virq: u32,
  vcpu: u32,
  port: evtchn_port_t,
});

export const evtchn_bind_pirq = struct('evtchn_bind_pirq', {
  pirq: u32,
  flags: u32,
  port: evtchn_port_t,
});

export const BIND_PIRQ__WILL_SHARE = 1;

export const evtchn_bind_ipi = struct('evtchn_bind_ipi', {
  vcpu: u32,
  port: evtchn_port_t,
});

export const evtchn_close = struct('evtchn_close', {
  port: evtchn_port_t,
});

export const evtchn_send = struct('evtchn_send', {
  port: evtchn_port_t,
});

export const evtchn_status = struct('evtchn_status', {
  dom: domid_t,
  port: evtchn_port_t,
  status: u32,
  vcpu: u32,
  u: union('', {
    unbound: inline({
      dom: domid_t,
    }),
    interdomain: inline({
      dom: domid_t,
      port: evtchn_port_t,
    }),
    pirq: u32,
    virq: u32,
  }),
});

export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

export const evtchn_bind_vcpu = struct('evtchn_bind_vcpu', {
  port: evtchn_port_t,
  vcpu: u32,
});

export const evtchn_unmask = struct('evtchn_unmask', {
  port: evtchn_port_t,
});

export const evtchn_reset = struct('evtchn_reset', {
  dom: domid_t,
});

export const evtchn_init_control = struct('evtchn_init_control', {
  control_gfn: u64_number,
  offset: u32,
  vcpu: u32,
  link_bits: u8,
  _pad: bytes(7),
});

export const evtchn_expand_array = struct('evtchn_expand_array', {
  array_gfn: u64_number,
});

export const evtchn_set_priority = struct('evtchn_set_priority', {
  port: evtchn_port_t,
  priority: u32,
});

export const evtchn_op = struct('evtchn_op', {
  cmd: u32,
  u: union('', {
    alloc_unbound: evtchn_alloc_unbound,
    bind_interdomain: evtchn_bind_interdomain,
    bind_virq: evtchn_bind_virq,
    bind_pirq: evtchn_bind_pirq,
    bind_ipi: evtchn_bind_ipi,
    close: evtchn_close,
    send: evtchn_send,
    status: evtchn_status,
    bind_vcpu: evtchn_bind_vcpu,
    unmask: evtchn_unmask,
  }),
});

/** One bit each in shared_info, which holds the square of the bits in an unsigned long. */
export const EVTCHN_2L_NR_CHANNELS = { x86_64: 4096, x86_32: 1024 } as const;
export const EVTCHN_FIFO_PRIORITY_MAX = 0;
export const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
export const EVTCHN_FIFO_PRIORITY_MIN = 15;
export const EVTCHN_FIFO_MAX_QUEUES = 0x10;
export const EVTCHN_FIFO_PENDING = 31;
export const EVTCHN_FIFO_MASKED = 30;
export const EVTCHN_FIFO_LINKED = 29;
export const EVTCHN_FIFO_BUSY = 28;
export const EVTCHN_FIFO_LINK_BITS = 17;
export const EVTCHN_FIFO_LINK_MASK = 0x1ffff;
export const EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;

/** One FIFO event: event_word_t. LINK is the next event of the queue, by port; 0 ends it. */
export const event_word_t = bits(u32, {
  PENDING: EVTCHN_FIFO_PENDING,
  MASKED: EVTCHN_FIFO_MASKED,
  LINKED: EVTCHN_FIFO_LINKED,
  BUSY: EVTCHN_FIFO_BUSY,
  LINK: [0, EVTCHN_FIFO_LINK_BITS],
});

/** One per vCPU, inside a page that the guest gives to EVTCHNOP_init_control. */
export const evtchn_fifo_control_block = struct('evtchn_fifo_control_block', {
  ready: u32,
  _rsvd: u32,
  head: array(EVTCHN_FIFO_MAX_QUEUES, u32),
});
