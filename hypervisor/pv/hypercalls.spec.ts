import { callback_register, XEN_EINVAL, XEN_ENODEV, XEN_ENOSYS, XEN_EPERM, xen_x86_64 } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { callback_op } from '../hypercalls/callback_op.ts';
import { HypercallContext, type HypercallHandler } from '../hypercalls/context.ts';
import { get_debugreg } from '../hypercalls/get_debugreg.ts';
import { nmi_op } from '../hypercalls/nmi_op.ts';
import { set_callbacks } from '../hypercalls/set_callbacks.ts';
import { set_debugreg } from '../hypercalls/set_debugreg.ts';
import { set_segment_base } from '../hypercalls/set_segment_base.ts';
import { set_trap_table } from '../hypercalls/set_trap_table.ts';
import { stack_switch } from '../hypercalls/stack_switch.ts';
import { update_descriptor } from '../hypercalls/update_descriptor.ts';
import { FS, GS } from '../machine/state.ts';
import { pvHooks } from './index.ts';
import { createTestGuest, type TestGuest } from './testing.ts';

function call(g: TestGuest, handler: HypercallHandler, ...args: (number | bigint)[]): number {
  const c = new HypercallContext(g.hv);
  c.vcpu = g.vcpu;
  args.forEach((a, i) => {
    const v = BigInt.asUintN(64, BigInt(a));
    c.setArg(i, Number(v & 0xffff_ffffn) | 0, g.vcpu.domain.is32bit ? 0 : Number(v >> 32n) | 0);
  });
  return handler(c) as number;
}
const trapEntry = (vector: number, flags: number, cs: number, address: number): number[] => {
  const b = new DataView(new ArrayBuffer(16));
  b.setUint8(0, vector);
  b.setUint8(1, flags);
  b.setUint16(2, cs, true);
  b.setBigInt64(8, BigInt(address), true);
  return [...new Uint8Array(b.buffer)];
};

describe('set_trap_table', () => {
  it("reads entries up to address 0, raising RPLs to the guest kernel's", () => {
    const g = createTestGuest();
    g.write(9, 0, [...trapEntry(14, 4, 0x10, 0x1000), ...trapEntry(0x80, 3, 0x33, -4096), ...trapEntry(0, 0, 0, 0)]);
    expect(call(g, set_trap_table, g.lin(9))).toBe(0);
    expect(g.vcpu.pv.trapTable[14]).toEqual({ selector: 0x13, address: 0x1000, dpl: 0, ifFlag: true });
    expect(g.vcpu.pv.trapTable[0x80]).toEqual({ selector: 0x33, address: -4096, dpl: 3, ifFlag: false });
    expect(call(g, set_trap_table, 0)).toBe(0);
    expect(g.vcpu.pv.trapTable[14]!.address).toBe(0);
  });
  it('refuses a non-canonical address, keeping the entries before it', () => {
    const g = createTestGuest();
    g.write(9, 0, [...trapEntry(1, 0, 0x10, 0x1000), ...trapEntry(2, 0, 0x10, 0x8000_0000_0000)]);
    expect(call(g, set_trap_table, g.lin(9))).toBe(-XEN_EINVAL);
    expect(g.vcpu.pv.trapTable[1]!.address).toBe(0x1000);
  });
});

describe('callbacks', () => {
  const register = (g: TestGuest, type: number, flags: number, eip: number, cs = 0) => {
    g.vcpu.guest.writeStruct(callback_register, g.lin(9), { type, flags, address: { cs, eip: eip as never } } as never);
    return call(g, callback_op, 0, g.lin(9));
  };
  it('are registered one by one or three at once', () => {
    const g = createTestGuest();
    expect(register(g, 2, 1, 0x2000)).toBe(0);
    expect([g.vcpu.pv.syscallCallbackEip, g.vcpu.pv.syscallDisablesEvents]).toEqual([0x2000, true]);
    expect(call(g, set_callbacks, 0x3000, 0x4000, 0x5000)).toBe(0);
    const { pv } = g.vcpu;
    expect([pv.eventCallbackEip, pv.failsafeCallbackEip, pv.syscallCallbackEip, pv.syscallDisablesEvents]).toEqual([
      0x3000,
      0x4000,
      0x5000,
      false,
    ]);
  });
  it('of unknown type, non-canonical, or withdrawn where that is not offered, are refused', () => {
    const g = createTestGuest();
    expect(register(g, 3, 0, 0x2000)).toBe(-XEN_ENOSYS);
    expect(register(g, 0, 0, 0x8000_0000_0000)).toBe(-XEN_EINVAL);
    g.write(9, 0, [0, 0, 0, 0]);
    expect(call(g, callback_op, 1, g.lin(9))).toBe(-XEN_EINVAL);
    expect(call(g, callback_op, 7, 0)).toBe(-XEN_ENOSYS);
  });
  it('of a 32-bit guest have selectors, raised to ring 1', () => {
    const g = createTestGuest({ is32bit: true });
    expect(call(g, set_callbacks, 0x60, 0x3000, 0xe019, 0x4000)).toBe(0);
    expect([g.vcpu.pv.eventCallbackCs, g.vcpu.pv.failsafeCallbackCs]).toEqual([0x61, 0xe019]);
    expect(register(g, 2, 0, 0x2000, 0x61)).toBe(-XEN_ENOSYS);
  });
  it('for NMIs are vector 2 of the trap table', () => {
    const g = createTestGuest();
    g.vcpu.guest.write64(g.lin(9), 0x6000, 0);
    expect(call(g, nmi_op, 0, g.lin(9))).toBe(0);
    expect(g.vcpu.pv.trapTable[2]).toEqual({ selector: 0xe033, address: 0x6000, dpl: 0, ifFlag: true });
    expect(call(g, nmi_op, 1, 0)).toBe(0);
    expect(g.vcpu.pv.trapTable[2]!.address).toBe(0);
  });
});

describe('debug registers by hypercall', () => {
  it('are sanitised, and refuse what a guest may not have', () => {
    const g = createTestGuest();
    g.enter();
    expect(call(g, set_debugreg, 0, g.lin(1))).toBe(0);
    expect(call(g, set_debugreg, 7, 0x1)).toBe(0);
    expect(call(g, get_debugreg, 7)).toBe(0x401);
    expect(g.cpu.lin(0x170)).toBe(g.lin(1));
    expect(call(g, set_debugreg, 7, 0x2000)).toBe(-XEN_EPERM);
    expect(call(g, set_debugreg, 7, 0x1_0000_0000)).toBe(-XEN_EINVAL);
    expect(call(g, set_debugreg, 7, 0x2_0001)).toBe(-XEN_EPERM);
    expect(call(g, set_debugreg, 8, 0)).toBe(-XEN_ENODEV);
    expect(call(g, get_debugreg, 9)).toBe(-XEN_ENODEV);
    expect(call(g, set_debugreg, 6, 0)).toBe(0);
    expect(call(g, get_debugreg, 6)).toBe(0xffff_0ff0);
  });
  it('a breakpoint on an instruction arrives as #DB with DR6.B0', () => {
    const g = createTestGuest({ code: [0x90, 0x90, 0x0f, 0x0b] });
    g.vcpu.pv.trapTable[1] = { selector: 0xe033, address: g.lin(1) as never, dpl: 0, ifFlag: false };
    g.enter();
    expect(call(g, set_debugreg, 0, g.lin(0, 1))).toBe(0);
    expect(call(g, set_debugreg, 7, 1)).toBe(0);
    g.step();
    expect(g.cpu.rip).toBe(g.lin(1));
    expect(call(g, get_debugreg, 6)).toBe(0xffff_0ff1);
  });
});

describe('stack_switch and set_segment_base', () => {
  it('set what the entry paths use', () => {
    const g = createTestGuest();
    g.enter();
    expect(call(g, stack_switch, 0x18, g.lin(3))).toBe(0);
    expect([g.vcpu.pv.kernelSs, g.vcpu.pv.kernelSp]).toEqual([0x1b, g.lin(3)]);
    const { SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL } = xen_x86_64;
    expect(call(g, set_segment_base, SEGBASE_FS, 0x1000)).toBe(0);
    expect(call(g, set_segment_base, SEGBASE_GS_KERNEL, -4096)).toBe(0);
    expect(call(g, set_segment_base, SEGBASE_GS_USER, 0x3000)).toBe(0);
    expect([g.cpu.segBase(FS), g.cpu.segBase(GS), g.cpu.lin(0x1d8)]).toEqual([0x1000, -4096, 0x3000]);
    expect(call(g, set_segment_base, SEGBASE_GS_USER, 0x8000_0000_0000n)).toBe(-XEN_EINVAL);
    // A null selector clears the user's base and leaves the kernel's.
    expect(call(g, set_segment_base, SEGBASE_GS_USER_SEL, 0)).toBe(0);
    expect([g.cpu.segBase(GS), g.cpu.lin(0x1d8)]).toEqual([-4096, 0]);
    expect(call(g, set_segment_base, 4, 0)).toBe(-XEN_EINVAL);
  });
});

describe('update_descriptor', () => {
  it('writes a good descriptor into a page that is not mapped writable elsewhere, and refuses a bad one', () => {
    const g = createTestGuest();
    const at = g.maddr(9, 16);
    expect(call(g, update_descriptor, at, 0x00cf_9200_0000_ffffn)).toBe(0);
    expect(g.hv.ram.read64(at)).toBe(0x00cf_f200_0000_ffffn);
    expect(call(g, update_descriptor, at, 0x0000_8900_0000_0067n)).toBe(-XEN_EINVAL);
    expect(call(g, update_descriptor, at + 4, 0n)).toBe(-XEN_EINVAL);
    // A page table is no place for it.
    expect(call(g, update_descriptor, g.vcpu.pv.guestTable * 4096, 0n)).toBe(-XEN_EINVAL);
  });
});

describe('a vCPU context', () => {
  it('comes back as it was given', () => {
    const g = createTestGuest({
      context: { gs_base_kernel: 0x7000n, gs_base_user: 0x5000n, event_callback_eip: 0x1234 },
      regs: { rbx: 77n },
    });
    const saved = xen_x86_64.vcpu_guest_context.read(new DataView(pvHooks.saveGuestContext(g.hv, g.vcpu).buffer), 0, 'x86_64');
    expect(saved.user_regs.rbx).toBe(77n);
    expect([saved.user_regs.rip, saved.user_regs.cs, saved.user_regs.rflags]).toEqual([
      BigInt.asUintN(64, BigInt(g.lin(0))),
      0xe033,
      0x202n,
    ]);
    expect([saved.gs_base_kernel, saved.gs_base_user, saved.event_callback_eip, saved.flags & 4]).toEqual([0x7000n, 0x5000n, 0x1234, 4]);
    expect(saved.ctrlreg[3]).toBe(BigInt(g.vcpu.pv.guestTable) << 12n);
    expect(saved.fpu_ctxt[0]! | (saved.fpu_ctxt[1]! << 8)).toBe(0x37f);
    // The same tables may be named again, others not.
    const bytes = pvHooks.saveGuestContext(g.hv, g.vcpu);
    expect(pvHooks.loadGuestContext(g.hv, g.vcpu, bytes)).toBe(0);
  });
  it('with a non-canonical address is refused', () => {
    expect(() => createTestGuest({ context: { failsafe_callback_eip: 0x8000_0000_0000 } })).toThrow(`context: ${-XEN_EINVAL}`);
    expect(() => createTestGuest({ context: { ldt_base: 4097 } })).toThrow(`context: ${-XEN_EINVAL}`);
    expect(() => createTestGuest({ context: { ctrlreg: new Array<bigint>(8).fill(0n) } })).toThrow('context');
  });
});
