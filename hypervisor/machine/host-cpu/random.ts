// Seeded random numbers and operand values with a liking for edges.

/** Mulberry32: a 32-bit state, a full period, good enough to pick test operands. */
export class Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  /** 32 bits. */
  u32(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  below(n: number): number {
    return this.u32() % n;
  }
  chance(p: number): boolean {
    return this.u32() < p * 2 ** 32;
  }
  pick<T>(of: readonly T[]): T {
    // SAFE: callers give lists with something in them.
    return of[this.below(of.length)] as T;
  }
  /** An integer of 64 bits: often at or next to a power of two, small, or sign-extended from less. */
  value(): bigint {
    switch (this.below(8)) {
      case 0:
        return BigInt.asUintN(64, (1n << BigInt(this.pick([3, 4, 7, 8, 15, 16, 31, 32, 47, 63]))) + BigInt(this.below(3)) - 1n);
      case 1:
        return BigInt(this.below(40));
      case 2:
        return BigInt.asUintN(64, -BigInt(this.below(40)));
      case 3:
        return BigInt.asUintN(64, BigInt.asIntN(this.pick([8, 16, 32]), this.u64()));
      case 4:
        return this.u64() >> BigInt(this.below(64));
      default:
        return this.u64();
    }
  }
}
