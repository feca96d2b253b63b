// Operations of domctl that saving and restoring a PV domain needs beside contexts: what its frames are used for, and the state of a vCPU
// that vcpu_guest_context has no room for (xen/arch/x86/domctl.c, 4.17).

import {
  XEN_DOMCTL_get_ext_vcpucontext,
  XEN_DOMCTL_get_vcpu_msrs,
  XEN_DOMCTL_getpageframeinfo3,
  XEN_DOMCTL_getvcpuextstate,
  XEN_DOMCTL_PFINFO_LPINTAB,
  XEN_DOMCTL_PFINFO_LTAB_SHIFT,
  XEN_DOMCTL_PFINFO_NOTAB,
  XEN_DOMCTL_PFINFO_XTAB,
  XEN_DOMCTL_set_ext_vcpucontext,
  XEN_DOMCTL_set_vcpu_msrs,
  XEN_E2BIG,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOBUFS,
  XEN_EOPNOTSUPP,
  XEN_ESRCH,
  xen_domctl_ext_vcpucontext,
  xen_domctl_getpageframeinfo3,
  xen_domctl_vcpu_msr,
  xen_domctl_vcpu_msrs,
  xen_domctl_vcpuextstate,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { PGT_l1_page_table, PGT_l4_page_table } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Mfn } from '../core/ids.ts';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import { STATE } from '../machine/state.ts';
import { featuresOf } from '../pv/cpuid-policy.ts';
import { fixupSelector } from '../pv/selectors.ts';
import { control } from './control-op.ts';
import type { DomctlOp } from './domctl-domain.ts';

/** More than this at once is refused (GPF_BATCH aside, Xen's limit is 1024). */
const MAX_FRAMES = 1024;

function frameInfo(hv: Hypervisor, d: Domain, gfn: number): number {
  const { frames } = hv;
  if (!frames.getPage(gfn, d.id)) return XEN_DOMCTL_PFINFO_XTAB;
  const mfn = gfn as Mfn;
  const type = frames.type[mfn]!;
  const isTable = type >= PGT_l1_page_table && type <= PGT_l4_page_table && frames.typeCount[mfn]! > 0;
  // In Xen a frame keeps its last type when nobody uses it as that any more; here such a frame is an ordinary one.
  const info = frames.isXenHeap(mfn) ? XEN_DOMCTL_PFINFO_XTAB : isTable ? type << XEN_DOMCTL_PFINFO_LTAB_SHIFT : XEN_DOMCTL_PFINFO_NOTAB;
  const pinned = isTable && frames.isPinned(mfn) ? XEN_DOMCTL_PFINFO_LPINTAB : 0;
  frames.putPage(mfn);
  return (info | pinned) >>> 0;
}

const getFrameInfo: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_getpageframeinfo3, at, ({ num, array }) => {
    if (num > MAX_FRAMES) return -XEN_E2BIG;
    // SAFE: a handle is an address.
    const list = array as unknown as number;
    for (let i = 0; i < num; i++) {
      if (!c.guest.read64(list + i * 8)) return -XEN_EFAULT;
      const info = c.guest.hi === 0 ? frameInfo(c.hv, d, c.guest.lo >>> 0) : XEN_DOMCTL_PFINFO_XTAB;
      if (!c.guest.write64(list + i * 8, info | 0, 0)) return -XEN_EFAULT;
    }
    return 0;
  });

/** Bytes of the structure as a PV vCPU fills it: all of it. */
const EXT_SIZE = xen_domctl_ext_vcpucontext.size('x86_64');
const NO_VMCE = { caps: 0n, mci_ctl2_bank0: 0n, mci_ctl2_bank1: 0n, mcg_ext_ctl: 0n };
const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(address));
const signed = (address: bigint): number => Number(BigInt.asIntN(64, address));

const extContext =
  (set: boolean): DomctlOp =>
  (c, d, at) =>
    control(c, xen_domctl_ext_vcpucontext, at, (e) => {
      const v = d.vcpus[e.vcpu];
      if (v === undefined) return -XEN_ESRCH;
      if (v === c.vcpu) return -XEN_EINVAL;
      const { pv } = v;
      if (!set) {
        return {
          vcpu: e.vcpu,
          size: EXT_SIZE,
          sysenter_callback_cs: pv.sysenterCallbackCs,
          sysenter_callback_eip: unsigned(pv.sysenterCallbackEip),
          sysenter_disables_events: pv.sysenterDisablesEvents ? 1 : 0,
          syscall32_callback_cs: pv.syscall32CallbackCs,
          syscall32_callback_eip: unsigned(pv.syscall32CallbackEip),
          syscall32_disables_events: pv.syscall32DisablesEvents ? 1 : 0,
          vmce: NO_VMCE,
        };
      }
      const sysenter = signed(e.sysenter_callback_eip) as Lin;
      const syscall32 = signed(e.syscall32_callback_eip) as Lin;
      if (!isCanonical(sysenter) || !isCanonical(syscall32)) return -XEN_EINVAL;
      pv.sysenterCallbackCs = fixupSelector(d.is32bit, e.sysenter_callback_cs);
      pv.sysenterCallbackEip = sysenter;
      pv.sysenterDisablesEvents = e.sysenter_disables_events !== 0;
      pv.syscall32CallbackCs = fixupSelector(d.is32bit, e.syscall32_callback_cs);
      pv.syscall32CallbackEip = syscall32;
      pv.syscall32DisablesEvents = e.syscall32_disables_events !== 0;
      return 0;
    });

/** A machine without XSAVE has no such state: the answer is an empty one. */
const getExtState: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_vcpuextstate, at, (e) => {
    if (d.vcpus[e.vcpu] === undefined) return -XEN_ESRCH;
    if (featuresOf(null).has('xsave')) return -XEN_EOPNOTSUPP;
    return { ...e, xfeature_mask: 0n, size: 0 };
  });

const MSR_TSC_AUX = 0xc000_0103;
const MSR_INTEL_MISC_FEATURES_ENABLES = 0x140;

/** Those that are not zero, as Xen does; a null list asks how many there may be. */
const getMsrs: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_vcpu_msrs, at, (m) => {
    const v = d.vcpus[m.vcpu];
    if (v === undefined) return -XEN_ESRCH;
    // SAFE: a handle is an address.
    const list = m.msrs as unknown as number;
    if (list === 0) return { ...m, msr_count: 2 };
    const values: [number, bigint][] = [
      [MSR_INTEL_MISC_FEATURES_ENABLES, v.pv.cpuidFaulting ? 1n : 0n],
      [MSR_TSC_AUX, v.regs.big(STATE.tscAux)],
    ];
    const set = values.filter(([, value]) => value !== 0n);
    if (set.length > m.msr_count) return -XEN_ENOBUFS;
    for (const [i, [index, value]] of set.entries())
      if (!c.guest.writeStruct(xen_domctl_vcpu_msr, list, { index, reserved: 0, value }, i)) return -XEN_EFAULT;
    return { ...m, msr_count: set.length };
  });

const setMsrs: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_vcpu_msrs, at, (m) => {
    const v = d.vcpus[m.vcpu];
    if (v === undefined) return -XEN_ESRCH;
    if (v === c.vcpu) return -XEN_EINVAL;
    // SAFE: a handle is an address.
    const list = m.msrs as unknown as number;
    for (let i = 0; i < m.msr_count; i++) {
      const msr = c.guest.readStruct(xen_domctl_vcpu_msr, list, i);
      if (msr === null) return -XEN_EFAULT;
      if (msr.reserved !== 0) return -XEN_EINVAL;
      if (msr.index === MSR_TSC_AUX && msr.value <= 0xffff_ffffn) v.regs.setBig(STATE.tscAux, msr.value);
      else if (msr.index === MSR_INTEL_MISC_FEATURES_ENABLES && msr.value <= 1n) v.pv.cpuidFaulting = msr.value === 1n;
      else return -XEN_EINVAL;
    }
    return 0;
  });

export const SAVE_OPS: Record<number, DomctlOp | undefined> = {
  [XEN_DOMCTL_getpageframeinfo3]: getFrameInfo,
  [XEN_DOMCTL_get_ext_vcpucontext]: extContext(false),
  [XEN_DOMCTL_set_ext_vcpucontext]: extContext(true),
  [XEN_DOMCTL_getvcpuextstate]: getExtState,
  [XEN_DOMCTL_get_vcpu_msrs]: getMsrs,
  [XEN_DOMCTL_set_vcpu_msrs]: setMsrs,
};
