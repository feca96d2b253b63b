// HVM guests of a few instructions on VT-x with EPT and on SVM with nested paging: each way into the hypervisor, and what comes back.

import { describe, expect, it } from 'vitest';
import { CODE, smallGuest } from './testing.ts';

const dword = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24];
const HLT = 0xf4;
const CLI = 0xfa;
/** mov [at], eax/ebx/ecx/edx */
const store = (at: number, reg: 'eax' | 'ebx' | 'ecx' | 'edx'): number[] => [
  0x89,
  { eax: 0x05, ecx: 0x0d, edx: 0x15, ebx: 0x1d }[reg],
  ...dword(at),
];
const movEax = (v: number): number[] => [0xb8, ...dword(v)];
const movEcx = (v: number): number[] => [0xb9, ...dword(v)];
const OUT_E9_AL = [0xe6, 0xe9];
const CPUID = [0x0f, 0xa2];
const RDMSR = [0x0f, 0x32];
const WRMSR = [0x0f, 0x30];
const RESULT = 0x20_0000;

const VMCALL = [0x0f, 0x01, 0xc1];
const VMMCALL = [0x0f, 0x01, 0xd9];
const HARDWARE = [
  ['VT-x with EPT', 'skylake-sp', true, VMCALL],
  ['VT-x with shadow paging', 'skylake-sp', false, VMCALL],
  ['VT-x of 2005', 'p4-672', false, VMCALL],
  ['SVM with nested paging', 'zen', true, VMMCALL],
  ['SVM with shadow paging', 'zen', false, VMMCALL],
  ['SVM of 2006', 'k8-revf', false, VMMCALL],
] as const;

describe.each(HARDWARE)('%s', (_, profile, isHap, hypercallOpcode) => {
  const run = (code: readonly number[], more: Partial<Parameters<typeof smallGuest>[0]> = {}) => {
    const g = smallGuest({ profile, isHap, code, ...more });
    const end = g.hv.run({ untilCycles: 10_000_000 });
    return { ...g, end };
  };

  it('prints through port 0xe9 and powers off', () => {
    const text = [...'hello', '\n'].flatMap((c) => [0xb0, c.charCodeAt(0), ...OUT_E9_AL]);
    const g = run([...text, CLI, HLT]);
    expect(g.domain.crashReason).toBeNull();
    expect(g.lines()).toEqual(['hello']);
    expect(g.end).toBe('idle');
    // HLT with interrupts off, of the last vCPU.
    expect(g.domain.shutdownCode).toBe(0);
  });

  it('is told by CPUID of Xen, and not of the extension itself', () => {
    const g = run([
      ...movEax(0x4000_0000),
      ...CPUID,
      ...store(RESULT, 'ebx'),
      ...movEax(1),
      ...CPUID,
      ...store(RESULT + 4, 'ecx'),
      CLI,
      HLT,
    ]);
    expect(g.read32(RESULT).toString(16)).toBe('566e6558');
    // Hypervisor present; no VMX.
    expect(g.read32(RESULT + 4) >>> 31).toBe(1);
    expect(g.read32(RESULT + 4) & (1 << 5)).toBe(0);
  });

  it('makes hypercalls: XENVER_version, through the page that the MSR places', () => {
    const page = 0x18_0000;
    const call = [
      ...movEcx(0x4000_0000),
      ...movEax(page),
      0x31,
      0xd2,
      ...WRMSR,
      // ebx = XENVER_version, ecx = 0
      0x31,
      0xdb,
      0x31,
      0xc9,
      // call page + 17 * 32 (xen_version)
    ];
    const from = CODE + call.length + 5;
    const g = run([...call, 0xe8, ...dword(page + 17 * 32 - from), ...store(RESULT, 'eax'), CLI, HLT]);
    expect(g.domain.crashReason).toBeNull();
    expect(g.read32(RESULT)).toBe((4 << 16) | 17);
    expect([...g.hv.ram.u8.slice(g.hv.ram.base + g.at(page + 17 * 32), g.hv.ram.base + g.at(page + 17 * 32) + 8)]).toEqual([
      0xb8,
      17,
      0,
      0,
      0,
      ...hypercallOpcode,
    ]);
  });

  it('reads and writes its local APIC in memory, by the emulator', () => {
    // mov eax, [fee00030]; store; mov dword [fee00080], 0x20; mov eax, [fee00080]; store
    const g = run([
      0xa1,
      ...dword(0xfee0_0030),
      ...store(RESULT, 'eax'),
      0xc7,
      0x05,
      ...dword(0xfee0_0080),
      ...dword(0x20),
      0xa1,
      ...dword(0xfee0_0080),
      ...store(RESULT + 4, 'eax'),
      CLI,
      HLT,
    ]);
    expect(g.domain.crashReason).toBeNull();
    expect(g.read32(RESULT) & 0xff).toBe(0x14);
    expect(g.read32(RESULT + 4)).toBe(0x20);
  });

  it('keeps MSRs of its own: EFER.LME is its, and what it may not touch is #GP', () => {
    const g = run([
      ...movEcx(0xc000_0080),
      ...RDMSR,
      ...store(RESULT, 'eax'),
      ...movEax(0x100),
      0x31,
      0xd2,
      ...WRMSR,
      ...RDMSR,
      ...store(RESULT + 4, 'eax'),
      // IA32_VMX_BASIC: #GP without an IDT, a triple fault.
      ...movEcx(0x480),
      ...RDMSR,
      CLI,
      HLT,
    ]);
    expect([g.read32(RESULT), g.read32(RESULT + 4)]).toEqual([0, 0x100]);
    // A triple fault is a reboot (SHUTDOWN_reboot).
    expect(g.domain.shutdownCode).toBe(1);
  });

  it('goes to 64-bit mode by itself', () => {
    const tables = 0x30_0000;
    const g = run([
      // PML4[0] -> PDPT, PDPT[0]: PD, PD[0] and PD[1]: 2 MiB pages
      0xc7,
      0x05,
      ...dword(tables),
      ...dword(tables + 0x1003),
      0xc7,
      0x05,
      ...dword(tables + 0x1000),
      ...dword(tables + 0x2003),
      0xc7,
      0x05,
      ...dword(tables + 0x2000),
      ...dword(0x83),
      0xc7,
      0x05,
      ...dword(tables + 0x2008),
      ...dword(0x20_0083),
      // cr4 = PAE; cr3 = tables; efer.lme; cr0.pg
      ...movEax(0x20),
      0x0f,
      0x22,
      0xe0,
      ...movEax(tables),
      0x0f,
      0x22,
      0xd8,
      ...movEcx(0xc000_0080),
      ...movEax(0x100),
      0x31,
      0xd2,
      ...WRMSR,
      0x0f,
      0x20,
      0xc0,
      0x0d,
      ...dword(0x8000_0000),
      0x0f,
      0x22,
      0xc0,
      // efer shows LMA; CR0 shows what was written, without what VT-x adds (NE)
      ...RDMSR,
      ...store(RESULT, 'eax'),
      0x0f,
      0x20,
      0xc0,
      ...store(RESULT + 4, 'eax'),
      CLI,
      HLT,
    ]);
    expect(g.domain.crashReason).toBeNull();
    expect([g.read32(RESULT), g.read32(RESULT + 4) >>> 0]).toEqual([0x500, 0x8000_0011]);
  });

  // VT-x without unrestricted guests cannot run it, and code that may not be emulated whole.
  it.skipIf(!isHap && hypercallOpcode === VMCALL)('runs real-mode code, with a vector table', () => {
    // INT 0x40 through the table at 0: handler at 0:1100 prints 'R' and a newline.
    const handler = [0xb0, 0x52, ...OUT_E9_AL, 0xb0, 10, ...OUT_E9_AL, 0xcf];
    const main = [0xc7, 0x06, 0x00, 0x01, 0x00, 0x11, 0xc7, 0x06, 0x02, 0x01, 0x00, 0x00, 0xcd, 0x40, CLI, HLT];
    const code = new Uint8Array(0x100 + handler.length);
    code.set(main);
    code.set(handler, 0x100);
    const g = run([...code], { isReal: true, emulation: 'hvm' });
    expect(g.domain.crashReason).toBeNull();
    expect(g.lines()).toEqual(['R']);
  });

  it('that fetches from where no memory is crashes alone', () => {
    const g = run([0xea, ...dword(0xf000_0000), 0x10, 0]);
    expect(g.domain.shutdownCode).not.toBeNull();
  });
});
