// System state and threaded code together: what must be seen at once by code that is decoded, linked and running from the TLB.

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { createMachine } from '../index.ts';
import { CS, DS, EFLAGS, ES, RAX, RBX, RCX, RDI, RDX, RSI, RSP, SS, STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import type { EmulatedCpu } from './cpu.ts';

const ROOT = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const PT = 0x4000;
const CODE = 0x10000;
const DATA = 0x30000;
const STACK = 0x80000;
const UD2 = [0x0f, 0x0b];
const USER = 4;

interface Rig {
  readonly cpu: EmulatedCpu;
  put64(at: number, lo: number, hi?: number): void;
  read32(at: number): number;
  write32(at: number, v: number): void;
  /** Runs code at CODE up to an event: the exception's vector and error code, or the exit. */
  run(code: readonly number[]): string;
  again(at: number): string;
}

/** 64-bit code at a level, under host delivery, the low 2 MiB mapped one to one by 4 KiB pages that level 3 may use. */
function rig(cpl = 0, profile = 'skylake-sp'): Rig {
  const machine = createMachine({ ramBytes: 16 << 20, cpus: 1, profile });
  const { ram } = machine;
  const cpu = machine.cpus[0]!;
  const put64 = (at: number, lo: number, hi = 0) => {
    ram.write32(at as Maddr, lo);
    ram.write32((at + 4) as Maddr, hi);
  };
  put64(ROOT, PDPT | 7);
  put64(PDPT, PD | 7);
  put64(PD, PT | 7);
  for (let p = 0; p < 512; p++) put64(PT + p * 8, (p << 12) | 3 | (cpl === 3 ? USER : 0));
  cpu.setU32(STATE.cr0, CR0.PG | CR0.PE | CR0.NE | CR0.ET | CR0.WP);
  cpu.setU32(STATE.cr4, CR4.PAE | CR4.OSFXSR);
  cpu.setU32(STATE.efer, EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE);
  cpu.setLin(STATE.cr3, ROOT);
  const dpl = cpl << 5;
  cpu.setSegment(CS, 8 | cpl, 0xa09b | dpl, 0xffffffff, 0);
  for (const seg of [SS, DS, ES]) cpu.setSegment(seg, 0x10 | cpl, 0xc093 | dpl, 0xffffffff, 0);
  cpu.setU32(STATE.cpl, cpl);
  cpu.setRegLin(RSP, STACK);
  cpu.rflags = 2;
  cpu.delivery = 'host';
  cpu.modeChanged();
  const go = (): string => {
    cpu.cycles = 0;
    const exit = cpu.run(1e6);
    if (exit === RunExit.exception) return cpu.event.errorCode < 0 ? `${cpu.event.vector}` : `${cpu.event.vector}(${cpu.event.errorCode})`;
    return `exit ${exit}`;
  };
  return {
    cpu,
    put64,
    read32: (at) => ram.read32(at as Maddr),
    write32: (at, v) => ram.write32(at as Maddr, v),
    run(code) {
      ram.writeBytes(CODE as Maddr, Uint8Array.from(code));
      cpu.rip = CODE as Lin;
      return go();
    },
    again(at) {
      cpu.rip = at as Lin;
      return go();
    },
  };
}

const MOV_EAX_RBX = [0x8b, 0x03];
const MOV_RBX_EAX = [0x89, 0x03];
const MOV_EAX_RSI = [0x8b, 0x06];

describe('invalidation (SDM Vol 3A, 4.10.4)', () => {
  it('INVLPG of any address in a 2 MiB page drops all of it', () => {
    const t = rig();
    t.put64(PD + 8, 0x20_0000 | 0x83);
    t.write32(0x20_0000, 1);
    t.write32(0x20_5000, 2);
    t.write32(0x40_0000, 3);
    t.write32(0x40_5000, 4);
    t.cpu.setReg(RBX, 0x20_0000n);
    t.cpu.setReg(RSI, 0x20_5000n);
    expect(t.run([...MOV_EAX_RBX, ...MOV_EAX_RSI, ...UD2])).toBe('6');
    expect(t.cpu.reg(RAX)).toBe(2n);
    t.put64(PD + 8, 0x40_0000 | 0x83);
    // invlpg [rbx]; mov eax, [rsi]
    expect(t.run([0x0f, 0x01, 0x3b, ...MOV_EAX_RSI, ...UD2])).toBe('6');
    expect(t.cpu.reg(RAX)).toBe(4n);
  });
  it('MOV CR3 drops what was read through the old tables', () => {
    const t = rig();
    t.cpu.setReg(RBX, BigInt(DATA));
    t.write32(DATA, 1);
    t.write32(DATA + 0x1000, 2);
    t.run([...MOV_EAX_RBX, ...UD2]);
    t.put64(PT + (DATA >> 12) * 8, (DATA + 0x1000) | 3);
    // mov rax, cr3; mov cr3, rax; mov eax, [rbx]
    t.run([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, ...MOV_EAX_RBX, ...UD2]);
    expect(t.cpu.reg(RAX)).toBe(2n);
  });

  /** Each PCID has an address of its own, so that its entry lies in its own place of the TLB. */
  const addressOf = (pcid: number) => DATA + pcid * 0x3000;
  /** mov cr3, rdx; mov eax, [rbx] */
  const enter = (t: Rig, pcid: number, keep: boolean) => {
    t.cpu.setReg(RDX, BigInt(ROOT) | BigInt(pcid) | (keep ? 1n << 63n : 0n));
    t.cpu.setReg(RBX, BigInt(addressOf(pcid)));
    expect(t.run([0x0f, 0x22, 0xda, ...MOV_EAX_RBX, ...UD2])).toBe('6');
    return Number(t.cpu.reg(RAX));
  };
  /** PCIDs 1 and 2 have read 1; their pages are remapped to where there is a 2. */
  function withPcids(): Rig {
    const t = rig();
    t.cpu.setU32(STATE.cr4, t.cpu.u32(STATE.cr4) | CR4.PCIDE);
    t.cpu.modeChanged();
    for (const pcid of [1, 2]) {
      t.write32(addressOf(pcid), 1);
      t.write32(addressOf(pcid) + 0x1000, 2);
      expect(enter(t, pcid, false)).toBe(1);
      t.put64(PT + (addressOf(pcid) >> 12) * 8, (addressOf(pcid) + 0x1000) | 3);
    }
    return t;
  }
  it('MOV CR3 with bit 63 keeps the entries of the PCID that is entered, without it drops them and no others', () => {
    const t = withPcids();
    expect(enter(t, 1, true)).toBe(1);
    expect(enter(t, 2, false)).toBe(2);
    expect(enter(t, 1, true)).toBe(1);
    expect(enter(t, 1, false)).toBe(2);
    expect(t.cpu.big(STATE.cr3)).toBe(BigInt(ROOT) | 1n);
  });
  for (const [type, pcid, seen] of [
    [0, 1, [2, 1]],
    [1, 1, [2, 1]],
    [1, 2, [1, 2]],
    [2, 0, [2, 2]],
    [3, 0, [2, 2]],
  ] as const) {
    it(`INVPCID type ${type} of PCID ${pcid} drops what it names`, () => {
      const t = withPcids();
      t.write32(DATA + 0x10000, pcid);
      t.write32(DATA + 0x10008, addressOf(pcid));
      t.cpu.setReg(RSI, BigInt(DATA + 0x10000));
      t.cpu.setReg(RCX, BigInt(type));
      // invpcid rcx, [rsi]
      expect(t.run([0x66, 0x0f, 0x38, 0x82, 0x0e, ...UD2])).toBe('6');
      expect([enter(t, 1, true), enter(t, 2, true)]).toEqual(seen);
    });
  }
});

describe('supervisor-mode access (SDM Vol 3A, 4.6)', () => {
  it('SMAP refuses user pages but for explicit accesses between STAC and CLAC', () => {
    const t = rig();
    t.put64(PT + (DATA >> 12) * 8, DATA | 7);
    t.cpu.setU32(STATE.cr4, t.cpu.u32(STATE.cr4) | CR4.SMAP);
    t.cpu.modeChanged();
    t.cpu.setReg(RBX, BigInt(DATA));
    const STAC = [0x0f, 0x01, 0xcb];
    const CLAC = [0x0f, 0x01, 0xca];
    expect(t.run([...STAC, ...MOV_EAX_RBX, ...CLAC, ...MOV_EAX_RBX, ...UD2])).toBe('14(1)');
    expect(t.cpu.rip).toBe(CODE + 8);
    // A descriptor is read implicitly: AC does not help. mov ds, ecx
    t.cpu.setLin(STATE.gdtrBase, DATA);
    t.cpu.setU32(STATE.gdtrLimit, 0xff);
    t.cpu.setReg(RCX, 0x18n);
    expect(t.run([...STAC, 0x8e, 0xd9, ...UD2])).toBe('14(1)');
    expect(t.cpu.lin(STATE.cr2)).toBe(DATA + 0x18);
  });
  it('SMEP refuses code in user pages', () => {
    const t = rig();
    t.put64(PT + (CODE >> 12) * 8, CODE | 7);
    t.cpu.setU32(STATE.cr4, t.cpu.u32(STATE.cr4) | CR4.SMEP);
    t.cpu.modeChanged();
    expect(t.run(UD2)).toBe('14(17)');
  });
  it('WRPKRU takes rights away from pages that the TLB holds', () => {
    const t = rig(3);
    t.cpu.setU32(STATE.cr4, t.cpu.u32(STATE.cr4) | CR4.PKE);
    t.cpu.modeChanged();
    t.put64(PT + (DATA >> 12) * 8, DATA | 7, 3 << 27);
    t.cpu.setReg(RBX, BigInt(DATA));
    // mov [rbx], eax; xor ecx, ecx; xor edx, edx; mov eax, imm; wrpkru; mov eax, [rbx]; mov [rbx], eax
    const code = (pkru: number) => [
      ...MOV_RBX_EAX,
      ...[0x31, 0xc9, 0x31, 0xd2, 0xb8, pkru & 255, 0, 0, 0, 0x0f, 0x01, 0xef],
      ...MOV_EAX_RBX,
      ...MOV_RBX_EAX,
      ...UD2,
    ];
    expect(t.run(code(2 << 6))).toBe('14(39)');
    expect(t.cpu.rip).toBe(CODE + 16);
    t.cpu.setU32(STATE.pkru, 0);
    t.cpu.modeChanged();
    t.cpu.flushAll();
    expect(t.run(code(1 << 6))).toBe('14(37)');
    expect(t.cpu.rip).toBe(CODE + 14);
    // rdpkru
    expect(t.run([0x31, 0xc9, 0x0f, 0x01, 0xee, ...UD2])).toBe('6');
    expect(t.cpu.reg(RAX)).toBe(64n);
  });
});

describe('alignment checks (SDM Vol 3A, 6.15, interrupt 17)', () => {
  const armed = (cpl: number) => {
    const t = rig(cpl);
    t.cpu.setU32(STATE.cr0, t.cpu.u32(STATE.cr0) | CR0.AM);
    t.cpu.rflags |= EFLAGS.AC;
    t.cpu.modeChanged();
    t.cpu.setReg(RBX, BigInt(DATA));
    return t;
  };
  for (const [what, code, at, outcome] of [
    ['a doubleword', MOV_EAX_RBX, 2, '17(0)'],
    ['a doubleword that is aligned', MOV_EAX_RBX, 4, '6'],
    ['a word', [0x66, ...MOV_EAX_RBX], 1, '17(0)'],
    ['a word at an even address', [0x66, ...MOV_EAX_RBX], 2, '6'],
    ['a byte', [0x8a, 0x03], 1, '6'],
    ['a quadword', [0x48, ...MOV_EAX_RBX], 4, '17(0)'],
    ['a quadword written', [0x48, ...MOV_RBX_EAX], 4, '17(0)'],
    ['an access across two pages', MOV_EAX_RBX, 0xffe, '17(0)'],
  ] as const) {
    it(`${what} at +${at}, at level 3: ${outcome}`, () => {
      const t = armed(3);
      // The second time through the same page as well.
      expect(t.run([...MOV_EAX_RBX, ...UD2])).toBe('6');
      t.cpu.setReg(RBX, BigInt(DATA + at));
      expect(t.run([...code, ...UD2])).toBe(outcome);
    });
  }
  it('are made at level 3 alone, and with both flags alone', () => {
    for (const prepare of [
      () => armed(0),
      () => {
        const t = armed(3);
        t.cpu.rflags &= ~EFLAGS.AC;
        t.cpu.modeChanged();
        return t;
      },
      () => {
        const t = armed(3);
        t.cpu.setU32(STATE.cr0, t.cpu.u32(STATE.cr0) & ~CR0.AM);
        t.cpu.modeChanged();
        return t;
      },
    ]) {
      const t = prepare();
      t.cpu.setReg(RBX, BigInt(DATA + 1));
      expect(t.run([...MOV_EAX_RBX, ...UD2])).toBe('6');
    }
  });
  it('begin with a POPF that sets AC', () => {
    const t = armed(3);
    t.cpu.rflags = 2;
    t.cpu.modeChanged();
    t.cpu.setReg(RBX, BigInt(DATA + 1));
    // mov eax, [rbx]; push 0x40002; popf; mov eax, [rbx]
    expect(t.run([...MOV_EAX_RBX, 0x68, 2, 0, 4, 0, 0x9d, ...MOV_EAX_RBX, ...UD2])).toBe('17(0)');
    expect(t.cpu.rip).toBe(CODE + 8);
  });
});

describe('the limit of CS (SDM Vol 3A, 5.3)', () => {
  /** 32-bit protected mode without paging, CS with base CODE and a limit. */
  const limited = (limit: number) => {
    const t = rig();
    const { cpu } = t;
    cpu.setU32(STATE.cr0, CR0.PE | CR0.ET);
    cpu.setU32(STATE.efer, 0);
    cpu.setSegment(CS, 8, 0x409b, limit, CODE);
    cpu.modeChanged();
    return (code: readonly number[], rip = 0) => {
      cpu.ram.writeBytes((CODE + rip) as Maddr, Uint8Array.from(code));
      const r = t.again(rip);
      return `${r} at ${cpu.rip.toString(16)}`;
    };
  };
  const INC_EAX = 0x40;
  it('stops code in the middle of a block', () => {
    const go = limited(3);
    expect(go([INC_EAX, INC_EAX, INC_EAX, INC_EAX, INC_EAX, ...UD2])).toBe('13(0) at 4');
  });
  it('stops an instruction that runs over it, before it does anything', () => {
    // mov eax, imm32 whose last byte lies past the limit
    expect(limited(5)([INC_EAX, INC_EAX, 0xb8, 1, 2, 3, 4, ...UD2])).toBe('13(0) at 2');
    expect(limited(6)([INC_EAX, INC_EAX, 0xb8, 1, 2, 3, 4, ...UD2])).toBe('13(0) at 7');
  });
  it('comes before the fetch from a page past it', () => {
    const go = limited(0xfff);
    expect(go([0xb8, 1, 2, 3, 4], 0xffd)).toBe('13(0) at ffd');
    expect(go([INC_EAX, INC_EAX, INC_EAX], 0xffd)).toBe('13(0) at 1000');
  });
  it('stops 16-bit code that runs over the end of its 64 KiB', () => {
    const t = rig();
    const { cpu } = t;
    cpu.setU32(STATE.cr0, CR0.ET);
    cpu.setU32(STATE.efer, 0);
    cpu.setSegment(CS, 0x1000, 0x9b, 0xffff, CODE);
    cpu.modeChanged();
    cpu.ram.writeBytes((CODE + 0xfffe) as Maddr, Uint8Array.from([INC_EAX, INC_EAX, INC_EAX]));
    expect([t.again(0xfffe), cpu.rip]).toEqual(['13(0)', 0x10000]);
    cpu.ram.writeBytes((CODE + 0xffff) as Maddr, Uint8Array.from([0xb8, 1, 2]));
    expect([t.again(0xffff), cpu.rip]).toEqual(['13(0)', 0xffff]);
  });
});

describe('debug traps (SDM Vol 3B, 17.2 and 17.3)', () => {
  const dr6 = (t: Rig) => t.cpu.u32(STATE.dr + 48) & 0xe00f;
  const BS = 0x4000;
  const stepping = (t: Rig) => {
    t.cpu.rflags |= EFLAGS.TF;
    return t;
  };
  it('TF steps through each element of a repeated instruction', () => {
    const t = stepping(rig());
    t.cpu.setReg(RCX, 3n);
    t.cpu.setReg(RDI, BigInt(DATA));
    t.cpu.setReg(RAX, 7n);
    // rep stosb
    expect(t.run([0xf3, 0xaa, ...UD2])).toBe('1');
    expect([t.cpu.rip, t.cpu.reg(RCX), t.cpu.reg(RDI)]).toEqual([CODE, 2n, BigInt(DATA + 1)]);
    t.again(CODE);
    expect([t.again(CODE), t.cpu.rip, t.cpu.reg(RCX)]).toEqual(['1', CODE + 2, 0n]);
  });
  it('a repeated comparison ends where it finds what it seeks, and gives rCX back when it faults', () => {
    const t = stepping(rig());
    t.write32(DATA, 0x00070000);
    t.cpu.setReg(RCX, 9n);
    t.cpu.setReg(RDI, BigInt(DATA + 1));
    t.cpu.setReg(RAX, 7n);
    // repne scasb
    expect([t.run([0xf2, 0xae, ...UD2]), t.cpu.rip, t.cpu.reg(RCX)]).toEqual(['1', CODE, 8n]);
    expect([t.again(CODE), t.cpu.rip, t.cpu.reg(RCX)]).toEqual(['1', CODE + 2, 7n]);
    t.put64(PT + 0x40 * 8, 0);
    t.cpu.setReg(RDI, 0x40000n);
    expect([t.again(CODE), t.cpu.rip, t.cpu.reg(RCX)]).toEqual(['14(0)', CODE, 7n]);
  });
  it('a load of SS holds the trap back until the instruction after it', () => {
    const t = stepping(rig());
    t.cpu.setReg(RAX, 0n);
    // mov ss, eax (null, in 64-bit code); inc rax
    expect([t.run([0x8e, 0xd0, 0x48, 0xff, 0xc0, ...UD2]), t.cpu.rip]).toEqual(['1', CODE + 5]);
  });
  it('a POPF that sets TF is not trapped, the instruction after it is; one that clears TF is', () => {
    const t = rig();
    // push 0x102; popf; inc rax
    expect([t.run([0x68, 2, 1, 0, 0, 0x9d, 0x48, 0xff, 0xc0, ...UD2]), t.cpu.rip]).toEqual(['1', CODE + 9]);
    const u = rig();
    expect(u.run([0x6a, 2, ...UD2])).toBe('6');
    stepping(u);
    expect([u.run([0x9d, ...UD2]), u.cpu.rip, dr6(u)]).toEqual(['1', CODE + 1, BS]);
    expect(u.again(CODE + 1)).toBe('6');
  });
  it('with DEBUGCTL.BTF only taken branches are steps, and the trap clears BTF', () => {
    const t = stepping(rig());
    t.cpu.thread.msrs.set(0x1d9, 2n);
    // inc rax; test eax, eax; jz +2; jmp +2; ud2; inc rax
    expect(t.run([0x48, 0xff, 0xc0, 0x85, 0xc0, 0x74, 2, 0xeb, 2, ...UD2, 0x48, 0xff, 0xc0, ...UD2])).toBe('1');
    expect([t.cpu.rip, t.cpu.thread.msrs.get(0x1d9)]).toEqual([CODE + 11, 0n]);
  });
  it('a data breakpoint is seen at every access, not at the first alone', () => {
    const t = rig();
    t.cpu.setLin(STATE.dr, DATA + 4);
    // DR0: write of 4 bytes
    t.cpu.setU32(STATE.dr + 56, 1 | (0xd << 16));
    t.cpu.setReg(RBX, BigInt(DATA));
    // mov [rbx], eax; mov [rbx+4], eax; mov [rbx+4], eax
    expect([t.run([...MOV_RBX_EAX, 0x89, 0x43, 4, 0x89, 0x43, 4, ...UD2]), t.cpu.rip, dr6(t)]).toEqual(['1', CODE + 5, 1]);
    expect([t.again(CODE + 5), t.cpu.rip, dr6(t)]).toEqual(['1', CODE + 8, 1]);
  });
  it('a data breakpoint hit by a load of SS comes with the next instruction', () => {
    const t = rig();
    t.cpu.setLin(STATE.dr, DATA);
    t.cpu.setU32(STATE.dr + 56, 1 | (0x7 << 16));
    t.cpu.setReg(RBX, BigInt(DATA));
    // mov ss, [rbx]; inc rax
    expect([t.run([0x8e, 0x13, 0x48, 0xff, 0xc0, ...UD2]), t.cpu.rip, dr6(t)]).toEqual(['1', CODE + 5, 1]);
  });
  it('an I/O breakpoint needs CR4.DE', () => {
    for (const [de, outcome] of [
      [CR4.DE, '1'],
      [0, '6'],
    ] as const) {
      const t = rig();
      t.cpu.setU32(STATE.cr4, t.cpu.u32(STATE.cr4) | de);
      t.cpu.setLin(STATE.dr, 0x80);
      t.cpu.setU32(STATE.dr + 56, 1 | (0x2 << 16));
      // out 0x80, al
      expect(t.run([0xe6, 0x80, ...UD2])).toBe(outcome);
      if (de) expect([t.cpu.rip, dr6(t)]).toEqual([CODE + 2, 1]);
    }
  });
  it('RF passes over one breakpoint and lasts for one instruction', () => {
    const t = rig();
    t.cpu.setLin(STATE.dr, CODE);
    t.cpu.setLin(STATE.dr + 8, CODE + 3);
    t.cpu.setU32(STATE.dr + 56, 5);
    expect([t.run([0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0, ...UD2]), t.cpu.rip]).toEqual(['1', CODE]);
    t.cpu.rflags |= EFLAGS.RF;
    expect([t.again(CODE), t.cpu.rip, t.cpu.rflags & EFLAGS.RF]).toEqual(['1', CODE + 3, 0]);
  });
});

describe('CLI, which is staged (SDM Vol 2A)', () => {
  it('clears IF at level 0 and is #GP(0) at level 3 with IOPL 0', () => {
    const t = rig();
    t.cpu.rflags = 2 | EFLAGS.IF;
    // inc rax; cli; inc rax
    expect(t.run([0x48, 0xff, 0xc0, 0xfa, 0x48, 0xff, 0xc0, ...UD2])).toBe('6');
    expect([t.cpu.rflags & EFLAGS.IF, t.cpu.reg(RAX)]).toEqual([0, 2n]);
    const u = rig(3);
    u.cpu.rflags = 2 | EFLAGS.IF;
    expect([u.run([0x48, 0xff, 0xc0, 0xfa, ...UD2]), u.cpu.rip, u.cpu.rflags & EFLAGS.IF]).toEqual(['13(0)', CODE + 3, EFLAGS.IF]);
    u.cpu.rflags |= EFLAGS.IOPL;
    expect([u.run([0xfa, ...UD2]), u.cpu.rflags & EFLAGS.IF]).toEqual(['6', 0]);
  });
});

describe('PAE paging', () => {
  it('MOV CR3 to pointers with reserved bits is #GP(0) and changes nothing (SDM Vol 3A, 4.4.1)', () => {
    const t = rig();
    const { cpu } = t;
    cpu.setU32(STATE.efer, 0);
    cpu.setSegment(CS, 8, 0xc09b, 0xffffffff, 0);
    t.put64(0x5000, PD | 1);
    t.put64(0x5020, PD | 3);
    cpu.setLin(STATE.cr3, 0x5000);
    cpu.modeChanged();
    cpu.setReg(RBX, BigInt(DATA));
    t.write32(DATA, 5);
    expect([t.run([...MOV_EAX_RBX, ...UD2]), cpu.reg(RAX)]).toEqual(['6', 5n]);
    // mov cr3, eax
    cpu.setReg(RAX, 0x5020n);
    expect([t.run([0x0f, 0x22, 0xd8]), cpu.u32(STATE.cr3)]).toEqual(['13(0)', 0x5000]);
    // A change in memory counts only after a load.
    t.put64(0x5000, 0);
    expect(t.run([...MOV_EAX_RBX, ...UD2])).toBe('6');
    expect(t.run([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, ...UD2])).toBe('14(0)');
  });
});
