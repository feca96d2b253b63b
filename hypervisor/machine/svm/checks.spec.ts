// Every consistency check of VMRUN violated once, and reported by its name.

import { describe, expect, it } from 'vitest';
import { STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { type CpuProfile, PROFILES, withFeatures } from '../system/cpuid.ts';
import { MSR_AMD } from '../system/msr-vendor.ts';
import { CONSISTENCY_CHECKS, PDPE_CHECK } from './checks.ts';
import { HSAVE, IOPM, MSRPM, type Rig, ROOT, svmRig } from './rig.ts';
import type { VmcbField } from './vmcb.ts';

const LONG = EFER.SVME | EFER.LME | EFER.LMA;
const PAGED = (CR0.PG | CR0.PE | CR0.ET) >>> 0;
const PHYSICAL = 2 ** 48;
const V = 0x8000_0000;
const exception = (vector: number): number => V + (3 << 8) + vector;

interface Violation {
  readonly fields?: Partial<Record<VmcbField, number | bigint>>;
  readonly setup?: (r: Rig) => void;
  readonly nested?: boolean;
  readonly profile?: string | CpuProfile;
}
const fields = (f: Partial<Record<VmcbField, number | bigint>>): Violation => ({ fields: f });

const VIOLATIONS: Readonly<Record<string, readonly Violation[]>> = {
  'EFER.SVME is zero': [fields({ EFER: EFER.LME | EFER.LMA })],
  'CR0.CD is zero and CR0.NW is set': [fields({ CR0: (PAGED | CR0.NW) >>> 0 })],
  'CR0[63:32] are not zero': [fields({ CR0: BigInt(PAGED) | (1n << 32n) })],
  'an MBZ bit of CR3 is set': [fields({ CR3: PHYSICAL + ROOT }), fields({ CR3: 1n << 63n })],
  'an MBZ bit of CR4 is set': [fields({ CR4: CR4.PAE | CR4.VMXE }), fields({ CR4: BigInt(CR4.PAE) | (1n << 32n) })],
  'DR6[63:32] are not zero': [fields({ DR6: 1n << 40n })],
  'DR7[63:32] are not zero': [fields({ DR7: 1n << 63n })],
  'an MBZ bit of EFER is set': [fields({ EFER: LONG | 2 }), fields({ EFER: BigInt(LONG) | (1n << 33n) })],
  'EFER.LMA or EFER.LME is set without long mode': [
    { profile: withFeatures(PROFILES.zen!, ['-lm']), fields: { CR0: CR0.PE, EFER: EFER.SVME | EFER.LME } },
    { profile: withFeatures(PROFILES.zen!, ['-lm']), fields: { CR0: CR0.PE, EFER: EFER.SVME | EFER.LMA } },
  ],
  'EFER.LME and CR0.PG are set, CR4.PAE is zero': [fields({ CR4: 0 })],
  'EFER.LME and CR0.PG are set, CR0.PE is zero': [fields({ CR0: CR0.PG >>> 0 })],
  'EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set': [{ setup: (r) => r.vmcb.setSegment('CS', 8, 0xe09b, 0xffff_ffff, 0) }],
  'the VMRUN intercept is clear': [fields({ INTERCEPT_2: 0xffff_fffe })],
  'the IOPM extends past the physical address space': [fields({ IOPM_BASE_PA: PHYSICAL - 0x2000 }), fields({ IOPM_BASE_PA: 1n << 60n })],
  'the MSRPM extends past the physical address space': [fields({ MSRPM_BASE_PA: PHYSICAL - 0x1000 })],
  'the ASID is zero': [fields({ GUEST_ASID: 0 })],
  'the ASID is past the last one': [fields({ GUEST_ASID: 0x8000 }), { profile: 'k8-revf', fields: { GUEST_ASID: 64 } }],
  'an event of a reserved type is injected': [1, 5, 6, 7].map((type) => fields({ EVENTINJ: V + (type << 8) + 3 })),
  'an exception is injected with a vector that is none': [fields({ EVENTINJ: exception(2) }), fields({ EVENTINJ: exception(32) })],
  '#OF or #BR is injected into 64-bit code': [fields({ EVENTINJ: exception(4) }), fields({ EVENTINJ: exception(5) })],
  'nested paging while the host does not page': [
    {
      nested: true,
      setup(r) {
        r.svm.host = 'code';
        r.cpu.thread.msrs.set(MSR_AMD.VM_HSAVE_PA, BigInt(HSAVE));
      },
    },
  ],
  'an MBZ bit of nCR3 is set': [{ nested: true, fields: { N_CR3: PHYSICAL } }],
  'G_PAT has an undefined memory type': [
    { nested: true, fields: { G_PAT: 2 } },
    { nested: true, fields: { G_PAT: 8n << 56n } },
  ],
  [PDPE_CHECK]: [
    {
      fields: { EFER: EFER.SVME },
      // A 32-bit guest under PAE: the root's first entry has bit 1, which a PDPE must not have.
      setup: (r) => r.vmcb.setSegment('CS', 8, 0xc09b, 0xffff_ffff, 0),
    },
  ],
};

describe('consistency checks of VMRUN (APM Vol 2, 15.5.1)', () => {
  it('have a violation each', () => {
    expect(Object.keys(VIOLATIONS)).toEqual([...CONSISTENCY_CHECKS.map((c) => c.name), PDPE_CHECK]);
  });
  for (const [name, list] of Object.entries(VIOLATIONS))
    it(name, () => {
      for (const v of list) {
        const r = svmRig(v.profile ?? 'zen', v.nested ?? false);
        for (const [field, value] of Object.entries(v.fields ?? {})) r.vmcb.set(field as VmcbField, value);
        v.setup?.(r);
        const rip = r.vmcb.get('RIP');
        expect(r.svm.vmrun(r.vmcb.at)).toBe(false);
        expect(r.svm.violated).toBe(name);
        expect([r.vmcb.get('EXITCODE'), r.svm.exits.get(-1), r.svm.gif, r.svm.inGuest]).toEqual([(1n << 64n) - 1n, 1, false, false]);
        expect([r.vmcb.get('RIP'), r.vmcb.get('EXITINFO1'), r.vmcb.get('EXITINFO2')]).toEqual([rip, 0n, 0n]);
      }
    });
  it('leave the host as it was', () => {
    const r = svmRig();
    r.vmcb.set('GUEST_ASID', 0);
    r.cpu.setLin(STATE.cr3, 0x5000);
    expect(r.enter()).toBe('vmexit');
    expect([r.cpu.lin(STATE.cr3), r.cpu.nonRoot]).toEqual([0x5000, null]);
  });
  it('allow what lies just inside', () => {
    const r = svmRig('zen', true);
    r.vmcb.set('IOPM_BASE_PA', PHYSICAL - 0x3000);
    r.vmcb.set('MSRPM_BASE_PA', PHYSICAL - 0x2000 + 0xfff);
    r.vmcb.set('GUEST_ASID', 0x7fff);
    r.vmcb.set('CR0', (PAGED | CR0.NW | CR0.CD) >>> 0);
    expect([r.svm.vmrun(r.vmcb.at), r.svm.violated]).toEqual([true, undefined]);
    expect([IOPM % 4096, MSRPM % 4096]).toEqual([0, 0]);
  });
});
