// The vlapics of a domain: their timers on the hypervisor's, what they let through to a vCPU, and messages between vCPUs.

import { SHUTDOWN_suspend, XEN_EINVAL, XEN_X86_EMU_LAPIC } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { pauseDomain, resumeDomain, unpauseDomain } from '../../core/domain-shutdown.ts';
import { APIC } from '../../machine/devices/lapic.ts';
import { PVH_EMULATION } from './index.ts';
import { APIC_PAGE, createRig, IOAPIC_PAGE, MSR_APIC_BASE, MSR_TSC_DEADLINE, type Rig } from './testing.ts';

const DIVIDE_BY_1 = 0xb;
const PERIODIC = 1 << 17;
const DEADLINE = 1 << 18;
const TIMER_VECTOR = 0xec;
const SECOND = 1e9;

/** Cycles that a timer may come late: those until system time, whole nanoseconds of two or three cycles, steps on. Never early. */
const LATE = [0, 1, 2];

const fixed = (rig: Rig, vector: number): number => rig.platform.injectMsi(0xfee0_0000, vector);

describe('a vlapic’s timer', () => {
  it('counts a bus of 100 MHz: an initial count of 1000 is 10 us', () => {
    const rig = createRig();
    rig.apic(APIC.divide, DIVIDE_BY_1);
    rig.apic(APIC.lvtTimer, TIMER_VECTOR);
    rig.apic(APIC.initialCount, 1000);
    rig.runTo(5_000);
    expect(rig.apicRead(APIC.currentCount)).toBe(500);
    rig.runTo(9_999);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    rig.runTo(SECOND);
    expect(rig.kicks[0]).toHaveLength(1);
    expect(rig.kicks[0]![0]! - 21_000).toBeOneOf(LATE);
    expect(rig.platform.pendingVector(rig.v)).toBe(TIMER_VECTOR);
    expect(rig.platform.acknowledge(rig.v)).toBe(TIMER_VECTOR);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
  });

  it('never comes before its TSC deadline, and at most a nanosecond after', () => {
    for (const deadline of [1, 2, 3, 1001, 4_200_001, 4_200_002, 4_200_003, 2_100_000_007]) {
      const tscOffset = -deadline - 5;
      const rig = createRig({ tscOffset: () => tscOffset });
      rig.apic(APIC.lvtTimer, DEADLINE | TIMER_VECTOR);
      rig.platform.localApic(rig.v).writeMsr(MSR_TSC_DEADLINE, BigInt(deadline));
      const at = deadline - tscOffset;
      rig.runTo(5 * SECOND);
      expect(rig.kicks[0]).toHaveLength(1);
      expect(rig.kicks[0]![0]! - at).toBeOneOf(LATE);
    }
  });

  it('keeps a TSC deadline to the TSC when that is moved', () => {
    let offset = 0;
    const rig = createRig({ tscOffset: () => offset });
    rig.apic(APIC.lvtTimer, DEADLINE | TIMER_VECTOR);
    rig.platform.localApic(rig.v).writeMsr(MSR_TSC_DEADLINE, 4_200_000n);
    offset = 2_100_000;
    rig.platform.tscOffsetChanged(rig.v);
    rig.runTo(SECOND);
    expect(rig.kicks[0]).toHaveLength(1);
    expect(rig.kicks[0]![0]! - 2_100_000).toBeOneOf(LATE);
  });

  it('goes by its own vCPU’s TSC, where another is ahead in its turn', () => {
    const rig = createRig({ vcpus: 2 });
    const [, second] = rig.vcpus;
    rig.hv.cycles = () => 20_000;
    rig.in(0x1f48, 4);
    rig.apicRead(APIC.currentCount);
    rig.hv.cycles = () => 10_000;
    rig.apic(APIC.lvtTimer, DEADLINE | TIMER_VECTOR, second);
    const apic = rig.platform.localApic(second!);
    apic.writeMsr(MSR_TSC_DEADLINE, 15_000n);
    expect(rig.platform.pendingVector(second!)).toBe(-1);
    apic.writeMsr(MSR_TSC_DEADLINE, 10_000n);
    expect(rig.platform.pendingVector(second!)).toBe(TIMER_VECTOR);
  });

  it('takes deadlines that never come, as kernels write them, without a timer', () => {
    for (const deadline of [2n ** 64n - 1n, 2n ** 63n, 2n ** 53n]) {
      const rig = createRig();
      rig.apic(APIC.lvtTimer, DEADLINE | TIMER_VECTOR);
      expect(rig.platform.localApic(rig.v).writeMsr(MSR_TSC_DEADLINE, deadline)).toBe(true);
      expect(rig.hv.timers.next).toBe(Number.POSITIVE_INFINITY);
    }
  });

  it('keeps its rate over a second', () => {
    const rig = createRig();
    rig.apic(APIC.divide, DIVIDE_BY_1);
    rig.apic(APIC.lvtTimer, PERIODIC | TIMER_VECTOR);
    rig.apic(APIC.initialCount, 100_000);
    const taken: number[] = [];
    rig.hv.kick = () => {
      if (rig.platform.pendingVector(rig.v) !== TIMER_VECTOR) return;
      taken.push(rig.hv.cycles());
      rig.platform.acknowledge(rig.v);
      rig.eoi();
    };
    rig.runTo(SECOND);
    expect(taken).toHaveLength(1000);
    expect(taken.every((c, i) => LATE.includes(c - (i + 1) * 2_100_000))).toBe(true);
  });

  it('ticks no faster than twice in 100 us, however short a period the guest sets', () => {
    const rig = createRig();
    rig.apic(APIC.divide, DIVIDE_BY_1);
    rig.apic(APIC.lvtTimer, PERIODIC | TIMER_VECTOR);
    rig.apic(APIC.initialCount, 1);
    let ticks = 0;
    rig.hv.kick = () => {
      ticks++;
      if (rig.platform.acknowledge(rig.v) >= 0) rig.eoi();
    };
    rig.runTo(10e6);
    expect(ticks).toBeGreaterThanOrEqual(100);
    expect(ticks).toBeLessThanOrEqual(202);
  });

  it('leaves no timer set while the domain is paused, and then ticks once for all that were missed', () => {
    const rig = createRig();
    rig.apic(APIC.divide, DIVIDE_BY_1);
    rig.apic(APIC.lvtTimer, PERIODIC | TIMER_VECTOR);
    rig.apic(APIC.initialCount, 100_000);
    pauseDomain(rig.hv, rig.v.domain);
    expect(rig.hv.timers.next).toBe(Number.POSITIVE_INFINITY);
    rig.runTo(10_500_000);
    expect(rig.kicks[0]).toEqual([]);
    unpauseDomain(rig.hv, rig.v.domain);
    rig.runTo(10_500_000);
    expect(rig.kicks[0]).toHaveLength(1);
    rig.platform.acknowledge(rig.v);
    rig.eoi();
    rig.runTo(11_000_000);
    // The rhythm is the old one.
    expect(rig.kicks[0]!.at(-1)).toBe(rig.hv.clock.toCycles(11_000_000));
  });
});

describe('a domain that has shut down or is destroyed', () => {
  it('has no timers any more, and a resumed one has them back', () => {
    const rig = createRig();
    const { domain } = rig.v;
    rig.apic(APIC.lvtTimer, PERIODIC | TIMER_VECTOR);
    rig.apic(APIC.initialCount, 100_000);
    domain.shutdown(SHUTDOWN_suspend);
    expect(rig.hv.timers.next).toBe(Number.POSITIVE_INFINITY);
    resumeDomain(rig.hv, domain);
    expect(rig.hv.timers.next).toBeLessThan(Number.POSITIVE_INFINITY);
    rig.platform.freeze();
    pauseDomain(rig.hv, domain);
    unpauseDomain(rig.hv, domain);
    rig.apic(APIC.initialCount, 100);
    expect(rig.hv.timers.next).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('what a vlapic lets through', () => {
  it('is the highest vector above the processor priority', () => {
    const rig = createRig();
    const { platform, v } = rig;
    fixed(rig, 0x41);
    fixed(rig, 0x62);
    expect(platform.highestRequest(v)).toBe(0x62);
    const apic = platform.localApic(v);
    apic.setCr8(6);
    expect(platform.pendingVector(v)).toBe(-1);
    expect(platform.acknowledge(v)).toBe(-1);
    rig.kicks[0]!.length = 0;
    apic.setCr8(5);
    expect(rig.kicks[0]).toHaveLength(1);
    expect(platform.acknowledge(v)).toBe(0x62);
    apic.setCr8(0);
    // 0x41 waits behind 0x62 in service; 0x73 does not.
    expect(platform.pendingVector(v)).toBe(-1);
    fixed(rig, 0x73);
    expect(platform.acknowledge(v)).toBe(0x73);
    rig.eoi();
    expect(platform.pendingVector(v)).toBe(-1);
    rig.eoi();
    expect(platform.acknowledge(v)).toBe(0x41);
  });

  it('is nothing while it is disabled in IA32_APIC_BASE, and its page is the device model’s then', () => {
    const rig = createRig();
    fixed(rig, 0x41);
    const apic = rig.platform.localApic(rig.v);
    expect(rig.platform.isMmio(rig.v, APIC_PAGE + 0x30)).toBe(true);
    expect(apic.writeMsr(MSR_APIC_BASE, 0xfee0_0100n)).toBe(true);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    expect(rig.platform.mmioRead(rig.v, APIC_PAGE + 0x30, 4)).toBeUndefined();
    expect(rig.platform.mmioWrite(rig.v, APIC_PAGE + 0x80, 4, 0)).toBe(false);
  });

  it('follows its page when the guest moves it', () => {
    const rig = createRig({ vcpus: 2 });
    expect(rig.platform.localApic(rig.v).writeMsr(MSR_APIC_BASE, 0xd000_0900n)).toBe(true);
    expect(rig.platform.mmioRead(rig.v, 0xd000_0030, 4)).toBe(0x5_0014);
    expect(rig.platform.mmioRead(rig.v, APIC_PAGE + 0x30, 4)).toBeUndefined();
    expect(rig.platform.mmioRead(rig.vcpus[1]!, APIC_PAGE + 0x30, 4)).toBe(0x5_0014);
  });
});

describe('messages between vCPUs', () => {
  const INIT = 0x4500;
  const STARTUP = 0x4600;

  it('start a vCPU by INIT and start-up IPI; APIC IDs are twice the vCPU’s', () => {
    const rig = createRig({ vcpus: 3 });
    const second = rig.vcpus[1]!;
    rig.apic(APIC.tpr, 0x55, second);
    rig.apic(APIC.icrHigh, 2 << 24);
    rig.apic(APIC.icr, INIT);
    rig.apic(APIC.icr, STARTUP | 0x9a);
    expect(rig.events).toEqual(['init 1', 'startup 1 9a']);
    // It was as after reset: INIT took nothing from its vlapic, which may hold an upcall by now. Once it has run, INIT resets both.
    expect(rig.apicRead(APIC.tpr, second)).toBe(0x55);
    second.isInitialised = true;
    rig.apic(APIC.icr, INIT);
    expect(rig.apicRead(APIC.tpr, second)).toBe(0);
    expect(rig.apicRead(APIC.id, second)).toBe(2 << 24);
  });

  it('do the same by x2APIC MSRs, by halves or whole', () => {
    const rig = createRig({ vcpus: 2 });
    const apic = rig.platform.localApic(rig.v);
    expect(apic.writeMsr(MSR_APIC_BASE, 0xfee0_0d00n)).toBe(true);
    expect(apic.writeMsrHalves(0x830, INIT, 2)).toBe(true);
    expect(apic.writeMsr(0x830, (2n << 32n) | BigInt(STARTUP | 0x10))).toBe(true);
    expect(rig.events).toEqual(['init 1', 'startup 1 10']);
    expect(apic.readMsrLow(0x830)).toBe(STARTUP | 0x10);
    expect(apic.msrHigh).toBe(2);
    expect(apic.readMsr(0x830)).toBe((2n << 32n) | BigInt(STARTUP | 0x10));
    expect(apic.readMsrLow(0x831)).toBe(-1);
    expect(rig.platform.isMmio(rig.v, APIC_PAGE)).toBe(false);
  });

  it('carry an NMI, which is not a vector and stands until it is taken', () => {
    const rig = createRig({ vcpus: 2 });
    rig.apic(APIC.icr, 0xc_0400);
    const second = rig.vcpus[1]!;
    expect(rig.vcpus.map((v) => rig.platform.isNmiPending(v))).toEqual([false, true]);
    expect(rig.kicks[1]!.length).toBeGreaterThan(0);
    expect(rig.platform.pendingVector(second)).toBe(-1);
    rig.platform.localApic(second).acknowledgeNmi();
    expect(rig.platform.isNmiPending(second)).toBe(false);
    rig.platform.injectNmi(rig.v);
    expect(rig.platform.isNmiPending(rig.v)).toBe(true);
  });

  it('are what an MSI is: to an APIC ID, or with lowest priority to the vCPU that is least busy', () => {
    const rig = createRig({ vcpus: 2 });
    const second = rig.vcpus[1]!;
    expect(rig.platform.injectMsi(0xfee0_2000, 0x55)).toBe(0);
    expect(rig.platform.acknowledge(second)).toBe(0x55);
    for (const [i, v] of rig.vcpus.entries()) rig.apic(APIC.ldr, (1 << i) << 24, v);
    // Logical, both, lowest priority: vCPU 1 has 0x55 in service.
    expect(rig.platform.injectMsi(0xfee0_3004, 0x141)).toBe(0);
    expect(rig.platform.pendingVector(rig.v)).toBe(0x41);
    expect(rig.platform.injectMsi(0xfee0_9000, 0x55)).toBe(-XEN_EINVAL);
    expect(rig.platform.injectMsi(0xfee0_0000, 0x0f)).toBe(-XEN_EINVAL);
    expect(rig.platform.injectMsi(0xfee0_0000, 0x531)).toBe(-XEN_EINVAL);
  });
});

describe('a PVH domain', () => {
  it('has vlapics and nothing else', () => {
    expect(PVH_EMULATION).toBe(XEN_X86_EMU_LAPIC);
    const rig = createRig({ emulation: PVH_EMULATION });
    for (const port of [0x20, 0xa1, 0x4d0, 0x40, 0x61, 0x70, 0x71, 0x1f48, 0xb008]) expect(rig.in(port)).toBeUndefined();
    for (const page of [IOAPIC_PAGE, 0xfed0_0000]) expect(rig.platform.isMmio(rig.v, page)).toBe(false);
    expect(rig.platform.setIsaIrq(4, true)).toBe(0);
    expect(rig.platform.pendingVector(rig.v)).toBe(-1);
    fixed(rig, 0x77);
    expect(rig.platform.acknowledge(rig.v)).toBe(0x77);
  });
});
