// The emulated CPU as an executor: a machine with four mapped pages and no kernel; every case runs for one instruction at CPL 3.

import type { Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { EmulatedCpu } from '../exec/cpu.ts';
import { decode } from '../exec/decode.ts';
import { Engine } from '../exec/engine.ts';
import { Ram } from '../mmu/ram.ts';
import { CPU_STRIDE, CS, DS, ES, FS, GS, SS, STATE } from '../state.ts';
import { defaultProfile, IMPLEMENTED, withFeatures } from '../system/cpuid.ts';
import { executeSystem, HANDLERS } from '../system/execute.ts';
import {
  ABSENT_PAGE,
  type Case,
  CODE_START,
  codeBase,
  codeLimit,
  codeSelector,
  dataBase,
  dataLimit,
  dataSelector,
  type Executor,
  FS_BASE,
  FS_LIMIT,
  fsSelector,
  GS_BASE,
  type Outcome,
  PAGES,
  startOf,
  WINDOW,
  WINDOW_SIZE,
} from './case.ts';
import { loadX87, storeX87 } from './x87-image.ts';

const MIB = 1 << 20;
const FIRST_CPU = 1 << 16;
const ARENA = FIRST_CPU + CPU_STRIDE;
/** Physical addresses. */
const TABLES = 0x1000;
const CODE = 0x10000;
const DATA = 0x11000;
const READ_ONLY = 0x13000;

const PRESENT_USER = 5;
const WRITABLE = 2;
const CR0 = 0x8001_0033;
const CR4_PAE_OSFXSR = 0x620;
const EFER_SCE_LME_LMA_NXE = 0xd01;
const CODE_ATTRIBUTES = { 64: 0xa0fb, 32: 0xc0fb, 16: 0x00fb } as const;
const DATA16_ATTRIBUTES = 0x00f3;
const ARENA_SIZE = 32 * MIB;
const DATA_ATTRIBUTES = 0xc0f3;
const ALL = 0xffffffff;
/** A repetition comes back to itself; a case that does so more often does not end. */
const MAX_STEPS = 1000;
const MAX_CYCLES = 100_000;

/** Four-level tables for the pages of a case: all lie below 1 GiB. */
function mapPages(ram: Ram): void {
  let next = TABLES + 0x1000;
  const entry = (table: number, index: number): number => {
    const at = (table + index * 8) as Maddr;
    if (ram.read32(at) === 0) {
      ram.write32(at, next | PRESENT_USER | WRITABLE);
      next += 0x1000;
    }
    return ram.read32(at) & ~0xfff;
  };
  const map = (linear: bigint, physical: number, flags: number): void => {
    const lin = Number(linear);
    const table = entry(entry(entry(TABLES, 0), lin >>> 30), (lin >>> 21) & 511);
    ram.write32((table + ((lin >>> 12) & 511) * 8) as Maddr, physical | flags);
  };
  map(CODE_START & ~0xfffn, CODE, PRESENT_USER | WRITABLE);
  map(PAGES, DATA, PRESENT_USER | WRITABLE);
  map(GS_BASE, DATA + 0x1000, PRESENT_USER | WRITABLE);
  map(GS_BASE + 0x1000n, READ_ONLY, PRESENT_USER);
}

const windowAt = (DATA + Number(WINDOW - PAGES)) as Maddr;

function placeCode({ ram }: EmulatedCpu, c: Case): void {
  ram.fill(CODE as Maddr, 0xcc, 0x1000);
  ram.writeBytes((CODE + Number(CODE_START & 0xfffn)) as Maddr, c.code);
}
/** All but the code. */
function prepare(cpu: EmulatedCpu, c: Case): void {
  const { ram } = cpu;
  ram.fill(DATA as Maddr, 0, 0x2000);
  ram.writeBytes(windowAt, c.window);
  c.gpr.forEach((v, n) => {
    cpu.setReg(n, v);
  });
  cpu.setBig(STATE.rip, startOf(c.bits));
  cpu.rflags = Number(c.rflags);
  cpu.setSegment(CS, codeSelector(c.bits), CODE_ATTRIBUTES[c.bits], codeLimit(c.bits), Number(codeBase(c.bits)));
  const attributes = c.bits === 16 ? DATA16_ATTRIBUTES : DATA_ATTRIBUTES;
  for (const seg of [DS, ES, SS]) cpu.setSegment(seg, dataSelector(c.bits), attributes, dataLimit(c.bits), Number(dataBase(c.bits)));
  if (c.bits === 64) cpu.setSegment(FS, 0, 0, ALL, Number(FS_BASE));
  else cpu.setSegment(FS, fsSelector(c.bits), DATA16_ATTRIBUTES, FS_LIMIT, Number(FS_BASE));
  cpu.setSegment(GS, 0, 0, ALL, c.bits === 64 ? Number(GS_BASE) : 0);
  ram.u8.set(c.fxsave.subarray(160, 416), cpu.base + STATE.xmm);
  const fx = new DataView(c.fxsave.buffer, c.fxsave.byteOffset);
  cpu.setU32(STATE.mxcsr, fx.getUint32(24, true));
  loadX87(new DataView(ram.u8.buffer, cpu.base), c.fxsave);
  cpu.modeChanged();
}

function outcomeOf(cpu: EmulatedCpu, c: Case, faulted: boolean): Outcome {
  const { ram, event } = cpu;
  const fxsave = c.fxsave.slice();
  fxsave.set(ram.u8.subarray(cpu.base + STATE.xmm, cpu.base + STATE.xmm + 256), 160);
  storeX87(new DataView(ram.u8.buffer, cpu.base), fxsave);
  new DataView(fxsave.buffer).setUint32(24, cpu.u32(STATE.mxcsr), true);
  const pageFault = faulted && event.vector === 14;
  return {
    vector: faulted ? event.vector : -1,
    errorCode: pageFault ? event.errorCode : 0,
    address: pageFault ? cpu.big(STATE.cr2) : 0n,
    gpr: Array.from({ length: 16 }, (_, n) => cpu.reg(n)),
    rip: cpu.big(STATE.rip),
    rflags: BigInt(cpu.rflags),
    fxsave,
    window: ram.readBytes(windowAt, WINDOW_SIZE),
  };
}

/** Runs code up to the INT3 that it leaves for, in slices of up to `slice` cycles. */
function runWhole(cpu: EmulatedCpu, c: Case, slice: number): Outcome | undefined {
  const end = cpu.cycles + MAX_CYCLES;
  for (let n = 1; cpu.cycles < end; n++) {
    const exit = cpu.run(cpu.cycles + (slice === MAX_CYCLES ? slice : (n % slice) + 1));
    if (exit === RunExit.exception) return outcomeOf(cpu, c, true);
    if (exit === RunExit.softInt) return outcomeOf(cpu, c, false);
    if (exit !== RunExit.deadline) return undefined;
  }
  return undefined;
}

function runCase(cpu: EmulatedCpu, c: Case, slice: number): Outcome | undefined {
  placeCode(cpu, c);
  prepare(cpu, c);
  if (c.whole) return runWhole(cpu, c, slice);
  for (let n = 0; n < MAX_STEPS; n++) {
    const exit = cpu.run(cpu.cycles + 1);
    if (exit === RunExit.exception) return outcomeOf(cpu, c, true);
    if (exit !== RunExit.deadline) return undefined;
    if (cpu.big(STATE.rip) !== startOf(c.bits)) return outcomeOf(cpu, c, false);
  }
  return undefined;
}

/** With all CPUID features present. */
function createCpu(jit = false): EmulatedCpu {
  const ram = new Ram(MIB, ARENA + ARENA_SIZE);
  const engine = new Engine(ram, FIRST_CPU, ARENA, ARENA_SIZE, Object.assign([], { has: () => true }), { jit, eager: true });
  const cpu = new EmulatedCpu(engine, 0, FIRST_CPU, withFeatures(defaultProfile, [...IMPLEMENTED]));
  engine.cpus.push(cpu);
  mapPages(ram);
  cpu.setU32(STATE.cr0, CR0 >>> 0);
  cpu.setU32(STATE.cr4, CR4_PAE_OSFXSR);
  cpu.setU32(STATE.efer, EFER_SCE_LME_LMA_NXE);
  cpu.setLin(STATE.cr3, TABLES);
  cpu.setU32(STATE.cpl, 3);
  cpu.delivery = 'host';
  return cpu;
}

/** Cases of more than one instruction run in slices of 1 to `slice` cycles. */
export function interpreterExecutor(slice = MAX_CYCLES): Executor {
  const cpu = createCpu();
  const name = slice === MAX_CYCLES ? 'interpreter' : `interpreter in slices of 1 to ${slice}`;
  return { name, run: (cases) => cases.map((c) => runCase(cpu, c, slice)) };
}

/** The TypeScript form of instructions that have a staged one as well: what Builder.slow() leads to. */
export function systemExecutor(): Executor {
  const cpu = createCpu();
  const run = (c: Case): Outcome | undefined => {
    placeCode(cpu, c);
    prepare(cpu, c);
    const d = decode(c.code, 0, c.code.length, { bits: c.bits });
    if (typeof d === 'string' || !HANDLERS.has(d.insn.mnemonic)) return undefined;
    return outcomeOf(cpu, c, !executeSystem(cpu, d));
  };
  return { name: 'system', run: (cases) => cases.map(run) };
}

/** Compiled code: every block is compiled when it is first entered. */
export function jitExecutor(slice = MAX_CYCLES): Executor {
  const cpu = createCpu(true);
  const run = (c: Case): Outcome | undefined => {
    placeCode(cpu, c);
    prepare(cpu, c);
    const outcome = runWhole(cpu, c, slice);
    // A jump into the data runs what is there.
    const at = codeBase(c.bits) + (outcome?.rip ?? 0n);
    if (!c.whole && at >= PAGES && at < ABSENT_PAGE) return undefined;
    // As decodeResults() has it: a jump to where nothing is mapped was done.
    const isFetch = outcome?.vector === 14 && outcome.address === at && outcome.rip !== startOf(c.bits);
    return outcome !== undefined && isFetch ? { ...outcome, vector: -1, errorCode: 0, address: 0n } : outcome;
  };
  return { name: 'jit', run: (cases) => cases.map(run) };
}
