// Branded identifiers of the hypervisor core, in Xen's words: those of the contract and those of the machine, in one place to import.

export type { Abi, Domid, EvtchnPort, Gfn, GrantHandle, GrantRef, GuestHandle, Pfn } from '@ringworld/abi';
export type { Lin, Maddr, Mfn } from '../machine/addresses.ts';
export { maddrToMfn, mfnToMaddr, PAGE_SHIFT, PAGE_SIZE } from '../machine/addresses.ts';

import type { Mfn } from '../machine/addresses.ts';

type Brand<T, B extends string> = T & { readonly __brand: B };

/** Index of a vCPU within its domain. */
export type VcpuId = Brand<number, 'vcpu_id'>;

/** "No frame", as mfn_t INVALID_MFN: never a frame of RAM. */
export const INVALID_MFN = -1 as Mfn;
