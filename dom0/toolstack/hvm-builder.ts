// Builds an HVM domain that its firmware boots, in two steps (libxl__build_hvm, and what hvmloader does later): first the domain with its memory and
// special pages; then, when its device model has put devices there (devicemodel/), the firmware, which programs them.
import {
  type Domid,
  type EvtchnPort,
  HVM_BELOW_4G_MMIO_START,
  HVM_PARAM_ACPI_IOPORTS_LOCATION,
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_HPET_ENABLED,
  HVM_PARAM_STORE_EVTCHN,
  mfn,
  XEN_DOMCTL_destroydomain,
  XEN_EOPNOTSUPP,
  XEN_X86_EMU_ALL,
  XEN_X86_EMU_USE_PIRQ,
  XEN_X86_EMU_VPCI,
} from '@ringworld/abi';
import { HypercallError } from '../kernel/hypercall.ts';
import type { Privcmd } from '../kernel/privcmd.ts';
import { allocChannel, type DomainLimits } from './domain-builder.ts';
import { DomainBuildError } from './errors.ts';
import { realModeRegisters } from './hvm-devices.ts';
import {
  createHvmDomain,
  placeSpecialPages,
  populateRange,
  type RamLayout,
  ramLayout,
  seedHvmGrants,
  setBootRegisters,
  setHvmLimits,
  setHvmParam,
  specialGfn,
  writeGuest,
} from './hvm-domain.ts';
import type { PciAccess } from './hvm-firmware-pci.ts';
import { type FirmwareConfig, type FirmwareFiles, type LoadedFirmware, loadFirmware } from './hvm-loader.ts';
import { PAGE_SIZE } from './virtual.ts';

export interface HvmDomainSpec extends DomainLimits {
  /** null: hardware-assisted paging where the machine has it. */
  readonly hap: boolean | null;
  readonly outOfSync: boolean;
  readonly hpet: boolean;
  readonly consoleDomid?: Domid;
  readonly storeDomid?: Domid;
}

export interface BuiltHvmDomain {
  readonly domid: Domid;
  readonly ram: RamLayout;
  readonly console: { readonly mfn: ReturnType<typeof mfn>; readonly port: EvtchnPort };
  readonly store: { readonly mfn: ReturnType<typeof mfn>; readonly port: EvtchnPort };
}

/** What libxl asks for (libxl__arch_domain_prepare_config). */
const EMULATION = XEN_X86_EMU_ALL & ~(XEN_X86_EMU_VPCI | XEN_X86_EMU_USE_PIRQ);
/** The VGA's window is no memory (meminit_hvm). */
const VGA_HOLE = { first: 0xa0, end: 0xc0 } as const;
const FRAMES_4G = 0x10_0000;

/** Throws DomainBuildError; a domain that was begun is then destroyed again. It is left paused, and has nothing to run yet. */
export function buildHvmDomain(privcmd: Privcmd, spec: HvmDomainSpec): BuiltHvmDomain {
  const attempt = <T>(what: string, step: () => T): T => {
    try {
      return step();
    } catch (e) {
      if (!(e instanceof HypercallError)) throw e;
      const why = e.errno === XEN_EOPNOTSUPP ? 'the processor does not have the hardware virtualization asked for' : e.message;
      throw new DomainBuildError('type="hvm"', `${what}: ${why}`, { cause: e });
    }
  };
  const kind = { type: 'hvm', hap: spec.hap, outOfSync: spec.outOfSync, emulationFlags: EMULATION } as const;
  const dom = attempt('the domain could not be created', () => createHvmDomain(privcmd, spec, kind));
  try {
    return attempt('the domain could not be built', () => fill(privcmd, dom, spec));
  } catch (e) {
    privcmd.domctl(XEN_DOMCTL_destroydomain, dom);
    throw e;
  }
}

function fill(privcmd: Privcmd, dom: Domid, spec: HvmDomainSpec): BuiltHvmDomain {
  setHvmLimits(privcmd, dom, spec);
  const store = allocChannel(privcmd, dom, spec.storeDomid);
  const console = allocChannel(privcmd, dom, spec.consoleDomid);
  const ram = ramLayout(spec.memoryMiB, HVM_BELOW_4G_MMIO_START);
  populateRange(privcmd, dom, 0, VGA_HOLE.first);
  populateRange(privcmd, dom, VGA_HOLE.end, ram.lowEnd - VGA_HOLE.end);
  if (ram.highEnd > FRAMES_4G) populateRange(privcmd, dom, FRAMES_4G, ram.highEnd - FRAMES_4G);
  // The device model acquires its pages as a resource: none are set aside in the guest.
  placeSpecialPages(privcmd, dom, false);
  setHvmParam(privcmd, dom, HVM_PARAM_STORE_EVTCHN, store);
  setHvmParam(privcmd, dom, HVM_PARAM_CONSOLE_EVTCHN, console);
  setHvmParam(privcmd, dom, HVM_PARAM_HPET_ENABLED, spec.hpet ? 1 : 0);
  // The places of the ports of power management that the ACPI tables name.
  setHvmParam(privcmd, dom, HVM_PARAM_ACPI_IOPORTS_LOCATION, 1);
  seedHvmGrants(privcmd, dom, { console: spec.consoleDomid ?? (0 as Domid), store: spec.storeDomid ?? (0 as Domid) });
  return {
    domid: dom,
    ram,
    console: { mfn: mfn(specialGfn('console')), port: console },
    store: { mfn: mfn(specialGfn('xenstore')), port: store },
  };
}

/** Bytes of RAM below the hole and above 4 GiB. */
export const ramBytes = (ram: RamLayout): { readonly ramBelow4G: number; readonly ramAbove4G: number } => ({
  ramBelow4G: ram.lowEnd * PAGE_SIZE,
  ramAbove4G: (ram.highEnd - FRAMES_4G) * PAGE_SIZE,
});

/** The second step: firmware and tables into memory, the PCI bus programmed, vCPU 0 at the firmware's start. Throws DomainBuildError. */
export function installFirmware(
  privcmd: Privcmd,
  dom: Domid,
  config: FirmwareConfig,
  files: FirmwareFiles,
  pci: PciAccess,
): LoadedFirmware {
  const firmware = loadFirmware(config, files, (at, bytes) => writeGuest(privcmd, dom, at, bytes), pci);
  setBootRegisters(privcmd, dom, realModeRegisters(firmware.entry));
  return firmware;
}
