// vcpu_op: vCPUs brought up and down, their timers, and the areas that the hypervisor keeps for them (xen/common/domain.c, do_vcpu_op).

import {
  SHUTDOWN_poweroff,
  VCPU_SSHOTTMR_future,
  VCPUOP_down,
  VCPUOP_get_physid,
  VCPUOP_get_runstate_info,
  VCPUOP_initialise,
  VCPUOP_is_up,
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_vcpu_info,
  VCPUOP_register_vcpu_time_memory_area,
  VCPUOP_send_nmi,
  VCPUOP_set_periodic_timer,
  VCPUOP_set_singleshot_timer,
  VCPUOP_stop_periodic_timer,
  VCPUOP_stop_singleshot_timer,
  VCPUOP_up,
  vcpu_hvm_context,
  vcpu_info,
  vcpu_register_runstate_memory_area,
  vcpu_register_time_memory_area,
  vcpu_register_vcpu_info,
  vcpu_runstate_info,
  vcpu_set_periodic_timer,
  vcpu_set_singleshot_timer,
  vcpu_time_info,
  XEN_DOMCTL_SENDTRIGGER_NMI,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_ENXIO,
  XEN_ETIME,
} from '@ringworld/abi';
import { MILLISECS } from '../core/clock.ts';
import { moveVcpuInfo } from '../core/domain-create.ts';
import { getWritableFrame } from '../core/guest-frame.ts';
import { INVALID_MFN, type Lin, type Maddr, mfnToMaddr } from '../core/ids.ts';
import { updateVcpuTime } from '../core/pvclock.ts';
import { currentRunstate } from '../core/runstate.ts';
import { vcpuPendingSelAt } from '../core/shared-info.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { guestContextSize } from './guest-context.ts';
import { hvmContextToCpuState } from './hvm-vcpu-context.ts';

/** STIME_DELTA_MAX: periods beyond it would overflow Xen's timer arithmetic. */
const STIME_DELTA_MAX = 2 ** 62;

type VcpuOp = (c: HypercallContext, v: Vcpu, arg: number) => number;

/** arch_initialise_vcpu(). */
function initialiseHvm(c: HypercallContext, v: Vcpu, arg: number): number {
  const context = c.guest.readStruct(vcpu_hvm_context, arg);
  if (context === null) return -XEN_EFAULT;
  if (v.isInitialised) return -XEN_EEXIST;
  const state = hvmContextToCpuState(context);
  const rc = state === null ? -XEN_EINVAL : c.hv.hvm.loadCpu(c.hv, v, state);
  if (rc === 0) v.isInitialised = true;
  return rc;
}

const initialise: VcpuOp = (c, v, arg) => {
  // A vCPU beyond the 32 of shared_info must have registered its vcpu_info first.
  if (c.hv.dummyVcpuInfo !== INVALID_MFN && v.vcpuInfo === mfnToMaddr(c.hv.dummyVcpuInfo)) return -XEN_EINVAL;
  if (v.hvm !== null) return initialiseHvm(c, v, arg);
  const bytes = c.guest.copyFrom(arg, guestContextSize(c.abi));
  if (bytes === null) return -XEN_EFAULT;
  if (v.isInitialised) return -XEN_EEXIST;
  const rc = c.hv.pv.loadGuestContext(c.hv, v, bytes);
  if (rc === 0) v.isInitialised = true;
  return rc;
};

const up: VcpuOp = (c, v) => {
  if (!v.isInitialised) return -XEN_EINVAL;
  if (v.isDown) {
    v.isDown = false;
    c.hv.scheduler.wake(v);
  }
  return 0;
};

const down: VcpuOp = (c, v) => {
  if (c.domain.vcpus.every((o) => o === v || o.isDown)) {
    c.domain.shutdown(SHUTDOWN_poweroff);
    return 0;
  }
  if (!v.isDown) {
    v.isDown = true;
    c.hv.scheduler.sleep(v);
  }
  return 0;
};

const setPeriodic: VcpuOp = (c, v, arg) => {
  const set = c.guest.readStruct(vcpu_set_periodic_timer, arg);
  if (set === null) return -XEN_EFAULT;
  if (set.period_ns < MILLISECS || set.period_ns > STIME_DELTA_MAX) return -XEN_EINVAL;
  v.timers.setPeriodic(set.period_ns);
  return 0;
};

const setSingleshot: VcpuOp = (c, v, arg) => {
  if (v !== c.vcpu) return -XEN_EINVAL;
  const set = c.guest.readStruct(vcpu_set_singleshot_timer, arg);
  if (set === null) return -XEN_EFAULT;
  if (set.flags & VCPU_SSHOTTMR_future && set.timeout_abs_ns < c.hv.now()) return -XEN_ETIME;
  v.timers.setSingleshot(set.timeout_abs_ns);
  return 0;
};

const stopSingleshot: VcpuOp = (c, v) => {
  if (v !== c.vcpu) return -XEN_EINVAL;
  v.timers.stopSingleshot();
  return 0;
};

const writeRunstate = (c: HypercallContext, v: Vcpu, at: number): boolean => {
  const r = currentRunstate(v, c.hv.now());
  return c.guest.writeStruct(vcpu_runstate_info, at, { state: r.state, state_entry_time: BigInt(r.entry), time: r.time });
};

const registerRunstate: VcpuOp = (c, v, arg) => {
  const area = c.guest.readStruct(vcpu_register_runstate_memory_area, arg);
  if (area === null) return -XEN_EFAULT;
  // guest_handle_okay(): a place in the hypervisor's area is refused; one that cannot be written yet counts when it can be.
  if (!c.guest.isAccessible(area.addr.h, vcpu_runstate_info.size(c.abi))) return -XEN_EFAULT;
  v.runstateGuest = area.addr.h as number as Lin;
  writeRunstate(c, v, area.addr.h);
  return 0;
};

const registerTime: VcpuOp = (c, v, arg) => {
  const area = c.guest.readStruct(vcpu_register_time_memory_area, arg);
  if (area === null) return -XEN_EFAULT;
  if (!c.guest.isAccessible(area.addr.h, vcpu_time_info.size(c.abi))) return -XEN_EFAULT;
  v.timeInfoGuest = area.addr.h as number as Lin;
  updateVcpuTime(c.hv, v, true);
  return 0;
};

/** map_vcpu_info: once per vCPU, for itself or for one that is down. */
const registerVcpuInfo: VcpuOp = (c, v, arg) => {
  const info = c.guest.readStruct(vcpu_register_vcpu_info, arg);
  if (info === null) return -XEN_EFAULT;
  // XSA-327: fields of it are changed atomically, so it must lie as aligned as its type.
  if (info.offset > 4096 - vcpu_info.size(c.abi) || info.offset % (c.abi === 'x86_64' ? 8 : 4) !== 0) return -XEN_ENXIO;
  if (v.vcpuInfoMfn !== INVALID_MFN || (v !== c.vcpu && !v.isDown)) return -XEN_EINVAL;
  const mfn = getWritableFrame(c.hv, c.domain, info.mfn);
  if (mfn === INVALID_MFN) return -XEN_EINVAL;
  v.vcpuInfoMfn = mfn;
  moveVcpuInfo(c.hv, v, (mfnToMaddr(mfn) + info.offset) as Maddr);
  // An event may have been marked in the old place: say that everything is pending, the guest copes with a spurious upcall.
  const sel = vcpuPendingSelAt(v);
  c.hv.ram.write32(sel, 0xffff_ffff);
  if (c.abi === 'x86_64') c.hv.ram.write32((sel + 4) as Maddr, 0xffff_ffff);
  c.domain.evtchn.markPending(v);
  updateVcpuTime(c.hv, v, true);
  return 0;
};

const sendNmi: VcpuOp = (c, v, arg) => {
  if (arg !== 0) return -XEN_EINVAL;
  if (v.hvm !== null) return c.hv.hvm.sendTrigger(c.hv, v, XEN_DOMCTL_SENDTRIGGER_NMI);
  if (!v.pv.nmiPending) {
    v.pv.nmiPending = true;
    c.hv.kick(v);
  }
  return 0;
};

const OPS: Record<number, VcpuOp> = {
  [VCPUOP_initialise]: initialise,
  [VCPUOP_up]: up,
  [VCPUOP_down]: down,
  [VCPUOP_is_up]: (_c, v) => (v.isDown ? 0 : 1),
  [VCPUOP_get_runstate_info]: (c, v, arg) => (writeRunstate(c, v, arg) ? 0 : -XEN_EFAULT),
  [VCPUOP_register_runstate_memory_area]: registerRunstate,
  [VCPUOP_set_periodic_timer]: setPeriodic,
  [VCPUOP_stop_periodic_timer]: (_c, v) => {
    v.timers.setPeriodic(0);
    return 0;
  },
  [VCPUOP_set_singleshot_timer]: setSingleshot,
  [VCPUOP_stop_singleshot_timer]: stopSingleshot,
  [VCPUOP_register_vcpu_info]: registerVcpuInfo,
  [VCPUOP_register_vcpu_time_memory_area]: registerTime,
  [VCPUOP_send_nmi]: sendNmi,
  // Only for a hardware domain whose vCPUs are pinned.
  [VCPUOP_get_physid]: () => -XEN_EINVAL,
};

export const vcpu_op: HypercallHandler = (c) => {
  const v = c.domain.vcpus[c.argU32(1)];
  if (v === undefined) return -XEN_ENOENT;
  const op = OPS[c.argU32(0)];
  return op === undefined ? -XEN_ENOSYS : op(c, v, c.arg(2));
};
