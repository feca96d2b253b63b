// What the core asks of pv/: filled in by pv/ and handed to the Hypervisor when it is made, so that core imports nothing of pv/.

import type { Domain } from './domain.ts';
import type { GuestHooks } from './guest-hooks.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { Vcpu } from './vcpu.ts';

export interface PvHooks extends GuestHooks {
  /** arch_set_info_guest: a vcpu_guest_context as raw bytes in the domain's layout. 0 or -XEN_Exxx. */
  loadGuestContext(hv: Hypervisor, vcpu: Vcpu, bytes: Uint8Array): number;
  /** arch_get_info_guest: the same layout. */
  saveGuestContext(hv: Hypervisor, vcpu: Vcpu): Uint8Array;
  /** XEN_DOMCTL_set_address_size changed domain.is32bit (it has no memory yet): remakes what vcpuCreated made. 0 or -XEN_Exxx. */
  addressSizeChanged(hv: Hypervisor, domain: Domain): number;
}
