// x87 control: control, status and tag words, environment and whole state, stack pointer, waiting (SDM Vol 1, 8.1.10, 8.3.10).

import type { Lin } from '../../addresses.ts';
import type { Decoded } from '../../isa/decoded.ts';
import { CS, DS, RAX, STATE } from '../../state.ts';
import { CR0, EXC } from '../bits.ts';
import { abridgeTags, expandTags, initX87 } from '../fpstate.ts';
import { waitUsable, x87Usable } from '../fpu-check.ts';
import { load, loadBytes, store, storeBytes } from '../linear.ts';
import { isProtected, next } from '../mode.ts';
import { operandLinear, setGpr } from '../operands.ts';
import type { SystemCpu } from '../ports.ts';
import type { X87Handler } from './operations.ts';
import { stackIndex } from './operations.ts';
import { Fpu } from './unit.ts';

/** A handler that changes control state only: no pointers, C1 as it is. `waits`: pending exceptions are reported first. */
const control =
  (waits: boolean, body: (cpu: SystemCpu, d: Decoded) => boolean): X87Handler =>
  (cpu, d) =>
    x87Usable(cpu, waits) && body(cpu, d) && next(cpu, d);

const withUnit = (waits: boolean, body: (f: Fpu, d: Decoded) => void): X87Handler =>
  control(waits, (cpu, d) => {
    const f = new Fpu(cpu);
    body(f, d);
    f.commit();
    return true;
  });

/** Reserved bits of the control word; bit 6 reads as one. */
const controlWord = (v: number): number => (v & 0x1f3f) | 0x40;

/** Bytes of the environment: seven fields of 2 or 4 bytes. */
const environmentSize = (d: Decoded): 14 | 28 => (d.opSize === 2 ? 14 : 28);

const tagsByContents = (cpu: SystemCpu): number => expandTags(cpu, abridgeTags(cpu.u16(STATE.ftw)));

/** The environment in the format of the mode and operand size (SDM Vol 1, Figures 8-9 to 8-12). */
function environment(cpu: SystemCpu, size: 14 | 28): Uint8Array {
  // MMX leaves all tags valid: what is stored follows the contents (SDM Vol 3A, table 12-2).
  const words = [cpu.u16(STATE.fcw), cpu.u16(STATE.fsw), tagsByContents(cpu)];
  const fip = cpu.u32(STATE.fip);
  const fdp = cpu.u32(STATE.fdp);
  const fop = cpu.u16(STATE.fop);
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  const wide = size === 28;
  const high = wide ? 0xffff0000 : 0;
  const protectedFormat = isProtected(cpu);
  const fields = protectedFormat
    ? [fip, cpu.selector(CS) | (fop << 16), fdp, (cpu.selector(DS) | high) >>> 0]
    : [(fip & 0xffff) | high, ((fip >>> 16) << 12) | fop, (fdp & 0xffff) | high, (fdp >>> 16) << 12];
  [...words.map((w) => (w | high) >>> 0), ...fields].forEach((v, i) => {
    if (wide) view.setUint32(4 * i, v >>> 0, true);
    else view.setUint16(2 * i, v & 0xffff, true);
  });
  return out;
}

function loadEnvironment(cpu: SystemCpu, bytes: Uint8Array, size: 14 | 28): void {
  const view = new DataView(bytes.buffer);
  const field = (i: number) => (size === 28 ? view.getUint32(4 * i, true) : view.getUint16(2 * i, true));
  cpu.setU16(STATE.fcw, controlWord(field(0)));
  cpu.setU16(STATE.fsw, field(1) & 0xffff);
  cpu.setU16(STATE.ftw, field(2) & 0xffff);
  if (isProtected(cpu)) {
    cpu.setHalves(STATE.fip, field(3), 0);
    cpu.setU16(STATE.fop, (field(4) >>> 16) & 0x7ff);
    cpu.setHalves(STATE.fdp, field(5), 0);
  } else {
    cpu.setHalves(STATE.fip, (field(3) & 0xffff) | ((field(4) >>> 12) << 16), 0);
    cpu.setU16(STATE.fop, field(4) & 0x7ff);
    cpu.setHalves(STATE.fdp, (field(5) & 0xffff) | ((field(6) >>> 12) << 16), 0);
  }
}

/** Tags other than empty follow the contents of the registers, whatever was loaded. */
function settle(cpu: SystemCpu): void {
  cpu.setU16(STATE.ftw, tagsByContents(cpu));
  const f = new Fpu(cpu);
  f.updateSummary();
  cpu.setU16(STATE.fsw, f.fsw);
}

const REGISTERS = 80;
const registerAt = (cpu: SystemCpu, i: number): number => cpu.base + STATE.fpr + 16 * ((((cpu.u16(STATE.fsw) >>> 11) & 7) + i) & 7);

function fnstenv(cpu: SystemCpu, d: Decoded): boolean {
  const size = environmentSize(d);
  const lin = operandLinear(cpu, d, 0, size, true);
  if (lin === undefined || !storeBytes(cpu, lin, environment(cpu, size))) return false;
  const f = new Fpu(cpu);
  f.fcw |= 0x3f;
  f.commit();
  return true;
}

function fnsave(cpu: SystemCpu, d: Decoded): boolean {
  const size = environmentSize(d);
  const image = new Uint8Array(size + REGISTERS);
  image.set(environment(cpu, size));
  for (let i = 0; i < 8; i++) image.set(cpu.ram.u8.subarray(registerAt(cpu, i), registerAt(cpu, i) + 10), size + 10 * i);
  const lin = operandLinear(cpu, d, 0, image.length, true);
  if (lin === undefined || !storeBytes(cpu, lin, image)) return false;
  initX87(cpu, false);
  return true;
}

function fldenv(cpu: SystemCpu, d: Decoded): boolean {
  const size = environmentSize(d);
  const lin = operandLinear(cpu, d, 0, size, false);
  const bytes = lin === undefined ? undefined : loadBytes(cpu, lin, size);
  if (!bytes) return false;
  loadEnvironment(cpu, bytes, size);
  settle(cpu);
  return true;
}

function frstor(cpu: SystemCpu, d: Decoded): boolean {
  const size = environmentSize(d);
  const lin = operandLinear(cpu, d, 0, size + REGISTERS, false);
  const bytes = lin === undefined ? undefined : loadBytes(cpu, lin, size + REGISTERS);
  if (!bytes) return false;
  loadEnvironment(cpu, bytes, size);
  for (let i = 0; i < 8; i++) cpu.ram.u8.set(bytes.subarray(size + 10 * i, size + 10 * i + 10), registerAt(cpu, i));
  settle(cpu);
  return true;
}

function fldcw(cpu: SystemCpu, d: Decoded): boolean {
  const lin = operandLinear(cpu, d, 0, 2, false);
  const v = lin === undefined ? undefined : load(cpu, lin, 2);
  if (v === undefined) return false;
  const f = new Fpu(cpu);
  f.fcw = controlWord(v);
  f.commit();
  return true;
}

function storeWord(cpu: SystemCpu, d: Decoded, v: number): boolean {
  if (d.operands[0]?.kind === 'reg') {
    setGpr(cpu, RAX, 2, BigInt(v));
    return true;
  }
  const lin: Lin | undefined = operandLinear(cpu, d, 0, 2, true);
  return lin !== undefined && store(cpu, lin, 2, v);
}

const nothing = control(false, () => true);

export const controlHandlers: Readonly<Record<string, X87Handler>> = {
  FWAIT: (cpu, d) => waitUsable(cpu) && next(cpu, d),
  FNOP: withUnit(true, () => {}),
  FDECSTP: withUnit(true, (f) => {
    f.top--;
    f.setC1(false);
  }),
  FINCSTP: withUnit(true, (f) => {
    f.top++;
    f.setC1(false);
  }),
  FFREE: withUnit(true, (f, d) => f.free(stackIndex(d, 0))),
  FFREEP: withUnit(true, (f, d) => {
    f.free(stackIndex(d, 0));
    f.pop();
  }),
  FLDENV: control(true, fldenv),
  FRSTOR: control(true, frstor),
  FLDCW: control(true, fldcw),
  FNSTENV: control(false, fnstenv),
  FNSAVE: control(false, fnsave),
  FNSTCW: control(false, (cpu, d) => storeWord(cpu, d, cpu.u16(STATE.fcw))),
  FNSTSW: control(false, (cpu, d) => storeWord(cpu, d, cpu.u16(STATE.fsw))),
  FNCLEX: withUnit(false, (f) => {
    f.fsw &= 0x7f00;
  }),
  FNINIT: control(false, (cpu) => {
    initX87(cpu, false);
    return true;
  }),
  /** MMX's way back to x87: all registers empty; unlike x87, #UD under CR0.EM. */
  EMMS: (cpu, d) => {
    if (cpu.lo(STATE.cr0) & CR0.EM) return cpu.fault(EXC.UD);
    if (!x87Usable(cpu, true)) return false;
    cpu.setU16(STATE.ftw, 0xffff);
    // TOP is 0 behind every MMX instruction, EMMS too (SDM Vol 3A, 12.2).
    cpu.setU16(STATE.fsw, cpu.u16(STATE.fsw) & ~0x3800);
    return next(cpu, d);
  },
  FNENI: nothing,
  FNDISI: nothing,
  FNSETPM: nothing,
};
