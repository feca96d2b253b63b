// What the two makers of bounce frames share: the flags of struct trap_bounce.

import { VMASST_TYPE_architectural_iopl } from '@ringworld/abi';
import type { Vcpu } from '../core/vcpu.ts';

/** TBF_* (xen/arch/x86/include/asm/domain.h): push an error code; mask events on entry; push the data segment registers. And our
 * own: the exception is a fault of the return to the guest. */
export const TBF = { exception: 1, errorCode: 2, interrupt: 8, failsafe: 16, returnFault: 0x100 } as const;

/** VM_ASSIST(d, architectural_iopl), VMASST_TYPE_architectural_iopl (public/xen.h): IOPL is seen and set in EFLAGS as on hardware. */
export const hasArchitecturalIopl = (vcpu: Vcpu): boolean => (vcpu.domain.vmAssist & (1 << VMASST_TYPE_architectural_iopl)) !== 0;
