// The power-management function of the PIIX4 (Intel 82371AB, order 290562), as QEMU's `pc` machine has it beside a PIIX3: where the ACPI
// and SMBus registers lie. The registers themselves belong to other devices.

import { PciFunction } from './pci-function.ts';

/** PMBA (290562, 7.1.10), PMREGMISC (7.1.22: bit 0 PMIOSE), SMBBA (7.1.23) and SMBHSTCFG (7.1.24: bit 0 SMB_HST_EN). */
const PMBA = 0x40;
const PMREGMISC = 0x80;
const SMBBA = 0x90;
const SMBHSTCFG = 0xd2;
/** 64 ports of power management, 16 of SMBus. */
const PM_PORTS = 0x40;
const SMB_PORTS = 0x10;

export interface PortWindow {
  /** The registers answer from `base` on, or nowhere. */
  place(base: number | undefined): void;
}
const nowhere: PortWindow = { place: () => {} };

export class Piix4Pm extends PciFunction {
  private readonly pm: PortWindow;
  private readonly smbus: PortWindow;
  private pmAt: number | undefined;
  private smbusAt: number | undefined;

  constructor(pm: PortWindow, smbus: PortWindow = nowhere) {
    super({
      vendor: 0x8086,
      device: 0x7113,
      revision: 3,
      classCode: 0x068000,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      interruptPin: 1,
    });
    this.pm = pm;
    this.smbus = smbus;
    this.set16(0x06, 0x0280);
    for (let at = 0x40; at < 0x100; at++) this.writable[at] = 0xff;
    // Both bases are port ranges: bit 0 reads 1, the alignment bits 0.
    this.set32(PMBA, 1);
    this.allow32(PMBA, 0x1_0000 - PM_PORTS);
    this.set32(SMBBA, 1);
    this.allow32(SMBBA, 0x1_0000 - SMB_PORTS);
    // DEVACTB, APMC_EN: tells SeaBIOS that system-management mode is set up already, as QEMU does with smm=off. There is none here.
    this.config[0x5b] = 0x02;
    // Devices that QEMU's firmware tables take for granted: both serial ports and the parallel port decode (QEMU's hw/acpi/piix4.c).
    this.config[0x5f] = 0x10;
    this.config[0x63] = 0x60;
    this.config[0x67] = 0x98;
    this.rememberInitial();
  }

  protected override written(): void {
    const pmAt = this.config[PMREGMISC]! & 1 ? this.get32(PMBA) & -PM_PORTS : undefined;
    if (pmAt !== this.pmAt) this.pm.place(pmAt);
    this.pmAt = pmAt;
    const smbusAt = this.config[SMBHSTCFG]! & 1 ? this.get32(SMBBA) & -SMB_PORTS : undefined;
    if (smbusAt !== this.smbusAt) this.smbus.place(smbusAt);
    this.smbusAt = smbusAt;
  }
}
