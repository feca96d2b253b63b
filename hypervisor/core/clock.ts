// System time: nanoseconds since boot as an exact function of virtual cycles, scaled as Xen and its guests scale the TSC, so that a
// guest's pvclock and the hypervisor's own idea of time agree to the nanosecond (xen/arch/x86/time.c: set_time_scale, scale_delta).
//
// Numbers stay below 2^53: 49 days of cycles at 2.1 GHz. Products of 64 bits are formed from two halves, never as a BigInt.

export const SECONDS = 1_000_000_000;
export const MILLISECS = 1_000_000;
export const MICROSECS = 1_000;

const TWO32 = 0x1_0000_0000;

export class Clock {
  readonly tscHz: number;
  /** vcpu_time_info.tsc_to_system_mul and tsc_shift. */
  readonly mul: number;
  readonly shift: number;

  constructor(tscHz = 2_100_000_000) {
    this.tscHz = tscHz;
    let tps = tscHz;
    let shift = 0;
    while (tps > 2 * SECONDS) {
      tps = Math.floor(tps / 2);
      shift--;
    }
    while (tps <= SECONDS) {
      tps *= 2;
      shift++;
    }
    this.mul = Number((BigInt(SECONDS) << 32n) / BigInt(tps));
    this.shift = shift;
  }

  /** scale_delta: cycles to ns, rounded down. */
  toNs(cycles: number): number {
    const shifted = this.shift < 0 ? Math.floor(cycles / 2 ** -this.shift) : cycles * 2 ** this.shift;
    const high = Math.floor(shifted / TWO32);
    const low = shifted - high * TWO32;
    const upper = low * (this.mul >>> 16);
    const lower = low * (this.mul & 0xffff);
    return high * this.mul + Math.floor((upper + Math.floor(lower / 65536)) / 65536);
  }

  /** The first cycle at which toNs() is `ns` or more. */
  toCycles(ns: number): number {
    if (ns <= 0) return 0;
    let cycles = Math.floor((ns / this.mul) * TWO32 * 2 ** -this.shift);
    while (this.toNs(cycles) < ns) cycles++;
    while (cycles > 0 && this.toNs(cycles - 1) >= ns) cycles--;
    return cycles;
  }
}
