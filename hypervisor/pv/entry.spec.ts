import { describe, expect, it } from 'vitest';
import { type HypercallContext, NO_RETURN } from '../hypercalls/context.ts';
import { iret as iretHypercall } from '../hypercalls/iret.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, RAX, RCX, RSP, SS } from '../machine/state.ts';
import { iret64 } from './iret.ts';
import { createTestGuest, KERNEL_STACK_PAGE, type TestGuest, USER_STACK_PAGE } from './testing.ts';

const u = (lin: number): bigint => BigInt.asUintN(64, BigInt(lin));
const handler = (g: TestGuest, vector: number, page: number, dpl = 0) => {
  g.vcpu.pv.trapTable[vector] = { selector: g.vcpu.domain.is32bit ? 0xe019 : 0xe033, address: g.lin(page) as Lin, dpl, ifFlag: false };
};
const unmask = (g: TestGuest) => g.hv.ram.write8((g.vcpu.vcpuInfo + 1) as never, 0);

describe('SYSCALL of a 64-bit guest', () => {
  it('in its kernel is a hypercall, with RCX and R11 as the instruction leaves them', () => {
    const seen: number[] = [];
    // mov eax,17; mov edi,5; syscall
    const g = createTestGuest({
      code: [0xb8, 17, 0, 0, 0, 0xbf, 5, 0, 0, 0, 0x0f, 0x05],
      dispatch: (c: HypercallContext, n) => {
        seen.push(n, c.arg(0));
        return -38;
      },
    });
    g.enter();
    g.step();
    expect(seen).toEqual([17, 5]);
    expect(g.cpu.reg(RAX)).toBe(0xffff_ffff_ffff_ffdan);
    expect(g.cpu.reg(RCX)).toBe(u(g.lin(0, 12)));
    expect(g.cpu.rip).toBe(g.lin(0, 12));
    expect(g.cpu.reg(11)).toBe(BigInt(g.cpu.rflags));
  });

  it('in a user program enters the kernel at the syscall callback, which sees the flat user segments', () => {
    const g = createTestGuest({ code: [0x0f, 0x05], context: { flags: 32, syscall_callback_eip: 0 } });
    g.vcpu.pv.syscallCallbackEip = g.lin(1) as Lin;
    g.vcpu.pv.syscallDisablesEvents = true;
    unmask(g);
    g.enter();
    const sp = g.lin(USER_STACK_PAGE + 1);
    g.cpu.setRegLin(RSP, sp);
    g.step();
    const at = g.cpu.regLin(RSP);
    expect(at).toBe(g.lin(KERNEL_STACK_PAGE + 1) - 56);
    const frame = Array.from({ length: 7 }, (_, i) => g.read64(at + i * 8));
    expect(frame).toEqual([u(g.lin(0, 2)), 0x202n, u(g.lin(0, 2)), 0xe033n, 0x202n, u(sp), 0xe02bn]);
    expect(g.cpu.rip).toBe(g.lin(1));
    expect(g.hv.ram.read8((g.vcpu.vcpuInfo + 1) as never)).toBe(1);
  });

  it('in a user program without a callback is #UD at the instruction', () => {
    const g = createTestGuest({ code: [0x0f, 0x05], context: { flags: 32 } });
    handler(g, 6, 1);
    g.enter();
    g.step();
    expect(g.read64(g.cpu.regLin(RSP) + 16)).toBe(u(g.lin(0)));
  });
});

describe('INT n', () => {
  it('reaches a vector whose DPL allows it, after the instruction and without error code', () => {
    const g = createTestGuest({ code: [0xcd, 0x21], context: { flags: 32 } });
    handler(g, 0x21, 1, 3);
    g.enter();
    g.step();
    expect(g.read64(g.cpu.regLin(RSP) + 16)).toBe(u(g.lin(0, 2)));
    expect(g.cpu.rip).toBe(g.lin(1));
  });

  it('is #GP(vector * 8 + 2) where the DPL does not', () => {
    const g = createTestGuest({ code: [0xcd, 0x21], context: { flags: 32 } });
    handler(g, 0x21, 1, 1);
    handler(g, 13, 3);
    g.enter();
    g.step();
    expect(g.cpu.rip).toBe(g.lin(3));
    expect(g.read64(g.cpu.regLin(RSP) + 16)).toBe(BigInt(0x21 * 8 + 2));
    expect(g.read64(g.cpu.regLin(RSP) + 24)).toBe(u(g.lin(0)));
  });

  it('0x80 goes straight to its handler, DPL or not', () => {
    const g = createTestGuest({ code: [0xcd, 0x80], context: { flags: 32 } });
    handler(g, 0x80, 1, 0);
    g.enter();
    g.step();
    expect(g.cpu.rip).toBe(g.lin(1));
  });

  it('0x82 is a hypercall in ring 1 and #GP in ring 3', () => {
    const calls: number[] = [];
    const dispatch = (_c: HypercallContext, n: number) => {
      calls.push(n);
      return 7;
    };
    const g = createTestGuest({ is32bit: true, code: [0xb8, 23, 0, 0, 0, 0xcd, 0x82], dispatch });
    g.enter();
    g.step();
    expect(calls).toEqual([23]);
    expect([g.cpu.regLo(RAX), g.cpu.rip]).toEqual([7, g.lin(0, 7)]);

    const h = createTestGuest({ is32bit: true, code: [0xcd, 0x82], dispatch, regs: { cs: 0xe02b, ss: 0xe033 } });
    handler(h, 13, 3);
    h.enter();
    h.step();
    expect(calls).toEqual([23]);
    expect(h.read32(h.cpu.regLo(RSP) >>> 0)).toBe(0x82 * 8 + 2);
  });

  it('INT3 ignores the DPL', () => {
    const g = createTestGuest({ code: [0xcc], context: { flags: 32 } });
    handler(g, 3, 1, 0);
    g.enter();
    g.step();
    expect(g.cpu.rip).toBe(g.lin(1));
    expect(g.read64(g.cpu.regLin(RSP) + 16)).toBe(u(g.lin(0, 1)));
  });
});

describe('the iret hypercall', () => {
  const push = (g: TestGuest, words: bigint[]) => {
    const sp = g.lin(KERNEL_STACK_PAGE, 0x800);
    words.forEach((w, i) => {
      g.vcpu.guest.write64(sp + i * 8, Number(w & 0xffff_ffffn), Number(w >> 32n));
    });
    g.cpu.setRegLin(RSP, sp);
  };

  it("goes to user mode with the user's tables, interrupts on, IOPL 0 and events as IF says", () => {
    const g = createTestGuest();
    g.enter();
    push(g, [1n, 0x11n, 0x22n, 0n, u(g.lin(5)), 0xe033n, 0x3202n, 0x5000n, 0xe02bn]);
    iret64(g.hv, g.vcpu);
    const { cpu } = g;
    expect([cpu.reg(RAX), cpu.reg(11), cpu.reg(RCX), cpu.rip, cpu.regLin(RSP)]).toEqual([1n, 0x11n, 0x22n, g.lin(5), 0x5000]);
    expect([cpu.selector(CS), cpu.selector(SS), cpu.cpl, cpu.rflags]).toEqual([0xe033, 0xe02b, 3, 0x202]);
    expect(g.vcpu.pv.kernelMode).toBe(false);
    expect(cpu.big(0x150)).toBe(BigInt(g.vcpu.pv.guestTableUser) << 12n);
    expect(g.hv.ram.read8((g.vcpu.vcpuInfo + 1) as never)).toBe(0);
  });

  it('with RPL 0 stays in the kernel, and with IF clear leaves events masked', () => {
    const g = createTestGuest();
    g.enter();
    push(g, [0n, 0n, 0n, 0n, u(g.lin(5)), 0xe030n, 2n, 0x5000n, 0xe02bn]);
    iret64(g.hv, g.vcpu);
    expect([g.vcpu.pv.kernelMode, g.cpu.selector(CS), g.cpu.rflags]).toEqual([true, 0xe033, 0x202]);
    expect(g.hv.ram.read8((g.vcpu.vcpuInfo + 1) as never)).toBe(1);
  });

  it('with VGCF_in_syscall leaves by SYSRET: flat segments, RCX and R11 from RIP and RFLAGS', () => {
    const g = createTestGuest();
    g.enter();
    push(g, [9n, 1n, 2n, 0x100n, u(g.lin(5)), 0x33n, 0x246n, 0x5000n, 0x2bn]);
    iret64(g.hv, g.vcpu);
    expect([g.cpu.selector(CS), g.cpu.selector(SS)]).toEqual([0xe033, 0xe02b]);
    expect([g.cpu.reg(RCX), g.cpu.reg(11), g.cpu.reg(RAX)]).toEqual([u(g.lin(5)), 0x246n, 9n]);
  });

  it('to a code selector that does not exist is a #GP, which shows the selector', () => {
    const g = createTestGuest();
    g.vcpu.pv.trapTable[13] = { selector: 0xe033, address: g.lin(6) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    push(g, [0n, 0n, 0n, 0n, u(g.lin(5)), 0x33n, 0x202n, 0x5000n, 0xe02bn]);
    iret64(g.hv, g.vcpu);
    expect(g.cpu.rip).toBe(g.lin(6));
    const sp = g.cpu.regLin(RSP);
    const frame = Array.from({ length: 8 }, (_, i) => g.read64(sp + i * 8));
    // RCX, R11, error code, RIP, CS, RFLAGS (with RF, as a fault has it), RSP, SS
    expect(frame.slice(2)).toEqual([0x30n, u(g.lin(5)), 0x33n, 0x1_0202n, 0x5000n, 0xe02bn]);
    expect(g.vcpu.pv.kernelMode).toBe(true);
  });

  it('without user page tables crashes the domain', () => {
    const g = createTestGuest({ context: {} });
    g.enter();
    g.vcpu.pv.guestTableUser = -1 as never;
    push(g, [0n, 0n, 0n, 0n, 0n, 0x33n, 0x202n, 0n, 0x2bn]);
    iret64(g.hv, g.vcpu);
    expect(g.vcpu.domain.crashReason).toContain('without user page tables');
  });

  it('of a 32-bit guest goes to ring 3 with its stack, stays in ring 1 without, and refuses ring 0', () => {
    const g = createTestGuest({ is32bit: true, dispatch: (c, n) => (n === 23 ? iretHypercall(c) : 0) });
    g.enter();
    const sp = g.lin(KERNEL_STACK_PAGE, 0x800);
    const frame = (words: number[]) => {
      words.forEach((w, i) => {
        g.vcpu.guest.write32(sp + i * 4, w);
      });
      g.cpu.setRegLin(RSP, sp);
      g.cpu.setReg(RAX, 23n);
      return g.hv.hypercall(g.vcpu);
    };
    expect(frame([5, g.lin(5), 0xe019, 0x202])).toBe(NO_RETURN);
    expect([g.cpu.regLo(RAX), g.cpu.rip, g.cpu.regLo(RSP), g.cpu.cpl]).toEqual([5, g.lin(5), sp + 16, 1]);
    frame([6, g.lin(5), 0xe02b, 0x3002, 0x9000, 0xe033]);
    expect([g.cpu.regLo(RAX), g.cpu.regLo(RSP), g.cpu.selector(SS), g.cpu.cpl, g.cpu.rflags]).toEqual([6, 0x9000, 0xe033, 3, 0x202]);
    expect(g.hv.ram.read8((g.vcpu.vcpuInfo + 1) as never)).toBe(1);
    frame([6, g.lin(5), 0xe008, 0x202]);
    expect(g.vcpu.domain.crashReason).toBe('IRET to ring 0');
  });
});

describe('on the way back to the guest', () => {
  it('a pending event enters the event callback, once, and masks further ones', () => {
    const g = createTestGuest({ code: [0x0f, 0x05] });
    g.vcpu.pv.eventCallbackEip = g.lin(7) as Lin;
    unmask(g);
    g.hv.ram.write8(g.vcpu.vcpuInfo, 1);
    g.enter();
    g.step();
    expect(g.cpu.rip).toBe(g.lin(7));
    expect(g.hv.ram.read8((g.vcpu.vcpuInfo + 1) as never)).toBe(1);
    expect(g.read64(g.cpu.regLin(RSP) + 32)).toBe(0x202n);
    expect(g.vcpu.domain.statistics.get('event upcall')).toBe(1);
  });

  it("an NMI goes first, and a second one waits for the guest's iret", () => {
    const g = createTestGuest({ code: [0x0f, 0x05, 0x0f, 0x05] });
    g.vcpu.pv.trapTable[2] = { selector: 0xe033, address: g.lin(7) as Lin, dpl: 0, ifFlag: true };
    g.write(7, 0, [0x0f, 0x05]);
    g.vcpu.pv.nmiPending = true;
    g.enter();
    g.step();
    expect(g.cpu.rip).toBe(g.lin(7));
    g.vcpu.pv.nmiPending = true;
    g.step();
    expect(g.cpu.rip).toBe(g.lin(7, 2));
    expect(g.vcpu.pv.nmiPending).toBe(true);
  });
});
