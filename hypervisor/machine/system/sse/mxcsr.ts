// MXCSR by its bits (SDM Vol 1, 10.2.3), and what an instruction's arithmetic works under.

/** Exception flags; `MASK_SHIFT` higher lies the mask of each. */
export const FLAG = { IE: 0x01, DE: 0x02, ZE: 0x04, OE: 0x08, UE: 0x10, PE: 0x20 } as const;
export const ALL_FLAGS = 0x3f;
/** Those that are found before there is a result: one of them unmasked, in any element, keeps the others from being looked for. */
export const BEFORE_RESULT: number = FLAG.IE | FLAG.DE | FLAG.ZE;

export const MXCSR = {
  ...FLAG,
  DAZ: 0x40,
  IM: 0x80,
  DM: 0x100,
  ZM: 0x200,
  OM: 0x400,
  UM: 0x800,
  PM: 0x1000,
  /** Rounding control: nearest, down, up, toward zero. */
  RC: 0x6000,
  FTZ: 0x8000,
} as const;
export const MASK_SHIFT = 7;
const RC_SHIFT = 13;

export type Rounding = 0 | 1 | 2 | 3;
export const NEAREST: Rounding = 0;
export const DOWN: Rounding = 1;
export const UP: Rounding = 2;
export const TOWARD_ZERO: Rounding = 3;

/** SAFE: two bits. */
export const roundingOf = (mxcsr: number): Rounding => ((mxcsr & MXCSR.RC) >>> RC_SHIFT) as Rounding;

export class FloatEnv {
  readonly mxcsr: number;
  readonly rounding: Rounding;
  /** Exceptions met so far. */
  flags = 0;

  constructor(mxcsr: number) {
    this.mxcsr = mxcsr;
    this.rounding = roundingOf(mxcsr);
  }
  raise(flags: number): void {
    this.flags |= flags;
  }
  /** Whether an exception would go to the program. */
  unmasked(flag: number): boolean {
    return (this.mxcsr & (flag << MASK_SHIFT)) === 0;
  }
  get denormalsAreZero(): boolean {
    return (this.mxcsr & MXCSR.DAZ) !== 0;
  }
  /** Only where underflow is masked (SDM Vol 1, 10.2.3.3). */
  get flushToZero(): boolean {
    return (this.mxcsr & MXCSR.FTZ) !== 0 && !this.unmasked(FLAG.UE);
  }
}
