// The DSDT: PCI root bridge, the PIIX3's interrupt routing, and the devices that cannot be found by probing.
//
// Routing: pin p of the device in slot s is wired to PIRQ (s - 1 + p) mod 4, as on the PIIX3 boards that QEMU models. A PIRQ leads to the ISA
// interrupt that its register in the bridge's configuration space (0x60 to 0x63) names, on the 8259s and on the I/O APIC alike.

import { APM_CNT, GPE0_BASE, GPE0_LENGTH, PM_BASE, PM_LENGTH, SLP_TYP } from './acpi-power.ts';
import {
  type Aml,
  and,
  arg,
  byteFields,
  call,
  device,
  dwordField,
  eisaId,
  give,
  iff,
  integer,
  method,
  name,
  not,
  or,
  pack,
  REGION,
  ref,
  region,
  scope,
  store,
  string,
} from './acpi-tables-aml.ts';
import {
  busWindow,
  type Descriptor,
  INTERRUPT_OFFSET,
  interrupts,
  io,
  ioWindow,
  irq,
  memory32,
  memoryWindow,
  resources,
} from './acpi-tables-resources.ts';
import { HPET_BASE } from './hpet.ts';

/** What the tables say of a machine. */
export interface AcpiConfig {
  /** Local APIC identifiers, in the order of the ACPI processor numbers. */
  apicIds: readonly number[];
  ioapicId: number;
  /** First address of the PCI memory window, which ends below the I/O APIC: usually where RAM below 4 GiB ends. */
  pciHole: number;
  serialPorts?: number;
  pmTimerBits?: 24 | 32;
  /** Where the power management block lies; the bare PC's place unless told. */
  pmBase?: number;
  /** Pin p (from 0) of slot s is wired to link (s + linkOffset + p) mod 4: 3 on QEMU's boards unless told, 0 under Xen (hvm_pci_intx_link). */
  linkOffset?: number;
  /** There is no HPET. */
  withoutHpet?: boolean;
  /** Show fw_cfg to the OS. */
  fwCfg?: boolean;
}

/** Slot of the PIIX3; its function 3 is the power management function. */
const PIIX_SLOT = 1;
/** ISA interrupts that a PIRQ may be routed to; SeaBIOS uses 10 and 11. */
const PIRQ_CHOICES = [5, 10, 11];
const SCI = 9;
/** The routing register's bit for "not connected". */
const DISABLED = 0x80;
/** _STA: present, decoding, shown, working; and the same with decoding off. */
const STA_ON = 0x0b;
const STA_OFF = 0x09;
const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'];
const register = (link: number): string => `\\_SB.PCI0.ISA.PRQ${link}`;

function routing(linkOffset: number): Aml {
  const entries: Aml[] = [];
  for (let slot = 0; slot < 32; slot++)
    for (let pin = 0; pin < 4; pin++) {
      const address = integer(slot * 0x1_0000 + 0xffff);
      // The power management function does not go through a PIRQ: its interrupt is the SCI.
      const isSci = slot === PIIX_SLOT && pin === 0;
      const link = LINKS[(slot + linkOffset + pin) % 4]!;
      entries.push(pack(address, integer(pin), ...(isSci ? [integer(0), integer(SCI)] : [ref(`\\_SB.${link}`), integer(0)])));
    }
  return pack(...entries);
}

function link(index: number): Aml {
  return device(
    LINKS[index]!,
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(index)),
    name('_PRS', resources(interrupts(...PIRQ_CHOICES))),
    method('_STA', 0, false, give(call('\\_SB.IQST', ref(register(index))))),
    method('_DIS', 0, false, or(ref(register(index)), integer(DISABLED), ref(register(index)))),
    method('_CRS', 0, false, give(call('\\_SB.IQCR', ref(register(index))))),
    method('_SRS', 1, false, dwordField(arg(0), INTERRUPT_OFFSET, 'PRRI'), store(ref('PRRI'), ref(register(index)))),
  );
}

/** What the four links share: status and current interrupt of a routing register. */
const linkMethods: Aml[] = [
  method('IQST', 1, false, iff(and(arg(0), integer(DISABLED)), give(integer(STA_OFF))), give(integer(STA_ON))),
  method(
    'IQCR',
    1,
    true,
    name('PRR0', resources(interrupts(0))),
    dwordField(ref('PRR0'), INTERRUPT_OFFSET, 'PRRI'),
    iff(not(and(arg(0), integer(DISABLED))), store(arg(0), ref('PRRI'))),
    give(ref('PRR0')),
  ),
];

function isaDevice(path: string, id: string, uid: number | undefined, ...descriptors: Descriptor[]): Aml {
  const unique = uid === undefined ? [] : [name('_UID', integer(uid))];
  return device(path, name('_HID', eisaId(id)), ...unique, name('_CRS', resources(...descriptors)));
}

const SERIAL = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
];

function isaBridge(config: AcpiConfig): Aml {
  const serial = SERIAL.slice(0, config.serialPorts ?? 1);
  return device(
    'ISA',
    name('_ADR', integer(PIIX_SLOT * 0x1_0000)),
    region('P40C', REGION.PCI_Config, 0x60, 4),
    byteFields(
      'P40C',
      LINKS.map((_, i) => `PRQ${i}`),
    ),
    isaDevice('RTC', 'PNP0B00', undefined, io(0x70, 8), irq(8)),
    isaDevice('KBD', 'PNP0303', undefined, io(0x60, 1), io(0x64, 1), irq(1)),
    isaDevice('MOU', 'PNP0F13', undefined, irq(12)),
    ...serial.map((s, i) => isaDevice(`COM${i + 1}`, 'PNP0501', i + 1, io(s.base, 8), irq(s.irq))),
  );
}

function rootBridge(config: AcpiConfig): Aml {
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resources(
        busWindow(0, 0xff),
        io(0xcf8, 8),
        ioWindow(0, 0xcf7),
        ioWindow(0xd00, 0xffff),
        memoryWindow(0xa_0000, 0xb_ffff, true),
        memoryWindow(config.pciHole, 0xfebf_ffff, false),
      ),
    ),
    name('_PRT', routing(config.linkOffset ?? 3)),
    isaBridge(config),
  );
}

function cpu(uid: number): Aml {
  return device(`C${uid.toString(16).toUpperCase().padStart(3, '0')}`, name('_HID', string('ACPI0007')), name('_UID', integer(uid)));
}

/** Ports of the chipset that no driver owns. */
const chipsetPorts = (config: AcpiConfig): Descriptor[] => [
  io(config.pmBase ?? PM_BASE, PM_LENGTH),
  io(GPE0_BASE, GPE0_LENGTH),
  io(APM_CNT, 2),
];

const hpet = device(
  'HPET',
  name('_HID', eisaId('PNP0103')),
  name('_UID', integer(0)),
  name('_CRS', resources(memory32(HPET_BASE, 0x400, false))),
);

/** The definition block's terms, without the table header. */
export function dsdtTerms(config: AcpiConfig): Aml {
  const fwCfg = config.fwCfg
    ? [device('FWCF', name('_HID', string('QEMU0002')), name('_STA', integer(STA_ON)), name('_CRS', resources(io(0x510, 0x0c))))]
    : [];
  return [
    ...scope(
      '\\_SB',
      rootBridge(config),
      ...linkMethods,
      ...LINKS.map((_, i) => link(i)),
      ...(config.withoutHpet ? [] : [hpet]),
      isaDevice('SYSR', 'PNP0C02', 1, ...chipsetPorts(config)),
      ...config.apicIds.map((_, uid) => cpu(uid)),
      ...fwCfg,
    ),
    ...name('\\_S5', pack(integer(SLP_TYP.S5), integer(SLP_TYP.S5), integer(0), integer(0))),
  ];
}
