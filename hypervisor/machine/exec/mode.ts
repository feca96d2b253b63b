// The facts about a context that decoded code depends on: they are part of the key under which it is cached, so that nothing about them
// needs checking at run time.

import type { Lin } from '../addresses.ts';
import type { Context } from '../context.ts';
import type { CodeMode } from '../isa/decoded.ts';
import type { HandlerMode } from '../stage/wasm-builder.ts';
import { CS, DS, EFLAGS, ES, SEG, SS, STATE } from '../state.ts';
import { EFER } from '../system/bits.ts';

export interface ExecMode extends HandlerMode, CodeMode {
  /** Small number, unique among the modes seen. */
  readonly id: number;
  readonly cpl: number;
  readonly csBase: Lin;
  readonly csLimit: number;
  readonly protectedMode: boolean;
  readonly vm86: boolean;
  /** Staged instructions that a virtualization extension wants to see first (TRAPPED in virt/non-root.ts). */
  readonly trapped: number;
}

const ALL = 0xffffffff;

/** A data segment of base 0 and limit 4 GiB that may be read and written: no arithmetic and no check is needed for it. */
export const flatSegment = (c: Context, seg: number): boolean => {
  const attr = c.segAttributes(seg);
  return c.segLimit(seg) === 0xffffffff && c.segBase(seg) === 0 && (attr & 0x9e) === 0x92;
};

/** Whether `length` bytes of code at an offset in CS lie within its limit (SDM Vol 3A, 5.3); 64-bit mode has none. */
export const fitsLimit = (mode: ExecMode, rip: number, length: number): boolean => mode.bits === 64 || rip + length - 1 <= mode.csLimit;

/** All modes seen. Ids are given in order of appearance, which the guest determines. */
export class ModeTable {
  private readonly buckets: (ExecMode[] | undefined)[] = new Array(2048).fill(undefined);
  private count = 0;
  /** Whether the CPUID profile has a feature. */
  private readonly has: (feature: string) => boolean;

  constructor(has: (feature: string) => boolean) {
    this.has = has;
  }

  of(c: Context, trapped = 0): ExecMode {
    const protectedMode = (c.lo(STATE.cr0) & 1) !== 0;
    const vm86 = protectedMode && (c.u32(STATE.eflags) & EFLAGS.VM) !== 0;
    const cs = c.segAttributes(CS);
    const long = (c.lo(STATE.efer) & EFER.LMA) !== 0;
    const is64 = long && (cs & SEG.l) !== 0;
    const bits = is64 ? 64 : !protectedMode || vm86 || !(cs & SEG.db) ? 16 : 32;
    const stackSize = is64 ? 8 : protectedMode && !vm86 && c.segAttributes(SS) & SEG.db ? 4 : 2;
    const { cpl } = c;
    const csBase = is64 ? (0 as Lin) : c.segBase(CS);
    const csLimit = is64 ? 0 : c.segLimit(CS);
    const flat =
      is64 || (protectedMode && flatSegment(c, DS) && flatSegment(c, ES) && flatSegment(c, SS) && csBase === 0 && csLimit === ALL);
    // Asked at every change of mode: by all that is small as an index; what is left is where CS lies, the last first.
    const bucket =
      (bits >>> 5) | (flat ? 4 : 0) | ((stackSize & 12) << 1) | (protectedMode ? 32 : 0) | (vm86 ? 64 : 0) | (cpl << 7) | (trapped << 9);
    let same = this.buckets[bucket];
    if (same === undefined) {
      same = [];
      this.buckets[bucket] = same;
    }
    for (let i = 0; i < same.length; i++) {
      const m = same[i]!;
      if (m.csBase !== csBase || m.csLimit !== csLimit) continue;
      if (i !== 0) {
        same[i] = same[0]!;
        same[0] = m;
      }
      return m;
    }
    const mode: ExecMode = {
      id: this.count++,
      has: this.has,
      bits,
      flat,
      stackSize,
      cpl,
      csBase,
      csLimit,
      protectedMode,
      vm86,
      trapped,
    };
    same.push(mode);
    return mode;
  }
}
