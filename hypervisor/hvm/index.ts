// What the core calls of hvm/: the hooks of core/hvm-hooks.ts. One run loop serves PV and HVM vCPUs; before each stretch of guest time
// deliverPending() makes the VM entry, and a VM exit comes back to handleExit().

import { HVM_PARAM_ACPI_IOPORTS_LOCATION, hvm_hw_cpu, XEN_EBUSY, XEN_EINVAL, XEN_ENOMEM, XEN_EOPNOTSUPP, XEN_ESRCH } from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { HvmCpuState, HvmEvent, HvmHooks, HvmPaging } from '../core/hvm-hooks.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Gfn, Lin } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { type Cpu, RunExit } from '../machine/cpu-api.ts';
import { CS, EFLAGS, STATE } from '../machine/state.ts';
import { EXC } from '../machine/system/bits.ts';
import { noPorts, type SystemCpu } from '../machine/system/ports.ts';
import { initContext, resetContext } from '../machine/system/reset.ts';
import { loadCpuState, saveCpuState } from './cpu-state.ts';
import { HvmDomainState, stateOf } from './domain.ts';
import { emulatedOutside } from './emulate.ts';
import { GuestIo, mmioFor, portsFor } from './guest-io.ts';
import { fillHypercallPage } from './hypercall-page.ts';
import { crash, flushGuest, tripleFault } from './intercepts.ts';
import { IoreqPort } from './ioreq-port.ts';
import { EPT_FORMAT, NestedTables, NPT_FORMAT } from './nested-tables.ts';
import { createPlatform } from './platform/index.ts';
import { Shadow } from './shadow.ts';
import { SvmOps } from './svm.ts';
import { HvmVcpu } from './vcpu.ts';
import type { VirtOps } from './virt-ops.ts';
import { VmxOps } from './vmx.ts';

const vcpus = new WeakMap<Vcpu, HvmVcpu>();
const hvmOf = (v: Vcpu): HvmVcpu => vcpus.get(v)!;
const opsOf = (v: Vcpu): VirtOps => stateOf(v.domain).ops;

/** One set of operations for each machine: which extension it has does not change. */
const operations = new WeakMap<Hypervisor, VirtOps | null>();
function operationsOf(hv: Hypervisor): VirtOps | null {
  let ops = operations.get(hv);
  if (ops === undefined) {
    const cpu = hv.pcpus[0]!.cpu as SystemCpu;
    ops = cpu.vmx !== undefined ? new VmxOps(cpu) : cpu.svm !== undefined ? new SvmOps(cpu) : null;
    operations.set(hv, ops);
    if (ops !== null) attach(hv);
  }
  return ops;
}
/** Ports and memory without RAM lead to the devices of the guest that a CPU has. */
function attach(hv: Hypervisor): void {
  const current = (id: number): HvmVcpu | undefined => {
    const v = hv.pcpus[id]?.current;
    return v?.hvm ? hvmOf(v) : undefined;
  };
  const outside = emulatedOutside(
    current,
    mmioFor((h) => stateOf(h.vcpu.domain)),
  );
  for (const p of hv.pcpus) (p.cpu as SystemCpu).setOutside(outside);
}

// ------------------------------------------------------------------ domains and vCPUs

function domainCreated(hv: Hypervisor, domain: Domain): number {
  const ops = operationsOf(hv);
  if (ops === null || !domain.hvm || (domain.hvm.isHap && !ops.hasHap)) return -XEN_EOPNOTSUPP;
  let tables: NestedTables | null = null;
  try {
    if (domain.hvm.isHap) tables = new NestedTables(hv.frames, domain.p2m, ops.name === 'vmx' ? EPT_FORMAT : NPT_FORMAT);
  } catch {
    return -XEN_ENOMEM;
  }
  const state = new HvmDomainState(hv, domain, ops, tables);
  domain.hvm.platform = state;
  state.io = new GuestIo(state);
  state.io.deviceModel = new IoreqPort(hv, domain);
  state.platform = createPlatform(hv, domain, {
    emulation: domain.hvm.emulationFlags,
    hooks: { onInit: (v) => init(hv, v), onStartup: (v, vector) => startup(hv, v, vector) },
  });
  return 0;
}

function vcpuCreated(hv: Hypervisor, vcpu: Vcpu): number {
  const { ops, platform } = stateOf(vcpu.domain);
  const h = new HvmVcpu(vcpu);
  vcpus.set(vcpu, h);
  resetContext(vcpu.context, (hv.pcpus[0]!.cpu as SystemCpu).profile.signature);
  if (stateOf(vcpu.domain).tables === null) {
    const cpu = hv.pcpus[0]!.cpu as SystemCpu;
    h.shadow = new Shadow(hv.frames, (cpu.vmx ?? cpu.svm)!.physical, hv.machine.allocContext(), cpu.profile, h);
  }
  const rc = ops.createVcpu(hv, h);
  if (rc !== 0) return rc;
  platform.addVcpu(vcpu);
  h.apic = platform.localApic(vcpu);
  reset(h, ops);
  return 0;
}
function reset(h: HvmVcpu, ops: VirtOps): void {
  const { regs } = h.vcpu;
  h.cr0 = regs.lo(STATE.cr0);
  h.cr4 = 0;
  h.efer = 0;
  h.cr3Lo = 0;
  h.cr3Hi = 0;
  regs.setHalves(STATE.cr0, h.cr0 | ops.cr0Fixed, 0);
  regs.setHalves(STATE.cr4, ops.cr4Fixed, 0);
  h.event = null;
  h.isDirty = true;
  h.needsFlush = true;
}

function vcpuDestroyed(hv: Hypervisor, vcpu: Vcpu): void {
  const h = vcpus.get(vcpu);
  if (h === undefined) return;
  opsOf(vcpu).destroyVcpu(hv, h);
  if (h.shadow !== null) {
    h.shadow.free();
    hv.machine.freeContext(h.shadow.own);
  }
  vcpus.delete(vcpu);
}
function domainDestroyed(_hv: Hypervisor, domain: Domain): void {
  if (!(domain.hvm?.platform instanceof HvmDomainState)) return;
  const state = domain.hvm.platform;
  state.platform.freeze();
  state.tables?.free();
  domain.hvm.platform = null;
}

/** The INIT IPI: the vCPU waits for a start-up IPI. */
function init(hv: Hypervisor, vcpu: Vcpu): void {
  leaveGuest(vcpu);
  initContext(vcpu.regs, (hv.pcpus[0]!.cpu as SystemCpu).profile.signature);
  reset(hvmOf(vcpu), opsOf(vcpu));
  vcpu.isDown = true;
  vcpu.isBlocked = false;
  hv.scheduler.sleep(vcpu);
}
/** The start-up IPI (vlapic_init_sipi_one). */
function startup(hv: Hypervisor, vcpu: Vcpu, vector: number): void {
  if (!vcpu.isDown) return;
  const { regs } = vcpu;
  regs.setSegment(CS, vector << 8, 0x9b, 0xffff, vector << 12);
  regs.rip = 0 as Lin;
  hvmOf(vcpu).isDirty = true;
  vcpu.isInitialised = true;
  vcpu.isDown = false;
  hv.scheduler.wake(vcpu);
}
/** Out of non-root operation, so that the registers may be changed. */
function leaveGuest(vcpu: Vcpu): void {
  const cpu = vcpu.cpu as SystemCpu | null;
  if (cpu?.nonRoot) opsOf(vcpu).forceExit(hvmOf(vcpu), cpu);
}

// ------------------------------------------------------------------ running

function switchTo(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void {
  const h = hvmOf(vcpu);
  const c = cpu as SystemCpu;
  const { ops, io } = stateOf(vcpu.domain);
  c.delivery = 'idt';
  c.thread.cpuidFaulting = false;
  c.thread.msrs = h.msrs;
  c.io = portsFor(() => ({ h, io }));
  c.modeChanged();
  h.needsFlush ||= h.loadedOn !== cpu.id || hv.pcpus[cpu.id]?.lastVcpu !== vcpu;
  h.loadedOn = cpu.id;
  ops.load(h, c);
}
function switchFrom(_hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void {
  const h = hvmOf(vcpu);
  const c = cpu as SystemCpu;
  const { ops } = stateOf(vcpu.domain);
  if (c.nonRoot !== null) ops.forceExit(h, c);
  ops.unload(h, c);
  c.thread.msrs = new Map();
  c.io = noPorts;
  c.delivery = 'host';
}

/** vmx_intr_assist and VM entry: what is due is injected, what cannot be taken yet asks for a window. */
function deliverPending(hv: Hypervisor, vcpu: Vcpu): void {
  const h = hvmOf(vcpu);
  const cpu = vcpu.cpu as SystemCpu;
  const { ops, platform } = stateOf(vcpu.domain);
  if (vcpu.domain.isShuttingDown) return;
  const isInside = cpu.nonRoot !== null;
  const nmi = platform.isNmiPending(vcpu);
  const due = nmi || platform.pendingVector(vcpu) >= 0;
  if (isInside) {
    if (!h.needsFlush && h.event === null && (!due || (h.wantsWindow && !nmi))) return;
    ops.forceExit(h, cpu);
    platform.vmexit();
  }
  if (h.event === null && due) takeInterrupt(h, cpu, nmi);
  else h.wantsWindow = due;
  if (h.needsFlush) {
    h.needsFlush = false;
    ops.flush(h, cpu);
  }
  if (h.shadow !== null && (h.isDirty || !h.shadow.isInForce)) {
    h.isDirty = true;
    if (!h.shadow.apply(h, ops.cr0Fixed, ops.cr4Fixed)) {
      crash(hv, h, 'no memory for shadow page tables');
      return;
    }
  }
  const failed = ops.enter(h, cpu);
  if (failed !== undefined) crash(hv, h, failed);
}
function takeInterrupt(h: HvmVcpu, cpu: SystemCpu, nmi: boolean): void {
  const { ops, platform } = stateOf(h.vcpu.domain);
  const isBlocked = ops.isShadowed(h);
  if (nmi && !isBlocked && !ops.isNmiBlocked(h)) {
    platform.localApic(h.vcpu).acknowledgeNmi();
    h.event = { vector: EXC.NMI, type: 2, errorCode: -1, insnLen: 0, cr2: 0n };
  } else if (!isBlocked && cpu.u32(STATE.eflags) & EFLAGS.IF) {
    const vector = platform.acknowledge(h.vcpu);
    if (vector >= 0) h.event = { vector, type: 0, errorCode: -1, insnLen: 0, cr2: 0n };
  }
  h.wantsWindow = platform.pendingVector(h.vcpu) >= 0;
}

function handleExit(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu, exit: RunExit): void {
  const h = hvmOf(vcpu);
  const { ops, platform } = stateOf(vcpu.domain);
  switch (exit) {
    case RunExit.vmexit:
      ops.handleExit(hv, h, cpu as SystemCpu);
      platform.vmexit();
      return;
    case RunExit.halt:
      // HLT and MWAIT exit; only an emulated one comes here.
      hv.scheduler.block(vcpu);
      return;
    case RunExit.shutdown:
      tripleFault(hv, h);
      return;
    default:
      crash(hv, h, `an HVM guest cannot cause CPU exit ${exit}`);
  }
}

// ------------------------------------------------------------------ the rest of the hooks

function paging(vcpu: Vcpu): HvmPaging {
  const h = hvmOf(vcpu);
  const { regs } = vcpu;
  const p = h.paging;
  p.cr0 = h.cr0;
  p.cr4 = h.cr4;
  p.cr3Lo = h.shadow === null ? regs.lo(STATE.cr3) : h.cr3Lo;
  p.cr3Hi = h.shadow === null ? regs.hi(STATE.cr3) : h.cr3Hi;
  p.efer = h.efer;
  p.rflags = regs.lo(STATE.eflags);
  return p;
}

function injectEvent(_hv: Hypervisor, vcpu: Vcpu, event: HvmEvent): number {
  const h = hvmOf(vcpu);
  if (h.event !== null) return -XEN_EBUSY;
  h.event = { ...event };
  return 0;
}

function sendTrigger(hv: Hypervisor, vcpu: Vcpu, trigger: number): number {
  const { platform } = stateOf(vcpu.domain);
  switch (trigger) {
    case TRIGGER.nmi:
      platform.injectNmi(vcpu);
      hv.kick(vcpu);
      return 0;
    // A PVH guest has no buttons.
    case TRIGGER.power:
    case TRIGGER.sleep:
      if (platform.pm === undefined) return -XEN_ESRCH;
      platform.pm.pressButton(trigger === TRIGGER.power ? 'power' : 'sleep');
      return 0;
    default:
      return -XEN_EINVAL;
  }
}
/** XEN_DOMCTL_SENDTRIGGER_* (public/domctl.h). */
const TRIGGER = { nmi: 0, reset: 1, init: 2, power: 3, sleep: 4 } as const;

function flushTlbs(_hv: Hypervisor, domain: Domain): void {
  for (const v of domain.vcpus) flushGuest(hvmOf(v));
}

function p2mChanged(hv: Hypervisor, domain: Domain, gfn: Gfn): void {
  if (!(domain.hvm?.platform instanceof HvmDomainState)) return;
  const { tables } = domain.hvm.platform;
  if (tables === null) flushTlbs(hv, domain);
  else if (tables.clear(gfn)) flushTlbs(hv, domain);
}

export const hvmHooks: HvmHooks = {
  domainCreated,
  switchTo,
  switchFrom,
  handleExit,
  deliverPending,
  vcpuCreated,
  vcpuDestroyed,
  domainDestroyed,
  writeHypercallPage: (_hv, vcpu, page) => fillHypercallPage(page, opsOf(vcpu).hypercallOpcode),
  loadCpu: (hv, vcpu, state: HvmCpuState) => loadCpuState(hvmOf(vcpu), state, opsOf(vcpu), (hv.pcpus[0]!.cpu as SystemCpu).profile),
  saveCpu: (_hv, vcpu) => saveCpuState(hvmOf(vcpu), hvm_hw_cpu.read(new DataView(new ArrayBuffer(4096)), 0, 'x86_64')),
  paging,
  injectEvent,
  sendTrigger,
  flushTlbs,
  p2mChanged,
  // Log-dirty is not there yet: all pages count as written.
  trackDirtyVram(_hv, _domain, _first, pages, bitmap) {
    bitmap?.fill(0xff, 0, Math.ceil(pages / 8));
    return 0;
  },
  markDirty: () => {},
  setCallbackVia: (_hv, domain, via) => stateOf(domain).platform.setCallbackVia(via),
  assertEvtchnIrq: (_hv, vcpu) => stateOf(vcpu.domain).platform.upcallPendingChanged(vcpu),
  paramChanged(_hv, domain, index) {
    if (index === HVM_PARAM_ACPI_IOPORTS_LOCATION && domain.hvm)
      stateOf(domain).platform.pm?.moveTo(domain.hvm.params[index] === 1n ? 1 : 0);
  },
  setPciIntx: (_hv, domain, device, intx, level) => void stateOf(domain).platform.setPciIntx(device, intx, level),
  setIsaIrq: (_hv, domain, irq, level) => void stateOf(domain).platform.setIsaIrq(irq, level),
  setPciLinkRoute: (_hv, domain, link, irq) => void stateOf(domain).platform.setPciLinkRoute(link, irq),
  injectMsi: (_hv, domain, lo, hi, data) => stateOf(domain).platform.injectMsi((hi >>> 0) * 0x1_0000_0000 + (lo >>> 0), data),
  ioreqDone: (hv, vcpu) => hv.kick(vcpu),
};
