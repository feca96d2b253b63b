// The vpit, vrtc, vhpet and PM timer of an HVM domain: their rates in system time, the lines they come in by, and what is the device model's.

import { XEN_EINVAL } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { cmosBytes } from '../../machine/devices/rtc-cmos.ts';
import { createRig, eoiPics, HPET_PAGE, type Rig, startPics } from './testing.ts';

const SECOND = 1e9;
const MS = 1e6;

/** Counter 0 as a rate generator (mode 2) of `count` clocks. */
function programPit(rig: Rig, count: number): void {
  rig.out(0x43, 0x34);
  rig.out(0x40, count & 0xff);
  rig.out(0x40, count >> 8);
}
const cmos = (rig: Rig, index: number): number | undefined => {
  rig.out(0x70, index);
  return rig.in(0x71);
};

describe('the vpit', () => {
  it('interrupts through the vpic at its rate', () => {
    const rig = createRig();
    startPics(rig);
    programPit(rig, 11_932);
    const times: number[] = [];
    rig.hv.kick = () => {
      if (rig.platform.acknowledge(rig.v) !== 0x20) return;
      times.push(rig.hv.now());
      eoiPics(rig);
    };
    rig.runTo(SECOND);
    // 1193182 / 11932 = 99.99 Hz; the first period begins one clock after the count was written.
    expect(times).toHaveLength(99);
    const period = (11_932 * SECOND) / 1_193_182;
    for (const [i, at] of times.entries()) expect(Math.abs(at - (i + 1) * period)).toBeLessThan(2000);
  });

  it('is at pin 2 of the vioapic', () => {
    const rig = createRig();
    rig.ioapic(2, 0x30);
    programPit(rig, 1194);
    rig.runTo(1.5 * MS);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x30);
  });

  it('ticks once for what a guest did not take in time', () => {
    const rig = createRig();
    startPics(rig);
    programPit(rig, 1194);
    rig.runTo(20.5 * MS);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x20);
    eoiPics(rig);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    rig.runTo(22 * MS);
    expect(rig.platform.pendingVector(rig.v)).toBe(0x20);
  });

  it('lets a guest time with counter 2 and port 0x61, and delivers one-shots of microseconds in time', () => {
    const rig = createRig();
    startPics(rig);
    rig.out(0x61, 1);
    rig.out(0x43, 0xb0);
    rig.out(0x42, 0x9b);
    rig.out(0x42, 0x2e);
    // 11931 clocks: 9.999 ms.
    rig.runTo(9.9 * MS);
    expect(rig.in(0x61)! & 0x20).toBe(0);
    rig.runTo(10.01 * MS);
    expect(rig.in(0x61)! & 0x20).toBe(0x20);
    // Counter 0, mode 0, 24 clocks: 20 us.
    rig.out(0x43, 0x30);
    rig.out(0x40, 24);
    rig.out(0x40, 0);
    rig.runTo(10.028 * MS);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    rig.runTo(10.032 * MS);
    expect(rig.platform.pendingVector(rig.v)).toBe(0x20);
  });
});

describe('the vrtc', () => {
  const EPOCH = 1_767_225_600 + 3600 * 5 + 60 * 6 + 7;

  it('shows the hypervisor’s wall clock, shifted by the domain’s offset, as system time passes', () => {
    const rig = createRig({ bootEpoch: EPOCH });
    rig.runTo(20 * SECOND);
    const time = () => [4, 2, 0].map((i) => cmos(rig, i)!.toString(16).padStart(2, '0')).join(':');
    expect(time()).toBe('05:06:27');
    rig.v.domain.timeOffsetSeconds = -3600;
    rig.platform.timeOffsetChanged();
    expect(time()).toBe('04:06:27');
    rig.runTo(80 * SECOND);
    expect(time()).toBe('04:07:27');
  });

  it('interrupts by line 8', () => {
    const rig = createRig({ bootEpoch: EPOCH });
    startPics(rig);
    rig.out(0x70, 0x0b);
    rig.out(0x71, 0x12);
    rig.runTo(1.5 * SECOND);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x28);
    expect(cmos(rig, 0x0c)! & 0x90).toBe(0x90);
  });

  it('has registers 0 to 13 and leaves the RAM behind them to the device model, which hears of the index', () => {
    const rig = createRig();
    expect(rig.platform.portIo(rig.v, 0x70, 1, false, 0x0d)).toBeDefined();
    expect(rig.in(0x71)).toBe(0x80);
    expect(rig.platform.portIo(rig.v, 0x70, 1, false, 0x8e)).toBeUndefined();
    expect(rig.in(0x71)).toBeUndefined();
    expect(rig.platform.portIo(rig.v, 0x71, 1, false, 1)).toBeUndefined();
    // Not of the platform's: both ports at once.
    expect(rig.in(0x70, 2)).toBe(0xffff);
  });

  it('has the RAM too when it is given: memory sizes as firmware reads them', () => {
    const rig = createRig({ cmos: cmosBytes({ ramBelow4G: 128 * 2 ** 20 }) });
    const word = (at: number): number => cmos(rig, at)! | (cmos(rig, at + 1)! << 8);
    expect(word(0x15)).toBe(640);
    // 64 KiB blocks above 16 MiB.
    expect(word(0x34)).toBe((112 * 2 ** 20) / 65536);
    rig.out(0x70, 0x40);
    rig.out(0x71, 0x5a);
    expect(cmos(rig, 0x40)).toBe(0x5a);
  });
});

describe('the vhpet', () => {
  const read = (rig: Rig, offset: number): number => rig.platform.mmioRead(rig.v, HPET_PAGE + offset, 4)!;
  const write = (rig: Rig, offset: number, value: number): void => {
    rig.platform.mmioWrite(rig.v, HPET_PAGE + offset, 4, value);
  };

  it('counts 62.5 MHz and says so', () => {
    const rig = createRig();
    expect(read(rig, 0)).toBe(0x8086_a201);
    expect(read(rig, 4)).toBe(16_000_000);
    write(rig, 0x10, 1);
    rig.runTo(SECOND);
    expect(read(rig, 0xf0)).toBe(62_500_000);
    expect(read(rig, 0x104)).toBe(0x00f0_0000);
  });

  it('interrupts at the pin it is routed to', () => {
    const rig = createRig();
    rig.ioapic(20, 0x55);
    write(rig, 0x140, (20 << 9) | 4);
    write(rig, 0x148, 62_500);
    write(rig, 0x14c, 0);
    write(rig, 0x10, 1);
    rig.runTo(0.999 * MS);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    rig.runTo(1.001 * MS);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x55);
  });

  it('takes the vpit’s line in legacy replacement mode', () => {
    const rig = createRig();
    rig.ioapic(2, 0x30);
    write(rig, 0x10, 3);
    programPit(rig, 1194);
    rig.runTo(3 * MS);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    write(rig, 0x100, 4);
    write(rig, 0x108, 62_500 * 4);
    write(rig, 0x10c, 0);
    rig.runTo(5 * MS);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x30);
  });
});

describe('the ACPI PM timer and the PM1a event registers', () => {
  it('count 3.579545 MHz in 32 bits, at the ports of version 0 until version 1 is chosen', () => {
    const rig = createRig();
    expect(rig.in(0x1f48, 4)).toBe(0);
    rig.runTo(SECOND);
    expect(rig.in(0x1f48, 4)).toBe(3_579_545);
    expect(rig.in(0xb008, 4)).toBeUndefined();
    expect(rig.platform.pm!.moveTo(1)).toBe(0);
    expect(rig.in(0xb008, 4)).toBe(3_579_545);
    expect(rig.in(0x1f48, 4)).toBeUndefined();
    expect(rig.platform.pm!.moveTo(2)).toBe(-XEN_EINVAL);
    rig.runTo(1210 * SECOND);
    expect(rig.in(0xb008, 4)).toBe((1210 * 3_579_545) % 2 ** 32);
    expect(rig.in(0xb008, 2)).toBe(0xffff);
  });

  it('raise the SCI when the top bit changes, and for a button, if enabled', () => {
    const rig = createRig();
    rig.ioapic(9, (1 << 15) | 0x39);
    rig.platform.pm!.pressButton('power');
    expect(rig.in(0x1f40, 2)).toBe(0x100);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    rig.out(0x1f42, 0x101, 2);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x39);
    rig.out(0x1f40, 0x100, 2);
    rig.eoi();
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    const half = (2 ** 31 * SECOND) / 3_579_545;
    rig.runTo(Math.floor(half) - 1000);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    rig.runTo(Math.floor(half) + 1000);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x39);
    expect(rig.in(0x1f40, 4)).toBe(0x101_0001);
  });

  it('leave PM1a_CNT to the device model, unless somebody here wants to hear of sleep', () => {
    expect(createRig().in(0x1f44, 2)).toBeUndefined();
    const slept: number[] = [];
    const rig = createRig({ hooks: { onInit: () => {}, onStartup: () => {}, onSleep: (type) => slept.push(type) } });
    expect(rig.in(0x1f44, 2)).toBe(1);
    rig.out(0x1f44, 0x1400, 2);
    expect(slept).toEqual([]);
    rig.out(0x1f44, 0x2000, 2);
    rig.out(0x1f45, 0x34);
    expect(slept).toEqual([0, 5]);
    expect(rig.in(0x1f44, 2)).toBe(0x1401);
  });
});
