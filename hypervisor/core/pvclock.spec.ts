import { shared_info, vcpu_info, vcpu_time_info } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { SECONDS } from './clock.ts';
import { type Abi, type Maddr, mfnToMaddr } from './ids.ts';
import { updateVcpuTime, updateWallclock } from './pvclock.ts';
import { createBench, createScriptedDomain } from './testing.ts';
import { Timer } from './timers.ts';

const bench = () => {
  const b = createBench({ bootEpoch: 1_800_000_000.25 });
  return { ...b, domain: createScriptedDomain(b.hv) };
};
const timeOf = (b: ReturnType<typeof bench>, abi: Abi = 'x86_64') => {
  const v = b.domain.vcpus[0]!;
  const at = (v.vcpuInfo + vcpu_info.offset('time', abi)) as Maddr;
  return vcpu_time_info.decode(abi, b.hv.ram.readBytes(at, vcpu_time_info.size(abi)));
};
/** pvclock_get_nsec_offset() as guests compute it. */
const guestTime = (t: ReturnType<typeof timeOf>, tsc: number): bigint => {
  const delta = BigInt(tsc - t.tsc_timestamp);
  const shifted = t.tsc_shift < 0 ? delta >> BigInt(-t.tsc_shift) : delta << BigInt(t.tsc_shift);
  return ((shifted * BigInt(t.tsc_to_system_mul)) >> 32n) + BigInt(t.system_time);
};

describe('the pvclock', () => {
  it('lets a guest compute the time that the hypervisor has', () => {
    const b = bench();
    b.hv.timers.set(new Timer(() => {}), 3.7 * SECONDS);
    b.hv.run({ untilCycles: b.hv.clock.toCycles(5.5 * SECONDS) });
    updateVcpuTime(b.hv, b.domain.vcpus[0]!);
    const t = timeOf(b);
    expect(t.version % 2).toBe(0);
    expect(t.flags).toBe(0);
    expect(t.system_time).toBe(5 * SECONDS);
    for (const later of [0, 1, 12345, 2_100_000_000]) {
      const tsc = b.hv.cycles() + later;
      expect(Math.abs(Number(guestTime(t, tsc)) - b.hv.clock.toNs(tsc))).toBeLessThanOrEqual(1);
    }
  });

  it('changes the version only when something changes', () => {
    const b = bench();
    const v = b.domain.vcpus[0]!;
    const { version } = timeOf(b);
    updateVcpuTime(b.hv, v);
    expect(timeOf(b).version).toBe(version);
    updateVcpuTime(b.hv, v, true);
    expect(timeOf(b).version).toBe(version + 2);
  });

  it('gives the wall clock at boot in either layout, moved by the domain\u2019s offset', () => {
    for (const abi of ['x86_64', 'x86_32'] as const) {
      const b = bench();
      b.domain.is32bit = abi === 'x86_32';
      b.domain.timeOffsetSeconds = -3600;
      updateWallclock(b.hv, b.domain);
      const page = b.hv.ram.readBytes(mfnToMaddr(b.domain.sharedInfoMfn), shared_info.size(abi));
      const s = shared_info.decode(abi, page);
      expect(s.wc_version % 2).toBe(0);
      expect([s.wc_sec, s.wc_nsec]).toEqual([1_800_000_000 - 3600, 250_000_000]);
    }
  });
});
