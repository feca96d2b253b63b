// What the core calls of pv/: the hooks of core/pv-hooks.ts.

import { XEN_ENOMEM } from '@ringworld/abi';
import { MILLISECS } from '../core/clock.ts';
import type { Domain } from '../core/domain.ts';
import { resetFpu } from '../core/fpu-image.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { PvHooks } from '../core/pv-hooks.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { deliverPending } from './callbacks.ts';
import { switchFrom, switchTo } from './context-switch.ts';
import { fixupGuestCr4, XEN_CR0 } from './control-registers.ts';
import { profileOf, pvProfile } from './cpuid-policy.ts';
import { handleExit } from './entry.ts';
import { destroyGdt } from './gdt.ts';
import { loadGuestContext, saveGuestContext } from './guest-context.ts';
import { writeHypercallPage } from './hypercall-page.ts';
import { destroyLdt } from './ldt.ts';
import { createMonitorTable, destroyVcpuPageTables } from './mm-baseptr.ts';
import { installPageTables } from './mm-install.ts';
import { destroyPerdomain, mapVcpuArea } from './perdomain.ts';

/** PV guests have a 100 Hz tick until they stop it. */
const DEFAULT_PERIOD = 10 * MILLISECS;

/** pv_vcpu_initialise(). */
function vcpuCreated(hv: Hypervisor, vcpu: Vcpu): number {
  const { pv, domain } = vcpu;
  if (domain.isTranslated) return 0;
  installPageTables(hv);
  if (!mapVcpuArea(hv, vcpu)) return -XEN_ENOMEM;
  pv.ctrlreg[0] = BigInt(XEN_CR0) & ~8n;
  pv.ctrlreg[4] = BigInt(fixupGuestCr4(pvProfile(profileOf(hv.pcpus[0]?.cpu ?? null), domain.is32bit).features, 0));
  resetFpu(vcpu.context);
  vcpu.timers.setPeriodic(DEFAULT_PERIOD);
  return domain.is32bit ? createMonitorTable(hv, vcpu) : 0;
}

function vcpuDestroyed(hv: Hypervisor, vcpu: Vcpu): void {
  destroyLdt(hv, vcpu);
  destroyGdt(hv, vcpu);
  destroyVcpuPageTables(hv, vcpu);
}

/** switch_compat(): the domain has no memory yet, so nothing refers to what is made anew. */
function addressSizeChanged(hv: Hypervisor, domain: Domain): number {
  for (const v of domain.vcpus) if (v) vcpuDestroyed(hv, v);
  destroyPerdomain(hv, domain);
  for (const v of domain.vcpus) {
    const rc = v ? vcpuCreated(hv, v) : 0;
    if (rc !== 0) return rc;
  }
  return 0;
}

export const pvHooks: PvHooks = {
  switchTo,
  switchFrom,
  handleExit,
  deliverPending,
  loadGuestContext,
  saveGuestContext,
  vcpuCreated,
  addressSizeChanged,
  vcpuDestroyed,
  domainDestroyed: destroyPerdomain,
  writeHypercallPage,
};
