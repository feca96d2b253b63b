// Random numbers for fuzzers: equal seeds, equal runs.

/** xorshift32. The fuzzers' seeds that once found something are this sequence's: changing it is losing them. */
export class Random {
  private state: number;

  constructor(seed: number) {
    // Neighbouring seeds should have nothing in common, and 0 would stay 0.
    this.state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1;
  }

  /** 32 bits. */
  next(): number {
    let s = this.state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.state = s >>> 0;
    return this.state;
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return this.next() % n;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  /** Of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    // SAFE: see above.
    return list[this.below(list.length)]!;
  }
}
