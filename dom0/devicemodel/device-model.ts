// ioemu: the device model of one HVM domain. It is a user of dom0's kernel like a backend is: everything that it knows of its domain comes by
// ioreqs, and everything that it does to it is a hypercall or a write to a foreign page.
import { type Domid, SHUTDOWN_crash, SHUTDOWN_poweroff, SHUTDOWN_reboot, xenDmopPciSbdf } from '@ringworld/abi';
import type { Consoled, ConsoleSink, DomainConsole } from '../consoled/index.ts';
import { SERIAL_DEVID } from '../consoled/index.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import { HypercallError } from '../kernel/hypercall.ts';
import type { BlockStore } from '../storage/block-store.ts';
import type { AttachPort } from '../switch/port.ts';
import type { CreatePlatform, DmBoard, DriveSpec, IrqLine, PciConfig, Platform, Timeline } from './board.ts';
import { DmOp, type DmOpHost } from './dm-op.ts';
import { type DriveHost, driveStore } from './drive-store.ts';
import { GuestMemory } from './guest-memory.ts';
import { IoSpace, ones } from './io-space.ts';
import { IoreqHandler } from './ioreq-handler.ts';
import { IoreqServer, type IoreqServerHost, type IoreqStatistics } from './ioreq-server.ts';
import { NicPort } from './nic-port.ts';
import { SerialConsole } from './serial-console.ts';
import { PLATFORM_FUNCTION, XenPlatform } from './xen-platform.ts';

/** The slot of the Xen platform device. */
const PLATFORM_SLOT = 2;
const SLOTS = 32;
const FUNCTIONS = 8;

export interface DeviceModelDisk {
  /** 0 to 3: primary master and slave, secondary master and slave (hda to hdd). */
  readonly unit: number;
  readonly kind: 'disk' | 'cdrom';
  /** Null: a CD drive without a medium. The store is borrowed, and closed by whoever opened it. */
  readonly store: BlockStore | null;
  readonly isReadonly: boolean;
}

export interface DeviceModelNic {
  readonly mac: Uint8Array;
  readonly bridge: string;
  /** Of the port: `vif1.0-emu`. */
  readonly name: string;
}

export interface DeviceModelConfig {
  readonly vcpus: number;
  /** Bytes of guest memory below the hole and above 4 GiB. */
  readonly ramBelow4G: number;
  readonly ramAbove4G: number;
  readonly disks: readonly DeviceModelDisk[];
  readonly nics: readonly DeviceModelNic[];
  /** xl.cfg's boot=, e.g. "cd". */
  readonly boot: string;
  /** serial="pty". */
  readonly hasSerial: boolean;
  /** May hold the serial console's output up; null for none. */
  readonly serialSink: ConsoleSink | null;
  /** xen_platform_pci=. */
  readonly hasPlatformPci: boolean;
  /** VGA BIOS image (vgabios-stdvga.bin). */
  readonly videoBios: Uint8Array | undefined;
  /** Seconds since 1970 at which the domain's clock starts. */
  readonly epoch: number;
  /** Gets lines: PV drivers' log, the firmware's debug port, complaints. */
  readonly log: (line: string) => void;
}

/** What the device model uses of dom0. */
export interface DeviceModelHost extends IoreqServerHost, DriveHost {
  readonly xen: DmOpHost;
  readonly timers: Pick<Dom0['timers'], 'now' | 'after'>;
  readonly xs: Pick<Dom0['xs'], 'read'>;
}

/** What others give it. */
export interface DeviceModelServices {
  readonly createPlatform: CreatePlatform;
  readonly attachPort: AttachPort;
  /** Where COM1 gets its console; null: what it sends is lost. */
  readonly consoled: Pick<Consoled, 'attach'> | null;
}

/** dom0's timers as devices use them; none fires after close(). */
class DmTimeline implements Timeline {
  private readonly timers: DeviceModelHost['timers'];
  private readonly pending = new Set<() => void>();

  constructor(timers: DeviceModelHost['timers']) {
    this.timers = timers;
  }
  get now(): number {
    return this.timers.now();
  }
  schedule(at: number, run: () => void) {
    const stop = this.timers.after(at - this.now, () => {
      this.pending.delete(stop);
      run();
    });
    this.pending.add(stop);
    return {
      cancel: () => {
        this.pending.delete(stop);
        stop();
      },
    };
  }
  close(): void {
    for (const stop of this.pending) stop();
    this.pending.clear();
  }
}

export class DeviceModel {
  readonly platform: Platform;
  /** COM1, when it has a console. */
  readonly serial: DomainConsole | null = null;
  private readonly host: DeviceModelHost;
  private readonly domid: Domid;
  private readonly config: DeviceModelConfig;
  private readonly dmOp: DmOp;
  private readonly server: IoreqServer;
  /** The domain's memory. */
  readonly memory: GuestMemory;
  private readonly space: IoSpace;
  private readonly timeline: DmTimeline;
  private readonly ports: NicPort[];
  private debugLine = '';
  private isClosed = false;
  private isRunning = false;
  private isShutDown = false;

  /** Throws HypercallError when the domain is none that can have a device model. */
  constructor(host: DeviceModelHost, domid: Domid, config: DeviceModelConfig, services: DeviceModelServices) {
    this.host = host;
    this.domid = domid;
    this.config = config;
    this.dmOp = new DmOp(host.xen, domid);
    this.memory = new GuestMemory(host, domid);
    this.timeline = new DmTimeline(host.timers);
    this.server = new IoreqServer(host, this.dmOp, domid, (reason) => this.fail(reason));
    this.space = new IoSpace({
      ports: (first, last, isMapped) => this.setRange('port', first, last, isMapped),
      memory: (first, last, isMapped) => this.setRange('memory', first, last, isMapped),
    });
    this.ports = config.nics.map((nic) => new NicPort(services.attachPort, nic.bridge, nic.name));
    const serial = config.hasSerial ? new SerialConsole({ timers: host.timers, type: (b) => this.platform.typeSerial(b) }) : null;
    this.platform = services.createPlatform(this.board(), {
      drives: this.drives(),
      nics: config.nics.map((nic, i) => ({ mac: nic.mac, transmit: this.ports[i]!.transmit })),
      videoBios: config.videoBios,
      ramBelow4G: config.ramBelow4G,
      ramAbove4G: config.ramAbove4G,
      vcpus: config.vcpus,
      boot: config.boot,
      epoch: config.epoch,
      serial: serial?.output,
      serialDrained: () => serial?.feed(),
      debug: (byte) => this.debug(byte),
    });
    this.platform.nics.forEach((nic, i) => {
      this.ports[i]!.nic = nic;
    });
    if (config.hasPlatformPci) this.addXenPlatform();
    // Power-on: what the chipset's registers say is told to Xen.
    this.platform.reset();
    this.forEachFunction((sbdf) => this.server.mapRange('pci', sbdf, sbdf));
    if (serial !== null && services.consoled !== null) {
      const console = services.consoled.attach(domid, SERIAL_DEVID, 'serial0', serial, config.serialSink);
      serial.serve = () => console.serve();
      this.serial = console;
    }
    this.server.enable(
      new IoreqHandler({
        space: this.space,
        memory: this.memory,
        pci: (sbdf) => this.pci(sbdf),
        // As QEMU: the hypervisor keeps the clock, and nobody here asks for it.
        timeOffset: () => {},
      }),
      config.vcpus,
    );
    this.isRunning = true;
  }

  get statistics(): Readonly<IoreqStatistics> {
    return this.server.statistics;
  }

  /** The domain is going: takes no requests, and lets go of its memory, its ports and its events. Stores and the console are others'. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.timeline.close();
    for (const port of this.ports) port.close();
    this.server.close();
    this.memory.invalidate();
    this.dmOp.close();
  }

  /** Configuration accesses before there is a CPU that makes them (toolstack/hvm-firmware-pci.ts). */
  readonly pciAccess = {
    read: (devfn: number, at: number, size: number): number => this.platform.pci(devfn >>> 3, devfn & 7)?.read(at, size) ?? ones(size),
    write: (devfn: number, at: number, size: number, value: number): void => {
      this.platform.pci(devfn >>> 3, devfn & 7)?.write(at, size, value);
    },
  };

  /** The function at segment, bus, device and function, as the configuration requests name it. */
  private pci(sbdf: number): PciConfig | undefined {
    return sbdf < SLOTS * FUNCTIONS ? this.platform.pci(sbdf >>> 3, sbdf & 7) : undefined;
  }
  private forEachFunction(run: (sbdf: number) => void): void {
    for (let slot = 0; slot < SLOTS; slot++)
      for (let fn = 0; fn < FUNCTIONS; fn++) if (this.platform.pci(slot, fn) !== undefined) run(xenDmopPciSbdf(0, 0, slot, fn));
  }

  private board(): DmBoard {
    const { dmOp } = this;
    return {
      bus: this.space,
      timeline: this.timeline,
      dma: this.memory,
      isaIrq: (irq) => this.line((level) => dmOp.setIsaIrqLevel(irq, level)),
      pciIntx: (slot, pin) => this.line((level) => dmOp.setPciIntxLevel(slot, pin - 1, level)),
      setPciLinkRoute: (link, isaIrq) => dmOp.setPciLinkRoute(link, isaIrq),
      shutdown: (reason) => this.shutdown(reason === 'poweroff' ? SHUTDOWN_poweroff : SHUTDOWN_reboot),
    };
  }
  /** Tells Xen of changes only: a level costs a hypercall. */
  private line(set: (level: boolean) => void): IrqLine {
    let known = false;
    return (level) => {
      if (level === known || this.isClosed) return;
      known = level;
      set(level);
    };
  }

  private setRange(kind: 'port' | 'memory', first: number, last: number, isMapped: boolean): void {
    if (this.isClosed) return;
    try {
      if (isMapped) this.server.mapRange(kind, first, last);
      else this.server.unmapRange(kind, first, last);
    } catch (e) {
      // Once the guest runs, where a BAR goes is its business: one that cannot be registered does not answer.
      if (!(e instanceof HypercallError) || !this.isRunning) throw e;
      this.config.log(`${kind} range 0x${first.toString(16)}-0x${last.toString(16)}: ${e.message}`);
    }
  }

  private drives(): (DriveSpec | undefined)[] {
    const drives: (DriveSpec | undefined)[] = [undefined, undefined, undefined, undefined];
    for (const d of this.config.disks) {
      const store = d.store === null ? undefined : driveStore(this.host, d.store, d.isReadonly);
      if (d.kind === 'cdrom') drives[d.unit] = { kind: 'cdrom', store };
      else if (store !== undefined) drives[d.unit] = { kind: 'disk', store };
    }
    return drives;
  }

  private addXenPlatform(): void {
    const { platform } = this;
    const device = new XenPlatform({
      timeline: this.timeline,
      isBlocked: (product, build) => this.host.xs.read(`/mh/driver-blacklist/${product}/${build}`) !== null,
      unplugDisks: (onlyAuxiliary) => platform.unplugDisks(onlyAuxiliary),
      unplugNics: () => {
        platform.unplugNics();
        for (const port of this.ports) port.close();
      },
      log: (line) => this.config.log(line),
    });
    device.attach(this.space);
    platform.addFunction(PLATFORM_SLOT, PLATFORM_FUNCTION, device.bars(this.space));
  }

  private debug(byte: number): void {
    if (byte !== 0x0a && this.debugLine.length < 1024) {
      this.debugLine += String.fromCharCode(byte);
      return;
    }
    this.config.log(this.debugLine);
    this.debugLine = '';
  }

  /** The guest's own request comes while it waits for an answer: it gets one, and does not run on. */
  private shutdown(reason: number): void {
    if (this.isShutDown || this.isClosed) return;
    this.isShutDown = true;
    this.dmOp.remoteShutdown(reason);
  }

  private fail(reason: string): void {
    this.config.log(`device model of domain ${this.domid}: ${reason}`);
    this.shutdown(SHUTDOWN_crash);
  }
}
