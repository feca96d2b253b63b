// The control area of the VMCB that is running, as VMRUN has read it: software that writes the VMCB meanwhile changes nothing.

import type { SvmFeatures } from './features.ts';
import { NP_ENABLE, V_INTR, VIRT_EXT, VMCB, type Vmcb } from './vmcb.ts';

/** Plain data: it is saved and restored with the CPU. */
export class Controls {
  /** Intercept vectors: bit n of all of them together is exit code n. */
  readonly intercepts = new Int32Array(6);
  iopm = 0;
  msrpm = 0;
  asid = 0;
  nestedPaging = false;
  nestedCr3 = 0;
  lbr = false;
  virtualVmloadVmsave = false;
  /** Left of PauseFilterCount, and the cycle of the last PAUSE (15.14.4). */
  pausesLeft = 0;
  pauseCount = 0;
  pauseThreshold = 0;
  lastPause = 0;
  // V_INTR (15.21.4).
  vTpr = 0;
  vIrq = false;
  vPriority = 0;
  vIgnoreTpr = false;
  vVector = 0;
  vMasking = false;
  vGif = true;
  vGifEnable = false;

  isIntercepted(code: number): boolean {
    return ((this.intercepts[code >>> 5]! >>> (code & 31)) & 1) !== 0;
  }

  load(v: Vmcb, f: SvmFeatures): void {
    for (let i = 0; i < 6; i++) this.intercepts[i] = v.lo(4 * i);
    this.iopm = v.address(VMCB.IOPM_BASE_PA[0]) - (v.lo(VMCB.IOPM_BASE_PA[0]) & 0xfff);
    this.msrpm = v.address(VMCB.MSRPM_BASE_PA[0]) - (v.lo(VMCB.MSRPM_BASE_PA[0]) & 0xfff);
    this.asid = v.u32(VMCB.GUEST_ASID[0]);
    this.nestedPaging = f.nestedPaging && (v.lo(VMCB.NESTED_CTL[0]) & NP_ENABLE) !== 0;
    this.nestedCr3 = v.address(VMCB.N_CR3[0]);
    const ext = v.lo(VMCB.VIRT_EXT[0]);
    this.lbr = f.lbrVirtualization && (ext & VIRT_EXT.lbr) !== 0;
    this.virtualVmloadVmsave = f.virtualVmloadVmsave && this.nestedPaging && (ext & VIRT_EXT.vmloadVmsave) !== 0;
    this.pauseCount = f.pauseFilter ? v.u16(VMCB.PAUSE_FILTER_COUNT[0]) : 0;
    this.pauseThreshold = f.pauseFilterThreshold ? v.u16(VMCB.PAUSE_FILTER_THRESHOLD[0]) : 0;
    this.pausesLeft = this.pauseCount;
    this.lastPause = 0;
    const virq = v.lo(VMCB.V_INTR[0]);
    this.vTpr = virq & V_INTR.tpr;
    this.vIrq = (virq & V_INTR.irq) !== 0;
    this.vPriority = (virq & V_INTR.prio) >>> V_INTR.prioShift;
    this.vIgnoreTpr = (virq & V_INTR.ignoreTpr) !== 0;
    this.vMasking = (virq & V_INTR.masking) !== 0;
    this.vVector = v.u8(VMCB.V_INTR_VECTOR[0]);
    this.vGifEnable = f.virtualGif && (virq & V_INTR.gifEnable) !== 0;
    this.vGif = !this.vGifEnable || (virq & V_INTR.gif) !== 0;
  }

  /** What the processor writes back into V_INTR at #VMEXIT: V_TPR, V_IRQ and, virtualized, V_GIF. */
  storeVirtualInterrupt(v: Vmcb): void {
    let virq = v.lo(VMCB.V_INTR[0]) & ~(V_INTR.tpr | V_INTR.irq);
    virq |= this.vTpr | (this.vIrq ? V_INTR.irq : 0);
    if (this.vGifEnable) virq = this.vGif ? virq | V_INTR.gif : virq & ~V_INTR.gif;
    v.setU32(VMCB.V_INTR[0], virq);
  }

  /** Whether a virtual interrupt waits that the priority lets through; RFLAGS.IF and the shadow are the caller's. */
  get virtualInterruptDue(): boolean {
    return this.vIrq && this.vGif && (this.vIgnoreTpr || this.vPriority > (this.vTpr & 15));
  }

  /** One PAUSE; true when it is to exit. */
  pause(cycle: number): boolean {
    if (this.pauseCount === 0) return true;
    if (this.pauseThreshold !== 0 && cycle - this.lastPause > this.pauseThreshold) this.pausesLeft = this.pauseCount;
    this.lastPause = cycle;
    if (this.pausesLeft === 0) return true;
    this.pausesLeft--;
    return false;
  }
}

/** Sizes of the permission maps in bytes (15.10.1, 15.11). */
export const IOPM_SIZE = 0x3000;
export const MSRPM_SIZE = 0x2000;

/** Offset of an MSR's two bits in the MSRPM, in bits: read, then write; -1 for an MSR that no bit stands for (15.11). */
export function msrpmBit(msr: number): number {
  const low = msr & 0x1fff;
  switch ((msr & ~0x1fff) >>> 0) {
    case 0:
      return low * 2;
    case 0xc000_0000:
      return 0x800 * 8 + low * 2;
    case 0xc001_0000:
      return 0x1000 * 8 + low * 2;
    default:
      return -1;
  }
}
