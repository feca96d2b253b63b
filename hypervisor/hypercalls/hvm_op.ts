// hvm_op: parameters of HVM domains, and what an HVM guest asks beside (xen/arch/x86/hvm/hvm.c, do_hvm_op() of 4.17).

import {
  HVM_NR_PARAMS,
  HVM_PARAM_CALLBACK_IRQ,
  HVMMEM_ioreq_server,
  HVMMEM_mmio_dm,
  HVMMEM_ram_ro,
  HVMMEM_ram_rw,
  HVMOP_altp2m,
  HVMOP_flush_tlbs,
  HVMOP_get_mem_type,
  HVMOP_get_param,
  HVMOP_get_time,
  HVMOP_guest_request_vm_event,
  HVMOP_pagetable_dying,
  HVMOP_set_evtchn_upcall_vector,
  HVMOP_set_param,
  HVMOP_xentrace,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  xen_hvm_evtchn_upcall_vector,
  xen_hvm_get_mem_type,
  xen_hvm_get_time,
  xen_hvm_pagetable_dying,
  xen_hvm_param,
  xen_hvm_xentrace,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { getHvmParam, setHvmParam } from '../core/hvm-params.ts';
import type { Gfn } from '../core/ids.ts';
import { P2M_TYPES, type P2mType } from '../core/p2m.ts';
import { latchSharedInfoSize } from '../core/pvclock.ts';
import { isUpcallPending } from '../core/shared-info.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { domainByAnyId, mayTarget } from './foreign-domain.ts';

type HvmOp = (c: HypercallContext, arg: number) => number;

/** The domain a parameter is of: any, one's own included, but an HVM one; else -XEN_Exxx. */
function hvmTarget(c: HypercallContext, domid: number): Domain | number {
  const d = domainByAnyId(c, domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!d.isHvm) return -XEN_EINVAL;
  return mayTarget(c, d.id) ? d : -XEN_EPERM;
}

const setParam: HvmOp = (c, arg) => {
  const a = c.guest.readStruct(xen_hvm_param, arg);
  if (a === null) return -XEN_EFAULT;
  if (a.index >= HVM_NR_PARAMS) return -XEN_EINVAL;
  const d = hvmTarget(c, a.domid);
  if (typeof d === 'number') return d;
  const isSelf = d === c.domain;
  const rc = setHvmParam(c.hv, d, a.index, a.value, isSelf);
  if (rc === 0 && isSelf && a.index === HVM_PARAM_CALLBACK_IRQ) latchSharedInfoSize(c.hv, d, c.is32bit);
  return rc;
};

const getParam: HvmOp = (c, arg) => {
  const a = c.guest.readStruct(xen_hvm_param, arg);
  if (a === null) return -XEN_EFAULT;
  if (a.index >= HVM_NR_PARAMS) return -XEN_EINVAL;
  const d = hvmTarget(c, a.domid);
  if (typeof d === 'number') return d;
  const value = getHvmParam(d, a.index, d === c.domain);
  if (typeof value === 'number') return value;
  return c.guest.writeStruct(xen_hvm_param, arg, { ...a, value }) ? 0 : -XEN_EFAULT;
};

/** Vectors below are the processor's own (IDT exceptions end at 0x1f, but 0x10 on is what a local APIC accepts). */
const FIRST_VECTOR = 0x10;

const setUpcallVector: HvmOp = (c, arg) => {
  const a = c.guest.readStruct(xen_hvm_evtchn_upcall_vector, arg);
  if (a === null) return -XEN_EFAULT;
  if (!c.domain.isHvm || a.vector < FIRST_VECTOR) return -XEN_EINVAL;
  const v = c.domain.vcpus[a.vcpu];
  if (v === undefined || v.hvm === null) return -XEN_ENOENT;
  v.hvm.upcallVector = a.vector;
  // What was pending before would never be raised.
  if (isUpcallPending(v)) c.hv.hvm.assertEvtchnIrq(c.hv, v);
  return 0;
};

const MEM_TYPES: Partial<Record<P2mType, number>> = {
  [P2M_TYPES.ram_rw]: HVMMEM_ram_rw,
  [P2M_TYPES.ram_logdirty]: HVMMEM_ram_rw,
  [P2M_TYPES.map_foreign]: HVMMEM_ram_rw,
  [P2M_TYPES.grant_map_rw]: HVMMEM_ram_rw,
  [P2M_TYPES.grant_map_ro]: HVMMEM_ram_rw,
  [P2M_TYPES.ram_ro]: HVMMEM_ram_ro,
  [P2M_TYPES.ioreq_server]: HVMMEM_ioreq_server,
};

const getMemType: HvmOp = (c, arg) => {
  const a = c.guest.readStruct(xen_hvm_get_mem_type, arg);
  if (a === null) return -XEN_EFAULT;
  const d = hvmTarget(c, a.domid);
  if (typeof d === 'number') return d;
  const type = d.p2m.type(Number(a.pfn) as Gfn);
  return c.guest.writeStruct(xen_hvm_get_mem_type, arg, { ...a, mem_type: MEM_TYPES[type] ?? HVMMEM_mmio_dm }) ? 0 : -XEN_EFAULT;
};

const OPS: Record<number, HvmOp | undefined> = {
  [HVMOP_set_param]: setParam,
  [HVMOP_get_param]: getParam,
  [HVMOP_set_evtchn_upcall_vector]: setUpcallVector,
  [HVMOP_get_mem_type]: getMemType,
  // A null handle stands for all vCPUs; a list of some is not part of the interface yet.
  [HVMOP_flush_tlbs]: (c, arg) => {
    if (arg !== 0) return -XEN_EINVAL;
    if (!c.domain.isHvm) return -XEN_ENOSYS;
    c.hv.hvm.flushTlbs(c.hv, c.domain);
    return 0;
  },
  [HVMOP_get_time]: (c, arg) => (c.guest.writeStruct(xen_hvm_get_time, arg, { now: BigInt(Math.floor(c.hv.now())) }) ? 0 : -XEN_EFAULT),
  // Advice to shadow paging; saying no keeps a guest from giving it.
  [HVMOP_pagetable_dying]: (c, arg) => {
    const a = c.guest.readStruct(xen_hvm_pagetable_dying, arg);
    if (a === null) return -XEN_EFAULT;
    return domainByAnyId(c, a.domid) === undefined ? -XEN_ESRCH : -XEN_EINVAL;
  },
  [HVMOP_xentrace]: (c, arg) => {
    const a = c.guest.readStruct(xen_hvm_xentrace, arg);
    if (a === null) return -XEN_EFAULT;
    return a.extra_bytes > a.extra.length ? -XEN_EINVAL : 0;
  },
  // Nobody listens to it, and there are no alternate views.
  [HVMOP_guest_request_vm_event]: (_c, arg) => (arg === 0 ? 0 : -XEN_EINVAL),
  [HVMOP_altp2m]: () => -XEN_EOPNOTSUPP,
};

export const hvm_op: HypercallHandler = (c) => OPS[c.argU32(0)]?.(c, c.arg(1)) ?? -XEN_ENOSYS;
