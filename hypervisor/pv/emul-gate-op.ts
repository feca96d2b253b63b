// placeholder
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { injectGp } from './inject.ts';

export function emulateGateOp(hv: Hypervisor, vcpu: Vcpu, errorCode: number): void {
  injectGp(hv, vcpu, errorCode);
}
