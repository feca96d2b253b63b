// The life of domains as libxl leads it: build, tell XenStore and the console daemon, let run, notice the end, destroy.
import {
  type Domid,
  domid,
  guestHandle,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_soft_reset,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
  VIRQ_DOM_EXC,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_get_address_size,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_resumedomain,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_setdomainhandle,
  XEN_DOMCTL_setvcpucontext,
  XEN_DOMCTL_unpausedomain,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownmask,
  XEN_DOMINF_shutdownshift,
  XEN_SCHEDULER_CREDIT,
  xen_domctl_address_size,
  xen_domctl_getdomaininfo,
  xen_domctl_scheduler_op,
  xen_domctl_setdomainhandle,
  xen_domctl_vcpucontext,
} from '@ringworld/abi';
import { Consoled, type ConsoleSink, type DomainConsole } from '../consoled/index.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import type { Xenstored, XsClient } from '../xenstored/index.ts';
import type { Decompressors } from './decompress/index.ts';
import { addDevice, listDevices, removeDevice } from './device.ts';
import { devicesOf } from './device-config.ts';
import { buildPvDomain, type DomainLimits, type NamedBytes } from './domain-builder.ts';
import { dumpCore } from './dump-core.ts';
import { DomainBuildError } from './errors.ts';
import { type BuiltHvmDomain, buildHvmDomain } from './hvm-builder.ts';
import { hasSerialPort } from './hvm-devices.ts';
import { removeDomainNodes, writeDom0Nodes, writeDomainNodes } from './lifecycle-store.ts';
import type { StreamReader } from './migration-stream.ts';
import { withReturnCode } from './pv-context.ts';
import { buildPvhDomain } from './pvh-builder.ts';
import { type RestoredDomain, restorePvDomain } from './restore-pv.ts';
import { readVcpuContext, savePvDomain } from './save-pv.ts';
import { type ActionOnShutdown, type DomainConfig, formatUuid } from './xlcfg.ts';
import type { HvmConfig } from './xlcfg-hvm.ts';

export type ShutdownReason = 'poweroff' | 'reboot' | 'suspend' | 'crash' | 'watchdog' | 'soft-reset';

const REASONS: Readonly<Record<number, ShutdownReason>> = {
  [SHUTDOWN_poweroff]: 'poweroff',
  [SHUTDOWN_reboot]: 'reboot',
  [SHUTDOWN_suspend]: 'suspend',
  [SHUTDOWN_crash]: 'crash',
  [SHUTDOWN_watchdog]: 'watchdog',
  [SHUTDOWN_soft_reset]: 'soft-reset',
};

/** The files that a configuration names, read. */
export interface DomainFiles {
  readonly kernel: NamedBytes;
  readonly ramdisk: NamedBytes | null;
}

/** The device model of a domain of type "hvm", and its serial console, if it has one. */
export interface HvmParts {
  readonly serial: DomainConsole | null;
  close(): void;
}
/** What domains of type "hvm" need of the host. */
export interface HvmServices {
  /** For a domain whose XenStore nodes are written. Throws DomainBuildError and StoreError. */
  start(config: DomainConfig & { readonly hvm: HvmConfig }, built: BuiltHvmDomain, serialSink: ConsoleSink | null): HvmParts;
}

export interface LiveDomain {
  readonly domid: Domid;
  config: DomainConfig;
  console: DomainConsole;
  /** Null while it runs. */
  shutdown: { readonly code: number; readonly reason: ShutdownReason } | null;
}

export class Toolstack {
  readonly dom0: Dom0;
  readonly privcmd: Privcmd;
  readonly xenstored: Xenstored;
  readonly xs: XsClient;
  readonly consoled: Consoled;
  readonly domains = new Map<Domid, LiveDomain>();
  /** Null where no domain of type "hvm" can be made. */
  hvm: HvmServices | null = null;
  private readonly hvmParts = new Map<Domid, HvmParts>();
  /** Called when a domain has shut down; it is still there until it is destroyed. Not to be destroyed from within the call. */
  onShutdown: (domain: LiveDomain) => void = () => {};
  private readonly decompressors: Decompressors;

  constructor(dom0: Dom0, decompressors: Decompressors) {
    this.decompressors = decompressors;
    this.dom0 = dom0;
    this.privcmd = dom0.privcmd;
    this.xenstored = dom0.xenstored;
    this.xs = dom0.xs;
    this.consoled = new Consoled(dom0);
    writeDom0Nodes(this.xs);
    dom0.evtchn.bindVirq(VIRQ_DOM_EXC, () => this.checkDomains());
  }

  /** Builds a domain that is paused. Without a sink its console is seen by whoever subscribes. Throws DomainBuildError. */
  create(config: DomainConfig, files: DomainFiles, sink: ConsoleSink | null): LiveDomain {
    return config.type === 'hvm' ? this.createHvm(config, sink) : this.settle(config, this.build(config, files), sink);
  }

  /** The console of one with a serial port is that (as `xl console` has it), and the PV one is seen by whoever subscribes. */
  private createHvm(config: DomainConfig, sink: ConsoleSink | null): LiveDomain {
    const { hvm } = config;
    if (this.hvm === null || hvm === null)
      throw new DomainBuildError(config.name, 'this machine has no device model for domains of type "hvm"');
    if (config.kernel !== '')
      throw new DomainBuildError(config.name, 'kernel= of a domain of type "hvm" is not supported yet: boot it from a disk');
    const built = buildHvmDomain(this.privcmd, { ...limitsOf(config), ...hvm });
    const isSerial = hasSerialPort(hvm.serial);
    const domain = this.settle(config, built, isSerial ? null : sink);
    try {
      const parts = this.hvm.start({ ...config, hvm }, built, isSerial ? sink : null);
      this.hvmParts.set(domain.domid, parts);
      if (parts.serial !== null) domain.console = parts.serial;
    } catch (e) {
      this.destroy(domain);
      throw e;
    }
    return domain;
  }

  private build(config: DomainConfig, files: DomainFiles): RestoredDomain {
    const spec = {
      ...limitsOf(config),
      kernel: files.kernel,
      ...(files.ramdisk === null ? {} : { ramdisk: files.ramdisk }),
      cmdline: config.cmdline,
    };
    const { hvm } = config;
    if (hvm === null) return buildPvDomain(this.privcmd, spec, this.decompressors);
    return buildPvhDomain(this.privcmd, { ...spec, ...hvm, online: config.vcpus }, this.decompressors);
  }

  /** Everything around a domain that has just been made: its nodes and devices, its share, its console. */
  private settle(config: DomainConfig, built: RestoredDomain, sink: ConsoleSink | null): LiveDomain {
    const dom = built.domid;
    if (config.cpuWeight !== null) this.setWeight(dom, config.cpuWeight);
    writeDomainNodes(this.xs, { domid: dom, config, console: built.console, store: built.store });
    for (const device of devicesOf(config)) addDevice(this.xs, dom, device);
    this.xenstored.introduce(dom, built.store.port);
    const console = this.consoled.connect(dom, built.console.port, sink);
    const domain: LiveDomain = { domid: dom, config, console, shutdown: null };
    this.domains.set(dom, domain);
    return domain;
  }

  /** Makes a domain from a saved one; it is paused. A step at a time. Throws DomainBuildError, in which `subject` is named. */
  *restore(config: DomainConfig, subject: string, image: StreamReader, sink: ConsoleSink | null): Generator<void, LiveDomain> {
    return this.settle(config, yield* restorePvDomain(this.privcmd, subject, limitsOf(config), image), sink);
  }

  /** The domain image of a domain that has suspended, a record at a time. Throws DomainBuildError. */
  save(domain: LiveDomain): Generator<Uint8Array, void> {
    return savePvDomain(this.privcmd, domain.domid, domain.config.name);
  }

  /** The pieces of a core file, of the domain as it is while they are taken. Throws DomainBuildError and HypercallError. */
  dumpCore(domain: LiveDomain): Generator<Uint8Array, void> {
    return dumpCore(this.privcmd, domain.domid, domain.config.name);
  }

  /**
   * Lets a suspended domain go on as if it had never been asked: its suspend call answers 1, for "cancelled" (libxl_domain_resume with
   * suspend_cancel; xg_resume.c, modify_returncode).
   */
  resume(domain: LiveDomain): void {
    const { privcmd } = this;
    const dom = domain.domid;
    const is32bit = privcmd.domctlWith(XEN_DOMCTL_get_address_size, dom, xen_domctl_address_size, {}).out.size === 32;
    const context = withReturnCode(readVcpuContext(privcmd, dom, 0, is32bit), is32bit, 1);
    privcmd.xen.memory.withArguments((args) => {
      privcmd.domctlWith(XEN_DOMCTL_setvcpucontext, dom, xen_domctl_vcpucontext, { vcpu: 0, ctxt: guestHandle(args.put(context)) });
    });
    this.xenstored.resume(dom);
    domain.shutdown = null;
    privcmd.domctl(XEN_DOMCTL_resumedomain, dom);
  }

  unpause(domain: LiveDomain): void {
    this.privcmd.domctl(XEN_DOMCTL_unpausedomain, domain.domid);
  }

  /** Backends first, since they hold pages of the domain. */
  destroy(domain: LiveDomain): void {
    this.domains.delete(domain.domid);
    this.hvmParts.get(domain.domid)?.close();
    this.hvmParts.delete(domain.domid);
    this.dom0.backends.removeDomain(domain.domid);
    this.consoled.disconnect(domain.domid);
    this.xenstored.release(domain.domid);
    this.privcmd.domctl(XEN_DOMCTL_destroydomain, domain.domid);
    for (const d of listDevices(this.xs, domain.domid)) removeDevice(this.xs, domain.domid, d.type, d.devid);
    removeDomainNodes(this.xs, domain.domid, domain.config);
  }

  /** Gives a domain that is kept aside another UUID and name, so that its successor can have them (libxl_domain_preserve). */
  setUuid(domain: LiveDomain, config: DomainConfig): void {
    const { xs } = this;
    const old = `/vm/${formatUuid(domain.config.uuid)}`;
    const vm = `/vm/${formatUuid(config.uuid)}`;
    xs.write(vm, '');
    for (const [key, value] of [
      ['uuid', formatUuid(config.uuid)],
      ['name', config.name],
    ] as const)
      xs.write(`${vm}/${key}`, value);
    xs.write(`/local/domain/${domain.domid}/vm`, vm);
    xs.rm(old);
    this.privcmd.domctlWith(XEN_DOMCTL_setdomainhandle, domain.domid, xen_domctl_setdomainhandle, { handle: config.uuid });
    domain.config = config;
  }

  private setWeight(dom: Domid, weight: number): void {
    this.privcmd.domctlWith(XEN_DOMCTL_scheduler_op, dom, xen_domctl_scheduler_op, {
      sched_id: XEN_SCHEDULER_CREDIT,
      cmd: XEN_DOMCTL_SCHEDOP_putinfo,
      u: { credit: { weight, cap: 0 } },
    });
  }

  /** VIRQ_DOM_EXC says only that some domain has changed. */
  private checkDomains(): void {
    for (const domain of [...this.domains.values()]) {
      if (domain.shutdown !== null) continue;
      const info = this.privcmd.domctlWith(XEN_DOMCTL_getdomaininfo, domid(domain.domid), xen_domctl_getdomaininfo, {}).out;
      if ((info.flags & XEN_DOMINF_shutdown) === 0) continue;
      const code = (info.flags >>> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
      domain.shutdown = { code, reason: REASONS[code] ?? 'crash' };
      domain.console.serve();
      this.xenstored.domainStopped();
      this.onShutdown(domain);
    }
  }
}

const limitsOf = (config: DomainConfig): DomainLimits => ({
  memoryMiB: config.memoryMiB,
  maxMemoryMiB: config.maxMemoryMiB,
  vcpus: config.maxVcpus,
  uuid: config.uuid,
  ...(config.maxGrantFrames === null ? {} : { maxGrantFrames: config.maxGrantFrames }),
  ...(config.maxMaptrackFrames === null ? {} : { maxMaptrackFrames: config.maxMaptrackFrames }),
  ...(config.maxEventChannels === null ? {} : { maxEventChannels: config.maxEventChannels }),
});

/** Which of the configuration's actions applies. */
export function actionFor(config: DomainConfig, reason: ShutdownReason): ActionOnShutdown {
  switch (reason) {
    case 'poweroff':
      return config.onPoweroff;
    case 'reboot':
      return config.onReboot;
    case 'watchdog':
      return config.onWatchdog;
    case 'soft-reset':
      return config.onSoftReset;
    case 'crash':
      return config.onCrash;
    // Nobody here saved it: as xl, which then leaves nothing behind.
    case 'suspend':
      return 'destroy';
  }
}

/** Actions that end in the domain being built again. */
export const restarts = (action: ActionOnShutdown): boolean =>
  action === 'restart' || action === 'rename-restart' || action === 'coredump-restart' || action === 'soft-reset';
