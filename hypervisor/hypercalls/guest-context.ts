// vcpu_guest_context: the one structure whose two layouts share no declaration, since the register files differ.

import { type Abi, xen_x86_32, xen_x86_64 } from '@ringworld/abi';

export const guestContextSize = (abi: Abi): number =>
  abi === 'x86_64' ? xen_x86_64.vcpu_guest_context.size(abi) : xen_x86_32.vcpu_guest_context.size(abi);
