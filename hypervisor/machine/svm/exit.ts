// #VMEXIT (APM Vol 2, 15.6 and 15.7): the guest's state and the reason go into the VMCB, the host's state comes back.

import type { Lin, Maddr } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import { CS, STATE } from '../state.ts';
import { EXC } from '../system/bits.ts';
import { is64 } from '../system/mode.ts';
import { EVENT_TYPE, type GuestEvent } from '../virt/non-root.ts';
import { switchLbr } from './entry.ts';
import { EXIT, FAMILY, VMEXIT_INVALID } from './exits.ts';
import { loadHost, storeGuest } from './state-area.ts';
import type { Svm } from './svm.ts';
import { EVENT, VMCB, type Vmcb } from './vmcb.ts';

/** Type field of EXITINTINFO: INT1, INT3 and INTO are exceptions (Figure 15-5). */
const exitIntType = (type: GuestEvent['type']): number =>
  type === EVENT_TYPE.privilegedSoft || type === EVENT_TYPE.softException ? EVENT_TYPE.exception : type;

const PAGE_FAULT = FAMILY.EXCEPTION + EXC.PF;

/** EXITINTINFO: the event that was being delivered. An intercepted #DF stands for the two that made it (15.7.2). */
function storeIntInfo(v: Vmcb, e: GuestEvent | undefined, code: number): void {
  if (e === undefined || code === FAMILY.EXCEPTION + EXC.DF) {
    v.setHalves(VMCB.EXITINTINFO[0], 0, 0);
    return;
  }
  const info = e.vector | (exitIntType(e.type) << EVENT.typeShift) | (e.errorCode >= 0 ? EVENT.errorValid : 0) | EVENT.valid;
  v.setHalves(VMCB.EXITINTINFO[0], info, e.errorCode >= 0 ? e.errorCode : 0);
}

/**
 * Makes an exit with EXITCODE, the halves of EXITINFO1 and EXITINFO2, and NRIP (0 for none). CR2, DR6 and the like must be what the
 * guest is to have. Afterwards the CPU is the host's, with GIF = 0.
 */
export function exitGuest(svm: Svm, code: number, info1: number, info1High: number, info2: number, info2High: number, nrip: number): void {
  const { cpu, vmcb, controls, state, features } = svm;
  vmcb.touch();
  if (code !== VMEXIT_INVALID) {
    storeGuest(cpu, vmcb);
    if (controls.nestedPaging) vmcb.setHalves(VMCB.G_PAT[0], cpu.lo(STATE.pat), cpu.hi(STATE.pat));
    const isShadowed = cpu.thread.interruptShadow || svm.guest.shadowedRip === cpu.rip;
    vmcb.setU32(VMCB.INTERRUPT_SHADOW[0], (vmcb.lo(VMCB.INTERRUPT_SHADOW[0]) & ~1) | (isShadowed ? 1 : 0));
    controls.storeVirtualInterrupt(vmcb);
    if (features.nripSave) vmcb.setLin(VMCB.NRIP[0], nrip);
    if (features.decodeAssists && code !== PAGE_FAULT && code !== EXIT.NPF.code) vmcb.setU8(VMCB.GUEST_INSTRUCTION[0], 0);
  }
  vmcb.setHalves(VMCB.EXITCODE[0], code, code < 0 ? -1 : 0);
  vmcb.setHalves(VMCB.EXITINFO1[0], info1, info1High);
  vmcb.setHalves(VMCB.EXITINFO2[0], info2, info2High);
  storeIntInfo(vmcb, cpu.delivering, code);
  vmcb.setU32(VMCB.EVENTINJ[0], vmcb.lo(VMCB.EVENTINJ[0]) & ~EVENT.valid);
  if (controls.lbr) switchLbr(cpu, vmcb, true);
  restoreTsc(svm);
  if (svm.host === 'code') {
    const area = svm.hostArea();
    if (controls.lbr) switchLbr(cpu, area, false);
    if (controls.nestedPaging) cpu.setHalves(STATE.pat, area.lo(VMCB.G_PAT[0]), area.hi(VMCB.G_PAT[0]));
    loadHost(cpu, area);
  }
  state.hostIf = true;
  svm.leaveGuest(code);
}

/** The host's offset; a guest that was let write the TSC has moved the host's too. */
function restoreTsc(svm: Svm): void {
  const { cpu, state } = svm;
  const at = (cpu.base + STATE.tscOffset) >>> 3;
  const moved = cpu.ram.f64[at]! - state.guestTscOffset;
  cpu.ram.f64[at] = moved === 0 ? state.hostTscOffset : state.hostTscOffset + moved;
}

/** Bytes of an instruction that decode assists store. */
const INSTRUCTION_BYTES = 15;

/**
 * Decode assists (15.8.4): up to 15 bytes at CS:RIP, as many as can be read, with their number before them; none where `wanted` is false.
 * To be called before the exit, for page faults and nested page faults; of others the number is zero.
 */
export function storeInstructionBytes(svm: Svm, wanted: boolean): void {
  const { cpu, vmcb, physical, features } = svm;
  if (!features.decodeAssists) return;
  const at = VMCB.GUEST_INSTRUCTION[0];
  vmcb.touch();
  for (let i = 0; i < 16; i += 4) vmcb.setU32(at + i, 0);
  if (!wanted) return;
  const access = PF.fetch | (cpu.cpl === 3 ? PF.user : 0);
  let count = 0;
  let page = -1;
  let frame: Maddr | -1 = -1;
  for (; count < INSTRUCTION_BYTES; count++) {
    const lin = (is64(cpu) ? cpu.rip + count : (cpu.rip + cpu.segBase(CS) + count) % 0x1_0000_0000) as Lin;
    const here = Math.floor(lin / 4096);
    if (here !== page) {
      const w = cpu.walk(lin, access);
      if (!w.ok) break;
      frame = physical.locate(w.maddr - (w.maddr % 4096));
      if (frame < 0) break;
      page = here;
    }
    vmcb.setU8(at + 1 + count, physical.ram.u8[physical.ram.base + frame + (lin - here * 4096)]!);
  }
  vmcb.setU8(at, count);
}
