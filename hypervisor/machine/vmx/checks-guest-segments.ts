// VM entry: checks on guest segment registers and descriptor-table registers (SDM Vol 3C, 26.3.1.2 and 26.3.1.3).

import { CS, DS, ES, FS, GS, LDTR, SS, TR } from '../state.ts';
import { CR0 } from '../system/bits.ts';
import { block, type EntryContext, type RuleBlock } from './checks-context.ts';
import { GUEST_SEGMENTS, VMCS } from './fields.ts';

const SEGMENTS = '26.3.1.2';
const NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const;
/** Access rights as the VMCS has them (24.4.1, Table 24-2). */
const AR = {
  s: 0x10,
  present: 0x80,
  reserved8: 0xf00,
  l: 0x2000,
  db: 0x4000,
  g: 0x8000,
  unusable: 0x1_0000,
  reserved17: 0xfffe_0000,
} as const;
const TI = 4;
/** What every segment register of a virtual-8086 guest has: read/write, accessed, present, DPL 3. */
const VIRTUAL_8086_RIGHTS = 0xf3;

const type = (c: EntryContext, s: number): number => c.access[s]! & 15;
const dpl = (c: EntryContext, s: number): number => (c.access[s]! >>> 5) & 3;
const rpl = (c: EntryContext, s: number): number => c.selector[s]! & 3;
const limit = (c: EntryContext, s: number): number => c.vmcs.read32(GUEST_SEGMENTS[s]!.limit);
const has = (c: EntryContext, s: number, bit: number): boolean => (c.access[s]! & bit) !== 0;
const isOneOf = (set: number, v: number): boolean => ((set >>> v) & 1) !== 0;
const types = (...list: number[]): number => list.reduce((all, t) => all | (1 << t), 0);

/** The part of the rules that is the same for all that hold a segment. */
const common = (s: number): Record<string, (c: EntryContext) => boolean> => ({
  [`${NAMES[s]} is present`]: (c) => has(c, s, AR.present),
  [`bits 11:8 of the access rights of ${NAMES[s]} are 0`]: (c) => !has(c, s, AR.reserved8),
  [`bits 31:17 of the access rights of ${NAMES[s]} are 0`]: (c) => !has(c, s, AR.reserved17),
  [`${NAMES[s]} has G 0 if its limit does not end in FFF`]: (c) => (limit(c, s) & 0xfff) === 0xfff || !has(c, s, AR.g),
  [`${NAMES[s]} has G 1 if its limit is above FFFFF`]: (c) => limit(c, s) >>> 20 === 0 || has(c, s, AR.g),
});

/** Data and code-or-data segments of a guest that is not in virtual-8086 mode. */
const data = (s: number): RuleBlock =>
  block(SEGMENTS, (c) => !c.isVirtual8086 && c.isUsable(s), {
    [`${NAMES[s]} is accessed`]: (c) => (type(c, s) & 1) !== 0,
    [`${NAMES[s]} is readable if it is code`]: (c) => (type(c, s) & 10) !== 8,
    [`${NAMES[s]} is a code or data segment`]: (c) => has(c, s, AR.s),
    [`the DPL of ${NAMES[s]} is not below its RPL unless it is conforming code or the guest is unrestricted`]: (c) =>
      c.isUnrestricted || type(c, s) > 11 || dpl(c, s) >= rpl(c, s),
    ...common(s),
  });

const virtual8086 = (s: number): Record<string, (c: EntryContext) => boolean> => ({
  [`in virtual-8086 mode the base of ${NAMES[s]} is its selector times 16`]: (c) =>
    c.vmcs.readLin(GUEST_SEGMENTS[s]!.base) === c.selector[s]! * 16,
  [`in virtual-8086 mode the limit of ${NAMES[s]} is FFFF`]: (c) => limit(c, s) === 0xffff,
  [`in virtual-8086 mode the access rights of ${NAMES[s]} are F3`]: (c) => c.access[s] === VIRTUAL_8086_RIGHTS,
});

const lowBase = (s: number): RuleBlock =>
  block(SEGMENTS, (c) => s === CS || c.isUsable(s), {
    [`bits 63:32 of the base of ${NAMES[s]} are 0`]: (c) => c.isLow(GUEST_SEGMENTS[s]!.base),
  });

const CODE = types(9, 11, 13, 15);
const DATA_ACCESSED_WRITABLE = 3;
/** Types that CS may have; a data segment is for real mode, which an unrestricted guest may be in. */
const isCodeType = (c: EntryContext): boolean => isOneOf(c.isUnrestricted ? CODE | types(DATA_ACCESSED_WRITABLE) : CODE, type(c, CS));

export const GUEST_SEGMENT_CHECKS: readonly RuleBlock[] = [
  block(SEGMENTS, undefined, {
    'TR has TI 0': (c) => (c.selector[TR]! & TI) === 0,
    'the base of TR is canonical': (c) => c.isCanonical(VMCS.GUEST_TR_BASE),
    'the base of FS is canonical': (c) => c.isCanonical(VMCS.GUEST_FS_BASE),
    'the base of GS is canonical': (c) => c.isCanonical(VMCS.GUEST_GS_BASE),
  }),
  ...[CS, SS, DS, ES].map(lowBase),
  ...[CS, SS, DS, ES, FS, GS].map((s) => block(SEGMENTS, (c) => c.isVirtual8086, virtual8086(s))),
  block(SEGMENTS, (c) => !c.isVirtual8086, {
    'CS has a type of code': isCodeType,
    'CS is a code or data segment': (c) => has(c, CS, AR.s),
    'the DPL of CS fits its type and the DPL of SS': (c) => {
      const t = type(c, CS);
      if (t === DATA_ACCESSED_WRITABLE) return dpl(c, CS) === 0;
      return t < 12 ? dpl(c, CS) === dpl(c, SS) : dpl(c, CS) <= dpl(c, SS);
    },
    'CS in 64-bit mode has D 0': (c) => !c.isIa32eGuest || !has(c, CS, AR.l) || !has(c, CS, AR.db),
    ...common(CS),
    'the RPL of SS is that of CS unless the guest is unrestricted': (c) => c.isUnrestricted || rpl(c, SS) === rpl(c, CS),
    'the DPL of SS is its RPL unless the guest is unrestricted': (c) => c.isUnrestricted || dpl(c, SS) === rpl(c, SS),
    'the DPL of SS is 0 in real mode, and with data in CS': (c) =>
      (type(c, CS) !== DATA_ACCESSED_WRITABLE && (c.cr0 & CR0.PE) !== 0) || dpl(c, SS) === 0,
  }),
  block(SEGMENTS, (c) => !c.isVirtual8086 && c.isUsable(SS), {
    'SS is writable data, accessed': (c) => isOneOf(types(3, 7), type(c, SS)),
    'SS is a code or data segment': (c) => has(c, SS, AR.s),
    ...common(SS),
  }),
  ...[DS, ES, FS, GS].map(data),
  block(SEGMENTS, undefined, {
    'TR is a busy TSS that fits the mode': (c) => isOneOf(c.isIa32eGuest ? types(11) : types(3, 11), type(c, TR)),
    'TR is a system segment': (c) => !has(c, TR, AR.s),
    'TR is usable': (c) => c.isUsable(TR),
    ...common(TR),
  }),
  block(SEGMENTS, (c) => c.isUsable(LDTR), {
    'LDTR has TI 0': (c) => (c.selector[LDTR]! & TI) === 0,
    'the base of LDTR is canonical': (c) => c.isCanonical(VMCS.GUEST_LDTR_BASE),
    'LDTR is an LDT': (c) => type(c, LDTR) === 2,
    'LDTR is a system segment': (c) => !has(c, LDTR, AR.s),
    ...common(LDTR),
  }),
  block('26.3.1.3', undefined, {
    'the base of GDTR is canonical': (c) => c.isCanonical(VMCS.GUEST_GDTR_BASE),
    'the base of IDTR is canonical': (c) => c.isCanonical(VMCS.GUEST_IDTR_BASE),
    'the limit of GDTR has 16 bits': (c) => c.vmcs.read32(VMCS.GUEST_GDTR_LIMIT) >>> 16 === 0,
    'the limit of IDTR has 16 bits': (c) => c.vmcs.read32(VMCS.GUEST_IDTR_LIMIT) >>> 16 === 0,
  }),
];
