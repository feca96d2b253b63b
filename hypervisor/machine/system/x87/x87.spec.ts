import { describe, expect, it } from 'vitest';
import { EFLAGS, RAX, RBX, STATE } from '../../state.ts';
import { CR0, CR4 } from '../bits.ts';
import type { FakeCpu } from '../fake-cpu.ts';
import { CODE, DATA, longCpu, protectedCpu } from '../fake-cpu.ts';
import { initX87 } from '../fpstate.ts';

/** Memory operand [RBX]: ModRM byte for a digit. */
const at = (digit: number) => (digit << 3) | 3;
const FLD1 = [0xd9, 0xe8];
const FLDZ = [0xd9, 0xee];
const FLDPI = [0xd9, 0xeb];

function ready(fcw = 0x37f): FakeCpu {
  const c = longCpu(3);
  initX87(c, true);
  c.setU16(STATE.fcw, fcw);
  c.setReg(RBX, BigInt(DATA));
  return c;
}
/** Loads a double, executes, stores ST0 as a double. */
function onDouble(x: number, ...bytes: number[]): number {
  const c = ready();
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  c.write(DATA, 8, bits.getBigUint64(0));
  expect(c.outcome(0xdd, at(0))).toBe('ok');
  expect(c.outcome(...bytes)).toBe('ok');
  expect(c.outcome(0xdd, at(3))).toBe('ok');
  bits.setBigUint64(0, c.read(DATA, 8));
  return bits.getFloat64(0);
}
const st = (c: FakeCpu, i = 0) => {
  const p = STATE.fpr + 16 * ((((c.u16(STATE.fsw) >>> 11) & 7) + i) & 7);
  return [c.u16(p + 8), c.big(p)] as const;
};

describe('arithmetic', () => {
  it('of simple functions is what Math says', () => {
    expect(onDouble(2, 0xd9, 0xfa)).toBe(Math.SQRT2);
    expect(onDouble(-2.5, 0xd9, 0xe1)).toBe(2.5);
    expect(onDouble(2.5, 0xd9, 0xfc)).toBe(2);
    expect(onDouble(1, 0xd9, 0xfe)).toBeCloseTo(Math.sin(1), 15);
    expect(onDouble(0.5, 0xd9, 0xf0)).toBeCloseTo(Math.SQRT2 - 1, 15);
  });
  it('rounds to the precision that the control word asks for (SDM Vol 1, 8.1.5.2)', () => {
    for (const [fcw, significand] of [
      [0x37f, 0xaaaa_aaaa_aaaa_aaabn],
      [0x27f, 0xaaaa_aaaa_aaaa_a800n],
      [0x07f, 0xaaaa_ab00_0000_0000n],
      [0xf7f, 0xaaaa_aaaa_aaaa_aaaan],
    ] as const) {
      const c = ready(fcw);
      c.execute(...FLD1);
      c.write(DATA, 4, 3);
      // FIDIV m32: 1/3.
      expect(c.outcome(0xda, at(6))).toBe('ok');
      expect(st(c)).toEqual([0x3ffd, significand]);
      expect(c.u16(STATE.fsw) & 0x20).toBe(0x20);
    }
  });
  it('FLDPI follows the rounding control and never reports inexactness', () => {
    for (const [fcw, last] of [
      [0x37f, 0x5n],
      [0x77f, 0x4n],
      [0xb7f, 0x5n],
      [0xf7f, 0x4n],
    ] as const) {
      const c = ready(fcw);
      c.execute(...FLDPI);
      expect([st(c)[1] & 0xfn, c.u16(STATE.fsw) & 0x3f]).toEqual([last, 0]);
    }
  });
  it('1/0 is an infinity with ZE; 0/0 the indefinite with IE', () => {
    const c = ready();
    c.execute(...FLD1);
    c.execute(...FLDZ);
    // FDIVP ST1, ST0.
    expect(c.outcome(0xde, 0xf9)).toBe('ok');
    expect([...st(c), c.u16(STATE.fsw) & 0x3f]).toEqual([0x7fff, 1n << 63n, 4]);
    c.execute(0xdb, 0xe3);
    c.execute(...FLDZ);
    c.execute(...FLDZ);
    expect(c.outcome(0xde, 0xf9)).toBe('ok');
    expect([...st(c), c.u16(STATE.fsw) & 0x3f]).toEqual([0xffff, 3n << 62n, 1]);
  });
  it('FCOMI sets ZF, PF and CF (SDM Vol 2A, FCOMI)', () => {
    const c = ready();
    c.execute(...FLDZ);
    c.execute(...FLD1);
    c.rflags = 2 | EFLAGS.OF | EFLAGS.SF;
    expect(c.outcome(0xdb, 0xf1)).toBe('ok');
    expect(c.rflags).toBe(2);
    c.execute(0xd9, 0xc9);
    expect(c.outcome(0xdb, 0xf1)).toBe('ok');
    expect(c.rflags).toBe(2 | EFLAGS.CF);
  });
});

describe('the register stack', () => {
  it('overflows with C1 set and underflows with C1 clear (SDM Vol 1, 8.5.1.1)', () => {
    const c = ready();
    for (let i = 0; i < 9; i++) c.execute(...FLD1);
    expect(c.u16(STATE.fsw) & 0x241).toBe(0x241);
    expect(st(c)).toEqual([0xffff, 3n << 62n]);
    c.execute(0xdb, 0xe3);
    // FADD ST0, ST1 on an empty stack.
    expect(c.outcome(0xd8, 0xc1)).toBe('ok');
    expect(c.u16(STATE.fsw) & 0x241).toBe(0x41);
  });
  it('stays as it was when a store faults', () => {
    const c = ready();
    c.execute(...FLDPI);
    const before = [c.u16(STATE.fsw), c.u16(STATE.ftw)];
    c.pages.set(DATA >> 12, 'readonly');
    expect(c.outcome(0xdd, at(3))).toBe('#PF(7)');
    expect([c.u16(STATE.fsw), c.u16(STATE.ftw)]).toEqual(before);
  });
});

describe('exceptions', () => {
  it('unmasked: reported by the next waiting instruction as #MF, not by FNSTSW or FNCLEX', () => {
    const c = ready(0x37b);
    c.execute(...FLD1);
    c.execute(...FLDZ);
    expect(c.outcome(0xde, 0xf9)).toBe('ok');
    expect(c.u16(STATE.fsw) & 0x8084).toBe(0x8084);
    expect(c.outcome(...FLD1)).toBe('#MF');
    expect(c.outcome(0x9b)).toBe('#MF');
    expect(c.outcome(0xdf, 0xe0)).toBe('ok');
    expect(c.reg(RAX) & 0x80n).toBe(0x80n);
    expect(c.outcome(0xdb, 0xe2)).toBe('ok');
    expect(c.outcome(...FLD1)).toBe('ok');
  });
  it('an unmasked exception before the result leaves the operands', () => {
    const c = ready(0x37b);
    c.execute(...FLD1);
    c.execute(...FLDZ);
    c.execute(0xde, 0xf9);
    expect([(c.u16(STATE.fsw) >>> 11) & 7, ...st(c)]).toEqual([6, 0, 0n]);
  });
  it('CR0.TS or CR0.EM is #NM; FWAIT needs MP with TS', () => {
    const c = ready();
    c.setHalves(STATE.cr0, c.lo(STATE.cr0) | CR0.TS, 0);
    expect([c.outcome(...FLD1), c.outcome(0x9b), c.outcome(0xdf, 0xe0)]).toEqual(['#NM', 'ok', '#NM']);
    c.setHalves(STATE.cr0, c.lo(STATE.cr0) | CR0.MP, 0);
    expect(c.outcome(0x9b)).toBe('#NM');
  });
  it('staged SSE that gave itself up raises #NM with TS, #UD without CR4.OSFXSR', () => {
    const c = ready();
    c.setHalves(STATE.cr0, c.lo(STATE.cr0) | CR0.TS, 0);
    // ADDPD XMM0, XMM1.
    expect(c.outcome(0x66, 0x0f, 0x58, 0xc1)).toBe('#NM');
    c.setHalves(STATE.cr4, c.lo(STATE.cr4) & ~CR4.OSFXSR, 0);
    expect(c.outcome(0x66, 0x0f, 0x58, 0xc1)).toBe('#UD');
  });
});

describe('the environment (SDM Vol 1, Figures 8-9 to 8-12)', () => {
  it('FNSTENV stores 28 bytes and masks all exceptions; FLDENV brings it back', () => {
    const c = ready(0x340);
    c.execute(...FLDPI);
    expect(c.outcome(0xd9, at(6))).toBe('ok');
    expect([0, 4, 8].map((o) => c.read(DATA + o, 4))).toEqual([0xffff0340n, 0xffff3800n, 0xffff3fffn]);
    expect(c.read(DATA + 12, 4)).toBe(BigInt(CODE));
    expect(c.u16(STATE.fcw)).toBe(0x37f);
    c.execute(0xdb, 0xe3);
    expect(c.outcome(0xd9, at(4))).toBe('ok');
    expect([c.u16(STATE.fcw), c.u16(STATE.fsw), c.u16(STATE.ftw)]).toEqual([0x340, 0x3800, 0x3fff]);
  });
  it('stores 14 bytes with a 16-bit operand size', () => {
    const c = protectedCpu(0);
    initX87(c, true);
    c.write(DATA + 14, 2, 0x5555);
    expect(c.outcome(0x66, 0xd9, 0x35, 0, 0, 2, 0)).toBe('ok');
    expect([0, 2, 4, 14].map((o) => c.read(DATA + o, 2))).toEqual([0x37fn, 0n, 0xffffn, 0x5555n]);
  });
  it('FNSAVE initializes, FRSTOR restores registers by their distance from TOP', () => {
    const c = ready();
    c.execute(...FLDPI);
    c.execute(...FLD1);
    expect(c.outcome(0xdd, at(6))).toBe('ok');
    expect([c.u16(STATE.fsw), c.u16(STATE.ftw)]).toEqual([0, 0xffff]);
    expect([c.read(DATA + 28, 8), c.read(DATA + 38, 8)]).toEqual([1n << 63n, 0xc90f_daa2_2168_c235n]);
    expect(c.outcome(0xdd, at(4))).toBe('ok');
    expect([st(c, 0)[1], st(c, 1)[1], c.u16(STATE.ftw)]).toEqual([1n << 63n, 0xc90f_daa2_2168_c235n, 0x0fff]);
  });
});

describe('integers and decimals in memory', () => {
  it('FISTP rounds, and stores the indefinite for what does not fit', () => {
    const c = ready();
    c.write(DATA, 8, 0x4008_0000_0000_0000n);
    c.execute(0xdd, at(0));
    expect(c.outcome(0xdb, at(3))).toBe('ok');
    expect(c.read(DATA, 4)).toBe(3n);
    c.write(DATA, 8, 0x47e0_0000_0000_0000n);
    c.execute(0xdd, at(0));
    expect(c.outcome(0xdf, at(7))).toBe('ok');
    expect(c.read(DATA, 8)).toBe(1n << 63n);
  });
  it('FBSTP gives back what FBLD took', () => {
    const c = ready();
    c.write(DATA, 8, 0x4567_8901_2345_6789n);
    c.write(DATA + 8, 2, 0x8012);
    expect(c.outcome(0xdf, at(4))).toBe('ok');
    c.write(DATA, 8, 0);
    c.write(DATA + 8, 2, 0);
    expect(c.outcome(0xdf, at(6))).toBe('ok');
    expect([c.read(DATA, 8), c.read(DATA + 8, 2)]).toEqual([0x4567_8901_2345_6789n, 0x8012n]);
  });
});
