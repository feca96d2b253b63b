// 64-bit numbers of the HPET as two unsigned halves (no BigInt where a kernel reads its clock), and one comparator's registers.

/** A 64-bit number as [low, high], both unsigned. */
export type Pair = [low: number, high: number];

const TWO32 = 2 ** 32;

/** a + n modulo 2^64; n is a whole number in [0, 2^53). */
export function addTicks(a: Readonly<Pair>, n: number): Pair {
  const low = a[0] + (n % TWO32);
  const high = a[1] + Math.floor(n / TWO32) + (low >= TWO32 ? 1 : 0);
  return [low % TWO32, high % TWO32];
}
/** a - b modulo 2^64. */
export function subtract(a: Readonly<Pair>, b: Readonly<Pair>): Pair {
  const low = a[0] - b[0];
  return [(low + TWO32) % TWO32, (a[1] - b[1] - (low < 0 ? 1 : 0) + 2 * TWO32) % TWO32];
}
/** As a double: exact below 2^53. */
export const toNumber = (a: Readonly<Pair>): number => a[1] * TWO32 + a[0];

/** Tn configuration and capability, low half (IA-PC HPET 1.0a, 2.3.8). */
export const TN = {
  INT_TYPE: 1 << 1,
  INT_ENB: 1 << 2,
  TYPE: 1 << 3,
  PER_INT_CAP: 1 << 4,
  SIZE_CAP: 1 << 5,
  VAL_SET: 1 << 6,
  MODE32: 1 << 8,
  ROUTE: 0x1f << 9,
  ROUTE_SHIFT: 9,
  FSB_EN: 1 << 14,
  FSB_CAP: 1 << 15,
} as const;

export interface HpetTimerState {
  /** Low half of Tn_CONF, read-only bits included. */
  config: number;
  /** The comparator; in periodic mode the accumulator, which moves on by itself. */
  comparator: Pair;
  /** What is added at each match in periodic mode. */
  period: Pair;
  /** The low half of a comparator was written under VAL_SET: so is the high half that follows. */
  setsHigh: boolean;
  /** Address and value of the front-side-bus message. */
  fsbValue: number;
  fsbAddress: number;
}

export const isPeriodic = (t: HpetTimerState): boolean => (t.config & (TN.TYPE | TN.PER_INT_CAP)) === (TN.TYPE | TN.PER_INT_CAP);
const is32 = (t: HpetTimerState): boolean => (t.config & TN.MODE32) !== 0;

/** Ticks from `counter` to the next match, at least one; a whole turn of the counter if they are equal now. */
export function ticksToMatch(t: HpetTimerState, counter: Readonly<Pair>): number {
  if (is32(t)) return (t.comparator[0] - counter[0] + TWO32) % TWO32 || TWO32;
  return toNumber(subtract(t.comparator, counter)) || TWO32 * TWO32;
}

/** After a match: the accumulator goes on to the first value ahead of `counter`, which has just reached it or is a little past it. */
export function accumulate(t: HpetTimerState, counter: Readonly<Pair>): void {
  const period = is32(t) ? t.period[0] : toNumber(t.period);
  if (!isPeriodic(t) || period === 0) return;
  const behind = is32(t) ? (counter[0] - t.comparator[0] + TWO32) % TWO32 : toNumber(subtract(counter, t.comparator));
  const steps = (Math.floor(behind / period) + 1) * period;
  t.comparator = is32(t) ? [(t.comparator[0] + steps) % TWO32, 0] : addTicks(t.comparator, steps);
}

/** A write to half of the comparator register (0 low, 1 high). */
export function writeComparator(t: HpetTimerState, half: 0 | 1, value: number): void {
  if (half === 1 && is32(t)) return;
  // In periodic mode the accumulator is written only under VAL_SET; the period always (2.3.9.2.2).
  const sets = !isPeriodic(t) || (half === 0 ? (t.config & TN.VAL_SET) !== 0 : t.setsHigh || (t.config & TN.VAL_SET) !== 0);
  if (sets) t.comparator[half] = value;
  if (isPeriodic(t)) t.period[half] = value;
  if (half === 0) {
    t.setsHigh = (t.config & TN.VAL_SET) !== 0;
    t.config &= ~TN.VAL_SET;
  } else t.setsHigh = false;
}
