// A SystemCpu for specs: a real Ram and Context, linear addresses mapped one to one below 1 MiB save for pages that a test takes away or
// protects, and helpers that put descriptors, gates and code where a test wants them. No engine: a test hands over decoded instructions.

import type { Lin, Maddr } from '../addresses.ts';
import { Context } from '../context.ts';
import type { Cpu, CpuEvent, RunExit, WalkResult } from '../cpu-api.ts';
import { PF } from '../cpu-api.ts';
import { decode } from '../exec/decode.ts';
import { Ram } from '../mmu/ram.ts';
import { CPU_STRIDE, CS, DS, ES, GS, RSP, SS, STATE } from '../state.ts';
import type { GuestEvent, NonRoot } from '../virt/non-root.ts';
import { CR0, CR4, EFER, EXC } from './bits.ts';
import { PROFILES } from './cpuid.ts';
import { injectEvent } from './deliver.ts';
import { executeSystem } from './execute.ts';
import { setCpl } from './mode.ts';
import type { IoPorts, LocalApic, SystemCpu, ThreadState } from './ports.ts';
import { createThreadState } from './ports.ts';
import { resetContext } from './reset.ts';

const SIZE = 0x10_0000;
/** Bounce window of the fake, in the hardware part of its block. */
const WINDOW = 0x800;

export const GDT = 0x1000;
export const IDT = 0x2000;
export const TSS = 0x3000;
export const LDT = 0x7000;
export const STACK = 0x9000;
export const INNER_STACK = 0xb000;
export const CODE = 0x10000;
export const DATA = 0x20000;

export class FakeCpu extends Context implements SystemCpu {
  readonly id = 0;
  readonly event: CpuEvent = { vector: -1, errorCode: -1, length: 0 };
  cycles = 1000;
  delivery: 'host' | 'idt' = 'idt';
  readonly thread: ThreadState = createThreadState();
  profile = PROFILES['skylake-sp']!;
  /** Ports as they were used: 'in 60/1', 'out 80/1=ff'. */
  readonly portLog: string[] = [];
  portInput = 0;
  apic: LocalApic | undefined;
  readonly time = undefined;
  get execMode(): never {
    throw new Error('the fake CPU decodes nothing by itself');
  }
  readonly vmx = undefined;
  readonly svm = undefined;
  io: IoPorts = {
    in: (port, size) => {
      this.portLog.push(`in ${port.toString(16)}/${size}`);
      return this.portInput;
    },
    out: (port, size, value) => {
      this.portLog.push(`out ${port.toString(16)}/${size}=${value.toString(16)}`);
    },
  };
  /** Pages (linear >> 12) with special rights. */
  readonly pages = new Map<number, 'absent' | 'readonly' | 'supervisor'>();
  exit: RunExit | undefined;
  nonRoot: NonRoot | null = null;
  delivering: GuestEvent | undefined;
  faultAddress = 0 as Lin;
  flushes = 0;
  private windowAt: Lin | undefined;
  private windowSize = 0;

  constructor() {
    super(new Ram(SIZE, CPU_STRIDE), 0);
    resetContext(this, this.profile.signature);
  }

  run(): RunExit {
    throw new Error('the fake CPU has no engine');
  }
  fault(vector: number, errorCode = -1): false {
    this.event.vector = vector;
    this.event.errorCode = errorCode;
    return false;
  }
  pageFault(lin: Lin, errorCode: number): false {
    this.setLin(STATE.cr2, lin);
    return this.fault(EXC.PF, errorCode);
  }
  setNonRoot(guest: NonRoot | null): void {
    this.nonRoot = guest;
  }
  inject(e: GuestEvent): void {
    injectEvent(this, e);
  }
  setOutside(): void {}
  flushSpace(): void {
    this.flushes++;
  }
  leave(exit: RunExit): true {
    this.exit = exit;
    return true;
  }

  private rights(lin: number, write: boolean, user: boolean): boolean {
    const page = Math.floor(lin / 4096);
    const kind = lin < 0 || lin >= SIZE ? 'absent' : this.pages.get(page);
    const bits = (write ? PF.write : 0) | (user ? PF.user : 0);
    if (kind === 'absent') return this.pageFault(lin as Lin, bits);
    if ((kind === 'readonly' && write) || (kind === 'supervisor' && user)) return this.pageFault(lin as Lin, bits | PF.present);
    return true;
  }
  probe(lin: Lin, size: number, write: boolean, supervisor = false): number {
    const user = this.cpl === 3 && !supervisor;
    if (!this.rights(lin, write, user)) return 0;
    const last = lin + size - 1;
    if (Math.floor(lin / 4096) === Math.floor(last / 4096)) return this.ram.base + lin;
    if (!this.rights(Math.floor(last / 4096) * 4096, write, user)) return 0;
    this.windowAt = write ? lin : undefined;
    this.windowSize = size;
    this.ram.u8.copyWithin(WINDOW, this.ram.base + lin, this.ram.base + lin + size);
    return WINDOW;
  }
  commit(host: number): void {
    if (host !== WINDOW || this.windowAt === undefined) return;
    this.ram.u8.copyWithin(this.ram.base + this.windowAt, WINDOW, WINDOW + this.windowSize);
  }
  walk(lin: Lin): WalkResult {
    const ok = lin >= 0 && lin < SIZE;
    return { errorCode: 0, ok, maddr: lin as number as Maddr, writable: true, user: true, nx: false, global: false, shift: 12 };
  }
  loadCr3(cr3: number | bigint): void {
    this.setBig(STATE.cr3, BigInt(cr3));
    this.flushes++;
  }
  /** What loadPdptes() is to find. */
  pdptesValid = true;
  loadPdptes(): boolean {
    return this.pdptesValid;
  }
  flushPcid(): void {
    this.flushes++;
  }
  invlpgPcid(): void {
    this.flushes++;
  }
  flushTlb(): void {
    this.flushes++;
  }
  flushAll(): void {
    this.flushes++;
  }
  invlpg(): void {
    this.flushes++;
  }
  /** The engine decodes by mode and CS base: what changes them must say so. */
  modeChanges = 0;
  modeChanged(): void {
    this.modeChanges++;
  }

  // --- for tests
  read(at: number, size: 1 | 2 | 4 | 8): bigint {
    if (size === 8) return this.ram.read64(at as Maddr);
    return BigInt(size === 4 ? this.ram.read32(at as Maddr) : size === 2 ? this.ram.read16(at as Maddr) : this.ram.read8(at as Maddr));
  }
  write(at: number, size: 1 | 2 | 4 | 8, v: bigint | number): void {
    const n = BigInt.asUintN(size * 8, BigInt(v));
    if (size === 8) this.ram.write64(at as Maddr, n);
    else if (size === 4) this.ram.write32(at as Maddr, Number(n));
    else if (size === 2) this.ram.write16(at as Maddr, Number(n));
    else this.ram.write8(at as Maddr, Number(n));
  }
  /** A descriptor from base, limit (raw, 20 bits) and attributes in the layout of SEG. */
  descriptor(at: number, base: number, limit: number, attributes: number): void {
    this.write(at, 4, (limit & 0xffff) | ((base & 0xffff) << 16));
    this.write(at + 4, 4, ((base >>> 16) & 0xff) | ((attributes & 0xf0ff) << 8) | (limit & 0xf0000) | (base & 0xff000000));
  }
  gdt(selector: number, base: number, limit: number, attributes: number): void {
    this.descriptor(GDT + (selector & 0xfff8), base, limit, attributes);
  }
  /** A gate: type 12, 14, 15 ... with DPL. Sixteen bytes in long mode. */
  gate(at: number, selector: number, offset: number, type: number, dpl: number, low = 0): void {
    this.write(at, 4, (offset & 0xffff) | (selector << 16));
    this.write(at + 4, 4, (offset & 0xffff0000) | 0x8000 | (dpl << 13) | (type << 8) | low);
    if (this.lo(STATE.efer) & EFER.LMA) this.write(at + 8, 8, BigInt(Math.floor(offset / 2 ** 32)) & 0xffffffffn);
  }

  /** Puts bytes at RIP, decodes and executes them; the answer of executeSystem, or the decoder's refusal. */
  execute(...bytes: number[]): boolean | string {
    const long = (this.lo(STATE.efer) & EFER.LMA) !== 0;
    const attributes = this.segAttributes(CS);
    const bits = long && attributes & 0x2000 ? 64 : attributes & 0x4000 ? 32 : 16;
    const d = decode(Uint8Array.from(bytes), 0, bytes.length, { bits });
    if (typeof d === 'string') return d;
    this.event.vector = -1;
    this.event.errorCode = -1;
    this.exit = undefined;
    return executeSystem(this, d);
  }
  /** 'ok', or the fault as 'vector/errorCode in hex'. */
  outcome(...bytes: number[]): string {
    const r = this.execute(...bytes);
    if (r === true) return 'ok';
    if (typeof r === 'string') return r;
    return this.lastFault;
  }
  get lastFault(): string {
    const name = Object.entries(EXC).find(([, v]) => v === this.event.vector)?.[0] ?? String(this.event.vector);
    return this.event.errorCode < 0 ? `#${name}` : `#${name}(${this.event.errorCode.toString(16)})`;
  }
}

/** Selectors of the usual test GDT. */
export const SEL = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss: 0x28,
  ldt: 0x38,
  code1: 0x49,
  data1: 0x51,
  /** 32-bit code of level 3 in a long-mode GDT. */
  compat3: 0x5b,
  conforming0: 0x60,
  absentData3: 0x6b,
  readOnly3: 0x73,
  executeOnly3: 0x7b,
  absentCode0: 0x80,
  code16: 0x88,
  scratch: 0x90,
} as const;

const R = (n: number): number => n & 0xfff8;

function commonTables(c: FakeCpu, code: number): void {
  c.gdt(R(SEL.code0), 0, 0xfffff, 0x809b | code);
  c.gdt(R(SEL.data0), 0, 0xfffff, 0xc093);
  c.gdt(R(SEL.code3), 0, 0xfffff, 0x80fb | code);
  c.gdt(R(SEL.data3), 0, 0xfffff, 0xc0f3);
  c.gdt(R(SEL.tss), TSS, 0x2067, 0x89);
  c.gdt(R(SEL.ldt), LDT, 0xff, 0x82);
  c.gdt(R(SEL.code1), 0, 0xfffff, 0x80bb | code);
  c.gdt(R(SEL.data1), 0, 0xfffff, 0xc0b3);
  c.gdt(R(SEL.compat3), 0, 0xfffff, 0xc0fb);
  c.gdt(R(SEL.conforming0), 0, 0xfffff, 0x809f | code);
  c.gdt(R(SEL.absentData3), 0, 0xfffff, 0xc073);
  c.gdt(R(SEL.readOnly3), 0, 0xfffff, 0xc0f1);
  c.gdt(R(SEL.executeOnly3), 0, 0xfffff, 0xc0f9);
  c.gdt(R(SEL.absentCode0), 0, 0xfffff, 0x801b | code);
  c.gdt(R(SEL.code16), 0, 0xffff, 0x009b);
  c.setLin(STATE.gdtrBase, GDT);
  c.setU32(STATE.gdtrLimit, 0xff);
  c.setLin(STATE.idtrBase, IDT);
  c.setU32(STATE.idtrLimit, 0xfff);
  c.setSegment(7, SEL.tss, 0x8b, 0x2067, TSS);
}

/** Loads CS, SS, DS, ES, FS, GS for a level, as if the tables had been used. */
export function enterLevel(c: FakeCpu, cpl: number): void {
  const long = (c.lo(STATE.efer) & EFER.LMA) !== 0;
  const [cs, ss] = cpl === 0 ? [SEL.code0, SEL.data0] : cpl === 1 ? [SEL.code1, SEL.data1] : [SEL.code3, SEL.data3];
  const dpl = cpl << 5;
  c.setSegment(CS, cs, (long ? 0xa09b : 0xc09b) | dpl, 0xffffffff, 0);
  c.setSegment(SS, ss, 0xc093 | dpl, 0xffffffff, 0);
  for (const seg of [ES, DS, 4, GS]) c.setSegment(seg, SEL.data3, 0xc0f3, 0xffffffff, 0);
  setCpl(c, cpl);
  c.setRegLin(RSP, STACK);
  c.rip = CODE as Lin;
}

/** 32-bit protected mode, flat, with the usual tables. */
export function protectedCpu(cpl = 0): FakeCpu {
  const c = new FakeCpu();
  c.setHalves(STATE.cr0, CR0.PE | CR0.ET | CR0.NE, 0);
  commonTables(c, 0x4000);
  // 32-bit TSS: ESP0, SS0, ESP1, SS1.
  c.write(TSS + 4, 4, INNER_STACK);
  c.write(TSS + 8, 4, SEL.data0);
  c.write(TSS + 12, 4, INNER_STACK + 0x1000);
  c.write(TSS + 16, 4, SEL.data1);
  c.write(TSS + 0x66, 2, 0x68);
  enterLevel(c, cpl);
  return c;
}

/** Long mode, 64-bit code. */
export function longCpu(cpl = 0): FakeCpu {
  const c = new FakeCpu();
  c.setHalves(STATE.cr0, CR0.PE | CR0.PG | CR0.ET | CR0.NE | CR0.WP, 0);
  c.setHalves(STATE.cr4, CR4.PAE | CR4.OSFXSR | CR4.FSGSBASE, 0);
  c.setHalves(STATE.efer, EFER.LME | EFER.LMA | EFER.SCE | EFER.NXE, 0);
  commonTables(c, 0x2000);
  c.write(TSS + 4, 8, INNER_STACK);
  c.write(TSS + 12, 8, INNER_STACK + 0x1000);
  c.write(TSS + 0x24, 8, INNER_STACK + 0x2000);
  c.write(TSS + 0x66, 2, 0x68);
  enterLevel(c, cpl);
  return c;
}

/** Real mode with a stack. */
export function realCpu(): FakeCpu {
  const c = new FakeCpu();
  c.setSegment(CS, CODE >> 4, 0x9b, 0xffff, CODE);
  c.rip = 0 as Lin;
  c.setRegLin(RSP, STACK);
  return c;
}

/** Type check that the fake is a Cpu. */
export const asCpu = (c: FakeCpu): Cpu => c;
