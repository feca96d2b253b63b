// A guest that writes anything anywhere: nothing throws, every answer is a value of its size, and the machine's time goes on.

import { describe, expect, it } from 'vitest';
import { callbackViaOf } from '../../core/hvm-domain.ts';
import { APIC } from '../../machine/devices/lapic.ts';
import { APIC_PAGE, createRig, HPET_PAGE, IOAPIC_PAGE, type Rig } from './testing.ts';

const PORTS = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x1f40, 0x1f42, 0x1f44, 0x1f48, 0xb000];
const MSRS = [0x1b, 0x6e0, 0x802, 0x808, 0x80b, 0x80f, 0x828, 0x830, 0x832, 0x838, 0x83e, 0x83f];
const SIZES = [1, 2, 4];

function generator(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

function step(rig: Rig, random: (n: number) => number): void {
  const { platform } = rig;
  const v = rig.vcpus[random(rig.vcpus.length)]!;
  const size = SIZES[random(3)]!;
  // Small values are what means something to most registers.
  const value = (random(2) ? random(2 ** 32) : random(256)) % 2 ** (8 * size);
  const inRange = (answer: number | undefined): void => {
    if (answer !== undefined && !(answer >= 0 && answer < 2 ** (8 * size) && Number.isInteger(answer)))
      expect.fail(`${answer} is no value of ${size} bytes`);
  };
  switch (random(8)) {
    case 0:
      inRange(platform.portIo(v, PORTS[random(PORTS.length)]! + random(3), size, true, 0));
      break;
    case 1:
      platform.portIo(v, PORTS[random(PORTS.length)]! + random(3), size, false, value);
      break;
    case 2:
      inRange(platform.mmioRead(v, [APIC_PAGE, IOAPIC_PAGE, HPET_PAGE][random(3)]! + random(0x400), size));
      break;
    case 3:
      platform.mmioWrite(v, [APIC_PAGE, IOAPIC_PAGE, HPET_PAGE][random(3)]! + 16 * random(0x40), size, value);
      break;
    case 4: {
      const msr = MSRS[random(MSRS.length)]!;
      if (random(2)) platform.localApic(v).writeMsr(msr, (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)));
      else platform.localApic(v).writeMsr(msr, BigInt(value));
      platform.localApic(v).readMsr(msr);
      break;
    }
    case 5:
      platform.setCallbackVia(callbackViaOf((BigInt(random(4)) << 56n) | BigInt(random(0x1_0000))));
      rig.setUpcallPending(random(2) === 1, v);
      platform.vmexit();
      break;
    case 6:
      platform.setPciIntx(random(33), random(5), random(2) === 1);
      platform.setIsaIrq(random(17), random(2) === 1);
      platform.setPciLinkRoute(random(5), random(17));
      platform.injectMsi(random(2 ** 32), random(2 ** 32));
      break;
    default: {
      const vector = platform.pendingVector(v);
      if (vector >= 0) expect(platform.acknowledge(v)).toBe(vector);
      if (random(2)) rig.apic(APIC.eoi, 0, v);
    }
  }
}

describe('a hostile guest', () => {
  for (const seed of [1, 2, 3, 4])
    it(`costs others neither an exception nor their time (seed ${seed})`, () => {
      const rig = createRig({ vcpus: 2 });
      const random = generator(seed);
      let expired = 0;
      const { timers } = rig.hv;
      const expire = timers.expire.bind(timers);
      timers.expire = (now) => {
        expired++;
        expire(now);
      };
      let now = 0;
      for (let i = 0; i < 3000; i++) {
        step(rig, random);
        if (i % 10 !== 0) continue;
        now += random(1e6);
        rig.runTo(now);
      }
      // Timers of a handful of devices, each twice in 100 us at most.
      expect(expired).toBeLessThan(3000 + (now / 100_000) * 2 * 12);
      // No interrupt line is held by more than all of its sources, or by less than none.
      expect(rig.platform.lines.state.gsi.every((n) => n >= 0 && n < 16)).toBe(true);
    });
});
