// Staged x87 code in the interpreter: what it leaves behind for exception handlers, when it must not run, and stores that fault.

import { beforeEach, describe, expect, it } from 'vitest';
import type { Lin } from '../../addresses.ts';
import { flat64 } from '../../exec/flat64.ts';
import { SUBROUTINE_SLOTS } from '../../exec/records.ts';
import * as convert from '../../isa/x87-convert.ts';
import * as divide from '../../isa/x87-divide.ts';
import * as float from '../../isa/x87-float.ts';
import { RAX, RBX, STATE } from '../../state.ts';
import { CR0 } from '../bits.ts';

const CODE = 0x10000;
const DATA = 0x20000;
const UD2 = [0x0f, 0x0b];
const UD = 6;
const NM = 7;
const PF = 14;
const MF = 16;

const FLD1 = [0xd9, 0xe8];
const FLDZ = [0xd9, 0xee];
const FDIVP = [0xde, 0xf9];
const FNSTSW_AX = [0xdf, 0xe0];
const FNCLEX = [0xdb, 0xe2];
const FWAIT = [0x9b];
const FLD_RBX = [0xdd, 0x03];
const FADD_RBX_8 = [0xdc, 0x43, 0x08];
const FNSTCW_RBX = [0xd9, 0x3b];
const FLDCW_RBX = [0xd9, 0x2b];
const FSTP_T_RBX = [0xdb, 0x3b];
const FXRSTOR_RBX = [0x0f, 0xae, 0x0b];

let t: ReturnType<typeof flat64>;
beforeEach(() => {
  t = flat64();
  t.cpu.setReg(RBX, BigInt(DATA));
  t.cpu.setU16(STATE.fcw, 0x37f);
  t.cpu.setU16(STATE.fsw, 0);
  t.cpu.setU16(STATE.ftw, 0xffff);
  t.cpu.setU32(STATE.cr0, (t.cpu.u32(STATE.cr0) | CR0.NE) >>> 0);
});
/** Runs to the first exception: its vector, and the offset of the instruction that raised it. */
const run = (...code: number[][]): readonly [number, number] => {
  t.run(CODE, [...code.flat(), ...UD2]);
  return [t.cpu.event.vector, t.cpu.rip - CODE];
};
const at = (offset: number) => t.cpu.ram.base + DATA + offset;
const lengths = (...code: number[][]): number => code.flat().length;

describe('pointers (SDM Vol 1, 8.1.8)', () => {
  it('are those of the last instruction that is not a control instruction', () => {
    expect(run(FLD_RBX, FADD_RBX_8, FNSTCW_RBX)).toEqual([UD, lengths(FLD_RBX, FADD_RBX_8, FNSTCW_RBX)]);
    expect([t.cpu.lin(STATE.fip), t.cpu.lin(STATE.fdp)]).toEqual([CODE + FLD_RBX.length, DATA + 8]);
  });
  it('FDP stays where there is no memory operand', () => {
    run(FLD_RBX, FLD1);
    expect([t.cpu.lin(STATE.fip), t.cpu.lin(STATE.fdp)]).toEqual([CODE + FLD_RBX.length, DATA]);
  });
});

describe('exceptions before the instruction', () => {
  it('are #NM with CR0.TS or CR0.EM, FNSTSW and FNCLEX too; FWAIT needs MP with TS', () => {
    const cr0 = t.cpu.u32(STATE.cr0);
    for (const bit of [CR0.TS, CR0.EM]) {
      for (const code of [FLD1, FADD_RBX_8, FNSTSW_AX, FNCLEX, FLDCW_RBX]) {
        t.cpu.setU32(STATE.cr0, (cr0 | bit) >>> 0);
        expect(run(code)).toEqual([NM, 0]);
      }
    }
    t.cpu.setU32(STATE.cr0, ((cr0 & ~CR0.MP) | CR0.TS) >>> 0);
    expect(run(FWAIT)[0]).toBe(UD);
    t.cpu.setU32(STATE.cr0, (cr0 | CR0.MP | CR0.TS) >>> 0);
    expect(run(FWAIT)).toEqual([NM, 0]);
  });

  it('come before those of the memory operand', () => {
    t.map(0x30000, 0, 0);
    t.cpu.setReg(RBX, 0x30000n);
    expect(run(FLD_RBX)).toEqual([PF, 0]);
    t.cpu.setU32(STATE.cr0, (t.cpu.u32(STATE.cr0) | CR0.TS) >>> 0);
    expect(run(FLD_RBX)).toEqual([NM, 0]);
  });

  it('are #MF when one that is not masked is pending, but not for FNSTSW and FNCLEX', () => {
    // Without ZM.
    t.cpu.setU16(STATE.fcw, 0x37b);
    expect(run(FLD1, FLDZ, FDIVP, FNSTSW_AX, FLD1)).toEqual([MF, lengths(FLD1, FLDZ, FDIVP, FNSTSW_AX)]);
    expect(Number(t.cpu.reg(RAX)) & 0x8084).toBe(0x8084);
    expect(run(FWAIT)).toEqual([MF, 0]);
    expect(run(FNCLEX, FLD1, FWAIT)[0]).toBe(UD);
  });

  it('are #MF after FLDCW has unmasked what was met before', () => {
    expect(run(FLD1, FLDZ, FDIVP)[0]).toBe(UD);
    expect(t.cpu.u16(STATE.fsw) & 0x8084).toBe(4);
    t.cpu.ram.u16[at(0) >>> 1] = 0x37b;
    expect(run(FLDCW_RBX, FLD1)).toEqual([MF, FLDCW_RBX.length]);
    expect(t.cpu.u16(STATE.fsw) & 0x8084).toBe(0x8084);
  });

  it('are #MF after FXRSTOR of a flag that is not masked, whatever ES the image has', () => {
    for (const [fcw, fsw, vector] of [
      [0x37e, 0x0001, MF],
      [0x37f, 0x8080, UD],
    ] as const) {
      t.cpu.setU16(STATE.fsw, 0);
      t.cpu.ram.u8.fill(0, at(0), at(512));
      t.cpu.ram.u16[at(0) >>> 1] = fcw;
      t.cpu.ram.u16[at(2) >>> 1] = fsw;
      expect(run(FXRSTOR_RBX, FLD1)[0]).toBe(vector);
    }
  });
});

it('a store of ten bytes that faults on its second page writes nothing and pops nothing', () => {
  t.map(0x31000, 0x31000, 5);
  t.cpu.setReg(RBX, 0x30ff7n);
  const stored = t.cpu.ram.base + 0x30ff7;
  t.cpu.ram.u8.fill(0x55, stored, stored + 9);
  expect(run(FLD1, FSTP_T_RBX)).toEqual([PF, FLD1.length]);
  expect(t.cpu.lin(STATE.cr2)).toBe(0x31000);
  expect([...t.cpu.ram.u8.subarray(stored, stored + 9)]).toEqual(Array.from({ length: 9 }, () => 0x55));
  expect([t.cpu.u16(STATE.fsw), t.cpu.u16(STATE.ftw)]).toEqual([0x3800, 0x3fff]);
  t.map(0x31000, 0x31000, 7);
  t.cpu.invlpg(0x31000 as Lin);
  expect(run(FSTP_T_RBX)[0]).toBe(UD);
  expect([...t.cpu.ram.u8.subarray(stored, stored + 10)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
});

it('every subroutine has a slot of its own', () => {
  const slots = [...Object.values(float), ...Object.values(divide), ...Object.values(convert)].map((f) => f.slot);
  expect(new Set(slots).size).toBe(slots.length);
  expect(Math.max(...slots)).toBeLessThan(SUBROUTINE_SLOTS);
});
