// The checks of a VM entry, in the order in which the processor makes them (SDM Vol 3C, 26.2 and 26.3), and those on an MSR to be loaded.
//
// Usage: one EntryContext per processor; use(vmcs, ...) before an entry, then the three below in turn, each giving the rule that failed:
//   failingControl  VMfailValid(7), entry with invalid control field(s)
//   failingHost     VMfailValid(8), entry with invalid host-state field(s)
//   failingGuest    exit reason 33 with bit 31, exit qualification rule.qualification ?? 0
// Then the guest state is loaded, and the list of MSRs: an entry of it that fails is exit reason 34, qualified by its number from 1.

import { MSR } from '../system/msr.ts';
import { type EntryContext, type EntryRule, firstFailure, type RuleBlock } from './checks-context.ts';
import { CONTROL_CHECKS, LIVE_CONTROL_CHECKS } from './checks-controls.ts';
import { GUEST_REGISTER_CHECKS, LIVE_GUEST_CHECKS } from './checks-guest.ts';
import { GUEST_SEGMENT_CHECKS } from './checks-guest-segments.ts';
import { HOST_CHECKS } from './checks-host.ts';

export { ENTRY_FAILURE_QUALIFICATION, EntryContext, type EntryRule, type RuleBlock } from './checks-context.ts';

/** All rules about fields. */
export const ENTRY_CHECKS: { readonly [C in 'control' | 'host' | 'guest']: readonly RuleBlock[] } = {
  control: [...CONTROL_CHECKS, ...LIVE_CONTROL_CHECKS],
  host: HOST_CHECKS,
  guest: [...GUEST_REGISTER_CHECKS, ...GUEST_SEGMENT_CHECKS, ...LIVE_GUEST_CHECKS],
};

export const failingControl = (c: EntryContext): EntryRule | undefined =>
  c.controlMemo.firstFailure(CONTROL_CHECKS, c, 0) ?? firstFailure(LIVE_CONTROL_CHECKS, c);
export const failingHost = (c: EntryContext): EntryRule | undefined => c.hostMemo.firstFailure(HOST_CHECKS, c, c.inIa32e ? 1 : 0);
export const failingGuest = (c: EntryContext): EntryRule | undefined =>
  c.registerMemo.firstFailure(GUEST_REGISTER_CHECKS, c, c.modeKey) ??
  c.segmentMemo.firstFailure(GUEST_SEGMENT_CHECKS, c, c.modeKey) ??
  firstFailure(LIVE_GUEST_CHECKS, c);

/** One entry of an MSR-load list (24.7.2, Table 24-12). */
export interface MsrRule {
  readonly name: string;
  readonly section: string;
  holds(index: number, reserved: number): boolean;
}
const IA32_SMM_MONITOR_CTL = 0x9b;
const MSR_LOADING = '26.4';
const msrRule = (name: string, holds: MsrRule['holds']): MsrRule => ({ name, section: MSR_LOADING, holds });

/** Besides these, WRMSR of the value must not be #GP (26.4). The same holds for lists that exits load (27.6), where failing is a VMX abort. */
export const MSR_LOAD_CHECKS: readonly MsrRule[] = [
  msrRule('IA32_FS_BASE is not loaded from a list', (n) => n !== MSR.IA32_FS_BASE),
  msrRule('IA32_GS_BASE is not loaded from a list', (n) => n !== MSR.IA32_GS_BASE),
  msrRule('x2APIC registers are not loaded from a list', (n) => n >>> 8 !== 8),
  msrRule('MSRs for SMM only are not loaded', (n) => n !== IA32_SMM_MONITOR_CTL),
  // The manual's "model-specific reasons": an update of microcode in a VM entry.
  msrRule('IA32_BIOS_UPDT_TRIG is not loaded from a list', (n) => n !== MSR.IA32_BIOS_UPDT_TRIG),
  msrRule('IA32_BIOS_SIGN_ID is not loaded from a list', (n) => n !== MSR.IA32_BIOS_SIGN_ID),
  msrRule('bits 63:32 of a list entry are 0', (_n, reserved) => reserved === 0),
];

/** The rule that an entry of an MSR-load list breaks; undefined for none. `reserved`: its bits 63:32. */
export function failingMsr(index: number, reserved: number): MsrRule | undefined {
  for (let i = 0; i < MSR_LOAD_CHECKS.length; i++) if (!MSR_LOAD_CHECKS[i]!.holds(index, reserved)) return MSR_LOAD_CHECKS[i];
  return undefined;
}
