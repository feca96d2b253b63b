// A VMCS region: 4 KiB of RAM in which a processor keeps the fields (SDM Vol 3C, 24.2).
//
// All there is of a VMCS lies in that page, its launch state too: VMCLEAR has nothing to write back, and a VMCS can move between
// processors, be saved and restored with the memory of its owner. Software that writes the page by ordinary stores changes the VMCS; the
// SDM leaves what then happens undefined (24.11.1), and the VM-entry checks see whatever is there.

import { type Lin, linFromHalves, linHi, linLo, type Maddr } from '../addresses.ts';
import type { Ram } from '../mmu/ram.ts';
import { type Encoding, type Field, type Narrow, SLOTS, type Wide } from './fields.ts';

/** Bit 31 of the first word: a shadow VMCS, for use by VMREAD and VMWRITE in non-root operation (24.10). */
export const SHADOW_INDICATOR = 0x8000_0000;
/** Offsets in the region. The first two are the manual's (24.2, Table 24-1). */
const REVISION_AT = 0;
const ABORT_AT = 4;
const LAUNCH_STATE_AT = 8;
const LAUNCH_STATE = { clear: 0, launched: 1 } as const;

export class Vmcs {
  readonly ram: Ram;
  /** Machine address of the region; a multiple of 4096, with the whole page in RAM: the caller has checked that. */
  readonly at: Maddr;

  constructor(ram: Ram, at: Maddr) {
    this.ram = ram;
    this.at = at;
  }

  /** VMCS revision identifier, bits 30:0. */
  get revision(): number {
    return this.word(REVISION_AT) & 0x7fff_ffff;
  }
  get isShadow(): boolean {
    return this.word(REVISION_AT) >= SHADOW_INDICATOR;
  }
  /** What a VMM does by a store before VMCLEAR and VMPTRLD: the first word. */
  format(revision: number, isShadow = false): void {
    this.setWord(REVISION_AT, (revision & 0x7fff_ffff) + (isShadow ? SHADOW_INDICATOR : 0));
  }
  /** VMX-abort indicator (27.7). */
  get abort(): number {
    return this.word(ABORT_AT);
  }
  set abort(why: number) {
    this.setWord(ABORT_AT, why);
  }
  /** "Launched", as opposed to "clear": VMLAUNCH wants the one, VMRESUME the other (24.1). */
  get launched(): boolean {
    return this.word(LAUNCH_STATE_AT) === LAUNCH_STATE.launched;
  }
  set launched(yes: boolean) {
    this.setWord(LAUNCH_STATE_AT, yes ? LAUNCH_STATE.launched : LAUNCH_STATE.clear);
  }

  // By encoding, for code that knows the field. Nothing is allocated; only big and setBig use BigInt.

  /** A 16- or 32-bit field, unsigned. */
  read32(e: Narrow): number {
    return this.word(SLOTS[e]!);
  }
  /** Bits above the field's width must be clear. Signed and unsigned values are the same to it. */
  write32(e: Narrow, v: number): void {
    this.setWord(SLOTS[e]!, v);
  }
  /** A natural-width or 64-bit field as a signed number: exact when it is a canonical address, and outside their range when it is not. */
  readLin(e: Wide): Lin {
    const slot = SLOTS[e]!;
    return linFromHalves(this.word(slot), this.word(slot + 4));
  }
  writeLin(e: Wide, v: number): void {
    const slot = SLOTS[e]!;
    this.setWord(slot, linLo(v));
    this.setWord(slot + 4, linHi(v));
  }
  /** Bits 31:0, unsigned. */
  lo(e: Wide): number {
    return this.word(SLOTS[e]!);
  }
  /** Bits 63:32, unsigned. */
  hi(e: Wide): number {
    return this.word(SLOTS[e]! + 4);
  }
  setHalves(e: Wide, lo: number, hi: number): void {
    const slot = SLOTS[e]!;
    this.setWord(slot, lo);
    this.setWord(slot + 4, hi);
  }
  big(e: Encoding): bigint {
    return this.ram.read64((this.at + SLOTS[e]!) as Maddr);
  }
  setBig(e: Encoding, v: bigint): void {
    this.ram.write64((this.at + SLOTS[e]!) as Maddr, BigInt.asUintN(64, v));
  }

  // By field, for VMREAD and VMWRITE, whose operand is any encoding (fieldOf). A value is 64 bits wide there; the field keeps what fits.

  /** Bits 31:0 of what VMREAD gives. */
  fieldLo(f: Field): number {
    return this.word(f.slot);
  }
  /** Bits 63:32 of what VMREAD gives: zero for narrow fields and for high halves. */
  fieldHi(f: Field): number {
    return isWide(f) ? this.word(f.slot + 4) : 0;
  }
  setField(f: Field, lo: number, hi: number): void {
    this.setWord(f.slot, f.width === 16 ? lo & 0xffff : lo);
    if (isWide(f)) this.setWord(f.slot + 4, hi);
  }

  // Many words at once, for whoever wants to know whether anything has changed. `words`: offsets in the region, in units of four bytes.

  hasWords(words: Uint16Array, values: Uint32Array): boolean {
    const { u32, base } = this.ram;
    const first = (base + this.at) >>> 2;
    for (let i = 0; i < words.length; i++) if (u32[first + words[i]!] !== values[i]) return false;
    return true;
  }
  copyWords(words: Uint16Array, into: Uint32Array): void {
    const { u32, base } = this.ram;
    const first = (base + this.at) >>> 2;
    for (let i = 0; i < words.length; i++) into[i] = u32[first + words[i]!]!;
  }

  private word(offset: number): number {
    return this.ram.read32((this.at + offset) as Maddr);
  }
  private setWord(offset: number, v: number): void {
    this.ram.write32((this.at + offset) as Maddr, v);
  }
}

const isWide = (f: Field): boolean => !f.isHigh && (f.width === 64 || f.width === 'natural');
