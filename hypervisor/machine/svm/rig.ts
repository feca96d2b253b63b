// For specs: a machine whose CPU has SVM, a VMCB with a 64-bit guest in it, page tables, nested page tables and permission maps, and a host
// in TypeScript that enters it.

import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import type { EmulatedCpu } from '../exec/cpu.ts';
import { createMachine } from '../machine.ts';
import type { Ram } from '../mmu/ram.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { PAT_RESET } from '../system/msr.ts';
import { REQUEST } from '../system/ports.ts';
import type { CpuProfile } from '../system/profiles/profile.ts';
import type { Svm } from './svm.ts';
import { Vmcb, type VmcbField } from './vmcb.ts';

export const ROOT = 0x1000;
export const PT = 0x4000;
export const VMCB_AT = 0x6000;
export const HSAVE = 0x7000;
export const IDT = 0x8000;
export const GDT = 0x9000;
export const CODE = 0x1_0000;
export const HANDLER = 0x1_8000;
export const DATA = 0x3_0000;
export const STACK = 0x8_0000;
export const IOPM = 0x10_0000;
export const MSRPM = 0x10_4000;
export const NPT = 0x11_0000;
/** Nested page table of 4 KiB pages for the first 2 MiB. */
export const NESTED_PT = NPT + 0x3000;

/** A local APIC with what a test puts into it. */
export class FakeApic {
  requests = 0;
  vector = 0x40;
  cr8 = 0;
  acknowledge(): number {
    this.requests &= ~REQUEST.intr;
    return this.vector;
  }
  acknowledgeNmi(): void {
    this.requests &= ~REQUEST.nmi;
  }
  getCr8(): number {
    return this.cr8;
  }
  setCr8(v: number): void {
    this.cr8 = v;
  }
  readMsr(): bigint | undefined {
    return undefined;
  }
  writeMsr(): boolean {
    return false;
  }
}

export interface Rig {
  readonly cpu: EmulatedCpu;
  readonly ram: Ram;
  readonly svm: Svm;
  readonly vmcb: Vmcb;
  readonly apic: FakeApic;
  put64(at: number, v: number | bigint): void;
  /** Puts bytes at an address of RAM. */
  bytes(at: number, code: readonly number[]): void;
  /** Sets the bit of an exit code in the intercept vectors. */
  intercept(...codes: number[]): void;
  /** A 64-bit interrupt gate for a vector, to HANDLER, which halts; or to another address. */
  gate(vector: number, to?: number): void;
  /** Enters the guest and runs it to an exit: 'vmexit', or the name of another RunExit. */
  enter(cycles?: number): string;
}

const put64 = (ram: Ram, at: number, v: number | bigint): void => ram.write64(at as Maddr, BigInt(v));

/** Long-mode tables that map the first 2 MiB one to one: 4 KiB pages that level 3 may use. */
function longTables(ram: Ram, root: number): void {
  put64(ram, root, (root + 0x1000) | 7);
  put64(ram, root + 0x1000, (root + 0x2000) | 7);
  put64(ram, root + 0x2000, (root + 0x3000) | 7);
  for (let p = 0; p < 512; p++) put64(ram, root + 0x3000 + p * 8, (p << 12) | 7);
}

/** A fresh machine of a profile; the guest is at level 0 in 64-bit code at CODE, with nothing intercepted but VMRUN. */
export function svmRig(profile: string | CpuProfile = 'zen', nested = false, eager = false): Rig {
  const machine = createMachine({ ramBytes: 4 << 20, cpus: 1, profile, eager });
  const { ram } = machine;
  const cpu = machine.cpus[0]!;
  const svm = cpu.svm!;
  svm.host = 'typescript';
  const apic = new FakeApic();
  cpu.apic = apic;
  cpu.delivery = 'idt';
  longTables(ram, ROOT);
  longTables(ram, NPT);
  const vmcb = new Vmcb(ram, VMCB_AT as Maddr);
  const set = (values: Partial<Record<VmcbField, number | bigint>>) => {
    for (const [name, v] of Object.entries(values)) vmcb.set(name as VmcbField, v);
  };
  set({
    INTERCEPT_2: 1,
    IOPM_BASE_PA: IOPM,
    MSRPM_BASE_PA: MSRPM,
    GUEST_ASID: 1,
    NESTED_CTL: nested ? 1 : 0,
    N_CR3: NPT,
    G_PAT: PAT_RESET,
    EFER: EFER.SVME | EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE,
    CR0: (CR0.PG | CR0.PE | CR0.NE | CR0.ET | CR0.WP) >>> 0,
    CR4: CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT,
    CR3: ROOT,
    DR6: 0xffff_0ff0,
    DR7: 0x400,
    RFLAGS: 2,
    RIP: CODE,
    RSP: STACK,
  });
  vmcb.setSegment('CS', 8, 0xa09b, 0xffff_ffff, 0);
  for (const s of ['SS', 'DS', 'ES'] as const) vmcb.setSegment(s, 0x10, 0xc093, 0xffff_ffff, 0);
  vmcb.setSegment('GDTR', 0, 0, 0xff, GDT);
  vmcb.setSegment('IDTR', 0, 0, 0xfff, IDT);
  put64(ram, GDT + 8, 0x00af_9b00_0000_ffffn);
  put64(ram, GDT + 16, 0x00cf_9300_0000_ffffn);
  ram.write8(HANDLER as Maddr, 0xf4);
  return {
    cpu,
    ram,
    svm,
    vmcb,
    apic,
    put64: (at, v) => put64(ram, at, v),
    bytes: (at, code) => ram.writeBytes(at as Maddr, Uint8Array.from(code)),
    intercept(...codes) {
      for (const code of codes) vmcb.setU32(4 * (code >>> 5), vmcb.u32(4 * (code >>> 5)) | (1 << (code & 31)));
    },
    gate(vector, to = HANDLER) {
      put64(ram, IDT + 16 * vector, BigInt((to & 0xffff) | 0x8_0000) | (BigInt(((to & 0xffff_0000) | 0x8e00) >>> 0) << 32n));
      put64(ram, IDT + 16 * vector + 8, 0);
    },
    enter(cycles = 1000) {
      svm.vmrun(VMCB_AT, 0 as Lin);
      const exit = cpu.run(cpu.cycles + cycles);
      return Object.entries(RunExit).find(([, v]) => v === exit)![0];
    },
  };
}
