// The contract between hypervisor, dom0 and guests: layouts, numbers and names as Xen's public headers have them.
export * from './layout/index.ts';
export * from './xen/arch-x86/xen.ts';
export * as xen_x86_32 from './xen/arch-x86/xen-x86_32.ts';
export * as xen_x86_64 from './xen/arch-x86/xen-x86_64.ts';
export * from './xen/errno.ts';
export * from './xen/xen.ts';
