// A machine with VMX for specs: a VMCS that passes the checks of VM entry, a small 64-bit or real-mode guest under EPT, and exits as values.

import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import type { EmulatedCpu } from '../exec/cpu.ts';
import { createMachine, type Machine, type MachineOptions } from '../machine.ts';
import { PROFILES, withFeatures } from '../system/cpuid.ts';
import { createThreadState } from '../system/ports.ts';
import { ENTRY, EXIT, PRIMARY, SECONDARY } from './controls.ts';
import { EXIT_NAMES, type VmxExitName } from './exits.ts';
import { GUEST_SEGMENTS, VMCS } from './fields.ts';
import { Vmcs } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

/** Physical addresses. */
export const AT = {
  vmxon: 0x1000,
  vmcs: 0x2000,
  ioA: 0x3000,
  ioB: 0x4000,
  msrBitmap: 0x5000,
  virtualApic: 0x6000,
  pml: 0x7000,
  vmread: 0x8000,
  vmwrite: 0x9000,
  eptpList: 0xa000,
  shadow: 0xb000,
  msrList: 0xc000,
  apicPage: 0xd000,
  ept: 0x10000,
  eptPdpt: 0x11000,
  eptPd: 0x12000,
  eptPt: 0x13000,
  /** Guest-physical 0. */
  guest: 0x20_0000,
} as const;
/** Guest-physical and linear addresses: tables map the first 2 MiB one to one. */
export const G = {
  pml4: 0x1000,
  pdpt: 0x2000,
  pd: 0x3000,
  pt: 0x4000,
  idt: 0x5000,
  gdt: 0x6000,
  handler: 0x8000,
  code: 0x1_0000,
  stack: 0x2_0000,
} as const;
export const EPTP_VALUE = AT.ept | 0x1e;
const ALL = 0xffff_ffff;

/** Machines are used again, blank: to make one takes as long as some twenty tests. */
const machines = new Map<string, Machine>();
function machineFor(options: Partial<MachineOptions>, profile: string): Machine {
  const key = JSON.stringify([options, profile]);
  let m = machines.get(key);
  if (m === undefined) {
    m = createMachine({ ramBytes: 8 << 20, cpus: 1, profile: withFeatures(PROFILES[profile]!, ['vmx']), ...options });
    machines.set(key, m);
  }
  const cpu = m.cpus[0]!;
  m.ram.fill(0 as Maddr, 0, m.ram.size);
  cpu.clear();
  Object.assign(cpu.thread, createThreadState());
  cpu.cycles = 0;
  cpu.apic = undefined;
  cpu.vmx!.vmxoff();
  cpu.setNonRoot(null);
  cpu.flushAll();
  cpu.vmx!.spaces.each((s) => cpu.flushSpace(s.space));
  return m;
}

export interface ExitRecord {
  readonly name: VmxExitName | undefined;
  readonly qualification: bigint;
  readonly length: number;
  readonly information: number;
  readonly interruption: number;
  readonly errorCode: number;
  readonly vectoring: number;
  readonly vectoringError: number;
  readonly gpa: number;
  readonly gla: number;
  readonly rip: number;
}

export class VmxFixture {
  readonly machine: Machine;
  readonly cpu: EmulatedCpu;
  readonly vmx: Vmx;
  readonly vmcs: Vmcs;
  private launched = false;

  constructor(options: Partial<MachineOptions> = {}, host: Vmx['host'] = 'typescript', profile = 'skylake-sp') {
    this.machine = machineFor(options, profile);
    this.cpu = this.machine.cpus[0]!;
    this.vmx = this.cpu.vmx!;
    this.vmx.host = host;
    this.vmcs = new Vmcs(this.machine.ram, AT.vmcs as Maddr);
    const { revision } = this.vmx.capabilities;
    new Vmcs(this.machine.ram, AT.vmxon as Maddr).format(revision);
    new Vmcs(this.machine.ram, AT.shadow as Maddr).format(revision, true);
    this.vmcs.format(revision);
    this.eptTables();
    this.controls();
  }

  /** Enters VMX operation with the VMCS current. */
  on(): this {
    const { vmx } = this;
    for (const r of [vmx.vmxon(AT.vmxon), vmx.vmclear(AT.vmcs), vmx.vmptrld(AT.vmcs)]) if (r !== 0) throw new Error(`VMX: ${r}`);
    return this;
  }

  /** Guest-physical memory 0..2 MiB by pages, 2..4 MiB by a large one; all rights. */
  private eptTables(): void {
    const put = (at: number, v: number) => this.machine.ram.write32(at as Maddr, v);
    put(AT.ept, AT.eptPdpt | 7);
    put(AT.eptPdpt, AT.eptPd | 7);
    put(AT.eptPd, AT.eptPt | 7);
    put(AT.eptPd + 8, 0x40_0000 | 0xb7);
    for (let p = 0; p < 512; p++) put(AT.eptPt + 8 * p, (AT.guest + p * 4096) | 0x37);
  }
  /** The EPT entry of a guest page. */
  setEpt(gpa: number, lo: number, hi = 0): void {
    this.machine.ram.write32((AT.eptPt + 8 * (gpa >>> 12)) as Maddr, lo);
    this.machine.ram.write32((AT.eptPt + 8 * (gpa >>> 12) + 4) as Maddr, hi);
  }
  ept(gpa: number): number {
    return this.machine.ram.read32((AT.eptPt + 8 * (gpa >>> 12)) as Maddr);
  }

  private controls(): void {
    const { vmcs: v } = this;
    const { allowed, has } = this.vmx.capabilities;
    v.write32(VMCS.PIN_BASED_VM_EXEC_CONTROL, allowed.pin.zero);
    v.write32(
      VMCS.CPU_BASED_VM_EXEC_CONTROL,
      allowed.primary.zero | PRIMARY.hltExiting | (has('secondary.enableEpt') ? PRIMARY.activateSecondaryControls : 0),
    );
    v.write32(VMCS.SECONDARY_VM_EXEC_CONTROL, has('secondary.enableEpt') ? SECONDARY.enableEpt : 0);
    v.write32(
      VMCS.VM_EXIT_CONTROLS,
      allowed.exit.zero | EXIT.hostAddressSpaceSize | (has('exit.saveEfer') ? EXIT.saveEfer | EXIT.loadEfer : 0),
    );
    v.write32(
      VMCS.VM_ENTRY_CONTROLS,
      allowed.entry.zero | ENTRY.loadDebugControls | ENTRY.ia32eModeGuest | (has('entry.loadEfer') ? ENTRY.loadEfer : 0),
    );
    v.writeLin(VMCS.EPT_POINTER, EPTP_VALUE);
    v.writeLin(VMCS.VMCS_LINK_POINTER, -1);
    v.writeLin(VMCS.HOST_CR0, 0x8001_0033);
    v.writeLin(VMCS.HOST_CR3, 0x10_0000);
    v.writeLin(VMCS.HOST_CR4, 0x2620);
    v.writeLin(VMCS.HOST_EFER, 0xd01);
    v.write32(VMCS.HOST_CS_SELECTOR, 8);
    v.write32(VMCS.HOST_SS_SELECTOR, 16);
    v.write32(VMCS.HOST_DS_SELECTOR, 16);
    v.write32(VMCS.HOST_ES_SELECTOR, 16);
    v.write32(VMCS.HOST_TR_SELECTOR, 24);
    v.writeLin(VMCS.HOST_RIP, 0x11_0000);
    v.writeLin(VMCS.HOST_RSP, 0x12_0000);
    v.writeLin(VMCS.GUEST_DR7, 0x400);
    v.writeLin(VMCS.GUEST_RFLAGS, 2);
    this.long();
  }

  set(field: number, add: number, remove = 0): this {
    const v = this.vmcs.read32(field as never);
    this.vmcs.write32(field as never, (v | add) & ~remove);
    return this;
  }
  primary(add: number): this {
    return this.set(VMCS.CPU_BASED_VM_EXEC_CONTROL, add);
  }
  secondary(add: number): this {
    return this.set(VMCS.CPU_BASED_VM_EXEC_CONTROL, PRIMARY.activateSecondaryControls).set(VMCS.SECONDARY_VM_EXEC_CONTROL, add);
  }

  private segment(n: number, selector: number, access: number, limit: number, base = 0): void {
    const f = GUEST_SEGMENTS[n]!;
    this.vmcs.write32(f.selector, selector);
    this.vmcs.write32(f.access, access);
    this.vmcs.write32(f.limit, limit);
    this.vmcs.writeLin(f.base, base);
  }
  private long(): void {
    const { vmcs: v } = this;
    const put = (gpa: number, word: number) => this.machine.ram.write32((AT.guest + gpa) as Maddr, word);
    put(G.pml4, G.pdpt | 7);
    put(G.pdpt, G.pd | 7);
    put(G.pd, G.pt | 7);
    // 2..4 MiB by a large page.
    put(G.pd + 8, 0x20_0087);
    for (let p = 0; p < 512; p++) put(G.pt + 8 * p, (p * 4096) | 7);
    v.writeLin(VMCS.GUEST_CR0, 0x8001_0033);
    v.writeLin(VMCS.GUEST_CR3, G.pml4);
    v.writeLin(VMCS.GUEST_CR4, 0x2620);
    v.writeLin(VMCS.GUEST_EFER, 0xd01);
    this.segment(1, 8, 0xa09b, ALL);
    for (const n of [0, 2, 3, 4, 5]) this.segment(n, 16, 0xc093, ALL);
    this.segment(6, 0, 0x1_0000, 0);
    this.segment(7, 0x18, 0x8b, 0x67, 0x7000);
    v.writeLin(VMCS.GUEST_GDTR_BASE, G.gdt);
    v.write32(VMCS.GUEST_GDTR_LIMIT, 0xff);
    v.writeLin(VMCS.GUEST_IDTR_BASE, G.idt);
    v.write32(VMCS.GUEST_IDTR_LIMIT, 0xfff);
    v.writeLin(VMCS.GUEST_RIP, G.code);
    v.writeLin(VMCS.GUEST_RSP, G.stack);
    // GDT: null, 64-bit code, data. IDT: every vector to the handler page, 16 bytes apart.
    put(G.gdt + 8, 0x0000ffff);
    put(G.gdt + 12, 0x00af9b00);
    put(G.gdt + 16, 0x0000ffff);
    put(G.gdt + 20, 0x00cf9300);
    for (let n = 0; n < 256; n++) {
      const to = G.handler + 16 * n;
      put(G.idt + 16 * n, (8 << 16) | (to & 0xffff));
      put(G.idt + 16 * n + 4, 0x8e00 | (to & 0xffff0000));
    }
  }
  /** Real mode at 0:7c00, for an unrestricted guest. */
  real(): this {
    const { vmcs: v } = this;
    this.secondary(SECONDARY.unrestrictedGuest);
    this.set(VMCS.VM_ENTRY_CONTROLS, 0, ENTRY.ia32eModeGuest);
    v.writeLin(VMCS.GUEST_CR0, 0x30);
    v.writeLin(VMCS.GUEST_CR4, 0x2000);
    v.writeLin(VMCS.GUEST_EFER, 0);
    this.segment(1, 0, 0x9b, 0xffff);
    for (const n of [0, 2, 3, 4, 5]) this.segment(n, 0, 0x93, 0xffff);
    this.segment(7, 0, 0x8b, 0xffff);
    v.writeLin(VMCS.GUEST_IDTR_BASE, 0);
    v.write32(VMCS.GUEST_IDTR_LIMIT, 0x3ff);
    v.writeLin(VMCS.GUEST_RIP, 0x7c00);
    v.writeLin(VMCS.GUEST_RSP, 0x7000);
    return this;
  }

  /** Writes guest memory. */
  put(gpa: number, bytes: readonly number[]): this {
    this.machine.ram.writeBytes((AT.guest + gpa) as Maddr, Uint8Array.from(bytes));
    return this;
  }

  /** VMLAUNCH or VMRESUME, and runs until the guest exits; throws when the entry fails early. */
  enter(deadline = 100_000): ExitRecord {
    const result = this.launched ? this.vmx.vmresume() : this.vmx.vmlaunch();
    if (result > 0 || result === -1) throw new Error(`VM entry: ${result}, ${this.vmx.failedRule}`);
    if (result === 0) {
      this.launched = true;
      const exit = this.cpu.run(this.cpu.cycles + deadline);
      if (exit !== RunExit.vmexit) throw new Error(`run() came back with ${exit} at ${this.cpu.rip.toString(16)}`);
    }
    return this.record();
  }
  record(): ExitRecord {
    const { vmcs: v } = this;
    return {
      name: EXIT_NAMES[v.read32(VMCS.VM_EXIT_REASON) & 0xffff],
      qualification: v.big(VMCS.EXIT_QUALIFICATION),
      length: v.read32(VMCS.VM_EXIT_INSTRUCTION_LEN),
      information: v.read32(VMCS.VMX_INSTRUCTION_INFO),
      interruption: v.read32(VMCS.VM_EXIT_INTR_INFO),
      errorCode: v.read32(VMCS.VM_EXIT_INTR_ERROR_CODE),
      vectoring: v.read32(VMCS.IDT_VECTORING_INFO),
      vectoringError: v.read32(VMCS.IDT_VECTORING_ERROR_CODE),
      gpa: v.readLin(VMCS.GUEST_PHYSICAL_ADDRESS),
      gla: v.readLin(VMCS.GUEST_LINEAR_ADDRESS),
      rip: v.readLin(VMCS.GUEST_RIP),
    };
  }
  /** Goes on after the instruction that made the exit. */
  skip(): this {
    this.vmcs.writeLin(VMCS.GUEST_RIP, this.vmcs.readLin(VMCS.GUEST_RIP) + this.vmcs.read32(VMCS.VM_EXIT_INSTRUCTION_LEN));
    return this;
  }
  /** Runs the guest anew from its code address. */
  at(rip: number): this {
    this.vmcs.writeLin(VMCS.GUEST_RIP, rip as Lin);
    return this;
  }
}
