// A domain: identity, limits, memory accounting, life cycle. What it owns in detail (event channels, grants) hangs off it.

import { SHUTDOWN_crash } from '@ringworld/abi';
import type { Perdomain } from '../pv/perdomain.ts';
import type { EventChannels } from './event-channels.ts';
import type { GrantTable } from './grant-table.ts';
import { HvmDomain } from './hvm-domain.ts';
import { type Abi, type Domid, INVALID_MFN, type Mfn } from './ids.ts';
import { P2m } from './p2m.ts';
import type { Timer } from './timers.ts';
import type { Vcpu } from './vcpu.ts';

export interface DomainOptions {
  id: Domid;
  /** 16 bytes. */
  handle?: Uint8Array;
  isPrivileged?: boolean;
  /** Translated: gfns go through a p2m of the hypervisor's. PV domains are not. */
  isTranslated?: boolean;
  /** XEN_DOMCTL_CDF_hvm, which implies isTranslated. */
  hvm?: { isHap: boolean; emulationFlags: number };
  maxVcpus: number;
}

export class Domain {
  readonly id: Domid;
  handle: Uint8Array;
  /**
   * XEN_DOMCTL_set_address_size(32): a compat guest. Of an HVM domain: the layout of shared_info (has_32bit_shinfo), which follows the mode
   * in which it set up the hypercall page or the callback.
   */
  is32bit = false;
  readonly isPrivileged: boolean;
  readonly isTranslated: boolean;
  /** Parameters, callback and device models of an HVM (or PVH) domain; null for others. */
  readonly hvm: HvmDomain | null;
  readonly maxVcpus: number;
  readonly vcpus: Vcpu[] = [];

  totPages = 0;
  maxPages = 0xffff_ffff;
  /** Frames that the domain owns, in the order of their allocation (a Set keeps it): xen's page_list. */
  readonly pageList = new Set<Mfn>();
  sharedInfoMfn: Mfn = INVALID_MFN;
  /** Only meaningful when isTranslated. */
  readonly p2m = new P2m();
  /** Page tables of the per-domain area (pv/perdomain.ts), null until the first PV vCPU is made. */
  perdomain: Perdomain | null = null;
  /** XENMEM_set_memory_map: struct e820entry[] as bytes (20 each), null when none was set. */
  e820: Uint8Array | null = null;
  /** Index registers of CMOS and PCI configuration space, which every PV domain has to itself (pv/emul-io.ts). */
  readonly legacyIo = { cmosIndex: 0, pciCf8: 0 };
  /** VMASST_TYPE_* bits that the guest enabled. */
  vmAssist = 0;

  evtchn!: EventChannels;
  grants!: GrantTable;

  /** Set when destruction has begun: no new references are taken. */
  isDying = false;
  /** All memory is back: only references of others keep the domain in the list. */
  isDead = false;
  isShuttingDown = false;
  /** SHUTDOWN_* once all vCPUs are stopped or crashed, else null. */
  shutdownCode: number | null = null;
  /** Why the domain crashed; the first reason wins. */
  crashReason: string | null = null;
  /** All vCPUs have stopped after a shutdown (is_shut_down). */
  isShutDown = false;
  /** Pauses nest: the hypervisor's own, and one of the toolstack's (controllerPauseCount of them). */
  pauseCount = 0;
  controllerPauseCount = 0;
  /** Port to notify instead of VIRQ_DOM_EXC when the domain has suspended (XEN_DOMCTL_subscribe); 0 = none. */
  suspendEvtchn = 0;
  /** Share of CPU time relative to other domains' (XEN_DOMCTL_SCHEDOP_putinfo). */
  weight = 256;
  /** SCHEDOP_watchdog (core/watchdog.ts). */
  readonly watchdogs: Timer[] = [];
  /** XEN_DOMCTL_settimeoffset, seconds. */
  timeOffsetSeconds = 0;
  /** The hypervisor side of a shutdown (core/domain-shutdown.ts): pauses the vCPUs and raises VIRQ_DOM_EXC. */
  onShutdown: (domain: Domain, reason: number) => void = () => {};
  /** The domain was paused or unpaused, or has shut down or been resumed: for those whose timers stop with it. */
  onStopOrGo: () => void = () => {};
  /** Hypercalls (by number) and traps (by name) that the domain made, for display. */
  readonly statistics = new Map<string, number>();

  constructor(options: DomainOptions) {
    this.id = options.id;
    this.handle = options.handle ?? new Uint8Array(16);
    this.isPrivileged = options.isPrivileged ?? false;
    this.isTranslated = (options.isTranslated ?? false) || options.hvm !== undefined;
    this.hvm = options.hvm === undefined ? null : new HvmDomain(options.hvm);
    this.maxVcpus = options.maxVcpus;
  }

  get abi(): Abi {
    return this.is32bit ? 'x86_32' : 'x86_64';
  }
  get isHvm(): boolean {
    return this.hvm !== null;
  }
  get isPaused(): boolean {
    return this.pauseCount > 0;
  }
  /** No vCPU may run. */
  get isStopped(): boolean {
    return this.isPaused || this.isShutDown;
  }

  /** The guest's fault, beyond repair: as Xen's domain_crash(). */
  crash(reason: string): void {
    if (this.crashReason === null && this.shutdownCode === null) this.crashReason = reason;
    this.shutdown(SHUTDOWN_crash);
  }

  /** Xen's domain_shutdown(): the first code stays. */
  // TOUR hypercall 80: SCHEDOP_shutdown ends here: the first code stays, the domain's vCPUs stop, and dom0 hears of it by VIRQ_DOM_EXC,
  // as a real toolstack does. Other hypercalls come back with a number, which hypercall() has put into rax.
  shutdown(reason: number): void {
    this.shutdownCode ??= reason;
    if (this.isShuttingDown) return;
    this.isShuttingDown = true;
    this.onShutdown(this, this.shutdownCode);
  }

  count(name: string): void {
    this.statistics.set(name, (this.statistics.get(name) ?? 0) + 1);
  }
}
