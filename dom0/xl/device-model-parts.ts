// The devices of an HVM domain's PC, from the machine's, wired to the device model's board: QEMU's xenfv machine, as far as a guest sees it.
// Slot 0 the i440FX, slot 1 the PIIX3 with IDE (1.1) and the PIIX4's power management (1.3), slot 2 the Xen platform device (added by the device
// model), slot 3 the VGA, network cards from slot 4 on.
//
// What Xen emulates itself is missing here, or is never asked: PICs, APICs, PIT, HPET, the clock below register 14, PM1a_EVT and the PM timer.
import {
  AcpiPower,
  AtaDisk,
  AtapiCdrom,
  BOCHS_DEBUG_PORT,
  type BootDevice,
  cmosBytes,
  createAcpiTables,
  createDebugPort,
  Dma8237,
  I440fx,
  IdeChannel,
  linkAcpi,
  type MemoryWindow,
  PC_CHANNELS,
  PciBus,
  PciFunction,
  Piix3,
  Piix3Ide,
  Piix4Pm,
  Ps2Controller,
  ResetControl,
  Rtc,
  Rtl8029,
  SEABIOS_DEBUG_PORT,
  Uart,
  Vga,
  VgaPci,
  vgaScreenText,
} from '@ringworld/hypervisor/machine';
import type { CreatePlatform, DmBoard, MemoryDevice, Platform, PlatformOptions } from '../devicemodel/board.ts';
import { acpiConfigOf } from '../toolstack/hvm-loader.ts';

const ISA_SLOT = 1;
const VGA_SLOT = 3;
const FIRST_NIC_SLOT = 4;
const SCI = 9;
const COM1 = 0x3f8;
const COM1_IRQ = 4;
/** The default videoram of xl with stdvga. */
const VIDEO_BYTES = 16 * 1024 * 1024;
/** The models' own time for a command; what the medium takes comes on top, from its latency model. */
const DRIVE_TIMING = { command: 5_000, perSector: 0 } as const;

const BOOT: Readonly<Record<string, BootDevice>> = { a: 'floppy', c: 'disk', d: 'cdrom', n: 'network' };

/** The ACPI tables of an HVM domain, for toolstack/hvm-loader.ts. */
export const hvmAcpi = (vcpus: number) => {
  const tables = createAcpiTables(acpiConfigOf(vcpus));
  return (at: number) => linkAcpi(tables, at);
};

/** Bytes as a device's memory: the frame buffer, the video BIOS. */
function linear(bytes: Uint8Array, isWritable: boolean): MemoryDevice {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    read: (at, size) => (size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true)),
    write: (at, size, value) => {
      if (!isWritable) return;
      if (size === 1) view.setUint8(at, value);
      else if (size === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
    },
  };
}

function window(board: DmBoard, bytes: Uint8Array, isWritable: boolean): MemoryWindow {
  const device = linear(bytes, isWritable);
  return {
    size: bytes.length,
    show: (base) => board.bus.attachMemory(base, bytes.length, device),
    hide: (base) => board.bus.detachMemory(base, bytes.length),
  };
}

/** An expansion ROM decodes a power of two. */
function romWindow(board: DmBoard, image: Uint8Array): MemoryWindow {
  const bytes = new Uint8Array(2 ** Math.ceil(Math.log2(Math.max(4096, image.length))));
  bytes.set(image);
  return window(board, bytes, false);
}

export const createPlatform: CreatePlatform = (board, options) => {
  const { bus } = board;
  const pci = new PciBus();
  pci.attach(bus);
  const ide = createDrives(board, options);
  const power = new AcpiPower({
    timeline: board.timeline,
    sci: board.isaIrq(SCI),
    timerBits: 32,
    powerOff: () => board.shutdown('poweroff'),
  });
  // All of guest memory below 1 MiB is RAM on Xen, whatever the PAM registers say; there is no SMRAM.
  pci.add(0, 0, new I440fx({ setShadow: () => {}, setSmram: () => {} }));
  // The interrupt lines of the slots go to Xen, which routes them: the bridge only says where to.
  pci.add(ISA_SLOT, 0, new Piix3([], (link, irq) => board.setPciLinkRoute(link, irq)));
  pci.add(ISA_SLOT, 1, new Piix3Ide(bus, ide.channels));
  pci.add(ISA_SLOT, 3, new Piix4Pm({ place: (base) => power.moveTo(base ?? 0) }));
  const vga = new Vga(board.timeline, new Uint8Array(VIDEO_BYTES));
  vga.attach(bus);
  const rom = options.videoBios && romWindow(board, options.videoBios);
  pci.add(VGA_SLOT, 0, new VgaPci(bus, vga, window(board, vga.video, true), rom));
  const nics = options.nics.map((nic, i) => {
    const card = new Rtl8029(bus, nic.mac, board.pciIntx(FIRST_NIC_SLOT + i, 1), nic.transmit);
    pci.add(FIRST_NIC_SLOT + i, 0, card);
    return card;
  });
  const others = createLegacy(board, options, power);

  return {
    pci: (slot, fn) => pci.at(slot, fn),
    addFunction: (slot, spec, bars) => pci.add(slot, 0, new PciFunction(spec, bars)),
    nics,
    typeSerial: (bytes) => others.com1?.receive(bytes) ?? bytes.length,
    key: (name, isDown) => others.ps2.keyboard.key(name, isDown),
    screenText: () => vgaScreenText(vga.state, vga.video),
    unplugDisks: (onlyAuxiliary) => ide.unplug(onlyAuxiliary),
    unplugNics: () => {
      for (let i = 0; i < nics.length; i++) {
        // BARs decode no more, and the slot is empty.
        nics[i]!.reset();
        pci.remove(FIRST_NIC_SLOT + i, 0);
      }
    },
    pressPowerButton: () => power.pressPowerButton(),
    reset: () => {
      pci.reset();
      vga.reset();
      others.reset();
    },
  } satisfies Platform;
};

function createDrives(board: DmBoard, options: PlatformOptions) {
  const channels = [
    new IdeChannel(board.dma, board.isaIrq(PC_CHANNELS[0].irq)),
    new IdeChannel(board.dma, board.isaIrq(PC_CHANNELS[1].irq)),
  ] as const;
  options.drives.forEach((drive, i) => {
    if (drive === undefined) return;
    // As QEMU names them: QM00001 is the primary master.
    const names = { model: drive.kind === 'disk' ? 'RINGWORLD HARDDISK' : 'RINGWORLD DVD-ROM', serial: `RW0000${i + 1}`, firmware: '1.0' };
    const unit =
      drive.kind === 'disk'
        ? new AtaDisk(board.timeline, drive.store, names, DRIVE_TIMING)
        : new AtapiCdrom(board.timeline, drive.store, names, DRIVE_TIMING);
    channels[i < 2 ? 0 : 1].attachDrive(i % 2 === 0 ? 0 : 1, unit);
  });
  return {
    channels,
    /** pci_xen_ide_unplug: CD drives stay. */
    unplug(onlyAuxiliary: boolean): void {
      options.drives.forEach((drive, i) => {
        if (drive?.kind === 'disk' && !(onlyAuxiliary && i === 0)) channels[i < 2 ? 0 : 1].detachDrive(i % 2 === 0 ? 0 : 1);
      });
    },
  };
}

/** What is not on PCI. */
function createLegacy(board: DmBoard, options: PlatformOptions, power: AcpiPower) {
  const { bus, timeline } = board;
  const boot = [...options.boot].map((letter) => BOOT[letter]).filter((d) => d !== undefined);
  const rtc = new Rtc({
    timeline,
    // The hypervisor's clock interrupts; this one only keeps bytes.
    irq8: () => {},
    epoch: options.epoch,
    cmos: cmosBytes({
      ramBelow4G: options.ramBelow4G,
      ramAbove4G: options.ramAbove4G,
      cpus: options.vcpus,
      ...(boot.length > 0 ? { bootOrder: boot } : {}),
    }),
  });
  const ps2 = new Ps2Controller({
    timeline,
    irq1: board.isaIrq(1),
    irq12: board.isaIrq(12),
    reset: () => board.shutdown('reboot'),
    a20: () => {},
  });
  const isaDma = new Dma8237();
  const reset = new ResetControl({ reset: () => board.shutdown('reboot'), a20: () => {} });
  const com1 =
    options.serial && new Uart({ timeline, irq: board.isaIrq(COM1_IRQ), output: options.serial, drained: options.serialDrained });
  rtc.attach(bus);
  power.attach(bus);
  ps2.attach(bus);
  isaDma.attach(bus);
  // After PCI, whose configuration ports surround 0xcf9.
  reset.attach(bus);
  com1?.attach(bus, COM1);
  for (const port of [BOCHS_DEBUG_PORT, SEABIOS_DEBUG_PORT]) createDebugPort(port, options.debug).attach(bus);
  return {
    ps2,
    com1,
    reset(): void {
      rtc.reset();
      power.reset();
      ps2.reset();
      isaDma.reset();
      com1?.reset();
    },
  };
}
