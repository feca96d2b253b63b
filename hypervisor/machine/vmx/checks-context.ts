// What the checks on VM entries look at, and what a check is (SDM Vol 3C, chapter 26).
//
// A rule is a name, a section and a predicate; rules of one condition share a block, so that the condition is asked once. An entry runs
// through some two hundred of them: the context is filled once and used again, predicates take it and nothing else, and nothing is allocated.

import type { PhysicalMap } from '../mmu/physical.ts';
import { EFLAGS } from '../state.ts';
import { CR0 } from '../system/bits.ts';
import type { VmxCapabilities } from './capabilities.ts';
import { ENTRY, PRIMARY, SECONDARY } from './controls.ts';
import { ALL_FIELDS, type Encoding, type FieldClass, GUEST_SEGMENTS, VMCS, type Wide, wordsOf } from './fields.ts';
import type { Vmcs } from './vmcs.ts';

export interface EntryRule {
  /** What must hold. */
  readonly name: string;
  /** Of SDM Vol 3C, in the numbering that controls.ts names. */
  readonly section: string;
  /** For guest state: the exit qualification of the failure (26.8), where it is not 0. */
  readonly qualification?: number;
  holds(c: EntryContext): boolean;
}

export interface RuleBlock {
  /** Without it: always. */
  readonly when?: (c: EntryContext) => boolean;
  readonly rules: readonly EntryRule[];
}

/** Exit qualifications of an entry that failed for invalid guest state (26.8). */
export const ENTRY_FAILURE_QUALIFICATION = { other: 0, pdpte: 2, nmiInjection: 3, linkPointer: 4 } as const;

/** Rules of one section. */
export const block = (
  section: string,
  when: ((c: EntryContext) => boolean) | undefined,
  rules: Readonly<Record<string, (c: EntryContext) => boolean>>,
  qualification?: number,
): RuleBlock => ({
  ...(when && { when }),
  rules: Object.entries(rules).map(([name, holds]) => ({ name, section, holds, ...(qualification !== undefined && { qualification }) })),
});

/** The first rule that does not hold, in the order of the blocks; undefined when all hold. */
export function firstFailure(blocks: readonly RuleBlock[], c: EntryContext): EntryRule | undefined {
  for (let i = 0; i < blocks.length; i++) {
    const b = blocks[i]!;
    if (b.when !== undefined && !b.when(c)) continue;
    const { rules } = b;
    for (let j = 0; j < rules.length; j++) if (!rules[j]!.holds(c)) return rules[j];
  }
  return undefined;
}

/**
 * Rules whose outcome depends on some fields and on nothing else: while these are what they were when the rules last held, the rules are
 * not asked again. Most entries change few fields; without this the rules took 4 us of an entry, with it under 1.
 */
export class Memo {
  private readonly words: Uint16Array;
  private readonly passed: Uint32Array;
  private key = -1;

  constructor(fields: readonly Encoding[]) {
    this.words = wordsOf(fields);
    this.passed = new Uint32Array(this.words.length);
  }

  /** firstFailure() of `blocks`. `key`: whatever else the rules look at, not negative. */
  firstFailure(blocks: readonly RuleBlock[], c: EntryContext, key: number): EntryRule | undefined {
    if (this.key === key && c.vmcs.hasWords(this.words, this.passed)) return undefined;
    const failed = firstFailure(blocks, c);
    if (failed === undefined) {
      c.vmcs.copyWords(this.words, this.passed);
      this.key = key;
    } else this.key = -1;
    return failed;
  }
}

const ofClass = (what: FieldClass): Encoding[] =>
  ALL_FIELDS.filter((f) => f.class === what && !f.isHigh).map((f) => f.encoding as Encoding);
/** Control fields that change from entry to entry, or that no rule looks at; those that are looked at have rules that are always asked. */
const LIVE_CONTROLS: ReadonlySet<number> = new Set<Encoding>([
  VMCS.VM_ENTRY_INTR_INFO,
  VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE,
  VMCS.VM_ENTRY_INSTRUCTION_LEN,
  VMCS.TPR_THRESHOLD,
  VMCS.TSC_OFFSET,
  VMCS.EXCEPTION_BITMAP,
  VMCS.CR0_READ_SHADOW,
  VMCS.CR4_READ_SHADOW,
  VMCS.CR0_GUEST_HOST_MASK,
  VMCS.CR4_GUEST_HOST_MASK,
]);

export class EntryContext {
  readonly controlMemo = new Memo(ofClass('control').filter((e) => !LIVE_CONTROLS.has(e)));
  readonly hostMemo = new Memo([...ofClass('host'), VMCS.VM_EXIT_CONTROLS, VMCS.VM_ENTRY_CONTROLS]);
  readonly registerMemo = new Memo([
    VMCS.VM_ENTRY_CONTROLS,
    VMCS.GUEST_CR0,
    VMCS.GUEST_CR3,
    VMCS.GUEST_CR4,
    VMCS.GUEST_SYSENTER_ESP,
    VMCS.GUEST_SYSENTER_EIP,
    VMCS.GUEST_IA32_DEBUGCTL,
    VMCS.GUEST_DR7,
    VMCS.GUEST_PAT,
    VMCS.GUEST_EFER,
  ]);
  readonly segmentMemo = new Memo([
    ...GUEST_SEGMENTS.flatMap((s) => [s.selector, s.access, s.limit, s.base]),
    VMCS.GUEST_GDTR_BASE,
    VMCS.GUEST_GDTR_LIMIT,
    VMCS.GUEST_IDTR_BASE,
    VMCS.GUEST_IDTR_LIMIT,
  ]);

  readonly caps: VmxCapabilities;
  readonly physical: PhysicalMap;
  vmcs: Vmcs;
  /** IA32_EFER.LMA when the entry began. */
  inIa32e = false;

  // Control words and guest state that many rules ask for; bits as signed 32-bit numbers.
  pin = 0;
  primary = 0;
  /** 0 where "activate secondary controls" is 0. */
  secondary = 0;
  exit = 0;
  entry = 0;
  /** VM-entry interruption information. */
  event = 0;
  cr0 = 0;
  cr4 = 0;
  rflags = 0;
  interruptibility = 0;
  activity = 0;
  isIa32eGuest = false;
  isVirtual8086 = false;
  isUnrestricted = false;
  /** Segment registers by number (state.ts): selectors, access rights as the VMCS has them. */
  readonly selector = new Int32Array(8);
  readonly access = new Int32Array(8);

  private readonly highShift: number;
  private readonly physicalEnd: number;

  constructor(caps: VmxCapabilities, physical: PhysicalMap, vmcs: Vmcs) {
    this.caps = caps;
    this.physical = physical;
    this.vmcs = vmcs;
    this.highShift = caps.physicalBits - 32;
    this.physicalEnd = 2 ** caps.physicalBits;
  }

  /** Before the checks of an entry with `vmcs`. `inIa32e`: the processor is in IA-32e mode now. */
  use(vmcs: Vmcs, inIa32e: boolean): void {
    this.vmcs = vmcs;
    this.inIa32e = inIa32e;
    this.pin = vmcs.read32(VMCS.PIN_BASED_VM_EXEC_CONTROL);
    this.primary = vmcs.read32(VMCS.CPU_BASED_VM_EXEC_CONTROL);
    this.secondary = this.primary & PRIMARY.activateSecondaryControls ? vmcs.read32(VMCS.SECONDARY_VM_EXEC_CONTROL) : 0;
    this.exit = vmcs.read32(VMCS.VM_EXIT_CONTROLS);
    this.entry = vmcs.read32(VMCS.VM_ENTRY_CONTROLS);
    this.event = vmcs.read32(VMCS.VM_ENTRY_INTR_INFO);
    this.cr0 = vmcs.lo(VMCS.GUEST_CR0);
    this.cr4 = vmcs.lo(VMCS.GUEST_CR4);
    this.rflags = vmcs.lo(VMCS.GUEST_RFLAGS);
    this.interruptibility = vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO);
    this.activity = vmcs.read32(VMCS.GUEST_ACTIVITY_STATE);
    this.isIa32eGuest = (this.entry & ENTRY.ia32eModeGuest) !== 0;
    this.isVirtual8086 = (this.rflags & EFLAGS.VM) !== 0;
    this.isUnrestricted = (this.secondary & SECONDARY.unrestrictedGuest) !== 0;
    for (let i = 0; i < 8; i++) {
      const s = GUEST_SEGMENTS[i]!;
      this.selector[i] = vmcs.read32(s.selector);
      this.access[i] = vmcs.read32(s.access);
    }
  }

  /** What rules about guest state look at besides guest fields, and the two bits of CR0 and RFLAGS that say which mode it is. */
  get modeKey(): number {
    return (this.isIa32eGuest ? 1 : 0) | (this.isUnrestricted ? 2 : 0) | (this.isVirtual8086 ? 4 : 0) | ((this.cr0 & CR0.PE) << 3);
  }

  /** Sets no bit beyond the physical-address width. */
  fits(e: Wide): boolean {
    return this.vmcs.hi(e) >>> this.highShift === 0;
  }
  /** Physical address + bytes is within the physical-address width, for an address that is. */
  fitsTo(e: Wide, bytes: number): boolean {
    return this.vmcs.readLin(e) + bytes <= this.physicalEnd;
  }
  isAligned(e: Wide, bytes: number): boolean {
    return (this.vmcs.lo(e) & (bytes - 1)) === 0;
  }
  isCanonical(e: Wide): boolean {
    const sign = (this.vmcs.hi(e) | 0) >> 15;
    return sign === 0 || sign === -1;
  }
  /** Bits 63:32 are zero. */
  isLow(e: Wide): boolean {
    return this.vmcs.hi(e) === 0;
  }
  /** 32 bits of memory; all ones where no RAM is. */
  read32(address: number): number {
    const at = this.physical.locate(address);
    return at === -1 ? 0xffff_ffff : this.physical.ram.read32(at);
  }
  isUsable(segment: number): boolean {
    return (this.access[segment]! & UNUSABLE) === 0;
  }
}

/** Access-rights bit of a segment register that holds no segment (24.4.1, Table 24-2). */
export const UNUSABLE = 1 << 16;
/** VM-entry interruption information (24.8.3, Table 24-15). */
export const EVENT = { vector: 0xff, typeShift: 8, type: 7, deliverError: 1 << 11, reserved: 0x7fff_f000, valid: 1 << 31 } as const;
export const eventType = (c: EntryContext): number => (c.event >>> EVENT.typeShift) & EVENT.type;

/** Each byte of a PAT is a memory type: 0, 1, 4, 5, 6, 7 (26.2.2, 26.3.1.1). */
export const isPat = (lo: number, hi: number): boolean => areTypes(lo) && areTypes(hi);
const areTypes = (v: number): boolean => (v & 0xf8f8_f8f8) === 0 && ((v >>> 1) & ~(v >>> 2) & 0x0101_0101) === 0;
