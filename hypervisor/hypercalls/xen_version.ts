// xen_version: who we say we are: Xen 4.17 with PV support only, as Debian 12 ships it (xen/common/kernel.c, do_xen_version).

import {
  VMASST_TYPE_pae_extended_cr3,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODATA,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_EXTRAVERSION_LEN,
  XENFEAT_auto_translated_physmap,
  XENFEAT_dom0,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_highmem_assist,
  XENFEAT_hvm_callback_vector,
  XENFEAT_hvm_safe_pvclock,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_NR_SUBMAPS,
  XENFEAT_not_direct_mapped,
  XENFEAT_pae_pgdir_above_4gb,
  XENFEAT_writable_page_tables,
  XENVER_build_id,
  XENVER_capabilities,
  XENVER_changeset,
  XENVER_commandline,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_get_features,
  XENVER_guest_handle,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
  xen_compile_info,
  xen_feature_info,
  xen_platform_parameters,
  xen_x86_64,
} from '@ringworld/abi';
import { HYPERVISOR_COMPAT_VIRT_START } from '../core/guest-memory-pv.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { hasAssist } from './vm_assist.ts';

const MAJOR = 4;
const MINOR = 17;
const EXTRAVERSION = '.7';
const CAPABILITIES = 'xen-3.0-x86_64 xen-3.0-x86_32p ';
/** 0xffff800000000000 as a signed linear address. */
const HYPERVISOR_VIRT_START = Number(BigInt.asIntN(64, xen_x86_64.HYPERVISOR_VIRT_START));
/** What the default policy shows to domains that may not know (xen_deny). */
const DENIED = '<denied>';
const CMDLINE_LEN = 1024;

const compileInfo = {
  compiler: 'TypeScript',
  compile_by: 'ringworld',
  compile_domain: 'ringworld',
  compile_date: 'Thu Jan  1 00:00:00 UTC 2026',
};

/** Latin-1 text in a zeroed field of `length` bytes. */
const field = (text: string, length: number): Uint8Array => {
  const b = new Uint8Array(length);
  for (let i = 0; i < Math.min(text.length, length - 1); i++) b[i] = text.charCodeAt(i);
  return b;
};
const copyOut = (c: HypercallContext, bytes: Uint8Array): number => (c.guest.copyTo(c.arg(1), bytes) ? 0 : -XEN_EFAULT);

function features(c: HypercallContext): number {
  const { domain } = c;
  let map = (1 << XENFEAT_memory_op_vnode_supported) | (1 << XENFEAT_not_direct_mapped);
  if (hasAssist(domain, VMASST_TYPE_pae_extended_cr3)) map |= 1 << XENFEAT_pae_pgdir_above_4gb;
  if (domain.isPrivileged) map |= 1 << XENFEAT_dom0;
  if (!domain.isTranslated)
    return map | (1 << XENFEAT_mmu_pt_update_preserve_ad) | (1 << XENFEAT_highmem_assist) | (1 << XENFEAT_gnttab_map_avail_bits);
  map |= (1 << XENFEAT_writable_page_tables) | (1 << XENFEAT_auto_translated_physmap);
  return map | (1 << XENFEAT_hvm_safe_pvclock) | (1 << XENFEAT_hvm_callback_vector);
}

function getFeatures(c: HypercallContext): number {
  const fi = c.guest.readStruct(xen_feature_info, c.arg(1));
  if (fi === null) return -XEN_EFAULT;
  if (fi.submap_idx >= XENFEAT_NR_SUBMAPS) return -XEN_EINVAL;
  return c.guest.writeStruct(xen_feature_info, c.arg(1), { ...fi, submap: features(c) >>> 0 }) ? 0 : -XEN_EFAULT;
}

export const xen_version: HypercallHandler = (c) => {
  const arg = c.arg(1);
  switch (c.argU32(0)) {
    case XENVER_version:
      return (MAJOR << 16) | MINOR;
    case XENVER_extraversion:
      return copyOut(c, field(EXTRAVERSION, XEN_EXTRAVERSION_LEN));
    case XENVER_compile_info:
      return copyOut(c, xen_compile_info.encode(c.abi, compileInfo));
    case XENVER_capabilities:
      return copyOut(c, field(CAPABILITIES, XEN_CAPABILITIES_INFO_LEN));
    case XENVER_changeset:
      return copyOut(c, field('', XEN_CHANGESET_INFO_LEN));
    case XENVER_platform_parameters: {
      const start = c.domain.isTranslated ? 0 : c.domain.is32bit ? HYPERVISOR_COMPAT_VIRT_START : HYPERVISOR_VIRT_START;
      // SAFE: a linear address, which virt_start is.
      return c.guest.writeStruct(xen_platform_parameters, arg, { virt_start: start as never }) ? 0 : -XEN_EFAULT;
    }
    case XENVER_get_features:
      return getFeatures(c);
    case XENVER_pagesize:
      return arg === 0 ? 4096 : -XEN_EINVAL;
    case XENVER_guest_handle:
      return copyOut(c, c.domain.handle);
    case XENVER_commandline:
      return copyOut(c, field(c.domain.isPrivileged ? c.hv.commandLine : DENIED, CMDLINE_LEN));
    case XENVER_build_id:
      return c.domain.isPrivileged ? -XEN_ENODATA : -XEN_EPERM;
    default:
      return -XEN_ENOSYS;
  }
};
