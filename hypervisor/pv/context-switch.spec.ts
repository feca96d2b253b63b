import { describe, expect, it } from 'vitest';
import { STATE } from '../machine/state.ts';
import { pvHooks } from './index.ts';
import { gdtVirtStart, isHypervisorRange } from './layout.ts';
import { createTestGuest } from './testing.ts';

describe('a PV vCPU on a CPU', () => {
  it("has the hypervisor's control registers and descriptor tables, and no I/O bitmap", () => {
    const g = createTestGuest();
    g.enter();
    const { cpu } = g;
    expect([cpu.u32(STATE.cr0), cpu.u32(STATE.cr4), cpu.u32(STATE.efer)]).toEqual([0x8005_0033, 0x660, 0xd01]);
    expect([cpu.lin(STATE.gdtrBase), cpu.u32(STATE.gdtrLimit)]).toEqual([gdtVirtStart(0), 0xefff]);
    expect(isHypervisorRange(cpu.lin(STATE.gdtrBase))).toBe(true);
    expect([cpu.delivery, cpu.thread.cpuidFaulting]).toEqual(['host', true]);
    g.leave();
    expect(cpu.thread.cpuidFaulting).toBe(false);
  });

  it("cannot read its own descriptor tables: they are the hypervisor's pages", () => {
    // mov rax,[rax]
    const g = createTestGuest({ code: [0x48, 0x8b, 0x00] });
    g.vcpu.pv.trapTable[14] = { selector: 0xe033, address: g.lin(1) as never, dpl: 0, ifFlag: false };
    g.enter();
    g.cpu.setRegLin(0, gdtVirtStart(0) + 0xe000);
    g.step();
    // A protection fault, which a guest kernel sees without the user bit.
    expect([g.cpu.rip, g.read64(g.cpu.regLin(4) + 16)]).toEqual([g.lin(1), 1n]);
  });

  it('keeps registers, FPU and segment bases while another context has the CPU', () => {
    const g = createTestGuest({ context: { gs_base_kernel: 0x7000n } });
    g.enter();
    g.cpu.setReg(12, 0x1234_5678_9abcn);
    g.cpu.setU32(STATE.mxcsr, 0x1fa0);
    g.leave();
    g.cpu.clear();
    g.enter();
    expect([g.cpu.reg(12), g.cpu.u32(STATE.mxcsr), g.cpu.segBase(5)]).toEqual([0x1234_5678_9abcn, 0x1fa0, 0x7000]);
    expect(g.cpu.lin(STATE.cr3)).toBe(g.vcpu.pv.guestTable * 4096);
  });

  it('runs user tables when it was stopped in user mode', () => {
    const g = createTestGuest({ context: { flags: 32 } });
    g.enter();
    expect(g.cpu.lin(STATE.cr3)).toBe(g.vcpu.pv.guestTableUser * 4096);
  });

  it('gives back every reference when it is destroyed', () => {
    const g = createTestGuest();
    const { guestTable, guestTableUser } = g.vcpu.pv;
    const counts = [guestTable, guestTableUser].map((f) => g.hv.frames.typeCount[f]!);
    pvHooks.vcpuDestroyed(g.hv, g.vcpu);
    expect([guestTable, guestTableUser].map((f) => g.hv.frames.typeCount[f]!)).toEqual(counts.map((c) => c - 1));
  });
});
