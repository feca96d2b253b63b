// Hardware task switches (SDM Vol 3A, chapter 7): what is saved, loaded and marked, and every fault on its side of the commit point.

import { describe, expect, it } from 'vitest';
import type { Lin } from '../addresses.ts';
import { CS, DS, EFLAGS, ES, LDTR, RAX, RBP, RDI, RSP, SS, STATE, TR } from '../state.ts';
import { CR0, EXC } from './bits.ts';
import { deliver } from './deliver.ts';
import type { FakeCpu } from './fake-cpu.ts';
import { CODE, GDT, IDT, LDT, protectedCpu, SEL, TSS } from './fake-cpu.ts';

const TSS2 = 0x5000;
const TSS2_SEL = 0x98;
const GATE_SEL = 0xa0;
const TSS16_SEL = 0xa8;
const TSS16 = 0x5800;
const LDT_SEL = SEL.ldt;
const NEW_EIP = 0x12340;
const NEW_STACK = 0xa800;

const le = (n: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(n / 2 ** (8 * i)) & 0xff);
const jmpFar = (selector: number) => [0xea, ...le(0, 4), ...le(selector, 2)];
const callFar = (selector: number) => [0x9a, ...le(0, 4), ...le(selector, 2)];
const IRETD = [0xcf];
const busy = (c: FakeCpu, selector: number): boolean => (Number(c.read(GDT + (selector & ~7) + 5, 1)) & 2) !== 0;

/** Fields of a 32-bit TSS by name (Figure 7-2). */
const AT = { cr3: 0x1c, eip: 0x20, eflags: 0x24, eax: 0x28, esp: 0x38, ebp: 0x3c, edi: 0x44, es: 0x48, cs: 0x4c, ss: 0x50, ds: 0x54 };
const MORE = { fs: 0x58, gs: 0x5c, ldt: 0x60, t: 0x64 };
const FIELDS = { ...AT, ...MORE };
type Field = keyof typeof FIELDS;

/** Two 32-bit tasks and a 16-bit one; the first is running. */
function twoTasks(cpl = 0, fields: Partial<Record<Field, number>> = {}): FakeCpu {
  const c = protectedCpu(cpl);
  c.gdt(SEL.tss, TSS, 0x67, 0x8b);
  c.setSegment(TR, SEL.tss, 0x8b, 0x67, TSS);
  c.gdt(TSS2_SEL, TSS2, 0x67, 0xe9);
  c.gdt(TSS16_SEL, TSS16, 0x2b, 0xe1);
  c.write(GDT + GATE_SEL, 4, TSS2_SEL << 16);
  c.write(GDT + GATE_SEL + 4, 4, 0xe500);
  const set: Record<Field, number> = {
    cr3: 0x7000,
    eip: NEW_EIP,
    eflags: 0x202,
    eax: 0x11111111,
    esp: NEW_STACK,
    ebp: 0x22222222,
    edi: 0x33333333,
    es: SEL.data3,
    cs: SEL.code0,
    ss: SEL.data0,
    ds: SEL.data3,
    fs: 0,
    gs: 0,
    ldt: 0,
    t: 0,
    ...fields,
  };
  for (const f of Object.keys(set) as Field[]) c.write(TSS2 + FIELDS[f], 4, set[f]);
  return c;
}

describe('a switch (7.3)', () => {
  it('by JMP saves the old task, loads the new one, and moves the busy mark', () => {
    const c = twoTasks();
    c.setReg(RAX, 0xaaaa_aaaan);
    c.setReg(RDI, 0xbbbb_bbbbn);
    c.rflags = 0x246;
    expect(c.outcome(...jmpFar(TSS2_SEL))).toBe('ok');
    expect([c.rip, c.rflags, c.regLin(RSP), c.reg(RAX), c.reg(RBP), c.reg(RDI)]).toEqual([
      NEW_EIP,
      0x202,
      NEW_STACK,
      0x11111111n,
      0x22222222n,
      0x33333333n,
    ]);
    expect([c.selector(CS), c.selector(SS), c.selector(DS), c.selector(TR), c.segBase(TR)]).toEqual([8, 0x10, 0x23, TSS2_SEL, TSS2]);
    expect(['eip', 'eflags', 'eax', 'edi', 'cs', 'ss', 'ds'].map((f) => Number(c.read(TSS + FIELDS[f as Field], 4)))).toEqual([
      CODE + 7,
      0x246,
      0xaaaaaaaa,
      0xbbbbbbbb,
      SEL.code0,
      SEL.data0,
      SEL.data3,
    ]);
    expect([busy(c, SEL.tss), busy(c, TSS2_SEL)]).toEqual([false, true]);
    expect(c.lo(STATE.cr0) & CR0.TS).toBe(CR0.TS);
    // No link, no NT.
    expect(c.read(TSS2, 2)).toBe(0n);
  });
  it('by CALL leaves both busy, links back and sets NT; IRET undoes it', () => {
    const c = twoTasks();
    c.rflags = 0x202;
    expect(c.outcome(...callFar(TSS2_SEL))).toBe('ok');
    expect([c.rflags, c.read(TSS2, 2), busy(c, SEL.tss), busy(c, TSS2_SEL)]).toEqual([0x202 | EFLAGS.NT, BigInt(SEL.tss), true, true]);
    expect(c.outcome(...IRETD)).toBe('ok');
    expect([c.rip, c.rflags, c.selector(TR), busy(c, SEL.tss), busy(c, TSS2_SEL)]).toEqual([CODE + 7, 0x202, SEL.tss, true, false]);
    // The task that was left keeps its EFLAGS without NT (7.4).
    expect(c.read(TSS2 + AT.eflags, 4)).toBe(0x202n);
  });
  it('goes through a task gate, whose DPL alone counts', () => {
    const c = twoTasks(3);
    c.gdt(TSS2_SEL, TSS2, 0x67, 0x89);
    expect(c.outcome(...callFar(GATE_SEL | 3))).toBe('ok');
    expect([c.cpl, c.selector(TR)]).toEqual([0, TSS2_SEL]);
  });
  it('by an exception through a task gate pushes the error code on the new stack, RF in the old image', () => {
    const c = twoTasks(3);
    c.gate(IDT + EXC.GP * 8, TSS2_SEL, 0, 5, 0);
    c.rflags = 0x202;
    expect(deliver(c, { vector: EXC.GP, errorCode: 0x18, kind: 'fault', returnRip: CODE as Lin })).toBe('done');
    expect([c.rip, c.regLin(RSP), c.read(NEW_STACK - 4, 4), c.cpl]).toEqual([NEW_EIP, NEW_STACK - 4, 0x18n, 0]);
    expect([c.read(TSS + AT.eip, 4), c.read(TSS + AT.eflags, 4), c.read(TSS2, 2)]).toEqual([BigInt(CODE), 0x10202n, BigInt(SEL.tss)]);
    expect(c.rflags & EFLAGS.NT).toBe(EFLAGS.NT);
  });
  it('INT n through a task gate obeys its DPL', () => {
    for (const [dpl, outcome] of [
      [3, TSS2_SEL],
      [0, SEL.tss],
    ] as const) {
      const c = twoTasks(3);
      for (let v = 0; v < 256; v++) c.gate(IDT + v * 8, SEL.code0, 0x6000, 14, 0);
      c.gate(IDT + 0x80 * 8, TSS2_SEL, 0, 5, dpl);
      expect(c.execute(0xcd, 0x80)).toBe(true);
      expect(c.selector(TR)).toBe(outcome);
      // Refused: #GP of the gate, on the inner stack.
      if (dpl === 0) expect(c.read(c.regLin(RSP), 4)).toBe(BigInt(0x80 * 8 + 2));
    }
  });
  it('to a 16-bit TSS loads words and no FS, GS or CR3 (Figure 7-10)', () => {
    const c = twoTasks();
    c.setBig(STATE.cr3, 0x9000n);
    const words = { ip: 0x0e, flags: 0x10, ax: 0x12, sp: 0x1a, es: 0x22, cs: 0x24, ss: 0x26, ds: 0x28, ldt: 0x2a };
    for (const [at, v] of [
      [words.ip, 0x234],
      [words.flags, 0x246],
      [words.ax, 0x7777],
      [words.sp, 0xa000],
      [words.es, SEL.data3],
      [words.cs, SEL.code16],
      [words.ss, SEL.data0],
      [words.ds, 0],
      [words.ldt, 0],
    ] as const)
      c.write(TSS16 + at, 2, v);
    expect(c.outcome(...callFar(TSS16_SEL))).toBe('ok');
    expect([c.rip, c.rflags, c.regLo(RAX), c.regLin(RSP), c.selector(CS), c.selector(DS)]).toEqual([
      0x234,
      0x246 | EFLAGS.NT,
      0x7777,
      0xa000,
      SEL.code16,
      0,
    ]);
    expect([c.big(STATE.cr3), c.read(TSS16, 2)]).toEqual([0x9000n, BigInt(SEL.tss)]);
    // And back, saving words.
    c.setReg(RAX, 0x1234n);
    expect(c.outcome(...IRETD)).toBe('ok');
    expect([c.read(TSS16 + words.ax, 2), c.selector(TR)]).toEqual([0x1234n, SEL.tss]);
  });
  it('loads CR3 under paging and the LDT, and segments from that LDT', () => {
    const c = twoTasks(0, { ldt: LDT_SEL, ds: 0x0c });
    c.setHalves(STATE.cr0, c.lo(STATE.cr0) | CR0.PG, 0);
    c.descriptor(LDT + 8, 0x4000, 0xfff, 0x40f3);
    expect(c.outcome(...jmpFar(TSS2_SEL))).toBe('ok');
    expect([c.big(STATE.cr3), c.selector(LDTR), c.segBase(LDTR), c.selector(DS), c.segBase(DS)]).toEqual([
      0x7000n,
      LDT_SEL,
      LDT,
      0x0c,
      0x4000,
    ]);
  });
  it('to a vm86 task loads its segments as in real mode, at CPL 3', () => {
    const c = twoTasks(0, { eflags: 0x20202, cs: 0x1000, eip: 0x10, ss: 0x2000, ds: 0x3000, es: 0x4000 });
    expect(c.outcome(...jmpFar(TSS2_SEL))).toBe('ok');
    expect([c.cpl, c.segBase(CS), c.segBase(SS), c.segBase(DS), c.segBase(ES), c.rip]).toEqual([
      3, 0x10000, 0x20000, 0x30000, 0x40000, 0x10,
    ]);
  });
  it('clears the breakpoints that are local to a task (17.2.4)', () => {
    const c = twoTasks();
    c.setU32(STATE.dr + 56, 0x7ff);
    c.execute(...jmpFar(TSS2_SEL));
    expect(c.u32(STATE.dr + 56)).toBe(0x6aa);
  });
  it('with the T bit set is followed by #DB with DR6.BT, in the new task', () => {
    const c = twoTasks(0, { t: 1 });
    expect(c.outcome(...jmpFar(TSS2_SEL))).toBe('#DB');
    expect([c.rip, c.u32(STATE.dr + 48) & 0x8000]).toEqual([NEW_EIP, 0x8000]);
  });
});

describe('faults before the commit point leave the old task as it was (Table 7-1)', () => {
  const cases: [string, number, (c: FakeCpu) => void, readonly number[], string][] = [
    ['a TSS whose DPL is below CPL', 3, (c) => c.gdt(TSS2_SEL, TSS2, 0x67, 0x89), jmpFar(TSS2_SEL | 3), '#GP(98)'],
    ['a TSS through a weaker RPL', 0, (c) => c.gdt(TSS2_SEL, TSS2, 0x67, 0x89), jmpFar(TSS2_SEL | 3), '#GP(98)'],
    ['a busy TSS', 0, (c) => c.gdt(TSS2_SEL, TSS2, 0x67, 0xeb), jmpFar(TSS2_SEL), '#GP(98)'],
    ['a busy TSS behind a gate', 0, (c) => c.gdt(TSS2_SEL, TSS2, 0x67, 0xeb), jmpFar(GATE_SEL), '#GP(98)'],
    ['a TSS that is not present', 0, (c) => c.gdt(TSS2_SEL, TSS2, 0x67, 0x69), jmpFar(TSS2_SEL), '#NP(98)'],
    ['a TSS behind a gate that is not present', 0, (c) => c.gdt(TSS2_SEL, TSS2, 0x67, 0x69), jmpFar(GATE_SEL), '#NP(98)'],
    ['a gate that is not present', 0, (c) => c.write(GDT + GATE_SEL + 4, 4, 0x6500), jmpFar(GATE_SEL), '#NP(a0)'],
    ['a gate of a lower DPL', 3, (c) => c.write(GDT + GATE_SEL + 4, 4, 0x8500), jmpFar(GATE_SEL | 3), '#GP(a0)'],
    ['a gate to the LDT', 0, (c) => c.write(GDT + GATE_SEL, 4, 0x0c_0000), jmpFar(GATE_SEL), '#GP(c)'],
    ['a TSS that is too short', 0, (c) => c.gdt(TSS2_SEL, TSS2, 0x66, 0xe9), jmpFar(TSS2_SEL), '#TS(98)'],
    ['a 16-bit TSS that is too short', 0, (c) => c.gdt(TSS16_SEL, TSS16, 0x2a, 0xe1), jmpFar(TSS16_SEL), '#TS(a8)'],
    ['a new TSS in an absent page', 0, (c) => c.pages.set(TSS2 >> 12, 'absent'), jmpFar(TSS2_SEL), '#PF(0)'],
    ['an old TSS that cannot be written', 0, (c) => c.pages.set(TSS >> 12, 'readonly'), jmpFar(TSS2_SEL), '#PF(3)'],
    ['a link that cannot be written', 0, (c) => c.pages.set(TSS2 >> 12, 'readonly'), callFar(TSS2_SEL), '#PF(3)'],
    ['a GDT that cannot be written', 0, (c) => c.pages.set(GDT >> 12, 'readonly'), jmpFar(TSS2_SEL), '#PF(3)'],
  ];
  for (const [what, cpl, prepare, bytes, outcome] of cases) {
    it(`${what}: ${outcome}`, () => {
      const c = twoTasks(cpl);
      prepare(c);
      const before = c.ram.readBytes(TSS as never, 0x68);
      expect(c.outcome(...bytes)).toBe(outcome);
      expect([c.rip, c.selector(TR), c.cpl]).toEqual([CODE, SEL.tss, cpl]);
      expect(c.ram.readBytes(TSS as never, 0x68)).toEqual(before);
    });
  }
  const links: [string, (c: FakeCpu) => void, string][] = [
    ['a link to the LDT', (c) => c.write(TSS, 2, 0x0c), '#TS(c)'],
    ['a link past the GDT', (c) => c.write(TSS, 2, 0x1000), '#TS(1000)'],
    ['a link to a TSS that is not busy', (c) => c.write(TSS, 2, TSS2_SEL), '#TS(98)'],
    ['a link to a segment', (c) => c.write(TSS, 2, SEL.data0), '#TS(10)'],
    [
      'a link to a TSS that is not present',
      (c) => {
        c.gdt(TSS2_SEL, TSS2, 0x67, 0x6b);
        c.write(TSS, 2, TSS2_SEL);
      },
      '#NP(98)',
    ],
  ];
  for (const [what, prepare, outcome] of links) {
    it(`IRET with NT and ${what}: ${outcome}`, () => {
      const c = twoTasks();
      prepare(c);
      c.rflags = 2 | EFLAGS.NT;
      expect(c.outcome(...IRETD)).toBe(outcome);
      expect([c.rip, c.selector(TR)]).toEqual([CODE, SEL.tss]);
    });
  }
});

describe("faults after it are the new task's (Table 7-1)", () => {
  const cases: [string, Partial<Record<Field, number>>, string][] = [
    ['an LDT selector in the LDT', { ldt: 0x3c }, '#TS(3c)'],
    ['an LDT selector past the GDT', { ldt: 0x1000 }, '#TS(1000)'],
    ['an LDT selector of a TSS', { ldt: TSS16_SEL }, '#TS(a8)'],
    ['a null CS', { cs: 3 }, '#TS(0)'],
    ['a CS past the GDT', { cs: 0x1000 }, '#TS(1000)'],
    ['a CS of data', { cs: SEL.data0 }, '#TS(10)'],
    ['a CS whose DPL is not its RPL', { cs: SEL.code0 | 3, ss: SEL.data3 }, '#TS(8)'],
    ['a conforming CS above its RPL is right', { cs: SEL.conforming0 | 3, ss: SEL.data3 }, 'ok'],
    ['a CS that is not present', { cs: SEL.absentCode0 }, '#NP(80)'],
    ['a null SS', { ss: 0 }, '#TS(0)'],
    ['an SS of another level', { ss: SEL.data3 }, '#TS(20)'],
    ['an SS of code', { ss: SEL.code0 }, '#TS(8)'],
    ['a read-only SS', { cs: SEL.code3, ss: SEL.readOnly3 }, '#TS(70)'],
    ['an SS that is not present', { cs: SEL.code3, ss: SEL.absentData3 }, '#SS(68)'],
    ['a null DS is right', { ds: 0 }, 'ok'],
    ['a DS past the GDT', { ds: 0x1000 }, '#TS(1000)'],
    ['a DS of execute-only code', { ds: SEL.executeOnly3 }, '#TS(78)'],
    ['a DS of an inner level', { cs: SEL.code3, ss: SEL.data3, ds: SEL.data0 | 3 }, '#TS(10)'],
    ['a GS that is not present', { gs: SEL.absentData3 }, '#NP(68)'],
    ['an EIP past the limit of CS', { cs: SEL.code16, eip: 0x10000 }, '#GP(0)'],
  ];
  for (const [what, fields, outcome] of cases) {
    it(`${what}: ${outcome}`, () => {
      const c = twoTasks(0, fields);
      expect(c.outcome(...jmpFar(TSS2_SEL))).toBe(outcome);
      expect([c.rip, c.selector(TR), busy(c, TSS2_SEL)]).toEqual([fields.eip ?? NEW_EIP, TSS2_SEL, true]);
      expect(c.selector(CS)).toBe(fields.cs ?? SEL.code0);
    });
  }
  it('a page directory pointer with reserved bits: #GP(0)', () => {
    const c = twoTasks();
    c.setHalves(STATE.cr0, c.lo(STATE.cr0) | CR0.PG, 0);
    c.setHalves(STATE.cr4, 0x20, 0);
    c.pdptesValid = false;
    expect(c.outcome(...jmpFar(TSS2_SEL))).toBe('#GP(0)');
    expect(c.selector(TR)).toBe(TSS2_SEL);
  });
  it('are delivered in the new task when an interrupt brought it in', () => {
    const c = twoTasks(3, { ds: 0x1000 });
    for (let v = 0; v < 32; v++) c.gate(IDT + v * 8, SEL.code0, 0x6000 + v * 16, 14, 0);
    c.gate(IDT + EXC.UD * 8, TSS2_SEL, 0, 5, 0);
    expect(deliver(c, { vector: EXC.UD, errorCode: -1, kind: 'fault', returnRip: CODE as Lin })).toBe('done');
    // #TS with EXT, in the new task, returning to its EIP.
    expect([c.rip, c.read(c.regLin(RSP), 4), c.read(c.regLin(RSP) + 4, 4)]).toEqual([0x6000 + EXC.TS * 16, 0x1001n, BigInt(NEW_EIP)]);
  });
});
