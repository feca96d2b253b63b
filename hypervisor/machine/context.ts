// Typed access to one CPU context: the register file that an emulated CPU runs on, or one that a hypervisor has put aside.
// 64-bit registers come as halves, as signed linear addresses, or (off the hot paths) as bigint.

import { type Lin, linHi, linLo } from './addresses.ts';
import type { Ram } from './mmu/ram.ts';
import { flagsFromEflags, flagsToEflags } from './stage/flag-words.ts';
import { CONTEXT_SIZE, EFLAGS, STATE } from './state.ts';

export class Context {
  readonly ram: Ram;
  /** Host address of the block. */
  readonly base: number;
  protected readonly w: number;

  constructor(ram: Ram, base: number) {
    this.ram = ram;
    this.base = base;
    this.w = base >>> 2;
  }

  // --- any field by its offset in STATE
  lo(offset: number): number {
    return this.ram.u32[this.w + (offset >>> 2)]! | 0;
  }
  hi(offset: number): number {
    return this.ram.u32[this.w + (offset >>> 2) + 1]! | 0;
  }
  /** Unsigned 32-bit field. */
  u32(offset: number): number {
    return this.ram.u32[this.w + (offset >>> 2)]!;
  }
  setU32(offset: number, v: number): void {
    this.ram.u32[this.w + (offset >>> 2)] = v;
  }
  u16(offset: number): number {
    return this.ram.u16[(this.base + offset) >>> 1]!;
  }
  setU16(offset: number, v: number): void {
    this.ram.u16[(this.base + offset) >>> 1] = v;
  }
  setHalves(offset: number, lo: number, hi: number): void {
    this.ram.u32[this.w + (offset >>> 2)] = lo;
    this.ram.u32[this.w + (offset >>> 2) + 1] = hi;
  }
  /** As a signed linear address; exact when canonical. */
  lin(offset: number): Lin {
    return (this.hi(offset) * 0x1_0000_0000 + this.u32(offset)) as Lin;
  }
  setLin(offset: number, v: number): void {
    this.setHalves(offset, linLo(v), linHi(v));
  }
  big(offset: number): bigint {
    return this.ram.u64[(this.base + offset) >>> 3]!;
  }
  setBig(offset: number, v: bigint): void {
    this.ram.u64[(this.base + offset) >>> 3] = v;
  }

  // --- general registers
  regLo(n: number): number {
    return this.lo(n << 3);
  }
  regHi(n: number): number {
    return this.hi(n << 3);
  }
  regLin(n: number): Lin {
    return this.lin(n << 3);
  }
  reg(n: number): bigint {
    return this.big(n << 3);
  }
  setReg(n: number, v: bigint): void {
    this.setBig(n << 3, v);
  }
  setRegHalves(n: number, lo: number, hi: number): void {
    this.setHalves(n << 3, lo, hi);
  }
  setRegLin(n: number, v: number): void {
    this.setLin(n << 3, v);
  }

  get rip(): Lin {
    return this.lin(STATE.rip);
  }
  set rip(v: Lin) {
    this.setLin(STATE.rip, v);
  }
  get cpl(): number {
    return this.u32(STATE.cpl);
  }

  /** RFLAGS (bits 31:0), the arithmetic flags materialized and bit 1 set. */
  get rflags(): number {
    return flagsToEflags(this.lo(STATE.flagRes), this.hi(STATE.flagRes), this.lo(STATE.flagAux)) | this.lo(STATE.eflags) | 2;
  }
  /** All flags are taken as given: masking by privilege is the caller's. */
  set rflags(v: number) {
    const [resLo, aux] = flagsFromEflags(v);
    this.setHalves(STATE.flagRes, resLo, 0);
    this.setU32(STATE.flagAux, aux);
    this.setU32(STATE.eflags, v & SYSTEM_FLAGS);
  }

  // --- segment registers: visible selector and hidden part
  selector(seg: number): number {
    return this.u16(STATE.seg + seg * 16);
  }
  segAttributes(seg: number): number {
    return this.u16(STATE.seg + seg * 16 + 2);
  }
  segLimit(seg: number): number {
    return this.u32(STATE.seg + seg * 16 + 4);
  }
  segBase(seg: number): Lin {
    return this.lin(STATE.seg + seg * 16 + 8);
  }
  /** attributes as SEG in state.ts; limit in bytes; base a linear address. */
  setSegment(seg: number, selector: number, attributes: number, limit: number, base: number): void {
    this.setU16(STATE.seg + seg * 16, selector);
    this.setU16(STATE.seg + seg * 16 + 2, attributes);
    this.setU32(STATE.seg + seg * 16 + 4, limit);
    this.setLin(STATE.seg + seg * 16 + 8, base);
  }
  setSegBase(seg: number, base: number): void {
    this.setLin(STATE.seg + seg * 16 + 8, base);
  }

  /** Copies the whole architectural context from another block of the same machine. */
  copyFrom(other: Context): void {
    this.ram.u8.copyWithin(this.base, other.base, other.base + CONTEXT_SIZE);
  }
  clear(): void {
    this.ram.u8.fill(0, this.base, this.base + CONTEXT_SIZE);
  }
}

export const SYSTEM_FLAGS =
  EFLAGS.TF | EFLAGS.IF | EFLAGS.DF | EFLAGS.IOPL | EFLAGS.NT | EFLAGS.RF | EFLAGS.VM | EFLAGS.AC | EFLAGS.VIF | EFLAGS.VIP | EFLAGS.ID;
