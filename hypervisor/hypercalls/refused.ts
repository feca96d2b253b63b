// Hypercalls that exist in the table of Xen 4.17 but do nothing for any domain here, each with the answer that Xen gives a PV domU.

import { XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EPERM } from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';

/** No security module: the dummy one knows no operations. */
export const xsm_op: HypercallHandler = () => -XEN_ENOSYS;
/** xsm_kexec. */
export const kexec_op: HypercallHandler = (c) => (c.domain.isPrivileged ? -XEN_ENOSYS : -XEN_EPERM);
/** vpmu is off, as by default. */
export const xenpmu_op: HypercallHandler = () => -XEN_EOPNOTSUPP;
/** Hypervisor parameters as files: for the privileged domain, and there are none. */
export const hypfs_op: HypercallHandler = (c) => (c.domain.isPrivileged ? -XEN_ENOSYS : -XEN_EPERM);

/** do_mca (__HYPERVISOR_arch_0): machine checks are the privileged domain's affair, and none ever happens. */
export const arch_0: HypercallHandler = (c) => (c.domain.isPrivileged ? -XEN_ENOSYS : -XEN_EPERM);
