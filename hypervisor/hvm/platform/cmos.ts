// Ports 0x70 and 0x71 in front of the real-time clock (xen/arch/x86/hvm/rtc.c): Xen has registers 0 to 13, the device model the
// battery-backed RAM behind them. So an index above 13 is both's to know, and the data port goes to whom it concerns.

import type { Rtc } from '../../machine/devices/rtc.ts';
import type { PlatformPorts } from './ports.ts';

export const CMOS_PORT = 0x70;
/** RTC_SIZE */
const RTC_REGISTERS = 14;

/** `hasRam`: all 128 registers are the clock's. Accesses of other sizes than a byte are ignored and read as ones, as in handle_rtc_io. */
export const cmosPorts = (rtc: Rtc, hasRam: boolean): PlatformPorts => ({
  io(port, size, isIn, value) {
    if (size !== 1) return isIn ? 2 ** (8 * size) - 1 : 0;
    const isIndex = port === CMOS_PORT;
    if (isIndex && !isIn) rtc.writeByte(port, value);
    if (!hasRam && rtc.state.index >= RTC_REGISTERS) return undefined;
    if (isIn) return rtc.readByte(port);
    if (!isIndex) rtc.writeByte(port, value);
    return 0;
  },
});
