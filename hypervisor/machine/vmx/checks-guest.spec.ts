// Every check on guest state is violated once, and reported by its own name and exit qualification.

import { describe } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { CS, DS, ES, FS, GS, LDTR, SS, TR } from '../state.ts';
import {
  AT,
  eachViolation,
  NOT_CANONICAL,
  OTHER_VMCS,
  PAGE_TABLES,
  type State,
  type Table,
  TOO_HIGH,
  type Violation,
  v,
} from '../testing/vmx-entry.ts';
import { ACTIVITY } from './capabilities.ts';
import { ENTRY, PIN, SECONDARY } from './controls.ts';
import { GUEST_SEGMENTS, VMCS } from './fields.ts';
import { Vmcs } from './vmcs.ts';

/** The rules that are alike for every segment register that holds a segment. */
const common = (name: string, s: number): Table => {
  const rights = (x: State): number => x.vmcs.read32(GUEST_SEGMENTS[s]!.access);
  return {
    [`${name} is present`]: v((x) => x.access(s, rights(x) & ~0x80)),
    [`bits 11:8 of the access rights of ${name} are 0`]: v((x) => x.access(s, rights(x) | 0x400)),
    [`bits 31:17 of the access rights of ${name} are 0`]: v((x) => x.access(s, rights(x) | 0x8000_0000)),
    [`${name} has G 0 if its limit does not end in FFF`]: v(
      (x) => x.set(GUEST_SEGMENTS[s]!.limit, 0x1_0ffe),
      (x) => {
        x.access(s, rights(x) | 0x8000);
        x.set(GUEST_SEGMENTS[s]!.limit, 0x1_0fff);
      },
    ),
    [`${name} has G 1 if its limit is above FFFFF`]: v(
      (x) => x.set(GUEST_SEGMENTS[s]!.limit, 0x10_0fff),
      (x) => {
        x.access(s, rights(x) & ~0x8000);
        x.set(GUEST_SEGMENTS[s]!.limit, 0xf_ffff);
      },
    ),
  };
};
const data = (name: string, s: number): Table => ({
  [`${name} is accessed`]: v((x) => x.access(s, 0xc092)),
  [`${name} is readable if it is code`]: v(
    (x) => x.access(s, 0xc099),
    (x) => x.access(s, 0xc09b),
  ),
  [`${name} is a code or data segment`]: v((x) => x.access(s, 0xc083)),
  [`the DPL of ${name} is not below its RPL unless it is conforming code or the guest is unrestricted`]: v(
    (x) => x.access(s, 0xc093),
    // Conforming code may be.
    (x) => x.segment(s, 0x1b, 0xc09f, 0xffff_ffff),
  ),
  ...common(name, s),
});
const virtual8086 = (name: string, s: number): Table => {
  const given = (x: State): void => x.toVirtual8086();
  return {
    [`in virtual-8086 mode the base of ${name} is its selector times 16`]: v((x) => x.lin(GUEST_SEGMENTS[s]!.base, 0x12000), given),
    [`in virtual-8086 mode the limit of ${name} is FFFF`]: v((x) => x.set(GUEST_SEGMENTS[s]!.limit, 0xfffe), given),
    [`in virtual-8086 mode the access rights of ${name} are F3`]: v((x) => x.access(s, 0x93), given),
  };
};
const lowBase = (name: string, s: number): Table => ({
  [`bits 63:32 of the base of ${name} are 0`]: v((x) => x.high(GUEST_SEGMENTS[s]!.base, 1)),
});

const pae = (s: State): void => s.to32();
const paeWithEpt = (s: State): void => {
  s.ept();
  s.to32();
};
const blockedBySti = (s: State): void => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 1);
const linked = (s: State): void => {
  s.secondary(SECONDARY.vmcsShadowing);
  s.link(true);
};

const GUEST: Table = {
  'CR0 has the bits that VMX operation fixes, but for PE and PG of an unrestricted guest': v(
    (s) => s.offLow(VMCS.GUEST_CR0, 0x20),
    (s) => s.toReal(),
  ),
  'CR0.PG needs CR0.PE': v(
    (s) => s.onLow(VMCS.GUEST_CR0, 0x8000_0000),
    (s) => s.toReal(),
  ),
  'CR4 has the bits that VMX operation fixes': v((s) => s.offLow(VMCS.GUEST_CR4, 0x2000)),
  'IA-32e mode needs CR0.PG': v(
    (s) => s.offLow(VMCS.GUEST_CR0, 0x8000_0000),
    (s) => s.unrestricted(),
  ),
  'IA-32e mode needs CR4.PAE': v((s) => s.offLow(VMCS.GUEST_CR4, 0x20)),
  'CR4.PCIDE needs IA-32e mode': v((s) => s.onLow(VMCS.GUEST_CR4, 1 << 17), pae),
  'CR3 is within the physical-address width': v((s) => s.high(VMCS.GUEST_CR3, TOO_HIGH)),
  'IA32_SYSENTER_ESP is canonical': v((s) => s.lin(VMCS.GUEST_SYSENTER_ESP, NOT_CANONICAL)),
  'IA32_SYSENTER_EIP is canonical': v((s) => s.lin(VMCS.GUEST_SYSENTER_EIP, NOT_CANONICAL)),
  'IA32_DEBUGCTL has no reserved bits': v(
    (s) => s.lin(VMCS.GUEST_IA32_DEBUGCTL, 4),
    (s) => {
      s.entry(ENTRY.loadDebugControls);
      s.lin(VMCS.GUEST_IA32_DEBUGCTL, 3);
    },
  ),
  'bits 63:32 of DR7 are 0': v(
    (s) => s.high(VMCS.GUEST_DR7, 1),
    (s) => s.entry(ENTRY.loadDebugControls),
  ),
  'IA32_PAT holds memory types': v(
    (s) => s.onLow(VMCS.GUEST_PAT, 0x0800_0000),
    (s) => s.entry(ENTRY.loadPat),
  ),
  'IA32_EFER has no reserved bits': v(
    (s) => s.high(VMCS.GUEST_EFER, 1),
    (s) => s.entry(ENTRY.loadEfer),
  ),
  'IA32_EFER.LMA is the control "IA-32e mode guest"': v(
    (s) => s.offLow(VMCS.GUEST_EFER, 0x400),
    (s) => s.entry(ENTRY.loadEfer),
  ),
  'IA32_EFER.LME is LMA if paging is on': v(
    (s) => s.onLow(VMCS.GUEST_EFER, 0x100),
    (s) => {
      s.to32();
      s.entry(ENTRY.loadEfer);
    },
  ),
  'TR has TI 0': v((s) => s.set(VMCS.GUEST_TR_SELECTOR, 0x34)),
  'the base of TR is canonical': v((s) => s.lin(VMCS.GUEST_TR_BASE, NOT_CANONICAL)),
  'the base of FS is canonical': v((s) => s.lin(VMCS.GUEST_FS_BASE, NOT_CANONICAL)),
  'the base of GS is canonical': v((s) => s.lin(VMCS.GUEST_GS_BASE, NOT_CANONICAL)),
  ...lowBase('CS', CS),
  ...lowBase('SS', SS),
  ...lowBase('DS', DS),
  ...lowBase('ES', ES),
  ...virtual8086('CS', CS),
  ...virtual8086('SS', SS),
  ...virtual8086('DS', DS),
  ...virtual8086('ES', ES),
  ...virtual8086('FS', FS),
  ...virtual8086('GS', GS),
  'CS has a type of code': v(
    (s) => s.access(CS, 0xc093),
    (s) => s.to32(),
  ),
  'CS is a code or data segment': v((s) => s.access(CS, 0xa08b)),
  'the DPL of CS fits its type and the DPL of SS': v(
    (s) => s.access(CS, 0xa0db),
    // Conforming code may be more privileged than the stack says.
    (s) => {
      s.segment(SS, 0x1b, 0xc0f3, 0xffff_ffff);
      s.segment(CS, 0x13, 0xa0df, 0xffff_ffff);
    },
  ),
  'CS in 64-bit mode has D 0': v((s) => s.access(CS, 0xe09b)),
  ...common('CS', CS),
  'the RPL of SS is that of CS unless the guest is unrestricted': v((s) => s.set(VMCS.GUEST_CS_SELECTOR, 0x11)),
  'the DPL of SS is its RPL unless the guest is unrestricted': v((s) => {
    s.access(SS, 0xc0f3);
    s.access(CS, 0xa0fb);
  }),
  'the DPL of SS is 0 in real mode, and with data in CS': v(
    (s) => {
      s.access(SS, 0xd3);
      s.access(CS, 0x93);
    },
    (s) => s.toReal(),
  ),
  'SS is writable data, accessed': v((s) => s.access(SS, 0xc091)),
  'SS is a code or data segment': v((s) => s.access(SS, 0xc083)),
  ...common('SS', SS),
  ...data('DS', DS),
  ...data('ES', ES),
  ...data('FS', FS),
  ...data('GS', GS),
  'TR is a busy TSS that fits the mode': v((s) => s.access(TR, 0x83)),
  'TR is a system segment': v((s) => s.access(TR, 0x9b)),
  'TR is usable': v((s) => s.access(TR, 0x1_008b)),
  ...common('TR', TR),
  'LDTR has TI 0': v((s) => s.set(VMCS.GUEST_LDTR_SELECTOR, 0x2c)),
  'the base of LDTR is canonical': v((s) => s.lin(VMCS.GUEST_LDTR_BASE, NOT_CANONICAL)),
  'LDTR is an LDT': v((s) => s.access(LDTR, 0x83)),
  'LDTR is a system segment': v((s) => s.access(LDTR, 0x92)),
  ...common('LDTR', LDTR),
  'the base of GDTR is canonical': v((s) => s.lin(VMCS.GUEST_GDTR_BASE, NOT_CANONICAL)),
  'the base of IDTR is canonical': v((s) => s.lin(VMCS.GUEST_IDTR_BASE, NOT_CANONICAL)),
  'the limit of GDTR has 16 bits': v((s) => s.set(VMCS.GUEST_GDTR_LIMIT, 0x1_0000)),
  'the limit of IDTR has 16 bits': v((s) => s.set(VMCS.GUEST_IDTR_LIMIT, 0x1_0000)),
  'outside 64-bit mode bits 63:32 of RIP are 0': v(
    (s) => s.lin(VMCS.GUEST_RIP, 0x1_0000_0000),
    // Compatibility mode.
    (s) => {
      s.access(CS, 0xc09b);
      s.lin(VMCS.GUEST_RIP, 0x1000);
    },
  ),
  'in 64-bit mode bits 63:48 of RIP are identical': v(
    (s) => s.lin(VMCS.GUEST_RIP, 0x1_0000_0000_0000),
    // Not canonical, and yet entered.
    (s) => s.lin(VMCS.GUEST_RIP, NOT_CANONICAL),
  ),
  'reserved bits of RFLAGS are what they must be': v((s) => s.offLow(VMCS.GUEST_RFLAGS, 2)),
  'RFLAGS.VM is 0 in IA-32e mode and in real mode': v(
    (s) => s.entry(ENTRY.ia32eModeGuest),
    (s) => s.toVirtual8086(),
  ),
  'RFLAGS.IF is 1 where an external interrupt is injected': v(
    (s) => s.offLow(VMCS.GUEST_RFLAGS, 0x200),
    (s) => s.inject(0, 0x30),
  ),
  'the activity state is one that the processor supports': v((s) => s.set(VMCS.GUEST_ACTIVITY_STATE, 4)),
  'the guest halts at CPL 0 only': v(
    (s) => s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt),
    (s) => {
      s.segment(CS, 0x13, 0xa0fb, 0xffff_ffff);
      s.segment(SS, 0x1b, 0xc0f3, 0xffff_ffff);
    },
  ),
  'the guest is active while STI or MOV SS blocks': v(
    (s) => s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt),
    (s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 2),
  ),
  'what is injected into a halted guest wakes it': v(
    (s) => s.inject(3, 6),
    (s) => {
      s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt);
      s.inject(3, 1);
    },
  ),
  'what is injected into a guest in shutdown is an NMI or #MC': v(
    (s) => s.inject(0, 0x30),
    (s) => {
      s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.shutdown);
      s.inject(3, 18);
    },
  ),
  'nothing is injected into a guest that waits for a SIPI': v(
    (s) => s.inject(2, 2),
    (s) => s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.waitForSipi),
  ),
  'bits 31:5 of the interruptibility state are 0': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 0x20)),
  'STI and MOV SS do not both block': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 3), blockedBySti),
  'STI blocks only where RFLAGS.IF is 1': v((s) => s.offLow(VMCS.GUEST_RFLAGS, 0x200), blockedBySti),
  'neither STI nor MOV SS blocks where an external interrupt is injected': v((s) => s.inject(0, 0x30), blockedBySti),
  'MOV SS does not block where an NMI is injected': v(
    (s) => s.inject(2, 2),
    (s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 2),
  ),
  'SMIs are not blocked outside SMM': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 4)),
  'NMIs are not blocked where one is injected with virtual NMIs': v(
    (s) => s.pin(PIN.virtualNmis),
    (s) => {
      s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 8);
      s.inject(2, 2);
    },
  ),
  'there is no enclave interruption without SGX': v((s) => s.set(VMCS.GUEST_INTERRUPTIBILITY_INFO, 16)),
  'STI does not block where an NMI is injected': v((s) => s.inject(2, 2), blockedBySti),
  'reserved bits of the pending debug exceptions are 0': v(
    (s) => s.lin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x1_0000),
    (s) => s.lin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x500f),
  ),
  'a single step is pending behind a blocked instruction that was single-stepped': v(
    (s) => s.onLow(VMCS.GUEST_RFLAGS, 0x100),
    blockedBySti,
  ),
  'no single step is pending behind a blocked instruction that was not single-stepped': v(
    (s) => s.lin(VMCS.GUEST_IA32_DEBUGCTL, 2),
    (s) => {
      s.set(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.hlt);
      s.onLow(VMCS.GUEST_RFLAGS, 0x100);
      s.lin(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0x4000);
    },
  ),
  'the VMCS link pointer is aligned to 4096 bytes': v((s) => s.onLow(VMCS.VMCS_LINK_POINTER, 0x800), linked),
  'the VMCS link pointer is within the physical-address width': v((s) => s.high(VMCS.VMCS_LINK_POINTER, TOO_HIGH), linked),
  'the VMCS link pointer is not the current VMCS': v((s) => s.lin(VMCS.VMCS_LINK_POINTER, AT), linked),
  'the linked VMCS has the revision of the processor': v(
    (s) => new Vmcs(s.ram, OTHER_VMCS as Maddr).format(s.context.caps.revision + 1, true),
    linked,
  ),
  'the linked VMCS is a shadow VMCS with VMCS shadowing, and none without': v((s) => s.link(false), linked),
  ...Object.fromEntries(
    [0, 1, 2, 3].flatMap((n): [string, Violation][] => [
      [
        `PDPTE ${n} has no reserved bits`,
        v((s) => s.lin(([VMCS.GUEST_PDPTE0, VMCS.GUEST_PDPTE1, VMCS.GUEST_PDPTE2, VMCS.GUEST_PDPTE3] as const)[n]!, 3), paeWithEpt),
      ],
      [
        `PDPTE ${n} at CR3 has no reserved bits`,
        v(
          (s) => s.ram.write32((PAGE_TABLES + 8 * n + 4) as Maddr, TOO_HIGH),
          (s) => {
            s.to32();
            s.ram.write32((PAGE_TABLES + 8 * n) as Maddr, 0x8001);
          },
        ),
      ],
    ]),
  ),
};

describe('VM entry', () => eachViolation('guest', /^26\.3\.1\.[1-6]$/, GUEST));
