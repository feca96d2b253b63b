// The way into a guest: state, time, last-branch registers, and the event to be injected (APM Vol 2, 15.5 and 15.20).

import { STATE } from '../state.ts';
import { EXC } from '../system/bits.ts';
import { MSR_AMD } from '../system/msr-vendor.ts';
import type { SystemCpu } from '../system/ports.ts';
import { EVENT_TYPE, type EventType } from '../virt/non-root.ts';
import { loadGuest } from './state-area.ts';
import type { Svm } from './svm.ts';
import { EVENT, VMCB, type Vmcb } from './vmcb.ts';

/** The MSRs that LBR virtualization switches, and their fields (15.23). */
export const LBR_MSRS: readonly (readonly [msr: number, field: number])[] = [
  [MSR_AMD.DEBUG_CTL, VMCB.DBGCTL[0]],
  [MSR_AMD.LAST_BRANCH_FROM, VMCB.BR_FROM[0]],
  [MSR_AMD.LAST_BRANCH_FROM + 1, VMCB.BR_TO[0]],
  [MSR_AMD.LAST_BRANCH_FROM + 2, VMCB.LASTEXCPFROM[0]],
  [MSR_AMD.LAST_BRANCH_FROM + 3, VMCB.LASTEXCPTO[0]],
];

const joined = (v: Vmcb, at: number): bigint => (BigInt(v.hi(at) >>> 0) << 32n) | BigInt(v.u32(at));

/** Puts the LBR registers of an area into the CPU; the other way with `store`. Only guests that asked for it pay. */
export function switchLbr(cpu: SystemCpu, area: Vmcb, store: boolean): void {
  const { msrs } = cpu.thread;
  for (const [msr, at] of LBR_MSRS) {
    if (!store) {
      msrs.set(msr, joined(area, at));
      continue;
    }
    const v = msrs.get(msr) ?? 0n;
    area.setHalves(at, Number(v & 0xffff_ffffn), Number(v >> 32n));
  }
}

/** Loads the guest of svm.vmcb, whose controls have been read, and puts the CPU under svm.guest. */
export function enterGuest(svm: Svm): void {
  const { cpu, vmcb, controls, state } = svm;
  if (controls.lbr) {
    if (svm.host === 'code') switchLbr(cpu, svm.hostArea(), true);
    switchLbr(cpu, vmcb, false);
  }
  loadGuest(cpu, vmcb);
  if (controls.nestedPaging) cpu.setHalves(STATE.pat, vmcb.lo(VMCB.G_PAT[0]), vmcb.hi(VMCB.G_PAT[0]));
  const at = (cpu.base + STATE.tscOffset) >>> 3;
  const { f64 } = cpu.ram;
  state.hostTscOffset = f64[at]!;
  state.guestTscOffset = f64[at]! + vmcb.lin(VMCB.TSC_OFFSET[0]);
  f64[at] = state.guestTscOffset;
  // An address that the host has armed is not the guest's.
  cpu.thread.monitor = undefined;
  svm.guest.shadowedRip = Number.NaN;
  cpu.setNonRoot(svm.guest);
  cpu.thread.interruptShadow = (vmcb.lo(VMCB.INTERRUPT_SHADOW[0]) & 1) !== 0;
}

/** EVENTINJ's types as the core names events. */
const TYPES: Readonly<Record<number, EventType>> = {
  0: EVENT_TYPE.external,
  2: EVENT_TYPE.nmi,
  3: EVENT_TYPE.exception,
  4: EVENT_TYPE.softInterrupt,
};

/**
 * Delivers what EVENTINJ asks for through the guest's IDT. Intercepts are not looked at for it, but for what comes of it. With NRIP save, the
 * return address of INT n, INT3 and INTO is the VMCB's NRIP; without it, and for all else, it is RIP (15.20).
 */
export function injectPending(svm: Svm): void {
  const { cpu, vmcb } = svm;
  const e = vmcb.lo(VMCB.EVENTINJ[0]);
  if (!(e & EVENT.valid)) return;
  const vector = e & EVENT.vector;
  let type = TYPES[(e & EVENT.type) >>> EVENT.typeShift]!;
  if (type === EVENT_TYPE.exception && (vector === EXC.BP || vector === EXC.OF)) type = EVENT_TYPE.softException;
  const isSoft = type === EVENT_TYPE.softInterrupt || type === EVENT_TYPE.softException;
  const length = isSoft && svm.features.nripSave ? vmcb.lin(VMCB.NRIP[0]) - cpu.rip : 0;
  const errorCode = type === EVENT_TYPE.exception && e & EVENT.errorValid ? vmcb.u32(VMCB.EVENTINJ_ERROR[0]) : -1;
  // An injected NMI does not hold off others: that is the hypervisor's to see to.
  const { nmiBlocked } = cpu.thread;
  cpu.inject({ vector: type === EVENT_TYPE.nmi ? EXC.NMI : vector, errorCode, type, length });
  if (type === EVENT_TYPE.nmi) cpu.thread.nmiBlocked = nmiBlocked;
  // The handler's first instruction is in no shadow.
  cpu.thread.interruptShadow = false;
}
