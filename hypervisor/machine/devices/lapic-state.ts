// The registers of a local APIC: their numbers, what they hold, and the 256-bit sets of IRR, ISR and TMR (SDM Vol 3A, 10.4.1, 10.8.4).

/** Register numbers: the offset in memory is 16 times, the MSR 0x800 plus that. */
export const APIC = {
  id: 0x02,
  version: 0x03,
  tpr: 0x08,
  apr: 0x09,
  ppr: 0x0a,
  eoi: 0x0b,
  ldr: 0x0d,
  dfr: 0x0e,
  svr: 0x0f,
  isr: 0x10,
  tmr: 0x18,
  irr: 0x20,
  esr: 0x28,
  icr: 0x30,
  icrHigh: 0x31,
  lvtTimer: 0x32,
  lvtThermal: 0x33,
  lvtCounter: 0x34,
  lvtLint0: 0x35,
  lvtLint1: 0x36,
  lvtError: 0x37,
  initialCount: 0x38,
  currentCount: 0x39,
  divide: 0x3e,
  selfIpi: 0x3f,
} as const;

/** Plain data, beside the timer's. */
export interface LapicState {
  base: number;
  id: number;
  tpr: number;
  ldr: number;
  dfr: number;
  svr: number;
  /** 256 bits each. */
  isr: number[];
  tmr: number[];
  irr: number[];
  esr: number;
  /** Errors since ESR was last written. */
  errors: number;
  icr: number;
  icrHigh: number;
  lvt: number[];
  nmi: boolean;
  /** Levels of the pins. */
  lint0: boolean;
  lint1: boolean;
}

export const words = (): number[] => new Array<number>(8).fill(0);

/** 10.12.10.2 */
export const x2apicLdr = (id: number): number => (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;

// 256-bit sets in eight words.
export function highest(set: readonly number[]): number {
  for (let i = 7; i >= 0; i--) if (set[i]) return i * 32 + 31 - Math.clz32(set[i]!);
  return 0;
}
export const set = (s: number[], v: number): void => {
  s[v >>> 5]! |= 1 << (v & 31);
};
export const clear = (s: number[], v: number): void => {
  s[v >>> 5]! &= ~(1 << (v & 31));
};
export const test = (s: readonly number[], v: number): boolean => (s[v >>> 5]! & (1 << (v & 31))) !== 0;
