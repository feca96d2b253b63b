// vcpu.h: vcpu_op: bringing vCPUs up and down, their timers, and the areas that Xen writes for them.
import { array } from '../layout/array.ts';
import { handle, s32, u32, u64, u64_number } from '../layout/scalars.ts';
import { struct, union } from '../layout/struct.ts';

export const VCPUOP_initialise = 0;
export const VCPUOP_up = 1;
export const VCPUOP_down = 2;
export const VCPUOP_is_up = 3;
export const VCPUOP_get_runstate_info = 4;

/** state_entry_time carries XEN_RUNSTATE_UPDATE in bit 63, hence a bigint. */
export const vcpu_runstate_info = struct('vcpu_runstate_info', {
  state: s32,
  state_entry_time: u64,
  time: array(4, u64_number),
});

export const XEN_RUNSTATE_UPDATE = 0x8000000000000000n;

export const RUNSTATE_running = 0;
export const RUNSTATE_runnable = 1;
export const RUNSTATE_blocked = 2;
export const RUNSTATE_offline = 3;

export const VCPUOP_register_runstate_memory_area = 5;

export const vcpu_register_runstate_memory_area = struct('vcpu_register_runstate_memory_area', {
  addr: union('', {
    h: handle('vcpu_runstate_info_t'),
    v: handle(),
    p: u64,
  }),
});

export const VCPUOP_set_periodic_timer = 6;
export const VCPUOP_stop_periodic_timer = 7;

export const vcpu_set_periodic_timer = struct('vcpu_set_periodic_timer', {
  period_ns: u64_number,
});

export const VCPUOP_set_singleshot_timer = 8;
export const VCPUOP_stop_singleshot_timer = 9;

export const vcpu_set_singleshot_timer = struct('vcpu_set_singleshot_timer', {
  timeout_abs_ns: u64_number,
  flags: u32,
});

export const _VCPU_SSHOTTMR_future = 0;
export const VCPU_SSHOTTMR_future = 1 << _VCPU_SSHOTTMR_future;

export const VCPUOP_register_vcpu_info = 10;

export const vcpu_register_vcpu_info = struct('vcpu_register_vcpu_info', {
  mfn: u64_number,
  offset: u32,
  rsvd: u32,
});

export const VCPUOP_send_nmi = 11;
export const VCPUOP_get_physid = 12;

export const vcpu_get_physid = struct('vcpu_get_physid', {
  phys_id: u64,
});

export const VCPUOP_register_vcpu_time_memory_area = 13;

export const vcpu_register_time_memory_area = struct('vcpu_register_time_memory_area', {
  addr: union('', {
    h: handle('vcpu_time_info_t'),
    v: handle(),
    p: u64,
  }),
});
