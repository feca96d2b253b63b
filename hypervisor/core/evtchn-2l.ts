// The 2-level event ABI: bitmaps in shared_info, and per vCPU a selector of the words that have something pending
// (xen/common/event_2l.c). 4096 ports for 64-bit guests, 1024 for 32-bit ones.

import { XEN_EOPNOTSUPP } from '@ringworld/abi';
import type { Ram } from '../machine/mmu/ram.ts';
import type { Domain } from './domain.ts';
import type { Evtchn, EvtchnPortOps } from './evtchn-port.ts';
import type { Maddr } from './ids.ts';
import { SHARED_INFO, sharedInfoAt, testAndClearBit, testAndSetBit, testBit, vcpuPendingSelAt } from './shared-info.ts';
import type { Vcpu } from './vcpu.ts';

export class TwoLevelPorts implements EvtchnPortOps {
  private readonly ram: Ram;
  private readonly domain: Domain;
  private readonly markPending: (vcpu: Vcpu) => void;
  private readonly checkPollers: (chn: Evtchn) => void;

  constructor(ram: Ram, domain: Domain, markPending: (vcpu: Vcpu) => void, checkPollers: (chn: Evtchn) => void) {
    this.ram = ram;
    this.domain = domain;
    this.markPending = markPending;
    this.checkPollers = checkPollers;
  }

  get maxEvtchns(): number {
    return this.wordBits ** 2;
  }
  private get wordBits(): number {
    return SHARED_INFO[this.domain.abi].wordBits;
  }
  private get pendingAt(): Maddr {
    return sharedInfoAt(this.domain, SHARED_INFO[this.domain.abi].pending);
  }
  private get maskAt(): Maddr {
    return sharedInfoAt(this.domain, SHARED_INFO[this.domain.abi].mask);
  }

  init(): void {}

  setPending(vcpu: Vcpu, chn: Evtchn): void {
    if (testAndSetBit(this.ram, this.pendingAt, chn.port)) return;
    if (!testBit(this.ram, this.maskAt, chn.port)) this.select(vcpu, chn);
    this.checkPollers(chn);
  }

  clearPending(chn: Evtchn): void {
    testAndClearBit(this.ram, this.pendingAt, chn.port);
  }

  unmask(chn: Evtchn): void {
    const vcpu = this.domain.vcpus[chn.notifyVcpuId]!;
    if (testAndClearBit(this.ram, this.maskAt, chn.port) && testBit(this.ram, this.pendingAt, chn.port)) this.select(vcpu, chn);
  }

  isPending(chn: Evtchn): boolean {
    return testBit(this.ram, this.pendingAt, chn.port);
  }
  isMasked(chn: Evtchn): boolean {
    return testBit(this.ram, this.maskAt, chn.port);
  }
  isBusy(): boolean {
    return false;
  }
  setPriority(): number {
    return -XEN_EOPNOTSUPP;
  }

  private select(vcpu: Vcpu, chn: Evtchn): void {
    const word = Math.floor(chn.port / this.wordBits);
    if (!testAndSetBit(this.ram, vcpuPendingSelAt(vcpu), word)) this.markPending(vcpu);
  }
}
