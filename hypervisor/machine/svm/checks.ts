// The consistency checks of VMRUN (APM Vol 2, 15.5.1; event injection 15.20; nested paging 15.25.4): illegal states of the VMCB, each with
// its name. A violated one ends in #VMEXIT(VMEXIT_INVALID); its name is for the log and for tests, the processor tells nobody.

import { SEG } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { cr4Allowed } from '../system/control.ts';
import type { CpuProfile } from '../system/profiles/profile.ts';
import { IOPM_SIZE, MSRPM_SIZE } from './controls.ts';
import type { SvmFeatures } from './features.ts';
import { codeOf } from './intercepts.ts';
import { attributesFromVmcb, EVENT, NP_ENABLE, SEGMENT, VMCB, type Vmcb } from './vmcb.ts';

/** What the checks depend on beside the VMCB: constants of a processor. */
export interface CheckContext {
  readonly eferMbz: number;
  readonly cr4Mbz: number;
  readonly physicalBits: number;
  readonly longMode: boolean;
  readonly features: SvmFeatures;
  /** CR0.PG of the host; true under a host in TypeScript. */
  hostPaging: boolean;
}

export interface ConsistencyCheck {
  readonly name: string;
  readonly section: string;
  violated(v: Vmcb, c: CheckContext): boolean;
}

const efer = (v: Vmcb): number => v.lo(VMCB.EFER[0]);
const cr0 = (v: Vmcb): number => v.lo(VMCB.CR0[0]);
const cr4 = (v: Vmcb): number => v.lo(VMCB.CR4[0]);
const csAttributes = (v: Vmcb): number => attributesFromVmcb(v.u16(VMCB.CS[0] + SEGMENT.attributes));
/** The guest will have EFER.LMA. */
const isLong = (v: Vmcb): boolean => (efer(v) & EFER.LME) !== 0 && (cr0(v) & CR0.PG) !== 0;
const injects = (v: Vmcb): boolean => (v.lo(VMCB.EVENTINJ[0]) & EVENT.valid) !== 0;
const injectedType = (v: Vmcb): number => (v.lo(VMCB.EVENTINJ[0]) & EVENT.type) >>> EVENT.typeShift;
const injectedVector = (v: Vmcb): number => v.lo(VMCB.EVENTINJ[0]) & EVENT.vector;
const nested = (v: Vmcb, c: CheckContext): boolean => c.features.nestedPaging && (v.lo(VMCB.NESTED_CTL[0]) & NP_ENABLE) !== 0;
/** A map of `size` bytes reaches past the last physical address. */
const tooHigh = (v: Vmcb, offset: number, size: number, c: CheckContext): boolean =>
  v.address(offset) - (v.lo(offset) & 0xfff) + size > 2 ** c.physicalBits;
/** Memory types UC WC WT WP WB UC- in each byte (APM Vol 2, Table 7-9). */
function badPat(lo: number, hi: number): boolean {
  for (let i = 0; i < 32; i += 8) if (badType((lo >>> i) & 0xff) || badType((hi >>> i) & 0xff)) return true;
  return false;
}
const badType = (t: number): boolean => t > 7 || t === 2 || t === 3;

const check = (name: string, section: string, violated: ConsistencyCheck['violated']): ConsistencyCheck => ({ name, section, violated });

/** In the order of the manual; the first violated one is reported. */
export const CONSISTENCY_CHECKS = [
  check('EFER.SVME is zero', '15.5.1', (v) => (efer(v) & EFER.SVME) === 0),
  check('CR0.CD is zero and CR0.NW is set', '15.5.1', (v) => (cr0(v) & (CR0.CD | CR0.NW)) === CR0.NW),
  check('CR0[63:32] are not zero', '15.5.1', (v) => v.hi(VMCB.CR0[0]) !== 0),
  check('an MBZ bit of CR3 is set', '15.5.1', (v, c) => isLong(v) && v.hi(VMCB.CR3[0]) >>> (c.physicalBits - 32) !== 0),
  check('an MBZ bit of CR4 is set', '15.5.1', (v, c) => (cr4(v) & c.cr4Mbz) !== 0 || v.hi(VMCB.CR4[0]) !== 0),
  check('DR6[63:32] are not zero', '15.5.1', (v) => v.hi(VMCB.DR6[0]) !== 0),
  check('DR7[63:32] are not zero', '15.5.1', (v) => v.hi(VMCB.DR7[0]) !== 0),
  check('an MBZ bit of EFER is set', '15.5.1', (v, c) => (efer(v) & c.eferMbz) !== 0 || v.hi(VMCB.EFER[0]) !== 0),
  check('EFER.LMA or EFER.LME is set without long mode', '15.5.1', (v, c) => !c.longMode && (efer(v) & (EFER.LMA | EFER.LME)) !== 0),
  check('EFER.LME and CR0.PG are set, CR4.PAE is zero', '15.5.1', (v) => isLong(v) && (cr4(v) & CR4.PAE) === 0),
  check('EFER.LME and CR0.PG are set, CR0.PE is zero', '15.5.1', (v) => isLong(v) && (cr0(v) & CR0.PE) === 0),
  check(
    'EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set',
    '15.5.1',
    (v) => isLong(v) && (cr4(v) & CR4.PAE) !== 0 && (csAttributes(v) & (SEG.l | SEG.db)) === (SEG.l | SEG.db),
  ),
  check('the VMRUN intercept is clear', '15.5.1', (v) => (v.lo(VMCB.INTERCEPT_2[0]) & (1 << (codeOf('VMRUN') & 31))) === 0),
  check('the IOPM extends past the physical address space', '15.5.1', (v, c) => tooHigh(v, VMCB.IOPM_BASE_PA[0], IOPM_SIZE, c)),
  check('the MSRPM extends past the physical address space', '15.5.1', (v, c) => tooHigh(v, VMCB.MSRPM_BASE_PA[0], MSRPM_SIZE, c)),
  check('the ASID is zero', '15.5.1', (v) => v.u32(VMCB.GUEST_ASID[0]) === 0),
  check('the ASID is past the last one', '15.16', (v, c) => v.u32(VMCB.GUEST_ASID[0]) >= c.features.asids),
  check('an event of a reserved type is injected', '15.20', (v) => injects(v) && (0b1110_0010 & (1 << injectedType(v))) !== 0),
  check(
    'an exception is injected with a vector that is none',
    '15.20',
    (v) => injects(v) && injectedType(v) === 3 && (injectedVector(v) === 2 || injectedVector(v) > 31),
  ),
  check(
    '#OF or #BR is injected into 64-bit code',
    '15.20',
    (v) =>
      injects(v) &&
      injectedType(v) === 3 &&
      (injectedVector(v) === 4 || injectedVector(v) === 5) &&
      isLong(v) &&
      (csAttributes(v) & SEG.l) !== 0,
  ),
  check('nested paging while the host does not page', '15.25.3', (v, c) => nested(v, c) && !c.hostPaging),
  check('an MBZ bit of nCR3 is set', '15.25.4', (v, c) => nested(v, c) && v.hi(VMCB.N_CR3[0]) >>> (c.physicalBits - 32) !== 0),
  check('G_PAT has an undefined memory type', '15.25.4', (v, c) => nested(v, c) && badPat(v.lo(VMCB.G_PAT[0]), v.hi(VMCB.G_PAT[0]))),
] as const;

/** Found when the guest's CR3 is loaded, not by looking at the VMCB: legacy PAE paging without nested paging reads the PDPEs (15.5.1). */
export const PDPE_CHECK = 'a reserved bit of a PDPE is set';

/** The rule that a VMCB violates, or undefined. */
export function violatedCheck(v: Vmcb, c: CheckContext): string | undefined {
  for (let i = 0; i < CONSISTENCY_CHECKS.length; i++) if (CONSISTENCY_CHECKS[i]!.violated(v, c)) return CONSISTENCY_CHECKS[i]!.name;
  return undefined;
}

/** EFER bits that a processor has. */
export function eferAllowed(p: CpuProfile): number {
  const bits: readonly [string, number][] = [
    ['syscall', EFER.SCE],
    ['lm', EFER.LME | EFER.LMA],
    ['nx', EFER.NXE],
    ['svm', EFER.SVME],
    ['fxsr_opt', EFER.FFXSR],
  ];
  return bits.reduce((all, [name, bit]) => (p.features.has(name) ? all | bit : all), 0);
}

export const checkContext = (p: CpuProfile, features: SvmFeatures): CheckContext => ({
  // Long mode's own bits have a check of their own.
  eferMbz: ~(eferAllowed(p) | EFER.LME | EFER.LMA),
  cr4Mbz: ~cr4Allowed(p),
  physicalBits: p.physicalBits,
  longMode: p.features.has('lm'),
  features,
  hostPaging: true,
});
