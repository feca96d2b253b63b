// The MSRs of VMX: IA32_FEATURE_CONTROL and the capability MSRs (SDM Vol 3D, appendix A), on processors that have the extension.

import { capabilitiesOf, MSR_VMX } from '../vmx/capabilities.ts';
import { type MsrRow, readOnly, where } from './msr-kinds.ts';
import type { SystemCpu } from './ports.ts';
import type { CpuProfile } from './profiles/profile.ts';

export const IA32_FEATURE_CONTROL = 0x3a;
/** Bits of IA32_FEATURE_CONTROL (SDM Vol 3C, 23.7). VMX in SMX operation (bit 1) is for processors with SMX. */
export const FEATURE_CONTROL = { locked: 1n, vmxOutsideSmx: 1n << 2n } as const;
const WRITABLE = FEATURE_CONTROL.locked | FEATURE_CONTROL.vmxOutsideSmx;

const featureControl = (cpu: SystemCpu): bigint => cpu.thread.msrs.get(IA32_FEATURE_CONTROL) ?? 0n;

/** Firmware has locked IA32_FEATURE_CONTROL with VMX on: else VMXON is #GP(0). */
export const isVmxEnabled = (cpu: SystemCpu): boolean => (featureControl(cpu) & WRITABLE) === WRITABLE;

const hasVmx = (p: CpuProfile): boolean => p.features.has('vmx');

export const vmxMsrs: readonly MsrRow[] = [
  ...where(hasVmx, [
    [
      IA32_FEATURE_CONTROL,
      {
        // Zero after reset: what boots first, firmware or a kernel without any, switches VMX on and locks.
        read: featureControl,
        write(cpu, v) {
          if (featureControl(cpu) & FEATURE_CONTROL.locked || v & ~WRITABLE) return false;
          cpu.thread.msrs.set(IA32_FEATURE_CONTROL, v);
          return true;
        },
      },
    ],
  ]),
  ...Object.values(MSR_VMX).flatMap((n) =>
    where((p) => capabilitiesOf(p)?.msrs.has(n) === true, [[n, readOnly((cpu) => capabilitiesOf(cpu.profile)!.msrs.get(n)!)]]),
  ),
];
