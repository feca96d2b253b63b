// The virtual local APICs of a domain and the messages between them (xen/arch/x86/hvm/vlapic.c, vmsi.c).

import type { Hypervisor } from '../../core/hypervisor.ts';
import type { Vcpu } from '../../core/vcpu.ts';
import { deliverMessage } from '../../machine/devices/apic-delivery.ts';
import type { ApicMessage } from '../../machine/devices/apic-message.ts';
import { Lapic } from '../../machine/devices/lapic.ts';
import { type DomainClock, VcpuClock } from './clock.ts';
import { type PlatformOptions, vcpuApicId } from './options.ts';

/** APIC_BUS_CYCLE_NS is 10: the timer's clock, which CPUID does not tell of and guests measure. */
const BUS_HZ = 100e6;
const PHYSICAL_BITS = 48;

/** The other devices, as a local APIC sees them. */
export interface VlapicWiring {
  /** INTA of the vpic. */
  acknowledgeExternal(): number;
  /** The vioapic lets the vpic through to the local APIC of this ID. */
  isExternalRouted(apicId: number): boolean;
  /** EOI of a level-triggered vector, for the vioapic. */
  eoi(vector: number): void;
}

export class Vlapics {
  /** By vCPU id. */
  readonly all: Lapic[] = [];
  private readonly hv: Hypervisor;
  private readonly clock: DomainClock;
  private readonly options: PlatformOptions;
  private readonly wiring: VlapicWiring;

  constructor(hv: Hypervisor, clock: DomainClock, options: PlatformOptions, wiring: VlapicWiring) {
    this.hv = hv;
    this.clock = clock;
    this.options = options;
    this.wiring = wiring;
  }

  /** In the order of vCPU ids. `external`: the level of the vpic's INT. */
  add(vcpu: Vcpu, external: boolean): void {
    const { hv, clock, options, wiring } = this;
    const { hooks, tscOffset, hasX2apic = true, hasTscDeadline = true } = options;
    const apic: Lapic = new Lapic({
      id: vcpuApicId(vcpu.id),
      isBsp: vcpu.id === 0,
      clock: new VcpuClock(hv, clock),
      timerRatio: hv.clock.tscHz / BUS_HZ,
      tscOffset: () => tscOffset?.(vcpu) ?? 0,
      hasFeature: (name) => (name === 'x2apic' ? hasX2apic : hasTscDeadline),
      physicalBits: options.physicalBits ?? PHYSICAL_BITS,
      send: (m) => this.send(m),
      broadcast: (m, except) => {
        for (const a of this.all) if (a !== except) a.accept(m);
      },
      eoi: wiring.eoi,
      acknowledgeExternal: wiring.acknowledgeExternal,
      isExternalRouted: () => wiring.isExternalRouted(apic.state.id),
      // "Nothing to do if the VCPU is already reset": its kernel may have set its upcall vector already (vlapic_init_sipi_action).
      isReset: () => !vcpu.isInitialised,
      init: () => hooks.onInit(vcpu),
      startup: (vector) => hooks.onStartup(vcpu, vector),
      wake: () => hv.kick(vcpu),
    });
    this.all[vcpu.id] = apic;
    apic.setLint(0, external);
  }

  /** False when nobody was addressed. */
  send(m: ApicMessage): boolean {
    return deliverMessage(this.all, m);
  }

  /** The vpic's INT goes to LINT0 of every vCPU; which one listens is for its LVT to say. */
  external(level: boolean): void {
    for (const a of this.all) a.setLint(0, level);
  }
}
