// What an HVM domain (PVH included) has beside every domain: parameters, callback, I/O request servers. Set by hypercalls, read by hvm/.

import {
  HVM_NR_PARAMS,
  HVM_PARAM_CALLBACK_TYPE_GSI,
  HVM_PARAM_CALLBACK_TYPE_PCI_INTX,
  HVM_PARAM_CALLBACK_TYPE_VECTOR,
  HVM_PARAM_TRIPLE_FAULT_REASON,
  SHUTDOWN_reboot,
} from '@ringworld/abi';
import type { IoreqServers } from '../hvm/ioreq-servers.ts';
import type { Abi } from './ids.ts';

/** HVM_PARAM_CALLBACK_IRQ taken apart (public/hvm/params.h): how an event channel's upcall reaches the guest. */
export type CallbackVia =
  | { readonly type: 'none' }
  | { readonly type: 'gsi'; readonly gsi: number }
  /** Bus 0; pin 0-3 is INTA-INTD. */
  | { readonly type: 'pci_intx'; readonly device: number; readonly pin: number }
  | { readonly type: 'vector'; readonly vector: number };

/** hvm_set_callback_via()'s reading of the parameter. Types that this Xen does not know mean none. */
export function callbackViaOf(value: bigint): CallbackVia {
  const low = Number(value & 0xffff_ffffn);
  switch (Number(value >> 56n)) {
    case HVM_PARAM_CALLBACK_TYPE_GSI:
      return (low & 0xff) === 0 ? { type: 'none' } : { type: 'gsi', gsi: low & 0xff };
    case HVM_PARAM_CALLBACK_TYPE_PCI_INTX:
      return { type: 'pci_intx', device: (low >>> 11) & 31, pin: low & 3 };
    case HVM_PARAM_CALLBACK_TYPE_VECTOR:
      return { type: 'vector', vector: low & 0xff };
    default:
      return { type: 'none' };
  }
}

export class HvmDomain {
  /** Hardware-assisted paging (EPT or NPT), else shadow. */
  readonly isHap: boolean;
  /** XEN_X86_EMU_* (public/arch-x86/xen.h). */
  readonly emulationFlags: number;
  /** HVM_PARAM_* by number. */
  readonly params = new BigUint64Array(HVM_NR_PARAMS);
  callbackVia: CallbackVia = { type: 'none' };
  /** Made when the first device model attaches (hypercalls/dm_op.ts). */
  ioreqServers: IoreqServers | null = null;
  /** hvm/'s own state, whatever it is. */
  platform: unknown = null;

  constructor(options: { isHap: boolean; emulationFlags: number }) {
    this.isHap = options.isHap;
    this.emulationFlags = options.emulationFlags;
    this.params[HVM_PARAM_TRIPLE_FAULT_REASON] = BigInt(SHUTDOWN_reboot);
  }
}

export class HvmVcpuState {
  /** HVMOP_set_evtchn_upcall_vector: goes to the local APIC instead of callback via; 0 = not set. */
  upcallVector = 0;
  /** Whether the instruction that made the present hypercall ran outside 64-bit mode: hvm/ sets it before Hypervisor.hypercall(). */
  callsAs32bit = false;
  /** While that call is served: layouts of what it passes. Null in between; areas of the hypervisor's have the domain's layout. */
  callAbi: Abi | null = null;
}
