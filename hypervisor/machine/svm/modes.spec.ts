// Guests that are not 64-bit: real mode paged and unpaged, 32-bit with task switches, PAE; and what reaches the processor from outside.

import { describe, expect, it } from 'vitest';
import { EFLAGS, RAX, RBX, RCX, STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { MSR_AMD } from '../system/msr-vendor.ts';
import { EXIT, exitOf, FAMILY } from './exits.ts';
import { CODE, DATA, GDT, IDT, type Rig, svmRig } from './rig.ts';
import { VM_CR } from './svm.ts';

const PD32 = 0x5_0000;
const TSS_A = 0x6_0000;
const TSS_B = 0x6_1000;

const exitName = (r: Rig): string | undefined => exitOf(Number(r.vmcb.get('EXITCODE')))?.name;

/** A flat 32-bit guest, unpaged. */
function protectedGuest(bytes: readonly number[], nested = false): Rig {
  const r = svmRig('zen', nested);
  r.bytes(CODE, bytes);
  r.vmcb.set('CR0', CR0.PE | CR0.ET);
  r.vmcb.set('EFER', EFER.SVME);
  r.vmcb.set('CR4', 0);
  r.vmcb.setSegment('CS', 8, 0xc09b, 0xffff_ffff, 0);
  r.put64(GDT + 8, 0x00cf_9b00_0000_ffffn);
  r.intercept(EXIT.HLT.code);
  return r;
}

/** A real-mode guest at CODE, that is CS 1000h; `paged`: 32-bit tables under it map linear DATA to the frame after it. */
function realGuest(bytes: readonly number[], paged: boolean, nested: boolean): Rig {
  const r = protectedGuest(bytes, nested);
  r.vmcb.set('CR0', (CR0.ET | (paged ? CR0.PG : 0)) >>> 0);
  r.vmcb.set('RIP', 0);
  r.vmcb.set('RSP', 0x8000);
  r.vmcb.setSegment('CS', CODE >> 4, 0x9b, 0xffff, CODE);
  for (const s of ['SS', 'DS', 'ES'] as const) r.vmcb.setSegment(s, DATA >> 4, 0x93, 0xffff, DATA);
  r.vmcb.setSegment('IDTR', 0, 0, 0x3ff, IDT);
  r.ram.write32(PD32 as never, (PD32 + 0x1000) | 7);
  for (let p = 0; p < 1024; p++) r.ram.write32((PD32 + 0x1000 + 4 * p) as never, (p << 12) | 7);
  r.ram.write32((PD32 + 0x1000 + 4 * (DATA >> 12)) as never, (DATA + 0x1000) | 7);
  r.vmcb.set('CR3', PD32);
  r.bytes(DATA, [0x11, 0x11]);
  r.bytes(DATA + 0x1000, [0x22, 0x22]);
  return r;
}

describe('a real-mode guest', () => {
  for (const nested of [false, true])
    for (const paged of [false, true])
      it(`${paged ? 'paged (APM Vol 2, 15.19)' : 'unpaged'}, ${nested ? 'with' : 'without'} nested paging`, () => {
        // mov ax, [0]; hlt
        const r = realGuest([0xa1, 0, 0, 0xf4], paged, nested);
        expect(r.enter()).toBe('vmexit');
        expect([exitName(r), r.vmcb.get('RIP'), r.vmcb.get('RAX'), r.vmcb.get('CPL')]).toEqual(['HLT', 3n, paged ? 0x2222n : 0x1111n, 0n]);
      });
  it('paged takes page faults and delivers interrupts through its IVT', () => {
    const r = realGuest([0xcd, 0x30], true, false);
    r.ram.write32((IDT + 4 * 0x30) as never, ((CODE >> 4) << 16) | 0x100);
    // mov ax, [2000h]; hlt
    r.bytes(CODE + 0x100, [0xa1, 0, 0x20, 0xf4]);
    r.ram.write32((PD32 + 0x1000 + 4 * ((DATA + 0x2000) >> 12)) as never, 0);
    r.intercept(FAMILY.EXCEPTION + 14);
    r.enter();
    expect([exitName(r), r.vmcb.get('EXITINFO1'), r.vmcb.get('EXITINFO2'), r.vmcb.get('RIP')]).toEqual([
      'EXCP_PF',
      0n,
      BigInt(DATA + 0x2000),
      0x100n,
    ]);
    expect(r.vmcb.get('RSP')).toBe(0x8000n - 6n);
  });
});

describe('a 32-bit guest', () => {
  it('INTO and BOUND exit with NRIP, INTO only with OF', () => {
    const into = protectedGuest([0xce, 0xce, 0xf4]);
    into.intercept(FAMILY.EXCEPTION + 4);
    into.enter();
    expect([exitName(into), into.vmcb.get('RIP')]).toEqual(['HLT', BigInt(CODE + 2)]);
    const taken = protectedGuest([0xce]);
    taken.vmcb.set('RFLAGS', 2 | EFLAGS.OF);
    taken.intercept(FAMILY.EXCEPTION + 4);
    taken.enter();
    expect([exitName(taken), taken.vmcb.get('RIP'), taken.vmcb.get('NRIP')]).toEqual(['EXCP_OF', BigInt(CODE), BigInt(CODE + 1)]);
    const bound = protectedGuest([0x62, 0x43, 0x10]);
    bound.cpu.setReg(RBX, BigInt(DATA));
    bound.vmcb.set('RAX', 5);
    bound.intercept(FAMILY.EXCEPTION + 5);
    bound.enter();
    expect([exitName(bound), bound.vmcb.get('RIP'), bound.vmcb.get('NRIP')]).toEqual(['EXCP_BR', BigInt(CODE), BigInt(CODE + 3)]);
  });

  const tss = (base: number): bigint => 0x0000_8900_0000_0067n | (BigInt(base & 0xffff) << 16n) | (BigInt(base >>> 16) << 32n);
  const withTasks = (bytes: readonly number[]): Rig => {
    const r = protectedGuest(bytes);
    r.put64(GDT + 0x20, tss(TSS_A) | (2n << 40n));
    r.put64(GDT + 0x28, tss(TSS_B));
    // VMLOAD has TR.
    r.vmcb.setSegment('TR', 0x20, 0x8b, 0x67, TSS_A);
    r.svm.vmload(r.vmcb.at);
    r.intercept(EXIT.TASK_SWITCH.code);
    return r;
  };
  const far = (opcode: number): number[] => [opcode, 0, 0, 0, 0, 0x28, 0];
  const switches: [string, readonly number[], bigint, ((r: Rig) => void)?, bigint?][] = [
    // how, code, EXITINFO2, setup, EXITINTINFO
    ['JMP', far(0xea), 1n << 38n],
    ['CALL', far(0x9a), 0n],
    [
      'IRET with NT',
      [0xcf],
      1n << 36n,
      (r) => {
        r.vmcb.set('RFLAGS', 2 | EFLAGS.NT);
        r.ram.write16(TSS_A as never, 0x28);
        r.put64(GDT + 0x28, tss(TSS_B) | (2n << 40n));
      },
    ],
    ['INT through a task gate', [0xcd, 8], 0n, (r) => r.put64(IDT + 64, 0x0000_8500_0028_0000n), 0x8000_0408n],
    [
      'a fault through a task gate, with RF and an error code',
      [0x8e, 0xd8],
      (1n << 48n) | (1n << 44n) | 0x1000n,
      (r) => {
        r.vmcb.set('RAX', 0x1000);
        r.put64(IDT + 8 * 13, 0x0000_8500_0028_0000n);
      },
      0x8000_0b0dn,
    ],
  ];
  for (const [how, bytes, info2, setup, interrupted] of switches)
    it(`a task switch by ${how} (15.14.1)`, () => {
      const r = withTasks(bytes);
      setup?.(r);
      r.enter();
      expect([exitName(r), r.vmcb.get('EXITINFO1'), r.vmcb.get('EXITINFO2'), r.vmcb.get('EXITINTINFO'), r.vmcb.get('RIP')]).toEqual([
        'TASK_SWITCH',
        0x28n,
        info2,
        interrupted ?? 0n,
        BigInt(CODE),
      ]);
    });

  it('under PAE has its page-directory pointers in registers, read at VMRUN', () => {
    for (const nested of [false, true]) {
      const r = protectedGuest([0x8b, 0x03, 0xf4], nested);
      r.vmcb.set('CR0', (CR0.PG | CR0.PE | CR0.ET) >>> 0);
      r.vmcb.set('CR4', CR4.PAE);
      const pdpt = 0x5_8000;
      r.put64(pdpt, 0x3001);
      r.vmcb.set('CR3', pdpt);
      r.put64(0x3000, 0x4007);
      r.cpu.setReg(RBX, BigInt(DATA));
      r.bytes(DATA, [0x44, 0, 0, 0]);
      r.enter();
      expect([exitName(r), r.vmcb.get('RAX')]).toEqual(['HLT', 0x44n]);
      // A guest with long mode in between, then the same again.
      r.vmcb.set('RIP', CODE);
      r.put64(pdpt, 0);
      r.vmcb.set('TLB_CONTROL', 1);
      r.intercept(FAMILY.EXCEPTION + 14);
      r.enter();
      expect([exitName(r), r.vmcb.get('EXITINFO2')]).toEqual(['EXCP_PF', BigInt(CODE)]);
    }
  });
  it('in virtual-8086 mode runs at CPL 3 whatever the VMCB says', () => {
    const r = protectedGuest([0x90]);
    r.vmcb.set('RFLAGS', 2 | EFLAGS.VM);
    r.vmcb.set('RIP', 0);
    r.vmcb.setSegment('CS', CODE >> 4, 0xfb, 0xffff, CODE);
    for (const s of ['SS', 'DS', 'ES'] as const) r.vmcb.setSegment(s, DATA >> 4, 0xf3, 0xffff, DATA);
    // hlt is #GP at level 3
    r.bytes(CODE, [0xf4]);
    r.intercept(FAMILY.EXCEPTION + 13);
    r.enter();
    expect([exitName(r), r.vmcb.get('CPL')]).toEqual(['EXCP_GP', 3n]);
  });
});

describe('what comes from outside', () => {
  const entered = (...codes: number[]): Rig => {
    const r = svmRig();
    r.bytes(CODE, [0x90, 0xeb, 0xfd]);
    r.intercept(...codes);
    r.enter(10);
    expect(r.svm.inGuest).toBe(true);
    return r;
  };
  it('INIT, SMI and FERR_FREEZE exit where they are intercepted', () => {
    const init = entered(EXIT.INIT.code);
    expect([init.svm.initSignal(), exitName(init)]).toEqual(['done', 'INIT']);
    // GIF is clear now: the next one waits.
    expect(init.svm.initSignal()).toBe('held');
    init.svm.stgi();
    expect(init.svm.initSignal()).toBe('init');
    const smi = entered(EXIT.SMI.code);
    expect([smi.svm.smiSignal(), exitName(smi)]).toEqual([true, 'SMI']);
    const freeze = entered(EXIT.FERR_FREEZE.code);
    expect([freeze.svm.ferrFreeze(), exitName(freeze)]).toEqual([true, 'FERR_FREEZE']);
    const none = entered();
    expect([none.svm.initSignal(), none.svm.smiSignal(), none.svm.ferrFreeze(), none.svm.inGuest]).toEqual(['init', false, false, true]);
  });
  it('INIT becomes #SX with VM_CR.R_INIT (15.28)', () => {
    const r = entered(FAMILY.EXCEPTION + 30);
    r.cpu.thread.msrs.set(MSR_AMD.VM_CR, BigInt(VM_CR.R_INIT));
    expect([r.svm.initSignal(), exitName(r), r.vmcb.get('EXITINFO1')]).toEqual(['done', 'EXCP_30', 1n]);
    const taken = entered(EXIT.HLT.code);
    taken.cpu.thread.msrs.set(MSR_AMD.VM_CR, BigInt(VM_CR.R_INIT));
    taken.gate(30);
    expect([taken.svm.initSignal(), taken.cpu.run(taken.cpu.cycles + 100), exitName(taken)]).toEqual(['done', 7, 'HLT']);
    expect(taken.ram.read64(Number(taken.vmcb.get('RSP')) as never)).toBe(1n);
  });
  it('run() tells of an exit that was made between two calls of it', () => {
    const r = entered(EXIT.INIT.code);
    r.svm.initSignal();
    expect(r.cpu.run(r.cpu.cycles + 10)).toBe(7);
  });
  it('a guest that is let go on after a deadline keeps its registers', () => {
    const r = svmRig();
    // inc rcx; jmp back
    r.bytes(CODE, [0x48, 0xff, 0xc1, 0xeb, 0xfb]);
    r.cpu.setReg(RCX, 0n);
    expect(r.enter(100)).toBe('deadline');
    r.cpu.run(r.cpu.cycles + 100);
    expect([r.cpu.reg(RCX), r.cpu.reg(RAX), r.cpu.lin(STATE.cr3)]).toEqual([100n, 0n, 0x1000]);
  });
});
