import { describe, expect, it } from 'vitest';
import type { Lin } from '../machine/addresses.ts';
import { RAX, RCX, RDI, RDX, RSP } from '../machine/state.ts';
import { createTestGuest, type TestGuest, type TestGuestOptions } from './testing.ts';

const GP_PAGE = 3;
/** Runs the code's faulting instruction; #GP, if it is the guest's own, arrives at page 3. */
function run(code: readonly number[], options: TestGuestOptions = {}, prepare: (g: TestGuest) => void = () => {}): TestGuest {
  const g = createTestGuest({ ...options, code });
  for (const v of [1, 6, 7, 13, 14])
    g.vcpu.pv.trapTable[v] = {
      selector: options.is32bit ? 0xe019 : 0xe033,
      address: g.lin(v === 13 ? GP_PAGE : v + 20) as Lin,
      dpl: 0,
      ifFlag: false,
    };
  g.enter();
  prepare(g);
  g.step();
  return g;
}
const wasRefused = (g: TestGuest): boolean => g.cpu.rip === g.lin(GP_PAGE);
const user = { context: { flags: 32 } };

describe('control registers', () => {
  it("CR0 reads as Xen's with the guest's TS, and only TS can be written", () => {
    const read = run([0x0f, 0x20, 0xc0]); // mov rax,cr0
    expect([read.cpu.reg(RAX), read.cpu.rip]).toEqual([0x8005_0033n, read.lin(0, 3)]);
    const ts = run([0x0f, 0x22, 0xc0], {}, (g) => g.cpu.setReg(RAX, 0x8005_003bn));
    expect([ts.vcpu.pv.ctrlreg[0], ts.cpu.lo(0x140) & 8]).toEqual([0x8005_003bn, 8]);
    const wp = run([0x0f, 0x22, 0xc0], {}, (g) => g.cpu.setReg(RAX, 0x8004_0033n));
    expect(wasRefused(wp)).toBe(true);
  });

  it("CR4 keeps the choices of the guest that it may have, and shows Xen's PAE, MCE and FXSR", () => {
    const g = run([0x0f, 0x22, 0xe0], {}, (t) => t.cpu.setReg(RAX, 0x1_000cn | 0x30_0080n));
    expect(g.vcpu.pv.ctrlreg[4]).toBe(0x1_066cn);
    expect(g.cpu.lo(0x158)).toBe(0x1_0664);
  });

  it("CR3 reads as the guest's own table; a frame that is no page table is refused", () => {
    const g = run([0x0f, 0x20, 0xd8]);
    expect(g.cpu.reg(RAX)).toBe(BigInt(g.vcpu.pv.guestTable) << 12n);
    expect(wasRefused(run([0x0f, 0x22, 0xd8], {}, (t) => t.cpu.setReg(RAX, 0x1000n)))).toBe(true);
  });

  it('are not for users', () => {
    expect(wasRefused(run([0x0f, 0x20, 0xc0], user))).toBe(true);
    expect(wasRefused(run([0x0f, 0x06], user))).toBe(true);
  });

  it('CLTS clears TS, and an FPU instruction under TS faults once', () => {
    const g = run([0x0f, 0x06], {}, (t) => {
      t.vcpu.pv.ctrlreg[0] = 0x8005_003bn;
      t.cpu.setHalves(0x140, 0x8005_003b | 0, 0);
      t.cpu.modeChanged();
    });
    expect([g.vcpu.pv.ctrlreg[0], g.cpu.lo(0x140) & 8]).toEqual([0x8005_0033n, 0]);
    const nm = run([0xd9, 0xe8], {}, (t) => {
      t.vcpu.pv.ctrlreg[0] = 0x8005_003bn;
      t.cpu.setHalves(0x140, 0x8005_003b | 0, 0);
      t.cpu.modeChanged();
    });
    expect([nm.cpu.rip, nm.vcpu.pv.ctrlreg[0]]).toEqual([nm.lin(27), 0x8005_0033n]);
  });
});

describe('debug registers', () => {
  it('take breakpoints outside the hypervisor only', () => {
    const ok = run([0x0f, 0x23, 0xc0], {}, (g) => g.cpu.setReg(RAX, 0x1234n));
    expect(ok.vcpu.pv.debugreg[0]).toBe(0x1234n);
    expect(wasRefused(run([0x0f, 0x23, 0xc0], {}, (g) => g.cpu.setReg(RAX, 0xffff_8000_0000_0000n)))).toBe(true);
    const dr6 = run([0x0f, 0x21, 0xf0]);
    expect(dr6.cpu.reg(RAX)).toBe(0xffff_0ff0n);
  });
});

describe('MSRs', () => {
  const rdmsr = (n: number) => run([0x0f, 0x32], {}, (g) => g.cpu.setReg(RCX, BigInt(n)));
  const value = (g: TestGuest) => (g.cpu.reg(RDX) << 32n) | g.cpu.reg(RAX);

  it('that Xen answers: EFER, PAT, the segment bases, CPUID faulting', () => {
    expect(value(rdmsr(0xc000_0080))).toBe(0xd01n);
    expect(value(rdmsr(0x277))).toBe(0x0501_0007_0406n);
    expect(value(rdmsr(0xce))).toBe(0x8000_0000n);
    const gs = run([0x0f, 0x32], { context: { gs_base_kernel: 0xffff_8880_1234_5000n } }, (g) => g.cpu.setReg(RCX, 0xc000_0101n));
    expect(value(gs)).toBe(0xffff_8880_1234_5000n);
  });

  it('that nobody knows are #GP, and the log says so', () => {
    const g = rdmsr(0x1234);
    expect(wasRefused(g)).toBe(true);
    expect(g.hv.console.text()).toContain('RDMSR 0x00001234 unimplemented');
  });

  it('the inactive GS base can be written, a non-canonical one cannot', () => {
    const write = (v: bigint) =>
      run([0x0f, 0x30], {}, (g) => {
        g.cpu.setReg(RCX, 0xc000_0102n);
        g.cpu.setReg(RAX, v & 0xffff_ffffn);
        g.cpu.setReg(RDX, v >> 32n);
      });
    expect(write(0xffff_8880_0000_1000n).cpu.big(0x1d8)).toBe(0xffff_8880_0000_1000n);
    expect(wasRefused(write(0x8000_0000_0000n))).toBe(true);
  });

  it('0x40000000 places the hypercall page in a frame of the domain', () => {
    const g = run([0x0f, 0x30], {}, (t) => {
      t.cpu.setReg(RCX, 0x4000_0000n);
      t.cpu.setReg(RAX, BigInt(t.frame(9)) << 12n);
    });
    expect(wasRefused(g)).toBe(false);
    expect([...g.hv.ram.readBytes(g.maddr(9, 17 * 32), 14)]).toEqual([
      0x51, 0x41, 0x53, 0xb8, 17, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3,
    ]);
  });
});

describe('CPUID', () => {
  const cpuid = (code: number[], leaf: number, options: TestGuestOptions = {}) =>
    run(code, options, (g) => g.cpu.setReg(RAX, BigInt(leaf)));
  const PLAIN = [0x0f, 0xa2];
  const FORCED = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
  const text = (v: bigint) => String.fromCharCode(...[0n, 8n, 16n, 24n].map((s) => Number((v >> s) & 0xffn)));

  it('0x40000000 says XenVMMXenVMM, by faulting and by prefix', () => {
    for (const code of [PLAIN, FORCED]) {
      const g = cpuid(code, 0x4000_0000);
      expect(text(g.cpu.reg(3)) + text(g.cpu.reg(RCX)) + text(g.cpu.reg(RDX))).toBe('XenVMMXenVMM');
      expect(g.cpu.rip).toBe(g.lin(0, code.length));
    }
    expect(cpuid(PLAIN, 0x4000_0001).cpu.reg(RAX)).toBe(0x4_0011n);
  });

  it('leaf 1 has the hypervisor bit and hides what PV cannot use', () => {
    const g = cpuid(PLAIN, 1);
    const ecx = g.cpu.regLo(RCX) >>> 0;
    const edx = g.cpu.regLo(RDX) >>> 0;
    expect(ecx >>> 31).toBe(1);
    // VME, PSE, MTRR, PGE, PSE36 are gone; FPU, TSC, PAE, APIC, PAT, SSE2 are there.
    expect(edx & ((1 << 1) | (1 << 3) | (1 << 12) | (1 << 13) | (1 << 17))).toBe(0);
    expect(edx & ((1 << 0) | (1 << 4) | (1 << 6) | (1 << 9) | (1 << 16) | (1 << 26))).toBe(0x401_0251);
  });

  it('0x80000001 has no LM for a 32-bit guest', () => {
    const bits = (1 << 29) | (1 << 11);
    expect(cpuid(PLAIN, 0x8000_0001).cpu.regLo(RDX) & bits).toBe(bits);
    expect(cpuid(PLAIN, 0x8000_0001, { is32bit: true }).cpu.regLo(RDX) & (1 << 29)).toBe(0);
  });

  it('the prefix before anything else is #UD', () => {
    const g = cpuid([0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0x31], 0);
    expect(g.cpu.rip).toBe(g.lin(26));
  });
});

describe('I/O ports', () => {
  it('read as ones where IOPL allows, and are #GP where it does not', () => {
    const iopl = (n: number) => (g: TestGuest) => {
      g.vcpu.pv.iopl = n;
    };
    const g = run([0xe4, 0x60], {}, iopl(1)); // in al,0x60
    expect([g.cpu.reg(RAX), g.cpu.rip]).toEqual([0xffn, g.lin(0, 2)]);
    expect(wasRefused(run([0xe4, 0x60], {}, iopl(0)))).toBe(true);
    expect(wasRefused(run([0xe4, 0x60], user, iopl(1)))).toBe(true);
    expect(wasRefused(run([0xe4, 0x60], user, iopl(3)))).toBe(false);
  });

  it('are opened one by one by the I/O bitmap', () => {
    const bitmap = (g: TestGuest) => {
      g.vcpu.pv.iobmp = g.lin(10);
      g.vcpu.pv.iobmpLimit = 0x1000;
      g.write(10, 0, new Array<number>(512).fill(0xff));
      g.write(10, 0x60 >> 3, [0xfe]);
    };
    expect(wasRefused(run([0xe4, 0x60], user, bitmap))).toBe(false);
    expect(wasRefused(run([0xe4, 0x61], user, bitmap))).toBe(true);
  });

  it('0x70 and 0xcf8 keep what was written', () => {
    const g = run([0xef], {}, (t) => {
      t.vcpu.pv.iopl = 1;
      t.cpu.setReg(RDX, 0xcf8n);
      t.cpu.setReg(RAX, 0x8000_1234n);
    });
    expect(g.vcpu.domain.legacyIo.pciCf8).toBe(0x8000_1234);
  });

  it('REP INSB fills memory, and stops at a page that is not there with CR2 and the count so far', () => {
    const g = run([0xf3, 0x6c], {}, (t) => {
      t.vcpu.pv.iopl = 1;
      t.cpu.setReg(RCX, 6n);
      t.cpu.setRegLin(RDI, t.lin(63, 4092));
    });
    expect([...g.hv.ram.readBytes(g.maddr(63, 4090), 6)]).toEqual([0, 0, 255, 255, 255, 255]);
    expect(g.cpu.rip).toBe(g.lin(34));
    // RCX in the frame: two bytes were left to do.
    expect(g.read64(g.cpu.regLin(RSP))).toBe(2n);
    expect(g.read64(g.cpu.regLin(RSP) + 16)).toBe(2n);
  });

  it('CLI does nothing with IOPL and faults without', () => {
    expect(
      wasRefused(
        run([0xfa], {}, (g) => {
          g.vcpu.pv.iopl = 1;
        }),
      ),
    ).toBe(false);
    expect(wasRefused(run([0xfa]))).toBe(true);
  });
});

describe('the rest', () => {
  it("HLT and LGDT are the guest's own #GP; WBINVD is ignored", () => {
    expect(wasRefused(run([0xf4]))).toBe(true);
    expect(wasRefused(run([0x0f, 0x01, 0x10]))).toBe(true);
    expect(wasRefused(run([0x0f, 0x09]))).toBe(false);
  });

  it('an emulated instruction under TF is followed by #DB with DR6.BS', () => {
    const g = run([0x0f, 0x09], {}, (t) => {
      t.cpu.rflags = 0x302;
    });
    expect(g.cpu.rip).toBe(g.lin(21));
    expect(g.vcpu.pv.debugreg[6]! & 0x4000n).toBe(0x4000n);
  });
});
