// The hooks of a hypervisor without hvm/: no HVM domain can be made, so nothing else is ever called.

import { XEN_EOPNOTSUPP } from '@ringworld/abi';
import type { HvmHooks } from './hvm-hooks.ts';

function never(): never {
  throw new Error('an HVM hook was called, but no HVM domain can have been made');
}

export const noHvm: HvmHooks = {
  domainCreated: () => -XEN_EOPNOTSUPP,
  switchTo: never,
  switchFrom: never,
  handleExit: never,
  deliverPending: never,
  vcpuCreated: never,
  vcpuDestroyed: never,
  domainDestroyed: () => {},
  writeHypercallPage: never,
  loadCpu: never,
  saveCpu: never,
  paging: never,
  injectEvent: never,
  sendTrigger: never,
  flushTlbs: never,
  p2mChanged: () => {},
  trackDirtyVram: never,
  markDirty: never,
  setCallbackVia: never,
  assertEvtchnIrq: never,
  paramChanged: never,
  setPciIntx: never,
  setIsaIrq: never,
  setPciLinkRoute: never,
  injectMsi: never,
  ioreqDone: never,
};
