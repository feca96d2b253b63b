// What the platform's specs share: a platform on a hypervisor whose time the spec moves, and a guest that is nothing but accesses to registers.
// Not part of the product.

import { unpauseDomain } from '../../core/domain-shutdown.ts';
import { HvmVcpuState } from '../../core/hvm-domain.ts';
import type { Hypervisor } from '../../core/hypervisor.ts';
import { setUpcallPending } from '../../core/shared-info.ts';
import { createBench, createTestDomain } from '../../core/testing.ts';
import type { Vcpu } from '../../core/vcpu.ts';
import { APIC } from '../../machine/devices/lapic.ts';
import { createPlatform, HVM_EMULATION, type Platform, type PlatformOptions } from './index.ts';

export const APIC_PAGE = 0xfee0_0000;
export const IOAPIC_PAGE = 0xfec0_0000;
export const HPET_PAGE = 0xfed0_0000;
export const MSR_APIC_BASE = 0x1b;
export const MSR_TSC_DEADLINE = 0x6e0;

export interface Rig {
  readonly hv: Hypervisor;
  readonly platform: Platform;
  readonly vcpus: readonly Vcpu[];
  /** The first vCPU. */
  readonly v: Vcpu;
  /** Virtual cycles at which a vCPU was kicked, by vCPU id. */
  readonly kicks: number[][];
  /** INIT and start-up IPIs, and what was written to SLP_TYP. */
  readonly events: string[];
  /** Lets virtual time pass up to `ns` of system time. */
  runTo(ns: number): void;
  out(port: number, value: number, size?: number): void;
  /** Undefined where the device model is to answer. */
  in(port: number, size?: number): number | undefined;
  apic(register: number, value: number, vcpu?: Vcpu): void;
  apicRead(register: number, vcpu?: Vcpu): number;
  /** A redirection entry of the vioapic: its low half, and the APIC ID that it leads to. */
  ioapic(pin: number, low: number, destination?: number): void;
  eoi(vcpu?: Vcpu): void;
  setUpcallPending(pending: boolean, vcpu?: Vcpu): void;
}

export function createRig(options: Partial<PlatformOptions> & { vcpus?: number; bootEpoch?: number } = {}): Rig {
  const { vcpus: count = 1, bootEpoch, ...rest } = options;
  const { hv } = createBench(bootEpoch === undefined ? {} : { bootEpoch });
  const { domain } = createTestDomain(hv, { vcpus: count });
  const kicks: number[][] = domain.vcpus.map(() => []);
  const events: string[] = [];
  for (const vcpu of domain.vcpus) {
    vcpu.hvm = new HvmVcpuState();
    vcpu.isDown = false;
  }
  hv.kick = (vcpu) => kicks[vcpu.id]?.push(hv.cycles());
  const platform = createPlatform(hv, domain, {
    emulation: HVM_EMULATION,
    hooks: {
      onInit: (vcpu) => events.push(`init ${vcpu.id}`),
      onStartup: (vcpu, vector) => events.push(`startup ${vcpu.id} ${vector.toString(16)}`),
    },
    ...rest,
  });
  unpauseDomain(hv, domain);
  const v = domain.vcpus[0]!;
  const rig: Rig = {
    hv,
    platform,
    vcpus: domain.vcpus,
    v,
    kicks,
    events,
    runTo: (ns) => {
      hv.run({ untilCycles: hv.clock.toCycles(ns), timePasses: true });
    },
    out: (port, value, size = 1) => {
      platform.portIo(v, port, size, false, value);
    },
    in: (port, size = 1) => platform.portIo(v, port, size, true, 0),
    apic: (register, value, vcpu = v) => {
      platform.mmioWrite(vcpu, APIC_PAGE + 16 * register, 4, value);
    },
    apicRead: (register, vcpu = v) => platform.mmioRead(vcpu, APIC_PAGE + 16 * register, 4)!,
    ioapic: (pin, low, destination = 0) => {
      for (const [register, value] of [
        [0x11 + 2 * pin, destination * 2 ** 24],
        [0x10 + 2 * pin, low],
      ] as const) {
        platform.mmioWrite(v, IOAPIC_PAGE, 4, register);
        platform.mmioWrite(v, IOAPIC_PAGE + 0x10, 4, value);
      }
    },
    eoi: (vcpu = v) => rig.apic(APIC.eoi, 0, vcpu),
    setUpcallPending: (pending, vcpu = v) => {
      setUpcallPending(vcpu, pending);
      if (pending) platform.upcallPendingChanged(vcpu);
    },
  };
  // As firmware leaves them: enabled by software.
  for (const vcpu of domain.vcpus) if (platform.localApic(vcpu)) rig.apic(APIC.svr, 0x1ff, vcpu);
  return rig;
}

/** Both 8259s as a PC's firmware or an OS sets them up: vectors 0x20 and 0x28 on, everything unmasked, let through at LINT0 of vCPU 0. */
export function startPics(rig: Rig): void {
  for (const [command, base, icw3] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ] as const) {
    rig.out(command, 0x11);
    for (const value of [base, icw3, 1, 0]) rig.out(command + 1, value);
  }
  rig.apic(APIC.lvtLint0, 7 << 8);
}
/** EOI of both 8259s. */
export function eoiPics(rig: Rig): void {
  rig.out(0xa0, 0x20);
  rig.out(0x20, 0x20);
}
