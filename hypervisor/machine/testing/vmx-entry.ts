// A VMCS that passes every check of VM entry, what changes it, and the harness of the tables of violations.

import { expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { PhysicalMap } from '../mmu/physical.ts';
import { Ram } from '../mmu/ram.ts';
import { CS, DS, ES, FS, GS, LDTR, SS, TR } from '../state.ts';
import { PROFILES } from '../system/cpuid.ts';
import { capabilitiesOf, type VmxCapabilities } from '../vmx/capabilities.ts';
import { ENTRY_CHECKS, EntryContext, type EntryRule, failingControl, failingGuest, failingHost } from '../vmx/checks.ts';
import { CONTROLS, type ControlWord, ENTRY, EXIT, PIN, PRIMARY, SECONDARY } from '../vmx/controls.ts';
import { GUEST_SEGMENTS, type Narrow, VMCS, type Wide } from '../vmx/fields.ts';
import { Vmcs } from '../vmx/vmcs.ts';

export const skylake = capabilitiesOf(PROFILES['skylake-sp']!)!;
export const p4 = capabilitiesOf(PROFILES['p4-672']!)!;
/** Offers every control that has a name, of every generation. */
export const everything: VmxCapabilities = {
  ...skylake,
  has: () => true,
  allowed: Object.fromEntries(
    Object.entries(skylake.allowed).map(([w, a]) => [
      w,
      { zero: a.zero, one: Object.values(CONTROLS[w as ControlWord]).reduce((all, b) => all | b, a.one) },
    ]),
  ) as VmxCapabilities['allowed'],
};

export const AT = 0x1000 as Maddr;
export const PAGE_TABLES = 0x2000;
export const OTHER_VMCS = 0x3000;
export const VAPIC = 0x4000;
/** Beyond 46 bits of physical address. */
export const TOO_HIGH = 0x4000;
export const NOT_CANONICAL = 0x8000_0000_0000;

export class State {
  readonly ram = new Ram(0x10000, 0);
  readonly vmcs = new Vmcs(this.ram, AT);
  readonly context: EntryContext;
  inIa32e = true;

  constructor(caps: VmxCapabilities) {
    this.context = new EntryContext(caps, new PhysicalMap(this.ram), this.vmcs);
    this.vmcs.format(caps.revision);
  }
  set(e: Narrow, v: number): void {
    this.vmcs.write32(e, v);
  }
  on(e: Narrow, bits: number): void {
    this.set(e, this.vmcs.read32(e) | bits);
  }
  off(e: Narrow, bits: number): void {
    this.set(e, this.vmcs.read32(e) & ~bits);
  }
  lin(e: Wide, v: number): void {
    this.vmcs.writeLin(e, v);
  }
  high(e: Wide, v: number): void {
    this.vmcs.setHalves(e, this.vmcs.lo(e), v);
  }
  onLow(e: Wide, bits: number): void {
    this.vmcs.setHalves(e, this.vmcs.lo(e) | bits, this.vmcs.hi(e));
  }
  offLow(e: Wide, bits: number): void {
    this.vmcs.setHalves(e, this.vmcs.lo(e) & ~bits, this.vmcs.hi(e));
  }
  pin(bits: number): void {
    this.on(VMCS.PIN_BASED_VM_EXEC_CONTROL, bits);
  }
  primary(bits: number): void {
    this.on(VMCS.CPU_BASED_VM_EXEC_CONTROL, bits);
  }
  secondary(bits: number): void {
    this.primary(PRIMARY.activateSecondaryControls);
    this.on(VMCS.SECONDARY_VM_EXEC_CONTROL, bits);
  }
  exit(bits: number): void {
    this.on(VMCS.VM_EXIT_CONTROLS, bits);
  }
  entry(bits: number): void {
    this.on(VMCS.VM_ENTRY_CONTROLS, bits);
  }
  segment(s: number, selector: number, access: number, limit: number, base = 0): void {
    const f = GUEST_SEGMENTS[s]!;
    this.set(f.selector, selector);
    this.set(f.access, access);
    this.set(f.limit, limit);
    this.lin(f.base, base);
  }
  access(s: number, v: number): void {
    this.set(GUEST_SEGMENTS[s]!.access, v);
  }
  inject(type: number, vector: number, error?: number): void {
    this.set(VMCS.VM_ENTRY_INTR_INFO, 0x8000_0000 | (type << 8) | vector | (error === undefined ? 0 : 0x800));
    this.set(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE, error ?? 0);
  }
  ept(): void {
    this.secondary(SECONDARY.enableEpt);
    this.lin(VMCS.EPT_POINTER, 0x5000 + 0x1e);
  }
  unrestricted(): void {
    this.ept();
    this.secondary(SECONDARY.unrestrictedGuest);
  }
  /** A 32-bit guest with PAE paging. */
  to32(): void {
    this.off(VMCS.VM_ENTRY_CONTROLS, ENTRY.ia32eModeGuest);
    this.access(CS, 0xc09b);
    this.offLow(VMCS.GUEST_EFER, 0x500);
    this.offLow(VMCS.GUEST_CR4, 1 << 17);
    this.lin(VMCS.GUEST_RIP, 0x1000);
  }
  toVirtual8086(): void {
    this.to32();
    this.onLow(VMCS.GUEST_RFLAGS, 1 << 17);
    for (const s of [ES, CS, SS, DS, FS, GS]) this.segment(s, 0x1230 + s, 0xf3, 0xffff, 0x12300 + 16 * s);
  }
  /** Real mode, as unrestricted guests can be in it. */
  toReal(): void {
    this.unrestricted();
    this.to32();
    this.offLow(VMCS.GUEST_CR0, 0x8000_0001);
    for (const s of [ES, CS, SS, DS, FS, GS]) this.segment(s, 0x1003, 0x93, 0xffff, 0x10030);
  }
  /** A 32-bit host, without IA-32e mode. */
  from32(): void {
    this.to32();
    this.inIa32e = false;
    this.off(VMCS.VM_EXIT_CONTROLS, EXIT.hostAddressSpaceSize);
    this.offLow(VMCS.HOST_EFER, 0x500);
    this.lin(VMCS.HOST_RIP, 0x1000);
    this.set(VMCS.HOST_SS_SELECTOR, 0x10);
  }
  link(isShadow: boolean): void {
    this.lin(VMCS.VMCS_LINK_POINTER, OTHER_VMCS);
    new Vmcs(this.ram, OTHER_VMCS as Maddr).format(this.context.caps.revision, isShadow);
  }

  failure(): [where: string, rule: EntryRule | undefined] {
    this.context.use(this.vmcs, this.inIa32e);
    const control = failingControl(this.context);
    if (control) return ['control', control];
    const host = failingHost(this.context);
    if (host) return ['host', host];
    return ['guest', failingGuest(this.context)];
  }
}

/** A 64-bit guest of a 64-bit host. */
export function baseline(caps: VmxCapabilities): State {
  const s = new State(caps);
  const { allowed } = caps;
  s.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, allowed.pin.zero | PIN.externalInterruptExiting | PIN.nmiExiting);
  s.set(VMCS.CPU_BASED_VM_EXEC_CONTROL, allowed.primary.zero | PRIMARY.hltExiting);
  s.set(VMCS.VM_EXIT_CONTROLS, allowed.exit.zero | EXIT.hostAddressSpaceSize);
  s.set(VMCS.VM_ENTRY_CONTROLS, allowed.entry.zero | ENTRY.ia32eModeGuest);
  s.lin(VMCS.VMCS_LINK_POINTER, -1);
  for (const [cr0, cr3, cr4] of [
    [VMCS.HOST_CR0, VMCS.HOST_CR3, VMCS.HOST_CR4],
    [VMCS.GUEST_CR0, VMCS.GUEST_CR3, VMCS.GUEST_CR4],
  ] as const) {
    s.vmcs.setHalves(cr0, 0x8005_0033, 0);
    s.lin(cr3, PAGE_TABLES);
    s.lin(cr4, 0x26f0);
  }
  for (const e of [VMCS.HOST_PAT, VMCS.GUEST_PAT]) s.vmcs.setHalves(e, 0x0007_0406, 0x0007_0406);
  for (const e of [VMCS.HOST_EFER, VMCS.GUEST_EFER]) s.lin(e, 0xd01);
  for (const e of [VMCS.HOST_ES_SELECTOR, VMCS.HOST_SS_SELECTOR, VMCS.HOST_DS_SELECTOR]) s.set(e, 0);
  s.set(VMCS.HOST_CS_SELECTOR, 8);
  s.set(VMCS.HOST_TR_SELECTOR, 0x40);
  s.lin(VMCS.HOST_RIP, -0x7fff_0000);
  s.segment(CS, 0x10, 0xa09b, 0xffff_ffff);
  for (const r of [SS, DS, ES, FS, GS]) s.segment(r, 0x18, 0xc093, 0xffff_ffff);
  s.segment(LDTR, 0x28, 0x82, 0xffff);
  s.segment(TR, 0x30, 0x8b, 0x67, -0x1_0000);
  s.set(VMCS.GUEST_GDTR_LIMIT, 0x7f);
  s.set(VMCS.GUEST_IDTR_LIMIT, 0xfff);
  s.lin(VMCS.GUEST_RFLAGS, 0x202);
  s.lin(VMCS.GUEST_RIP, -0x7fff_0000);
  return s;
}

export interface Violation {
  readonly caps?: VmxCapabilities;
  readonly given?: (s: State) => void;
  readonly break: (s: State) => void;
}
export type Table = Record<string, Violation>;

export const v = (change: (s: State) => void, given?: (s: State) => void, caps?: VmxCapabilities): Violation => ({
  break: change,
  ...(given && { given }),
  ...(caps && { caps }),
});

/** For each rule about `where`: a state that passes, then the one change that must not. The table must have every rule. */
export function eachViolation(where: keyof typeof ENTRY_CHECKS, section: RegExp, table: Table): void {
  it(`each check on ${where} state has one violation, and names are unique`, () => {
    expect(ENTRY_CHECKS[where].flatMap((b) => b.rules.map((r) => r.name)).sort()).toEqual(Object.keys(table).sort());
  });
  for (const [name, { caps = skylake, given, break: change }] of Object.entries(table))
    it(`${where}: ${name}`, () => {
      const s = baseline(caps);
      given?.(s);
      expect(s.failure()[1]?.name).toBeUndefined();
      change(s);
      const [at, rule] = s.failure();
      expect([at, rule?.name]).toEqual([where, name]);
      expect(rule?.section).toMatch(section);
      const qualification = name.includes('PDPTE') ? 2 : name.startsWith('STI does not') ? 3 : /link/.test(name) ? 4 : undefined;
      expect(rule?.qualification).toBe(qualification);
    });
}
