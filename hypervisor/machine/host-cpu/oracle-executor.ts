// The oracle as an executor.

import { decode } from '../exec/decode.ts';
import { flagsFromEflags, flagsToEflags } from '../stage/flag-words.ts';
import { oracleStep } from '../stage/oracle.ts';
import { OracleFault, type OracleMemory, OracleSlow, OracleState } from '../stage/oracle-state.ts';
import { ARITHMETIC_FLAGS, CS, FS, GS, STATE } from '../state.ts';
import {
  ABSENT_PAGE,
  type Case,
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
  READ_ONLY_PAGE,
  stackSize,
  startOf,
  WINDOW,
  WINDOW_SIZE,
} from './case.ts';
import { loadX87, storeX87 } from './x87-image.ts';

const PF = { present: 1, write: 2, user: 4 } as const;
/** A repeated instruction comes back to itself after so many elements; a case that does so more often does not end. */
const MAX_STEPS = 100;
const MAX_WHOLE = 10_000;
const INT3 = 0xcc;

export class CaseMemory implements OracleMemory {
  readonly bytes = new Uint8Array(Number(ABSENT_PAGE - PAGES));

  private check(linear: bigint, size: number, write: boolean): void {
    // The faulting address is the first byte that cannot be reached.
    for (const at of [linear, ((linear + BigInt(size)) & ~0xfffn) > linear ? (linear + BigInt(size - 1)) & ~0xfffn : linear]) {
      if (at < PAGES || at >= ABSENT_PAGE) throw new OracleFault(14, PF.user | (write ? PF.write : 0), at);
      if (write && at >= READ_ONLY_PAGE) throw new OracleFault(14, PF.user | PF.write | PF.present, at);
    }
  }
  load(linear: bigint, size: number, write: boolean): bigint {
    this.check(linear, size, write);
    let v = 0n;
    for (let i = size - 1; i >= 0; i--) v = (v << 8n) | BigInt(this.bytes[Number(linear - PAGES) + i] ?? 0);
    return v;
  }
  store(linear: bigint, size: number, v: bigint): void {
    this.check(linear, size, true);
    for (let i = 0; i < size; i++) this.bytes[Number(linear - PAGES) + i] = Number((v >> BigInt(i * 8)) & 0xffn);
  }
}

/** Flat segments, as those of a process. */
export function prepare(c: Case): { state: OracleState; memory: CaseMemory } {
  const state = new OracleState();
  c.gpr.forEach((v, i) => {
    state.setReg(i, v);
  });
  state.rip = startOf(c.bits);
  const [res, aux] = flagsFromEflags(Number(c.rflags));
  state.set(STATE.flagRes, 8, BigInt(res));
  state.set(STATE.flagAux, 4, BigInt(aux >>> 0));
  state.set(STATE.eflags, 4, c.rflags & ~BigInt(ARITHMETIC_FLAGS));
  for (let n = 0; n < 6; n++) {
    state.set(STATE.seg + n * 16, 2, BigInt(n === CS ? codeSelector(c.bits) : n < FS ? dataSelector(c.bits) : 0));
    state.set(STATE.seg + n * 16 + 4, 4, BigInt(n === CS ? codeLimit(c.bits) : dataLimit(c.bits)));
    state.set(STATE.seg + n * 16 + 8, 8, n === CS ? codeBase(c.bits) : dataBase(c.bits));
  }
  if (c.bits === 64) state.set(STATE.seg + GS * 16 + 8, 8, GS_BASE);
  state.set(STATE.seg + FS * 16, 2, BigInt(fsSelector(c.bits)));
  state.set(STATE.seg + FS * 16 + 4, 4, BigInt(FS_LIMIT));
  state.set(STATE.seg + FS * 16 + 8, 8, FS_BASE);
  // As any kernel leaves them: SSE on.
  state.set(STATE.cr0, 8, 0x80010033n);
  state.set(STATE.cr4, 8, 0x620n);
  for (let i = 0; i < 256; i++) state.view.setUint8(STATE.xmm + i, c.fxsave[160 + i] ?? 0);
  state.view.setUint32(STATE.mxcsr, new DataView(c.fxsave.buffer, c.fxsave.byteOffset).getUint32(24, true), true);
  loadX87(state.view, c.fxsave);
  const memory = new CaseMemory();
  memory.bytes.set(c.window, Number(WINDOW - PAGES));
  return { state, memory };
}

export function outcomeOf(c: Case, state: OracleState, memory: CaseMemory, fault: OracleFault | undefined): Outcome {
  const v = state.view;
  const fxsave = c.fxsave.slice();
  for (let i = 0; i < 256; i++) fxsave[160 + i] = v.getUint8(STATE.xmm + i);
  storeX87(v, fxsave);
  new DataView(fxsave.buffer).setUint32(24, v.getUint32(STATE.mxcsr, true), true);
  const arithmetic = flagsToEflags(
    v.getUint32(STATE.flagRes, true),
    v.getUint32(STATE.flagRes + 4, true),
    v.getUint32(STATE.flagAux, true),
  );
  const at = Number(WINDOW - PAGES);
  return {
    vector: fault?.vector ?? -1,
    errorCode: fault?.vector === 14 ? fault.errorCode : 0,
    address: fault?.vector === 14 ? fault.address : 0n,
    gpr: Array.from({ length: 16 }, (_, i) => state.reg(i)),
    rip: state.rip,
    rflags: state.get(STATE.eflags, 4) | BigInt(arithmetic),
    fxsave,
    window: memory.bytes.slice(at, at + WINDOW_SIZE),
  };
}

function runCase(c: Case): Outcome | undefined {
  if (c.whole) return runWhole(c);
  const decoded = decode(c.code, 0, c.code.length, { bits: c.bits });
  if (typeof decoded === 'string' || decoded.insn.sem === undefined) return undefined;
  const { state, memory } = prepare(c);
  try {
    for (let n = 0; n < MAX_STEPS; n++) {
      oracleStep(state, memory, { bits: c.bits, stackSize: stackSize(c.bits) }, decoded);
      if (state.rip !== startOf(c.bits)) break;
    }
  } catch (e) {
    if (e instanceof OracleSlow) return undefined;
    if (e instanceof OracleFault) return outcomeOf(c, state, memory, e);
    throw e;
  }
  return outcomeOf(c, state, memory, undefined);
}

/** Code up to the INT3 that it leaves for. */
function runWhole(c: Case): Outcome | undefined {
  const { state, memory } = prepare(c);
  const mode = { bits: c.bits, stackSize: stackSize(c.bits) } as const;
  try {
    for (let n = 0; n < MAX_WHOLE; n++) {
      const at = Number(state.rip - startOf(c.bits));
      if (!(at >= 0 && at < c.code.length) || c.code[at] === INT3) return outcomeOf(c, state, memory, undefined);
      const decoded = decode(c.code, at, c.code.length - at, { bits: c.bits });
      if (typeof decoded === 'string') return undefined;
      oracleStep(state, memory, mode, decoded);
    }
  } catch (e) {
    if (e instanceof OracleFault) return outcomeOf(c, state, memory, e);
    if (!(e instanceof OracleSlow)) throw e;
  }
  return undefined;
}

export const oracleExecutor: Executor = { name: 'oracle', run: (cases) => cases.map(runCase) };
