// The virtual machine control block (APM Vol 2, appendix B): its fields declared once, and one of them over its 4 KiB frame in RAM.
//
// A VMCB is read and written at every world switch: as 32-bit words of the machine's memory, without BigInt and without an object that
// is made on the way. 64-bit fields come as halves, or as linear addresses.

import { type Lin, linFromHalves, linHi, linLo, type Maddr } from '../addresses.ts';
import type { Ram } from '../mmu/ram.ts';

export type FieldSize = 1 | 2 | 4 | 8 | 16;
/** Offset from the start of the VMCB and size, both in bytes. */
export type Field = readonly [offset: number, size: FieldSize];

/** Control area (APM Vol 2, Table B-1), in the manual's names. Where several fields share a word, each has its own bytes here. */
export const CONTROL = {
  INTERCEPT_CR: [0x000, 4],
  INTERCEPT_DR: [0x004, 4],
  INTERCEPT_EXCEPTIONS: [0x008, 4],
  INTERCEPT_1: [0x00c, 4],
  INTERCEPT_2: [0x010, 4],
  INTERCEPT_3: [0x014, 4],
  PAUSE_FILTER_THRESHOLD: [0x03c, 2],
  PAUSE_FILTER_COUNT: [0x03e, 2],
  IOPM_BASE_PA: [0x040, 8],
  MSRPM_BASE_PA: [0x048, 8],
  TSC_OFFSET: [0x050, 8],
  GUEST_ASID: [0x058, 4],
  TLB_CONTROL: [0x05c, 1],
  /** V_TPR, V_IRQ, V_GIF, V_INTR_PRIO, V_IGN_TPR, V_INTR_MASKING and what came later: bits of V_INTR. */
  V_INTR: [0x060, 4],
  V_INTR_VECTOR: [0x064, 1],
  INTERRUPT_SHADOW: [0x068, 4],
  EXITCODE: [0x070, 8],
  EXITINFO1: [0x078, 8],
  EXITINFO2: [0x080, 8],
  EXITINTINFO: [0x088, 4],
  EXITINTINFO_ERROR: [0x08c, 4],
  /** Bit 0: NP_ENABLE. */
  NESTED_CTL: [0x090, 8],
  AVIC_APIC_BAR: [0x098, 8],
  GHCB_PA: [0x0a0, 8],
  EVENTINJ: [0x0a8, 4],
  EVENTINJ_ERROR: [0x0ac, 4],
  N_CR3: [0x0b0, 8],
  /** Bit 0: LBR_VIRTUALIZATION_ENABLE; bit 1: virtualized VMLOAD and VMSAVE. */
  VIRT_EXT: [0x0b8, 8],
  /** What software has not changed since the last exit (15.15): a hint that is not taken here, everything is read at each VMRUN. */
  VMCB_CLEAN: [0x0c0, 4],
  NRIP: [0x0c8, 8],
  /** Number of bytes fetched, then the bytes. */
  GUEST_INSTRUCTION: [0x0d0, 16],
  AVIC_BACKING_PAGE: [0x0e0, 8],
  AVIC_LOGICAL_TABLE: [0x0f0, 8],
  AVIC_PHYSICAL_TABLE: [0x0f8, 8],
  VMSA_PA: [0x108, 8],
} as const satisfies Record<string, Field>;

/** State save area (APM Vol 2, Table B-2), which begins at 400h; offsets are from the start of the VMCB. A segment: as SEGMENT says. */
export const SAVE = {
  ES: [0x400, 16],
  CS: [0x410, 16],
  SS: [0x420, 16],
  DS: [0x430, 16],
  FS: [0x440, 16],
  GS: [0x450, 16],
  GDTR: [0x460, 16],
  LDTR: [0x470, 16],
  IDTR: [0x480, 16],
  TR: [0x490, 16],
  CPL: [0x4cb, 1],
  EFER: [0x4d0, 8],
  CR4: [0x548, 8],
  CR3: [0x550, 8],
  CR0: [0x558, 8],
  DR7: [0x560, 8],
  DR6: [0x568, 8],
  RFLAGS: [0x570, 8],
  RIP: [0x578, 8],
  RSP: [0x5d8, 8],
  S_CET: [0x5e0, 8],
  SSP: [0x5e8, 8],
  ISST_ADDR: [0x5f0, 8],
  RAX: [0x5f8, 8],
  STAR: [0x600, 8],
  LSTAR: [0x608, 8],
  CSTAR: [0x610, 8],
  SFMASK: [0x618, 8],
  KERNEL_GS_BASE: [0x620, 8],
  SYSENTER_CS: [0x628, 8],
  SYSENTER_ESP: [0x630, 8],
  SYSENTER_EIP: [0x638, 8],
  CR2: [0x640, 8],
  G_PAT: [0x668, 8],
  DBGCTL: [0x670, 8],
  BR_FROM: [0x678, 8],
  BR_TO: [0x680, 8],
  LASTEXCPFROM: [0x688, 8],
  LASTEXCPTO: [0x690, 8],
} as const satisfies Record<string, Field>;

/**
 * Inside the 16 bytes of a segment register (Table B-2): selector u16, attributes u16, limit u32 in bytes, base u64. Attributes are bits
 * 47:40 of the descriptor, then bits 55:52 (12 bits in all); the limits of GDTR and IDTR are 16 bits wide and they have no selector.
 */
export const SEGMENT = { selector: 0, attributes: 2, limit: 4, base: 8 } as const;

export const VMCB = { ...CONTROL, ...SAVE } as const;
export type VmcbField = keyof typeof VMCB;
export const VMCB_SIZE = 4096;

/** Bits of V_INTR (offset 060h; APM Vol 2, 15.21 and 15.33.2). */
export const V_INTR = {
  tpr: 0xff,
  irq: 1 << 8,
  gif: 1 << 9,
  prioShift: 16,
  prio: 0xf << 16,
  ignoreTpr: 1 << 20,
  masking: 1 << 24,
  gifEnable: 1 << 25,
  avicEnable: 1 << 31,
} as const;

/** Bits of EVENTINJ and EXITINTINFO (APM Vol 2, Figures 15-4 and 15-5). */
export const EVENT = { vector: 0xff, typeShift: 8, type: 7 << 8, errorValid: 1 << 11, valid: 1 << 31 } as const;

/** Values of TLB_CONTROL (APM Vol 2, Table 15-9). The last two need CPUID's FlushByAsid. */
export const TLB_CONTROL = { nothing: 0, flushAll: 1, flushGuest: 3, flushGuestNonGlobal: 7 } as const;

export const VIRT_EXT = { lbr: 1, vmloadVmsave: 2 } as const;
export const NP_ENABLE = 1;

/**
 * Attributes of a segment register in a VMCB (12 bits) and in the CPU's state (SEG in state.ts, where the descriptor's bits keep their
 * places).
 */
export const attributesFromVmcb = (a: number): number => (a & 0xff) | ((a & 0xf00) << 4);
export const attributesToVmcb = (a: number): number => (a & 0xff) | ((a >>> 4) & 0xf00);

/**
 * A VMCB in RAM. Offsets are those of VMCB; a write by software or by the processor goes past decoded code as any store does.
 */
export class Vmcb {
  readonly ram: Ram;
  /** Address in RAM, a multiple of 4096. */
  at: Maddr;
  /** Index of the first word in ram.u32. */
  private w: number;

  constructor(ram: Ram, at: Maddr) {
    this.ram = ram;
    this.at = at;
    this.w = (ram.base + at) >>> 2;
  }
  /** Looks at another frame. */
  moveTo(at: Maddr): void {
    this.at = at;
    this.w = (this.ram.base + at) >>> 2;
  }

  /** To be called before a frame is written: code that was decoded from it goes. */
  touch(): void {
    if (this.ram.codeFrames[this.at >>> 12] !== 0) this.ram.onCodeWrite(this.at, VMCB_SIZE);
  }

  // Fields at offsets that are multiples of 4. The set...() of several in a row need one touch() before them.
  u32(offset: number): number {
    return this.ram.u32[this.w + (offset >>> 2)]!;
  }
  lo(offset: number): number {
    return this.ram.u32[this.w + (offset >>> 2)]! | 0;
  }
  hi(offset: number): number {
    return this.ram.u32[this.w + (offset >>> 2) + 1]! | 0;
  }
  /** A 64-bit field as a signed linear address: exact when canonical. */
  lin(offset: number): Lin {
    return linFromHalves(this.lo(offset), this.hi(offset));
  }
  /** A physical address: unsigned, exact up to 2^53. */
  address(offset: number): number {
    return (this.hi(offset) >>> 0) * 0x1_0000_0000 + this.u32(offset);
  }
  setU32(offset: number, v: number): void {
    this.ram.u32[this.w + (offset >>> 2)] = v;
  }
  setHalves(offset: number, lo: number, hi: number): void {
    this.ram.u32[this.w + (offset >>> 2)] = lo;
    this.ram.u32[this.w + (offset >>> 2) + 1] = hi;
  }
  setLin(offset: number, v: number): void {
    this.setHalves(offset, linLo(v), linHi(v));
  }
  u16(offset: number): number {
    return this.ram.u16[((this.w << 2) >>> 1) + (offset >>> 1)]!;
  }
  setU16(offset: number, v: number): void {
    this.ram.u16[((this.w << 2) >>> 1) + (offset >>> 1)] = v;
  }
  u8(offset: number): number {
    return this.ram.u8[(this.w << 2) + offset]!;
  }
  setU8(offset: number, v: number): void {
    this.ram.u8[(this.w << 2) + offset] = v;
  }

  // By name, for handlers off the hot path, dumps and tests.
  /** Value of a field of up to 8 bytes, zero-extended. */
  get(name: VmcbField): bigint {
    const [offset, size] = VMCB[name];
    let v = 0n;
    for (let i = Math.min(size, 8) - 1; i >= 0; i--) v = (v << 8n) | BigInt(this.u8(offset + i));
    return v;
  }
  set(name: VmcbField, v: bigint | number): void {
    const [offset, size] = VMCB[name];
    this.touch();
    let rest = BigInt(v);
    for (let i = 0; i < Math.min(size, 8); i++, rest >>= 8n) this.setU8(offset + i, Number(rest & 0xffn));
  }
  /** A segment register: attributes as SEG in state.ts, limit in bytes. */
  setSegment(name: SegmentName, selector: number, attributes: number, limit: number, base: number): void {
    const [offset] = VMCB[name];
    this.touch();
    this.setU16(offset, selector);
    this.setU16(offset + SEGMENT.attributes, attributesToVmcb(attributes));
    this.setU32(offset + SEGMENT.limit, limit);
    this.setLin(offset + SEGMENT.base, base);
  }
}

export type SegmentName = 'ES' | 'CS' | 'SS' | 'DS' | 'FS' | 'GS' | 'GDTR' | 'LDTR' | 'IDTR' | 'TR';
