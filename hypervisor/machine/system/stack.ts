// A cursor over a stack: pushes and pops of a whole frame at a trial pointer, committed to RSP only when nothing can fault any more;
// and the search for an inner stack in the TSS (SDM Vol 3A, 6.12.1, 6.14.2, 7.7).

import type { Lin } from '../addresses.ts';
import { isCanonical, linHi, linLo } from '../addresses.ts';
import { RSP, SEG, SS, TR } from '../state.ts';
import { EXC } from './bits.ts';
import type { Descriptor } from './descriptor.ts';
import { isNull, readDescriptor, SYS, selectorError } from './descriptor.ts';
import { load, loadBig, loadLin, store, storeBig, storeHalves } from './linear.ts';
import { hasProtection, is64 } from './mode.ts';
import { withinLimit } from './operands.ts';
import type { SystemCpu } from './ports.ts';
import { isWritableData } from './segments.ts';

export interface StackPlace {
  readonly base: number;
  readonly limit: number;
  readonly attributes: number;
  /** 64-bit stack: no limit, no base. */
  readonly long: boolean;
  /** Initial stack pointer. */
  readonly sp: number;
  /** The accesses are made at CPL 0..2, whatever the current CPL. */
  readonly supervisor: boolean;
  /** Error code of the #SS that a bad address raises. */
  readonly errorCode: number;
}

export class StackCursor {
  sp: number;
  private readonly cpu: SystemCpu;
  private readonly place: StackPlace;

  constructor(cpu: SystemCpu, place: StackPlace) {
    this.cpu = cpu;
    this.place = place;
    this.sp = place.sp;
  }

  private wrap(sp: number): number {
    if (this.place.long) return sp;
    return this.place.attributes & SEG.db ? sp >>> 0 : sp & 0xffff;
  }

  private linear(sp: number, size: number): Lin | undefined {
    const { base, limit, attributes, long, errorCode } = this.place;
    if (long) {
      if (isCanonical(sp as Lin) && isCanonical((sp + size - 1) as Lin)) return sp as Lin;
    } else if (!hasProtection(this.cpu) || attributes & SEG.present) {
      if (withinLimit(attributes, limit, sp, size)) return ((base + sp) >>> 0) as Lin;
    }
    this.cpu.fault(EXC.SS, errorCode);
    return undefined;
  }

  push(value: bigint | number, size: number): boolean {
    const sp = this.wrap(this.sp - size);
    const lin = this.linear(sp, size);
    if (lin === undefined || !this.put(lin, value, size)) return false;
    this.sp = sp;
    return true;
  }

  /** Without BigInt but for the 64-bit values that come as one. */
  private put(lin: Lin, value: bigint | number, size: number): boolean {
    const { supervisor } = this.place;
    if (typeof value === 'bigint') return storeBig(this.cpu, lin, size, BigInt.asUintN(8 * size, value), supervisor);
    if (size === 8) return storeHalves(this.cpu, lin, linLo(value as Lin), linHi(value as Lin), supervisor);
    return store(this.cpu, lin, size, value, supervisor);
  }

  /** Pushes in the order given; false at the first fault. */
  pushAll(values: readonly (bigint | number)[], size: number): boolean {
    return values.every((v) => this.push(v, size));
  }

  popBig(size: number): bigint | undefined {
    const lin = this.linear(this.sp, size);
    const v = lin === undefined ? undefined : loadBig(this.cpu, lin, size, this.place.supervisor);
    if (v !== undefined) this.sp = this.wrap(this.sp + size);
    return v;
  }
  /** Value as a number: unsigned up to 4 bytes; for 8 a signed linear address (exact when canonical). */
  pop(size: number): number | undefined {
    const lin = this.linear(this.sp, size);
    if (lin === undefined) return undefined;
    const v = size === 8 ? loadLin(this.cpu, lin, this.place.supervisor) : load(this.cpu, lin, size, this.place.supervisor);
    if (v !== undefined) this.sp = this.wrap(this.sp + size);
    return v;
  }
  popSelector(size: number): number | undefined {
    const lin = this.linear(this.sp, size);
    const p = lin === undefined ? 0 : this.cpu.probe(lin, size, false, this.place.supervisor);
    if (p === 0) return undefined;
    this.sp = this.wrap(this.sp + size);
    return this.cpu.ram.u8[p]! | (this.cpu.ram.u8[p + 1]! << 8);
  }
  /** Steps over `bytes` (RET n, gate parameters). */
  skip(bytes: number): void {
    this.sp = this.wrap(this.sp + bytes);
  }

  /** Writes the stack pointer back, at the width of this stack. */
  commit(): void {
    const { cpu, place } = this;
    if (place.long) cpu.setRegLin(RSP, this.sp);
    else if (place.attributes & SEG.db) cpu.setRegHalves(RSP, this.sp, 0);
    else cpu.setRegHalves(RSP, (cpu.regLo(RSP) & ~0xffff) | this.sp, cpu.regHi(RSP));
  }
}

/** The stack that SS:RSP designate now. */
export function currentStack(cpu: SystemCpu, errorCode = 0): StackCursor {
  const long = is64(cpu);
  const attributes = cpu.segAttributes(SS);
  const sp = long ? cpu.regLin(RSP) : attributes & SEG.db ? cpu.regLo(RSP) >>> 0 : cpu.regLo(RSP) & 0xffff;
  return new StackCursor(cpu, {
    base: cpu.segBase(SS),
    limit: cpu.segLimit(SS),
    attributes,
    long,
    sp,
    supervisor: false,
    errorCode,
  });
}

/** A stack in segment d at sp, used at level cpl. */
export function stackIn(cpu: SystemCpu, d: Descriptor, sp: number, cpl: number, errorCode: number): StackCursor {
  const { base, limit, attributes } = d;
  return new StackCursor(cpu, {
    base,
    limit,
    attributes,
    long: false,
    sp: attributes & SEG.db ? sp : sp & 0xffff,
    supervisor: cpl < 3,
    errorCode,
  });
}

export function longStack(cpu: SystemCpu, sp: number, cpl: number, errorCode = 0): StackCursor {
  return new StackCursor(cpu, { base: 0, limit: 0, attributes: SEG.db, long: true, sp, supervisor: cpl < 3, errorCode });
}

const tssFault = (cpu: SystemCpu, selector: number, ext: number): undefined => {
  cpu.fault(EXC.TS, selectorError(selector, ext));
  return undefined;
};

/** SS and (E)SP for level cpl from a 16- or 32-bit TSS, every check made. */
export function innerStack(cpu: SystemCpu, cpl: number, ext = 0): { selector: number; d: Descriptor; sp: number } | undefined {
  const is32 = (cpu.segAttributes(TR) & SEG.type & 8) !== 0;
  const at = is32 ? 4 + 8 * cpl : 2 + 4 * cpl;
  const size = is32 ? 4 : 2;
  if (at + size + 1 > cpu.segLimit(TR)) return tssFault(cpu, cpu.selector(TR), ext);
  const tss = cpu.segBase(TR);
  const sp = load(cpu, (tss + at) as Lin, size, true);
  const selector = sp === undefined ? undefined : load(cpu, (tss + at + size) as Lin, 2, true);
  if (sp === undefined || selector === undefined) return undefined;
  const d = checkInnerSs(cpu, selector, cpl, ext);
  return d && { selector, d, sp };
}

function checkInnerSs(cpu: SystemCpu, selector: number, cpl: number, ext: number): Descriptor | undefined {
  if (isNull(selector)) return tssFault(cpu, 0, ext);
  const d = readDescriptor(cpu, selector, EXC.TS, ext);
  if (!d) return undefined;
  if ((selector & 3) !== cpl || d.dpl !== cpl || !isWritableData(d)) return tssFault(cpu, selector, ext);
  if (!d.isPresent) {
    cpu.fault(EXC.SS, selectorError(selector, ext));
    return undefined;
  }
  return d;
}

/** RSPn (n = 0..2) or, with ist = 1..7, ISTn from the 64-bit TSS. */
export function longInnerRsp(cpu: SystemCpu, cpl: number, ist: number, ext = 0): Lin | undefined {
  const at = ist ? 0x1c + 8 * ist : 4 + 8 * cpl;
  if (at + 7 > cpu.segLimit(TR)) return tssFault(cpu, cpu.selector(TR), ext);
  const lin = loadLin(cpu, (cpu.segBase(TR) + at) as Lin, true);
  if (lin === undefined) return undefined;
  if (isCanonical(lin)) return lin;
  cpu.fault(EXC.SS, ext);
  return undefined;
}

export const isTss16 = (cpu: SystemCpu): boolean => (cpu.segAttributes(TR) & SEG.type & ~2) === SYS.tss16Available;
