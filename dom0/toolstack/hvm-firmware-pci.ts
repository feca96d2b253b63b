// What hvmloader does to the PCI bus before the BIOS runs (Xen's tools/firmware/hvmloader/pci.c): SeaBIOS on Xen expects base addresses, interrupt
// lines and the link routing to be there.

/** Configuration accesses to bus 0; `devfn` is slot * 8 + function. Reads of functions that are not there give ones. */
export interface PciAccess {
  read(devfn: number, at: number, size: number): number;
  write(devfn: number, at: number, size: number, value: number): void;
}

/** Where BARs are put: hvmloader's config.h. Ends are not inside. */
export const PCI_MEMORY = { start: 0xf000_0000, end: 0xfc00_0000 } as const;
export const PCI_IO = { start: 0xc000, end: 0x1_0000 } as const;
const ISA_BRIDGE = 1 << 3;
/** ISA interrupts that PCI links lead to, in the order of the links (PCI_ISA_IRQ_MASK, 0x0c20). */
export const LINK_IRQS = [5, 10, 11, 5] as const;
/** ELCR: those are level-triggered. */
export const ELCR = 0x0c20;
const PM_BASE = 0xb000;
const SCI = 9;

const REG = {
  id: 0x00,
  command: 0x04,
  class: 0x0a,
  bar0: 0x10,
  rom: 0x30,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
  pirqRoute: 0x60,
} as const;
const COMMAND = { io: 1, memory: 2, master: 4 } as const;
const CLASS = { vga: 0x0300, ide: 0x0101, bridgeOther: 0x0680 } as const;
const BAR_IO = 1;
const NOBODY = 0xffff_ffff;

export interface BarAssignment {
  readonly devfn: number;
  readonly register: number;
  readonly kind: 'io' | 'memory';
  readonly base: number;
  readonly size: number;
}

interface Bar {
  readonly devfn: number;
  readonly register: number;
  readonly kind: 'io' | 'memory';
  readonly size: number;
  /** The bits that are no address. */
  readonly flags: number;
}

/** Programs all functions; returns where each BAR went, those without room left out. */
export function setUpPci(pci: PciAccess): BarAssignment[] {
  LINK_IRQS.forEach((irq, link) => {
    pci.write(ISA_BRIDGE, REG.pirqRoute + link, 1, irq);
  });
  const found: number[] = [];
  for (let devfn = 0; devfn < 256; devfn++) if (pci.read(devfn, REG.id, 4) !== NOBODY) found.push(devfn);
  // Sized while nothing decodes, or a BAR would appear at places on its way.
  for (const devfn of found) {
    prepare(pci, devfn);
    pci.write(devfn, REG.command, 2, pci.read(devfn, REG.command, 2) & ~(COMMAND.io | COMMAND.memory));
  }
  const bars = found.flatMap((devfn) => barsOf(pci, devfn));
  const assigned = assign(bars);
  for (const a of assigned) {
    const { flags } = bars.find((b) => b.devfn === a.devfn && b.register === a.register)!;
    pci.write(a.devfn, a.register, 4, (a.base | flags) >>> 0);
  }
  for (const devfn of found) {
    routePin(pci, devfn);
    let command: number = COMMAND.master;
    for (const a of assigned) if (a.devfn === devfn) command |= COMMAND[a.kind];
    // The VGA's own ports are no BAR.
    if (pci.read(devfn, REG.class, 2) === CLASS.vga) command |= COMMAND.io;
    pci.write(devfn, REG.command, 2, pci.read(devfn, REG.command, 2) | command);
  }
  return assigned;
}

/** Functions with registers of their own. */
function prepare(pci: PciAccess, devfn: number): void {
  const isIntel = pci.read(devfn, 0, 2) === 0x8086;
  switch (pci.read(devfn, REG.class, 2)) {
    case CLASS.bridgeOther:
      // PIIX4: no SMBus, the SCI, and the power management block.
      pci.write(devfn, 0xd2, 2, 0);
      pci.write(devfn, REG.interruptLine, 1, SCI);
      pci.write(devfn, 0x40, 4, PM_BASE | 1);
      pci.write(devfn, 0x80, 1, 1);
      return;
    case CLASS.ide:
      // Both channels decode the PC's own ports.
      if (!isIntel) return;
      pci.write(devfn, 0x40, 2, 0x8000);
      pci.write(devfn, 0x42, 2, 0x8000);
  }
}

function barsOf(pci: PciAccess, devfn: number): Bar[] {
  const bars: Bar[] = [];
  for (let i = 0; i < 7; i++) {
    const isRom = i === 6;
    const register = isRom ? REG.rom : REG.bar0 + 4 * i;
    const before = pci.read(devfn, register, 4);
    // A ROM's lowest bit switches it on: it stays off.
    pci.write(devfn, register, 4, isRom ? 0xffff_f800 : 0xffff_ffff);
    const probed = pci.read(devfn, register, 4);
    pci.write(devfn, register, 4, before);
    const isIo = !isRom && (probed & BAR_IO) !== 0;
    const mask = isRom ? 0xffff_f800 : isIo ? 0xfffc : 0xffff_fff0;
    const size = lowestBit((probed & mask) >>> 0);
    if (size > 0) bars.push({ devfn, register, kind: isIo ? 'io' : 'memory', size, flags: isRom ? 0 : isIo ? probed & 3 : probed & 15 });
  }
  return bars;
}
const lowestBit = (v: number): number => (v & -v) >>> 0;

/** The largest first: then each lies on a multiple of its size without gaps. */
function assign(bars: readonly Bar[]): BarAssignment[] {
  const next: Record<Bar['kind'], number> = { io: PCI_IO.start, memory: PCI_MEMORY.start };
  const end: Record<Bar['kind'], number> = { io: PCI_IO.end, memory: PCI_MEMORY.end };
  const assigned: BarAssignment[] = [];
  // sort() is stable: equal ones stay in the order of the bus.
  for (const { devfn, register, kind, size } of [...bars].sort((a, b) => b.size - a.size)) {
    const base = Math.ceil(next[kind] / size) * size;
    if (base + size > end[kind]) continue;
    next[kind] = base + size;
    assigned.push({ devfn, register, kind, base, size });
  }
  return assigned;
}

/** The barber's pole of Xen (hvm_pci_intx_link). */
function routePin(pci: PciAccess, devfn: number): void {
  const pin = pci.read(devfn, REG.interruptPin, 1);
  if (pin === 0 || pci.read(devfn, REG.class, 2) === CLASS.bridgeOther) return;
  pci.write(devfn, REG.interruptLine, 1, pci.read(ISA_BRIDGE, REG.pirqRoute + ((pin - 1 + (devfn >>> 3)) & 3), 1));
}
