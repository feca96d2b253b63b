// Making domains and vCPUs (xen/common/domain.c, domain_create and vcpu_create).

import { DOMID_FIRST_RESERVED, XEN_EINVAL, XEN_ENOMEM, XEN_LEGACY_MAX_VCPUS } from '@ringworld/abi';
import { Domain, type DomainOptions } from './domain.ts';
import { stopForShutdown } from './domain-shutdown.ts';
import { EventChannels } from './event-channels.ts';
import { GrantTable } from './grant-table.ts';
import type { GuestMemory } from './guest-memory.ts';
import { HvmGuestMemory } from './guest-memory-hvm.ts';
import { TranslatedGuestMemory } from './guest-memory-p2m.ts';
import { PvGuestMemory } from './guest-memory-pv.ts';
import { HvmVcpuState } from './hvm-domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Domid, INVALID_MFN, type Maddr, mfnToMaddr, type VcpuId } from './ids.ts';
import { updateVcpuTime, updateWallclock } from './pvclock.ts';
import { SHARED_INFO, sharedInfoAt } from './shared-info.ts';
import { Vcpu } from './vcpu.ts';
import { VcpuTimers } from './vcpu-timers.ts';

/** A free domain id, -1 when all are taken: ids are not reused until the counter has come round. */
export function freeDomid(hv: Hypervisor): Domid | -1 {
  for (let i = 0; i < DOMID_FIRST_RESERVED; i++) {
    const id = (hv.nextDomid + i) % DOMID_FIRST_RESERVED;
    if (id === 0 || hv.domain(id) !== undefined) continue;
    hv.nextDomid = id + 1;
    return id as Domid;
  }
  return -1;
}

/** A domain without vCPUs and memory, paused by the controller; null when there is no frame for its shared_info. */
export function createDomain(hv: Hypervisor, options: DomainOptions): Domain | null {
  const domain = new Domain(options);
  domain.sharedInfoMfn = hv.frames.allocShared(domain.id);
  if (domain.sharedInfoMfn === INVALID_MFN) return null;
  if (domain.isHvm) domain.p2m.onChange = (gfn, oldType) => hv.hvm.p2mChanged(hv, domain, gfn, oldType);
  hv.frames.register(domain);
  domain.evtchn = new EventChannels(hv, domain);
  domain.grants = new GrantTable(hv, domain);
  domain.onShutdown = (d, reason) => stopForShutdown(hv, d, reason);
  domain.pauseCount = 1;
  domain.controllerPauseCount = 1;
  hv.domains.set(domain.id, domain);
  updateWallclock(hv, domain);
  return domain;
}

/** 0 or -XEN_Exxx. A vCPU is born down, without context. `isHosted`: its kernel is TypeScript. */
export function createVcpu(hv: Hypervisor, domain: Domain, id: number, isHosted = false): number {
  if (id >= domain.maxVcpus || domain.vcpus[id] !== undefined || id !== domain.vcpus.length) return -XEN_EINVAL;
  const vcpu = new Vcpu(id as VcpuId, domain, hv.machine.allocContext());
  vcpu.isHosted = isHosted;
  if (domain.isHvm && !isHosted) vcpu.hvm = new HvmVcpuState();
  vcpu.guest = createGuestMemory(hv, vcpu);
  vcpu.timers = new VcpuTimers(hv, vcpu);
  vcpu.runstateEntry = hv.now();
  const at = defaultVcpuInfo(hv, domain, id);
  if (at === 0) return -XEN_ENOMEM;
  vcpu.vcpuInfo = at;
  domain.vcpus.push(vcpu);
  if (!domain.isTranslated || vcpu.hvm !== null) {
    const rc = hv.hooksOf(vcpu).vcpuCreated(hv, vcpu);
    if (rc !== 0) {
      domain.vcpus.pop();
      hv.machine.freeContext(vcpu.context);
      return rc;
    }
  }
  domain.hvm?.ioreqServers?.vcpuCreated(vcpu);
  updateVcpuTime(hv, vcpu, true);
  return 0;
}

function createGuestMemory(hv: Hypervisor, vcpu: Vcpu): GuestMemory {
  if (vcpu.hvm !== null) return new HvmGuestMemory(hv, vcpu, vcpu.hvm);
  return vcpu.domain.isTranslated ? new TranslatedGuestMemory(hv.ram, vcpu.domain.p2m) : new PvGuestMemory(hv.ram, vcpu);
}

/** Where a vCPU's vcpu_info lies before VCPUOP_register_vcpu_info; 0 when memory is out. */
function defaultVcpuInfo(hv: Hypervisor, domain: Domain, id: number): Maddr | 0 {
  if (id < XEN_LEGACY_MAX_VCPUS) return sharedInfoAt(domain, id * SHARED_INFO[domain.abi].vcpuInfoSize);
  if (hv.dummyVcpuInfo === INVALID_MFN) hv.dummyVcpuInfo = hv.frames.allocXen();
  return hv.dummyVcpuInfo === INVALID_MFN ? 0 : mfnToMaddr(hv.dummyVcpuInfo);
}

/** VCPUOP_register_vcpu_info moved it to (or the vCPU's reset moves it from) `at`. Contents go along; events may have been lost. */
export function moveVcpuInfo(hv: Hypervisor, vcpu: Vcpu, at: Maddr): void {
  const size = SHARED_INFO[vcpu.domain.abi].vcpuInfoSize;
  const fromDummy = hv.dummyVcpuInfo !== INVALID_MFN && vcpu.vcpuInfo === mfnToMaddr(hv.dummyVcpuInfo);
  if (fromDummy) {
    hv.ram.fill(at, 0, size);
    hv.ram.write8((at + 1) as Maddr, 1);
  } else hv.ram.copy(at, vcpu.vcpuInfo, size);
  vcpu.vcpuInfo = at;
}
