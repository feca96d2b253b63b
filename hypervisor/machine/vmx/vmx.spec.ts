// Real guests in non-root operation, and every information field of their exits.

import { describe, expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { RAX, RBX, RCX, RDX, STATE } from '../state.ts';
import { PIN, PRIMARY, SECONDARY } from './controls.ts';
import { dumpVmcs } from './dump.ts';
import type { VmxExitName } from './exits.ts';
import { VMCS } from './fields.ts';
import { AT, type ExitRecord, G, VmxFixture } from './guest.fixture.ts';

const ENGINES = [{ engine: 'interp' }, { engine: 'jit', eager: true }] as const;

interface Case {
  readonly what: string;
  readonly code: readonly number[];
  readonly setup?: (t: VmxFixture) => void;
  readonly exit: VmxExitName;
  readonly is: Partial<ExitRecord>;
  /** Beside the information fields. */
  readonly after?: (t: VmxFixture) => void;
}

const NOP = 0x90;
const HLT = 0xf4;
/** mov eax, imm32 */
const MOV_EAX = (v: number): number[] => [0xb8, v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24];
const MOV_ECX = (v: number): number[] => [0xb9, ...MOV_EAX(v).slice(1)];
const MOV_EDX = (v: number): number[] => [0xba, ...MOV_EAX(v).slice(1)];
/** mov dword [imm32], 1 and mov eax, [imm32], with a SIB byte and without base. */
const abs32 = (v: number): number[] => MOV_EAX(v).slice(1);
const STORE = (v: number): number[] => [0xc7, 0x04, 0x25, ...abs32(v), 1, 0, 0, 0];
const LOAD = (v: number): number[] => [0x8b, 0x04, 0x25, ...abs32(v)];

const primary =
  (...bits: number[]) =>
  (t: VmxFixture): void => {
    for (const b of bits) t.primary(b);
  };
const secondary =
  (...bits: number[]) =>
  (t: VmxFixture): void => {
    for (const b of bits) t.secondary(b);
  };
const both =
  (...all: ((t: VmxFixture) => void)[]) =>
  (t: VmxFixture): void => {
    for (const f of all) f(t);
  };
/** CR0 or CR4 bits that are the host's, and what the guest reads there. */
const owns =
  (cr: 0 | 4, mask: number, shadow: number) =>
  (t: VmxFixture): void => {
    t.vmcs.writeLin(cr === 0 ? VMCS.CR0_GUEST_HOST_MASK : VMCS.CR4_GUEST_HOST_MASK, mask >>> 0);
    t.vmcs.writeLin(cr === 0 ? VMCS.CR0_READ_SHADOW : VMCS.CR4_READ_SHADOW, shadow >>> 0);
  };
/** A bit of one of the bitmaps. */
const setBit = (t: VmxFixture, map: number, bit: number): void => {
  const at = (map + (bit >>> 3)) as Maddr;
  t.machine.ram.write8(at, t.machine.ram.read8(at) | (1 << (bit & 7)));
};
const msrBitmap =
  (...bits: number[]) =>
  (t: VmxFixture): void => {
    t.primary(PRIMARY.useMsrBitmaps).vmcs.writeLin(VMCS.MSR_BITMAP, AT.msrBitmap);
    for (const b of bits) setBit(t, AT.msrBitmap, b);
  };
const ioBitmaps =
  (...ports: number[]) =>
  (t: VmxFixture): void => {
    t.primary(PRIMARY.useIoBitmaps).vmcs.writeLin(VMCS.IO_BITMAP_A, AT.ioA);
    t.vmcs.writeLin(VMCS.IO_BITMAP_B, AT.ioB);
    for (const p of ports) setBit(t, p < 0x8000 ? AT.ioA : AT.ioB, p & 0x7fff);
  };
const exceptions =
  (...vectors: number[]) =>
  (t: VmxFixture): void => {
    t.vmcs.write32(
      VMCS.EXCEPTION_BITMAP,
      vectors.reduce((all, v) => (all | (1 << v)) >>> 0, 0),
    );
  };
const ept =
  (gpa: number, flags: number, hi = 0) =>
  (t: VmxFixture): void =>
    t.setEpt(gpa, (AT.guest + gpa) | flags, hi);

/** Guest page that no table of the guest's and no code lies in. */
const DATA = 0x5_0000;
const VALID = 0x8000_0000;
const reg = (t: VmxFixture, n: number): bigint => t.cpu.reg(n);

const ALWAYS: readonly Case[] = [
  { what: 'CPUID', code: [0x0f, 0xa2], exit: 'CPUID', is: { length: 2, qualification: 0n, interruption: 0, vectoring: 0, information: 0 } },
  { what: 'INVD', code: [0x0f, 0x08], exit: 'INVD', is: { length: 2 } },
  { what: 'XSETBV', code: [0x0f, 0x01, 0xd1], exit: 'XSETBV', is: { length: 3 }, setup: (t) => t.vmcs.writeLin(VMCS.GUEST_CR4, 0x4_2620) },
  { what: 'VMCALL', code: [0x0f, 0x01, 0xc1], exit: 'VMCALL', is: { length: 3 } },
  { what: 'VMLAUNCH', code: [0x0f, 0x01, 0xc2], exit: 'VMLAUNCH', is: { length: 3 } },
  { what: 'VMRESUME', code: [0x0f, 0x01, 0xc3], exit: 'VMRESUME', is: { length: 3 } },
  { what: 'VMXOFF', code: [0x0f, 0x01, 0xc4], exit: 'VMXOFF', is: { length: 3 } },
  {
    // vmptrld [rbx + rcx*4 + 0x40]
    what: 'VMPTRLD',
    code: [0x0f, 0xc7, 0x74, 0x8b, 0x40],
    exit: 'VMPTRLD',
    is: { length: 5, qualification: 0x40n, information: 2 | (2 << 7) | (3 << 15) | (1 << 18) | (3 << 23) },
  },
  {
    // vmclear [rip - 16]
    what: 'VMCLEAR, by RIP',
    code: [0x66, 0x0f, 0xc7, 0x35, 0xf0, 0xff, 0xff, 0xff],
    exit: 'VMCLEAR',
    is: { length: 8, qualification: BigInt(G.code + 8 - 16), information: (2 << 7) | (3 << 15) | (1 << 22) | (1 << 27) },
  },
  {
    // vmptrst [r9 - 8]
    what: 'VMPTRST',
    code: [0x41, 0x0f, 0xc7, 0x79, 0xf8],
    exit: 'VMPTRST',
    is: { length: 5, qualification: 0xffff_ffff_ffff_fff8n, information: ((2 << 7) | (3 << 15) | (1 << 22) | (9 << 23)) >>> 0 },
  },
  {
    // vmxon gs:[rax]
    what: 'VMXON',
    code: [0x65, 0xf3, 0x0f, 0xc7, 0x30],
    exit: 'VMXON',
    is: { length: 5, qualification: 0n, information: (2 << 7) | (5 << 15) | (1 << 22) },
  },
  {
    // vmread rdx, r10
    what: 'VMREAD to a register',
    code: [0x4c, 0x0f, 0x78, 0xd2],
    exit: 'VMREAD',
    is: { length: 4, information: ((RDX << 3) | (1 << 10) | (10 << 28)) >>> 0 },
  },
  {
    // vmwrite rax, [rbx]
    what: 'VMWRITE from memory',
    code: [0x0f, 0x79, 0x03],
    exit: 'VMWRITE',
    is: { length: 3, qualification: 0n, information: ((2 << 7) | (3 << 15) | (1 << 22) | (RBX << 23)) >>> 0 },
  },
  {
    // invept rcx, [rbx + 8]
    what: 'INVEPT',
    code: [0x66, 0x0f, 0x38, 0x80, 0x4b, 0x08],
    exit: 'INVEPT',
    is: { length: 6, qualification: 8n, information: ((2 << 7) | (3 << 15) | (1 << 22) | (RBX << 23) | (RCX << 28)) >>> 0 },
  },
  {
    what: 'INVVPID',
    code: [0x66, 0x0f, 0x38, 0x81, 0x4b, 0x08],
    exit: 'INVVPID',
    is: { length: 6, qualification: 8n, information: ((2 << 7) | (3 << 15) | (1 << 22) | (RBX << 23) | (RCX << 28)) >>> 0 },
  },
];

const BY_CONTROL: readonly Case[] = [
  { what: 'HLT after NOP', code: [NOP, HLT], exit: 'HLT', is: { length: 1, rip: G.code + 1 } },
  { what: 'RDTSC', code: [0x0f, 0x31], exit: 'RDTSC', setup: primary(PRIMARY.rdtscExiting), is: { length: 2 } },
  {
    what: 'RDTSCP',
    code: [0x0f, 0x01, 0xf9],
    exit: 'RDTSCP',
    setup: both(primary(PRIMARY.rdtscExiting), secondary(SECONDARY.enableRdtscp)),
    is: { length: 3 },
  },
  { what: 'RDPMC', code: [0x0f, 0x33], exit: 'RDPMC', setup: primary(PRIMARY.rdpmcExiting), is: { length: 2 } },
  { what: 'PAUSE', code: [0xf3, 0x90], exit: 'PAUSE_INSTRUCTION', setup: primary(PRIMARY.pauseExiting), is: { length: 2 } },
  { what: 'MONITOR', code: [0x0f, 0x01, 0xc8], exit: 'MONITOR_INSTRUCTION', setup: primary(PRIMARY.monitorExiting), is: { length: 3 } },
  {
    what: 'MWAIT, nothing armed',
    code: [0x0f, 0x01, 0xc9],
    exit: 'MWAIT_INSTRUCTION',
    setup: primary(PRIMARY.mwaitExiting),
    is: { length: 3, qualification: 0n },
  },
  {
    what: 'MWAIT, armed',
    code: [...MOV_EAX(DATA), 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9],
    exit: 'MWAIT_INSTRUCTION',
    setup: primary(PRIMARY.mwaitExiting),
    is: { length: 3, qualification: 1n, rip: G.code + 12 },
  },
  { what: 'WBINVD', code: [0x0f, 0x09], exit: 'WBINVD', setup: secondary(SECONDARY.wbinvdExiting), is: { length: 2 } },
  {
    // invlpg [rbx + 0x1000]
    what: 'INVLPG',
    code: [0x0f, 0x01, 0xbb, 0, 0x10, 0, 0],
    exit: 'INVLPG',
    setup: both(primary(PRIMARY.invlpgExiting), (t) => t.cpu.setReg(RBX, 0xffff_8000_0000_0000n)),
    is: { length: 7, qualification: 0xffff_8000_0000_1000n },
  },
  {
    what: 'INVLPG of an address that is not canonical',
    code: [0x0f, 0x01, 0x3b],
    exit: 'INVLPG',
    setup: both(primary(PRIMARY.invlpgExiting), (t) => t.cpu.setReg(RBX, 0x1234_5678_9abc_def1n)),
    is: { length: 3, qualification: 0x1234_5678_9abc_def1n },
  },
  {
    // invpcid rcx, [rbx]
    what: 'INVPCID',
    code: [0x66, 0x0f, 0x38, 0x82, 0x0b],
    exit: 'INVPCID',
    setup: both(primary(PRIMARY.invlpgExiting), secondary(SECONDARY.enableInvpcid)),
    is: { length: 5, qualification: 0n, information: ((2 << 7) | (3 << 15) | (1 << 22) | (RBX << 23) | (RCX << 28)) >>> 0 },
  },
  {
    // rdrand r9d
    what: 'RDRAND',
    code: [0x41, 0x0f, 0xc7, 0xf1],
    exit: 'RDRAND',
    setup: secondary(SECONDARY.rdrandExiting),
    is: { length: 4, information: (9 << 3) | (1 << 11) },
  },
  {
    // rdseed rax
    what: 'RDSEED',
    code: [0x48, 0x0f, 0xc7, 0xf8],
    exit: 'RDSEED',
    setup: secondary(SECONDARY.rdseedExiting),
    is: { length: 4, information: 2 << 11 },
  },
  {
    // lidt [rbx]
    what: 'LIDT',
    code: [0x0f, 0x01, 0x1b],
    exit: 'ACCESS_GDTR_OR_IDTR',
    setup: secondary(SECONDARY.descriptorTableExiting),
    is: { length: 3, information: ((2 << 7) | (1 << 11) | (3 << 15) | (1 << 22) | (RBX << 23) | (3 << 28)) >>> 0 },
  },
  {
    // str ecx
    what: 'STR to a register',
    code: [0x0f, 0x00, 0xc9],
    exit: 'ACCESS_LDTR_OR_TR',
    setup: secondary(SECONDARY.descriptorTableExiting),
    is: { length: 3, information: (RCX << 3) | (1 << 10) | (1 << 28) },
  },
  // mov dr7, r8 and mov rcx, dr6
  {
    what: 'MOV to DR',
    code: [0x41, 0x0f, 0x23, 0xf8],
    exit: 'DR_ACCESS',
    setup: primary(PRIMARY.movDrExiting),
    is: { length: 4, qualification: BigInt(7 | (8 << 8)) },
  },
  {
    what: 'MOV from DR',
    code: [0x0f, 0x21, 0xf1],
    exit: 'DR_ACCESS',
    setup: primary(PRIMARY.movDrExiting),
    is: { length: 3, qualification: BigInt(6 | 0x10 | (RCX << 8)) },
  },
];

const CONTROL_REGISTERS: readonly Case[] = [
  {
    // mov cr0, rax
    what: 'MOV to CR0 of another TS',
    code: [0x48, 0xb8, 0x3b, 0, 1, 0x80, 0, 0, 0, 0, 0x0f, 0x22, 0xc0],
    setup: owns(0, 8, 0),
    exit: 'CR_ACCESS',
    is: { length: 3, qualification: 0n, rip: G.code + 10 },
  },
  {
    // mov rcx, cr0; or rcx with what the guest sees, and back: no exit, and the host's bit stays
    what: 'MOV to CR0 of what the guest reads (no exit)',
    code: [0x0f, 0x20, 0xc1, 0x0f, 0x22, 0xc1, HLT],
    setup: owns(0, 8, 8),
    exit: 'HLT',
    is: { rip: G.code + 6 },
    after: (t) => {
      expect(reg(t, RCX)).toBe(0x8001_003bn);
      expect(t.vmcs.lo(VMCS.GUEST_CR0)).toBe(0x8001_0033);
    },
  },
  {
    what: 'CLTS of a TS that reads as set',
    code: [0x0f, 0x06],
    setup: owns(0, 8, 8),
    exit: 'CR_ACCESS',
    is: { length: 2, qualification: 0x20n },
  },
  {
    what: "CLTS where TS is the host's and reads as clear (no exit)",
    code: [0x0f, 0x06, HLT],
    setup: both(owns(0, 8, 0), (t) => t.vmcs.writeLin(VMCS.GUEST_CR0, 0x8001_003b)),
    exit: 'HLT',
    is: { rip: G.code + 2 },
    after: (t) => expect(t.vmcs.lo(VMCS.GUEST_CR0)).toBe(0x8001_003b),
  },
  {
    // mov ax, 9; lmsw ax
    what: 'LMSW of a register',
    code: [0x66, 0xb8, 9, 0, 0x0f, 0x01, 0xf0],
    setup: owns(0, 8, 0),
    exit: 'CR_ACCESS',
    is: { length: 3, qualification: 0x9_0030n, rip: G.code + 4 },
  },
  {
    // lmsw [DATA]
    what: 'LMSW of memory',
    code: [0x0f, 0x01, 0x34, 0x25, ...abs32(DATA)],
    setup: both(owns(0, 8, 0), (t) => t.put(DATA, [0x0b, 0])),
    exit: 'CR_ACCESS',
    is: { length: 8, qualification: 0xb_0070n, gla: DATA },
  },
  {
    // smsw ecx
    what: 'SMSW (no exit) gives the shadow',
    code: [0x0f, 0x01, 0xe1, HLT],
    setup: owns(0, 8, 8),
    exit: 'HLT',
    is: { rip: G.code + 3 },
    after: (t) => expect(reg(t, RCX)).toBe(0x8001_003bn),
  },
  {
    // mov rdx, cr4; xor dl, 0x80 (PGE); mov cr4, rdx
    what: 'MOV to CR4 of another PGE',
    code: [0x0f, 0x20, 0xe2, 0x80, 0xf2, 0x80, 0x0f, 0x22, 0xe2],
    setup: owns(4, 0x80, 0),
    exit: 'CR_ACCESS',
    is: { length: 3, qualification: BigInt(4 | (RDX << 8)), rip: G.code + 6 },
  },
  {
    what: 'MOV to CR3',
    code: [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8],
    setup: primary(PRIMARY.cr3LoadExiting),
    exit: 'CR_ACCESS',
    is: { length: 3, qualification: 3n, rip: G.code + 3 },
  },
  {
    what: 'MOV to CR3 of a target value (no exit)',
    code: [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, HLT],
    setup: both(primary(PRIMARY.cr3LoadExiting), (t) => {
      t.vmcs.write32(VMCS.CR3_TARGET_COUNT, 2);
      t.vmcs.writeLin(VMCS.CR3_TARGET_VALUE1, G.pml4);
    }),
    exit: 'HLT',
    is: { rip: G.code + 6 },
  },
  {
    what: 'MOV from CR3',
    code: [0x41, 0x0f, 0x20, 0xd9],
    setup: primary(PRIMARY.cr3StoreExiting),
    exit: 'CR_ACCESS',
    is: { length: 4, qualification: BigInt(3 | 0x10 | (9 << 8)) },
  },
  {
    // mov cr8, rax
    what: 'MOV to CR8',
    code: [0x44, 0x0f, 0x22, 0xc0],
    setup: primary(PRIMARY.cr8LoadExiting),
    exit: 'CR_ACCESS',
    is: { length: 4, qualification: 8n },
  },
  {
    // mov eax, 5; mov cr8, rax; mov rbx, cr8; xor eax, eax; mov cr8, rax
    what: 'MOV to CR8 below the threshold, after it',
    code: [...MOV_EAX(5), 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3, 0x31, 0xc0, 0x44, 0x0f, 0x22, 0xc0],
    setup: both(primary(PRIMARY.useTprShadow), (t) => {
      t.vmcs.writeLin(VMCS.VIRTUAL_APIC_PAGE_ADDR, AT.virtualApic);
      t.vmcs.write32(VMCS.TPR_THRESHOLD, 3);
      t.machine.ram.write8((AT.virtualApic + 0x80) as Maddr, 0x40);
    }),
    exit: 'TPR_BELOW_THRESHOLD',
    is: { rip: G.code + 19 },
    after: (t) => {
      expect(reg(t, RBX)).toBe(5n);
      expect(t.machine.ram.read8((AT.virtualApic + 0x80) as Maddr)).toBe(0);
    },
  },
];

const IO_AND_MSRS: readonly Case[] = [
  // in al, 0x71; out dx, eax
  {
    what: 'IN from an immediate port',
    code: [0xe4, 0x71],
    setup: primary(PRIMARY.unconditionalIoExiting),
    exit: 'IO_INSTRUCTION',
    is: { length: 2, qualification: 0x71_0048n },
  },
  {
    what: 'OUT to DX, by the bitmaps',
    code: [...MOV_EDX(0xcf8), 0xef],
    setup: ioBitmaps(0xcfb),
    exit: 'IO_INSTRUCTION',
    is: { length: 1, qualification: 0xcf8_0003n, rip: G.code + 5 },
  },
  {
    what: 'OUT to a port of bitmap B after one without a bit',
    code: [...MOV_EDX(0x9000), 0xee, ...MOV_EDX(0x9010), 0xee],
    setup: ioBitmaps(0x9010),
    exit: 'IO_INSTRUCTION',
    is: { length: 1, qualification: 0x9010_0000n, rip: G.code + 11 },
  },
  {
    what: 'IN that wraps around the ports',
    code: [...MOV_EDX(0xffff), 0x66, 0xed],
    setup: ioBitmaps(),
    exit: 'IO_INSTRUCTION',
    is: { length: 2, qualification: 0xffff_0009n, rip: G.code + 5 },
  },
  {
    // mov ecx, 4; mov esi, DATA; mov edx, 0x3f8; rep fs outsb
    what: 'REP OUTSB',
    code: [...MOV_ECX(4), 0xbe, ...abs32(DATA), ...MOV_EDX(0x3f8), 0xf3, 0x64, 0x6e],
    setup: primary(PRIMARY.unconditionalIoExiting),
    exit: 'IO_INSTRUCTION',
    is: { length: 3, qualification: 0x3f8_0030n, gla: DATA, information: (2 << 7) | (4 << 15), rip: G.code + 15 },
    after: (t) => expect(reg(t, RCX)).toBe(4n),
  },
  {
    // mov edi, DATA; mov edx, 0x1f0; insw
    what: 'INSW',
    code: [0xbf, ...abs32(DATA), ...MOV_EDX(0x1f0), 0x66, 0x6d],
    setup: primary(PRIMARY.unconditionalIoExiting),
    exit: 'IO_INSTRUCTION',
    is: { length: 2, qualification: 0x1f0_0019n, gla: DATA, rip: G.code + 10 },
  },
  { what: 'RDMSR', code: [...MOV_ECX(0x10), 0x0f, 0x32], exit: 'MSR_READ', is: { length: 2, rip: G.code + 5 } },
  {
    what: 'WRMSR of a high MSR, by the bitmap, after one that may be written',
    code: [...MOV_ECX(0xc000_0081), 0x0f, 0x30, ...MOV_ECX(0xc000_0082), 0x0f, 0x30],
    setup: msrBitmap(8 * 3072 + 0x82),
    exit: 'MSR_WRITE',
    is: { length: 2, rip: G.code + 12 },
  },
  {
    what: 'RDMSR outside the ranges of the bitmap',
    code: [...MOV_ECX(0x4000_0000), 0x0f, 0x32],
    setup: msrBitmap(),
    exit: 'MSR_READ',
    is: { rip: G.code + 5 },
  },
];

const EVENTS: readonly Case[] = [
  { what: '#UD', code: [0x0f, 0x0b], setup: exceptions(6), exit: 'EXCEPTION_NMI', is: { interruption: VALID + 0x306, vectoring: 0 } },
  {
    what: 'INT3',
    code: [NOP, 0xcc],
    setup: exceptions(3),
    exit: 'EXCEPTION_NMI',
    is: { interruption: VALID + 0x603, length: 1, rip: G.code + 1 },
  },
  { what: 'INT1', code: [0xf1], setup: exceptions(1), exit: 'EXCEPTION_NMI', is: { interruption: VALID + 0x501, length: 1 } },
  {
    // mov gs, ax with ax = 0x33
    what: '#GP with its error code',
    code: [...MOV_EAX(0x13b), 0x8e, 0xe8],
    setup: exceptions(13),
    exit: 'EXCEPTION_NMI',
    is: { interruption: VALID + 0xb0d, errorCode: 0x138, rip: G.code + 5 },
  },
  {
    what: '#PF, CR2 as it was',
    code: STORE(0x40_0000),
    setup: both(exceptions(14), (t) => t.cpu.setReg(RAX, 0n)),
    exit: 'EXCEPTION_NMI',
    is: { interruption: VALID + 0xb0e, errorCode: 2, qualification: 0x40_0000n },
    after: (t) => {
      expect(t.cpu.big(STATE.cr2)).toBe(0n);
      expect(t.vmcs.lo(VMCS.GUEST_RFLAGS) & 0x1_0000).toBe(0x1_0000);
    },
  },
  {
    // A read does not match write faults only: the handler (hlt) runs.
    what: '#PF that the error-code mask leaves to the guest',
    code: LOAD(0x40_0000),
    setup: both(exceptions(14), (t) => {
      t.vmcs.write32(VMCS.PAGE_FAULT_ERROR_CODE_MASK, 2);
      t.vmcs.write32(VMCS.PAGE_FAULT_ERROR_CODE_MATCH, 2);
      t.put(G.handler + 14 * 16, [HLT]);
    }),
    exit: 'HLT',
    is: { rip: G.handler + 14 * 16 },
    after: (t) => expect(t.cpu.big(STATE.cr2)).toBe(0x40_0000n),
  },
  {
    // A gate that is not present: #NP while INT 0x50 is delivered.
    what: '#NP while a software interrupt is delivered',
    code: [0xcd, 0x50],
    setup: both(exceptions(11), (t) => t.put(G.idt + 16 * 0x50 + 5, [0x0e])),
    exit: 'EXCEPTION_NMI',
    is: { interruption: VALID + 0xb0b, errorCode: 0x50 * 8 + 2, vectoring: VALID + 0x450, length: 2 },
  },
  {
    // A stack that is nowhere: #PF pushing the frame of #UD.
    what: '#PF while #UD is delivered',
    code: [0xbc, ...abs32(0x50_0000), 0x0f, 0x0b],
    setup: exceptions(14),
    exit: 'EXCEPTION_NMI',
    is: { interruption: VALID + 0xb0e, errorCode: 2, vectoring: VALID + 0x306, qualification: 0x4f_fff8n, rip: G.code + 5 },
  },
  {
    what: '#DF, without the event that ended in it',
    code: [0xbc, ...abs32(0x50_0000), ...LOAD(0x40_0000)],
    setup: exceptions(8),
    exit: 'EXCEPTION_NMI',
    is: { interruption: VALID + 0xb08, errorCode: 0, vectoring: 0, rip: G.code + 5 },
  },
  {
    what: 'triple fault',
    code: [0xbc, ...abs32(0x50_0000), ...LOAD(0x40_0000)],
    exit: 'TRIPLE_FAULT',
    is: { vectoring: 0, rip: G.code + 5 },
  },
  {
    what: 'interrupt window, after STI and the instruction after it',
    code: [0xfb, NOP, NOP],
    setup: primary(PRIMARY.interruptWindowExiting),
    exit: 'PENDING_VIRT_INTR',
    is: { rip: G.code + 2 },
  },
  {
    what: 'NMI window at once',
    code: [NOP],
    setup: both(primary(PRIMARY.nmiWindowExiting), (t) => t.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.nmiExiting | PIN.virtualNmis)),
    exit: 'PENDING_VIRT_NMI',
    is: { rip: G.code },
  },
  {
    // push rest of an IRETQ frame: ss rsp rflags cs rip
    what: 'NMI window after IRET has unblocked NMIs',
    code: [0x6a, 0x10, 0x54, 0x9c, 0x6a, 0x08, 0x68, ...abs32(G.code + 0x20), 0x48, 0xcf],
    setup: both(primary(PRIMARY.nmiWindowExiting), (t) => {
      t.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.nmiExiting | PIN.virtualNmis);
      t.vmcs.write32(VMCS.GUEST_INTERRUPTIBILITY_INFO, 8);
      t.put(G.code + 0x20, [NOP, HLT]);
    }),
    exit: 'PENDING_VIRT_NMI',
    is: { rip: G.code + 0x20 },
    after: (t) => expect(t.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO)).toBe(0),
  },
  {
    what: 'monitor trap flag, after one instruction',
    code: [NOP, NOP],
    setup: primary(PRIMARY.monitorTrapFlag),
    exit: 'MONITOR_TRAP_FLAG',
    is: { rip: G.code + 1 },
  },
  {
    // 5 units of 128 cycles, entered at cycle 0 of a loop of one instruction.
    what: 'preemption timer',
    code: [0xeb, 0xfe],
    setup: (t) => {
      t.set(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN.activatePreemptionTimer);
      t.set(VMCS.VM_EXIT_CONTROLS, 1 << 22);
      t.vmcs.write32(VMCS.GUEST_PREEMPTION_TIMER, 5);
    },
    exit: 'VMX_PREEMPTION_TIMER_EXPIRED',
    is: { rip: G.code },
    after: (t) => {
      expect(t.cpu.cycles).toBe(5 * 128);
      expect(t.vmcs.read32(VMCS.GUEST_PREEMPTION_TIMER)).toBe(0);
    },
  },
];

const rights = (r: number): number => r << 3;
const EPT_CASES: readonly Case[] = [
  {
    what: 'a read of a page without rights',
    code: LOAD(DATA + 8),
    setup: ept(DATA, 0),
    exit: 'EPT_VIOLATION',
    is: { qualification: 0x181n, gpa: DATA + 8, gla: DATA + 8, vectoring: 0 },
    after: (t) => expect(t.vmcs.lo(VMCS.GUEST_RFLAGS) & 0x1_0000).toBe(0x1_0000),
  },
  {
    what: 'a write to a read-only page',
    code: STORE(DATA + 0x10),
    setup: ept(DATA, 0x31),
    exit: 'EPT_VIOLATION',
    is: { qualification: BigInt(0x182 | rights(1)), gpa: DATA + 0x10, gla: DATA + 0x10 },
  },
  {
    // mov eax, DATA; jmp rax
    what: 'a fetch from a page without execute',
    code: [...MOV_EAX(DATA), 0xff, 0xe0],
    setup: ept(DATA, 0x33),
    exit: 'EPT_VIOLATION',
    is: { qualification: BigInt(0x184 | rights(3)), gpa: DATA, gla: DATA, rip: DATA },
  },
  {
    what: 'a read of an execute-only page',
    code: LOAD(DATA),
    setup: ept(DATA, 0x34),
    exit: 'EPT_VIOLATION',
    is: { qualification: BigInt(0x181 | rights(4)), gpa: DATA },
  },
  {
    what: "a read of a guest's page table on the way",
    code: LOAD(DATA),
    setup: ept(G.pt, 0),
    exit: 'EPT_VIOLATION',
    // The fetch of the first instruction: its entry in the page table.
    is: { qualification: 0x81n, gpa: G.pt + 8 * (G.code >>> 12), gla: G.code, rip: G.code },
  },
  {
    what: "setting an accessed bit in a guest's read-only page table",
    code: [NOP],
    setup: ept(G.pt, 0x31),
    exit: 'EPT_VIOLATION',
    is: { qualification: BigInt(0x83 | rights(1)), gpa: G.pt + 8 * (G.code >>> 12), gla: G.code },
  },
  {
    what: 'write without read: a misconfiguration',
    code: LOAD(DATA + 4),
    setup: ept(DATA, 0x32),
    exit: 'EPT_MISCONFIG',
    is: { qualification: 0n, gpa: DATA + 4 },
  },
  { what: 'memory type 2: a misconfiguration', code: LOAD(DATA), setup: ept(DATA, 0x17), exit: 'EPT_MISCONFIG', is: { gpa: DATA } },
  {
    what: 'an address bit past the physical width: a misconfiguration',
    code: LOAD(DATA),
    setup: ept(DATA, 0x37, 0x8_0000),
    exit: 'EPT_MISCONFIG',
    is: { gpa: DATA },
  },
  {
    what: 'an access beyond what is mapped, through a large page of the guest',
    code: LOAD(0x20_0000 + 0x1234),
    setup: (t) => t.machine.ram.write32((AT.eptPd + 8) as Maddr, 0),
    exit: 'EPT_VIOLATION',
    is: { qualification: 0x181n, gpa: 0x20_1234, gla: 0x20_1234 },
  },
  {
    what: 'a violation while an exception is delivered',
    code: [0x0f, 0x0b],
    setup: ept(G.stack - 4096, 0x31),
    exit: 'EPT_VIOLATION',
    is: { qualification: BigInt(0x182 | rights(1)), gpa: G.stack - 8, vectoring: VALID + 0x306 },
  },
  {
    what: 'a violation while a software interrupt is delivered',
    code: [0xcd, 0x21],
    setup: ept(G.idt, 0),
    exit: 'EPT_VIOLATION',
    is: { qualification: 0x181n, gpa: G.idt + 16 * 0x21, vectoring: VALID + 0x421, length: 2 },
  },
  {
    what: 'an access to the APIC-access page',
    code: STORE(DATA + 0xb0),
    setup: both(secondary(SECONDARY.virtualizeApicAccesses), (t) => {
      t.vmcs.writeLin(VMCS.APIC_ACCESS_ADDR, AT.apicPage);
      t.setEpt(DATA, AT.apicPage | 0x37);
    }),
    exit: 'APIC_ACCESS',
    is: { qualification: 0x10b0n },
  },
  {
    // mov eax, [TPR]; mov ebx, eax; mov dword [TPR], 1: below the threshold; other registers of the page still make exits
    what: 'the TPR on the APIC-access page (no exit for it), then another register of the page',
    code: [...LOAD(DATA + 0x80), 0x89, 0xc3, ...STORE(DATA + 0x80), ...LOAD(DATA + 0x80), ...LOAD(DATA + 0x20)],
    setup: both(secondary(SECONDARY.virtualizeApicAccesses), primary(PRIMARY.useTprShadow), (t) => {
      t.vmcs.writeLin(VMCS.APIC_ACCESS_ADDR, AT.apicPage);
      t.vmcs.writeLin(VMCS.VIRTUAL_APIC_PAGE_ADDR, AT.virtualApic);
      t.machine.ram.write8((AT.virtualApic + 0x80) as Maddr, 0x50);
      t.setEpt(DATA, AT.apicPage | 0x37);
    }),
    exit: 'APIC_ACCESS',
    is: { qualification: 0x20n, rip: G.code + 27 },
    after: (t) => expect([reg(t, RAX), reg(t, RBX)]).toEqual([1n, 0x50n]),
  },
  {
    what: 'a TPR below its threshold, written through the APIC-access page',
    code: [...STORE(DATA + 0x80), NOP],
    setup: both(secondary(SECONDARY.virtualizeApicAccesses), primary(PRIMARY.useTprShadow), (t) => {
      t.vmcs.writeLin(VMCS.APIC_ACCESS_ADDR, AT.apicPage);
      t.vmcs.writeLin(VMCS.VIRTUAL_APIC_PAGE_ADDR, AT.virtualApic);
      t.vmcs.write32(VMCS.TPR_THRESHOLD, 2);
      t.machine.ram.write8((AT.virtualApic + 0x80) as Maddr, 0x50);
      t.setEpt(DATA, AT.apicPage | 0x37);
    }),
    exit: 'TPR_BELOW_THRESHOLD',
    is: { rip: G.code + 11 },
  },
  {
    what: 'a TPR that is below its threshold when the guest is entered',
    code: [NOP],
    setup: both(secondary(SECONDARY.virtualizeApicAccesses), primary(PRIMARY.useTprShadow), (t) => {
      t.vmcs.writeLin(VMCS.APIC_ACCESS_ADDR, AT.apicPage);
      t.vmcs.writeLin(VMCS.VIRTUAL_APIC_PAGE_ADDR, AT.virtualApic);
      t.vmcs.write32(VMCS.TPR_THRESHOLD, 2);
    }),
    exit: 'TPR_BELOW_THRESHOLD',
    is: { rip: G.code },
  },
];

const TABLES = { ALWAYS, BY_CONTROL, CONTROL_REGISTERS, IO_AND_MSRS, EVENTS, EPT_CASES };

describe.each(ENGINES)('a 64-bit guest with $engine', (engine) => {
  // What TypeScript intercepts is the same whatever engine runs the rest.
  const { EVENTS: events, EPT_CASES: epts } = TABLES;
  describe.each(Object.entries(engine.engine === 'jit' ? { events, epts } : TABLES))('%s', (_name, cases) => {
    it.each(cases)('$what', ({ code, setup, exit, is, after }) => {
      const t = new VmxFixture(engine).on();
      t.put(G.code, [...code, HLT]);
      setup?.(t);
      const r = t.enter();
      expect({ name: r.name, rip: r.rip, ...Object.fromEntries(Object.keys(is).map((k) => [k, r[k as keyof ExitRecord]])) }).toEqual({
        name: exit,
        rip: G.code,
        ...is,
      });
      after?.(t);
    });
  });
});

it('a VMCS can be read as text: names of controls, of the exit, and what qualifies it', () => {
  const t = new VmxFixture({ engine: 'interp' }).on();
  ept(DATA, 0x31)(t);
  t.put(G.code, [...STORE(DATA + 0x10), HLT]).enter();
  const lines = dumpVmcs(t.vmcs, t.vmx.capabilities.fields).map((l) => l.replace(/ +/g, ' '));
  expect(lines).toContain('SECONDARY_VM_EXEC_CONTROL 0x2 enableEpt');
  expect(lines).toContain('VM_EXIT_REASON 0x30 EPT_VIOLATION');
  expect(lines).toContain('EXIT_QUALIFICATION 0x18a write readable glaValid isFinal');
  expect(lines).toContain(`GUEST_PHYSICAL_ADDRESS 0x${(DATA + 0x10).toString(16)}`);
  expect(lines.some((l) => l.startsWith('HOST_IA32'))).toBe(false);
});
