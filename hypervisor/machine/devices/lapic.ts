// The local APIC (SDM Vol 3A, chapter 10): xAPIC registers in memory, x2APIC registers as MSRs, the timer, inter-processor interrupts, and
// what the processor core asks it at an instruction boundary. With LINT0 as ExtINT it lets the 8259s through (virtual wire mode).

import { type LocalApic, REQUEST } from '../system/ports.ts';
import { type ApicMessage, BROADCAST, DELIVERY, destinationOf8 } from './apic-message.ts';
import type { MemoryDevice } from './bus.ts';
import { APIC, clear, highest, type LapicState, set, test, words, x2apicLdr } from './lapic-state.ts';
import { type CycleClock, LapicTimer, TIMER_MODE } from './lapic-timer.ts';

export { APIC } from './lapic-state.ts';

/** Integrated APIC, six LVT entries. */
const VERSION = 0x0005_0014;
const FIRST_LVT = APIC.lvtTimer;
const LVT_COUNT = 6;
const MASKED = 1 << 16;
const LEVEL_TRIGGERED = 1 << 15;
const REMOTE_IRR = 1 << 14;
/** Writable bits of the LVT entries (SDM Vol 3A, Figure 10-8). The timer's mode has two bits where deadline mode exists. */
const LVT_WRITABLE = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
const SVR_WRITABLE = 0x3ff;
const SOFTWARE_ENABLE = 0x100;
const ICR_WRITABLE = 0xc_cfff;

/** Bits of the error status register (10.5.3). */
const ESR = { sendIllegalVector: 1 << 5, receiveIllegalVector: 1 << 6, illegalRegister: 1 << 7 } as const;

/** Bits of IA32_APIC_BASE (10.4.4, 10.12.1). */
export const APIC_BASE = { bsp: 1 << 8, extd: 1 << 10, en: 1 << 11, address: 0xfee0_0000 } as const;
const IA32_APIC_BASE = 0x1b;
const IA32_TSC_DEADLINE = 0x6e0;
const X2APIC_MSR = 0x800;

const DESTINATION = { none: 0, self: 1, all: 2, others: 3 } as const;

export interface LapicWiring {
  /** Initial APIC ID. */
  readonly id: number;
  readonly isBsp: boolean;
  readonly clock: CycleClock;
  /** Cycles per tick of the timer clock. */
  readonly timerRatio: number;
  readonly tscOffset: () => number;
  readonly hasFeature: (name: 'x2apic' | 'tsc_deadline_timer') => boolean;
  readonly physicalBits: number;
  /** Sends a message to those that it names, this one among them. */
  send(m: ApicMessage): boolean;
  /** To all, or all but the sender. */
  broadcast(m: ApicMessage, except: Lapic | undefined): void;
  /** The EOI of a level-triggered vector, for the I/O APICs. */
  eoi(vector: number): void;
  /** INTA cycle of the 8259s. */
  acknowledgeExternal(): number;
  /** The 8259s, whose INT is LINT0's level, are let through to this one by an I/O APIC too (ExtINT in a redirection entry). */
  isExternalRouted?(): boolean;
  /** INIT finds a core that is as after reset and leaves its APIC as it is too; never unless given. */
  isReset?(): boolean;
  /** INIT and start-up IPIs, which are the core's. */
  init(): void;
  startup(vector: number): void;
  /** Something waits for the core: it may have to be woken. */
  wake(): void;
}

export class Lapic implements LocalApic, MemoryDevice {
  state: LapicState;
  requests = 0;
  readonly timer: LapicTimer;
  private readonly wiring: LapicWiring;

  constructor(wiring: LapicWiring) {
    this.wiring = wiring;
    this.timer = new LapicTimer(wiring.clock, wiring.timerRatio, wiring.tscOffset, () => this.local(0));
    this.state = this.powerUp();
  }

  private powerUp(): LapicState {
    const { id, isBsp } = this.wiring;
    return {
      base: APIC_BASE.address + APIC_BASE.en + (isBsp ? APIC_BASE.bsp : 0),
      id,
      tpr: 0,
      ldr: 0,
      dfr: 0xffff_ffff,
      svr: 0xff,
      isr: words(),
      tmr: words(),
      irr: words(),
      esr: 0,
      errors: 0,
      icr: 0,
      icrHigh: 0,
      lvt: new Array<number>(LVT_COUNT).fill(MASKED),
      nmi: false,
      lint0: this.state?.lint0 ?? false,
      lint1: this.state?.lint1 ?? false,
    };
  }
  /** RESET (10.4.7.1). The pins stay as they are. */
  reset(): void {
    this.timer.reset();
    this.state = this.powerUp();
    this.update();
  }
  /** INIT: as RESET, but for the ID and IA32_APIC_BASE (10.4.7.3). */
  private initReset(): void {
    const { base, id } = this.state;
    this.timer.reset();
    this.state = { ...this.powerUp(), base, id };
    if (this.x2apic) this.state.ldr = x2apicLdr(id);
    this.update();
  }
  /** As a BIOS leaves it: enabled, the 8259s let through at LINT0, NMI at LINT1 (MultiProcessor Specification 1.4, 3.6.2.1). */
  virtualWire(): void {
    this.state.svr |= SOFTWARE_ENABLE;
    if (this.wiring.isBsp) this.state.lvt[APIC.lvtLint0 - FIRST_LVT] = DELIVERY.extInt << 8;
    this.state.lvt[APIC.lvtLint1 - FIRST_LVT] = DELIVERY.nmi << 8;
    this.update();
  }

  get isEnabled(): boolean {
    return (this.state.base & APIC_BASE.en) !== 0;
  }
  get x2apic(): boolean {
    return (this.state.base & APIC_BASE.extd) !== 0;
  }
  /** Physical page of the registers; undefined where they are not in memory. */
  get page(): number | undefined {
    return this.isEnabled && !this.x2apic ? this.state.base - (this.state.base % 4096) : undefined;
  }
  private get softwareEnabled(): boolean {
    return (this.state.svr & SOFTWARE_ENABLE) !== 0;
  }

  // ------------------------------------------------------------------ priorities (10.8.3, 10.8.4)

  get ppr(): number {
    const { tpr } = this.state;
    const serving = highest(this.state.isr);
    return tpr >>> 4 >= serving >>> 4 ? tpr : serving & 0xf0;
  }
  /** The vector that the processor priority lets through; 0 for none. */
  get deliverable(): number {
    const v = highest(this.state.irr);
    return v >>> 4 > this.ppr >>> 4 ? v : 0;
  }
  /** The highest vector that was requested, whatever the priority; 0 for none. */
  get highestRequest(): number {
    return highest(this.state.irr);
  }
  /** The 8259s ask, and are let through: their vector goes first. */
  get external(): boolean {
    const s = this.state;
    if (!s.lint0) return false;
    if (!this.isEnabled) return true;
    const lvt = s.lvt[APIC.lvtLint0 - FIRST_LVT]!;
    if (!(lvt & MASKED) && ((lvt >>> 8) & 7) === DELIVERY.extInt) return true;
    return this.softwareEnabled && this.wiring.isExternalRouted?.() === true;
  }
  private update(): void {
    const intr = this.external || (this.isEnabled && this.deliverable > 0);
    this.requests = (intr ? REQUEST.intr : 0) | (this.state.nmi ? REQUEST.nmi : 0);
    if (this.requests) this.wiring.wake();
  }

  acknowledge(): number {
    const s = this.state;
    if (this.external) {
      const vector = this.wiring.acknowledgeExternal();
      this.update();
      return vector;
    }
    const v = this.deliverable;
    // Lowered under the core's feet, by a TPR that rose: the spurious vector (10.9).
    if (v === 0) return s.svr & 0xff;
    clear(s.irr, v);
    set(s.isr, v);
    this.update();
    return v;
  }
  acknowledgeNmi(): void {
    this.state.nmi = false;
    this.update();
  }
  getCr8(): number {
    return this.state.tpr >>> 4;
  }
  setCr8(v: number): void {
    this.state.tpr = v << 4;
    this.update();
  }

  // ------------------------------------------------------------------ accepting interrupts

  /** Whether a message names this APIC (10.6.2, 10.12.10). */
  matches(m: ApicMessage): boolean {
    const s = this.state;
    if (!this.isEnabled) return false;
    if (!m.logical) return m.destination === BROADCAST || m.destination === s.id;
    if (this.x2apic) {
      if (m.destination === BROADCAST) return true;
      return m.destination >>> 16 === s.ldr >>> 16 && (m.destination & s.ldr & 0xffff) !== 0;
    }
    const mine = s.ldr >>> 24;
    const to = m.destination & 0xff;
    if (s.dfr >>> 28 === 0xf) return (mine & to) !== 0;
    return (to >>> 4 === 0xf || to >>> 4 === mine >>> 4) && (mine & to & 0xf) !== 0;
  }
  /** Takes fixed and lowest-priority interrupts? A software-disabled one only keeps what it had (10.4.7.2). */
  get takesFixed(): boolean {
    return this.isEnabled && this.softwareEnabled;
  }

  accept(m: ApicMessage): void {
    switch (m.delivery) {
      case DELIVERY.fixed:
      case DELIVERY.lowest:
        this.request(m.vector, m.level);
        return;
      case DELIVERY.nmi:
        this.state.nmi = true;
        this.update();
        return;
      case DELIVERY.init:
        if (this.wiring.isReset?.() !== true) this.initReset();
        this.wiring.init();
        return;
      case DELIVERY.startup:
        this.wiring.startup(m.vector);
        return;
      // SMI: there is no system-management mode. ExtINT: the 8259s come in at LINT0 alone.
    }
  }
  /**
   * An edge-triggered request that comes by no message: a hypervisor's own (Xen's vlapic_set_irq()). Kept even while the APIC is disabled by
   * software, since nobody would repeat it.
   */
  hold(vector: number): void {
    set(this.state.irr, vector);
    clear(this.state.tmr, vector);
    this.update();
  }
  private request(vector: number, level: boolean): void {
    const s = this.state;
    if (!this.takesFixed) return;
    if (vector < 16) {
      this.error(ESR.receiveIllegalVector);
      return;
    }
    set(s.irr, vector);
    if (level) set(s.tmr, vector);
    else clear(s.tmr, vector);
    this.update();
  }
  private error(bit: number): void {
    const s = this.state;
    const fresh = (s.errors & bit) === 0;
    s.errors |= bit;
    if (fresh) this.local(APIC.lvtError - FIRST_LVT);
  }
  /** The event of an LVT entry. */
  private local(entry: number): void {
    const lvt = this.state.lvt[entry]!;
    if (lvt & MASKED) return;
    const delivery = entry === 0 || entry === APIC.lvtError - FIRST_LVT ? DELIVERY.fixed : (lvt >>> 8) & 7;
    if (delivery === DELIVERY.extInt) this.update();
    else this.accept({ destination: this.state.id, logical: false, delivery, vector: lvt & 0xff, level: (lvt & LEVEL_TRIGGERED) !== 0 });
  }

  /** LINT0 is wired to the 8259s, LINT1 to NMI. */
  setLint(pin: 0 | 1, level: boolean): void {
    const s = this.state;
    const was = pin === 0 ? s.lint0 : s.lint1;
    if (pin === 0) s.lint0 = level;
    else s.lint1 = level;
    if (!level || was) this.update();
    else if (this.isEnabled) this.lint(pin);
    else if (pin === 1) this.accept({ destination: s.id, logical: false, delivery: DELIVERY.nmi, vector: 2, level: false });
    else this.update();
  }
  private lint(pin: 0 | 1): void {
    const entry = APIC.lvtLint0 - FIRST_LVT + pin;
    const lvt = this.state.lvt[entry]!;
    const fixedLevel = (lvt & LEVEL_TRIGGERED) !== 0 && ((lvt >>> 8) & 7) === DELIVERY.fixed;
    if (fixedLevel && lvt & REMOTE_IRR) return;
    if (fixedLevel && !(lvt & MASKED)) this.state.lvt[entry] = lvt | REMOTE_IRR;
    this.local(entry);
  }

  private endOfInterrupt(): void {
    const s = this.state;
    const v = highest(s.isr);
    if (v === 0) return;
    clear(s.isr, v);
    if (test(s.tmr, v)) {
      this.wiring.eoi(v);
      for (const pin of [0, 1] as const) this.endOfLint(pin, v);
    }
    this.update();
  }
  /** A level-triggered pin that is still up asks again. */
  private endOfLint(pin: 0 | 1, vector: number): void {
    const s = this.state;
    const entry = APIC.lvtLint0 - FIRST_LVT + pin;
    const lvt = s.lvt[entry]!;
    if (!(lvt & REMOTE_IRR) || (lvt & 0xff) !== vector) return;
    s.lvt[entry] = lvt & ~REMOTE_IRR;
    if (pin === 0 ? s.lint0 : s.lint1) this.lint(pin);
  }

  // ------------------------------------------------------------------ inter-processor interrupts (10.6.1)

  private sendIpi(low: number, destination: number): void {
    const delivery = (low >>> 8) & 7;
    const vector = low & 0xff;
    // INIT level de-assert is not for processors of this age: nobody minds it.
    const isLevel = (low & LEVEL_TRIGGERED) !== 0;
    if (delivery === DELIVERY.init && isLevel && !(low & (1 << 14))) return;
    if ((delivery === DELIVERY.fixed || delivery === DELIVERY.lowest) && vector < 16) {
      this.error(ESR.sendIllegalVector);
      return;
    }
    const m = { destination, logical: (low & 0x800) !== 0, delivery, vector, level: false };
    switch ((low >>> 18) & 3) {
      case DESTINATION.none:
        this.wiring.send(m);
        return;
      case DESTINATION.self:
        // Only fixed interrupts (Table 10-3).
        if (delivery === DELIVERY.fixed) this.accept(m);
        return;
      case DESTINATION.all:
        this.wiring.broadcast(m, undefined);
        return;
      case DESTINATION.others:
        this.wiring.broadcast(m, this);
    }
  }

  // ------------------------------------------------------------------ registers

  /** Undefined: no such register, or it cannot be read. */
  private get(n: number): number | undefined {
    const s = this.state;
    if (n >= APIC.isr && n < APIC.tmr) return s.isr[n - APIC.isr]! >>> 0;
    if (n >= APIC.tmr && n < APIC.irr) return s.tmr[n - APIC.tmr]! >>> 0;
    if (n >= APIC.irr && n < APIC.esr) return s.irr[n - APIC.irr]! >>> 0;
    if (n >= FIRST_LVT && n < FIRST_LVT + LVT_COUNT) return s.lvt[n - FIRST_LVT]!;
    switch (n) {
      case APIC.id:
        return this.x2apic ? s.id : (s.id << 24) >>> 0;
      case APIC.version:
        return VERSION;
      case APIC.tpr:
        return s.tpr;
      case APIC.ppr:
        return this.ppr;
      case APIC.ldr:
        return s.ldr;
      case APIC.svr:
        return s.svr;
      case APIC.esr:
        return s.esr;
      case APIC.icr:
        return s.icr;
      case APIC.initialCount:
        return this.timer.state.initial;
      case APIC.currentCount:
        return this.timer.current;
      case APIC.divide:
        return this.timer.state.divide;
      default:
        return undefined;
    }
  }

  /** False: no such register, or it cannot be written. Reserved bits have been checked where that matters (x2APIC). */
  private set(n: number, value: number): boolean {
    const s = this.state;
    if (n >= FIRST_LVT && n < FIRST_LVT + LVT_COUNT) {
      this.setLvt(n - FIRST_LVT, value);
      return true;
    }
    switch (n) {
      case APIC.tpr:
        s.tpr = value & 0xff;
        this.update();
        return true;
      case APIC.eoi:
        this.endOfInterrupt();
        return true;
      case APIC.svr:
        s.svr = value & SVR_WRITABLE;
        // While disabled by software all LVT entries are masked (10.4.7.2).
        if (!this.softwareEnabled) for (let i = 0; i < LVT_COUNT; i++) s.lvt[i] = s.lvt[i]! | MASKED;
        this.update();
        return true;
      case APIC.esr:
        s.esr = s.errors;
        s.errors = 0;
        return true;
      case APIC.initialCount:
        this.timer.setInitial(value);
        return true;
      case APIC.divide:
        this.timer.setDivide(value);
        return true;
      default:
        return false;
    }
  }
  private setLvt(entry: number, value: number): void {
    const s = this.state;
    const old = s.lvt[entry]!;
    let v = (value & this.lvtWritable(entry)) | (old & REMOTE_IRR);
    if (!(v & LEVEL_TRIGGERED)) v &= ~REMOTE_IRR;
    if (!this.softwareEnabled) v |= MASKED;
    s.lvt[entry] = v;
    if (entry === 0) this.timer.setMode((v >>> 17) & 3);
    const pin = entry + FIRST_LVT - APIC.lvtLint0;
    // A level that is up when its entry is opened asks at once.
    if ((pin === 0 && s.lint0) || (pin === 1 && s.lint1)) if (v & LEVEL_TRIGGERED) this.lint(pin);
    this.update();
  }
  private lvtWritable(entry: number): number {
    const all = LVT_WRITABLE[entry]!;
    return entry === 0 && !this.wiring.hasFeature('tsc_deadline_timer') ? all & ~(TIMER_MODE.tscDeadline << 17) : all;
  }

  // --- in memory (10.4.1): 32-bit registers on 16-byte boundaries
  read(offset: number, size: number): number {
    if (offset % 16 > 3) return 0;
    const v = this.readRegister(offset >>> 4);
    return size === 4 ? v : (v >>> (8 * (offset % 4))) & (size === 2 ? 0xffff : 0xff);
  }
  private readRegister(n: number): number {
    const s = this.state;
    if (n === APIC.icrHigh) return s.icrHigh;
    if (n === APIC.dfr) return s.dfr;
    if (n === APIC.apr || n === APIC.eoi) return 0;
    const v = this.get(n);
    if (v === undefined) this.error(ESR.illegalRegister);
    return v ?? 0;
  }
  write(offset: number, _size: number, value: number): void {
    const s = this.state;
    const n = offset >>> 4;
    if (offset % 16 !== 0) return;
    switch (n) {
      case APIC.id:
        s.id = value >>> 24;
        return;
      case APIC.ldr:
        s.ldr = (value & 0xff00_0000) >>> 0;
        return;
      case APIC.dfr:
        s.dfr = (value | 0x0fff_ffff) >>> 0;
        return;
      case APIC.icrHigh:
        s.icrHigh = (value & 0xff00_0000) >>> 0;
        return;
      case APIC.icr:
        s.icr = value & ICR_WRITABLE;
        this.sendIpi(s.icr, destinationOf8(s.icrHigh >>> 24, (s.icr & 0x800) !== 0));
        return;
      default:
        if (!this.set(n, value)) this.error(ESR.illegalRegister);
    }
  }

  // --- as MSRs (10.12.1). By halves, since a kernel in x2APIC or deadline mode does nothing as often.
  readMsr(n: number): bigint | undefined {
    const low = this.readMsrLow(n);
    return low < 0 ? undefined : (BigInt(this.msrHigh) << 32n) | BigInt(low);
  }
  writeMsr(n: number, value: bigint): boolean {
    return this.writeMsrHalves(n, Number(value & 0xffff_ffffn), Number(value >> 32n));
  }
  /** Upper half of what readMsrLow() read last. */
  msrHigh = 0;
  /** Lower half, unsigned; -1: #GP(0). */
  readMsrLow(n: number): number {
    const s = this.state;
    this.msrHigh = 0;
    if (n === IA32_APIC_BASE) return this.lowOf(s.base);
    if (n === IA32_TSC_DEADLINE) return this.wiring.hasFeature('tsc_deadline_timer') ? this.lowOf(this.timer.deadline) : -1;
    if (!this.x2apic) return -1;
    const r = n - X2APIC_MSR;
    if (r === APIC.icr) {
      this.msrHigh = s.icrHigh;
      return s.icr >>> 0;
    }
    const v = this.get(r);
    return v === undefined ? -1 : v >>> 0;
  }
  private lowOf(v: number): number {
    // A deadline that a double does not hold exactly may have been rounded up to 2^64.
    this.msrHigh = Math.min(Math.floor(v / 2 ** 32), 0xffff_ffff);
    return v >>> 0;
  }
  /** Halves unsigned. False: #GP(0). */
  writeMsrHalves(n: number, v: number, high: number): boolean {
    if (n === IA32_APIC_BASE) return this.writeBase((BigInt(high) << 32n) | BigInt(v));
    if (n === IA32_TSC_DEADLINE) {
      if (!this.wiring.hasFeature('tsc_deadline_timer')) return false;
      this.timer.setDeadline(high * 2 ** 32 + v);
      return true;
    }
    if (!this.x2apic) return false;
    const r = n - X2APIC_MSR;
    if (r === APIC.icr) {
      if (v & ~ICR_WRITABLE) return false;
      this.state.icr = v;
      this.state.icrHigh = high;
      this.sendIpi(v, high);
      return true;
    }
    if (high !== 0) return false;
    if (r === APIC.selfIpi) {
      if (v & ~0xff) return false;
      this.sendIpi(v | (DESTINATION.self << 18), 0);
      return true;
    }
    return !this.reservedX2apic(r, v) && this.set(r, v);
  }
  /** Reserved bits are #GP here, where xAPIC ignores them (10.12.1.3); EOI and ESR take only zero. */
  private reservedX2apic(r: number, v: number): boolean {
    if (r === APIC.eoi || r === APIC.esr) return v !== 0;
    if (r === APIC.tpr) return (v & ~0xff) !== 0;
    if (r === APIC.svr) return (v & ~SVR_WRITABLE) !== 0;
    if (r === APIC.divide) return (v & ~0xb) !== 0;
    if (r >= FIRST_LVT && r < FIRST_LVT + LVT_COUNT) return (v & ~(this.lvtWritable(r - FIRST_LVT) | REMOTE_IRR | (1 << 12))) !== 0;
    return false;
  }
  /** The state machine of Figure 10-27. */
  private writeBase(value: bigint): boolean {
    const { x2apic, isEnabled } = this;
    const reserved = 0x2ffn | (this.wiring.hasFeature('x2apic') ? 0n : BigInt(APIC_BASE.extd));
    if (value & reserved || value >> BigInt(this.wiring.physicalBits)) return false;
    const en = (value & BigInt(APIC_BASE.en)) !== 0n;
    const extd = (value & BigInt(APIC_BASE.extd)) !== 0n;
    if (extd && (!en || !isEnabled)) return false;
    if (x2apic && en && !extd) return false;
    const base = Number(value);
    if (isEnabled && !en) {
      this.timer.reset();
      this.state = { ...this.powerUp(), base };
    }
    this.state.base = base;
    if (extd && !x2apic) {
      this.state.id = this.wiring.id;
      this.state.ldr = x2apicLdr(this.wiring.id);
    }
    this.update();
    return true;
  }
}
