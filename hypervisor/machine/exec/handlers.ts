// The handlers of the threaded interpreter, made when first needed: one wasm function for each (instruction, size, operand shape, mode)
// that decoded code has asked for. New ones are compiled in one module per request of the translator.

import type { AnyInsn } from '../isa/insn.ts';
import type { Access, Subroutine } from '../stage/builder.ts';
import { flagsFunction } from '../stage/jit-flags.ts';
import { buildSubroutine, type HandlerMode, type OperandShape, type StagedOperand, TYPE, WasmBuilder } from '../stage/wasm-builder.ts';
import { lookUp } from '../stage/wasm-direct.ts';
import { HARDWARE, STATE } from '../state.ts';
import { COUNT_HANDLER, FIRST_HANDLER, PARAM, REC, RECORD_SIZE, STOP, STOP_COUNT } from './records.ts';
import { buildModule, type FuncBody, type FuncType, I32, I64, OP } from './wasm.ts';

export interface HandlerImports {
  /** (cpu, size | write << 8 | seg << 16): host address for the linear address in scratch, or 0 with a fault recorded. */
  probe(cpu: number, access: number): number;
  commit(cpu: number, host: number): void;
  /** (cpu, size | write << 8 | seg << 16): whether the offset in scratch may be accessed through the segment. */
  segment(cpu: number, access: number): number;
}

const TYPES: readonly FuncType[] = [
  { params: [I32, I32, I32, I64, I32], results: [I32] },
  { params: [I32, I32], results: [I32] },
  { params: [I32, I32], results: [] },
  { params: [I64, I64, I64, I64, I64], results: [I64, I64] },
  { params: [I32, I64, I64, I64, I32], results: [I64, I32] },
];
const FUNC_IMPORTS = [
  { name: 'probe', type: TYPE.query },
  { name: 'commit', type: TYPE.commit },
  { name: 'segment', type: TYPE.query },
];
/** The table holds handlers below this index (a Linux boot uses about 900) and compiled regions from it on. Importing a table copies it. */
const REGIONS = 3072;
const TABLE_SIZE = 7168;
export const REGION_SLOTS = TABLE_SIZE - REGIONS;
/**
 * Modules after which all handlers are compiled again as one: hundreds of small modules lie scattered over the code space, and a kernel
 * boot took a quarter longer that way (29 s against 22 s).
 */
const GATHER_AFTER = 64;

/** Stores the live registers and returns the stop code, which is also the handler's index. */
function stopHandler(code: number): FuncBody {
  const b = new WasmBuilder({ bits: 64, flat: true, stackSize: 8 }, 8, 0, false);
  if (code === STOP.lookup) takeOverJump(b);
  const put = (param: number, op: number, offset: number) => {
    b.get(PARAM.cpu);
    b.get(param);
    b.mem(op, offset);
  };
  put(PARAM.rec, OP.i32_store, HARDWARE.exitRec);
  put(PARAM.fuel, OP.i32_store, HARDWARE.fuel);
  put(PARAM.res, OP.i64_store, STATE.flagRes);
  put(PARAM.aux, OP.i32_store, STATE.flagAux);
  b.c32(code);
  return { type: TYPE.handler, locals: b.locals, code: b.code };
}

/**
 * For a RIP that the jump cache holds for another context: where the TLB says that the page lies in the same frame here, and the mode is
 * the same, the entry becomes this context's and the block is entered. The record is the branch's, as for the stop.
 */
function takeOverJump(b: WasmBuilder): void {
  const rip = b.state(STATE.rip, 8);
  b.pushJumpSlot(rip.local);
  const slot = b.take(I32, 32);
  // The context is in the top 12 bits: those of a canonical RIP are all like bit 47.
  const key = b.xor(b.stateAt(slot, HARDWARE.jumpCache, 8), rip);
  const isCanonical = b.eq(b.sar(b.shl(rip, b.k(16)), b.k(16)), rip);
  b.if(b.and(b.eqz(b.shl(key, b.k(12))), isCanonical), () => {
    const home = b.stateAt(slot, HARDWARE.jumpCache + 12, 4);
    const { hit, host } = lookUp(b, rip, 'exec');
    const here = b.or(b.and(host, b.k(0xfffff000)), b.state(HARDWARE.modeKey, 4));
    b.if(b.and(hit, b.eq(home, here)), () => {
      b.setStateAt(slot, HARDWARE.jumpCache, 8, b.xor(rip, b.state(HARDWARE.ctx, 8)));
      const target = b.stateAt(slot, HARDWARE.jumpCache + 8, 4);
      b.push32(target);
      const record = b.local(I32);
      b.set(record);
      refundBranch(b);
      b.enter(record, false);
    });
  });
}

/** What EmulatedCpu.refund() gives back at a stop after a branch; a record that only goes on elsewhere cost nothing, and has `left` 0. */
function refundBranch(b: WasmBuilder): void {
  b.get(PARAM.rec);
  b.mem(OP.i32_load8_u, REC.left);
  const left = b.local(I32);
  b.tee(left);
  b.get(PARAM.fuel);
  b.op(OP.i32_add);
  b.get(left);
  b.c32(0);
  b.op(OP.i32_ne);
  b.op(OP.i32_sub);
  b.set(PARAM.fuel);
}

/** (cpu, rec): loads the live registers and runs the block at rec, which the caller has paid for. */
function enterFunction(): FuncBody {
  const emit = new WasmBuilder({ bits: 64, flat: true, stackSize: 8 }, 8, 0, false);
  emit.get(0);
  emit.get(1);
  emit.get(0);
  emit.mem(OP.i32_load, HARDWARE.fuel);
  emit.get(0);
  emit.mem(OP.i64_load, STATE.flagRes);
  emit.get(0);
  emit.mem(OP.i32_load, STATE.flagAux);
  emit.get(1);
  emit.mem(OP.i32_load, 0);
  emit.op(OP.call_indirect, TYPE.handler, 0);
  return { type: TYPE.query, locals: emit.locals, code: emit.code };
}

/** Counts an entry to the block whose first record follows, and pays for it; the last one stops with STOP.hot. */
function countHandler(): FuncBody {
  const b = new WasmBuilder({ bits: 64, flat: true, stackSize: 8 }, 8, 0, false);
  const left = b.local(I32);
  b.get(PARAM.rec);
  b.get(PARAM.rec);
  b.mem(OP.i32_load, REC.imm);
  b.c32(1);
  b.op(OP.i32_sub);
  b.tee(left);
  b.mem(OP.i32_store, REC.imm);
  b.get(left);
  b.op(OP.i32_eqz);
  b.open(OP.if);
  b.stop(STOP.hot);
  b.close();
  b.get(PARAM.rec);
  b.c32(RECORD_SIZE);
  b.op(OP.i32_add);
  b.set(left);
  b.enter(left, false);
  return { type: TYPE.handler, locals: b.locals, code: b.code };
}

/** The functions of regions as a module, for Handlers.placeModule(). */
export const compileRegions = (funcs: readonly FuncBody[]): WebAssembly.Module =>
  new WebAssembly.Module(buildModule(TYPES, FUNC_IMPORTS, [flagsFunction(), ...funcs], 'region'));

export class Handlers {
  enter!: (cpu: number, rec: number) => number;
  private readonly env: WebAssembly.ModuleImports;
  private table!: WebAssembly.Table;
  /** By instruction and keyOf(). */
  private readonly indexOf = new Map<AnyInsn, Map<number, number>>();
  private readonly pending: FuncBody[] = [];
  /** All handlers in use, and how many modules they were compiled in since they were last gathered in one. */
  private readonly bodies: FuncBody[] = [];
  private scattered = 0;
  private count = FIRST_HANDLER;
  private readonly subroutines = new Set<Subroutine>();
  /** By handler index: 1 when control never runs on to the next record. */
  readonly endsBlock = new Uint8Array(REGIONS);
  modules = 0;
  /** Host time that compiling took. */
  compileMs = 0;

  constructor(memory: WebAssembly.Memory, imports: HandlerImports) {
    this.env = { m: memory, probe: imports.probe, commit: imports.commit, segment: imports.segment };
    this.renew();
  }

  /**
   * Begins with a new table: what was compiled for the old one can be collected. Regions are forgotten, handlers keep their indices.
   * Only when no threaded code is running.
   */
  renew(): void {
    this.table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SIZE });
    this.env.t = this.table;
    const funcs = Array.from({ length: STOP_COUNT }, (_, i) => stopHandler(i));
    const exports = this.instantiate([...funcs, countHandler(), enterFunction()]);
    for (let i = 0; i < STOP_COUNT; i++) this.table.set(i, exports[`f${i}`]);
    this.table.set(COUNT_HANDLER, exports[`f${STOP_COUNT}`]);
    // SAFE: enterFunction() has this type.
    this.enter = exports[`f${STOP_COUNT + 1}`] as (cpu: number, rec: number) => number;
    for (const f of this.subroutines) this.place(STOP_COUNT + f.slot, [buildSubroutine(f)]);
    if (this.bodies.length > 0) this.place(FIRST_HANDLER, this.bodies);
    this.scattered = 0;
  }

  /** Compiles regions into one module and puts them into their slots; the answer is the handler index of each. */
  placeRegions(slots: readonly number[], funcs: readonly FuncBody[]): number[] {
    const began = performance.now();
    const module = compileRegions(funcs);
    this.compileMs += performance.now() - began;
    return this.placeModule(slots, module);
  }
  /** The same for a module that compileRegions() made; its functions without a slot are left out. */
  placeModule(slots: readonly (number | undefined)[], module: WebAssembly.Module): number[] {
    const exports = this.link(module);
    return slots.flatMap((slot, i) => {
      if (slot === undefined) return [];
      this.table.set(REGIONS + slot, exports[`f${i + 1}`]);
      return REGIONS + slot;
    });
  }

  /** Number of handlers made so far. */
  get size(): number {
    return this.count - FIRST_HANDLER;
  }

  /** Places left in the table. */
  get room(): number {
    return REGIONS - this.count - this.pending.length;
  }

  /** Forgets all handlers. Only when no record is left that names one: a guest can ask for more of them than the table holds. */
  reset(): void {
    this.indexOf.clear();
    this.pending.length = 0;
    this.bodies.length = 0;
    this.scattered = 0;
    this.count = FIRST_HANDLER;
  }

  /** Table index of a handler; it can be run after the next flush(). */
  index(
    insn: AnyInsn,
    size: number,
    cc: number,
    addrSize: 2 | 4 | 8,
    rep: 0 | 0xf2 | 0xf3,
    mode: HandlerMode,
    shapes: readonly OperandShape[],
  ): number {
    let ofInsn = this.indexOf.get(insn);
    if (!ofInsn) {
      ofInsn = new Map();
      this.indexOf.set(insn, ofInsn);
    }
    const key = keyOf(size, cc, addrSize, rep, mode, shapes);
    const known = ofInsn.get(key);
    if (known !== undefined) return known;
    const index = this.count + this.pending.length;
    if (index >= REGIONS) throw new Error('handler table is full');
    ofInsn.set(key, index);
    const { body, ends, subroutines } = stage(insn, size, cc, addrSize, rep, mode, shapes);
    this.provide(subroutines);
    this.pending.push(body);
    this.endsBlock[index] = ends ? 1 : 0;
    return index;
  }

  /** Compiles what index() promised. */
  flush(): void {
    if (this.pending.length === 0) return;
    this.place(this.count, this.pending);
    for (const body of this.pending) this.bodies.push(body);
    this.count += this.pending.length;
    this.pending.length = 0;
    if (++this.scattered < GATHER_AFTER) return;
    this.place(FIRST_HANDLER, this.bodies);
    this.scattered = 0;
  }

  /** Puts what handlers call into its slots; it stays when handlers are forgotten. */
  private provide(wanted: ReadonlySet<Subroutine>): void {
    for (const f of wanted) {
      if (this.subroutines.has(f)) continue;
      this.subroutines.add(f);
      this.place(STOP_COUNT + f.slot, [buildSubroutine(f)]);
    }
  }

  /** Compiles functions into one module and puts them into the table from an index on. */
  private place(first: number, funcs: readonly FuncBody[]): void {
    const exports = this.instantiate(funcs);
    for (let i = 0; i < funcs.length; i++) this.table.set(first + i, exports[`f${i}`]);
  }

  private instantiate(funcs: readonly FuncBody[]): WebAssembly.Exports & Record<string, unknown> {
    const began = performance.now();
    const module = new WebAssembly.Module(buildModule(TYPES, FUNC_IMPORTS, funcs, 'handler'));
    this.compileMs += performance.now() - began;
    return this.link(module);
  }
  private link(module: WebAssembly.Module): WebAssembly.Exports & Record<string, unknown> {
    this.modules++;
    const began = performance.now();
    const { exports } = new WebAssembly.Instance(module, { e: this.env });
    this.compileMs += performance.now() - began;
    return exports;
  }
}

const KINDS: Readonly<Record<OperandShape['kind'], number>> = { reg: 1, mem: 2, imm: 3, rel: 4, xmm: 5, mm: 6, st: 7 };
const MODE_BITS = { 16: 0, 32: 1, 64: 2 } as const;

/** What an instruction's handlers differ by, in one number: 14 bits, 15 for each of two operands, 8 for a register or immediate after. */
function keyOf(size: number, cc: number, addrSize: number, rep: number, mode: HandlerMode, shapes: readonly OperandShape[]): number {
  const logs = (Math.clz32(size) & 3) | ((Math.clz32(addrSize) & 3) << 2) | ((Math.clz32(mode.stackSize) & 3) << 4);
  let key = logs | (cc << 6) | ((rep & 3) << 10) | (MODE_BITS[mode.bits] << 12) | (mode.flat ? 1 << 14 : 0);
  let unit = 1 << 15;
  for (const s of shapes) {
    let bits = KINDS[s.kind];
    if (s.kind === 'rel') bits |= s.near ? 8 : 0;
    else {
      bits |= Math.min(s.size, 31) << 3;
      if (s.kind === 'imm' && s.second) bits ^= 7;
      else if (s.kind === 'mem') bits |= (s.seg << 8) | (s.base >= 0 ? 1 << 11 : 0) | (s.index >= 0 ? 1 << 12 : 0) | (s.scale << 13);
    }
    key += bits * unit;
    unit *= s.kind === 'mem' ? 1 << 15 : 1 << 8;
  }
  if (unit > Number.MAX_SAFE_INTEGER) throw new Error('operands that a handler key has no room for');
  return key;
}

// TOUR add 40: A handler is the meaning staged with the wasm builder, for one size and kind of operands. It ends in a tail call to the handler
// of the next record: the interpreter has no loop.
const REGISTERS: ReadonlySet<OperandShape['kind']> = new Set(['reg', 'mm', 'xmm', 'st']);

function stage(
  insn: AnyInsn,
  size: number,
  cc: number,
  addrSize: 2 | 4 | 8,
  rep: 0 | 0xf2 | 0xf3,
  mode: HandlerMode,
  shapes: readonly OperandShape[],
): { body: FuncBody; ends: boolean; subroutines: ReadonlySet<Subroutine> } {
  const { sem } = insn;
  if (!sem) throw new Error(`${insn.mnemonic} has no staged semantics`);
  const b = new WasmBuilder(
    mode,
    addrSize,
    rep,
    shapes.some((s) => s.kind === 'rel'),
  );
  const operands: Record<string, StagedOperand> = {};
  Object.entries(insn.operands as Record<string, Access>).forEach(([name, access], i) => {
    const shape = shapes[i];
    if (shape) operands[name] = { access, size: shape.kind === 'rel' ? 8 : shape.size, isReg: REGISTERS.has(shape.kind), shape };
  });
  sem(b, operands, { size: size as 1 | 2 | 4 | 8, cc });
  b.next();
  return { body: { type: TYPE.handler, locals: b.locals, code: b.code }, ends: b.ends, subroutines: b.subroutines };
}
