// The platform of one domain, put together: what it has by its emulation flags, the accesses that reach it, and what waits for each vCPU.
//
// Values of ports and registers are unsigned; sizes are 1, 2 or 4 bytes. Nothing here throws for what a guest does.

import { XEN_EINVAL } from '@ringworld/abi';
import type { Domain } from '../../core/domain.ts';
import type { CallbackVia } from '../../core/hvm-domain.ts';
import type { Hypervisor } from '../../core/hypervisor.ts';
import type { Vcpu } from '../../core/vcpu.ts';
import { DELIVERY, msiMessage } from '../../machine/devices/apic-message.ts';
import { HPET_BASE, Hpet } from '../../machine/devices/hpet.ts';
import { IOAPIC_BASE, IoApic } from '../../machine/devices/ioapic.ts';
import type { Lapic } from '../../machine/devices/lapic.ts';
import { PicPair } from '../../machine/devices/pic.ts';
import { Pit } from '../../machine/devices/pit.ts';
import { Rtc } from '../../machine/devices/rtc.ts';
import { DomainClock } from './clock.ts';
import { CMOS_PORT, cmosPorts } from './cmos.ts';
import { InterruptLines, NR_GSIS } from './lines.ts';
import { EMULATED, type PlatformOptions } from './options.ts';
import { AcpiPm } from './pmtimer.ts';
import { PlatformBus } from './ports.ts';
import { Upcalls } from './upcall.ts';
import { Vlapics } from './vlapics.ts';

/** VIOAPIC_VERSION_ID: no EOI register. */
const VIOAPIC_VERSION = 0x11;
const VIOAPIC_LENGTH = 0x100;
const HPET_LENGTH = 0x400;
/** STIME_PER_HPET_TICK: 62.5 MHz. Timers can be routed to pins 20 to 23 (HPET_TN_INT_ROUTE_CAP). */
const HPET_TICK_NS = 16;
const HPET_ROUTES = 0x00f0_0000;
/** SCI_IRQ */
const SCI = 9;

/** Makes a domain's platform with vlapics for the vCPUs that it has; addVcpu() gives later ones theirs. */
export const createPlatform = (hv: Hypervisor, domain: Domain, options: PlatformOptions): Platform => new Platform(hv, domain, options);

export class Platform {
  readonly clock: DomainClock;
  readonly lines: InterruptLines;
  readonly upcalls: Upcalls;
  readonly ioapic: IoApic | undefined;
  readonly pic: PicPair | undefined;
  readonly pit: Pit | undefined;
  readonly rtc: Rtc | undefined;
  readonly hpet: Hpet | undefined;
  readonly pm: AcpiPm | undefined;
  private readonly hv: Hypervisor;
  private readonly domain: Domain;
  private readonly vlapics: Vlapics;
  private readonly bus = new PlatformBus();
  private isDead = false;

  constructor(hv: Hypervisor, domain: Domain, options: PlatformOptions) {
    this.hv = hv;
    this.domain = domain;
    const has = (part: keyof typeof EMULATED): boolean => (options.emulation & EMULATED[part]) !== 0;
    const timeline = new DomainClock(hv);
    this.clock = timeline;
    this.vlapics = new Vlapics(hv, timeline, options, {
      acknowledgeExternal: () => this.pic!.acknowledge(),
      isExternalRouted: (id) => this.ioapic?.isExtInt(0, id) === true,
      eoi: (vector) => this.ioapic?.eoi(vector),
    });
    if (has('ioapic')) {
      const ioapic = new IoApic((m) => this.vlapics.send(m), { pins: NR_GSIS, version: VIOAPIC_VERSION });
      this.ioapic = ioapic;
      this.bus.attachMemory(IOAPIC_BASE, VIOAPIC_LENGTH, {
        read: (offset, size) => ioapic.read(offset, size),
        write: (offset, size, value) => {
          ioapic.write(offset, size, value);
          // Entry 0 may let the vpic through now, or no more (__vlapic_accept_pic_intr).
          if (this.pic?.master.asks) this.vlapics.external(true);
        },
      });
    }
    if (has('pic')) {
      this.pic = new PicPair((level) => this.vlapics.external(level));
      for (const port of [0x20, 0xa0, 0x4d0]) this.bus.attachPorts(port, 2, this.pic.ports);
    }
    this.lines = new InterruptLines(this);
    this.upcalls = new Upcalls(hv, domain, this.lines, this.vlapics.all, this.ioapic !== undefined && this.pic !== undefined);

    const isa = (irq: number) => (level: boolean) => void this.lines.setIsa(irq, level);
    if (has('hpet')) {
      this.hpet = new Hpet({
        timeline,
        tickNs: HPET_TICK_NS,
        routes: HPET_ROUTES,
        irq0: isa(0),
        irq8: isa(8),
        pin: (pin, level) => this.lines.setHpet(pin, level),
      });
      this.bus.attachMemory(HPET_BASE, HPET_LENGTH, this.hpet);
    }
    if (has('pit')) {
      this.pit = new Pit({ timeline, irq0: this.hpet?.pitInput ?? isa(0) });
      this.pit.attach(this.bus);
    }
    if (has('rtc')) {
      const { cmos } = options;
      this.rtc = new Rtc({ timeline, irq8: this.hpet?.rtcInput ?? isa(8), epoch: this.date, ...(cmos === undefined ? {} : { cmos }) });
      this.bus.attach(CMOS_PORT, 2, cmosPorts(this.rtc, cmos !== undefined));
    }
    if (has('pm')) this.pm = new AcpiPm({ timeline, bus: this.bus, sci: isa(SCI), onSleep: options.hooks.onSleep });
    for (const v of domain.vcpus) this.addVcpu(v);
    domain.onStopOrGo = () => this.stopOrGo();
    this.stopOrGo();
  }

  /** A vCPU was made: its vlapic is as after RESET. In the order of their ids. */
  addVcpu(vcpu: Vcpu): void {
    this.vlapics.add(vcpu, this.pic?.master.asks === true);
  }

  // ------------------------------------------------------------------ accesses of the guest

  /** Undefined: nobody here answers, and the access is the device model's. For a write any number. */
  portIo(_vcpu: Vcpu, port: number, size: number, isIn: boolean, value: number): number | undefined {
    return this.bus.io(port, size, isIn, value);
  }
  /** Whether the platform answers for a port. */
  hasPort(port: number): boolean {
    return this.bus.hasPort(port);
  }
  /** Whether a guest-physical address is of a register here, as this vCPU sees memory. */
  isMmio(vcpu: Vcpu, gpa: number): boolean {
    return this.isVlapic(vcpu, gpa) || this.bus.find(gpa) >= 0;
  }
  /** Undefined: the device model's. An access of 8 bytes comes as two of 4. */
  mmioRead(vcpu: Vcpu, gpa: number, size: number): number | undefined {
    if (this.isVlapic(vcpu, gpa)) return this.localApic(vcpu).read(gpa % 4096, size);
    const range = this.bus.find(gpa);
    return range < 0 ? undefined : this.bus.read(range, gpa, size);
  }
  /** False: the device model's. */
  mmioWrite(vcpu: Vcpu, gpa: number, size: number, value: number): boolean {
    if (this.isVlapic(vcpu, gpa)) {
      this.localApic(vcpu).write(gpa % 4096, size, value);
      return true;
    }
    const range = this.bus.find(gpa);
    if (range < 0) return false;
    this.bus.write(range, gpa, size, value);
    return true;
  }
  private isVlapic(vcpu: Vcpu, gpa: number): boolean {
    const { page } = this.localApic(vcpu);
    return page !== undefined && gpa >= page && gpa < page + 4096;
  }

  // ------------------------------------------------------------------ what waits for a vCPU

  /** CR8, IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC MSRs (by halves: readMsrLow, writeMsrHalves), NMI, PPR. */
  localApic(vcpu: Vcpu): Lapic {
    return this.vlapics.all[vcpu.id]!;
  }

  /**
   * The vector that acknowledge() would give now, -1 for none (hvm_vcpu_has_pending_irq): the callback vector, which no priority holds
   * back, else the vpic's, else the vlapic's if the processor priority lets it through. RFLAGS.IF and shadows are the caller's to look at;
   * so is an NMI, which goes before.
   */
  pendingVector(vcpu: Vcpu): number {
    const upcall = this.upcalls.standing(vcpu);
    if (upcall >= 0) return upcall;
    const apic = this.localApic(vcpu);
    if (apic.requests === 0) return -1;
    if (apic.external) return this.pic!.peek();
    // As in Xen, one that is disabled by software delivers nothing (vlapic_has_pending_irq).
    return apic.takesFixed ? apic.deliverable || -1 : -1;
  }
  /** INTA (hvm_vcpu_ack_pending_irq): the interrupt is delivered. -1: there is none any more. */
  acknowledge(vcpu: Vcpu): number {
    const upcall = this.upcalls.standing(vcpu);
    if (upcall >= 0) return upcall;
    return this.pendingVector(vcpu) < 0 ? -1 : this.localApic(vcpu).acknowledge();
  }
  /** The highest vector that the vlapic has been asked for, whatever the priority, 0 for none: for TPR thresholds and V_TPR. */
  highestRequest(vcpu: Vcpu): number {
    const apic = this.localApic(vcpu);
    return apic.isEnabled ? apic.highestRequest : 0;
  }
  /** An NMI waits; the caller takes it with localApic(vcpu).acknowledgeNmi(). */
  isNmiPending(vcpu: Vcpu): boolean {
    return this.localApic(vcpu).state.nmi;
  }
  injectNmi(vcpu: Vcpu): void {
    this.localApic(vcpu).accept({ destination: 0, logical: false, delivery: DELIVERY.nmi, vector: 2, level: false });
  }

  /** PlatformOptions.tscOffset gives something else for a vCPU from now on: its TSC deadline is another moment. */
  tscOffsetChanged(vcpu: Vcpu): void {
    const { timer } = this.localApic(vcpu);
    if (timer.deadline !== 0) timer.setDeadline(timer.deadline);
  }

  // ------------------------------------------------------------------ lines and messages of devices

  /** See InterruptLines; 0 or -XEN_EINVAL. */
  setGsi(gsi: number, level: boolean): number {
    return this.lines.setGsi(gsi, level);
  }
  setIsaIrq(irq: number, level: boolean): number {
    return this.lines.setIsa(irq, level);
  }
  setPciIntx(device: number, intx: number, level: boolean): number {
    return this.lines.setPciIntx(device, intx, level);
  }
  setPciLinkRoute(link: number, irq: number): number {
    return this.lines.setLinkRoute(link, irq);
  }
  /**
   * XEN_DMOP_inject_msi (vmsi_deliver): fixed and lowest-priority messages only. 0, or -XEN_EINVAL for another delivery mode, a vector
   * below 16 (vector 0 would name a PIRQ, of which a domain has none here) or a destination that nobody has.
   */
  injectMsi(address: number, data: number): number {
    const m = msiMessage(address, data);
    if ((m.delivery !== DELIVERY.fixed && m.delivery !== DELIVERY.lowest) || m.vector < 0x10) return -XEN_EINVAL;
    return this.vlapics.send(m) ? 0 : -XEN_EINVAL;
  }

  // ------------------------------------------------------------------ event channels

  /** HvmHooks.setCallbackVia: HVM_PARAM_CALLBACK_IRQ was set. */
  setCallbackVia(via: CallbackVia): void {
    this.upcalls.setVia(via);
  }
  /** HvmHooks.assertEvtchnIrq: evtchn_upcall_pending of a vCPU was set, or HVMOP_set_evtchn_upcall_vector gave it a vector. */
  upcallPendingChanged(vcpu: Vcpu): void {
    this.upcalls.pendingChanged(vcpu);
  }
  /** To be called at each VM exit: the guest may have cleared evtchn_upcall_pending of vCPU 0. */
  vmexit(): void {
    this.upcalls.deassertIfTaken();
  }

  // ------------------------------------------------------------------ life of the domain

  /** A paused domain, or one that has shut down, has no timer set: it would keep an idle machine awake. */
  private stopOrGo(): void {
    if (this.domain.isStopped || this.isDead) this.clock.freeze();
    else this.clock.thaw();
  }
  /** The domain is being destroyed: nothing of it comes due any more. */
  freeze(): void {
    this.isDead = true;
    this.stopOrGo();
  }
  /** Domain.timeOffsetSeconds has changed (XEN_DOMCTL_settimeoffset). */
  timeOffsetChanged(): void {
    this.rtc?.setEpoch(this.date);
  }
  /** The domain's date, seconds since 1970. */
  private get date(): number {
    const { sec, nsec } = this.hv.wallclock;
    return sec + this.domain.timeOffsetSeconds + (nsec + this.clock.now) / 1e9;
  }
}
