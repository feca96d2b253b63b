// The interrupt lines of a domain (xen/arch/x86/hvm/irq.c): GSIs of the vioapic, ISA lines of the vpic, and PCI INTx wires, which come in
// twice, at a GSI of their own and over the PIIX3's links at an ISA line. A line is up while at least one source holds it up.

import { XEN_EINVAL } from '@ringworld/abi';
import type { IoApic } from '../../machine/devices/ioapic.ts';
import type { PicPair } from '../../machine/devices/pic.ts';

/** VIOAPIC_NUM_PINS: 16 ISA lines, 32 that PCI devices have to themselves. */
export const NR_GSIS = 48;
export const NR_ISA_IRQS = 16;
const NR_LINKS = 4;

/** hvm_isa_irq_to_gsi: the timer is at pin 2 of an I/O APIC. */
export const isaIrqToGsi = (irq: number): number => (irq === 0 ? 2 : irq);
/** hvm_pci_intx_gsi and hvm_pci_intx_link: device 0 to 31, INTA to INTD as 0 to 3. The DSDT's _PRT says the same. */
export const pciIntxGsi = (device: number, intx: number): number => ((device * 4 + (device >>> 3) + intx) & 31) + NR_ISA_IRQS;
export const pciIntxLink = (device: number, intx: number): number => (device + intx) & (NR_LINKS - 1);

export interface LineSinks {
  readonly ioapic: IoApic | undefined;
  readonly pic: PicPair | undefined;
}

/** Plain data. */
export interface LinesState {
  /** How many sources hold a GSI up. ISA lines are counted at their GSI, as Xen does. */
  gsi: number[];
  /** Sources that are up: one bit each. */
  isa: number;
  /** 128 bits, device * 4 + intx. */
  pciIntx: number[];
  /** GSIs that somebody drives directly (setGsi). */
  direct: number[];
  /** Pins that the vhpet holds up: one bit each, all below 32. */
  hpet: number;
  /** How many INTx wires hold a link up, and the ISA line that it leads to; 0 for none. */
  links: number[];
  routes: number[];
}

const testAndSet = (words: number[], bit: number, on: boolean): boolean => {
  const i = bit >>> 5;
  const mask = 1 << (bit & 31);
  const was = (words[i]! & mask) !== 0;
  words[i] = on ? words[i]! | mask : words[i]! & ~mask;
  return was;
};

export class InterruptLines {
  state: LinesState = {
    gsi: new Array<number>(NR_GSIS).fill(0),
    isa: 0,
    pciIntx: new Array<number>(4).fill(0),
    direct: new Array<number>(2).fill(0),
    hpet: 0,
    links: new Array<number>(NR_LINKS).fill(0),
    routes: new Array<number>(NR_LINKS).fill(0),
  };
  private readonly sinks: LineSinks;

  constructor(sinks: LineSinks) {
    this.sinks = sinks;
  }

  /**
   * A line that is held by nobody in particular (hvm_gsi_assert and _deassert): GSIs below 16 reach the vpic too, GSI 2 as its line 0.
   * 0, or -XEN_EINVAL for a GSI that there is not.
   */
  setGsi(gsi: number, level: boolean): number {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= NR_GSIS) return -XEN_EINVAL;
    if (testAndSet(this.state.direct, gsi, level) !== level) this.hold(gsi, gsi === 2 ? 0 : gsi, level);
    return 0;
  }

  /** XEN_DMOP_set_isa_irq_level. 0, or -XEN_EINVAL for a line above 15. */
  setIsa(irq: number, level: boolean): number {
    if (!Number.isInteger(irq) || irq < 0 || irq >= NR_ISA_IRQS) return -XEN_EINVAL;
    const s = this.state;
    const bit = 1 << irq;
    if (((s.isa & bit) !== 0) === level) return 0;
    s.isa ^= bit;
    this.hold(isaIrqToGsi(irq), irq, level);
    return 0;
  }

  /** XEN_DMOP_set_pci_intx_level: device 0 to 31, intx 0 to 3 for INTA to INTD. 0, or -XEN_EINVAL. */
  setPciIntx(device: number, intx: number, level: boolean): number {
    if (!Number.isInteger(device) || device < 0 || device > 31 || !Number.isInteger(intx) || intx < 0 || intx > 3) return -XEN_EINVAL;
    const s = this.state;
    if (testAndSet(s.pciIntx, device * 4 + intx, level) === level) return 0;
    // The vpic has no part in these: its lines come over the links.
    this.hold(pciIntxGsi(device, intx), NR_ISA_IRQS, level);
    const link = pciIntxLink(device, intx);
    const count = s.links[link]! + (level ? 1 : -1);
    s.links[link] = count;
    const irq = s.routes[link]!;
    if (irq !== 0 && (level ? count === 1 : count === 0)) this.hold(irq, irq, level);
    return 0;
  }

  /** A timer of the vhpet at a pin of the vioapic below 32. The vpic does not have it. */
  setHpet(pin: number, level: boolean): void {
    const s = this.state;
    if (((s.hpet & (1 << pin)) !== 0) === level) return;
    s.hpet ^= 1 << pin;
    this.hold(pin, NR_ISA_IRQS, level);
  }

  /** XEN_DMOP_set_pci_link_route, as PIRQRC of the PIIX3 was written: link 0 to 3, ISA line 1 to 15 or 0 for none. 0, or -XEN_EINVAL. */
  setLinkRoute(link: number, irq: number): number {
    const s = this.state;
    if (!(link in s.routes) || !Number.isInteger(irq) || irq < 0 || irq >= NR_ISA_IRQS) return -XEN_EINVAL;
    const old = s.routes[link]!;
    if (old === irq) return 0;
    s.routes[link] = irq;
    if (s.links[link] === 0) return 0;
    if (old !== 0) this.hold(old, old, false);
    if (irq !== 0) this.hold(irq, irq, true);
    return 0;
  }

  /** One source more or fewer for a GSI; `irq` is the line of the vpic, none when it is 16 or more. */
  hold(gsi: number, irq: number, level: boolean): void {
    const s = this.state;
    const count = s.gsi[gsi]! + (level ? 1 : -1);
    s.gsi[gsi] = count;
    if (level ? count !== 1 : count !== 0) return;
    this.sinks.ioapic?.setLine(gsi, level);
    if (irq < NR_ISA_IRQS && irq !== 2) this.sinks.pic?.setLine(irq, level);
  }
}
