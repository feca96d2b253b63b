import { describe, expect, it } from 'vitest';
import type { Lin } from '../machine/addresses.ts';
import { CS, RCX, RSP, SS } from '../machine/state.ts';
import { pvHooks } from './index.ts';
import { createTestGuest, KERNEL_STACK_PAGE, type TestGuest, USER_STACK_PAGE } from './testing.ts';

const words = (g: ReturnType<typeof createTestGuest>, n: number): bigint[] => {
  const sp = g.cpu.regLin(RSP);
  return Array.from({ length: n }, (_, i) => g.read64(sp + i * 8));
};
const u = (lin: number): bigint => BigInt.asUintN(64, BigInt(lin));

describe('a bounce frame of a 64-bit guest', () => {
  it('for an exception in the kernel has RPL 0 in CS and lies on the kernel stack', () => {
    const g = createTestGuest({ code: [0x0f, 0x0b] }); // ud2
    g.vcpu.pv.trapTable[6] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: true };
    g.hv.ram.write8((g.vcpu.vcpuInfo + 1) as never, 0);
    g.enter();
    g.cpu.setReg(RCX, 0x1111n);
    g.cpu.setReg(11, 0x2222n);
    const sp = g.cpu.regLin(RSP);
    g.step();
    // IF shows that events were not masked; RF, that the instruction can be resumed.
    expect(words(g, 7)).toEqual([0x1111n, 0x2222n, u(g.lin(0)), 0xe030n, 0x10202n, u(sp), 0xe02bn]);
    expect(g.cpu.regLin(RSP)).toBe(sp - 56);
    expect(g.cpu.rip).toBe(g.lin(1));
    expect([g.cpu.selector(CS), g.cpu.selector(SS)]).toEqual([0xe033, 0xe02b]);
    expect(g.cpu.rflags & 0x1_0200).toBe(0x200);
    // TI_GET_IF: events are masked on entry.
    expect(g.hv.ram.read8((g.vcpu.vcpuInfo + 1) as never)).toBe(1);
  });

  it("for a page fault of a user has the error code, the user bit, CR2 in vcpu_info, and the user's CS and stack", () => {
    // mov [0x1234], eax
    const g = createTestGuest({ code: [0x89, 0x04, 0x25, 0x34, 0x12, 0, 0], context: { flags: 32 } });
    g.vcpu.pv.trapTable[14] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    const userSp = g.lin(USER_STACK_PAGE + 1, -24);
    g.cpu.setRegLin(RSP, userSp);
    expect(g.vcpu.pv.kernelMode).toBe(false);
    g.step();
    expect(g.vcpu.pv.kernelMode).toBe(true);
    expect(g.cpu.regLin(RSP)).toBe(g.lin(KERNEL_STACK_PAGE + 1) - 64);
    // Bits 39:32 of the CS word are the mask that was set; the flags say IF clear for the same reason.
    expect(words(g, 8).slice(2)).toEqual([6n, u(g.lin(0)), 0x1_0000_e033n, 0x10002n, u(userSp), 0xe02bn]);
    expect(g.hv.ram.read64((g.vcpu.vcpuInfo + 16) as never)).toBe(0x1234n);
  });

  it('swaps GS bases and page tables on the way from user to kernel', () => {
    const g = createTestGuest({ code: [0x0f, 0x0b], context: { flags: 32, gs_base_kernel: 0x7000n, gs_base_user: 0x5000n } });
    g.vcpu.pv.trapTable[6] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    expect(g.cpu.segBase(5)).toBe(0x5000);
    const userCr3 = g.cpu.big(0x150);
    g.step();
    expect(g.cpu.segBase(5)).toBe(0x7000);
    expect(g.cpu.big(0x150)).toBe(BigInt(g.vcpu.pv.guestTable) << 12n);
    expect(userCr3).toBe(BigInt(g.vcpu.pv.guestTableUser) << 12n);
  });

  it('that cannot be written crashes the domain', () => {
    const g = createTestGuest({ code: [0x0f, 0x0b] });
    g.vcpu.pv.trapTable[6] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    g.cpu.setRegLin(RSP, 0x10_0000);
    g.step();
    expect(g.vcpu.domain.shutdownCode).toBe(3);
    expect(g.hv.console.text()).toContain('domain_crash_sync called from entry.S');
  });

  it('without a handler crashes the domain, and the log says which exception it was', () => {
    const g = createTestGuest({ code: [0x0f, 0x0b] });
    g.enter();
    g.step();
    expect(g.vcpu.domain.shutdownCode).toBe(3);
    expect(g.hv.console.text()).toContain('d1v0 Unhandled: vec 6, #UD[0000]');
  });
});

describe('a bounce frame of a 32-bit guest', () => {
  const words32 = (g: ReturnType<typeof createTestGuest>, n: number): number[] => {
    const sp = g.cpu.regLo(RSP) >>> 0;
    return Array.from({ length: n }, (_, i) => g.read32(sp + i * 4));
  };

  it('for an exception in ring 1 has no stack pointer', () => {
    const g = createTestGuest({ is32bit: true, code: [0x0f, 0x0b] });
    g.vcpu.pv.trapTable[6] = { selector: 0xe019, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    const sp = g.cpu.regLo(RSP) >>> 0;
    g.step();
    // Events were masked: bits 23:16 of the CS word say so.
    expect(words32(g, 3)).toEqual([g.lin(0), 0x1_e019, 0x1_0002]);
    expect(g.cpu.regLo(RSP) >>> 0).toBe(sp - 12);
    expect([g.cpu.rip, g.cpu.selector(CS), g.cpu.cpl]).toEqual([g.lin(1), 0xe019, 1]);
  });

  it("for a page fault in ring 3 has error code and the user's stack pointer", () => {
    // mov [0x1234], eax
    const g = createTestGuest({
      is32bit: true,
      code: [0xa3, 0x34, 0x12, 0, 0],
      regs: { cs: 0xe02b, ss: 0xe033, ds: 0xe033 },
    });
    g.vcpu.pv.trapTable[14] = { selector: 0xe019, address: g.lin(1) as Lin, dpl: 0, ifFlag: true };
    g.enter();
    const userSp = g.lin(USER_STACK_PAGE + 1);
    g.cpu.setRegLin(RSP, userSp);
    g.step();
    expect(words32(g, 6)).toEqual([6, g.lin(0), 0x1_e02b, 0x1_0002, userSp, 0xe033]);
    expect(g.cpu.regLo(RSP) >>> 0).toBe(g.lin(KERNEL_STACK_PAGE + 1) - 24);
    expect([g.cpu.selector(SS), g.cpu.cpl]).toEqual([0xe021, 1]);
    expect(g.hv.ram.read32((g.vcpu.vcpuInfo + 8) as never)).toBe(0x1234);
  });
});

describe("a 32-bit guest's handler whose code segment cannot be loaded", () => {
  const bad = (g: TestGuest) => ({ selector: 0x71, address: g.lin(1) as Lin, dpl: 0, ifFlag: false });

  it('is a #GP, which shows the selector', () => {
    const g = createTestGuest({ is32bit: true, code: [0x0f, 0x0b] });
    g.vcpu.pv.trapTable[6] = bad(g);
    g.vcpu.pv.trapTable[13] = { selector: 0xe019, address: g.lin(6) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    g.step();
    expect([g.cpu.rip, g.cpu.selector(CS), g.cpu.cpl]).toEqual([g.lin(6), 0xe019, 1]);
    const sp = g.cpu.regLo(RSP) >>> 0;
    // error code, EIP, CS
    expect([0, 1, 2].map((i) => g.read32(sp + i * 4))).toEqual([0x70, g.lin(1), 0x1_0071]);
  });

  it('and that of #GP neither, is the end of the domain', () => {
    const g = createTestGuest({ is32bit: true, code: [0x0f, 0x0b] });
    g.vcpu.pv.trapTable[6] = bad(g);
    g.vcpu.pv.trapTable[13] = bad(g);
    g.enter();
    g.step();
    expect(g.vcpu.domain.crashReason).toContain('faulting return');
  });
});

describe('a fresh context', () => {
  it('with a CS that cannot be loaded begins with a #GP', () => {
    const g = createTestGuest({ regs: { cs: 0x1233 } });
    g.vcpu.pv.trapTable[13] = { selector: 0xe033, address: g.lin(6) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    pvHooks.deliverPending(g.hv, g.vcpu);
    expect(g.cpu.rip).toBe(g.lin(6));
    expect(g.read64(g.cpu.regLin(RSP) + 16)).toBe(0x1230n);
  });

  it('with a data segment that cannot be loaded begins in the failsafe callback, which sees zeroes', () => {
    const g = createTestGuest({ regs: { ds: 0x1233 }, context: { failsafe_callback_eip: createTestGuest().lin(6) } });
    g.enter();
    pvHooks.deliverPending(g.hv, g.vcpu);
    expect(g.cpu.rip).toBe(g.lin(6));
  });
});
